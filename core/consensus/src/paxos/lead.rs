//! Leading: batches in flight, votes, deciding, heartbeats, handing over.

use super::config::{
    BATCH_BYTES_MAX, BATCH_SLOTS_MAX, PIECES_MAX, WAITING_BYTES_MAX, WAITING_MAX, WINDOW_BYTES,
};
use super::log::{Batch, Run};
use super::message::{Ballot, Message};
use super::planted::{self, Bug};
use super::seat::{Flight, Handover, Lead, Peer, Seat};
use super::{Out, Paxos, Record};
use crate::engine::{EngineError, Token};
use crate::quorum::{NodeSet, Phase};
use crate::step::{Fault, Output, Payload, Ticket};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId};

impl Paxos {
    /// Begins to lead: proposes what is open, `told` having promised.
    pub(super) fn lead(
        &mut self,
        now: Instant,
        ballot: Ballot,
        told: NodeSet,
        open: Vec<Vec<Payload>>,
        out: &mut Out,
    ) {
        self.counts.takeovers += 1;
        self.failures = 0;
        self.leader = Some(ballot);
        let peer = |place| Peer { seq: 0, heard: told.has(place).then_some(now) };
        let count: usize = open.iter().map(Vec::len).sum();
        let times = *self.config.times();
        self.seat = Seat::Leading(Box::new(Lead {
            ballot,
            own: self.decided + count as u64,
            next: self.decided + 1,
            flights: VecDeque::new(),
            flying_bytes: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            peers: (0..self.config.members().len()).map(peer).collect(),
            seq: 0,
            connected: true,
            asked: Vec::new(),
            round: None,
            handover: None,
            ping_at: now + times.heartbeat,
            announce_at: Instant::FAR,
            retry_at: now + times.retry,
            stuck: self.decided + 1,
        }));
        for payloads in open {
            self.launch(Batch::new(payloads), Vec::new(), out);
        }
    }

    /// Accepts a batch here, and asks everybody to.
    fn launch(&mut self, batch: Batch, tokens: Vec<Token>, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let (ballot, first, decided) = (lead.ballot, lead.next, self.decided);
        let run = Run { first, ballot, batch: batch.clone() };
        self.issued.0 += 1;
        let ticket = self.issued;
        lead.next = run.last() + 1;
        // What is sent now tells what is decided.
        lead.announce_at = Instant::FAR;
        lead.flying_bytes += batch.bytes();
        let mut votes = NodeSet::EMPTY;
        if planted::is(Bug::OwnVoteBeforeSync) {
            votes.insert(self.place);
        }
        self.log.put(run.clone());
        out.push(Output::Persist { ticket, record: Record::Accepted { run, decided } });
        lead.flights.push_back(Flight { first, batch: batch.clone(), tokens, ticket, votes });
        self.send_all(&Message::Accept { ballot, first, batch, decided }, None, out);
    }

    pub(super) fn propose(&mut self, now: Instant, list: Vec<(Token, Payload)>, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else {
            let error = self.not_leader();
            return list.into_iter().for_each(|(t, _)| Self::refuse(t, error.clone(), out));
        };
        let error = if self.sealed > 0 {
            Some(EngineError::Refused("this epoch is sealed: propose to its successor".to_string()))
        } else if let Some(handover) = lead.handover {
            Some(EngineError::NotLeader { leader: Some(handover.to) })
        } else if self.log.bytes() >= self.config.log_max() {
            Some(EngineError::Refused("the log is full: a checkpoint must free some of it first".to_string()))
        } else {
            None
        };
        if let Some(error) = error {
            return list.into_iter().for_each(|(t, _)| Self::refuse(t, error.clone(), out));
        }
        if lead.flights.is_empty() {
            lead.retry_at = now + self.config.times().retry;
            lead.stuck = lead.next;
        }
        let bytes: usize = list.iter().map(|(_, p)| p.len()).sum();
        let one_batch = list.len() <= BATCH_SLOTS_MAX && bytes <= BATCH_BYTES_MAX && !list.is_empty();
        if one_batch && lead.waiting.is_empty() && lead.has_room(self.config.window()) {
            let (tokens, payloads) = list.into_iter().unzip();
            return self.launch(Batch::new(payloads), tokens, out);
        }
        for (token, payload) in list {
            let error = if payload.len() > BATCH_BYTES_MAX {
                "the command is longer than 1.5 MiB"
            } else if lead.waiting.len() >= WAITING_MAX
                || lead.waiting_bytes + payload.len() > WAITING_BYTES_MAX
            {
                "too many proposals wait: try again later"
            } else {
                self.counts.waited += 1;
                lead.waiting_bytes += payload.len();
                lead.waiting.push_back((token, payload));
                continue;
            };
            Self::refuse(token, EngineError::Refused(error.to_string()), out);
        }
        self.pump(out);
    }

