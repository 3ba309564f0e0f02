//! What is known about a member, and how two pieces of knowledge become one.
//!
//! Knowledge is a product of two chains, so that joining it is a maximum: commutative, associative and
//! idempotent. Facts may then arrive in any order, by any path, any number of times (SWIM §4.2; the table
//! of overrides there is this order).
//!
//! | chain | ordered by | says |
//! |---|---|---|
//! | status | (incarnation, alive < suspect < dead < left) | whether it is there |
//! | description | (incarnation, metadata) | where it is and what it is |
//!
//! **Invariants.** (1) Only a member raises its own incarnation, so only a member can refute what is said
//! about it. (2) At one incarnation nobody comes back from suspicion, death or leave.
//! (3) Two descriptions of one incarnation (two processes under one identifier) are settled by the order of
//! their contents, the same everywhere; the member itself then refutes.

use crate::settings::{ADDRESS_MAX, INCARNATION_MAX};
use alloc::string::String;
use core::fmt;
use dwcp_env::{NodeId, RegionId};
use serde::{Deserialize, Serialize};

/// How often a member has spoken for itself anew: raised to refute a suspicion or to change its metadata.
/// A process that starts again should start above its last one (say, boots × 2^20); if it does not, it
/// is told of its death and raises it then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The one above; stays at the bound.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(INCARNATION_MAX))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}
impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a member is there; the order is that of the overrides at one incarnation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Status {
    /// Answers, as far as is known.
    Alive,
    /// Did not answer; has time to refute.
    Suspect,
    /// Did not refute in time.
    Dead,
    /// Said that it goes.
    Left,
}

impl Status {
    /// Whether it counts as there.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// What a member says about itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Its region.
    pub region: RegionId,
    /// Its index in the roster of replicas, if it is one.
    pub replica: Option<u16>,
    /// Where it listens; at most [`ADDRESS_MAX`] bytes.
    pub address: String,
}

impl Metadata {
    /// Whether it is within bounds.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.address.len() <= ADDRESS_MAX
    }
}

/// A fact about a member, as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Update {
    /// About whom.
    pub id: NodeId,
    /// At which of its incarnations.
    pub incarnation: Incarnation,
    /// What.
    pub claim: Claim,
}

/// What a fact claims.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Claim {
    /// It is there, and this is what it says about itself.
    Alive(Metadata),
    /// It did not answer `by`.
    Suspect {
        /// Who says so; distinct accusers confirm each other.
        by: NodeId,
    },
    /// It did not refute in time, as `by` saw it.
    Dead {
        /// Who says so.
        by: NodeId,
    },
    /// It said that it goes.
    Left,
}

impl Update {
    /// Whether it is within bounds.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.incarnation.0 <= INCARNATION_MAX
            && match &self.claim {
                Claim::Alive(m) => m.is_right(),
                _ => true,
            }
    }
    /// The status it claims.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.claim {
            Claim::Alive(_) => Status::Alive,
            Claim::Suspect { .. } => Status::Suspect,
            Claim::Dead { .. } => Status::Dead,
            Claim::Left => Status::Left,
        }
    }
}

/// What is known about one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Knowledge {
    /// The incarnation its status belongs to.
    pub incarnation: Incarnation,
    /// Whether it is there.
    pub status: Status,
    /// What it said about itself, and at which incarnation; missing while only others spoke of it.
    pub described: Option<(Incarnation, Metadata)>,
}

impl Knowledge {
    /// What one fact says.
    #[must_use]
    pub fn of(update: &Update) -> Self {
        let described = match &update.claim {
            Claim::Alive(m) => Some((update.incarnation, m.clone())),
            _ => None,
        };
        Self { incarnation: update.incarnation, status: update.status(), described }
    }

    /// Takes in what else is known; tells whether anything was new.
    pub fn join(&mut self, other: &Self) -> bool {
        let mut new = false;
        if (other.incarnation, other.status) > (self.incarnation, self.status) {
            (self.incarnation, self.status) = (other.incarnation, other.status);
            new = true;
        }
        if other.described > self.described {
            self.described.clone_from(&other.described);
            new = true;
        }
        new
    }

