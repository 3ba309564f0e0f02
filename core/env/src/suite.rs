//! The contract, examined from inside: a machine that any runtime can be asked to run.
//!
//! **Promise.** An [`Examinee`] gives its runtime every kind of work there is, and states
//! through [`Probe::always`](crate::Probe::always) whatever it sees that the contract
//! ([`crate::contract`]) forbids. It needs no protocol, no faults and no view from outside;
//! under crashes, cuts and pauses it sees more.
//!
//! | probe | is broken when |
//! |---|---|
//! | `contract.1` | the monotonic clock goes back between steps |
//! | `contract.2` | a message comes back that was to wait for a write which is not durable, or has failed |
//! | `contract.3` | completions are not in the order of their tickets, or one comes twice |
//! | `contract.4` | a message is not what was sent |
//! | `contract.5` | a wake comes before its time |
//! | `contract.6` | a new incarnation meets a ticket, job or request of the old one, or lacks what was durable |
//!
//! **How.** Every tick a node writes the next number to its log, and tells its peers once the
//! number is durable. A peer answers with the ticket it was told, and with the highest number
//! it ever heard: the writer knows whether both can be. Now and then a request is made to fail,
//! with a message behind it that nobody may ever hear.

use crate::contract::{Input, Job, Lane, Machine, Outputs, Reply, Send, Stopped, World};
use crate::disk::{self, DiskError, DiskOp, DiskRequest, FileName, Storage};
use crate::id::{JobId, NodeId, RequestId, Ticket};
use crate::probe::Probe;
use crate::time::{Duration, Instant, Now};
use crate::wire;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::any::Any;
use serde::{Deserialize, Serialize};

/// Between two ticks.
pub const TICK: Duration = Duration::millis(2);
/// The most numbers a log holds: the node then stops writing and goes on answering.
pub const NUMBERS: u64 = 8_192;

const RECORD: usize = 16;
/// Identifiers of one incarnation: more than it can use.
const SPAN: u64 = 1 << 32;

/// What has been exercised so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Of this node, counted from one.
    pub incarnation: u64,
    /// Steps taken.
    pub steps: u64,
    /// Wakes that had been asked for.
    pub wakes: u64,
    /// The most that one came late.
    pub latest: Duration,
    /// Requests completed well.
    pub written: u64,
    /// Requests that failed as they should.
    pub refused: u64,
    /// Jobs that came back.
    pub jobs: u64,
    /// Letters that came and checked.
    pub letters: u64,
    /// Numbers the log held at boot.
    pub recovered: u64,
    /// Numbers that peers have said back, which had been durable.
    pub vouched: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Say {
    /// This number of mine is durable; it was written under this ticket.
    Durable { number: u64, ticket: u64, incarnation: u64 },
    /// What you told me, and the highest number I ever heard of you.
    Heard { ticket: u64, incarnation: u64, highest: u64 },
    /// Must never arrive: it was to wait for what has failed.
    Never { ticket: u64 },
}

#[derive(Serialize, Deserialize)]
struct Letter {
    say: Say,
    filling: Vec<u8>,
    check: u64,
}

/// FNV-1a, so that an altered letter is known even where the frame's checksum is not checked.
fn check(say: &Say, filling: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for b in wire::encode(say).iter().chain(filling) {
        h = (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3);
    }
    h
}

/// A node that examines its runtime.
pub struct Examinee {
    id: NodeId,
    peers: Vec<NodeId>,
    probe: Probe,
    storage: Arc<dyn Storage>,
    report: Report,
    last: Instant,
    wake_at: Option<Instant>,
    next_tick: Instant,
    ticks: u64,
    /// Numbers in the log, those under way included.
    numbers: u64,
    next_ticket: u64,
    next_job: u64,
    completed: u64,
    failed: BTreeSet<u64>,
    meant_to_fail: BTreeSet<u64>,
    jobs: BTreeSet<u64>,
    requests: BTreeSet<u64>,
    highest: BTreeMap<NodeId, u64>,
}

impl core::fmt::Debug for Examinee {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Examinee({} {:?})", self.id, self.report)
    }
}

fn file(name: &str) -> FileName {
    FileName::new(name).expect("the suite's names are legal")
}

fn record(number: u64) -> [u8; RECORD] {
    let mut r = [0; RECORD];
    r[..8].copy_from_slice(&number.to_le_bytes());
    r[8..].copy_from_slice(&(!number).to_le_bytes());
    r
}

