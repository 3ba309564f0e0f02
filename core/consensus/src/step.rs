//! A protocol of agreement as a step function.
//!
//! **Promise.** [`Protocol::step`] is the only door that changes a protocol. It takes the time and
//! one [`Input`], and appends [`Output`]s. The same state, time and input give the same outputs and
//! the same next state on every machine; a clone behaves like the original. So one body of code runs
//! in production, under the simulator, and under an explorer that visits every state.
//!
//! **Durability is data.** A record leaves as [`Output::Persist`] under a [`Ticket`]; tickets count
//! up by one. The driver appends records in the order of their tickets and reports with
//! [`Input::Persisted`] up to which ticket all are on disk. A message that promises what a record
//! says leaves as [`Output::Send`] with `after` set to that record's ticket, and the driver holds it
//! back until then. A protocol that counts its own vote does so on `Persisted`, not before. What must
//! be durable before what, for each protocol: `docs/protocols/consensus.md`.
//!
//! **A crash** keeps a prefix of the records appended that includes all reported as persisted. A
//! failed sync is a crash. [`Protocol::recover`] makes the state anew from what was kept.
//!
//! **Trimming.** The state machine lives above. When its checkpoint is durable the driver says so
//! with [`Input::Checkpointed`], naming the [`Protocol::mark`] it took when that state was applied;
//! from then on the protocol may forget what the mark covers, and [`Protocol::compact`] gives the
//! records that are still needed, with which the driver replaces the older log. A peer that needs what
//! was forgotten is told so by [`Output::Behind`]; the driver brings it a checkpoint and reports
//! [`Input::Installed`] there.
//!
//! **Liars.** Where peers may lie, a peer's checkpoint is believed only if enough members vouch for it, so
//! all must take theirs at the same place: the protocol names it with [`Output::Checkpoint`], the driver
//! answers with the digest of the state once it is durable ([`Input::Vouched`]), keeps it until
//! [`Output::Stable`] names a later one, answers [`Output::Behind`] with the newest stable one, and installs
//! a peer's only where [`Protocol::admits`] its mark and the digest of what came. Protocols that only
//! crash put out neither of the two, and admit everything.
//!
//! **Invariants.**
//! 1. [`Output::Decided`] comes in the order of its index, from 1 (or from behind the installed mark),
//!    without gaps or repetition within a lifetime; what is decided twice across a crash is equal.
//! 2. No output depends on a record whose ticket its `after` does not cover.
//! 3. Messages are checked before they are believed; a wrong one changes nothing and is counted
//!    against its sender ([`Output::Blame`]).
//! 4. Every proposal and read is answered once: `Decided` with its token, or [`Output::Refused`],
//!    or [`Output::Readable`].
//!
//! **Rejected.** *Async protocols with handles to disk and network*: cannot be cloned, so cannot be
//! explored, and hide the order of durability in control flow. *An effect for "sync now"*: the driver
//! groups syncs over all groups of a node better than one protocol can.

use crate::engine::{EngineError, Role, Token};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;
use core::hash::Hash;
use dwcp_env::{Instant, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is agreed on at one place of the order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: fills a gap, or marks the begin of a leadership.
    #[default]
    Blank,
    /// A command of the state machine.
    Command(Bytes),
    /// Ends the epoch; carries the successor's record. The first *valid* one decided counts, the one of which
    /// [`Protocol::successor`] knows the record; a protocol whose members may lie decides no other.
    Seal(Bytes),
}

impl Payload {
    /// Bytes it takes in memory and on the wire, without framing.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Blank => 0,
            Self::Command(b) | Self::Seal(b) => b.len(),
        }
    }
    /// Whether it carries nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Numbers a record of one lifetime, from 1, by one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// What happens to a protocol.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input<M> {
    /// [`Protocol::wake_at`] has come.
    Tick,
    /// A message of the same protocol, epoch and group; `from` is authenticated by the link.
    Message {
        /// Who sent it.
        from: NodeId,
        /// The message.
        message: M,
    },
    /// Agree on these, in this order. Bounded by the driver: 4 MiB and 4,096 a step.
    Propose(Vec<(Token, Payload)>),
    /// Say when local state shows all that was decided by now.
    Read(Token),
    /// Hand leadership to a peer, if the protocol has any.
    Transfer(NodeId),
    /// A hint that a member's process is gone ([`dwcp_env::Input::Unreachable`]): it may be wrong, late, repeated or never
    /// come. A reason to look sooner, never a proof: nothing that must hold may rest on it.
    Unreachable(NodeId),
    /// All records up to this ticket are on disk.
    Persisted(Ticket),
    /// A checkpoint of local state is durable; `mark` was taken when it was applied.
    Checkpointed {
        /// As [`Protocol::mark`] gave it.
        mark: Bytes,
    },
    /// The checkpoint asked for by [`Output::Checkpoint`] is durable. Counts as [`Input::Checkpointed`] too.
    Vouched {
        /// As the output gave it.
        mark: Bytes,
        /// The digest of the state: equal wherever the same commands were applied.
        digest: [u8; 32],
    },
    /// Local state was replaced by a peer's checkpoint, which is durable; `mark` came with it. The driver asks
    /// [`Protocol::admits`] in the step that swaps the state in, with no other input between the answer, the swap and
    /// this: what was admitted when the transfer began may be behind when it ends, and is then let be.
    Installed {
        /// As the peer's [`Protocol::mark`] gave it.
        mark: Bytes,
    },
}

