//! The event loop: requests travel, stores answer, hosts act, faults strike.

use super::hearsay::Hearsay;
use super::host::{Order, Site};
use super::judge::{Broken, Judge};
use super::malice::Snare;
use super::mirror::kind;
use super::plan::{CLIENTS, CONTROLLERS, Fault, Plan, REGIONS};
use super::setup;
use super::store::{Found, Store};
use super::tally::Tally;
use crate::agent::Input;
use crate::command::{Answer, Command, Request};
use crate::key::{Key, Scope};
use crate::name::{Region, RequestKey, VmId};
use crate::plan::{Stop, due};
use crate::record::{Placement, Record, Status, Vm};
use crate::refusal::{Code, Refusal};
use crate::storage::Gate;
use crate::transaction::Transaction;
use crate::view::{Fetch, View};
use crate::work::{Next, Work};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use dwcp_env::{Duration, Instant, Purpose};

const P: Purpose = Purpose::named("fleet.world");
/// A request has this long to be answered.
const PATIENCE: Duration = Duration::secs(4);
/// Lines of a story kept.
const STORY_MAX: usize = 4_000;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Client(usize),
    Controller(usize),
    /// What an agent of a host reads itself, and which life of it.
    Host(usize, u64),
    /// What it has asked its region's door for.
    Door(usize, u64, Instant),
}

/// What is asked.
pub(super) enum Task {
    Work(Box<Work>),
    /// What is due in a region: by itself, or with the fleet.
    Due(View, bool),
    /// A host reads its region.
    Poll,
}

impl Task {
    pub(super) fn work(key: RequestKey, command: Command) -> Self {
        Self::Work(Box::new(Work::new(Request { key, command })))
    }
}

pub(super) struct Job {
    pub(super) who: Who,
    task: Task,
    /// When it began.
    begun: Instant,
    /// The question that is out.
    token: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Question {
    Read(Vec<Fetch>),
    Commit(Box<(Transaction, Request)>),
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Found(Vec<Found>),
    Committed(bool),
}

pub(super) enum Event {
    Ask(u64, u64, usize, Question),
    Reply(u64, u64, Reply),
    Timeout(u64, u64),
    Client(usize),
    Controller(usize),
    Poll(usize),
    Tick(usize, u64),
    Tell(usize, u64, Box<Input>),
    Admit(usize, u64, VmId, u64),
    Order(usize, u64, Order),
    /// Somebody who watches a region hears of a change.
    Heard(Who),
    Watchdog(usize, VmId),
    Died(usize, VmId, u64, bool),
    Write(usize, VmId, u64),
    Landed(usize, VmId, u64),
    Fault(Fault, bool),
    Again(usize, Box<Request>),
    /// When it was asked by the host's clock, too.
    AtDoor(usize, u64, Instant, Box<Request>),
    Attach(usize),
    Register(usize, u64),
    Registered(usize, u64, u64),
    Backup(usize),
    Restored(usize),
    Reopen(usize, RequestKey),
    /// It is looked whether what a living agent has runs.
    Looked,
}

struct Queued(Instant, u64, Event);
impl PartialEq for Queued {
    fn eq(&self, o: &Self) -> bool {
        (self.0, self.1) == (o.0, o.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, o: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Queued {
    fn cmp(&self, o: &Self) -> core::cmp::Ordering {
        (self.0, self.1).cmp(&(o.0, o.1))
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// A hash over all events.
    pub trace: u64,
    /// How many there were.
    pub events: u64,
    /// What happened how often.
    pub tally: Tally,
}

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub broken: Broken,
    /// What led there, if it was asked for.
    pub story: Vec<String>,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "seed {} at {}: {}: {}", self.seed, self.at, self.broken.invariant, self.broken.what)
    }
}

/// A world.
pub struct World {
    pub(super) plan: Plan,
    pub(super) now: Instant,
    pub(super) regions: Vec<Region>,
    pub(super) sites: Vec<Site>,
    pub(super) gate: Gate,
    pub(super) judge: Judge,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) stores: Vec<Store>,
    pub(super) backup: Option<Store>,
    pub(super) reopening: Option<(usize, RequestKey)>,
    pub(super) snare: Option<Snare>,
    pub(super) hearsay: Hearsay,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    drawn: u64,
    asked: u64,
    trace: u64,
    events: u64,
    broken: Option<Broken>,
    story: Option<Vec<String>>,
}

impl World {
    /// The world of a plan, everything in it at rest.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let regions = ["eu", "us", "ap"].map(|r| r.parse().expect("a name")).to_vec();
        let mut world = Self {
            plan,
            now: Instant::ZERO,
            regions,
            sites: Vec::new(),
            gate: Gate::default(),
            judge: Judge::default(),
            jobs: BTreeMap::new(),
            stores: (0..=REGIONS).map(|_| Store::default()).collect(),
            backup: None,
            reopening: None,
            snare: None,
            hearsay: Hearsay::default(),
            queue: BinaryHeap::new(),
            queued: 0,
            drawn: 0,
            asked: 0,
            trace: 0,
            events: 0,
            broken: None,
            story: None,
        };
        setup::fill(&mut world);
        world
    }
    /// Remembers what happens.
    #[must_use]
    pub fn with_story(mut self) -> Self {
        self.story = Some(Vec::new());
        self
    }

