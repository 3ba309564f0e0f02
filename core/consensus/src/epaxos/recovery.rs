//! Recovery of an instance whose replica is slow or gone: figure 5 of EPaxos\*.
//!
//! Why it is safe, in the paper's lemmas. With n - F promises in ballot b, no lower ballot can decide any more.
//! If a lower one did by votes, the vote of the highest ballot among the promises is for the same (Paxos). If
//! ballot 0 decided fast with D, then n - E replicas pre-accepted with exactly D, at least |Q| - E of them in Q,
//! and the command's own replica is not in Q without saying so. So what has fewer is free to become nothing. What
//! has enough may have been decided: it is proposed if nothing contradicts it, and given up only if that proves
//! that it was not decided.
//! - A decided interfering command outside D that does not depend on it: two decisions without each other; the
//!   other one is a fact, so this was none.
//! - An undecided one, pre-accepted somewhere without it (*blocker*): whichever is decided, the other follows.
//!   If exactly |Q| - E agree, a fast decision needs *all* outside Q to have agreed; the blocker's own replica
//!   outside Q can't have: it proposed the blocker without this. If the blocker's own recovery found more than
//!   n - F - E agreeing with *its* set, they and its own replica are too many to leave a fast quorum for this.
//!   Else wait: it will be decided, by its replica or by a recovery, which may be ours.
//!
//! Both lean on this: who had the blocker when it pre-accepted this said so. So what was decided as nothing stays a dependency of whatever
//! is pre-accepted later ([`Epaxos::nothing`]): nobody need wait for it, but a vote without it would look as if it came before.

use super::instance::{Candidate, Drive, Own};
use super::message::{BLOCKERS_MAX, Deps, InstanceId, Message, Phase, Record, Value, Vote};
use super::planted::{self, Bug};
use super::protocol::{Epaxos, Out};
use crate::quorum::NodeSet;
use crate::step::{Fault, Payload};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use dwcp_env::Instant;

/// Rounds of questions before a recovery begins anew with whoever answers now.
const ROUNDS: u8 = 3;

const _: () =
    assert!((u8::MAX - ROUNDS).is_multiple_of(ROUNDS + 1), "counting goes on in the same rhythm at its end");

/// Counts attempts; at the end of what a byte holds, it goes around the last round for ever.
pub(super) const fn next_attempt(attempts: u8) -> u8 {
    if attempts == u8::MAX { u8::MAX - ROUNDS } else { attempts + 1 }
}
/// Whether this attempt begins a new ballot where the others send again.
pub(super) const fn is_new_ballot(attempts: u8) -> bool {
    attempts % (ROUNDS + 1) == ROUNDS
}

/// What becomes of a recovery that waits.
enum Fate {
    Wait,
    Take,
    Nothing,
    /// Nothing, as another's recovery counted too many that agree with the other.
    Counted,
    Vote(Vote),
}