    /// Sends what waits, as far as the window has room.
    fn pump(&mut self, out: &mut Out) {
        while let Seat::Leading(lead) = &mut self.seat
            && lead.has_room(self.config.window())
            && !lead.waiting.is_empty()
        {
            let (mut tokens, mut payloads, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some((token, payload)) = lead.waiting.pop_front() {
                if payloads.len() == BATCH_SLOTS_MAX || bytes + payload.len() > BATCH_BYTES_MAX {
                    lead.waiting.push_front((token, payload));
                    break;
                }
                bytes += payload.len();
                tokens.push(token);
                payloads.push(payload);
            }
            lead.waiting_bytes -= bytes;
            self.launch(Batch::new(payloads), tokens, out);
        }
    }

    /// A member has a run of ours on disk.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn accepted(
        &mut self,
        now: Instant,
        from: NodeId,
        place: usize,
        ballot: Ballot,
        first: u64,
        last: u64,
        out: &mut Out,
    ) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        if ballot != lead.ballot {
            if ballot.node != self.config.node() || ballot > lead.ballot {
                Self::blame(from, Fault::Contradiction, out);
            }
            return;
        }
        if last >= lead.next {
            return Self::blame(from, Fault::Contradiction, out);
        }
        lead.peers[place].heard = Some(now);
        let at = lead.flights.partition_point(|f| f.first < first);
        for flight in lead.flights.range_mut(at..).take_while(|f| f.last() <= last) {
            flight.votes.insert(place);
        }
        if at == 0 {
            self.decide(now, out);
        }
    }

    pub(super) fn persisted(&mut self, now: Instant, ticket: Ticket, out: &mut Out) {
        self.persisted = self.persisted.max(ticket.min(self.issued));
        let (persisted, place) = (self.persisted, self.place);
        match &mut self.seat {
            Seat::Preparing(takeover) if persisted >= takeover.ticket => {
                takeover.told.insert(place);
                self.conclude(now, out);
            }
            Seat::Leading(lead) => {
                for flight in lead.flights.iter_mut().take_while(|f| f.ticket <= persisted) {
                    flight.votes.insert(place);
                }
                self.decide(now, out);
            }
            _ => {}
        }
    }

    /// Gives out, in order, the flights that a quorum has.
    fn decide(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let before = self.decided;
        let enough = |votes: NodeSet| {
            self.config.is_quorum(Phase::Accept, votes)
                || (planted::is(Bug::MinorityDecides) && !votes.is_empty())
        };
        while lead.flights.front().is_some_and(|f| enough(f.votes)) {
            let Some(flight) = lead.flights.pop_front() else { break };
            lead.flying_bytes -= flight.batch.bytes();
            assert_eq!(flight.first, self.decided + 1, "flights have no gaps");
            assert_eq!(self.given, self.decided, "a leader gives out as it decides");
            self.decided = flight.last();
            let mut tokens = flight.tokens.into_iter();
            for (payload, index) in flight.batch.payloads().iter().zip(flight.first..) {
                if self.sealed == 0 && matches!(payload, Payload::Seal(_)) {
                    self.sealed = index;
                }
                out.push(Output::Decided { index, payload: payload.clone(), token: tokens.next() });
            }
            self.given = self.decided;
        }
        if self.decided == before {
            return;
        }
        if lead.flights.is_empty() {
            // Nothing else may come soon to tell the followers.
            lead.announce_at = now + self.config.times().announce;
        }
        if self.sealed > 0 {
            lead.waiting_bytes = 0;
            for (token, _) in core::mem::take(&mut lead.waiting) {
                let error =
                    EngineError::Refused("this epoch is sealed: propose to its successor".to_string());
                Self::refuse(token, error, out);
            }
        }
        if !planted::is(Bug::NeverPumps) {
            self.pump(out);
        }
        self.hand_over(now, out);
        self.next_round(now, out);
    }

    /// A heartbeat to everybody.
    pub(super) fn beat(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let times = self.config.times();
        lead.seq += 1;
        // One lost heartbeat makes nobody look for another leader: three do.
        let heard = lead.heard_since(now - times.heartbeat * 3, self.place);
        lead.connected = self.config.is_quorum(Phase::Accept, heard) || planted::is(Bug::NeverUnconnected);
        lead.ping_at = now + times.heartbeat;
        lead.announce_at = Instant::FAR;
        let ping = Message::Ping {
            ballot: lead.ballot,
            seq: lead.seq,
            connected: lead.connected,
            decided: self.decided,
            proposed: lead.next - 1,
        };
        self.send_all(&ping, None, out);
    }

    pub(super) fn tick_lead(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let election = self.config.times().election;
        if lead.handover.is_some_and(|h| now >= h.until) {
            lead.handover = None;
        }
        if now >= lead.ping_at.min(lead.announce_at) {
            let heard = lead.heard_since(now - election, self.place);
            if !self.config.is_quorum(Phase::Accept, heard) && !planted::is(Bug::NeverUnconnected) {
                self.counts.unconnected += 1;
                self.leader = None;
                return self.stand_down(now, out);
            }
            self.beat(now, out);
        }
        self.resend(now, out);
    }

    /// Sends again what waits for votes for longer than a retry, to those whose votes lack.
    fn resend(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        if lead.flights.is_empty() || now < lead.retry_at || planted::is(Bug::AcceptOnce) {
            return;
        }
        lead.retry_at = now + self.config.times().retry;
        let oldest = lead.flights[0].first;
        if core::mem::replace(&mut lead.stuck, oldest) != oldest {
            return;
        }
        let (mut bytes, ballot, decided) = (0, lead.ballot, self.decided);
        for flight in &lead.flights {
            bytes += flight.batch.bytes();
            for (place, to) in self.config.members().iter().enumerate() {
                if place != self.place && !flight.votes.has(place) {
                    self.counts.resent += 1;
                    let batch = flight.batch.clone();
                    Self::send(
                        *to,
                        Message::Accept { ballot, first: flight.first, batch, decided },
                        None,
                        out,
                    );
                }
            }
            if bytes >= PIECES_MAX * BATCH_BYTES_MAX {
                break;
            }
        }
    }

    pub(super) fn transfer(&mut self, now: Instant, to: NodeId, out: &mut Out) {
        if to == self.config.node() {
            return;
        }
        if let (Seat::Leading(lead), Some(place)) = (&mut self.seat, self.config.place(to)) {
            let until = now + self.config.times().election;
            lead.handover = Some(Handover { to, place, until, told: false });
            self.hand_over(now, out);
        }
    }

    /// Calls the successor once nothing is in flight that could be answered with "unknown".
    fn hand_over(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        // Who is not heard may be down, or far behind: nobody makes room for it.
        let since = now - self.config.times().heartbeat * 3;
        let heard = |h: &Handover| lead.peers[h.place].heard.is_some_and(|at| at >= since);
        if lead.handover.as_ref().is_some_and(|h| !h.told && !heard(h)) {
            lead.handover = None;
            self.counts.stayed += 1;
        }
        if !lead.flights.is_empty() || !lead.waiting.is_empty() {
            return;
        }
        let (ballot, base, proposed) = (lead.ballot, self.base, lead.next - 1);
        if let Some(handover) = lead.handover.as_mut().filter(|h| !h.told) {
            handover.told = true;
            self.counts.yielded += 1;
            let to = handover.to;
            Self::send(to, Message::Yield { ballot, base, proposed }, None, out);
        }
    }

    /// Answers all that hangs on a leadership that ends.
    pub(super) fn end_lead(&mut self, lead: Lead, out: &mut Out) {
        for token in lead.flights.into_iter().flat_map(|f| f.tokens) {
            Self::refuse(token, EngineError::Unknown, out);
        }
        let reads = lead.round.into_iter().flat_map(|r| r.tokens).chain(lead.asked);
        for token in lead.waiting.into_iter().map(|(t, _)| t).chain(reads) {
            Self::refuse(token, self.not_leader(), out);
        }
    }
}

impl Lead {
    fn has_room(&self, batches: usize) -> bool {
        self.flights.len() < batches && self.flying_bytes < WINDOW_BYTES
    }
    /// Who was heard at or after a time, this member included.
    pub(super) fn heard_since(&self, since: Instant, me: usize) -> NodeSet {
        let mut set = NodeSet::one(me);
        for (place, peer) in self.peers.iter().enumerate() {
            if peer.heard.is_some_and(|at| at >= since) {
                set.insert(place);
            }
        }
        set
    }
}
