//! Which faults a protocol can be asked to survive, and on how many nodes.
//!
//! **Promise.** A plan drawn through the atlas never destroys more copies of anything than
//! the protocol claims to survive: a failure found under it is a bug of the protocol, not of
//! the plan. (TigerBeetle's `ClusterFaultAtlas`, coarser: whole disks and not grid blocks.)
//!
//! | class | kinds | who may be hit | why |
//! |---|---|---|---|
//! | harmless to data | links, clocks, pause, slow_disk, disk_full, disk_error, version_change | anybody | what was acknowledged is still on disk; availability may suffer until healed |
//! | loses the unsynced | crash, torn_write | anybody, all at once too | nothing acknowledged was unsynced |
//! | decay: detectable loss | latent_sector_error, bit_rot, misdirected_read | a fixed minority of each replica set, ever | checksums tell, a majority still holds a sound copy; *fixed* because a copy that decayed is sound again only once repaired, which a plan can't know |
//! | amnesia: undetectable loss | phantom_write, misdirected_write, wipe | the same minority, and only if [`Tolerates::amnesia`] | a disk that forgets its newest records looks like one that never had them. A voter that forgot its vote may vote twice in one term, and an entry acknowledged by {A, B} of three is gone once A forgets it and A and C elect: plain Raft, Paxos and their kin do not survive one such disk |
//! | lies | byzantine | at most [`Tolerates::liars`] nodes, other faults on top | crash-fault protocols survive none |
//!
//! **The tail.** Rot in the record written last can't be told from a write that never
//! finished, so a log that cuts an unfinished tail forgets it: that is amnesia by another
//! road (Alagappan et al., FAST 2018, "Protocol-aware recovery"). Decay therefore spares what
//! the last sync of each file made durable, unless amnesia is tolerated.

use crate::fault::FaultKind;
use dwcp_env::{Instant, NodeId, Purpose, Seed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the protocol under test claims to survive besides what every protocol here must.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerates {
    /// Detectable loss on a minority of each replica set.
    pub decay: bool,
    /// Undetectable loss on the same minority.
    pub amnesia: bool,
    /// How many nodes may lie.
    pub liars: u32,
}

impl Default for Tolerates {
    fn default() -> Self {
        Self { decay: true, amnesia: false, liars: 0 }
    }
}

/// How much a kind of fault destroys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// Nothing that was acknowledged.
    Harmless,
    /// Detectably some of what was durable.
    Decay,
    /// Undetectably some of what was durable.
    Amnesia,
    /// Trust.
    Lies,
}

/// The class of a kind.
#[must_use]
pub const fn class(kind: FaultKind) -> Class {
    match kind {
        FaultKind::LatentSectorError | FaultKind::BitRot | FaultKind::MisdirectedRead => Class::Decay,
        FaultKind::PhantomWrite | FaultKind::MisdirectedWrite | FaultKind::Wipe => Class::Amnesia,
        FaultKind::Byzantine => Class::Lies,
        _ => Class::Harmless,
    }
}

const VICTIM: Purpose = Purpose::named("atlas.victim");
const LIAR: Purpose = Purpose::named("atlas.liar");

/// Who may be hit by what, for one plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Atlas {
    tolerates: Tolerates,
    all: Vec<NodeId>,
    victims: Vec<NodeId>,
    liars: Vec<NodeId>,
}

impl Atlas {
    /// Draws the victims: of each replica set at most a minority, counting each victim in
    /// every set it belongs to.
    #[must_use]
    pub fn draw(seed: Seed, all: &[NodeId], groups: &[Vec<NodeId>], tolerates: Tolerates) -> Self {
        let whole = [all.to_vec()];
        let groups = if groups.is_empty() { &whole[..] } else { groups };
        let mut victims = BTreeSet::new();
        for node in shuffled(seed, VICTIM, all) {
            let fits = groups.iter().filter(|g| g.contains(&node)).all(|g| {
                let hit = g.iter().filter(|n| victims.contains(*n)).count();
                hit < g.len().saturating_sub(1) / 2
            });
            if fits {
                victims.insert(node);
            }
        }
        let mut liars = shuffled(seed, LIAR, all);
        liars.truncate(tolerates.liars as usize);
        Self { tolerates, all: all.to_vec(), victims: victims.into_iter().collect(), liars }
    }
    /// Who may be hit by this kind; nobody if the protocol does not claim to survive it.
    #[must_use]
    pub fn candidates(&self, kind: FaultKind) -> &[NodeId] {
        match class(kind) {
            Class::Harmless => &self.all,
            Class::Decay if self.tolerates.decay => &self.victims,
            Class::Amnesia if self.tolerates.amnesia => &self.victims,
            Class::Lies => &self.liars,
            Class::Decay | Class::Amnesia => &[],
        }
    }
    /// Whether decay must leave alone what each file's last sync made durable.
    #[must_use]
    pub const fn spares_tails(&self) -> bool {
        !self.tolerates.amnesia
    }
}

