//! Accepted values by slot, kept as runs.
//!
//! **Model.** A [`Batch`] is a shared slice of payloads: taking a part or a copy costs one reference
//! count, whatever it holds. A [`Run`] is a batch accepted in one ballot at consecutive slots. The
//! [`Log`] is a sorted ring of runs that do not overlap; slots between runs hold nothing. A step that
//! accepts 1,024 commands appends one run.
//!
//! **Rejected.** *One cell per slot*: a thousand reference counts where one does, and a copy of the
//! ballot beside every command.

use super::config::SLOT_BYTES;
use super::message::Ballot;
use crate::step::Payload;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::RangeInclusive;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A shared slice of payloads.
#[derive(Clone)]
pub struct Batch {
    all: Arc<Vec<Payload>>,
    from: usize,
    to: usize,
    bytes: usize,
}

impl Batch {
    /// All of these.
    #[must_use]
    pub fn new(all: Vec<Payload>) -> Self {
        let bytes = all.iter().map(Payload::len).sum();
        Self { from: 0, to: all.len(), bytes, all: Arc::new(all) }
    }
    /// The payloads.
    #[must_use]
    pub fn payloads(&self) -> &[Payload] {
        &self.all[self.from..self.to]
    }
    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.to - self.from
    }
    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.to == self.from
    }
    /// Bytes of its payloads, without framing.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
    /// The part from place `from`, before place `to`.
    ///
    /// # Panics
    /// If it does not reach that far.
    #[must_use]
    pub fn part(&self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.len(), "a part lies within its batch");
        if from == 0 && to == self.len() {
            return self.clone();
        }
        let (from, to) = (self.from + from, self.from + to);
        let bytes = self.all[from..to].iter().map(Payload::len).sum();
        Self { all: self.all.clone(), from, to, bytes }
    }
}

impl PartialEq for Batch {
    fn eq(&self, o: &Self) -> bool {
        (Arc::ptr_eq(&self.all, &o.all) && self.from == o.from && self.to == o.to)
            || self.payloads() == o.payloads()
    }
}
impl Eq for Batch {}
impl Hash for Batch {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.payloads().hash(h);
    }
}
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.payloads()).finish()
    }
}
impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.payloads().serialize(s)
    }
}
impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Vec::deserialize(d).map(Self::new)
    }
}

/// Payloads accepted in one ballot at consecutive slots.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Run {
    /// The slot of the first.
    pub first: u64,
    /// The ballot.
    pub ballot: Ballot,
    /// The payloads; never empty.
    pub batch: Batch,
}

impl Run {
    /// The slot of the last.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first + self.batch.len() as u64 - 1
    }
    /// Bytes of its payloads, each with its place.
    const fn weight(&self) -> usize {
        self.batch.bytes() + self.batch.len() * SLOT_BYTES
    }
    /// What of it lies in these slots.
    #[must_use]
    pub fn within(&self, slots: RangeInclusive<u64>) -> Option<Self> {
        let (from, to) = (self.first.max(*slots.start()), self.last().min(*slots.end()));
        (from <= to).then(|| {
            let (a, b) = ((from - self.first) as usize, (to - self.first) as usize + 1);
            Self { first: from, ballot: self.ballot, batch: self.batch.part(a, b) }
        })
    }
    /// The payload at a slot it holds.
    #[must_use]
    pub fn at(&self, slot: u64) -> &Payload {
        &self.batch.payloads()[(slot - self.first) as usize]
    }
}

/// Accepted values by slot.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Log {
    runs: VecDeque<Run>,
    bytes: usize,
}

