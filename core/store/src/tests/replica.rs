//! One replica on a disk in memory, with the log that drives it.

use crate::api::{
    Applied, Command, DeleteRangeRequest, KeyValue, Op, OpError, PutRequest, RangeRequest, Stamp,
};
use crate::memory::MemoryDisk;
use crate::{Store, StoreBugs, StoreError, StoreOptions};
use bytes::Bytes;
use dwcp_consensus::{Position, StateMachine};
use dwcp_env::{ByteCount, ClusterId, GroupId, Probe, WallTime};
use std::sync::Arc;

pub(super) fn options() -> StoreOptions {
    StoreOptions {
        cluster: ClusterId(7),
        group: GroupId(0),
        cache: ByteCount::mib(1),
        bugs: StoreBugs::default(),
    }
}

pub(super) fn open(options: StoreOptions, disk: &Arc<MemoryDisk>) -> Result<Store, StoreError> {
    Store::open(options, disk.clone(), Probe::silent())
}

pub(super) struct Replica {
    pub(super) options: StoreOptions,
    pub(super) disk: Arc<MemoryDisk>,
    pub(super) store: Store,
    /// What was decided, with the answers of the first time.
    pub(super) log: Vec<(Bytes, Applied)>,
}

impl Replica {
    pub(super) fn new() -> Self {
        Self::with(options())
    }
    pub(super) fn with(options: StoreOptions) -> Self {
        let disk = MemoryDisk::new();
        let store = open(options.clone(), &disk).unwrap();
        Self { options, disk, store, log: Vec::new() }
    }
    pub(super) fn run(&mut self, op: Op) -> Applied {
        self.run_stamped(None, op)
    }
    pub(super) fn run_stamped(&mut self, session: Option<Stamp>, op: Op) -> Applied {
        let time = WallTime::from_nanos(self.log.len() as u64 * 1_000_000_000);
        let command = Command { session, time, op }.encode();
        let at = position(self.log.len());
        let answer = self.store.apply(at, &command);
        self.log.push((command, answer.clone()));
        answer
    }
    pub(super) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.run(put(key, value)).unwrap().header.revision
    }
    pub(super) fn delete(&mut self, key: &str, range_end: &str) -> Applied {
        let (key, range_end) = (Bytes::from(key.to_owned()), Bytes::from(range_end.to_owned()));
        self.run(Op::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }))
    }
    pub(super) fn get(&self, key: &str, revision: i64) -> Result<Option<KeyValue>, OpError> {
        let q = RangeRequest { key: key.to_owned().into(), revision, ..RangeRequest::default() };
        Ok(self.store.range(&q)?.1.kvs.pop())
    }
    pub(super) fn checkpoint(&mut self) {
        if let Some(work) = self.store.checkpoint() {
            let done = (work.run)();
            self.store.checkpoint_done(Some(done)).unwrap();
        }
    }
    /// The machine goes down and comes back; the log brings the rest again, with the same answers.
    pub(super) fn crash(&mut self, seed: u64) {
        self.disk = self.disk.crashed(seed);
        self.store = open(self.options.clone(), &self.disk).unwrap();
        self.replay();
    }
    pub(super) fn replay(&mut self) {
        let applied = self.store.applied().0.map_or(0, |p| p.index as usize);
        for (i, (command, answer)) in self.log.iter().enumerate().skip(applied) {
            assert_eq!(&self.store.apply(position(i), command), answer, "entry {i} again");
        }
    }
}

pub(super) fn position(i: usize) -> Position {
    Position { term: 1, index: i as u64 + 1 }
}

pub(super) fn put(key: &str, value: &str) -> Op {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Op::Put(PutRequest { key, value, ..PutRequest::default() })
}
