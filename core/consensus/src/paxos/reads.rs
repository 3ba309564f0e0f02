//! Linearizable reads by read index, a round of heartbeats for any number of them (Ongaro 2014, §6.4).

use super::config::READS_MAX;
use super::message::{Ballot, Message};
use super::planted::{self, Bug};
use super::seat::{ReadRound, Seat};
use super::{Out, Paxos};
use crate::engine::{EngineError, Token};
use crate::quorum::{NodeSet, Phase};
use crate::step::{Fault, Output};
use alloc::string::ToString;
use dwcp_env::{Instant, NodeId};

impl Paxos {
    pub(super) fn read(&mut self, now: Instant, token: Token, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else {
            return Self::refuse(token, self.not_leader(), out);
        };
        if lead.asked.len() >= READS_MAX {
            let error = EngineError::Refused("too many reads wait: try again later".to_string());
            return Self::refuse(token, error, out);
        }
        if planted::is(Bug::LateReader)
            && let Some(round) = &mut lead.round
        {
            return round.tokens.push(token);
        }
        lead.asked.push(token);
        self.next_round(now, out);
    }

    /// Sends the reads that wait on a round, if none is under way and an entry of this ballot is decided.
    /// What is decided now is all that was decided before they were asked.
    pub(super) fn next_round(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let own = lead.own <= self.decided || planted::is(Bug::ReadBeforeOwnEntry);
        if lead.asked.is_empty() || lead.round.is_some() || !own {
            return;
        }
        lead.round = Some(ReadRound { seq: lead.seq + 1, tokens: core::mem::take(&mut lead.asked) });
        self.beat(now, out);
        self.finish_round(now, out);
    }

    /// Serves the reads of the round under way once a quorum has answered its heartbeat or a later one.
    fn finish_round(&mut self, now: Instant, out: &mut Out) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        let Some(round) = &lead.round else { return };
        let mut set = NodeSet::one(self.place);
        for (place, peer) in lead.peers.iter().enumerate() {
            if peer.seq >= round.seq {
                set.insert(place);
            }
        }
        if !self.config.is_quorum(Phase::Accept, set) && !planted::is(Bug::ReadWithoutRound) {
            return;
        }
        for token in lead.round.take().into_iter().flat_map(|r| r.tokens) {
            self.counts.reads += 1;
            out.push(Output::Readable { token });
        }
        self.next_round(now, out);
    }

    /// A leader says so.
    pub(super) fn ping(
        &mut self,
        now: Instant,
        from: NodeId,
        ballot: Ballot,
        (seq, connected): (u64, bool),
        (decided, proposed): (u64, u64),
        out: &mut Out,
    ) {
        if ballot < self.promised {
            self.counts.rejected += 1;
            return Self::send(from, Message::Reject { ballot, promised: self.promised }, None, out);
        }
        let promised = self.promised;
        self.follow(now, ballot, out);
        if planted::is(Bug::HearsayIgnored) {
            self.promised = promised;
        }
        if connected && !self.is_last_word(now, from) {
            self.failures = 0;
            self.heard_until = now + self.config.times().election;
            self.seat = Seat::Following;
            self.wait(now);
        }
        Self::send(from, Message::Pong { ballot, seq }, None, out);
        self.take_told(decided);
        if self.tip.slot.max(self.decided) < proposed {
            self.ask(now, from, self.tip.slot + 1, proposed, out);
        }
    }

    pub(super) fn pong(
        &mut self,
        now: Instant,
        from: NodeId,
        place: usize,
        ballot: Ballot,
        seq: u64,
        out: &mut Out,
    ) {
        let Seat::Leading(lead) = &mut self.seat else { return };
        if ballot != lead.ballot {
            return;
        }
        if seq > lead.seq {
            return Self::blame(from, Fault::Contradiction, out);
        }
        let peer = &mut lead.peers[place];
        peer.heard = Some(now);
        peer.seq = peer.seq.max(seq);
        self.finish_round(now, out);
    }
}
