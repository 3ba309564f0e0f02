//! Multi-Paxos: one order of commands under a stable leader, with any quorum system.
//!
//! **Promise.** What is decided at a slot stays decided there, whoever crashes, as long as what was on
//! disk stays; and as long as some member exchanges messages with a quorum of both phases, there is a
//! leader that decides. Sources: Lamport, *Paxos Made Simple* (2001), for safety; Howard et al., *Flexible
//! Paxos* (2016): only quorums of different phases must meet; Ng et al., *Omni-Paxos* (EuroSys 2023):
//! leaders must be quorum-connected; Ongaro's thesis (2014) §6.4 for reads, §9.6 for asking before
//! standing.
//!
//! **Model.** A *slot* is a place of the order, from 1. A *ballot* `(round, node)` numbers a leadership
//! and is used by its node only, once: it is on disk there before anybody hears of it. Every member is
//! an acceptor: it *promises* ballots and *accepts* values at slots. A value is *chosen* when a quorum of
//! phase Accept has accepted it in one ballot. The *decided* index of a member ends the prefix of slots
//! whose chosen values it knows.
//!
//! A leadership: nobody is heard → **canvass** (does anybody hear a quorum-connected leader?) → a quorum
//! hears none → **prepare** with a ballot above all seen: promises tell what was accepted behind the
//! candidate's decided prefix, in pieces → a quorum of phase Prepare has told all: for each slot the value
//! of the highest ballot, blanks for gaps, then one blank of its own → **lead**: batches are accepted side
//! by side, in a window, and decided in order.
//!
//! **Leaders are quorum-connected.** A heartbeat says whether a quorum of phase Accept answered lately. Only a
//! connected leader is *heard*; one that is not is replaced, and ends by itself after one election
//! timeout. Whoever hears a connected leader says so to those who canvass, and they give way. So one
//! that comes back, or sees the leader only through a peer (chain), deposes nobody, while one hub that
//! is the only connected member (quorum loss), or a majority with a bridge to a lost leader, gets
//! a leader within two timeouts. Omni-Paxos lets such a member take over by a higher ballot without
//! asking; we ask, because one more round trip in an election is cheap and a change of leaders is not.
//! As the quorums of the two phases meet, one question reaches somebody who hears the leader. To go on, a
//! leader needs a quorum of phase Accept only; to begin, quorums of both.
//!
//! **What must be on disk before what** (records: [`Record`], messages: [`Message`]):
//!
//! | before | on disk |
//! |---|---|
//! | `Prepare` leaves | the candidate's promise of that ballot |
//! | `Promise` leaves | the promise, and all that was accepted |
//! | `AcceptOk` leaves | the accepted run |
//! | a leader counts itself | its accepted run |
//! | `Accept` leaves; something is given out as decided | nothing |
//!
//! The decided index rides along in each accepted record and is never synced for itself: after a crash
//! most of the prefix is known at once, the rest is learned or decided anew with equal values.
//!
//! **Invariants.**
//! 1. An acceptor accepts nothing below its promise, nor below a leader's ballot it has heard of; an accepted run
//!    promises its ballot. What others count on is the promise in a record, nothing else.
//! 2. In one ballot at most one value is proposed at a slot.
//! 3. A ballot proposes at a slot what the highest ballot accepted there, as far as any of a quorum of
//!    phase Prepare knows; so every ballot above one that chose a value proposes that value.
//! 4. Every slot up to `decided` holds its chosen value, or lies in a durable checkpoint (`base`).
//! 5. A follower takes a slot for decided if it accepted it in the ballot whose leader says so, or if a
//!    member that decided it tells its value.
//! 6. A read is served if, after it was asked, a quorum of phase Accept (each of which meets every quorum
//!    of phase Prepare) had promised nobody above this leader, and an entry of this ballot is decided.
//! 7. A deposed leader answers: proposals that were sent with *unknown*, others and reads with *not leader*.
//! 8. The first decided seal ends the epoch: from then on proposals are refused, all else goes on.
//!
//! **Bounds.** See [`config`]: 4,096 payloads and 1.5 MiB a batch, 64 batches and 16 MiB in flight, 65,536
//! proposals and as many reads waiting, one outstanding question for missing slots, 1 MiB a piece.
//! Memory follows what lies behind the last checkpoint, [`Config::log_bytes_max`] at most.
//!
//! **Rejected.** *Votes by prefix* (as Raft): one lost message would hold back all later ones at that
//! acceptor, and a takeover would have to carry whole logs. *Forwarding by followers*: a second place
//! where a proposal can be lost or doubled; the node routes. *Leases*: they need a bound on clocks, and
//! a round of heartbeats serves any number of reads.
//!
//! **Not yet.** Witnesses that keep digests only: a witness of the quorum system keeps whole values here,
//! and may lead.
//!
//! **Read** [`log`], [`message`], `recover`, `takeover`, `lead`, `follow`, `election`.