/// What a protocol wants done, or says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Output<M, R> {
    /// Append this record to the log.
    Persist {
        /// Its number.
        ticket: Ticket,
        /// The record.
        record: R,
    },
    /// Send this message, once `after` and all before it are on disk.
    Send {
        /// To whom; never to itself.
        to: NodeId,
        /// The message.
        message: M,
        /// What must be on disk first.
        after: Option<Ticket>,
    },
    /// This is the next of the order: apply it, unless an earlier seal voids it.
    Decided {
        /// Its place, from 1. Equal on all nodes, save for EPaxos, where it is local and
        /// commands that commute may trade places.
        index: u64,
        /// What it is.
        payload: Payload,
        /// The proposal of this node's current lifetime that it answers.
        token: Option<Token>,
    },
    /// A read may be served from local state once every `Decided` before this output is applied.
    Readable {
        /// The question.
        token: Token,
    },
    /// The question is answered by no.
    Refused {
        /// The question.
        token: Token,
        /// Why.
        error: EngineError,
    },
    /// Take a checkpoint of local state as every `Decided` before this output leaves it, and none behind.
    Checkpoint {
        /// Its mark: [`Protocol::mark`] at this very place of the outputs.
        mark: Bytes,
    },
    /// Enough members vouch for the checkpoint of this mark: earlier ones may go.
    Stable {
        /// Its mark.
        mark: Bytes,
    },
    /// This peer needs what was forgotten here: bring it a checkpoint. Said each time it asks: a driver that is bringing it
    /// one lets it be.
    Behind {
        /// The peer.
        peer: NodeId,
    },
    /// This peer sent what no correct one sends; nothing was changed by it.
    Blame {
        /// The peer.
        peer: NodeId,
        /// What was wrong.
        fault: Fault,
    },
}

/// What was wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum Fault {
    /// Its sender is no member, or not the one whose place it claims.
    #[error("a sender that may not say this")]
    Sender,
    /// It breaks a bound: too long, too many, too far ahead.
    #[error("a bound is broken")]
    Bound,
    /// Its parts contradict each other or what its sender said before.
    #[error("it contradicts itself or what its sender said before")]
    Contradiction,
    /// A code or signature does not verify.
    #[error("a code or signature that does not verify")]
    Forged,
}

/// How a protocol sees its group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// This node's role; in leaderless protocols every member that serves is `Leader`.
    pub role: Role,
    /// Ballot number, or view: no two leaders of a group show one number.
    pub ballot: u64,
    /// Who orders commands, if one does and is known.
    pub leader: Option<NodeId>,
    /// The last index given out as decided.
    pub decided: u64,
}

/// Kept records that no lifetime of this protocol wrote in this order.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the log of the protocol contradicts itself: {0}")]
pub struct Corrupt(pub &'static str);

/// What a step puts out.
pub type Outputs<P> = Vec<Output<<P as Protocol>::Message, <P as Protocol>::Record>>;

/// A protocol of agreement for one epoch of one group on one node.
pub trait Protocol: Clone + Hash + Debug + Sized {
    /// Whether peers may lie: it names the places of checkpoints ([`Output::Checkpoint`]), and none else counts.
    const LIARS: bool = false;

    /// Who it is, with whom, under which quorums, and its times. Checked when built.
    type Config: Clone + Debug;
    /// What members tell each other.
    type Message: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned;
    /// What must outlive a crash.
    type Record: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned;

    /// The state after the records kept by the last lifetime (none: a first start). `mark` is that of
    /// the durable checkpoint which local state begins from, if there is one.
    ///
    /// # Errors
    /// [`Corrupt`] if no lifetime can have left these records.
    fn recover(
        config: Self::Config,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Self::Record>,
        now: Instant,
    ) -> Result<Self, Corrupt>;

    /// Takes one input; appends outputs, in the order in which they are to be carried out.
    fn step(&mut self, now: Instant, input: Input<Self::Message>, out: &mut Outputs<Self>);

    /// When it wants [`Input::Tick`] next ([`Instant::FAR`]: never).
    fn wake_at(&self) -> Instant;

    /// How it sees its group.
    fn standing(&self) -> Standing;

    /// Names all that was given out as decided so far, for a checkpoint of the state that has applied it.
    fn mark(&self) -> Bytes;

    /// The successor's record in a seal that was decided; `None` if it is not valid and ends nothing. Pure: the same
    /// for the same bytes on every member of an epoch.
    fn successor(&self, seal: &Bytes) -> Option<Bytes> {
        Some(seal.clone())
    }

    /// Whether a peer's checkpoint with this mark, whose state has this digest, may replace local state now. The answer
    /// is good until the next input.
    fn admits(&self, mark: &Bytes, digest: &[u8; 32]) -> bool {
        let _ = (mark, digest);
        true
    }

    /// What convinces a peer of the checkpoint with this mark: handed to its protocol as a message before it is asked
    /// [`Protocol::proved`]. `None` where peers are believed, or where nothing proves it (yet).
    fn proof(&self, mark: &Bytes) -> Option<Self::Message> {
        let _ = mark;
        None
    }

    /// The digest that the state of a peer's checkpoint with this mark must have, if it would be admitted with it. `None` where
    /// peers are believed, or where nothing proves it (yet).
    fn proved(&self, mark: &Bytes) -> Option<[u8; 32]> {
        let _ = mark;
        None
    }

    /// How often its hard paths were taken in this lifetime, by name; all names, whatever the counts: for metrics, and for who
    /// demands that a sweep took them.
    fn tally(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let _ = each;
    }

    /// Records from which [`Protocol::recover`], with the newest mark checkpointed, makes the durable
    /// part of this state anew.
    fn compact(&self) -> Vec<Self::Record>;
}
