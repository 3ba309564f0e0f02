//! The state of a replica and its one door.

use super::catchup::Peers;
use super::config::{Config, Touch};
use super::executed::{Executed, Mark};
use super::execution::Execution;
use super::instance::{Drive, Instance, Own, Timer, WINDOW};
use super::interference::{Done, Live};
use super::message::{Deps, InstanceId, Message, Phase, Record, Shape, Vote};
use super::planted::{self, Bug};
use super::reads::Reads;
use crate::engine::{Role, Token};
use crate::quorum::NodeSet;
use crate::step::{Corrupt, Fault, Input, Output, Outputs, Payload, Protocol, Standing, Ticket};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::hash::{Hash, Hasher};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};

/// What a step puts out.
pub(super) type Out = Outputs<Epaxos>;

/// Timers looked after in one step; the rest follow in the next.
const TIMERS_A_STEP: usize = 256;
/// Entries that one message makes for numbers it says there are: the rest follows beat by beat, so that a word of a peer, be it
/// a wrong one, costs no more than its length is worth.
const NOTED_AT_ONCE: u64 = 1_024;
/// Instances of a replica that is gone which one hint brings forward.
const HURRIED_MAX: usize = 4_096;
/// Doublings of the patience with an instance: with it the last recoveries of many rivals lie far enough apart.
const BACKOFF_MAX: u8 = 4;
const SPREAD: Purpose = Purpose::named("epaxos.recover");

macro_rules! counts {
    ($($name:ident = $text:literal;)*) => {
        /// Paths taken in this lifetime, hard ones above all. No part of the state: excluded from its hash.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Counts { $(#[doc = $text] pub $name: u64),* }
        impl Counts {
            /// Names and counts.
            pub fn each(&self, each: &mut dyn FnMut(&'static str, u64)) {
                $(each($text, self.$name);)*
            }
        }
    };
}

counts! {
    fast = "fast decisions";
    slow = "slow paths";
    recoveries = "recoveries begun";
    hurried = "recoveries brought forward as the replica seemed gone";
    recovered_vote = "recoveries that found a vote";
    recovered_nothing = "recoveries that voted for nothing";
    recovered_union = "recoveries by what a fast quorum's rest knew";
    recovered_blocked = "recoveries that lacked more of a fast quorum than may be gone";
    recovered_validated = "recoveries of what may have been decided fast";
    refuted = "recoveries refuted by validation";
    waited = "recoveries that waited for others";
    wait_ended_by_decision = "waits ended by a decision";
    wait_ended_by_count = "waits ended by another recovery's count";
    wait_ended_by_late = "waits ended by a late promise";
    proposed_again = "commands proposed again under a new number";
    resumed = "rounds taken up again after a restart";
    markers = "markers proposed";
    cut_off = "times without a quorum";
    cycles = "cycles executed";
    paused = "walks interrupted";
    delayed = "proposals that waited for keys to drain";
    fetched = "fetches";
    shown = "decisions shown to who asked";
    installed = "checkpoints installed by epaxos";
    not_installed = "checkpoints a driver swapped in without asking";
    trimmed = "instances forgotten";
}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A replica.
#[derive(Clone, Debug)]
pub struct Epaxos {
    pub(super) config: Config,
    /// The last ticket given out.
    pub(super) ticket: u64,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) executed: Executed,
    /// By replica: all up to this are decided.
    pub(super) committed: Vec<u64>,
    /// By replica: the highest number heard of.
    pub(super) seen: Vec<u64>,
    /// By replica: all up to this are executed, or have an entry that is looked after.
    noted: Vec<u64>,
    /// The number of our next command.
    pub(super) next: u64,
    pub(super) live: Live,
    pub(super) done: Done,
    /// By replica: the highest executed number that was decided as nothing. What comes depends on it, whatever it touches: a recovery
    /// concludes from a vote without it that whoever voted had not heard of it ([`super::recovery`]), and who recovers may have heard
    /// of nothing but the command.
    pub(super) nothing: Vec<u64>,
    pub(super) own: VecDeque<(u64, Own)>,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    /// Our undecided proposals, with their deadlines.
    pub(super) proposals: BTreeMap<InstanceId, (Token, Instant)>,
    /// Proposals that wait for their keys to drain.
    pub(super) delayed: VecDeque<(Token, Payload, Instant)>,
    /// Recoveries that wait for other instances.
    pub(super) waits: BTreeSet<InstanceId>,
    pub(super) execution: Execution,
    pub(super) reads: Reads,
    pub(super) peers: Peers,
    /// What is executed inside the last marker executed.
    pub(super) base: Executed,
    /// The base in the newest durable checkpoint: only of this may be forgotten (`marker.rs`).
    pub(super) durable_base: Executed,
    /// A marker of ours that is not executed.
    pub(super) marker: Option<InstanceId>,
    /// No quorum spoke to us for too long: no proposals until one does (they would only stand in others' way).
    pub(super) cut_off: bool,
    pub(super) counts: Counts,
}

