//! One plan at work: it reads through the desk, writes onto it, and leaves with a transaction that checks all it has read.

use super::{Step, Stop, Then};
use crate::key::{Key, Scope};
use crate::name::RequestKey;
use crate::planted::{self, Bug};
use crate::record::Record;
use crate::refusal::{Code, Refusal};
use crate::transaction::{Check, OPS_MAX, Transaction, Write};
use crate::view::{Fetch, View, Wanted};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::Now;

/// Reads and writes of one plan.
pub(crate) struct Desk<'a> {
    view: &'a View,
    pub(crate) now: Now,
    /// The number of the request.
    pub(crate) key: RequestKey,
    read: BTreeMap<Key, i64>,
    ranges: Vec<Check>,
    writes: BTreeMap<Key, Option<Bytes>>,
    /// Records of a list that can't be read. They stop what asks for them by name, and nothing else.
    pub(crate) damaged: Vec<Refusal>,
}

/// A record that can't be read; nobody goes on over it.
fn damaged(key: &Key, kind: &str, why: &str) -> Refusal {
    Refusal::new(
        Code::Damaged,
        key,
        format!("should hold {kind}, but {why}"),
        "somebody wrote past the fleet's doors, or a newer dwcp did: upgrade, or restore the key from an older revision",
    )
}

impl<'a> Desk<'a> {
    pub(crate) const fn new(view: &'a View, now: Now, key: RequestKey) -> Self {
        Self {
            view,
            now,
            key,
            read: BTreeMap::new(),
            ranges: Vec::new(),
            writes: BTreeMap::new(),
            damaged: Vec::new(),
        }
    }

    /// Asks for several things at once, if any of them was not read yet.
    pub(crate) fn want(&self, fetches: impl IntoIterator<Item = Fetch>) -> Result<(), Stop> {
        let known = |fetch: &Fetch| match fetch {
            Fetch::One(key) => self.view.cell(key).is_some(),
            Fetch::Range(first, end) => self.view.range(first, end).is_some(),
        };
        let missing: Vec<Fetch> = fetches.into_iter().filter(|f| !known(f)).collect();
        if missing.is_empty() { Ok(()) } else { Err(Stop::Want(Wanted(missing))) }
    }

    /// A record, as written onto the desk or as it was read.
    pub(crate) fn get<T: Record>(&mut self, key: &Key) -> Result<Option<T>, Stop> {
        let bytes = if let Some(written) = self.writes.get(key) {
            written.clone()
        } else {
            let Some(cell) = self.view.cell(key) else {
                return Err(Stop::Want(Wanted([Fetch::One(key.clone())].into())));
            };
            self.read.insert(key.clone(), cell.revision);
            cell.value
        };
        bytes.map(|b| T::decode(&b).map_err(|why| Stop::Refused(damaged(key, T::NAME, why)))).transpose()
    }

    /// All records of a kind in a store that can be read. What is found is not checked at commit: look at the ones that
    /// matter by `get`, which refuses damaged ones. What a list lacks is no proof that it is not there.
    pub(crate) fn list<T: Record>(&mut self, scope: &Scope, kind: &str) -> Result<Vec<(Key, T)>, Stop> {
        let first = Key::all(scope, kind);
        let end = first.end();
        self.want([Fetch::Range(first.clone(), end.clone())])?;
        let Some((_, found)) = self.view.range(&first, &end) else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        for (key, bytes) in found {
            match T::decode(bytes) {
                Ok(record) => records.push((key.clone(), record)),
                Err(why) => self.damaged.push(damaged(key, T::NAME, why)),
            }
        }
        Ok(records)
    }

    /// The keys of all records of a kind; at commit none of them may have been written since.
    pub(crate) fn keys_settled(&mut self, scope: &Scope, kind: &str) -> Result<Vec<Key>, Stop> {
        let first = Key::all(scope, kind);
        let end = first.end();
        let found = self.keys(&first, &end)?;
        let revision = self.view.range(&first, &end).map_or(0, |(revision, _)| revision);
        self.ranges.push(Check::NoneSince(first, end, revision));
        Ok(found)
    }

    /// The keys that are there between two.
    pub(crate) fn keys(&self, first: &Key, end: &Key) -> Result<Vec<Key>, Stop> {
        self.want([Fetch::Range(first.clone(), end.clone())])?;
        Ok(self
            .view
            .range(first, end)
            .map(|(_, found)| found.map(|(k, _)| k.clone()).collect())
            .unwrap_or_default())
    }

    /// At commit there must be nothing between two keys.
    pub(crate) fn demand_empty(&mut self, first: Key, end: Key) {
        self.ranges.push(Check::Empty(first, end));
    }

    /// Writes a record.
    pub(crate) fn put<T: Record>(&mut self, key: Key, record: &T) {
        self.writes.insert(key, Some(record.encode()));
    }

    /// Removes one.
    pub(crate) fn remove(&mut self, key: Key) {
        self.writes.insert(key, None);
    }

    /// Drops what was written, and keeps in mind what was read.
    pub(crate) fn abandon(&mut self) {
        self.writes.clear();
        self.ranges.clear();
    }

    /// Ends the plan with what was written onto the desk.
    pub(crate) fn commit(&mut self, scope: Scope, then: Then) -> Result<Step, Stop> {
        let mine = |key: &Key| key.scope().as_ref() == Some(&scope);
        let (own, other): (BTreeMap<_, _>, BTreeMap<_, _>) =
            core::mem::take(&mut self.read).into_iter().partition(|(key, _)| mine(key));
        let rests_on = other.into_keys().collect();
        let mut checks: Vec<Check> = own
            .into_iter()
            .filter(|(key, _)| !planted::is(Bug::ReadsUnchecked) || self.writes.contains_key(key))
            .map(|(key, revision)| Check::At(key, revision))
            .collect();
        checks.append(&mut self.ranges);
        let writes: Vec<Write> = core::mem::take(&mut self.writes)
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => Write::Put(key, value),
                None => Write::Delete(key),
            })
            .collect();
        assert!(writes.iter().all(|w| mine(w.key())), "a transaction writes one store");
        assert!(
            checks.len() <= OPS_MAX && writes.len() <= OPS_MAX,
            "bounds on machines keep transactions small"
        );
        Ok(Step::Commit(Transaction { scope, checks, writes, rests_on }, then))
    }
}
