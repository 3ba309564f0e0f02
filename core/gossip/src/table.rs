//! All members this node knows: the living by region, the dead remembered, a summary to compare with.
//!
//! **The summary** is 64 sums of hash(id, incarnation) over the *living*, a bucket each by hash of the
//! identifier: equal views have equal summaries whatever each node knows of the dead and since when. So the dead
//! travel only as an answer to somebody who still calls one alive, never in rounds of their own
//! (VerneMQ #2343: residues that circulate for ever; chitchat #161: the dead gossiped for ever).
//!
//! **The dead are remembered**, not timed out: a death forgotten by one node before another has heard of
//! it brings the member back (chitchat #155). The bound is [`GRAVES_MAX`], oldest death first; what consensus
//! has retired is kept apart and never comes back at any incarnation.

use crate::member::{Incarnation, Knowledge, Metadata, Status, Update};
use crate::settings::{GRAVES_MAX, MEMBERS_MAX, RETIRED_MAX};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use dwcp_env::{NodeId, Purpose, RegionId, Seed};

/// Buckets of the summary.
pub(crate) const BUCKETS: usize = 64;

const SUMMARY: Seed = Seed(0x5u64);
const BUCKET: Purpose = Purpose::named("gossip.bucket");
const MEMBER: Purpose = Purpose::named("gossip.member");

/// The bucket of a member.
pub(crate) fn bucket(id: NodeId) -> usize {
    (SUMMARY.draw(BUCKET, id.0, dwcp_env::Instant::ZERO, 0) % BUCKETS as u64) as usize
}

fn weight(id: NodeId, incarnation: Incarnation) -> u64 {
    SUMMARY.draw(MEMBER, id.0, dwcp_env::Instant::ZERO, incarnation.0)
}

/// What a fact did to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// Nothing new.
    Known,
    /// Something new: the status before (none: unknown, or not yet described) and after.
    New {
        /// Before, if it was known and described.
        before: Option<Status>,
    },
    /// Not taken: retired, or no room.
    Refused,
}

/// All members known.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    all: BTreeMap<NodeId, Knowledge>,
    live: Vec<NodeId>,
    regions: BTreeMap<RegionId, Vec<NodeId>>,
    graves: VecDeque<NodeId>,
    retired: BTreeSet<NodeId>,
    summary: [u64; BUCKETS],
    changes: u64,
    doubts: u64,
}

/// Where a member counts as there, if it does.
fn place(k: &Knowledge) -> Option<RegionId> {
    k.metadata().filter(|_| k.is_live()).map(|m| m.region)
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            live: Vec::new(),
            regions: BTreeMap::new(),
            graves: VecDeque::new(),
            retired: BTreeSet::new(),
            summary: [0; BUCKETS],
            changes: 0,
            doubts: 0,
        }
    }

    /// Takes in a fact.
    pub(crate) fn merge(&mut self, update: &Update) -> Merged {
        if self.retired.contains(&update.id) {
            return Merged::Refused;
        }
        let Some(held) = self.all.get(&update.id) else {
            if self.all.len() >= MEMBERS_MAX {
                return Merged::Refused;
            }
            let told = Knowledge::of(update);
            self.enter(update.id, &told);
            self.all.insert(update.id, told);
            self.bury(update.id);
            return Merged::New { before: None };
        };
        if held.has(update) {
            return Merged::Known;
        }
        let mut next = held.clone();
        next.join(&Knowledge::of(update));
        let before = held.described.is_some().then_some(held.status);
        let held = held.clone();
        if place(&held).is_some() && place(&held) == place(&next) {
            // The commonest change by far: a doubt, and its refutation. Nobody comes, goes or moves.
            let b = bucket(update.id);
            let (old, new) = (weight(update.id, held.incarnation), weight(update.id, next.incarnation));
            self.summary[b] = self.summary[b].wrapping_sub(old).wrapping_add(new);
            self.doubts += 1;
        } else {
            self.leave(update.id, &held);
            self.enter(update.id, &next);
        }
        let died = held.status.is_live() && !next.status.is_live();
        self.all.insert(update.id, next);
        if died {
            self.bury(update.id);
        }
        Merged::New { before }
    }

    fn enter(&mut self, id: NodeId, k: &Knowledge) {
        let Some(m) = k.metadata().filter(|_| k.is_live()) else { return };
        insert(&mut self.live, id);
        insert(self.regions.entry(m.region).or_default(), id);
        let b = bucket(id);
        self.summary[b] = self.summary[b].wrapping_add(weight(id, k.incarnation));
        self.changes += 1;
    }

    fn leave(&mut self, id: NodeId, k: &Knowledge) {
        let Some(m) = k.metadata().filter(|_| k.is_live()) else { return };
        remove(&mut self.live, id);
        if let Some(r) = self.regions.get_mut(&m.region) {
            remove(r, id);
            if r.is_empty() {
                self.regions.remove(&m.region);
            }
        }
        let b = bucket(id);
        self.summary[b] = self.summary[b].wrapping_sub(weight(id, k.incarnation));
        self.changes += 1;
    }

    /// Notes a death; forgets the oldest beyond the bound.
    fn bury(&mut self, id: NodeId) {
        if self.all.get(&id).is_some_and(|k| k.status.is_live()) {
            return;
        }
        self.graves.push_back(id);
        while self.graves.len() > GRAVES_MAX {
            let Some(oldest) = self.graves.pop_front() else { break };
            let again = self.graves.contains(&oldest);
            if !again && self.all.get(&oldest).is_some_and(|k| !k.status.is_live()) {
                self.all.remove(&oldest);
            }
        }
    }

    /// Consensus says that this identifier is gone for good. Tells whether it was live.
    pub(crate) fn retire(&mut self, id: NodeId) -> bool {
        if self.retired.len() >= RETIRED_MAX
            && let Some(lowest) = self.retired.first().copied()
        {
            self.retired.remove(&lowest);
        }
        self.retired.insert(id);
        let Some(k) = self.all.remove(&id) else { return false };
        self.leave(id, &k);
        self.graves.retain(|g| *g != id);
        k.is_live()
    }

    pub(crate) fn is_retired(&self, id: NodeId) -> bool {
        self.retired.contains(&id)
    }
    pub(crate) fn get(&self, id: NodeId) -> Option<&Knowledge> {
        self.all.get(&id)
    }
    pub(crate) fn status(&self, id: NodeId) -> Option<Status> {
        self.all.get(&id).map(|k| k.status)
    }
    pub(crate) fn is_live(&self, id: NodeId) -> bool {
        self.all.get(&id).is_some_and(Knowledge::is_live)
    }
    pub(crate) fn metadata(&self, id: NodeId) -> Option<&Metadata> {
        self.all.get(&id).and_then(Knowledge::metadata)
    }
    pub(crate) fn region(&self, id: NodeId) -> Option<RegionId> {
        self.metadata(id).map(|m| m.region)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Knowledge)> {
        self.all.iter().map(|(id, k)| (*id, k))
    }
    /// Those there, sorted.
    pub(crate) fn live(&self) -> &[NodeId] {
        &self.live
    }
    /// Those there in a region, sorted.
    pub(crate) fn in_region(&self, r: RegionId) -> &[NodeId] {
        self.regions.get(&r).map_or(&[], |v| v.as_slice())
    }
    /// Regions with somebody there.
    pub(crate) fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.regions.keys().copied()
    }
    /// The dead, oldest first; some may have come back since.
    pub(crate) const fn graves(&self) -> &VecDeque<NodeId> {
        &self.graves
    }
    pub(crate) const fn summary(&self) -> &[u64; BUCKETS] {
        &self.summary
    }
    /// Grows whenever the set of the living, or where they are, changes.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }
    /// Grows whenever one of the living is doubted, refutes, or describes itself anew.
    pub(crate) const fn doubts(&self) -> u64 {
        self.doubts
    }
    /// Drops graves of those who came back.
    pub(crate) fn tidy_graves(&mut self) {
        let all = &self.all;
        let mut seen = BTreeSet::new();
        self.graves.retain(|g| all.get(g).is_some_and(|k| !k.status.is_live()) && seen.insert(*g));
    }
}

