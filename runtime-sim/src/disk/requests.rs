//! Disk requests: carried out in order of their tickets, one after the other.
//!
//! A request takes the sum of its operations' times, and takes effect as a whole when it
//! completes; a crash in between carries out the part whose time had passed.

use super::{Disk, Shared};
use dwcp_env::{DiskError, DiskOp, DiskRequest, Duration};
use std::collections::VecDeque;

/// A request on its way.
#[derive(Debug)]
pub(crate) struct InFlight<G> {
    pub(crate) request: DiskRequest,
    pub(crate) began: u64,
    pub(crate) ends: u64,
    /// What waits for it.
    pub(crate) gated: Vec<G>,
}

/// The requests of one incarnation.
#[derive(Debug)]
pub(crate) struct Requests<G> {
    pub(crate) queue: VecDeque<InFlight<G>>,
    last_ticket: Option<u64>,
    free_at: u64,
    /// Tickets that failed, in order.
    failed: Vec<u64>,
    done: Option<u64>,
    /// Emptied lists, to be filled again.
    spare: Vec<Vec<G>>,
}

/// Where a ticket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Done,
    Failed,
    /// In the queue, at this place.
    Waits(usize),
    /// Never handed out.
    Unknown,
}

impl<G> Default for Requests<G> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            last_ticket: None,
            free_at: 0,
            failed: Vec::new(),
            done: None,
            spare: Vec::new(),
        }
    }
}

impl<G> Requests<G> {
    /// Takes a request; the times at which it begins and ends. `None` if the ticket is not
    /// the one after the last.
    pub(crate) fn submit(&mut self, now: u64, request: DiskRequest, disk: &Shared) -> Option<(u64, u64)> {
        let ticket = request.ticket.0;
        if self.last_ticket.is_some_and(|last| ticket != last + 1) {
            return None;
        }
        self.last_ticket = Some(ticket);
        let began = now.max(self.free_at);
        let ends = began.saturating_add(disk.lock().time_of(&request));
        self.free_at = ends;
        let gated = self.spare.pop().unwrap_or_default();
        self.queue.push_back(InFlight { request, began, ends, gated });
        Some((began, ends))
    }
    /// Where a ticket stands.
    pub(crate) fn standing(&self, ticket: u64) -> Standing {
        if self.done.is_some_and(|d| ticket <= d) {
            let failed = self.failed.binary_search(&ticket).is_ok();
            return if failed { Standing::Failed } else { Standing::Done };
        }
        let Some(front) = self.queue.front() else { return Standing::Unknown };
        match ticket.checked_sub(front.request.ticket.0) {
            Some(i) if (i as usize) < self.queue.len() => Standing::Waits(i as usize),
            _ => Standing::Unknown,
        }
    }
    /// Ends the first request, which has been carried out.
    pub(crate) fn complete(&mut self, result: Result<(), DiskError>) -> Option<Completed<G>> {
        let first = self.queue.pop_front()?;
        let ticket = first.request.ticket;
        self.done = Some(ticket.0);
        if result.is_err() {
            self.failed.push(ticket.0);
        }
        Some(Completed { ticket, result, gated: first.gated })
    }
    /// Gives an emptied list back.
    pub(crate) fn recycle(&mut self, mut gated: Vec<G>) {
        gated.clear();
        if self.spare.len() < 64 {
            self.spare.push(gated);
        }
    }
    /// A crash: carries out the part of the first request whose time has passed.
    pub(crate) fn cut(&mut self, now: u64, disk: &mut Disk) -> bool {
        let Some(first) = self.queue.front() else { return false };
        if first.began >= now {
            return false;
        }
        let (passed, whole) = (now - first.began, (first.ends - first.began).max(1));
        let ops = &first.request.ops;
        let reached = (ops.len() as u128 * u128::from(passed) / u128::from(whole)) as usize;
        for (i, op) in ops.iter().take(reached + 1).enumerate() {
            // The one being carried out: a write may have come anywhere, a sync has not ended.
            let partial = i == reached;
            if partial && matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir) {
                break;
            }
            if disk.carry_out(op).is_err() {
                break;
            }
        }
        true
    }
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Completed<G> {
    pub(crate) ticket: dwcp_env::Ticket,
    pub(crate) result: Result<(), DiskError>,
    pub(crate) gated: Vec<G>,
}

impl Disk {
    /// How long a request takes.
    fn time_of(&mut self, request: &DiskRequest) -> u64 {
        let mut time = 0_u64;
        for op in &request.ops {
            let ordinal = self.tick();
            let one = match op {
                DiskOp::Write { data, .. } => self.op_time(self.settings.write, data.len() as u64),
                DiskOp::Sync { .. } | DiskOp::SyncDir => self.sync_time(ordinal),
                DiskOp::Create { .. } | DiskOp::Rename { .. } | DiskOp::Remove { .. } => {
                    self.op_time(self.settings.write, 0)
                }
            };
            time = time.saturating_add(one);
        }
        self.note_slow();
        // A disk that stands still does so once, not once for each operation.
        if self.ills.stalled_until > self.time {
            return self.ills.stalled_until - self.time + Duration::micros(1).as_nanos();
        }
        time
    }

    /// All operations of a request, to the first that fails.
    pub(crate) fn carry_out_all(&mut self, request: &DiskRequest) -> Result<(), DiskError> {
        self.settle();
        request.ops.iter().try_for_each(|op| self.carry_out(op))
    }

    /// One operation, whose time has been counted.
    fn carry_out(&mut self, op: &DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { file, len } => self.create_reserved(file, *len),
            DiskOp::Write { file, offset, data } => {
                let ino = self.find(file)?;
                self.put(ino, *offset, data)
            }
            DiskOp::Sync { file } => {
                let ino = self.find(file)?;
                let ordinal = self.tick();
                self.flush(ino, ordinal)
            }
            DiskOp::Rename { from, to } => self.untimed(|d| d.rename(from, to)),
            DiskOp::Remove { file } => self.untimed(|d| d.remove(file)),
            DiskOp::SyncDir => self.untimed(Self::sync_dir),
        }
    }

    /// Runs an operation whose time the request has already counted.
    fn untimed<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let spent = self.spent.load(std::sync::atomic::Ordering::Relaxed);
        let result = f(self);
        self.spent.store(spent, std::sync::atomic::Ordering::Relaxed);
        result
    }
}
