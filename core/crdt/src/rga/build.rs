//! A tree made at once from runs in document order.

use super::content::Content;
use super::index::Index;
use super::tree::{Leaf, NONE, RUNS, Run, Tree};
use alloc::vec::Vec;

/// Runs are put into a leaf until it is this full, so that the first edits split nothing.
const FILL: usize = RUNS * 3 / 4;

/// Takes runs in document order, joins those that continue each other, and makes leaves of them.
pub(super) struct Builder<C> {
    tree: Tree<C>,
    leaf: Leaf<C>,
    /// (first name, the name after the last, leaf) of each run.
    names: Vec<(u64, u64, u32)>,
}

impl<C: Content> Builder<C> {
    pub(super) fn new() -> Self {
        Self { tree: Tree::without_leaves(), leaf: Leaf::new(), names: Vec::new() }
    }

    pub(super) fn push(&mut self, run: Run, slice: &C::Slice) {
        if run.is_dead() {
            return self.push_piece(run, slice);
        }
        let (mut run, mut rest) = (run, slice);
        let most = (C::LEAF / 4) as u32;
        while run.len > most {
            let (piece, more) = C::cut(rest, most as usize);
            let tail = run.tail(most);
            run.len = most;
            self.push_piece(run, piece);
            (run, rest) = (tail, more);
        }
        self.push_piece(run, rest);
    }

    fn push_piece(&mut self, run: Run, slice: &C::Slice) {
        let full = self.leaf.runs.len() >= FILL || self.leaf.live as usize >= C::LEAF * 3 / 4;
        if let Some(last) = self.leaf.runs.last_mut()
            && last.continued_by(&run)
            && (!full || run.is_dead())
        {
            last.len += run.len;
        } else {
            if full {
                self.close();
            }
            self.leaf.runs.push(run);
        }
        self.leaf.live += run.live();
        if run.live() > 0 {
            self.leaf.content.push(slice);
        }
    }

    fn close(&mut self) {
        let mut leaf = core::mem::replace(&mut self.leaf, Leaf::new());
        let at = self.tree.leaves.len() as u32;
        for run in &leaf.runs {
            match self.names.last_mut() {
                Some((_, end, in_leaf)) if *end == run.first && *in_leaf == at => *end = run.end(),
                _ => self.names.push((run.first, run.end(), at)),
            }
        }
        leaf.runs.shrink_to_fit();
        leaf.content.trim();
        leaf.prev = at.wrapping_sub(1);
        leaf.next = at + 1;
        self.tree.leaves.push(leaf);
    }

    pub(super) fn finish(mut self) -> Tree<C> {
        if !self.leaf.runs.is_empty() {
            self.close();
        }
        if self.tree.leaves.is_empty() {
            return Tree::default();
        }
        if let Some(last) = self.tree.leaves.last_mut() {
            last.next = NONE;
        }
        self.names.sort_unstable_by_key(|(first, ..)| *first);
        self.tree.raise(Index::sorted(&self.names));
        self.tree
    }
}
