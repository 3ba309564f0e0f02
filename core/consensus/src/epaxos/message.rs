//! What replicas tell each other, and what they write down.

use super::config::GROUP_MAX;
use crate::quorum::NodeSet;
use crate::step::Payload;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use dwcp_env::bound::{FRAME_BODY_MAX, REQUEST_MAX, WAL_RECORD_MAX};
use serde::{Deserialize, Serialize};

/// Bytes a command may have: with all that stands around it, it fits a record of the log and a frame.
pub const PAYLOAD_MAX: usize = WAL_RECORD_MAX.0 as usize - 64 * 1024;
/// Instances a validation may name: above, it is left unanswered until the hot key has drained.
pub const BLOCKERS_MAX: usize = 4_096;
/// Instances one `Fetch` may name.
pub const FETCH_MAX: u64 = 64;
const _: () = {
    // An integer of the encoding has at most ten bytes; a driver adds up to 64.
    let id = 1 + 10;
    let deps = 5 + GROUP_MAX * 10;
    let vote = 2 * 10 + (1 + 19) + (1 + 1 + 5 + PAYLOAD_MAX) + 1 + deps + (1 + deps);
    let most = 1 + id + 10 + vote + 64;
    assert!(most <= WAL_RECORD_MAX.0 as usize, "a vote with its command fits a record");
    assert!(most <= FRAME_BODY_MAX.0 as usize, "a message with a command fits a frame");
    assert!(
        BLOCKERS_MAX * id + 64 * 1024 <= FRAME_BODY_MAX.0 as usize,
        "an answer with its blockers fits a frame"
    );
    assert!(REQUEST_MAX.0 as usize <= PAYLOAD_MAX, "a client's request is taken");
};
/// Numbers and ballots stay below this: far above what any lifetime reaches.
pub const NUMBER_MAX: u64 = 1 << 48;

/// One agreement: the `number`-th command that the replica at place `replica` proposed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId {
    /// Place of the replica whose command it is.
    pub replica: u8,
    /// From 1.
    pub number: u64,
}

impl InstanceId {
    /// The instance of this place and number.
    #[must_use]
    pub const fn new(replica: u8, number: u64) -> Self {
        Self { replica, number }
    }
    pub(super) fn at(self) -> usize {
        usize::from(self.replica)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.replica, self.number)
    }
}

/// A set of instances: for each replica, all its numbers up to and including this one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Deps(pub Vec<u64>);

impl Deps {
    /// The empty set.
    #[must_use]
    pub fn none(n: usize) -> Self {
        Self(vec![0; n])
    }
    /// Whether the instance is in it.
    #[must_use]
    pub fn has(&self, id: InstanceId) -> bool {
        self.0.get(id.at()).is_some_and(|d| id.number <= *d)
    }
    /// Adds all of `other`.
    pub fn join(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a = (*a).max(*b);
        }
    }
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How far an instance has come at a replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Heard of at most.
    #[default]
    Initial,
    /// Answered in the round of its own replica.
    PreAccepted,
    /// Voted for in a ballot.
    Accepted,
    /// Decided.
    Committed,
    /// Answered in the round of its own replica, under Atlas' rule: the fast quorum that was named.
    Collected(NodeSet),
}

/// What an instance is decided to be, beside its dependencies.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Value {
    /// Nothing: its command is given up under this number.
    Noop,
    /// Its replica's command, which the receiver has.
    Known,
    /// Its replica's command.
    Command(Payload),
}

/// All that a replica must not forget about an instance.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The highest ballot promised: `bal`.
    pub ballot: u64,
    /// The ballot of the last vote: `vbal`. Not `ballot`: a promise is not a vote (Sutra, arXiv 1906.10917).
    pub voted: u64,
    /// How far it is.
    pub phase: Phase,
    /// Its replica's command, if known.
    pub command: Option<Payload>,
    /// Whether the vote is for nothing instead of the command.
    pub noop: bool,
    /// The dependencies voted for, or answered.
    pub deps: Deps,
    /// The dependencies its own replica first gave it, if known from it or through a validation.
    pub initial: Option<Deps>,
}

impl Vote {
    pub(super) fn new(n: usize) -> Self {
        Self {
            ballot: 0,
            voted: 0,
            phase: Phase::Initial,
            command: None,
            noop: false,
            deps: Deps::none(n),
            initial: None,
        }
    }
    /// What it votes for; `None` if for nothing yet.
    pub(super) fn value(&self) -> Option<Value> {
        if self.noop { Some(Value::Noop) } else { self.command.clone().map(Value::Command) }
    }
    /// Whether it was answered in the round of its own replica, and not more.
    pub(super) fn answered(&self) -> bool {
        matches!(self.phase, Phase::PreAccepted | Phase::Collected(_))
    }
    pub(super) fn committed(&self) -> bool {
        self.phase == Phase::Committed
    }
}