impl Examinee {
    /// Boots from what the last incarnation made durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn boot(id: NodeId, peers: &[NodeId], world: &World) -> Result<Self, DiskError> {
        let storage = world.storage.clone();
        let names = storage.list()?;
        let life = file("suite.life");
        let before = if names.contains(&life) { disk::read_all(&*storage, &life)? } else { Vec::new() };
        let incarnation = before.first_chunk().map_or(0, |b| u64::from_le_bytes(*b)) + 1;
        disk::replace(&*storage, &life, &incarnation.to_le_bytes())?;
        let log = file("suite.log");
        let bytes = if names.contains(&log) { disk::read_all(&*storage, &log)? } else { Vec::new() };
        let sound = |(i, r): &(usize, &[u8])| **r == record(*i as u64 + 1);
        let numbers = bytes.chunks_exact(RECORD).enumerate().take_while(sound).count() as u64;
        Ok(Self {
            id,
            peers: peers.iter().copied().filter(|p| *p != id).collect(),
            probe: world.probe.clone(),
            storage,
            report: Report { incarnation, recovered: numbers, ..Report::default() },
            last: world.now.mono,
            wake_at: None,
            next_tick: world.now.mono,
            ticks: 0,
            numbers,
            next_ticket: incarnation * SPAN,
            next_job: incarnation * SPAN,
            completed: incarnation * SPAN,
            failed: BTreeSet::new(),
            meant_to_fail: BTreeSet::new(),
            jobs: BTreeSet::new(),
            requests: BTreeSet::new(),
            highest: BTreeMap::new(),
        })
    }

    /// What has been exercised so far.
    #[must_use]
    pub const fn report(&self) -> Report {
        self.report
    }

    fn submit(&mut self, ops: Vec<DiskOp>, out: &mut Outputs<Report>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        out.disk.push(DiskRequest { ticket, ops });
        ticket
    }

    fn tell(&self, to: NodeId, lane: Lane, say: Say, after: Option<Ticket>, out: &mut Outputs<Report>) {
        // Small ones, and now and then one of some kilobytes.
        let size = if self.ticks.is_multiple_of(32) { 5_000 } else { self.ticks % 13 * 17 };
        let filling: Vec<u8> = (0..size).map(|i| (i * 31 + self.ticks) as u8).collect();
        let check = check(&say, &filling);
        let body = Bytes::from(wire::encode(&Letter { say, filling, check }));
        out.sends.push(Send { to, lane, body, after });
    }

    fn tick(&mut self, now: Now, out: &mut Outputs<Report>) {
        self.ticks += 1;
        self.next_tick = now.mono + TICK;
        if self.ticks == 1 && self.report.recovered == 0 {
            let len = NUMBERS * RECORD as u64;
            self.submit(alloc::vec![DiskOp::Create { file: file("suite.log"), len }, DiskOp::SyncDir], out);
        }
        if self.numbers < NUMBERS {
            self.write_number(out);
        }
        if self.ticks.is_multiple_of(8) {
            let ops = alloc::vec![DiskOp::Rename { from: file("suite.none"), to: file("suite.else") }];
            let ticket = self.submit(ops, out);
            self.meant_to_fail.insert(ticket.0);
            for to in self.peers.clone() {
                self.tell(to, Lane::Data, Say::Never { ticket: ticket.0 }, Some(ticket), out);
            }
        }
        if self.ticks.is_multiple_of(16) {
            self.start_job(out);
        }
    }

    fn write_number(&mut self, out: &mut Outputs<Report>) {
        let offset = self.numbers * RECORD as u64;
        self.numbers += 1;
        let (number, log) = (self.numbers, file("suite.log"));
        let data = Bytes::copy_from_slice(&record(number));
        let ops = alloc::vec![DiskOp::Write { file: log.clone(), offset, data }, DiskOp::Sync { file: log }];
        let ticket = self.submit(ops, out);
        let incarnation = self.report.incarnation;
        let lane = Lane::ALL[self.ticks as usize % 3];
        for to in self.peers.clone() {
            let say = Say::Durable { number, ticket: ticket.0, incarnation };
            self.tell(to, lane, say, Some(ticket), out);
        }
    }

    fn start_job(&mut self, out: &mut Outputs<Report>) {
        self.next_job += 1;
        let (job, storage) = (self.next_job, self.storage.clone());
        self.jobs.insert(job);
        let run = move || -> Box<dyn Any + core::marker::Send> {
            let bytes = job.to_le_bytes();
            Box::new(disk::replace(&*storage, &file("suite.job"), &bytes).map(|()| job))
        };
        out.jobs.push(Job { id: JobId(job), name: "suite", cost: Duration::millis(1), run: Box::new(run) });
    }

    fn on_disk(&mut self, ticket: Ticket, result: Result<(), DiskError>, out: &mut Outputs<Report>) {
        let (t, next) = (ticket.0, self.completed + 1);
        if !self.mine(t, self.next_ticket, "ticket") {
            return;
        }
        self.probe.always("contract.3", t == next, || alloc::format!("{ticket} completes, t{next} is due"));
        self.completed = t;
        let meant = self.meant_to_fail.remove(&t);
        match result {
            Ok(()) => {
                self.probe.always("contract.3", !meant, || {
                    alloc::format!("{ticket} succeeds, and renamed a file that never was")
                });
                self.report.written += 1;
            }
            Err(_) if meant => {
                self.failed.insert(t);
                self.report.refused += 1;
            }
            Err(e) => {
                self.failed.insert(t);
                out.stopped = Some(Stopped::Failed(e.to_string()));
            }
        }
    }

    /// Whether an identifier is of this incarnation; states the invariant.
    fn mine(&self, id: u64, last: u64, what: &str) -> bool {
        let first = self.report.incarnation * SPAN;
        let mine = first < id && id <= last;
        self.probe.always("contract.6", mine, || {
            alloc::format!("incarnation {} is given {what} {id}", self.report.incarnation)
        });
        mine
    }

    fn on_letter(&mut self, from: NodeId, lane: Lane, body: &Bytes, out: &mut Outputs<Report>) {
        let letter: Option<Letter> = wire::decode(body).ok();
        let sound = letter.as_ref().is_some_and(|l| l.check == check(&l.say, &l.filling));
        self.probe.always("contract.4", sound, || alloc::format!("{} bytes from {from}", body.len()));
        let Some(letter) = letter else { return };
        self.report.letters += 1;
        match letter.say {
            Say::Durable { number, ticket, incarnation } => {
                let highest = self.highest.entry(from).or_default();
                *highest = number.max(*highest);
                let say = Say::Heard { ticket, incarnation, highest: *highest };
                self.tell(from, lane, say, None, out);
            }
            Say::Heard { ticket, incarnation, highest } => self.on_heard(ticket, incarnation, highest),
            Say::Never { ticket } => self.probe.always("contract.2", false, || {
                alloc::format!("{from} sent what was to wait for t{ticket}, which failed")
            }),
        }
    }

    fn on_heard(&mut self, ticket: u64, incarnation: u64, highest: u64) {
        if incarnation == self.report.incarnation {
            let done = ticket <= self.completed && !self.failed.contains(&ticket);
            self.probe.always("contract.2", done, || {
                alloc::format!("t{ticket} has left, t{} is the last that completed", self.completed)
            });
        }
        self.probe.always("contract.6", highest <= self.numbers, || {
            alloc::format!("{highest} numbers were durable, {} are here", self.numbers)
        });
        self.report.vouched = self.report.vouched.max(highest);
    }
}

