//! Which revisions of which key exist: etcd's tree index, in memory.
//!
//! **Promise.** For any key and any revision not compacted, the place of the record that was
//! live then, without a disk read.
//!
//! **Model.** Each key has a list of marks in the order of history, one per change; a mark that
//! is a tombstone ends a *generation*. The creation and version of the newest generation are
//! kept beside, so that a put reads nothing.
//!
//! **Invariants.**
//! 1. Marks of a key rise strictly; no key has an empty list.
//! 2. A list never begins with a tombstone older than the compacted revision once the sweep has
//!    passed it.
//! 3. The sweep never removes the newest mark at or below the compacted revision, unless that is
//!    a tombstone *below* it. (etcd 3.4 drops a tombstone *at* it too, and a watch that starts
//!    there misses the deletion; 3.6 keeps it, and so do we.)
//!
//! The index is not stored: it is rebuilt from the records at boot. About 100 bytes a key and
//! 16 for each further revision of it.

use crate::api::{KeyRange, Revision};
use crate::bugs::StoreBugs;
use crate::record::{Record, Rev};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// One change of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    main: Revision,
    sub: u32,
    tombstone: bool,
}

impl Mark {
    const fn rev(self) -> Rev {
        Rev { main: self.main, sub: self.sub }
    }
}

/// All kept changes of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct History {
    /// Of the newest generation.
    create_revision: Revision,
    /// Of the newest generation.
    version: i64,
    marks: Vec<Mark>,
}

impl History {
    /// The record live at a revision.
    fn at(&self, at: Revision) -> Option<Rev> {
        let newest = match self.marks.last() {
            // Most questions are about now.
            Some(last) if last.main <= at => *last,
            _ => {
                let after = self.marks.partition_point(|m| m.main <= at);
                *self.marks.get(after.checked_sub(1)?)?
            }
        };
        (!newest.tombstone).then(|| newest.rev())
    }
    /// How many of the first marks a compaction to `at` removes.
    fn superseded(&self, at: Revision, bugs: StoreBugs) -> usize {
        let reached = self.marks.partition_point(|m| m.main <= at);
        let Some(newest) = reached.checked_sub(1) else { return 0 };
        if bugs.compaction_eats_live() {
            return reached;
        }
        let mark = self.marks[newest];
        let gone = mark.main < at || bugs.tombstone_compacted();
        if mark.tombstone && gone { reached } else { newest }
    }
}

/// What a put needs to know of the key it writes.
pub(crate) struct Written {
    /// The revision that created it.
    pub(crate) create_revision: Revision,
    /// Its version with this put.
    pub(crate) version: i64,
}

/// All keys.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: BTreeMap<Bytes, History>,
}

