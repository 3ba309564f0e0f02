//! Replicas, their disks, a network and a strong keyspace, in one thread and in virtual time.

use crate::disk::{CrashDisk, Dice};
use bytes::Bytes;
use dwcp_crdt::code::Reader;
use dwcp_crdt::{ReplicaIndex, Roster, Standing};
use dwcp_env::bound::DATAGRAM_MAX;
use dwcp_env::{
    ByteCount, ClusterId, DiskRequest, Duration, GroupId, Instant, Lane, NodeId, Now, Probe, RegionId,
    RequestId, Seed, WallTime,
};
use dwcp_eventual::api::StreamStatus;
use dwcp_eventual::documents::ask;
use dwcp_eventual::{
    Answer, Command, Eventual, EventualSpec, Host, Kept, Outbox, Patience, Query, Refusal, Reply, SyncPolicy,
};
use dwcp_wal::{Wal, WalConfig};
use spin::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const GROUP: GroupId = GroupId(9);
const CLUSTER: ClusterId = ClusterId(7);
const DISK: Duration = Duration::millis(2);
const NEAR: Duration = Duration::millis(1);
const FAR: Duration = Duration::millis(40);

type JobDone = dwcp_env::JobResult;

enum Event {
    Message { to: usize, from: usize, body: Bytes },
    Disk { node: usize, life: u32, request: DiskRequest },
    Job { node: usize, life: u32, result: JobDone },
    Decided { node: usize },
}

struct Member {
    disk: CrashDisk,
    life: u32,
    running: Option<(Eventual, Arc<Mutex<Wal>>)>,
    tickets: u64,
    wake: Instant,
    region: u16,
    cut: bool,
}

/// Everything.
pub(crate) struct World {
    now: Instant,
    members: Vec<Member>,
    events: BTreeMap<(Instant, u64), Event>,
    made: u64,
    kept: BTreeMap<Bytes, (i64, Bytes)>,
    revision: i64,
    strong_down: bool,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
    asked: u64,
    dice: Dice,
    dots: BTreeMap<u64, String>,
    /// Messages lost, and messages that come twice, the second time later; per mille.
    bad: (usize, usize),
    patience: Patience,
    sync: SyncPolicy,
    disk_takes: Duration,
    /// Whether links carry datagrams, and regions ship over streams.
    streams: bool,
    /// Datagrams sent.
    datagrams: u64,
    job_takes: Duration,
    /// Pairs that don't hear each other.
    severed: BTreeSet<(usize, usize)>,
    /// From a decision to when nodes know of it.
    news_takes: Duration,
    /// Whether the keyspace holds documents.
    documents: bool,
    /// How far the calendars are ahead of the time that was lived through.
    leapt: Duration,
}

fn b(s: &str) -> Bytes {
    Bytes::copy_from_slice(s.as_bytes())
}
/// An element goes into a set.
pub(crate) fn add(key: &str, member: &str) -> Command {
    Command::SAdd { key: b(key), members: vec![b(member)] }
}
/// Many elements go into a set.
pub(crate) fn add_all(key: &str, members: impl Iterator<Item = String>) -> Command {
    Command::SAdd { key: b(key), members: members.map(Bytes::from).collect() }
}
/// Elements go out of a set.
pub(crate) fn remove(key: &str, members: &[String]) -> Command {
    Command::SRem { key: b(key), members: members.iter().map(|m| b(m)).collect() }
}
/// Values go to the end of a list.
pub(crate) fn push(key: &str, values: impl Iterator<Item = String>) -> Command {
    Command::RPush { key: b(key), values: values.map(Bytes::from).collect() }
}
/// All that equal this value go out of a list.
pub(crate) fn unlist(key: &str, value: &str) -> Command {
    Command::LRem { key: b(key), count: 0, value: b(value) }
}
/// A list is read.
pub(crate) fn list(key: &str) -> Command {
    Command::LRange { key: b(key), start: 0, stop: -1 }
}
/// Keys get values.
pub(crate) fn set_all(keys: impl Iterator<Item = String>, value: &str) -> Command {
    Command::MSet { pairs: keys.map(|k| (Bytes::from(k), b(value))).collect() }
}
/// Keys go.
pub(crate) fn delete(keys: impl Iterator<Item = String>) -> Command {
    Command::Del { keys: keys.map(Bytes::from).collect() }
}
/// A counter rises.
pub(crate) fn count(key: &str, by: i64) -> Command {
    Command::IncrBy { key: b(key), by }
}
/// A set is read.
pub(crate) fn members(key: &str) -> Command {
    Command::SMembers { key: b(key) }
}
/// A counter is read.
pub(crate) fn total(key: &str) -> Command {
    Command::Get { key: b(key) }
}

