//! A few nodes, a network and disks, on one clock, whatever host of engines runs on them. Not the simulator: just enough
//! to tell stories about one crate.

use super::disk::MemDisk;
use super::ledger::Ledger;
use bytes::Bytes;
use dwcp_consensus::{EngineError, EngineOutput, Member, MemberChange, Position, Token};
use dwcp_env::exec::Pick;
use dwcp_env::probe::Watch;
use dwcp_env::{
    ByteCount, DiskOp, DiskRequest, Duration, Event, GroupId, Instant, JobId, JobResult, Lane, NodeId, Now,
    Probe, Purpose, Seed, World as NodeWorld,
};
use dwcp_wal::{GroupLog, Recovered, Wal, WalConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

pub(crate) type SharedWal = Arc<spin::Mutex<Wal>>;
pub(crate) type Machine = Arc<spin::Mutex<Ledger>>;

/// What a host is made of.
pub(crate) struct Opening {
    pub(crate) now: Now,
    pub(crate) pick: Pick,
    pub(crate) seed: Seed,
    pub(crate) wal: SharedWal,
    pub(crate) probe: Probe,
    pub(crate) disk: MemDisk,
    pub(crate) recovered: Recovered,
}

/// A host of groups, as a node uses it.
pub(crate) trait Host: Sized {
    type Config;
    /// Begins with what the log gave back; the states beside it.
    fn open(from: Opening, groups: &BTreeMap<GroupId, Self::Config>) -> (Self, BTreeMap<GroupId, Machine>);
    fn run(&mut self, now: Now, out: &mut Vec<(GroupId, EngineOutput<u64>)>) -> Option<Instant>;
    fn message(&mut self, now: Now, group: GroupId, from: NodeId, lane: Lane, body: &Bytes);
    fn job_done(&mut self, now: Now, job: JobId, result: JobResult);
    /// The term this node leads a group in, if it does.
    fn leads(&self, group: GroupId) -> Option<u64>;
    fn propose(&mut self, group: GroupId, token: Token, command: &Bytes) -> bool;
    fn barrier(&mut self, group: GroupId, token: Token) -> bool;
    fn change_members(&mut self, group: GroupId, token: Token, change: MemberChange) -> bool;
    fn transfer_leader(&mut self, now: Now, group: GroupId, token: Token, to: NodeId) -> bool;
    fn snapshot(&mut self, group: GroupId, token: Token) -> bool;
}

pub(crate) const G: GroupId = GroupId(0);
const NETWORK: Purpose = Purpose::named("test.network");
const DISK: Purpose = Purpose::named("test.disk");

/// What all nodes say.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<String>,
    pub(crate) marks: BTreeSet<&'static str>,
}

struct Listener(Arc<Mutex<Heard>>);

impl Watch for Listener {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().events.push(event.to_string());
    }
    fn sometimes(&self, name: &'static str) {
        self.0.lock().unwrap().marks.insert(name);
    }
    fn buggify(&self, _: &'static str) -> bool {
        false
    }
    fn violated(&self, name: &'static str, detail: &dyn Display) {
        panic!("always {name}: {detail}");
    }
}

/// What a job does to the disk may be done as it begins or as it ends: a crash in between leaves all of it, or nothing.
enum Done {
    Already(JobResult),
    AtTheEnd(Box<dyn FnOnce() -> Box<dyn std::any::Any + Send> + Send>),
}

enum What {
    Deliver { from: NodeId, lane: Lane, group: GroupId, body: Bytes },
    Disk { request: DiskRequest },
    Job(JobId, Done),
    Wake,
}

pub(crate) struct Life<H> {
    pub(crate) host: H,
    wal: SharedWal,
    machines: BTreeMap<GroupId, Machine>,
    next_ticket: u64,
    wake: Option<Instant>,
}

pub(crate) struct Node<H: Host> {
    pub(crate) disk: MemDisk,
    /// What happens to a recovered log before it is used.
    tamper: Option<fn(&mut GroupLog)>,
    configs: BTreeMap<GroupId, H::Config>,
    incarnation: u64,
    life: Option<Life<H>>,
}

