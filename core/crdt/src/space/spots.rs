//! Where names were found last: guesses for the searches that come next.
//!
//! A client's command looks its key up to read it, to check its edit, to make its operation and to apply it: four searches for one name.
//! A batch's operations are looked up together before the first of them is applied ([`super::apply`]). So where a name was found is
//! written down here, and the next search for it looks there first.
//!
//! **A guess is never believed.** A place is taken only if the entries on both sides of it say that the name belongs there
//! ([`Table::is_place`](super::table::Table::is_place)). So nothing has to be forgotten when a table changes, a stale guess costs two looks, and what
//! is found is the same with and without guesses: they are no part of the state, and a clone begins without any.
//!
//! **Rejected.** Handing places from call to call: any change between two calls makes them stale, and each signature on the way would have
//! to say so. A number of changes in each table, to tell a stale place by: an insertion elsewhere in the table makes all of them stale.

use super::leaf::Name;
use super::table::Pos;
use crate::fingerprint::fold;
use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

/// How many: some for each of the names that are looked up together ([`super::AT_ONCE`]), so that few fall on another's.
const SPOTS: usize = 1024;
const NONE: u64 = u64::MAX;
/// Of names up to this length all bytes count; of longer ones so many, less eight, at the beginning, and the last eight.
const WHOLE: usize = 256;
/// Leaves that can be written down.
const LEAF_MAX: usize = 1 << 24;

const _: () =
    assert!(SPOTS >= 16 * super::AT_ONCE && SPOTS.is_power_of_two() && super::leaf::SLOTS_MAX < 1 << 8);

/// Guesses, each in the place that its name and container draw: container (32 bits), leaf (24), slot (8).
pub(super) struct Spots(Box<[AtomicU64; SPOTS]>);

impl Spots {
    /// The place that a name draws in a container of this seed, which nobody knows who chooses names.
    fn of(&self, seed: u64, name: &Name<'_>) -> &AtomicU64 {
        let end = name.bytes.last_chunk().map_or(0, |raw| u64::from_le_bytes(*raw));
        let mut mixed = fold(end ^ 0x9e37_79b9_7f4a_7c15, name.head ^ seed);
        // What lies between, each eight by a factor of its own: none of these products waits for another.
        let between = name.bytes.len().clamp(16, WHOLE) - 16;
        let mut factor = 0xd6e8_feb8_6659_fd93;
        for eight in name.rest()[..between.next_multiple_of(8)].as_chunks().0 {
            mixed ^= fold(u64::from_le_bytes(*eight) ^ seed, factor);
            factor = factor.wrapping_mul(5);
        }
        // Any bits would do.
        &self.0[(mixed >> (u64::BITS - SPOTS.ilog2())) as usize]
    }
    /// Where the name may be.
    #[inline]
    pub(super) fn guess(&self, container: u32, seed: u64, name: &Name<'_>) -> Option<Pos> {
        // Relaxed: it is one word, and what it says is checked.
        let spot = self.of(seed, name).load(Ordering::Relaxed);
        let (leaf, slot) = ((spot >> 8) as usize % LEAF_MAX, spot as usize % (1 << 8));
        (spot != NONE && spot >> 32 == u64::from(container)).then_some(Pos { leaf, slot })
    }
    /// Writes down where it is.
    #[inline]
    pub(super) fn note(&self, container: u32, seed: u64, name: &Name<'_>, at: Pos) {
        if at.leaf < LEAF_MAX && at.slot < 1 << 8 {
            let spot = u64::from(container) << 32 | (at.leaf as u64) << 8 | at.slot as u64;
            self.of(seed, name).store(spot, Ordering::Relaxed);
        }
    }
}

impl Default for Spots {
    fn default() -> Self {
        Self(Box::new([const { AtomicU64::new(NONE) }; SPOTS]))
    }
}
impl Clone for Spots {
    fn clone(&self) -> Self {
        Self::default()
    }
}
impl fmt::Debug for Spots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;

    /// The least number of places that 64 names draw; as many are looked up together, and what two of them share is lost to one.
    fn least(spots: &Spots, name: impl Fn(u64) -> std::string::String) -> usize {
        let place =
            |n| core::ptr::from_ref(spots.of(0x51f1_55e2_20c8_3a97, &Name::new(name(n).as_bytes()))) as usize;
        let drawn = |from: u64| (0..64).map(|i| place(from * 997 + i)).collect::<BTreeSet<_>>().len();
        (0..100).map(drawn).min().unwrap_or_default()
    }

    #[test]
    fn names_draw_different_places_wherever_they_differ() {
        let spots = Spots::default();
        let shapes: [fn(u64) -> std::string::String; 6] = [
            |n| format!("{n}"),
            |n| format!("element:{n:012}"),
            |n| format!("user:{n:08}:settings"),
            |n| format!("namespaces/default/machines/{n:x}/spec/networks/interfaces"),
            |n| format!("{n:016x}:{:080}:suffixes", 0),
            |n| format!("prefixes:{:080}:{n:016x}", 0),
        ];
        for shape in shapes {
            let least = least(&spots, shape);
            assert!(least >= 50, "{least} places for 64 names like {}", shape(12_345));
        }
    }
}