impl World {
    /// Nodes in these regions, each with an empty disk, booted.
    pub(crate) fn new(regions: &[u16]) -> Self {
        Self::with(regions, SyncPolicy::Always)
    }
    /// The same, who wait for a silent one as long as they do by default.
    pub(crate) fn patient(regions: &[u16]) -> Self {
        Self::made(regions, Patience::default(), SyncPolicy::Always, false)
    }
    /// The same, whose regions ship to each other over streams.
    pub(crate) fn streaming(regions: &[u16]) -> Self {
        Self::made(regions, Patience::default(), SyncPolicy::Always, true)
    }
    /// The same, whose answers wait for this.
    pub(crate) fn with(regions: &[u16], sync: SyncPolicy) -> Self {
        Self::made(regions, Patience { lagging: Duration::secs(20), evict: Duration::secs(20) }, sync, false)
    }
    fn made(regions: &[u16], patience: Patience, sync: SyncPolicy, streams: bool) -> Self {
        let member = |region: &u16| Member {
            disk: CrashDisk::default(),
            life: 0,
            running: None,
            tickets: 0,
            wake: Instant::ZERO,
            region: *region,
            cut: false,
        };
        let mut world = Self {
            now: Instant::ZERO + Duration::secs(1),
            members: regions.iter().map(member).collect(),
            events: BTreeMap::new(),
            made: 0,
            kept: BTreeMap::new(),
            revision: 1,
            strong_down: false,
            answers: BTreeMap::new(),
            asked: 0,
            dice: Dice::new(1),
            dots: BTreeMap::new(),
            bad: (0, 0),
            patience,
            sync,
            disk_takes: DISK,
            streams,
            datagrams: 0,
            job_takes: NEAR,
            severed: BTreeSet::new(),
            news_takes: FAR,
            documents: false,
            leapt: Duration::ZERO,
        };
        (0..regions.len()).for_each(|n| world.boot(n));
        world
    }
    /// Nodes that hold documents, under these schemas and this policy: keys below the keyspace's prefix, and files.
    pub(crate) fn documents(regions: &[u16], rules: &[(&str, Vec<u8>)]) -> Self {
        let patience = Patience { lagging: Duration::secs(600), evict: Duration::secs(600) };
        let mut world = Self::made(&[], patience, SyncPolicy::Always, false);
        world.documents = true;
        for (key, file) in rules {
            world.decide(key, file.clone());
        }
        let all = Self::made(regions, patience, SyncPolicy::Always, false);
        world.members = all.members;
        for n in 0..regions.len() {
            world.members[n].running = None;
            world.members[n].disk = CrashDisk::default();
            world.boot(n);
        }
        world
    }
    /// The strong keyspace decides something below the keyspace's prefix.
    pub(crate) fn decide(&mut self, key: &str, value: Vec<u8>) {
        self.revision += 1;
        self.kept.insert(format!("\0dwcp/eventual/e/{key}").into(), (self.revision, value.into()));
        for node in 0..self.members.len() {
            self.push(self.news_takes, Event::Decided { node });
        }
    }
    /// What the strong keyspace holds below the keyspace's prefix.
    pub(crate) fn kept_at(&self, key: &str) -> Option<Bytes> {
        self.kept.get(format!("\0dwcp/eventual/e/{key}").as_bytes()).map(|(_, v)| v.clone())
    }
    /// Asks a node about documents, and waits.
    pub(crate) fn about(&mut self, n: usize, question: ask::Question) -> Result<ask::Answer, Refusal> {
        let id = self.query(n, Query::Documents(Box::new(question)));
        for _ in 0..200 {
            if self.answers.contains_key(&id) {
                break;
            }
            self.run(Duration::millis(1));
        }
        match self.answers.remove(&id).expect("it is answered")? {
            Answer::Documents(answer) => Ok(*answer),
            other => panic!("{other:?}"),
        }
    }
    /// Asks, and waits for nothing.
    pub(crate) fn ask_documents(&mut self, n: usize, question: ask::Question) {
        self.query(n, Query::Documents(Box::new(question)));
    }
    pub(crate) fn calendar(&self) -> Now {
        let lived = self.now.as_nanos() + self.leapt.as_nanos();
        let wall = WallTime::from_nanos(1_700_000_000_000_000_000 + lived);
        Now { mono: self.now, wall, uncertainty: Duration::ZERO }
    }
    /// Days go by in which nothing happens, but on the calendars.
    pub(crate) fn days_go_by(&mut self, days: u64) {
        self.leapt += Duration::secs(days * 86_400);
    }
    /// What the clocks on the walls show, in milliseconds.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.calendar().wall.as_nanos() / 1_000_000
    }
    /// Starts a node from its disk.
    pub(crate) fn boot(&mut self, n: usize) {
        let (now, patience) = (self.calendar(), self.patience);
        let all: Vec<NodeId> = (0..self.members.len()).map(|i| NodeId(i as u64 + 1)).collect();
        let m = &mut self.members[n];
        m.life += 1;
        let seed = (n as u64 + 1) * 1_000 + u64::from(m.life);
        let mut world = m.disk.world_watched(seed, Probe::silent());
        (world.now, world.seed) = (now, Seed(seed));
        let config = WalConfig { segment: ByteCount::kib(64), cluster: CLUSTER, ..WalConfig::default() };
        let (wal, recovered) = Wal::open(&world, config).expect("the log opens");
        let wal = Arc::new(Mutex::new(wal));
        let damaged = recovered.suspect(GROUP) || recovered.damage.iter().any(|d| d.group == Some(GROUP));
        let log = recovered.groups.get(&GROUP).cloned().unwrap_or_default();
        let mut spec = EventualSpec::new(GROUP, "e", "main", RegionId(m.region));
        spec.checkpoint_every = ByteCount::kib(8);
        spec.patience = patience;
        spec.sync = self.sync;
        spec.gossip.streams = self.streams;
        spec.documents = self.documents;
        let host =
            Host { cluster: CLUSTER, node: NodeId(n as u64 + 1), wal: wal.clone(), envelope: Bytes::new() };
        let mut replica = Eventual::boot(spec, host, &log, damaged, &world).expect("it boots");
        replica.on_members(now, &all);
        m.tickets = 0;
        m.running = Some((replica, wal));
        if !self.strong_down {
            self.push(NEAR, Event::Decided { node: n });
        }
        self.turn(n);
    }
    /// The power of a node goes.
    pub(crate) fn crash(&mut self, n: usize) {
        let m = &mut self.members[n];
        m.running = None;
        m.disk.crash(&mut self.dice);
    }
    /// And its disk is gone, too.
    pub(crate) fn wipe(&mut self, n: usize) {
        self.members[n].running = None;
        self.members[n].disk = CrashDisk::default();
    }
    /// Another disk is put in; the machine is off.
    pub(crate) fn put_disk(&mut self, n: usize, disk: CrashDisk) {
        assert!(self.members[n].running.is_none(), "the machine runs");
        self.members[n].disk = disk;
    }
    /// Chance from this seed.
    pub(crate) fn dice(&mut self, seed: u64) {
        self.dice = Dice::new(seed + 77);
    }
    /// From now on so many messages of a thousand are lost, and so many come twice.
    pub(crate) fn bad(&mut self, lost: usize, twice: usize) {
        self.bad = (lost, twice);
    }
    /// Cuts a node off, or brings it back; the strong keyspace goes with the others.
    pub(crate) fn cut(&mut self, n: usize, cut: bool) {
        self.members[n].cut = cut;
        if !cut {
            self.push(NEAR, Event::Decided { node: n });
        }
    }
    /// From now on two nodes, the lower number first, don't hear each other, or do again.
    pub(crate) fn sever(&mut self, a: usize, b: usize, severed: bool) {
        if severed {
            self.severed.insert((a, b))
        } else {
            self.severed.remove(&(a, b))
        };
    }
    /// From now on nodes know of a decision after so long.
    pub(crate) fn news_takes(&mut self, span: Duration) {
        self.news_takes = span;
    }
    /// What was decided last, whoever knows of it: how a place stands.
    pub(crate) fn decided(&self, place: ReplicaIndex) -> Standing {
        let (_, bytes) = &self.kept[&Bytes::from_static(b"\0dwcp/eventual/e/roster")];
        let roster = Roster::decode(&mut Reader::new(bytes)).expect("a roster");
        roster.get(place).expect("a place").standing
    }
    /// From now on a write and its sync take so long.
    pub(crate) fn disks_take(&mut self, span: Duration) {
        self.disk_takes = span;
    }
    /// Datagrams sent so far.
    pub(crate) fn datagrams(&self) -> u64 {
        self.datagrams
    }
    /// How a node's streams are.
    pub(crate) fn streams(&self, n: usize) -> BTreeMap<usize, StreamStatus> {
        let peers = self.node(n).status(self.calendar()).peers;
        peers.into_iter().filter_map(|p| Some((p.node as usize - 1, p.stream?))).collect()
    }
    /// From now on a part of the state's file takes so long to write.
    pub(crate) fn jobs_take(&mut self, span: Duration) {
        self.job_takes = span;
    }
    /// How far places say they have come with one that closes.
    pub(crate) fn reports(&self, of: u16) -> Vec<(u16, u64)> {
        let read = |(k, (_, v)): (&Bytes, &(i64, Bytes))| {
            let key = std::str::from_utf8(k).ok()?.split_once(&format!("/closing/{of}/"))?.1.parse().ok()?;
            Some((key, std::str::from_utf8(v).ok()?.parse().ok()?))
        };
        self.kept.iter().filter_map(read).collect()
    }
    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }
    /// The strong keyspace has no quorum.
    pub(crate) fn strong_down(&mut self, down: bool) {
        self.strong_down = down;
    }
    pub(crate) fn disk(&self, n: usize) -> &CrashDisk {
        &self.members[n].disk
    }
    pub(crate) fn node(&self, n: usize) -> &Eventual {
        &self.members[n].running.as_ref().expect("it runs").0
    }
    /// The place a node has or had in the roster, as the first node has it.
    pub(crate) fn node_place(&self, n: usize) -> u16 {
        let roster = self.node(0).space().roster();
        let of_node = roster.iter().filter(|(_, m)| m.node == NodeId(n as u64 + 1));
        of_node.last().expect("it has a place").0.0
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.made += 1;
        self.events.insert((self.now + after, self.made), event);
    }
    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let wake = self.members.iter().filter(|m| m.running.is_some()).map(|m| m.wake).min();
            let next = self.events.keys().next().map(|k| k.0).into_iter().chain(wake).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if self.events.keys().next().is_some_and(|k| k.0 <= self.now) {
                let (_, event) = self.events.pop_first().expect("there is one");
                self.happen(event);
            } else {
                for n in 0..self.members.len() {
                    if self.members[n].running.is_some() && self.members[n].wake <= self.now {
                        self.turn(n);
                    }
                }
            }
        }
        self.now = end;
    }
    fn happen(&mut self, event: Event) {
        let now = self.calendar();
        let node = match event {
            Event::Message { to, from, body } => {
                let severed = self.severed.contains(&(to.min(from), to.max(from)));
                if self.members[to].cut || self.members[from].cut || severed {
                    return;
                }
                if let Some((replica, _)) = &mut self.members[to].running {
                    replica
                        .on_message(now, NodeId(from as u64 + 1), &body)
                        .expect("peers send what is right");
                }
                to
            }
            Event::Disk { node, life, request } => {
                let m = &mut self.members[node];
                if m.life != life || m.running.is_none() {
                    return;
                }
                m.disk.carry_out(&request, usize::MAX).expect("the disk is sound");
                let (_, wal) = m.running.as_ref().expect("it runs");
                wal.lock().completed(request.ticket, Ok(())).expect("the log goes on");
                node
            }
            Event::Job { node, life, result } => {
                if self.members[node].life != life {
                    return;
                }
                if let Some((replica, _)) = &mut self.members[node].running {
                    replica.on_job(now, result);
                }
                node
            }
            Event::Decided { node } => {
                let kept: Vec<Kept> = self
                    .kept
                    .iter()
                    .map(|(k, (r, v))| Kept { key: k.clone(), revision: *r, value: v.clone() })
                    .collect();
                let reachable = !self.members[node].cut && !self.strong_down;
                if let Some((replica, _)) = self.members[node].running.as_mut().filter(|_| reachable) {
                    replica.on_decided(now, &kept);
                }
                node
            }
        };
        self.turn(node);
    }
    /// A node's turn: what it says is carried out.
    fn turn(&mut self, n: usize) {
        let now = self.calendar();
        let mut out = Outbox::default();
        let Some((replica, wal)) = &mut self.members[n].running else { return };
        replica.settle(now, &mut out);
        assert_eq!(replica.failure(), None);
        for batch in replica.drained() {
            let own = replica.place() == Some(batch.replica());
            for op in batch.ops().flatten() {
                let said = format!("{op:?}");
                match self.dots.get(&op.dot.bits()) {
                    Some(known) => assert_eq!(*known, said, "a dot names two operations"),
                    // What has not left its maker may be lost with its memory, and its dot is free again.
                    None if own => {}
                    None => {
                        self.dots.insert(op.dot.bits(), said);
                    }
                }
            }
        }
        let (mut requests, wal) = (Vec::new(), wal.clone());
        wal.lock().flush(&mut self.members[n].tickets, &mut requests);
        self.members[n].wake = out.wake_at.unwrap_or(Instant::FAR).max(self.now + Duration::micros(100));
        let life = self.members[n].life;
        for request in requests {
            self.push(self.disk_takes, Event::Disk { node: n, life, request });
        }
        if let Some(job) = out.job.take() {
            let result = Some((job.run)());
            self.push(self.job_takes, Event::Job { node: n, life, result });
        }
        for (to, lane, body) in out.sends {
            // Five bytes of the node's envelope come on top.
            assert!(lane != Lane::Datagram || body.len() + 5 <= DATAGRAM_MAX.as_usize(), "{}", body.len());
            let to = to.0 as usize - 1;
            self.datagrams += u64::from(lane == Lane::Datagram);
            let span = if self.members[to].region == self.members[n].region { NEAR } else { FAR };
            if self.dice.below(1_000) < self.bad.1 {
                let late = Duration::millis(self.dice.below(300) as u64);
                self.push(span + late, Event::Message { to, from: n, body: body.clone() });
            }
            if self.dice.below(1_000) >= self.bad.0 {
                self.push(span, Event::Message { to, from: n, body });
            }
        }
        for (id, answer, _) in out.replies {
            self.answers.insert(id.0, answer);
        }
        for wish in out.wishes {
            let seen = self.kept.get(&wish.key).map_or(0, |k| k.0);
            if seen == wish.seen && !self.members[n].cut && !self.strong_down {
                self.revision += 1;
                self.kept.insert(wish.key, (self.revision, wish.value));
                for node in 0..self.members.len() {
                    self.push(self.news_takes, Event::Decided { node });
                }
            }
        }
    }

    // --- clients --------------------------------------------------------------------------

    fn send(&mut self, n: usize, command: Command) -> u64 {
        self.query(n, Query::Command(command))
    }
    /// An operator asks a node to evict another.
    pub(crate) fn evict(&mut self, n: usize, other: usize) -> Result<(), Refusal> {
        let id = self.query(n, Query::Evict { node: NodeId(other as u64 + 1) });
        self.answers.remove(&id).expect("it is answered at once").map(|_| ())
    }
    fn query(&mut self, n: usize, query: Query) -> u64 {
        self.asked += 1;
        let (id, now) = (self.asked, self.calendar());
        let mut out = Outbox::default();
        if let Some((replica, _)) = &mut self.members[n].running {
            let deadline = self.now + Duration::secs(5);
            replica.on_query(now, RequestId(id), deadline, query, &mut out);
        }
        for (id, answer, _) in out.replies {
            self.answers.insert(id.0, answer);
        }
        self.turn(n);
        id
    }
    /// Asks and waits.
    fn answer(&mut self, n: usize, command: Command) -> Option<Result<Answer, Refusal>> {
        let id = self.send(n, command);
        for _ in 0..20 {
            if self.answers.contains_key(&id) {
                break;
            }
            self.run(Duration::millis(1));
        }
        self.answers.remove(&id)
    }
    /// A write that is acknowledged.
    pub(crate) fn acked(&mut self, n: usize, command: Command) {
        let name = command.name();
        let answer = self.answer(n, command);
        assert!(matches!(answer, Some(Ok(_))), "{name} at node {n}: {answer:?}");
    }
    /// Why a command is refused.
    pub(crate) fn refused(&mut self, n: usize, command: Command) -> Refusal {
        self.answer(n, command).expect("it is answered").expect_err("it is refused")
    }
    /// A write that a crash may come upon: whether it was acknowledged, if it was answered.
    pub(crate) fn try_add(&mut self, n: usize, key: &str, member: &str) -> Option<bool> {
        self.answer(n, add(key, member)).map(|a| a.is_ok())
    }
    /// A write whose answer nobody waits for.
    pub(crate) fn begin_add(&mut self, n: usize, key: &str, member: &str) {
        self.send(n, add(key, member));
    }
    /// A write that nobody waits for.
    pub(crate) fn begin(&mut self, n: usize, command: Command) {
        self.send(n, command);
    }
    /// Whether a question is answered at once, while the disk is busy.
    pub(crate) fn answers_at_once(&mut self, n: usize, command: Command) -> bool {
        let id = self.send(n, command);
        self.answers.remove(&id).is_some()
    }
    /// What a read answers, as text.
    pub(crate) fn ask(&mut self, n: usize, command: Command) -> Vec<String> {
        let text = |v: &Bytes| String::from_utf8_lossy(v).into_owned();
        match self.answer(n, command) {
            Some(Ok(Answer::Reply(Reply::Elements(all)))) => all.iter().map(text).collect(),
            Some(Ok(Answer::Reply(Reply::Value(value)))) => value.iter().map(text).collect(),
            other => panic!("{other:?}"),
        }
    }

    // --- checks ---------------------------------------------------------------------------

    pub(crate) fn all_serve(&self) {
        for n in 0..self.members.len() {
            assert!(
                self.node(n).serves() && self.node(n).place().is_some(),
                "{:?}",
                self.node(n).status(self.calendar())
            );
        }
    }
    /// Whether all have and show the same.
    pub(crate) fn are_equal(&self) -> bool {
        let first = self.node(0);
        (1..self.members.len())
            .map(|n| self.node(n))
            .all(|other| (first.version(), first.fingerprint()) == (other.version(), other.fingerprint()))
    }
    pub(crate) fn all_equal(&self) {
        let first = self.node(0);
        let same: BTreeSet<u128> = (0..self.members.len()).map(|n| self.node(n).fingerprint()).collect();
        for n in 1..self.members.len() {
            assert_eq!(first.version(), self.node(n).version(), "nodes 0 and {n}");
        }
        assert_eq!(same.len(), 1);
    }
}
