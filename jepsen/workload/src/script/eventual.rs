//! Convergent types: sets, counters, registers and maps that clients of all regions change at the same time.
//!
//! Elements, fields and register values are unique over the run and an element is removed only by the client that added it, so
//! that the end of a run says of each what must be there ([`crate::converged`]). Nothing that may have been done is
//! asked again: an increment done twice would be a loss of another kind.
//!
//! A write of a register may carry more than its value ([`Sizes`]): filler behind it, and if that is more than one value should
//! have, other keys in the same `MSET`. So what carries operations meets large ones, and many of them.

use super::{Begun, Draw, Sizes, Then, number_of};
use crate::ask::{Answer, Ask};
use crate::record::{Deed, Of, What};
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_eventual::{Command, Expiry, Reply};
use dwcp_store::api::OpError;

const WHAT: Purpose = Purpose::named("eventual.what");
const KEY: Purpose = Purpose::named("eventual.key");
const BY: Purpose = Purpose::named("eventual.by");
const SIZE: Purpose = Purpose::named("eventual.size");
/// Bytes of one value; what is larger goes to several keys.
const VALUE_BYTES: usize = 64 * 1024;
const FILLER: u8 = b'.';
/// Elements of its own that a client remembers, to remove them.
const OWN: usize = 32;

/// The key of a set.
#[must_use]
pub fn set_key(n: u64) -> Bytes {
    format!("e/s/{n}").into()
}
/// The key of a counter.
#[must_use]
pub fn counter_key(n: u64) -> Bytes {
    format!("e/c/{n}").into()
}
/// The key of a register.
#[must_use]
pub fn register_key(n: u64) -> Bytes {
    format!("e/r/{n}").into()
}
/// The key of a map.
#[must_use]
pub fn map_key(n: u64) -> Bytes {
    format!("e/h/{n}").into()
}

/// The key of a list.
#[must_use]
pub fn list_key(n: u64) -> Bytes {
    format!("e/l/{n}").into()
}

/// A client of convergent types.
#[derive(Debug)]
pub struct Eventual {
    keys: u64,
    own: Vec<(u64, u64)>,
    sizes: Option<Sizes>,
}

impl Sizes {
    fn draw(self, draw: Draw) -> usize {
        let doublings = u64::from((self.high / self.low.max(1)).max(1).ilog2());
        let from = u64::from(self.low.max(1)) << draw.below(doublings + 1, SIZE, 0);
        let width = from.min(u64::from(self.high) - from);
        (from + draw.below(width + 1, SIZE, 1)) as usize
    }
}

/// These bytes, and filler behind them up to a size.
fn filled(begin: Bytes, size: usize) -> Bytes {
    if size <= begin.len() {
        return begin;
    }
    let mut out = begin.to_vec();
    out.resize(size, FILLER);
    out.into()
}

/// A counter's total, as it is shown.
pub(super) fn total_of(value: &[u8]) -> Option<u64> {
    core::str::from_utf8(value).ok()?.parse().ok()
}

pub(super) fn bytes(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

impl Eventual {
    pub(super) const fn new(keys: u64) -> Self {
        Self { keys, own: Vec::new(), sizes: None }
    }
    pub(super) const fn sized(&mut self, sizes: Option<Sizes>) {
        self.sizes = sizes;
    }
    /// A register's new value, and what goes with it.
    fn write(&self, key: u64, value: u64, draw: Draw) -> Command {
        let size = self.sizes.map_or(0, |sizes| sizes.draw(draw));
        let (value, key_of) = (filled(bytes(value), size.min(VALUE_BYTES)), register_key(key));
        if size <= VALUE_BYTES {
            return Command::Set { key: key_of, value, expiry: Expiry::Never };
        }
        let others = (VALUE_BYTES..size).step_by(VALUE_BYTES).enumerate();
        let other = |(i, from): (usize, usize)| {
            let name: Bytes = format!("e/x/{key}/{i}").into();
            (name, filled(Bytes::new(), VALUE_BYTES.min(size - from)))
        };
        Command::MSet { pairs: core::iter::once((key_of, value)).chain(others.map(other)).collect() }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        let key = draw.below(self.keys, KEY, 0);
        let unique = draw.unique(0);
        let (deed, command) = match draw.below(100, WHAT, 0) {
            0..12 if !self.own.is_empty() => {
                let (key, element) = self.own.swap_remove(draw.below(self.own.len() as u64, KEY, 1) as usize);
                let members = vec![bytes(element)];
                (
                    Deed::Remove { of: Of::Set, key, element, seen: 0 },
                    Command::SRem { key: set_key(key), members },
                )
            }
            0..40 => {
                let members = vec![bytes(unique)];
                (Deed::Add { key, element: unique }, Command::SAdd { key: set_key(key), members })
            }
            40..65 => {
                let by = 1 + draw.below(9, BY, 0);
                (Deed::Count { key, by }, Command::IncrBy { key: counter_key(key), by: by.cast_signed() })
            }
            65..77 => (Deed::Write { key, value: unique }, self.write(key, unique, draw)),
            77..90 => {
                let pairs = vec![(bytes(unique), bytes(unique))];
                (Deed::Field { key, field: unique }, Command::HSet { key: map_key(key), pairs })
            }
            _ => (Deed::Read { key, total: None }, Command::Get { key: counter_key(key) }),
        };
        Begun { what: Some(What::Eventual(deed)), ask: Ask::Eventual(command) }
    }

    pub(super) fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        let (Some(What::Eventual(deed)), Ok(Answer::Replied(reply))) = (what, answer) else {
            return Then::fail();
        };
        match (deed, reply) {
            (Deed::Add { key, element }, Reply::Number(_)) => {
                if self.own.len() < OWN {
                    self.own.push((*key, *element));
                }
            }
            (Deed::Remove { seen, .. }, Reply::Number(n)) => *seen = n.unsigned_abs(),
            (Deed::Count { .. } | Deed::Field { .. }, Reply::Number(_))
            | (Deed::Write { .. }, Reply::Done) => {}
            (Deed::Read { total, .. }, Reply::Value(value)) => {
                *total = value.as_deref().and_then(total_of);
            }
            _ => return Then::fail(),
        }
        Then::ok(0)
    }
}

/// A register's value, as its writer spelled it.
pub(crate) fn written(value: &[u8]) -> Option<u64> {
    number_of(value).filter(|_| value.iter().skip(8).all(|b| *b == FILLER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::Seed;

    #[test]
    fn writes_are_as_large_as_they_are_said_to_be_and_read_back() {
        let mut script = Eventual::new(3);
        let (low, high) = (1_000, 300_000);
        script.sized(Some(Sizes { low, high }));
        let (mut least, mut most, mut several) = (usize::MAX, 0, 0);
        for nth in 0..400 {
            let draw = Draw { seed: Seed(1), client: 0, nth };
            let (value, size) = match script.write(1, nth, draw) {
                Command::Set { value, .. } => (value.clone(), value.len()),
                Command::MSet { pairs } => {
                    several += 1;
                    (pairs[0].1.clone(), pairs.iter().map(|(_, v)| v.len()).sum())
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(written(&value), Some(nth));
            (least, most) = (least.min(size), most.max(size));
        }
        assert!(several > 50 && several < 350, "{several}");
        assert!((1_000..1_100).contains(&least) && (250_000..=300_000).contains(&most), "{least} {most}");
        assert_eq!(written(b"12345678.....x"), None);
    }
}
