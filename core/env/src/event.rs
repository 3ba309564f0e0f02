//! Every event of the system, declared once.
//!
//! Logs, metrics, traces, golden tests and pictures all read this declaration: an event has a
//! name, a level, the metric it feeds (if any) with its help text, and typed fields. What is
//! not here can't be logged or counted by `core/`; `tidy` checks that the metrics page lists
//! exactly these.

use crate::id::{GroupId, NodeId};
use crate::time::Duration;
use alloc::string::String;
use core::fmt;

/// How loud an event is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// For whoever follows one node closely.
    Debug,
    /// A change of state an operator may want to know.
    Info,
    /// Something is wrong and is being handled.
    Warn,
    /// Someone has to act.
    Error,
}

/// What an event does to a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// None.
    None,
    /// Adds one to a counter of this name.
    Count(&'static str, &'static str),
}

macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $name:ident $text:literal $level:ident $metric:expr, {
            $($(#[$fdoc:meta])* $field:ident: $ty:ty,)*
        }
    )*) => {
        /// Something that happened in a node.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum Event {
            $($(#[$doc])* $name { $($(#[$fdoc])* $field: $ty,)* },)*
        }

        impl Event {
            /// The event's name in logs, traces and scenarios.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => $text,)* }
            }
            /// How loud it is.
            #[must_use]
            pub const fn level(&self) -> Level {
                match self { $(Self::$name { .. } => Level::$level,)* }
            }
            /// The metric it feeds.
            #[must_use]
            pub const fn metric(&self) -> Metric {
                match self { $(Self::$name { .. } => $metric,)* }
            }
        }

        impl fmt::Display for Event {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name { $($field,)* } => {
                        f.write_str($text)?;
                        $(write!(f, concat!(" ", stringify!($field), "={}"), $field)?;)*
                        Ok(())
                    })*
                }
            }
        }

        /// Every event: name, level, metric.
        pub const CATALOGUE: &[(&str, Level, Metric)] = &[$(($text, Level::$level, $metric),)*];
    };
}

