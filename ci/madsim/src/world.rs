//! A run: three machines, their clients, and what happens to them, all drawn from one seed.

use crate::clients::Crowd;
use crate::driver::{Machinery, Plant, Seen, live};
use crate::storage::Disk;
use crate::{CLIENTS, NODES, ip};
use dwcp_consensus::Role;
use dwcp_env::Instant;
use dwcp_node::Answer;
use dwcp_workload::judge::{Broken, linearizable};
use dwcp_workload::{Log, Outcome};
use madsim::net::NetSim;
use madsim::rand::{Rng, thread_rng};
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::time::sleep;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// When clients stop beginning: some seconds after the last fault can have ended.
const STOP: Instant = Instant::from_nanos(25_000_000_000);
/// Simulated time after which a run has failed.
const LIMIT: Duration = Duration::from_secs(90);
/// Faults of one run: the first kills, the second cuts off, the others are drawn.
const FAULTS: u32 = 5;

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Operations begun.
    pub operations: usize,
    /// Of them, those acknowledged.
    pub acknowledged: usize,
    /// Leaders, or whoever stood in for one, that were killed; and that were cut off.
    pub faults: (u32, u32),
    /// The highest term.
    pub term: u64,
    /// How many entries each node's newest state holds: the same for all.
    pub applied: u64,
    /// The states' hashes: the same for all.
    pub states: Vec<u64>,
    /// The clients' judge.
    pub judged: Result<(), Broken>,
    /// Folds every turn and every byte sent, and all that clients saw.
    pub fingerprint: u64,
}

struct Cluster {
    machines: Vec<(NodeHandle, Machinery)>,
    net: Arc<NetSim>,
}

/// Runs a seed.
///
/// # Panics
/// Where a node or this world breaks a promise.
#[must_use]
pub fn run(seed: u64, plant: Plant) -> Report {
    let mut config = madsim::Config::default();
    config.net.packet_loss_rate = 0.01;
    let mut runtime = Runtime::with_seed_and_config(seed, config);
    runtime.set_time_limit(LIMIT);
    runtime.block_on(story(seed, plant))
}

async fn story(seed: u64, plant: Plant) -> Report {
    let host = Handle::current();
    let machines = NODES.map(|id| {
        let place = Machinery { id, plant, disk: Disk::default(), seen: Arc::default() };
        let init = place.clone();
        let build = host.create_node().name(id.to_string()).ip(ip(id));
        (build.init(move || live(init.clone())).build(), place)
    });
    let cluster = Cluster { machines: machines.into(), net: NetSim::current() };
    let clients = host.create_node().name("clients").ip(ip(CLIENTS)).build();
    let work = clients.spawn(async move {
        let mut crowd = Crowd::new(seed, STOP).await;
        let log = crowd.work().await;
        (crowd, log)
    });
    let faults = cluster.break_things(&host).await;
    let (mut crowd, log) = work.await.expect("clients come home");
    cluster.net.update_config(|c| c.packet_loss_rate = 0.0);
    let applied = cluster.settle().await;
    let states = clients.spawn(async move {
        let mut states = Vec::new();
        for id in NODES {
            let Ok(Answer::Hash { hash, .. }) = crowd.hash(id).await else { panic!("{id} has no hash") };
            states.push(hash);
        }
        states
    });
    let states = states.await.expect("nodes answer");
    cluster.report(&log, faults, applied, states)
}

impl Cluster {
    fn seen<T>(&self, of: usize, look: impl Fn(&Seen) -> T) -> T {
        look(&self.machines[of].1.seen.lock().expect("one thread"))
    }
    /// Who leads in the highest term, or anybody.
    fn leader(&self) -> usize {
        let leads = |n: &usize| self.seen(*n, |s| (s.sight.role == Role::Leader).then_some(s.sight.term));
        (0..NODES.len()).max_by_key(leads).unwrap_or(0)
    }
    fn cut(&self, from: usize, cut: bool) {
        for other in (0..NODES.len()).filter(|n| *n != from) {
            let (a, b) = (self.machines[from].0.id(), self.machines[other].0.id());
            for (from, to) in [(a, b), (b, a)] {
                if cut { self.net.clog_link(from, to) } else { self.net.unclog_link(from, to) }
            }
        }
    }

    /// Leaders are killed and cut off from their peers, never from clients.
    async fn break_things(&self, host: &Handle) -> (u32, u32) {
        let millis = |range| Duration::from_millis(thread_rng().gen_range(range));
        let (mut kills, mut cuts) = (0, 0);
        sleep(Duration::from_secs(2)).await;
        for nth in 0..FAULTS {
            sleep(millis(200..1_500)).await;
            let leader = self.leader();
            let kind = if nth < 2 { nth } else { thread_rng().gen_range(0..3) };
            let (kill, cut) = (kind != 1, kind != 0);
            if cut {
                self.cut(leader, true);
                sleep(millis(500..3_000)).await;
                cuts += 1;
            }
            if kill {
                // Where both: the node that was cut off dies without having heard of the others.
                let (machine, place) = &self.machines[leader];
                drop(place.disk.begin_life());
                host.kill(machine.id());
                sleep(millis(100..1_500)).await;
                host.restart(machine.id());
                kills += 1;
            }
            self.cut(leader, false);
        }
        (kills, cuts)
    }

    /// Waits until all nodes hold the same entries.
    async fn settle(&self) -> u64 {
        loop {
            let applied: Vec<_> = (0..NODES.len()).map(|n| self.seen(n, |s| s.sight.applied)).collect();
            let last = (0..NODES.len()).map(|n| self.seen(n, |s| s.sight.last_index)).max();
            let first = applied[0].map(|p| p.index);
            if applied.iter().all(|a| a.map(|p| p.index) == first) && first == last {
                return first.unwrap_or(0);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(&self, log: &Log, faults: (u32, u32), applied: u64, states: Vec<u64>) -> Report {
        let mut fold = std::hash::DefaultHasher::new();
        (0..NODES.len()).for_each(|n| self.seen(n, |s| s.trace.finish()).hash(&mut fold));
        (format!("{:?}", log.records), self.net.stat().msg_count, &states).hash(&mut fold);
        Report {
            operations: log.records.len(),
            acknowledged: log.records.iter().filter(|r| r.outcome == Outcome::Ok).count(),
            faults,
            term: (0..NODES.len()).map(|n| self.seen(n, |s| s.sight.term)).max().unwrap_or(0),
            applied,
            states,
            judged: linearizable(log),
            fingerprint: fold.finish(),
        }
    }
}
