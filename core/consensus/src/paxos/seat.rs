//! What a member is to its group, and what it holds while it is.

use super::log::{Batch, Log};
use super::message::Ballot;
use crate::engine::Token;
use crate::quorum::NodeSet;
use crate::step::{Payload, Ticket};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId};

/// What a member is to its group.
#[derive(Clone, Hash, Debug)]
pub(super) enum Seat {
    /// Follows a leader, or waits for one.
    Following,
    /// Asks around whether anybody hears a leader.
    Canvassing(Canvass),
    /// Collects promises.
    Preparing(Box<Takeover>),
    /// Orders commands.
    Leading(Box<Lead>),
}

/// A round of asking.
#[derive(Clone, Hash, Debug)]
pub(super) struct Canvass {
    /// Who answered and hears nobody, itself included.
    pub(super) free: NodeSet,
    /// When it is given up.
    pub(super) until: Instant,
}

/// A takeover before its quorum of promises.
#[derive(Clone, Hash, Debug)]
pub(super) struct Takeover {
    pub(super) ballot: Ballot,
    /// Its own promise.
    pub(super) ticket: Ticket,
    /// Where each member's next piece begins, by place.
    pub(super) next: Vec<u64>,
    /// Who has told all.
    pub(super) told: NodeSet,
    /// The values of the highest ballots told, behind the decided prefix.
    pub(super) heard: Log,
    pub(super) retry_at: Instant,
    /// When it is given up unless another piece comes.
    pub(super) until: Instant,
}

/// A batch that is sent and not decided.
#[derive(Clone, Hash, Debug)]
pub(super) struct Flight {
    pub(super) first: u64,
    pub(super) batch: Batch,
    /// The proposals it answers, by place in the batch; empty for what was taken over.
    pub(super) tokens: Vec<Token>,
    /// The record of its own acceptance.
    pub(super) ticket: Ticket,
    /// Who has it on disk.
    pub(super) votes: NodeSet,
}

impl Flight {
    pub(super) const fn last(&self) -> u64 {
        self.first + self.batch.len() as u64 - 1
    }
}

/// What a leader knows of a peer.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Peer {
    /// The last heartbeat it answered.
    pub(super) seq: u64,
    /// When it last said something in this ballot.
    pub(super) heard: Option<Instant>,
}

/// Reads of one round: they wait for a quorum to answer the heartbeat `seq`, or a later one.
#[derive(Clone, Hash, Debug)]
pub(super) struct ReadRound {
    pub(super) seq: u64,
    pub(super) tokens: Vec<Token>,
}

/// Leadership on its way to another.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Handover {
    pub(super) to: NodeId,
    pub(super) place: usize,
    /// Proposals are taken again from then on.
    pub(super) until: Instant,
    pub(super) told: bool,
}

/// A leadership.
#[derive(Clone, Hash, Debug)]
pub(super) struct Lead {
    pub(super) ballot: Ballot,
    /// The slot of the blank that ends its takeover: nothing is read before it is decided.
    pub(super) own: u64,
    /// The next free slot.
    pub(super) next: u64,
    /// Sent and not decided, in the order of slots, without gaps.
    pub(super) flights: VecDeque<Flight>,
    pub(super) flying_bytes: usize,
    /// Proposals the window has no room for.
    pub(super) waiting: VecDeque<(Token, Payload)>,
    pub(super) waiting_bytes: usize,
    pub(super) peers: Vec<Peer>,
    /// The last heartbeat sent.
    pub(super) seq: u64,
    /// Whether a quorum was heard lately.
    pub(super) connected: bool,
    /// Reads for the next round.
    pub(super) asked: Vec<Token>,
    pub(super) round: Option<ReadRound>,
    pub(super) handover: Option<Handover>,
    pub(super) ping_at: Instant,
    /// When to tell the followers what was decided, if nothing sent until then does.
    pub(super) announce_at: Instant,
    pub(super) retry_at: Instant,
    /// The oldest flight when `retry_at` was last set: sent again if it is so still.
    pub(super) stuck: u64,
}
