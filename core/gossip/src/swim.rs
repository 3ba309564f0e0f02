//! The failure detector: who is there (SWIM, DSN'02, with Lifeguard, DSN'18).
//!
//! **Promise.** A member that stops answering is suspected within about one probe period of the cluster,
//! and dead to all some seconds later; one that answers somebody stays. Load per node does not grow with
//! the cluster.
//!
//! | file | holds |
//! |---|---|
//! | this one | facts: learning, suspecting, refuting, passing on, leaving |
//! | [`probe`] | rounds of probes, helpers, accusations |
//! | [`sync`] | comparing whole views, joining, reaching for the dead |
//!
//! **Where we differ from SWIM and memberlist.**
//!
//! * *A death somebody remembers is not believed second-hand.* A `Page` that calls dead whom we hold alive makes us
//!   ask the accused itself, with the accusation in the ping: it refutes or it does not answer. So the heal of a
//!   long partition does not kill both sides first, and no grave travels on its own.
//! * *Lateness is measured.* A node whose own step came late voids its running probes and moves its
//!   suspicions by as much: what it did not hear, it may have slept through.
//! * *The dead are not forgotten by time* ([`crate::table`]).
//!
//! **Invariants.** (1) Only [`Detector::learn`] and [`Detector::speak`] change the table. (2) The node itself is in
//! its table, alive, until it leaves. (3) A suspicion runs exactly for those held suspect and described.

pub(crate) mod probe;
pub(crate) mod sync;

use crate::gossip::{Change, Output};
use crate::health::{Health, lasts, least, retransmits};
use crate::member::{Claim, Incarnation, Metadata, Status, Update};
use crate::message::{Body, room, size, write};
use crate::queue::Queue;
use crate::settings::Settings;
use crate::step::Step;
use crate::table::{Merged, Table};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Lane, NodeId, Purpose};

const PEER: Purpose = Purpose::named("gossip.peer");
const PHASE: Purpose = Purpose::named("gossip.phase");
/// A peer is corrected or asked at most this often outside of the rounds.
const TOLD_EVERY: Duration = Duration::millis(500);
const TOLD_MAX: usize = 1_024;
/// How long a leaving node stays to pass on that it leaves.
const LEAVE_TAKES: Duration = Duration::secs(2);
/// Facts from a whole view are passed on this often only: most others know them.
const BRIEFLY: u32 = 3;
/// Messages to one peer in a round when much waits.
const BURST_MAX: usize = 6;

/// One suspicion.
#[derive(Clone, Debug)]
struct Suspicion {
    accusers: Vec<NodeId>,
    since: Instant,
    until: Instant,
}

/// How far facts found in this way are passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    Widely,
    Briefly,
    Not,
}

/// Counts of what the detector did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DetectorCounts {
    /// Probes begun.
    pub probes: u64,
    /// Probes that nobody answered.
    pub unanswered: u64,
    /// Suspicions this node began by itself.
    pub suspected: u64,
    /// Deaths this node declared.
    pub declared: u64,
    /// Times it refuted what was said about it.
    pub refuted: u64,
    /// Times another process spoke under its identifier.
    pub conflicts: u64,
    /// Times its own steps came late.
    pub late: u64,
    /// Facts dropped at the queue's bound.
    pub dropped: u64,
}

/// The detector.
#[derive(Clone, Debug)]
pub(crate) struct Detector {
    me: NodeId,
    settings: Settings,
    pub(crate) table: Table,
    incarnation: Incarnation,
    metadata: Metadata,
    leaving: Option<Instant>,
    health: Health,
    queue: Queue,
    suspicions: BTreeMap<NodeId, Suspicion>,
    due: BTreeSet<(Instant, NodeId)>,
    told: BTreeMap<NodeId, Instant>,
    compared: BTreeMap<NodeId, Instant>,
    seeds: Vec<NodeId>,
    // Rounds of probes.
    order: Vec<NodeId>,
    probes: BTreeMap<u32, probe::Probe>,
    forwards: BTreeMap<u32, probe::Forward>,
    accused: VecDeque<Update>,
    number: u32,
    // When what is next.
    next_probe: Instant,
    next_pass_on: Instant,
    next_sync: Instant,
    next_reconnect: Instant,
    next_join: Instant,
    counts: DetectorCounts,
}

