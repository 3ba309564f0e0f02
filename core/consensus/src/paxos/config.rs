//! Who takes part, under which quorums, and how long it waits: checked when built.

use super::message::Ballot;
use crate::quorum::{MEMBERS_MAX, Needs, NodeSet, Phase, Quorums, Refusal, System, admit};
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use thiserror::Error;

/// Payloads in one batch. A step's worth of proposals (4,096) is one batch.
pub const BATCH_SLOTS_MAX: usize = 4_096;
/// Bytes in one batch, and the longest payload: with its frame it fits a record of the write-ahead log.
pub const BATCH_BYTES_MAX: usize = dwcp_env::bound::REQUEST_MAX.0 as usize;
/// Batches that are sent and not decided. Two are enough for a disk; the rest covers a long round trip.
pub const WINDOW_BATCHES: usize = 64;
/// Bytes that are sent and not decided.
pub const WINDOW_BYTES: usize = 16 << 20;
/// Proposals that wait for the window; more are refused.
pub const WAITING_MAX: usize = 65_536;
/// Bytes of proposals that wait for the window.
pub const WAITING_BYTES_MAX: usize = 32 << 20;
/// Reads that wait for a round of heartbeats; more are refused.
pub const READS_MAX: usize = 65_536;
/// Bytes of payloads in one piece of a promise or of what is taught.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Payloads in one piece.
pub const PIECE_SLOTS_MAX: usize = 8_192;
/// Pieces that answer one question for missing slots: 4 MiB a round trip.
pub const PIECES_MAX: usize = 4;
/// What a payload takes in memory beside its bytes: its place in a batch. A log of blanks fills up too.
pub const SLOT_BYTES: usize = 48;
/// Slots behind the decided prefix that an acceptor holds. A leader's window, whatever was taken over
/// included, is a quarter of it; what lies further is asked for when the prefix has come near.
pub const SPAN_MAX: u64 = 1 << 20;
/// Slots are smaller than this: sums of two never wrap.
pub const SLOT_MAX: u64 = 1 << 62;
/// Ballots a message may be ahead of all seen here: no peer can use up the numbers.
pub const ROUNDS_AHEAD_MAX: u64 = 1 << 32;

const _: () = {
    assert!(WINDOW_BATCHES * BATCH_SLOTS_MAX * 4 <= SPAN_MAX as usize);
    assert!(PIECE_BYTES_MAX <= BATCH_BYTES_MAX, "a piece is a record too");
    assert!(BATCH_BYTES_MAX + 16 * BATCH_SLOTS_MAX < dwcp_env::bound::WAL_RECORD_MAX.0 as usize);
    assert!(BATCH_BYTES_MAX + 64 * PIECE_SLOTS_MAX < dwcp_env::bound::FRAME_BODY_MAX.0 as usize);
};

/// How long a node waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// Without a quorum-connected leader for this long a member looks for a new one; up to as long
    /// again is added by draw. Also how long a leader goes on without hearing a quorum.
    pub election: Duration,
    /// Until an unanswered message is sent again: somewhat more than a round trip with its sync.
    pub retry: Duration,
    /// How long an idle leader keeps from its followers that something was decided.
    pub announce: Duration,
}

impl Default for Times {
    /// For members in one region.
    fn default() -> Self {
        Self {
            heartbeat: Duration::millis(50),
            election: Duration::millis(250),
            retry: Duration::millis(50),
            announce: Duration::millis(1),
        }
    }
}

/// Why a configuration is not admitted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// Members must be sorted, without repetition, from 1 to [`MEMBERS_MAX`].
    #[error("members must be 1 to {MEMBERS_MAX} different nodes in ascending order")]
    Members,
    /// This node must be one of them.
    #[error("{0} is not among the members: only members run the protocol")]
    Stranger(NodeId),
    /// Quorums of the two phases must meet, and fit the members.
    #[error(transparent)]
    Quorums(#[from] Refusal),
    /// An election must outlast some heartbeats.
    #[error("`election` must be at least three times `heartbeat`, and no time zero")]
    Times,
}

/// Who takes part, under which quorums, with which times.
#[derive(Clone, Debug)]
pub struct Config {
    node: NodeId,
    members: Vec<NodeId>,
    quorums: System,
    seed: Seed,
    times: Times,
    first_leader: Option<NodeId>,
    keep_slots: u64,
    log_bytes_max: usize,
    window_batches: usize,
    piece_slots: usize,
}

