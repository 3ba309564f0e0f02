//! What an engine of agreement owes the node, and what it may ask of the state it drives.
//!
//! **Promise.** A group of nodes agrees on one order of commands. A command is *decided* when a
//! quorum has it on disk; a decided command is applied once, in order, on every member; a read
//! behind a barrier sees every command decided before the barrier was asked for.
//!
//! **Model.** An [`Engine`] is driven like a node, and lives inside one: commands and
//! messages go in, [`EngineOutput`]s come out, durability goes through the node's write-ahead
//! log. It drives one [`StateMachine`], through which it also keeps what it must remember
//! with the state: the position applied and the members at that position.
//!
//! **Words.** *Term*: an engine's epoch of leadership. *Index*: a position in the log, from 1.
//! *Voter*: counts in quorums. *Learner*: receives, does not count. *Seal*: a command after which
//! no command of this engine takes effect; the next epoch's engine goes on from there.
//!
//! **What is left to others.** Sessions and exactly-once live in the state machine (they must
//! survive a change of engine); routing to the leader lives in the node.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, Job, JobId, JobResult, Lane, NodeId, Now, RegionId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A place in a group's log: unique for an entry for ever (Log Matching, Raft §5.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its index, from 1.
    pub index: u64,
}

/// What the group knows of one member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// The region it is lost with.
    pub region: RegionId,
    /// Where peers reach it (`host:port`); empty in simulation.
    pub peer_address: String,
    /// Where clients reach it, for `member list`.
    pub client_address: String,
    /// Its name, for people.
    pub name: String,
}

/// Who belongs to a group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    /// Who counts in quorums. During a change: the new set.
    pub voters: BTreeSet<NodeId>,
    /// During a change: the old set, whose quorum is needed too. Otherwise empty.
    pub outgoing: BTreeSet<NodeId>,
    /// Everybody, learners included.
    pub nodes: BTreeMap<NodeId, Member>,
}

/// What a node is to its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Role {
    /// Receives and does not count.
    #[default]
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Orders commands.
    Leader,
    /// Has no part in it: it is another region's.
    Outside,
}

/// How an engine sees its group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// This node's role.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// The leader it knows, itself included.
    pub leader: Option<NodeId>,
    /// The last entry in its log.
    pub last_index: u64,
    /// The last entry known to be decided.
    pub committed_index: u64,
    /// The last entry applied here.
    pub applied: Option<Position>,
    /// The last entry inside the newest snapshot.
    pub snapshot_index: u64,
    /// The members it goes by.
    pub members: Members,
    /// Leader only: the last index each other member is known to hold.
    pub matched: BTreeMap<NodeId, u64>,
    /// The engine can't go on, and why.
    pub fatal: Option<String>,
}

/// Names a question to an engine; its answer carries it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Why a question has no good answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Error)]
pub enum EngineError {
    /// Another node leads: certainly not done here.
    #[error("not the leader of this group")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// It may have been done or may still be: ask again under the same session and number.
    #[error("leadership was lost before the outcome was known; the retry is safe")]
    Unknown,
    /// A change of members that can't be made, and why.
    #[error("{0}")]
    Refused(String),
    /// The engine has stopped.
    #[error("the engine has stopped: {0}")]
    Stopped(String),
}

/// A change of a group's members.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MemberChange {
    /// A new node joins as a learner and catches up.
    AddLearner(NodeId, Member),
    /// Learners become voters.
    Promote(BTreeSet<NodeId>),
    /// Nodes leave.
    Remove(BTreeSet<NodeId>),
    /// A member's addresses or name change.
    Update(NodeId, Member),
}

/// What an engine wants done, or answers.
#[derive(Debug)]
pub enum EngineOutput<R> {
    /// A message to the engine of the same group on a peer.
    Send {
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: Lane,
        /// The body.
        body: Bytes,
    },
    /// The answer to `propose`: applied on this node, with its response.
    Proposed {
        /// The question.
        token: Token,
        /// The place it took and what the state machine said.
        result: Result<(Position, R), EngineError>,
    },
    /// The answer to `barrier`: a read of local state is linearizable from now on.
    Barrier {
        /// The question.
        token: Token,
        /// Passed, or why not.
        result: Result<(), EngineError>,
    },
    /// The answer to `change_members`, `transfer_leader`, `seal` or `snapshot`.
    Done {
        /// The question.
        token: Token,
        /// Done, or why not.
        result: Result<(), EngineError>,
    },
    /// Work off the loop; its result comes back through [`Engine::job_done`].
    Job(Job),
}

/// An engine of agreement for one group on one node.
pub trait Engine {
    /// What the state machine answers.
    type Response;

    /// Asks for a command to be decided and applied. Answered by `Proposed`.
    fn propose(&mut self, token: Token, command: Bytes);
    /// Asks to read what is decided by now. Answered by `Barrier` once this node has applied it.
    fn barrier(&mut self, token: Token);
    /// Asks for a change of members. Answered by `Done`.
    fn change_members(&mut self, token: Token, change: MemberChange);
    /// Hands leadership over. Answered by `Done` when the message is on its way.
    fn transfer_leader(&mut self, token: Token, to: NodeId);
    /// Ends this engine's epoch: no command behind the seal takes effect. Answered by `Done`.
    fn seal(&mut self, token: Token, next: Bytes);
    /// Asks for a snapshot now, so that the log may be trimmed. Answered by `Done`.
    fn snapshot(&mut self, token: Token);
    /// A message from the engine of the same group on a peer. Checked here; wrong ones are counted.
    fn message(&mut self, now: Now, from: NodeId, lane: Lane, body: Bytes);
    /// A job of this engine has ended.
    fn job_done(&mut self, job: JobId, result: JobResult);
    /// How it sees its group.
    fn status(&self) -> Status;
    /// Runs until nothing is ready; fills `out`; says when it wants to run again.
    fn run(&mut self, now: Now, out: &mut Vec<EngineOutput<Self::Response>>) -> Option<Instant>;
}

