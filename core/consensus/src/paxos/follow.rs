//! Following: accepting, knowing what is decided, finding and filling gaps.

use super::config::{BATCH_BYTES_MAX, PIECE_BYTES_MAX, PIECES_MAX, SPAN_MAX};
use super::log::Run;
use super::message::Message;
use super::planted::{self, Bug};
use super::seat::Seat;
use super::{Out, Paxos, Record};
use crate::step::Fault;
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId};

impl Paxos {
    /// A leader wants a run accepted.
    pub(super) fn accept(&mut self, now: Instant, from: NodeId, run: Run, decided: u64, out: &mut Out) {
        let ballot = run.ballot;
        if ballot < self.promised && !planted::is(Bug::AcceptBelowPromise) {
            self.counts.rejected += 1;
            return Self::send(from, Message::Reject { ballot, promised: self.promised }, None, out);
        }
        let (first, last) = (run.first, run.last());
        if first <= self.log.last() && self.log.contradicts(&run, self.decided) {
            return Self::blame(from, Fault::Contradiction, out);
        }
        self.follow(now, ballot, out);
        self.take_told(decided);
        if last > self.decided + SPAN_MAX || self.is_full() {
            // It will be learned when the prefix comes near, or a checkpoint has made room.
            self.counts.dropped += 1;
            return self.ask(now, from, self.decided + 1, decided, out);
        }
        if first > self.tip.slot + 1 {
            self.ask(now, from, self.tip.slot + 1, first - 1, out);
        }
        let open = run.within(self.decided + 1..=u64::MAX);
        let known = |r: &Run| r.first <= self.log.last() && self.log.reach(r.first, ballot) >= last;
        let old = |r: &Run| planted::is(Bug::VoteNotRenewed) && self.holds_in_any_ballot(r);
        if let Some(run) = open.filter(|r| !known(r) && !old(r)) {
            self.vowed = self.vowed.max(ballot);
            self.log.put(run.clone());
            self.persist(Record::Accepted { run, decided: self.decided }, out);
        } else {
            self.counts.repeated += 1;
            self.vow(ballot, out);
        }
        let after = if planted::is(Bug::AcceptOkBeforeSync) { None } else { self.settled() };
        Self::send(from, Message::AcceptOk { ballot, first, last }, after, out);
        self.extend_tip();
        self.take_told(decided);
    }

    /// Whether a checkpoint must free something before more is taken. What is not decided can't be freed, and has to be taken
    /// for anything to be decided at all: the windows of leaders bound it.
    fn is_full(&self) -> bool {
        let full = 2 * self.config.log_max();
        self.log.bytes() >= full && self.log.bytes() - self.log.weigh(self.decided + 1..=u64::MAX) >= full
    }

    /// The leader that is followed has decided up to here: so has this member, as far as it accepted
    /// everything in that leader's ballot.
    pub(super) fn take_told(&mut self, decided: u64) {
        let known = if planted::is(Bug::DecidedAnyBallot) {
            self.log.unbroken(self.decided + 1)
        } else {
            self.tip.slot
        };
        self.decided = self.decided.max(decided.min(known));
    }

    /// Finds how far all is accepted in the ballot that is followed.
    pub(super) fn extend_tip(&mut self) {
        let from = self.tip.slot.max(self.decided) + 1;
        self.tip.slot = if from > self.log.last() { from - 1 } else { self.log.reach(from, self.tip.ballot) };
    }

    /// Asks for missing slots, unless a question is on its way.
    pub(super) fn ask(&mut self, now: Instant, whom: NodeId, from: u64, to: u64, out: &mut Out) {
        let answered = self.tip.slot.max(self.decided) >= self.asking_to;
        if from > to || (now < self.asking_until && !answered) || planted::is(Bug::NeverAsks) {
            return;
        }
        self.counts.needs += 1;
        self.asking_to = to;
        self.asking_until = now + self.config.times().retry;
        Self::send(whom, Message::Need { from, to }, None, out);
    }

    /// A peer misses slots: what is decided is told as such, what a leader has in flight is sent again.
    pub(super) fn teach(&mut self, now: Instant, to: NodeId, first: u64, last: u64, out: &mut Out) {
        if first <= self.base {
            return self.is_behind(now, to, out);
        }
        self.pin(now, to, first - 1);
        let upto = last.min(self.decided);
        let mut from = Some(first).filter(|f| *f <= upto);
        for _ in 0..PIECES_MAX {
            let Some(first) = from else { break };
            let (runs, next) = self.log.piece(first..=upto, PIECE_BYTES_MAX, self.config.piece());
            Self::send(to, Message::Learn { runs, decided: self.decided }, None, out);
            from = next;
        }
        let Seat::Leading(lead) = &self.seat else { return };
        let (mut bytes, ballot, decided) = (0, lead.ballot, self.decided);
        let lacking = lead.flights.iter().filter(|f| f.last() >= first).take_while(|f| f.first <= last);
        for flight in lacking {
            self.counts.resent += 1;
            let batch = flight.batch.clone();
            bytes += batch.bytes();
            Self::send(to, Message::Accept { ballot, first: flight.first, batch, decided }, None, out);
            if bytes >= PIECES_MAX * BATCH_BYTES_MAX {
                break;
            }
        }
    }

    /// A peer tells decided values.
    pub(super) fn learn(&mut self, now: Instant, from: NodeId, runs: Vec<Run>, decided: u64, out: &mut Out) {
        if matches!(self.seat, Seat::Leading(_)) {
            return;
        }
        if runs.iter().any(|r| r.first <= self.decided && self.contradicts_decided(r)) {
            return Self::blame(from, Fault::Contradiction, out);
        }
        if self.is_full() {
            self.counts.dropped += 1;
            return;
        }
        if planted::is(Bug::LearnTwice)
            && let Some(run) = runs.first()
            && run.first > self.base
            && run.first <= self.given
        {
            self.given = run.first - 1;
        }
        let known = self.decided;
        self.take_decided(now, runs.into_iter(), out);
        if self.decided > known {
            self.counts.learned += self.decided - known;
            self.asking_until = Instant::ZERO;
            self.ask(now, from, self.decided + 1, decided, out);
        }
    }

    /// Whether all of a run was accepted here, in whatever ballots.
    fn holds_in_any_ballot(&self, run: &Run) -> bool {
        (run.first..=run.last()).all(|slot| self.log.get(slot).is_some_and(|(_, held)| held == run.at(slot)))
    }

    /// Whether a run holds another value at a slot that is decided here.
    fn contradicts_decided(&self, run: &Run) -> bool {
        run.within(0..=self.decided).is_some_and(|r| self.log.contradicts(&r, self.decided))
    }
}