/// What was answered to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    Proposed(Result<(Position, u64), EngineError>),
    Barrier(Result<(), EngineError>),
    Done(Result<(), EngineError>),
}

type Sieve = Box<dyn Fn(NodeId, NodeId, Lane, &Bytes) -> bool>;

pub(crate) struct World<H: Host> {
    pub(crate) now: Instant,
    seed: Seed,
    made: u64,
    queue: BTreeMap<(Instant, u64), (NodeId, u64, What)>,
    pub(crate) nodes: BTreeMap<NodeId, Node<H>>,
    /// (from, to) that lose everything.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// What gets through: from, to, lane, body.
    pub(crate) sieve: Option<Sieve>,
    /// Parts in a million of messages lost, and repeated.
    pub(crate) lossy: u64,
    /// One way, at least and at most.
    pub(crate) latency: (Duration, Duration),
    /// Nodes are spread over so many regions, 35 ms apart; 0: all in one.
    pub(crate) regions: u64,
    pub(crate) pick_drawn: bool,
    /// Added to every disk request.
    pub(crate) disk_slow: Duration,
    /// Jobs do what they do as they begin.
    pub(crate) jobs_early: bool,
    /// Added to every job.
    pub(crate) job_slow: Duration,
    /// Added to those that write a checkpoint, besides.
    pub(crate) checkpoint_slow: Duration,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) answers: BTreeMap<Token, Answered>,
    pub(crate) asked: u64,
    pub(crate) hash: u64,
    pub(crate) messages: u64,
    /// Their bytes, without frames.
    pub(crate) bytes: u64,
    /// Every tenth message sent, as it was.
    pub(crate) samples: Vec<(NodeId, NodeId, Lane, Bytes)>,
    pub(crate) requests: u64,
    /// How often files were synced, and the bytes written to them, on all disks.
    pub(crate) syncs: u64,
    pub(crate) logged: u64,
}

pub(crate) fn n(id: u64) -> NodeId {
    NodeId(id)
}

pub(crate) fn members(ids: &[u64]) -> BTreeMap<NodeId, Member> {
    ids.iter().map(|id| (n(*id), Member { name: format!("node {id}"), ..Member::default() })).collect()
}

fn log_config() -> WalConfig {
    WalConfig { segment: ByteCount::kib(64), ..WalConfig::default() }
}

