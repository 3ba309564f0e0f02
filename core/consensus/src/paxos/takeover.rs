//! Taking over: promises, in pieces, and what they mean for each slot.

use super::config::{BATCH_BYTES_MAX, BATCH_SLOTS_MAX, PIECE_BYTES_MAX, SPAN_MAX};
use super::log::{Log, Run};
use super::message::{Ballot, Message};
use super::planted::{self, Bug};
use super::seat::{Seat, Takeover};
use super::{Out, Paxos, Record};
use crate::quorum::{NodeSet, Phase};
use crate::step::{Fault, Payload};
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId};

impl Paxos {
    /// Puts a promise on disk, unless some record says as much.
    pub(super) fn vow(&mut self, ballot: Ballot, out: &mut Out) {
        if ballot > self.vowed {
            self.vowed = ballot;
            if !planted::is(Bug::PromiseNotPersisted) {
                self.persist(Record::Promised(ballot), out);
            }
        }
    }

    /// A member wants to lead: promise, and tell what was accepted from `slot` on.
    pub(super) fn promise(&mut self, now: Instant, from: NodeId, ballot: Ballot, slot: u64, out: &mut Out) {
        if ballot < self.promised {
            self.counts.rejected += 1;
            return Self::send(from, Message::Reject { ballot, promised: self.promised }, None, out);
        }
        if ballot > self.promised {
            self.raise(ballot);
            self.leader = None;
            self.heard_until = Instant::ZERO;
            if matches!(self.seat, Seat::Leading(_)) {
                self.counts.deposed += 1;
            }
            self.stand_down(now, out);
        }
        self.vow(ballot, out);
        if slot <= self.base {
            self.is_behind(now, from, out);
        }
        let slot = slot.max(self.base + 1);
        let (mut runs, next) = self.log.piece(slot..=u64::MAX, PIECE_BYTES_MAX, self.config.piece());
        if planted::is(Bug::PromiseWithoutValues) {
            runs.retain(|r| r.last() <= self.decided);
        }
        let promise = Message::Promise { ballot, from: slot, next, decided: self.decided, runs };
        let after = if planted::is(Bug::PromiseBeforeSync) { None } else { self.settled() };
        Self::send(from, promise, after, out);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn hear_promise(
        &mut self,
        now: Instant,
        from: NodeId,
        place: usize,
        ballot: Ballot,
        (slot, next, decided): (u64, Option<u64>, u64),
        runs: Vec<Run>,
        out: &mut Out,
    ) {
        let Seat::Preparing(takeover) = &mut self.seat else { return };
        if ballot != takeover.ballot || takeover.told.has(place) || slot < takeover.next[place] {
            return;
        }
        if runs.iter().any(|r| r.ballot >= ballot && r.last() > decided) {
            return Self::blame(from, Fault::Contradiction, out);
        }
        let last = runs.last().map_or(0, Run::last);
        if last > self.decided.max(decided.min(last)) + 2 * SPAN_MAX {
            return Self::blame(from, Fault::Bound, out);
        }
        if slot > takeover.next[place] {
            // What lies before is in a checkpoint there, which is on its way.
            return self.stand_down(now, out);
        }
        takeover.until = now + self.config.times().election * 2;
        // All of it: what it says is decided may follow on slots that an earlier piece told as open, and then can't be taken as such.
        let open = if planted::is(Bug::PieceForgotten) { decided + 1 } else { 0 };
        runs.iter().filter_map(|r| r.within(open..=u64::MAX)).for_each(|r| takeover.heard.raise(&r));
        if let Some(next) = next {
            takeover.next[place] = next;
            self.counts.pieces += 1;
            Self::send(from, Message::Prepare { ballot, from: next }, None, out);
        } else {
            takeover.told.insert(place);
        }
        let known = self.decided;
        self.take_decided(now, runs.iter().filter_map(|r| r.within(0..=decided)), out);
        self.counts.promised_decided += self.decided - known;
        self.conclude(now, out);
    }

    /// Takes values that a member knows to be decided, as far as they follow on what is decided here.
    pub(super) fn take_decided(&mut self, now: Instant, runs: impl Iterator<Item = Run>, out: &mut Out) {
        let mut taken = Vec::new();
        for run in runs {
            if run.first > self.decided + 1 {
                break;
            }
            if let Some(run) = run.within(self.decided + 1..=u64::MAX) {
                self.decided = run.last();
                if !planted::is(Bug::HearsayIgnored) {
                    self.raise(run.ballot);
                }
                self.log.put(run.clone());
                taken.push(run);
            }
        }
        if !taken.is_empty() {
            self.persist(Record::Chosen(taken), out);
            self.extend_tip();
            // A quorum has promised a ballot above its own: it would be refused, and accepts nothing in it itself.
            if matches!(&self.seat, Seat::Preparing(t) if t.ballot < self.promised) {
                self.counts.deposed += 1;
                self.stand_down(now, out);
            }
        }
    }

    pub(super) fn tick_takeover(&mut self, now: Instant, out: &mut Out) {
        let Seat::Preparing(takeover) = &mut self.seat else { return };
        if planted::is(Bug::PrepareOnce) {
            (takeover.until, takeover.retry_at) = (Instant::FAR, Instant::FAR);
            return;
        }
        if now >= takeover.until {
            return self.stand_down(now, out);
        }
        if now < takeover.retry_at {
            return;
        }
        takeover.retry_at = now + self.config.times().retry;
        let after = (takeover.ticket > self.persisted).then_some(takeover.ticket);
        let (ballot, config) = (takeover.ballot, &self.config);
        for (place, to) in config.members().iter().enumerate() {
            if *to != config.node() && !takeover.told.has(place) {
                self.counts.resent += 1;
                Self::send(*to, Message::Prepare { ballot, from: takeover.next[place] }, after, out);
            }
        }
    }

    /// Leads, once a quorum has told all.
    pub(super) fn conclude(&mut self, now: Instant, out: &mut Out) {
        let enough = |told: NodeSet| {
            self.config.is_quorum(Phase::Prepare, told)
                || (planted::is(Bug::TakeoverUnderQuorum) && told.len() == 2)
        };
        if self.given < self.decided || !matches!(&self.seat, Seat::Preparing(t) if enough(t.told)) {
            return;
        }
        let Seat::Preparing(takeover) = core::mem::replace(&mut self.seat, Seat::Following) else { return };
        let Takeover { ballot, told, mut heard, .. } = *takeover;
        for run in self.log.within(self.decided + 1..=u64::MAX) {
            if planted::is(Bug::TakeoverOwnWins) {
                heard.put(run);
            } else {
                heard.raise(&run);
            }
        }
        let open = self.open_slots(&heard);
        self.lead(now, ballot, told, open, out);
    }

    /// What is to be proposed at the slots behind the decided ones: what was heard, blanks between.
    fn open_slots(&mut self, heard: &Log) -> Vec<Vec<Payload>> {
        let mut batches = Batches::default();
        let mut next = self.decided + 1;
        for run in heard.within(self.decided + 1..=u64::MAX) {
            self.counts.blanks += run.first - next;
            self.counts.recovered += run.batch.len() as u64;
            (next..run.first).for_each(|_| batches.push(Payload::Blank));
            run.batch.payloads().iter().for_each(|p| batches.push(p.clone()));
            next = run.last() + 1;
        }
        // Its own entry, before which nothing is read.
        batches.push(Payload::Blank);
        batches.all
    }
}

/// Packs payloads into batches within their bounds.
#[derive(Default)]
struct Batches {
    all: Vec<Vec<Payload>>,
    bytes: usize,
}

impl Batches {
    fn push(&mut self, payload: Payload) {
        let fits = self
            .all
            .last()
            .is_some_and(|b| b.len() < BATCH_SLOTS_MAX && self.bytes + payload.len() <= BATCH_BYTES_MAX);
        if !fits {
            self.all.push(Vec::new());
            self.bytes = 0;
        }
        self.bytes += payload.len();
        if let Some(batch) = self.all.last_mut() {
            batch.push(payload);
        }
    }
}
