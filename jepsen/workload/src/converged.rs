//! Whether a converged replica of an eventual keyspace holds what clients were told.
//!
//! | of | must hold at the end | file |
//! |---|---|---|
//! | sets, maps, lists | an element that was acknowledged and that nobody can have taken out is there; one that was seen where it was taken out, or certainly was not put, is not | [`elements`] |
//! | their emptying | who empties something at a node has seen what that node had acknowledged before | [`elements`] |
//! | a transaction | if anything that it put is or was there, all of it | [`elements`] |
//! | lists | each element once; those of one push together and in order; what a node pushed later is beyond what it had pushed before, unless it was evicted | [`lists`] |
//! | a counter | at least the sum of what was acknowledged, at most that and what may have been done | [`counters`] |
//! | a read of one | at least what its node had acknowledged or shown before; at most what was asked for by then | [`counters`] |
//! | a register | a value that somebody wrote; some value, if any write was acknowledged and nobody can have removed it; none that the node that acknowledged it wrote over or removed | [`registers`] |
//!
//! **What an emptying proves.** `DEL` takes out what its node had seen, and no more. It is asked in one transaction with a
//! read, so that its answer says what that was: that is gone for good, all else stays. One of which nobody knows whether it was
//! done proves nothing, and nothing can be said any more of what it may have taken out.
//!
//! **What a node's word proves.** A node that acknowledged a write has it until something takes it out: what that node is asked later (after the
//! answer, by the clock of the one who recorded both) has seen it, and supersedes or removes it. Of writes at different nodes nothing
//! follows: both may be concurrent.
//!
//! That replicas agree is for `eventual_converged` to say; one of them stands for all here.

mod counters;
mod elements;
mod lists;
mod registers;
#[cfg(test)]
mod tests;

use crate::judge::Broken;
use crate::record::{Deed, Log, Of, Outcome, Record};
use dwcp_env::NodeId;

/// What a replica holds.
pub trait Holds {
    /// Whether a set has an element.
    fn contains(&self, set: u64, element: u64) -> bool;
    /// A counter's total; nothing if there is none.
    fn total(&self, counter: u64) -> Option<i128>;
    /// A register's value as it is shown.
    fn value(&self, register: u64) -> Option<Vec<u8>>;
    /// Whether a map has a field.
    fn field(&self, map: u64, field: u64) -> bool;
    /// A list's elements, in order.
    fn list(&self, list: u64) -> Vec<Vec<u8>>;
}

/// What the world did that takes the force from a promise.
pub struct Excuses<'a> {
    /// Acknowledged writes that were no promise, for they were answered ahead of the disk right before a crash. They count as
    /// writes of which nobody knows.
    pub may_be_lost: &'a dyn Fn(&Record) -> bool,
    /// Nodes that were evicted. What they had pushed alone was made anew, beside what stood there by then: each push together, but not
    /// always beyond those before it.
    pub was_evicted: &'a dyn Fn(NodeId) -> bool,
}

impl Excuses<'_> {
    /// Nothing of that kind.
    pub const NONE: Self = Self { may_be_lost: &|_| false, was_evicted: &|_| false };
}

/// Judges a log against a replica: how many acknowledged writes are lost, and the first thing that is wrong.
#[must_use]
pub fn eventual(log: &Log, held: &dyn Holds, excuses: &Excuses<'_>) -> (u64, Option<Broken>) {
    let done: Vec<Done<'_>> = done(log, excuses.may_be_lost);
    let mut wrong = Wrong::default();
    let lists = lists::all(&done, held);
    elements::judge(&done, held, &lists, &mut wrong);
    counters::judge(&done, held, &mut wrong);
    registers::judge(&done, held, &mut wrong);
    lists::judge(&done, &lists, excuses.was_evicted, &mut wrong);
    (wrong.lost, wrong.first)
}

/// A deed, and what is known of its fate.
#[derive(Clone, Copy)]
struct Done<'a> {
    record: &'a Record,
    deed: &'a Deed,
    /// It was acknowledged, and that was a promise.
    promised: bool,
    /// It certainly was not done.
    failed: bool,
}

fn done<'a>(log: &'a Log, may_be_lost: &dyn Fn(&Record) -> bool) -> Vec<Done<'a>> {
    let of = |record: &'a Record| {
        let promised = record.outcome == Outcome::Ok && !may_be_lost(record);
        let failed = record.outcome == Outcome::Fail;
        record.what.deeds().iter().map(move |deed| Done { record, deed, promised, failed })
    };
    log.records.iter().flat_map(of).collect()
}

impl Done<'_> {
    /// Whether the node that has acknowledged `self` was asked `later` after that: it had `self` then.
    fn is_known_to(&self, later: &Record) -> bool {
        let r = self.record;
        self.promised && r.node.is_some() && r.node == later.node && r.ret_place < later.call_place
    }
}

/// What was found wrong.
#[derive(Default)]
struct Wrong {
    lost: u64,
    first: Option<Broken>,
}

impl Wrong {
    /// Something is wrong with what this operation did. `promised`: it was acknowledged, and is lost by that.
    fn say(&mut self, record: &Record, promised: bool, detail: String) {
        self.lost += u64::from(promised);
        self.first.get_or_insert_with(|| Broken::by(record, detail));
    }
}

/// Who did something, for people.
fn at(record: &Record) -> String {
    record.node.map_or_else(|| "a node".to_owned(), |n| n.to_string())
}

/// Whether an emptying is one of these.
fn emptied<'a>(one: &Done<'a>) -> Option<(Of, u64, &'a [u64])> {
    match one.deed {
        Deed::Empty { of, key, seen } if !one.failed => Some((*of, *key, seen)),
        _ => None,
    }
}
