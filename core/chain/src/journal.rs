//! A protocol's records on the write-ahead log, with compaction that is all or nothing.
//!
//! **Model.** Records are entries of one log group, numbered up. The term says what an entry is: a record of its own;
//! one of a compaction; the last of a compaction, which makes those before it void; or an empty compaction. A purge follows
//! the last, and the log keeps its order through a crash: either the whole compaction is there or what it replaces.
//!
//! **Damage.** A protocol can't tell which of its promises a lost record held, so a journal that has lost anything is
//! not replayed: the member keeps silent until the epoch ends.

use bytes::Bytes;
use dwcp_env::bound::WAL_RECORD_MAX;
use dwcp_env::{GroupId, wire};
use dwcp_raft::SharedWal;
use dwcp_wal::{GroupLog, Lsn, Record};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PLAIN: u64 = 0;
const COMPACTED: u64 = 1;
const COMPACTED_LAST: u64 = 2;
const COMPACTED_EMPTY: u64 = 3;

/// Where a protocol's records go.
#[derive(Debug)]
pub(crate) struct Journal {
    wal: SharedWal,
    slot: GroupId,
    last: u64,
    /// Bytes since the last compaction.
    grown: u64,
    records: u64,
}

/// What a journal held.
#[derive(Debug)]
pub(crate) struct Told<R> {
    pub(crate) journal: Journal,
    pub(crate) records: Vec<R>,
}

impl Journal {
    /// Takes up what the log gave back. `None` if records are missing or none of ours.
    pub(crate) fn open<R: DeserializeOwned>(
        wal: SharedWal,
        slot: GroupId,
        log: GroupLog,
        forgiving: bool,
    ) -> Option<Told<R>> {
        let purged = log.purged.map_or(0, |(_, index)| index);
        let whole =
            !log.suspect && !log.vote_lost && log.entries.iter().zip(purged + 1..).all(|(e, i)| e.index == i);
        let mut last = log.entries.last().map_or(purged, |e| e.index);
        if !forgiving && (!whole || log.last.is_some_and(|l| l != last)) {
            return None;
        }
        let end = log.entries.iter().rposition(|e| e.term == COMPACTED_LAST || e.term == COMPACTED_EMPTY);
        let begin = match end.map(|at| (at, log.entries[at].term)) {
            None => 0,
            Some((at, COMPACTED_EMPTY)) => at + 1,
            Some((at, _)) => at - log.entries[..at].iter().rev().take_while(|e| e.term == COMPACTED).count(),
        };
        let half = log.entries.iter().rev().take_while(|e| e.term == COMPACTED).count() as u64;
        // A compaction without its end never happened.
        let counts = |(at, e): &(usize, dwcp_wal::LogEntry)| {
            *at >= begin && (e.term == PLAIN || end.is_some_and(|end| *at <= end))
        };
        let grown = log.entries.iter().map(|e| e.payload.len() as u64).sum();
        let records = log.entries.into_iter().enumerate().filter(counts);
        let records: Vec<R> = records.map(|(_, e)| wire::decode(&e.payload).ok()).collect::<Option<_>>()?;
        if half > 0 {
            // Or the next compaction would begin with what this one had got to.
            last -= half;
            wal.lock().append(slot, Record::Truncate { after: Some(last) });
        }
        let journal = Self { wal, slot, last, grown, records: records.len() as u64 };
        Some(Told { journal, records })
    }

    fn put(&mut self, kind: u64, payload: Bytes) -> Lsn {
        self.last += 1;
        self.grown += payload.len() as u64;
        self.records += 1;
        self.wal.lock().append(self.slot, Record::Entry { index: self.last, term: kind, payload })
    }

    /// Appends a record. Protocols keep theirs within the log's bound; that is theirs to assert.
    pub(crate) fn append<R: Serialize>(&mut self, record: &R) -> Lsn {
        self.put(PLAIN, wire::encode(record).into())
    }

    /// Replaces all that was written by these records.
    pub(crate) fn compact<R: Serialize>(&mut self, records: &[R]) {
        let before = self.last;
        let mut left = records.iter().map(|r| Bytes::from(wire::encode(r))).peekable();
        if left.peek().is_none() {
            self.put(COMPACTED_EMPTY, Bytes::new());
        }
        while let Some(payload) = left.next() {
            debug_assert!(payload.len() as u64 <= WAL_RECORD_MAX.0);
            self.put(if left.peek().is_some() { COMPACTED } else { COMPACTED_LAST }, payload);
        }
        // What a protocol keeps is no growth: else one that keeps much would be asked for a checkpoint at each record.
        (self.grown, self.records) = (0, 0);
        if before > 0 {
            self.wal.lock().append(self.slot, Record::Purge { term: 0, index: before });
        }
    }

