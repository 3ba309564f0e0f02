//! Four replicas on a table: every message and every sync in the test's hand.

use super::super::bundle::{Batch, Bundle, Name, pack};
use super::super::crypto::{Kind, Signature};
use super::super::message::{Status, covered};
use super::super::{Config, Message, Pbft, Record};
use crate::engine::Token;
use crate::step::{Fault, Input, Output, Payload, Protocol, Ticket};
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId};
use std::vec::Vec;

pub(super) struct Table {
    pub(super) nodes: Vec<Pbft>,
    pub(super) now: Instant,
    /// Messages on their way: from, to, message.
    pub(super) wire: Vec<(usize, usize, Message)>,
    pub(super) held: Vec<Vec<(Ticket, usize, Message)>>,
    pub(super) disks: Vec<Vec<Record>>,
    tickets: Vec<u64>,
    pub(super) decided: Vec<Vec<(u64, Payload, Option<Token>)>>,
    pub(super) marks: Vec<Vec<Bytes>>,
    pub(super) stable: Vec<Vec<Bytes>>,
    pub(super) blamed: Vec<(usize, NodeId, Fault)>,
    pub(super) readable: Vec<(usize, Token)>,
    pub(super) refused: Vec<(usize, Token)>,
    pub(super) behind: Vec<(usize, NodeId)>,
    pub(super) sent: usize,
    pub(super) bytes: usize,
    pub(super) syncs: usize,
}

impl Table {
    pub(super) fn of(n: u64) -> Self {
        let nodes = (1..=n).map(|me| {
            let config = Config::new(super::parameters(me, n)).unwrap();
            Pbft::recover(config, None, [], Instant::ZERO).unwrap()
        });
        let n = n as usize;
        let lists = || (0..n).map(|_| Vec::new()).collect();
        Self {
            nodes: nodes.collect(),
            now: Instant::ZERO,
            wire: Vec::new(),
            held: (0..n).map(|_| Vec::new()).collect(),
            disks: (0..n).map(|_| Vec::new()).collect(),
            tickets: std::vec![0; n],
            decided: (0..n).map(|_| Vec::new()).collect(),
            marks: lists(),
            stable: (0..n).map(|_| Vec::new()).collect(),
            blamed: Vec::new(),
            readable: Vec::new(),
            refused: Vec::new(),
            behind: Vec::new(),
            sent: 0,
            bytes: 0,
            syncs: 0,
        }
    }

