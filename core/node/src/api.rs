//! What a node is asked, and what it answers: the one vocabulary of all doors.
//!
//! A door (gRPC, the command line, a simulated client) turns its own words into an [`Ask`] and back.
//! Every ask names a group; all but [`Ask::Watch`] and [`Ask::Snapshot`] get one answer.

use crate::origin::Origin;
use bytes::Bytes;
use dwcp_chain::{EngineKind, Past, Spec, Switch};
use dwcp_consensus::select::Policy;
use dwcp_consensus::{MemberChange, Members, Position, Role};
use dwcp_env::{ByteCount, GroupId, NodeId};
use dwcp_store::api::{self, LeaseId, Op, OpError, RangeRequest, RangeResponse, Revision, Stamp, WatchEvent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// A question to one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The group that holds the keyspace.
    pub group: GroupId,
    /// What is asked.
    pub ask: Ask,
}

/// A wish for changes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WatchRequest {
    /// First key. Not empty.
    pub key: Bytes,
    /// As in a range.
    pub range_end: Bytes,
    /// The first revision to tell; 0: what comes from now on.
    pub start_revision: Revision,
    /// Tell what was there before.
    pub prev_kv: bool,
    /// Leave writes out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// Tell the revision now and then when nothing happens.
    pub progress: bool,
}

impl WatchRequest {
    /// As the store takes it.
    pub(crate) fn spec(self) -> dwcp_store::WatchRequest {
        dwcp_store::WatchRequest {
            key: self.key,
            range_end: self.range_end,
            start_revision: self.start_revision,
            prev_kv: self.prev_kv,
            no_put: self.no_put,
            no_delete: self.no_delete,
        }
    }
}

/// A lease as its group's leader knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its whole life, seconds.
    pub granted_ttl_s: i64,
    /// What is left of it, seconds.
    pub ttl_s: i64,
    /// Its keys, if asked for.
    pub keys: Vec<Bytes>,
}

/// What is asked of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A command for the log. With a session it is applied once however often it is asked.
    Write {
        /// Who asks, and which of its commands this is.
        session: Option<Stamp>,
        /// What to do.
        op: Op,
    },
    /// A read.
    Range {
        /// What to read.
        range: RangeRequest,
        /// Whether this node's own state will do: fast, possibly stale, works without a quorum.
        serializable: bool,
    },
    /// A stream of changes, served from this node's own state.
    Watch(WatchRequest),
    /// A lease is to live on.
    LeaseKeepAlive(LeaseId),
    /// How long a lease has left.
    LeaseTimeToLive {
        /// Which.
        id: LeaseId,
        /// Whether to list its keys.
        keys: bool,
    },
    /// All leases.
    Leases,
    /// How this node sees the group.
    Status,
    /// The group's members.
    Members,
    /// A change of members.
    ChangeMembers(MemberChange),
    /// Leadership is to go to this member.
    MoveLeader(NodeId),
    /// The next epoch is to begin: another engine, other quorums.
    Switch {
        /// The epoch it is to follow: asked again, it does nothing more. `None`: whichever runs, unless that is under this
        /// engine and these quorums already.
        after: Option<u32>,
        /// What is to follow.
        to: Switch,
    },
    /// Which engine orders the group's commands, as this node sees it, and where its members are.
    Consensus,
    /// A hash over the content up to a revision (0: the current one), equal on all members.
    HashKv(Revision),
    /// The newest state as a stream of pieces, after a checkpoint made now.
    Snapshot,
    /// A question to an eventual keyspace, answered by the node that is asked. No other ask fits one.
    Eventual(dwcp_eventual::Query),
    /// A question about a hybrid keyspace's home, answered by the node that is asked.
    Hybrid(crate::hybrid::HybridAsk),
}

