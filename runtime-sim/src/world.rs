//! The run: nodes, clients and faults on one line of time.
//!
//! **Promise.** [`SimWorld`] keeps the node's contract ([`dwcp_env::contract`]) to the letter
//! while its plan breaks everything the contract allows to be broken.
//!
//! | invariant of the contract | here |
//! |---|---|
//! | one step at a time, `mono` never back | one loop; checked at every turn |
//! | nothing leaves before its ticket | gated outputs wait in the request's place in the queue; a ticket never handed out is a violation `contract.ticket` |
//! | disk requests in order, each completes once | the `disk` module; a gap in tickets is a violation `contract.ticket` |
//! | messages never altered | corrupted frames are parsed as in production, and refused |
//! | no early wake | timers are turned into simulated times by the node's own clock, and checked when they fire |
//! | nothing of an old incarnation | each event names the life it is meant for |
//!
//! **One event**: pop, note it (fingerprint, trace), give the node its input, carry out what
//! it asks, show the caller's hook what was noted. A node's first input after boot is `Wake`.
//!
//! **Violations** — a node's `always`, the caller's invariant, a broken contract, a panic — are
//! recorded with their time; the first one ends the run.
//!
//! **CPU.** With [`crate::plan::ProcessSettings::turn`] or `input` not zero, inputs wait in the
//! node's inbox while it works, and a turn takes all that waits, so that saturation shows. A
//! turn's outputs leave at its end. What a turn reads from its disk makes it longer.
//!
//! **Supervisor.** A node that ends itself for its environment's fault, or can't boot, is
//! started again after a while, as a service manager would.

mod carry;
mod clients;
mod faults;
mod host;
mod process;
mod reset;

mod view;

pub use view::View;

use crate::client::{Advance, ClientEvent};
use crate::clock::Clock;
use crate::disk::Shared;
use crate::fault::{Fault, Fired};
use crate::fingerprint::{Fingerprint, Trail};
use crate::net::Net;
use crate::plan::{Plan, PlanError};
use crate::queue::Queue;
use crate::trace::{Event, Keep, Violation, What};
use crate::watch::{Reached, Witness};
use bytes::Bytes;
use clients::Waiting;
use dwcp_env::{Input, Instant, Lane, Machine, NodeId, Outputs, Purpose, RequestId, Seed, World};
use host::Host;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SKEW: Purpose = Purpose::named("world.skew");
const DRIFT: Purpose = Purpose::named("world.drift");
const INCARNATION: Purpose = Purpose::named("world.incarnation");

/// What the world does next.
enum Next<M: Machine> {
    Deliver { to: u16, from: u16, lane: Lane, body: Bytes, digest: u64, message: u64 },
    Wake { node: u16, generation: u32 },
    Disk { node: u16, life: u32 },
    Job { node: u16, life: u32, slot: u32 },
    Resume { node: u16, life: u32 },
    Request { node: u16, id: RequestId, deadline: u64, request: Box<M::Request> },
    Cancel { node: u16, id: RequestId },
    Expire { node: u16, id: RequestId },
    Client(Box<ClientEvent<M::Response>>),
    Timer(u64),
    FaultOn(u32),
    FaultOff(u32),
    Start { node: u16 },
    Boot { node: u16, life: u32 },
    Strike { node: u16, life: u32, fault: u32 },
    Stop { node: u16, deadline: u64 },
    Overdue { node: u16, life: u32 },
    Rekey,
    Unreachable { node: u16, peer: u16, wrong: bool },
}

type Boot<M> = Box<dyn FnMut(NodeId, World, u32) -> Result<M, String>>;
type Hook<M> = Box<dyn FnMut(&View<'_, M>, &Event) -> Option<(String, String)>>;

/// Counts of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Events taken from the queue.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Their bodies' bytes.
    pub message_bytes: u64,
    /// Disk requests carried out.
    pub disk_requests: u64,
    /// Frames that did not check, and were dropped.
    pub bad_frames: u64,
    /// Replies that came after their request had ended.
    pub late_replies: u64,
    /// Turns of all nodes.
    pub turns: u64,
}

/// A cluster of `M` under a plan.
pub struct SimWorld<M: Machine> {
    plan: Plan,
    windows: Vec<Fault>,
    /// Which windows have taken their node down.
    struck: Vec<bool>,
    /// Windows of links that are on.
    burdens: Vec<u32>,

    now: u64,
    /// What draws are keyed by at present.
    seed: Seed,
    time: Arc<AtomicU64>,
    queue: Queue<Next<M>>,
    net: Net,
    hosts: Vec<Host<M>>,
    by_id: BTreeMap<NodeId, u16>,
    /// By identifier, for small identifiers; `u16::MAX` is nobody.
    dense: Vec<u16>,
    boot: Boot<M>,
    /// Whether turns take time.
    timed: bool,

