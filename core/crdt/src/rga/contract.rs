//! Chains of dead elements, shortened.
//!
//! A dead element with children stays as their place ([`purge`](super::purge)). In a queue that is all there ever was: each element
//! hangs on the one that was last when it was pushed, and the chain goes back to the first.
//!
//! **Rule.** Call a dead element *still* if no insertion to come can name it, and nothing that is to come hangs on it: so its
//! children are all it will ever have. A still element that is the only child of a still element with only one child is dropped. Its
//! own child, or children, hang on that parent instead, on the side on which it hung:
//!
//! ```text
//!    p ──▶ d₁ ──▶ d₂ ──▶ d₃ ◀── c          becomes          p ──▶ d₁ ──▶ c            d dead and still
//! ```
//!
//! **Why that changes no order.** `d₁` stays, under its own name, so `p`'s children stay in the order of their names. What was below
//! `d₂` is now alone below `d₁`, as `d₂` was, on the same side of it: it is read where it was read. A dropped element has one child,
//! so nothing else was read with it. Nothing to come can tell: it hangs on elements that live where it is made, whose children
//! and whose names are untouched.
//!
//! **Why everyone comes to the same.** Whether an element stays depends on how many children it and its parent have, and
//! dropping one changes no such number. So it makes no difference in how many steps it is done, and in which states between: once all that is
//! dead is still everywhere, all have the same elements on the same ones. States are then equal byte for byte.
//!
//! **What remains.** A dead element that stays has several children, or one that is not still, or one with several children. With `n` elements that
//! are not still there are fewer than `3n` others.
//!
//! **Rejected.** Putting the child into the dead element's place under the dead one's name: drops `d₁` too, but then every element has a name and a
//! place's name, eight bytes more in each run, in each state and in each comparison. New names for what is stable: needs a map
//! of the old ones for as long as anybody may use them.

use super::purge::Forest;
use super::tree::{Death, ROOT, Run};
use alloc::vec::Vec;

/// What a run hangs on, and on which side.
type Hung = (u64, bool);

/// The runs of a document, some of them empty, and what is asked of them.
struct Chains<'a> {
    runs: &'a [Run],
    forest: &'a Forest,
    /// Whether a run's elements are dead and still.
    still: Vec<bool>,
    /// What each run hangs on, sorted.
    below: Vec<u64>,
    /// What each run's first element hangs on at last, once that is known.
    hung: Vec<Option<Hung>>,
}

impl<'a> Chains<'a> {
    fn of(runs: &'a [Run], forest: &'a Forest, still: impl Fn(&Run) -> bool) -> Self {
        let still = runs.iter().map(|r| r.len > 0 && r.is_dead() && still(r)).collect();
        let mut below: Vec<u64> = runs.iter().filter(|r| r.len > 0).map(|r| r.origin).collect();
        below.sort_unstable();
        let hung = alloc::vec![None; runs.len()];
        Self { runs, forest, still, below, hung }
    }
    /// What hangs on the elements from `first` up to `end`.
    fn on(&self, first: u64, end: u64) -> &[u64] {
        let from = self.below.partition_point(|origin| *origin < first);
        let to = self.below.partition_point(|origin| *origin < end);
        &self.below[from..to]
    }
    /// Whether an element of a run has exactly one child.
    fn is_single(&self, at: usize, name: u64) -> bool {
        self.on(name, name + 1).len() + usize::from(name < self.runs[at].last()) == 1
    }
    /// The run that holds what a run hangs on.
    fn parent(&self, at: usize) -> Option<usize> {
        let origin = self.runs[at].origin;
        if origin == ROOT { None } else { self.forest.run_of(self.runs, origin) }
    }
    /// Whether an element of a run is dropped.
    fn is_dropped(&self, at: usize, name: u64) -> bool {
        if !self.still[at] || !self.is_single(at, name) {
            return false;
        }
        let run = &self.runs[at];
        if name > run.first {
            return self.is_single(at, name - 1);
        }
        self.parent(at).is_some_and(|p| self.still[p] && self.is_single(p, run.origin))
    }
    /// What a run's first element hangs on once all that can be dropped is.
    fn hung(&mut self, at: usize) -> Hung {
        // Up to a run of which that is known or that says it itself, and down again.
        let mut way = Vec::from([at]);
        let mut hung = loop {
            let at = way[way.len() - 1];
            if let Some(known) = self.hung[at] {
                break known;
            }
            let run = &self.runs[at];
            let Some(parent) = self.parent(at).filter(|p| self.is_dropped(*p, run.origin)) else {
                break (run.origin, run.is_left());
            };
            // The last element that stays before the one that is dropped has only the one below it.
            if let Some(stays) = self.stays_before(parent, run.origin) {
                break (stays, false);
            }
            way.push(parent);
        };
        while let Some(at) = way.pop() {
            hung = *self.hung[at].insert(hung);
        }
        hung
    }
    /// The last element of a run that is not dropped, before one that is.
    fn stays_before(&self, at: usize, name: u64) -> Option<u64> {
        let first = self.runs[at].first;
        // What other runs hang on has two children, unless it is the run's last: so the one behind it stays.
        match self.on(first, name).last() {
            Some(holder) => Some(holder + 1),
            None => (first < name && !self.is_dropped(at, first)).then_some(first),
        }
    }
    /// The elements of a run of still ones that stay.
    fn stay(&self, at: usize) -> Vec<u64> {
        let run = &self.runs[at];
        let mut out = Vec::new();
        let mut next = run.first;
        for holder in self.on(run.first, run.end()).chunk_by(|a, b| a == b).map(|some| some[0]) {
            // From `next` to the holder each has one child, but for the holder perhaps.
            out.extend((!self.is_dropped(at, next)).then_some(next));
            out.extend((holder > next && !self.is_dropped(at, holder)).then_some(holder));
            next = holder + 1;
        }
        out
    }
}

/// The runs without the elements that can be dropped, each with the run it came from. In a still run something hangs on the last element.
pub(super) fn contract(runs: &[Run], forest: &Forest, still: impl Fn(&Run) -> bool) -> Vec<(usize, Run)> {
    let mut chains = Chains::of(runs, forest, still);
    let mut out: Vec<(usize, Run)> = Vec::with_capacity(runs.len());
    for (at, run) in runs.iter().enumerate().filter(|(_, r)| r.len > 0) {
        let (origin, left) = chains.hung(at);
        if !chains.still[at] {
            out.push((at, run.moved(origin, left)));
            continue;
        }
        let mut above: Hung = (origin, left);
        for name in chains.stay(at) {
            let mut one = Run::new(name, above.0, above.1, 1);
            one.die(Death::LONG_AGO);
            out.push((at, one));
            above = (name, false);
        }
    }
    mark(&mut out);
    out
}

/// Says anew which runs have left children.
fn mark(runs: &mut [(usize, Run)]) {
    let mut lefts: Vec<u64> = runs.iter().filter(|(_, r)| r.is_left()).map(|(_, r)| r.origin).collect();
    lefts.sort_unstable();
    for (_, run) in runs {
        run.set_has_left(lefts.binary_search(&run.first).is_ok());
    }
}
