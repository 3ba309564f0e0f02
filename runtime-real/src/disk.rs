//! The disk's thread: carries out [`DiskRequest`]s in the order of their tickets.
//!
//! **Promise.** Each request completes exactly once, in order, after its operations were carried
//! out in order up to the first that failed. After a failed sync nothing is done any more: the
//! kernel may have dropped pages that it then calls clean, so every later request fails
//! with [`DiskError::Stopped`] and the node has to recover from what is on the disk.
//!
//! **Model.** One thread, one queue, handles kept open for the files in use
//! ([`HANDLES`]; more than the log and the store together have open at once). A handle goes when
//! its file is renamed or removed.
//!
//! **Rejected.** Merging consecutive requests here: the node groups the appends of a turn
//! itself, where it knows what belongs together; `io_uring`: one sync in flight at a time is
//! what the log wants, and a thread in `fdatasync` costs the same.

use crate::metrics::Histogram;
use crate::storage::{RealFile, RealStorage};
use crossbeam_channel::{Sender, unbounded};
use dwcp_env::disk::FileName;
use dwcp_env::{DiskError, DiskOp, DiskRequest, File, Storage, Ticket};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Handles kept open at once.
const HANDLES: usize = 64;

/// Where completions go.
pub(crate) type OnDisk = Box<dyn Fn(Ticket, Result<(), DiskError>) + Send>;

/// The thread; it ends when this is dropped and the queue is empty.
pub(crate) struct DiskThread {
    requests: Option<Sender<DiskRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskThread {
    /// Starts the thread on `storage`; each sync's length goes into `syncs`.
    pub(crate) fn start(storage: Arc<RealStorage>, done: OnDisk, syncs: Histogram) -> std::io::Result<Self> {
        // Bounded by the loop's holding back: see `shard::DISK_BACKLOG`.
        let (requests, queue) = unbounded::<DiskRequest>();
        let run = move || {
            let mut executor = Executor::new(storage, syncs);
            for request in queue {
                done(request.ticket, executor.carry_out(&request));
            }
        };
        let thread = std::thread::Builder::new().name("dwcp-disk".into()).spawn(run)?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    pub(crate) fn send(&self, request: DiskRequest) {
        if let Some(requests) = &self.requests {
            // The thread lives as long as `self`.
            let _sent = requests.send(request);
        }
    }

    /// Lets no more in and waits until all that was asked is carried out.
    pub(crate) fn finish(&mut self) {
        drop(self.requests.take());
        if let Some(t) = self.thread.take() {
            let _panicked = t.join();
        }
    }
}

/// Carries out requests on one directory.
struct Executor {
    storage: Arc<RealStorage>,
    open: BTreeMap<FileName, RealFile>,
    sync_failed: bool,
    syncs: Histogram,
}

impl Executor {
    fn new(storage: Arc<RealStorage>, syncs: Histogram) -> Self {
        Self { storage, open: BTreeMap::new(), sync_failed: false, syncs }
    }

    fn carry_out(&mut self, request: &DiskRequest) -> Result<(), DiskError> {
        if self.sync_failed {
            return Err(DiskError::Stopped);
        }
        request.ops.iter().try_for_each(|op| self.op(op))
    }

    fn op(&mut self, op: &DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { file, len } => {
                self.open.remove(file);
                let f = self.storage.create_reserved(file, *len)?;
                self.keep(file, f);
                Ok(())
            }
            DiskOp::Write { file, offset, data } => self.file(file)?.write_at(*offset, data),
            DiskOp::Sync { file } => {
                let started = Instant::now();
                let result = self.file(file)?.sync();
                self.syncs.record(started.elapsed());
                self.sync_failed |= result.is_err();
                result
            }
            DiskOp::Rename { from, to } => {
                self.open.remove(to);
                let moved = self.open.remove(from);
                self.storage.rename(from, to)?;
                drop(moved);
                Ok(())
            }
            DiskOp::Remove { file } => {
                self.open.remove(file);
                self.storage.remove(file)
            }
            DiskOp::SyncDir => {
                let started = Instant::now();
                let result = self.storage.sync_dir();
                self.syncs.record(started.elapsed());
                self.sync_failed |= result.is_err();
                result
            }
        }
    }

    /// A handle whose file was replaced through [`Storage`] (by a job) would go on writing into
    /// the old file. The node's contract is that the log's files are only reached here.
    fn file(&mut self, file: &FileName) -> Result<&RealFile, DiskError> {
        if !self.open.contains_key(file) {
            let f = self.storage.open_file(file, OFlags::empty())?;
            self.keep(file, f);
        }
        self.open.get(file).ok_or_else(|| DiskError::NotFound(file.as_str().into()))
    }

    fn keep(&mut self, file: &FileName, f: RealFile) {
        if self.open.len() >= HANDLES {
            self.open.pop_first();
        }
        self.open.insert(file.clone(), f);
    }
}