pub mod config;
mod counts;
mod election;
mod follow;
mod lead;
pub mod log;
pub mod message;
pub mod planted;
mod reads;
pub mod record;
mod recover;
mod seat;
#[cfg(feature = "rehearsal")]
mod subject;
mod takeover;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Times};
pub use counts::Counts;
pub use message::{Ballot, Message};
pub use record::{Mark, Record};
#[cfg(feature = "rehearsal")]
pub use subject::{Quorum, Rehearsed};

use crate::engine::{EngineError, Role, Token};
use crate::step::{Corrupt, Fault, Input, Output, Outputs, Payload, Protocol, Standing, Ticket};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::hash::{Hash, Hasher};
use dwcp_env::{Instant, NodeId};
use log::Log;
use seat::Seat;

type Out = Outputs<Paxos>;

/// How far, behind the decided prefix, all slots are accepted in the ballot that is followed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Tip {
    ballot: Ballot,
    slot: u64,
}

/// Slots behind this one are kept for a peer that is on its way from a checkpoint to there, for a while.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Pin {
    peer: NodeId,
    slot: u64,
    until: Instant,
}

/// One member of an epoch under Multi-Paxos.
#[derive(Clone, Debug)]
pub struct Paxos {
    config: Arc<Config>,
    /// This node's place among the members.
    place: usize,
    /// Nothing below is accepted: the highest ballot promised, or heard of as a leader's.
    promised: Ballot,
    /// The highest ballot promised in a record. Others count on no more than that.
    vowed: Ballot,
    /// What is accepted behind `base`.
    log: Log,
    /// The newest checkpoint that is durable here goes up to this slot.
    marked: u64,
    /// What follows on a checkpoint that a late peer fetches is kept for it.
    pins: Vec<Pin>,
    /// Forgotten up to here: a durable checkpoint has it.
    base: u64,
    /// All slots up to here are known to be decided.
    decided: u64,
    /// All slots up to here were given out.
    given: u64,
    /// The slot of the first decided seal; 0 if there is none.
    sealed: u64,
    /// The last record's number.
    issued: Ticket,
    /// All records up to this one are on disk.
    persisted: Ticket,
    seat: Seat,
    /// Whose heartbeats or values came last, connected or not.
    leader: Option<Ballot>,
    /// A connected leader counts as heard until then.
    heard_until: Instant,
    /// Whose process seemed to be gone, and until when what it says may have been on its way.
    last_words: Option<(NodeId, Instant)>,
    /// When a member that hears no connected leader looks for one.
    election_at: Instant,
    tip: Tip,
    /// A question for missing slots is on its way until then, unless all up to `asking_to` has come.
    asking_until: Instant,
    asking_to: u64,
    /// The highest round seen anywhere.
    round: u64,
    /// Numbers the canvasses, from a number that differs between lifetimes.
    canvass: u64,
    /// Elections lost in a row.
    failures: u32,
    counts: Counts,
}

