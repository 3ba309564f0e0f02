//! What a node is told at boot.
//!
//! Two kinds of settings. *Cluster-wide* ones (cluster, groups, timing) must agree on all nodes;
//! *per process* ones (sizes, caches) are free. None changes while the node runs.

use crate::hybrid::HybridSpec;
use crate::outside::OutsideSpec;
use dwcp_chain::{Distrust, EngineKind, Secret};
use dwcp_consensus::Members;
use dwcp_consensus::select::Policy;
use dwcp_env::{ByteCount, ClusterId, Duration, GroupId, NodeId};
use dwcp_eventual::EventualSpec;
use dwcp_raft::GroupConfig;
use dwcp_wal::WalConfig;
use std::collections::BTreeMap;

/// Everything a node is told at boot.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its own name: given once, never reused.
    pub node: NodeId,
    /// The groups it hosts.
    pub groups: Vec<GroupSpec>,
    /// This node's consensus key, kept by its world for as long as its name: without one it takes no part in epochs whose members
    /// may lie.
    pub secret: Option<Secret>,
    /// By what the strong keyspaces' engines and leaders are chosen, the same on all nodes; `None`: by operators only.
    pub policy: Option<Policy>,
    /// The eventual keyspaces it takes part in. Each names a strong one of `groups`, which holds its roster.
    pub eventual: Vec<EventualSpec>,
    /// The hybrid keyspaces among `groups`: where their home is, how far others may be behind.
    pub hybrid: Vec<HybridSpec>,
    /// The strong keyspaces that it reaches and does not host: other regions'.
    pub outside: Vec<OutsideSpec>,
    /// Which region's nodes form a group, for those that not all nodes form, hosted or not: the same on all nodes, settled at the
    /// first start.
    pub regions: BTreeMap<GroupId, String>,
    /// How the engines keep time, and when they checkpoint; timings are cluster-wide. Its members are
    /// replaced by each group's own.
    pub engine: GroupConfig,
    /// The log's settings.
    pub wal: WalConfig,
    /// Memory for pages of each store's file: 64 MiB suits a node, 1 MiB a simulation.
    pub store_cache: ByteCount,
    /// Known bugs, for the simulator's own test.
    #[cfg(feature = "planted-bugs")]
    pub bugs: NodeBugs,
}

/// A group to host.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Its number, the same on all nodes.
    pub id: GroupId,
    /// The keyspace it holds.
    pub keyspace: String,
    /// The engine of its first epoch, the same on all nodes; later ones are the group's own decision.
    pub engine: EngineKind,
    /// The keys of its first epoch, if that is one whose members may lie.
    pub distrust: Option<Distrust>,
    /// Who forms it, the same on all of them; `None` on a node that joins a formed one.
    pub initial: Option<Members>,
    /// Whom to ask for what was lost to the disk, should the members be lost with it.
    pub known: Vec<NodeId>,
}

/// Known bugs that a test of the tests puts back in.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeBugs {
    /// Linearizable reads are answered from local state without a barrier.
    pub read_without_barrier: bool,
    /// A write whose outcome is unknown is proposed again without its session.
    pub blind_retry: bool,
    /// What was asked of a silent peer is asked again, though it must not be done twice.
    pub asked_again: bool,
    /// An unknown outcome is answered as certainly not done.
    pub unknown_as_not_done: bool,
    /// Questions are numbered anew in each life: answers to the last one's questions match.
    pub tokens_restart: bool,
    /// A lease is kept alive by any node that knows it.
    pub keepalive_anywhere: bool,
    /// A node that takes itself for the leader keeps leases alive without asking its quorum.
    pub keepalive_without_barrier: bool,
    /// A lease's time goes on from where it stood when this node led last.
    pub lease_clock_kept: bool,
    /// A new leader times only the leases granted to it.
    pub lease_never_due: bool,
    /// A group whose log or state lost something starts as it is.
    pub repair_skipped: bool,
    /// An entry lost to the disk is made good by an empty one.
    pub repair_guesses: bool,
    /// A home answers without asking whether it still is one.
    pub hybrid_fence_ignored: bool,
    /// A home takes and answers writes however far the others are behind.
    pub hybrid_bound_ignored: bool,
    /// Who takes over does not wait for the old home's fence to end.
    pub hybrid_wait_skipped: bool,
    /// A copy tells as durable what it has only played.
    pub hybrid_unsynced_counts: bool,
    /// A home that returns throws away what it alone had decided, and says nothing.
    pub hybrid_tail_forgotten: bool,
    /// The chains' own.
    pub chain: dwcp_chain::ChainBugs,
    /// The stores' own.
    pub store: dwcp_store::StoreBugs,
}

/// How long a question waits before it looks again for a leader, or asks a silent one again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patience {
    pub(crate) look_again: Duration,
    pub(crate) ask_again: Duration,
}

impl NodeConfig {
    /// A node without groups, set up for regions far apart.
    #[must_use]
    pub fn new(cluster: ClusterId, node: NodeId) -> Self {
        Self {
            cluster,
            node,
            groups: Vec::new(),
            secret: None,
            policy: None,
            eventual: Vec::new(),
            hybrid: Vec::new(),
            outside: Vec::new(),
            regions: BTreeMap::new(),
            engine: GroupConfig::wan(node),
            wal: WalConfig { cluster, ..WalConfig::default() },
            store_cache: ByteCount::mib(64),
            #[cfg(feature = "planted-bugs")]
            bugs: NodeBugs::default(),
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            look_again: self.engine.heartbeat,
            ask_again: self.engine.election_max + self.engine.heartbeat * 4,
        }
    }
}
