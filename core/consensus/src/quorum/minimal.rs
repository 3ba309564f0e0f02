//! The smallest quorums: those that lose the property with any member.

use super::{NodeSet, Phase, Quorums};
use alloc::vec::Vec;

/// All minimal quorums of a phase, by trying every set: for at most
/// [`EXHAUSTIVE_MAX`](super::EXHAUSTIVE_MAX) members.
#[must_use]
pub fn minimal(system: &dyn Quorums, phase: Phase) -> Vec<NodeSet> {
    let n = system.members().min(super::EXHAUSTIVE_MAX);
    (0..1_u128 << n)
        .map(NodeSet)
        .filter(|set| {
            system.is_quorum(phase, *set)
                && set.places().all(|place| !system.is_quorum(phase, set.without(NodeSet::one(place))))
        })
        .collect()
}

/// A minimal quorum within a set that holds one.
#[must_use]
pub fn minimise(system: &dyn Quorums, phase: Phase, mut set: NodeSet) -> NodeSet {
    for place in set.places() {
        let less = set.without(NodeSet::one(place));
        if system.is_quorum(phase, less) {
            set = less;
        }
    }
    set
}

/// Calls with every subset of `size` members; stops at the first `Some`.
pub(super) fn subsets<T>(of: NodeSet, size: usize, each: &mut dyn FnMut(NodeSet) -> Option<T>) -> Option<T> {
    fn go<T>(
        rest: NodeSet,
        size: usize,
        taken: NodeSet,
        each: &mut dyn FnMut(NodeSet) -> Option<T>,
    ) -> Option<T> {
        if size == 0 {
            return each(taken);
        }
        let mut rest = rest;
        while rest.len() >= size {
            let place = rest.places().next()?;
            rest = rest.without(NodeSet::one(place));
            if let Some(found) = go(rest, size - 1, taken.or(NodeSet::one(place)), each) {
                return Some(found);
            }
        }
        None
    }
    go(of, size, NodeSet::EMPTY, each)
}
