//! What nodes say to each other besides their engines, and how both share a body.
//!
//! ```text
//!   0      1       5
//!   +------+-------+---------------------
//!   | tag  | group | the rest
//!   +------+-------+---------------------
//!   tag 0: a message of the group's engine, passed on as it is
//!   tag 1: a [`PeerMessage`] in bincode
//!   tag 2: a message of the eventual keyspace of that number, passed on as it is
//!   tag 3: a [`HybridMessage`] in bincode
//! ```
//!
//! | message | says | answered by |
//! |---|---|---|
//! | `Ask` | answer this in my client's place | `Answer` |
//! | `EntryWanted` | my copy of this log entry is damaged | `Entry` or `EntryGone` |
//! | `CheckpointWanted` | send me state at or after this index, from this place on | `Piece` or `CheckpointLater` |
//! | `LeaderWanted` | who leads this group? (see `outside`) | `LeaderIs` |

use crate::api::{Ask, Response};
use crate::hybrid::HybridMessage;
use crate::outside::Lead;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece, Position};
use dwcp_env::wire::{self, WireError};
use dwcp_env::{Duration, GroupId, NodeId, PeerFault};
use serde::{Deserialize, Serialize};

const ENGINE: u8 = 0;
const PEER: u8 = 1;
const EVENTUAL: u8 = 2;
const HYBRID: u8 = 3;
const HEAD: usize = 5;

/// Names a call between two nodes; unique over incarnations of the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Call(pub u64);

/// A message between two nodes about one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Answer this in my client's place, within `time_left`.
    Ask {
        /// Names the answer.
        call: Call,
        /// After this nobody waits.
        time_left: Duration,
        /// The question.
        ask: Ask,
    },
    /// The answer to an `Ask`. `NoLeader` means "not by me": try elsewhere.
    Answer {
        /// The question's name.
        call: Call,
        /// Its answer.
        response: Response,
        /// Whom the answerer takes for the leader.
        leader: Option<NodeId>,
    },
    /// My copy of this entry is damaged.
    EntryWanted {
        /// The exact entry: Log Matching makes any holder's copy the right one.
        at: Position,
    },
    /// The entry asked for.
    Entry {
        /// Which.
        at: Position,
        /// Its payload.
        payload: Bytes,
    },
    /// The entry is in my checkpoint, or was never in my log.
    EntryGone {
        /// Which.
        at: Position,
        /// My checkpoint, if it covers the entry.
        checkpoint: Option<Position>,
    },
    /// Send me the piece at `cursor` of a checkpoint at `at`, or, to begin, of any that covers `at_least`.
    CheckpointWanted {
        /// The checkpoint already being received.
        at: Option<Position>,
        /// The lowest index it must reach.
        at_least: Position,
        /// Where the piece begins; empty for the first.
        cursor: Bytes,
    },
    /// The piece asked for.
    Piece {
        /// The checkpoint it is of.
        checkpoint: Checkpointed,
        /// The cursor it was asked by.
        cursor: Bytes,
        /// The piece.
        piece: Piece,
    },
    /// None yet; ask again.
    CheckpointLater,
    /// Who leads this group? Asked by who does not host it.
    LeaderWanted,
    /// As I see it.
    LeaderIs(Lead),
}

/// Who sent a message, and about which group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct About {
    pub(crate) from: NodeId,
    pub(crate) group: GroupId,
}

/// A body taken apart.
pub(crate) enum Body {
    /// For the group's engine.
    Engine(GroupId, Bytes),
    /// For the node.
    Peer(GroupId, Box<PeerMessage>),
    /// For the eventual keyspace.
    Eventual(GroupId, Bytes),
    /// About the hybrid keyspace.
    Hybrid(GroupId, Box<HybridMessage>),
}

/// A body that carries an engine's message.
pub(crate) fn engine_body(group: GroupId, message: &[u8]) -> Bytes {
    let mut out = head(ENGINE, group, message.len());
    out.extend_from_slice(message);
    out.into()
}

/// What a body that carries a message of an eventual keyspace begins with; the replica writes it.
pub(crate) fn envelope(group: GroupId) -> Bytes {
    head(EVENTUAL, group, 0).into()
}

/// A body that carries a node's message.
pub(crate) fn peer_body(group: GroupId, message: &PeerMessage) -> Bytes {
    let mut out = head(PEER, group, 64);
    wire::encode_into(message, &mut out);
    out.into()
}

/// A body that carries a message about a hybrid keyspace.
pub(crate) fn hybrid_body(group: GroupId, message: &HybridMessage) -> Bytes {
    let mut out = head(HYBRID, group, 64);
    wire::encode_into(message, &mut out);
    out.into()
}

fn head(tag: u8, group: GroupId, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + room);
    out.push(tag);
    out.extend_from_slice(&group.0.to_le_bytes());
    out
}

/// Takes a body apart; what is wrong with it is the sender's fault.
pub(crate) fn parse(from: NodeId, body: &Bytes) -> Result<Body, PeerFault> {
    let fault = |why: &str| PeerFault::Body { from, what: "node message", why: why.to_string() };
    let Some(head) = body.first_chunk::<HEAD>() else { return Err(fault("shorter than its head")) };
    let group = GroupId(u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
    let rest = body.slice(HEAD..);
    match head[0] {
        ENGINE => Ok(Body::Engine(group, rest)),
        EVENTUAL => Ok(Body::Eventual(group, rest)),
        PEER => match wire::decode(&rest) {
            Ok(message) => Ok(Body::Peer(group, Box::new(message))),
            Err(WireError::Body(why)) => Err(fault(why)),
            Err(other) => Err(fault(&other.to_string())),
        },
        HYBRID => match wire::decode(&rest) {
            Ok(message) => Ok(Body::Hybrid(group, Box::new(message))),
            Err(why) => Err(fault(&why.to_string())),
        },
        _ => Err(fault("an unknown tag")),
    }
}
