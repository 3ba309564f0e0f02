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
//! **At once.** A write and its sync may also be carried out on the loop's own thread
//! ([`DiskThread::at_once`]), where that is quick: handing them over and being told costs two
//! wake-ups, as much processor time as the sync itself. Quick means that syncs have lately taken
//! [`QUICK`] on average, and that the thread has nothing to do; whatever makes, moves or removes
//! files is the thread's. So a disk that begins to stall holds the loop up once, and from then on the
//! thread has it until it is quick again.
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
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Handles kept open at once.
const HANDLES: usize = 64;

/// Syncs that take longer than this on average are the thread's: a hundredth of a heartbeat, which the
/// loop may be deaf for.
const QUICK: Duration = Duration::from_millis(1);

/// Where completions go.
pub(crate) type OnDisk = Box<dyn Fn(Ticket, Result<(), DiskError>) + Send>;

/// The thread; it ends when this is dropped and the queue is empty.
pub(crate) struct DiskThread {
    executor: Arc<Mutex<Executor>>,
    requests: Option<Sender<DiskRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskThread {
    /// Starts the thread on `storage`; each sync's length goes into `syncs`.
    pub(crate) fn start(storage: Arc<RealStorage>, done: OnDisk, syncs: Histogram) -> std::io::Result<Self> {
        // Bounded by the loop's holding back: see `shard::DISK_BACKLOG`.
        let (requests, queue) = unbounded::<DiskRequest>();
        let executor = Arc::new(Mutex::new(Executor::new(storage, syncs)));
        let shared = executor.clone();
        let run = move || {
            for request in queue {
                let result = shared.lock().unwrap_or_else(PoisonError::into_inner).carry_out(&request);
                done(request.ticket, result);
            }
        };
        let thread = std::thread::Builder::new().name("dwcp-disk".into()).spawn(run)?;
        Ok(Self { executor, requests: Some(requests), thread: Some(thread) })
    }

    /// Carries a request out on the caller's thread, if that is quick. All that was given to the
    /// thread before must have completed.
    pub(crate) fn at_once(&self, request: &DiskRequest) -> Option<Result<(), DiskError>> {
        let plain = |op: &DiskOp| matches!(op, DiskOp::Write { .. } | DiskOp::Sync { .. });
        if !request.ops.iter().all(plain) {
            return None;
        }
        let mut executor = self.executor.try_lock().ok()?;
        (executor.usual_sync <= QUICK).then(|| executor.carry_out(request))
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
    /// How long syncs take, smoothed; the first ones are the thread's.
    usual_sync: Duration,
    syncs: Histogram,
}

impl Executor {
    fn new(storage: Arc<RealStorage>, syncs: Histogram) -> Self {
        Self { storage, open: BTreeMap::new(), sync_failed: false, usual_sync: QUICK * 8, syncs }
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
                let took = started.elapsed();
                self.syncs.record(took);
                self.usual_sync = (self.usual_sync * 7 + took) / 8;
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
