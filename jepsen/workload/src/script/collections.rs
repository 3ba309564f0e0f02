//! Convergent types whose elements go again: what [`super::eventual`] leaves out.
//!
//! | deed | command | what the end of a run says of it |
//! |---|---|---|
//! | one to three elements to an end of a list | `RPUSH`, `LPUSH` | each is there once, together, in their order |
//! | an own element goes | `SREM`, `HDEL`, `LREM` | if it was seen it is gone |
//! | everything goes, by anybody | `MULTI`, what is there, `DEL`, `EXEC` | what was seen is gone, all else stays |
//! | a counter is read | `GET` | it shows what its node had acknowledged and shown before |
//! | two to four writes as one | `MULTI` … `EXEC` | all are there, or none |
//!
//! `DEL` takes out what its node had seen, no more; so it is asked together with a read of all that. Only every third
//! key is emptied: where it is not known whether a `DEL` was done, nothing can be said of its key any more, and of the others
//! much shall be said. What is put is unique over the run, as in [`super::eventual`], and nothing is asked twice.

use super::eventual::{bytes, counter_key, list_key, map_key, register_key, set_key, total_of};
use super::{Begun, Draw, Then, number_of};
use crate::ask::{Answer, Ask};
use crate::record::{Deed, Of, What};
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_eventual::{Command, Expiry, Reply};
use dwcp_store::api::OpError;

const WHAT: Purpose = Purpose::named("collections.what");
const KEY: Purpose = Purpose::named("collections.key");
const MORE: Purpose = Purpose::named("collections.more");
/// Elements of its own that a client remembers, to remove them.
const OWN: usize = 32;
/// Writes of one transaction, at most.
const PARTS: u64 = 4;
/// Of so many keys one is emptied now and then.
const EMPTIED_OF: u64 = 3;

/// A client of convergent types, one that cleans up.
#[derive(Debug)]
pub struct Collections {
    keys: u64,
    own: Vec<(Of, u64, u64)>,
}

impl Collections {
    pub(super) const fn new(keys: u64) -> Self {
        Self { keys, own: Vec::new() }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        match draw.below(100, WHAT, 0) {
            0..20 if !self.own.is_empty() => {
                let (of, key, element) =
                    self.own.swap_remove(draw.below(self.own.len() as u64, KEY, 0) as usize);
                let deed = Deed::Remove { of, key, element, seen: 0 };
                one(deed)
            }
            20..23 => self.empty(draw),
            23..33 => {
                let many = 2 + draw.below(PARTS - 1, MORE, 0);
                let deeds: Vec<Deed> = (0..many).map(|part| self.put(draw, part)).collect();
                let ask = Ask::Together(deeds.iter().flat_map(commands).collect());
                Begun { what: Some(What::Together(deeds)), ask }
            }
            33..40 => one(Deed::Read { key: draw.below(self.keys, KEY, 0), total: None }),
            _ => one(self.put(draw, 0)),
        }
    }

    /// Something is written. `part`: which of those that are written together.
    fn put(&self, draw: Draw, part: u64) -> Deed {
        let key = draw.below(self.keys, KEY, 10 + part);
        let unique = draw.unique(part * PARTS);
        match draw.below(100, WHAT, 10 + part) {
            0..20 => Deed::Add { key, element: unique },
            20..45 => Deed::Field { key, field: unique },
            45..75 => {
                let many = 1 + draw.below(PARTS - 1, MORE, 10 + part);
                let left = draw.below(3, MORE, 20 + part) == 0;
                Deed::Push { key, element: unique, many, left }
            }
            75..90 => Deed::Write { key, value: unique },
            _ => Deed::Count { key, by: 1 + draw.below(9, MORE, 30 + part) },
        }
    }

    fn empty(&self, draw: Draw) -> Begun {
        let key = draw.below(self.keys.div_ceil(EMPTIED_OF), KEY, 0) * EMPTIED_OF;
        let of = [Of::Set, Of::Map, Of::List, Of::Register][draw.below(4, MORE, 0) as usize];
        let deed = Deed::Empty { of, key, seen: Vec::new() };
        Begun { ask: Ask::Together(commands(&deed)), what: Some(What::Eventual(deed)) }
    }

