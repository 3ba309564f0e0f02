//! The harness's own test double: the smallest Multi-Paxos that is honest, with bugs to plant.
//!
//! One ballot for all slots (Lamport, *Paxos Made Simple*, §3), votes on disk before they are sent,
//! checkpoints, catching up, reads confirmed by a round. No pipelining, no quorum systems: it exists so that
//! the harness is tested by something that is not the product. `src/paxos` is the product.

use bytes::Bytes;
use dwcp_consensus::engine::{EngineError, Role, Token};
use dwcp_consensus::quorum::NodeSet;
use dwcp_consensus::rehearsal::{Evidence, Order, Place, Subject};
use dwcp_consensus::step::{Corrupt, Fault, Input, Output, Outputs, Payload, Protocol, Standing, Ticket};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bugs to plant.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Bug {
    /// Promises and votes leave before they are on disk.
    AnswerBeforeSync,
    /// The leader counts its own vote before it is on disk.
    CountOwnBeforeSync,
    /// Promises are not restored after a crash.
    ForgetPromise,
    /// Votes are not restored after a crash.
    ForgetVotes,
    /// A new leader ignores what others accepted.
    IgnoreAccepted,
    /// Of several accepted values the one of the lowest ballot is taken.
    LowestBallot,
    /// One vote less than a majority decides.
    SmallQuorum,
    /// Votes for an older ballot than promised.
    VoteOld,
    /// Reads are served without asking anybody.
    StaleRead,
    /// A question is answered a second time.
    AnswerTwice,
    /// What has no outcome yet is refused as certainly not done.
    LieRefused,
    /// A compaction forgets the last vote.
    CompactTooMuch,
    /// Followers take a slot as chosen from the decided index alone, whatever ballot they hold it in.
    LearnUnchecked,
    /// A leader goes on silently when it is deposed, answering nothing.
    NeverAnswer,
    /// Nobody asks for votes after the first leader.
    NoElection,
}

pub(crate) const ALL_BUGS: &[Bug] = &[
    Bug::AnswerBeforeSync,
    Bug::CountOwnBeforeSync,
    Bug::ForgetPromise,
    Bug::ForgetVotes,
    Bug::IgnoreAccepted,
    Bug::LowestBallot,
    Bug::SmallQuorum,
    Bug::VoteOld,
    Bug::StaleRead,
    Bug::AnswerTwice,
    Bug::LieRefused,
    Bug::CompactTooMuch,
    Bug::LearnUnchecked,
    Bug::NeverAnswer,
    Bug::NoElection,
];

pub(crate) type Ballot = (u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub me: NodeId,
    pub members: Vec<NodeId>,
    pub seed: u64,
    pub beat: Duration,
    pub bug: Option<Bug>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Prepare { ballot: Ballot, from: u64 },
    Promise { ballot: Ballot, accepted: Vec<(u64, Ballot, Payload)> },
    Accept { ballot: Ballot, first: u64, values: Vec<Payload>, decided: u64 },
    Accepted { ballot: Ballot, first: u64, count: u64 },
    Beat { ballot: Ballot, round: u64, decided: u64 },
    BeatAck { ballot: Ballot, round: u64 },
    Learn { from: u64 },
    Chosen { first: u64, values: Vec<Payload> },
    Higher { ballot: Ballot },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    Promised(Ballot),
    Voted { ballot: Ballot, first: u64, values: Vec<Payload> },
}

