//! Detection where a write arrives: one look at the version vector, one at what lies at the place.
//!
//! **Promise.** [`arrival`] tells in some nanoseconds and without allocating whether a write follows what is here, stands
//! beside it, came too early, or can't be as it says. It says so from dots alone: clocks take no part in what is
//! concurrent (`dwcp_crdt::dot`), and a clock that runs backward along cause and effect is reported as such.
//!
//! | found | means | then |
//! |---|---|---|
//! | [`Arrival::Known`] | received before | nothing |
//! | [`Arrival::Follows`] | it saw all that lies here | apply |
//! | [`Arrival::Beside`] | it did not see something that lies here: a conflict | apply, then resolve |
//! | [`Arrival::Early`] | writes of its maker are missing before it | keep it, ask for them |
//! | [`Arrival::Faulty`] | no correct replica makes such a write | refuse, look at the sender |

use core::cmp::Ordering;
use dwcp_crdt::{Dot, Hlc, VersionVector};

/// What lies at a place: a write that nothing has superseded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Live {
    /// The write's name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
}

/// A write that arrives.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
    /// What its maker saw at the place; ascending.
    pub supersedes: &'a [Dot],
}

/// What a write is to what is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// It was received before.
    Known,
    /// It saw all that lies here. If its maker's clock showed an earlier time than something that it saw, by how many milliseconds.
    Follows {
        /// The causal order is right, the clocks are not: someone's stands wrong by at least this.
        backward_millis: u64,
    },
    /// Something lies here that it did not see.
    Beside {
        /// How many such writes.
        others: u32,
    },
    /// Writes of its maker are missing before it.
    Early {
        /// The first that is missing.
        missing: Dot,
    },
    /// It can't be as it says.
    Faulty(Violation),
}

/// What breaks causality: evidence against whoever made or passed on a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// It supersedes itself, or a later write of its own maker.
    #[error("{write} says it saw {seen}, which its maker made later: the sender is faulty; drop the write")]
    Itself {
        /// The write.
        write: Dot,
        /// What it claims to have seen.
        seen: Dot,
    },
    /// It names a write that is none.
    #[error("{write} says it saw a write numbered 0: the sender is faulty; drop the write")]
    Nothing {
        /// The write.
        write: Dot,
    },
    /// The dots it saw are out of order: it was not spelled by a correct encoder.
    #[error("{write} names what it saw out of order: the sender is faulty; drop the write")]
    Order {
        /// The write.
        write: Dot,
    },
}

/// What a write is to what lies at its place. A write that comes after one which saw it (replicas' writes come in each one's order
/// only) is said to stand beside that one; the space, which remembers what was superseded before it came, then shows no sibling. `seen` is what this replica has received, `live` what lies there.
#[inline]
#[must_use]
pub fn arrival(seen: &VersionVector, live: &[Live], new: &Incoming<'_>) -> Arrival {
    let have = seen.get(new.dot.replica());
    if new.dot.sequence() <= have {
        return Arrival::Known;
    }
    if new.dot.sequence() != have + 1 {
        return Arrival::Early { missing: Dot::new(new.dot.replica(), have + 1) };
    }
    match (live, new.supersedes) {
        // Nothing here and nothing claimed; one here that is the one claimed: nearly all writes.
        ([], []) => return Arrival::Follows { backward_millis: 0 },
        ([one], [saw]) if one.dot == *saw => {
            return Arrival::Follows { backward_millis: one.hlc.millis().saturating_sub(new.hlc.millis()) };
        }
        ([_], []) => return Arrival::Beside { others: 1 },
        ([_], [saw]) if saw.sequence() > 0 && (saw.replica() != new.dot.replica() || *saw < new.dot) => {
            return Arrival::Beside { others: 1 };
        }
        _ => {}
    }
    if let Some(fault) = violation(new) {
        return Arrival::Faulty(fault);
    }
    let (mut others, mut backward_millis) = (0, 0);
    for here in live {
        if new.supersedes.binary_search(&here.dot).is_ok() {
            backward_millis = backward_millis.max(here.hlc.millis().saturating_sub(new.hlc.millis()));
        } else {
            others += 1;
        }
    }
    if others > 0 { Arrival::Beside { others } } else { Arrival::Follows { backward_millis } }
}

fn violation(new: &Incoming<'_>) -> Option<Violation> {
    let write = new.dot;
    let mut last = None;
    for seen in new.supersedes {
        if seen.sequence() == 0 {
            return Some(Violation::Nothing { write });
        }
        if seen.replica() == write.replica() && *seen >= write {
            return Some(Violation::Itself { write, seen: *seen });
        }
        if last.is_some_and(|l| l >= *seen) {
            return Some(Violation::Order { write });
        }
        last = Some(*seen);
    }
    None
}

