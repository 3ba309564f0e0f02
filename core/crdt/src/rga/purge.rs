//! When a dead element is forgotten.
//!
//! A dead element that nothing hangs on, and on which nothing ever will, can go: the order of the others does not
//! depend on it. Nothing ever will once every replica has promised to name it no more, *and* whatever a replica made
//! before it promised has been applied here. So a deletion passes two lines, both version vectors of operations:
//!
//! | line | meaning | call |
//! |---|---|---|
//! | *stable* | every replica has applied it, as far as is known here | [`Rga::retire`]: from now on no insertion made here names what it killed |
//! | *retired everywhere* | every replica has said that it is stable for it; and for each, what it did before it said so has been applied here | [`Rga::purge`] |
//!
//! A replica that announces its stable line with its digests needs nothing else; the second line is the minimum of
//! the announced ones, each counted only from when one's own version vector has reached its sender's entry.
//! Retiring at once what is merely applied, when acknowledging it, is as safe, with one line for two; it was rejected
//! as the rule, because under a partition, where nothing gets stable, it would order edits worse than Fugue
//! does ([`order`](super::order), cases 3 to 5).
//!
//! **Epochs.** A dead run does not keep the dot of its deletion (8 bytes each); it keeps an epoch. An epoch is closed
//! with the version vector of all deletions up to then. It is retired when the line reaches any deletion in it, and
//! purged when the line has passed all. What a state brought is *quiet*, never named, for nobody knows who
//! killed it.
//!
//! A dead element with children stays, as a name without content, until they are gone: the skeleton of what
//! lives. Purging is a walk over all runs, so call it now and then, not for each deletion.

use super::Rga;
use super::build::Builder;
use super::content::Content;
use super::planted::{self, Slip};
use super::tree::{Death, EPOCH_MAX, Run};
use crate::version::VersionVector;
use alloc::vec::Vec;

/// Most closed epochs: beyond it two neighbours become one.
const EPOCHS: usize = 16;

/// What [`Rga::purge`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Purged {
    /// Dead elements that are forgotten.
    pub forgotten: u64,
    /// Dead elements that stay: not stable yet, or others hang on them.
    pub kept: u64,
}

/// Deaths up to some moment.
#[derive(Clone, Debug)]
struct Closed {
    /// The last epoch.
    last: u32,
    /// All deletions up to its end.
    deleted: VersionVector,
    retired: bool,
}

/// The epochs of the dead.
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    now: u32,
    /// Something died in this epoch.
    used: bool,
    /// In order; what is not in any was passed by both lines.
    closed: Vec<Closed>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { now: Self::FIRST, used: false, closed: Vec::new() }
    }
}

impl Epochs {
    /// The epoch in which a replica begins.
    pub(super) const FIRST: u32 = 1;

    /// A death that insertions may name for a while.
    pub(super) const fn fresh(&mut self) -> Death {
        self.used = true;
        Death { epoch: self.now, quiet: false }
    }

    /// A death that no insertion may name.
    pub(super) const fn quiet(&mut self) -> Death {
        self.used = true;
        Death { epoch: self.now, quiet: true }
    }

    /// Whether an insertion made here may name a dead run.
    pub(super) fn may_name(&self, run: &Run) -> bool {
        let retired = || self.closed.iter().find(|c| c.last >= run.epoch()).is_some_and(|c| c.retired);
        !run.is_quiet() && (run.epoch() == self.now || !retired())
    }

    /// Ends the epoch under way with all that was deleted by now. Whether something died in it.
    pub(super) fn close(&mut self, deleted: &VersionVector) -> bool {
        if self.now == EPOCH_MAX || !self.used {
            return false;
        }
        if self.closed.len() == EPOCHS {
            // Two become one: the older waits for the younger, and is as retired as either.
            let older = self.closed.remove(EPOCHS / 2);
            self.closed[EPOCHS / 2].retired |= older.retired;
        }
        self.closed.push(Closed { last: self.now, deleted: deleted.clone(), retired: false });
        self.now += 1;
        self.used = false;
        true
    }

    /// The last epoch of which everything is at or before the line; 0 without one.
    pub(super) fn passed(&self, line: &VersionVector) -> u32 {
        self.closed.iter().rev().find(|c| line.covers(&c.deleted)).map_or(0, |c| c.last)
    }

    /// Forgets the epochs up to this one.
    pub(super) fn drop_to(&mut self, passed: u32) {
        self.closed.retain(|c| c.last > passed);
    }

    /// Whether there is an epoch whose dead may be purged some day.
    pub(super) const fn any(&self) -> bool {
        self.used || !self.closed.is_empty()
    }