/// The nodes in an order drawn from the seed; each node's draw is its own.
pub(crate) fn shuffled(seed: Seed, purpose: Purpose, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut keyed: Vec<_> = nodes.iter().map(|n| (seed.draw(purpose, n.0, Instant::ZERO, 0), *n)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(n: u64) -> Vec<NodeId> {
        (1..=n).map(NodeId).collect()
    }

    #[test]
    fn never_more_than_a_minority_of_any_replica_set() {
        // Of an even number half is too many.
        let groups = vec![
            nodes(3),
            vec![NodeId(3), NodeId(4), NodeId(5)],
            [2, 4, 6, 7].map(NodeId).to_vec(),
            nodes(7),
        ];
        let mut hit_any = 0;
        for seed in 0..200 {
            let a = Atlas::draw(Seed(seed), &nodes(7), &groups, Tolerates::default());
            let victims = a.candidates(FaultKind::BitRot);
            hit_any += usize::from(!victims.is_empty());
            for g in &groups {
                let hit = g.iter().filter(|n| victims.contains(n)).count();
                assert!(hit <= (g.len() - 1) / 2, "seed {seed}: {hit} of {}", g.len());
            }
        }
        assert!(hit_any > 150);
    }

    #[test]
    fn what_is_not_tolerated_hits_nobody() {
        let a = Atlas::draw(Seed(1), &nodes(5), &[], Tolerates::default());
        assert_eq!(a.candidates(FaultKind::Wipe), &[]);
        assert_eq!(a.candidates(FaultKind::Byzantine), &[]);
        assert_eq!(a.candidates(FaultKind::Crash).len(), 5);
        let t = Tolerates { amnesia: true, liars: 1, decay: false };
        let a = Atlas::draw(Seed(1), &nodes(5), &[], t);
        assert_eq!(a.candidates(FaultKind::Wipe).len(), 2);
        assert_eq!(a.candidates(FaultKind::Byzantine).len(), 1);
        assert_eq!(a.candidates(FaultKind::BitRot), &[]);
    }

    #[test]
    fn each_kind_is_of_the_class_that_its_damage_has() {
        use FaultKind as K;
        let class_of = |kinds: &[K], want| kinds.iter().all(|k| class(*k) == want);
        assert!(class_of(&[K::LatentSectorError, K::BitRot, K::MisdirectedRead], Class::Decay));
        assert!(class_of(&[K::PhantomWrite, K::MisdirectedWrite, K::Wipe], Class::Amnesia));
        assert!(class_of(&[K::Byzantine], Class::Lies));
        assert!(class_of(&[K::Crash, K::TornWrite, K::Pause, K::DiskFull, K::DiskError], Class::Harmless));
    }

    #[test]
    fn tails_are_spared_unless_amnesia_is_survived() {
        let spares = |amnesia| {
            let tolerates = Tolerates { amnesia, ..Tolerates::default() };
            Atlas::draw(Seed(1), &nodes(3), &[], tolerates).spares_tails()
        };
        assert!(spares(false) && !spares(true));
    }

    #[test]
    fn every_node_is_somebodys_victim_and_a_full_set_protects_only_its_own() {
        // The sets don't overlap: each loses its minority, whatever the other lost.
        let groups = vec![nodes(3), [4, 5, 6, 7, 8].map(NodeId).to_vec()];
        let mut hit = BTreeSet::new();
        for seed in 0..40 {
            let a = Atlas::draw(Seed(seed), &nodes(8), &groups, Tolerates::default());
            assert_eq!(a.candidates(FaultKind::BitRot).len(), 3, "seed {seed}: one of three and two of five");
            hit.extend(a.candidates(FaultKind::BitRot).iter().copied());
        }
        assert_eq!(hit.len(), 8, "who is hit is drawn from the seed: {hit:?}");
    }
}