/// A cause that a write names and that has not come: its effect overtook it. Allowed between replicas, whose writes come in
/// each one's own order only; who reads causally waits for it.
#[must_use]
pub fn overtaken(seen: &VersionVector, new: &Incoming<'_>) -> Option<Dot> {
    new.supersedes.iter().copied().find(|d| !seen.contains(*d))
}

/// How two states of knowledge stand to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The same writes.
    Same,
    /// The first lacks some.
    Before,
    /// The second lacks some.
    After,
    /// Each lacks some.
    Concurrent,
    /// The same writes, and other contents: one of the two is not what its history makes it. A bug or rot, never to be
    /// merged; the range reconciliation finds the key.
    Split,
}

/// How two replicas stand to each other, by what they received and what that came to.
#[must_use]
pub fn relation(a: (&VersionVector, u128), b: (&VersionVector, u128)) -> Relation {
    match a.0.compare(b.0) {
        Some(Ordering::Equal) if a.1 != b.1 => Relation::Split,
        Some(Ordering::Equal) => Relation::Same,
        Some(Ordering::Less) => Relation::Before,
        Some(Ordering::Greater) => Relation::After,
        None => Relation::Concurrent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::ReplicaIndex;

    fn dot(r: u16, s: u64) -> Dot {
        Dot::new(ReplicaIndex(r), s)
    }
    fn seen() -> VersionVector {
        [(ReplicaIndex(0), 5), (ReplicaIndex(1), 3)].into_iter().collect()
    }
    fn live(r: u16, s: u64, millis: u64) -> Live {
        Live { dot: dot(r, s), hlc: Hlc::at(millis) }
    }

    #[test]
    fn each_arrival_has_its_name() {
        let here = [live(0, 5, 90), live(1, 3, 200)];
        let follows = |backward_millis| Arrival::Follows { backward_millis };
        let faulty = Arrival::Faulty;
        let table: &[(Dot, &[Dot], &[Live], Arrival)] = &[
            (dot(0, 5), &[], &here, Arrival::Known),
            (dot(0, 8), &[], &here, Arrival::Early { missing: dot(0, 6) }),
            (dot(0, 6), &[], &[], follows(0)),
            (dot(0, 6), &[dot(0, 5)], &here[..1], follows(0)),
            (dot(0, 6), &[dot(1, 3)], &here[1..], follows(100)),
            (dot(0, 6), &[dot(0, 5), dot(1, 3)], &here, follows(100)),
            (dot(0, 6), &[dot(0, 5)], &here, Arrival::Beside { others: 1 }),
            (dot(2, 1), &[], &here, Arrival::Beside { others: 2 }),
            // What it saw is not here any more: superseded meanwhile, or overtaken.
            (dot(0, 6), &[dot(1, 2)], &here[1..], Arrival::Beside { others: 1 }),
            (dot(0, 6), &[dot(0, 6)], &here, faulty(Violation::Itself { write: dot(0, 6), seen: dot(0, 6) })),
            (dot(0, 6), &[dot(0, 9)], &[], faulty(Violation::Itself { write: dot(0, 6), seen: dot(0, 9) })),
            (dot(0, 6), &[dot(1, 0)], &here, faulty(Violation::Nothing { write: dot(0, 6) })),
            (dot(0, 6), &[dot(1, 3), dot(0, 5)], &here, faulty(Violation::Order { write: dot(0, 6) })),
        ];
        for (dot, supersedes, live, want) in table {
            let new = Incoming { dot: *dot, hlc: Hlc::at(100), supersedes };
            assert_eq!(arrival(&seen(), live, &new), *want, "{dot} over {supersedes:?}");
        }
        let new = Incoming { dot: dot(0, 6), hlc: Hlc::at(1), supersedes: &[dot(0, 5), dot(1, 4)] };
        assert_eq!(overtaken(&seen(), &new), Some(dot(1, 4)));
    }

    #[test]
    fn one_history_with_two_contents_is_a_split() {
        let (a, mut b) = (seen(), seen());
        assert_eq!(relation((&a, 1), (&b, 1)), Relation::Same);
        assert_eq!(relation((&a, 1), (&b, 2)), Relation::Split);
        b.raise(ReplicaIndex(1), 4);
        assert_eq!(relation((&a, 1), (&b, 2)), Relation::Before);
        assert_eq!(relation((&b, 1), (&a, 2)), Relation::After);
        let mut a = a;
        a.raise(ReplicaIndex(0), 6);
        assert_eq!(relation((&a, 1), (&b, 2)), Relation::Concurrent);
    }
}
