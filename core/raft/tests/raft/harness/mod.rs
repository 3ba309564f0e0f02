//! Nodes that host openraft.

#![allow(dead_code)]

pub(crate) mod disk;
pub(crate) mod ledger;
pub(crate) mod world;

use bytes::Bytes;
use dwcp_consensus::{EngineOutput, MemberChange, Token};
use dwcp_env::{GroupId, Instant, JobId, JobResult, Lane, NodeId, Now};
use dwcp_raft::{GroupConfig, RaftHost};
use ledger::Ledger;
use std::collections::BTreeMap;
use std::sync::Arc;
pub(crate) use world::{Answered, G, members, n};
use world::{Host, Machine, Opening};

pub(crate) type World = world::World<RaftHost<Ledger>>;

impl Host for RaftHost<Ledger> {
    type Config = GroupConfig;

    fn open(from: Opening, groups: &BTreeMap<GroupId, GroupConfig>) -> (Self, BTreeMap<GroupId, Machine>) {
        let Opening { now, pick, seed, wal, probe, disk, mut recovered } = from;
        let mut host = Self::new(pick, seed, wal, probe);
        let mut machines = BTreeMap::new();
        for (group, config) in groups {
            let machine = Arc::new(spin::Mutex::new(Ledger::open(disk.clone(), *group)));
            let found = recovered.groups.remove(group).unwrap_or_default();
            host.add_group(now, *group, config.clone(), machine.clone(), found).unwrap();
            machines.insert(*group, machine);
        }
        (host, machines)
    }
    fn run(&mut self, now: Now, out: &mut Vec<(GroupId, EngineOutput<u64>)>) -> Option<Instant> {
        self.run(now, out)
    }
    fn message(&mut self, _: Now, group: GroupId, from: NodeId, lane: Lane, body: &Bytes) {
        self.message(group, from, lane, body);
    }
    fn job_done(&mut self, _: Now, job: JobId, result: JobResult) {
        self.job_done(job, result);
    }
    fn leads(&self, group: GroupId) -> Option<u64> {
        self.group(group).filter(|g| g.is_leader()).map(|g| g.brief().term)
    }
    fn propose(&mut self, group: GroupId, token: Token, command: &Bytes) -> bool {
        self.propose(group, token, command)
    }
    fn barrier(&mut self, group: GroupId, token: Token) -> bool {
        self.barrier(group, token)
    }
    fn change_members(&mut self, group: GroupId, token: Token, change: MemberChange) -> bool {
        self.change_members(group, token, change)
    }
    fn transfer_leader(&mut self, _: Now, group: GroupId, token: Token, to: NodeId) -> bool {
        self.transfer_leader(group, token, to)
    }
    fn snapshot(&mut self, group: GroupId, token: Token) -> bool {
        self.snapshot(group, token)
    }
}

impl World {
    /// A cluster of voters `1..=count` in one group, without a leader yet.
    pub(crate) fn cluster(seed: u64, count: u64) -> Self {
        let mut world = Self::new(seed);
        let ids: Vec<u64> = (1..=count).collect();
        for id in &ids {
            let config = GroupConfig { initial: Some(members(&ids)), ..GroupConfig::lan(n(*id)) };
            world.add(n(*id), BTreeMap::from([(G, config)]));
        }
        world
    }

    /// Tells a node that a peer's process seems gone.
    pub(crate) fn hint(&mut self, id: NodeId, peer: NodeId) {
        self.host(id).unreachable(peer);
        self.turn(id);
    }

    /// Proposes without giving the node a turn.
    pub(crate) fn propose_quietly(&mut self, id: NodeId, group: GroupId, command: Bytes) -> Token {
        self.asked += 1;
        let token = Token(self.asked);
        self.host(id).propose(group, token, &command);
        token
    }

    pub(crate) fn polls(&self) -> u64 {
        self.nodes.keys().filter_map(|id| self.life(*id)).map(|l| l.host.polls()).sum()
    }

    pub(crate) fn seal(&mut self, id: NodeId) -> Token {
        self.ask(id, |h, t| h.seal(G, t, &Bytes::from_static(b"next")))
    }
}

/// A learner that was sent a snapshot of 40 commands, holds 42 now and has been restarted; and
/// the pieces of that snapshot.
#[allow(clippy::type_complexity)]
pub(crate) fn with_a_late_snapshot(
    seed: u64,
    change: impl Fn(&mut GroupConfig),
) -> (World, NodeId, Vec<(NodeId, NodeId, Lane, Bytes)>) {
    let mut w = World::cluster(seed, 3);
    for id in [1, 2, 3].map(n) {
        w.configure(id, |c| c.keep_entries = 0);
        w.crash(id);
        w.start(id);
    }
    w.elect();
    for _ in 0..40 {
        w.write(G, "a command of some length");
    }
    let leader = w.elect();
    let token = w.snapshot(leader);
    w.answer(token);
    let mut config = GroupConfig::lan(n(4));
    change(&mut config);
    w.add(n(4), BTreeMap::from([(G, config)]));
    let token = w.change(leader, MemberChange::AddLearner(n(4), members(&[4])[&n(4)].clone()));
    w.answer(token);
    w.write(G, "41");
    w.write(G, "42");
    assert_eq!(w.agree(G).len(), 42);
    w.crash(n(4));
    w.start(n(4));
    w.agree(G);
    let pieces = w.samples.iter().filter(|s| s.2 == Lane::Bulk).cloned().collect::<Vec<_>>();
    assert!(pieces.len() > 4, "{} pieces", pieces.len());
    (w, n(4), pieces)
}
