//! Removals that came before what they remove.
//!
//! Operations of one replica come in order, those of two do not: r2's removal of r1's element may arrive first. The
//! removed dot is kept here until its operation arrives, which then has no effect. The set is a function of
//! the operations received — the dots they name that are not received — so it is part of the canonical
//! state, and empty whenever nothing is under way.

use crate::address::Kind;
use crate::dot::Dot;
use crate::op::Op;
use crate::version::VersionVector;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// A subtree that was cleared up to a version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Cleared {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) kind: Kind,
    /// The operation that cleared it.
    pub(super) by: Dot,
    pub(super) upto: Upto,
}

/// A version vector with an order of no meaning, for sorting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Upto(pub(super) VersionVector);

impl PartialOrd for Upto {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Upto {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.0.iter().cmp(other.0.iter())
    }
}

impl Cleared {
    fn covers(&self, op: &Op<'_>, dot: Dot) -> bool {
        if !self.upto.0.contains(dot) {
            return false;
        }
        let (kind, mut names) = super::tree::path_names(op.container);
        for mine in &self.names {
            if names.next() != Some(mine.as_slice()) {
                return false;
            }
        }
        // What lies deeper lies in a map; at the same depth the kinds must agree.
        if names.next().is_some() { self.kind == Kind::Map } else { self.kind == kind }
    }
}

/// Removals that came before what they remove.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Pending {
    pub(super) dots: BTreeSet<Dot>,
    pub(super) clears: Vec<Cleared>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.dots.is_empty() && self.clears.is_empty()
    }
    pub(super) fn len(&self) -> usize {
        self.dots.len() + self.clears.len()
    }
    /// Whether what `dot` names, at the place of `op`, is already removed.
    pub(super) fn holds(&self, op: &Op<'_>, dot: Dot) -> bool {
        !self.is_empty() && (self.dots.contains(&dot) || self.clears.iter().any(|c| c.covers(op, dot)))
    }
    /// Remembers a removal of something that has not come.
    pub(super) fn add(&mut self, dot: Dot) {
        if !crate::planted::is(crate::planted::Bug::DropPending) {
            self.dots.insert(dot);
        }
    }
    /// Remembers a clearing that reaches beyond what has come.
    pub(super) fn add_clear(&mut self, clear: Cleared) {
        if crate::planted::is(crate::planted::Bug::DropPending) {
            return;
        }
        if let Err(at) = self.clears.binary_search(&clear) {
            self.clears.insert(at, clear);
        }
    }
    /// Forgets what has come: the operation that took the dots from `first` to `last`.
    pub(super) fn settle(&mut self, first: Dot, last: Dot, vv: &VersionVector) {
        if self.is_empty() {
            return;
        }
        while let Some(dot) = self.dots.range(first..=last).next().copied() {
            self.dots.remove(&dot);
        }
        self.clears.retain(|c| !vv.covers(&c.upto.0));
    }
}
