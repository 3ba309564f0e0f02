//! States, and parts of states, as values: what is sent, stored and joined.
//!
//! A [`Delta`] is a set of elements with their origins, which of them are dead, and how far the replicas had
//! come. A state is the big one. Elements lie in it by name, as *chains*: runs that ignore what is dead and what was
//! inserted between. The order of the document is not in it; it follows from the origins, so no delta can lie about it.

use super::Rga;
use super::content::Content;
use super::order::Origin;
use super::tree::Run;
use crate::version::VersionVector;
use alloc::vec::Vec;

/// What a chain costs in a delta, for [`Delta::size`]: name, length, origin.
pub(super) const CHAIN_BYTES: usize = 6;

/// Elements with consecutive names, each hanging right of the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chain {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) origin: Origin,
}

/// Elements, live and dead, of some replicas up to some names: a state or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta<C> {
    /// How far it reaches, per replica.
    pub(super) seen: VersionVector,
    /// The deletions it knows of, per replica the last.
    pub(super) deleted: VersionVector,
    /// By name, as long as can be.
    pub(super) chains: Vec<Chain>,
    /// The dead among the chains' names: disjoint, not touching, sorted.
    pub(super) dead: Vec<(u64, u64)>,
    /// The live, by name.
    pub(super) content: C,
    /// Insertions that wait, by name.
    pub(super) parked: Vec<(u64, Origin, C)>,
    /// Names that die when they come: disjoint, not touching, sorted.
    pub(super) doomed: Vec<(u64, u64)>,
}

/// A stretch of a chain, all live or all dead.
#[derive(Debug)]
pub(super) struct Stretch<'a, S: ?Sized> {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) dead: bool,
    pub(super) slice: &'a S,
}

/// Appends an interval, joined to the last if they touch.
pub(super) fn push_interval(to: &mut Vec<(u64, u64)>, first: u64, end: u64) {
    match to.last_mut() {
        Some((_, e)) if *e == first => *e = end,
        _ => to.push((first, end)),
    }
}

impl<C: Content> Delta<C> {
    pub(super) fn empty() -> Self {
        Self {
            seen: VersionVector::new(),
            deleted: VersionVector::new(),
            chains: Vec::new(),
            dead: Vec::new(),
            content: C::default(),
            parked: Vec::new(),
            doomed: Vec::new(),
        }
    }

    /// About how many bytes it takes to send.
    #[must_use]
    pub fn size(&self) -> usize {
        let parked: usize = self.parked.iter().map(|(.., c)| CHAIN_BYTES + C::weight(c.as_slice())).sum();
        CHAIN_BYTES * self.chains.len()
            + 2 * (self.dead.len() + self.doomed.len())
            + C::weight(self.content.as_slice())
            + parked
    }

    /// The names it brings or covers, per replica.
    #[must_use]
    pub const fn seen(&self) -> &VersionVector {
        &self.seen
    }

    /// The stretches of all chains by name, each within one chain.
    pub(super) fn stretches(&self) -> Vec<Stretch<'_, C::Slice>> {
        let mut out = Vec::with_capacity(self.chains.len() + 2 * self.dead.len());
        let mut rest = self.content.as_slice();
        let mut dead = self.dead.iter().copied().peekable();
        for chain in &self.chains {
            let mut at = chain.first;
            while at < chain.end {
                while dead.next_if(|(_, end)| *end <= at).is_some() {}
                let next = dead.peek().copied().filter(|(first, _)| *first < chain.end);
                let (end, is_dead) = match next {
                    Some((first, end)) if first <= at => (end.min(chain.end), true),
                    Some((first, _)) => (first, false),
                    None => (chain.end, false),
                };
                let n = if is_dead { 0 } else { (end - at) as usize };
                let (slice, more) = C::cut(rest, n);
                rest = more;
                out.push(Stretch { first: at, end, dead: is_dead, slice });
                at = end;
            }
        }
        out
    }

    /// The chain that holds a name.
    pub(super) fn chain_of(&self, name: u64) -> Option<usize> {
        let at = self.chains.partition_point(|c| c.first <= name).checked_sub(1)?;
        (name < self.chains[at].end).then_some(at)
    }
}

impl<S: ?Sized> Clone for Stretch<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: ?Sized> Copy for Stretch<'_, S> {}

impl<C: Content> Rga<C> {
    /// The whole state.
    #[must_use]
    pub fn delta(&self) -> Delta<C> {
        let mut rows: Vec<(&Run, &C::Slice)> = self.tree.runs().collect();
        rows.sort_unstable_by_key(|(run, _)| run.first);
        let mut delta = Delta::<C>::empty();
        delta.seen = self.seen.clone();
        delta.deleted = self.deleted.clone();
        for (run, slice) in rows {
            match delta.chains.last_mut() {
                Some(c) if c.end == run.first && run.origin == run.first - 1 && !run.is_left() => {
                    c.end = run.end()
                }
                _ => delta.chains.push(Chain {
                    first: run.first,
                    end: run.end(),
                    origin: Origin { name: run.origin, left: run.is_left() },
                }),
            }
            if run.is_dead() {
                push_interval(&mut delta.dead, run.first, run.end());
            } else {
                delta.content.push(slice);
            }
        }
        delta.parked = self.parked.inserts.iter().map(|(f, (o, c))| (*f, *o, c.clone())).collect();
        delta.doomed = self.parked.doomed.iter().map(|(f, e)| (*f, *e)).collect();
        delta
    }

    /// About how many bytes the whole state takes to send.
    #[must_use]
    pub fn size(&self) -> usize {
        let content: usize = self.pieces().map(C::weight).sum();
        self.runs() * CHAIN_BYTES + content
    }
}