impl Ask {
    /// Whether another node may answer in this one's place.
    #[must_use]
    pub const fn forwards(&self) -> bool {
        match self {
            Self::Write { .. }
            | Self::LeaseKeepAlive(_)
            | Self::LeaseTimeToLive { .. }
            | Self::Leases
            | Self::Members
            | Self::ChangeMembers(_)
            | Self::MoveLeader(_)
            | Self::Switch { .. } => true,
            Self::Range { serializable, .. } => !*serializable,
            Self::Watch(_)
            | Self::Status
            | Self::Consensus
            | Self::HashKv(_)
            | Self::Snapshot
            | Self::Hybrid(_)
            | Self::Eventual(_) => false,
        }
    }
    /// Whether it is answered by who keeps time for leases.
    #[must_use]
    pub(crate) const fn needs_keeper(&self) -> bool {
        matches!(self, Self::LeaseKeepAlive(_) | Self::LeaseTimeToLive { .. })
    }
    /// Whether it changes nothing: of one that was not answered in time nothing is in doubt.
    #[must_use]
    pub(crate) const fn reads(&self) -> bool {
        matches!(self, Self::Range { .. } | Self::Leases | Self::LeaseTimeToLive { .. } | Self::Members)
    }
    /// Whether asking again may do harm: true of what changes state, is not an absolute statement,
    /// and carries no session.
    #[must_use]
    pub const fn repeatable(&self) -> bool {
        match self {
            Self::Write { session, .. } => session.is_some(),
            _ => true,
        }
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// A command was applied.
    Written(api::Response),
    /// What was read, and the revision it was read behind.
    Range {
        /// The store's revision at the time of the read.
        revision: Revision,
        /// What was read.
        range: RangeResponse,
    },
    /// Changes, in order; one of several answers to a watch.
    Watched {
        /// The revision this node had reached; everything up to it has been told.
        revision: Revision,
        /// The changes; empty for a progress report.
        events: Vec<WatchEvent>,
    },
    /// The lease lives on for this many seconds.
    KeptAlive {
        /// The group's revision.
        revision: Revision,
        /// The lease's whole life, seconds; zero or less: there is no such lease.
        ttl_s: i64,
    },
    /// A lease's state; absent if there is no such lease.
    Lease {
        /// The group's revision.
        revision: Revision,
        /// The lease.
        lease: Option<LeaseStatus>,
    },
    /// All leases' ids, ascending.
    Leases {
        /// The group's revision.
        revision: Revision,
        /// Their ids.
        ids: Vec<LeaseId>,
    },
    /// How this node sees the group.
    Status(Box<GroupStatus>),
    /// The group's members.
    Members(Members),
    /// Its epoch and engine.
    Consensus(Box<ConsensusStatus>),
    /// Done.
    Done,
    /// A hash of the content.
    Hash {
        /// The first 64 bits of a BLAKE3 over all that can still be read up to the revision.
        hash: u64,
        /// The revision it is of.
        revision: Revision,
        /// The revision below which history has been compacted.
        compact_revision: Revision,
    },
    /// A piece of a snapshot; one of several.
    Piece {
        /// The place in the log it is of.
        at: Position,
        /// Its bytes, in the store's piece format.
        data: Bytes,
        /// Bytes still to come; an estimate that reaches zero with the last piece.
        remaining: ByteCount,
    },
    /// Of an eventual keyspace.
    Eventual(dwcp_eventual::Answer),
    /// How this node sees a hybrid keyspace.
    Hybrid(Box<crate::hybrid::HybridStatus>),
    /// What was decided in a home and nobody took over.
    Aside(Box<crate::hybrid::Aside>),
}

/// Which engine orders a group's commands, as one node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsensusStatus {
    /// Which node says so.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The epoch its state is in.
    pub spec: Spec,
    /// The index of the seal that began it; 0 for the first.
    pub base: u64,
    /// The epochs before it that are remembered, oldest first.
    pub past: Vec<Past>,
    /// What the node is to the epoch.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Where commands go: the leader known; the node itself where every member serves.
    pub leader: Option<NodeId>,
    /// The last index applied here.
    pub applied: u64,
    /// Whether it takes no part in the epoch because its disk lost what it had promised there.
    pub silent: bool,
    /// When the node came to it, and why it was begun, as far as the node's process has seen that.
    #[serde(default)]
    pub origin: Origin,
    /// The policy in the node's configuration, by which the selection goes; `None`: operators choose.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// The engine that the node's configuration begins with, where the first epoch was under another.
    #[serde(default)]
    pub configured: Option<EngineKind>,
    /// What the selection says of it, where this node leads and a policy is set.
    pub advice: Option<String>,
    /// Where others are by their own word: epoch and index applied. Empty in a first epoch under Raft.
    pub peers: BTreeMap<NodeId, (u32, u64)>,
}

/// How a node sees a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Which node says so.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// Its keyspace's name.
    pub keyspace: String,
    /// What the node is to it.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// The leader known.
    pub leader: Option<NodeId>,
    /// Last entry in the log.
    pub last_index: u64,
    /// Last entry known decided.
    pub committed_index: u64,
    /// Last entry applied.
    pub applied_index: u64,
    /// Last entry in the newest checkpoint.
    pub checkpoint_index: u64,
    /// The store's revision.
    pub revision: Revision,
    /// Keys alive.
    pub keys: u64,
    /// Bytes of the state's file.
    pub state_bytes: u64,
    /// Leader only: how far each member's log is known to reach.
    pub matched: BTreeMap<NodeId, u64>,
    /// Whether the node is still repairing this group from its peers, and what is missing.
    pub repairing: Option<String>,
    /// The engine that the node's configuration begins with, where the first epoch was under another.
    #[serde(default)]
    pub configured: Option<EngineKind>,
    /// The epoch its state is in.
    pub epoch: u32,
    /// The engine of that epoch.
    pub engine: EngineKind,
    /// Whether it takes no part in the epoch because its disk lost what it had promised there.
    pub silent: bool,
    /// How often the hard paths of that engine were taken in this node's life, by name.
    pub taken: BTreeMap<String, u64>,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum AskError {
    /// No leader is known: certainly not done.
    #[error(
        "no leader is known for this keyspace; a quorum of its nodes may be unreachable: see `dwcp status`"
    )]
    NoLeader,
    /// It may have been done or may still be.
    #[error(
        "the outcome is unknown: the leader changed or the deadline passed first; read before trying again"
    )]
    Unknown,
    /// Nothing was done before the deadline.
    #[error("the deadline passed before anything was done")]
    Deadline,
    /// Too much to do already.
    #[error("the node has too many requests in flight; try again in a moment")]
    Overloaded,
    /// The store's answer: the request itself is at fault.
    #[error(transparent)]
    Op(OpError),
    /// It can't be done in the group's present state, and why.
    #[error("{0}")]
    Refused(String),
    /// An eventual keyspace's: nothing was done, unless it says "unknown".
    #[error(transparent)]
    Eventual(dwcp_eventual::Refusal),
    /// The node is stopping.
    #[error("the node is stopping; ask another one")]
    Stopping,
    /// The node does not host that group.
    #[error("this node does not host {0}")]
    NoGroup(GroupId),
}

/// What a door gets back.
pub type Response = Result<Answer, AskError>;