    waiting: Waiting,
    heard: VecDeque<Advance<M::Response>>,

    fingerprint: Fingerprint,
    keep: Keep,
    noting: bool,
    fresh: Vec<Event>,
    events: Vec<Event>,
    hook: Option<Hook<M>>,
    witness: Arc<Witness>,
    fired: Fired,
    violation: Option<Violation>,
    stats: Stats,
    next_message: u64,

    // Reused from turn to turn.
    inputs: Vec<Input<M::Request>>,
    out: Option<Box<Outputs<M::Response>>>,
}

impl<M: Machine> std::fmt::Debug for SimWorld<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimWorld({} nodes at {}, {} events)", self.hosts.len(), self.now(), self.stats.events)
    }
}

impl<M: Machine> SimWorld<M> {
    /// A world at time zero, before the first boot. `boot` builds a node from its world and
    /// the version of the program; its error is for people.
    ///
    /// # Errors
    /// What is wrong with the plan.
    pub fn new(
        plan: Plan,
        boot: impl FnMut(NodeId, World, u32) -> Result<M, String> + 'static,
    ) -> Result<Self, PlanError> {
        plan.check()?;
        let time = Arc::new(AtomicU64::new(0));
        let hosts: Vec<Host<M>> =
            plan.nodes.iter().map(|n| new_host(&plan, n.id, n.version, &time)).collect();
        let windows = plan.windows();
        let mut world = Self {
            struck: vec![false; windows.len()],
            burdens: Vec::new(),
            now: 0,
            seed: plan.seed,
            queue: Queue::new(),
            net: Net::new(&plan),
            by_id: hosts.iter().enumerate().map(|(i, h)| (h.id, i as u16)).collect(),
            dense: dense(&hosts),
            hosts,
            boot: Box::new(boot),
            timed: plan.process.turn.as_nanos() > 0 || plan.process.input.as_nanos() > 0,
            waiting: Waiting::default(),
            heard: VecDeque::new(),
            fingerprint: Fingerprint::new(),
            keep: Keep::Nothing,
            noting: false,
            fresh: Vec::new(),
            events: Vec::new(),
            hook: None,
            witness: Witness::new(plan.seed, plan.buggify, time.clone()),
            time,
            fired: Fired::default(),
            violation: None,
            stats: Stats::default(),
            next_message: 0,
            inputs: Vec::new(),
            out: None,
            windows,
            plan,
        };
        // Before all else of their moment.
        for rekey in &world.plan.rekey {
            world.queue.push(rekey.at.as_nanos(), Next::Rekey);
        }
        for (i, fault) in world.windows.iter().enumerate() {
            world.queue.push(fault.at.as_nanos(), Next::FaultOn(i as u32));
        }
        for (i, node) in world.plan.nodes.iter().enumerate() {
            world.queue.push(node.boot_at.as_nanos(), Next::Start { node: i as u16 });
        }
        Ok(world)
    }

    // --- what the caller sets ---

    /// Calls `hook` after every event, with what was noted; what it returns is a violation's
    /// name and detail.
    pub fn watch(&mut self, hook: impl FnMut(&View<'_, M>, &Event) -> Option<(String, String)> + 'static) {
        self.hook = Some(Box::new(hook));
        self.noting = true;
    }
    /// What to keep of the events from here on.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
        self.noting = self.hook.is_some() || keep != Keep::Nothing;
        self.witness.want_texts(keep != Keep::Nothing);
    }
    /// Comes back from [`SimWorld::advance`] at `at` with this number; at once if it is past.
    pub fn timer(&mut self, at: Instant, token: u64) {
        self.queue.push(at.as_nanos().max(self.now), Next::Timer(token));
    }
    /// Adds a fault to those of the plan, from now on; for scripts of one disaster.
    ///
    /// # Errors
    /// What is wrong with it. A beginning in the past is moved to now.
    pub fn inject(&mut self, fault: Fault) -> Result<(), PlanError> {
        let mut probe = Plan { faults: vec![fault], ..self.plan.clone() };
        probe.check()?;
        for mut fault in probe.faults.drain(..) {
            fault.at = fault.at.max(self.now());
            fault.until = fault.until.max(fault.at);
            let index = self.windows.len() as u32;
            self.queue.push(fault.at.as_nanos(), Next::FaultOn(index));
            self.windows.push(fault);
            self.struck.push(false);
        }
        Ok(())
    }
    /// Asks a node to end well by `deadline`; it is not started again.
    pub fn stop(&mut self, node: NodeId, deadline: Instant) {
        if let Some(i) = self.index(node) {
            self.queue.push(self.now, Next::Stop { node: i as u16, deadline: deadline.as_nanos() });
        }
    }

