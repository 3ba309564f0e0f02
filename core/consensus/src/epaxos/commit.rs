//! The round of a command in ballot 0, votes in any ballot, decisions.

use super::instance::{Drive, Own, Timer};
use super::message::{Deps, InstanceId, Message, Phase, Record, Value, Vote};
use super::planted::{self, Bug};
use super::protocol::{Epaxos, Out};
use crate::engine::{EngineError, Token};
use crate::quorum::NodeSet;
use crate::step::{Fault, Output, Payload};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::Instant;

/// Proposals that may wait for keys to drain: two full steps of the driver.
const DELAYED_MAX: usize = 8_192;
/// Our commands that may be undecided or unexecuted at once.
const OWN_MAX: u64 = 4_096;
/// Waiting proposals looked at when something was executed.
const RELEASE_SCAN: usize = 64;

impl Epaxos {
    // ---- proposals -------------------------------------------------------------------------------------------

    pub(super) fn propose(&mut self, now: Instant, token: Token, payload: Payload, out: &mut Out) {
        if payload.len() > super::PAYLOAD_MAX {
            let why = format!(
                "a command of {} bytes; at most {} are taken: split it",
                payload.len(),
                super::PAYLOAD_MAX
            );
            let error = EngineError::Refused(why);
            return out.push(Output::Refused { token, error });
        }
        self.propose_until(now, (token, payload, now + self.config.set.give_up_after), out);
    }
    fn propose_until(&mut self, now: Instant, proposal: (Token, Payload, Instant), out: &mut Out) {
        if self.has_room(&proposal.1) {
            return self.start(now, proposal, out);
        }
        if self.delayed.len() >= DELAYED_MAX {
            let why = "too many commands wait for the same keys or for a quorum: ask again later";
            let error = EngineError::Refused(String::from(why));
            return out.push(Output::Refused { token: proposal.0, error });
        }
        self.counts.delayed += 1;
        // Deadlines stay sorted: a command proposed again keeps its own, which is earlier than all behind it.
        let at = self.delayed.partition_point(|(_, _, deadline)| *deadline <= proposal.2);
        self.delayed.insert(at, proposal);
    }
    /// Whether a quorum is near, the keys' chains are short and few of ours are in flight.
    fn has_room(&self, payload: &Payload) -> bool {
        let own = self.next - 1 - self.executed.frontier[self.config.me()].min(self.next - 1);
        !self.cut_off
            && own < OWN_MAX
            && self.live.crowd(&self.config.touch(payload)) < self.config.set.chain_max
    }
    /// Begins what waited and now has room.
    pub(super) fn release(&mut self, now: Instant, out: &mut Out) {
        let mut at = 0;
        while at < self.delayed.len().min(RELEASE_SCAN) {
            if self.has_room(&self.delayed[at].1) {
                let proposal = self.delayed.remove(at).expect("within its length");
                self.start(now, proposal, out);
            } else {
                at += 1;
            }
        }
    }
    fn start(&mut self, now: Instant, (token, command, deadline): (Token, Payload, Instant), out: &mut Out) {
        let id = self.begin(now, command, out);
        self.proposals.insert(id, (token, deadline));
        self.timers.insert((deadline, Timer::GiveUp(id)));
    }
    /// Begins the round of a command under our next number.
    pub(super) fn begin(&mut self, now: Instant, command: Payload, out: &mut Out) -> InstanceId {
        let id = InstanceId::new(self.config.place, self.next);
        self.next += 1;
        let touch = self.config.touch(&command);
        let deps = self.dependencies(id, &touch, self.config.none());
        let (phase, asked) = self.whom_to_ask(id);
        let instance = self.entry(id);
        instance.vote = Vote {
            ballot: 0,
            voted: 0,
            phase,
            command: Some(command),
            noop: false,
            deps: deps.clone(),
            initial: Some(deps),
        };
        instance.drive = Drive::PreAccept { replies: alloc::collections::BTreeMap::new() };
        self.reindex(id);
        self.persist_vote(id, out);
        let question = question(id, &self.instances[&id].vote);
        for to in self.config.others().filter(|to| asked.has(usize::from(*to))) {
            question.iter().for_each(|message| self.send(to, message.clone(), out));
        }
        self.schedule(id, now + self.config.set.resend);
        self.own(now, Own::PreAccept(id), out);
        id
    }
    pub(super) fn give_up(&mut self, id: InstanceId, out: &mut Out) {
        if let Some((token, _)) = self.proposals.remove(&id) {
            out.push(Output::Refused { token, error: EngineError::Unknown });
        }
    }
    pub(super) fn give_up_delayed(&mut self, now: Instant, out: &mut Out) {
        while self.delayed.front().is_some_and(|(_, _, deadline)| *deadline <= now) {
            let (token, _, _) = self.delayed.pop_front().expect("just seen");
            let why = "its keys did not drain in time: a quorum or a decided command it waits for is missing";
            out.push(Output::Refused { token, error: EngineError::Refused(String::from(why)) });
        }
    }

