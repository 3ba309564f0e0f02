//! Gossip: every message reaches every node, few at a time, whatever was lost on the way.
//!
//! **Promise.** What one node took is shown by all, in a bounded time after the network lets messages through.
//! A message is shown once. What is lost with a process before its first flush is lost: this is memory.
//!
//! **Model.** A message has an origin (node and life of its process) and a number there. Two ways spread it:
//!
//! 1. *The tree.* Nodes form a tree of [`FANOUT`]; what is new goes to all neighbours but the one it came from. To
//!    the parent at once ([`UP`]), to the children in batches ([`DOWN`]): so up to 25 nodes form a star, and
//!    however many messages come, its centre sends ten batches a second.
//! 2. *Repair.* Each [`EXCHANGE`] a node tells another (its parent and a drawn one in turn) how far it knows each
//!    origin, and is sent what it lacks. Only what is older than [`SETTLED`] counts: the rest is
//!    most likely on its way down the tree.
//!
//! | message | says |
//! |---|---|
//! | `gossip` `runs: [[node, life, first, [values…]]…]` | messages, runs of consecutive numbers |
//! | `digest` `known: [[node, life, whole, settled]…]`, `answer` | how far I know each origin without a gap; how far of that is old; whether this answers yours |
//!
//! **Cost**, for `n` nodes and messages at rate `r` (figures in docs/maelstrom.md): `r` up, `10 (n - 1)` down,
//! `2 n` digests a second. What was lost on a tree's edge is repaired within some two seconds.
//!
//! **Rejected.** Acknowledging each batch: doubles the messages, and the digests find the same losses a
//! moment later. Flooding along the given topology: each message costs as many messages as links.

use crate::maelstrom::protocol::Body;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Children of a node in the tree.
const FANOUT: u64 = 24;
/// How long what is new waits for company on its way to the parent.
const UP: Duration = Duration::millis(10);
/// And on its way to the children.
const DOWN: Duration = Duration::millis(100);
/// The mean time between two digests of a node.
const EXCHANGE: Duration = Duration::millis(500);
/// After this a message is taken to have arrived wherever it was going to arrive by itself.
const SETTLED: Duration = Duration::millis(700);
/// Messages in one batch; the rest goes with the next.
const BATCH_MAX: usize = 1_024;
/// Messages that wait for one neighbour; repair brings what exceeds them.
const WAITING_MAX: usize = 65_536;
/// Messages a node holds; more are refused.
pub(super) const MESSAGES_MAX: usize = 1_000_000;
/// Lives of processes a node knows; messages of more are left out.
const ORIGINS_MAX: usize = 10_000;

const WHEN: Purpose = Purpose::named("maelstrom.gossip.when");
const WHOM: Purpose = Purpose::named("maelstrom.gossip.whom");

/// The type of messages with messages.
pub(in crate::maelstrom) const GOSSIP: &str = "gossip";
/// The type of messages that say how far a node knows.
pub(in crate::maelstrom) const DIGEST: &str = "digest";

/// A node, and which life of its process.
type Origin = (u64, u64);

#[derive(Debug)]
struct Item {
    value: Value,
    since: Instant,
}

/// What is known of one origin.
#[derive(Debug, Default)]
struct Log {
    items: BTreeMap<u64, Item>,
    /// Everything below is known.
    whole: u64,
    /// Everything below is known and old.
    settled: u64,
}

#[derive(Debug)]
struct Link {
    to: NodeId,
    patience: Duration,
    waiting: Vec<(Origin, u64)>,
    due: Option<Instant>,
}

/// The state of one node.
#[derive(Debug)]
pub(super) struct Gossip {
    me: NodeId,
    nodes: u64,
    life: u64,
    seed: Seed,
    logs: BTreeMap<Origin, Log>,
    shown: Vec<Value>,
    texts: BTreeSet<String>,
    links: Vec<Link>,
    exchange_at: Instant,
    exchanges: u64,
}

/// Messages to send.
pub(super) type Sends = Vec<(NodeId, Body)>;