    /// Up to where everything is on disk.
    pub(crate) fn durable(&self) -> Lsn {
        self.wal.lock().durable()
    }

    /// Bytes, and records, since the last compaction.
    pub(crate) const fn grown(&self) -> (u64, u64) {
        (self.grown, self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_wal::LogEntry;

    fn log(purged: u64, entries: &[(u64, u32)]) -> GroupLog {
        let entries: Vec<LogEntry> = (purged + 1..)
            .zip(entries)
            .map(|(index, (term, value))| LogEntry {
                index,
                term: *term,
                payload: if *term == COMPACTED_EMPTY { Bytes::new() } else { wire::encode(value).into() },
            })
            .collect();
        GroupLog {
            purged: (purged > 0).then_some((0, purged)),
            last: entries.last().map(|e| e.index).or((purged > 0).then_some(purged)),
            entries,
            ..GroupLog::default()
        }
    }

    fn told(log: GroupLog) -> Option<Vec<u32>> {
        let wal = crate::tests::wal();
        Journal::open::<u32>(wal, GroupId(9), log, false).map(|t| t.records)
    }

    #[test]
    fn a_compaction_is_there_whole_or_not_at_all() {
        for (name, purged, entries, want) in [
            ("nothing", 0, &[][..], &[][..]),
            ("records", 0, &[(PLAIN, 1), (PLAIN, 2)], &[1, 2]),
            ("a compaction begun", 0, &[(PLAIN, 1), (PLAIN, 2), (COMPACTED, 9)], &[1, 2]),
            ("and ended", 0, &[(PLAIN, 1), (PLAIN, 2), (COMPACTED, 9), (COMPACTED_LAST, 8)], &[9, 8]),
            ("and purged", 2, &[(COMPACTED, 9), (COMPACTED_LAST, 8), (PLAIN, 3)], &[9, 8, 3]),
            ("of one record", 2, &[(COMPACTED_LAST, 8), (PLAIN, 3)], &[8, 3]),
            ("of none", 2, &[(COMPACTED_EMPTY, 0), (PLAIN, 3)], &[3]),
            (
                "the second",
                0,
                &[
                    (PLAIN, 1),
                    (COMPACTED, 9),
                    (COMPACTED_LAST, 8),
                    (PLAIN, 3),
                    (COMPACTED, 7),
                    (COMPACTED_LAST, 6),
                    (PLAIN, 5),
                ],
                &[7, 6, 5],
            ),
            ("a begun one behind another", 0, &[(COMPACTED_LAST, 8), (PLAIN, 3), (COMPACTED, 7)], &[8, 3]),
        ] {
            assert_eq!(told(log(purged, entries)).as_deref(), Some(want), "{name}");
        }
    }

    #[test]
    fn half_a_compaction_is_cut_off_lest_the_next_one_begins_with_it() {
        let wal = crate::tests::wal();
        let half = log(0, &[(PLAIN, 1), (COMPACTED, 9), (COMPACTED, 8)]);
        let mut told = Journal::open::<u32>(wal.clone(), GroupId(9), half, false).unwrap();
        assert_eq!(wal.lock().last().0, 1, "a truncation");
        told.journal.append(&7_u32);
        assert_eq!((told.records, told.journal.last), (vec![1], 2));
    }

    #[test]
    fn a_journal_that_has_lost_anything_is_not_told() {
        let whole = log(2, &[(PLAIN, 1), (PLAIN, 2), (PLAIN, 3)]);
        assert!(told(whole.clone()).is_some());
        let mut holed = whole.clone();
        holed.entries.remove(1);
        let mut first = whole.clone();
        first.entries.remove(0);
        let mut last = whole.clone();
        last.entries.pop();
        let suspect = GroupLog { suspect: true, ..whole.clone() };
        let mut foreign = whole;
        foreign.entries[1].payload = Bytes::from_static(&[255, 255]);
        for (name, log) in [
            ("a hole", holed),
            ("the first", first),
            ("the last", last),
            ("suspect", suspect),
            ("foreign", foreign),
        ] {
            assert!(told(log).is_none(), "{name}");
        }
    }
}