impl Detector {
    pub(crate) fn new(
        me: NodeId,
        incarnation: Incarnation,
        metadata: Metadata,
        settings: Settings,
        step: &mut Step<'_>,
    ) -> Self {
        let phase = |d: Duration, step: &mut Step<'_>| {
            step.now + Duration::nanos(step.below(d.as_nanos() as usize, PHASE) as u64)
        };
        let mut new = Self {
            me,
            table: Table::new(),
            incarnation,
            metadata,
            leaving: None,
            health: Health::new(settings.health_max, settings.lifeguard),
            queue: Queue::default(),
            suspicions: BTreeMap::new(),
            due: BTreeSet::new(),
            told: BTreeMap::new(),
            compared: BTreeMap::new(),
            seeds: Vec::new(),
            order: Vec::new(),
            probes: BTreeMap::new(),
            forwards: BTreeMap::new(),
            accused: VecDeque::new(),
            number: 0,
            next_probe: phase(settings.probe_every, step),
            next_pass_on: phase(settings.pass_on_every, step),
            next_sync: phase(settings.sync_every, step),
            next_reconnect: phase(settings.reconnect_every, step),
            next_join: Instant::FAR,
            settings,
            counts: DetectorCounts::default(),
        };
        new.speak();
        new
    }

    /// States the own fact: into the table, and to be passed on.
    fn speak(&mut self) {
        let mine =
            Update { id: self.me, incarnation: self.incarnation, claim: Claim::Alive(self.metadata.clone()) };
        self.table.merge(&mine);
        self.queue.push(mine);
    }

    /// Takes members known from elsewhere (the roster, the last run) without passing them on.
    pub(crate) fn introduce(&mut self, step: &mut Step<'_>, members: Vec<(NodeId, Incarnation, Metadata)>) {
        for (id, incarnation, m) in members {
            let update = Update { id, incarnation, claim: Claim::Alive(m) };
            if id != self.me && update.is_right() {
                self.learn(step, update, Spread::Not);
            }
        }
    }

    /// Says something new about itself.
    pub(crate) fn describe(&mut self, metadata: Metadata) {
        if metadata != self.metadata && metadata.is_right() {
            self.metadata = metadata;
            self.incarnation = self.incarnation.next();
            self.speak();
        }
    }

    /// Begins to leave.
    pub(crate) fn leave(&mut self, step: &mut Step<'_>) {
        if self.leaving.is_some() {
            return;
        }
        self.leaving = Some(step.now + LEAVE_TAKES);
        let left = Update { id: self.me, incarnation: self.incarnation, claim: Claim::Left };
        self.table.merge(&left);
        self.queue.push(left);
        self.next_pass_on = step.now;
    }

    /// Consensus retired an identifier.
    pub(crate) fn retire(&mut self, step: &mut Step<'_>, id: NodeId) {
        let was = self.table.status(id);
        let live = self.table.retire(id);
        self.trust(id);
        self.queue.forget(id);
        if live {
            step.out.push(Output::Changed(Change { member: id, status: Status::Left, was }));
        }
    }

    /// Takes in a fact about anybody.
    fn learn(&mut self, step: &mut Step<'_>, update: Update, spread: Spread) {
        if update.id == self.me {
            self.about_me(&update);
            return;
        }
        let id = update.id;
        let held = self.table.get(id);
        // Nearly all that is told is known: no copy is made for it.
        if held.is_some_and(|k| k.has(&update)) {
            if let Claim::Suspect { by } = update.claim {
                self.confirm(step.now, &update, by);
            }
            return;
        }
        let before_description = held.and_then(|k| k.metadata().cloned());
        match self.table.merge(&update) {
            Merged::Refused | Merged::Known => {}
            Merged::New { before } => {
                let Some(k) = self.table.get(id) else { return };
                let (status, incarnation, live) = (k.status, k.incarnation, k.is_live());
                let news = before != Some(status) || k.metadata() != before_description.as_ref();
                if status != Status::Suspect {
                    self.trust(id);
                } else if let Claim::Suspect { by } = update.claim {
                    // A suspicion of a later incarnation begins anew.
                    self.trust(id);
                    self.suspect(step.now, id, by);
                } else if !self.suspicions.contains_key(&id) && live {
                    self.suspect(step.now, id, self.me);
                }
                if live && !before.is_some_and(Status::is_live) {
                    let at = step.below(self.order.len() + 1, PEER);
                    self.order.insert(at, id);
                }
                debug_assert!(incarnation >= update.incarnation);
                self.pass_on(update, spread);
                if news && self.table.metadata(id).is_some() {
                    step.out.push(Output::Changed(Change { member: id, status, was: before }));
                }
            }
        }
    }

    fn pass_on(&mut self, update: Update, spread: Spread) {
        match spread {
            Spread::Widely => self.queue.push(update),
            Spread::Briefly => {
                let sent = self.limit().saturating_sub(BRIEFLY);
                self.queue.push_after(update, sent);
            }
            Spread::Not => {}
        }
    }

    fn suspect(&mut self, now: Instant, id: NodeId, by: NodeId) {
        let until = now + self.suspicion_lasts(0);
        self.suspicions.insert(id, Suspicion { accusers: alloc::vec![by], since: now, until });
        self.due.insert((until, id));
    }

    /// Ends the suspicion of a member, if there is one.
    fn trust(&mut self, id: NodeId) {
        if let Some(s) = self.suspicions.remove(&id) {
            self.due.remove(&(s.until, id));
        }
    }

    fn suspicion_lasts(&self, confirmations: u32) -> Duration {
        let n = self.table.live().len();
        let min = least(self.settings.suspicion_min, n, self.settings.probe_every);
        let k = self.settings.confirmations;
        if !self.settings.lifeguard || n < k as usize + 2 {
            return min;
        }
        lasts(min, min * u64::from(self.settings.suspicion_max), confirmations, k)
    }

    /// Another accuser: the suspicion ends sooner, and the accusation is passed on too.
    fn confirm(&mut self, now: Instant, update: &Update, by: NodeId) {
        let current = self
            .table
            .get(update.id)
            .is_some_and(|k| k.status == Status::Suspect && k.incarnation == update.incarnation);
        let Some(s) = self.suspicions.get_mut(&update.id) else { return };
        let enough = s.accusers.len() > self.settings.confirmations as usize;
        if !current || enough || !self.settings.lifeguard || s.accusers.contains(&by) {
            return;
        }
        s.accusers.push(by);
        let (old, since, n) = (s.until, s.since, s.accusers.len() as u32 - 1);
        let until = (since + self.suspicion_lasts(n)).max(now);
        if let Some(s) = self.suspicions.get_mut(&update.id) {
            s.until = until;
        }
        self.due.remove(&(old, update.id));
        self.due.insert((until, update.id));
        self.queue.push(update.clone());
    }

    /// Suspicions that nobody refuted in time become deaths.
    fn bury_the_silent(&mut self, step: &mut Step<'_>) {
        while let Some((at, id)) = self.due.first().copied() {
            if at > step.now {
                break;
            }
            self.trust(id);
            let Some(k) = self.table.get(id) else { continue };
            let dead = Update { id, incarnation: k.incarnation, claim: Claim::Dead { by: self.me } };
            self.counts.declared += 1;
            self.learn(step, dead, Spread::Widely);
        }
        if self.table.graves().len() > 2 * crate::settings::GRAVES_MAX / 3 {
            self.table.tidy_graves();
        }
    }

    /// A fact about this node, from somebody else.
    fn about_me(&mut self, update: &Update) {
        if self.leaving.is_some() {
            return;
        }
        let doubted = match &update.claim {
            Claim::Alive(m) => {
                let other = update.incarnation > self.incarnation
                    || (update.incarnation == self.incarnation && *m != self.metadata);
                self.counts.conflicts += u64::from(other);
                other
            }
            _ => {
                let doubted = update.incarnation >= self.incarnation;
                if doubted {
                    self.health.worse(1);
                }
                doubted
            }
        };
        if doubted {
            self.counts.refuted += 1;
            self.incarnation = self.incarnation.max(update.incarnation).next();
            self.speak();
        }
    }

    /// What every message tells: its sender is there, under the incarnation it states.
    pub(crate) fn heard(&mut self, step: &mut Step<'_>, from: NodeId, incarnation: Incarnation) {
        let Some(k) = self.table.get(from) else {
            self.ask_for_view(step, from);
            return;
        };
        if k.described.is_none() || incarnation > k.incarnation {
            self.ask_for_view(step, from);
        } else if !k.status.is_live() && self.leaving.is_none() && self.may_tell(step.now, from) {
            let fact = self.fact_of(from);
            self.say(step, from, &Body::PassOn, fact);
        }
    }

    /// The last word on a member, as a fact.
    fn fact_of(&self, id: NodeId) -> Option<Update> {
        let k = self.table.get(id)?;
        let claim = match k.status {
            Status::Alive => Claim::Alive(k.metadata()?.clone()),
            Status::Suspect => {
                let by = self.suspicions.get(&id).and_then(|s| s.accusers.first());
                Claim::Suspect { by: *by.unwrap_or(&self.me) }
            }
            Status::Dead => Claim::Dead { by: self.me },
            Status::Left => Claim::Left,
        };
        Some(Update { id, incarnation: k.incarnation, claim })
    }

    fn may_tell(&mut self, now: Instant, peer: NodeId) -> bool {
        if self.told.get(&peer).is_some_and(|at| now.since(*at) < TOLD_EVERY) {
            return false;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(peer, now);
        true
    }

    fn limit(&self) -> u32 {
        retransmits(self.settings.retransmit, self.table.live().len())
    }

    /// Sends a body with one fact first and as many others as fit.
    fn say(&mut self, step: &mut Step<'_>, to: NodeId, body: &Body, first: Option<Update>) {
        let mut left = room(self.incarnation, body);
        if let Some(f) = &first {
            left = left.saturating_sub(size(f));
        }
        let more = self.queue.take(left, self.limit());
        let facts: Vec<&Update> = first.iter().chain(&more).take(250).collect();
        step.send(to, Lane::Control, write(self.incarnation, body, &facts));
    }

    /// Passes facts on to some peers, more at once when much waits.
    fn pass_on_round(&mut self, step: &mut Step<'_>) {
        let burst = (self.queue.len() / 64 + 1).min(BURST_MAX);
        for _ in 0..self.settings.pass_on_fanout {
            let me = self.me;
            let Some(to) = step.pick(self.table.live(), PEER, |n| n != me) else { return };
            for _ in 0..burst {
                if self.queue.is_empty() {
                    return;
                }
                self.say(step, to, &Body::PassOn, None);
            }
        }
    }

    /// Takes a message about members; tells whether it was one.
    pub(crate) fn message(&mut self, step: &mut Step<'_>, from: NodeId, body: &Body, updates: Vec<Update>) {
        if let Body::Page { want } = body {
            self.page(step, from, *want, updates);
            return;
        }
        for update in updates {
            self.learn(step, update, Spread::Widely);
        }
        match body {
            Body::Ping { number } => {
                let doubt = self.doubt_of(from);
                self.say(step, from, &Body::Ack { number: *number }, doubt);
            }
            Body::Ack { number } => self.ack(step, from, *number),
            Body::PingFor { number, target } => self.ping_for(step, from, *number, *target),
            Body::Nack { number } => self.nack(from, *number),
            Body::Compare { summary } => self.compare(step, from, summary),
            _ => {}
        }
    }

    /// What is held against a member we talk to, so that it can refute (Lifeguard's buddy system).
    fn doubt_of(&self, id: NodeId) -> Option<Update> {
        let suspect = self.table.status(id) == Some(Status::Suspect);
        if suspect && self.settings.lifeguard { self.fact_of(id) } else { None }
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, step: &mut Step<'_>) {
        self.bury_the_silent(step);
        self.probe_timers(step);
        if step.now >= self.next_probe && self.leaving.is_none() {
            self.next_probe = step.now + self.health.scale(self.settings.probe_every);
            self.probe_round(step);
        }
        if step.now >= self.next_pass_on {
            self.next_pass_on = step.now + self.settings.pass_on_every;
            self.pass_on_round(step);
        }
        self.sync_timers(step);
        if self.leaving.is_some_and(|until| step.now >= until) {
            self.leaving = Some(Instant::FAR);
            step.out.push(Output::Gone);
        }
    }

    /// This node's own step came late by so much.
    pub(crate) fn was_late(&mut self, now: Instant, by: Duration) {
        if !self.settings.lifeguard {
            return;
        }
        self.counts.late += 1;
        self.health.worse(1);
        self.probes.clear();
        self.next_probe = now + self.health.scale(self.settings.probe_every);
        for (id, s) in &mut self.suspicions {
            self.due.remove(&(s.until, *id));
            s.since += by;
            s.until += by;
            self.due.insert((s.until, *id));
        }
    }

    /// When something is due next.
    pub(crate) fn wake_at(&self) -> Instant {
        let mut at = self.due.first().map_or(Instant::FAR, |d| d.0);
        at = at.min(self.next_sync).min(self.next_reconnect).min(self.next_join).min(self.probe_wake_at());
        if !self.queue.is_empty() {
            at = at.min(self.next_pass_on);
        }
        if let Some(until) = self.leaving {
            return at.min(until);
        }
        at.min(self.next_probe)
    }

    pub(crate) const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
    pub(crate) const fn metadata(&self) -> &Metadata {
        &self.metadata
    }
    pub(crate) const fn health(&self) -> u32 {
        self.health.score()
    }
    pub(crate) const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
    pub(crate) const fn counts(&self) -> DetectorCounts {
        DetectorCounts { dropped: self.queue.dropped(), ..self.counts }
    }
}
