//! Many nodes in one event loop: a heap of (time, sequence), virtual clocks, keyed draws, links with measured
//! latencies. It drives [`Gossip::step`] and nothing else; under each node lies a small store that answers
//! digests the way the real one does: hash, then names, then what is missing.
//!
//! Used by `examples/spread` at full size and by the tests at a small one.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "a part of several tests, each uses some of it")]

use bytes::Bytes;
use dwcp_env::{Duration, Instant, Lane, NodeId, Purpose, RegionId, Seed};
use dwcp_gossip::{Change, Gossip, Incarnation, Input, Metadata, Output, RumourId, Settings, Store};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

pub mod net;
pub use net::Net;

/// Bytes of a payload in the world; larger than any announcement of the runs, so that it is known on the wire.
pub const PAYLOAD: usize = 1_000;

const LOSS: Purpose = Purpose::named("world.loss");
const DELAY: Purpose = Purpose::named("world.delay");

/// What a node holds.
#[derive(Clone, Default)]
pub struct Held {
    pub items: BTreeMap<RumourId, Bytes>,
    hash: u64,
}

impl Store for Held {
    fn holds(&self, id: RumourId) -> bool {
        self.items.contains_key(&id)
    }
    fn fetch(&self, id: RumourId) -> Option<Bytes> {
        self.items.get(&id).cloned()
    }
}

impl Held {
    fn add(&mut self, id: RumourId, bytes: Bytes) -> bool {
        let new = self.items.insert(id, bytes).is_none();
        if new {
            self.hash ^= Seed(7).draw(LOSS, id.dot(), Instant::ZERO, 0);
        }
        new
    }
}

pub struct Node {
    pub gossip: Gossip,
    pub held: Held,
    pub region: usize,
    pub up: bool,
    /// Until when it stands still; what comes meanwhile waits.
    pub paused_until: u64,
    woken_at: u64,
}

/// On the wire.
#[derive(Clone)]
enum Letter {
    Gossip(Bytes),
    Digest(u64),
    Names(Vec<RumourId>),
    Items(Vec<(RumourId, Bytes)>),
    Ask(Vec<RumourId>),
}

enum What {
    Wake,
    Letter { from: usize, letter: Letter },
    Input(Input),
}

struct Event {
    at: u64,
    seq: u64,
    node: usize,
    what: What,
}

impl PartialEq for Event {
    fn eq(&self, o: &Self) -> bool {
        (self.at, self.seq) == (o.at, o.seq)
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, o: &Self) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Event {
    fn cmp(&self, o: &Self) -> Ordering {
        (o.at, o.seq).cmp(&(self.at, self.seq))
    }
}

/// What was counted on the wire.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wire {
    pub messages: u64,
    pub bytes: u64,
    pub payloads: u64,
    pub wan_payloads: u64,
    pub wan_bytes: u64,
    pub repaired: u64,
}

/// Something a node said about another.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub at: u64,
    pub by: usize,
    pub change: Change,
}

pub struct World {
    pub nodes: Vec<Node>,
    pub now: u64,
    pub wire: Wire,
    pub said: Vec<Said>,
    /// When each node got a rumour that is being watched.
    pub got: BTreeMap<RumourId, Vec<Option<u64>>>,
    pub net: Net,
    /// Groups that can't hear each other, by node.
    pub cut: Option<Vec<u8>>,
    pub gone: BTreeSet<usize>,
    heap: BinaryHeap<Event>,
    seq: u64,
    seed: Seed,
    out: Vec<Output>,
    pub events: u64,
    pub faults: u64,
}

pub fn id(i: usize) -> NodeId {
    NodeId(i as u64 + 1)
}
fn at(id: NodeId) -> usize {
    id.0 as usize - 1
}
pub fn metadata(i: usize, region: usize) -> Metadata {
    Metadata {
        region: RegionId(region as u16),
        replica: Some(i as u16),
        address: format!("10.{}.{}.{}:7400", region, i >> 8, i & 255),
    }
}

impl World {
    /// `n` nodes spread evenly over the regions, who know each other if `known`.
    pub fn new(n: usize, net: Net, settings: &Settings, seed: Seed, known: bool) -> Self {
        let regions = net.regions();
        let mut w = Self {
            nodes: Vec::new(),
            now: 0,
            wire: Wire::default(),
            said: Vec::new(),
            got: BTreeMap::new(),
            net,
            cut: None,
            gone: BTreeSet::new(),
            heap: BinaryHeap::new(),
            seq: 0,
            seed,
            out: Vec::new(),
            events: 0,
            faults: 0,
        };
        let all: Vec<_> = (0..n).map(|i| (id(i), Incarnation(0), metadata(i, i % regions))).collect();
        for i in 0..n {
            w.nodes.push(w.node(i, i % regions, settings, 0));
            if known {
                w.input(i, Input::Introduce { members: all.clone() });
            }
        }
        w.said.clear();
        w
    }

