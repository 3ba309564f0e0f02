//! From the name of an element to the leaf that holds it.
//!
//! The index maps *intervals* of names to leaves, not runs to places: inside a leaf runs are split,
//! joined and killed without it hearing of that, and a leaf is short enough to be searched. Neighbouring intervals
//! in one leaf are one record, so there are about as many records as there were places where somebody
//! began to type.
//!
//! **Invariant.** A name that is in the tree lies in the leaf of the last record at or before it. A name that is not
//! may be mapped to any leaf: who looks it up finds it missing there. A record is about one replica's names.

use super::tree::NONE;
use alloc::vec::Vec;

/// Most records of one block: an insertion moves half as many, 12 bytes each.
const BLOCK: usize = 128;

#[derive(Clone, Debug, Default)]
struct Block {
    firsts: Vec<u64>,
    leaves: Vec<u32>,
}

/// Intervals of names, in rows of sorted blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The first name of each block; the blocks are never empty.
    heads: Vec<u64>,
    blocks: Vec<Block>,
    /// The last assignment: the name after it, and its leaf. What is typed extends it without a search.
    tail: (u64, u32),
    /// For each replica the name after the last that was assigned.
    tops: Vec<(u16, u64)>,
}

/// Whether one replica made both names.
const fn of_one(a: u64, b: u64) -> bool {
    a >> 48 == b >> 48
}

/// A record's block and its place there.
type Place = (usize, usize);

impl Index {
    /// The record at or before `name`.
    fn before(&self, name: u64) -> Option<Place> {
        let b = self.heads.partition_point(|h| *h <= name).checked_sub(1)?;
        let r = self.blocks[b].firsts.partition_point(|f| *f <= name) - 1;
        Some((b, r))
    }

    /// The leaf where `name` is, if it is anywhere.
    pub(super) fn get(&self, name: u64) -> Option<u32> {
        let (b, r) = self.before(name)?;
        Some(self.blocks[b].leaves[r])
    }

    /// The name after the last that was ever assigned to the replica of `name`.
    fn top_of(&mut self, name: u64) -> &mut u64 {
        let replica = (name >> 48) as u16;
        let at = match self.tops.binary_search_by_key(&replica, |(r, _)| *r) {
            Ok(at) => at,
            Err(at) => {
                self.tops.insert(at, (replica, 0));
                at
            }
        };
        &mut self.tops[at].1
    }

    /// Says that the names from `first` up to and without `end` are in `leaf`.
    pub(super) fn assign(&mut self, first: u64, end: u64, leaf: u32) {
        if self.tail == (first, leaf) {
            self.tail.0 = end;
            *self.top_of(first) = end;
            return;
        }
        let top = self.top_of(first);
        let (is_new, is_last) = (first >= *top, end >= *top);
        *top = end.max(*top);
        // Whose the names behind are, before anything is changed.
        let beyond = if is_last { None } else { self.get(end) };
        let at = match self.before(first) {
            Some(p) if self.leaf_at(p) == leaf && of_one(self.blocks[p.0].firsts[p.1], first) => p,
            Some((b, r)) if self.blocks[b].firsts[r] == first => {
                self.blocks[b].leaves[r] = leaf;
                self.join((b, r))
            }
            Some((b, r)) => self.insert((b, r + 1), first, leaf),
            None => self.insert((0, 0), first, leaf),
        };
        if !is_new {
            self.cut_after(at, end);
        }
        if let Some(owner) = beyond.filter(|o| *o != leaf) {
            // The interval's record may have moved, not what is before it.
            let (b, r) = self.before(first).unwrap_or((0, 0));
            self.insert((b, r + 1), end, owner);
        }
        self.tail = if is_last { (end, leaf) } else { (0, NONE) };
    }

    /// Joins the record at a place to the one before it in its block, if they say the same.
    fn join(&mut self, (b, r): Place) -> Place {
        let block = &mut self.blocks[b];
        if r == 0 || block.leaves[r - 1] != block.leaves[r] || !of_one(block.firsts[r - 1], block.firsts[r]) {
            return (b, r);
        }
        block.firsts.remove(r);
        block.leaves.remove(r);
        (b, r - 1)
    }

