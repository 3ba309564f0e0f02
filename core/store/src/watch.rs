//! Watches: every change of some keys from a revision on, once, in order, whole revisions.
//!
//! **Promise.** A watch is told every event of its range from its start revision on, each once, in
//! the order of revisions, and never a part of a revision — or it is told that its next revision
//! has been compacted, and ends.
//!
//! **Model.** Watches are local to a node and not replicated. A watch is a cursor into history, not
//! a queue: what it was not told yet is in the store, so a slow client costs no memory.
//!
//! ```text
//!            drain reaches the present                pause
//!  behind ───────────────────────────────▶ synced ───────────▶ paused
//!    ▲  reads history, a part in each drain   │ told as things are applied   │
//!    └─────────────────────────────────────────┴───────── resume ────────────┘
//! ```
//!
//! **Invariants.**
//! 1. A synced watch has been told everything up to `seen`; a watch behind or paused, everything
//!    below its `next`.
//! 2. One call of [`Watchers::drain`] looks at `budget` records and the rest of one revision.
//!
//! Flow control is the door's: it pauses a watch whose client does not read, and resumes it.

use crate::api::{EventKind, KeyRange, KeyValue, Revision, WatchEvent};
use crate::error::StoreError;
use crate::record::{Record, Rev};
use crate::store::Store;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A watch of one node. The node numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WatchId(pub u64);

/// What is watched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WatchRequest {
    /// First key.
    pub key: Bytes,
    /// See [`KeyRange::new`].
    pub range_end: Bytes,
    /// The first revision of interest; 0 or less: the next.
    pub start_revision: Revision,
    /// Tell what was there before.
    pub prev_kv: bool,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
}

/// What a watch is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchUpdate {
    /// Events of whole revisions, in order; never none.
    Events {
        /// Everything up to this revision has been told with this.
        revision: Revision,
        /// What happened.
        events: Vec<WatchEvent>,
    },
    /// The next revision to tell has been compacted. The watch is gone.
    Compacted {
        /// The oldest revision a new watch can start from.
        compact_revision: Revision,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Synced,
    Behind,
    Paused,
}

#[derive(Debug)]
struct Watch {
    request: WatchRequest,
    range: KeyRange,
    /// The first revision not told; of a synced watch only if above `seen`.
    next: Revision,
    state: State,
}

impl Watch {
    /// Whether it wants this event.
    fn wants(&self, rev: Rev, record: &Record) -> bool {
        let filtered = if record.is_tombstone() { self.request.no_delete } else { self.request.no_put };
        rev.main >= self.next && !filtered && self.range.contains(&record.key)
    }
}

/// All watches of a node on one store.
#[derive(Debug, Default)]
pub struct Watchers {
    watches: BTreeMap<WatchId, Watch>,
    /// Watches of one key, by it; and all others.
    of_key: BTreeMap<Bytes, BTreeSet<WatchId>>,
    of_range: BTreeSet<WatchId>,
    behind: BTreeSet<WatchId>,
    /// The watch behind that was served last: the next one comes after it.
    served: WatchId,
    /// Synced watches were told everything up to here.
    seen: Revision,
}