    // ---- ballot 0 --------------------------------------------------------------------------------------------

    pub(super) fn on_pre_accept(
        &mut self,
        now: Instant,
        from: u8,
        id: InstanceId,
        (command, deps, phase): (Payload, Deps, Phase),
        out: &mut Out,
    ) {
        if id.replica != from {
            return self.blame(from, Fault::Sender, out);
        }
        if !self.listens(from, id, out) {
            return;
        }
        self.note(now, from, id.number);
        let vote = &self.entry(id).vote;
        if vote.committed() {
            return self.show(from, id, out);
        }
        if vote.ballot > 0 {
            let ballot = vote.ballot;
            return self.send(from, Message::Nack { id, ballot }, out);
        }
        if vote.answered() {
            let same = vote.command.as_ref() == Some(&command) && vote.initial.as_ref() == Some(&deps);
            if !same || vote.phase != phase {
                return self.blame(from, Fault::Contradiction, out);
            }
            let deps = vote.deps.clone();
            return self.send(from, Message::PreAcceptOk { id, deps }, out);
        }
        if vote.phase == Phase::Accepted {
            return;
        }
        let touch = self.config.touch(&command);
        let known = self.dependencies(id, &touch, deps.clone());
        let vote = &mut self.entry(id).vote;
        vote.phase = phase;
        vote.command = Some(command);
        vote.initial = Some(deps);
        vote.deps = known.clone();
        self.reindex(id);
        self.persist_vote(id, out);
        self.send(from, Message::PreAcceptOk { id, deps: known }, out);
        self.look_later(now, id);
    }
    pub(super) fn on_pre_accept_ok(
        &mut self,
        now: Instant,
        from: u8,
        id: InstanceId,
        deps: Deps,
        out: &mut Out,
    ) {
        if id.replica != self.config.place {
            return self.blame(from, Fault::Sender, out);
        }
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Drive::PreAccept { replies } = &mut instance.drive else { return };
        if instance.attempts == 0 && from != self.config.place {
            let asked = instance.due.since(Instant::ZERO + self.config.set.resend);
            self.peers.answered(from, (Instant::ZERO + asked, now));
        }
        replies.insert(from, deps);
        self.conclude_pre_accept(now, id, false, out);
    }
    /// Decides fast, or by votes; `hurry`: with a slow quorum, though a fast one might still come.
    pub(super) fn conclude_pre_accept(&mut self, now: Instant, id: InstanceId, hurry: bool, out: &mut Out) {
        let instance = &self.instances[&id];
        let (Drive::PreAccept { replies }, Some(initial)) = (&instance.drive, &instance.vote.initial) else {
            return;
        };
        if let Phase::Collected(quorum) = instance.vote.phase {
            return self.conclude_collect(now, id, quorum, hurry, out);
        }
        let agreeing = replies.values().filter(|d| *d == initial).count();
        let fast = self.config.fast_size() - usize::from(planted::is(Bug::SmallFastQuorum));
        if agreeing >= fast {
            let deps = initial.clone();
            return self.decide_fast(now, id, deps, out);
        }
        let slow = self.config.n - self.config.slow_misses;
        if replies.len() >= if hurry { slow } else { slow.max(self.config.fast_size()) } {
            let mut union = initial.clone();
            if !planted::is(Bug::ForgottenAnswers) {
                replies.values().for_each(|d| union.join(d));
            }
            let value = instance.vote.value().expect("our own command");
            self.counts.slow += 1;
            self.vote(now, (id, 0), value, union, out);
        }
    }
    /// The decision is ours alone until it is told: it goes to disk first (see the module's header).
    pub(super) fn decide_fast(&mut self, now: Instant, id: InstanceId, deps: Deps, out: &mut Out) {
        let instance = self.instances.get_mut(&id).expect("just looked at");
        instance.vote.phase = Phase::Committed;
        instance.vote.deps = deps.clone();
        instance.drive = Drive::Deciding;
        self.counts.fast += 1;
        self.persist(Record::Decided { id, noop: false, deps }, out);
        self.own(now, Own::Decision(id), out);
    }
    /// A decision of ours is on disk.
    pub(super) fn tell_decision(&mut self, now: Instant, id: InstanceId, out: &mut Out) {
        if self.instances.get(&id).is_some_and(|i| i.vote.committed() && !i.announced) {
            self.announce(now, id, NodeSet::EMPTY, out);
        }
    }