impl Hash for Epaxos {
    fn hash<H: Hasher>(&self, h: &mut H) {
        // The configuration never changes.
        (
            &self.instances,
            &self.executed,
            &self.committed,
            &self.seen,
            &self.next,
            &self.live,
            &self.done,
            &self.nothing,
        )
            .hash(h);
        (&self.own, &self.timers, &self.proposals, &self.delayed, &self.waits, &self.execution).hash(h);
        (
            &self.noted,
            self.ticket,
            &self.reads,
            &self.peers,
            &self.base,
            &self.durable_base,
            self.marker,
            self.cut_off,
        )
            .hash(h);
    }
}

impl Epaxos {
    /// Paths taken in this lifetime.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }
    /// What is decided here and not yet forgotten: the instance, its command (`None`: nothing), what it depends on.
    pub fn decided(&self) -> impl Iterator<Item = (InstanceId, Option<&Payload>, &Deps)> {
        self.instances
            .iter()
            .filter(|(_, i)| i.announced)
            .map(|(id, i)| (*id, i.vote.command.as_ref().filter(|_| !i.vote.noop), &i.vote.deps))
    }

    pub(super) fn persist(&mut self, record: Record, out: &mut Out) {
        self.ticket += 1;
        out.push(Output::Persist { ticket: Ticket(self.ticket), record });
    }
    pub(super) fn persist_vote(&mut self, id: InstanceId, out: &mut Out) {
        let vote = self.instances[&id].vote.clone();
        self.persist(Record::Vote { id, vote }, out);
    }
    /// Counts a word of ours once all written so far is on disk.
    pub(super) fn own(&mut self, now: Instant, own: Own, out: &mut Out) {
        if matches!(own, Own::Decision(_)) && planted::is(Bug::UnsyncedDecision) {
            self.count_own(now, own, out);
        } else {
            self.own.push_back((self.ticket, own));
        }
    }
    /// Sends what shows our records: not before all of them are on disk.
    pub(super) fn send(&self, to: u8, message: Message, out: &mut Out) {
        let waits = self.ticket > 0 && !planted::is(Bug::UnsyncedAnswer);
        let after = waits.then_some(Ticket(self.ticket));
        out.push(Output::Send { to: self.node(to), message, after });
    }
    /// Sends what shows nothing that a crash could take back.
    pub(super) fn tell(&self, to: u8, message: Message, out: &mut Out) {
        out.push(Output::Send { to: self.node(to), message, after: None });
    }
    pub(super) fn node(&self, place: u8) -> NodeId {
        self.config.set.members[usize::from(place)]
    }
    pub(super) fn blame(&self, place: u8, fault: Fault, out: &mut Out) {
        out.push(Output::Blame { peer: self.node(place), fault });
    }

