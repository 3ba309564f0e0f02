//! EPaxos by hand: a small cluster whose messages and disks are moved one by one.

mod atlas;
mod explore;
mod golden;
mod kept;
mod nothing;
mod table;

use super::message::{InstanceId, Message, Record};
use super::protocol::Epaxos;
use super::{Access, Config, Footprint, Settings};
use crate::engine::Token;
use crate::quorum::{Quorums, System};
use crate::step::{Input, Output, Payload, Protocol, Ticket};
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId};
use std::format;
use std::string::String;
use std::vec::Vec;

/// Commands are `key=value`; they write the key. `?key` reads it.
pub(super) fn footprint(command: &[u8]) -> Footprint {
    let (key, access) = match command {
        [b'?', key, ..] => (*key, Access::Read),
        [key, ..] => (*key, Access::Write),
        [] => return Footprint::All,
    };
    Footprint::Keys([(u64::from(key), access)].into_iter().collect())
}

pub(super) fn settings(me: u64, n: u64) -> Settings {
    Settings {
        me: NodeId(me + 1),
        members: (1..=n).map(NodeId).collect(),
        quorums: System::Majority { members: n as u8 },
        footprint,
        buckets: 1 << 14,
        resend: Duration::millis(10),
        recover_after: Duration::millis(40),
        beat: Duration::millis(10),
        give_up_after: Duration::secs(1),
        chain_max: 8,
        retain: 4,
        marker_every: 1 << 40,
        seed: 1,
    }
}

pub(super) fn config(me: u64, n: u64) -> Config {
    settings(me, n).check().expect("good settings")
}
/// A group whose quorums these are.
pub(super) fn config_of(me: u64, quorums: &System) -> Config {
    let set = Settings { quorums: quorums.clone(), ..settings(me, quorums.members() as u64) };
    set.check().expect("good settings")
}

/// What a node gave out as decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Given {
    pub(super) payload: Payload,
    pub(super) token: Option<u64>,
}

/// Replicas, their disks, and the messages between them.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) now: Instant,
    quorums: System,
    pub(super) nodes: Vec<Epaxos>,
    pub(super) disks: Vec<Vec<Record>>,
    /// Up to here the disk is known to be synced.
    synced: Vec<usize>,
    /// What was there when this lifetime began.
    base: Vec<usize>,
    /// Held back for a sync: the ticket, from, to.
    held: Vec<(u64, u8, u8, Message)>,
    pub(super) pool: Vec<(u8, u8, Message)>,
    pub(super) given: Vec<Vec<Given>>,
    /// Whether disks sync at once.
    pub(super) quick: bool,
    /// What happened, for golden scripts; not written if `None`.
    pub(super) log: Option<Vec<String>>,
    pub(super) blamed: usize,
    pub(super) readable: Vec<(u8, u64)>,
    pub(super) refused: Vec<u64>,
}

