//! One instance at a replica: what is on disk of it, and what this lifetime does about it.

use super::config::Touch;
use super::message::{Deps, InstanceId, Vote};
use crate::quorum::NodeSet;
use crate::step::Payload;
use alloc::collections::{BTreeMap, BTreeSet};
use dwcp_env::Instant;

/// Numbers of each replica beyond what is executed here that are listened to; what is farther is fetched later.
pub const WINDOW: u64 = 65_536;

/// An instance that is known of and not forgotten.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Instance {
    /// What must not be forgotten.
    pub(super) vote: Vote,
    /// What its command touches, as indexed.
    pub(super) touch: Touch,
    /// Its decision may be acted on.
    pub(super) announced: bool,
    /// What we do about it.
    pub(super) drive: Drive,
    /// When to look after it ([`Instant::FAR`]: never).
    pub(super) due: Instant,
    /// How often we looked after it in vain.
    pub(super) attempts: u8,
    /// The highest ballot heard of.
    pub(super) heard: u64,
    /// The most that a recovery of it found agreeing with its first dependencies, as far as told.
    pub(super) agreeing: u8,
}

impl Instance {
    pub(super) fn new(n: usize) -> Self {
        Self {
            vote: Vote::new(n),
            touch: Touch::Nothing,
            announced: false,
            drive: Drive::Idle,
            due: Instant::FAR,
            attempts: 0,
            heard: 0,
            agreeing: 0,
        }
    }
}

/// What a replica does about an instance, in its own ballot.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Drive {
    /// Listens.
    Idle,
    /// Its own command, in ballot 0: collects answers, its own included once on disk.
    PreAccept { replies: BTreeMap<u8, Deps> },
    /// A fast decision on its way to disk.
    Deciding,
    /// Collects votes.
    Accept { ballot: u64, acks: NodeSet },
    /// Collects promises.
    Prepare { ballot: u64, replies: BTreeMap<u8, Vote> },
    /// Asks a quorum whether a candidate contradicts what it knows.
    Validate { answers: NodeSet, refuted: bool, candidate: Candidate },
    /// Waits for those that block a candidate.
    Wait { candidate: Candidate },
}

/// What may have been decided fast, in a recovery.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Candidate {
    pub(super) ballot: u64,
    pub(super) command: Payload,
    pub(super) deps: Deps,
    /// Whose promises were counted: Q of the paper.
    pub(super) quorum: NodeSet,
    /// How many of them had pre-accepted the very dependencies proposed: |Rmax| of the paper.
    pub(super) agreeing: u8,
    /// Undecided commands that may contradict it: I of the paper.
    pub(super) blockers: BTreeSet<InstanceId>,
    /// Promises from outside the quorum, which came later.
    pub(super) late: BTreeMap<u8, Vote>,
}

impl Drive {
    /// The ballot it works in.
    pub(super) fn ballot(&self) -> Option<u64> {
        match self {
            Self::Idle => None,
            Self::PreAccept { .. } | Self::Deciding => Some(0),
            Self::Accept { ballot, .. } | Self::Prepare { ballot, .. } => Some(*ballot),
            Self::Validate { candidate, .. } | Self::Wait { candidate } => Some(candidate.ballot),
        }
    }
}

/// A word of our own that counts once it is on disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Own {
    PreAccept(InstanceId),
    Decision(InstanceId),
    Accept(InstanceId, u64),
    Promise(InstanceId, u64, Vote),
    Validate { id: InstanceId, ballot: u64, refuted: bool, blockers: alloc::vec::Vec<InstanceId> },
}

/// What becomes due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Timer {
    /// An instance is to be looked after.
    Look(InstanceId),
    /// A proposal of ours is given up.
    GiveUp(InstanceId),
}
