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
//! **Passed on.** That a member has something on its disk stays true, so whoever knows it may say it on. A [`Floor`] says it of
//! many members at once: all of them have this version, and none had made more than so many operations when it had. The
//! second is what the tombstones' floor needs: who has these operations of a member has all that it made before. What is
//! said so costs one vector for a whole region where one for each pair of members would be needed (the arithmetic is in
//! `dwcp-eventual`, `floors`). It is said under the roster of who says it, which is no earlier than those it was said to them under.
//!
//! **Invariant 1.** `acked[r] ≤` what r has on its disk. **Invariant 2.** What r made with a number above `made[r]`
//! it made having `acked[r]`. Both are closed under joining two facts about one member, and under taking less of `acked`
//! or more of `made`.
//!
//! Nothing here depends on a clock.

use super::Space;
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{ReplicaIndex, SEQUENCE_MAX};
use crate::planted::{self, Bug};
use crate::version::VersionVector;
use alloc::collections::BTreeMap;

/// What members acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stability {
    acked: BTreeMap<ReplicaIndex, VersionVector>,
    /// How many operations each had made at most when it had that.
    made: BTreeMap<ReplicaIndex, u64>,
    settled: BTreeMap<ReplicaIndex, VersionVector>,
}

/// What each of some members has on its disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Floor {
    /// What all of them have.
    pub version: VersionVector,
    /// Who, and how many operations it had made at most by then.
    pub members: BTreeMap<ReplicaIndex, u64>,
}

impl Floor {
    /// What one member has on its disk, said by itself.
    #[must_use]
    pub fn of_one(member: ReplicaIndex, version: VersionVector) -> Self {
        let members = BTreeMap::from([(member, version.get(member))]);
        Self { version, members }
    }
    /// Writes the canonical bytes: the version; the number of members; for each, in order, how far its place lies behind the
    /// last one's, and how many operations it had made, as varints.
    pub fn encode(&self, out: &mut Writer) {
        self.version.encode(out);
        out.varint(self.members.len() as u64);
        let mut next = 0;
        for (r, made) in &self.members {
            out.varint(u64::from(r.0) - next);
            out.varint(*made);
            next = u64::from(r.0) + 1;
        }
    }
    /// Reads what [`Floor::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of a floor.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = VersionVector::decode(from)?;
        let (mut members, mut next) = (BTreeMap::new(), 0_u64);
        for _ in 0..from.count(usize::from(u16::MAX) + 1)? {
            let place = next.saturating_add(from.varint()?);
            let Ok(index) = u16::try_from(place) else {
                return Err(from.malformed("a place beyond 65,535"));
            };
            let made = from.varint()?;
            if made > SEQUENCE_MAX {
                return Err(from.malformed("a sequence beyond 48 bits"));
            }
            members.insert(ReplicaIndex(index), made);
            next = place + 1;
        }
        Ok(Self { version, members })
    }
}

impl Space {
    /// Takes note that a member has this version on its disk, and says so under the roster of this epoch.
    pub fn acknowledged(&mut self, peer: ReplicaIndex, version: &VersionVector, epoch: u64) {
        if epoch <= self.roster.epoch {
            self.note(peer, version, version.get(peer));
        }
    }
    /// Takes note of what somebody says of several members, under the roster of this epoch.
    pub fn told(&mut self, floor: &Floor, epoch: u64) {
        if epoch > self.roster.epoch {
            return;
        }
        for (&r, &made) in &floor.members {
            if r != self.me {
                self.note(r, &floor.version, made);
            }
        }
    }
    fn note(&mut self, peer: ReplicaIndex, version: &VersionVector, made: u64) {
        if self.roster.get(peer).is_none() {
            return;
        }
        let known = self.stability.acked.entry(peer).or_default();
        // What says nothing new must not put off the day when all that the member had made by then is here.
        if known.covers(version) && !version.is_empty() {
            return;
        }
        known.join(version);
        let most = self.stability.made.entry(peer).or_default();
        *most = made.max(*most);
        self.settle(peer);
    }
    fn settle(&mut self, peer: ReplicaIndex) {
        let made = self.stability.made.get(&peer).copied().unwrap_or(0);
        let Some(acked) = self.stability.acked.get(&peer) else { return };
        if self.vv.get(peer) < made {
            return;
        }
        match self.stability.settled.get_mut(&peer) {
            Some(settled) => settled.clone_from(acked),
            None => drop(self.stability.settled.insert(peer, acked.clone())),
        }
    }
    /// What a member is known to have had on its disk.
    #[must_use]
    pub fn acknowledged_by(&self, peer: ReplicaIndex) -> Option<&VersionVector> {
        self.stability.acked.get(&peer)
    }
    /// What those of these members have of whom anything is known; to be passed on.
    #[must_use]
    pub fn floor_of(&self, members: impl Iterator<Item = ReplicaIndex>) -> Floor {
        let mut floor: Option<Floor> = None;
        for r in members {
            let Some(acked) = self.stability.acked.get(&r).filter(|v| !v.is_empty()) else { continue };
            let made = self.stability.made.get(&r).copied().unwrap_or(0);
            let floor = floor.get_or_insert_with(|| Floor { version: acked.clone(), ..Floor::default() });
            floor.version.meet(acked);
            floor.members.insert(r, made);
        }
        floor.unwrap_or_default()
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
    /// How far some other member is known to have come with what was made here, if there is any that takes part and none is active. No
    /// active one: then all who are have everything, for we are the only one; but if we are evicted next, nobody had it.
    fn alone(&self) -> Option<u64> {
        let others = || self.roster.not_evicted().filter(|r| *r != self.me);
        if self.roster.kept_for().any(|r| r != self.me) {
            return None;
        }
        others().map(|r| self.stability.acked.get(&r).map_or(0, |acked| acked.get(self.me))).max()
    }
    /// Forgets operations that everyone has, and nothing else. Whoever is the only active member keeps its own that no other member has, too,
    /// up to [`Config::alone_max`](super::Config::alone_max) bytes.
    pub fn trim_log(&mut self) {
        let peers: alloc::vec::Vec<ReplicaIndex> = self.stability.acked.keys().copied().collect();
        for peer in peers {
            self.settle(peer);
        }
        let (floor, alone) = (self.log_floor(), self.alone());
        for log in &mut self.logs {
            let early = u64::from(planted::is(Bug::TrimEarly));
            let stable = floor.get(log.replica()) + early;
            let spare = alone.filter(|_| log.replica() == self.me).unwrap_or(stable);
            log.trim(stable, spare, self.config.alone_max);
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