/// What replicas tell each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Agree to this command of mine with these dependencies. Durable before: the sender's own record of it.
    PreAccept {
        /// Which.
        id: InstanceId,
        /// The command.
        command: Payload,
        /// What interferes with it as far as its replica knows.
        deps: Deps,
    },
    /// Noted, with these dependencies. Durable before: the same.
    PreAcceptOk {
        /// Which.
        id: InstanceId,
        /// Those proposed and those known here.
        deps: Deps,
    },
    /// Vote for this. Durable before: the sender's own vote.
    Accept {
        /// Which.
        id: InstanceId,
        /// In which ballot.
        ballot: u64,
        /// For what.
        value: Value,
        /// With which dependencies.
        deps: Deps,
    },
    /// Voted. Durable before: the vote.
    AcceptOk {
        /// Which.
        id: InstanceId,
        /// In which ballot.
        ballot: u64,
    },
    /// This is decided. Durable before: on the fast path, the decision; else nothing.
    Commit {
        /// Which.
        id: InstanceId,
        /// As what.
        value: Value,
        /// With which dependencies.
        deps: Deps,
    },
    /// Promise this ballot and say what you know.
    Prepare {
        /// Which.
        id: InstanceId,
        /// The ballot.
        ballot: u64,
    },
    /// Promised. Durable before: the promise.
    PrepareOk {
        /// Which.
        id: InstanceId,
        /// The ballot promised.
        ballot: u64,
        /// What is known of it.
        vote: Vote,
    },
    /// Would this command with these dependencies, had it been decided, contradict what you know?
    Validate {
        /// Which.
        id: InstanceId,
        /// In which ballot.
        ballot: u64,
        /// The command.
        command: Payload,
        /// Its dependencies.
        deps: Deps,
    },
    /// What contradicts it. Durable before: the command and its dependencies, so that what comes later depends on it.
    ValidateOk {
        /// Which.
        id: InstanceId,
        /// In which ballot.
        ballot: u64,
        /// Whether a decided command contradicts it.
        refuted: bool,
        /// Commands not decided here that may.
        blockers: Vec<InstanceId>,
    },
    /// My recovery of this waits for others; so many had pre-accepted it as first proposed.
    Waiting {
        /// Which.
        id: InstanceId,
        /// How many.
        agreeing: u8,
    },
    /// I have promised a higher ballot.
    Nack {
        /// Which.
        id: InstanceId,
        /// Which ballot.
        ballot: u64,
    },
    /// What I know, by replica.
    Beat {
        /// All numbers up to this are decided here.
        committed: Vec<u64>,
        /// The highest number heard of.
        seen: Vec<u64>,
        /// Whether to answer with your own.
        ask: bool,
    },
    /// Send me what is decided of these.
    Fetch {
        /// Of which replica.
        replica: u8,
        /// From this number.
        from: u64,
        /// To this number, at most [`FETCH_MAX`] of them.
        to: u64,
    },
    /// Which instances have you heard of?
    ReadAsk {
        /// The asker's number of the question.
        round: u64,
    },
    /// These.
    ReadOk {
        /// The question.
        round: u64,
        /// The highest number heard of, by replica.
        seen: Vec<u64>,
    },
    /// `PreAccept` under Atlas' rule: these are to answer. Durable before: the same.
    Collect {
        /// Which.
        id: InstanceId,
        /// The command.
        command: Payload,
        /// What interferes with it as far as its replica knows.
        deps: Deps,
        /// Its fast quorum, its replica included.
        quorum: NodeSet,
    },
}

/// What is written down.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Record {
    /// All there is to know of an instance; replaces what was written of it before.
    Vote {
        /// Which.
        id: InstanceId,
        /// What.
        vote: Vote,
    },
    /// A promise; nothing else changes.
    Promise {
        /// Which.
        id: InstanceId,
        /// The ballot.
        ballot: u64,
    },
    /// It is decided; a command is that of the record before.
    Decided {
        /// Which.
        id: InstanceId,
        /// Whether as nothing.
        noop: bool,
        /// With which dependencies.
        deps: Deps,
    },
}

/// What is wrong with a message's shape, whoever sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    Good,
    Bound,
    Contradiction,
}