impl Gossip {
    /// Node `me` of those numbered from 1 to `nodes`. `seed` differs from life to life.
    pub(super) fn new(me: NodeId, nodes: u64, seed: Seed, now: Instant) -> Self {
        let index = me.0 - 1;
        let child = |nth| (index * FANOUT + nth < nodes).then_some(NodeId(index * FANOUT + nth + 1));
        let parent = index.checked_sub(1).map(|i| NodeId(i / FANOUT + 1));
        let link = |to, patience| Link { to, patience, waiting: Vec::new(), due: None };
        let links = parent
            .map(|p| link(p, UP))
            .into_iter()
            .chain((1..=FANOUT).filter_map(child).map(|c| link(c, DOWN)))
            .collect();
        // 53 bits: what every JSON reader keeps exactly.
        let life = seed.0 >> 11;
        let mut gossip = Self {
            me,
            nodes,
            life,
            seed,
            logs: BTreeMap::new(),
            shown: Vec::new(),
            texts: BTreeSet::new(),
            links,
            exchange_at: now,
            exchanges: 0,
        };
        gossip.plan_exchange(now);
        gossip
    }

    /// Takes a client's message. `false`: there is no room.
    pub(super) fn add(&mut self, now: Instant, value: Value) -> bool {
        if self.texts.contains(&value.to_string()) {
            return true;
        }
        if self.shown.len() >= MESSAGES_MAX {
            return false;
        }
        let origin = (self.me.0, self.life);
        let next = self.logs.entry(origin).or_default().whole;
        self.take(now, origin, next, value, None);
        true
    }

    /// All messages known.
    pub(super) fn shown(&self) -> &[Value] {
        &self.shown
    }

