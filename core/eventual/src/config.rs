//! What a replica is told at boot.

use crate::roster::Patience;
use dwcp_env::{ByteCount, GroupId, RegionId};

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
        }
    }
}