impl Epaxos {
    /// An instance has been undecided for too long.
    pub(super) fn look_after(&mut self, now: Instant, id: InstanceId, out: &mut Out) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if instance.vote.committed() {
            return;
        }
        instance.attempts = next_attempt(instance.attempts);
        let attempts = instance.attempts;
        match &instance.drive {
            Drive::PreAccept { .. } | Drive::Accept { .. } => self.resend(now, id, out),
            Drive::Deciding => {}
            Drive::Idle => {
                if self.fetch_one(now, id, attempts, out) {
                } else if self.connected(now) {
                    self.recover_instance(now, id, out);
                } else {
                    self.probe();
                    self.schedule(id, now + self.config.set.resend);
                }
            }
            // A new ballot only for who had a quorum of promises: one who reaches none must not disturb those who do.
            Drive::Validate { .. } | Drive::Wait { .. } if is_new_ballot(attempts) => {
                self.recover_instance(now, id, out);
            }
            Drive::Prepare { ballot, replies } => {
                let message = Message::Prepare { id, ballot: *ballot };
                let missing: Vec<u8> = self.config.others().filter(|to| !replies.contains_key(to)).collect();
                missing.into_iter().for_each(|to| self.send(to, message.clone(), out));
                self.schedule(id, now + self.config.set.resend);
            }
            Drive::Validate { answers, candidate, .. } => {
                let missing = candidate.quorum.without(*answers);
                let message = validate(id, candidate);
                for to in missing.places().map(|p| p as u8).filter(|to| *to != self.config.place) {
                    self.send(to, message.clone(), out);
                }
                self.schedule(id, now + self.config.set.resend);
            }
            Drive::Wait { candidate } => {
                let message = Message::Waiting { id, agreeing: candidate.agreeing };
                self.config.others().for_each(|to| self.tell(to, message.clone(), out));
                self.schedule(id, now + self.config.set.resend);
            }
        }
    }
    /// Begins a ballot of ours.
    pub(super) fn recover_instance(&mut self, now: Instant, id: InstanceId, out: &mut Out) {
        self.counts.recoveries += 1;
        self.waits.remove(&id);
        let instance = &self.instances[&id];
        let before = instance.vote.ballot;
        let ballot = self.config.ballot_above(before.max(instance.heard));
        let instance = self.entry(id);
        instance.vote.ballot = ballot;
        instance.drive = Drive::Prepare { ballot, replies: BTreeMap::new() };
        let vote = told(&instance.vote, before);
        self.persist(Record::Promise { id, ballot }, out);
        for to in self.config.others() {
            self.send(to, Message::Prepare { id, ballot }, out);
        }
        self.schedule(id, now + self.config.set.resend);
        self.own(now, Own::Promise(id, ballot, vote), out);
    }
    /// Stops what we do in lower ballots.
    pub(super) fn yield_to(&mut self, now: Instant, id: InstanceId, ballot: u64) {
        let instance = self.entry(id);
        if instance.drive.ballot().is_some_and(|mine| mine < ballot) {
            instance.drive = Drive::Idle;
            self.waits.remove(&id);
            self.look_later(now, id);
        }
    }
    pub(super) fn on_nack(&mut self, now: Instant, id: InstanceId, ballot: u64) {
        if let Some(instance) = self.instances.get_mut(&id)
            && !instance.vote.committed()
        {
            instance.heard = instance.heard.max(ballot);
            self.yield_to(now, id, ballot);
        }
    }

    // ---- promises --------------------------------------------------------------------------------------------

    pub(super) fn on_prepare(&mut self, now: Instant, from: u8, id: InstanceId, ballot: u64, out: &mut Out) {
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
        let before = vote.ballot;
        if before > ballot {
            return self.send(from, Message::Nack { id, ballot: before }, out);
        }
        if vote.voted == ballot {
            // It has our vote already and asks late.
            return;
        }
        if before < ballot {
            self.yield_to(now, id, ballot);
            self.entry(id).vote.ballot = ballot;
            self.persist(Record::Promise { id, ballot }, out);
            // It is being looked after.
            self.look_later(now, id);
        }
        let vote = told(&self.instances[&id].vote, before);
        self.send(from, Message::PrepareOk { id, ballot, vote }, out);
    }
    pub(super) fn on_prepare_ok(
        &mut self,
        now: Instant,
        from: u8,
        (id, ballot): (InstanceId, u64),
        vote: Vote,
        out: &mut Out,
    ) {
        let place = self.config.place;
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let (Some(a), Some(b)) = (&instance.vote.command, &vote.command)
            && a != b
        {
            return self.blame(from, Fault::Contradiction, out);
        }
        if instance.drive.ballot() != Some(ballot) || self.config.owner(id.replica, ballot) != place {
            return;
        }
        match &mut instance.drive {
            Drive::Prepare { replies, .. } => {
                replies.insert(from, vote);
                let quorum = replies.keys().fold(NodeSet::EMPTY, |s, p| s.or(NodeSet::one(usize::from(*p))));
                if self.config.is_slow_quorum(quorum) {
                    if let Some(bears) = self.config.reported {
                        return self.conclude_promises(now, (id, ballot), (quorum, bears), out);
                    }
                    let replies = core::mem::take(replies);
                    self.conclude_prepare(now, (id, ballot), quorum, replies, out);
                }
            }
            Drive::Validate { candidate, .. } | Drive::Wait { candidate }
                if !candidate.quorum.has(usize::from(from)) =>
            {
                candidate.late.insert(from, vote);
                self.check_waits(now, out);
            }
            _ => {}
        }
    }
    fn conclude_prepare(
        &mut self,
        now: Instant,
        at: (InstanceId, u64),
        quorum: NodeSet,
        replies: BTreeMap<u8, Vote>,
        out: &mut Out,
    ) {
        let (id, ballot) = at;
        // Nobody who has decided promises: it shows the decision instead.
        let last = replies.values().filter(|v| v.phase == Phase::Accepted).max_by_key(|v| v.voted);
        if let Some((value, deps)) = last.and_then(|v| Some((v.value()?, v.deps.clone()))) {
            self.counts.recovered_vote += 1;
            return self.vote(now, at, value, deps, out);
        }
        let agrees = |v: &&Vote| v.phase == Phase::PreAccepted && v.initial.as_ref() == Some(&v.deps);
        let any = |v: &&Vote| v.phase == Phase::PreAccepted;
        let enough = quorum.len() - self.config.fast_misses;
        let agreeing = replies.values().filter(agrees).count();
        let own_answers = quorum.has(id.at());
        let first = if planted::is(Bug::AnyPreAccept) {
            replies.values().find(any)
        } else {
            replies.values().find(agrees).filter(|_| agreeing >= enough && !own_answers)
        };
        let Some((command, deps)) = first.and_then(|v| Some((v.command.clone()?, v.deps.clone()))) else {
            return self.nothing(now, at, out);
        };
        if planted::is(Bug::NoValidation) {
            return self.vote(now, at, Value::Command(command), deps, out);
        }
        let candidate = Candidate {
            ballot,
            command,
            deps,
            quorum,
            agreeing: agreeing as u8,
            blockers: BTreeSet::new(),
            late: BTreeMap::new(),
        };
        self.begin_validation(now, id, candidate, out);
    }
    /// Votes for nothing: the command was not decided, and will not be under this number.
    pub(super) fn nothing(&mut self, now: Instant, at: (InstanceId, u64), out: &mut Out) {
        self.counts.recovered_nothing += 1;
        self.vote(now, at, Value::Noop, self.config.none(), out);
    }

    // ---- validation ------------------------------------------------------------------------------------------

    fn begin_validation(&mut self, now: Instant, id: InstanceId, candidate: Candidate, out: &mut Out) {
        let (message, ballot) = (validate(id, &candidate), candidate.ballot);
        let quorum = candidate.quorum;
        let (command, deps) = (candidate.command.clone(), candidate.deps.clone());
        self.entry(id).drive = Drive::Validate { answers: NodeSet::EMPTY, refuted: false, candidate };
        let mine =
            if quorum.has(self.config.me()) { self.take_validation(id, command, deps, out) } else { None };
        for to in quorum.places().map(|p| p as u8).filter(|to| *to != self.config.place) {
            self.send(to, message.clone(), out);
        }
        self.schedule(id, now + self.config.set.resend);
        if let Some((refuted, blockers)) = mine {
            self.own(now, Own::Validate { id, ballot, refuted, blockers }, out);
        }
    }
    /// Notes a candidate, so that what comes later depends on it, and finds what contradicts it.
    fn take_validation(
        &mut self,
        id: InstanceId,
        command: Payload,
        deps: Deps,
        out: &mut Out,
    ) -> Option<(bool, Vec<InstanceId>)> {
        let contradictions = self.contradictions(id, &command, &deps)?;
        let vote = &mut self.entry(id).vote;
        vote.command = Some(command);
        vote.initial = Some(deps);
        self.reindex(id);
        self.persist_vote(id, out);
        Some(contradictions)
    }
    /// Whether a decided command contradicts this, and which undecided ones may; `None`: too many to say.
    ///
    /// What is itself executed here, in a state that a peer gave, was decided, though this replica's vote does not say so. Nobody of
    /// those who promised has voted for it, so it was decided fast, and this is what was decided.
    fn contradictions(
        &self,
        id: InstanceId,
        command: &Payload,
        deps: &Deps,
    ) -> Option<(bool, Vec<InstanceId>)> {
        if self.executed.has(id) {
            return Some((false, Vec::new()));
        }
        let touch = self.config.touch(command);
        // What is executed here does not depend on it, else it would be executed or decided here too.
        let mut refuted = self.executed_outside(command, deps);
        let mut blockers = Vec::new();
        for other in self.live.outside(&touch, deps).into_iter().filter(|o| *o != id) {
            let vote = &self.instances[&other].vote;
            if vote.committed() {
                refuted |= !vote.noop && !vote.deps.has(id);
            } else if vote.initial.as_ref().is_some_and(|d| !d.has(id)) {
                blockers.push(other);
            }
        }
        (blockers.len() <= BLOCKERS_MAX).then_some((refuted, blockers))
    }
    fn executed_outside(&self, command: &Payload, deps: &Deps) -> bool {
        let touch = self.config.touch(command);
        self.done.highest(&touch).iter().zip(&deps.0).any(|(done, d)| done > d)
    }
    pub(super) fn on_validate(
        &mut self,
        now: Instant,
        from: u8,
        (id, ballot): (InstanceId, u64),
        command: Payload,
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
        // Not ours to answer without the promise that goes before, nor once we have voted.
        if vote.ballot < ballot || vote.voted == ballot {
            return;
        }
        if vote.command.as_ref().is_some_and(|c| *c != command) {
            return self.blame(from, Fault::Contradiction, out);
        }
        if let Some((refuted, blockers)) = self.take_validation(id, command, deps, out) {
            self.send(from, Message::ValidateOk { id, ballot, refuted, blockers }, out);
            self.look_later(now, id);
        }
    }
    pub(super) fn on_validate_ok(
        &mut self,
        now: Instant,
        from: u8,
        (id, ballot): (InstanceId, u64),
        refuted: bool,
        blockers: Vec<InstanceId>,
        out: &mut Out,
    ) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Drive::Validate { answers, refuted: any, candidate } = &mut instance.drive else { return };
        if candidate.ballot != ballot || !candidate.quorum.has(usize::from(from)) {
            return;
        }
        answers.insert(usize::from(from));
        *any |= refuted;
        candidate.blockers.extend(blockers);
        if answers.covers(candidate.quorum) {
            let (refuted, candidate) = (*any, candidate.clone());
            self.conclude_validation(now, id, refuted, candidate, out);
        }
    }
    fn conclude_validation(
        &mut self,
        now: Instant,
        id: InstanceId,
        refuted: bool,
        candidate: Candidate,
        out: &mut Out,
    ) {
        let at = (id, candidate.ballot);
        let bare = usize::from(candidate.agreeing) == candidate.quorum.len() - self.config.fast_misses;
        if refuted || bare && candidate.blockers.iter().any(|b| !candidate.quorum.has(b.at())) {
            self.counts.refuted += 1;
            return self.nothing(now, at, out);
        }
        if candidate.blockers.is_empty() {
            self.counts.recovered_validated += 1;
            return self.vote(now, at, Value::Command(candidate.command), candidate.deps, out);
        }
        self.counts.waited += 1;
        let (agreeing, blockers) = (candidate.agreeing, candidate.blockers.clone());
        let instance = self.entry(id);
        instance.agreeing = instance.agreeing.max(agreeing);
        instance.drive = Drive::Wait { candidate };
        self.waits.insert(id);
        for to in self.config.others() {
            self.tell(to, Message::Waiting { id, agreeing }, out);
        }
        for blocker in blockers {
            self.note(now, blocker.replica, blocker.number);
        }
        self.schedule(id, now + self.config.set.resend);
        self.check_waits(now, out);
    }

    // ---- waiting for others ----------------------------------------------------------------------------------

    pub(super) fn on_waiting(&mut self, now: Instant, from: u8, id: InstanceId, agreeing: u8, out: &mut Out) {
        if !self.listens(from, id, out) {
            return;
        }
        self.note(now, id.replica, id.number);
        let instance = self.entry(id);
        if instance.vote.committed() {
            return self.show(from, id, out);
        }
        instance.agreeing = instance.agreeing.max(agreeing);
        self.check_waits(now, out);
    }
    /// Ends the waits that can end. Called when anything they wait for may have changed.
    pub(super) fn check_waits(&mut self, now: Instant, out: &mut Out) {
        let mut after = None;
        while let Some(id) = self.next_wait(after) {
            after = Some(id);
            let Some(Drive::Wait { candidate }) = self.instances.get(&id).map(|i| &i.drive) else { continue };
            let at = (id, candidate.ballot);
            let (command, deps) = (candidate.command.clone(), candidate.deps.clone());
            match self.fate(id, candidate) {
                Fate::Wait => {}
                Fate::Take => {
                    self.counts.wait_ended_by_decision += 1;
                    self.vote(now, at, Value::Command(command), deps, out);
                }
                Fate::Nothing => self.nothing(now, at, out),
                Fate::Counted => {
                    self.counts.wait_ended_by_count += 1;
                    self.nothing(now, at, out);
                }
                Fate::Vote(vote) => {
                    self.counts.wait_ended_by_late += 1;
                    let Some(value) = vote.value() else { continue };
                    self.vote(now, at, value, vote.deps, out);
                }
            }
        }
    }
    fn next_wait(&self, after: Option<InstanceId>) -> Option<InstanceId> {
        use core::ops::Bound::{Excluded, Unbounded};
        self.waits.range((after.map_or(Unbounded, Excluded), Unbounded)).next().copied()
    }
    fn fate(&self, id: InstanceId, candidate: &Candidate) -> Fate {
        if let Some(vote) = candidate.late.values().find(|v| v.phase == Phase::Accepted) {
            return Fate::Vote(vote.clone());
        }
        if candidate.late.contains_key(&id.replica) {
            return Fate::Nothing;
        }
        let mut open = false;
        for blocker in &candidate.blockers {
            // Of one in a state that a peer gave this replica need not know how it was decided.
            let executed = self.executed.has(*blocker);
            let known = self.instances.get(blocker).filter(|i| i.vote.committed() || !executed);
            let Some(other) = known else {
                if executed {
                    // That it is executed without ours says enough.
                    if self.executed_outside(&candidate.command, &candidate.deps) {
                        return Fate::Nothing;
                    }
                } else {
                    open = true;
                }
                continue;
            };
            let vote = &other.vote;
            if vote.committed() {
                if !vote.noop
                    && !vote.deps.has(id)
                    && other.touch.interferes(&self.config.touch(&candidate.command))
                {
                    return Fate::Nothing;
                }
            } else if usize::from(other.agreeing)
                > self.config.n - self.config.slow_misses - self.config.fast_misses
            {
                return Fate::Counted;
            } else {
                open = true;
            }
        }
        if open { Fate::Wait } else { Fate::Take }
    }
}

fn validate(id: InstanceId, candidate: &Candidate) -> Message {
    Message::Validate {
        id,
        ballot: candidate.ballot,
        command: candidate.command.clone(),
        deps: candidate.deps.clone(),
    }
}

/// A vote as it is told with a promise; `before` is the ballot promised until now.
fn told(vote: &Vote, before: u64) -> Vote {
    let mut told = vote.clone();
    if planted::is(Bug::OneBallot) && told.phase == Phase::Accepted && before < told.ballot {
        told.voted = before;
    }
    told
}
