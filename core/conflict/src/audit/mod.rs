//! What was settled, by whose rule, and what did not prevail: written down so that it can be proved, explained and undone.
//!
//! **Promise.** Each resolution leaves a [`Record`] in its node's chain. A byte that was altered, a record that is missing or in another place is found
//! ([`Chain::verify`]). Each value that did not prevail can be had back for thirty days at least ([`Audit::undo`]), as a new write.
//!
//! | part | holds |
//! |---|---|
//! | [`Record`] | one resolution: conflict, policy, rule, strategy, inputs, output, reason; about 200 bytes |
//! | [`chain`] | a node's records, each bound to all before it by BLAKE3 |
//! | [`Audit`] | a node's own chain and those of others, the values that are too long for records, indexes, retention |
//! | `explain` | what a person is told |
//! | [`promised`] | heads of chains, as they were put into consensus |
//! | [`trial`] | a policy tried against what was recorded |
//!
//! **Invariants.** 1. A value over [`INLINE_MAX`] bytes that did not prevail is kept beside the chain until its retention ends, else recording is
//! refused: then nothing is settled, and the siblings stay. 2. A record leaves its hash behind when its time is over; the chain still
//! verifies. 3. Time comes in; nothing here reads a clock.
//!
//! The chain of each node is a set of records that only grows: replicas exchange them like a G-Set, record by record
//! ([`Audit::take_in`]); after a restart a node has its own back in the same way. What lies elsewhere is let go of there first
//! ([`Audit::over`]). A chain's head, put into consensus now and then, proves that
//! nothing was cut off its end. Format: `docs/formats/audit.md`.

pub mod chain;
mod explain;
pub mod promised;
mod record;
pub mod trial;

pub use chain::{Chain, Head, Tampered};
pub use explain::date;
pub use promised::Promised;
pub use record::{Held, INLINE_MAX, INPUTS_MAX, Input, Output, RECORD_MAX, Record, Settlement};

use crate::conflict::{Class, ConflictId, Place};
use crate::queue::Write;
use crate::reference::Name;
use crate::value::Value;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use chain::Tip;
use dwcp_crdt::code::Writer;
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};

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
    /// All so many days, and a year at least for what must never have been.
    ///
    /// # Errors
    /// If that is too short.
    pub fn of_days(days: u64) -> Result<Self, TooShort> {
        let losers = days.saturating_mul(DAY);
        let mut records = [losers; 5];
        records[Class::Invariant as usize - 1] = losers.max(365 * DAY);
        Self::new(records, losers)
    }
    /// How long records of a class are kept, in milliseconds.
    #[must_use]
    pub const fn of(&self, class: Class) -> u64 {
        self.records[class as usize - 1]
    }
    /// How long what did not prevail is kept, in milliseconds.
    #[must_use]
    pub const fn of_losers(&self) -> u64 {
        self.losers
    }
    fn is_over(&self, class: Class, at: Hlc, now_millis: u64) -> bool {
        at.millis().saturating_add(self.of(class)) <= now_millis
    }
    /// Whether nothing of that time is kept, of whatever class.
    fn is_forgotten(&self, at: Hlc, now_millis: u64) -> bool {
        let longest = self.records.iter().copied().max().unwrap_or(u64::MAX);
        at.millis().saturating_add(longest) <= now_millis
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

/// Why a resolution could not be written down. Nothing was recorded: let the siblings stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotRecorded {
    /// There is no room for what would have to be kept.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The record would be larger than readers take.
    #[error(
        "the record of {inputs} writes has {size} bytes, {INPUTS_MAX} writes and {RECORD_MAX} bytes are allowed: write over some of the siblings by hand, or give writers shorter names"
    )]
    Large {
        /// Of how many writes.
        inputs: usize,
        /// Its bytes.
        size: usize,
    },
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

/// A long value that is kept beside the chains.
#[derive(Clone, Debug)]
struct Kept {
    value: Option<Value>,
    size: usize,
    until: u64,
}

/// A record that can be written down.
#[derive(Clone, Debug)]
pub struct Planned {
    after: Head,
    /// Its number.
    pub sequence: u64,
    /// What [`Chain::entry_bytes`] will give of it.
    pub entry: Vec<u8>,
    /// The record.
    pub record: Record,
    bytes: Vec<u8>,
    long: Vec<([u8; 32], Value, usize)>,
    left: usize,
}

impl Planned {
    /// The long values that are to be kept beside it, and their hashes.
    pub fn long(&self) -> impl Iterator<Item = (&[u8; 32], &Value)> {
        self.long.iter().map(|(hash, value, _)| (hash, value))
    }
}

/// What of a chain is over: for who keeps it elsewhere, too, and lets go there first ([`Audit::over`]).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Over {
    /// Numbers of records, and what stands for each from then on, as [`Chain::entry_bytes`] will give it.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Hashes of long values that these and older records named and that no record needs any more.
    pub values: Vec<[u8; 32]>,
}

