//! Removals that came before what they remove.
//!
//! Operations of one replica come in order, those of two do not: r2's removal of r1's element may arrive first. The
//! removed dot is kept here until its operation arrives, which then has no effect. The set is a function of
//! the operations received — the dots they name that are not received — so it is part of the canonical
//! state, and empty whenever nothing is under way.
//!
//! Of what an eviction cut off nothing will come, and of a place where a node is awaited nothing does before it is back: neither counts as under
//! way. But an increment may still name a counter that was created there, and removed, and the node may come back: such removals lie apart,
//! are looked at for such names only, and are sorted anew when a roster comes.

use crate::address::Kind;
use crate::dot::Dot;
use crate::op::Op;
use crate::roster::Roster;
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
    /// Of what the roster does not admit.
    apart: BTreeSet<Dot>,
    clears_apart: Vec<Cleared>,
}

impl Pending {
    /// Whether nothing is under way, and nothing lies apart.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.apart.is_empty() && self.clears_apart.is_empty()
    }
    /// What is under way.
    pub(super) fn len(&self) -> usize {
        self.dots.len() + self.clears.len()
    }
    /// Whether what `dot` names, at the place of `op`, is already removed.
    pub(super) fn holds(&self, op: &Op<'_>, dot: Dot, apart: bool) -> bool {
        let (dots, clears) =
            if apart { (&self.apart, &self.clears_apart) } else { (&self.dots, &self.clears) };
        dots.contains(&dot) || clears.iter().any(|c| c.covers(op, dot))
    }
    /// Remembers a removal of something that has not come.
    pub(super) fn add(&mut self, dot: Dot, roster: &Roster) {
        if crate::planted::is(crate::planted::Bug::DropPending) {
            return;
        }
        let dots = if !roster.admits(dot) { &mut self.apart } else { &mut self.dots };
        dots.insert(dot);
    }
    /// Remembers a clearing that reaches beyond what has come.
    pub(super) fn add_clear(&mut self, mut clear: Cleared, vv: &VersionVector, roster: &Roster) {
        if crate::planted::is(crate::planted::Bug::DropPending) {
            return;
        }
        let refused = |(r, s)| !roster.admits(Dot::new(r, s));
        if clear.upto.0.iter().any(refused) {
            insert(&mut self.clears_apart, clear.clone());
            let comes = clear.upto.0.iter().map(|(r, s)| (r, s.min(roster.last(r))));
            clear.upto = Upto(comes.filter(|(_, s)| *s > 0).collect());
        }
        if !vv.covers(&clear.upto.0) {
            insert(&mut self.clears, clear);
        }
    }
    /// All that is remembered, in order: removed dots and clearings. Of a clearing that lies apart, not what is under way of it: that follows.
    pub(super) fn all(&self) -> (Vec<Dot>, Vec<&Cleared>) {
        let dots: BTreeSet<Dot> = self.dots.union(&self.apart).copied().collect();
        let whole = |c: &&Cleared| !self.clears_apart.iter().any(|a| a.by == c.by);
        let mut clears: Vec<&Cleared> = self.clears.iter().filter(whole).chain(&self.clears_apart).collect();
        clears.sort();
        (dots.into_iter().collect(), clears)
    }
    /// Forgets what has come: the operation that took the dots from `first` to `last`.
    pub(super) fn settle(&mut self, first: Dot, last: Dot, vv: &VersionVector) {
        if self.dots.is_empty() && self.clears.is_empty() {
            return;
        }
        while let Some(dot) = self.dots.range(first..=last).next().copied() {
            self.dots.remove(&dot);
        }
        self.clears.retain(|c| !vv.covers(&c.upto.0));
    }
}

fn insert(clears: &mut Vec<Cleared>, clear: Cleared) {
    if let Err(at) = clears.binary_search(&clear) {
        clears.insert(at, clear);
    }
}
