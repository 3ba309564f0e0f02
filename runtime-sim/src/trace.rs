//! What happened, event by event.
//!
//! Every event of a run is an [`Event`]: it goes into the run's fingerprint, to the caller's
//! hook, and, if asked for, into a list that can be written as JSON for a space-time picture.
//! Sends and deliveries share a message number, so that arrows can be drawn.

use crate::fault::FaultKind;
use dwcp_env::{Instant, NodeId, RequestId, Ticket};
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// Simulated time.
    pub at: Instant,
    /// Its place in the run.
    pub seq: u64,
    /// A digest of what the description leaves out: bodies, bytes written, texts.
    pub digest: u64,
    /// What happened.
    pub what: What,
}

/// Why a message did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The link is cut.
    Cut,
    /// By the link's own loss or a drop fault.
    Loss,
    /// No room in the link's queue.
    Queue,
    /// The frame did not check.
    Corrupt,
    /// The receiver is down, or is not who it was when the message was sent.
    Down,
    /// The receiver's inbox is full.
    Inbox,
    /// A lying sender kept it.
    Withheld,
    /// To nobody: the receiver is no node of the run.
    Nobody,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum What {
    /// A node booted.
    Boot {
        /// Who.
        node: NodeId,
        /// Which of its lives.
        incarnation: u32,
        /// Of which version.
        version: u32,
    },
    /// A node could not boot.
    BootFailed {
        /// Who.
        node: NodeId,
        /// Why.
        why: String,
    },
    /// A node ended, by a fault.
    Down {
        /// Who.
        node: NodeId,
        /// Through what.
        by: FaultKind,
    },
    /// A node ended itself.
    Stopped {
        /// Who.
        node: NodeId,
        /// Because it was asked to, and not for a failure.
        asked: bool,
    },
    /// A node stands still.
    Paused {
        /// Who.
        node: NodeId,
    },
    /// It goes on.
    Resumed {
        /// Who.
        node: NodeId,
    },
    /// A message left.
    Send {
        /// Its number.
        message: u64,
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: u8,
        /// Bytes of the body.
        bytes: u32,
    },
    /// A message arrived.
    Deliver {
        /// Its number.
        message: u64,
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: u8,
    },
    /// A message did not.
    Drop {
        /// Its number.
        message: u64,
        /// From whom.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// Why.
        why: Lost,
    },
    /// A node's timer.
    Wake {
        /// Whose.
        node: NodeId,
    },
    /// A node was told that a peer's process seems gone.
    Unreachable {
        /// Who was told.
        node: NodeId,
        /// Of whom.
        peer: NodeId,
        /// Whether that is so.
        gone: bool,
    },
    /// A disk request was carried out.
    Disk {
        /// Whose.
        node: NodeId,
        /// Which.
        ticket: Ticket,
        /// Whether all of it succeeded.
        ok: bool,
    },
    /// A job ended.
    Job {
        /// Whose.
        node: NodeId,
        /// Its name.
        name: &'static str,
        /// Whether it made something.
        ok: bool,
    },
    /// A client asked.
    Request {
        /// Whom.
        node: NodeId,
        /// Names the reply.
        id: RequestId,
    },
    /// A client was answered.
    Reply {
        /// By whom.
        node: NodeId,
        /// Which request.
        id: RequestId,
        /// Whether it was the last answer.
        end: bool,
    },
    /// A client's connection broke before the last answer.
    Broken {
        /// To whom.
        node: NodeId,
        /// Which request.
        id: RequestId,
    },
    /// A client no longer waits.
    Cancel {
        /// Whom it asked.
        node: NodeId,
        /// Which request.
        id: RequestId,
    },
    /// A fault's window begins.
    FaultOn {
        /// Its place in [`crate::plan::Plan::windows`].
        index: u32,
        /// Which kind.
        fault: FaultKind,
    },
    /// A fault's window ends.
    FaultOff {
        /// Its place in [`crate::plan::Plan::windows`].
        index: u32,
        /// Which kind.
        fault: FaultKind,
    },
    /// The caller's timer.
    Timer {
        /// The caller's number.
        token: u64,
    },
    /// A node told of something.
    Told {
        /// Who.
        node: NodeId,
        /// The event's name in [`dwcp_env::event::CATALOGUE`].
        name: &'static str,
        /// All of it, as text; empty unless a trace is kept.
        text: String,
    },
    /// An invariant broke.
    Violated {
        /// Which.
        name: String,
    },
}

impl What {
    /// A small number for the fingerprint.
    #[must_use]
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Boot { .. } => 1,
            Self::BootFailed { .. } => 2,
            Self::Down { .. } => 3,
            Self::Stopped { .. } => 4,
            Self::Paused { .. } => 5,
            Self::Resumed { .. } => 6,
            Self::Send { .. } => 7,
            Self::Deliver { .. } => 8,
            Self::Drop { .. } => 9,
            Self::Wake { .. } => 10,
            Self::Unreachable { .. } => 22,
            Self::Disk { .. } => 11,
            Self::Job { .. } => 12,
            Self::Request { .. } => 13,
            Self::Reply { .. } => 14,
            Self::Broken { .. } => 15,
            Self::Cancel { .. } => 16,
            Self::FaultOn { .. } => 17,
            Self::FaultOff { .. } => 18,
            Self::Timer { .. } => 19,
            Self::Told { .. } => 20,
            Self::Violated { .. } => 21,
        }
    }
    /// The node it happened at, if it happened at one.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Boot { node, .. }
            | Self::BootFailed { node, .. }
            | Self::Down { node, .. }
            | Self::Stopped { node, .. }
            | Self::Paused { node }
            | Self::Resumed { node }
            | Self::Wake { node }
            | Self::Unreachable { node, .. }
            | Self::Disk { node, .. }
            | Self::Job { node, .. }
            | Self::Request { node, .. }
            | Self::Reply { node, .. }
            | Self::Broken { node, .. }
            | Self::Cancel { node, .. }
            | Self::Told { node, .. } => Some(*node),
            Self::Send { from, .. } => Some(*from),
            Self::Deliver { to, .. } | Self::Drop { to, .. } => Some(*to),
            Self::FaultOn { .. } | Self::FaultOff { .. } | Self::Timer { .. } | Self::Violated { .. } => None,
        }
    }
}

/// What a run keeps of its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// Nothing but the fingerprint.
    #[default]
    Nothing,
    /// Events whose place in the run is in `from..to`.
    Range {
        /// First.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// Events of a stretch of simulated time, both ends included.
    Between {
        /// From.
        from: Instant,
        /// To.
        to: Instant,
    },
    /// Everything; memory grows with the run.
    Everything,
}

impl Keep {
    /// Whether an event is kept.
    #[must_use]
    pub fn keeps(self, event: &Event) -> bool {
        match self {
            Self::Nothing => false,
            Self::Range { from, to } => from <= event.seq && event.seq < to,
            Self::Between { from, to } => from <= event.at && event.at <= to,
            Self::Everything => true,
        }
    }
}

/// An invariant that broke, and when.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// The invariant's name; a shrunk plan must break the same one.
    pub name: String,
    /// What was seen.
    pub detail: String,
    /// Simulated time.
    pub at: Instant,
    /// The node that said so, if one did.
    pub node: Option<NodeId>,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.at)?;
        if let Some(n) = self.node {
            write!(f, " on {n}")?;
        }
        write!(f, ": {}", self.detail)
    }
}