    /// A peer's message; what is to be sent at once in answer.
    ///
    /// # Errors
    /// It is not one, and why; what of it could be read has been taken.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        from: NodeId,
        kind: &str,
        body: &Body,
    ) -> Result<Sends, String> {
        if kind == GOSSIP {
            for run in list(body, "runs")? {
                let (origin, first, values) =
                    run_of(run).ok_or_else(|| format!("a run that is none: {run}"))?;
                for (nth, value) in values.iter().enumerate() {
                    self.take(now, origin, first.saturating_add(nth as u64), value.clone(), Some(from));
                }
            }
            return Ok(Vec::new());
        }
        let mut theirs = BTreeMap::new();
        for entry in list(body, "known")? {
            let (origin, whole, settled) =
                known_of(entry).ok_or_else(|| format!("an entry that is none: {entry}"))?;
            theirs.insert(origin, (whole, settled));
        }
        let mut sends = Vec::new();
        let lacks = self.settled_beyond(now, &theirs);
        if !lacks.is_empty() {
            sends.push((from, self.batch(&lacks)));
        }
        let whole = |origin| self.logs.get(origin).map_or(0, |l| l.whole);
        let behind = theirs.iter().any(|(origin, (_, settled))| *settled > whole(origin));
        if behind && body.get("answer") != Some(&Value::Bool(true)) {
            sends.push((from, self.digest(now, true)));
        }
        Ok(sends)
    }

    /// What is due to be sent.
    pub(super) fn due(&mut self, now: Instant) -> Sends {
        let mut sends = Vec::new();
        for nth in 0..self.links.len() {
            let link = &mut self.links[nth];
            if link.due.is_none_or(|at| at > now) {
                continue;
            }
            let rest = link.waiting.split_off(link.waiting.len().min(BATCH_MAX));
            let batch = std::mem::replace(&mut link.waiting, rest);
            link.due = (!link.waiting.is_empty()).then_some(now + link.patience);
            let to = link.to;
            sends.push((to, self.batch(&batch)));
        }
        if now >= self.exchange_at {
            if let Some(to) = self.partner() {
                sends.push((to, self.digest(now, false)));
            }
            self.plan_exchange(now);
        }
        sends
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Instant {
        self.links.iter().filter_map(|l| l.due).fold(self.exchange_at, Instant::min)
    }

    fn take(&mut self, now: Instant, origin: Origin, number: u64, value: Value, from: Option<NodeId>) {
        let room = self.logs.len() < ORIGINS_MAX || self.logs.contains_key(&origin);
        if !room || self.shown.len() >= MESSAGES_MAX || origin.0 == 0 || origin.0 > self.nodes {
            return;
        }
        let log = self.logs.entry(origin).or_default();
        if log.items.contains_key(&number) {
            return;
        }
        let text = value.to_string();
        if self.texts.insert(text) {
            self.shown.push(value.clone());
        }
        log.items.insert(number, Item { value, since: now });
        while log.items.contains_key(&log.whole) {
            log.whole += 1;
        }
        for link in self.links.iter_mut().filter(|l| Some(l.to) != from && l.waiting.len() < WAITING_MAX) {
            link.waiting.push((origin, number));
            link.due = link.due.or(Some(now + link.patience));
        }
    }

    /// The messages as runs of consecutive numbers.
    fn batch(&self, items: &[(Origin, u64)]) -> Body {
        let mut items = items.to_vec();
        items.sort_unstable();
        let mut runs: Vec<(Origin, u64, Vec<Value>)> = Vec::new();
        for (origin, number) in items {
            let Some(item) = self.logs.get(&origin).and_then(|l| l.items.get(&number)) else { continue };
            match runs.last_mut() {
                Some((o, first, values)) if *o == origin && *first + values.len() as u64 == number => {
                    values.push(item.value.clone());
                }
                _ => runs.push((origin, number, vec![item.value.clone()])),
            }
        }
        let runs: Vec<Value> = runs.into_iter().map(|((n, l), first, v)| json!([n, l, first, v])).collect();
        Body::from_iter([("type".into(), GOSSIP.into()), ("runs".into(), runs.into())])
    }

    fn digest(&mut self, now: Instant, answer: bool) -> Body {
        let old = |item: &Item| now.since(item.since) >= SETTLED;
        let mut known = Vec::with_capacity(self.logs.len());
        for ((node, life), log) in &mut self.logs {
            while log.settled < log.whole && log.items.get(&log.settled).is_some_and(old) {
                log.settled += 1;
            }
            known.push(json!([node, life, log.whole, log.settled]));
        }
        let kind = ("type".into(), DIGEST.into());
        Body::from_iter([kind, ("known".into(), known.into()), ("answer".into(), answer.into())])
    }

    /// What is old here and not known there, a batch of it.
    fn settled_beyond(&self, now: Instant, theirs: &BTreeMap<Origin, (u64, u64)>) -> Vec<(Origin, u64)> {
        let whole = |origin| theirs.get(origin).map_or(0, |(whole, _)| *whole);
        self.logs
            .iter()
            .flat_map(|(origin, log)| {
                log.items.range(whole(origin)..).map(|(number, item)| (*origin, *number, item))
            })
            .filter(|(_, _, item)| now.since(item.since) >= SETTLED)
            .map(|(origin, number, _)| (origin, number))
            .take(BATCH_MAX)
            .collect()
    }

    /// The parent and a drawn node in turn.
    fn partner(&self) -> Option<NodeId> {
        if self.nodes < 2 {
            return None;
        }
        if self.exchanges.is_multiple_of(2) && self.me.0 > 1 {
            return Some(NodeId((self.me.0 - 2) / FANOUT + 1));
        }
        let drawn = self.seed.below(self.nodes - 1, WHOM, self.me.0, Instant::ZERO, self.exchanges) + 1;
        Some(NodeId(if drawn >= self.me.0 { drawn + 1 } else { drawn }))
    }

    fn plan_exchange(&mut self, now: Instant) {
        self.exchanges += 1;
        // Three to five quarters, so that nodes don't march in step.
        let half = EXCHANGE.as_nanos() / 2;
        let drawn = self.seed.below(half, WHEN, self.me.0, Instant::ZERO, self.exchanges);
        self.exchange_at = now + EXCHANGE - Duration::nanos(half / 2) + Duration::nanos(drawn);
    }
}

fn list<'a>(body: &'a Body, name: &str) -> Result<&'a Vec<Value>, String> {
    body.get(name).and_then(Value::as_array).ok_or_else(|| format!("{name} is no list"))
}

fn run_of(run: &Value) -> Option<(Origin, u64, &Vec<Value>)> {
    let [node, life, first, values] = run.as_array()?.as_slice() else { return None };
    Some(((node.as_u64()?, life.as_u64()?), first.as_u64()?, values.as_array()?))
}

