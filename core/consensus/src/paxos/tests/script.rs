//! Script → members → text. A line that begins with a word is a command; what members did is told below
//! it, indented. Nothing happens by itself: messages wait on their link, records wait for `sync`.

use crate::engine::Token;
use crate::paxos::{Config, Message, Paxos, Record, Times};
use crate::quorum::System;
use crate::step::{Input, Output, Payload, Protocol, Ticket};
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

struct Member {
    core: Option<Paxos>,
    disk: Vec<Record>,
    cached: Vec<(Ticket, Record)>,
    held: Vec<(Ticket, NodeId, Message)>,
    mark: Option<Bytes>,
}

struct World {
    now: Instant,
    members: BTreeMap<u64, Member>,
    links: BTreeMap<(u64, u64), VecDeque<Message>>,
    cut: BTreeSet<(u64, u64)>,
    tokens: u64,
    text: String,
}

fn payload(p: &Payload) -> String {
    match p {
        Payload::Blank => "-".to_string(),
        Payload::Command(b) => String::from_utf8_lossy(b).to_string(),
        Payload::Seal(b) => format!("seal:{}", String::from_utf8_lossy(b)),
    }
}

fn payloads<'a>(all: impl IntoIterator<Item = &'a Payload>) -> String {
    all.into_iter().map(payload).collect::<Vec<_>>().join(" ")
}

fn run(r: &crate::paxos::log::Run) -> String {
    format!("{}..={}@{:?} [{}]", r.first, r.last(), r.ballot, payloads(r.batch.payloads()))
}

fn runs(all: &[crate::paxos::log::Run]) -> String {
    all.iter().map(run).collect::<Vec<_>>().join(", ")
}

fn message(m: &Message) -> String {
    match m {
        Message::Canvass { round } => format!("Canvass #{round}"),
        Message::Opinion { round, hears, promised, decided, base } => {
            let hears = hears.map_or("nobody".to_string(), |b| format!("{b:?}"));
            format!("Opinion #{round} hears {hears}, promised {promised:?}, decided {decided}, base {base}")
        }
        Message::Prepare { ballot, from } => format!("Prepare {ballot:?} from {from}"),
        Message::Promise { ballot, from, next, decided, runs: all } => {
            let next = next.map_or(String::new(), |n| format!(", more at {n}"));
            format!("Promise {ballot:?} from {from}, decided {decided}: {}{next}", runs(all))
        }
        Message::Accept { ballot, first, batch, decided } => {
            let last = first + batch.len() as u64 - 1;
            format!("Accept {ballot:?} {first}..={last} [{}], decided {decided}", payloads(batch.payloads()))
        }
        Message::AcceptOk { ballot, first, last } => format!("AcceptOk {ballot:?} {first}..={last}"),
        Message::Reject { ballot, promised } => format!("Reject {ballot:?}, promised {promised:?}"),
        Message::Ping { ballot, seq, connected, decided, proposed } => {
            let connected = if *connected { "connected" } else { "not connected" };
            format!("Ping {ballot:?} #{seq} {connected}, decided {decided}, proposed {proposed}")
        }
        Message::Pong { ballot, seq } => format!("Pong {ballot:?} #{seq}"),
        Message::Need { from, to } => format!("Need {from}..={to}"),
        Message::Learn { runs: all, decided } => format!("Learn {}, decided {decided}", runs(all)),
        Message::Yield { ballot, base, proposed } => {
            format!("Yield {ballot:?}, base {base}, proposed {proposed}")
        }
    }
}

fn record(r: &Record) -> String {
    match r {
        Record::Promised(b) => format!("promised {b:?}"),
        Record::Accepted { run: r, decided } => format!("accepted {}, decided {decided}", run(r)),
        Record::Chosen(all) => format!("chosen {}", runs(all)),
        Record::Base(mark) => format!("base {}, sealed {}", mark.index, mark.sealed),
    }
}

impl World {
    fn say(&mut self, line: &str) {
        writeln!(self.text, "  {line}").unwrap();
    }

