//! Clients of a hybrid keyspace, and what they were told against what there is in the end.
//!
//! Each client asks the nodes of its own region, one after the other: seven of ten questions write a value that nobody else
//! writes, two read behind a barrier, one reads what the node has. Nothing is asked twice: what is unknown stays so.

use super::door::HYBRID;
use crate::expand::RunPlan;
use crate::file::Hybrid;
use crate::invariant::{Broken, Homes, Property};
use dwcp_consensus::hybrid::Deed;
use dwcp_env::{Duration, Instant, NodeId, Purpose, RequestId, Seed};
use dwcp_node::hybrid::Part;
use dwcp_node::{Answer, Ask, Node, Request, Response};
use dwcp_runtime_sim::client::{ClientEvent, Heard};
use dwcp_store::api::{Op, PutRequest, RangeRequest};
use std::collections::BTreeMap;

const WHAT: Purpose = Purpose::named("homes.what");
/// Before this clients are silent: the cluster is forming, the copies are being filled.
const FIRST: Duration = Duration::secs(4);
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::secs(4);

/// What a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Write { key: u64, value: u64 },
    Read { key: u64 },
    Look { key: u64 },
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Written {
    key: u64,
    value: u64,
    revision: i64,
    at: Instant,
}

struct Client {
    nodes: Vec<NodeId>,
    turn: usize,
    next_at: Instant,
    open: Option<(RequestId, Asked, Instant)>,
}

/// All clients of the hybrid keyspace.
pub(super) struct Tenants {
    settings: Hybrid,
    seed: Seed,
    clients: Vec<Client>,
    every: Duration,
    asked: u64,
    written: Vec<Written>,
    /// By key: the newest acknowledged write, with the time.
    newest: BTreeMap<u64, Vec<Written>>,
    stop_at: Instant,
    /// How many nodes the world has.
    nodes: usize,
    stale: u64,
}

fn key(key: u64) -> Vec<u8> {
    format!("h{key}").into_bytes()
}