    pub(super) fn draw(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        self.plan.seed.below(n, P, 0, self.now, self.drawn)
    }
    /// Whether a message is among one of `n` that fare ill; none does once it is calm.
    pub(super) fn lossy(&mut self, n: u64) -> bool {
        self.now < self.plan.calm && self.draw(n) == 0
    }
    pub(super) fn fresh_key(&mut self) -> RequestKey {
        let half = |w: &mut Self| u128::from(w.draw(u64::MAX));
        RequestKey(half(self) << 64 | half(self))
    }
    pub(super) fn at(&mut self, when: Instant, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Queued(when.max(self.now), self.queued, event)));
    }
    pub(super) fn story(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let line = format!("{} {}", self.now, line(self));
            if let Some(story) = &mut self.story {
                if story.len() >= STORY_MAX {
                    story.remove(0);
                }
                story.push(line);
            }
        }
    }
    /// Keeps the first thing that broke.
    pub(super) fn hold(&mut self, verdict: Result<(), Broken>) {
        if let Err(broken) = verdict {
            self.broken.get_or_insert(broken);
        }
    }
    /// Whether no clock has lied so far. What a lie has begun may take a lease to end.
    pub(super) fn honest(&self) -> bool {
        self.plan.liar.is_none_or(|from| self.now < from)
    }
    /// Runs a command to its end before the world begins.
    pub(super) fn prepare(&mut self, command: Command) {
        let key = self.fresh_key();
        let mut work = Work::new(Request { key, command });
        loop {
            match work.next(self.plan.clocks[0].at(self.now)) {
                Next::Done(done) => {
                    done.expect("the world can be prepared");
                    return;
                }
                Next::Read(scope, fetches) => {
                    let store = self.store_of(&scope);
                    for (fetch, revision, found) in self.stores[store].read(&fetches) {
                        work.read(&fetch, revision, found);
                    }
                }
                Next::Commit(transaction) => {
                    let store = self.store_of(&transaction.scope);
                    let held = self.stores[store].commit(&transaction);
                    let verdict = self.judge.committed(&transaction, work.request());
                    self.hold(verdict);
                    work.committed(held);
                }
            }
        }
    }
    fn store_of(&self, scope: &Scope) -> usize {
        match scope {
            Scope::Global => 0,
            Scope::Region(region) => {
                1 + self.regions.iter().position(|r| r == region).expect("a region of the world")
            }
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first invariant that broke.
    pub fn run(mut self) -> Result<Report, Failure> {
        self.begin();
        while let Some(Reverse(Queued(at, sequence, event))) = self.queue.pop() {
            if at > self.plan.end {
                break;
            }
            self.now = at;
            self.events += 1;
            self.trace =
                (self.trace ^ at.as_nanos() ^ sequence).wrapping_mul(0x100_0000_01b3).rotate_left(23);
            self.step(event);
            if self.broken.is_some() {
                break;
            }
        }
        if self.broken.is_none() {
            let verdict = self.judge.at_rest();
            self.hold(verdict);
        }
        match self.broken {
            None => Ok(Report { trace: self.trace, events: self.events, tally: self.judge.tally }),
            Some(broken) => {
                let story = self.story.unwrap_or_default();
                Err(Failure { seed: self.plan.seed.0, at: self.now, broken, story })
            }
        }
    }

    fn begin(&mut self) {
        if self.plan.liar.is_some() {
            self.judge.tally.add(if self.plan.mad { "a calendar was a year ahead" } else { "a clock lied" });
        }
        if self.plan.apart {
            self.judge.tally.add("doors were late, and those who take leases early");
        }
        for (from, to, fault) in self.plan.faults.clone() {
            self.at(from, Event::Fault(fault, true));
            self.at(to, Event::Fault(fault, false));
        }
        if let Some((region, as_of, at)) = self.plan.restored {
            self.at(as_of, Event::Backup(region));
            self.at(at, Event::Restored(region));
        }
        for secs in [30, 50] {
            self.at(self.plan.calm + Duration::secs(secs), Event::Looked);
        }
        for host in 0..self.sites.len() {
            if host < self.plan.hosts.len() {
                self.attach(host);
            }
            let at = self.now + Duration::millis(self.draw(1_000));
            self.at(at, Event::Poll(host));
        }
        for client in 0..CLIENTS {
            let at = self.now + Duration::millis(self.draw(1_000));
            self.at(at, Event::Client(client));
        }
        for controller in 0..CONTROLLERS {
            let at = self.now + Duration::millis(self.draw(2_000));
            self.at(at, Event::Controller(controller));
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Ask(job, token, store, question) => self.served(job, token, store, question),
            Event::Reply(job, token, reply) => self.replied(job, token, reply),
            Event::Timeout(job, token) => self.timed_out(job, token),
            Event::Client(client) => self.client(client),
            Event::Controller(controller) => self.controller(controller),
            Event::Poll(host) => {
                let next = self.now + Duration::millis(1_500 + self.draw(1_000));
                self.at(next, Event::Poll(host));
                self.poll(host);
            }
            Event::Heard(Who::Host(host, _)) => self.poll(host),
            Event::Heard(Who::Controller(controller)) => self.look(controller, false),
            Event::Heard(Who::Client(_) | Who::Door(..)) => {}
            Event::Tick(host, life) => self.tell(host, life, Input::Tick),
            Event::Tell(host, life, input) => self.tell(host, life, *input),
            Event::Admit(host, life, vm, epoch) => self.admit(host, life, vm, epoch),
            Event::Order(host, life, order) => self.order(host, life, order),
            Event::Watchdog(host, vm) => self.watchdog(host, vm),
            Event::Died(host, vm, serial, by_itself) => self.died(host, vm, serial, by_itself),
            Event::Write(host, vm, serial) => self.writes(host, vm, serial),
            Event::Landed(host, vm, epoch) => self.landed(host, vm, epoch),
            Event::Fault(fault, begins) => self.fault(fault, begins),
            Event::Again(client, request) => {
                let task = Task::Work(Box::new(Work::new(*request)));
                self.start(Who::Client(client), task);
            }
            Event::AtDoor(host, life, asked, request) => {
                let current = self.sites[host].life == life && self.sites[host].agent.is_some();
                if !current {
                    self.judge.tally.add("a request outlived its agent");
                }
                self.start(Who::Door(host, life, asked), Task::Work(Box::new(Work::new(*request))));
            }
            Event::Attach(host) => self.attach(host),
            Event::Register(host, process) => self.register(host, process),
            Event::Registered(host, process, life) => self.registered(host, process, life),
            Event::Backup(region) => self.backup = Some(self.stores[region + 1].backup()),
            Event::Restored(region) => self.restored(region),
            Event::Reopen(region, key) => self.reopen(region, key),
            Event::Looked => self.looked(),
        }
    }

    /// Where somebody stands: region, host, clock.
    fn place(&self, who: Who) -> (usize, Option<usize>, usize) {
        let hosts = self.sites.len();
        match who {
            Who::Host(host, _) => (self.sites[host].region, Some(host), host),
            Who::Client(client) => (client % REGIONS, None, hosts + client),
            // The second three stand one region further than the one they look after.
            Who::Controller(c) => ((c + c / REGIONS) % REGIONS, None, hosts + CLIENTS + c),
            // The door is the region's, and so is the clock by which it grants leases.
            Who::Door(host, ..) => {
                let region = self.sites[host].region;
                (region, None, hosts + CLIENTS + region)
            }
        }
    }

    pub(super) fn start(&mut self, who: Who, task: Task) {
        self.asked += 1;
        let job = self.asked;
        self.jobs.insert(job, Job { who, task, begun: self.now, token: 0 });
        self.advance(job);
    }

    fn advance(&mut self, id: u64) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let who = job.who;
        let region = match who {
            Who::Controller(c) => self.regions[c % REGIONS].clone(),
            Who::Host(host, _) | Who::Door(host, ..) => self.regions[self.sites[host].region].clone(),
            Who::Client(_) => self.regions[0].clone(),
        };
        let (_, _, clock) = self.place(who);
        let now = self.plan.clocks[clock].at(self.now);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match &mut job.task {
            Task::Work(work) => match work.next(now) {
                Next::Done(done) => {
                    let request = work.request().clone();
                    self.jobs.remove(&id);
                    self.finished(who, request, done);
                }
                Next::Read(scope, fetches) => self.send(id, &scope, Question::Read(fetches)),
                Next::Commit(transaction) => {
                    let (scope, request) = (transaction.scope.clone(), work.request().clone());
                    self.send(id, &scope, Question::Commit(Box::new((transaction, request))));
                }
            },
            Task::Due(view, between) => {
                let lease = self.plan.terms.lease;
                let found = if *between {
                    due::between(view, &region, now)
                } else {
                    due::here(view, &region, lease, now)
                };
                match found {
                    Err(Stop::Want(wanted)) => {
                        let scope = wanted.0.iter().find_map(Fetch::scope).expect("keys of the fleet's");
                        let same = |f: &Fetch| f.scope().as_ref() == Some(&scope);
                        let fetches = wanted.0.into_iter().filter(same).collect();
                        self.send(id, &scope, Question::Read(fetches));
                    }
                    Err(Stop::Refused(refusal)) => {
                        self.jobs.remove(&id);
                        self.hold(Err(Broken { invariant: "readable", what: format!("{refusal}") }));
                    }
                    Ok(commands) => {
                        if let Some(Job {
                            task: Task::Due(view, false),
                            begun,
                            who: Who::Controller(c),
                            ..
                        }) = self.jobs.remove(&id)
                        {
                            self.region_says(c % REGIONS, clock, begun, view);
                        }
                        for refusal in commands.damaged {
                            let what = format!("{refusal}");
                            self.hold(Err(Broken { invariant: "readable", what }));
                        }
                        for command in commands.commands {
                            let key = self.fresh_key();
                            self.start(who, Task::work(key, command));
                        }
                    }
                }
            }
            Task::Poll => {
                let scope = Scope::Region(region);
                let kinds = ["vm", "place", "status"];
                let fetches = kinds.map(|kind| Fetch::beginning(&Key::all(&scope, kind))).to_vec();
                self.send(id, &scope, Question::Read(fetches));
            }
        }
    }

    /// What a job is to do.
    pub(super) fn asked_by(&self, job: u64) -> Option<&Command> {
        match &self.jobs.get(&job)?.task {
            Task::Work(work) => Some(&work.request().command),
            Task::Due(..) | Task::Poll => None,
        }
    }

    fn send(&mut self, id: u64, scope: &Scope, question: Question) {
        self.asked += 1;
        let token = self.asked;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.token = token;
        let who = job.who;
        let store = self.store_of(scope);
        let (region, host, _) = self.place(who);
        self.at(self.now + PATIENCE, Event::Timeout(id, token));
        if !self.plan.reaches(self.now, region, host, store) || self.lossy(60) {
            self.story(|_| format!("{who:?}: question {token} to {scope} is lost"));
            return;
        }
        self.unsnare();
        let snared = self.snared(id, token, store, &question);
        let late = self.lossy(25);
        let base = if store == region + 1 { 300 } else { 20_000 };
        let travels = if late { 1_000_000 + self.draw(25_000_000) } else { base + self.draw(3 * base) };
        if late {
            self.story(|_| format!("{who:?}: question {token} to {scope} is {travels} us late"));
        }
        let travels = snared.unwrap_or(Duration::micros(travels));
        self.at(self.now + travels, Event::Ask(id, token, store, question));
    }

    /// A question arrives at a store.
    fn served(&mut self, id: u64, token: u64, store: usize, question: Question) {
        if self.plan.holds(self.now, Fault::StoreDown { store }) {
            return;
        }
        let current = self.jobs.get(&id).is_some_and(|job| job.token == token);
        let reply = match question {
            Question::Read(fetches) => Reply::Found(self.stores[store].read(&fetches)),
            Question::Commit(commit) => {
                let (transaction, request) = *commit;
                let held = self.stores[store].commit(&transaction);
                self.story(|_| format!("{}: {held} {:?}", transaction.scope, request.command));
                if held {
                    if !current {
                        self.judge.tally.add("a message of long ago was done");
                    }
                    self.count(store, &request, &transaction);
                    let verdict = self.judge.committed(&transaction, &request);
                    self.hold(verdict);
                    self.stirs(&transaction, &request);
                    if let Some(region) = store.checked_sub(1)
                        && !matches!(request.command, Command::Renew { .. } | Command::Report { .. })
                    {
                        self.announce(region, &transaction);
                    }
                } else {
                    self.judge.tally.add("a transaction met a conflict");
                }
                Reply::Committed(held)
            }
        };
        let Some(job) = self.jobs.get(&id).filter(|_| current) else { return };
        let (region, host, _) = self.place(job.who);
        if !self.plan.reaches(self.now, region, host, store) || self.lossy(60) {
            self.judge.tally.add("an answer was lost");
            return;
        }
        let base = if store == region + 1 { 300 } else { 20_000 };
        let travels = base + self.draw(3 * base);
        self.at(self.now + Duration::micros(travels), Event::Reply(id, token, reply));
    }

    fn replied(&mut self, id: u64, token: u64, reply: Reply) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.token == token) else { return };
        job.token = 0;
        match (&mut job.task, reply) {
            (Task::Work(work), Reply::Found(found)) => {
                for (fetch, revision, keys) in found {
                    work.read(&fetch, revision, keys);
                }
            }
            (Task::Work(work), Reply::Committed(held)) => work.committed(held),
            (Task::Due(view, _), Reply::Found(found)) => {
                for (fetch, revision, keys) in found {
                    view.take(&fetch, revision, keys);
                }
            }
            (Task::Poll, Reply::Found(found)) => {
                let Who::Host(host, life) = job.who else { return };
                self.jobs.remove(&id);
                let mut found = found.into_iter().map(|(_, _, keys)| keys);
                let mut next = || found.next().unwrap_or_default();
                let (vms, places, statuses) = (next(), next(), next());
                let places = decoded::<Placement>(places, |_| true);
                let mine = self.sites[host].concerned(&places);
                let vms = decoded::<Vm>(vms, |vm| mine.contains(&vm));
                let statuses = decoded::<Status>(statuses, |vm| mine.contains(&vm));
                self.polled(host, life, &vms, &places, &statuses);
                return;
            }
            (Task::Due(..) | Task::Poll, Reply::Committed(_)) => {}
        }
        self.advance(id);
    }

    fn timed_out(&mut self, id: u64, token: u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.token == token) else { return };
        match (&mut job.task, job.who) {
            (Task::Work(work), Who::Client(_))
                if matches!(work.request().command, Command::Reopen { .. }) =>
            {
                self.jobs.remove(&id);
                self.reopen_later();
            }
            (Task::Work(work), Who::Client(client)) => {
                // A person waits no longer; some ask the same again, perhaps with the first still under way.
                let request = work.request().clone();
                self.jobs.remove(&id);
                let soon = self.now + Duration::millis(100 + self.draw(8_000));
                if self.draw(4) > 0 && self.now < self.plan.calm + Duration::secs(10) {
                    self.at(soon, Event::Again(client, Box::new(request)));
                }
            }
            (Task::Work(work), _) => {
                work.lost();
                let give_up = self.draw(4) == 0;
                if give_up {
                    self.jobs.remove(&id);
                } else {
                    self.advance(id);
                }
            }
            (Task::Due(..) | Task::Poll, _) => {
                self.jobs.remove(&id);
            }
        }
    }

    fn finished(&mut self, who: Who, request: Request, done: Result<Answer, Refusal>) {
        self.story(|_| format!("{who:?} {:?}: {done:?}", request.command));
        if let Err(refusal) = &done {
            match refusal.code {
                Code::Superseded => self.judge.tally.add("an earlier life was refused"),
                Code::Closed => self.judge.tally.add("refused: restored, and not opened yet"),
                Code::NotYet if refusal.what.contains("dated by a clock that was wrong") => self.redated(),
                Code::QuotaExceeded => self.judge.tally.add("refused: quota"),
                Code::NoCapacity => self.judge.tally.add("refused: capacity"),
                Code::NoAddress => self.judge.tally.add("refused: addresses"),
                Code::BadState if refusal.what.contains("not stopped") => {
                    self.judge.tally.add("refused: not yet stopped")
                }
                Code::LeaseLost if matches!(request.command, Command::Renew { .. }) => {
                    self.judge.tally.add("a renewal was refused");
                }
                Code::Damaged => {
                    let what = format!("{refusal}");
                    self.hold(Err(Broken { invariant: "readable", what }));
                }
                _ => {}
            }
        }
        match (who, &request.command) {
            (Who::Client(_), Command::Reopen { .. }) => match done {
                Ok(_) => {
                    self.reopening = None;
                    self.judge.tally.add("a restored region was opened");
                }
                Err(_) => self.reopen_later(),
            },
            (Who::Client(_), _) => {
                if let Ok(answer) = &done {
                    let verdict = self.judge.acknowledged(&request, answer);
                    self.hold(verdict);
                }
            }
            (
                Who::Door(host, life, asked),
                Command::Renew { seat, .. } | Command::Release { seat } | Command::Yield { seat, .. },
            ) => {
                let result = done.map_err(|refusal| refusal.code);
                let answer = Box::new(Input::Answered { seat: seat.clone(), asked, result });
                if let Some(travels) = self.way_to_door(host) {
                    self.at(self.now + travels, Event::Tell(host, life, answer));
                }
            }
            (Who::Door(host, process, _), Command::HostAttach { .. }) => match done {
                Ok(Answer::Life { life }) => {
                    if let Some(travels) = self.way_to_door(host) {
                        self.at(self.now + travels, Event::Registered(host, process, life));
                    }
                }
                // Another process has registered since: this one ends, and somebody starts it again.
                Err(refusal) if refusal.code == Code::Superseded && self.sites[host].life == process => {
                    self.agent_dies(host);
                    self.attach_again(host);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn client(&mut self, client: usize) {
        if self.now >= self.plan.calm {
            return;
        }
        let next = self.now + Duration::millis(200 + self.draw(1_500));
        self.at(next, Event::Client(client));
        let Some(command) = self.wish() else { return };
        if let Command::Delete { at } = &command {
            self.judge.deletions.insert(at.vm);
        }
        let request = Request { key: self.fresh_key(), command };
        if let Some(elsewhere) = self.elsewhere(&request) {
            self.start(Who::Client(client), Task::Work(Box::new(Work::new(elsewhere))));
        }
        if self.draw(20) == 0 {
            self.judge.tally.add("a request was asked twice at once");
            let soon = self.now + Duration::millis(self.draw(300));
            self.at(soon, Event::Again((client + 1) % CLIENTS, Box::new(request.clone())));
        }
        self.start(Who::Client(client), Task::Work(Box::new(Work::new(request))));
    }

    fn controller(&mut self, controller: usize) {
        let next = self.now + Duration::millis(1_000 + self.draw(1_500));
        self.at(next, Event::Controller(controller));
        let between = self.draw(2) == 0;
        self.look(controller, between);
    }

    /// A controller looks what is due, unless it has something to do.
    fn look(&mut self, controller: usize, between: bool) {
        if self.jobs.values().all(|job| job.who != Who::Controller(controller)) {
            self.start(Who::Controller(controller), Task::Due(View::new(), between));
        }
    }

    fn poll(&mut self, host: usize) {
        let who = Who::Host(host, self.sites[host].life);
        let busy = self.jobs.values().any(|j| j.who == who && matches!(j.task, Task::Poll));
        if self.sites[host].agent.is_some() && !busy && self.plan.paused(self.now, host).is_none() {
            self.start(who, Task::Poll);
        }
    }

    /// Hosts and controllers watch their region; most changes of places and machines reach them at once.
    fn announce(&mut self, region: usize, transaction: &Transaction) {
        if !transaction.writes.iter().any(|w| matches!(kind(w.key()), "vm" | "place")) {
            return;
        }
        for host in 0..self.sites.len() {
            if self.sites[host].region == region && self.draw(3) > 0 {
                let soon = self.now + Duration::micros(300 + self.draw(30_000));
                self.at(soon, Event::Heard(Who::Host(host, 0)));
            }
        }
        if self.draw(3) == 0 {
            let soon = self.now + Duration::micros(300 + self.draw(100_000));
            self.at(soon, Event::Heard(Who::Controller(region)));
        }
    }
}

fn decoded<T: Record>(
    found: Vec<(Key, i64, bytes::Bytes)>,
    wanted: impl Fn(VmId) -> bool,
) -> BTreeMap<VmId, T> {
    let one = |(key, _, bytes): (Key, i64, bytes::Bytes)| {
        let vm = key.last().parse().ok().filter(|vm| wanted(*vm))?;
        Some((vm, T::decode(&bytes).ok()?))
    };
    found.into_iter().filter_map(one).collect()
}