fn known_of(entry: &Value) -> Option<(Origin, u64, u64)> {
    let [node, life, whole, settled] = entry.as_array()?.as_slice() else { return None };
    Some(((node.as_u64()?, life.as_u64()?), whole.as_u64()?, settled.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes on a network that takes 100 ms, and loses what `lost` says.
    struct Net {
        nodes: Vec<Gossip>,
        flying: Vec<(Instant, NodeId, NodeId, Body)>,
        now: Instant,
        sent: u64,
    }

    impl Net {
        fn new(n: u64) -> Self {
            let node = |i| Gossip::new(NodeId(i), n, Seed(i << 40), Instant::ZERO);
            Self { nodes: (1..=n).map(node).collect(), flying: Vec::new(), now: Instant::ZERO, sent: 0 }
        }
        fn run(&mut self, millis: u64, lost: impl Fn(NodeId, NodeId, u64) -> bool) {
            for _ in 0..millis / 10 {
                self.now += Duration::millis(10);
                let arrived = self.flying.extract_if(.., |f| f.0 <= self.now).collect::<Vec<_>>();
                let mut sends = Vec::new();
                for (_, from, to, body) in arrived {
                    let kind = body["type"].as_str().unwrap().to_string();
                    let answers = self.nodes[to.0 as usize - 1].hear(self.now, from, &kind, &body).unwrap();
                    sends.extend(answers.into_iter().map(|(dest, body)| (to, dest, body)));
                }
                for node in &mut self.nodes {
                    let me = node.me;
                    sends.extend(node.due(self.now).into_iter().map(|(dest, body)| (me, dest, body)));
                }
                for (from, to, body) in sends {
                    self.sent += 1;
                    if !lost(from, to, self.sent) {
                        self.flying.push((self.now + Duration::millis(100), from, to, body));
                    }
                }
            }
        }
        fn all_show(&self, count: usize) -> bool {
            self.nodes.iter().all(|n| n.shown().len() == count)
        }
    }

    #[test]
    fn a_message_is_everywhere_within_a_third_of_a_second() {
        let mut net = Net::new(25);
        assert!(net.nodes[24].add(Instant::ZERO, json!(1)));
        net.run(330, |_, _, _| false);
        assert!(net.all_show(1));
        assert_eq!(net.nodes[3].shown(), [json!(1)]);
        assert!(net.sent <= 24 + 25, "{}", net.sent);
    }

    #[test]
    fn a_deep_tree_reaches_its_leaves() {
        let mut net = Net::new(700);
        assert!(net.nodes[699].add(Instant::ZERO, json!("x")));
        net.run(800, |_, _, _| false);
        assert!(net.all_show(1));
    }

    #[test]
    fn losses_are_repaired_and_nothing_is_shown_twice() {
        let mut net = Net::new(9);
        for i in 0..200_u64 {
            let now = net.now;
            assert!(net.nodes[(i % 9) as usize].add(now, json!(i)));
            net.run(20, |_, _, nth| nth % 4 == 0);
        }
        net.run(12_000, |_, _, nth| nth % 4 == 0);
        assert!(net.all_show(200));
    }

    #[test]
    fn without_its_centre_the_rest_still_repairs_itself() {
        let mut net = Net::new(5);
        let centre = |a: NodeId, b: NodeId, _| a == NodeId(1) || b == NodeId(1);
        assert!(net.nodes[2].add(Instant::ZERO, json!("far")));
        net.run(15_000, centre);
        assert!(net.nodes[1..].iter().all(|n| n.shown().len() == 1));
        assert!(net.nodes[0].shown().is_empty());
        net.run(5_000, |_, _, _| false);
        assert!(net.all_show(1));
    }

    #[test]
    fn when_all_is_known_only_digests_travel() {
        let mut net = Net::new(5);
        assert!(net.nodes[2].add(Instant::ZERO, json!(1)));
        net.run(3_000, |_, _, _| false);
        let before = net.sent;
        net.run(10_000, |_, _, _| false);
        assert!((80..120).contains(&(net.sent - before)), "{}", net.sent - before);
    }

    #[test]
    fn what_is_no_gossip_is_refused_with_the_reason() {
        let mut node = Gossip::new(NodeId(1), 3, Seed(1), Instant::ZERO);
        for (kind, body) in [
            (GOSSIP, json!({})),
            (GOSSIP, json!({"runs": [[1, 2]]})),
            (GOSSIP, json!({"runs": [[1, -2, 0, []]]})),
            (DIGEST, json!({"known": [7]})),
        ] {
            assert!(node.hear(Instant::ZERO, NodeId(2), kind, body.as_object().unwrap()).is_err(), "{body}");
        }
        // Numbers as large as they come, and a node that does not exist.
        let body = json!({"runs": [[2, 0, u64::MAX, [1, 2]], [9, 0, 0, [3]]]});
        assert!(node.hear(Instant::ZERO, NodeId(2), GOSSIP, body.as_object().unwrap()).is_ok());
        assert_eq!(node.shown().len(), 1);
    }
}
