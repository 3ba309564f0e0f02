//! What was read of the stores so far, and what a plan still wants to read.
//!
//! A plan is a pure function of a view. Where the view lacks something, the plan ends with what it wants
//! ([`Wanted`]), whoever drives it reads that, and plans again: plans need no callbacks, no async, and read as they need.
//!
//! **Invariants.** (1) Everything in a view was read behind a barrier (linearizably), at the revision it says. (2) A view
//! is for one attempt: after a conflict a new one is begun.

use crate::key::{Key, Scope};
use crate::transaction::{Check, Transaction};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// Something to be read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fetch {
    /// One key.
    One(Key),
    /// All keys from the first up to the second.
    Range(Key, Key),
}

impl Fetch {
    /// All keys that begin so.
    #[must_use]
    pub fn beginning(with: &Key) -> Self {
        Self::Range(with.clone(), with.end())
    }
    /// In which store.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        match self {
            Self::One(key) | Self::Range(key, _) => key.scope(),
        }
    }
}

/// What is to be read before planning again; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted(pub Vec<Fetch>);

/// A key as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The revision of its last write; zero if it is not there.
    pub revision: i64,
    /// What is there.
    pub value: Option<Bytes>,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    cells: BTreeMap<Key, (Cell, u64)>,
    ranges: BTreeMap<Key, Span>,
    takes: u64,
}

/// A range that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Span {
    end: Key,
    revision: i64,
    taken: u64,
}

impl View {
    /// Nothing was read yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { cells: BTreeMap::new(), ranges: BTreeMap::new(), takes: 0 }
    }
    /// Takes in what was read: the revision of the store, then each key with its revision and value.
    pub fn take(
        &mut self,
        fetched: &Fetch,
        revision: i64,
        found: impl IntoIterator<Item = (Key, i64, Bytes)>,
    ) {
        self.takes += 1;
        let taken = self.takes;
        match fetched {
            Fetch::One(key) => {
                self.cells.insert(key.clone(), (Cell { revision: 0, value: None }, taken));
            }
            Fetch::Range(first, end) => {
                // What an earlier read found there may be gone by now.
                let before: Vec<Key> = self.cells.range(first..end).map(|(k, _)| k.clone()).collect();
                for key in before {
                    self.cells.remove(&key);
                }
                self.ranges.insert(first.clone(), Span { end: end.clone(), revision, taken });
            }
        }
        for (key, revision, value) in found {
            self.cells.insert(key, (Cell { revision, value: Some(value) }, taken));
        }
    }
    /// A key, if it is known whether it is there; and the number of the read that says so.
    fn known(&self, key: &Key) -> Option<(Cell, u64)> {
        if let Some(known) = self.cells.get(key) {
            return Some(known.clone());
        }
        let covering = self.ranges.range(..=key).filter(|(_, span)| *key < span.end);
        covering
            .map(|(_, span)| (Cell { revision: 0, value: None }, span.taken))
            .max_by_key(|(_, taken)| *taken)
    }
    /// A key, if it is known whether it is there.
    #[must_use]
    pub fn cell(&self, key: &Key) -> Option<Cell> {
        self.known(key).map(|(cell, _)| cell)
    }
    /// A range that was read as a whole: the store's revision, and what is there.
    #[must_use]
    pub fn range(&self, first: &Key, end: &Key) -> Option<(i64, impl Iterator<Item = (&Key, &Bytes)>)> {
        let span = self.ranges.get(first)?;
        (span.end == *end).then(|| {
            let there = self.cells.range(first..end);
            (span.revision, there.filter_map(|(key, (cell, _))| Some((key, cell.value.as_ref()?))))
        })
    }
    /// What a transaction rests on in other stores and was read before something that it checks: to be read again.
    #[must_use]
    pub fn too_early(&self, transaction: &Transaction) -> Vec<Fetch> {
        let taken = |check: &Check| match check {
            Check::At(key, _) => self.known(key).map_or(0, |(_, taken)| taken),
            Check::Empty(first, _) | Check::NoneSince(first, _, _) => {
                self.ranges.get(first).map_or(0, |s| s.taken)
            }
        };
        let latest = transaction.checks.iter().map(taken).max().unwrap_or(0);
        let early =
            transaction.rests_on.iter().filter(|key| self.known(key).is_none_or(|(_, taken)| taken < latest));
        early.cloned().map(Fetch::One).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Region, VmId};

    #[test]
    fn what_was_not_read_is_not_absent() {
        let eu: Region = "eu".parse().unwrap();
        let (a, b) = (Key::vm(&eu, VmId(1)), Key::vm(&eu, VmId(2)));
        let mut view = View::new();
        assert_eq!(view.cell(&a), None);
        view.take(&Fetch::One(a.clone()), 7, []);
        assert_eq!(view.cell(&a), Some(Cell { revision: 0, value: None }));
        assert_eq!(view.cell(&b), None);
        let all = Fetch::beginning(&Key::all(&Scope::Region(eu), "vm"));
        view.take(&all, 9, [(a.clone(), 8, Bytes::from_static(b"x"))]);
        assert_eq!(view.cell(&a).unwrap().revision, 8);
        assert_eq!(view.cell(&b), Some(Cell { revision: 0, value: None }));
        view.take(&all, 10, []);
        assert_eq!(view.cell(&a).unwrap().value, None);
    }
}
