//! Small machines that tests run in the world.
#![allow(dead_code, missing_docs, unreachable_pub)]

use bytes::Bytes;
use dwcp_env::contract::Stopped;
use dwcp_env::disk::{self, FileName, Storage};
use dwcp_env::{
    DiskOp, DiskRequest, Duration, Input, Instant, Job, JobId, Lane, Machine, NodeId, Now, Outputs, Reply,
    RequestId, Send, Ticket, World,
};
use dwcp_runtime_sim::{Effect, Fault, Latency, NodePlan, Plan, Target};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::millis(n)
}

pub fn nodes(n: u64) -> Vec<NodePlan> {
    (1..=n).map(|i| NodePlan::new(i, "here")).collect()
}

/// Two or more nodes, 5 ms apart.
pub fn plan(seed: u64, n: u64, until_ms: u64) -> Plan {
    let latency = Latency::Uniform { min: Duration::millis(5), max: Duration::millis(5) };
    Plan::calm(dwcp_env::Seed(seed), nodes(n), latency, ms(until_ms))
}

pub fn on_node(node: u64, at: u64, until: u64, effect: Effect) -> Fault {
    Fault::node(NodeId(node), ms(at), ms(until), effect)
}

pub fn on_links(from: &[u64], to: &[u64], at: u64, until: u64, effect: Effect) -> Fault {
    let ids = |s: &[u64]| s.iter().map(|n| NodeId(*n)).collect::<Vec<_>>();
    Fault { at: ms(at), until: ms(until), target: Target::between(&ids(from), &ids(to)), effect }
}

/// Sends a number to every peer each millisecond of its clock, and remembers all it sees.
pub struct Chatter {
    pub id: NodeId,
    pub peers: Vec<NodeId>,
    pub version: u32,
    pub size: usize,
    pub next: u64,
    pub wake_at: Instant,
    /// From whom, which number, when on our clock.
    pub heard: Vec<(NodeId, u64, Instant)>,
    /// Messages whose filling was not ours.
    pub odd: u64,
    /// The clocks at each turn.
    pub clocks: Vec<Now>,
    pub stops: u64,
}

impl Chatter {
    pub fn boot(n: u64, size: usize) -> impl FnMut(NodeId, World, u32) -> Result<Self, String> {
        move |id, world, version| {
            Ok(Self {
                id,
                peers: (1..=n).map(NodeId).filter(|p| *p != id).collect(),
                version,
                size,
                next: 0,
                wake_at: world.now.mono,
                heard: Vec::new(),
                odd: 0,
                clocks: Vec::new(),
                stops: 0,
            })
        }
    }
    pub fn from(&self, n: u64) -> Vec<u64> {
        self.heard.iter().filter(|h| h.0 == NodeId(n)).map(|h| h.1).collect()
    }
}

impl Machine for Chatter {
    type Request = ();
    type Response = ();
    fn step(&mut self, now: Now, input: Input<()>, out: &mut Outputs<()>) {
        self.clocks.push(now);
        match input {
            Input::Wake => {
                assert!(now.mono >= self.wake_at, "woken early");
                let mut body = vec![0xAA; self.size.max(8)];
                body[..8].copy_from_slice(&self.next.to_le_bytes());
                self.next += 1;
                let body = Bytes::from(body);
                for to in &self.peers {
                    out.sends.push(Send { to: *to, lane: Lane::Data, body: body.clone(), after: None });
                }
                self.wake_at = now.mono + Duration::millis(1);
            }
            Input::Message { from, body, .. } => {
                let n = u64::from_le_bytes(body[..8].try_into().unwrap());
                if body[8..].iter().any(|b| *b != 0xAA) || n > 1 << 32 {
                    self.odd += 1;
                } else {
                    self.heard.push((from, n, now.mono));
                }
            }
            Input::Stop { .. } => {
                self.stops += 1;
                out.stopped = Some(Stopped::Asked);
            }
            _ => {}
        }
        out.wake_at = Some(self.wake_at);
    }
}

/// What a ledger is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Append this number, and answer when it is durable.
    Append(u64),
    /// Replace the snapshot, in a job.
    Snapshot(u64),
    /// Read the whole log again through the storage.
    Reread,
}

/// How a ledger is broken, if it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    None,
    /// Answers before its write is durable.
    AnswersEarly,
    /// Never syncs the directory after making its file.
    ForgetsDirectory,
    /// Believes records whose checksum is wrong.
    TrustsBytes,
    /// Never syncs.
    NeverSyncs,
    /// Goes on after a failed write.
    GoesOnAfterFailure,
    /// Replaces the snapshot without syncing it first.
    RenamesUnsynced,
}

