//! The node's contract: inputs go in, outputs come out, and the order of durability is part
//! of the outputs.
//!
//! **Invariants every world keeps** (tested by [`crate::contract`]'s suite in each runtime):
//!
//! 1. `step` is never entered twice at once, and `now.mono` never goes back between steps.
//! 2. A send or reply that names a ticket leaves the node only after that request completed
//!    without error; if it failed, the send is never made.
//! 3. Disk requests are carried out in the order of their tickets; each completes once.
//! 4. Messages may be lost, repeated, reordered and delayed — but never altered: a frame that
//!    fails its checksum is dropped by the runtime and counted against its sender.
//! 5. A node wakes at or soon after `wake_at`, and not before unless another input came.
//! 6. After a crash, a new incarnation boots from [`World::storage`] alone; tickets, requests
//!    and jobs of the old one never reach it.
//!
//! **What a node promises.** It does nothing but fill `Outputs`; the same world and the
//! same inputs give the same outputs, byte for byte.

use crate::disk::{DiskError, DiskRequest, Storage};
use crate::draw::Seed;
use crate::id::{JobId, NodeId, RequestId, Ticket};
use crate::probe::Probe;
use crate::time::{Duration, Instant, Now};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::any::Any;
use core::fmt;

/// How messages share a link: an ordered lane never waits behind a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Heartbeats, votes, read barriers: small, and late means a false failover.
    Control = 0,
    /// Log replication, forwarded requests and their answers.
    Data = 1,
    /// Snapshots and repair: as much as there is, whenever there is room.
    Bulk = 2,
    /// Small messages ([`DATAGRAM_MAX`](crate::bound::DATAGRAM_MAX)) that stand in for each other: each arrives for itself or
    /// not at all, in any order, and none waits for one that was lost. Only where a world's links carry datagrams (QUIC's do, TCP's
    /// do not); elsewhere they are dropped.
    Datagram = 3,
}

impl Lane {
    /// The lanes that keep their order, most urgent first: those every link has.
    pub const ALL: [Self; 3] = [Self::Control, Self::Data, Self::Bulk];

    /// The lane with this number.
    #[must_use]
    pub const fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Control),
            1 => Some(Self::Data),
            2 => Some(Self::Bulk),
            3 => Some(Self::Datagram),
            _ => None,
        }
    }
}

/// What the world tells a node.
pub enum Input<R> {
    /// A peer's message; the frame has been checked, the body has not.
    Message {
        /// The sender, as its certificate says.
        from: NodeId,
        /// The lane it came on.
        lane: Lane,
        /// The body.
        body: Bytes,
    },
    /// A disk request has been carried out, or not.
    Disk {
        /// Which request.
        ticket: Ticket,
        /// Whether all of it succeeded.
        result: Result<(), DiskError>,
    },
    /// A job has ended.
    Job {
        /// Which job.
        job: JobId,
        /// What it made; a `None` means that it was lost (it panicked or was cut off).
        result: JobResult,
    },
    /// The time named by `wake_at` has come.
    Wake,
    /// A client asks.
    Request {
        /// Names the reply.
        id: RequestId,
        /// After this nobody waits for the reply any more.
        deadline: Instant,
        /// What is asked.
        request: R,
    },
    /// A hint that a peer's process is gone: what stood between us has been reset, and where it listened
    /// nothing does. It may be wrong, late, repeated, or never come (a machine without power says
    /// nothing), so it may be a reason to look sooner and never a proof.
    Unreachable {
        /// Who seems to be gone.
        peer: NodeId,
    },
    /// A client no longer waits: ends a stream, frees what a request holds.
    Cancel {
        /// Which request.
        id: RequestId,
    },
    /// An operator wants the node to end well: hand over what it leads, flush, and say so
    /// with [`Outputs::stopped`]. The world allows this much time.
    Stop {
        /// After this the node is ended anyway.
        deadline: Instant,
    },
}

/// What a job gives back.
pub type JobResult = Option<Box<dyn Any + core::marker::Send>>;