    fn node(&self, i: usize, region: usize, settings: &Settings, life: u64) -> Node {
        let seed = self.seed.part(Purpose::named("world.node"), (i as u64) << 8 | life);
        let gossip = Gossip::new(
            id(i),
            Incarnation(0),
            metadata(i, region),
            settings.clone(),
            Instant::from_nanos(self.now),
            seed,
        )
        .expect("right settings");
        Node { gossip, held: Held::default(), region, up: true, paused_until: 0, woken_at: u64::MAX }
    }

    /// One node more, that knows only `seeds`.
    pub fn join(&mut self, region: usize, settings: &Settings, seeds: &[usize]) -> usize {
        let i = self.nodes.len();
        let node = self.node(i, region, settings, 0);
        self.nodes.push(node);
        self.input(i, Input::Join { seeds: seeds.iter().map(|s| id(*s)).collect() });
        i
    }

    pub fn crash(&mut self, i: usize) {
        self.nodes[i].up = false;
    }

    /// Starts again with nothing but its name: incarnation 0 as the last time.
    pub fn restart(&mut self, i: usize, settings: &Settings, life: u64, seeds: &[usize]) {
        self.nodes[i] = self.node(i, self.nodes[i].region, settings, life);
        self.input(i, Input::Join { seeds: seeds.iter().map(|s| id(*s)).collect() });
    }

    /// A new rumour of node `i`, watched at all nodes.
    pub fn broadcast(&mut self, i: usize, sequence: u64) -> RumourId {
        let rumour = RumourId { origin: i as u16, sequence };
        let bytes = Bytes::from(vec![sequence as u8; PAYLOAD]);
        let mut got = vec![None; self.nodes.len()];
        got[i] = Some(self.now);
        self.got.insert(rumour, got);
        self.nodes[i].held.add(rumour, bytes.clone());
        self.input(i, Input::Broadcast { id: rumour, bytes });
        rumour
    }

    /// Gives a node an input now.
    pub fn input(&mut self, i: usize, input: Input) {
        let now = Instant::from_nanos(self.now);
        let mut out = std::mem::take(&mut self.out);
        let node = &mut self.nodes[i];
        node.gossip.step(now, input, &node.held, &mut out);
        self.carry_out(i, &mut out);
        self.out = out;
        self.plan_wake(i);
    }

    fn plan_wake(&mut self, i: usize) {
        let wish = self.nodes[i].gossip.wake_at().as_nanos();
        if wish != u64::MAX && (wish < self.nodes[i].woken_at || self.nodes[i].woken_at <= self.now) {
            let at = wish.max(self.now);
            self.nodes[i].woken_at = at;
            self.push(at, i, What::Wake);
        }
    }

    fn push(&mut self, at: u64, node: usize, what: What) {
        self.seq += 1;
        self.heap.push(Event { at, seq: self.seq, node, what });
    }

    fn carry_out(&mut self, i: usize, out: &mut Vec<Output>) {
        for o in out.drain(..) {
            match o {
                Output::Send { to, lane, body } => {
                    let payload = lane == Lane::Data && body.len() >= PAYLOAD;
                    self.post(i, at(to), body.len(), payload, Letter::Gossip(body));
                }
                Output::Deliver { id, bytes, .. } => self.take_in(i, id, bytes),
                Output::SendDigest { to } => {
                    let digest = Letter::Digest(self.nodes[i].held.hash);
                    self.post(i, at(to), 32, false, digest);
                }
                Output::Changed(change) => self.said.push(Said { at: self.now, by: i, change }),
                Output::Fault(_) => self.faults += 1,
                Output::Gone => {
                    self.gone.insert(i);
                    self.nodes[i].up = false;
                }
                Output::NotPushed { .. } => {}
            }
        }
    }

    fn take_in(&mut self, i: usize, rumour: RumourId, bytes: Bytes) {
        if self.nodes[i].held.add(rumour, bytes)
            && let Some(got) = self.got.get_mut(&rumour)
            && let Some(slot) = got.get_mut(i)
        {
            *slot = Some(self.now);
        }
    }