/// An append-only log of numbers: the smallest thing that must survive a disk.
///
/// A record is 24 bytes: its place, the number, a checksum of both.
pub struct Ledger {
    pub id: NodeId,
    pub flaw: Flaw,
    pub values: Vec<u64>,
    pub snapshot: Option<u64>,
    pub storage: Arc<dyn Storage>,
    /// Bytes behind the last sound record that were not zeros.
    pub torn_tail: bool,
    pub reread_failed: u64,
    pub reread_differs: u64,
    ticket: u64,
    /// Replies that wait for a job.
    jobs: BTreeMap<u64, (RequestId, u64)>,
    next_job: u64,
    pub failures: u64,
}

const RECORD: usize = 24;
pub const SNAPSHOT_LEN: usize = 40_000;

fn name(n: &str) -> FileName {
    FileName::new(n).unwrap()
}

fn record(place: u64, value: u64) -> [u8; RECORD] {
    let mut r = [0; RECORD];
    r[..8].copy_from_slice(&place.to_le_bytes());
    r[8..16].copy_from_slice(&value.to_le_bytes());
    let check = dwcp_runtime_sim::fingerprint::digest(&r[..16]) | 1;
    r[16..].copy_from_slice(&check.to_le_bytes());
    r
}

pub fn parse(bytes: &[u8], trusting: bool) -> (Vec<u64>, bool) {
    let mut values = Vec::new();
    for r in bytes.chunks_exact(RECORD) {
        let value = u64::from_le_bytes(r[8..16].try_into().unwrap());
        let sound = *r == record(values.len() as u64, value);
        let claimed = trusting && r.iter().any(|b| *b != 0);
        if !sound && !claimed {
            break;
        }
        values.push(value);
    }
    let rest = &bytes[values.len() * RECORD..];
    (values, rest.iter().any(|b| *b != 0))
}

fn snapshot_bytes(version: u64) -> Vec<u8> {
    version.to_le_bytes().into_iter().cycle().take(SNAPSHOT_LEN).collect()
}

impl Ledger {
    pub fn boot(flaw: Flaw) -> impl FnMut(NodeId, World, u32) -> Result<Self, String> {
        move |id, world, _| Self::recover(id, flaw, &world).map_err(|e| e.to_string())
    }

    fn recover(id: NodeId, flaw: Flaw, world: &World) -> Result<Self, dwcp_env::DiskError> {
        let storage = world.storage.clone();
        let log = name("log");
        if !storage.list()?.contains(&log) {
            storage.create(&log)?.sync()?;
            if flaw != Flaw::ForgetsDirectory {
                storage.sync_dir()?;
            }
        }
        let bytes = disk::read_all(&*storage, &log)?;
        let (values, torn_tail) = parse(&bytes, flaw == Flaw::TrustsBytes);
        if torn_tail {
            // Cut what never finished, so that later records do not stand behind it.
            let f = storage.open(&log)?;
            f.set_len((values.len() * RECORD) as u64)?;
            f.sync()?;
        }
        let snap = name("snap");
        let snapshot = if storage.list()?.contains(&snap) {
            let bytes = disk::read_all(&*storage, &snap)?;
            let version = bytes.get(..8).map_or(u64::MAX, |b| u64::from_le_bytes(b.try_into().unwrap()));
            world.probe.always("snapshot is whole", bytes == snapshot_bytes(version), || {
                format!("{} bytes, first version {version}", bytes.len())
            });
            Some(version)
        } else {
            None
        };
        world.probe.sometimes("ledger.recovered", !values.is_empty());
        Ok(Self {
            id,
            flaw,
            values,
            snapshot,
            storage,
            torn_tail,
            reread_failed: 0,
            reread_differs: 0,
            ticket: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            failures: 0,
        })
    }

    fn append(&mut self, id: RequestId, value: u64, out: &mut Outputs<u64>) {
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        let offset = (self.values.len() * RECORD) as u64;
        let data = Bytes::copy_from_slice(&record(self.values.len() as u64, value));
        self.values.push(value);
        let mut ops = vec![DiskOp::Write { file: name("log"), offset, data }];
        if self.flaw != Flaw::NeverSyncs {
            ops.push(DiskOp::Sync { file: name("log") });
        }
        out.disk.push(DiskRequest { ticket, ops });
        let after = (self.flaw != Flaw::AnswersEarly).then_some(ticket);
        out.replies.push(Reply { id, response: value, end: true, after });
    }

