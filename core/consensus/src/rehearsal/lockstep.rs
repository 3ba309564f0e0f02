//! A group in lockstep: every message takes one round, every disk syncs once a round, nothing is lost unless told.
//!
//! What the fault-free case costs is exact here: messages, their bytes, one-way delays, syncs. The measure for the
//! golden file of costs, and the source of honest messages for [`super::bad`].

use super::subject::{Place, Subject};
use crate::engine::Token;
use crate::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId, wire};

/// A message on its way: from, to, what.
pub type OnTheWay<P> = (usize, usize, <P as Protocol>::Message);

/// A message that waits for its sender's disk: until when, to whom, what.
type Held<P> = (Ticket, usize, <P as Protocol>::Message);

/// What it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Messages sent.
    pub messages: u64,
    /// Their bytes, encoded, without frames.
    pub bytes: u64,
    /// Syncs of all disks.
    pub syncs: u64,
    /// Bytes of records appended, on all disks.
    pub logged: u64,
    /// Rounds until every question was answered: one-way delays.
    pub delays: u64,
    /// Syncs of all disks by then.
    pub syncs_then: u64,
}

/// A group whose time passes in rounds.
#[derive(Debug)]
pub struct Lockstep<S: Subject> {
    /// The members.
    pub nodes: Vec<S::P>,
    /// Their names.
    pub members: Vec<NodeId>,
    /// The time.
    pub now: Instant,
    /// What the next round delivers.
    pub wire: Vec<OnTheWay<S::P>>,
    /// What it has taken so far.
    pub cost: Cost,
    /// How many commands each gave out as decided.
    pub decided: Vec<u64>,
    /// Who is to be given whose checkpoint.
    behind: Vec<(usize, usize)>,
    /// Whether the protocol itself says where checkpoints are taken: then none is brought.
    names_checkpoints: bool,
    held: Vec<Vec<Held<S::P>>>,
    tickets: Vec<u64>,
    persisted: Vec<u64>,
    asked: u64,
    answered: u64,
    round_trip: Duration,
}

impl<S: Subject> Lockstep<S> {
    /// A group of so many that starts for the first time.
    #[must_use]
    pub fn new(subject: &S, members: usize, seed: u64) -> Self {
        let names: Vec<NodeId> = (1..=members as u64).map(NodeId).collect();
        let round_trip = Duration::millis(10);
        let start = |me: &NodeId| {
            let place =
                Place { me: *me, members: &names, seed: seed ^ me.0, round_trip, tight: false, fine: false };
            S::P::recover(subject.config(&place), None, [], Instant::ZERO)
                .expect("nothing contradicts itself")
        };
        Self {
            nodes: names.iter().map(start).collect(),
            members: names,
            now: Instant::ZERO,
            wire: Vec::new(),
            cost: Cost::default(),
            decided: vec![0; members],
            behind: Vec::new(),
            names_checkpoints: subject.names_checkpoints(),
            held: vec![Vec::new(); members],
            tickets: vec![0; members],
            persisted: vec![0; members],
            asked: 0,
            answered: 0,
            round_trip,
        }
    }

