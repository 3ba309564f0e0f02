//! Who leads: asking before standing, quorum connection, back-off.
//!
//! A member that hears no connected leader for an election timeout asks all others. Whoever hears one
//! says so, and the asker gives way, telling its clients of that leader. If a quorum of both phases
//! answers and none hears a leader, the asker is quorum-connected and nobody loses anything: it prepares.
//! Ballots are not spread by those who only ask, so members that can't lead do not make others move.

use super::message::{Ballot, Message};
use super::planted::{self, Bug};
use super::seat::{Canvass, Seat, Takeover};
use super::{Log, Out, Paxos, Record};
use crate::quorum::{NodeSet, Phase};
use alloc::boxed::Box;
use alloc::vec;
use dwcp_env::{Instant, NodeId};

impl Paxos {
    /// The quorum-connected leader this member hears, itself included.
    fn hears(&self, now: Instant) -> Option<Ballot> {
        match &self.seat {
            // Its own timer may be late: what it knew at the last heartbeat is not enough.
            Seat::Leading(lead) => {
                let heard = lead.heard_since(now - self.config.times().election, self.place);
                let connected = self.config.is_quorum(Phase::Accept, heard);
                let connected = connected || planted::is(Bug::NeverUnconnected);
                (lead.connected && connected).then_some(lead.ballot)
            }
            _ => self.leader.filter(|_| now < self.heard_until),
        }
    }

    /// Waits anew before looking for a leader.
    pub(super) fn wait(&mut self, now: Instant) {
        self.election_at = now + self.config.patience(self.promised, self.canvass, self.failures);
    }

    /// The process of whom this member follows seems to be gone: unless it speaks within a heartbeat it is heard no
    /// longer, and members ask around in turn, half a heartbeat apart, not after a whole election timeout. A living leader
    /// is heard by then; who alone had a wrong hint is told of it by the first it asks.
    pub(super) fn unreachable(&mut self, now: Instant, peer: NodeId) {
        // Who was promised and has not led yet is waited for like a leader, and so is the first one.
        let waited_for = self.config.awaited(self.promised).unwrap_or(self.promised.node);
        let followed = self.leader.map_or(waited_for, |b| b.node);
        if followed != peer || !matches!(self.seat, Seat::Following) {
            return;
        }
        let beat = self.config.times().heartbeat;
        self.counts.hinted += 1;
        self.last_words = Some((peer, now + beat / 4));
        self.heard_until = self.heard_until.min(now + beat / 4 * 5);
        self.election_at = self.election_at.min(now + beat / 4 * 5 + self.config.turn(peer));
    }

    /// Whether this may have been on its way when its sender ended. A sender that lives says it again within a heartbeat.
    pub(super) fn is_last_word(&self, now: Instant, from: NodeId) -> bool {
        self.last_words.is_some_and(|(gone, until)| gone == from && now < until)
    }

    pub(super) fn begin_canvass(&mut self, now: Instant, out: &mut Out) {
        self.leader = self.leader.filter(|_| now < self.heard_until);
        self.canvass = self.canvass.wrapping_add(1);
        let canvass = Canvass { free: NodeSet::one(self.place), until: now + self.config.times().election };
        if self.config.connects(canvass.free) {
            return self.stand(now, out);
        }
        self.seat = Seat::Canvassing(canvass);
        self.send_all(&Message::Canvass { round: self.canvass }, None, out);
    }

    pub(super) fn tick_canvass(&mut self, now: Instant) {
        if let Seat::Canvassing(canvass) = &self.seat
            && now >= canvass.until
        {
            self.counts.unheard += 1;
            self.seat = Seat::Following;
            self.wait(now);
        }
    }