    fn post(&mut self, from: usize, to: usize, size: usize, payload: bool, letter: Letter) {
        let wan = self.nodes.get(to).is_some_and(|n| n.region != self.nodes[from].region);
        self.wire.messages += 1;
        self.wire.bytes += size as u64;
        self.wire.payloads += u64::from(payload);
        if wan {
            self.wire.wan_bytes += size as u64;
            self.wire.wan_payloads += u64::from(payload);
        }
        if to >= self.nodes.len() || self.cut.as_ref().is_some_and(|g| g[from] != g[to]) {
            return;
        }
        self.seq += 1;
        let link = (from as u64) << 32 | to as u64;
        let now = Instant::from_nanos(self.now);
        if self.net.loss.hit(self.seed.draw(LOSS, link, now, self.seq)) {
            return;
        }
        let draw = self.seed.draw(DELAY, link, now, self.seq);
        let delay = self.net.delay(self.nodes[from].region, self.nodes[to].region, draw);
        self.push(self.now + delay, to, What::Letter { from, letter });
    }

    /// Runs until `until`, events at it included.
    pub fn run(&mut self, until: u64) {
        while self.heap.peek().is_some_and(|e| e.at <= until) {
            let Some(e) = self.heap.pop() else { break };
            self.now = self.now.max(e.at);
            self.events += 1;
            let node = &mut self.nodes[e.node];
            if !node.up {
                continue;
            }
            if node.paused_until > self.now {
                let (at, seq) = (node.paused_until, e.seq);
                self.heap.push(Event { at, seq, ..e });
                continue;
            }
            match e.what {
                What::Wake => {
                    if node.woken_at == e.at || node.woken_at <= self.now {
                        node.woken_at = u64::MAX;
                        if node.gossip.wake_at().as_nanos() <= self.now {
                            self.input(e.node, Input::Wake);
                        } else {
                            self.plan_wake(e.node);
                        }
                    }
                }
                What::Input(input) => self.input(e.node, input),
                What::Letter { from, letter } => self.open(e.node, from, letter),
            }
        }
        self.now = self.now.max(until);
    }

    pub fn run_for(&mut self, d: Duration) {
        self.run(self.now + d.as_nanos());
    }

    fn open(&mut self, i: usize, from: usize, letter: Letter) {
        match letter {
            Letter::Gossip(body) => self.input(i, Input::Message { from: id(from), body }),
            Letter::Digest(hash) => {
                if hash != self.nodes[i].held.hash {
                    let names: Vec<_> = self.nodes[i].held.items.keys().copied().collect();
                    self.post(i, from, 64, false, Letter::Names(names));
                }
            }
            Letter::Names(theirs) => {
                let theirs: BTreeSet<_> = theirs.into_iter().collect();
                let held = &self.nodes[i].held;
                let ask: Vec<_> = theirs.iter().filter(|n| !held.holds(**n)).copied().collect();
                let give: Vec<_> = held
                    .items
                    .iter()
                    .filter(|(n, _)| !theirs.contains(n))
                    .map(|(n, b)| (*n, b.clone()))
                    .collect();
                if !ask.is_empty() {
                    self.post(i, from, 64, false, Letter::Ask(ask));
                }
                self.give(i, from, give);
            }
            Letter::Ask(names) => {
                let held = &self.nodes[i].held;
                let give = names.into_iter().filter_map(|n| Some((n, held.fetch(n)?))).collect();
                self.give(i, from, give);
            }
            Letter::Items(items) => {
                for (rumour, bytes) in items {
                    if !self.nodes[i].held.holds(rumour) {
                        self.wire.repaired += 1;
                        self.take_in(i, rumour, bytes);
                        self.input(i, Input::Repaired { id: rumour });
                    }
                }
            }
        }
    }

    fn give(&mut self, i: usize, to: usize, give: Vec<(RumourId, Bytes)>) {
        if !give.is_empty() {
            let size = give.iter().map(|g| g.1.len()).sum();
            self.wire.payloads += give.len() as u64 - 1;
            self.post(i, to, size, true, Letter::Items(give));
        }
    }

    /// Whether all nodes that are up hold exactly each other for alive.
    pub fn views_whole(&self) -> bool {
        let up: Vec<NodeId> = (0..self.nodes.len()).filter(|i| self.nodes[*i].up).map(id).collect();
        self.nodes.iter().filter(|n| n.up).all(|n| n.gossip.live() == up)
    }

    /// Forgets the rumours nobody watches any more, as a store does below stability.
    pub fn forget_rumours(&mut self) {
        self.got.clear();
        for n in &mut self.nodes {
            n.held = Held::default();
        }
    }
}
