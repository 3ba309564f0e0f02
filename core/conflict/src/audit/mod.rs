//! What was settled, by whose rule, and what did not prevail: written down so that it can be proved, explained and undone.
//!
//! **Promise.** Each resolution leaves a [`Record`] in its node's chain. A byte that was altered, a record that is missing or in another place is found
//! ([`Chain::verify`]). Each value that did not prevail can be had back for thirty days at least ([`Audit::undo`]), as a new write.
//!
//! | part | holds |
//! |---|---|
//! | [`Record`] | one resolution: conflict, policy, rule, strategy, inputs, output, reason; about 200 bytes |
//! | [`chain`] | a node's records, each bound to all before it by BLAKE3 |
//! | [`Audit`] | a chain, the values that are too long for records, indexes, retention |
//! | `explain` | what a person is told |
//! | [`trial`] | a policy tried against what was recorded |
//!
//! **Invariants.** 1. A value over [`INLINE_MAX`] bytes that did not prevail is kept beside the chain until its retention ends, else recording is
//! refused: then nothing is settled, and the siblings stay. 2. A record leaves its hash behind when its time is over; the chain still
//! verifies. 3. Time comes in; nothing here reads a clock.
//!
//! The chain of each node is a set of records that only grows: replicas exchange them like a G-Set. A chain's head, put into consensus now
//! and then, proves that nothing was cut off its end. Format: `docs/formats/audit.md`.

pub mod chain;
mod explain;
mod record;
pub mod trial;

pub use chain::{Chain, Head, Tampered};
pub use record::{Held, INLINE_MAX, Input, Output, Record, Settlement};

use crate::conflict::{Class, ConflictId, Place};
use crate::queue::Write;
use crate::reference::Name;
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use dwcp_crdt::{Dot, ReplicaIndex};

/// A day, in milliseconds.
pub const DAY: u64 = 86_400_000;
/// What did not prevail is kept for so long at least, in milliseconds.
pub const LOSERS_MIN: u64 = 30 * DAY;

/// How long what is kept, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    records: [u64; 5],
    losers: u64,
}

/// A retention that is too short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooShort {
    /// Of what did not prevail.
    #[error("what did not prevail would be kept for {0} ms: 30 days (2592000000 ms) at least")]
    Losers(u64),
    /// Of records.
    #[error(
        "records of class {0} would go before what did not prevail, and could not be undone: keep them for {1} ms at least"
    )]
    Records(Class, u64),
}

impl Retention {
    /// By class from C1 to C5, and of what did not prevail.
    ///
    /// # Errors
    /// If that is too short.
    pub fn new(records: [u64; 5], losers: u64) -> Result<Self, TooShort> {
        if losers < LOSERS_MIN {
            return Err(TooShort::Losers(losers));
        }
        match Class::ALL.into_iter().zip(records).find(|(_, r)| *r < losers) {
            Some((class, _)) => Err(TooShort::Records(class, losers)),
            None => Ok(Self { records, losers }),
        }
    }
    const fn of(&self, class: Class) -> u64 {
        self.records[class as usize - 1]
    }
}

impl Default for Retention {
    /// Thirty days; a year for what must never have been.
    fn default() -> Self {
        let (month, year) = (LOSERS_MIN, 365 * DAY);
        Self { records: [month, month, month, year, month], losers: LOSERS_MIN }
    }
}

/// There is no room for what would have to be kept. Nothing was recorded: let the siblings stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{needed} bytes are needed to keep what did not prevail, {left} of {most} are left: conflicts stay unsettled until some expire; raise the bound, or look for who writes so much against each other"
)]
pub struct NoRoom {
    /// What this record needs.
    pub needed: usize,
    /// What is left.
    pub left: usize,
    /// What there is.
    pub most: usize,
}

/// Why nothing can be brought back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoUndo {
    /// No record of that conflict.
    #[error("no record of conflict {0}: its retention is over, or another node has it")]
    Unknown(ConflictId),
    /// Nobody lost.
    #[error("nothing was lost in conflict {0}: all that was written stands")]
    Nobody(ConflictId),
    /// The write is none of it, or prevailed.
    #[error("{0} did not lose in this conflict: name one that explain shows as not prevailing")]
    Dot(Dot),
    /// The value is no longer kept.
    #[error("the value at {0} is no longer kept here: its retention is over")]
    Gone(Place),
}

/// A value that did not prevail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loser {
    /// In which conflict.
    pub id: ConflictId,
    /// Where.
    pub place: Place,
    /// Which write.
    pub dot: Dot,
    /// What it said; nothing if it deleted.
    pub value: Option<Value>,
}

/// One node's audit.
#[derive(Clone, Debug)]
pub struct Audit {
    chain: Chain,
    retention: Retention,
    /// Long values by hash: the value, its bytes, and until when it is kept.
    kept: BTreeMap<[u8; 32], (Value, usize, u64)>,
    left: usize,
    most: usize,
    by_conflict: BTreeMap<ConflictId, Vec<u64>>,
    by_object: BTreeMap<Name, Vec<u64>>,
}