impl Over {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.values.is_empty()
    }
}

/// One node's audit.
#[derive(Clone, Debug)]
pub struct Audit {
    owner: ReplicaIndex,
    chains: BTreeMap<ReplicaIndex, Chain>,
    retention: Retention,
    /// Long values by hash; of others' records also those that have not come.
    kept: BTreeMap<[u8; 32], Kept>,
    left: usize,
    most: usize,
    by_conflict: BTreeMap<ConflictId, Vec<(ReplicaIndex, u64)>>,
    by_object: BTreeMap<Name, Vec<(ReplicaIndex, u64)>>,
}

impl Audit {
    /// An empty one, of a replica, which keeps so many bytes of long values at most.
    #[must_use]
    pub fn new(owner: ReplicaIndex, retention: Retention, most: usize) -> Self {
        Self {
            owner,
            chains: [(owner, Chain::new(owner))].into(),
            retention,
            kept: BTreeMap::new(),
            left: most,
            most,
            by_conflict: BTreeMap::new(),
            by_object: BTreeMap::new(),
        }
    }
    /// One made of chains that were read, its own and others', and of the long values that were kept beside them.
    ///
    /// # Errors
    /// If a chain is not what was written, or went too early; or one replica has two.
    pub fn restore(
        (owner, retention, most): (ReplicaIndex, Retention, usize),
        chains: impl IntoIterator<Item = Chain>,
        values: impl IntoIterator<Item = Value>,
        now_millis: u64,
    ) -> Result<Self, Tampered> {
        let mut audit = Self::new(owner, retention, most);
        for chain in chains {
            chain.verify(None)?;
            chain.verify_kept(now_millis, &retention)?;
            let of = chain.owner();
            let records: Vec<(u64, Record)> = chain.records().collect();
            if audit.chains.insert(of, chain).is_some_and(|had| had.head().sequence > 0) {
                return Err(Tampered::Owner { found: of, wanted: of });
            }
            records.iter().for_each(|(sequence, r)| audit.index(of, *sequence, r));
        }
        for value in values {
            audit.keep(value);
        }
        Ok(audit)
    }
    /// Its own chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        // Made with the audit, and never removed.
        &self.chains[&self.owner]
    }
    /// All chains that it has: its own, and what came of others'.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }
    /// Takes the next record of a replica's chain in, its own after a restart or another's; tells it if it is whole.
    ///
    /// # Errors
    /// If it does not follow, or is not what was written. Nothing changed.
    pub fn take_in(
        &mut self,
        of: ReplicaIndex,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<Option<Record>, Tampered> {
        let chain = self.chains.entry(of).or_insert_with(|| Chain::new(of));
        let record = chain.take(sequence, bytes)?;
        if let Some(r) = &record {
            self.index(of, sequence, r);
        }
        Ok(record)
    }
    /// Takes a long value in, if a record names it and there is room; tells whether it is kept.
    pub fn keep(&mut self, value: Value) -> bool {
        let bytes = value.to_bytes();
        let Some(kept) = self.kept.get_mut(blake3::hash(&bytes).as_bytes()) else { return false };
        if kept.value.is_none() {
            let Some(left) = self.left.checked_sub(bytes.len()) else { return false };
            (self.left, kept.size, kept.value) = (left, bytes.len(), Some(value));
        }
        true
    }
    /// The long values that are kept.
    pub fn kept(&self) -> impl Iterator<Item = &Value> {
        self.kept.values().filter_map(|k| k.value.as_ref())
    }
    fn index(&mut self, of: ReplicaIndex, sequence: u64, record: &Record) {
        let until = record.at.millis().saturating_add(self.retention.losers);
        for hash in record.long() {
            let kept = self.kept.entry(*hash).or_insert(Kept { value: None, size: 0, until });
            kept.until = kept.until.max(until);
        }
        self.by_conflict.entry(record.id).or_default().push((of, sequence));
        let name = (record.place.kind.clone(), record.place.key.clone());
        self.by_object.entry(name).or_default().push((of, sequence));
    }
    /// Writes a resolution down, with all values that its inputs had.
    ///
    /// # Errors
    /// If there is no room for what did not prevail, or the record is too large; then it must not be carried out either.
    pub fn record(&mut self, settlement: &Settlement<'_>) -> Result<Head, NotRecorded> {
        let planned = self.plan(settlement)?;
        Ok(self.carry_out(planned))
    }
    /// What would be written down: for who keeps chain and values elsewhere too, and has to know whether that can be done before it counts.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub fn plan(&self, settlement: &Settlement<'_>) -> Result<Planned, NotRecorded> {
        self.plan_after(&mut self.chain().tip(), &mut self.left.clone(), &mut BTreeSet::new(), settlement)
    }
    /// What would be written down of several, one after the other: all of them are carried out in this order, or none.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub fn plan_all(&self, all: &[Settlement<'_>]) -> Result<Vec<Planned>, NotRecorded> {
        let (mut tip, mut left, mut named) = (self.chain().tip(), self.left, BTreeSet::new());
        all.iter().map(|s| self.plan_after(&mut tip, &mut left, &mut named, s)).collect()
    }
    /// What would be written down behind what is planned already: `named` are the long values that it keeps.
    fn plan_after(
        &self,
        tip: &mut Tip,
        left: &mut usize,
        named: &mut BTreeSet<[u8; 32]>,
        settlement: &Settlement<'_>,
    ) -> Result<Planned, NotRecorded> {
        let (record, long) = Record::of(settlement);
        let mut bytes = Writer::new();
        bytes.reserve(256);
        record.encode(&mut bytes);
        let (inputs, size) = (record.inputs.len(), bytes.len());
        if inputs > INPUTS_MAX || size > RECORD_MAX {
            return Err(NotRecorded::Large { inputs, size });
        }
        let there = |hash: &[u8; 32]| self.kept.get(hash).is_some_and(|k| k.value.is_some());
        let new = |hash: &[u8; 32]| !there(hash) && !named.contains(hash);
        let needed = long.iter().filter(|(hash, ..)| new(hash)).map(|l| l.2).sum();
        *left = left.checked_sub(needed).ok_or(NoRoom { needed, left: *left, most: self.most })?;
        named.extend(long.iter().map(|(hash, ..)| *hash));
        let after = tip.head;
        let entry = tip.next(record.class, record.at, bytes.as_slice());
        let sequence = tip.head.sequence;
        Ok(Planned { after, sequence, entry, record, bytes: bytes.into_bytes(), long, left: *left })
    }
    /// Writes down what was planned. A plan that was made before another was carried out is made anew from its record.
    pub fn carry_out(&mut self, planned: Planned) -> Head {
        let owner = self.owner;
        let chain = self.chains.entry(owner).or_insert_with(|| Chain::new(owner));
        debug_assert_eq!(chain.head(), planned.after, "a plan of an older chain");
        let Planned { record, bytes, long, left, .. } = planned;
        let head = chain.append(record.class, record.at, bytes);
        self.left = left;
        self.index(owner, head.sequence, &record);
        for (hash, value, size) in long {
            if let Some(kept) = self.kept.get_mut(&hash) {
                (kept.value, kept.size) = (Some(value), size);
            }
        }
        head
    }
    /// The hashes of long values that records name and that are not kept here.
    pub fn missing(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.kept.iter().filter(|(_, k)| k.value.is_none()).map(|(hash, _)| hash)
    }
    fn read(&self, (of, sequence): (ReplicaIndex, u64)) -> Option<Record> {
        self.chains.get(&of)?.get(sequence)
    }
    /// The conflicts whose names begin with these hexadecimal digits, as `explain` shows them; sixteen at most.
    #[must_use]
    pub fn named(&self, begins: &str) -> Vec<ConflictId> {
        let alike = |id: &&ConflictId| alloc::format!("{id}").starts_with(begins);
        self.by_conflict.keys().filter(alike).take(16).copied().collect()
    }
    /// The records of a conflict, the first first: one for each place where its writes met, and each node that settled it.
    pub fn of_conflict(&self, id: ConflictId) -> impl Iterator<Item = Record> + '_ {
        self.in_order(self.by_conflict.get(&id))
    }
    /// The records of an object, the first first.
    pub fn of_object(&self, kind: &str, key: &str) -> impl Iterator<Item = Record> + '_ {
        let name: Name = (kind.into(), key.into());
        self.in_order(self.by_object.get(&name))
    }
    fn in_order<'a>(
        &self,
        found: Option<&'a Vec<(ReplicaIndex, u64)>>,
    ) -> impl Iterator<Item = Record> + use<'a> {
        let mut all: Vec<((ReplicaIndex, u64), Record)> =
            found.into_iter().flatten().filter_map(|at| Some((*at, self.read(*at)?))).collect();
        all.sort_by_key(|((of, sequence), r)| (r.at, *of, *sequence));
        all.into_iter().map(|(_, r)| r)
    }
    /// All records that are still whole, the first first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let mut all: Vec<(ReplicaIndex, u64, Record)> =
            self.chains().flat_map(|c| c.records().map(|(n, r)| (c.owner(), n, r))).collect();
        all.sort_by_key(|(of, n, r)| (r.at, *of, *n));
        all.into_iter().map(|(_, _, r)| r).collect()
    }
    /// A value that a record holds or names.
    #[must_use]
    pub fn value(&self, held: &Held) -> Option<Value> {
        match held {
            Held::Value(v) => Some(v.clone()),
            Held::Hash(hash) => self.kept.get(hash)?.value.clone(),
        }
    }
    /// What a person is told of an object's conflicts; at one place, or anywhere in it.
    #[must_use]
    pub fn explain(&self, kind: &str, key: &str, at: Option<&crate::Pointer>) -> alloc::string::String {
        let records: Vec<Record> =
            self.of_object(kind, key).filter(|r| at.is_none_or(|at| r.place.pointer == *at)).collect();
        explain::explain(self, kind, key, &records)
    }
    /// What is told beside a name that is not on record: that records are over, if any are.
    #[must_use]
    pub fn told_gone(&self) -> alloc::string::String {
        explain::gone(self)
    }
    /// All that did not prevail and can still be had back; as an error what can't.
    pub fn losers(&self) -> impl Iterator<Item = Result<Loser, NoUndo>> + '_ {
        self.records().into_iter().flat_map(|r| {
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
        // A person's later decision replaces what stood until then: of each place the last.
        let all: Vec<(Place, Option<Dot>)> =
            records.iter().map(|r| (r.place.clone(), r.output.dot)).collect();
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
            // Each node that settled it may have written.
            let outputs = all.iter().filter(|(place, _)| *place == r.place).filter_map(|(_, dot)| *dot);
            let mut supersedes: Vec<Dot> = r.inputs.iter().map(|i| i.dot).chain(outputs).collect();
            supersedes.sort_unstable();
            supersedes.dedup();
            out.push(Write { place: r.place.clone(), value: self.loser(r, input)?.value, supersedes });
        }
        match (out.is_empty(), which) {
            (false, _) => Ok(out),
            (true, Some(dot)) => Err(NoUndo::Dot(dot)),
            (true, None) => Err(NoUndo::Nobody(id)),
        }
    }
    /// What is over of a replica's chain by this time, as far as it is whole here: so many records at most, and as many values. `lies`: whether a long
    /// value is still kept elsewhere. Write the records anew there and remove the values, in one transaction: a record that went alone
    /// would leave values that nothing names. Then [`Audit::let_go`].
    #[must_use]
    pub fn over(
        &self,
        of: ReplicaIndex,
        now_millis: u64,
        most: usize,
        lies: impl Fn(&[u8; 32]) -> bool,
    ) -> Over {
        let mut over = Over::default();
        let Some(chain) = self.chains.get(&of) else { return over };
        for (sequence, record, stub) in chain.over(now_millis, &self.retention) {
            for hash in record.long() {
                let needed = self.kept.get(hash).is_some_and(|kept| kept.until > now_millis);
                if !needed && !over.values.contains(hash) && lies(hash) {
                    over.values.push(*hash);
                }
            }
            over.records.extend(stub.map(|stub| (sequence, stub)));
            if over.records.len() >= most || over.values.len() >= most {
                break;
            }
        }
        over
    }
    /// What was over is gone elsewhere, and goes here.
    pub fn let_go(&mut self, of: ReplicaIndex, over: &Over) {
        if let Some(chain) = self.chains.get_mut(&of) {
            over.records.iter().for_each(|(sequence, _)| chain.let_go(*sequence));
        }
        for hash in &over.values {
            self.left += self.kept.remove(hash).map_or(0, |kept| kept.size);
        }
        self.forget_names();
    }
    /// How many records are over, and when the last of them was made.
    #[must_use]
    pub fn gone(&self) -> (u64, Option<Hlc>) {
        let each = self.chains().map(Chain::gone);
        each.fold((0, None), |(n, last), (m, at)| (n + m, last.max(at)))
    }
    /// Lets go of what its retention allows, by this time.
    pub fn expire(&mut self, now_millis: u64) {
        let all: Vec<ReplicaIndex> = self.chains.keys().copied().collect();
        self.expire_of(&all, now_millis);
    }
    /// The same of some chains, and of all long values.
    pub fn expire_of(&mut self, of: &[ReplicaIndex], now_millis: u64) {
        let retention = self.retention;
        for owner in of {
            if let Some(chain) = self.chains.get_mut(owner) {
                chain.expire(now_millis, &retention);
            }
        }
        let mut freed = 0;
        self.kept.retain(|_, kept| {
            let stays = kept.until > now_millis;
            freed += if stays { 0 } else { kept.size };
            stays
        });
        self.left += freed;
        self.forget_names();
    }
    /// Names lead to whole records only.
    fn forget_names(&mut self) {
        let there = |(of, s): &(ReplicaIndex, u64)| self.chains.get(of).is_some_and(|c| c.has(*s));
        for index in self.by_conflict.values_mut().chain(self.by_object.values_mut()) {
            index.retain(there);
        }
        self.by_conflict.retain(|_, all| !all.is_empty());
        self.by_object.retain(|_, all| !all.is_empty());
    }
}