    fn start(&mut self, id: u64, leader: Option<u64>) {
        let ids: Vec<NodeId> = self.members.keys().map(|n| NodeId(*n)).collect();
        let quorums = System::Majority { members: u8::try_from(ids.len()).unwrap() };
        let mut config = Config::new(NodeId(id), ids, quorums, 7, Times::default()).unwrap().keep_slots(0);
        if let Some(leader) = leader {
            config = config.first_leader(NodeId(leader));
        }
        let member = self.members.get_mut(&id).unwrap();
        let core = Paxos::recover(config, member.mark.as_ref(), member.disk.clone(), self.now).unwrap();
        member.core = Some(core);
    }

    fn step(&mut self, id: u64, input: Input<Message>) {
        let Some(core) = self.members.get_mut(&id).and_then(|m| m.core.as_mut()) else { return };
        let mut out = Vec::new();
        core.step(self.now, input, &mut out);
        for output in out {
            self.carry(id, output);
        }
    }

    fn carry(&mut self, id: u64, output: Output<Message, Record>) {
        let member = self.members.get_mut(&id).unwrap();
        let line = match output {
            Output::Persist { ticket, record: r } => {
                let line = format!("writes {}: {}", ticket.0, record(&r));
                member.cached.push((ticket, r));
                line
            }
            Output::Send { to, message: m, after } => {
                let waits = after.filter(|t| member.cached.iter().any(|(c, _)| c <= t));
                let line = format!("→ n{} {}", to.0, message(&m));
                match waits {
                    Some(t) => {
                        member.held.push((t, to, m));
                        format!("{line} (after {})", t.0)
                    }
                    None => {
                        self.links.entry((id, to.0)).or_default().push_back(m);
                        line
                    }
                }
            }
            Output::Decided { index, payload: p, token } => {
                let token = token.map_or(String::new(), |t| format!(" answers {}", t.0));
                format!("decided {index} {}{token}", payload(&p))
            }
            Output::Readable { token } => format!("readable {}", token.0),
            Output::Refused { token, error } => format!("refused {}: {error}", token.0),
            Output::Behind { peer } => format!("behind: n{}", peer.0),
            Output::Blame { peer, fault } => format!("blames n{}: {fault}", peer.0),
            other => format!("{other:?}"),
        };
        self.say(&format!("n{id} {line}"));
    }

    fn sync(&mut self, id: u64) -> bool {
        let member = self.members.get_mut(&id).unwrap();
        let Some((last, _)) = member.cached.last().map(|(t, r)| (*t, r.clone())) else { return false };
        member.disk.extend(core::mem::take(&mut member.cached).into_iter().map(|(_, r)| r));
        for (_, to, m) in core::mem::take(&mut member.held) {
            self.links.entry((id, to.0)).or_default().push_back(m);
        }
        self.step(id, Input::Persisted(last));
        true
    }

    fn deliver(&mut self, from: u64, to: u64, count: usize) -> bool {
        let mut any = false;
        for _ in 0..count {
            let Some(m) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else { break };
            if !self.cut.contains(&(from, to)) {
                any = true;
                self.step(to, Input::Message { from: NodeId(from), message: m });
            }
        }
        any
    }

    fn settle(&mut self) {
        loop {
            let ids: Vec<u64> = self.members.keys().copied().collect();
            let mut any = ids.iter().fold(false, |any, id| self.sync(*id) | any);
            let links: Vec<(u64, u64)> = self.links.keys().copied().collect();
            for (from, to) in links {
                any |= self.deliver(from, to, usize::MAX);
            }
            if !any {
                return;
            }
        }
    }

    fn tick(&mut self, id: u64) {
        let Some(core) = &self.members[&id].core else { return };
        self.now = self.now.max(core.wake_at());
        self.step(id, Input::Tick);
    }

