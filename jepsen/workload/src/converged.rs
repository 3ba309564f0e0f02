//! Whether a converged replica of an eventual keyspace holds what clients were told.
//!
//! | of | must hold at the end | file |
//! |---|---|---|
//! | sets, maps, lists | an element that was acknowledged and that nobody can have taken out is there; one that was seen where it was taken out, or certainly was not put, is not | [`elements`] |
//! | their emptying | who empties something at a node has seen what that node had acknowledged before | [`elements`] |
//! | a transaction | if anything that it put is or was there, all of it | [`elements`] |
//! | lists | each element once; those of one push together and in order; what a node pushed later is beyond what it had pushed before | [`lists`] |
//! | a counter | at least the sum of what was acknowledged, at most that and what may have been done | here |
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

mod elements;
mod lists;
mod registers;
#[cfg(test)]
mod tests;

use crate::judge::Broken;
use crate::record::{Deed, Log, Of, Outcome, Record};
use std::collections::BTreeMap;

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

/// Judges a log against a replica: how many acknowledged writes are lost, and the first thing that is wrong.
///
/// `may_be_lost`: acknowledged writes that were no promise, for they were answered ahead of the disk right before a
/// crash. They count as writes of which nobody knows.
#[must_use]
pub fn eventual(log: &Log, held: &dyn Holds, may_be_lost: &dyn Fn(&Record) -> bool) -> (u64, Option<Broken>) {
    let done: Vec<Done<'_>> = done(log, may_be_lost);
    let mut wrong = Wrong::default();
    let lists = lists::all(&done, held);
    elements::judge(&done, held, &lists, &mut wrong);
    counters(&done, held, &mut wrong);
    registers::judge(&done, held, &mut wrong);
    lists::judge(&done, &lists, &mut wrong);
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

fn counters(done: &[Done<'_>], held: &dyn Holds, wrong: &mut Wrong) {
    let mut sums: BTreeMap<u64, (u128, u128, &Record)> = BTreeMap::new();
    for one in done {
        if let Deed::Count { key, by } = one.deed {
            let (least, most, _) = sums.entry(*key).or_insert((0, 0, one.record));
            *least += u128::from(*by) * u128::from(one.promised);
            *most += u128::from(*by) * u128::from(!one.failed);
        }
    }
    for (key, (least, most, record)) in sums {
        let total = u128::try_from(held.total(key).unwrap_or(0)).unwrap_or(0);
        if total < least || total > most {
            let told = format!("counter {key} is {total}; {least} were acknowledged, {most} asked for");
            wrong.say(record, total < least, told);
        }
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
