//! A tree from a delta: the tree of elements read in order, without recursion.

use super::build::Builder;
use super::content::Content;
use super::delta::{Delta, Stretch};
use super::op::Refused;
use super::purge::Epochs;
use super::tree::{Death, ROOT, Run, Tree};
use alloc::vec::Vec;

/// Reads chains in the order of the document.
struct Walk<'a, C: Content> {
    delta: &'a Delta<C>,
    /// Chains by origin, left before right, name.
    below: Vec<u32>,
    /// For each chain, where in `below` those that hang on it begin.
    starts: Vec<u32>,
    stretches: Vec<Stretch<'a, C::Slice>>,
    /// For each chain, its first stretch that is not read to the end.
    next: Vec<u32>,
    builder: Builder<C>,
    emitted: u64,
}

/// What is still to be read.
#[derive(Clone, Copy)]
enum Step {
    /// A chain, from its beginning.
    Chain(u32),
    /// The rest of one: from `name` on, whose left children were read if `marked`, and below it from `at` on.
    Rest { chain: u32, name: u64, at: u32, marked: bool },
}

impl<C: Content> Delta<C> {
    /// The tree of exactly this.
    ///
    /// # Errors
    /// If something hangs on what is not here, or on itself.
    pub(super) fn tree(&self) -> Result<Tree<C>, Refused> {
        let mut below: Vec<u32> = (0..self.chains.len() as u32).collect();
        below.sort_unstable_by_key(|at| {
            let chain = &self.chains[*at as usize];
            (chain.origin.name, !chain.origin.left, chain.first)
        });
        let roots = below.partition_point(|at| self.chains[*at as usize].origin.name == ROOT);
        let mut starts = Vec::with_capacity(self.chains.len());
        let mut edge = roots;
        for chain in &self.chains {
            let origin = |at: usize| below.get(at).map(|c| self.chains[*c as usize].origin.name);
            if origin(edge).is_some_and(|o| o < chain.first) {
                return Err(Refused::Malformed { what: "an element hangs on one that is not there" });
            }
            starts.push(edge as u32);
            while origin(edge).is_some_and(|o| o < chain.end) {
                edge += 1;
            }
        }
        if edge < below.len() {
            return Err(Refused::Malformed { what: "an element hangs on one that is not there" });
        }
        let stretches = self.stretches();
        let mut next = Vec::with_capacity(self.chains.len());
        let mut at = 0;
        for chain in &self.chains {
            while stretches.get(at).is_some_and(|s| s.first < chain.first) {
                at += 1;
            }
            next.push(at as u32);
        }
        let mut walk =
            Walk { delta: self, below, starts, stretches, next, builder: Builder::new(), emitted: 0 };
        walk.all(roots);
        let whole: u64 = self.chains.iter().map(|c| c.end - c.first).sum();
        if walk.emitted != whole {
            return Err(Refused::Malformed { what: "elements hang on each other in a ring" });
        }
        Ok(walk.builder.finish())
    }
}

impl<C: Content> Walk<'_, C> {
    fn all(&mut self, roots: usize) {
        let mut stack: Vec<Step> = self.below[..roots].iter().rev().map(|c| Step::Chain(*c)).collect();
        while let Some(step) = stack.pop() {
            match step {
                Step::Chain(c) => {
                    let (name, at) = (self.delta.chains[c as usize].first, self.starts[c as usize]);
                    self.read(&mut stack, c, name, at, false);
                }
                Step::Rest { chain, name, at, marked } => self.read(&mut stack, chain, name, at, marked),
            }
        }
    }

    /// Reads a chain from `name` up to the next element on which something hangs that must be read first.
    fn read(&mut self, stack: &mut Vec<Step>, c: u32, name: u64, at: u32, marked: bool) {
        let chain = self.delta.chains[c as usize];
        let (mut name, mut at, mut marked) = (name, at, marked);
        loop {
            let child = self.below.get(at as usize).copied();
            let Some((child, edge)) = child
                .map(|child| (child, self.delta.chains[child as usize]))
                .filter(|(_, edge)| edge.origin.name < chain.end)
            else {
                return self.emit(c, name, chain.end, marked);
            };
            let parent = edge.origin.name;
            if edge.origin.left {
                if name < parent {
                    self.emit(c, name, parent, marked);
                }
                stack.push(Step::Rest { chain: c, name: parent, at: at + 1, marked: true });
                return stack.push(Step::Chain(child));
            }
            if name <= parent {
                self.emit(c, name, parent + 1, marked);
                name = parent + 1;
                marked = false;
            }
            // The chain's own next element is a sibling of what hangs right of this one.
            if parent + 1 == chain.end || edge.first < parent + 1 {
                stack.push(Step::Rest { chain: c, name, at: at + 1, marked });
                return stack.push(Step::Chain(child));
            }
            let from = at as usize;
            let later = self.below[from..]
                .iter()
                .take_while(|later| self.delta.chains[**later as usize].origin == edge.origin)
                .count();
            stack.extend(self.below[from..from + later].iter().rev().map(|later| Step::Chain(*later)));
            at += later as u32;
        }
    }

    /// Hands the elements from `name` up to `end` to the builder.
    fn emit(&mut self, c: u32, name: u64, end: u64, marked: bool) {
        let chain = self.delta.chains[c as usize];
        let (mut name, mut marked) = (name, marked);
        self.emitted += end - name;
        while name < end {
            let next = &mut self.next[c as usize];
            let stretch = &mut self.stretches[*next as usize];
            let to = end.min(stretch.end);
            let (piece, rest) = C::cut(stretch.slice, if stretch.dead { 0 } else { (to - name) as usize });
            stretch.slice = rest;
            let dead = stretch.dead;
            if to == stretch.end {
                *next += 1;
            }
            let mut run = if name == chain.first {
                Run::new(name, chain.origin.name, chain.origin.left, (to - name) as u32)
            } else {
                Run::new(name, name - 1, false, (to - name) as u32)
            };
            run.set_has_left(core::mem::take(&mut marked));
            if dead {
                run.die(Death { epoch: Epochs::FIRST, quiet: true });
            }
            self.builder.push(run, piece);
            name = to;
        }
    }
}
