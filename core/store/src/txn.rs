//! Writes: puts, deletes and transactions, as etcd's apply loop does them.
//!
//! **Promise.** A command changes everything it changes under one new revision, or nothing. All
//! that can be wrong is found before the first write.
//!
//! **Model.** A [`Change`] collects the writes of one command: the revision they get is the
//! store's plus one, each write takes the next number in it. Reads inside see the writes before
//! them. If nothing was written, no revision is used up.

use crate::api::{
    Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, Header, KeyRange, KeyValue, LeaseId,
};
use crate::api::{OpError, PutRequest, Response, Revision, TxnOp, TxnRequest};
use crate::record::{Record, Rev};
use crate::store::Store;
use bytes::Bytes;
use std::cmp::Ordering;

/// The writes of one command.
pub(crate) struct Change<'a> {
    store: &'a mut Store,
    writes: u32,
}

impl<'a> Change<'a> {
    /// No writes yet.
    pub(crate) const fn of(store: &'a mut Store) -> Self {
        Self { store, writes: 0 }
    }
    /// The revision that reads see: the new one, once something was written.
    const fn current(&self) -> Revision {
        self.store.data.revision + if self.writes > 0 { 1 } else { 0 }
    }
    const fn response(&self, body: Body) -> Response {
        Response { header: Header { revision: self.current() }, body }
    }
    /// Ends the command: the revision is the store's now.
    pub(crate) fn commit(self) {
        self.store.data.revision = self.current();
    }
    fn next(&mut self) -> Rev {
        let rev = Rev { main: self.store.data.revision + 1, sub: self.writes };
        self.writes += 1;
        rev
    }
    fn live(&self, key: &Bytes) -> Result<Option<KeyValue>, OpError> {
        let rev = self.store.data.index.at(key, self.current());
        rev.map(|rev| self.store.key_value(rev)).transpose()
    }

    /// A put that has been checked against the state.
    pub(crate) fn put(&mut self, put: &PutRequest) -> Result<Response, OpError> {
        let mut record = Record {
            key: put.key.clone(),
            create_revision: 0,
            version: 0,
            value: put.value.clone(),
            lease: put.lease,
        };
        let mut prev_kv = None;
        if put.prev_kv || put.ignore_value || put.ignore_lease {
            prev_kv = self.live(&put.key)?;
        }
        if put.ignore_value || put.ignore_lease {
            let kept = prev_kv.as_ref().expect("checked before the first write");
            if put.ignore_value {
                record.value = kept.value.clone();
            }
            if put.ignore_lease {
                record.lease = kept.lease;
            }
        }
        let rev = self.next();
        let bugs = self.store.options.bugs;
        let data = &mut self.store.data;
        let written = data.index.put(&put.key, rev, bugs);
        (record.create_revision, record.version) = (written.create_revision, written.version);
        data.leases.attach(&put.key, record.lease, bugs.lease_keeps_key());
        self.store.records.fresh.push(rev, record);
        Ok(self.response(Body::Put { prev_kv: prev_kv.filter(|_| put.prev_kv) }))
    }
    /// A deletion.
    pub(crate) fn delete(&mut self, delete: &DeleteRangeRequest) -> Result<Response, OpError> {
        let range = KeyRange::new(&delete.key, &delete.range_end);
        let range = match range {
            KeyRange::Between(from, end) if self.store.options.bugs.range_end_deleted() => {
                KeyRange::Between(from, [&end[..], &[0]].concat().into())
            }
            range => range,
        };
        let live: Vec<(Bytes, Rev)> = self
            .store
            .data
            .index
            .range(&range, self.current())
            .map(|(key, rev)| (key.clone(), rev))
            .collect();
        let mut prev_kvs = Vec::new();
        if delete.prev_kv {
            prev_kvs = live.iter().map(|(_, rev)| self.store.key_value(*rev)).collect::<Result<_, _>>()?;
        }
        for (key, _) in &live {
            self.delete_live(key);
        }
        if live.is_empty() && self.store.options.bugs.empty_delete_counts() {
            self.store.data.revision += 1;
        }
        Ok(self.response(Body::DeleteRange { deleted: live.len() as i64, prev_kvs }))
    }
    fn delete_live(&mut self, key: &Bytes) {
        let rev = self.next();
        self.store.data.index.delete(key, rev);
        self.store.data.leases.detach(key);
        self.store.records.fresh.push(rev, Record::tombstone(key.clone()));
    }
    /// Ends a lease, and deletes its keys in their order.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<Response, OpError> {
        let keys = self.store.data.leases.revoke(id).ok_or(OpError::LeaseNotFound)?;
        let mut deleted = 0;
        if !self.store.options.bugs.lease_keys_leak() {
            for key in &keys {
                self.delete_live(key);
                deleted += 1;
            }
        }
        Ok(self.response(Body::LeaseRevoke { deleted }))
    }
    /// A transaction.
    pub(crate) fn txn(&mut self, txn: &TxnRequest) -> Result<Response, OpError> {
        let path = self.store.path(txn)?;
        self.store.check_path(txn, &path)?;
        self.follow(txn, &mut path.iter())
    }
    fn follow(
        &mut self,
        txn: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
    ) -> Result<Response, OpError> {
        let succeeded = *path.next().expect("one step for each transaction");
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => {
                    let found = self.store.range_at(range, self.current())?;
                    self.response(Body::Range(found))
                }
                TxnOp::Put(put) => self.put(put)?,
                TxnOp::DeleteRange(delete) => self.delete(delete)?,
                TxnOp::Txn(inner) => self.follow(inner, path)?,
            });
            if self.store.options.bugs.txn_not_atomic() {
                (self.store.data.revision, self.writes) = (self.current(), 0);
            }
        }
        Ok(self.response(Body::Txn { succeeded, responses }))
    }
}

