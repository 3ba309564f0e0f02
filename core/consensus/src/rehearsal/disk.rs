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

#[cfg(test)]
mod tests {
    use super::Disk;

    fn filled(upto: u64) -> Disk<u64> {
        let mut disk = Disk::new();
        for ticket in 1..=upto {
            assert!(disk.append(ticket, ticket));
        }
        disk
    }

    #[test]
    fn a_sync_covers_what_was_there_when_it_began() {
        let mut disk = filled(2);
        assert!(disk.begin_sync() && !disk.begin_sync(), "one at a time");
        assert!(disk.append(3, 3));
        assert_eq!(disk.end_sync(), Some(2));
        assert_eq!((disk.safe(), disk.unsafe_count()), (&[1, 2][..], 1));
        assert!(disk.begin_sync());
        assert_eq!(disk.end_sync(), Some(3));
        assert!(!disk.begin_sync(), "nothing left");
    }

    #[test]
    fn a_ticket_out_of_order_is_seen() {
        assert!(!filled(2).append(4, 4));
    }

    #[test]
    fn a_crash_keeps_what_is_safe_and_what_was_drawn() {
        for more in 0..=3 {
            let mut disk = filled(2);
            disk.begin_sync();
            disk.end_sync();
            (3..=5).for_each(|t| assert!(disk.append(t, t)));
            let torn = disk.crash(more);
            assert_eq!((torn.lost, torn.unreported, torn.compacting), (3 - more, more, false));
            assert_eq!(disk.records.len(), 2 + more);
            // A new lifetime counts its own tickets; all that was kept is safe.
            assert!(disk.append(1, 9) && disk.begin_sync());
            assert_eq!((disk.end_sync(), disk.safe().len()), (Some(1), 3 + more));
        }
    }

    #[test]
    fn a_compaction_replaces_what_came_before_it_as_a_whole() {
        let mut disk = filled(3);
        disk.begin_compaction([100].into());
        (4..=5).for_each(|t| assert!(disk.append(t, t)));
        // It holds the effect of tickets 1 to 3, synced or not.
        assert_eq!(disk.end_compaction(), Some(3));
        assert_eq!((&disk.records[..], disk.safe()), (&[100, 4, 5][..], &[100][..]));
        assert!(disk.begin_sync());
        assert_eq!(disk.end_sync(), Some(5));
        assert_eq!(disk.safe(), [100, 4, 5]);
        // A later one, when more than it covers is safe already.
        disk.begin_compaction([200].into());
        assert!(disk.append(6, 6) && disk.begin_sync());
        assert_eq!((disk.end_sync(), disk.end_compaction()), (Some(6), None));
        assert_eq!(disk.safe(), [200, 6]);
        // A crash in the middle leaves the old log.
        disk.begin_compaction([300].into());
        assert!(disk.crash(0).compacting);
        assert_eq!((disk.end_compaction(), &disk.records[..]), (None, &[200, 6][..]));
    }
}
