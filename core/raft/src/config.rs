//! What is set per group, and the bugs that a test of the tests can put back in.

use dwcp_consensus::Member;
use dwcp_env::{ByteCount, Duration, NodeId};
use std::collections::BTreeMap;

/// Settings of one group on one node. The timings must be the same on all its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupConfig {
    /// This node.
    pub node: NodeId,
    /// With an empty log: form the group with these voters, the same on each of them. `None`:
    /// wait to be added by a leader.
    pub initial: Option<BTreeMap<NodeId, Member>>,
    /// How often a leader proves that it lives. More than the slowest round trip to a quorum,
    /// disk included: an answer that takes longer renews no lease.
    pub heartbeat: Duration,
    /// The shortest silence after which a follower stands for election.
    pub election_min: Duration,
    /// The longest; also how long a leader's lease lasts.
    pub election_max: Duration,
    /// How long an append of entries may take before it is sent again; longer on a link that proves to be slower.
    pub append_timeout: Duration,
    /// Appends in flight to one peer; spread over a round trip, so that writes batch by themselves.
    pub pipeline: usize,
    /// Entries applied since the last snapshot that ask for the next; 0: only when asked.
    pub snapshot_entries: u64,
    /// Bytes of log in memory that ask for the next snapshot.
    pub snapshot_bytes: ByteCount,
    /// Entries kept behind a snapshot, for peers that lag a little.
    pub keep_entries: u64,
    /// A peer that lags by more entries than this is sent a snapshot instead of entries.
    pub lag_entries: u64,
    /// How long a peer may take for one piece of a snapshot before it is sent again; ten times this for installing it.
    pub piece_timeout: Duration,
    /// Known bugs, for the simulator's own test.
    #[cfg(feature = "planted-bugs")]
    pub bugs: RaftBugs,
}

impl GroupConfig {
    /// Timings for regions up to 220 ms of round trip apart.
    #[must_use]
    pub fn wan(node: NodeId) -> Self {
        Self {
            node,
            initial: None,
            heartbeat: Duration::millis(300),
            election_min: Duration::millis(1_200),
            election_max: Duration::millis(2_000),
            append_timeout: Duration::millis(1_000),
            pipeline: 5,
            snapshot_entries: 10_000,
            snapshot_bytes: ByteCount::mib(64),
            keep_entries: 1_000,
            lag_entries: 5_000,
            piece_timeout: Duration::secs(3),
            #[cfg(feature = "planted-bugs")]
            bugs: RaftBugs::default(),
        }
    }

    /// Timings for one region or one machine.
    #[must_use]
    pub fn lan(node: NodeId) -> Self {
        Self {
            heartbeat: Duration::millis(100),
            election_min: Duration::millis(400),
            election_max: Duration::millis(800),
            append_timeout: Duration::millis(400),
            piece_timeout: Duration::secs(1),
            ..Self::wan(node)
        }
    }

    pub(crate) fn openraft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let election_max = self.election_max.as_millis();
        let policy = match self.snapshot_entries {
            0 => openraft::SnapshotPolicy::Never,
            n => openraft::SnapshotPolicy::LogsSinceLast(n),
        };
        openraft::Config {
            cluster_name: String::new(),
            heartbeat_interval: self.heartbeat.as_millis(),
            election_timeout_min: self.election_min.as_millis(),
            election_timeout_max: election_max,
            install_snapshot_timeout: self.piece_timeout.as_millis() * 10,
            max_payload_entries: crate::message::APPEND_ENTRIES_MAX,
            replication_lag_threshold: self.lag_entries,
            snapshot_policy: policy,
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: 1,
            api_channel_size: Some(QUEUE),
            notification_channel_size: Some(QUEUE),
            // An old leader cut off from its quorum must fall silent, or it keeps renewing the
            // lease of a voter in the middle and no quorum ever elects (openraft #2080).
            quorum_loss_probe_interval: Some(election_max * 2),
            // A node that comes back must not depose a leader that works (Raft dissertation §9.6).
            enable_pre_vote: Some(true),
            // A follower whose disk lost entries is sent them again; it does not vote meanwhile.
            allow_log_reversion: Some(true),
            // A restarted leader stands for election like everybody else.
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        }
        .validate()
    }
}

/// Messages that wait for openraft's core; more are refused or dropped.
const QUEUE: u64 = 32_768;

/// Known bugs that a test of the tests puts back in.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RaftBugs {
    /// A vote is answered before it is durable; indeed it is never written.
    pub vote_not_saved: bool,
    /// An append is answered before it is durable.
    pub ack_append_before_durable: bool,
    /// The last entry of an append is answered as durable and not written.
    pub entry_not_logged: bool,
    /// A barrier passes on a leader that does not ask its quorum.
    pub stale_read: bool,
    /// A snapshot is installed over newer state.
    pub snapshot_out_of_order: bool,
    /// Commands behind the seal take effect.
    pub seal_ignored: bool,
    /// A command that a lost leadership may or may not have decided is proposed once more.
    pub retry_unknown: bool,
    /// A node whose disk lost part of its log votes as if nothing had happened.
    pub suspect_votes: bool,
    /// A peer that does not answer in time counts as one that has the entries.
    pub minority_commit: bool,
    /// A follower that can't place an append says that it has it.
    pub conflict_ignored: bool,
    /// A snapshot's last piece is answered as installed, and nothing is installed.
    pub snapshot_not_installed: bool,
    /// New members are not part of what is kept with the state.
    pub members_forgotten: bool,
    /// A barrier does not wait until what it is to see is applied.
    pub barrier_not_awaited: bool,
    /// Barriers asked for while a round runs are answered by it.
    pub barrier_joins_round: bool,
    /// The note of how far the log is decided names one entry too many.
    pub note_claims_next: bool,
    /// An answer is given to the oldest request to that peer, whatever it answers.
    pub answers_by_order: bool,
    /// A vote is granted whatever the candidate's log holds.
    pub vote_ignores_log: bool,
    /// A log is cut off behind a hole, and the disk is not told that it was.
    pub hole_untold: bool,
    /// The vote is written, and not read at boot.
    pub vote_not_read: bool,
}

/// Whether a planted bug is on; never, without the feature.
macro_rules! bug {
    ($config:expr, $name:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let on = $config.bugs.$name;
        #[cfg(not(feature = "planted-bugs"))]
        let on = false;
        on
    }};
}
pub(crate) use bug;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_takes_both_sets_of_timings() {
        for config in [GroupConfig::wan(NodeId(1)), GroupConfig::lan(NodeId(1))] {
            config.openraft().unwrap();
        }
    }
}
