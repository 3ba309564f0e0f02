//! **No dot twice**, and **equal versions, equal states**: what is seen of the replicas of an eventual keyspace.
//!
//! The first is Almeida, Shoker and Baquero's condition on dots (2018, §7): without it two operations look like one and both are
//! lost everywhere. The second is the invariant that the sync ladder rests on: 16 bytes of version stand for the whole state.
//!
//! Beside them it measures how far regions are behind each other: from when an operation's maker has it in its log to
//! when the first node of each other region has.

use super::{Broken, Property};
use dwcp_env::{Instant, NodeId};
use dwcp_eventual::Eventual;
use std::collections::BTreeMap;

/// What is remembered of one operation.
#[derive(Debug)]
struct Seen {
    hash: u64,
    born: Instant,
    regions: u64,
    /// Another node has it. What has not left its maker may be lost with its memory, and its dot is free again.
    left: bool,
}

/// The state at a version.
#[derive(Clone, Copy, Debug)]
struct State {
    fingerprint: u128,
    /// Who alone has shown it so far, in which life, before it was durable there: the end of that life takes it back, and the
    /// version may name another state then.
    only: Option<(NodeId, u32)>,
}

/// All replicas, as they were seen so far.
#[derive(Debug, Default)]
pub struct Replicas {
    watched: Vec<Property>,
    region_of: BTreeMap<NodeId, u32>,
    dots: BTreeMap<u64, Seen>,
    states: BTreeMap<u128, State>,
    /// Operations counted in each node's version when it was last looked at, and whether they were durable.
    last: BTreeMap<NodeId, (u64, bool)>,
    /// Which life of each node was looked at last.
    lives: BTreeMap<NodeId, u32>,
    /// How far regions were behind, in nanoseconds, for each operation and region.
    lags: Vec<u64>,
}

impl Replicas {
    /// Watches these properties; regions by number.
    #[must_use]
    pub fn new(watched: &[Property], region_of: BTreeMap<NodeId, u32>) -> Self {
        Self { watched: watched.to_vec(), region_of, ..Self::default() }
    }
    /// The lag that 99 of 100 operations stay below, region by region.
    #[must_use]
    pub fn lag_p99(&self) -> Option<u64> {
        let mut all = self.lags.clone();
        all.sort_unstable();
        all.get((all.len() * 99 / 100).min(all.len().checked_sub(1)?)).copied()
    }
    /// Looks at a replica after a turn of its node, in this of the node's lives.
    pub fn look(&mut self, at: Instant, node: NodeId, life: u32, replica: &Eventual) -> Option<Broken> {
        self.lives.insert(node, life);
        let now = (replica.version().total(), replica.is_durable());
        if self.last.insert(node, now) == Some(now) && replica.drained().is_empty() {
            return None;
        }
        let region = 1_u64 << self.region_of.get(&node).copied().unwrap_or(0).min(63);
        for batch in replica.drained() {
            let left = replica.place() != Some(batch.replica());
            for op in batch.ops().flatten() {
                let hash = fnv(format!("{op:?}").as_bytes());
                let new = || Seen { hash, born: at, regions: region, left };
                let seen = self.dots.entry(op.dot.bits()).or_insert_with(new);
                if seen.hash != hash {
                    if seen.left && self.watched.contains(&Property::NoDotTwice) {
                        let detail = format!("{} names two operations; {node} has {op:?}", op.dot);
                        return Some(Broken { property: Property::NoDotTwice, detail });
                    }
                    *seen = new();
                }
                seen.left |= left;
                if seen.regions & region == 0 {
                    seen.regions |= region;
                    self.lags.push(at.since(seen.born).as_nanos());
                }
            }
        }
        self.look_at_state(node, life, replica)
    }

    fn look_at_state(&mut self, node: NodeId, life: u32, replica: &Eventual) -> Option<Broken> {
        let digest = replica.space().digest();
        let only = (!replica.is_durable()).then_some((node, life));
        let seen = State { fingerprint: digest.state, only };
        let known = self.states.entry(digest.version).or_insert(seen);
        if known.fingerprint == digest.state {
            if known.only != only {
                known.only = None;
            }
            return None;
        }
        if known.only.is_some_and(|(who, life)| self.lives.get(&who) != Some(&life)) {
            *known = seen;
            return None;
        }
        self.watched.contains(&Property::EqualVersionsEqualStates).then(|| Broken {
            property: Property::EqualVersionsEqualStates,
            detail: format!(
                "at {} {node} holds {:032x}, another {:032x}",
                replica.version(),
                digest.state,
                known.fingerprint
            ),
        })
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether all of these serve and hold the same; else who differs.
///
/// # Errors
/// What is missing, for people.
pub fn unequal<'e>(replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>) -> Result<(), String> {
    let mut first: Option<(NodeId, &Eventual)> = None;
    for (node, replica) in replicas {
        let Some(replica) = replica else { return Err(format!("{node} does not run")) };
        if !replica.serves() {
            return Err(format!("{node} does not serve"));
        }
        if replica.owes() {
            return Err(format!("{node} has not made anew what it wrote at its last place"));
        }
        let (other, known) = *first.get_or_insert((node, replica));
        if known.version() != replica.version() {
            return Err(format!("{other} has {}, {node} has {}", known.version(), replica.version()));
        }
    }
    Ok(())
}

/// Whether none of these keeps operations that all have; else who does.
///
/// # Errors
/// What is left, for people.
pub fn uncut<'e>(mut replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>) -> Result<(), String> {
    let kept = replicas.find_map(|(n, e)| e.map(|e| (n, e.space().logged().0)).filter(|(_, k)| *k > 0));
    kept.map_or(Ok(()), |(node, kept)| Err(format!("{node} keeps {kept} operations that all have")))
}