events! {
    /// A node has recovered and serves.
    NodeStarted "node.started" Info Metric::Count("dwcp_node_starts_total", "Times this node has started."), {
        /// Log records read back.
        records: u64,
        /// How long recovery took on the node's clock.
        took: Duration,
    }
    /// A node ends itself.
    NodeStopped "node.stopped" Warn Metric::None, {
        /// Why, and what to do.
        why: String,
    }
    /// Another region owns a hybrid keyspace.
    HybridMoved "hybrid.moved" Warn Metric::Count("dwcp_hybrid_moves_total", "Changes of a hybrid keyspace's home seen."), {
        /// Which keyspace's group.
        group: GroupId,
        /// Its era.
        era: u64,
        /// The region.
        region: String,
    }
    /// A home has fewer regions within the bound than it needs, or enough again.
    HybridBound "hybrid.bound" Warn Metric::Count("dwcp_hybrid_bound_total", "Times a home came to its bound, or back within it."), {
        /// Which keyspace's group.
        group: GroupId,
        /// Whether enough are within.
        within: bool,
        /// Entries that the region furthest behind lacks.
        entries: u64,
    }
    /// A home that was deposed has kept aside what nobody took over.
    HybridAside "hybrid.aside" Warn Metric::Count("dwcp_hybrid_aside_total", "Tails kept aside by deposed homes."), {
        /// Which keyspace's group.
        group: GroupId,
        /// The era that ended.
        era: u64,
        /// Changes of keys.
        changes: u64,
    }
    /// A group has a leader, as this node sees it.
    LeaderChanged "raft.leader_changed" Info Metric::Count("dwcp_raft_leader_changes_total", "Leader changes seen, over all groups."), {
        /// Which group.
        group: GroupId,
        /// Its term.
        term: u64,
        /// The leader.
        leader: NodeId,
    }
    /// A group's leader is lost to this node.
    LeaderLost "raft.leader_lost" Warn Metric::Count("dwcp_raft_leader_losses_total", "Times a group's leader was lost to this node."), {
        /// Which group.
        group: GroupId,
        /// The last term seen.
        term: u64,
    }
    /// A group has begun an epoch under an engine, as this node sees it.
    EpochBegun "chain.epoch_begun" Info Metric::Count("dwcp_consensus_epochs_total", "Epochs begun, over all groups."), {
        /// Which group.
        group: GroupId,
        /// Its number.
        epoch: u64,
        /// Its engine.
        engine: String,
    }
    /// A group's first epoch was not under the engine that this node's configuration begins with: the group goes on as it is,
    /// and configurations of its nodes may differ.
    EngineDiffers "chain.engine_differs" Warn Metric::None, {
        /// Which group.
        group: GroupId,
        /// What the configuration says.
        configured: String,
    }
    /// The voters of a group have changed.
    MembersChanged "raft.members_changed" Info Metric::Count("dwcp_raft_membership_changes_total", "Membership changes applied."), {
        /// Which group.
        group: GroupId,
        /// Voters now, as text.
        voters: String,
    }
    /// A snapshot has been taken.
    SnapshotTaken "snapshot.taken" Info Metric::Count("dwcp_snapshots_taken_total", "Snapshots taken."), {
        /// Which group.
        group: GroupId,
        /// Last log index in it.
        index: u64,
    }
    /// A snapshot from a peer has been installed.
    SnapshotInstalled "snapshot.installed" Info Metric::Count("dwcp_snapshots_installed_total", "Snapshots installed from a peer."), {
        /// Which group.
        group: GroupId,
        /// Last log index in it.
        index: u64,
    }
    /// State has been written to the store's file; the log before it may go.
    CheckpointWritten "store.checkpoint" Debug Metric::Count("dwcp_checkpoints_total", "Checkpoints of state written."), {
        /// Which group.
        group: GroupId,
        /// Last log index in it.
        index: u64,
    }
    /// An eventual keyspace's state could not be written to its file; the old one counts, and it is tried again.
    CheckpointFailed "eventual.checkpoint_failed" Warn Metric::Count("dwcp_eventual_checkpoint_failures_total", "Checkpoints of eventual keyspaces that failed and are tried again."), {
        /// Which group.
        group: GroupId,
        /// Why.
        why: String,
    }
    /// A node has taken a place in an eventual keyspace's roster.
    PlaceTaken "eventual.place_taken" Info Metric::Count("dwcp_eventual_places_taken_total", "Places taken in rosters of eventual keyspaces: one for each life of a disk."), {
        /// Which group.
        group: GroupId,
        /// The place.
        replica: u16,
        /// Which of the node's lives.
        incarnation: u64,
    }
    /// An eventual keyspace's state was taken from a peer.
    StateFetched "eventual.state_fetched" Info Metric::Count("dwcp_eventual_states_fetched_total", "States of eventual keyspaces taken from a peer."), {
        /// Which group.
        group: GroupId,
        /// From whom.
        from: NodeId,
        /// Its bytes.
        bytes: u64,
    }
    /// The log's unfinished last write was cut off at recovery.
    WalTailCut "wal.tail_cut" Info Metric::Count("dwcp_wal_tail_cuts_total", "Unfinished tails cut off the log at recovery."), {
        /// Bytes that did not check.
        bytes: u64,
    }
    /// Durable bytes have failed their checksum.
    CorruptionFound "disk.corruption_found" Error Metric::Count("dwcp_corruptions_found_total", "Durable records or pages that failed their checksum."), {
        /// In which file.
        file: String,
        /// Where, in bytes.
        offset: u64,
    }
    /// What was corrupt has been restored from a peer.
    Repaired "disk.repaired" Warn Metric::Count("dwcp_repairs_total", "Corrupt records or states restored from peers."), {
        /// What.
        what: String,
        /// From whom.
        from: NodeId,
    }
    /// The disk has failed an operation.
    DiskFailed "disk.failed" Error Metric::Count("dwcp_disk_failures_total", "Disk operations that failed."), {
        /// What failed.
        why: String,
    }
    /// A peer has sent something wrong.
    PeerFaulted "peer.fault" Warn Metric::Count("dwcp_peer_faults_total", "Messages from peers that failed a check."), {
        /// Who.
        from: NodeId,
        /// What was wrong.
        why: String,
    }
    /// A client's session has been expired by log time or by the bound.
    SessionExpired "session.expired" Debug Metric::Count("dwcp_sessions_expired_total", "Client sessions expired."), {
        /// Which group.
        group: GroupId,
        /// The session.
        session: u64,
    }
    /// A retried command was answered from its session instead of being applied again.
    RetryAnswered "session.retry_answered" Debug Metric::Count("dwcp_session_retries_total", "Retried commands answered without applying them again."), {
        /// Which group.
        group: GroupId,
        /// The session.
        session: u64,
    }
    /// A lease has run out and its keys go.
    LeaseExpired "lease.expired" Info Metric::Count("dwcp_leases_expired_total", "Leases expired."), {
        /// Which group.
        group: GroupId,
        /// The lease.
        lease: i64,
    }
    /// A request was refused because the node has too much to do.
    Overloaded "node.overloaded" Warn Metric::Count("dwcp_overloaded_total", "Requests refused because too many were in flight."), {
        /// How many were in flight.
        in_flight: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use std::string::ToString;

    #[test]
    fn names_and_metrics_are_unique() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|c| c.0).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        let mut metrics = BTreeSet::new();
        for (event, _, metric) in CATALOGUE {
            if let Metric::Count(name, help) = metric {
                assert!(metrics.insert(name), "{event}: metric {name} is fed twice");
                assert!(name.starts_with("dwcp_") && name.ends_with("_total") && help.ends_with('.'));
            }
        }
    }

    #[test]
    fn an_event_prints_its_fields() {
        let e = Event::LeaderChanged { group: GroupId(0), term: 3, leader: NodeId(2) };
        assert_eq!(e.to_string(), "raft.leader_changed group=g0 term=3 leader=n2");
    }
}
