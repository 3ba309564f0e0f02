//! Who takes part in a space, decided by consensus and told to the space.
//!
//! A place in the roster is a [`ReplicaIndex`] and stands for one *incarnation* of one node. It is
//! given once. A node takes a new one when it cannot be sure to know every operation it ever sent:
//! an empty disk, a restored backup, a forked image.
//!
//! | standing | writes accepted | holds the log | holds tombstones | meaning |
//! |---|---|---|---|---|
//! | [`Active`](Standing::Active) | yes | yes | yes | takes part |
//! | [`Lagging`](Standing::Lagging) | yes | no | yes | silent for long (default 1 h): served from a snapshot when it returns |
//! | [`Closing`](Standing::Closing) | nothing new | no | yes | an eviction is being decided: everyone reports how far it has come |
//! | [`Evicted`](Standing::Evicted) | up to `last` | no | no | gone for good (default 24 h); its clock stands at `last` |
//!
//! `Closing` exists because an eviction must name the last operation that counts, and that is the
//! most any survivor holds *on its disk*: between the question and the answer nobody may take more, and nobody may
//! report what a crash could take back. A clock
//! entry that every survivor has at `last` never moves again. What an evicted node wrote and nobody
//! received, it writes anew under its next incarnation (`Space::write_anew`).
//!
//! If the only holder of an evicted member's operations is lost in its turn, they are lost: the eviction of the second
//! names the last of the first anew, lower. No survivor holds more, or it would have said so.
//!
//! **Invariant 1.** The epoch rises with every change, places never change their owner, standings only move
//! down the table or back from `Lagging` to `Active` (`Closing` too, if the eviction is called off).
//! Rejected: pruning clocks by age or size (Riak, `riak_core` #613: siblings that circulate for ever), by
//! gossip (Akka #21647, akka.net #4200: totals that come back).

use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::version::VersionVector;
use alloc::vec::Vec;
use dwcp_env::NodeId;
use thiserror::Error;

/// How a replica takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It takes part.
    Active,
    /// It has been silent for long; the log is no longer kept for it.
    Lagging,
    /// Its eviction is being decided.
    Closing,
    /// It is gone.
    Evicted {
        /// The number of its last operation that counts.
        last: u64,
        /// Who inherits what it held in bounded counters.
        heir: Option<ReplicaIndex>,
    },
}

/// One place of the roster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which of its lives, from 1.
    pub incarnation: u64,
    /// How it takes part.
    pub standing: Standing,
}

/// All places of a space, by index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// Rises with every change.
    pub epoch: u64,
    members: Vec<Member>,
}

/// A roster that can't follow the one in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RosterFault {
    /// Its epoch is not later.
    #[error("roster epoch {theirs} does not follow {ours}")]
    Epoch {
        /// The one in force.
        ours: u64,
        /// The one offered.
        theirs: u64,
    },
    /// A place is missing or has another owner.
    #[error("place {0} of the roster changed its owner: places are given once")]
    Owner(ReplicaIndex),
    /// An evicted replica can't return under its old place.
    #[error("{0} was evicted: a returning node takes a new incarnation")]
    Returned(ReplicaIndex),
}

