//! Quorum systems: which sets of members may decide.
//!
//! **Promise.** [`Quorums::is_quorum`] is a pure function of a phase and a set of members. A protocol
//! asks nothing else, so every strategy serves every protocol whose intersections it keeps; they
//! are checked when a configuration is admitted, not hoped for.
//!
//! **Model.** Members of an epoch are numbered by their place in its sorted list; a [`NodeSet`] is a
//! set of places, at most [`MEMBERS_MAX`].
//!
//! | file | holds |
//! |---|---|
//! | `system` | [`System`]: the six systems and PBFT's, as data that travels with an epoch |
//! | `minimal` | the smallest quorums, by enumeration |
//! | `admission` | [`admit`]: whether a system keeps what a protocol [`Needs`], and which sets break it |
//! | `rank` | what a system bears, how it spreads load, how far its nearest quorum is |
//!
//! **Sources.** Majority, Thomas (TODS 1979). Fast Paxos, Lamport (Distributed Computing 2006), §2.2. Flexible
//! Paxos, Howard, Malkhi, Spiegelman (OPODIS 2016), §4 (also the grid). Weights, Gifford (SOSP 1979).
//! Regions: Kumar, *Hierarchical quorum consensus* (IEEE TC 1991); FlexiRaft, Yadav, Rahut (CIDR 2023), §4. Witnesses, Pâris
//! (ICDCS 1986). Byzantine, Malkhi, Reiter (1998); PBFT, Castro, Liskov (OSDI 1999).

mod admission;
mod minimal;
mod rank;
mod system;
#[cfg(test)]
mod tests;

pub use admission::{EXHAUSTIVE_MAX, Named, Needs, Refusal, admit};
pub use minimal::{minimal, minimise};
pub use rank::{Load, blocking, load, nearest, survives};
pub use system::{Malformed, RegionRule, System};

use core::fmt;
use serde::{Deserialize, Serialize};

/// The most members an epoch may have.
pub const MEMBERS_MAX: usize = 128;

/// A set of members, by place in the sorted list of the epoch's members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct NodeSet(pub u128);

impl NodeSet {
    /// Nobody.
    pub const EMPTY: Self = Self(0);
    /// The first `n` places; `n` is at most [`MEMBERS_MAX`].
    #[must_use]
    pub const fn first(n: usize) -> Self {
        if n >= MEMBERS_MAX { Self(u128::MAX) } else { Self((1 << n) - 1) }
    }
    /// Only this place.
    #[must_use]
    pub const fn one(place: usize) -> Self {
        Self(1 << place)
    }
    /// Whether it holds the place.
    #[must_use]
    pub const fn has(self, place: usize) -> bool {
        place < MEMBERS_MAX && self.0 >> place & 1 == 1
    }
    /// Adds a place; says whether it was new.
    pub const fn insert(&mut self, place: usize) -> bool {
        let new = !self.has(place);
        self.0 |= 1 << place;
        new
    }
    /// Takes a place out.
    pub const fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }
    /// How many.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }
    /// Whether nobody is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    /// Those in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Those not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }
    /// The places, in order.
    pub fn places(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            (left != 0).then(|| {
                let place = left.trailing_zeros() as usize;
                left &= left - 1;
                place
            })
        })
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.places()).finish()
    }
}

/// What a quorum is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// Learn what earlier ballots may have decided: prepare, vote, view change.
    Prepare,
    /// Decide in a classic ballot: accept, commit.
    Accept,
    /// Decide in one round trip, without a classic ballot.
    Fast,
}

/// What a count of answers says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Enough said yes.
    Won,
    /// So many said no that the rest is not enough.
    Lost,
    /// Neither yet.
    Pending,
}

/// Which sets of members may decide. Whatever covers a quorum is a quorum.
pub trait Quorums {
    /// How many members there are.
    fn members(&self) -> usize;
    /// Whether these members are enough in this phase.
    fn is_quorum(&self, phase: Phase, set: NodeSet) -> bool;

    /// What these answers come to.
    fn outcome(&self, phase: Phase, yes: NodeSet, no: NodeSet) -> Outcome {
        if self.is_quorum(phase, yes) {
            Outcome::Won
        } else if self.is_quorum(phase, NodeSet::first(self.members()).without(no)) {
            Outcome::Pending
        } else {
            Outcome::Lost
        }
    }

    /// The highest mark that a quorum has reached, by place; 0 if none has.
    fn reached(&self, phase: Phase, marks: &[u64]) -> u64 {
        let held = |mark: u64| {
            let mut set = NodeSet::EMPTY;
            for (place, _) in marks.iter().enumerate().take(MEMBERS_MAX).filter(|(_, m)| **m >= mark) {
                set.insert(place);
            }
            self.is_quorum(phase, set)
        };
        marks.iter().copied().filter(|m| held(*m)).max().unwrap_or(0)
    }
}
