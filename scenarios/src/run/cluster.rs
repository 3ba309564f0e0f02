//! The nodes of a run: how one is booted in the simulated world, and what is seen of it.

use super::door::{EVENTUAL, GROUP, HYBRID};
use crate::expand::RunPlan;
use crate::file::{Hybrid, Transport};
use crate::invariant::Look;
use dwcp_consensus::hybrid::Bound;
use dwcp_consensus::pbft::keys;
use dwcp_consensus::{Member, Members};
use dwcp_env::{ByteCount, ClusterId, Duration, Instant, NodeId, Purpose, RegionId, Seed, World};
use dwcp_eventual::{EventualSpec, Patience};
use dwcp_node::{
    Distrust, EngineKind, GroupSpec, HybridSpec, Node, NodeConfig, OutsideSpec, Secret, interval,
};
use dwcp_raft::GroupConfig;
use dwcp_runtime_sim::plan::Latency;
use dwcp_wal::WalConfig;
use dwcp_workload::Use;
use std::collections::{BTreeMap, BTreeSet};

/// The cluster of every run.
const CLUSTER: ClusterId = ClusterId(0xd3c9);

/// What every node of a run is told at boot.
#[derive(Clone, Debug)]
pub struct Cluster {
    members: Members,
    config: NodeConfig,
    engine: EngineKind,
    distrust: Option<Distrust>,
}

const KEYS: Purpose = Purpose::named("scenarios.consensus_keys");

/// The operator of every run: no node has this secret.
pub const OPERATOR: [u8; 32] = [0x0b; 32];

/// A node's consensus key: the same in all its lives.
fn secret(node: NodeId) -> [u8; 32] {
    let mut secret = [0; 32];
    for (nth, eight) in secret.chunks_exact_mut(8).enumerate() {
        let drawn = Seed(CLUSTER.0 as u64).draw(KEYS, node.0, Instant::ZERO, nth as u64);
        eight.copy_from_slice(&drawn.to_le_bytes());
    }
    secret
}

/// What a first epoch is begun with whose members may lie.
fn distrust(members: &Members, checkpoint_after: u64) -> Distrust {
    let public = |n: &NodeId| (*n, keys::public(&secret(*n)));
    Distrust {
        operator: keys::public(&OPERATOR),
        public: members.voters.iter().map(public).collect(),
        interval: interval(checkpoint_after),
    }
}

impl Cluster {
    /// The cluster of a plan.
    #[must_use]
    pub fn new(plan: &RunPlan) -> Self {
        let members = members(plan);
        let any = NodeId(0);
        let mut engine = if near(plan) { GroupConfig::lan(any) } else { GroupConfig::wan(any) };
        if let Some(heartbeat) = plan.node.heartbeat {
            engine.heartbeat = heartbeat;
        }
        if let Some(election) = plan.node.election {
            engine.election_min = election;
            engine.election_max = election * 2;
        }
        if let Some(entries) = plan.node.checkpoint_after {
            engine.snapshot_entries = entries;
            // A peer that was away for two snapshots is sent one.
            engine.keep_entries = entries / 2;
            engine.lag_entries = entries;
        }
        let segment = plan.node.wal_segment.unwrap_or(ByteCount::kib(256));
        let wal = WalConfig { segment, cluster: CLUSTER, ..WalConfig::default() };
        let config = NodeConfig {
            cluster: CLUSTER,
            node: any,
            groups: Vec::new(),
            secret: None,
            policy: plan.node.adapt.then(|| plan.node.policy.clone().unwrap_or_default()),
            hybrid: plan.node.hybrid.iter().map(|h| hybrid(plan, h)).collect(),
            outside: Vec::new(),
            regions: plan.node.region.iter().map(|region| (GROUP, region.clone())).collect(),
            eventual: if has_eventual(plan) { vec![eventual(plan)] } else { Vec::new() },
            engine,
            wal,
            store_cache: ByteCount::mib(1),
            #[cfg(feature = "planted-bugs")]
            bugs: dwcp_node::NodeBugs::default(),
        };
        let distrust = (plan.node.engine == EngineKind::Pbft)
            .then(|| distrust(&members, config.engine.snapshot_entries));
        let mut cluster = Self { members, config, engine: plan.node.engine, distrust };
        crate::mutants::plant(plan.bug.as_deref(), &mut cluster.config);
        cluster
    }
    /// Boots one of its nodes.
    ///
    /// # Errors
    /// Why it does not start, as an operator would read it.
    pub fn boot(&self, id: NodeId, world: &World) -> Result<Node, String> {
        let initial = self.members.voters.contains(&id).then(|| self.members.clone());
        let known = self.members.nodes.keys().copied().collect();
        let (engine, distrust) = (self.engine, self.distrust.clone());
        let group = GroupSpec { id: GROUP, keyspace: "main".to_owned(), engine, distrust, initial, known };
        let secret = Some(Secret(secret(id)));
        let region = self.config.regions.get(&GROUP).filter(|_| !self.members.nodes.contains_key(&id));
        let outside: Vec<OutsideSpec> = region.map(|r| self.outside(r)).into_iter().collect();
        let mut groups = if outside.is_empty() { vec![group] } else { Vec::new() };
        groups.extend(self.config.hybrid.first().map(|h| self.home_of(h, id)));
        let mut config = NodeConfig { node: id, groups, outside, secret, ..self.config.clone() };
        for spec in &mut config.hybrid {
            spec.region = self.members.nodes.get(&id).map_or(RegionId(0), |m| m.region);
        }
        for spec in &mut config.eventual {
            spec.region = self.members.nodes.get(&id).map_or(RegionId(0), |m| m.region);
        }
        Node::boot(config, world).map_err(|e| e.to_string())
    }
    /// The strong keyspace on a node of another region than the one that forms it.
    fn outside(&self, region: &str) -> OutsideSpec {
        let known = self.members.voters.clone();
        OutsideSpec { id: GROUP, keyspace: "main".to_owned(), region: region.to_owned(), known }
    }
    /// The hybrid keyspace's group on a node: the home's nodes form it.
    fn home_of(&self, spec: &HybridSpec, id: NodeId) -> GroupSpec {
        let all = self.members.nodes.iter();
        let nodes: BTreeMap<NodeId, Member> =
            all.filter(|(_, m)| m.region == spec.home).map(|(n, m)| (*n, m.clone())).collect();
        let voters: BTreeSet<NodeId> = nodes.keys().copied().collect();
        let initial = voters.contains(&id).then(|| Members { voters, outgoing: BTreeSet::new(), nodes });
        let known = self.members.nodes.keys().copied().collect();
        let (keyspace, engine) = ("hybrid".to_owned(), self.engine);
        GroupSpec { id: HYBRID, keyspace, engine, distrust: None, initial, known }
    }
    /// What the group is to know of a node that joins.
    #[must_use]
    pub fn member(plan: &RunPlan, id: NodeId) -> Member {
        let region = plan.world.nodes.iter().find(|n| n.id == id).map_or("", |n| n.region.as_str());
        Member { region: region_of(plan, region), name: id.to_string(), ..Member::default() }
    }
}