/// What an engine drives. Deterministic: the same commands give the same state and answers.
pub trait StateMachine: Send + 'static {
    /// What a command is answered.
    type Response: Send + Sync + 'static;

    /// The last position applied, and the engine's own record of the members then (opaque here).
    fn applied(&self) -> (Option<Position>, Bytes);
    /// The position alone, which is asked for at each turn.
    fn applied_at(&self) -> Option<Position> {
        self.applied().0
    }
    /// Applies a decided command.
    fn apply(&mut self, at: Position, command: &Bytes) -> Self::Response;
    /// Notes an entry without a command; `engine_record` replaces the engine's record if given.
    fn note(&mut self, at: Position, engine_record: Option<Bytes>);
    /// Replaces the engine's record without moving on: what it says belongs to the position last applied.
    fn record(&mut self, engine_record: Bytes);
    /// The answer to a proposal that carries no command (members, seals).
    fn blank_response(&self) -> Self::Response;

    /// Starts writing all that is applied to disk. `None` if nothing new is to be written.
    /// The job's result goes to [`StateMachine::checkpoint_done`].
    fn checkpoint(&mut self) -> Option<Work>;
    /// The checkpoint's job has ended (`None`: lost). On success the state up to the position
    /// returned is durable, and the log before it may go.
    ///
    /// # Errors
    /// Why the checkpoint is not durable; the node stops.
    fn checkpoint_done(&mut self, result: JobResult) -> Result<Checkpointed, String>;
    /// As [`StateMachine::checkpoint`], even if nothing new is to be written; when it is durable, its digest is known
    /// ([`StateMachine::digest`]). `None` only while another one is under way, or if it can't be done at all.
    fn checkpoint_with_digest(&mut self) -> Option<Work> {
        None
    }
    /// The digest of the newest durable checkpoint, if it was asked for: equal wherever the same commands were applied
    /// and the same records noted, and nowhere else.
    fn digest(&self) -> Option<[u8; 32]> {
        None
    }
    /// The newest durable checkpoint stays readable, newer ones notwithstanding, until one that is held later is
    /// released up to it. In memory only: a restart forgets it.
    fn hold(&mut self) {}
    /// Held checkpoints before this place are let go.
    fn release_before(&mut self, at: Position) {
        let _ = at;
    }
    /// Whether this build knows what the command says. Where peers may lie an unknown one is void.
    fn understands(&self, command: &Bytes) -> bool {
        let _ = command;
        true
    }
    /// The newest durable checkpoint, to be sent to a peer.
    fn current_checkpoint(&self) -> Option<Checkpointed>;
    /// Work that reads the piece of the newest checkpoint after `cursor` (empty: from the start).
    /// The result is a boxed `Result<Piece, String>`. `None` if there is no checkpoint at `at`
    /// any more.
    fn read_piece(&self, at: Position, cursor: Bytes) -> Option<Work>;

    /// Whether a transfer may go on. Engines that share one state take it in one at a time: each asks before each step. From
    /// a `true` to [`Stage::Swap`] on nobody else begins, until [`StateMachine::install_over`].
    fn may_install(&mut self, stage: Stage) -> bool {
        let _ = stage;
        true
    }
    /// The swap that was allowed has ended, or was not wanted after all.
    fn install_over(&mut self) {}
    /// Starts receiving a checkpoint: forgets any half-received one.
    fn begin_install(&mut self, incoming: Checkpointed);
    /// What comes is swapped in only if this is its digest.
    fn expect_digest(&mut self, digest: [u8; 32]) {
        let _ = digest;
    }
    /// Work that takes one piece, in order. The result is a boxed `Result<(), String>`.
    fn install_piece(&mut self, piece: Bytes) -> Work;
    /// Work that checks and swaps in the received checkpoint. The result goes to
    /// [`StateMachine::install_done`].
    fn finish_install(&mut self) -> Work;
    /// The swap has ended; state is now the checkpoint's.
    ///
    /// # Errors
    /// Why it was not swapped in: the old state stands.
    fn install_done(&mut self, result: JobResult) -> Result<(), String>;
}

/// How far a transfer has come: see [`StateMachine::may_install`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// A checkpoint is offered; nothing of it was taken.
    Begin,
    /// A piece has come.
    Piece,
    /// All pieces were taken.
    Swap,
}

/// A job without its name tag: the engine numbers it and hands it to the world.
pub struct Work {
    /// What it is, for traces and metrics.
    pub name: &'static str,
    /// How long it takes besides its disk operations; simulation believes this.
    pub cost: dwcp_env::Duration,
    /// The work itself.
    pub run: alloc::boxed::Box<dyn FnOnce() -> alloc::boxed::Box<dyn core::any::Any + Send> + Send>,
}

impl core::fmt::Debug for Work {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Work({})", self.name)
    }
}

/// What a checkpoint holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpointed {
    /// The last position in it.
    pub at: Position,
    /// The engine's record of the members then.
    pub engine_record: Bytes,
}

/// A piece of a checkpoint on its way to a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// The bytes, compressed and self-checking.
    pub data: Bytes,
    /// Where the next piece begins; `None` after the last.
    pub next: Option<Bytes>,
}