    // ---- votes -----------------------------------------------------------------------------------------------

    /// Votes for this in a ballot of ours, and asks the others to.
    pub(super) fn vote(
        &mut self,
        now: Instant,
        (id, ballot): (InstanceId, u64),
        value: Value,
        deps: Deps,
        out: &mut Out,
    ) {
        self.waits.remove(&id);
        self.take_vote(id, ballot, value.clone(), deps.clone());
        let instance = self.entry(id);
        instance.drive = Drive::Accept { ballot, acks: NodeSet::EMPTY };
        self.persist_vote(id, out);
        for to in self.config.others() {
            self.send(to, Message::Accept { id, ballot, value: value.clone(), deps: deps.clone() }, out);
        }
        self.schedule(id, now + self.config.set.resend);
        self.own(now, Own::Accept(id, ballot), out);
    }
    fn take_vote(&mut self, id: InstanceId, ballot: u64, value: Value, deps: Deps) {
        let vote = &mut self.entry(id).vote;
        (vote.ballot, vote.voted, vote.phase, vote.deps) = (ballot, ballot, Phase::Accepted, deps);
        vote.noop = value == Value::Noop;
        if let Value::Command(command) = value {
            vote.command = Some(command);
        }
        self.reindex(id);
    }
    pub(super) fn on_accept(
        &mut self,
        now: Instant,
        from: u8,
        (id, ballot): (InstanceId, u64),
        value: Value,
        deps: Deps,
        out: &mut Out,
    ) {
        if self.config.owner(id.replica, ballot) != from {
            return self.blame(from, Fault::Sender, out);
        }
        if !self.listens(from, id, out) {
            return;
        }
        self.note(now, id.replica, id.number);
        let vote = &self.entry(id).vote;
        if vote.committed() {
            return self.show(from, id, out);
        }
        if vote.ballot > ballot {
            let ballot = vote.ballot;
            return self.send(from, Message::Nack { id, ballot }, out);
        }
        let other = matches!((&value, &vote.command), (Value::Command(a), Some(b)) if a != b);
        let again = vote.phase == Phase::Accepted && vote.voted == ballot;
        if other || again && (vote.value().as_ref() != Some(&value) || vote.deps != deps) {
            return self.blame(from, Fault::Contradiction, out);
        }
        if !again {
            self.yield_to(now, id, ballot);
            self.take_vote(id, ballot, value, deps);
            self.persist_vote(id, out);
            self.look_later(now, id);
        }
        self.send(from, Message::AcceptOk { id, ballot }, out);
    }
    pub(super) fn on_accept_ok(
        &mut self,
        now: Instant,
        from: u8,
        id: InstanceId,
        ballot: u64,
        out: &mut Out,
    ) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Drive::Accept { ballot: mine, acks } = &mut instance.drive else { return };
        if *mine != ballot || instance.vote.voted != ballot {
            return;
        }
        acks.insert(usize::from(from));
        let acks = *acks;
        if self.config.is_slow_quorum(acks) {
            self.decide(now, id, acks, out);
        }
    }

    // ---- decisions -------------------------------------------------------------------------------------------

    /// What we voted for is decided.
    fn decide(&mut self, now: Instant, id: InstanceId, have: NodeSet, out: &mut Out) {
        let vote = &mut self.entry(id).vote;
        vote.phase = Phase::Committed;
        let (noop, deps) = (vote.noop, vote.deps.clone());
        // Nothing waits for it: a quorum has the votes.
        self.persist(Record::Decided { id, noop, deps }, out);
        self.announce(now, id, have, out);
    }
    /// Tells a decision to all; those in `have` know the command.
    fn announce(&mut self, now: Instant, id: InstanceId, have: NodeSet, out: &mut Out) {
        for to in self.config.others() {
            let message = self.decision(id, have.has(usize::from(to)));
            self.tell(to, message, out);
        }
        self.settled(now, id, out);
    }
    fn decision(&self, id: InstanceId, known: bool) -> Message {
        let vote = &self.instances[&id].vote;
        let value = match &vote.command {
            Some(command) if !vote.noop && !known => Value::Command(command.clone()),
            _ if vote.noop => Value::Noop,
            _ => Value::Known,
        };
        Message::Commit { id, value, deps: vote.deps.clone() }
    }
    /// Answers a question about a decided instance by the decision.
    pub(super) fn show(&mut self, to: u8, id: InstanceId, out: &mut Out) {
        self.counts.shown += 1;
        // A fast one may still be on its way to disk.
        self.send(to, self.decision(id, false), out);
    }
    pub(super) fn on_commit(
        &mut self,
        now: Instant,
        from: u8,
        id: InstanceId,
        value: Value,
        deps: Deps,
        out: &mut Out,
    ) {
        if self.executed.has(id) && !self.instances.contains_key(&id) {
            return;
        }
        if id.number > self.executed.frontier[id.at()].saturating_add(super::WINDOW) {
            return;
        }
        self.note(now, id.replica, id.number);
        let vote = &mut self.entry(id).vote;
        let noop = value == Value::Noop;
        let same_command = match (&value, &vote.command) {
            (Value::Command(a), Some(b)) => a == b,
            _ => true,
        };
        if !same_command || vote.committed() && (vote.noop != noop || vote.deps != deps) {
            return self.blame(from, Fault::Contradiction, out);
        }
        if vote.committed() {
            return;
        }
        if value == Value::Known && vote.command.is_none() {
            return self.schedule(id, now + self.config.set.resend);
        }
        let written = noop || vote.command.is_some();
        (vote.phase, vote.noop, vote.deps) = (Phase::Committed, noop, deps.clone());
        if let Value::Command(command) = value {
            vote.command = Some(command);
        }
        self.reindex(id);
        // Nothing waits for these: whoever decided can tell it again, or a quorum can.
        if written {
            self.persist(Record::Decided { id, noop, deps }, out);
        } else {
            self.persist_vote(id, out);
        }
        self.settled(now, id, out);
    }
    /// A decision that may be acted on: executes what it completes, ends what waited for it.
    fn settled(&mut self, now: Instant, id: InstanceId, out: &mut Out) {
        let instance = self.entry(id);
        (instance.announced, instance.drive) = (true, Drive::Idle);
        let again = instance.vote.noop.then(|| instance.vote.command.clone()).flatten();
        self.schedule(id, Instant::FAR);
        self.reindex(id);
        self.waits.remove(&id);
        self.advance_committed(id.at());
        self.execution.ready(id);
        if let Some(command) = again
            && let Some((token, deadline)) = self.proposals.remove(&id)
        {
            self.timers.remove(&(deadline, Timer::GiveUp(id)));
            self.counts.proposed_again += 1;
            self.propose_until(now, (token, command, deadline), out);
        }
        self.check_waits(now, out);
    }

    /// Sends again what was not answered, or moves on.
    pub(super) fn resend(&mut self, now: Instant, id: InstanceId, out: &mut Out) {
        let instance = &self.instances[&id];
        let vote = &instance.vote;
        let (message, have) = match &instance.drive {
            Drive::PreAccept { replies } => {
                let Some(question) = question(id, vote) else { return };
                let have: Vec<u8> = replies.keys().copied().collect();
                self.peers.kept_waiting(vote.phase, &have);
                (question, have)
            }
            Drive::Accept { ballot, acks } => {
                let Some(value) = vote.value() else { return };
                let have = acks.places().map(|p| p as u8).collect();
                (Message::Accept { id, ballot: *ballot, value, deps: vote.deps.clone() }, have)
            }
            _ => return,
        };
        for to in self.config.others().filter(|to| !have.contains(to)) {
            self.send(to, message.clone(), out);
        }
        self.schedule(id, now + self.config.set.resend);
        if !self.cut_off && !self.connected(now) {
            self.cut_off = true;
            self.counts.cut_off += 1;
        }
        self.conclude_pre_accept(now, id, true, out);
    }
}

/// What the replica of an instance asks the others in ballot 0.
fn question(id: InstanceId, vote: &Vote) -> Option<Message> {
    let (command, deps) = (vote.command.clone()?, vote.initial.clone()?);
    Some(match vote.phase {
        Phase::Collected(quorum) => Message::Collect { id, command, deps, quorum },
        _ => Message::PreAccept { id, command, deps },
    })
}
