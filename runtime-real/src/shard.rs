//! The loop: one task that runs [`Machine::turn`], fed by one queue.
//!
//! **Promise.** The contract of [`dwcp_env::contract`], invariants 1, 2, 3 and 5: one step at a
//! time on a clock that never goes back; nothing that names a ticket leaves before the ticket is
//! durable, or at all if it failed; disk requests in order, each completed once; awake at
//! `wake_at`.
//!
//! **Model.** The task takes what waits (most urgent first, [`TURN_MAX`] at most), hands it to the node
//! as one turn, and carries out the outputs: sends to the [`Carrier`], whose writers it wakes, jobs to
//! the jobs' threads, answers to the doors. Sends and answers that name a ticket wait in order of
//! tickets until its completion is taken. Then the other tasks of its thread run: writers write,
//! answers leave, links and doors bring what has come meanwhile. Disk requests come last: a leader's
//! entries are on their way to its peers before its own disk has them. When nothing waits it sleeps
//! until something comes or `wake_at`.
//!
//! **One thread.** The task shares its thread with the node's links, and with the doors if the
//! configuration gives them none of their own, so that a message from a peer costs one wake-up from
//! the socket to the disk and back to the socket. A thread each for sockets, loop and disk was
//! measured at 28 wake-ups for a write on three nodes, and most of its processor time.
//!
//! **Holding back.** The disk has [`DISK_BACKLOG`] requests of room and the jobs
//! [`JOB_BACKLOG`]. Over that the loop takes no more work or bulk; over four times that no
//! control messages either; completions always. So queues fill from the disk outwards, and at
//! the end doors say "overloaded" and connections are not read.
//!
//! **The end.** After `Stopped`, or at the deadline of a stop, or when `step` panics, the loop
//! closes its queue, lets the disk finish what it was given, and says how it ended.
//! Whoever still waits is told [`DoorError::Stopped`].

use crate::clock::Clock;
use crate::disk::DiskThread;
use crate::door::{Answer, DoorError, Place};
use crate::inbox::{Inbox, Level, Taken};
use crate::jobs::JobThreads;
use bytes::Bytes;
use dwcp_env::contract::Stopped;
use dwcp_env::{
    DiskError, DiskRequest, Duration, Input, Instant, JobId, JobResult, Lane, Machine, NodeId, Outputs,
    Reply, RequestId, Send as ToPeer, Ticket,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout_at;

/// Disk requests that may wait before the loop takes no more work.
pub const DISK_BACKLOG: usize = 1_024;
/// Jobs that may wait before the loop takes no more work.
pub const JOB_BACKLOG: usize = 256;
/// Over this many times a backlog control messages are held back as well.
const HARD: usize = 4;
/// The most inputs of one turn: a thousand clients share few log writes and runs of the engine, and a
/// turn stays within two milliseconds.
const TURN_MAX: usize = 256;
/// Disk requests that may fail before a node that does not stop by itself is stopped.
const FAILURES_MAX: usize = 65_536;
/// How often requests past their deadline are looked for.
const SWEEP: Duration = Duration::millis(100);

/// Where sends go: the links, or a test's ear.
pub trait Carrier: Send + Sync + 'static {
    /// Takes one message. Never waits; what can't be kept is dropped and counted.
    fn carry(&self, send: ToPeer);
    /// What was carried since the last call may now be written.
    fn flush(&self);
    /// Whom the node wants links to from now on, with their addresses.
    fn peers(&self, peers: Vec<(NodeId, String)>);
}

/// What waits for the loop.
pub(crate) enum Entry<Q, R> {
    Message { from: NodeId, lane: Lane, body: Bytes },
    Disk { ticket: Ticket, result: Result<(), DiskError> },
    Job { job: JobId, result: JobResult },
    Request { id: RequestId, deadline: Instant, request: Q, answer: Answer<R>, place: Place },
    Cancel { id: RequestId },
    Unreachable { peer: NodeId },
    Stop { deadline: Instant },
}

