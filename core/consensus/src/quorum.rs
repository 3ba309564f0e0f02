//! Quorum systems: which sets of members may decide.
//!
//! **Promise.** [`Quorums::is_quorum`] is a pure function of a phase and a set of members. A protocol
//! asks nothing else, so every strategy serves every protocol whose intersections it keeps; they
//! are checked when a configuration is admitted, not hoped for.
//!
//! **Model.** Members of an epoch are numbered by their place in its sorted list; a [`NodeSet`] is a
//! set of places, at most [`MEMBERS_MAX`].

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

/// Which sets of members may decide.
pub trait Quorums {
    /// How many members there are.
    fn members(&self) -> usize;
    /// Whether these members are enough in this phase.
    fn is_quorum(&self, phase: Phase, set: NodeSet) -> bool;
}

/// The quorum systems there are, as data that travels with an epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum System {
    /// More than half, in both classic phases; a fast path needs all but a minority of a majority:
    /// `F + ⌊(F + 1) / 2⌋` with `F = ⌊n / 2⌋`, the proposer included (EPaxos, SOSP 2013, §4.3).
    Majority {
        /// How many members.
        members: u8,
    },
}

impl Quorums for System {
    fn members(&self) -> usize {
        match self {
            Self::Majority { members } => usize::from(*members),
        }
    }

    fn is_quorum(&self, phase: Phase, set: NodeSet) -> bool {
        let set = set.and(NodeSet::first(self.members()));
        match self {
            Self::Majority { members } => {
                let n = usize::from(*members);
                let f = n / 2;
                set.len() >= if phase == Phase::Fast { (f + f.div_ceil(2)).max(f + 1) } else { f + 1 }
            }
        }
    }
}
