//! The loop of a run: lets the world go on to the next thing that clients, the operator or the
//! checks want, and judges at the end.

use super::chores::{self, Chores};
use super::cluster::{Cluster, has_eventual, look};
use super::crowd::{Crowd, Wish};
use super::door::{EVENTUAL, GROUP, HYBRID};
use super::homes::Tenants;
use super::moment::{self, Moment, NodeState};
use super::oracle::Witness;
use super::{Options, Outcome, Stats, judge};
use crate::expand::{Cast, RunPlan, faults};
use crate::file::Figure;
use crate::invariant::{
    Broken, Chains, Extent, Homes, Looks, Property, Replicas, Settled, Watched, converged, one_view, uncut,
    unequal,
};
use dwcp_consensus::Role;
use dwcp_crdt::VersionVector;
use dwcp_env::{Duration, Instant, NodeId, RegionId};
use dwcp_node::{Node, Response};
use dwcp_runtime_sim::client::{Advance, ClientEvent};
use dwcp_runtime_sim::fault::Fault;
use dwcp_runtime_sim::plan::PlanError;
use dwcp_runtime_sim::trace::{Violation, What};
use dwcp_runtime_sim::watch::Reached;
use dwcp_runtime_sim::{Keep, SimWorld};
use dwcp_workload::Outcome as Ended;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Between two comparisons of what was written meanwhile. All that replicas hold is compared when a run is this old, twice, four times as
/// old, ..., and at its end: a comparison costs by what there is, so the others would cost more than what they watch.
pub const HASH_EVERY: Duration = Duration::secs(5);
/// Between two looks at whether the core has converged.
const POLL: Duration = Duration::millis(50);
/// An act that needs a leader waits so long for one.
const ACT_PATIENCE: Duration = Duration::secs(4);
/// What a node says that can't keep its promises any more, in its refusal to boot.
const AMNESIA: &str = "may not vote again";

/// What is seen of the world, event by event.
#[derive(Default)]
struct Eye {
    looks: Looks,
    chains: Chains,
    lives: Vec<u32>,
    told: BTreeMap<&'static str, Reached>,
    /// Nodes whose disk lost what they may have promised.
    forgot: Vec<NodeId>,
    /// Who was looked at last, after which turn.
    fresh: Option<(u64, NodeId)>,
    leaders: u64,
    /// The highest term seen led, and since when.
    leads: u64,
    /// When the process of a leader ended or stood still, and its term, until somebody notices.
    bereft: Option<(Instant, u64, NodeId)>,
    /// The longest that took.
    detection: Option<u64>,
    /// When processes ended, and whose.
    ends: Vec<(Instant, NodeId)>,
    leads_since: Instant,
    /// The oracle, if it is to judge.
    witness: Option<Witness>,
    /// The replicas of the eventual keyspace, if there is one.
    replicas: Option<Replicas>,
    /// What resolutions superseded in documents, if there are any.
    settled: Settled,
    /// What is watched of what they show.
    watched: Watched,
    /// The nodes of the hybrid keyspace, if there is one.
    homes: Option<Homes>,
}