impl Cluster {
    pub(super) fn new(n: u64) -> Self {
        Self::of(System::Majority { members: n as u8 })
    }
    pub(super) fn of(quorums: System) -> Self {
        let n = quorums.members() as u64;
        let none = || std::vec![0; n as usize];
        Self {
            now: Instant::from_nanos(1),
            nodes: (0..n).map(|me| started_at(me, &quorums, &[], Instant::from_nanos(1))).collect(),
            quorums,
            disks: std::vec![Vec::new(); n as usize],
            synced: none(),
            base: none(),
            held: Vec::new(),
            pool: Vec::new(),
            given: std::vec![Vec::new(); n as usize],
            quick: true,
            log: None,
            blamed: 0,
            readable: Vec::new(),
            refused: Vec::new(),
        }
    }
    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(line());
        }
    }
    pub(super) fn step(&mut self, node: u8, input: Input<Message>) {
        let mut out = Vec::new();
        self.nodes[usize::from(node)].step(self.now, input, &mut out);
        self.carry(node, out);
    }
    /// Calls into a replica as its timers would.
    pub(super) fn poke(&mut self, node: u8, f: impl FnOnce(&mut Epaxos, Instant, &mut super::protocol::Out)) {
        let mut out = Vec::new();
        f(&mut self.nodes[usize::from(node)], self.now, &mut out);
        self.carry(node, out);
    }
    fn carry(&mut self, node: u8, out: super::protocol::Out) {
        let at = usize::from(node);
        for output in out {
            match output {
                Output::Persist { record, .. } => self.disks[at].push(record),
                Output::Send { to, message, after } => {
                    let to = (to.0 - 1) as u8;
                    let needed = after.map_or(0, |t| t.0);
                    if needed > (self.synced[at] - self.base[at]) as u64 && !self.quick {
                        self.held.push((needed, node, to, message));
                    } else {
                        self.pool.push((node, to, message));
                    }
                }
                Output::Decided { payload, token, .. } => {
                    self.say(|| format!("  {node} executes {payload:?}"));
                    self.given[at].push(Given { payload, token: token.map(|t| t.0) });
                }
                Output::Readable { token } => self.readable.push((node, token.0)),
                Output::Refused { token, .. } => self.refused.push(token.0),
                Output::Blame { .. } => self.blamed += 1,
                Output::Behind { .. } | Output::Checkpoint { .. } | Output::Stable { .. } => {}
            }
        }
        if self.quick && self.synced[at] < self.disks[at].len() {
            self.sync(node);
        }
    }
    /// All that is appended at a node is on disk.
    pub(super) fn sync(&mut self, node: u8) {
        let at = usize::from(node);
        self.synced[at] = self.disks[at].len();
        let done = (self.synced[at] - self.base[at]) as u64;
        let (free, held) =
            std::mem::take(&mut self.held).into_iter().partition(|h| h.1 == node && h.0 <= done);
        self.held = held;
        let free: Vec<(u64, u8, u8, Message)> = free;
        self.pool.extend(free.into_iter().map(|(_, from, to, message)| (from, to, message)));
        self.step(node, Input::Persisted(Ticket(done)));
    }
    /// A node loses its memory and what it had not synced, and comes back.
    pub(super) fn crash(&mut self, node: u8) {
        let at = usize::from(node);
        self.disks[at].truncate(self.synced[at]);
        self.held.retain(|h| h.1 != node);
        self.base[at] = self.disks[at].len();
        self.given[at].clear();
        let records = self.disks[at].clone();
        self.nodes[at] = started_at(u64::from(node), &self.quorums, &records, self.now);
        self.say(|| format!("{node} crashes"));
    }
    pub(super) fn propose(&mut self, node: u8, token: u64, command: &'static str) {
        self.say(|| format!("propose {command} at {node}"));
        let payload = Payload::Command(Bytes::from_static(command.as_bytes()));
        self.step(node, Input::Propose([(Token(token), payload)].into_iter().collect()));
    }
    pub(super) fn recover(&mut self, node: u8, id: InstanceId) {
        self.say(|| format!("recover {id:?} at {node}"));
        self.poke(node, |replica, now, out| {
            replica.note(now, id.replica, id.number);
            replica.recover_instance(now, id, out);
        });
    }
    /// Delivers the oldest message between these of this kind.
    pub(super) fn deliver(&mut self, from: u8, to: u8, kind: &str) {
        let found = self.pool.iter().position(|(f, t, m)| (*f, *t) == (from, to) && name(m) == kind);
        let Some(at) = found else {
            let there: Vec<_> = self.pool.iter().map(|(f, t, m)| format!("{f}->{t} {m:?}")).collect();
            panic!("no {kind} from {from} to {to}; there are {there:#?}");
        };
        let (_, _, message) = self.pool.remove(at);
        self.say(|| format!("{from} -> {to} {}", told(&message)));
        self.step(to, Input::Message { from: NodeId(u64::from(from) + 1), message });
    }
    /// Loses all messages between these.
    pub(super) fn lose(&mut self, from: u8, to: u8) {
        self.pool.retain(|(f, t, _)| (*f, *t) != (from, to));
    }
    /// Delivers all messages, oldest first, until none is left.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.pool.is_empty() {
                return;
            }
            let (from, to, message) = self.pool.remove(0);
            self.step(to, Input::Message { from: NodeId(u64::from(from) + 1), message });
        }
        panic!("messages without an end");
    }
    /// Lets time pass, with every message delivered.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += Duration::millis(1);
            for node in 0..self.nodes.len() as u8 {
                while self.nodes[usize::from(node)].wake_at() <= self.now {
                    self.step(node, Input::Tick);
                }
            }
            self.settle();
        }
    }
    /// The first instance decided in two ways, or pair of decided interfering commands of which neither depends on
    /// the other.
    pub(super) fn contradiction(&self) -> Option<String> {
        let mut decided = std::collections::BTreeMap::new();
        for (node, replica) in self.nodes.iter().enumerate() {
            for (id, command, deps) in replica.decided() {
                let (first, c, d) = decided.entry(id).or_insert((node, command.cloned(), deps.clone()));
                if (c.as_ref(), &*d) != (command, deps) {
                    return Some(format!(
                        "{id:?} is decided as {c:?} {d:?} at {first} and as {command:?} {deps:?} at {node}"
                    ));
                }
            }
        }
        let touch = |p: &Payload| self.nodes[0].config.touch(p);
        for (a, (_, ca, da)) in &decided {
            for (b, (_, cb, db)) in decided.range(a..).skip(1) {
                let (Some(ca), Some(cb)) = (ca, cb) else { continue };
                if touch(ca).interferes(&touch(cb)) && !da.has(*b) && !db.has(*a) {
                    return Some(format!(
                        "{a:?} {da:?} and {b:?} {db:?} interfere and neither depends on the other"
                    ));
                }
            }
        }
        // The order of interfering commands is the same in everything given out.
        for (x, first) in self.given.iter().enumerate() {
            for (y, second) in self.given.iter().enumerate().skip(x + 1) {
                let shared = |of: &[Given], other: &[Given]| -> Vec<Payload> {
                    // Nothing is not ordered, and there are no markers here.
                    of.iter()
                        .map(|g| g.payload.clone())
                        .filter(|p| *p != Payload::Blank)
                        .filter(|p| other.iter().any(|o| o.payload == *p))
                        .collect()
                };
                let (a, b) = (shared(first, second), shared(second, first));
                for (i, p) in a.iter().enumerate() {
                    for q in &a[i + 1..] {
                        let at = |p| b.iter().position(|x| x == p);
                        if touch(p).interferes(&touch(q)) && at(p) > at(q) {
                            return Some(format!("{x} executed {p:?} before {q:?}, {y} behind it"));
                        }
                    }
                }
            }
        }
        None
    }
}