impl Machine for Examinee {
    type Request = ();
    type Response = Report;

    fn step(&mut self, now: Now, input: Input<()>, out: &mut Outputs<Report>) {
        self.report.steps += 1;
        let last = core::mem::replace(&mut self.last, now.mono);
        self.probe.always("contract.1", now.mono >= last, || alloc::format!("{last}, then {}", now.mono));
        match input {
            Input::Wake => {
                if let Some(at) = self.wake_at {
                    self.probe.always("contract.5", now.mono >= at, || {
                        alloc::format!("woken at {}, asked for {at}", now.mono)
                    });
                    self.report.wakes += 1;
                    self.report.latest = self.report.latest.max(now.mono.since(at));
                }
            }
            Input::Message { from, lane, body } => self.on_letter(from, lane, &body, out),
            Input::Disk { ticket, result } => self.on_disk(ticket, result, out),
            Input::Job { job, result } => {
                let asked = self.mine(job.0, self.next_job, "job") && self.jobs.remove(&job.0);
                let made = result.and_then(|r| r.downcast::<Result<u64, DiskError>>().ok());
                let own = made.is_none_or(|m| m.map_or(true, |j| j == job.0));
                self.probe.always("contract.6", asked && own, || {
                    alloc::format!("{job} is not ours, or came twice")
                });
                self.report.jobs += 1;
            }
            Input::Request { id, .. } => {
                let RequestId(n) = id;
                let fresh = self.requests.insert(n);
                self.probe.always("contract.6", fresh, || alloc::format!("{id} comes twice"));
                out.replies.push(Reply { id, response: self.report, end: true, after: None });
            }
            Input::Cancel { .. } | Input::Unreachable { .. } => {}
            Input::Stop { .. } => {
                out.stopped = Some(Stopped::Asked);
                return;
            }
        }
        if now.mono >= self.next_tick {
            self.tick(now, out);
        }
        self.wake_at = Some(self.next_tick);
        out.wake_at = self.wake_at;
    }
}