fn region_of(plan: &RunPlan, region: &str) -> RegionId {
    let names: BTreeSet<&str> = plan.world.nodes.iter().map(|n| n.region.as_str()).collect();
    RegionId(names.into_iter().position(|n| n == region).unwrap_or(0) as u16)
}

fn hybrid(plan: &RunPlan, h: &Hybrid) -> HybridSpec {
    let names: BTreeSet<&str> = plan.world.nodes.iter().map(|n| n.region.as_str()).collect();
    HybridSpec {
        group: HYBRID,
        strong: "main".to_owned(),
        home: region_of(plan, &h.home),
        region: RegionId(0),
        names: names.into_iter().map(str::to_owned).collect(),
        bound: Bound { entries: h.entries, time: h.time, copies: h.copies, ..Bound::default() },
        fence: h.fence,
    }
}

fn members(plan: &RunPlan) -> Members {
    let nodes: BTreeMap<NodeId, Member> =
        plan.members.iter().map(|n| (*n, Cluster::member(plan, *n))).collect();
    Members { voters: nodes.keys().copied().collect(), outgoing: BTreeSet::new(), nodes }
}

/// Whether all nodes stand in one region, so that the short timings fit.
fn near(plan: &RunPlan) -> bool {
    let one_region = plan.world.nodes.windows(2).all(|w| w[0].region == w[1].region);
    match &plan.world.latency {
        Latency::Measured(_) => one_region,
        Latency::Uniform { max, .. } => max.as_millis() < 20,
    }
}

/// Whether a run has an eventual keyspace: one without pays nothing for it.
#[must_use]
pub fn has_eventual(plan: &RunPlan) -> bool {
    plan.loads.iter().any(|l| l.kind.is_eventual())
}

/// The eventual keyspace of a run. Its times are short, so that a run sees lagging, eviction and checkpoints.
fn eventual(plan: &RunPlan) -> EventualSpec {
    let mut spec = EventualSpec::new(EVENTUAL, "eventual", "main", RegionId(0));
    spec.patience = Patience { lagging: Duration::secs(20), evict: Duration::secs(15) };
    spec.checkpoint_every = ByteCount(plan.node.checkpoint_after.unwrap_or(1_000) * 128);
    spec.sync = plan.node.sync;
    spec.unstable_max = plan.node.unstable_max.unwrap_or(spec.unstable_max);
    spec.gossip.streams = plan.node.transport == Transport::Quic;
    spec.documents = plan.loads.iter().any(|l| matches!(l.kind, Use::Documents | Use::Checkpoints));
    spec
}

/// What is seen of a node.
#[must_use]
pub fn look(node: &Node, life: u32) -> Look {
    let seen = node.look(GROUP);
    Look {
        node: node.id(),
        life,
        role: seen.role,
        term: seen.term,
        epoch: seen.epoch,
        engine: seen.engine,
        last: seen.last_index,
        // After a restart the engine first learns again what is committed; what is applied was.
        committed: seen.committed_index.max(seen.applied.map_or(0, |p| p.index)),
        applied: seen.applied,
        revision: seen.revision,
        repairing: seen.repairing,
    }
}