impl Log {
    /// The runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }
    /// What all payloads weigh, each with its place.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
    /// What the payloads in these slots weigh.
    #[must_use]
    pub fn weigh(&self, slots: RangeInclusive<u64>) -> usize {
        self.within(slots).map(|r| r.weight()).sum()
    }
    /// The last slot that holds something, or 0.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.runs.back().map_or(0, Run::last)
    }
    /// The place of the first run that ends at or behind this slot.
    fn seek(&self, slot: u64) -> usize {
        // What is asked for lies at the end, nearly always.
        match self.runs.back() {
            None => 0,
            Some(run) if run.last() < slot => self.runs.len(),
            Some(run) if run.first <= slot => self.runs.len() - 1,
            Some(_) => self.runs.partition_point(|r| r.last() < slot),
        }
    }
    /// What is accepted at a slot.
    #[must_use]
    pub fn get(&self, slot: u64) -> Option<(Ballot, &Payload)> {
        let run = self.runs.get(self.seek(slot)).filter(|r| r.first <= slot)?;
        Some((run.ballot, run.at(slot)))
    }
    /// The runs in these slots, cut to them.
    pub fn within(&self, slots: RangeInclusive<u64>) -> impl Iterator<Item = Run> {
        let at = self.seek(*slots.start());
        self.runs.range(at.min(self.runs.len())..).map_while(move |r| r.within(slots.clone()))
    }
    /// The last slot up to which, from `from` on, every slot is accepted in this ballot; `from - 1` if
    /// not even the first is.
    #[must_use]
    pub fn reach(&self, from: u64, ballot: Ballot) -> u64 {
        let mut next = from;
        for run in self.runs.range(self.seek(from)..) {
            if run.first > next || run.ballot != ballot {
                break;
            }
            next = run.last() + 1;
        }
        next - 1
    }
    /// The last slot up to which, from `from` on, every slot holds something; `from - 1` if not.
    #[must_use]
    pub fn unbroken(&self, from: u64) -> u64 {
        let mut next = from;
        for run in self.runs.range(self.seek(from)..) {
            if run.first > next {
                break;
            }
            next = run.last() + 1;
        }
        next - 1
    }
    /// Whether a slot of this run holds another value in the same ballot, or in any ballot up to
    /// slot `chosen`.
    #[must_use]
    pub fn contradicts(&self, run: &Run, chosen: u64) -> bool {
        self.within(run.first..=run.last()).any(|held| {
            (held.first..=held.last())
                .any(|s| (held.ballot == run.ballot || s <= chosen) && held.at(s) != run.at(s))
        })
    }
    /// Puts a run in place of whatever its slots held.
    pub fn put(&mut self, run: Run) {
        self.bytes += run.weight();
        let lo = self.seek(run.first);
        if lo == self.runs.len() {
            self.runs.push_back(run);
            return;
        }
        let hi = self.runs.partition_point(|r| r.first <= run.last());
        let tail = self.runs.split_off(hi);
        let covered = self.runs.split_off(lo);
        self.bytes -= covered.iter().map(Run::weight).sum::<usize>();
        let left = covered.front().and_then(|r| r.within(0..=run.first - 1));
        let right = covered.back().and_then(|r| r.within(run.last() + 1..=u64::MAX));
        self.bytes += left.iter().chain(&right).map(Run::weight).sum::<usize>();
        self.runs.extend(left.into_iter().chain([run]).chain(right).chain(tail));
    }
    /// Puts those slots of a run that hold nothing or a value of a lower ballot.
    pub fn raise(&mut self, run: &Run) {
        let mut from = run.first;
        let held: Vec<(u64, u64, Ballot)> =
            self.within(run.first..=run.last()).map(|r| (r.first, r.last(), r.ballot)).collect();
        for (first, last, ballot) in held {
            if ballot >= run.ballot {
                if first > from
                    && let Some(part) = run.within(from..=first - 1)
                {
                    self.put(part);
                }
                from = last + 1;
            }
        }
        if let Some(part) = run.within(from..=run.last()) {
            self.put(part);
        }
    }
    /// Forgets all up to a slot.
    pub fn forget(&mut self, upto: u64) {
        while self.runs.front().is_some_and(|r| r.last() <= upto) {
            let run = self.runs.pop_front().expect("it has a front");
            self.bytes -= run.weight();
        }
        if let Some(front) = self.runs.front_mut()
            && let Some(rest) = front.within(upto + 1..=u64::MAX)
        {
            self.bytes = self.bytes + rest.weight() - front.weight();
            *front = rest;
        }
    }
    /// Runs from a slot on up to another, cut at a bound of bytes (but at least one payload) and of
    /// payloads; and where the rest begins, if something was left off.
    #[must_use]
    pub fn piece(
        &self,
        slots: RangeInclusive<u64>,
        bytes_max: usize,
        slots_max: usize,
    ) -> (Vec<Run>, Option<u64>) {
        let (mut runs, mut bytes, mut count) = (Vec::new(), 0, 0);
        for run in self.within(slots) {
            let mut fit = 0;
            for payload in run.batch.payloads() {
                if count == slots_max || (bytes + payload.len() > bytes_max && count > 0) {
                    break;
                }
                (bytes, count, fit) = (bytes + payload.len(), count + 1, fit + 1);
            }
            let whole = fit == run.batch.len();
            let next = run.first + fit as u64;
            if fit > 0 {
                runs.push(Run { batch: run.batch.part(0, fit), ..run });
            }
            if !whole {
                return (runs, Some(next));
            }
        }
        (runs, None)
    }
}
