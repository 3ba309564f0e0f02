//! The chain's own door: bodies that somebody said, bent in every way, given again to nodes that live on.
//!
//! **What must hold**, whatever comes: no panic, no node stops. A body that is blamed on its sender changed nothing and
//! let nothing out (but that a primary under PBFT is left after so many lies); one that is no body at all is blamed. In the
//! end all members hold one order, and all that was acknowledged.
//! Where members may lie all of it is bent; where a peer is believed its engine's words and the pieces of its states are
//! given as they were, under another head: another epoch, another content, another sender.
//!
//! | input | made by |
//! |---|---|
//! | malformed | bits, bytes, cuts, insertions, what follows appended |
//! | plausible | an integer becomes another; another epoch's number or name in the head |
//! | huge | a part again and again, up to a megabyte |
//! | stale, replayed | as it was, now, or to another, or from another |
//! | strangers | from who is no member |

use crate::harness::{Answered, G, World, config, genesis, n};
use bytes::Bytes;
use dwcp_chain::{EngineKind, Switch};
use dwcp_consensus::pbft::{keys, seal};
use dwcp_consensus::select::{Mode, Policy};
use dwcp_consensus::{EngineError, Token};
use dwcp_env::{Duration, Instant, Lane, NodeId, Purpose, Seed};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

const DRAW: Purpose = Purpose::named("bent");
const OPERATOR: [u8; 32] = [99; 32];
/// Bytes of a body before what its engine or chain says: a tag, the epoch, the name of its content.
const HEAD: usize = 13;
/// The chain's message with a piece of a state.
const PART: u8 = 3;
const SAMPLES_MAX: usize = 4_096;
const HUGE: usize = 1 << 20;
/// Inputs between two moments of an honest life.
const A_ROUND: u64 = 64;
/// Rounds under one engine.
const PHASE: u64 = 40;

type Said = (NodeId, NodeId, Lane, Bytes);

/// What became of the inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bent {
    pub(crate) given: u64,
    /// Blamed on their sender.
    pub(crate) blamed: u64,
    /// The rest: replays, and what is plausible.
    pub(crate) passed: u64,
    pub(crate) epochs: u64,
    pub(crate) written: u64,
}

struct Bench {
    world: World,
    said: Rc<RefCell<VecDeque<Said>>>,
    seed: Seed,
    draws: u64,
    writes: Vec<(Token, Bytes)>,
    bent: Bent,
}

/// Gives so many bent bodies to a group of four and a stranger.
pub(crate) fn bent(seed: u64, count: u64, mut progress: impl FnMut(u64)) -> Result<Bent, String> {
    let mut bent = Bent::default();
    while bent.given < count {
        // Another group after each round of engines: what it holds is compared as a whole.
        let mut bench = Bench::new(seed + bent.given, bent);
        for engine in [EngineKind::Pbft, EngineKind::Paxos, EngineKind::EPaxos, EngineKind::Raft] {
            for round in 0..PHASE {
                bench.live(round)?;
                for _ in 0..A_ROUND.min(count - bench.bent.given) {
                    bench.once()?;
                }
                progress(bench.bent.given);
            }
            bench.rest()?;
            bench.switch(engine)?;
        }
        bent = bench.end();
    }
    Ok(bent)
}

impl Bench {
    fn new(seed: u64, bent: Bent) -> Self {
        let mut world = World::new(seed);
        let ids = [1, 2, 3, 4];
        let dry = Policy { mode: Mode::DryRun, ..Policy::default() };
        // And one that may be added.
        for id in 1..=5 {
            let founder = ids.contains(&id);
            let mut c = config(id, founder.then(|| genesis(EngineKind::Raft, &ids)));
            (c.raft.snapshot_entries, c.raft.keep_entries) = (32, 0);
            c.policy = Some(dry.clone());
            c.known = if founder { Vec::new() } else { ids.map(n).to_vec() };
            world.add(n(id), BTreeMap::from([(G, c)]));
        }
        let said = Rc::new(RefCell::new(VecDeque::with_capacity(SAMPLES_MAX)));
        let ears = said.clone();
        world.sieve = Some(Box::new(move |from, to, lane, body| {
            let mut said = ears.borrow_mut();
            if said.len() == SAMPLES_MAX {
                said.pop_front();
            }
            said.push_back((from, to, lane, body.clone()));
            true
        }));
        Self { world, said, seed: Seed(seed), draws: 0, writes: Vec::new(), bent }
    }