impl Watchers {
    /// No watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watches.len()
    }
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }
    /// Whether a drain would have something to look at.
    #[must_use]
    pub fn is_idle(&self, store: &Store) -> bool {
        self.behind.is_empty() && (self.is_empty() || self.seen >= store.revision())
    }
    /// Adds a watch under a new name. A start in the compacted past is told by the next drain.
    pub fn add(&mut self, id: WatchId, request: WatchRequest, store: &Store) {
        if self.watches.is_empty() {
            self.seen = store.revision();
        }
        let bugs = store.options.bugs;
        let wrong = i64::from(bugs.watch_skips_first()) - i64::from(bugs.watch_repeats_last());
        let asked = (request.start_revision + wrong).max(1);
        let next = if request.start_revision > 0 { asked } else { store.revision() + 1 };
        let range = KeyRange::new(&request.key, &request.range_end);
        match &range {
            KeyRange::One(key) => {
                self.of_key.entry(key.clone()).or_default().insert(id);
            }
            _ => {
                self.of_range.insert(id);
            }
        }
        let ahead = next > self.seen || bugs.watch_past_ignored();
        let state = if ahead { State::Synced } else { State::Behind };
        if state == State::Behind {
            self.behind.insert(id);
        }
        let before = self.watches.insert(id, Watch { request, range, next, state });
        assert!(before.is_none(), "a watch's name is new");
    }
    /// Ends a watch; false if there is none.
    pub fn remove(&mut self, id: WatchId) -> bool {
        let Some(watch) = self.watches.remove(&id) else { return false };
        self.behind.remove(&id);
        if let KeyRange::One(key) = &watch.range {
            if let Some(ids) = self.of_key.get_mut(key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.of_key.remove(key);
                }
            }
        } else {
            self.of_range.remove(&id);
        }
        true
    }
    /// Tells it nothing until [`Watchers::resume`].
    pub fn pause(&mut self, id: WatchId) {
        let Some(watch) = self.watches.get_mut(&id) else { return };
        if watch.state == State::Synced {
            watch.next = watch.next.max(self.seen + 1);
        }
        watch.state = State::Paused;
        self.behind.remove(&id);
    }
    /// Goes on with a paused watch where it was.
    pub fn resume(&mut self, id: WatchId) {
        if let Some(watch) = self.watches.get_mut(&id).filter(|w| w.state == State::Paused) {
            watch.state = State::Behind;
            self.behind.insert(id);
        }
    }
    /// The revision up to which a watch has been told everything, if that is the present as of
    /// the last drain: what a progress notification says.
    #[must_use]
    pub fn progress(&self, id: WatchId) -> Option<Revision> {
        self.watches.get(&id).filter(|w| w.state == State::Synced).map(|_| self.seen)
    }
    /// Tells watches what is new: looks at about `budget` records. True if more is waiting: call
    /// again soon.
    pub fn drain(
        &mut self,
        store: &Store,
        budget: usize,
        tell: &mut impl FnMut(WatchId, WatchUpdate),
    ) -> bool {
        if self.watches.is_empty() {
            self.seen = store.revision();
            return false;
        }
        match self.tell_new(store, budget, tell).and_then(|left| self.catch_up(store, left, tell)) {
            Ok(()) => !self.is_idle(store),
            Err(e) => {
                let _answer = store.fail(e);
                false
            }
        }
    }
    /// The synced watches; answers with what is left of the budget.
    fn tell_new(
        &mut self,
        store: &Store,
        budget: usize,
        tell: &mut impl FnMut(WatchId, WatchUpdate),
    ) -> Result<usize, StoreError> {
        if self.seen >= store.revision() {
            return Ok(budget);
        }
        if self.seen + 1 < store.compact_revision() {
            // Not drained for so long that history may have holes: each finds out for itself.
            self.fall_behind();
            self.seen = store.revision();
            return Ok(budget);
        }
        let part = Part::read(store, self.seen + 1, budget)?;
        for (revision, changes) in part.revisions() {
            let mut told: BTreeMap<WatchId, Vec<WatchEvent>> = BTreeMap::new();
            for (rev, record) in changes {
                let of_key = self.of_key.get(&record.key).into_iter().flatten();
                for id in of_key.chain(&self.of_range) {
                    let watch = &self.watches[id];
                    let early = watch.state == State::Behind && store.options.bugs.watch_out_of_order();
                    if (watch.state == State::Synced || early) && watch.wants(*rev, record) {
                        let event = event(store, *rev, record, watch.request.prev_kv)?;
                        told.entry(*id).or_default().push(event);
                    }
                }
            }
            for (id, events) in told {
                tell(id, WatchUpdate::Events { revision, events });
            }
        }
        self.seen = part.up_to;
        Ok(budget.saturating_sub(part.records.len()))
    }
    fn fall_behind(&mut self) {
        for (id, watch) in &mut self.watches {
            if watch.state == State::Synced {
                watch.next = watch.next.max(self.seen + 1);
                watch.state = State::Behind;
                self.behind.insert(*id);
            }
        }
    }
    /// The watches behind, in turn.
    fn catch_up(
        &mut self,
        store: &Store,
        mut budget: usize,
        tell: &mut impl FnMut(WatchId, WatchUpdate),
    ) -> Result<(), StoreError> {
        while budget > 0 && self.seen >= store.revision() {
            let after = (std::ops::Bound::Excluded(self.served), std::ops::Bound::Unbounded);
            let turn = self.behind.range(after).next().or_else(|| self.behind.first());
            let Some(id) = turn.copied() else { break };
            self.served = id;
            let watch = self.watches.get_mut(&id).expect("what is behind is a watch");
            let compact_revision = store.compact_revision();
            if watch.next < compact_revision && store.options.bugs.watch_jumps_compaction() {
                watch.next = compact_revision;
            }
            if watch.next < compact_revision {
                self.remove(id);
                tell(id, WatchUpdate::Compacted { compact_revision });
                continue;
            }
            // A paused watch may be resumed before its start.
            let part = Part::read(store, watch.next, budget)?;
            // Looking costs, even where nothing is found.
            budget = budget.saturating_sub(part.records.len().max(1));
            let mut events = Vec::new();
            for (rev, record) in &part.records {
                if watch.wants(*rev, record) {
                    events.push(event(store, *rev, record, watch.request.prev_kv)?);
                }
            }
            let revision = part.up_to;
            watch.next = watch.next.max(revision + 1);
            if watch.next > self.seen {
                watch.state = State::Synced;
                self.behind.remove(&id);
            }
            if !events.is_empty() {
                tell(id, WatchUpdate::Events { revision, events });
            }
        }
        Ok(())
    }
}