fn insert(v: &mut Vec<NodeId>, id: NodeId) {
    if let Err(at) = v.binary_search(&id) {
        v.insert(at, id);
    }
}
fn remove(v: &mut Vec<NodeId>, id: NodeId) {
    if let Ok(at) = v.binary_search(&id) {
        v.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Claim;
    use alloc::string::String;
    use proptest::prelude::*;

    fn alive(id: u64, inc: u64) -> Update {
        let m = Metadata { region: RegionId((id % 3) as u16), replica: None, address: String::new() };
        Update { id: NodeId(id), incarnation: Incarnation(inc), claim: Claim::Alive(m) }
    }
    fn dead(id: u64, inc: u64) -> Update {
        Update { id: NodeId(id), incarnation: Incarnation(inc), claim: Claim::Dead { by: NodeId(0) } }
    }

    proptest! {
        #[test]
        fn equal_views_have_equal_summaries_in_any_order(
            facts in prop::collection::vec((0..9_u64, 0..3_u64, any::<bool>()), 0..40),
            by in any::<prop::sample::Index>(),
        ) {
            let facts: Vec<_> =
                facts.into_iter().map(|(id, i, d)| if d { dead(id, i) } else { alive(id, i) }).collect();
            let (mut a, mut b) = (Table::new(), Table::new());
            let mut other = facts.clone();
            other.reverse();
            if !other.is_empty() {
                let n = other.len();
                other.rotate_left(by.index(n));
            }
            facts.iter().for_each(|f| { a.merge(f); });
            other.iter().for_each(|f| { b.merge(f); });
            prop_assert_eq!(a.summary(), b.summary());
            prop_assert_eq!(a.live(), b.live());
            for r in 0..3 {
                prop_assert_eq!(a.in_region(RegionId(r)), b.in_region(RegionId(r)));
            }
        }
    }

    #[test]
    fn what_each_knows_of_the_dead_is_not_in_the_summary() {
        let (mut a, mut b) = (Table::new(), Table::new());
        a.merge(&alive(1, 0));
        b.merge(&alive(1, 0));
        b.merge(&dead(2, 5));
        assert_eq!(a.summary(), b.summary());
    }

    #[test]
    fn the_dead_are_bounded_and_the_oldest_go_first() {
        let mut t = Table::new();
        for id in 0..=GRAVES_MAX as u64 {
            t.merge(&dead(id, 0));
        }
        assert_eq!(t.get(NodeId(0)), None);
        assert!(t.get(NodeId(1)).is_some());
        assert_eq!(t.graves().len(), GRAVES_MAX);
    }

    #[test]
    fn the_retired_never_come_back() {
        let mut t = Table::new();
        t.merge(&alive(1, 0));
        assert!(t.retire(NodeId(1)));
        assert_eq!(t.merge(&alive(1, 77)), Merged::Refused);
        assert!(t.live().is_empty());
        assert_eq!(t.summary(), Table::new().summary());
    }
}