impl Hash for Paxos {
    fn hash<H: Hasher>(&self, h: &mut H) {
        let Self { config: _, counts: _, place, promised, log, base, decided, given, sealed, .. } = self;
        (place, promised, log, base, decided, given, sealed).hash(h);
        let Self { vowed, marked, pins, .. } = self;
        (vowed, marked, pins).hash(h);
        let Self { issued, persisted, seat, leader, heard_until, election_at, tip, .. } = self;
        (issued, persisted, seat, leader, heard_until, election_at, tip).hash(h);
        let Self { asking_until, asking_to, round, canvass, failures, last_words, .. } = self;
        (asking_until, asking_to, round, canvass, failures, last_words).hash(h);
    }
}

impl Paxos {
    /// How often the hard paths were taken.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn send(to: NodeId, message: Message, after: Option<Ticket>, out: &mut Out) {
        out.push(Output::Send { to, message, after });
    }
    fn send_all(&self, message: &Message, after: Option<Ticket>, out: &mut Out) {
        for to in self.config.members().iter().filter(|n| **n != self.config.node()) {
            Self::send(*to, message.clone(), after, out);
        }
    }
    fn persist(&mut self, record: Record, out: &mut Out) -> Ticket {
        self.issued.0 += 1;
        out.push(Output::Persist { ticket: self.issued, record });
        self.issued
    }
    /// What a message must wait for that speaks of anything recorded so far.
    fn settled(&self) -> Option<Ticket> {
        (self.issued > self.persisted).then_some(self.issued)
    }
    fn refuse(token: Token, error: EngineError, out: &mut Out) {
        out.push(Output::Refused { token, error });
    }
    fn not_leader(&self) -> EngineError {
        EngineError::NotLeader { leader: self.leader.map(|b| b.node).filter(|n| *n != self.config.node()) }
    }

    fn blame(peer: NodeId, fault: Fault, out: &mut Out) {
        out.push(Output::Blame { peer, fault });
    }

    fn tick(&mut self, now: Instant, out: &mut Out) {
        match &self.seat {
            Seat::Following if now >= self.election_at => self.begin_canvass(now, out),
            Seat::Following => {}
            Seat::Canvassing(_) => self.tick_canvass(now),
            Seat::Preparing(_) => self.tick_takeover(now, out),
            Seat::Leading(_) => self.tick_lead(now, out),
        }
    }

    fn message(&mut self, now: Instant, from: NodeId, message: Message, out: &mut Out) {
        let place = match message.check(&self.config, from, self.round) {
            Ok(place) => place,
            Err(fault) => return Self::blame(from, fault, out),
        };
        match message {
            Message::Canvass { round } => self.give_opinion(now, from, round, out),
            Message::Opinion { round, hears, promised, decided, base } => {
                self.see(promised);
                self.hear_opinion(now, from, place, round, hears, (base, decided), out);
            }
            Message::Prepare { ballot, from: slot } => self.promise(now, from, ballot, slot, out),
            Message::Promise { ballot, from: slot, next, decided, runs } => {
                self.hear_promise(now, from, place, ballot, (slot, next, decided), runs, out);
            }
            Message::Accept { ballot, first, batch, decided } => {
                self.accept(now, from, log::Run { first, ballot, batch }, decided, out);
            }
            Message::AcceptOk { ballot, first, last } => {
                self.accepted(now, from, place, ballot, first, last, out);
            }
            Message::Reject { ballot, promised } => self.rejected(now, from, ballot, promised, out),
            Message::Ping { ballot, seq, connected, decided, proposed } => {
                self.ping(now, from, ballot, (seq, connected), (decided, proposed), out);
            }
            Message::Pong { ballot, seq } => self.pong(now, from, place, ballot, seq, out),
            Message::Need { from: first, to } => self.teach(now, from, first, to, out),
            Message::Learn { runs, decided } => self.learn(now, from, runs, decided, out),
            Message::Yield { ballot, base, proposed } => self.called(now, ballot, base, proposed, out),
        }
    }

    /// Notes a ballot, so that the next one of this node is above it.
    fn see(&mut self, ballot: Ballot) {
        self.round = self.round.max(ballot.round);
    }

    /// Nothing below this ballot is accepted any more; a leader of a lower one is heard no longer.
    fn raise(&mut self, ballot: Ballot) {
        self.see(ballot);
        if ballot > self.promised {
            self.promised = ballot;
            self.leader = self.leader.filter(|b| *b >= ballot);
        }
    }

    /// Gives out what has become decided, for members that do not lead: a bounded part in a step.
    fn give_out(&mut self, out: &mut Out) {
        if self.given == self.decided {
            return;
        }
        let upto = self.decided.min(self.given + self.config.piece() as u64);
        for run in self.log.within(self.given + 1..=upto) {
            for (payload, index) in run.batch.payloads().iter().zip(run.first..) {
                if self.sealed == 0 && matches!(payload, Payload::Seal(_)) {
                    self.sealed = index;
                }
                assert_eq!(index, self.given + 1, "a decided slot holds its value");
                self.given = index;
                out.push(Output::Decided { index, payload: payload.clone(), token: None });
            }
        }
        assert_eq!(self.given, upto, "every decided slot holds its value");
    }
}