impl Eye {
    /// Notes an event; says at which node a look is to be taken.
    fn note(&mut self, at: Instant, turn: u64, what: &What) -> Option<NodeId> {
        match what {
            What::Boot { node, incarnation, .. } => {
                let slot = node.0 as usize;
                if self.lives.len() <= slot {
                    self.lives.resize(slot + 1, 0);
                }
                self.lives[slot] = *incarnation;
            }
            What::BootFailed { node, why } if why.contains(AMNESIA) => {
                if !self.forgot.contains(node) {
                    self.forgot.push(*node);
                }
                return None;
            }
            What::Told { name, .. } => {
                self.told.entry(name).or_default().pass(at);
                return None;
            }
            What::Disk { .. }
            | What::Deliver { .. }
            | What::Wake { .. }
            | What::Unreachable { .. }
            | What::Job { .. }
            | What::Request { .. } => {}
            // A node that stood still takes what came meanwhile in turns of their own, several in one instant: it is seen by
            // what it says in each.
            What::Send { from: node, .. } | What::Reply { node, .. } if self.fresh != Some((turn, *node)) => {
                self.fresh = Some((turn, *node));
                return Some(*node);
            }
            _ => return None,
        }
        let node = what.node()?;
        self.fresh = Some((turn, node));
        Some(node)
    }
    fn life(&self, node: NodeId) -> u32 {
        self.lives.get(node.0 as usize).copied().unwrap_or(0)
    }
    /// Notes that a leader's process ended, stands still, or goes on before anybody noticed.
    fn mourn(&mut self, at: Instant, what: &What) {
        match what {
            What::Down { node, .. } | What::Stopped { node, .. } | What::Paused { node } => {
                if !matches!(what, What::Paused { .. }) {
                    self.ends.push((at, *node));
                }
                let last = self.looks.last();
                let led = last.iter().filter(|l| l.role == Role::Leader).max_by_key(|l| l.term);
                if let Some(l) = led.filter(|l| l.node == *node && self.bereft.is_none()) {
                    self.bereft = Some((at, l.term, *node));
                }
            }
            What::Resumed { node } | What::Boot { node, .. } => {
                self.bereft = self.bereft.filter(|b| b.2 != *node);
            }
            _ => {}
        }
    }
    fn take(&mut self, node: &Node, at: Instant) -> Option<Broken> {
        let life = self.life(node.id());
        let seen = look(node, life);
        if let Some((since, term, _)) = self.bereft
            && seen.term > term
        {
            self.bereft = None;
            self.detection = self.detection.max(Some(at.since(since).as_nanos()));
        }
        if seen.role == Role::Leader && seen.term > self.leads {
            (self.leads, self.leads_since) = (seen.term, at);
            self.leaders += 1;
        }
        if self.chains.wants(&seen)
            && let Some((spec, base, past)) = node.chain(GROUP)
            && let Some(broken) = self.chains.look(node.id(), life, &spec, base, &past)
        {
            return Some(broken);
        }
        if let (Some(replicas), Some(replica)) = (&mut self.replicas, node.eventual(EVENTUAL))
            && let Some(broken) = replicas.look(at, node.id(), life, replica)
        {
            return Some(broken);
        }
        if let Some(replica) = node.eventual(EVENTUAL) {
            self.settled.look(replica);
            match self.watched.look(node.id(), replica) {
                Err(broken) => return Some(broken),
                Ok(met) => met.into_iter().for_each(|what| self.told.entry(what).or_default().pass(at)),
            }
        }
        if let (Some(homes), Some(sight)) = (&mut self.homes, node.look_hybrid(HYBRID))
            && let Some(broken) = homes.look(at, node.id(), life, sight)
        {
            return Some(broken);
        }
        self.looks.take(seen).or_else(|| {
            let detail = self.witness.as_mut()?.look(at, node, life).err()?;
            Some(Broken { property: Property::StoreModel, detail })
        })
    }
    /// Who leads, as far as anybody says: the highest term.
    fn leader(&self, alive: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let leading = self.looks.last().iter().filter(|l| l.role == Role::Leader && alive(l.node));
        leading.max_by_key(|l| l.term).map(|l| l.node)
    }
}

/// How far the liveness phase has come.
#[derive(Default)]
struct Liveness {
    begun: bool,
    /// What was committed when peace returned,
    target: u64,
    /// and what any replica of the eventual keyspace had.
    version: VersionVector,
    reached: Option<Instant>,
    /// When the last client had its answer.
    quiet: Option<Instant>,
    /// Whether all were equal at the end.
    converged: bool,
}

/// How far the loop is to go before it comes back.
pub(super) struct Pause {
    /// Not past this time.
    pub(super) until: Instant,
    /// Not over so many steps of the world.
    pub(super) steps: u64,
    /// Whether it came back for one of these.
    pub(super) came: bool,
}