impl<H: Host> World<H> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            seed: Seed(seed),
            made: 0,
            queue: BTreeMap::new(),
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            sieve: None,
            lossy: 0,
            latency: (Duration::millis(1), Duration::millis(3)),
            regions: 0,
            pick_drawn: false,
            disk_slow: Duration::ZERO,
            jobs_early: false,
            job_slow: Duration::ZERO,
            checkpoint_slow: Duration::ZERO,
            heard: Arc::default(),
            answers: BTreeMap::new(),
            asked: 0,
            hash: 0,
            messages: 0,
            bytes: 0,
            syncs: 0,
            logged: 0,
            samples: Vec::new(),
            requests: 0,
        }
    }

    /// A new node with an empty disk.
    pub(crate) fn add(&mut self, id: NodeId, configs: BTreeMap<GroupId, H::Config>) {
        let node = Node { disk: MemDisk::default(), tamper: None, configs, incarnation: 0, life: None };
        self.nodes.insert(id, node);
        self.start(id);
    }

    pub(crate) fn configure(&mut self, id: NodeId, change: impl Fn(&mut H::Config)) {
        self.nodes.get_mut(&id).unwrap().configs.values_mut().for_each(change);
    }

    pub(crate) fn start(&mut self, id: NodeId) {
        let probe = Probe::new(Arc::new(Listener(self.heard.clone())));
        let now = self.at();
        let node = self.nodes.get_mut(&id).unwrap();
        node.incarnation += 1;
        let seed = self.seed.part(Purpose::named("test.node"), id.0 << 32 | node.incarnation);
        let storage = Arc::new(node.disk.clone());
        let world = NodeWorld { now, storage, probe: probe.clone(), seed };
        let (wal, mut recovered) = Wal::open(&world, log_config()).unwrap();
        let wal: SharedWal = Arc::new(spin::Mutex::new(wal));
        let pick = if self.pick_drawn { Pick::Drawn(seed) } else { Pick::Fifo };
        for group in node.configs.keys() {
            if let Some(tamper) = node.tamper {
                tamper(recovered.groups.entry(*group).or_default());
            }
        }
        let disk = node.disk.clone();
        let (host, machines) =
            H::open(Opening { now, pick, seed, wal: wal.clone(), probe, disk, recovered }, &node.configs);
        node.life = Some(Life { host, wal, machines, next_ticket: 1, wake: None });
        self.turn(id);
    }

    /// What the log of a node that is down would give back, and who says so goes by another disk.
    pub(crate) fn log_of(&self, id: NodeId) -> Recovered {
        let storage = Arc::new(self.nodes[&id].disk.copy());
        let world = NodeWorld { now: self.at(), storage, probe: Probe::silent(), seed: self.seed };
        Wal::open(&world, log_config()).unwrap().1
    }

    /// Power off: what was not synced is gone, what was under way never ends.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.life = None;
        node.disk.crash();
    }

    /// Power off behind a mark that ends the log, then rot where this was written last: that record is lost, and the log can tell. How
    /// often it was written.
    pub(crate) fn crash_and_rot(&mut self, id: NodeId, text: &str) -> usize {
        // A batch on its way to the disk comes first.
        self.run(Duration::millis(5));
        self.nodes.get_mut(&id).unwrap().life.as_mut().unwrap().wal.lock().idle_mark();
        self.turn(id);
        self.run(Duration::millis(5));
        self.crash(id);
        self.nodes[&id].disk.rot("wal-", text.as_bytes())
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes[&id].life.is_some()
    }

    pub(crate) fn isolate(&mut self, id: NodeId) {
        for other in self.nodes.keys().copied().filter(|o| *o != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub(crate) fn at(&self) -> Now {
        Now { mono: self.now, ..Now::default() }
    }

    fn schedule(&mut self, at: Instant, node: NodeId, what: What) {
        let incarnation = self.nodes.get(&node).map_or(0, |n| n.incarnation);
        self.made += 1;
        self.queue.insert((at, self.made), (node, incarnation, what));
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(7) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Lets a node do what is ready, and carries out what it asks for.
    pub(crate) fn turn(&mut self, id: NodeId) {
        let now = self.at();
        let Some(life) = self.nodes.get_mut(&id).and_then(|n| n.life.as_mut()) else { return };
        let mut out = Vec::new();
        let wake = life.host.run(now, &mut out);
        let mut disk = Vec::new();
        life.wal.lock().flush(&mut life.next_ticket, &mut disk);
        let earlier = life.wake.is_none_or(|w| w <= self.now || wake.is_some_and(|new| new < w));
        if let Some(at) = wake.filter(|_| earlier) {
            life.wake = Some(at);
            self.schedule(at.max(self.now), id, What::Wake);
        }
        for request in disk {
            let took = 200 + self.seed.below(800, DISK, id.0, self.now, request.ticket.0);
            self.requests += 1;
            for op in &request.ops {
                match op {
                    DiskOp::Write { data, .. } => self.logged += data.len() as u64,
                    DiskOp::Sync { .. } => self.syncs += 1,
                    _ => {}
                }
            }
            self.schedule(self.now + Duration::micros(took) + self.disk_slow, id, What::Disk { request });
        }
        for (group, output) in out {
            match output {
                EngineOutput::Send { to, lane, body } => self.send(id, to, lane, group, body),
                EngineOutput::Job(job) => {
                    let slow = if job.name == "checkpoint" { self.checkpoint_slow } else { Duration::ZERO };
                    let at = self.now + job.cost + self.job_slow + slow;
                    let done = match self.jobs_early {
                        true => Done::Already(Some((job.run)())),
                        false => Done::AtTheEnd(job.run),
                    };
                    self.schedule(at, id, What::Job(job.id, done));
                }
                EngineOutput::Proposed { token, result } => self.answered(token, Answered::Proposed(result)),
                EngineOutput::Barrier { token, result } => self.answered(token, Answered::Barrier(result)),
                EngineOutput::Done { token, result } => self.answered(token, Answered::Done(result)),
            }
        }
    }

    fn answered(&mut self, token: Token, answer: Answered) {
        let twice = self.answers.insert(token, answer);
        assert_eq!(twice, None, "{token:?} is answered twice");
    }

    fn send(&mut self, from: NodeId, to: NodeId, lane: Lane, group: GroupId, body: Bytes) {
        self.messages += 1;
        self.bytes += body.len() as u64;
        let digest = body
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        self.mix(digest ^ (from.0 << 32) ^ to.0);
        self.mix(self.now.as_nanos());
        if lane == Lane::Bulk || (self.messages.is_multiple_of(10) && self.samples.len() < 2_000) {
            self.samples.push((from, to, lane, body.clone()));
        }
        let sieved = self.sieve.as_ref().is_some_and(|passes| !passes(from, to, lane, &body));
        if sieved || self.cut.contains(&(from, to)) {
            return;
        }
        let key = self.made;
        let draw = |max, n| self.seed.below(max, NETWORK, to.0, self.now, key * 4 + n);
        let copies = if draw(1_000_000, 0) < self.lossy { draw(2, 1) * 2 } else { 1 };
        for copy in 0..copies {
            let spread = (self.latency.1 - self.latency.0).as_nanos();
            let far = self.regions > 0 && from.0 % self.regions != to.0 % self.regions;
            let apart = if far { Duration::millis(33) } else { Duration::ZERO };
            let late = apart
                + self.latency.0
                + Duration::nanos(self.seed.below(spread, NETWORK, to.0, self.now, key * 4 + 2 + copy));
            let body = body.clone();
            self.schedule(self.now + late, to, What::Deliver { from, lane, group, body });
        }
    }

    fn step(&mut self, until: Instant) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= until) else { return false };
        let ((at, _), (id, incarnation, what)) = entry.remove_entry();
        self.now = at;
        let now = self.at();
        let node = self.nodes.get_mut(&id).unwrap();
        let message = matches!(what, What::Deliver { .. });
        let Some(life) = node.life.as_mut().filter(|_| message || incarnation == node.incarnation) else {
            return true;
        };
        match what {
            What::Deliver { from, lane, group, body } => {
                life.host.message(now, group, from, lane, &body);
            }
            What::Disk { request } => {
                let result = request.ops.iter().try_for_each(|op| node.disk.carry_out(op));
                life.wal.lock().completed(request.ticket, result).unwrap();
            }
            What::Job(job, done) => {
                let result = match done {
                    Done::Already(result) => result,
                    Done::AtTheEnd(run) => Some(run()),
                };
                life.host.job_done(now, job, result);
            }
            What::Wake if life.wake.is_some_and(|w| w > now.mono) => return true,
            What::Wake => life.wake = None,
        }
        self.turn(id);
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until `done`, for at most `within`.
    pub(crate) fn until(
        &mut self,
        within: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        let end = self.now + within;
        while !done(self) {
            if !self.step(end) {
                return Err(format!("not within {within}"));
            }
        }
        Ok(())
    }

    pub(crate) fn host(&mut self, id: NodeId) -> &mut H {
        &mut self.nodes.get_mut(&id).unwrap().life.as_mut().unwrap().host
    }

    pub(crate) fn life(&self, id: NodeId) -> Option<&Life<H>> {
        self.nodes[&id].life.as_ref()
    }

    pub(crate) fn ask(&mut self, id: NodeId, ask: impl FnOnce(&mut H, Token) -> bool) -> Token {
        self.asked += 1;
        let token = Token(self.asked);
        assert!(ask(self.host(id), token), "{id} does not host the group");
        self.turn(id);
        token
    }

    /// Waits for an answer.
    pub(crate) fn answer(&mut self, token: Token) -> Answered {
        self.until(Duration::secs(30), |w| w.answers.contains_key(&token)).expect("an answer");
        self.answers[&token].clone()
    }

    pub(crate) fn commands(&self, id: NodeId, group: GroupId) -> Vec<Bytes> {
        self.life(id).map(|l| l.machines[&group].lock().state.commands.clone()).unwrap_or_default()
    }

    /// The commands that a node's last checkpoint on its disk holds.
    pub(crate) fn checkpointed(&self, id: NodeId, group: GroupId) -> Vec<Bytes> {
        Ledger::open(self.nodes[&id].disk.clone(), group).state.commands
    }

    /// Waits until all nodes that are up have applied the same, and returns it.
    pub(crate) fn agree(&mut self, group: GroupId) -> Vec<Bytes> {
        let same = |w: &Self| {
            let mut up = w.nodes.keys().filter_map(|id| w.life(*id)).map(|l| l.machines[&group].lock());
            let first = up.next().unwrap();
            up.all(|s| s.state.at == first.state.at && s.state == first.state)
        };
        let agreed = self.until(Duration::secs(30), same);
        assert!(
            agreed.is_ok(),
            "no agreement: {:?}",
            self.nodes.keys().map(|id| self.commands(*id, group).len()).collect::<Vec<_>>()
        );
        let up = self.nodes.keys().copied().find(|id| self.is_up(*id)).unwrap();
        self.commands(up, group)
    }

    pub(crate) fn marked(&self, name: &str) -> bool {
        self.heard.lock().unwrap().marks.contains(name)
    }

    pub(crate) fn heard(&self, part: &str) -> bool {
        self.heard.lock().unwrap().events.iter().any(|e| e.contains(part))
    }

    /// A message from outside, as it is.
    pub(crate) fn inject(&mut self, from: NodeId, to: NodeId, lane: Lane, body: Bytes) {
        let now = self.at();
        self.host(to).message(now, G, from, lane, &body);
        self.turn(to);
    }

    /// Starts a node whose recovered log is tampered with first.
    pub(crate) fn start_with(&mut self, id: NodeId, tamper: fn(&mut GroupLog)) {
        self.nodes.get_mut(&id).unwrap().tamper = Some(tamper);
        self.start(id);
        self.nodes.get_mut(&id).unwrap().tamper = None;
    }

    /// The node that leads in the highest term.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        let up = self.nodes.keys().filter_map(|id| Some((*id, self.life(*id)?.host.leads(group)?)));
        up.max_by_key(|(_, term)| *term).map(|(id, _)| id)
    }

    pub(crate) fn elect(&mut self) -> NodeId {
        self.until(Duration::secs(20), |w| w.leader(G).is_some()).expect("a leader");
        self.leader(G).unwrap()
    }

    pub(crate) fn propose(&mut self, id: NodeId, group: GroupId, command: impl Into<Bytes>) -> Token {
        let command = command.into();
        self.ask(id, |h, t| h.propose(group, t, &command))
    }

    pub(crate) fn barrier(&mut self, id: NodeId) -> Token {
        self.ask(id, |h, t| h.barrier(G, t))
    }

    pub(crate) fn change(&mut self, id: NodeId, change: MemberChange) -> Token {
        self.ask(id, |h, t| h.change_members(G, t, change))
    }

    pub(crate) fn transfer(&mut self, id: NodeId, to: NodeId) -> Token {
        let now = self.at();
        self.ask(id, |h, t| h.transfer_leader(now, G, t, to))
    }

    pub(crate) fn snapshot(&mut self, id: NodeId) -> Token {
        self.ask(id, |h, t| h.snapshot(G, t))
    }

    /// Proposes to whoever leads until it is decided.
    pub(crate) fn write(&mut self, group: GroupId, command: &'static str) -> Position {
        for _ in 0..50 {
            if let Some(leader) = self.leader(group) {
                let token = self.propose(leader, group, command);
                if let Answered::Proposed(Ok((at, _))) = self.answer(token) {
                    return at;
                }
            }
            self.run(Duration::millis(200));
        }
        panic!("{command} is never decided");
    }
}
