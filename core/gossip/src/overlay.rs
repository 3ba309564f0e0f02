//! Who talks to whom inside a region, and who speaks for it: read from the live view, the same on every
//! node with the same view, so that nobody has to negotiate.
//!
//! **Rings.** For each ring the members of a region stand in the order of hash(ring, identifier); a member's
//! neighbours are those before and behind it. Neighbours are mutual, each member has 2 per ring, one member's
//! coming or going changes the neighbours of 2 per ring, and a union of a few random cycles is an expander with
//! high probability (Law and Siu, INFOCOM'03): short, and in one piece after many losses.
//!
//! **Relays** are the members with the highest hash(region, identifier) among those not suspected (rendezvous
//! hashing, Thaler and Ravishankar 1998). Views differ for some seconds after a change: then there are a few
//! relays too many or one too few, which costs copies or waits for a digest, and never correctness.

use crate::member::Status;
use crate::table::Table;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId, Purpose, RegionId, Seed};

const ALIKE: Seed = Seed(0x006f_7665_726c_6179);
const RING: Purpose = Purpose::named("gossip.ring");
const RELAY: Purpose = Purpose::named("gossip.relay");

/// Neighbours and relays, as the live view of one moment gives them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    read_at: Option<(u64, u64)>,
    /// Of each region, all by rank: who comes and goes changes it, who is doubted does not.
    ranked: BTreeMap<RegionId, Vec<NodeId>>,
    /// Of this node in its region, sorted.
    pub(crate) neighbours: Vec<NodeId>,
    /// Of each region, the highest first.
    pub(crate) relays: BTreeMap<RegionId, Vec<NodeId>>,
}

impl Overlay {
    /// Reads the view anew as far as it has changed; tells whether neighbours may have.
    pub(crate) fn refresh(
        &mut self,
        table: &Table,
        me: NodeId,
        region: RegionId,
        rings: usize,
        relays: usize,
    ) -> bool {
        let at = (table.changes(), table.doubts());
        if self.read_at == Some(at) {
            return false;
        }
        let moved = self.read_at.is_none_or(|old| old.0 != at.0);
        self.read_at = Some(at);
        if moved {
            self.neighbours = neighbours(table.in_region(region), me, rings);
            self.ranked = table.regions().map(|r| (r, rank(table, r))).collect();
        }
        self.relays = self.ranked.iter().map(|(r, all)| (*r, elect(table, all, relays))).collect();
        moved
    }

    /// Whom `me` streams to, if it is a relay of `region`: of each other region the relays of its own rank. With two relays each there
    /// are two streams a pair of regions, no relay in both, so that any one may fail.
    pub(crate) fn partners(&self, me: NodeId, region: RegionId) -> Vec<NodeId> {
        let ours = self.of(region);
        let Some(rank) = ours.iter().position(|n| *n == me) else { return Vec::new() };
        let mut out = Vec::new();
        for (_, theirs) in self.relays.iter().filter(|(r, _)| **r != region) {
            // Where one side has fewer, its relays take more than one each.
            let paired = |i: usize| i % ours.len() == rank || rank % theirs.len() == i;
            out.extend(theirs.iter().enumerate().filter(|(i, _)| paired(*i)).map(|(_, n)| *n));
        }
        out
    }

    /// The relays of a region.
    pub(crate) fn of(&self, region: RegionId) -> &[NodeId] {
        self.relays.get(&region).map_or(&[], |v| v.as_slice())
    }
}