    pub(super) fn give_opinion(&mut self, now: Instant, from: NodeId, round: u64, out: &mut Out) {
        let (hears, promised) = (self.hears(now), self.promised);
        let (decided, base) = (self.decided, self.base);
        Self::send(from, Message::Opinion { round, hears, promised, decided, base }, None, out);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn hear_opinion(
        &mut self,
        now: Instant,
        from: NodeId,
        place: usize,
        round: u64,
        hears: Option<Ballot>,
        (base, decided): (u64, u64),
        out: &mut Out,
    ) {
        let Seat::Canvassing(canvass) = &mut self.seat else { return };
        if round != self.canvass {
            return;
        }
        // What is forgotten there can't be recovered from promises: a checkpoint comes first.
        let late = base > self.decided;
        if (hears.is_none() || planted::is(Bug::VetoIgnored)) && !late {
            canvass.free.insert(place);
            let free = canvass.free;
            if self.config.connects(free) {
                self.stand(now, out);
            }
            return;
        }
        if let Some(leader) = hears.filter(|b| b.node != self.config.node()) {
            self.see(leader);
            self.leader = Some(leader);
        }
        self.counts.vetoed += 1;
        self.seat = Seat::Following;
        self.wait(now);
        self.ask(now, from, self.decided + 1, decided, out);
    }

    /// The leader makes room for this member.
    pub(super) fn called(&mut self, now: Instant, ballot: Ballot, base: u64, proposed: u64, out: &mut Out) {
        let more = self.decided > proposed || (self.tip.ballot == ballot && self.tip.slot > proposed);
        let able = base <= self.decided && !more;
        if ballot >= self.promised && able && matches!(self.seat, Seat::Following | Seat::Canvassing(_)) {
            self.see(ballot);
            self.stand(now, out);
        }
    }

    /// Prepares with a ballot above all seen.
    pub(super) fn stand(&mut self, now: Instant, out: &mut Out) {
        let ballot = Ballot { round: self.round.max(self.promised.round) + 1, node: self.config.node() };
        self.round = ballot.round;
        (self.promised, self.vowed) = (ballot, ballot);
        self.leader = None;
        self.heard_until = Instant::ZERO;
        let ticket = self.persist(Record::Promised(ballot), out);
        let times = *self.config.times();
        let members = self.config.members().len();
        self.seat = Seat::Preparing(Box::new(Takeover {
            ballot,
            ticket,
            next: vec![self.decided + 1; members],
            told: NodeSet::EMPTY,
            heard: Log::default(),
            retry_at: now + times.retry,
            until: now + times.election * 2,
        }));
        let after = if planted::is(Bug::BallotReused) { None } else { Some(ticket) };
        self.send_all(&Message::Prepare { ballot, from: self.decided + 1 }, after, out);
    }

    /// Ends whatever this member was doing besides following; answers what hangs on it.
    pub(super) fn stand_down(&mut self, now: Instant, out: &mut Out) {
        match core::mem::replace(&mut self.seat, Seat::Following) {
            Seat::Following | Seat::Canvassing(_) => {}
            Seat::Preparing(_) => {
                self.counts.lost += 1;
                self.failures = self.failures.saturating_add(1);
            }
            Seat::Leading(lead) => self.end_lead(*lead, out),
        }
        self.wait(now);
    }

    /// Somebody shows a ballot at least as high as all promised here: whoever leads or stands with a lower
    /// one ends, and values of that leader count from here on.
    pub(super) fn follow(&mut self, now: Instant, ballot: Ballot, out: &mut Out) {
        self.raise(ballot);
        if self.tip.ballot != ballot {
            // A quorum has just promised: this once, values tell as much as a heartbeat.
            self.heard_until = now + self.config.times().election;
        } else if self.leader != Some(ballot) {
            self.heard_until = Instant::ZERO;
        }
        self.leader = Some(ballot);
        if matches!(self.seat, Seat::Leading(_) | Seat::Preparing(_)) {
            self.counts.deposed += 1;
            self.stand_down(now, out);
        }
        if self.tip.ballot != ballot {
            let slot = if planted::is(Bug::TipKept) { self.tip.slot.max(self.decided) } else { self.decided };
            self.tip = super::Tip { ballot, slot };
            self.extend_tip();
        }
    }

    /// A ballot above ours was promised elsewhere.
    pub(super) fn rejected(
        &mut self,
        now: Instant,
        from: NodeId,
        ballot: Ballot,
        promised: Ballot,
        out: &mut Out,
    ) {
        let mine = match &self.seat {
            Seat::Preparing(takeover) => Some(takeover.ballot),
            Seat::Leading(lead) => Some(lead.ballot),
            _ => None,
        };
        if mine.is_some_and(|b| ballot > b) {
            return Self::blame(from, crate::step::Fault::Contradiction, out);
        }
        self.see(promised);
        if mine == Some(ballot) {
            self.leader = None;
            self.counts.deposed += 1;
            self.stand_down(now, out);
        }
    }
}