    /// Everybody's time passes, everything is delivered and synced.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some((at, id)) =
            self.members.iter().filter_map(|(id, m)| Some((m.core.as_ref()?.wake_at(), *id))).min()
            && at <= end
        {
            self.now = self.now.max(at);
            self.step(id, Input::Tick);
            self.settle();
        }
        self.now = end;
    }

    fn show(&mut self) {
        let lines: Vec<String> = self
            .members
            .iter()
            .map(|(id, m)| match &m.core {
                None => format!("n{id} down"),
                Some(core) => {
                    let s = core.standing();
                    let leader = s.leader.map_or("nobody".to_string(), |n| n.to_string());
                    let round = core.promised.round;
                    format!("n{id} {:?} {round}, leader {leader}, decided {}", s.role, s.decided)
                }
            })
            .collect();
        lines.iter().for_each(|l| self.say(l));
    }

    fn quietly(&mut self, f: impl FnOnce(&mut Self)) {
        let kept = core::mem::take(&mut self.text);
        f(self);
        self.text = kept;
    }

    fn command(&mut self, words: &[&str]) {
        let number = |at: usize| words[at].trim_start_matches('n').parse::<u64>().unwrap();
        let node = |at: usize| words.get(at).map_or(0, |_| number(at));
        match words[0] {
            "cluster" => {
                for id in 1..=number(1) {
                    let (disk, cached, held) = (vec![], vec![], vec![]);
                    self.members.insert(id, Member { core: None, disk, cached, held, mark: None });
                }
                let leader = (words.len() > 2).then(|| number(3));
                for id in 1..=number(1) {
                    self.start(id, leader);
                }
                if let Some(leader) = leader {
                    self.quietly(|w| {
                        w.tick(leader);
                        w.pass(Duration::millis(10));
                    });
                }
            }
            "tick" => self.tick(node(1)),
            "pass" => {
                let span = Duration::millis(words[1].trim_end_matches("ms").parse().unwrap());
                if words.contains(&"quietly") {
                    self.quietly(|w| w.pass(span));
                } else {
                    self.pass(span);
                }
            }
            "propose" => {
                let list = words[2..].iter().map(|w| {
                    self.tokens += 1;
                    let bytes = Bytes::copy_from_slice(w.trim_start_matches("seal:").as_bytes());
                    let seal = w.starts_with("seal:");
                    (Token(self.tokens), if seal { Payload::Seal(bytes) } else { Payload::Command(bytes) })
                });
                let list = list.collect();
                self.step(node(1), Input::Propose(list));
            }
            "read" => {
                self.tokens += 1;
                self.step(node(1), Input::Read(Token(self.tokens)));
            }
            "sync" => _ = self.sync(node(1)),
            "deliver" => {
                _ = self.deliver(node(1), node(2), words.get(3).map_or(usize::MAX, |_| number(3) as usize));
            }
            "lose" => drop(self.links.remove(&(node(1), node(2)))),
            "cut" => self.cut.extend([(node(1), node(2)), (node(2), node(1))]),
            "heal" => self.cut.clear(),
            "settle" if words.contains(&"quietly") => self.quietly(Self::settle),
            "settle" => self.settle(),
            "crash" => {
                let member = self.members.get_mut(&node(1)).unwrap();
                (member.core, member.cached, member.held) = (None, vec![], vec![]);
                self.links.retain(|(_, to), _| *to != node(1));
            }
            "restart" => self.start(node(1), None),
            "checkpoint" => {
                let member = self.members.get_mut(&node(1)).unwrap();
                let core = member.core.as_mut().unwrap();
                let mark = core.mark();
                core.step(self.now, Input::Checkpointed { mark: mark.clone() }, &mut Vec::new());
                member.disk = core.compact();
                let lines: Vec<String> = member.disk.iter().map(|r| format!("keeps {}", record(r))).collect();
                member.mark = Some(mark);
                lines.iter().for_each(|l| self.say(l));
            }
            "install" => {
                let mark = self.members[&node(3)].mark.clone().unwrap();
                self.members.get_mut(&node(1)).unwrap().mark = Some(mark.clone());
                self.step(node(1), Input::Installed { mark });
            }
            "transfer" => self.step(node(1), Input::Transfer(NodeId(node(2)))),
            "gone" => self.step(node(1), Input::Unreachable(NodeId(node(2)))),
            "show" => self.show(),
            other => panic!("no such command: {other}"),
        }
    }
}

/// Plays the commands of a script; gives them back with what happens under each.
pub(super) fn play(script: &str) -> String {
    let mut world = World {
        now: Instant::ZERO,
        members: BTreeMap::new(),
        links: BTreeMap::new(),
        cut: BTreeSet::new(),
        tokens: 0,
        text: String::new(),
    };
    for line in script.lines().filter(|l| !l.starts_with("  ")) {
        writeln!(world.text, "{line}").unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with('#') && !words.is_empty() {
            world.command(&words);
        }
    }
    world.text
}