/// The neighbours of `me` among `members`, sorted.
pub(crate) fn neighbours(members: &[NodeId], me: NodeId, rings: usize) -> Vec<NodeId> {
    let mut out = Vec::with_capacity(2 * rings);
    for ring in 0..rings as u64 {
        let place = |n: NodeId| (ALIKE.draw(RING, n.0, Instant::ZERO, ring), n);
        let mine = place(me);
        let others = || members.iter().copied().filter(|n| *n != me).map(place);
        let first = others().min();
        let last = others().max();
        let next = others().filter(|p| *p > mine).min().or(first);
        let before = others().filter(|p| *p < mine).max().or(last);
        out.extend([next, before].into_iter().flatten().map(|p| p.1));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// All of a region, the highest hash first.
fn rank(table: &Table, region: RegionId) -> Vec<NodeId> {
    let hash = |n: &NodeId| (ALIKE.draw(RELAY, n.0, Instant::ZERO, u64::from(region.0)), *n);
    let mut ranked: Vec<_> = table.in_region(region).iter().map(hash).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.into_iter().map(|r| r.1).collect()
}

/// The first who are not suspected; if all are, the first.
fn elect(table: &Table, ranked: &[NodeId], count: usize) -> Vec<NodeId> {
    let trusted = |n: &&NodeId| table.status(**n) == Some(Status::Alive);
    let relays: Vec<NodeId> = ranked.iter().filter(trusted).take(count).copied().collect();
    if relays.is_empty() { ranked.iter().take(count).copied().collect() } else { relays }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Claim, Incarnation, Metadata, Update};
    use alloc::collections::BTreeSet;
    use alloc::string::String;

    fn ids(n: u64) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    #[test]
    fn neighbours_are_mutual_and_every_ring_is_one_piece() {
        for n in [1, 2, 3, 5, 40, 200] {
            let all = ids(n);
            for rings in [1, 4] {
                let of: BTreeMap<_, _> = all.iter().map(|m| (*m, neighbours(&all, *m, rings))).collect();
                for (m, ns) in &of {
                    assert!(ns.len() <= 2 * rings && !ns.contains(m));
                    assert!(ns.iter().all(|x| of[x].contains(m)), "{m} of {n}");
                }
                let mut reached = BTreeSet::from([NodeId(1)]);
                let mut next = alloc::vec![NodeId(1)];
                while let Some(m) = next.pop() {
                    next.extend(of[&m].iter().filter(|x| reached.insert(**x)));
                }
                assert_eq!(reached.len() as u64, n);
            }
        }
    }

    #[test]
    fn one_member_more_changes_few_neighbours() {
        let (all, more) = (ids(200), ids(201));
        let changed = all.iter().filter(|m| neighbours(&all, **m, 4) != neighbours(&more, **m, 4)).count();
        assert!(changed <= 8, "{changed}");
    }

    fn table(n: u64) -> Table {
        let mut t = Table::new();
        for id in ids(n) {
            let m = Metadata { region: RegionId((id.0 % 3) as u16), replica: None, address: String::new() };
            t.merge(&Update { id, incarnation: Incarnation(0), claim: Claim::Alive(m) });
        }
        t
    }

    #[test]
    fn a_suspected_relay_is_replaced_at_once_and_the_other_stays() {
        let mut t = table(30);
        let mut o = Overlay::default();
        assert!(o.refresh(&t, NodeId(1), RegionId(1), 4, 2));
        assert!(!o.refresh(&t, NodeId(1), RegionId(1), 4, 2));
        let before = o.of(RegionId(2)).to_vec();
        let by = NodeId(1);
        t.merge(&Update { id: before[0], incarnation: Incarnation(0), claim: Claim::Suspect { by } });
        assert!(!o.refresh(&t, NodeId(1), RegionId(1), 4, 2), "a doubt moves no neighbour");
        let after = o.of(RegionId(2));
        assert_eq!(after[0], before[1]);
        assert_eq!(after.len(), 2);
        assert!(!after.contains(&before[0]));
    }

    #[test]
    fn streams_pair_the_relays_of_two_regions() {
        let mut o = Overlay::default();
        let relays = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        for (theirs, first, second) in [
            (relays(&[11, 12]), relays(&[11]), relays(&[12])),
            (relays(&[11]), relays(&[11]), relays(&[11])),
            (relays(&[11, 12, 13]), relays(&[11, 13]), relays(&[12])),
        ] {
            o.relays = BTreeMap::from([(RegionId(1), relays(&[1, 2])), (RegionId(2), theirs)]);
            assert_eq!(o.partners(NodeId(1), RegionId(1)), first);
            assert_eq!(o.partners(NodeId(2), RegionId(1)), second);
            assert_eq!(o.partners(NodeId(3), RegionId(1)), []);
        }
        o.relays = BTreeMap::from([(RegionId(1), relays(&[1])), (RegionId(2), relays(&[11, 12]))]);
        assert_eq!(o.partners(NodeId(1), RegionId(1)), relays(&[11, 12]));
    }

    #[test]
    fn a_region_whose_members_are_all_suspected_still_has_relays() {
        let mut t = table(6);
        for id in ids(6) {
            t.merge(&Update { id, incarnation: Incarnation(0), claim: Claim::Suspect { by: NodeId(9) } });
        }
        let mut o = Overlay::default();
        o.refresh(&t, NodeId(1), RegionId(1), 4, 2);
        assert_eq!(o.of(RegionId(2)).len(), 2);
    }
}