    pub(super) fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        let done = match (what, answer) {
            (Some(What::Eventual(deed)), Ok(Answer::Replied(reply))) => self.done(deed, &[Some(reply)]),
            (Some(What::Eventual(deed)), Ok(Answer::Replies(replies))) => self.done(deed, &replies),
            (Some(What::Together(deeds)), Ok(Answer::Replies(replies))) if replies.len() == deeds.len() => {
                let mut each = replies.chunks(1);
                // One that was refused has done nothing, and stops no other.
                deeds.retain_mut(|deed| self.done(deed, each.next().unwrap_or_default()).is_some());
                (!deeds.is_empty()).then_some(())
            }
            _ => None,
        };
        if done.is_some() { Then::ok(0) } else { Then::fail() }
    }

    /// Notes the answers to a deed's commands; nothing if it was refused.
    fn done(&mut self, deed: &mut Deed, replies: &[Option<Reply>]) -> Option<()> {
        match (deed, replies) {
            (Deed::Add { key, element }, [Some(Reply::Number(_))]) => self.remember(Of::Set, *key, *element),
            (Deed::Field { key, field }, [Some(Reply::Number(_))]) => self.remember(Of::Map, *key, *field),
            (Deed::Push { key, element, many, .. }, [Some(Reply::Number(_))]) => {
                self.remember(Of::List, *key, *element + (*element >> 4) % *many);
            }
            (Deed::Read { total, .. }, [Some(Reply::Value(value))]) => {
                *total = value.as_deref().and_then(total_of)
            }
            (Deed::Remove { seen, .. }, [Some(Reply::Number(n))]) => *seen = n.unsigned_abs(),
            (Deed::Count { .. }, [Some(Reply::Number(_))]) | (Deed::Write { .. }, [Some(Reply::Done)]) => {}
            (Deed::Empty { seen, .. }, [Some(found), Some(Reply::Number(_))]) => {
                let found = match found {
                    Reply::Elements(all) => &all[..],
                    Reply::Value(value) => value.as_slice(),
                    _ => return None,
                };
                // What is no element of ours is told by what is there at the end.
                *seen = found.iter().filter_map(|e| number_of(e)).collect();
            }
            _ => return None,
        }
        Some(())
    }

    fn remember(&mut self, of: Of, key: u64, element: u64) {
        if self.own.len() < OWN {
            self.own.push((of, key, element));
        }
    }
}

fn one(deed: Deed) -> Begun {
    let ask = Ask::Eventual(commands(&deed).swap_remove(0));
    Begun { what: Some(What::Eventual(deed)), ask }
}

/// What a deed asks, in order.
fn commands(deed: &Deed) -> Vec<Command> {
    vec![match deed {
        Deed::Add { key, element } => Command::SAdd { key: set_key(*key), members: vec![bytes(*element)] },
        Deed::Field { key, field } => {
            Command::HSet { key: map_key(*key), pairs: vec![(bytes(*field), bytes(*field))] }
        }
        Deed::Push { key, element, many, left } => {
            let (key, values) = (list_key(*key), (0..*many).map(|i| bytes(element + i)).collect());
            if *left { Command::LPush { key, values } } else { Command::RPush { key, values } }
        }
        Deed::Write { key, value } => {
            Command::Set { key: register_key(*key), value: bytes(*value), expiry: Expiry::Never }
        }
        Deed::Count { key, by } => Command::IncrBy { key: counter_key(*key), by: by.cast_signed() },
        Deed::Read { key, .. } => Command::Get { key: counter_key(*key) },
        Deed::Remove { of, key, element, .. } => {
            let (key, element) = (named(*of, *key), bytes(*element));
            match of {
                Of::Set => Command::SRem { key, members: vec![element] },
                Of::Map => Command::HDel { key, fields: vec![element] },
                Of::List => Command::LRem { key, count: 0, value: element },
                // A register's one value goes with it.
                Of::Register => Command::Del { keys: vec![key] },
            }
        }
        Deed::Empty { of, key, .. } => {
            let key = named(*of, *key);
            let seen = match of {
                Of::Set => Command::SMembers { key: key.clone() },
                Of::Map => Command::HKeys { key: key.clone() },
                Of::List => Command::LRange { key: key.clone(), start: 0, stop: -1 },
                Of::Register => Command::Get { key: key.clone() },
            };
            return vec![seen, Command::Del { keys: vec![key] }];
        }
    }]
}

fn named(of: Of, key: u64) -> Bytes {
    match of {
        Of::Set => set_key(key),
        Of::Map => map_key(key),
        Of::List => list_key(key),
        Of::Register => register_key(key),
    }
}