pub(super) fn started(me: u64, n: u64, records: &[Record]) -> Epaxos {
    started_at(me, &System::Majority { members: n as u8 }, records, Instant::from_nanos(1))
}
fn started_at(me: u64, quorums: &System, records: &[Record], now: Instant) -> Epaxos {
    Epaxos::recover(config_of(me, quorums), None, records.iter().cloned(), now).expect("its own records")
}

pub(super) fn name(message: &Message) -> &'static str {
    match message {
        Message::PreAccept { .. } => "PreAccept",
        Message::PreAcceptOk { .. } => "PreAcceptOk",
        Message::Accept { .. } => "Accept",
        Message::AcceptOk { .. } => "AcceptOk",
        Message::Commit { .. } => "Commit",
        Message::Prepare { .. } => "Prepare",
        Message::PrepareOk { .. } => "PrepareOk",
        Message::Validate { .. } => "Validate",
        Message::ValidateOk { .. } => "ValidateOk",
        Message::Waiting { .. } => "Waiting",
        Message::Nack { .. } => "Nack",
        Message::Beat { .. } => "Beat",
        Message::Fetch { .. } => "Fetch",
        Message::ReadAsk { .. } => "ReadAsk",
        Message::ReadOk { .. } => "ReadOk",
        Message::Collect { .. } => "Collect",
    }
}

/// A message in a line, without what all of its kind have in common.
fn told(message: &Message) -> String {
    let value = |v: &super::Value| match v {
        super::Value::Noop => String::from("nothing"),
        super::Value::Known => String::from("the command"),
        super::Value::Command(_) => String::from("its command"),
    };
    match message {
        Message::PreAccept { id, deps, .. } => format!("PreAccept {id:?} behind {deps:?}"),
        Message::Collect { id, deps, quorum, .. } => format!("Collect {id:?} of {quorum:?} behind {deps:?}"),
        Message::PreAcceptOk { id, deps } => format!("PreAcceptOk {id:?} behind {deps:?}"),
        Message::Accept { id, ballot, value: v, deps } => {
            format!("Accept {id:?} in {ballot}: {} behind {deps:?}", value(v))
        }
        Message::AcceptOk { id, ballot } => format!("AcceptOk {id:?} in {ballot}"),
        Message::Commit { id, value: v, deps } => format!("Commit {id:?}: {} behind {deps:?}", value(v)),
        Message::Prepare { id, ballot } => format!("Prepare {id:?} in {ballot}"),
        Message::PrepareOk { id, ballot, vote } => {
            format!("PrepareOk {id:?} in {ballot}: {:?} in {} behind {:?}", vote.phase, vote.voted, vote.deps)
        }
        Message::Validate { id, ballot, deps, .. } => format!("Validate {id:?} in {ballot} behind {deps:?}"),
        Message::ValidateOk { id, refuted, blockers, .. } => {
            format!("ValidateOk {id:?} {refuted} {blockers:?}")
        }
        Message::Nack { id, ballot } => format!("Nack {id:?} at {ballot}"),
        other => format!("{other:?}"),
    }
}