    fn below(&mut self, n: usize) -> usize {
        self.draws += 1;
        self.seed.below(n as u64, DRAW, 0, Instant::ZERO, self.draws) as usize
    }
    fn engine(&self) -> EngineKind {
        let known = self.world.up().into_iter().filter_map(|id| self.world.life(id));
        known.map(|l| l.host.brief(G)).max_by_key(|b| b.epoch).map(|b| b.engine).unwrap_or_default()
    }

    /// A moment of an honest life: a write, and a node that goes away and comes back behind the others.
    fn live(&mut self, round: u64) -> Result<(), String> {
        let away = n(1 + round / 10 % 4);
        match round % 10 {
            2 if self.world.is_up(away) => self.world.crash(away),
            7 if !self.world.is_up(away) => self.world.start(away),
            _ => {}
        }
        for _ in 0..4 {
            self.write();
        }
        self.world.run(Duration::millis(50));
        if let Ok(mut heard) = self.world.heard.lock() {
            heard.events.clear();
        }
        let stopped = self.world.up().into_iter().find_map(|id| self.world.fatal(id).map(|why| (id, why)));
        stopped.map_or(Ok(()), |(id, why)| Err(format!("{id} stopped: {why}")))
    }
    fn write(&mut self) {
        let up = self.world.up();
        let at = up[self.below(up.len())];
        let leader = self.world.life(at).and_then(|l| l.host.brief(G).leader);
        let to = leader.filter(|l| self.world.nodes.contains_key(l) && self.world.is_up(*l)).unwrap_or(at);
        let command = Bytes::from(format!("{:06}", self.writes.len()));
        let token = self.world.propose(to, G, command.clone());
        self.writes.push((token, command));
    }

    fn once(&mut self) -> Result<(), String> {
        self.bent.given += 1;
        let count = self.said.borrow().len();
        let at = self.below(count);
        let (mut from, mut to, lane, body) = self.said.borrow()[at].clone();
        if self.below(4) == 0 {
            (from, to) = (n(1 + self.below(5) as u64), n(1 + self.below(5) as u64));
        }
        let body = if self.below(8) == 0 { body } else { self.bend(&body) };
        if from == to || !self.world.is_up(to) {
            return Ok(());
        }
        self.give(from, to, lane, body)
    }

    fn give(&mut self, from: NodeId, to: NodeId, lane: Lane, body: Bytes) -> Result<(), String> {
        // Whatever it would do anyway.
        self.world.turn(to);
        let before = self.look(to);
        let no_body = body.len() < HEAD || body[0] > 1;
        if let Ok(mut heard) = self.world.heard.lock() {
            heard.events.clear();
        }
        let shown = body.clone();
        self.world.inject(from, to, lane, body);
        let events = self.world.heard.lock().map(|h| h.events.clone()).unwrap_or_default();
        let blamed = events.iter().any(|e| e.contains("fault"));
        let after = self.look(to);
        // A primary that is caught at so many lies is left: who speaks the link has said.
        let left = after.0.engine == EngineKind::Pbft && after.0.term > before.0.term && after.1 == before.1;
        let what = if blamed && after != before && !left {
            format!("was blamed and had an effect: {before:?} became {after:?}")
        } else if no_body && !blamed {
            "is no body, and nobody was blamed".into()
        } else {
            if blamed {
                self.bent.blamed += 1
            } else {
                self.bent.passed += 1
            }
            return Ok(());
        };
        let number = self.bent.given;
        let shown = &shown[..shown.len().min(200)];
        Err(format!(
            "input {number}, {shown:02x?} from {from} to {to} under {}, {what}; {events:?}",
            self.engine()
        ))
    }
    /// All that shows of a node.
    fn look(&self, id: NodeId) -> (dwcp_chain::Brief, usize, String, u64, u64, usize) {
        let w = &self.world;
        let host = w.life(id).map(|l| &l.host);
        let brief = host.map(|h| h.brief(G)).unwrap_or_default();
        let seen = format!("{:?}", host.map(|h| (h.whereabouts(G), h.is_suspect(G), h.fatal(G))));
        (brief, w.commands(id, G).len(), seen, w.messages, w.requests, w.answers.len())
    }

