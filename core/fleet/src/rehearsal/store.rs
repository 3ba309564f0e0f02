//! A strong keyspace as the plans need it: linearizable reads, transactions, revisions. Nothing else is modelled of it: how it
//! stays so through crashes is another crate's claim.

use crate::key::Key;
use crate::transaction::{Check, Transaction, Write};
use crate::view::Fetch;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

/// What a read found: the fetch, the store's revision, keys with their revisions and values.
pub type Found = (Fetch, i64, Vec<(Key, i64, Bytes)>);

/// A store.
#[derive(Clone, Debug)]
pub struct Store {
    revision: i64,
    keys: BTreeMap<Key, (i64, Bytes)>,
}

impl Default for Store {
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new() }
    }
}

impl Store {
    /// Reads.
    #[must_use]
    pub fn read(&self, fetches: &[Fetch]) -> Vec<Found> {
        let copy = |(k, (r, v)): (&Key, &(i64, Bytes))| (k.clone(), *r, v.clone());
        let read = |fetch: &Fetch| match fetch {
            Fetch::One(key) => self.keys.get_key_value(key).map(copy).into_iter().collect(),
            Fetch::Range(first, end) => self.keys.range(first..end).map(copy).collect(),
        };
        fetches.iter().map(|fetch| (fetch.clone(), self.revision, read(fetch))).collect()
    }
    /// Commits, if the checks hold.
    pub fn commit(&mut self, transaction: &Transaction) -> bool {
        let holds = |check: &Check| match check {
            Check::At(key, revision) => self.keys.get(key).map_or(0, |(r, _)| *r) == *revision,
            Check::Empty(first, end) => self.keys.range(first..end).next().is_none(),
            Check::NoneSince(first, end, revision) => {
                self.keys.range(first..end).all(|(_, (r, _))| r <= revision)
            }
        };
        if !transaction.checks.iter().all(holds) {
            return false;
        }
        self.revision += 1;
        for write in &transaction.writes {
            match write {
                Write::Put(key, value) => {
                    self.keys.insert(key.clone(), (self.revision, value.clone()));
                }
                Write::Delete(key) => {
                    self.keys.remove(key);
                }
            }
        }
        true
    }
    /// A backup: all that does not end with the life of the store.
    #[must_use]
    pub fn backup(&self) -> Self {
        let mut copy = self.clone();
        copy.keys.retain(|key, _| !key.of_a_life());
        copy
    }
    /// Is again what it was, at a later revision: revisions are never given twice (etcd's `--bump-revision`).
    pub fn restore(&mut self, backup: Self) {
        *self = Self { revision: self.revision + 1_000_000, keys: backup.keys };
    }
    /// All that is there.
    pub fn each(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.keys.iter().map(|(key, (_, value))| (key, value))
    }
}
