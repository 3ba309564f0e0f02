//! A node's disk: a log of records with one sync at a time, and a replacement of the log that takes
//! effect as a whole.
//!
//! Position `i` of `len` records holds ticket `last - (len - 1 - i)` of this lifetime; records of an
//! earlier one, or of a compaction, have no ticket and lie before.

use alloc::vec::Vec;

/// A log, what of it is safe, and what is under way.
#[derive(Clone, Debug)]
pub(super) struct Disk<R> {
    pub(super) records: Vec<R>,
    /// How many of them survive any crash.
    safe: usize,
    /// The last ticket appended in this lifetime.
    last: u64,
    /// The last ticket reported as persisted.
    pub(super) persisted: u64,
    /// The last ticket the running sync covers.
    syncing: Option<u64>,
    /// A compaction on its way to the disk, and the last ticket whose effect it holds.
    compaction: Option<(Vec<R>, u64)>,
}

/// What a crash did.
pub(super) struct Torn {
    pub(super) lost: usize,
    pub(super) unreported: usize,
    pub(super) compacting: bool,
}

impl<R> Disk<R> {
    pub(super) const fn new() -> Self {
        Self { records: Vec::new(), safe: 0, last: 0, persisted: 0, syncing: None, compaction: None }
    }
    pub(super) const fn last(&self) -> u64 {
        self.last
    }
    /// Appends; false if the ticket is not the next.
    pub(super) fn append(&mut self, ticket: u64, record: R) -> bool {
        self.last += 1;
        self.records.push(record);
        ticket == self.last
    }
    /// Begins a sync if there is something to sync and none is running.
    pub(super) fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || self.last == self.persisted {
            return false;
        }
        self.syncing = Some(self.last);
        true
    }
    fn report(&mut self, ticket: u64) -> Option<u64> {
        if ticket <= self.persisted {
            return None;
        }
        self.persisted = ticket;
        self.safe = self.records.len() - (self.last - ticket) as usize;
        Some(ticket)
    }
    /// Ends the running sync: up to where it has become safe, if that is news.
    pub(super) fn end_sync(&mut self) -> Option<u64> {
        let ticket = self.syncing.take()?;
        self.report(ticket)
    }
    /// Begins to replace everything appended up to now; a newer compaction takes an older one's place.
    pub(super) fn begin_compaction(&mut self, records: Vec<R>) {
        self.compaction = Some((records, self.last));
    }
    /// The replacement is durable: up to where all has become safe by it, if that is news.
    pub(super) fn end_compaction(&mut self) -> Option<u64> {
        let (mut records, upto) = self.compaction.take()?;
        let compacted = records.len();
        let tail = self.records.len() - (self.last - upto) as usize;
        records.extend(self.records.drain(tail..));
        self.records = records;
        self.safe = compacted + self.persisted.saturating_sub(upto) as usize;
        self.report(upto)
    }
    /// What survives any crash.
    pub(super) fn safe(&self) -> &[R] {
        &self.records[..self.safe]
    }
    /// How many records a crash may lose.
    pub(super) fn unsafe_count(&self) -> usize {
        self.records.len() - self.safe
    }
    /// Keeps what is safe and `more` of the rest; a new lifetime begins.
    pub(super) fn crash(&mut self, more: usize) -> Torn {
        let keep = self.safe + more;
        let torn = Torn {
            lost: self.records.len() - keep,
            unreported: more,
            compacting: self.compaction.take().is_some(),
        };
        self.records.truncate(keep);
        self.safe = keep;
        self.last = 0;
        self.persisted = 0;
        self.syncing = None;
        torn
    }
}