    fn leaf_at(&self, (b, r): Place) -> u32 {
        self.blocks[b].leaves[r]
    }

    /// Removes the records after `at` that begin at or before `end`.
    fn cut_after(&mut self, (b, r): Place, end: u64) {
        let block = &mut self.blocks[b];
        let stop = r + 1 + block.firsts[r + 1..].partition_point(|f| *f <= end);
        block.firsts.drain(r + 1..stop);
        block.leaves.drain(r + 1..stop);
        if block.firsts.len() > r + 1 {
            return;
        }
        while self.heads.get(b + 1).is_some_and(|h| *h <= end) {
            let next = &mut self.blocks[b + 1];
            let stop = next.firsts.partition_point(|f| *f <= end);
            next.firsts.drain(..stop);
            next.leaves.drain(..stop);
            if let Some(head) = next.firsts.first() {
                self.heads[b + 1] = *head;
                break;
            }
            self.heads.remove(b + 1);
            self.blocks.remove(b + 1);
        }
    }

    fn insert(&mut self, (b, r): Place, first: u64, leaf: u32) -> Place {
        if self.blocks.is_empty() {
            self.heads.push(first);
            self.blocks.push(Block { firsts: Vec::from([first]), leaves: Vec::from([leaf]) });
            return (0, 0);
        }
        let block = &mut self.blocks[b];
        block.firsts.insert(r, first);
        block.leaves.insert(r, leaf);
        if r == 0 {
            self.heads[b] = first;
        }
        if block.firsts.len() <= BLOCK {
            return (b, r);
        }
        // What is typed gets the greatest names: a full last block stays full.
        let keep = if r + 1 == block.firsts.len() { BLOCK } else { BLOCK / 2 };
        let new = Block { firsts: block.firsts.split_off(keep), leaves: block.leaves.split_off(keep) };
        block.firsts.shrink_to_fit();
        block.leaves.shrink_to_fit();
        self.heads.insert(b + 1, new.firsts[0]);
        self.blocks.insert(b + 1, new);
        if r < keep { (b, r) } else { (b + 1, r - keep) }
    }

    /// An index of intervals (first, end, leaf) sorted by name.
    pub(super) fn sorted(intervals: &[(u64, u64, u32)]) -> Self {
        let mut index = Self::default();
        let mut last = NONE;
        let mut block = Block::default();
        for &(first, end, leaf) in intervals {
            match index.tops.last_mut() {
                Some((replica, top)) if u64::from(*replica) == first >> 48 => *top = end,
                _ => {
                    index.tops.push(((first >> 48) as u16, end));
                    last = NONE;
                }
            }
            if leaf == last {
                continue;
            }
            last = leaf;
            if block.firsts.len() == BLOCK * 3 / 4 {
                index.close(core::mem::take(&mut block));
            }
            block.firsts.push(first);
            block.leaves.push(leaf);
        }
        if !block.firsts.is_empty() {
            index.close(block);
        }
        index
    }

    fn close(&mut self, mut block: Block) {
        block.firsts.shrink_to_fit();
        block.leaves.shrink_to_fit();
        self.heads.push(block.firsts[0]);
        self.blocks.push(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_index_answers_as_a_table_of_names(
            steps in proptest::collection::vec((0u64..3, 1u64..400, 1u64..40, 0u32..9), 1..200)
        ) {
            let mut index = Index::default();
            let mut table = std::collections::BTreeMap::new();
            for (replica, seq, len, leaf) in steps {
                let first = (replica << 48) + seq;
                index.assign(first, first + len, leaf);
                for name in first..first + len {
                    table.insert(name, leaf);
                }
                for (name, leaf) in &table {
                    prop_assert_eq!(index.get(*name), Some(*leaf));
                }
            }
        }
    }
}
