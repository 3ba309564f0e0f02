//! Durability: what was acknowledged survives.
//!
//! After the run, when no client works any more, each key is read once (the *survivor*). A
//! survivor is explained by an operation that could have been the last to take effect:
//!
//! | the survivor is | explained if |
//! |---|---|
//! | what an acknowledged operation left | no acknowledged change of the key was called after that operation returned |
//! | what an operation of unknown outcome left | always: it may have taken effect last |
//! | absent, and nobody deleted | no change of the key was acknowledged |
//!
//! This is weaker than linearizability of the whole history, and on purpose: it is linear,
//! needs no reads on the way, and tells a loss from a stale read. A key without a survivor
//! is not judged. After `recover twice` the same survivors must come out: compare the maps.

use crate::history::Value;
use crate::linearizable::Operation;
use crate::linearizable::kv::{KvAction, KvOp};
use crate::mistake::{Mistake, planted};
use std::collections::BTreeMap;
use std::fmt;

/// How a survivor is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An acknowledged change is gone, and something older is there.
    Lost,
    /// An acknowledged delete is gone, and what it deleted is back.
    Resurrected,
    /// A value that nobody ever wrote.
    Invented,
}

/// A key whose survivor has no explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What kind.
    pub fault: Fault,
    /// Which key.
    pub key: Value,
    /// What was found there.
    pub survivor: Option<Value>,
    /// Index of the acknowledged change called last, if there is one.
    pub last: Option<usize>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Lost => "an acknowledged change is lost",
            Fault::Resurrected => "an acknowledged delete is undone",
            Fault::Invented => "a value appeared that nobody wrote",
        };
        write!(f, "key {}: {fault}: found ", self.key)?;
        match self.survivor {
            Some(value) => write!(f, "{value}")?,
            None => f.write_str("nothing")?,
        }
        match self.last {
            Some(at) => write!(f, ", last acknowledged is operation {at}"),
            None => Ok(()),
        }
    }
}

/// What an operation leaves if it took effect; `None` if it changes nothing.
#[expect(clippy::option_option, reason = "no change, or a change to absent")]
fn leaves(action: KvAction) -> Option<Option<Value>> {
    match action {
        KvAction::Put(value) => Some(Some(value)),
        KvAction::Cas { new, succeeded: true, .. } => Some(Some(new)),
        KvAction::Delete { existed } if existed != Some(false) => Some(None),
        KvAction::Cas { .. } | KvAction::Delete { .. } | KvAction::Get(_) => None,
    }
}

#[derive(Default)]
struct Key {
    /// The acknowledged change called last, and when.
    last: Option<(u64, usize)>,
    /// Per value left: the latest return of an operation that leaves it, pending last.
    left: BTreeMap<Option<Value>, u64>,
}

/// All keys of `survivors` that `operations` do not explain, ascending.
#[must_use]
pub fn check(operations: &[Operation<KvOp>], survivors: &BTreeMap<Value, Option<Value>>) -> Vec<Loss> {
    let mut keys: BTreeMap<Value, Key> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        let Some(value) = leaves(operation.op.action) else {
            continue;
        };
        let key = keys.entry(operation.op.key).or_default();
        let left = key.left.entry(value).or_default();
        *left = operation.ret.max(*left);
        if operation.returned() {
            key.last = key.last.max(Some((operation.call, at)));
        }
    }
    let judge = |(key, survivor): (&Value, &Option<Value>)| {
        let none = Key::default();
        let known = keys.get(key).unwrap_or(&none);
        let explained = match (known.left.get(survivor), known.last) {
            (Some(left), Some((call, _))) => *left >= call,
            (Some(_), None) => true,
            (None, last) => survivor.is_none() && last.is_none(),
        };
        if explained {
            return None;
        }
        let last = known.last.map(|(_, at)| at);
        let deleted = last.is_some_and(|at| leaves(operations[at].op.action) == Some(None));
        let fault = match survivor {
            Some(_) if !known.left.contains_key(survivor) => Fault::Invented,
            Some(_) if deleted => Fault::Resurrected,
            Some(_) | None => Fault::Lost,
        };
        let passes = match fault {
            Fault::Lost => planted(Mistake::LossPasses),
            Fault::Resurrected => planted(Mistake::ResurrectionPasses),
            Fault::Invented => false,
        };
        if passes {
            return None;
        }
        Some(Loss { fault, key: *key, survivor: *survivor, last })
    };
    survivors.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENDING: u64 = Operation::<()>::PENDING;

    /// Call, return and content of each operation; the survivor; the fault.
    type Case<'a> = (&'a [(u64, u64, KvAction)], Option<Value>, Option<Fault>);

    fn judge(operations: &[(u64, u64, KvAction)], survivor: Option<Value>) -> Option<Fault> {
        let operation = |&(call, ret, action): &(u64, u64, KvAction)| Operation {
            process: 0,
            call,
            ret,
            op: KvOp { key: 5, action },
        };
        let operations: Vec<_> = operations.iter().map(operation).collect();
        let losses = check(&operations, &BTreeMap::from([(5, survivor)]));
        losses.first().map(|loss| loss.fault)
    }

    #[test]
    fn survivors_are_explained_or_not() {
        use KvAction::{Cas, Delete, Get, Put};
        let delete = Delete { existed: None };
        let cas = |succeeded| Cas { expected: Some(1), new: 2, succeeded };
        let cases: &[Case<'_>] = &[
            (&[], None, None),
            (&[], Some(1), Some(Fault::Invented)),
            (&[(0, 1, Put(1))], Some(1), None),
            (&[(0, 1, Put(1))], None, Some(Fault::Lost)),
            (&[(0, 1, Put(1)), (2, 3, Put(2))], Some(1), Some(Fault::Lost)),
            // Concurrent: either may be last.
            (&[(0, 2, Put(1)), (2, 3, Put(2))], Some(1), None),
            (&[(0, 2, Put(1)), (2, 3, Put(2))], None, Some(Fault::Lost)),
            // Unknown outcomes may come last, or never.
            (&[(0, PENDING, Put(1)), (2, 3, Put(2))], Some(1), None),
            (&[(0, PENDING, Put(1)), (2, 3, Put(2))], Some(2), None),
            (&[(0, PENDING, Put(1))], None, None),
            (&[(0, 1, Put(1)), (2, 3, delete)], None, None),
            (&[(0, 1, Put(1)), (2, 3, delete)], Some(1), Some(Fault::Resurrected)),
            (&[(0, 1, Put(1)), (2, PENDING, delete)], None, None),
            (&[(0, 1, Put(1)), (2, 3, cas(true))], Some(1), Some(Fault::Lost)),
            (&[(0, 1, Put(1)), (2, 3, cas(false))], Some(1), None),
            (&[(0, 1, Put(1)), (2, 3, cas(false))], Some(2), Some(Fault::Invented)),
            (&[(0, 1, Put(1)), (2, 3, Get(None))], Some(1), None),
            // The same value twice: the later write explains it.
            (&[(0, 1, Put(1)), (2, 3, Put(2)), (4, 5, Put(1))], Some(1), None),
        ];
        for (operations, survivor, fault) in cases {
            assert_eq!(judge(operations, *survivor), *fault, "{operations:?} {survivor:?}");
        }
    }

    #[test]
    fn a_loss_is_told_in_words() {
        let loss = Loss { fault: Fault::Lost, key: 5, survivor: None, last: Some(3) };
        assert_eq!(
            loss.to_string(),
            "key 5: an acknowledged change is lost: found nothing, last acknowledged is operation 3"
        );
    }
}