impl Message {
    /// Whether it belongs to a group that goes by Atlas' rule; `None`: to any.
    pub(super) fn of_atlas(&self) -> Option<bool> {
        match self {
            Self::PreAccept { .. }
            | Self::Validate { .. }
            | Self::ValidateOk { .. }
            | Self::Waiting { .. } => Some(false),
            Self::Collect { .. } => Some(true),
            Self::PrepareOk { vote, .. } if vote.answered() => Some(vote.phase != Phase::PreAccepted),
            _ => None,
        }
    }
    /// The fast quorum it names: what a recovery believes hangs on who is in it.
    pub(super) fn fast_quorum(&self) -> Option<NodeSet> {
        match self {
            Self::Collect { quorum, .. } => Some(*quorum),
            Self::PrepareOk { vote, .. } => match vote.phase {
                Phase::Collected(named) => Some(named),
                _ => None,
            },
            _ => None,
        }
    }
    /// Whether sizes and numbers are such as a correct replica of a group of `n` sends.
    pub(super) fn shape(&self, n: usize) -> Shape {
        debug_assert!(n <= GROUP_MAX);
        let id_ok = |id: &InstanceId| id.at() < n && id.number > 0 && id.number < NUMBER_MAX;
        let vector = |v: &Vec<u64>| v.len() == n && v.iter().all(|x| *x < NUMBER_MAX);
        let payload = |p: &Payload| p.len() <= PAYLOAD_MAX;
        let value = |v: &Value| if let Value::Command(p) = v { payload(p) } else { true };
        // No instance depends on itself or on a later one of its own replica.
        let before = |id: &InstanceId, d: &Deps| d.0[id.at()] < id.number;
        match self {
            Self::PreAccept { id, command, deps } => {
                Shape::of(id_ok(id) && payload(command) && vector(&deps.0), || before(id, deps))
            }
            Self::Collect { id, command, deps, quorum } => {
                let sized =
                    id_ok(id) && payload(command) && vector(&deps.0) && NodeSet::first(n).covers(*quorum);
                Shape::of(sized, || before(id, deps) && quorum.has(id.at()))
            }
            Self::PreAcceptOk { id, deps } => Shape::of(id_ok(id) && vector(&deps.0), || before(id, deps)),
            Self::Accept { id, ballot, value: v, deps } => {
                let sized = id_ok(id) && *ballot < NUMBER_MAX && value(v) && vector(&deps.0);
                Shape::of(sized, || before(id, deps) && *v != Value::Known)
            }
            Self::Commit { id, value: v, deps } => {
                Shape::of(id_ok(id) && value(v) && vector(&deps.0), || before(id, deps))
            }
            Self::Validate { id, ballot, command, deps } => {
                let sized = id_ok(id) && *ballot < NUMBER_MAX && payload(command) && vector(&deps.0);
                Shape::of(sized, || before(id, deps) && *ballot > 0)
            }
            Self::Prepare { id, ballot } => Shape::of(id_ok(id) && *ballot < NUMBER_MAX, || *ballot > 0),
            Self::AcceptOk { id, ballot } | Self::Nack { id, ballot } => {
                Shape::of(id_ok(id) && *ballot < NUMBER_MAX, || true)
            }
            Self::PrepareOk { id, ballot, vote } => {
                let initial = vote.initial.as_ref();
                let command = vote.command.as_ref().is_none_or(payload);
                let vectors = vector(&vote.deps.0) && initial.is_none_or(|d| vector(&d.0));
                let named = match vote.phase {
                    Phase::Collected(named) => named,
                    _ => NodeSet::first(n),
                };
                let sized = id_ok(id) && *ballot < NUMBER_MAX && NodeSet::first(n).covers(named);
                Shape::of(sized && vectors && command, || {
                    named.has(id.at())
                        && vote.ballot == *ballot
                        && vote.voted < *ballot
                        && before(id, &vote.deps)
                        && initial.is_none_or(|d| before(id, d))
                        && (vote.phase == Phase::Initial || vote.value().is_some())
                        && (!vote.answered() || initial.is_some())
                })
            }
            Self::ValidateOk { id, ballot, blockers, .. } => {
                let sized = blockers.len() <= BLOCKERS_MAX && blockers.iter().all(id_ok);
                Shape::of(id_ok(id) && *ballot < NUMBER_MAX && sized, || true)
            }
            Self::Waiting { id, agreeing } => Shape::of(id_ok(id), || usize::from(*agreeing) <= n),
            Self::Beat { committed, seen, .. } => Shape::of(vector(committed) && vector(seen), || true),
            Self::Fetch { replica, from, to } => {
                let sized =
                    usize::from(*replica) < n && *to < NUMBER_MAX && to.saturating_sub(*from) < FETCH_MAX;
                Shape::of(sized, || *from > 0 && from <= to)
            }
            Self::ReadOk { seen, .. } => Shape::of(vector(seen), || true),
            Self::ReadAsk { .. } => Shape::Good,
        }
    }
}

impl Shape {
    /// Looks at a message's sense only where its bounds hold.
    fn of(bounds: bool, sense: impl FnOnce() -> bool) -> Self {
        match (bounds, bounds && sense()) {
            (false, _) => Self::Bound,
            (true, false) => Self::Contradiction,
            (true, true) => Self::Good,
        }
    }
}