impl TxnRequest {
    /// Whether neither way writes: such a transaction needs no place in the log.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => false,
            TxnOp::Txn(inner) => inner.is_read_only(),
        })
    }
}

impl Store {
    /// A transaction that only reads, from this replica, as it is now.
    ///
    /// # Errors
    /// As the transaction in the log; `Stopped` if the file can't be read.
    ///
    /// # Panics
    /// If it is not [`TxnRequest::is_read_only`].
    pub fn read_txn(&self, txn: &TxnRequest) -> Result<Response, OpError> {
        txn.check()?;
        let path = self.path(txn)?;
        self.check_path(txn, &path)?;
        self.read_path(txn, &mut path.iter())
    }
    fn read_path(
        &self,
        txn: &TxnRequest,
        path: &mut std::slice::Iter<'_, bool>,
    ) -> Result<Response, OpError> {
        let succeeded = *path.next().expect("one step for each transaction");
        let header = Header { revision: self.revision() };
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let read = |op: &TxnOp| match op {
            TxnOp::Range(range) => {
                let body = Body::Range(self.range_at(range, header.revision)?);
                Ok(Response { header, body })
            }
            TxnOp::Txn(inner) => self.read_path(inner, path),
            TxnOp::Put(_) | TxnOp::DeleteRange(_) => panic!("a transaction that writes goes through the log"),
        };
        let responses = ops.iter().map(read).collect::<Result<_, OpError>>()?;
        Ok(Response { header, body: Body::Txn { succeeded, responses } })
    }
    /// Which way each transaction goes, itself first, then those inside its list, in their order.
    /// All conditions are judged on the state before the command.
    fn path(&self, txn: &TxnRequest) -> Result<Vec<bool>, OpError> {
        let mut holds = true;
        for compare in &txn.compare {
            if !self.holds(compare)? {
                holds = false;
                break;
            }
        }
        let mut path = vec![holds];
        for op in if holds { &txn.success } else { &txn.failure } {
            if let TxnOp::Txn(inner) = op {
                path.extend(self.path(inner)?);
            }
        }
        Ok(path)
    }
    /// Whether all that the path does can be done: all puts first, then all reads, as etcd.
    fn check_path(&self, txn: &TxnRequest, path: &[bool]) -> Result<(), OpError> {
        let put = |op: &TxnOp| match op {
            TxnOp::Put(put) => self.check_kept(put).and_then(|()| self.check_lease(put)),
            _ => Ok(()),
        };
        let range = |op: &TxnOp| match op {
            TxnOp::Range(range) => self.readable(range.revision),
            _ => Ok(()),
        };
        on_path(txn, &mut path.iter(), &put)?;
        on_path(txn, &mut path.iter(), &range)
    }
    /// What a put keeps must be there.
    pub(crate) fn check_kept(&self, put: &PutRequest) -> Result<(), OpError> {
        let kept = put.ignore_value || put.ignore_lease;
        if kept && self.data.index.at(&put.key, self.revision()).is_none() {
            return Err(OpError::KeyNotFound);
        }
        Ok(())
    }
    /// The lease of a put must exist.
    pub(crate) fn check_lease(&self, put: &PutRequest) -> Result<(), OpError> {
        if put.lease != 0 && self.data.leases.get(put.lease).is_none() {
            return Err(OpError::LeaseNotFound);
        }
        Ok(())
    }
    fn holds(&self, compare: &Compare) -> Result<bool, OpError> {
        let at = self.revision() - i64::from(self.options.bugs.stale_compare());
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let mut any = false;
        for (_, rev) in self.data.index.range(&range, at) {
            any = true;
            let holds = holds_for(compare, &self.key_value(rev)?);
            if holds == self.options.bugs.compare_any() {
                return Ok(holds);
            }
        }
        if any && self.options.bugs.compare_any() {
            return Ok(false);
        }
        // A value that is not there compares with nothing; numbers that are not there are zero.
        let absent = !matches!(compare.target, CompareTarget::Value(_));
        Ok(any || absent && holds_for(compare, &KeyValue::default()))
    }
}

/// Asks `check` about each operation that the path does, in their order.
fn on_path(
    txn: &TxnRequest,
    path: &mut std::slice::Iter<'_, bool>,
    check: &dyn Fn(&TxnOp) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let succeeded = *path.next().expect("one step for each transaction");
    for op in if succeeded { &txn.success } else { &txn.failure } {
        match op {
            TxnOp::Txn(inner) => on_path(inner, path, check)?,
            op => check(op)?,
        }
    }
    Ok(())
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(n) => kv.version.cmp(n),
        CompareTarget::Create(n) => kv.create_revision.cmp(n),
        CompareTarget::Mod(n) => kv.mod_revision.cmp(n),
        CompareTarget::Lease(n) => kv.lease.cmp(n),
        CompareTarget::Value(v) => kv.value.cmp(v),
    };
    match compare.op {
        CompareOp::Equal => order == Ordering::Equal,
        CompareOp::NotEqual => order != Ordering::Equal,
        CompareOp::Greater => order == Ordering::Greater,
        CompareOp::Less => order == Ordering::Less,
    }
}