/// How a node ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was asked to, and everything is in order.
    Well,
    /// It was asked to, but the time it was given was not enough. Nothing acknowledged is lost.
    Late,
    /// Its environment failed it: what happened and what to do.
    Failed(String),
    /// A broken invariant of ours: a panic, or a probe's `always`.
    Broken(String),
}

/// Requests are numbered: spreading their bits is all the hash they need.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

struct Waiting<R> {
    answer: Answer<R>,
    deadline: Instant,
    _place: Place,
}

/// What becomes of an output that may name a ticket.
enum Gate {
    Open,
    Wait(Ticket),
    /// Its ticket failed.
    Never,
}

enum Gated<R> {
    Send(ToPeer),
    Reply(Reply<R>),
}

/// What the loop is built from.
pub(crate) struct Parts<Q, R> {
    pub(crate) inbox: Arc<Inbox<Entry<Q, R>>>,
    pub(crate) clock: Clock,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) disk: DiskThread,
    pub(crate) jobs: JobThreads,
}

impl<Q, R> Parts<Q, R> {
    /// Waits until the threads have done what was asked of them, and lets go of everything.
    pub(crate) fn wind_up(mut self) {
        self.disk.finish();
        self.jobs.finish();
    }
}

/// The loop's own state; lives in its task.
pub(crate) struct Shard<M: Machine> {
    machine: M,
    parts: Parts<M::Request, M::Response>,
    taken: Taken<Entry<M::Request, M::Response>>,
    out: Outputs<M::Response>,
    waiting: HashMap<RequestId, Waiting<M::Response>, BuildHasherDefault<Spread>>,
    /// By ticket, then in the order the node asked.
    gated: BTreeMap<Ticket, Vec<Gated<M::Response>>>,
    /// The last ticket asked for.
    asked: Option<Ticket>,
    /// Disk requests up to this one have completed, well or not.
    completed: Option<Ticket>,
    /// Those that completed badly.
    failed: BTreeSet<Ticket>,
    /// Streams that were cut because their reader fell behind; the node is yet to be told.
    cut: VecDeque<RequestId>,
    /// Asked for in this turn, not yet given to the disk.
    to_disk: VecDeque<DiskRequest>,
    /// Given to the disk's thread, not completed.
    disk_waiting: usize,
    jobs_waiting: usize,
    wake_at: Option<Instant>,
    next_sweep: Instant,
    stop_by: Option<Instant>,
    ended: Option<Ended>,
    /// What has arrived and makes up the next turn.
    batch: Vec<Input<M::Request>>,
}

impl<M: Machine> Shard<M> {
    pub(crate) fn new(machine: M, parts: Parts<M::Request, M::Response>) -> Self {
        Self {
            taken: Taken::new(),
            machine,
            parts,
            out: Outputs::new(),
            waiting: HashMap::default(),
            gated: BTreeMap::new(),
            asked: None,
            completed: None,
            failed: BTreeSet::new(),
            cut: VecDeque::new(),
            to_disk: VecDeque::new(),
            disk_waiting: 0,
            jobs_waiting: 0,
            wake_at: None,
            next_sweep: Instant::FAR,
            stop_by: None,
            ended: None,
            batch: Vec::with_capacity(TURN_MAX),
        }
    }

    /// Runs until the node has ended.
    pub(crate) async fn run(&mut self) -> Ended {
        // A node may have work to do right after its boot: its first step is a wake.
        self.step(Input::Wake);
        loop {
            if let Some(ended) = self.ended.take() {
                self.write_to_disk();
                self.parts.carrier.flush();
                return ended;
            }
            self.wake_if_due();
            while let Some(id) = self.cut.pop_front() {
                self.step(Input::Cancel { id });
            }
            let least = self.least();
            while self.batch.len() < TURN_MAX
                && let Some(entry) = self.taken.next(&self.parts.inbox, least)
            {
                self.take(entry);
            }
            let busy = !self.batch.is_empty();
            if busy {
                self.turn();
            }
            self.parts.carrier.flush();
            if !self.to_disk.is_empty() {
                writers_first().await;
                self.write_to_disk();
            } else if busy {
                tokio::task::yield_now().await;
            } else {
                self.sleep(least).await;
            }
        }
    }

