//! Nodes that host a chain of epochs, in the world that openraft's own tests tell their stories in.

#![allow(dead_code)]

#[path = "../../../raft/tests/raft/harness/disk.rs"]
pub(crate) mod disk;
#[path = "../../../raft/tests/raft/harness/ledger.rs"]
pub(crate) mod ledger;
#[path = "../../../raft/tests/raft/harness/world.rs"]
pub(crate) mod world;

use bytes::Bytes;
use dwcp_chain::{ChainConfig, ChainHost, EngineKind, Found, Secret, Spec, Switch, end_unknown_slots};
use dwcp_consensus::{EngineError, EngineOutput, MemberChange, Members, Role, Token};
use dwcp_env::{Duration, GroupId, Instant, JobId, JobResult, Lane, NodeId, Now};
use dwcp_raft::GroupConfig;
use ledger::Ledger;
use std::collections::BTreeMap;
use std::sync::Arc;
pub(crate) use world::{Answered, G, members, n};
use world::{Host, Machine, Opening};

pub(crate) type World = world::World<ChainHost<Ledger>>;

impl Host for ChainHost<Ledger> {
    type Config = ChainConfig;

    fn open(from: Opening, groups: &BTreeMap<GroupId, ChainConfig>) -> (Self, BTreeMap<GroupId, Machine>) {
        let Opening { now, pick, seed, wal, probe, disk, mut recovered } = from;
        let mut host = Self::new(pick, seed, wal.clone(), probe);
        host.reserve(&recovered);
        let mut machines = BTreeMap::new();
        for (group, config) in groups {
            let machine = Arc::new(spin::Mutex::new(Ledger::open(disk.clone(), *group)));
            let found = Found::take(&mut recovered, *group, true);
            host.add_group(now, *group, config.clone(), machine.clone(), found).unwrap();
            machines.insert(*group, machine);
        }
        end_unknown_slots(&recovered, &wal);
        (host, machines)
    }
    fn run(&mut self, now: Now, out: &mut Vec<(GroupId, EngineOutput<u64>)>) -> Option<Instant> {
        self.run(now, out)
    }
    fn message(&mut self, now: Now, group: GroupId, from: NodeId, lane: Lane, body: &Bytes) {
        self.message(now, group, from, lane, body);
    }
    fn job_done(&mut self, now: Now, job: JobId, result: JobResult) {
        self.job_done(now, job, result);
    }
    fn leads(&self, group: GroupId) -> Option<u64> {
        Some(self.brief(group)).filter(|b| b.role == Role::Leader).map(|b| b.term)
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
    fn transfer_leader(&mut self, now: Now, group: GroupId, token: Token, to: NodeId) -> bool {
        self.transfer_leader(now, group, token, to)
    }
    fn snapshot(&mut self, group: GroupId, token: Token) -> bool {
        self.snapshot(group, token)
    }
}

pub(crate) fn genesis(engine: EngineKind, ids: &[u64]) -> Spec {
    let nodes = members(ids);
    let voters = nodes.keys().copied().collect();
    let members = Members { voters, nodes, ..Members::default() };
    Spec { engine, members, ..Spec::default() }
}

pub(crate) fn config(id: u64, genesis: Option<Spec>) -> ChainConfig {
    ChainConfig {
        raft: GroupConfig::lan(n(id)),
        genesis,
        known: Vec::new(),
        secret: Some(Secret([id as u8; 32])),
        policy: None,
        #[cfg(feature = "planted-bugs")]
        bugs: dwcp_chain::ChainBugs::default(),
    }
}

impl World {
    /// A cluster of voters `1..=count` in one group, whose first epoch is run by `engine`.
    pub(crate) fn cluster(seed: u64, count: u64, engine: EngineKind) -> Self {
        let mut world = Self::new(seed);
        let ids: Vec<u64> = (1..=count).collect();
        for id in &ids {
            world.add(n(*id), BTreeMap::from([(G, config(*id, Some(genesis(engine, &ids))))]));
        }
        world
    }

    pub(crate) fn switch(&mut self, id: NodeId, engine: EngineKind) -> Token {
        self.ask(id, |h, t| h.switch(G, t, None, Switch { engine, ..Switch::default() }))
    }

    /// Switches, asking whoever leads until it is decided, and waits until all that are up are in the new epoch.
    pub(crate) fn switched(&mut self, engine: EngineKind) {
        self.switched_but(engine, n(0));
    }
    /// As that, without waiting for one of them.
    pub(crate) fn switched_but(&mut self, engine: EngineKind, late: NodeId) {
        for _ in 0..20 {
            let leader = self.elect();
            let after = self.epoch(leader);
            let token = self.switch(leader, engine);
            if self.answer(token) == Answered::Done(Ok(())) {
                let come = |w: &Self| w.up().into_iter().all(|id| id == late || w.epoch(id) > after);
                self.until(Duration::secs(20), come).expect("all come to the epoch");
                return;
            }
            self.run(Duration::millis(200));
        }
        panic!("the switch to {engine} is never decided");
    }

    /// Waits until commands have somebody to go to.
    pub(crate) fn elect_any(&mut self) {
        let served =
            |w: &Self| w.up().iter().any(|id| w.life(*id).is_some_and(|l| l.host.brief(G).leader.is_some()));
        self.until(Duration::secs(20), served).expect("somebody serves");
    }
    pub(crate) fn leads(&self, id: NodeId) -> bool {
        self.life(id).is_some_and(|l| l.host.leads(G).is_some())
    }
    /// Proposes at a node, or where that one sends it, until it is decided.
    pub(crate) fn write_at(&mut self, id: NodeId, command: &'static str) {
        for _ in 0..50 {
            let leader = self.life(id).and_then(|l| l.host.brief(G).leader);
            let at = leader.filter(|l| self.is_up(*l)).unwrap_or(id);
            let token = self.propose(at, G, command);
            if let Answered::Proposed(Ok(_)) = self.answer(token) {
                return;
            }
            self.run(Duration::millis(200));
        }
        panic!("{command} is never decided");
    }

    /// Waits until all that are up hold the same commands (each keeps its own protocol's mark beside them), and returns them.
    pub(crate) fn agreed(&mut self) -> Vec<Bytes> {
        let same = |w: &Self| {
            let held: Vec<_> = w.up().into_iter().map(|id| w.commands(id, G)).collect();
            held.windows(2).all(|p| p[0] == p[1])
        };
        self.until(Duration::secs(60), same).expect("agreement");
        self.commands(self.up()[0], G)
    }

    pub(crate) fn up(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().filter(|id| self.is_up(*id)).collect()
    }

    pub(crate) fn epoch(&self, id: NodeId) -> u32 {
        self.life(id).map_or(0, |l| l.host.brief(G).epoch)
    }

    pub(crate) fn fatal(&self, id: NodeId) -> Option<String> {
        self.life(id).and_then(|l| l.host.fatal(G))
    }
}

pub(crate) fn unknown() -> Answered {
    Answered::Proposed(Err(EngineError::Unknown))
}

/// The epoch of an engine's message; `None`: it is the chain's own.
pub(crate) fn engine_of(body: &Bytes) -> Option<u32> {
    let epoch = body.get(1..5)?.try_into().ok().map(u32::from_le_bytes)?;
    (body[0] == 0).then_some(epoch)
}