    /// The instance's entry, made if need be; the index and the highest number follow.
    pub(super) fn entry(&mut self, id: InstanceId) -> &mut Instance {
        self.seen[id.at()] = self.seen[id.at()].max(id.number);
        if id.number == self.noted[id.at()] + 1 {
            self.noted[id.at()] = id.number;
        }
        let n = self.config.n;
        self.instances.entry(id).or_insert_with(|| Instance::new(n))
    }
    /// Notes that a replica has numbers up to this; those unknown here are looked after in due time.
    pub(super) fn note(&mut self, now: Instant, replica: u8, number: u64) {
        let at = usize::from(replica);
        if at == self.config.me() {
            // A number of ours that we lost with a crash, and that others heard of before: it is spent.
            self.next = self.next.max(number + 1);
        }
        self.seen[at] = self.seen[at].max(number);
        self.note_more(now, at);
    }
    /// What a replica has numbers of, and is neither executed nor looked after: from where, and to where.
    pub(super) fn unnoted(&self, at: usize) -> core::ops::RangeInclusive<u64> {
        let frontier = self.executed.frontier[at];
        self.noted[at].max(frontier) + 1..=self.seen[at].min(frontier.saturating_add(WINDOW))
    }
    /// Looks after more of what a replica has numbers of, if there is any.
    pub(super) fn note_more(&mut self, now: Instant, at: usize) {
        let unnoted = self.unnoted(at);
        if unnoted.is_empty() {
            return;
        }
        let to = (*unnoted.end()).min(unnoted.start() + NOTED_AT_ONCE - 1);
        for number in *unnoted.start()..=to {
            let id = InstanceId::new(at as u8, number);
            if !self.executed.has(id) && !self.instances.contains_key(&id) {
                self.entry(id);
                self.look_later(now, id);
            }
        }
        self.noted[at] = to;
    }
    /// Whether a message about this instance can be taken. Who asks about what is forgotten here is told how far
    /// we are, and fetches.
    pub(super) fn listens(&self, from: u8, id: InstanceId, out: &mut Out) -> bool {
        if self.executed.has(id) && !self.instances.contains_key(&id) {
            self.tell_beat(from, false, out);
            return false;
        }
        id.number <= self.executed.frontier[id.at()].saturating_add(WINDOW)
    }
    /// Brings the index in line with an instance's vote.
    pub(super) fn reindex(&mut self, id: InstanceId) {
        if self.executed.has(id) {
            return;
        }
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let vote = &instance.vote;
        let nothing = vote.committed() && vote.noop;
        let touch = match &vote.command {
            _ if nothing => Touch::Nothing,
            Some(Payload::Blank) if planted::is(Bug::LooseMarker) => Touch::Nothing,
            Some(command) => self.config.touch(command),
            // A vote for nothing, the command unknown: that may still be decided, and may touch anything.
            None if vote.noop => Touch::All,
            None => Touch::Nothing,
        };
        if touch != instance.touch {
            self.live.remove(id, &instance.touch);
            self.live.insert(id, &touch);
            instance.touch = touch;
        }
        if nothing {
            self.live.give_up(id);
        }
    }
    /// What this command must depend on as far as is known here, and at least `deps`.
    pub(super) fn dependencies(&self, id: InstanceId, touch: &Touch, deps: Deps) -> Deps {
        let mut highest = deps;
        if !planted::is(Bug::ForgottenExecuted) {
            highest.join(&Deps(self.done.highest(touch)));
            if *touch != Touch::Nothing {
                highest.join(&Deps(self.nothing.clone()));
            }
        }
        self.live.raise(id, touch, &mut highest.0);
        highest.0[id.at()] = highest.0[id.at()].min(id.number - 1);
        highest
    }