impl Tenants {
    /// Those of a plan, if it has any.
    pub(super) fn new(plan: &RunPlan) -> Option<Self> {
        let settings = plan.node.hybrid.clone()?;
        let mut regions: Vec<&str> = plan.world.nodes.iter().map(|n| n.region.as_str()).collect();
        regions.sort_unstable();
        regions.dedup();
        let client = |nth: u32| {
            let region = regions[nth as usize % regions.len()];
            let nodes: Vec<NodeId> =
                plan.world.nodes.iter().filter(|n| n.region == region).map(|n| n.id).collect();
            let next_at = Instant::ZERO + FIRST + Duration::millis(u64::from(nth) * 37);
            Client { nodes, turn: nth as usize, next_at, open: None }
        };
        let clients: Vec<Client> = (0..settings.clients).map(client).collect();
        let rate = settings.per_second_milli.max(1);
        Some(Self {
            every: Duration::nanos(1_000_000_000_000 * u64::from(settings.clients) / rate),
            seed: plan.world.seed,
            clients,
            asked: 0,
            written: Vec::new(),
            newest: BTreeMap::new(),
            stop_at: plan.world.heal_at + plan.serve_for,
            nodes: plan.world.nodes.len(),
            stale: 0,
            settings,
        })
    }
    /// When somebody is to ask next.
    pub(super) fn next_at(&self) -> Instant {
        let idle = self.clients.iter().filter(|c| c.open.is_none() && c.next_at < self.stop_at);
        idle.map(|c| c.next_at).min().unwrap_or(Instant::FAR)
    }
    /// Whether nobody waits and nobody will ask any more.
    pub(super) fn done(&self, now: Instant) -> bool {
        now >= self.stop_at && self.clients.iter().all(|c| c.open.is_none())
    }
    /// What is to be asked now: by whom, of whom, until when.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(usize, NodeId, Request, Instant)> {
        let mut due = Vec::new();
        for nth in 0..self.clients.len() {
            if self.clients[nth].open.is_some() || self.clients[nth].next_at > now {
                continue;
            }
            if now >= self.stop_at {
                // Its last answer came late: it asks no more.
                self.clients[nth].next_at = Instant::FAR;
                continue;
            }
            self.asked += 1;
            let draw = self.seed.draw(WHAT, nth as u64, now, self.asked);
            let at = draw / 10 % u64::from(self.settings.keys);
            let asked = match draw % 10 {
                0..=6 => Asked::Write { key: at, value: self.asked },
                7 | 8 => Asked::Read { key: at },
                _ => Asked::Look { key: at },
            };
            let client = &mut self.clients[nth];
            client.turn += 1;
            client.next_at = now + self.every;
            client.open = Some((RequestId(u64::MAX), asked, now));
            let range = |k| RangeRequest { key: key(k).into(), ..RangeRequest::default() };
            let ask = match asked {
                Asked::Write { key: k, value } => {
                    let value = value.to_be_bytes().to_vec().into();
                    let put = PutRequest { key: key(k).into(), value, ..PutRequest::default() };
                    Ask::Write { session: None, op: Op::Put(put) }
                }
                Asked::Read { key } => Ask::Range { range: range(key), serializable: false },
                Asked::Look { key } => Ask::Range { range: range(key), serializable: true },
            };
            let node = client.nodes[client.turn % client.nodes.len()];
            due.push((nth, node, Request { group: HYBRID, ask }, now + PATIENCE));
        }
        due
    }
    /// The world has taken a request.
    pub(super) fn sent(&mut self, client: usize, id: RequestId) {
        if let Some(open) = &mut self.clients[client].open {
            open.0 = id;
        }
    }
    /// A client hears; `None` if it was for somebody else.
    pub(super) fn hears(
        &mut self,
        now: Instant,
        event: &ClientEvent<Response>,
        homes: &Homes,
    ) -> Option<Result<(), Broken>> {
        let client = self.clients.iter_mut().find(|c| c.open.is_some_and(|(id, ..)| id == event.id))?;
        let (_, asked, since) = if event.ends() { client.open.take()? } else { client.open? };
        let Heard::Reply { response: Ok(answer), .. } = &event.heard else { return Some(Ok(())) };
        match (asked, answer) {
            (Asked::Write { key, value }, Answer::Written(response)) => {
                let written = Written { key, value, revision: response.header.revision, at: now };
                self.written.push(written);
                self.newest.entry(key).or_default().push(written);
            }
            (Asked::Read { key }, Answer::Range { range, .. }) => {
                let shows = range.kvs.first().map_or(0, |kv| kv.mod_revision);
                return Some(self.fresh(key, shows, since, now, homes));
            }
            (Asked::Look { .. }, Answer::Range { .. }) => self.stale += 1,
            _ => {}
        }
        Some(Ok(()))
    }
    /// Whether a linearizable read shows what was acknowledged before it was asked, within one era.
    fn fresh(&self, key: u64, shows: i64, since: Instant, now: Instant, homes: &Homes) -> Result<(), Broken> {
        let era = homes.era_at(now);
        let known = self.newest.get(&key).into_iter().flatten().filter(|w| w.at <= since);
        let newest = known.filter(|w| homes.era_at(w.at) == era).map(|w| w.revision).max().unwrap_or(0);
        if homes.era_at(since) == era && shows < newest {
            let detail = format!(
                "a read of h{key} asked at {since} shows revision {shows}, and {newest} was acknowledged before"
            );
            return Err(Broken { property: Property::HybridReads, detail });
        }
        Ok(())
    }
    /// The longest time without an acknowledged write from `from` to the end.
    pub(super) fn longest_gap(&self, from: Instant) -> u64 {
        let mut last = from;
        let mut longest = 0;
        let later = self.written.iter().map(|w| w.at).filter(|at| *at >= from && *at <= self.stop_at);
        for at in later.chain([self.stop_at]) {
            longest = longest.max(at.since(last).as_nanos());
            last = at;
        }
        longest
    }
    /// Whether anything was acknowledged since then.
    pub(super) fn acknowledged_since(&self, from: Instant) -> bool {
        self.written.iter().any(|w| w.at > from)
    }

    /// What was acknowledged and is not there; `Err` if that is not told or more than the bound.
    pub(super) fn judge(&self, nodes: &[&Node]) -> (u64, Result<(), Broken>) {
        let homes = nodes.iter().filter(|n| n.look_hybrid(HYBRID).is_some_and(|s| s.part == Part::Home));
        let Some(home) = homes.max_by_key(|n| n.look_hybrid(HYBRID).and_then(|s| s.applied)) else {
            return (0, Ok(()));
        };
        let Some(deed) = home.deed(HYBRID) else { return (0, Ok(())) };
        let mut lost: BTreeMap<u32, u64> = BTreeMap::new();
        let broken = self.written.iter().filter(|w| !holds(home, w)).find_map(|w| {
            let era = cut_behind(deed, w);
            *lost.entry(era.unwrap_or(0)).or_default() += 1;
            self.untold(w, era, nodes)
        });
        let count = lost.values().sum();
        let more = lost.iter().find(|(_, n)| **n > self.settings.entries);
        let detail = broken.or_else(|| {
            more.map(|(era, n)| {
                format!(
                    "{n} acknowledged writes were lost with era {era}, of which {} may be",
                    self.settings.entries
                )
            })
        });
        let property = Property::HybridNoUntoldLoss;
        (count, detail.map_or(Ok(()), |detail| Err(Broken { property, detail })))
    }
    /// Why a write that is not there may not be missing.
    fn untold(&self, w: &Written, era: Option<u32>, nodes: &[&Node]) -> Option<String> {
        let Written { key: k, value, revision, .. } = *w;
        let Some(era) = era else {
            return Some(format!(
                "value {value} of h{k}, acknowledged at revision {revision}, is not there and behind no cut"
            ));
        };
        let asides: Vec<_> = nodes.iter().filter_map(|n| n.aside(HYBRID, era)).collect();
        let (key, value) = (key(k), w.value.to_be_bytes());
        let told = asides.iter().any(|a| {
            a.events
                .iter()
                .any(|e| e.kv.key == key[..] && e.kv.value == value[..] && e.kv.mod_revision == revision)
        });
        // Nodes that settled had their quorum: what was acknowledged they hold.
        let settled = asides.iter().any(|a| a.settled && !a.truncated);
        // All are back, and nobody says a word.
        let silent = asides.is_empty() && nodes.len() == self.nodes;
        (!told && (settled || silent)).then(|| {
            format!(
                "value {} of h{k}, acknowledged at revision {revision} of era {era}, is kept aside nowhere",
                w.value
            )
        })
    }
}

/// Whether a node's history shows a write at its revision.
fn holds(node: &Node, w: &Written) -> bool {
    let range = RangeRequest { key: key(w.key).into(), revision: w.revision, ..RangeRequest::default() };
    match node.read(HYBRID, &range) {
        Ok((_, found)) => found
            .kvs
            .first()
            .is_some_and(|kv| kv.mod_revision == w.revision && kv.value == w.value.to_be_bytes()[..]),
        Err(_) => false,
    }
}

/// The era of which a write may be lost: one that ended without a plan, before the write's revision.
fn cut_behind(deed: &Deed, w: &Written) -> Option<u32> {
    deed.cuts.iter().find(|c| !c.planned && w.revision > c.revision).map(|c| c.era - 1)
}
