//! A policy tried against what was recorded: what would have come out otherwise.
//!
//! Nothing is written. Conflicts whose values are no longer kept are tried too where the strategy chooses among writes (by time, rank,
//! vote): each value is then stood for by its hash. Where values must be joined they are reported as unknown, not guessed.

use super::Audit;
use super::record::{Held, Record};
use crate::conflict::{ConflictId, Place, Sibling};
use crate::policy::{Policy, Question};
use crate::schema::Field;
use crate::strategy::{Named, Outcome};
use crate::value::Value;
use alloc::vec::Vec;
use dwcp_crdt::ReplicaIndex;

/// A conflict that would have come out otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otherwise {
    /// Whose record.
    pub of: ReplicaIndex,
    /// Its number.
    pub sequence: u64,
    /// The conflict's name.
    pub id: ConflictId,
    /// Where.
    pub place: Place,
    /// What stands.
    pub was: Option<Value>,
    /// By which rule and strategy.
    pub by: (u16, Named),
    /// What would stand.
    pub would: Option<Value>,
    /// By which rule and strategy.
    pub would_by: (u16, Named),
    /// Whether a person was asked, and would be.
    pub asked: (bool, bool),
}

/// What a trial found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trial {
    /// Conflicts that would have come out the same.
    pub same: usize,
    /// Those that would not.
    pub otherwise: Vec<Otherwise>,
    /// Records that can't be tried: values are no longer kept, and would have to be joined.
    pub unknown: Vec<(ReplicaIndex, u64)>,
    /// How often each rule of the policy would have been asked.
    pub by_rule: Vec<usize>,
}

/// Tries a policy on all that is recorded; `field` tells what the schema says of a place. Decisions of people are passed over: they'd decide again.
pub fn dry_run<'f>(audit: &Audit, policy: &Policy, field: impl Fn(&Place) -> Option<&'f Field>) -> Trial {
    let mut out = Trial { by_rule: alloc::vec![0; policy.rules().len()], ..Trial::default() };
    let all = audit.chains().flat_map(|c| c.records().map(|(n, r)| (c.owner(), n, r)));
    for (of, sequence, r) in all.filter(|(.., r)| r.by.is_none()) {
        let mut gone = false;
        let mut value = |held: &Held| {
            audit.value(held).unwrap_or_else(|| {
                gone = true;
                stand_in(held)
            })
        };
        let siblings: Vec<Sibling> = r
            .inputs
            .iter()
            .map(|i| Sibling {
                dot: i.dot,
                hlc: i.hlc,
                writer: i.writer.clone(),
                value: i.value.as_ref().map(&mut value),
            })
            .collect();
        let base = r.base.as_ref().map(&mut value);
        let was = r.output.value.as_ref().map(&mut value);
        let field = field(&r.place);
        let question =
            Question { place: &r.place, class: r.class, field, base: base.as_ref(), siblings: &siblings };
        let answer = policy.settle(&question);
        out.by_rule[usize::from(answer.rule)] += 1;
        if gone && matches!(answer.strategy, Named::Semantic | Named::Transform) {
            out.unknown.push((of, sequence));
            continue;
        }
        let would = answer.settled.outcome.shown().cloned();
        let asked = (r.output.asked_until.is_some(), matches!(answer.settled.outcome, Outcome::Asked { .. }));
        if would == was && asked.0 == asked.1 {
            out.same += 1;
            continue;
        }
        let Record { id, place, rule, strategy, .. } = r;
        let (by, would_by) = ((rule, strategy), (answer.rule, answer.strategy));
        out.otherwise.push(Otherwise { of, sequence, id, place, was, by, would, would_by, asked });
    }
    out
}

/// Something that is equal where the values were.
fn stand_in(held: &Held) -> Value {
    match held {
        Held::Value(v) => v.clone(),
        Held::Hash(hash) => Value::from(&*alloc::format!("blake3 {}", ConflictId(*hash))),
    }
}