    /// Whether a fact would add nothing: [`Knowledge::join`] without the copy, for what is heard again and again.
    #[must_use]
    pub fn has(&self, update: &Update) -> bool {
        let status = (update.incarnation, update.status()) <= (self.incarnation, self.status);
        status
            && match (&update.claim, &self.described) {
                (Claim::Alive(m), Some((i, mine))) => (update.incarnation, m) <= (*i, mine),
                (Claim::Alive(_), None) => false,
                _ => true,
            }
    }

    /// Whether it counts as there, and where is known.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.status.is_live() && self.described.is_some()
    }
    /// What it says about itself.
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.described.as_ref().map(|d| &d.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn claim() -> impl Strategy<Value = Claim> {
        prop_oneof![
            (0..3_u16, 0..2_u16, 0..2_u8).prop_map(|(r, i, a)| Claim::Alive(Metadata {
                region: RegionId(r),
                replica: (i > 0).then_some(i),
                address: a.to_string(),
            })),
            (0..3_u64).prop_map(|n| Claim::Suspect { by: NodeId(n) }),
            (0..3_u64).prop_map(|n| Claim::Dead { by: NodeId(n) }),
            Just(Claim::Left),
        ]
    }
    fn updates() -> impl Strategy<Value = Vec<Update>> {
        let one = (0..4_u64, claim()).prop_map(|(i, claim)| Update {
            id: NodeId(1),
            incarnation: Incarnation(i),
            claim,
        });
        prop::collection::vec(one, 1..8)
    }
    fn all(updates: &[Update]) -> Knowledge {
        let mut k = Knowledge::of(&updates[0]);
        for u in updates {
            k.join(&Knowledge::of(u));
        }
        k
    }

    proptest! {
        #[test]
        fn the_order_of_facts_does_not_matter(updates in updates(), by in any::<prop::sample::Index>()) {
            let mut other = updates.clone();
            other.reverse();
            let n = other.len();
            other.rotate_left(by.index(n));
            prop_assert_eq!(all(&updates), all(&other));
        }

        #[test]
        fn a_fact_told_again_says_nothing_new(updates in updates()) {
            let mut k = all(&updates);
            for u in &updates {
                prop_assert!(!k.join(&Knowledge::of(u)));
            }
        }

        #[test]
        fn having_a_fact_is_learning_nothing_from_it(updates in updates(), told in updates()) {
            for u in &told {
                let mut k = all(&updates);
                let has = k.has(u);
                prop_assert_eq!(has, !k.join(&Knowledge::of(u)));
            }
        }

        #[test]
        fn knowledge_joins_in_any_grouping(a in updates(), b in updates(), c in updates()) {
            let (a, b, c) = (all(&a), all(&b), all(&c));
            let mut left = a.clone();
            left.join(&b);
            left.join(&c);
            let mut right = b;
            right.join(&c);
            let mut outer = a;
            outer.join(&right);
            prop_assert_eq!(left, outer);
        }
    }

    #[test]
    fn the_table_of_overrides() {
        let meta = || Claim::Alive(Metadata { region: RegionId(0), replica: None, address: String::new() });
        let of = |i, claim| Knowledge::of(&Update { id: NodeId(1), incarnation: Incarnation(i), claim });
        let by = NodeId(9);
        // (held, told, status afterwards)
        let table = [
            (of(1, meta()), of(1, Claim::Suspect { by }), Status::Suspect),
            (of(1, Claim::Suspect { by }), of(1, meta()), Status::Suspect),
            (of(1, Claim::Suspect { by }), of(2, meta()), Status::Alive),
            (of(1, Claim::Dead { by }), of(1, meta()), Status::Dead),
            (of(1, Claim::Dead { by }), of(2, meta()), Status::Alive),
            (of(2, meta()), of(1, Claim::Dead { by }), Status::Alive),
            (of(1, Claim::Dead { by }), of(1, Claim::Left), Status::Left),
        ];
        for (mut held, told, after) in table {
            held.join(&told);
            assert_eq!(held.status, after, "{held:?} {told:?}");
        }
    }
}
