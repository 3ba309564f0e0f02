//! Which instances are executed: a frontier by replica, and what is executed beyond it.

use super::interference::Done;
use super::message::{Deps, InstanceId, NUMBER_MAX};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::wire;
use serde::{Deserialize, Serialize};

/// Executed instances. Canonical: what lies in the frontier is not beyond it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct Executed {
    /// By replica: all numbers up to this.
    pub(super) frontier: Vec<u64>,
    /// By replica: those executed above, with a gap below each.
    beyond: Vec<BTreeSet<u64>>,
}

/// What [`crate::step::Protocol::mark`] says, in bincode's standard encoding: equal for equal sets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    /// What is executed.
    pub(super) executed: Executed,
    /// What of it touches what.
    pub(super) done: Done,
    /// Of what is executed, what lies inside the last marker: see `marker.rs`.
    pub(super) base: Executed,
    /// By replica: the highest executed number that was decided as nothing.
    pub(super) nothing: Vec<u64>,
}

/// As it was before it told of nothings.
#[derive(Deserialize)]
struct Older {
    executed: Executed,
    done: Done,
    base: Executed,
}

impl Executed {
    pub(super) fn none(n: usize) -> Self {
        Self { frontier: vec![0; n], beyond: vec![BTreeSet::new(); n] }
    }
    pub(super) fn has(&self, id: InstanceId) -> bool {
        id.number <= self.frontier[id.at()] || self.beyond[id.at()].contains(&id.number)
    }
    pub(super) fn insert(&mut self, id: InstanceId) {
        let (frontier, beyond) = (&mut self.frontier[id.at()], &mut self.beyond[id.at()]);
        if id.number > *frontier {
            beyond.insert(id.number);
        }
        while beyond.remove(&(*frontier + 1)) {
            *frontier += 1;
        }
    }
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.frontier.iter().sum::<u64>() + self.beyond.iter().map(|b| b.len() as u64).sum::<u64>()
    }
    /// The highest number of a replica.
    pub(super) fn highest(&self, replica: usize) -> u64 {
        self.beyond[replica].last().copied().unwrap_or(self.frontier[replica])
    }
    /// Whether it holds all of `other`.
    pub(super) fn holds(&self, other: &Self) -> bool {
        let whole = |(mine, theirs): (&u64, &u64)| mine >= theirs;
        self.frontier.iter().zip(&other.frontier).all(whole)
            && other.beyond.iter().enumerate().all(|(replica, beyond)| {
                beyond.iter().all(|number| self.has(InstanceId::new(replica as u8, *number)))
            })
    }
    /// What is in it and not in `other`, by replica.
    pub(super) fn beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = InstanceId> + 'a {
        (0..self.frontier.len()).flat_map(move |replica| {
            let below = other.frontier[replica] + 1..=self.frontier[replica];
            let ids = below.chain(self.beyond[replica].iter().copied());
            ids.map(move |number| InstanceId::new(replica as u8, number)).filter(|id| !other.has(*id))
        })
    }
    /// What of it lies inside `deps`.
    pub(super) fn within(&self, deps: &Deps) -> Self {
        let mut part = self.clone();
        for ((frontier, beyond), to) in part.frontier.iter_mut().zip(&mut part.beyond).zip(&deps.0) {
            *frontier = (*frontier).min(*to);
            beyond.retain(|number| number <= to);
        }
        part
    }
    /// Whether it could have come from a group of `n`.
    fn sound(&self, n: usize) -> bool {
        self.frontier.len() == n
            && self.beyond.len() == n
            && (0..n).all(|replica| self.highest(replica) < NUMBER_MAX)
            && self.beyond.iter().zip(&self.frontier).all(|(b, f)| b.first().is_none_or(|x| *x > f + 1))
    }
}

impl Mark {
    pub(super) fn read(bytes: &Bytes, n: usize) -> Option<Self> {
        let mark = wire::decode::<Self>(bytes).ok().or_else(|| {
            let Older { executed, done, base } = wire::decode(bytes).ok()?;
            // What of it was nothing is not known: any of it.
            let nothing =
                (0..executed.frontier.len().min(executed.beyond.len())).map(|r| executed.highest(r));
            Some(Self { nothing: nothing.collect(), executed, done, base })
        });
        mark.filter(|m| {
            m.executed.sound(n)
                && m.done.sound(n)
                && m.base.sound(n)
                && m.executed.holds(&m.base)
                && m.nothing.len() == n
                && m.nothing.iter().enumerate().all(|(r, number)| *number <= m.executed.highest(r))
        })
    }
    /// Of nothing executed.
    pub(super) fn none(n: usize) -> Self {
        let none = Executed::none(n);
        Self { executed: none.clone(), done: Done::none(n), base: none, nothing: vec![0; n] }
    }
    pub(super) fn write(&self) -> Bytes {
        Bytes::from(wire::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_equal_bytes_whatever_the_order() {
        let mark = |numbers: &[u64]| {
            let mut executed = Executed::none(2);
            numbers.iter().for_each(|n| executed.insert(InstanceId::new(1, *n)));
            Mark { executed, ..Mark::none(2) }.write()
        };
        assert_eq!(mark(&[1, 2, 3, 5]), mark(&[5, 3, 2, 1]));
        assert_ne!(mark(&[1, 2, 3, 5]), mark(&[1, 2, 3, 6]));
        let read = Mark::read(&mark(&[5, 2, 1]), 2).expect("its own bytes");
        assert!(read.executed.has(InstanceId::new(1, 5)) && !read.executed.has(InstanceId::new(1, 3)));
        assert_eq!((read.executed.count(), read.executed.highest(1)), (3, 5));
        assert!(Mark::read(&mark(&[1]), 3).is_none(), "another group's");
    }

    #[test]
    fn a_set_holds_its_parts_and_no_more() {
        let set = |numbers: &[u64]| {
            let mut executed = Executed::none(1);
            numbers.iter().for_each(|n| executed.insert(InstanceId::new(0, *n)));
            executed
        };
        for (a, b, holds) in [
            (&[1, 2, 5][..], &[1, 2][..], true),
            (&[1, 2, 5], &[5], true),
            (&[1, 2, 3, 4, 5], &[2, 4], true),
            (&[2, 4], &[1], false),
            (&[1, 2, 5], &[1, 2, 3], false),
            (&[1, 2, 5], &[6], false),
            (&[], &[], true),
        ] {
            assert_eq!(set(a).holds(&set(b)), holds, "{a:?} {b:?}");
            assert_eq!(set(b).beside(&set(a)).next().is_none(), holds, "{b:?} beside {a:?}");
        }
    }
}