impl Pause {
    /// Goes to the end.
    pub(super) const fn never() -> Self {
        Self { until: Instant::FAR, steps: u64::MAX, came: false }
    }

    fn counts(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps == 0
    }
}

pub(super) struct Drive {
    pub(super) plan: Rc<RunPlan>,
    pub(super) world: SimWorld<Node>,
    eye: Rc<RefCell<Eye>>,
    pub(super) crowd: Crowd,
    tenants: Option<Tenants>,
    chores: Chores,
    acts: Vec<crate::expand::Act>,
    wishes: Vec<Wish>,
    all: Vec<(NodeId, String)>,
    resolved: Vec<Fault>,
    next_hash: Instant,
    /// When all is compared next, and the revision that was compared last.
    next_whole: Instant,
    compared: i64,
    next_poll: Instant,
    next_rekey: Instant,
    live: Liveness,
    pub(super) broken: Option<Violation>,
    moment: Option<Moment>,
    states: Option<Vec<NodeState>>,
    /// Up to when the world goes on by itself, while a pause has interrupted it.
    within: Option<Instant>,
}

/// Each node's region, by number.
fn regions(plan: &RunPlan) -> BTreeMap<NodeId, u32> {
    let mut names: Vec<&str> = plan.world.nodes.iter().map(|n| n.region.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let number = |r: &str| names.iter().position(|n| *n == r).unwrap_or(0) as u32;
    plan.world.nodes.iter().map(|n| (n.id, number(&n.region))).collect()
}

/// Runs a plan.
pub(super) fn drive(plan: &RunPlan, options: &Options) -> Result<Outcome, PlanError> {
    let mut drive = Drive::new(Rc::new(plan.clone()), options)?;
    drive.go(&mut Pause::never());
    Ok(drive.end())
}

impl Drive {
    pub(super) fn new(plan: Rc<RunPlan>, options: &Options) -> Result<Self, PlanError> {
        let cluster = Cluster::new(&plan);
        let boot = move |id: NodeId, world: dwcp_env::World, _version: u32| cluster.boot(id, &world);
        let mut world = SimWorld::new(plan.world.clone(), boot)?;
        let eye = Rc::new(RefCell::new(Eye {
            looks: Looks::new(&plan.always, plan.members.len()),
            chains: Chains::new(&plan.always),
            witness: plan.always.contains(&Property::StoreModel).then(Witness::default),
            replicas: has_eventual(&plan).then(|| Replicas::new(&plan.always, regions(&plan))),
            settled: Settled::default(),
            watched: Watched::of(|p| plan.always.contains(&p)),
            homes: plan.node.hybrid.as_ref().map(|h| {
                let region_of = |(n, r): (NodeId, u32)| (n, RegionId(r as u16));
                let regions = regions(&plan).into_iter().map(region_of).collect();
                Homes::new(&plan.always, regions, (h.entries, h.copies))
            }),
            ..Eye::default()
        }));
        let seen = eye.clone();
        world.watch(move |view, event| {
            let mut eye = seen.borrow_mut();
            eye.mourn(event.at, &event.what);
            let node = eye.note(event.at, view.turns(), &event.what)?;
            let broken = eye.take(view.machine(node)?, event.at)?;
            Some((broken.property.name().to_owned(), broken.detail))
        });
        if options.keep != Keep::Nothing {
            world.keep(options.keep);
        }
        let mut acts = plan.acts.clone();
        acts.sort_by_key(|a| std::cmp::Reverse(a.at));
        let mut crowd = Crowd::new(&plan);
        if let Some(leak) = options.leak {
            crowd.delay_first(leak.span());
        }
        Ok(Self {
            all: plan.world.nodes.iter().map(|n| (n.id, n.region.clone())).collect(),
            next_poll: plan.world.heal_at,
            next_rekey: plan.world.rekey.first().map_or(Instant::FAR, |r| r.at),
            tenants: Tenants::new(&plan),
            plan,
            world,
            eye,
            crowd,
            chores: Chores::default(),
            acts,
            wishes: Vec::new(),
            resolved: Vec::new(),
            next_hash: Instant::ZERO + HASH_EVERY,
            next_whole: Instant::ZERO + HASH_EVERY,
            compared: 0,
            live: Liveness::default(),
            broken: None,
            moment: options.moment,
            states: None,
            within: None,
        })
    }

    /// Turns until the run is over (false) or a pause comes (true).
    pub(super) fn go(&mut self, pause: &mut Pause) -> bool {
        while self.broken.is_none() {
            if !self.turn(pause) {
                return false;
            }
            if pause.came {
                return true;
            }
        }
        false
    }

    /// Does what is due and lets the world go on; false when the run is over.
    ///
    /// A pause interrupts the world, not what is done between: when it goes on it goes on to
    /// where it was going, so that a run is the same however often it is interrupted.
    fn turn(&mut self, pause: &mut Pause) -> bool {
        let limit = match self.within.take() {
            Some(limit) => limit,
            None => match self.prepare() {
                Some(limit) => limit,
                None => return false,
            },
        };
        let stop = limit.min(pause.until.max(self.world.now()));
        match self.world.advance_until(stop, |_| pause.counts()) {
            Advance::Client(event) => {
                let now = self.world.now();
                if !self.chores.hears(now, &event) && !self.tenant_hears(now, &event) {
                    let mut eye = self.eye.borrow_mut();
                    let oracle = eye.witness.as_mut().map(|w| &mut w.oracle);
                    let judged = self.crowd.hears(now, event, oracle, &mut self.wishes);
                    drop(eye);
                    if let Err(detail) = judged {
                        self.broken = Some(self.violation(Property::StoreModel, detail));
                    }
                    self.grant();
                }
                // What was counted in the meantime ends the pause here, where nothing is due yet.
                pause.came = pause.steps == 0;
                true
            }
            Advance::Violated => {
                self.broken = self.world.violation().cloned();
                false
            }
            Advance::Reached => {
                (self.within, pause.came) = (Some(limit), true);
                true
            }
            Advance::Limit if stop < limit => {
                (self.within, pause.came) = (Some(limit), true);
                true
            }
            Advance::Limit => {
                self.rekey_clients();
                self.world.now() < self.next_stop() || !self.at_moment()
            }
            Advance::Timer(_) => true,
        }
    }

    /// Does what is due; up to when the world may then go on by itself, or that the run is over.
    fn prepare(&mut self) -> Option<Instant> {
        let now = self.world.now();
        self.crowd.wake(now, &mut self.wishes);
        self.grant();
        self.act(now);
        self.do_chores(now);
        self.tenants_ask(now);
        if now >= self.next_hash {
            self.next_hash = now + HASH_EVERY;
            let whole = now >= self.next_whole;
            if whole {
                self.next_whole = now + now.since(Instant::ZERO);
            }
            self.compare_hashes(None, if whole { 0 } else { self.compared });
            self.audit();
        }
        if now >= self.next_poll && !self.poll(now) {
            return None;
        }
        if self.broken.is_some() || now >= self.plan.world.horizon {
            return None;
        }
        let act = self.acts.last().map_or(Instant::FAR, |a| a.at);
        let tenants = self.tenants.as_ref().map_or(Instant::FAR, Tenants::next_at);
        let wants =
            [self.crowd.next_wake(), act, self.chores.next_at(), self.next_hash, self.next_poll, tenants];
        let limit = wants.into_iter().min().unwrap_or(Instant::FAR).min(self.plan.world.horizon);
        Some(limit.min(self.next_rekey).min(self.next_stop()).max(now))
    }

    /// When the run stops for a moment that is asked for: first at it, then behind its window.
    fn next_stop(&self) -> Instant {
        match (self.moment, &self.states) {
            (None, _) => Instant::FAR,
            (Some(m), None) => m.at,
            (Some(m), Some(_)) => m.to(),
        }
    }
    /// All that happens at the moment has happened; whether this was the last stop.
    fn at_moment(&mut self) -> bool {
        if self.states.is_some() {
            return true;
        }
        self.states = Some(self.look_at_all());
        self.next_stop() <= self.world.now()
    }
    /// The nodes as they are now.
    pub(super) fn look_at_all(&self) -> Vec<NodeState> {
        let eye = self.eye.borrow();
        moment::states(&self.world, |n| eye.life(n))
    }
    /// Clients draw anew when the world does.
    fn rekey_clients(&mut self) {
        let now = self.world.now();
        if now < self.next_rekey {
            return;
        }
        self.crowd.rekey(self.plan.world.seed_at(now));
        let later = self.plan.world.rekey.iter().map(|r| r.at).find(|at| *at > now);
        self.next_rekey = later.unwrap_or(Instant::FAR);
    }

    /// Carries out what clients want.
    fn grant(&mut self) {
        for wish in self.wishes.drain(..) {
            match wish {
                Wish::Ask { client, attempt, node, deadline, request } => {
                    let id = self.world.request(node, request, deadline);
                    self.crowd.sent(client, attempt, id);
                    if let Some(witness) = &mut self.eye.borrow_mut().witness
                        && let Some(ask) = self.crowd.asking(client, attempt)
                    {
                        witness.oracle.asked(self.world.now(), ask);
                    }
                }
                Wish::Cancel(id) => self.world.cancel(id),
            }
        }
    }

    /// Asks what clients of the hybrid keyspace want to know.
    fn tenants_ask(&mut self, now: Instant) {
        let due = self.tenants.as_mut().map(|t| t.due(now)).unwrap_or_default();
        for (client, node, request, deadline) in due {
            let id = self.world.request(node, request, deadline);
            if let Some(tenants) = &mut self.tenants {
                tenants.sent(client, id);
            }
        }
    }
    /// Whether an event was for one of them.
    fn tenant_hears(&mut self, now: Instant, event: &ClientEvent<Response>) -> bool {
        let eye = self.eye.borrow();
        let (Some(tenants), Some(homes)) = (&mut self.tenants, &eye.homes) else { return false };
        let Some(judged) = tenants.hears(now, event, homes) else { return false };
        drop(eye);
        if let Some(broken) = judged.err().filter(|b| self.plan.always.contains(&b.property)) {
            self.broken = Some(self.violation(broken.property, broken.detail));
        }
        true
    }

    /// Does the acts whose time has come, if it can be known by now whom they concern.
    fn act(&mut self, now: Instant) {
        while let Some(mut act) = self.acts.pop_if(|a| a.at <= now) {
            let leader = self.eye.borrow().leader(|n| self.world.view().machine(n).is_some());
            let cast =
                Cast { all: &self.all, members: &self.plan.members, leader, seed: self.plan.world.seed };
            let found = faults(&act, &cast);
            if found.is_empty() && !self.chores.begin(&self.plan, &act, &cast, now) {
                // Nobody to do it to yet: a little later, as long.
                let began = self.began(act.nth).unwrap_or(act.at);
                if now < began + ACT_PATIENCE && now < self.plan.world.heal_at {
                    act.at = now + Duration::millis(100);
                    act.until += Duration::millis(100);
                    self.acts.push(act);
                    self.acts.sort_by_key(|a| std::cmp::Reverse(a.at));
                }
                continue;
            }
            for mut fault in found {
                // Nothing new breaks in the liveness phase, and what is broken by an act is healed.
                fault.until = fault.until.min(self.plan.world.heal_at);
                if self.world.inject(fault.clone()).is_ok() {
                    self.resolved.push(fault);
                }
            }
        }
    }
    /// When the plan wanted act `nth`.
    fn began(&self, nth: u64) -> Option<Instant> {
        self.plan.acts.iter().find(|a| a.nth == nth).map(|a| a.at)
    }

    fn do_chores(&mut self, now: Instant) {
        if now < self.chores.next_at() {
            return;
        }
        if self.chores.changes_members() {
            self.eye.borrow_mut().looks.members_change();
        }
        for (place, node, request) in self.chores.due(now) {
            let view = self.world.view();
            let leader = || self.eye.borrow().leader(|n| view.machine(n).is_some());
            let Some(node) = node.or_else(leader) else { continue };
            let id = self.world.request(node, request, now + chores::ATTEMPT);
            self.chores.sent(place, id);
        }
    }

    /// Members of the core that can be asked to converge: those left out said that they must not
    /// serve, are not members, or stay as broken as they were.
    fn core(&self) -> Vec<NodeId> {
        let eye = self.eye.borrow();
        let member = |n: &NodeId| {
            (self.plan.members.contains(n) || self.chores.joined.contains(n)) && !self.chores.left.contains(n)
        };
        let core = self.plan.world.core_ids().into_iter();
        core.filter(|n| member(n) && !eye.forgot.contains(n)).collect()
    }

    /// The core without those whom a leader outside of it can't hear or who can't hear it: a leader that a
    /// quorum answers stays, and Raft has no relays, so they lag until their link is whole. All of the core
    /// if one of them leads, or nobody does.
    ///
    /// With them the leader outside of the core, if there is one.
    fn asked(&self) -> (Vec<NodeId>, Option<NodeId>) {
        let core = self.core();
        let leader = self.eye.borrow().leader(|n| self.world.view().machine(n).is_some());
        let Some(leader) = leader.filter(|l| !self.plan.world.core_ids().contains(l)) else {
            return (core, None);
        };
        let hear = core.into_iter().filter(|n| !self.plan.world.apart(*n, leader)).collect();
        (hear, Some(leader))
    }

    /// Compares what replicas hold behind a revision, up to the newest that each of them has.
    fn compare_hashes(&mut self, only: Option<&[NodeId]>, after: i64) {
        let view = self.world.view();
        let alive = |n: &NodeId| view.machine(*n).filter(|_| only.is_none_or(|o| o.contains(n)));
        let nodes: Vec<&Node> = self.all.iter().filter_map(|(n, _)| alive(n)).collect();
        let Some(revision) = nodes.iter().map(|n| n.look(GROUP).revision).filter(|r| *r > 1).min() else {
            return;
        };
        if revision <= after {
            return;
        }
        self.compared = revision;
        for node in nodes {
            let Ok((hash, compacted)) = node.hash(GROUP, after, revision) else { continue };
            let of = Extent { revision, after, compacted };
            if let Some(b) = self.eye.borrow_mut().looks.hash(node.id(), of, hash) {
                self.broken = Some(self.violation(b.property, b.detail));
                return;
            }
        }
    }

    /// Compares what replicas hold with what the oracle knows, and looks for leases that should be over.
    fn audit(&mut self) {
        let eye = self.eye.borrow();
        let (Some(witness), None) = (&eye.witness, &self.broken) else { return };
        let (view, now) = (self.world.view(), self.world.now());
        let held = self.all.iter().filter_map(|(n, _)| view.machine(*n)).try_for_each(|n| witness.audit(n));
        let peace = now > self.plan.world.heal_at;
        let since = eye.leads_since.max(self.plan.world.heal_at);
        let judged =
            held.and_then(|()| if peace { witness.oracle.none_outlived(now, since) } else { Ok(()) });
        drop(eye);
        if let Err(detail) = judged {
            self.broken = Some(self.violation(Property::StoreModel, detail));
        }
    }

    /// These nodes' replicas of the eventual keyspace; none for a node that does not run.
    fn replicas(&self, nodes: &[NodeId]) -> impl Iterator<Item = (NodeId, Option<&dwcp_eventual::Eventual>)> {
        let view = self.world.view();
        nodes.iter().copied().map(move |n| (n, view.machine(n).and_then(|m| m.eventual(EVENTUAL))))
    }

    fn violation(&self, property: Property, detail: String) -> Violation {
        Violation { name: property.name().to_owned(), detail, at: self.world.now(), node: None }
    }

    /// The liveness phase; false when the run is over.
    fn poll(&mut self, now: Instant) -> bool {
        self.next_poll = now + POLL;
        let (core, leader) = self.asked();
        let eye = self.eye.borrow();
        let looks = eye.looks.last();
        if !self.live.begun {
            self.live.begun = true;
            self.live.target = looks.iter().map(|l| l.committed).max().unwrap_or(0);
            let mut version = VersionVector::new();
            for (_, replica) in self.replicas(&core) {
                replica.into_iter().for_each(|e| version.join(e.version()));
            }
            self.live.version = version;
        }
        let of = |n: &NodeId| looks.get(n.0 as usize).copied().unwrap_or_default();
        let caught_up = eye.replicas.is_none()
            || self
                .replicas(&core)
                .all(|(_, e)| e.is_some_and(|e| e.serves() && e.version().covers(&self.live.version)));
        let reached =
            caught_up && core.iter().all(|n| of(n).applied.map_or(0, |p| p.index) >= self.live.target);
        if reached && self.live.reached.is_none() {
            self.live.reached = Some(now);
        }
        let heal = self.plan.world.heal_at;
        let quiet = self.crowd.done(now) && self.tenants.as_ref().is_none_or(|t| t.done(now));
        if quiet && self.live.quiet.is_none() {
            self.live.quiet = Some(now);
        }
        let late = now >= heal + self.plan.converge_within;
        let watched = |p| self.plan.always.contains(&p);
        let judged = [
            Property::Convergence,
            Property::EventualConverged,
            Property::EventualLogsCut,
            Property::HybridConverged,
        ];
        let judged = judged.into_iter().any(watched);
        let equal = || {
            converged(&core, leader, looks)?;
            if eye.replicas.is_some() { unequal(self.replicas(&core)) } else { Ok(()) }
        };
        let homed = || match &eye.homes {
            Some(homes) if watched(Property::HybridConverged) => homes.converged(&core),
            _ => Ok(()),
        };
        let silent = self.tenants.as_ref().is_some_and(|t| !t.acknowledged_since(heal));
        let cut = || if watched(Property::EventualLogsCut) { uncut(self.replicas(&core)) } else { Ok(()) };
        let view =
            || if watched(Property::DocumentsOneView) { one_view(self.replicas(&core)) } else { Ok(()) };
        let kept = || {
            let asked = watched(Property::DocumentsNothingLost);
            if asked { eye.settled.on_record(self.replicas(&core)) } else { Ok(()) }
        };
        let failure = if late && self.live.reached.is_none() {
            Some(equal().err().unwrap_or_else(|| "what was acknowledged before the heal has not come".into()))
        } else if late && self.crowd.writes() && self.crowd.log.last_acknowledged <= heal {
            Some(format!("no write has succeeded in {} since the heal", now.since(heal)))
        } else if late && silent {
            Some(format!(
                "no write to the hybrid keyspace has succeeded in {} since the heal",
                now.since(heal)
            ))
        } else if let Some(since) = self.live.quiet {
            match equal()
                .and_then(|()| cut())
                .and_then(|()| view())
                .and_then(|()| kept())
                .and_then(|()| homed())
            {
                // All is said and done, and all are equal.
                Ok(()) if self.live.reached.is_some() => {
                    drop(eye);
                    self.live.converged = true;
                    return false;
                }
                Err(behind) if now >= since + self.plan.converge_within => Some(behind),
                _ => None,
            }
        } else {
            None
        };
        let failure = failure.filter(|_| judged).map(|detail| {
            let is = |of: &dyn Fn() -> Result<(), String>| of().err().as_ref() == Some(&detail);
            let property = if is(&homed) || detail.contains("hybrid") {
                Property::HybridConverged
            } else if is(&cut) {
                Property::EventualLogsCut
            } else if is(&view) {
                Property::DocumentsOneView
            } else if is(&kept) {
                Property::DocumentsNothingLost
            } else if watched(Property::Convergence) {
                Property::Convergence
            } else {
                Property::EventualConverged
            };
            (property, detail)
        });
        drop(eye);
        if let Some((property, detail)) = failure {
            self.broken = Some(self.violation(property, detail));
        }
        true
    }

    pub(super) fn end(mut self) -> Outcome {
        let core = self.core();
        let (_, leader) = self.asked();
        // A run that was stopped has no end to be judged.
        let whole = self.moment.is_none();
        if self.broken.is_none() && whole {
            self.compare_hashes(Some(&core), 0);
            self.audit();
        }
        let states = self.states.take().unwrap_or_else(|| self.look_at_all());
        let mut figures = BTreeMap::new();
        if let Some(reached) = self.live.reached {
            figures.insert(Figure::Convergence, reached.since(self.plan.world.heal_at).as_nanos());
        }
        let eye = self.eye.borrow();
        figures.extend(eye.detection.map(|d| (Figure::Detection, d)));
        figures.extend(eye.replicas.as_ref().and_then(Replicas::lag_p99).map(|l| (Figure::EventualLag, l)));
        let log = std::mem::take(&mut self.crowd.log);
        let counts = self.world.stats();
        judge::measure(&self.plan, &log, counts.messages, counts.disk_requests, &mut figures);
        let view = self.world.view();
        // A replica that has not converged may lack what was acknowledged elsewhere.
        // A leader outside of the core knows first what is committed, and some of the core may not hear it in time.
        let holders: Vec<NodeId> = core.iter().copied().chain(leader).collect();
        let replica = judge::furthest(&holders, |n| view.machine(n)).filter(|_| self.live.converged);
        let judged = judge::judge(&self.plan, &log, replica, self.world.now(), &eye.ends, &mut figures);
        let mut judged = judged;
        if let Some(tenants) = &self.tenants {
            let nodes: Vec<&Node> = self.all.iter().filter_map(|(n, _)| view.machine(*n)).collect();
            let (lost, told) = tenants.judge(&nodes);
            figures.insert(Figure::Rpo, lost);
            let from = self.plan.first_event.unwrap_or(Instant::ZERO + Duration::secs(6));
            figures.insert(Figure::Rto, tenants.longest_gap(from));
            let broken = told.err().filter(|b| self.plan.always.contains(&b.property));
            judged = judged.or_else(|| broken.map(|b| self.violation(b.property, b.detail)));
        }
        let violation = self.broken.take().or(judged.filter(|_| whole));
        let count = |o: Ended| log.records.iter().filter(|r| r.outcome == o).count() as u64;
        let now = self.world.now();
        let stats = Stats {
            events: self.world.trail().events,
            simulated_ns: now.as_nanos(),
            ok: count(Ended::Ok),
            failed: count(Ended::Fail),
            unknown: count(Ended::Info) + count(Ended::Open),
            writes: log.acknowledged().count() as u64,
            messages: counts.messages,
            disk_requests: counts.disk_requests,
            looks: eye.looks.taken(),
            leaders: eye.leaders,
        };
        let mut sometimes = self.world.sometimes();
        let mut reached = self.world.reached();
        for (name, told) in &eye.told {
            *sometimes.entry((*name).to_owned()).or_default() += told.count;
            reached.insert((*name).to_owned(), told.clone());
        }
        Outcome {
            trail: self.world.trail(),
            violation,
            sometimes,
            figures,
            stats,
            resolved: std::mem::take(&mut self.resolved),
            events: self.world.events().to_vec(),
            log,
            fired: self.world.fired(),
            simulated: now.since(Instant::ZERO),
            states,
            reached,
        }
    }
}