    pub(super) fn schedule(&mut self, id: InstanceId, at: Instant) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        self.timers.remove(&(instance.due, Timer::Look(id)));
        instance.due = at;
        if at != Instant::FAR {
            self.timers.insert((at, Timer::Look(id)));
        }
    }
    /// Looks after an instance that others drive, later the more often it was in vain, apart from the others.
    pub(super) fn look_later(&mut self, now: Instant, id: InstanceId) {
        let Some(instance) = self.instances.get(&id) else { return };
        let patience = self.config.set.recover_after;
        let rounds = 1 << instance.attempts.min(BACKOFF_MAX);
        let key = id.number << 8 | u64::from(id.replica);
        let draw = Seed(self.config.set.seed).below(
            patience.as_nanos() * rounds,
            SPREAD,
            key,
            Instant::ZERO,
            instance.vote.ballot << 8 | u64::from(instance.attempts),
        );
        self.schedule(id, now + patience + Duration::nanos(draw));
    }

    /// A replica's process seems to be gone: what it drove is looked after soon, by one after the other behind its place.
    fn unreachable(&mut self, now: Instant, peer: NodeId) {
        let Ok(gone) = self.config.set.members.binary_search(&peer) else { return };
        let (me, n) = (self.config.me(), self.config.n);
        if gone == me {
            return;
        }
        let turn = (me + n - gone) % n;
        let at = now + self.config.set.recover_after * turn as u64 / 8;
        let number = |n| InstanceId::new(gone as u8, n);
        let idle = |(id, i): &(&InstanceId, &Instance)| {
            // What a recovery has been at waits as duels make it wait, however often this hint is repeated.
            let untouched = i.attempts == 0 && i.vote.ballot == 0 && i.drive == Drive::Idle;
            untouched && !i.vote.committed() && i.due > at && !self.executed.has(**id)
        };
        let theirs = self.instances.range(number(0)..=number(u64::MAX)).filter(idle).map(|(id, _)| *id);
        let theirs: Vec<InstanceId> = theirs.take(HURRIED_MAX).collect();
        self.counts.hurried += theirs.len() as u64;
        theirs.into_iter().for_each(|id| self.schedule(id, at));
    }

    fn message(&mut self, now: Instant, from: NodeId, message: Message, out: &mut Out) {
        let place = self.config.set.members.binary_search(&from).ok().map(|p| p as u8);
        let Some(from_place) = place.filter(|p| *p != self.config.place) else {
            return out.push(Output::Blame { peer: from, fault: Fault::Sender });
        };
        let from = from_place;
        let before = out.len();
        self.hear(now, from, message, out);
        // Who is blamed has not been heard of: nothing is changed by it.
        if out[before..].iter().any(|o| matches!(o, Output::Blame { .. })) {
            return;
        }
        self.peers.came(now, from);
        if self.cut_off && self.connected(now) {
            self.cut_off = false;
            self.release(now, out);
        }
    }
    fn hear(&mut self, now: Instant, from: u8, message: Message, out: &mut Out) {
        match message.shape(self.config.n) {
            Shape::Good => {}
            Shape::Bound => return self.blame(from, Fault::Bound, out),
            Shape::Contradiction => return self.blame(from, Fault::Contradiction, out),
        }
        if message.of_atlas().is_some_and(|atlas| atlas != self.config.reported.is_some()) {
            return self.blame(from, Fault::Contradiction, out);
        }
        if message.fast_quorum().is_some_and(|named| named.len() != self.config.fast_size()) {
            return self.blame(from, Fault::Contradiction, out);
        }
        match message {
            Message::PreAccept { id, command, deps } => {
                self.on_pre_accept(now, from, id, (command, deps, Phase::PreAccepted), out);
            }
            Message::Collect { id, command, deps, quorum } => {
                self.on_pre_accept(now, from, id, (command, deps, Phase::Collected(quorum)), out);
            }
            Message::PreAcceptOk { id, deps } => self.on_pre_accept_ok(now, from, id, deps, out),
            Message::Accept { id, ballot, value, deps } => {
                self.on_accept(now, from, (id, ballot), value, deps, out)
            }
            Message::AcceptOk { id, ballot } => self.on_accept_ok(now, from, id, ballot, out),
            Message::Commit { id, value, deps } => self.on_commit(now, from, id, value, deps, out),
            Message::Prepare { id, ballot } => self.on_prepare(now, from, id, ballot, out),
            Message::PrepareOk { id, ballot, vote } => self.on_prepare_ok(now, from, (id, ballot), vote, out),
            Message::Validate { id, ballot, command, deps } => {
                self.on_validate(now, from, (id, ballot), command, deps, out);
            }
            Message::ValidateOk { id, ballot, refuted, blockers } => {
                self.on_validate_ok(now, from, (id, ballot), refuted, blockers, out);
            }
            Message::Waiting { id, agreeing } => self.on_waiting(now, from, id, agreeing, out),
            Message::Nack { id, ballot } => self.on_nack(now, id, ballot),
            Message::Beat { committed, seen, ask } => self.on_beat(now, from, committed, seen, ask, out),
            Message::Fetch { replica, from: first, to } => self.on_fetch(from, replica, first, to, out),
            Message::ReadAsk { round } => self.on_read_ask(from, round, out),
            Message::ReadOk { round, seen } => self.on_read_ok(now, from, round, &seen, out),
        }
    }
    fn persisted(&mut self, now: Instant, ticket: Ticket, out: &mut Out) {
        while self.own.front().is_some_and(|(t, _)| *t <= ticket.0) {
            let (_, own) = self.own.pop_front().expect("just seen");
            self.count_own(now, own, out);
        }
    }
    fn count_own(&mut self, now: Instant, own: Own, out: &mut Out) {
        match own {
            Own::PreAccept(id) => {
                let deps = self.instances.get(&id).and_then(|i| i.vote.initial.clone());
                if let Some(deps) = deps {
                    self.on_pre_accept_ok(now, self.config.place, id, deps, out);
                }
            }
            Own::Decision(id) => self.tell_decision(now, id, out),
            Own::Accept(id, ballot) => self.on_accept_ok(now, self.config.place, id, ballot, out),
            Own::Promise(id, ballot, vote) => {
                self.on_prepare_ok(now, self.config.place, (id, ballot), vote, out);
            }
            Own::Validate { id, ballot, refuted, blockers } => {
                self.on_validate_ok(now, self.config.place, (id, ballot), refuted, blockers, out);
            }
        }
    }
    fn tick(&mut self, now: Instant, out: &mut Out) {
        for _ in 0..TIMERS_A_STEP {
            let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Look(id) => {
                    if let Some(i) = self.instances.get_mut(&id) {
                        i.due = Instant::FAR;
                    }
                    self.look_after(now, id, out);
                }
                Timer::GiveUp(id) => self.give_up(id, out),
            }
        }
        self.give_up_delayed(now, out);
        if self.cut_off {
            self.probe();
        }
        self.tick_reads(now, out);
        self.tick_beat(now, out);
    }

    fn checkpointed(&mut self, mark: &Bytes) {
        let mark = Mark::read(mark, self.config.n).expect("a mark that this replica gave");
        if mark.base.holds(&self.durable_base) {
            self.durable_base = mark.base;
            self.trim();
        }
    }
    /// Forgets instances inside a durable marker: those that all have, and all above what is retained.
    fn trim(&mut self) {
        let base = &self.durable_base;
        let old: Vec<InstanceId> = self.instances.keys().copied().filter(|id| base.has(*id)).collect();
        let surplus = old.len().saturating_sub(self.config.set.retain);
        for (nth, id) in old.into_iter().enumerate() {
            if nth < surplus || self.peers.all_have(id) {
                self.instances.remove(&id);
                self.counts.trimmed += 1;
            }
        }
    }
    /// Whether local state may become a peer's: it brings something; it holds all that may be forgotten here, on disk too;
    /// and of what it lacks, this replica has the votes.
    fn takes(&self, mark: &Mark) -> bool {
        mark.executed.holds(&self.durable_base)
            && !self.executed.holds(&mark.executed)
            && self.executed.beside(&mark.executed).all(|id| self.instances.contains_key(&id))
    }
    /// Local state became a peer's: what is executed is what that peer had executed. Votes are forgotten only inside
    /// its marker: another checkpoint, without what lies outside, may come later.
    fn installed(&mut self, now: Instant, mark: &Bytes, out: &mut Out) {
        let Some(mark) = Mark::read(mark, self.config.n).filter(|mark| self.takes(mark)) else {
            // A driver that did not ask. What it put in place of local state this replica does not answer for.
            self.counts.not_installed += 1;
            return;
        };
        self.counts.installed += 1;
        if mark.base.holds(&self.durable_base) {
            self.durable_base = mark.base.clone();
        }
        self.base = mark.base;
        self.marker = None;
        self.executed = mark.executed;
        self.done = mark.done;
        self.nothing = mark.nothing;
        let done: Vec<InstanceId> =
            self.instances.keys().copied().filter(|id| self.executed.has(*id)).collect();
        for id in done {
            self.schedule(id, Instant::FAR);
            self.waits.remove(&id);
            if self.base.has(id) {
                self.instances.remove(&id);
            } else if let Some(instance) = self.instances.get_mut(&id) {
                instance.drive = Drive::Idle;
            }
            if let Some((token, deadline)) = self.proposals.remove(&id) {
                self.timers.remove(&(deadline, Timer::GiveUp(id)));
                out.push(Output::Refused { token, error: crate::engine::EngineError::Unknown });
            }
        }
        self.live = Live::default();
        for instance in self.instances.values_mut() {
            instance.touch = Touch::Nothing;
        }
        self.resettle(now);
        self.look_after_the_idle(now);
        self.check_waits(now, out);
    }
    /// What was executed and is no more, undecided as far as this replica's votes say: somebody has to look after it.
    fn look_after_the_idle(&mut self, now: Instant) {
        let idle = |(id, i): &(&InstanceId, &Instance)| {
            !i.vote.committed() && i.drive == Drive::Idle && i.due == Instant::FAR && !self.executed.has(**id)
        };
        let idle: Vec<InstanceId> = self.instances.iter().filter(idle).map(|(id, _)| *id).collect();
        idle.into_iter().for_each(|id| self.look_later(now, id));
    }
    /// Makes what follows from instances and executed: the index, the frontiers, what is ready.
    fn resettle(&mut self, now: Instant) {
        self.execution = Execution::default();
        let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
        for id in ids {
            self.seen[id.at()] = self.seen[id.at()].max(id.number);
            self.reindex(id);
            if self.instances[&id].announced {
                self.execution.ready(id);
            }
        }
        for replica in 0..self.config.n {
            self.committed[replica] = self.executed.frontier[replica];
            self.advance_committed(replica);
            // Numbers below the highest that no record names: heard of, not known.
            let highest = self.seen[replica].max(self.executed.highest(replica));
            self.seen[replica] = self.executed.frontier[replica];
            self.noted[replica] = self.executed.frontier[replica];
            self.note(now, replica as u8, highest);
        }
    }
    pub(super) fn advance_committed(&mut self, replica: usize) {
        let mut number = self.committed[replica];
        loop {
            let id = InstanceId::new(replica as u8, number + 1);
            if !self.executed.has(id) && !self.instances.get(&id).is_some_and(|i| i.announced) {
                break;
            }
            number += 1;
        }
        if number > self.committed[replica] {
            self.committed[replica] = number;
            self.execution.wake(replica as u8, number);
        }
    }
    /// Takes up again what this replica began in ballot 0 before it crashed.
    fn resume(&mut self, now: Instant) {
        let ids: Vec<InstanceId> = self.instances.keys().copied().collect();
        for id in ids {
            let me = self.config.place;
            let instance = self.instances.get_mut(&id).expect("just listed");
            let vote = &instance.vote;
            if vote.committed() || self.executed.has(id) {
                continue;
            }
            let mine = id.replica == me && vote.ballot == 0;
            instance.drive = match (vote.phase, &vote.initial) {
                (Phase::PreAccepted | Phase::Collected(_), Some(deps)) if mine => {
                    Drive::PreAccept { replies: [(me, deps.clone())].into_iter().collect() }
                }
                (Phase::Accepted, _) if mine => {
                    Drive::Accept { ballot: 0, acks: NodeSet::one(usize::from(me)) }
                }
                _ => Drive::Idle,
            };
            if instance.drive == Drive::Idle {
                self.look_later(now, id);
            } else {
                self.counts.resumed += 1;
                self.schedule(id, now);
            }
        }
    }
    fn replay(&mut self, record: Record) -> Result<(), Corrupt> {
        let n = self.config.n;
        let (Record::Vote { id, .. } | Record::Promise { id, .. } | Record::Decided { id, .. }) = &record;
        let id = *id;
        if id.at() >= n || id.number == 0 {
            return Err(Corrupt("a record of no replica's instance"));
        }
        // What lies outside the marker may have to be executed again, behind a peer's checkpoint: its votes stay.
        if self.base.has(id) {
            return Ok(());
        }
        let fits = |d: &Deps| d.0.len() == n;
        let vote = &mut self.entry(id).vote;
        match record {
            Record::Vote { vote: new, .. } => {
                if !fits(&new.deps) || !new.initial.iter().all(fits) {
                    return Err(Corrupt("dependencies of another group"));
                }
                if new.ballot < vote.ballot || vote.committed() && (!new.committed() || new.deps != vote.deps)
                {
                    return Err(Corrupt("a vote takes back what was written before"));
                }
                *vote = new;
            }
            Record::Promise { ballot, .. } => {
                if ballot < vote.ballot {
                    return Err(Corrupt("a promise below an earlier one"));
                }
                vote.ballot = ballot;
            }
            Record::Decided { noop, deps, .. } => {
                if !fits(&deps) || (!noop && vote.command.is_none()) {
                    return Err(Corrupt("a decision without its command"));
                }
                (vote.phase, vote.noop, vote.deps) = (Phase::Committed, noop, deps);
            }
        }
        Ok(())
    }
}

