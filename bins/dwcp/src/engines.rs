//! Figures of what orders a keyspace's commands, engine by engine.
//!
//! `dwcp_consensus_engine_count` is 1 for the engine that runs and 0 for the others; `dwcp_consensus_taken_count` says how often its hard paths
//! were taken (takeovers, recoveries, views left, …: `dwcp_consensus::step::Protocol::tally`) in this life of the node, and begins anew with
//! each epoch. Of openraft nothing is told there: its elections are `dwcp_raft_leader_changes_total`.

use crate::admin::Seen;
use dwcp_consensus::Role;
use dwcp_env::GroupId;
use dwcp_node::{EngineKind, GroupStatus};
use dwcp_runtime_real::Registry;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The engines there are.
const ENGINES: [EngineKind; 4] = [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos, EngineKind::Pbft];

const EPOCH: (&str, &str) =
    ("dwcp_consensus_epoch_count", "The epoch of a keyspace: how often it was sealed.");
const ENGINE: (&str, &str) =
    ("dwcp_consensus_engine_count", "1 for the engine of the epoch, 0 for the others.");
const SILENT: (&str, &str) = (
    "dwcp_consensus_silent_count",
    "1 if the node takes no part in the epoch, as its disk lost what it had promised there.",
);
const TAKEN: (&str, &str) = (
    "dwcp_consensus_taken_count",
    "Hard paths of the engine that were taken in this life of the node, in this epoch.",
);

/// Registers what is known from the start.
pub(crate) fn register(registry: &Registry, keyspace: &str, group: GroupId, seen: &Seen) {
    let gauge = |(name, help): (&str, &str), labels: &[(&str, &str)], of: fn(&GroupStatus) -> u64| {
        let seen = seen.clone();
        registry.gauge(name, help, labels, move || seen.value(group, of));
    };
    gauge(EPOCH, &[("keyspace", keyspace)], |s| u64::from(s.epoch));
    gauge(SILENT, &[("keyspace", keyspace)], |s| u64::from(s.silent));
    for engine in ENGINES {
        let seen = seen.clone();
        registry.gauge(ENGINE.0, ENGINE.1, &[("keyspace", keyspace), ("engine", engine.name())], move || {
            // What is another region's is told by its nodes.
            seen.value(group, |s| u64::from(s.engine == engine && s.role != Role::Outside))
        });
    }
}

/// Hard paths that have a figure.
pub(crate) struct Taken {
    registry: Arc<Registry>,
    seen: Seen,
    known: BTreeSet<(GroupId, EngineKind)>,
}

impl Taken {
    pub(crate) const fn new(registry: Arc<Registry>, seen: Seen) -> Self {
        Self { registry, seen, known: BTreeSet::new() }
    }
    /// Gives the paths of an engine that runs here for the first time a figure each.
    pub(crate) fn look(&mut self, status: &GroupStatus) {
        let (group, engine) = (status.group, status.engine);
        if status.taken.is_empty() || !self.known.insert((group, engine)) {
            return;
        }
        for name in status.taken.keys() {
            let (seen, of) = (self.seen.clone(), name.clone());
            let labels = [("keyspace", &*status.keyspace), ("engine", engine.name()), ("path", name)];
            self.registry.gauge(TAKEN.0, TAKEN.1, &labels, move || {
                let taken = |s: &GroupStatus| s.taken.get(&of).copied().filter(|_| s.engine == engine);
                seen.value(group, |s| taken(s).unwrap_or(0))
            });
        }
    }
}