    pub(super) fn input(&mut self, node: usize, input: Input<Message>) {
        let mut out = Vec::new();
        self.nodes[node].step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Persist { ticket, record } => {
                    self.tickets[node] += 1;
                    assert_eq!(ticket.0, self.tickets[node], "tickets count up by one");
                    self.disks[node].push(record);
                }
                Output::Send { to, message, after } => {
                    let to = to.0 as usize - 1;
                    match after {
                        Some(ticket) => self.held[node].push((ticket, to, message)),
                        None => self.post(node, to, message),
                    }
                }
                Output::Decided { index, payload, token } => self.decided[node].push((index, payload, token)),
                Output::Checkpoint { mark } => self.marks[node].push(mark),
                Output::Stable { mark } => self.stable[node].push(mark),
                Output::Blame { peer, fault } => self.blamed.push((node, peer, fault)),
                Output::Readable { token } => self.readable.push((node, token)),
                Output::Refused { token, .. } => self.refused.push((node, token)),
                Output::Behind { peer } => self.behind.push((node, peer)),
            }
        }
    }

    /// What a member says, under its code or signature; `to` hears it with the next delivery.
    pub(super) fn say(&mut self, from: usize, to: usize, message: Message) {
        self.post(from, to, message);
    }

    /// A bundle signed by its origin.
    pub(super) fn bundle(&self, origin: usize, lifetime: u64, number: u64, payloads: &[Payload]) -> Bundle {
        let name = Name { origin: origin as u8, lifetime, number };
        let mut bundle = Bundle { name, body: pack(payloads.iter()), signature: Signature::default() };
        let config = &self.nodes[origin].config;
        bundle.signature = config.sign(Kind::Bundle, &bundle.digest(&config.realm));
        bundle
    }

    /// A pre-prepare for `to` under the primary's code.
    pub(super) fn pre_prepare(&self, from: usize, to: usize, view: u64, seq: u64, batch: &Batch) -> Message {
        let config = &self.nodes[from].config;
        let what = covered(view, seq, batch.digest(&config.realm));
        let tag = config.tag(Kind::PrePrepare, to, &what);
        Message::PrePrepare { view, seq, batch: batch.clone(), tag }
    }

    /// A status for `to` under its sender's code.
    pub(super) fn status(&self, from: usize, to: usize, mut status: Status) -> Message {
        status.tag = self.nodes[from].config.tag(Kind::Status, to, &status.covered());
        Message::Status(status)
    }

    /// Everybody vouches for its newest checkpoint with this digest.
    pub(super) fn vouch(&mut self, nodes: impl IntoIterator<Item = usize>, digest: [u8; 32]) {
        for node in nodes {
            if let Some(mark) = self.marks[node].last().cloned() {
                self.input(node, Input::Vouched { mark, digest });
            }
        }
    }

    fn post(&mut self, from: usize, to: usize, message: Message) {
        self.sent += 1;
        self.bytes += dwcp_env::wire::encode(&message).len();
        self.wire.push((from, to, message));
    }

    /// One sync of a node's disk, if it has something to sync.
    pub(super) fn sync(&mut self, node: usize) {
        let upto = Ticket(self.tickets[node]);
        if self.nodes[node].persisted >= upto {
            return;
        }
        self.syncs += 1;
        for (_, to, message) in std::mem::take(&mut self.held[node]) {
            self.post(node, to, message);
        }
        self.input(node, Input::Persisted(upto));
    }

    /// Delivers what is on the wire and passes the filter; drops the rest.
    pub(super) fn deliver(&mut self, passes: impl Fn(usize, usize, &Message) -> bool) {
        for (from, to, message) in std::mem::take(&mut self.wire) {
            if passes(from, to, &message) {
                self.input(to, Input::Message { from: NodeId(from as u64 + 1), message });
            }
        }
    }

    /// Syncs and delivers until nothing moves.
    pub(super) fn settle(&mut self, passes: impl Fn(usize, usize, &Message) -> bool) {
        for _ in 0..200 {
            (0..self.nodes.len()).for_each(|node| self.sync(node));
            if self.wire.is_empty() {
                return;
            }
            self.deliver(&passes);
        }
        panic!("it never settles");
    }

    /// Time passes; everybody who wants to is woken.
    pub(super) fn wait(&mut self, how_long: Duration) {
        self.now += how_long;
        for node in 0..self.nodes.len() {
            if self.nodes[node].wake_at() <= self.now {
                self.input(node, Input::Tick);
            }
        }
    }

    pub(super) fn propose(&mut self, node: usize, token: u64, command: &'static [u8]) {
        let payload = Payload::Command(Bytes::from_static(command));
        self.input(node, Input::Propose([(Token(token), payload)].into()));
    }

    /// What a node's memory is after a crash that kept these records.
    pub(super) fn restart(&mut self, node: usize, records: Vec<Record>) {
        self.restart_from(node, None, records);
    }

    /// The same, with a checkpoint of local state.
    pub(super) fn restart_from(&mut self, node: usize, mark: Option<&Bytes>, records: Vec<Record>) {
        let config = self.nodes[node].config.clone();
        self.nodes[node] = Pbft::recover(config, mark, records.clone(), self.now).unwrap();
        self.disks[node] = records;
        self.held[node].clear();
        self.tickets[node] = 0;
        self.decided[node].clear();
    }

    /// Commands decided, as text.
    pub(super) fn order(&self, node: usize) -> Vec<&str> {
        let text = self.decided[node].iter().map(|(_, payload, _)| match payload {
            Payload::Command(b) => std::str::from_utf8(b).unwrap(),
            _ => "",
        });
        text.collect()
    }
}