impl Audit {
    /// An empty one, of a replica, which keeps so many bytes of long values at most.
    #[must_use]
    pub fn new(owner: ReplicaIndex, retention: Retention, most: usize) -> Self {
        Self {
            chain: Chain::new(owner),
            retention,
            kept: BTreeMap::new(),
            left: most,
            most,
            by_conflict: BTreeMap::new(),
            by_object: BTreeMap::new(),
        }
    }
    /// The chain.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }
    /// Writes a resolution down, with all values that its inputs had.
    ///
    /// # Errors
    /// If there is no room for what did not prevail; then it must not be carried out either.
    pub fn record(&mut self, settlement: &Settlement<'_>) -> Result<Head, NoRoom> {
        let (record, long) = Record::of(settlement);
        let until = record.at.millis().saturating_add(self.retention.losers);
        let new = |(hash, _, _): &&([u8; 32], Value, usize)| !self.kept.contains_key(hash);
        let needed = long.iter().filter(new).map(|l| l.2).sum();
        self.left =
            self.left.checked_sub(needed).ok_or(NoRoom { needed, left: self.left, most: self.most })?;
        for (hash, value, size) in long {
            let kept = self.kept.entry(hash).or_insert((value, size, until));
            kept.2 = kept.2.max(until);
        }
        let head = self.chain.append(&record);
        self.by_conflict.entry(record.id).or_default().push(head.sequence);
        let name = (record.place.kind.clone(), record.place.key.clone());
        self.by_object.entry(name).or_default().push(head.sequence);
        Ok(head)
    }
    /// The conflicts whose names begin with these hexadecimal digits, as `explain` shows them; sixteen at most.
    #[must_use]
    pub fn named(&self, begins: &str) -> Vec<ConflictId> {
        let alike = |id: &&ConflictId| alloc::format!("{id}").starts_with(begins);
        self.by_conflict.keys().filter(alike).take(16).copied().collect()
    }
    /// The records of a conflict: one for each place where its writes met.
    pub fn of_conflict(&self, id: ConflictId) -> impl Iterator<Item = Record> + '_ {
        self.by_conflict.get(&id).into_iter().flatten().filter_map(|s| self.chain.get(*s))
    }
    /// The records of an object, the first first.
    pub fn of_object(&self, kind: &str, key: &str) -> impl Iterator<Item = Record> + '_ {
        let name: Name = (kind.into(), key.into());
        self.by_object.get(&name).into_iter().flatten().filter_map(|s| self.chain.get(*s))
    }
    /// A value that a record holds or names.
    #[must_use]
    pub fn value(&self, held: &Held) -> Option<Value> {
        match held {
            Held::Value(v) => Some(v.clone()),
            Held::Hash(hash) => self.kept.get(hash).map(|(v, ..)| v.clone()),
        }
    }
    /// What a person is told of an object's conflicts; at one place, or anywhere in it.
    #[must_use]
    pub fn explain(&self, kind: &str, key: &str, at: Option<&crate::Pointer>) -> alloc::string::String {
        let records: Vec<Record> =
            self.of_object(kind, key).filter(|r| at.is_none_or(|at| r.place.pointer == *at)).collect();
        explain::explain(self, kind, key, &records)
    }
    /// All that did not prevail and can still be had back; as an error what can't.
    pub fn losers(&self) -> impl Iterator<Item = Result<Loser, NoUndo>> + '_ {
        self.chain.records().flat_map(|(_, r)| {
            let losers: Vec<Result<Loser, NoUndo>> = r.losers().map(|i| self.loser(&r, i)).collect();
            losers
        })
    }
    fn loser(&self, r: &Record, input: &Input) -> Result<Loser, NoUndo> {
        let value = match &input.value {
            None => None,
            Some(held) => Some(self.value(held).ok_or_else(|| NoUndo::Gone(r.place.clone()))?),
        };
        Ok(Loser { id: r.id, place: r.place.clone(), dot: input.dot, value })
    }
    /// The writes that bring back what lost: what `which` wrote, or at each place the latest that did not prevail.
    ///
    /// # Errors
    /// If nothing is known, nobody lost, or it is no longer kept.
    pub fn undo(&self, id: ConflictId, which: Option<Dot>) -> Result<Vec<Write>, NoUndo> {
        let mut records: Vec<Record> = self.of_conflict(id).collect();
        if records.is_empty() {
            return Err(NoUndo::Unknown(id));
        }
        // A person's later decision replaces what stood until then.
        records.sort_by(|a, b| a.place.cmp(&b.place));
        records.reverse();
        records.dedup_by(|later, kept| later.place == kept.place);
        let mut out = Vec::new();
        for r in records.iter().rev() {
            let chosen = match which {
                Some(dot) => r.losers().find(|i| i.dot == dot),
                None => r.losers().next(),
            };
            let Some(input) = chosen else { continue };
            let mut supersedes: Vec<Dot> = r.inputs.iter().map(|i| i.dot).chain(r.output.dot).collect();
            supersedes.sort_unstable();
            out.push(Write { place: r.place.clone(), value: self.loser(r, input)?.value, supersedes });
        }
        match (out.is_empty(), which) {
            (false, _) => Ok(out),
            (true, Some(dot)) => Err(NoUndo::Dot(dot)),
            (true, None) => Err(NoUndo::Nobody(id)),
        }
    }
    /// Lets go of what its retention allows, by this time.
    pub fn expire(&mut self, now_millis: u64) {
        let retention = self.retention;
        self.chain.expire(|class, at| at.millis().saturating_add(retention.of(class)) <= now_millis);
        let mut freed = 0;
        self.kept.retain(|_, (_, size, until)| {
            let stays = *until > now_millis;
            freed += if stays { 0 } else { *size };
            stays
        });
        self.left += freed;
        let there = |s: &u64| self.chain.has(*s);
        for index in self.by_conflict.values_mut().chain(self.by_object.values_mut()) {
            index.retain(there);
        }
        self.by_conflict.retain(|_, all| !all.is_empty());
        self.by_object.retain(|_, all| !all.is_empty());
    }
}