/// A part of history: whole revisions.
struct Part {
    records: Vec<(Rev, Record)>,
    /// The last revision in it, changes or not.
    up_to: Revision,
}

impl Part {
    /// From a revision on: `budget` records and the rest of their last revision.
    fn read(store: &Store, from: Revision, budget: usize) -> Result<Self, StoreError> {
        let mut records: Vec<(Rev, Record)> = Vec::new();
        let mut up_to = store.revision();
        store.records.scan(Rev::first(from), |rev, record| {
            let last = records.last().map(|(last, _)| last.main);
            if records.len() >= budget && last.is_some_and(|last| last != rev.main) {
                up_to = last.unwrap_or(up_to);
                return false;
            }
            records.push((rev, record));
            true
        })?;
        Ok(Self { records, up_to })
    }
    fn revisions(&self) -> impl Iterator<Item = (Revision, &[(Rev, Record)])> {
        self.records.chunk_by(|a, b| a.0.main == b.0.main).map(|chunk| (chunk[0].0.main, chunk))
    }
}

fn event(store: &Store, rev: Rev, record: &Record, prev_kv: bool) -> Result<WatchEvent, StoreError> {
    let kind = if record.is_tombstone() { EventKind::Delete } else { EventKind::Put };
    let at = rev.main + i64::from(store.options.bugs.watch_prev_is_now());
    let prev_kv = if prev_kv { before(store, &record.key, at)? } else { None };
    Ok(WatchEvent { kind, kv: record.clone().at(rev), prev_kv })
}

/// What was there before a revision; `None` too if that has been compacted.
fn before(store: &Store, key: &[u8], revision: Revision) -> Result<Option<KeyValue>, StoreError> {
    if revision - 1 < store.compact_revision() {
        return Ok(None);
    }
    let rev = store.data.index.at(key, revision - 1);
    rev.map(|rev| Ok(store.records.get(rev)?.at(rev))).transpose()
}