impl Protocol for Epaxos {
    type Config = Config;
    type Message = Message;
    type Record = Record;

    fn recover(
        config: Config,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Record>,
        now: Instant,
    ) -> Result<Self, Corrupt> {
        let n = config.n;
        let mark = match mark {
            None => Mark::none(n),
            Some(bytes) => Mark::read(bytes, n).ok_or(Corrupt("a mark of no replica of this group"))?,
        };
        let mut new = Self {
            ticket: 0,
            instances: BTreeMap::new(),
            committed: vec![0; n],
            seen: vec![0; n],
            noted: vec![0; n],
            next: 1,
            live: Live::default(),
            own: VecDeque::new(),
            timers: BTreeSet::new(),
            proposals: BTreeMap::new(),
            delayed: VecDeque::new(),
            waits: BTreeSet::new(),
            execution: Execution::default(),
            reads: Reads::begin(&config, now),
            peers: Peers::new(n, now),
            durable_base: mark.base.clone(),
            base: mark.base,
            cut_off: false,
            marker: None,
            executed: mark.executed,
            done: mark.done,
            nothing: mark.nothing,
            counts: Counts::default(),
            config,
        };
        for record in records {
            new.replay(record)?;
        }
        for instance in new.instances.values_mut() {
            instance.announced = instance.vote.committed();
        }
        new.resettle(now);
        let me = new.config.me();
        new.next = new.seen[me] + 1;
        if planted::is(Bug::ReusedNumber) {
            new.next = new.committed[me] + 1;
        }
        new.resume(now);
        Ok(new)
    }