    // --- running ---

    /// Runs until something concerns the caller, or it is `limit`; with [`Instant::FAR`], until
    /// nothing is left to happen.
    pub fn advance(&mut self, limit: Instant) -> Advance<M::Response> {
        self.advance_until(limit, |_| false)
    }
    /// As [`SimWorld::advance`], and comes back once `reached` holds after an event.
    pub fn advance_until(
        &mut self,
        limit: Instant,
        mut reached: impl FnMut(&View<'_, M>) -> bool,
    ) -> Advance<M::Response> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return heard;
            }
            if self.violation.is_some() {
                return Advance::Violated;
            }
            match self.queue.next_at() {
                Some(at) if at <= limit.as_nanos() => {}
                _ => {
                    if limit != Instant::FAR {
                        self.set_time(limit.as_nanos().max(self.now));
                    }
                    return Advance::Limit;
                }
            }
            self.run_one();
            if self.violation.is_none() && reached(&self.view()) {
                return Advance::Reached;
            }
        }
    }
    /// Runs to `limit`, ignoring clients and timers; whether no invariant broke.
    pub fn run_until(&mut self, limit: Instant) -> Result<(), Violation> {
        loop {
            match self.advance(limit) {
                Advance::Limit => return Ok(()),
                Advance::Violated => match &self.violation {
                    Some(v) => return Err(v.clone()),
                    None => return Ok(()),
                },
                Advance::Client(_) | Advance::Timer(_) | Advance::Reached => {}
            }
        }
    }

    fn set_time(&mut self, now: u64) {
        self.now = now;
        self.time.store(now, Ordering::Relaxed);
    }

    fn run_one(&mut self) {
        let Some((at, next)) = self.queue.pop() else { return };
        assert!(at >= self.now, "time went back from {} to {at}", self.now);
        if at != self.now {
            self.set_time(at);
        }
        self.stats.events += 1;
        match next {
            Next::Deliver { to, from, lane, body, digest, message } => {
                self.deliver(to, from, lane, body, digest, message);
            }
            Next::Wake { node, generation } => self.wake(node as usize, generation),
            Next::Disk { node, life } => self.disk_done(node as usize, life),
            Next::Job { node, life, slot } => self.job_done(node as usize, life, slot),
            Next::Resume { node, life } => self.resume(node as usize, life),
            Next::Request { node, id, deadline, request } => {
                self.request_arrives(node as usize, id, deadline, *request);
            }
            Next::Cancel { node, id } => self.cancel_arrives(node as usize, id),
            Next::Expire { node, id } => self.expire(node as usize, id),
            Next::Client(event) => self.client_hears(*event),
            Next::Timer(token) => {
                self.note(token, || What::Timer { token });
                self.heard.push_back(Advance::Timer(token));
            }
            Next::FaultOn(index) => self.fault_on(index),
            Next::FaultOff(index) => self.fault_off(index),
            Next::Start { node } => self.start(node as usize),
            Next::Boot { node, life } => self.boot_due(node as usize, life),
            Next::Strike { node, life, fault } => self.strike(node as usize, life, fault),
            Next::Stop { node, deadline } => self.ask_to_stop(node as usize, deadline),
            Next::Overdue { node, life } => self.overdue(node as usize, life),
            Next::Rekey => self.rekey(),
            Next::Unreachable { node, peer, wrong } => {
                self.unreachable(node as usize, peer as usize, wrong);
            }
        }
        if self.witness.waits() {
            self.take_told();
        }
        if self.noting {
            self.show();
        }
    }

    /// Nothing a node can see happens: the run's trace has no event of it.
    fn rekey(&mut self) {
        self.seed = self.plan.seed_at(self.now());
        self.net.rekey(self.seed);
        self.witness.rekey(self.seed);
        for host in &self.hosts {
            host.disk.lock().rekey(self.seed);
        }
    }

    // --- noting ---

    /// Notes an event whose content has this digest.
    #[inline]
    fn note(&mut self, digest: u64, what: impl FnOnce() -> What) {
        let seq = self.fingerprint.events();
        // The compiler sees through `what()` where nothing is kept: only its code remains.
        let what = what();
        let node = what.node().map_or(u64::MAX, |n| n.0);
        self.fingerprint.add(self.now, node << 8 | u64::from(what.code()), digest);
        if self.noting {
            self.fresh.push(Event { at: Instant::from_nanos(self.now), seq, digest, what });
        }
    }

    fn take_told(&mut self) {
        let (told, broken) = self.witness.take();
        for t in told {
            self.note(t.digest, || What::Told { node: t.node, name: t.name, text: t.text });
        }
        for b in broken {
            self.violate(b.name, b.detail, Some(b.node));
        }
    }

    /// Shows the hook what was noted, and keeps what is to be kept.
    fn show(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        if let Some(mut hook) = self.hook.take() {
            for event in &fresh {
                if let Some((name, detail)) = hook(&self.view(), event) {
                    self.violate(&name, detail, None);
                }
            }
            self.hook = Some(hook);
        }
        let keep = self.keep;
        self.events.extend(fresh.drain(..).filter(|e| keep.keeps(e)));
        // A violation found just now is an event as well, of the next round.
        fresh.append(&mut self.fresh);
        self.fresh = fresh;
    }

    /// Records a violation, if it is the first.
    fn violate(&mut self, name: &str, detail: String, node: Option<NodeId>) {
        if self.violation.is_some() {
            return;
        }
        self.note(crate::fingerprint::digest(name.as_bytes()), || What::Violated { name: name.to_owned() });
        self.violation = Some(Violation { name: name.to_owned(), detail, at: self.now(), node });
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        match self.dense.get(node.0 as usize) {
            Some(&i) if i != u16::MAX => Some(i as usize),
            Some(_) => None,
            None => self.by_id.get(&node).map(|i| *i as usize),
        }
    }

    // --- what the caller sees ---

    /// Simulated time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }
    /// The plan.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }
    /// The faults as they act: the plan's with the rule of the two phases applied, then those
    /// injected. [`What::FaultOn`] and [`What::FaultOff`] name places in this list.
    #[must_use]
    pub fn windows(&self) -> &[Fault] {
        &self.windows
    }
    /// The nodes, as they are now.
    #[must_use]
    pub fn view(&self) -> View<'_, M> {
        View::new(self)
    }
    /// The first invariant that broke.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }
    /// Ends the run with a violation that the caller found, unless there was one before.
    pub fn fail(&mut self, name: &str, detail: String) {
        self.violate(name, detail, None);
        if self.noting {
            self.show();
        }
    }
    /// What was kept of the events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
    /// Takes what was kept of the events so far, so that a run that is watched as it goes stays
    /// small.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
    /// How many events were noted so far, kept or not: the place of the next.
    #[must_use]
    pub const fn noted(&self) -> u64 {
        self.fingerprint.events()
    }
    /// The run's checkpoints, to be compared with another run's.
    #[must_use]
    pub fn trail(&self) -> Trail {
        self.fingerprint.trail()
    }
    /// How often each kind of fault has fired.
    #[must_use]
    pub fn fired(&self) -> Fired {
        let mut fired = self.fired;
        for host in &self.hosts {
            fired.merge(&host.disk.lock().fired);
        }
        fired
    }
    /// How often each hard path was taken: the nodes' probes, `fault.<kind>`, `buggify.<site>`.
    #[must_use]
    pub fn sometimes(&self) -> BTreeMap<String, u64> {
        let mut all = self.witness.sometimes();
        for (kind, n) in self.fired().iter().filter(|(_, n)| *n > 0) {
            all.insert(kind.probe().to_owned(), n);
        }
        all
    }
    /// When each of the nodes' probes was passed for the first, second, fourth… time.
    #[must_use]
    pub fn reached(&self) -> BTreeMap<String, Reached> {
        self.witness.reached()
    }
    /// Counts of the run.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }
    /// Bytes of memory that the contents of all disks take.
    #[must_use]
    pub fn disk_memory(&self) -> u64 {
        self.hosts.iter().map(|h| h.disk.lock().memory()).sum()
    }
}

fn new_host<M: Machine>(plan: &Plan, id: NodeId, version: u32, time: &Arc<AtomicU64>) -> Host<M> {
    let signed = |purpose, max: u64| {
        let drawn = plan.seed.below(2 * max + 1, purpose, id.0, Instant::ZERO, 0);
        drawn as i64 - max as i64
    };
    let skew = plan.process.skew.as_nanos();
    let clock = Clock::new(signed(DRIFT, plan.process.drift_ppm.into()), signed(SKEW, skew), skew);
    let disk = Shared::new(id.0, plan.seed, plan.disk.clone(), time.clone());
    Host::new(id, version, clock, disk)
}

fn dense<M: Machine>(hosts: &[Host<M>]) -> Vec<u16> {
    let top = hosts.iter().map(|h| h.id.0).max().unwrap_or(0);
    if top >= 1 << 16 {
        return Vec::new();
    }
    let mut table = vec![u16::MAX; top as usize + 1];
    for (i, h) in hosts.iter().enumerate() {
        table[h.id.0 as usize] = i as u16;
    }
    table
}