    /// Retires each closed epoch in which there may be a deletion at or before the line.
    fn retire(&mut self, line: &VersionVector) {
        let mut before = VersionVector::new();
        for epoch in &mut self.closed {
            let reached = epoch.deleted.iter().any(|(r, d)| before.get(r) < d.min(line.get(r)));
            epoch.retired |= reached;
            before.clone_from(&epoch.deleted);
        }
    }
}

impl<C: Content> Rga<C> {
    /// From now on no insertion made here names what a deletion up to `line` killed.
    pub fn retire(&mut self, line: &VersionVector) {
        self.epochs.close(&self.deleted);
        self.epochs.retire(line);
    }

    /// Forgets the dead elements that no deletion beyond `line` killed and on which nothing hangs. Every replica must
    /// have retired them, see the module's text.
    pub fn purge(&mut self, line: &VersionVector) -> Purged {
        self.retire(line);
        let dead = self.dead();
        let passed = self.epochs.passed(line);
        if dead == 0 || passed == 0 {
            return Purged { forgotten: 0, kept: dead };
        }
        let forgotten = self.forget(passed);
        self.epochs.drop_to(passed);
        Purged { forgotten, kept: dead - forgotten }
    }

    /// Rebuilds the tree without the dead of `epoch` and before that nothing hangs on.
    pub(super) fn forget(&mut self, epoch: u32) -> u64 {
        let mut kept: Vec<Run> = self.tree.leaves_in_order().flat_map(|l| l.runs.iter().copied()).collect();
        let forest = Forest::of(&kept);
        let old: u64 = kept.iter().map(|r| u64::from(r.len)).sum();
        for at in 0..kept.len() {
            let mut at = at;
            while kept[at].is_dead() && kept[at].epoch() <= epoch && kept[at].len > 0 {
                let origin = forest.trim(&mut kept, at);
                match origin {
                    Some(parent) => at = parent,
                    None => break,
                }
            }
        }
        forest.mark(&mut kept);
        let mut changed = false;
        for run in &mut kept {
            if run.is_dead() && run.epoch() <= epoch && run.epoch() > 0 {
                run.die(Death::LONG_AGO);
                changed = true;
            }
        }
        let new: u64 = kept.iter().map(|r| u64::from(r.len)).sum();
        if new < old || changed {
            let tree = core::mem::take(&mut self.tree);
            let mut builder = Builder::new();
            for (run, (_, slice)) in kept.iter().zip(tree.runs()) {
                if run.len > 0 {
                    builder.push(*run, slice);
                }
            }
            self.tree = builder.finish();
        }
        old - new
    }
}

/// Which run hangs on which.
struct Forest {
    /// (origin, run), sorted.
    edges: Vec<(u64, u32)>,
    /// (first name, run), sorted.
    names: Vec<(u64, u32)>,
}

impl Forest {
    fn of(runs: &[Run]) -> Self {
        let mut edges: Vec<_> = runs.iter().zip(0..).map(|(r, at)| (r.origin, at)).collect();
        let mut names: Vec<_> = runs.iter().zip(0..).map(|(r, at)| (r.first, at)).collect();
        edges.sort_unstable();
        names.sort_unstable();
        Self { edges, names }
    }

    /// Cuts from the end of a dead run what nothing hangs on. If nothing is left of it, says on which
    /// run it hung.
    fn trim(&self, runs: &mut [Run], at: usize) -> Option<usize> {
        let run = runs[at];
        let from = self.edges.partition_point(|(origin, _)| *origin < run.first);
        let to = self.edges.partition_point(|(origin, _)| *origin < run.end());
        let holder = self.edges[from..to].iter().rev().find(|(_, child)| runs[*child as usize].len > 0);
        let holder = holder.filter(|_| !planted::is(Slip::PurgeParents));
        runs[at].len = holder.map_or(0, |(origin, _)| (origin - run.first) as u32 + 1);
        if runs[at].len > 0 {
            return None;
        }
        let parent = self.names.partition_point(|(first, _)| *first <= run.origin).checked_sub(1)?;
        let parent = self.names[parent].1 as usize;
        runs[parent].holds(run.origin).then_some(parent)
    }

    /// Says anew which runs have left children.
    fn mark(&self, runs: &mut [Run]) {
        for at in 0..runs.len() {
            if runs[at].has_left() {
                let first = runs[at].first;
                let from = self.edges.partition_point(|(origin, _)| *origin < first);
                let mut below = self.edges[from..].iter().take_while(|(origin, _)| *origin == first);
                let has = below.any(|(_, child)| {
                    let child = runs[*child as usize];
                    child.len > 0 && child.is_left()
                });
                runs[at].set_has_left(has);
            }
        }
    }
}