    fn step(&mut self, now: Instant, input: Input<Message>, out: &mut Out) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Message { from, message } => self.message(now, from, message, out),
            Input::Propose(batch) => {
                for (token, payload) in batch {
                    self.propose(now, token, payload, out);
                }
            }
            Input::Read(token) => self.read(now, token, out),
            // Every replica leads: there is nothing to hand over.
            Input::Transfer(_) => {}
            Input::Unreachable(peer) => self.unreachable(now, peer),
            Input::Persisted(ticket) => self.persisted(now, ticket, out),
            Input::Checkpointed { mark } | Input::Vouched { mark, .. } => self.checkpointed(&mark),
            Input::Installed { mark } => self.installed(now, &mark, out),
        }
        self.execute(now, out);
        self.mark_out(now, out);
    }

    fn wake_at(&self) -> Instant {
        if self.execution.unfinished() {
            return Instant::ZERO;
        }
        let timer = self.timers.first().map_or(Instant::FAR, |(at, _)| *at);
        let delayed = self.delayed.front().map_or(Instant::FAR, |(_, _, at)| *at);
        timer.min(delayed).min(self.reads.wake_at()).min(self.beat_at())
    }

    fn standing(&self) -> Standing {
        Standing { role: Role::Leader, ballot: 0, leader: None, decided: self.executed.count() }
    }

    fn mark(&self) -> Bytes {
        let (executed, done) = (self.executed.clone(), self.done.clone());
        Mark { executed, done, base: self.base.clone(), nothing: self.nothing.clone() }.write()
    }

    fn admits(&self, mark: &Bytes, _digest: &[u8; 32]) -> bool {
        Mark::read(mark, self.config.n).is_some_and(|mark| self.takes(&mark))
    }

    fn tally(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.counts.each(each);
    }

    fn compact(&self) -> Vec<Record> {
        let blank = Vote::new(self.config.n);
        // An undecided one is written about still: its record must have what comes before.
        let forgotten = |id, i: &Instance| self.durable_base.has(id) && i.vote.committed();
        let votes = self.instances.iter().filter(|(id, i)| !forgotten(**id, i) && i.vote != blank);
        let votes = votes.map(|(id, i)| Record::Vote { id: *id, vote: i.vote.clone() });
        votes.collect()
    }
}
