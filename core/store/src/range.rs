//! Reads: etcd's range, as its `applierV3backend.Range` does it.

use crate::api::{Header, KeyRange, KeyValue, OpError, RangeRequest, RangeResponse, Revision};
use crate::api::{SortOrder, SortTarget};
use crate::record::Rev;
use crate::store::Store;
use bytes::Bytes;
use std::cmp::Ordering;

/// What HashKV answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashKv {
    /// Over all that can still be read up to `revision`: equal on all replicas.
    pub hash: [u8; 32],
    /// The revision asked for.
    pub revision: Revision,
    /// What the store was compacted to: hashes with different ones can't be compared.
    pub compact_revision: Revision,
}

impl HashKv {
    /// The first 32 bits, as etcd's answer has room for.
    #[must_use]
    pub const fn hash_u32(&self) -> u32 {
        u32::from_le_bytes([self.hash[0], self.hash[1], self.hash[2], self.hash[3]])
    }
}

impl Store {
    /// Reads keys from this replica, as it is now.
    ///
    /// # Errors
    /// `EmptyKey`, `Compacted`, `FutureRev`; `Stopped` if the file can't be read.
    pub fn range(&self, request: &RangeRequest) -> Result<(Header, RangeResponse), OpError> {
        request.check()?;
        let revision = self.revision();
        Ok((Header { revision }, self.range_at(request, revision)?))
    }
    /// Refuses a revision that can't be read.
    pub(crate) fn readable(&self, revision: Revision) -> Result<(), OpError> {
        let compact_revision = self.compact_revision();
        if revision > self.revision() {
            Err(OpError::FutureRev)
        } else if revision > 0 && revision < compact_revision {
            Err(OpError::Compacted { compact_revision })
        } else {
            Ok(())
        }
    }
    /// Reads keys; `current` is above the store's revision inside a transaction that has written.
    pub(crate) fn range_at(&self, q: &RangeRequest, current: Revision) -> Result<RangeResponse, OpError> {
        self.readable(q.revision)?;
        let at = if q.revision > 0 { q.revision } else { current };
        let range = KeyRange::new(&q.key, &q.range_end);
        let live = self.data.index.range(&range, at);
        if q.count_only {
            return Ok(RangeResponse { count: count(live.count()), ..RangeResponse::default() });
        }
        // Filters and sorting need all of them; else one above the limit, for `more`.
        let filtered = [q.min_mod_revision, q.max_mod_revision, q.min_create_revision, q.max_create_revision]
            .iter()
            .any(|bound| *bound != 0);
        let limit = usize::try_from(q.limit).unwrap_or(0);
        let fetch =
            if q.sort_order != SortOrder::None || filtered || limit == 0 { usize::MAX } else { limit + 1 };
        let mut found = Vec::new();
        let mut total = 0;
        for (key, rev) in live {
            total += 1;
            let now = if self.options.bugs.past_read_sees_present() { current } else { at };
            let rev = if now == at { rev } else { self.data.index.at(key, now).unwrap_or(rev) };
            if found.len() < fetch {
                found.push(self.key_value(rev)?);
            }
        }
        if filtered {
            found.retain(|kv| passes(q, kv));
        }
        sort(q, &mut found);
        let more = limit > 0 && found.len() > limit;
        if more {
            found.truncate(limit);
        }
        if q.keys_only {
            found.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { kvs: found, more, count: count(total) })
    }
    /// The record at a place the index knows.
    pub(crate) fn key_value(&self, rev: Rev) -> Result<KeyValue, OpError> {
        match self.records.get(rev) {
            Ok(record) => Ok(record.at(rev)),
            Err(e) => Err(self.fail(e)),
        }
    }
    /// A hash over everything that can be read up to `revision` (0: all), to compare replicas.
    /// It reads every record: seconds for gigabytes.
    ///
    /// # Errors
    /// `Compacted`, `FutureRev`; `Stopped` if the file can't be read.
    pub fn hash_kv(&self, revision: Revision) -> Result<HashKv, OpError> {
        self.hash_behind(0, revision)
    }
    /// The same of what was written behind `after` only.
    ///
    /// # Errors
    /// As [`Store::hash_kv`].
    pub fn hash_behind(&self, after: Revision, revision: Revision) -> Result<HashKv, OpError> {
        self.readable(revision)?;
        let revision = if revision > 0 { revision } else { self.revision() };
        let compact_revision = self.compact_revision();
        let mut hasher = blake3::Hasher::new();
        let mut row = Vec::new();
        for (_, rev) in self.data.index.kept(compact_revision, revision).filter(|(_, rev)| rev.main > after) {
            let record = self.records.get(rev).map_err(|e| self.fail(e))?;
            let key = rev.to_bytes();
            record.seal_into(&key, &mut row);
            hasher.update(&key);
            hasher.update(&row);
        }
        Ok(HashKv { hash: hasher.finalize().into(), revision, compact_revision })
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn passes(q: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |n: Revision, min: Revision, max: Revision| (min == 0 || n >= min) && (max == 0 || n <= max);
    within(kv.mod_revision, q.min_mod_revision, q.max_mod_revision)
        && within(kv.create_revision, q.min_create_revision, q.max_create_revision)
}

fn sort(q: &RangeRequest, kvs: &mut [KeyValue]) {
    let by = |a: &KeyValue, b: &KeyValue| match q.sort_target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    // Equal ones stay in the order of keys (etcd leaves their order open).
    match (q.sort_order, q.sort_target) {
        (SortOrder::None, SortTarget::Key) | (SortOrder::Ascend, SortTarget::Key) => {}
        (SortOrder::None | SortOrder::Ascend, _) => kvs.sort_by(by),
        (SortOrder::Descend, _) => kvs.sort_by(|a, b| match by(b, a) {
            Ordering::Equal => a.key.cmp(&b.key),
            other => other,
        }),
    }
}