    fn bend(&mut self, body: &Bytes) -> Bytes {
        let mut bytes = body.to_vec();
        let lies = self.engine() == EngineKind::Pbft;
        let spared = bytes[0] == 0 || bytes.get(HEAD) == Some(&PART);
        // What is believed is bent in its head only.
        let upto = if spared && !lies { HEAD } else { bytes.len() };
        for _ in 0..1 + self.below(2) {
            self.bend_bytes(&mut bytes, upto);
        }
        bytes.into()
    }
    fn bend_bytes(&mut self, bytes: &mut Vec<u8>, upto: usize) {
        let upto = upto.min(bytes.len());
        if upto == 0 {
            return bytes.push(self.below(256) as u8);
        }
        let at = self.below(upto);
        let whole = upto == bytes.len();
        match self.below(9) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.below(256) as u8,
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes.truncate(at),
            // A tag that is none.
            4 => bytes[0] = 2 + self.below(254) as u8,
            // An epoch, near or far, or another content.
            5 if bytes.len() >= HEAD => {
                let epoch = [0, 1, 2, 3, u32::MAX - 1, u32::MAX][self.below(6)];
                bytes[1..5].copy_from_slice(&epoch.to_le_bytes());
            }
            6 if bytes.len() >= HEAD => bytes[5..HEAD].fill(self.below(256) as u8),
            7 if whole => {
                let number: &[u8] = match self.below(4) {
                    0 => &[0],
                    1 => &[251, 255, 255],
                    2 => &[252, 255, 255, 255, 127],
                    _ => &[253, 255, 255, 255, 255, 255, 255, 255, 255],
                };
                bytes.splice(at..=at, number.iter().copied());
            }
            8 if whole => {
                let part: Vec<u8> = bytes[at..].to_vec();
                let times = if self.below(256) == 0 { HUGE / part.len() } else { self.below(64) };
                (0..times).for_each(|_| bytes.extend_from_slice(&part));
            }
            _ => bytes[at] = !bytes[at],
        }
    }

    /// Nobody is away, and all come to one order: lies that are believed for a while are outlived.
    fn rest(&mut self) -> Result<(), String> {
        for id in (1..=5).map(n) {
            if !self.world.is_up(id) {
                self.world.start(id);
            }
        }
        let members = [1, 2, 3, 4].map(n);
        let (first, mut last) = (self.writes.len(), 0);
        for _ in 0..600 {
            self.world.run(Duration::millis(200));
            let held: Vec<Vec<Bytes>> = members.iter().map(|id| self.world.commands(*id, G)).collect();
            let alike = held.windows(2).all(|w| w[0] == w[1]);
            let done = |(t, _): &(Token, Bytes)| {
                matches!(self.world.answers.get(t), Some(Answered::Proposed(Ok(_))))
            };
            if alike && self.writes[first..].iter().any(done) {
                return self.judge(&held[0]);
            }
            if last == 0 || last % 10 == 0 {
                self.write();
            }
            last += 1;
        }
        let one = |id: &NodeId| self.world.life(*id).map(|l| l.host.brief(G));
        Err(format!("no peace within two minutes: {:?}", members.iter().map(one).collect::<Vec<_>>()))
    }
    fn judge(&self, held: &[Bytes]) -> Result<(), String> {
        let mut times: BTreeMap<&Bytes, u64> = BTreeMap::new();
        held.iter().for_each(|c| *times.entry(c).or_default() += 1);
        for (token, command) in &self.writes {
            let there = times.get(command).copied().unwrap_or(0);
            let wrong = match self.world.answers.get(token) {
                _ if there > 1 => true,
                Some(Answered::Proposed(Ok(_))) => there == 0,
                Some(Answered::Proposed(Err(EngineError::NotLeader { .. } | EngineError::Refused(_)))) => {
                    there > 0
                }
                _ => false,
            };
            if wrong {
                let answer = self.world.answers.get(token);
                return Err(format!("{command:?}, answered {answer:?}, is there {there} times"));
            }
        }
        match held.iter().find(|c| !self.writes.iter().any(|(_, w)| w == *c)) {
            Some(odd) => Err(format!("{odd:?} is there, and nobody wrote it")),
            None => Ok(()),
        }
    }

    fn switch(&mut self, engine: EngineKind) -> Result<(), String> {
        for _ in 0..60 {
            if self.engine() == engine {
                self.bent.epochs += 1;
                return Ok(());
            }
            let at = self.world.leader(G).unwrap_or(n(1));
            let Some(spec) =
                self.world.life(at).and_then(|l| l.host.group(G)).map(dwcp_chain::ChainGroup::spec)
            else {
                continue;
            };
            let operator = (engine == EngineKind::Pbft).then(|| keys::public(&OPERATOR));
            let mut switch = Switch { engine, operator, ..Switch::default() };
            if spec.engine == EngineKind::Pbft {
                let next = switch.next(&spec, spec.members.clone(), None);
                switch.signed = Some(seal::seal(&OPERATOR, &spec.realm(G), &next.encode()));
            }
            self.world.ask(at, |h, t| h.switch(G, t, Some(spec.epoch), switch));
            self.world.run(Duration::secs(2));
        }
        Err(format!("the switch to {engine} is never decided"))
    }

    fn end(mut self) -> Bent {
        self.bent.written += self.world.commands(n(1), G).len() as u64;
        self.bent
    }
}