    fn start_snapshot(&mut self, id: RequestId, version: u64, out: &mut Outputs<u64>) {
        self.next_job += 1;
        self.jobs.insert(self.next_job, (id, version));
        let (storage, flaw) = (self.storage.clone(), self.flaw);
        let run = move || -> Box<dyn std::any::Any + std::marker::Send> {
            let data = snapshot_bytes(version);
            let done = if flaw == Flaw::RenamesUnsynced {
                storage
                    .create(&name("snap.tmp"))
                    .and_then(|f| f.write_at(0, &data))
                    .and_then(|()| storage.rename(&name("snap.tmp"), &name("snap")))
                    .and_then(|()| storage.sync_dir())
            } else {
                disk::replace(&*storage, &name("snap"), &data)
            };
            Box::new(done.is_ok())
        };
        out.jobs.push(Job {
            id: JobId(self.next_job),
            name: "snapshot",
            cost: Duration::millis(2),
            run: Box::new(run),
        });
    }

    fn reread(&mut self) {
        match disk::read_all(&*self.storage, &name("log")) {
            Ok(bytes) => {
                let (found, _) = parse(&bytes, false);
                let wanted = self.values.len().min(found.len().max(1));
                self.reread_differs += u64::from(found.get(..wanted) != self.values.get(..wanted));
            }
            Err(_) => self.reread_failed += 1,
        }
    }
}

impl Machine for Ledger {
    type Request = Ask;
    type Response = u64;
    fn step(&mut self, _: Now, input: Input<Ask>, out: &mut Outputs<u64>) {
        match input {
            Input::Request { id, request: Ask::Append(value), .. } => self.append(id, value, out),
            Input::Request { id, request: Ask::Snapshot(version), .. } => {
                self.start_snapshot(id, version, out)
            }
            Input::Request { id, request: Ask::Reread, .. } => {
                self.reread();
                out.replies.push(Reply { id, response: 0, end: true, after: None });
            }
            Input::Disk { result: Err(e), .. } => {
                self.failures += 1;
                if self.flaw != Flaw::GoesOnAfterFailure {
                    out.stopped = Some(Stopped::Failed(e.to_string()));
                }
            }
            Input::Job { job, result } => {
                let made = result.and_then(|r| r.downcast::<bool>().ok()).is_some_and(|b| *b);
                let (id, version) = self.jobs.remove(&job.0).unwrap();
                if made {
                    self.snapshot = Some(version);
                    out.replies.push(Reply { id, response: version, end: true, after: None });
                } else {
                    out.stopped = Some(Stopped::Failed("the snapshot failed".into()));
                }
            }
            _ => {}
        }
    }
}

/// A chatter and a ledger in one process, with probes: something of everything.
pub struct Mixer {
    pub chatter: Chatter,
    pub ledger: Ledger,
    probe: dwcp_env::Probe,
    /// At this time of its clock, and from this incarnation on, node 3 alters one byte it sends.
    pub odd_at: Option<Instant>,
}

impl Mixer {
    pub fn boot(n: u64, odd_at: Option<Instant>) -> impl FnMut(NodeId, World, u32) -> Result<Self, String> {
        let mut chatter = Chatter::boot(n, 100);
        let mut ledger = Ledger::boot(Flaw::None);
        move |id, world, version| {
            let probe = world.probe.clone();
            let records = dwcp_env::Event::NodeStarted { records: 1, took: Duration::ZERO };
            probe.event(&records);
            let ledger = ledger(id, world.clone(), version)?;
            Ok(Self { chatter: chatter(id, world, version)?, ledger, probe, odd_at })
        }
    }
}

impl Machine for Mixer {
    type Request = Ask;
    type Response = u64;
    fn step(&mut self, now: Now, input: Input<Ask>, out: &mut Outputs<u64>) {
        match input {
            Input::Wake | Input::Message { .. } | Input::Stop { .. } => {
                let input = match input {
                    Input::Message { from, lane, body } => Input::Message { from, lane, body },
                    Input::Stop { deadline } => Input::Stop { deadline },
                    _ => Input::Wake,
                };
                let mut own = Outputs::new();
                self.chatter.step(now, input, &mut own);
                if self.chatter.id == NodeId(3)
                    && self.odd_at.is_some_and(|t| now.mono >= t && now.mono < t + Duration::millis(1))
                {
                    for s in &mut own.sends {
                        s.body = Bytes::from_static(b"something else");
                    }
                }
                out.sends.append(&mut own.sends);
                out.stopped = own.stopped;
            }
            Input::Request { id, deadline, request } => {
                let again = self.probe.buggify("mixer.sends_twice");
                self.ledger.step(now, Input::Request { id, deadline, request }, out);
                // What it appended it tells its peers, but only once it is durable.
                if let Some(ticket) = out.disk.last().map(|d| d.ticket) {
                    for to in self.chatter.peers.clone() {
                        for _ in 0..=usize::from(again) {
                            let body = Bytes::from(vec![0xAA; 64]);
                            out.sends.push(Send { to, lane: Lane::Bulk, body, after: Some(ticket) });
                        }
                    }
                }
            }
            other => self.ledger.step(now, other, out),
        }
        out.wake_at = Some(self.chatter.wake_at);
    }
}
