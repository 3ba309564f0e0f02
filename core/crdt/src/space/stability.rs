//! What everyone has: the log up to there can go, and tombstones of sequences with it.
//!
//! Each member acknowledges the version it has *on disk*. Two floors follow:
//!
//! * the *log's*: what every active member acknowledged. A member marked lagging doesn't hold it; it is
//!   served from a snapshot when it returns.
//! * the *tombstones'*: what every member that is not evicted acknowledged, counting an acknowledgement only
//!   once we have all that its sender had made by then. An operation made before the sender knew of a deletion
//!   may still name the deleted element; after this point none can come.
//!
//! **Who has just been admitted** takes its state from a holder and may name whatever lives in it. The holder knows the roster with the
//! new place when it gives its state; so what it acknowledges from then on it says under that roster. An acknowledgement under
//! a roster that is later than ours is not counted: so whoever counts a later acknowledgement of the holder has the new place in its roster, and
//! waits for that too; and what the holder had acknowledged before is in the state that was taken.
//!
//! Nothing here depends on a clock.

use super::Space;
use crate::dot::ReplicaIndex;
use crate::planted::{self, Bug};
use crate::version::VersionVector;
use alloc::collections::BTreeMap;

/// What members acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stability {
    acked: BTreeMap<ReplicaIndex, VersionVector>,
    settled: BTreeMap<ReplicaIndex, VersionVector>,
}

impl Space {
    /// Takes note that a member has this version on its disk, and says so under the roster of this epoch.
    pub fn acknowledged(&mut self, peer: ReplicaIndex, version: &VersionVector, epoch: u64) {
        if epoch > self.roster.epoch || self.roster.get(peer).is_none() {
            return;
        }
        self.stability.acked.entry(peer).or_default().join(version);
        self.settle(peer);
    }
    fn settle(&mut self, peer: ReplicaIndex) {
        let Some(acked) = self.stability.acked.get(&peer) else { return };
        if self.vv.get(peer) >= acked.get(peer) {
            let acked = acked.clone();
            self.stability.settled.insert(peer, acked);
        }
    }
    /// What every active member has.
    #[must_use]
    pub fn log_floor(&self) -> VersionVector {
        let mut floor = self.vv.clone();
        for r in self.roster.kept_for().filter(|r| *r != self.me) {
            floor.meet(self.stability.acked.get(&r).unwrap_or(&VersionVector::new()));
        }
        floor
    }
    /// What every member that may still write has, with nothing under way that was made before it had.
    #[must_use]
    pub fn stable(&self) -> VersionVector {
        let mut floor = self.vv.clone();
        for r in self.roster.not_evicted().filter(|r| *r != self.me) {
            floor.meet(self.stability.settled.get(&r).unwrap_or(&VersionVector::new()));
        }
        // An evicted member's operations up to its last must be here as well.
        for (r, m) in self.roster.iter() {
            if let crate::roster::Standing::Evicted { last, .. } = m.standing
                && self.vv.get(r) < last
            {
                return VersionVector::new();
            }
        }
        floor
    }
    /// Forgets what everyone has: operations, save those that some active member may lack, and dead elements of sequences that nothing
    /// to come can name. Not while the state is read in parts, see `snapshot`.
    pub fn trim(&mut self) {
        self.trim_log();
        self.bury();
    }
    /// Forgets operations that everyone has, and nothing else.
    pub fn trim_log(&mut self) {
        let peers: alloc::vec::Vec<ReplicaIndex> = self.stability.acked.keys().copied().collect();
        for peer in peers {
            self.settle(peer);
        }
        let floor = self.log_floor();
        for log in &mut self.logs {
            let early = u64::from(planted::is(Bug::TrimEarly));
            log.trim(floor.get(log.replica()) + early);
        }
    }
    /// Whether the log still holds all that a member has not acknowledged.
    #[must_use]
    pub fn reaches(&self, peer: ReplicaIndex) -> bool {
        let none = VersionVector::new();
        let acked = self.stability.acked.get(&peer).unwrap_or(&none);
        self.logs.iter().all(|log| log.base() <= acked.get(log.replica()))
    }
    /// How far a member is behind: operations that we have and it has not acknowledged.
    #[must_use]
    pub fn lag(&self, peer: ReplicaIndex) -> u64 {
        let none = VersionVector::new();
        let acked = self.stability.acked.get(&peer).unwrap_or(&none);
        self.vv.iter().map(|(r, s)| s.saturating_sub(acked.get(r))).sum()
    }
}