impl Protocol for Paxos {
    type Config = Config;
    type Message = Message;
    type Record = Record;

    fn recover(
        config: Config,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Record>,
        now: Instant,
    ) -> Result<Self, Corrupt> {
        Self::from_records(config, mark, records, now)
    }

    fn step(&mut self, now: Instant, input: Input<Message>, out: &mut Out) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Message { from, message } => self.message(now, from, message, out),
            Input::Propose(list) => self.propose(now, list, out),
            Input::Read(token) => self.read(now, token, out),
            Input::Transfer(to) => self.transfer(now, to, out),
            Input::Unreachable(peer) => self.unreachable(now, peer),
            Input::Persisted(ticket) => self.persisted(now, ticket, out),
            Input::Checkpointed { mark } | Input::Vouched { mark, .. } => self.checkpointed(now, &mark),
            Input::Installed { mark } => self.installed(now, &mark, out),
        }
        if self.given < self.decided {
            self.give_out(out);
            // Nobody begins to lead with decided slots in hand: what it decides comes behind them.
            self.conclude(now, out);
        }
    }

    fn wake_at(&self) -> Instant {
        if self.given < self.decided {
            return Instant::ZERO;
        }
        match &self.seat {
            Seat::Following => self.election_at,
            Seat::Canvassing(canvass) => canvass.until,
            Seat::Preparing(takeover) => takeover.retry_at.min(takeover.until),
            Seat::Leading(lead) => {
                let retry = if lead.flights.is_empty() { Instant::FAR } else { lead.retry_at };
                let handover = lead.handover.map_or(Instant::FAR, |h| h.until);
                lead.ping_at.min(lead.announce_at).min(retry).min(handover)
            }
        }
    }

    fn standing(&self) -> Standing {
        let role = match &self.seat {
            Seat::Following => Role::Follower,
            Seat::Canvassing(_) | Seat::Preparing(_) => Role::Candidate,
            Seat::Leading(_) => Role::Leader,
        };
        let leader = self.leader.map(|b| b.node);
        Standing { role, ballot: self.config.number(self.promised), leader, decided: self.given }
    }

    fn mark(&self) -> Bytes {
        let sealed = if planted::is(planted::Bug::SealForgotten) { 0 } else { self.sealed };
        Mark { index: self.given, sealed }.encode()
    }

    fn tally(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.counts.all().into_iter().for_each(|(name, n)| each(name, n));
    }

    fn compact(&self) -> Vec<Record> {
        self.kept_records()
    }
}
