//! Sets.

use super::cost::Gathered;
use super::{Plan, Planned, View, answer_within, length, matches};
use crate::api::{Command, Reply, SCAN_MAX, Span, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Address, Change, Edit, Kind};
use std::collections::BTreeSet;

/// Kinds that are sets; the door writes the first.
pub(super) const SETS: [Kind; 3] = [Kind::OrSet, Kind::GSet, Kind::TwoPhaseSet];

/// Members that are looked at in one go.
const AT_ONCE: usize = 1_024;

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::SAdd { key, members } => {
            let held = view.look(key);
            let there = held.expect(Type::Set)?;
            let mut edits = if there { Vec::new() } else { view.rest_of(key, &held) };
            // Most name one.
            let (one, mut new) = (members.len() == 1, BTreeSet::new());
            let mut added = 0;
            for m in members {
                if !held.contains(m) && (one || new.insert(m)) {
                    added += 1;
                }
                // What is there is added again: the addition must survive a removal that has not seen it.
                edits.push(Edit::new(Address::key(Kind::OrSet, key), Change::Add(m.to_vec())));
            }
            Ok(Plan { edits, reply: length(added) })
        }
        Command::SRem { key, members } => {
            let held = view.look(key);
            if !held.expect(Type::Set)? {
                return Ok(Plan::reads(Reply::Number(0)));
            }
            let gone: BTreeSet<&Bytes> = members.iter().filter(|m| held.contains(m)).collect();
            let mut edits: Vec<Edit> = Vec::new();
            for m in &gone {
                for kind in SETS.into_iter().filter(|k| *k != Kind::GSet) {
                    let at = Address::key(kind, key);
                    if view.space.contains(&at, m) {
                        edits.push(Edit::new(at, Change::Remove(m.to_vec())));
                    }
                }
            }
            if !gone.is_empty() && all(view, key, gone.len() + 1).len() == gone.len() {
                view.forget_deadline(key, &mut edits);
            }
            Ok(Plan { edits, reply: length(gone.len()) })
        }
        Command::SMembers { key } => {
            let found = members(view, key)?;
            Ok(Plan::reads(Reply::Elements(found.into_iter().map(Bytes::from).collect())))
        }
        Command::SIsMember { key, member } => {
            let held = view.look(key);
            let is = held.expect(Type::Set)? && held.contains(member);
            Ok(Plan::reads(Reply::Number(i64::from(is))))
        }
        Command::SMIsMember { key, members } => {
            let held = view.look(key);
            held.expect(Type::Set)?;
            let flags = members.iter().map(|m| held.contains(m)).collect();
            Ok(Plan::reads(Reply::Flags(flags)))
        }
        Command::SCard { key } => {
            let n = if view.expect(key, Type::Set)? { cardinality(view, key) } else { 0 };
            Ok(Plan::reads(length(n)))
        }
        Command::SRandMember { key } => {
            let there = view.expect(key, Type::Set)?;
            Ok(Plan::reads(Reply::Value(if there { any(view, key) } else { None })))
        }
        Command::SUnion { keys } => together(view, keys, |a, b| a.union(&b).cloned().collect()),
        Command::SInter { keys } => together(view, keys, |a, b| a.intersection(&b).cloned().collect()),
        Command::SDiff { keys } => together(view, keys, |a, b| a.difference(&b).cloned().collect()),
        Command::SScan { key, span } => scan(view, key, span),
        other => unreachable!("{} is no command of sets", other.name()),
    }
}

fn cardinality(view: View<'_>, key: &[u8]) -> usize {
    let several = view.space.kinds(&[key.to_vec()]).iter().filter(|k| k.is_set()).count() > 1;
    if several {
        return all(view, key, usize::MAX).len();
    }
    SETS.into_iter().map(|kind| view.space.cardinality(&Address::key(kind, key))).sum()
}

/// The first `limit` members of all sets under a key, in order.
fn all(view: View<'_>, key: &[u8], limit: usize) -> BTreeSet<Vec<u8>> {
    after(view, key, None, limit)
}

fn after(view: View<'_>, key: &[u8], name: Option<&[u8]>, limit: usize) -> BTreeSet<Vec<u8>> {
    let mut out = BTreeSet::new();
    for kind in SETS {
        let found = view.space.elements(&Address::key(kind, key), name, limit);
        out.extend(found.into_iter().map(|e| e.bytes));
    }
    while out.len() > limit {
        out.pop_last();
    }
    out
}

/// A member by chance, as likely as it has entries.
fn any(view: View<'_>, key: &[u8]) -> Option<Bytes> {
    let of = |kind| view.space.entries_in(&Address::key(kind, key));
    let n: usize = SETS.into_iter().map(of).sum();
    let mut nth = (view.draw % n.max(1) as u64) as usize;
    for kind in SETS {
        let at = Address::key(kind, key);
        if let Some(name) = view.space.name_at(&at, nth) {
            // One that was taken out of a 2P-set for good is no member: the next one is as good, or the first.
            let found = Some(name).filter(|name| view.space.contains(&at, name));
            let other = || after(view, key, None, 1).pop_first();
            return found.or_else(other).map(Bytes::from);
        }
        nth -= of(kind);
    }
    None
}

fn members(view: View<'_>, key: &[u8]) -> Result<BTreeSet<Vec<u8>>, Refusal> {
    if !view.expect(key, Type::Set)? {
        return Ok(BTreeSet::new());
    }
    let (mut found, mut gathered, mut last) = (BTreeSet::new(), Gathered::default(), None);
    loop {
        let some = after(view, key, last.as_deref(), AT_ONCE);
        let full = some.len() == AT_ONCE;
        gathered.take(some.iter().map(Vec::len).sum());
        gathered.check()?;
        last = some.last().cloned();
        found.extend(some);
        answer_within(found.len())?;
        if !full {
            return Ok(found);
        }
    }
}

fn together(
    view: View<'_>,
    keys: &[Bytes],
    join: impl Fn(BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>>,
) -> Planned {
    let mut sum: Option<BTreeSet<Vec<u8>>> = None;
    for key in keys {
        let next = members(view, key)?;
        sum = Some(match sum {
            None => next,
            Some(sum) => join(sum, next),
        });
    }
    let found = sum.unwrap_or_default();
    answer_within(found.len())?;
    Ok(Plan::reads(Reply::Elements(found.into_iter().map(Bytes::from).collect())))
}

fn scan(view: View<'_>, key: &[u8], span: &Span) -> Planned {
    if !view.expect(key, Type::Set)? {
        return Ok(Plan::reads(Reply::Scan { next: None, found: Vec::new() }));
    }
    // A step may be shorter than it was asked to be: so many members of the largest size are an answer.
    let count = step(span).min(AT_ONCE);
    let looked_at = after(view, key, span.after.as_deref(), count);
    let next = (looked_at.len() == count).then(|| looked_at.last().cloned().map(Bytes::from)).flatten();
    let fits = |m: &Vec<u8>| span.pattern.as_ref().is_none_or(|p| matches(p, m));
    let found = looked_at.into_iter().filter(fits).map(Bytes::from).collect();
    Ok(Plan::reads(Reply::Scan { next, found }))
}

/// How many names a step of a scan looks at.
pub(super) fn step(span: &Span) -> usize {
    let wanted = if span.count == 0 { 10 } else { span.count };
    wanted.min(SCAN_MAX) as usize
}