impl Roster {
    /// The first roster: these nodes, each in its first life.
    #[must_use]
    pub fn founding(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let member = |node| Member { node, incarnation: 1, standing: Standing::Active };
        Self { epoch: 1, members: nodes.into_iter().map(member).collect() }
    }
    /// The same with a place for a new life of `node`, and that place; nothing if all 65,536 were given: then
    /// only a new space has room.
    #[must_use]
    pub fn admit(&self, node: NodeId) -> Option<(Self, ReplicaIndex)> {
        let index = u16::try_from(self.members.len()).ok()?;
        let mut next = self.clone();
        next.epoch += 1;
        let lives = self.members.iter().filter(|m| m.node == node).count() as u64;
        next.members.push(Member { node, incarnation: lives + 1, standing: Standing::Active });
        Some((next, ReplicaIndex(index)))
    }
    /// The same with `replica` in another standing.
    #[must_use]
    pub fn with(&self, replica: ReplicaIndex, standing: Standing) -> Self {
        let mut next = self.clone();
        next.epoch += 1;
        if let Some(m) = next.members.get_mut(usize::from(replica.0)) {
            m.standing = standing;
        }
        next
    }
    /// Whether `next` may come after this one.
    ///
    /// # Errors
    /// Says why it may not.
    pub fn check_next(&self, next: &Self) -> Result<(), RosterFault> {
        if next.epoch <= self.epoch {
            return Err(RosterFault::Epoch { ours: self.epoch, theirs: next.epoch });
        }
        for (i, old) in self.members.iter().enumerate() {
            let index = ReplicaIndex(i as u16);
            let Some(new) = next.members.get(i) else { return Err(RosterFault::Owner(index)) };
            if (new.node, new.incarnation) != (old.node, old.incarnation) {
                return Err(RosterFault::Owner(index));
            }
            if let Standing::Evicted { last: before, heir: old_heir } = old.standing {
                let lowered = matches!(new.standing, Standing::Evicted { last, heir } if last <= before && heir == old_heir);
                if !lowered {
                    return Err(RosterFault::Returned(index));
                }
            }
        }
        Ok(())
    }
    /// The place's member.
    #[must_use]
    pub fn get(&self, replica: ReplicaIndex) -> Option<&Member> {
        self.members.get(usize::from(replica.0))
    }
    /// The number of the last operation of `replica` that may be applied; zero for a stranger.
    #[must_use]
    pub fn last(&self, replica: ReplicaIndex) -> u64 {
        match self.get(replica).map(|m| m.standing) {
            None => 0,
            Some(Standing::Evicted { last, .. }) => last,
            Some(_) => SEQUENCE_MAX,
        }
    }
    /// Whether an operation with this dot may be applied at all.
    #[must_use]
    pub fn admits(&self, dot: Dot) -> bool {
        dot.sequence() <= self.last(dot.replica())
    }
    /// Whether an eviction has cut this operation off: nobody will ever have it.
    #[must_use]
    pub fn cuts_off(&self, dot: Dot) -> bool {
        let standing = self.get(dot.replica()).map(|m| m.standing);
        matches!(standing, Some(Standing::Evicted { last, .. }) if dot.sequence() > last)
    }
    /// The number beyond an eviction's cut that an operation has at its node's next place, if there is one: number `last + n` of an ended
    /// place is made anew as number `n` of the next (`Space::write_anew`).
    fn renamed_once(&self, dot: Dot) -> Option<Dot> {
        let of = self.get(dot.replica())?;
        let beyond = dot.sequence().checked_sub(self.last(dot.replica())).filter(|n| *n > 0)?;
        let (next, _) = self.iter().find(|(r, m)| *r > dot.replica() && m.node == of.node)?;
        Some(Dot::new(next, beyond))
    }
    /// What a dot is called now.
    #[must_use]
    pub fn renamed(&self, mut dot: Dot) -> Dot {
        while let Some(next) = self.renamed_once(dot) {
            dot = next;
        }
        dot
    }
    /// What a version knows, in today's names: of ended places what counts, and of their next ones what was made anew of the rest.
    #[must_use]
    pub fn renamed_version(&self, version: &VersionVector) -> VersionVector {
        let mut out = VersionVector::new();
        for (r, sequence) in version.iter() {
            let mut dot = Dot::new(r, sequence);
            while let Some(next) = self.renamed_once(dot) {
                out.raise(dot.replica(), self.last(dot.replica()));
                dot = next;
            }
            out.raise(dot.replica(), dot.sequence());
        }
        out
    }
    /// All places with their members.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaIndex, &Member)> {
        self.members.iter().enumerate().map(|(i, m)| (ReplicaIndex(i as u16), m))
    }
    /// Those for whom the log is kept.
    pub fn kept_for(&self) -> impl Iterator<Item = ReplicaIndex> + '_ {
        self.iter().filter(|(_, m)| m.standing == Standing::Active).map(|(i, _)| i)
    }
    /// Those whose operations may still name what was deleted.
    pub fn not_evicted(&self) -> impl Iterator<Item = ReplicaIndex> + '_ {
        self.iter().filter(|(_, m)| !matches!(m.standing, Standing::Evicted { .. })).map(|(i, _)| i)
    }
    /// How many places were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.epoch);
        out.varint(self.members.len() as u64);
        for m in &self.members {
            out.varint(m.node.0);
            out.varint(m.incarnation);
            match m.standing {
                Standing::Active => out.byte(0),
                Standing::Lagging => out.byte(1),
                Standing::Closing => out.byte(2),
                Standing::Evicted { last, heir: None } => {
                    out.byte(3);
                    out.varint(last);
                }
                Standing::Evicted { last, heir: Some(heir) } => {
                    out.byte(4);
                    out.varint(last);
                    out.varint(u64::from(heir.0));
                }
            }
        }
    }
    /// Reads what [`Roster::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no roster.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let epoch = from.varint()?;
        let n = from.count(usize::from(u16::MAX) + 1)?;
        let mut members = Vec::with_capacity(n);
        for _ in 0..n {
            let node = NodeId(from.varint()?);
            let incarnation = from.varint()?;
            let standing = match from.byte()? {
                0 => Standing::Active,
                1 => Standing::Lagging,
                2 => Standing::Closing,
                tag @ (3 | 4) => {
                    let last = from.varint()?;
                    if last > SEQUENCE_MAX {
                        return Err(from.malformed("a sequence beyond 48 bits"));
                    }
                    let heir = if tag == 4 { Some(from.varint()?) } else { None };
                    if heir.is_some_and(|h| h >= n as u64) {
                        return Err(from.malformed("an heir without a place"));
                    }
                    Standing::Evicted { last, heir: heir.map(|h| ReplicaIndex(h as u16)) }
                }
                _ => return Err(from.malformed("an unknown standing")),
            };
            members.push(Member { node, incarnation, standing });
        }
        Ok(Self { epoch, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_once_and_the_dead_stay_dead() {
        let first = Roster::founding([NodeId(1), NodeId(2)]);
        let (second, place) = first.admit(NodeId(1)).unwrap();
        assert_eq!((place, second.get(place).unwrap().incarnation), (ReplicaIndex(2), 2));
        assert_eq!(first.check_next(&second), Ok(()));
        assert!(matches!(second.check_next(&first), Err(RosterFault::Epoch { .. })));
        let gone = second.with(ReplicaIndex(0), Standing::Evicted { last: 7, heir: Some(ReplicaIndex(1)) });
        assert!(gone.admits(Dot::new(ReplicaIndex(0), 7)) && !gone.admits(Dot::new(ReplicaIndex(0), 8)));
        assert!(!gone.admits(Dot::new(ReplicaIndex(9), 1)), "a stranger");
        let back = gone.with(ReplicaIndex(0), Standing::Active);
        assert_eq!(gone.check_next(&back), Err(RosterFault::Returned(ReplicaIndex(0))));
        let heir = Some(ReplicaIndex(1));
        let lower = gone.with(ReplicaIndex(0), Standing::Evicted { last: 3, heir });
        let higher = gone.with(ReplicaIndex(0), Standing::Evicted { last: 9, heir });
        assert_eq!(gone.check_next(&lower), Ok(()));
        assert_eq!(gone.check_next(&higher), Err(RosterFault::Returned(ReplicaIndex(0))));
        let stolen = Roster { epoch: 99, ..Roster::founding([NodeId(5), NodeId(2), NodeId(1)]) };
        assert_eq!(second.check_next(&stolen), Err(RosterFault::Owner(ReplicaIndex(0))));

        let mut w = Writer::new();
        gone.encode(&mut w);
        assert_eq!(Roster::decode(&mut Reader::new(w.as_slice())), Ok(gone));
    }

    #[test]
    fn a_full_roster_admits_nobody() {
        let full = Roster::founding((1..=65_536).map(NodeId));
        assert_eq!(full.admit(NodeId(1)), None);
    }
}