impl Config {
    /// A member of an epoch. `seed` decides draws of timeouts and nothing else.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        node: NodeId,
        members: Vec<NodeId>,
        quorums: System,
        seed: u64,
        times: Times,
    ) -> Result<Self, ConfigError> {
        if members.is_empty() || members.len() > MEMBERS_MAX || !members.is_sorted_by(|a, b| a < b) {
            return Err(ConfigError::Members);
        }
        if !members.contains(&node) {
            return Err(ConfigError::Stranger(node));
        }
        admit(&quorums, &members, Needs::Paxos)?;
        let zero = [times.heartbeat, times.retry, times.announce].contains(&Duration::ZERO);
        if zero || times.election < times.heartbeat * 3 {
            return Err(ConfigError::Times);
        }
        let (seed, first_leader) = (Seed(seed), None);
        let (keep_slots, log_bytes_max) = (4_096, 256 << 20);
        let (window_batches, piece_slots) = (WINDOW_BATCHES, PIECE_SLOTS_MAX);
        Ok(Self {
            node,
            members,
            quorums,
            seed,
            times,
            first_leader,
            keep_slots,
            log_bytes_max,
            window_batches,
            piece_slots,
        })
    }
    /// This member stands for leader at once when the epoch begins; the others wait as always.
    #[must_use]
    pub fn first_leader(mut self, node: NodeId) -> Self {
        self.first_leader = Some(node);
        self
    }
    /// Decided slots kept behind a checkpoint for peers that are a little late; 4,096 unless told.
    #[must_use]
    pub const fn keep_slots(mut self, slots: u64) -> Self {
        self.keep_slots = slots;
        self
    }
    /// Bytes in the log (of payloads, and [`SLOT_BYTES`] for each) above which proposals are refused until a checkpoint frees some;
    /// 256 MiB unless told.
    #[must_use]
    pub const fn log_bytes_max(mut self, bytes: usize) -> Self {
        self.log_bytes_max = bytes;
        self
    }

    /// Batches in flight, from 1 to [`WINDOW_BATCHES`], which it is unless told.
    #[must_use]
    pub fn window_batches(mut self, batches: usize) -> Self {
        self.window_batches = batches.clamp(1, WINDOW_BATCHES);
        self
    }
    /// Payloads in one piece, and given out in one step by who does not lead, from 1 to [`PIECE_SLOTS_MAX`], which it is unless told.
    #[must_use]
    pub fn piece_slots(mut self, slots: usize) -> Self {
        self.piece_slots = slots.clamp(1, PIECE_SLOTS_MAX);
        self
    }

    pub(super) const fn window(&self) -> usize {
        self.window_batches
    }
    pub(super) const fn piece(&self) -> usize {
        self.piece_slots
    }
    pub(super) const fn node(&self) -> NodeId {
        self.node
    }
    pub(super) fn members(&self) -> &[NodeId] {
        &self.members
    }
    pub(super) fn place(&self, node: NodeId) -> Option<usize> {
        self.members.binary_search(&node).ok()
    }
    pub(super) const fn times(&self) -> &Times {
        &self.times
    }
    pub(super) const fn kept(&self) -> u64 {
        self.keep_slots
    }
    pub(super) const fn log_max(&self) -> usize {
        self.log_bytes_max
    }
    pub(super) fn stands_first(&self) -> bool {
        self.first_leader == Some(self.node)
    }
    /// Who is to lead first, as long as nobody has.
    pub(super) fn awaited(&self, promised: Ballot) -> Option<NodeId> {
        self.first_leader.filter(|_| promised == Ballot::default())
    }
    /// How long this member lets others go first when a leader is gone: half a heartbeat for each that lies between the two in
    /// the order of members.
    pub(super) fn turn(&self, gone: NodeId) -> Duration {
        let members = self.members.len();
        let place = |node| self.place(node).unwrap_or_default();
        let between = (place(self.node) + members - place(gone) + members - 1) % members;
        self.times.heartbeat / 2 * between as u64
    }
    pub(super) fn is_quorum(&self, phase: Phase, set: NodeSet) -> bool {
        self.quorums.is_quorum(phase, set)
    }
    /// Whether who hears these can be elected and decide.
    pub(super) fn connects(&self, set: NodeSet) -> bool {
        self.is_quorum(Phase::Prepare, set) && self.is_quorum(Phase::Accept, set)
    }
    /// A ballot as one number, in the order of ballots.
    pub(super) fn number(&self, ballot: Ballot) -> u64 {
        let place = self.place(ballot.node).unwrap_or_default() as u64;
        ballot.round.saturating_mul(MEMBERS_MAX as u64).saturating_add(place)
    }
    /// Where the numbers of a lifetime's canvasses begin: answers to an earlier one's are told apart.
    pub(super) fn first_canvass(&self, now: Instant, ballot: Ballot) -> u64 {
        const CANVASS: Purpose = Purpose::named("paxos first canvass");
        self.seed.below(1 << 20, CANVASS, self.node.0, now, ballot.round)
    }
    /// A wait of one to two `election`s; after `failures` lost elections up to four times wider, so that those who duel
    /// meet less often. Not more: when all faults are over somebody leads within eight.
    pub(super) fn patience(&self, ballot: Ballot, attempt: u64, failures: u32) -> Duration {
        const PATIENCE: Purpose = Purpose::named("paxos election patience");
        let spread = self.times.election.as_nanos() << failures.min(2);
        let at = Instant::from_nanos(ballot.round);
        self.times.election + Duration::nanos(self.seed.below(spread, PATIENCE, self.node.0, at, attempt))
    }
}