    /// One input of one member, with all that follows at once.
    pub fn input(&mut self, node: usize, input: Input<<S::P as Protocol>::Message>) {
        let mut out: Outputs<S::P> = Vec::new();
        self.nodes[node].step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Persist { ticket, record } => {
                    self.tickets[node] = ticket.0;
                    self.cost.logged += wire::encode(&record).len() as u64;
                }
                Output::Send { to, message, after } => {
                    let to = self.members.binary_search(&to).expect("to members only");
                    match after.filter(|t| t.0 > self.persisted[node]) {
                        Some(ticket) => self.held[node].push((ticket, to, message)),
                        None => self.post(node, to, message),
                    }
                }
                Output::Decided { token, payload, .. } => {
                    self.decided[node] += u64::from(matches!(payload, Payload::Command(_)));
                    self.answered += u64::from(token.is_some());
                }
                Output::Readable { .. } | Output::Refused { .. } => self.answered += 1,
                Output::Checkpoint { mark } => {
                    let digest = *blake3::hash(&mark).as_bytes();
                    self.input(node, Input::Vouched { mark, digest });
                }
                Output::Behind { peer } => {
                    let peer = self.members.binary_search(&peer).expect("members only");
                    self.behind.push((node, peer));
                }
                Output::Stable { .. } | Output::Blame { .. } => {}
            }
        }
    }

    fn post(&mut self, from: usize, to: usize, message: <S::P as Protocol>::Message) {
        self.cost.messages += 1;
        self.cost.bytes += wire::encode(&message).len() as u64;
        self.wire.push((from, to, message));
    }

    /// Syncs every disk that has something to sync, until none has.
    pub fn sync(&mut self) {
        while let Some(node) = (0..self.nodes.len()).find(|n| self.tickets[*n] > self.persisted[*n]) {
            self.cost.syncs += 1;
            let upto = self.tickets[node];
            self.persisted[node] = upto;
            let (free, held) = core::mem::take(&mut self.held[node]).into_iter().partition(|h| h.0.0 <= upto);
            self.held[node] = held;
            let free: Vec<Held<S::P>> = free;
            free.into_iter().for_each(|(_, to, message)| self.post(node, to, message));
            self.input(node, Input::Persisted(Ticket(upto)));
        }
    }

    /// Every member has a durable checkpoint of what it holds now, and who is behind another's is given it, where the protocol
    /// does not name the places itself.
    pub fn checkpoint(&mut self) {
        let behind = core::mem::take(&mut self.behind);
        if self.names_checkpoints {
            return;
        }
        for (from, to) in behind {
            let mark = self.nodes[from].mark();
            if self.nodes[to].admits(&mark, blake3::hash(&mark).as_bytes()) {
                self.input(to, Input::Installed { mark });
            }
        }
        for node in 0..self.nodes.len() {
            let mark = self.nodes[node].mark();
            self.input(node, Input::Checkpointed { mark });
        }
    }

    /// Disks sync, then all that is on its way and passes arrives.
    pub fn round(&mut self, mut passes: impl FnMut(&OnTheWay<S::P>) -> bool) {
        self.sync();
        for (from, to, message) in core::mem::take(&mut self.wire) {
            let way = (from, to, message);
            if passes(&way) {
                self.input(to, Input::Message { from: self.members[from], message: way.2 });
            }
        }
    }

    /// Half a round trip passes; whoever wants to is woken.
    pub fn pass(&mut self) {
        self.now += self.round_trip / 2;
        for node in 0..self.nodes.len() {
            for _ in 0..64 {
                if self.nodes[node].wake_at() > self.now {
                    break;
                }
                self.input(node, Input::Tick);
            }
        }
    }

    /// Asks for commands of 64 bytes at a member.
    pub fn propose(&mut self, node: usize, count: u64) {
        let command = |token: u64| {
            let mut bytes = vec![0_u8; 64];
            bytes[..8].copy_from_slice(&token.to_le_bytes());
            (Token(token), Payload::Command(Bytes::from(bytes)))
        };
        let all = (self.asked + 1..=self.asked + count).map(command).collect();
        self.asked += count;
        self.input(node, Input::Propose(all));
    }

    /// What it takes, without time passing, to have so many commands asked for together at a member decided and
    /// everybody quiet again. `None` if they are not decided at all.
    pub fn measure(&mut self, node: usize, count: u64) -> Option<Cost> {
        self.cost = Cost::default();
        let before = self.answered;
        self.propose(node, count);
        for delays in 1..100 {
            self.sync();
            if self.wire.is_empty() {
                break;
            }
            self.round(|_| true);
            self.sync();
            if self.answered == before + count && self.cost.delays == 0 {
                (self.cost.delays, self.cost.syncs_then) = (delays, self.cost.syncs);
            }
        }
        (self.answered == before + count).then_some(self.cost)
    }
}