/// What waits for a ticket before it counts at home.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Own {
    Promise(Ballot),
    Vote { ballot: Ballot, first: u64, count: u64 },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stand {
    Follower,
    Candidate { promises: NodeSet, accepted: BTreeMap<u64, (Ballot, Payload)> },
    Leader { votes: BTreeMap<u64, NodeSet>, next: u64, round: u64, acks: NodeSet, acked: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Paxos {
    config: Config,
    place: usize,
    promised: Ballot,
    /// The ballot led or asked for.
    ballot: Ballot,
    stand: Stand,
    accepted: BTreeMap<u64, (Ballot, Payload)>,
    chosen: BTreeMap<u64, Payload>,
    decided: u64,
    trimmed: u64,
    tokens: BTreeMap<u64, Token>,
    /// Reads, the round that confirms each, and the index they must wait for.
    reads: Vec<(Token, u64, u64)>,
    own: Vec<(u64, Own)>,
    ticket: u64,
    leader: Option<NodeId>,
    wake: Instant,
}

impl std::hash::Hash for Paxos {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        (self.place, self.promised, self.ballot, &self.stand, &self.accepted, &self.chosen).hash(h);
        (self.decided, self.trimmed, &self.tokens, &self.reads, &self.own, self.ticket).hash(h);
        (self.leader, self.wake).hash(h);
    }
}

const TIMER: Purpose = Purpose::named("double election timer");
/// Values in one message at most.
const RESEND: usize = 64;

impl Paxos {
    fn bug(&self, bug: Bug) -> bool {
        self.config.bug == Some(bug)
    }
    fn majority(&self, set: NodeSet) -> bool {
        let less = usize::from(self.bug(Bug::SmallQuorum));
        (set.len() + less) * 2 > self.config.members.len()
    }
    fn place_of(&self, id: NodeId) -> Option<usize> {
        self.config.members.binary_search(&id).ok()
    }
    fn patience(&self, now: Instant) -> Instant {
        let spread = self.config.beat * 6;
        let drawn = Seed(self.config.seed).below(
            spread.as_nanos(),
            TIMER,
            self.promised.0,
            Instant::ZERO,
            self.promised.1,
        );
        now + self.config.beat * 4 + Duration::nanos(drawn)
    }
    fn send(&self, out: &mut Outputs<Self>, to: NodeId, message: Message, after: Option<Ticket>) {
        let after = if self.bug(Bug::AnswerBeforeSync) { None } else { after };
        out.push(Output::Send { to, message, after });
    }
    fn spread(&self, out: &mut Outputs<Self>, message: &Message) {
        for to in self.config.members.iter().filter(|m| **m != self.config.me) {
            out.push(Output::Send { to: *to, message: message.clone(), after: None });
        }
    }
    fn persist(&mut self, out: &mut Outputs<Self>, record: Record) -> Ticket {
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        out.push(Output::Persist { ticket, record });
        ticket
    }

    fn follow(&mut self, now: Instant, ballot: Ballot, out: &mut Outputs<Self>) {
        if ballot > self.promised {
            self.promised = ballot;
        }
        if self.stand != Stand::Follower {
            self.stand = Stand::Follower;
            let silent = self.bug(Bug::NeverAnswer);
            for token in std::mem::take(&mut self.tokens).into_values().filter(|_| !silent) {
                let error = if self.bug(Bug::LieRefused) {
                    EngineError::NotLeader { leader: None }
                } else {
                    EngineError::Unknown
                };
                out.push(Output::Refused { token, error });
            }
            for (token, ..) in std::mem::take(&mut self.reads) {
                out.push(Output::Refused { token, error: EngineError::NotLeader { leader: None } });
            }
        }
        self.wake = self.patience(now);
    }

    fn campaign(&mut self, now: Instant, out: &mut Outputs<Self>) {
        if self.bug(Bug::NoElection) && self.promised.0 > 0 {
            self.wake = self.patience(now);
            return;
        }
        self.ballot = (self.promised.0 + 1, self.config.me.0);
        self.follow(now, self.ballot, out);
        self.leader = None;
        self.stand = Stand::Candidate { promises: NodeSet::EMPTY, accepted: BTreeMap::new() };
        let ticket = self.persist(out, Record::Promised(self.ballot));
        self.own.push((ticket.0, Own::Promise(self.ballot)));
        self.spread(out, &Message::Prepare { ballot: self.ballot, from: self.decided });
    }

    fn promised_by(
        &mut self,
        now: Instant,
        place: usize,
        theirs: Vec<(u64, Ballot, Payload)>,
        out: &mut Outputs<Self>,
    ) {
        let lowest = self.bug(Bug::LowestBallot);
        let ignore = self.bug(Bug::IgnoreAccepted);
        let Stand::Candidate { promises, accepted } = &mut self.stand else { return };
        promises.insert(place);
        for (slot, ballot, payload) in theirs.into_iter().filter(|_| !ignore) {
            let better =
                accepted.get(&slot).is_none_or(|(b, _)| if lowest { ballot < *b } else { ballot > *b });
            if better {
                accepted.insert(slot, (ballot, payload));
            }
        }
        let promises = *promises;
        if !self.majority(promises) {
            return;
        }
        let Stand::Candidate { accepted, .. } = std::mem::replace(&mut self.stand, Stand::Follower) else {
            return;
        };
        let last = accepted.keys().next_back().copied().unwrap_or(0).max(self.decided);
        let values: Vec<Payload> = (self.decided + 1..=last)
            .map(|slot| accepted.get(&slot).map_or(Payload::Blank, |(_, p)| p.clone()))
            .collect();
        let next = self.decided + 1;
        self.stand = Stand::Leader { votes: BTreeMap::new(), next, round: 0, acks: NodeSet::EMPTY, acked: 0 };
        self.leader = Some(self.config.me);
        // A blank of its own ballot: reads wait until it is decided.
        let mut values = values;
        values.push(Payload::Blank);
        self.propose(values, out);
        self.wake = now;
    }

    fn propose(&mut self, values: Vec<Payload>, out: &mut Outputs<Self>) {
        let (ballot, decided) = (self.ballot, self.decided);
        let Stand::Leader { votes, next, .. } = &mut self.stand else { return };
        let (first, count) = (*next, values.len() as u64);
        *next += count;
        for (i, value) in values.iter().enumerate() {
            let slot = first + i as u64;
            votes.insert(slot, NodeSet::EMPTY);
            self.accepted.insert(slot, (ballot, value.clone()));
        }
        self.spread(out, &Message::Accept { ballot, first, values: values.clone(), decided });
        let ticket = self.persist(out, Record::Voted { ballot, first, values });
        if self.bug(Bug::CountOwnBeforeSync) {
            self.voted_by(self.place, first, count, out);
        } else {
            self.own.push((ticket.0, Own::Vote { ballot, first, count }));
        }
    }

    fn voted_by(&mut self, place: usize, first: u64, count: u64, out: &mut Outputs<Self>) {
        let members = self.config.members.len() + usize::from(self.bug(Bug::SmallQuorum));
        let Stand::Leader { votes, .. } = &mut self.stand else { return };
        for slot in first..first + count {
            let Some(voters) = votes.get_mut(&slot) else { continue };
            voters.insert(place);
            let less = members > self.config.members.len();
            if (voters.len() + usize::from(less)) * 2 > self.config.members.len() {
                votes.remove(&slot);
                let value = self.accepted[&slot].1.clone();
                self.chosen.insert(slot, value);
            }
        }
        self.emit(out);
    }

    fn emit(&mut self, out: &mut Outputs<Self>) {
        while let Some(payload) = self.chosen.get(&(self.decided + 1)).cloned() {
            self.decided += 1;
            let token = self.tokens.remove(&self.decided);
            out.push(Output::Decided { index: self.decided, payload, token });
            if let Some(token) =
                token.filter(|_| self.bug(Bug::AnswerTwice) && self.decided.is_multiple_of(64))
            {
                out.push(Output::Refused { token, error: EngineError::Unknown });
            }
        }
        self.serve(out);
    }

    fn serve(&mut self, out: &mut Outputs<Self>) {
        let Stand::Leader { acked, .. } = self.stand else { return };
        let decided = self.decided;
        self.reads.retain(|(token, round, index)| {
            let ready = *round <= acked && *index <= decided;
            if ready {
                out.push(Output::Readable { token: *token });
            }
            !ready
        });
    }

    /// The leader has decided so far: takes what it accepted in this ballot as chosen, asks for the rest.
    fn learn_decided(&mut self, from: NodeId, ballot: Ballot, decided: u64, out: &mut Outputs<Self>) {
        let unchecked = self.bug(Bug::LearnUnchecked);
        for (slot, (b, payload)) in self.accepted.range(self.decided + 1..) {
            if *slot <= decided && (*b == ballot || unchecked) {
                self.chosen.insert(*slot, payload.clone());
            }
        }
        self.emit(out);
        if self.decided < decided {
            self.send(out, from, Message::Learn { from: self.decided + 1 }, None);
        }
    }

    fn message(&mut self, now: Instant, from: NodeId, message: Message, out: &mut Outputs<Self>) {
        let Some(place) = self.place_of(from) else {
            out.push(Output::Blame { peer: from, fault: Fault::Sender });
            return;
        };
        match message {
            Message::Prepare { ballot, from: decided } => {
                if decided < self.trimmed {
                    out.push(Output::Behind { peer: from });
                } else if ballot > self.promised {
                    self.follow(now, ballot, out);
                    self.leader = None;
                    let accepted: Vec<_> =
                        self.accepted.range(decided + 1..).map(|(s, (b, p))| (*s, *b, p.clone())).collect();
                    let ticket = self.persist(out, Record::Promised(ballot));
                    self.send(out, from, Message::Promise { ballot, accepted }, Some(ticket));
                } else if ballot < self.promised {
                    self.send(out, from, Message::Higher { ballot: self.promised }, None);
                }
            }
            Message::Promise { ballot, accepted } if ballot == self.ballot => {
                self.promised_by(now, place, accepted, out);
            }
            Message::Accept { ballot, first, values, decided } => {
                if ballot < self.promised && !self.bug(Bug::VoteOld) {
                    self.send(out, from, Message::Higher { ballot: self.promised }, None);
                    return;
                }
                self.follow(now, ballot, out);
                self.leader = Some(from);
                let count = values.len() as u64;
                for (i, value) in values.iter().enumerate() {
                    let slot = first + i as u64;
                    if slot > self.trimmed && slot > self.decided {
                        self.accepted.insert(slot, (ballot, value.clone()));
                    }
                }
                let ticket = self.persist(out, Record::Voted { ballot, first, values });
                self.send(out, from, Message::Accepted { ballot, first, count }, Some(ticket));
                self.learn_decided(from, ballot, decided, out);
            }
            Message::Accepted { ballot, first, count } if ballot == self.ballot => {
                self.voted_by(place, first, count, out);
            }
            Message::Beat { ballot, round, decided } => {
                if ballot < self.promised {
                    self.send(out, from, Message::Higher { ballot: self.promised }, None);
                    return;
                }
                self.follow(now, ballot, out);
                self.leader = Some(from);
                self.learn_decided(from, ballot, decided, out);
                self.send(out, from, Message::BeatAck { ballot, round }, None);
            }
            Message::BeatAck { ballot, round } if ballot == self.ballot => {
                let Stand::Leader { round: current, acks, acked, .. } = &mut self.stand else { return };
                if round == *current {
                    acks.insert(place);
                    let acks = *acks;
                    if (acks.len() + 1) * 2 > self.config.members.len() {
                        *acked = round;
                        self.serve(out);
                    }
                }
            }
            Message::Learn { from: first } => {
                if first <= self.trimmed {
                    out.push(Output::Behind { peer: from });
                    return;
                }
                let known = self.chosen.range(first..).take_while(|(slot, _)| **slot <= self.decided);
                let values: Vec<Payload> = known.take(RESEND).map(|(_, p)| p.clone()).collect();
                if !values.is_empty() {
                    self.send(out, from, Message::Chosen { first, values }, None);
                }
            }
            Message::Chosen { first, values } => {
                for (i, value) in values.into_iter().enumerate() {
                    let slot = first + i as u64;
                    if slot > self.decided {
                        self.chosen.insert(slot, value);
                    }
                }
                self.emit(out);
            }
            Message::Higher { ballot } if ballot > self.promised => self.follow(now, ballot, out),
            _ => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Outputs<Self>) {
        if now < self.wake {
            return;
        }
        let (ballot, decided) = (self.ballot, self.decided);
        let Stand::Leader { votes, round, acks, .. } = &mut self.stand else {
            self.campaign(now, out);
            return;
        };
        *round += 1;
        *acks = NodeSet::EMPTY;
        let round = *round;
        // What has no majority yet is said again, for messages get lost.
        let first = votes.keys().next().copied();
        self.wake = now + self.config.beat;
        self.spread(out, &Message::Beat { ballot, round, decided });
        if let Some(first) = first {
            let values: Vec<Payload> =
                self.accepted.range(first..).take(RESEND).map(|(_, (_, p))| p.clone()).collect();
            self.spread(out, &Message::Accept { ballot, first, values, decided });
        }
    }

    fn read(&mut self, token: Token, out: &mut Outputs<Self>) {
        if self.bug(Bug::StaleRead) {
            out.push(Output::Readable { token });
            return;
        }
        let leader = self.leader;
        let (ballot, decided) = (self.ballot, self.decided);
        let Stand::Leader { next, round, acks, .. } = &mut self.stand else {
            out.push(Output::Refused { token, error: EngineError::NotLeader { leader } });
            return;
        };
        *round += 1;
        *acks = NodeSet::EMPTY;
        let (round, index) = (*round, *next - 1);
        self.reads.push((token, round, index));
        self.spread(out, &Message::Beat { ballot, round, decided });
    }

    fn trim(&mut self, index: u64) {
        self.trimmed = self.trimmed.max(index.min(self.decided));
        self.accepted = self.accepted.split_off(&(self.trimmed + 1));
        self.chosen = self.chosen.split_off(&(self.trimmed + 1));
    }
}

fn index_of(mark: &Bytes) -> Option<u64> {
    Some(u64::from_le_bytes(mark.as_ref().try_into().ok()?))
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
        let base = mark.map_or(Some(0), index_of).ok_or(Corrupt("a mark of another protocol"))?;
        let place = config.members.binary_search(&config.me).map_err(|_| Corrupt("not a member"))?;
        let (mut promised, mut accepted) = ((0, 0), BTreeMap::new());
        let (forget_promise, forget_votes) =
            (config.bug == Some(Bug::ForgetPromise), config.bug == Some(Bug::ForgetVotes));
        for record in records {
            match record {
                Record::Promised(ballot) if !forget_promise => promised = promised.max(ballot),
                Record::Voted { ballot, first, values } if !forget_votes => {
                    if !forget_promise {
                        promised = promised.max(ballot);
                    }
                    for (i, value) in values.into_iter().enumerate() {
                        let slot = first + i as u64;
                        let newer = accepted.get(&slot).is_none_or(|(b, _): &(Ballot, Payload)| ballot >= *b);
                        if slot > base && newer {
                            accepted.insert(slot, (ballot, value));
                        }
                    }
                }
                _ => {}
            }
        }
        let mut made = Self {
            place,
            promised,
            ballot: (0, 0),
            stand: Stand::Follower,
            accepted,
            chosen: BTreeMap::new(),
            decided: base,
            trimmed: base,
            tokens: BTreeMap::new(),
            reads: Vec::new(),
            own: Vec::new(),
            ticket: 0,
            leader: None,
            wake: now,
            config,
        };
        made.wake = made.patience(now);
        Ok(made)
    }

    fn step(&mut self, now: Instant, input: Input<Message>, out: &mut Outputs<Self>) {
        match input {
            Input::Tick => self.tick(now, out),
            Input::Message { from, message } => self.message(now, from, message, out),
            Input::Propose(batch) => {
                let leader = self.leader.filter(|l| *l != self.config.me);
                let Stand::Leader { next, .. } = &self.stand else {
                    for (token, _) in batch {
                        out.push(Output::Refused { token, error: EngineError::NotLeader { leader } });
                    }
                    return;
                };
                let first = *next;
                let (tokens, values): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                for (i, token) in tokens.into_iter().enumerate() {
                    self.tokens.insert(first + i as u64, token);
                }
                self.propose(values, out);
            }
            Input::Read(token) => self.read(token, out),
            Input::Transfer(_) | Input::Unreachable(_) => {}
            Input::Persisted(Ticket(upto)) => {
                let count = self.own.iter().take_while(|(t, _)| *t <= upto).count();
                for (_, own) in self.own.drain(..count).collect::<Vec<_>>() {
                    match own {
                        Own::Promise(ballot) if ballot == self.ballot => {
                            let mine = self.accepted.iter().map(|(s, (b, p))| (*s, *b, p.clone())).collect();
                            self.promised_by(now, self.place, mine, out);
                        }
                        Own::Vote { ballot, first, count } if ballot == self.ballot => {
                            self.voted_by(self.place, first, count, out);
                        }
                        _ => {}
                    }
                }
            }
            Input::Checkpointed { mark } => {
                if let Some(index) = index_of(&mark) {
                    self.trim(index);
                }
            }
            Input::Vouched { .. } => {}
            Input::Installed { mark } => {
                if let Some(index) = index_of(&mark).filter(|i| *i > self.decided) {
                    self.follow(now, self.promised, out);
                    self.decided = index;
                    self.trim(index);
                    self.emit(out);
                }
            }
        }
    }

    fn wake_at(&self) -> Instant {
        self.wake
    }

    fn standing(&self) -> Standing {
        let role = match self.stand {
            Stand::Follower => Role::Follower,
            Stand::Candidate { .. } => Role::Candidate,
            Stand::Leader { .. } => Role::Leader,
        };
        Standing {
            role,
            ballot: self.promised.0 * 16 + self.promised.1,
            leader: self.leader,
            decided: self.decided,
        }
    }

    fn mark(&self) -> Bytes {
        Bytes::copy_from_slice(&self.decided.to_le_bytes())
    }

    fn compact(&self) -> Vec<Record> {
        let mut records = vec![Record::Promised(self.promised)];
        for (slot, (ballot, payload)) in &self.accepted {
            records.push(Record::Voted { ballot: *ballot, first: *slot, values: vec![payload.clone()] });
        }
        if self.bug(Bug::CompactTooMuch) {
            records.pop();
        }
        records
    }
}

/// The double as a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double {
    bug: Option<Bug>,
    /// Judged by key, as a protocol would be that orders only what conflicts.
    by_key: bool,
}

impl Double {
    pub(crate) const fn new(bug: Option<Bug>) -> Self {
        Self { bug, by_key: false }
    }
    #[allow(dead_code, reason = "not all programs that include this file judge by key")]
    pub(crate) const fn by_key(self) -> Self {
        Self { by_key: true, ..self }
    }
}

impl Subject for Double {
    type P = Paxos;

    fn name(&self) -> &'static str {
        "double"
    }
    fn config(&self, place: &Place<'_>) -> Config {
        Config {
            me: place.me,
            members: place.members.to_vec(),
            seed: place.seed,
            beat: place.round_trip,
            bug: self.bug,
        }
    }
    fn order(&self) -> Order {
        if self.by_key { Order::ByKey } else { Order::Total }
    }
    fn timeout(&self, round_trip: Duration) -> Duration {
        round_trip * 12
    }
    fn holds(&self, disk: Evidence<'_, Record>, index: u64, payload: &Payload) -> Option<bool> {
        let votes = disk.records.iter().rev().find_map(|record| match record {
            Record::Voted { first, values, .. } => {
                index.checked_sub(*first).and_then(|i| values.get(i as usize)).map(|p| p == payload)
            }
            Record::Promised(_) => None,
        });
        Some(votes == Some(true))
    }
}