    /// Sleeps until something not less urgent than `least` is there, or it is time for something.
    async fn sleep(&mut self, least: Level) {
        let due = self.next_time().map(|at| self.parts.clock.to_std(at).into());
        let ready = poll_fn(|cx| match self.taken.ready(&self.parts.inbox, least, cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        match due {
            Some(due) => {
                let _ready_or_due = timeout_at(due, ready).await;
            }
            None => ready.await,
        }
    }

    /// Carries out what was asked of the disk, or has its thread do so.
    fn write_to_disk(&mut self) {
        while let Some(request) = self.to_disk.pop_front() {
            let done = if self.disk_waiting == 0 { self.parts.disk.at_once(&request) } else { None };
            self.disk_waiting += 1;
            match done {
                Some(result) => self.take(Entry::Disk { ticket: request.ticket, result }),
                None => self.parts.disk.send(request),
            }
        }
    }

    /// The least urgent level the loop takes now.
    fn least(&self) -> Level {
        if self.disk_waiting >= HARD * DISK_BACKLOG || self.jobs_waiting >= HARD * JOB_BACKLOG {
            Level::Completion
        } else if self.disk_waiting >= DISK_BACKLOG || self.jobs_waiting >= JOB_BACKLOG {
            Level::Control
        } else {
            Level::Bulk
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let sweep = (!self.waiting.is_empty()).then_some(self.next_sweep);
        [self.wake_at, sweep, self.stop_by].into_iter().flatten().min()
    }

    fn wake_if_due(&mut self) {
        let Some(at) = self.next_time() else { return };
        let now = self.parts.clock.mono();
        if now < at {
            return;
        }
        if self.stop_by.is_some_and(|by| now >= by) {
            self.ended = Some(Ended::Late);
            return;
        }
        if self.wake_at.is_some_and(|w| now >= w) {
            // Before what has arrived meanwhile: that may wish for a later time, and the wake would come before it.
            self.batch.insert(0, Input::Wake);
            self.turn();
        }
        if !self.waiting.is_empty() && now >= self.next_sweep {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.next_sweep = now + SWEEP;
        let late: Vec<RequestId> =
            self.waiting.iter().filter(|(_, w)| w.deadline <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some(Waiting { answer: Answer::Once(to), .. }) = self.waiting.remove(&id) {
                let _nobody_waits = to.send(Err(DoorError::Deadline));
            }
            self.step(Input::Cancel { id });
        }
    }

    fn take(&mut self, entry: Entry<M::Request, M::Response>) {
        let input = match entry {
            Entry::Message { from, lane, body } => Input::Message { from, lane, body },
            Entry::Unreachable { peer } => Input::Unreachable { peer },
            Entry::Disk { ticket, result } => {
                self.complete(ticket, result.is_ok());
                Input::Disk { ticket, result }
            }
            Entry::Job { job, result } => {
                self.jobs_waiting -= 1;
                Input::Job { job, result }
            }
            Entry::Request { id, deadline, request, answer, place } => {
                if self.waiting.is_empty() {
                    self.next_sweep = self.parts.clock.mono() + SWEEP;
                }
                self.waiting.insert(id, Waiting { answer, deadline, _place: place });
                Input::Request { id, deadline, request }
            }
            Entry::Cancel { id } => {
                // A request that was answered in the meantime needs no cancel.
                if self.waiting.remove(&id).is_none() {
                    return;
                }
                Input::Cancel { id }
            }
            Entry::Stop { deadline } => {
                if self.stop_by.is_some_and(|by| by <= deadline) {
                    return;
                }
                self.stop_by = Some(deadline);
                Input::Stop { deadline }
            }
        };
        self.batch.push(input);
    }

    /// Opens what waited for `ticket`, or drops it for good.
    fn complete(&mut self, ticket: Ticket, well: bool) {
        assert!(self.completed < Some(ticket), "{ticket} completed after {:?}", self.completed);
        self.completed = Some(ticket);
        self.disk_waiting -= 1;
        let gated = self.gated.remove(&ticket).unwrap_or_default();
        if !well {
            self.failed.insert(ticket);
            if self.failed.len() > FAILURES_MAX {
                self.ended = Some(Ended::Failed(format!(
                    "{FAILURES_MAX} disk requests have failed and the node went on; see the log for the first"
                )));
            }
            return;
        }
        for g in gated {
            match g {
                Gated::Send(send) => self.parts.carrier.carry(send),
                Gated::Reply(reply) => self.answer(reply),
            }
        }
    }

    fn gate(&mut self, after: Option<Ticket>) -> Gate {
        let Some(t) = after else { return Gate::Open };
        assert!(Some(t) <= self.asked, "waits for {t}, and only {:?} was asked", self.asked);
        if Some(t) > self.completed {
            Gate::Wait(t)
        } else if self.failed.contains(&t) {
            Gate::Never
        } else {
            Gate::Open
        }
    }

    fn answer(&mut self, reply: Reply<M::Response>) {
        let Reply { id, response, end, .. } = reply;
        let Some(waiting) = self.waiting.get(&id) else { return };
        match &waiting.answer {
            Answer::Once(_) => {
                if let Some(Waiting { answer: Answer::Once(to), .. }) = self.waiting.remove(&id) {
                    let _nobody_waits = to.send(Ok(response));
                }
            }
            Answer::Stream { to, lagged } => {
                let full = matches!(to.try_send(response), Err(TrySendError::Full(_)));
                if full {
                    lagged.store(true, Ordering::Release);
                    self.cut.push_back(id);
                }
                if full || end {
                    self.waiting.remove(&id);
                }
            }
        }
    }

    fn step(&mut self, input: Input<M::Request>) {
        self.batch.push(input);
        self.turn();
    }

    /// Hands the node what has arrived as one turn, and carries out what it asks.
    fn turn(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let now = self.parts.clock.now();
        let mut batch = std::mem::take(&mut self.batch);
        self.machine.turn(now, &mut batch, &mut out);
        batch.clear();
        self.batch = batch;
        self.wake_at = out.wake_at;
        for request in out.disk.drain(..) {
            assert!(self.asked < Some(request.ticket), "{} asked after {:?}", request.ticket, self.asked);
            self.asked = Some(request.ticket);
            self.to_disk.push_back(request);
        }
        for send in out.sends.drain(..) {
            match self.gate(send.after) {
                Gate::Open => self.parts.carrier.carry(send),
                Gate::Wait(t) => self.gated.entry(t).or_default().push(Gated::Send(send)),
                Gate::Never => {}
            }
        }
        for reply in out.replies.drain(..) {
            match self.gate(reply.after) {
                Gate::Open => self.answer(reply),
                Gate::Wait(t) => self.gated.entry(t).or_default().push(Gated::Reply(reply)),
                Gate::Never => {}
            }
        }
        if let Some(peers) = out.peers.take() {
            self.parts.carrier.peers(peers);
        }
        for job in out.jobs.drain(..) {
            self.jobs_waiting += 1;
            self.parts.jobs.send(job);
        }
        match out.stopped.take() {
            Some(Stopped::Asked) => self.ended = Some(Ended::Well),
            Some(Stopped::Failed(why)) => self.ended = Some(Ended::Failed(why)),
            None => {}
        }
        self.out = out;
    }

    /// Closes the queue and lets the threads end; `wait` until what was asked of them is done.
    pub(crate) fn wind_up(self, wait: bool) {
        drop(self.parts.inbox.close());
        if wait {
            self.parts.wind_up();
        }
    }
}

/// Lets the tasks that have been woken run once: the carrier's writers write.
async fn writers_first() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        // Behind those that were woken before.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
