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
//! **An element may die twice.** Two replicas delete it at once, and each puts it into the epoch of the deletion that came
//! first *there*. One of the two deletions may be stable long before the other: then a replica that knows the element's death by that one alone
//! purges it, so a replica that has it in the epoch of the other must not name it any more. Therefore an epoch also remembers, for each
//! replica, the first deletion that killed what was dead in it already, and is retired when the line reaches one of those; and is
//! retired at once if a state brings such a death, for nobody knows by which deletion. A deletion that was known before
//! it came (a state brought its number, not all of its effect) kills quietly: no epoch to come will hold it.
//!
//! **Coming back.** The lines are promises. A replica that comes back from its disk retires up to the line it announced before it
//! inserts anything; a text that is read from its bytes ([`Rga::decode`]) has only quiet dead, and what its log still holds
//! kills anew.
//!
//! A dead element with children stays, as a name without content, until they are gone: the skeleton of what
//! lives. Purging is a walk over all runs, so call it now and then, not for each deletion.

use super::Rga;
use super::build::Builder;
use super::content::Content;
use super::contract::contract;
use super::planted::{self, Bug};
use super::tree::{Death, EPOCH_MAX, Run};
use crate::dot::Dot;
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
    /// By replica the first deletion that killed what had died in it.
    again: Vec<Dot>,
    retired: bool,
}

/// The epochs of the dead.
#[derive(Clone, Debug)]
pub(super) struct Epochs {
    now: u32,
    /// Something died in this epoch.
    used: bool,
    /// As of a closed one.
    again: Vec<Dot>,
    retired: bool,
    /// In order; what is not in any was passed by both lines.
    closed: Vec<Closed>,
}

impl Default for Epochs {
    fn default() -> Self {
        Self { now: Self::FIRST, used: false, again: Vec::new(), retired: false, closed: Vec::new() }
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
        let closed = || self.closed.iter().find(|c| c.last >= run.epoch()).is_some_and(|c| c.retired);
        !run.is_quiet() && !if run.epoch() == self.now { self.retired } else { closed() }
    }

    /// What died in an epoch is killed again: by this deletion, or, if a state says so, by nobody knows which.
    pub(super) fn again(&mut self, run: &Run, by: Option<Dot>) {
        if run.is_quiet() || planted::is(Bug::DieOnce) {
            return;
        }
        let (again, retired) = if run.epoch() == self.now {
            (&mut self.again, &mut self.retired)
        } else {
            let Some(c) = self.closed.iter_mut().find(|c| c.last >= run.epoch()) else { return };
            (&mut c.again, &mut c.retired)
        };
        match by {
            Some(by) => note(again, by),
            None => *retired = true,
        }
    }

    /// Ends the epoch under way with all that was deleted by now. Whether something died in it.
    pub(super) fn close(&mut self, deleted: &VersionVector) -> bool {
        if self.now == EPOCH_MAX || !self.used {
            return false;
        }
        if self.closed.len() == EPOCHS {
            // Two become one: the older waits for the younger, and is as retired as either.
            let older = self.closed.remove(EPOCHS / 2);
            let younger = &mut self.closed[EPOCHS / 2];
            younger.retired |= older.retired;
            older.again.into_iter().for_each(|by| note(&mut younger.again, by));
        }
        let (again, retired) = (core::mem::take(&mut self.again), core::mem::take(&mut self.retired));
        self.closed.push(Closed { last: self.now, deleted: deleted.clone(), again, retired });
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
            epoch.retired |= reached || epoch.again.iter().any(|by| line.contains(*by));
            before.clone_from(&epoch.deleted);
        }
    }
}

/// Notes a deletion, unless an earlier one of its replica is noted.
fn note(again: &mut Vec<Dot>, by: Dot) {
    match again.binary_search_by_key(&by.replica(), |d| d.replica()) {
        Ok(at) => again[at] = again[at].min(by),
        Err(at) => again.insert(at, by),
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
        let forgotten = self.forget(passed, false);
        self.epochs.drop_to(passed);
        Purged { forgotten, kept: dead - forgotten }
    }

    /// Rebuilds the tree without the dead of `epoch` and before that nothing hangs on; and with the chains of the others shortened
    /// ([`contract`](super::contract)), if nothing that is to come hangs on them.
    pub(super) fn forget(&mut self, epoch: u32, still: bool) -> u64 {
        let mut kept: Vec<Run> = self.tree.leaves_in_order().flat_map(|l| l.runs.iter().copied()).collect();
        let forest = Forest::of(&kept);
        let old: u64 = kept.iter().map(|r| u64::from(r.len)).sum();
        let passed = |run: &Run| run.is_dead() && run.epoch() <= epoch;
        for at in 0..kept.len() {
            let mut at = at;
            while passed(&kept[at]) && kept[at].len > 0 {
                let origin = forest.trim(&mut kept, at);
                match origin {
                    Some(parent) => at = parent,
                    None => break,
                }
            }
        }
        let mut new: Vec<(usize, Run)> = if still {
            contract(&kept, &forest, |run| passed(run) || planted::is(Bug::ContractEarly))
        } else {
            forest.mark(&mut kept);
            kept.iter().copied().enumerate().filter(|(_, run)| run.len > 0).collect()
        };
        let mut changed = false;
        for (_, run) in new.iter_mut().filter(|(_, run)| passed(run)) {
            changed |= run.epoch() > 0;
            run.die(Death::LONG_AGO);
        }
        let left: u64 = new.iter().map(|(_, r)| u64::from(r.len)).sum();
        if left == old && !changed {
            return 0;
        }
        let tree = core::mem::take(&mut self.tree);
        let slices: Vec<&C::Slice> = tree.runs().map(|(_, slice)| slice).collect();
        let mut builder = Builder::new();
        new.iter().for_each(|(at, run)| builder.push(*run, slices[*at]));
        self.tree = builder.finish();
        old - left
    }
}

/// Which run hangs on which.
pub(super) struct Forest {
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
        let holder = holder.filter(|_| !planted::is(Bug::PurgeParents));
        runs[at].len = holder.map_or(0, |(origin, _)| (origin - run.first) as u32 + 1);
        if runs[at].len > 0 {
            return None;
        }
        self.run_of(runs, run.origin)
    }

    /// The run that holds an element.
    pub(super) fn run_of(&self, runs: &[Run], name: u64) -> Option<usize> {
        let at = self.names.partition_point(|(first, _)| *first <= name).checked_sub(1)?;
        let at = self.names[at].1 as usize;
        runs[at].holds(name).then_some(at)
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
