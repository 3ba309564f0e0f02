//! What a replica is told at boot.

use crate::roster::Patience;
use dwcp_env::{ByteCount, Duration, GroupId, RegionId};
use serde::{Deserialize, Serialize};

/// What an answer to a write waits for. Named as Redis names it (`appendfsync`).
///
/// Either way nothing leaves for a peer before it is on the disk, so neither setting lets a dot name two operations
/// (`crate::replica`, "answers before the disk").
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// For its own operations to be on the disk: what was answered survives any crash.
    #[default]
    Always,
    /// For nothing, while the disk keeps up: a crash takes with it what was answered and is not on the disk yet, some
    /// [`GATHER`](crate::durable::GATHER) usually, a second's answers at most.
    #[serde(rename = "everysec")]
    EverySecond,
}

impl SyncPolicy {
    /// How much of the time before a crash its answers are worth.
    pub const LOST_MAX: Duration = crate::durable::OWED_MAX;
    /// Both.
    pub const ALL: [Self; 2] = [Self::Always, Self::EverySecond];

    /// From its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
    /// Its name in settings, and as Redis' clients are told it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

/// An eventual keyspace to take part in. *Cluster-wide*: `group`, `keyspace`, `secret`. The rest is per process.
#[derive(Clone, Debug)]
pub struct EventualSpec {
    /// Its number, the same on all nodes and no strong group's.
    pub group: GroupId,
    /// Its name.
    pub keyspace: String,
    /// The strong keyspace that holds its roster, and that refusals name.
    pub strong: String,
    /// Where this node is.
    pub region: RegionId,
    /// The cluster's secret: keys the fingerprints, so that clients can't aim for collisions.
    pub secret: [u8; 32],
    /// Periods and fan-outs of gossip.
    pub gossip: dwcp_gossip::Settings,
    /// How long a silent member is waited for.
    pub patience: Patience,
    /// Bytes appended to the log after which the state is written to its file.
    pub checkpoint_every: ByteCount,
    /// Bytes of operations that may wait for members that have not acknowledged them; beyond, writes are refused.
    pub unstable_max: ByteCount,
    /// Bytes a second with which one peer is repaired.
    pub repair_rate: ByteCount,
    /// What an answer to a write waits for.
    pub sync: SyncPolicy,
    /// Whether it holds documents ([`crate::documents`]) and no keys. Cluster-wide.
    pub documents: bool,
    /// How long records of its conflicts are kept, and what did not prevail. Each node keeps to its own.
    pub retention: dwcp_conflict::audit::Retention,
    /// A known bug: operations that peers send because they are missing here are thrown away.
    #[cfg(feature = "planted-bugs")]
    pub drops_repairs: bool,
    /// A known bug: resolutions of documents are written without their records.
    #[cfg(feature = "planted-bugs")]
    pub unrecorded: bool,
    /// A known bug: of what stands beside each other a node shows what it wrote itself.
    #[cfg(feature = "planted-bugs")]
    pub own_view: bool,
    /// A known bug: what a rollback overwrites is not recorded.
    #[cfg(feature = "planted-bugs")]
    pub unrecorded_rollback: bool,
    /// A known bug: a rollback says after half of the documents that it is done.
    #[cfg(feature = "planted-bugs")]
    pub half_rollback: bool,
}

impl EventualSpec {
    /// Defaults, with these names.
    #[must_use]
    pub fn new(group: GroupId, keyspace: &str, strong: &str, region: RegionId) -> Self {
        Self {
            group,
            keyspace: keyspace.into(),
            strong: strong.into(),
            region,
            secret: [0; 32],
            gossip: dwcp_gossip::Settings::default(),
            patience: Patience::default(),
            checkpoint_every: ByteCount::mib(64),
            unstable_max: ByteCount::mib(512),
            repair_rate: ByteCount::mib(16),
            sync: SyncPolicy::Always,
            documents: false,
            retention: dwcp_conflict::audit::Retention::default(),
            #[cfg(feature = "planted-bugs")]
            drops_repairs: false,
            #[cfg(feature = "planted-bugs")]
            unrecorded: false,
            #[cfg(feature = "planted-bugs")]
            own_view: false,
            #[cfg(feature = "planted-bugs")]
            unrecorded_rollback: false,
            #[cfg(feature = "planted-bugs")]
            half_rollback: false,
        }
    }

    /// What its space is told.
    pub(crate) fn space_config(&self) -> dwcp_crdt::space::Config {
        // What this node alone has, when it is the only active one, must leave room for what others have not acknowledged.
        let alone_max = usize::try_from(self.unstable_max.0 / 2).unwrap_or(usize::MAX);
        dwcp_crdt::space::Config { alone_max, ..dwcp_crdt::space::Config::new(self.secret) }
    }
}
