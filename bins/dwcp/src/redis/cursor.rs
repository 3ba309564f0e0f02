//! Redis' cursors are numbers, ours are names: what was found last.
//!
//! A door remembers which number stands for which name. The number is a keyed hash of the name, so the same place has the
//! same number however often it is passed, and a client may go on over another connection. The newest
//! [`CURSORS`] are kept; who comes back with an older one is told to begin anew.

use bytes::Bytes;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// Places remembered.
pub(super) const CURSORS: usize = 16_384;
/// Bytes of their names.
const CURSOR_BYTES: usize = 16 * 1024 * 1024;
/// Some clients keep numbers in floating point.
const BITS: u32 = 53;

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<u64, Bytes>,
    order: VecDeque<u64>,
    bytes: usize,
}

/// The places of scans that go on.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    keys: RandomState,
    known: Mutex<Known>,
}

impl Cursors {
    /// The number for a name; never 0.
    pub(super) fn of(&self, name: &Bytes) -> u64 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = self.keys.hash_one(name) >> (64 - BITS);
        loop {
            number = number.max(1);
            match known.names.get(&number) {
                Some(there) if there == name => return number,
                Some(_) => number = (number + 1) & ((1 << BITS) - 1),
                None => break,
            }
        }
        while known.order.len() >= CURSORS || known.bytes + name.len() > CURSOR_BYTES {
            let Some(oldest) = known.order.pop_front() else { break };
            known.bytes -= known.names.remove(&oldest).map_or(0, |n| n.len());
        }
        known.bytes += name.len();
        // A slice of an answer would keep all of the answer.
        known.names.insert(number, Bytes::copy_from_slice(name));
        known.order.push_back(number);
        number
    }

    /// The name that a number stands for.
    pub(super) fn name(&self, number: u64) -> Option<Bytes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).names.get(&number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_number_and_old_ones_are_forgotten() {
        let cursors = Cursors::default();
        let name = |n: usize| Bytes::from(n.to_string());
        let first = cursors.of(&name(0));
        assert!(first > 0 && first < 1 << BITS);
        assert_eq!(cursors.of(&name(0)), first);
        assert_eq!(cursors.name(first), Some(name(0)));
        for n in 1..=CURSORS {
            cursors.of(&name(n));
        }
        assert_eq!(cursors.name(first), None);
        assert_eq!(cursors.known.lock().unwrap().names.len(), CURSORS);
    }
}