/// Work off the loop: compressing, checkpointing, anything that may wait for the disk.
/// It owns all it needs. In simulation it runs at once and its completion comes later.
pub struct Job {
    /// Names the completion.
    pub id: JobId,
    /// What it is, for traces and metrics.
    pub name: &'static str,
    /// How long it takes besides its disk operations; simulation believes this.
    pub cost: Duration,
    /// The work.
    pub run: Box<dyn FnOnce() -> Box<dyn Any + core::marker::Send> + core::marker::Send>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} {})", self.id, self.name)
    }
}

/// A message to a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Send {
    /// To whom.
    pub to: NodeId,
    /// On which lane.
    pub lane: Lane,
    /// The body; the runtime frames it.
    pub body: Bytes,
    /// Only once this request is durable.
    pub after: Option<Ticket>,
}

/// An answer to a client. A stream is a request with several replies, the last with `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply<R> {
    /// Which request.
    pub id: RequestId,
    /// The answer.
    pub response: R,
    /// Whether it is the last for this request.
    pub end: bool,
    /// Only once this disk request is durable.
    pub after: Option<Ticket>,
}

/// What a node asks of its world at the end of a step. Reused from step to step.
#[derive(Debug)]
pub struct Outputs<R> {
    /// Messages to peers, in order per peer and ordered lane.
    pub sends: Vec<Send>,
    /// Disk requests, in the order of their tickets.
    pub disk: Vec<DiskRequest>,
    /// Answers to clients.
    pub replies: Vec<Reply<R>>,
    /// Work off the loop.
    pub jobs: Vec<Job>,
    /// When to wake if nothing else happens; replaces the wish of the step before.
    pub wake_at: Option<Instant>,
    /// The peers this node wants links to, with their addresses, when that has changed.
    pub peers: Option<Vec<(NodeId, alloc::string::String)>>,
    /// The node has ended: well (after `Stop`), or because it can't go on.
    pub stopped: Option<Stopped>,
}

/// Why a node ended itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// It was asked to, and everything is in order.
    Asked,
    /// The environment failed it: what happened and what to do, for the operator.
    Failed(alloc::string::String),
}

impl<R> Outputs<R> {
    /// Nothing asked.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sends: Vec::new(),
            disk: Vec::new(),
            replies: Vec::new(),
            jobs: Vec::new(),
            wake_at: None,
            peers: None,
            stopped: None,
        }
    }
    /// Forgets the last step's wishes, keeping the memory.
    pub fn clear(&mut self) {
        self.sends.clear();
        self.disk.clear();
        self.replies.clear();
        self.jobs.clear();
        self.wake_at = None;
        self.peers = None;
        self.stopped = None;
    }
    /// Asks to be woken at `at` or earlier.
    pub fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}

impl<R> Default for Outputs<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a node is given when it boots.
#[derive(Clone, Debug)]
pub struct World {
    /// The clocks at boot.
    pub now: Now,
    /// Its directory, with what the last incarnation made durable.
    pub storage: Arc<dyn Storage>,
    /// Where its events and probes go.
    pub probe: Probe,
    /// The root of its randomness; differs between incarnations.
    pub seed: Seed,
}

/// A node: one mutating door. It is built from a [`World`] by a boot function of its own.
pub trait Machine {
    /// What clients ask.
    type Request;
    /// What they are answered.
    type Response;

    /// Takes one input and says what is to be done. Adds to `out`; `wake_at` is replaced.
    fn step(&mut self, now: Now, input: Input<Self::Request>, out: &mut Outputs<Self::Response>);

    /// Takes all that has arrived together as one turn, in order. A machine overrides it to pay
    /// once for what it would do after each input (run its engines, group its log writes); what
    /// it then does must be what some sequence of steps could have done.
    fn turn(&mut self, now: Now, inputs: &mut Vec<Input<Self::Request>>, out: &mut Outputs<Self::Response>) {
        for input in inputs.drain(..) {
            self.step(now, input, out);
        }
    }
}
