//! Strategies that choose among what was written.

use super::{
    By, Case, Lack, Ordered, Outcome, Reason, Settled, Strategy, TOO_MANY_DEADLINE, VALUES_MAX, Why,
};
use crate::conflict::{Base, Class, Sibling};
use crate::value::Value;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::Dot;

/// The latest by (time, dot); of what must not be, what was there before.
pub(super) fn latest(case: &Case<'_>) -> Settled {
    if case.class == Class::Invariant {
        let mut settled = restored(case);
        settled.reason.lack = settled.reason.lack.or(Some(Lack::NoClock));
        return settled;
    }
    let value = case.siblings.all().first().and_then(|s| s.value.clone());
    Settled::one(value, case, Why::Latest)
}

/// What was there before; where that is not known, what would stand undecided in a merge: of a deletion and a value the value, of
/// several values the greatest in canonical order.
pub(super) fn restored(case: &Case<'_>) -> Settled {
    match case.base {
        Base::Known(v) => Settled::one(Some(v.clone()), case, Why::Restored),
        Base::Nothing => Settled::one(None, case, Why::Restored),
        Base::Unknown => {
            let greatest = case.siblings.all().iter().filter_map(|s| s.value.as_ref()).max();
            let mut settled = Settled::one(greatest.cloned(), case, Why::Greatest);
            settled.reason.lack = Some(Lack::NoBase);
            settled
        }
    }
}

/// Siblings such that of equals the first is to stand: the latest, or where no clock may decide the greatest.
fn by_precedence<'a>(case: &Case<'a>) -> Vec<&'a Sibling> {
    let mut all = case.siblings.all().to_vec();
    if case.class == Class::Invariant {
        all.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| b.dot.cmp(&a.dot)));
    }
    all
}

/// All values, the latest first; beyond the cap a person is asked.
pub(super) fn all(case: &Case<'_>, cap: usize) -> Settled {
    let mut values: Vec<Option<Value>> = Vec::new();
    for s in case.siblings.all() {
        if !values.contains(&s.value) {
            values.push(s.value.clone());
        }
        if values.len() > cap.min(VALUES_MAX) {
            let latest = super::Strategy::LastWriter;
            let mut asked = super::asked(case, TOO_MANY_DEADLINE, &latest, &latest);
            asked.reason.lack = Some(Lack::TooMany);
            return asked;
        }
    }
    Settled {
        outcome: Outcome::Many(values),
        prevails: case.siblings.all().iter().map(|s| s.dot).collect(),
        author: None,
        reason: Reason { why: Why::All, lack: None },
    }
}

/// Whoever ranks first; of equals what settles ties, or the latest.
pub(super) fn ranked(case: &Case<'_>, by: By, order: &[Arc<str>], ties: Option<&Strategy>) -> Settled {
    let rank = |s: &Sibling| {
        let word = match by {
            By::Role => Some(&s.writer.role),
            By::Region => Some(&s.writer.region),
            By::Value => {
                if let Some(Value::Text(text)) = &s.value {
                    Some(text)
                } else {
                    None
                }
            }
        };
        order.iter().position(|o| Some(o) == word).unwrap_or(order.len())
    };
    // Of equal ranks `min_by_key` takes the first.
    let first = by_precedence(case).into_iter().min_by_key(|s| rank(s));
    let at = first.map_or(0, rank);
    let equals = case.siblings.some(|s| rank(s) == at);
    let why = if by == By::Value { Why::RankedText(at as u16) } else { Why::Ranked(at as u16) };
    let tied = Case { siblings: &equals, ..*case };
    if let Some(ties) = ties.filter(|_| equals.all().len() > 1) {
        let mut settled = ties.settle(&tied);
        // What is made of equals that agree, as of two counts, is told as that; else they differ.
        if !equals.agree() {
            settled.reason.lack = Some(Lack::Tie);
        }
        let Outcome::One(value) = &settled.outcome else {
            // Nobody is asked about those of the first rank who agree.
            return if one_thing(&tied) { stands(case, &equals, why) } else { settled };
        };
        // Who wrote the same in a lower rank has not lost; but the name is one of the first.
        let named = settled.author.or_else(|| latest_of(&equals, |s| settled.prevails.contains(&s.dot)));
        // Beside those whose writes a merge holds.
        let same = Settled::one(value.clone(), case, Why::Latest).prevails;
        let new: Vec<Dot> = same.into_iter().filter(|d| !settled.prevails.contains(d)).collect();
        settled.prevails.extend(new);
        return Settled { author: named, ..settled };
    }
    stands(case, &equals, why)
}

/// Whether all wrote the same, and it comes to that: equal counts are several.
fn one_thing(case: &Case<'_>) -> bool {
    let Some(first) = case.siblings.all().first() else { return false };
    case.siblings.agree()
        && (case.field.is_none() || super::joined(case).is_ok_and(|joined| joined == first.value))
}

/// Of those of the first rank what is to stand of equals.
fn stands(case: &Case<'_>, equals: &Ordered<'_>, why: Why) -> Settled {
    let tied = Case { siblings: equals, ..*case };
    let value = by_precedence(&tied).first().and_then(|s| s.value.clone());
    let author = latest_of(equals, |s| s.value == value);
    let mut settled = Settled { author, ..Settled::one(value, case, why) };
    if !equals.agree() {
        let why = if case.class == Class::Invariant { Why::Greatest } else { Why::Latest };
        settled.reason = Reason { why, lack: Some(Lack::Tie) };
    }
    settled
}

/// The latest of some of them.
fn latest_of(siblings: &Ordered<'_>, of: impl Fn(&Sibling) -> bool) -> Option<Dot> {
    siblings.all().iter().find(|s| of(s)).map(|s| s.dot)
}

/// The value that a quorum of replicas wrote. A replica's vote is its latest sibling.
pub(super) fn voted(case: &Case<'_>, quorum: u8) -> Option<Settled> {
    let mut voters = BTreeSet::new();
    let votes: Vec<&Sibling> =
        case.siblings.all().iter().copied().filter(|s| voters.insert(s.dot.replica())).collect();
    let count = |v: &Option<Value>| votes.iter().filter(|s| s.value == *v).count();
    // Two values may both have a quorum that is no majority: the one with more votes, then the one that comes first.
    let mut best: Option<(usize, &Sibling)> = None;
    for s in by_precedence(case).into_iter().filter(|s| votes.iter().any(|v| v.dot == s.dot)) {
        let n = count(&s.value);
        if n >= usize::from(quorum) && best.is_none_or(|(most, _)| n > most) {
            best = Some((n, s));
        }
    }
    let (n, s) = best?;
    let why = Why::Voted { votes: n as u16, of: votes.len() as u16 };
    Some(Settled::one(s.value.clone(), case, why))
}
