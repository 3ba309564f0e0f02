//! What the world saw, for the invariants to judge.

use super::state::fold;
use dwcp_env::NodeId;

/// Nodes a run has at most.
pub const NODES_MAX: usize = 16;

/// What was decided, in short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Value {
    /// A blank.
    Blank,
    /// A command of the mint.
    Command(u32),
    /// A seal, by the digest of its bytes.
    Seal(u64),
    /// Bytes nobody proposed, by their digest.
    Foreign(u64),
}

impl Value {
    /// A number that tells it from others.
    #[must_use]
    pub const fn digest(self) -> u64 {
        match self {
            Self::Blank => 1,
            Self::Command(n) => fold(2, n as u64),
            Self::Seal(d) => fold(3, d),
            Self::Foreign(d) => fold(4, d),
        }
    }
}

/// What was seen of correct nodes, from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// A node's client asked for a command; the question is `token`.
    Proposed {
        /// Where.
        node: NodeId,
        /// The question, unique in the run.
        token: u64,
        /// The command's number.
        number: u32,
    },
    /// A client asks for the end of the epoch.
    Ends {
        /// The digest of the seal.
        seal: u64,
    },
    /// A read was asked for.
    Asked {
        /// Where.
        node: NodeId,
        /// The question.
        token: u64,
    },
    /// A node gave something out as decided.
    Decided {
        /// Who.
        node: NodeId,
        /// Its index there.
        index: u64,
        /// What orders it: 0 everything, or key + 1.
        class: u16,
        /// Its place among those of its class, from 1.
        place: u64,
        /// What.
        value: Value,
        /// The question it answers.
        token: Option<u64>,
    },
    /// A read may be served.
    Readable {
        /// Where.
        node: NodeId,
        /// The question.
        token: u64,
        /// The last index applied there.
        applied: u64,
        /// A command that was acknowledged or read before the question and is not applied there.
        missing: Option<u32>,
    },
    /// A question was refused.
    Refused {
        /// Where.
        node: NodeId,
        /// The question.
        token: u64,
        /// The refusal says it was certainly not done and won't be.
        certain: bool,
    },
    /// A node lost its memory: questions open there have no answer any more.
    Crashed {
        /// Who.
        node: NodeId,
    },
    /// A node goes on behind this index, after a restart or an installed checkpoint.
    Based {
        /// Who.
        node: NodeId,
        /// The last index its state holds.
        state: u64,
        /// The last index the protocol says it gave out.
        protocol: u64,
        /// Whether the two must agree.
        total: bool,
    },
    /// A value was first decided; these many disks hold it.
    Held {
        /// By whom.
        node: NodeId,
        /// Its index there.
        index: u64,
        /// Whether they are enough.
        enough: bool,
        /// The places of those that hold it.
        disks: u128,
    },
    /// A correct node accused another.
    Blamed {
        /// Who accuses.
        node: NodeId,
        /// Whom.
        peer: NodeId,
        /// Whether the accused is a traitor or has lost its disk.
        guilty: bool,
    },
    /// A cut under which a quorum stays connected is over.
    Survived {
        /// The longest time in it without an acknowledgement, and what is allowed (ns).
        silent: (u64, u64),
    },
    /// The first command was acknowledged after all faults ended, or none was in the time allowed.
    Served {
        /// How long it took, and what is allowed (ns).
        after: (u64, u64),
    },
    /// A node leads that did not before.
    Elected {
        /// Who.
        node: NodeId,
        /// Its ballot.
        ballot: u64,
    },
    /// A new leader was asked what it holds where something is decided.
    Complete {
        /// Who.
        node: NodeId,
        /// The index.
        index: u64,
        /// What was decided there.
        decided: Value,
        /// What it holds there, if anything.
        held: Option<Value>,
    },
    /// A value was accepted.
    Accepted {
        /// By whom.
        node: NodeId,
        /// The index.
        index: u64,
        /// In which ballot.
        ballot: u64,
        /// What.
        value: Value,
    },
    /// A member shows that it has an instance as decided (protocols that agree on dependencies).
    Settled {
        /// Who.
        node: NodeId,
        /// Place of the instance's replica, and its number there.
        instance: (u8, u64),
        /// As what; `None`: as nothing.
        value: Option<Value>,
        /// The key it touches; `None`: all of them.
        key: Option<u16>,
        /// By place: it depends on all numbers up to this that interfere with it.
        deps: [u64; NODES_MAX],
    },
    /// A node applied its first seal.
    Sealed {
        /// Who.
        node: NodeId,
        /// Of the seal and all that it has applied before: equal everywhere.
        order: u64,
    },
    /// A node answered a proposal of the time after it had applied a seal with an index.
    Unsealed {
        /// Who.
        node: NodeId,
        /// Which.
        index: u64,
    },
    /// The end of a node, after the calm.
    Ended {
        /// Who.
        node: NodeId,
        /// Of its state: equal everywhere.
        chain: u64,
        /// A command acknowledged in the run and not applied here.
        missing: Option<u32>,
        /// A question of this lifetime without an answer.
        open: Option<u64>,
    },
    /// The bound after the calm has passed without agreement.
    Stuck {
        /// The last index applied, least and most.
        applied: (u64, u64),
        /// Commands still to be acknowledged.
        left: u64,
    },
}
