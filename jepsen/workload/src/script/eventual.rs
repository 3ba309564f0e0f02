//! Convergent types: sets, counters, registers and maps that clients of all regions change at the same time.
//!
//! Elements, fields and register values are unique over the run and an element is removed only by the client that added it, so
//! that the end of a run says of each what must be there ([`crate::converged`]). Nothing that may have been done is
//! asked again: an increment done twice would be a loss of another kind.

use super::{Begun, Draw, Then, number_of};
use crate::ask::{Answer, Ask};
use crate::record::{Deed, What};
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_eventual::{Command, Expiry, Reply};
use dwcp_store::api::OpError;

const WHAT: Purpose = Purpose::named("eventual.what");
const KEY: Purpose = Purpose::named("eventual.key");
const BY: Purpose = Purpose::named("eventual.by");
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

/// A client of convergent types.
#[derive(Debug)]
pub struct Eventual {
    keys: u64,
    own: Vec<(u64, u64)>,
}

fn bytes(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

impl Eventual {
    pub(super) const fn new(keys: u64) -> Self {
        Self { keys, own: Vec::new() }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        let key = draw.below(self.keys, KEY, 0);
        let unique = draw.unique(0);
        let (deed, command) = match draw.below(100, WHAT, 0) {
            0..12 if !self.own.is_empty() => {
                let (key, element) = self.own.swap_remove(draw.below(self.own.len() as u64, KEY, 1) as usize);
                let members = vec![bytes(element)];
                (Deed::Remove { key, element, seen: false }, Command::SRem { key: set_key(key), members })
            }
            0..40 => {
                let members = vec![bytes(unique)];
                (Deed::Add { key, element: unique }, Command::SAdd { key: set_key(key), members })
            }
            40..65 => {
                let by = 1 + draw.below(9, BY, 0);
                (Deed::Count { key, by }, Command::IncrBy { key: counter_key(key), by: by.cast_signed() })
            }
            65..77 => {
                let (value, expiry) = (bytes(unique), Expiry::Never);
                (Deed::Write { key, value: unique }, Command::Set { key: register_key(key), value, expiry })
            }
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
            (Deed::Remove { seen, .. }, Reply::Number(n)) => *seen = n == 1,
            (Deed::Count { .. } | Deed::Field { .. }, Reply::Number(_))
            | (Deed::Write { .. }, Reply::Done) => {}
            (Deed::Read { total, .. }, Reply::Value(value)) => {
                *total = value.and_then(|v| core::str::from_utf8(&v).ok()?.parse().ok());
            }
            _ => return Then::fail(),
        }
        Then::ok(0)
    }
}

/// A register's value, as its writer spelled it.
pub(crate) fn written(value: &[u8]) -> Option<u64> {
    number_of(value).filter(|_| value.len() == 8)
}