impl Index {
    /// Notes a put.
    pub(crate) fn put(&mut self, key: &Bytes, rev: Rev, bugs: StoreBugs) -> Written {
        let mark = Mark { main: rev.main, sub: rev.sub, tombstone: false };
        if let Some(history) = self.keys.get_mut(key) {
            let last = history.marks.last().expect("no key has an empty list");
            assert!(last.rev() < rev, "history only grows: {:?} then {rev:?}", last.rev());
            if last.tombstone {
                let (kept, went_on) = (history.create_revision, history.version + 1);
                history.create_revision = if bugs.create_kept() { kept } else { rev.main };
                history.version = if bugs.version_not_reset() { went_on } else { 1 };
            } else {
                history.version += 1;
            }
            history.marks.push(mark);
            return Written { create_revision: history.create_revision, version: history.version };
        }
        let history = History { create_revision: rev.main, version: 1, marks: vec![mark] };
        // Of its own: what is put is a part of the log's entry.
        self.keys.insert(Bytes::copy_from_slice(key), history);
        Written { create_revision: rev.main, version: 1 }
    }
    /// Notes a deletion of a live key.
    pub(crate) fn delete(&mut self, key: &Bytes, rev: Rev) {
        let history = self.keys.get_mut(key).expect("only a live key is deleted");
        let last = history.marks.last().expect("no key has an empty list");
        assert!(last.rev() < rev && !last.tombstone, "only a live key is deleted");
        history.marks.push(Mark { main: rev.main, sub: rev.sub, tombstone: true });
    }
    /// Notes a record read back at boot.
    ///
    /// # Errors
    /// It does not fit the records before it.
    pub(crate) fn load(&mut self, rev: Rev, record: &Record) -> Result<(), &'static str> {
        let mark = Mark { main: rev.main, sub: rev.sub, tombstone: record.is_tombstone() };
        let history = self.keys.entry(record.key.clone()).or_insert(History {
            create_revision: 0,
            version: 0,
            marks: Vec::new(),
        });
        if history.marks.last().is_some_and(|m| m.rev() >= rev) {
            return Err("records out of order");
        }
        if !mark.tombstone {
            history.create_revision = record.create_revision;
            history.version = record.version;
        }
        history.marks.push(mark);
        Ok(())
    }
    /// The record of `key` live at a revision.
    pub(crate) fn at(&self, key: &[u8], at: Revision) -> Option<Rev> {
        self.keys.get(key)?.at(at)
    }
    /// The live records of a range at a revision, in the order of keys.
    pub(crate) fn range<'a>(
        &'a self,
        range: &KeyRange,
        at: Revision,
    ) -> impl Iterator<Item = (&'a Bytes, Rev)> + use<'a> {
        self.histories(range).filter_map(move |(key, history)| Some((key, history.at(at)?)))
    }
    fn histories<'a>(&'a self, range: &KeyRange) -> Box<dyn Iterator<Item = (&'a Bytes, &'a History)> + 'a> {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = match range {
            KeyRange::One(key) => return Box::new(self.keys.get_key_value(&key[..]).into_iter()),
            // A range that ends before it begins is empty; the map would panic.
            KeyRange::Between(a, b) if a >= b => return Box::new(std::iter::empty()),
            KeyRange::Between(a, b) => (Bound::Included(a), Bound::Excluded(b)),
            KeyRange::From(a) => (Bound::Included(a), Bound::Unbounded),
        };
        Box::new(self.keys.range::<[u8], _>(bounds))
    }
    /// The records that a compaction to `compacted` keeps, up to `at`, in the order of keys.
    pub(crate) fn kept(&self, compacted: Revision, at: Revision) -> impl Iterator<Item = (&Bytes, Rev)> {
        self.keys.iter().flat_map(move |(key, history)| {
            let from = history.superseded(compacted, StoreBugs::default());
            let kept = history.marks[from..].iter().take_while(move |m| m.main <= at);
            kept.map(move |m| (key, m.rev()))
        })
    }
    /// Removes what a compaction to `compacted` supersedes from at most `budget` keys after
    /// `cursor`, and adds the places of those records to `dead`. Answers with the last key
    /// looked at, or `None` at the end.
    pub(crate) fn sweep(
        &mut self,
        compacted: Revision,
        cursor: Option<&Bytes>,
        budget: usize,
        bugs: StoreBugs,
        dead: &mut Vec<Rev>,
    ) -> Option<Bytes> {
        let from = cursor.map_or(Bound::Unbounded, |c| Bound::Excluded(&c[..]));
        let mut last = None;
        let mut seen = 0;
        let mut empty = Vec::new();
        for (key, history) in self.keys.range_mut::<[u8], _>((from, Bound::Unbounded)).take(budget) {
            seen += 1;
            let n = history.superseded(compacted, bugs);
            if n > 0 {
                dead.extend(history.marks.drain(..n).map(Mark::rev));
                history.marks.shrink_to_fit();
                if history.marks.is_empty() {
                    empty.push(key.clone());
                }
            }
            last = Some(key.clone());
        }
        for key in empty {
            self.keys.remove(&key);
        }
        if seen < budget { None } else { last }
    }
    /// How many keys have any history.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(script: &[(&'static str, i64, bool)]) -> Index {
        let mut index = Index::default();
        for (key, main, put) in script {
            let (key, rev) = (Bytes::from_static(key.as_bytes()), Rev::first(*main));
            if *put {
                index.put(&key, rev, StoreBugs::default());
            } else {
                index.delete(&key, rev);
            }
        }
        index
    }

    /// etcd 3.4 `key_index_test.go`, the index of TestKeyIndexCompactAndKeep in our terms: puts at 2, 4,
    /// deleted at 6; puts at 8, 10, deleted at 12; puts at 14, 15, deleted at 16.
    #[test]
    fn compaction_keeps_what_is_live_at_it() {
        let script: Vec<_> = [
            (2, true),
            (4, true),
            (6, false),
            (8, true),
            (10, true),
            (12, false),
            (14, true),
            (15, true),
            (16, false),
        ]
        .iter()
        .map(|(main, put)| ("foo", *main, *put))
        .collect();
        // compacted to, then the first revision kept (None: the key is gone).
        for (at, first) in [
            (1, Some(2)),
            (2, Some(2)),
            (3, Some(2)),
            (4, Some(4)),
            (5, Some(4)),
            (6, Some(6)),
            (7, Some(8)),
            (8, Some(8)),
            (11, Some(10)),
            (12, Some(12)),
            (13, Some(14)),
            (15, Some(15)),
            (16, Some(16)),
            (17, None),
        ] {
            let mut index = index(&script);
            let mut dead = Vec::new();
            assert_eq!(index.sweep(at, None, 9, StoreBugs::default(), &mut dead), None);
            let left = index.keys.get(&b"foo"[..]).map(|h| h.marks[0].main);
            assert_eq!(left, first, "compacted to {at}");
            assert_eq!(
                dead.len() + index.keys.get(&b"foo"[..]).map_or(0, |h| h.marks.len()),
                9,
                "nothing is lost or doubled at {at}"
            );
        }
    }

    #[test]
    fn a_generation_starts_over_after_a_tombstone() {
        let mut index = index(&[("k", 2, true), ("k", 3, true), ("k", 4, false)]);
        let written = index.put(&Bytes::from_static(b"k"), Rev::first(5), StoreBugs::default());
        assert_eq!((written.create_revision, written.version), (5, 1));
        for (at, live) in [(1, None), (2, Some(2)), (3, Some(3)), (4, None), (5, Some(5)), (9, Some(5))] {
            assert_eq!(index.at(b"k", at).map(|r| r.main), live, "at {at}");
        }
    }

    #[test]
    fn the_sweep_goes_on_where_it_stopped() {
        let mut index =
            index(&[("a", 2, true), ("b", 3, true), ("c", 4, true), ("a", 5, true), ("c", 6, true)]);
        let mut dead = Vec::new();
        let cursor = index.sweep(6, None, 2, StoreBugs::default(), &mut dead);
        assert_eq!(cursor.as_deref(), Some(&b"b"[..]));
        assert_eq!(index.sweep(6, cursor.as_ref(), 2, StoreBugs::default(), &mut dead), None);
        assert_eq!(dead, [Rev::first(2), Rev::first(4)]);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let index = index(&[("b", 2, true)]);
        let range = KeyRange::Between(Bytes::from_static(b"c"), Bytes::from_static(b"a"));
        assert_eq!(index.range(&range, 2).count(), 0);
    }
}
