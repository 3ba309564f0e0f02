//! The document: runs of elements in order, in the leaves of a B+tree that counts live elements.
//!
//! Nodes lie in arenas and name each other by index. A leaf holds up to [`RUNS`] runs and, in one
//! chunk, the live elements of all of them. An inner node holds how many live elements lie below
//! each child; nothing else is summed.
//!
//! **Invariants.**
//!
//! 1. An element with left children begins a run, and that run says so.
//! 2. A run's elements after its first are right children of the one before, and nothing lies between.
//! 3. No leaf but the only one is empty.
//! 4. The live counts of a node are the sums below it, after every operation.
//! 5. The cursor is either unset or true: so many live elements lie before that leaf, and before that run in it.

use super::content::Content;
use super::index::Index;
use alloc::vec::Vec;

/// No element: what has it for an origin hangs from the root.
pub(super) const ROOT: u64 = 0;
/// No node.
pub(super) const NONE: u32 = u32::MAX;
/// Most runs in a leaf.
pub(super) const RUNS: usize = 32;
/// Most children of an inner node.
const FAN: usize = 32;

const LEFT: u32 = 1;
const HAS_LEFT: u32 = 2;
const DEAD: u32 = 4;
const QUIET: u32 = 8;
const EPOCH_SHIFT: u32 = 4;
/// The last epoch a dead run can carry.
pub(super) const EPOCH_MAX: u32 = u32::MAX >> EPOCH_SHIFT;

/// When and how elements died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Death {
    pub(super) epoch: u32,
    /// No insertion made here may name them.
    pub(super) quiet: bool,
}

impl Death {
    /// Before all epochs: every replica knows of it.
    pub(super) const LONG_AGO: Self = Self { epoch: 0, quiet: true };
}

/// Elements with consecutive names, each the right child of the one before, all live or all dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) first: u64,
    /// The parent of the first.
    pub(super) origin: u64,
    pub(super) len: u32,
    mark: u32,
}

impl Run {
    pub(super) const fn new(first: u64, origin: u64, left: bool, len: u32) -> Self {
        Self { first, origin, len, mark: if left { LEFT } else { 0 } }
    }
    /// The same, hung on something else.
    pub(super) const fn moved(&self, origin: u64, left: bool) -> Self {
        let mark = if left { self.mark | LEFT } else { self.mark & !LEFT };
        Self { origin, mark, ..*self }
    }
    /// The name after the last.
    pub(super) const fn end(&self) -> u64 {
        self.first + self.len as u64
    }
    pub(super) const fn last(&self) -> u64 {
        self.end() - 1
    }
    /// Whether the first is a left child.
    pub(super) const fn is_left(&self) -> bool {
        self.mark & LEFT != 0
    }
    pub(super) const fn has_left(&self) -> bool {
        self.mark & HAS_LEFT != 0
    }
    pub(super) const fn is_dead(&self) -> bool {
        self.mark & DEAD != 0
    }
    /// When it died, in epochs of [`super::purge`].
    pub(super) const fn epoch(&self) -> u32 {
        self.mark >> EPOCH_SHIFT
    }
    pub(super) const fn live(&self) -> u32 {
        if self.is_dead() { 0 } else { self.len }
    }
    pub(super) const fn set_has_left(&mut self, has: bool) {
        self.mark = if has { self.mark | HAS_LEFT } else { self.mark & !HAS_LEFT };
    }
    /// Whether it is dead and no insertion made here may name it, whatever its epoch.
    pub(super) const fn is_quiet(&self) -> bool {
        self.mark & QUIET != 0
    }
    pub(super) const fn die(&mut self, death: Death) {
        let quiet = if death.quiet { QUIET } else { 0 };
        self.mark = self.mark & (LEFT | HAS_LEFT) | DEAD | quiet | death.epoch << EPOCH_SHIFT;
    }
    pub(super) const fn holds(&self, name: u64) -> bool {
        name.wrapping_sub(self.first) < self.len as u64
    }
    /// The part from element `k` on, which is not 0.
    pub(super) const fn tail(&self, k: u32) -> Self {
        let first = self.first + k as u64;
        Self { first, origin: first - 1, len: self.len - k, mark: self.mark & !(LEFT | HAS_LEFT) }
    }
    /// Whether `next`, which follows in the document, continues this run.
    pub(super) const fn continued_by(&self, next: &Self) -> bool {
        next.first == self.end()
            && next.origin + 1 == next.first
            && next.mark & (LEFT | HAS_LEFT) == 0
            && (next.mark ^ self.mark) >> 2 == 0
            && next.len <= u32::MAX - self.len
    }
}

#[derive(Clone, Debug)]
pub(super) struct Leaf<C> {
    pub(super) runs: Vec<Run>,
    pub(super) live: u32,
    parent: u32,
    pub(super) prev: u32,
    pub(super) next: u32,
    pub(super) content: C,
}

#[derive(Clone, Debug)]
struct Inner {
    parent: u32,
    count: usize,
    child: [u32; FAN],
    live: [u32; FAN],
}

/// A place before element `k` of a run; `k` 0 is before the run, and `run` may be one past the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) leaf: u32,
    pub(super) run: usize,
    pub(super) k: u32,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    leaf: u32,
    /// Live elements before the leaf.
    start: u32,
    run: usize,
    /// Live elements of the leaf before the run.
    before: u32,
}

const UNSET: Cursor = Cursor { leaf: NONE, start: 0, run: 0, before: 0 };

#[derive(Clone, Debug)]
pub(super) struct Tree<C> {
    pub(super) leaves: Vec<Leaf<C>>,
    inners: Vec<Inner>,
    root: u32,
    /// Levels of inner nodes.
    height: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    live: u32,
    index: Index,
    cursor: Cursor,
}

impl<C: Content> Leaf<C> {
    pub(super) fn new() -> Self {
        Self { runs: Vec::new(), live: 0, parent: NONE, prev: NONE, next: NONE, content: C::default() }
    }
}

impl<C: Content> Default for Tree<C> {
    fn default() -> Self {
        Self { leaves: Vec::from([Leaf::new()]), ..Self::without_leaves() }
    }
}

impl<C: Content> Tree<C> {
    pub(super) fn without_leaves() -> Self {
        Self {
            leaves: Vec::new(),
            inners: Vec::new(),
            root: 0,
            height: 0,
            first: 0,
            last: 0,
            live: 0,
            index: Index::default(),
            cursor: UNSET,
        }
    }

    /// Puts inner nodes over leaves in order, whose names `index` knows.
    pub(super) fn raise(&mut self, index: Index) {
        self.index = index;
        self.last = self.leaves.len() as u32 - 1;
        self.live = self.leaves.iter().map(|l| l.live).sum();
        let mut row: Vec<(u32, u32)> = self.leaves.iter().map(|l| l.live).zip(0..).collect();
        while row.len() > 1 {
            let mut above = Vec::new();
            for group in row.chunks(FAN * 3 / 4) {
                let node = self.inners.len() as u32;
                let mut inner = Inner { parent: NONE, count: 0, child: [NONE; FAN], live: [0; FAN] };
                for (live, child) in group {
                    inner.insert(inner.count, *child, *live);
                    self.set_parent(*child, self.height, node);
                }
                above.push((inner.sum(), node));
                self.inners.push(inner);
            }
            row = above;
            self.height += 1;
        }
        self.root = row.first().map_or(0, |(_, node)| *node);
    }

    /// Live elements.
    pub(super) const fn live(&self) -> u32 {
        self.live
    }

    pub(super) fn leaf(&self, leaf: u32) -> &Leaf<C> {
        &self.leaves[leaf as usize]
    }

    fn leaf_mut(&mut self, leaf: u32) -> &mut Leaf<C> {
        &mut self.leaves[leaf as usize]
    }

    pub(super) fn run(&self, leaf: u32, run: usize) -> &Run {
        &self.leaf(leaf).runs[run]
    }

    /// All runs with their live elements, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (&Run, &C::Slice)> {
        self.leaves_in_order().flat_map(|leaf| {
            let mut at = 0;
            leaf.runs.iter().map(move |run| {
                let slice = leaf.content.slice(at, run.live() as usize, leaf.live as usize);
                at += run.live() as usize;
                (run, slice)
            })
        })
    }

    pub(super) fn leaves_in_order(&self) -> impl Iterator<Item = &Leaf<C>> {
        let mut at = self.first;
        core::iter::from_fn(move || {
            let leaf = self.leaves.get(at as usize)?;
            at = leaf.next;
            Some(leaf)
        })
    }

    /// Where the element `name` is, if it is here.
    pub(super) fn find(&self, name: u64) -> Option<Place> {
        let leaf = self.index.get(name)?;
        let run = self.leaf(leaf).runs.iter().position(|r| r.holds(name))?;
        Some(Place { leaf, run, k: (name - self.run(leaf, run).first) as u32 })
    }

    /// The run after the one at (`leaf`, `run`).
    pub(super) fn next_run(&self, leaf: u32, run: usize) -> Option<(u32, usize)> {
        if run + 1 < self.leaf(leaf).runs.len() {
            return Some((leaf, run + 1));
        }
        let next = self.leaf(leaf).next;
        (next != NONE).then_some((next, 0))
    }

    /// The run before the one at (`leaf`, `run`).
    pub(super) fn prev_run(&self, leaf: u32, run: usize) -> Option<(u32, usize)> {
        if run > 0 {
            return Some((leaf, run - 1));
        }
        let prev = self.leaf(leaf).prev;
        (prev != NONE).then(|| (prev, self.leaf(prev).runs.len() - 1))
    }

    /// The very first run.
    pub(super) fn head(&self) -> Option<(u32, usize)> {
        (!self.leaf(self.first).runs.is_empty()).then_some((self.first, 0))
    }

    /// The very last run.
    pub(super) fn last_run(&self) -> Option<(u32, usize)> {
        self.leaf(self.last).runs.len().checked_sub(1).map(|run| (self.last, run))
    }

    /// The leaf with the live element `at`, and how many come before that leaf.
    fn descend(&self, at: u32) -> (u32, u32) {
        let c = self.cursor;
        if c.leaf != NONE && at.wrapping_sub(c.start) < self.leaf(c.leaf).live {
            return (c.leaf, c.start);
        }
        let (mut node, mut rest) = (self.root, at);
        for _ in 0..self.height {
            let inner = &self.inners[node as usize];
            let mut slot = 0;
            while rest >= inner.live[slot] {
                rest -= inner.live[slot];
                slot += 1;
            }
            node = inner.child[slot];
        }
        (node, at - rest)
    }

    /// Where the live element `at` is, which is below [`Tree::live`].
    pub(super) fn seek(&self, at: u32) -> Place {
        self.seek_from(at).0
    }

    fn seek_from(&self, at: u32) -> (Place, Cursor) {
        let (leaf, start) = self.descend(at);
        let off = at - start;
        let runs = &self.leaf(leaf).runs;
        let c = self.cursor;
        let (mut run, mut before) = if c.leaf == leaf { (c.run, c.before) } else { (0, 0) };
        while before > off {
            run -= 1;
            before -= runs[run].live();
        }
        while off >= before + runs[run].live() {
            before += runs[run].live();
            run += 1;
        }
        (Place { leaf, run, k: off - before }, Cursor { leaf, start, run, before })
    }

    /// Live elements of the leaf before the element at `place`, which is live.
    pub(super) fn offset_in_leaf(&self, place: Place) -> u32 {
        self.before(place.leaf, place.run) + place.k
    }

    /// The run a place between runs lies before, looking into the next leaf if need be.
    pub(super) fn at_or_next(&self, place: Place) -> Option<(u32, usize)> {
        let leaf = self.leaf(place.leaf);
        if place.run < leaf.runs.len() {
            return Some((place.leaf, place.run));
        }
        (leaf.next != NONE).then_some((leaf.next, 0))
    }

    /// As [`Tree::seek`], and leaves the cursor there.
    pub(super) fn move_to(&mut self, at: u32) -> Place {
        let (place, cursor) = self.seek_from(at);
        debug_assert_eq!(self.position(place), at, "the cursor lies");
        self.cursor = cursor;
        place
    }

    /// Forgets the cursor: something changes elsewhere than where it stands.
    pub(super) const fn lift_cursor(&mut self) {
        self.cursor = UNSET;
    }

    /// How many live elements come before element `k` of the run.
    pub(super) fn position(&self, place: Place) -> u32 {
        let leaf = self.leaf(place.leaf);
        let mut sum: u32 = leaf.runs[..place.run].iter().map(Run::live).sum();
        sum += if leaf.runs[place.run].is_dead() { 0 } else { place.k };
        let (mut child, mut node) = (place.leaf, leaf.parent);
        while node != NONE {
            let inner = &self.inners[node as usize];
            let slot = inner.slot(child);
            sum += inner.live[..slot].iter().sum::<u32>();
            (child, node) = (node, inner.parent);
        }
        sum
    }

    /// Adds to (or, wrapping, takes from) the live counts of a leaf and all above it.
    fn add_live(&mut self, leaf: u32, delta: u32) {
        self.live = self.live.wrapping_add(delta);
        let l = self.leaf_mut(leaf);
        l.live = l.live.wrapping_add(delta);
        let (mut child, mut node) = (leaf, l.parent);
        while node != NONE {
            let inner = &mut self.inners[node as usize];
            let slot = inner.slot(child);
            inner.live[slot] = inner.live[slot].wrapping_add(delta);
            (child, node) = (node, inner.parent);
        }
    }

    /// Live elements of the leaf before `run`; the cursor knows it where edits happen.
    fn before(&self, leaf: u32, run: usize) -> u32 {
        let runs = &self.leaf(leaf).runs;
        let c = self.cursor;
        if c.leaf == leaf && c.run <= run {
            return c.before + runs[c.run..run].iter().map(Run::live).sum::<u32>();
        }
        runs[..run].iter().map(Run::live).sum()
    }

    /// Cuts a run before element `k`, so that the place is between runs.
    pub(super) fn cut(&mut self, place: Place) -> Place {
        if place.k == 0 {
            return place;
        }
        if self.cursor.leaf == place.leaf && self.cursor.run > place.run {
            self.lift_cursor();
        }
        let runs = &mut self.leaf_mut(place.leaf).runs;
        let tail = runs[place.run].tail(place.k);
        runs[place.run].len = place.k;
        insert_run(runs, place.run + 1, tail);
        let place = Place { run: place.run + 1, k: 0, ..place };
        self.relieve(place)
    }

    /// Lengthens a live run by names that continue it; nothing lies between.
    pub(super) fn extend(&mut self, leaf: u32, run: usize, slice: &C::Slice, n: u32) {
        let before = self.before(leaf, run);
        let l = self.leaf_mut(leaf);
        let r = &mut l.runs[run];
        let (at, live, first) = (before + r.len, l.live, r.end());
        r.len += n;
        l.content.insert(at as usize, live as usize, slice);
        self.add_live(leaf, n);
        self.index.assign(first, first + u64::from(n), leaf);
        self.relieve(Place { leaf, run, k: 0 });
    }

    /// Lengthens the live run that ends with `last`, which has no children yet.
    pub(super) fn extend_after(&mut self, last: u64, slice: &C::Slice, n: u32) {
        if let Some(at) = self.find(last) {
            self.extend(at.leaf, at.run, slice, n);
        }
    }

    /// Puts a run at a place between runs, and says where it came to lie.
    pub(super) fn put(&mut self, place: Place, run: Run, slice: &C::Slice) -> Place {
        debug_assert_eq!(place.k, 0, "a run goes between runs");
        let before = self.before(place.leaf, place.run);
        let l = self.leaf_mut(place.leaf);
        insert_run(&mut l.runs, place.run, run);
        if run.live() > 0 {
            l.content.insert(before as usize, l.live as usize, slice);
            self.add_live(place.leaf, run.live());
        }
        self.index.assign(run.first, run.end(), place.leaf);
        if self.cursor.leaf == place.leaf && self.cursor.run >= place.run {
            self.cursor.run = place.run;
            self.cursor.before = before;
        }
        self.relieve(place)
    }

    /// Says of the run at a place that its first element has left children.
    pub(super) fn mark_left(&mut self, place: Place) {
        self.leaf_mut(place.leaf).runs[place.run].set_has_left(true);
    }

    /// Kills up to `n` elements of the live run at `place`, from element `k` on; says how many.
    pub(super) fn kill(&mut self, place: Place, n: u32, death: Death) -> u32 {
        let before = self.before(place.leaf, place.run);
        let leaf = self.leaf_mut(place.leaf);
        let run = leaf.runs[place.run];
        debug_assert!(!run.is_dead(), "an element dies once");
        let n = n.min(run.len - place.k);
        leaf.content.remove((before + place.k) as usize, n as usize, leaf.live as usize);
        let at = bury(&mut leaf.runs, place.run, place.k, n, death);
        if self.cursor.leaf == place.leaf && self.cursor.run > at {
            // A run before that was joined is dead: it adds nothing.
            self.cursor.run = at;
            self.cursor.before = before;
        }
        self.add_live(place.leaf, n.wrapping_neg());
        self.relieve(Place { leaf: place.leaf, run: at, k: 0 });
        n
    }

    /// Splits the leaf at `place` if it holds too much; says where the place is then.
    fn relieve(&mut self, place: Place) -> Place {
        let leaf = self.leaf(place.leaf);
        if leaf.runs.len() <= RUNS && leaf.live as usize <= C::LEAF {
            return place;
        }
        self.split(place)
    }

    #[cold]
    fn split(&mut self, place: Place) -> Place {
        let mut place = place;
        let runs = self.leaf(place.leaf).runs.len();
        let at = if runs > RUNS {
            // At the end of the document everything comes after: leave the left leaf full.
            if place.run + 1 == runs && self.leaf(place.leaf).next == NONE { runs - 1 } else { runs / 2 }
        } else {
            self.halve(&mut place)
        };
        if at == 0 || at >= self.leaf(place.leaf).runs.len() {
            return place;
        }
        let new = self.split_leaf(place.leaf, at);
        let moved = place.run >= at;
        if self.cursor.leaf == place.leaf && (moved || self.cursor.run >= at) {
            self.lift_cursor();
        }
        if moved {
            place = Place { leaf: new, run: place.run - at, k: place.k };
        }
        place
    }

    /// Finds where half of the live elements lie before, cutting a run there if its ends are far.
    fn halve(&mut self, place: &mut Place) -> usize {
        let leaf = self.leaf_mut(place.leaf);
        // At the end of the document most of it stays: what comes next comes behind.
        let half = if leaf.next == NONE { leaf.live - leaf.live / 8 } else { leaf.live / 2 };
        let mut before = 0;
        let mut at = 0;
        while before + leaf.runs[at].live() <= half {
            before += leaf.runs[at].live();
            at += 1;
        }
        let run = leaf.runs[at];
        if before >= half / 2 && at > 0 {
            return at;
        }
        if before + run.live() <= half + half / 2 && at + 1 < leaf.runs.len() {
            return at + 1;
        }
        let k = half - before;
        if k == 0 {
            return at;
        }
        let tail = run.tail(k);
        leaf.runs[at].len = k;
        insert_run(&mut leaf.runs, at + 1, tail);
        if place.run > at || (place.run == at && place.k >= k && place.k > 0) {
            if place.run == at {
                place.k -= k;
            }
            place.run += 1;
        }
        if self.cursor.leaf == place.leaf && self.cursor.run > at {
            self.lift_cursor();
        }
        at + 1
    }

    fn split_leaf(&mut self, leaf: u32, at: usize) -> u32 {
        let new = self.leaves.len() as u32;
        let l = self.leaf_mut(leaf);
        let live: u32 = l.runs[..at].iter().map(Run::live).sum();
        let right = Leaf {
            runs: l.runs.split_off(at),
            live: l.live - live,
            parent: l.parent,
            prev: leaf,
            next: l.next,
            content: l.content.split_off(live as usize, l.live as usize),
        };
        l.runs.shrink_to(at + 2);
        l.live = live;
        l.next = new;
        for run in &right.runs {
            self.index.assign(run.first, run.end(), new);
        }
        match right.next {
            NONE => self.last = new,
            next => self.leaf_mut(next).prev = new,
        }
        let (parent, right_live) = (right.parent, right.live);
        self.leaves.push(right);
        self.adopt(parent, leaf, new, live, right_live);
        new
    }

    /// Hangs `new` behind `old` below `parent`, with what is live below each of them.
    fn adopt(&mut self, parent: u32, old: u32, new: u32, old_live: u32, new_live: u32) {
        if parent == NONE {
            let root = self.inners.len() as u32;
            let mut inner = Inner { parent: NONE, count: 2, child: [NONE; FAN], live: [0; FAN] };
            (inner.child[0], inner.child[1]) = (old, new);
            (inner.live[0], inner.live[1]) = (old_live, new_live);
            self.inners.push(inner);
            self.set_parent(old, self.height, root);
            self.set_parent(new, self.height, root);
            self.root = root;
            self.height += 1;
            return;
        }
        let level = self.level(parent);
        let slot = self.inners[parent as usize].slot(old);
        let inner = &mut self.inners[parent as usize];
        inner.live[slot] = old_live;
        if inner.count < FAN {
            inner.insert(slot + 1, new, new_live);
            self.set_parent(new, level, parent);
            return;
        }
        // Full: its right half goes to a node of its own, and `new` to the half that is its place.
        let half = if slot + 1 == FAN && self.is_last(parent) { FAN - 1 } else { FAN / 2 };
        let right_index = self.inners.len() as u32;
        let inner = &mut self.inners[parent as usize];
        let mut right = inner.halve(half);
        let grand = inner.parent;
        let home = if slot < half {
            inner.insert(slot + 1, new, new_live);
            parent
        } else {
            right.insert(slot + 1 - half, new, new_live);
            right_index
        };
        let (kept_live, right_live) = (inner.sum(), right.sum());
        let moved = right.child;
        let count = right.count;
        self.inners.push(right);
        for child in &moved[..count] {
            self.set_parent(*child, level, right_index);
        }
        self.set_parent(new, level, home);
        self.adopt(grand, parent, right_index, kept_live, right_live);
    }

    /// Levels of inner nodes below `parent`.
    fn level(&self, parent: u32) -> u32 {
        let (mut up, mut node) = (0, parent);
        while self.inners[node as usize].parent != NONE {
            node = self.inners[node as usize].parent;
            up += 1;
        }
        self.height - 1 - up
    }

    /// Whether nothing lies right of the inner node.
    fn is_last(&self, mut node: u32) -> bool {
        loop {
            let parent = self.inners[node as usize].parent;
            if parent == NONE {
                return true;
            }
            let inner = &self.inners[parent as usize];
            if inner.child[inner.count - 1] != node {
                return false;
            }
            node = parent;
        }
    }

    fn set_parent(&mut self, child: u32, level: u32, parent: u32) {
        if level == 0 {
            self.leaf_mut(child).parent = parent;
        } else {
            self.inners[child as usize].parent = parent;
        }
    }
}

impl Inner {
    fn slot(&self, child: u32) -> usize {
        let mut slot = 0;
        while self.child[slot] != child {
            slot += 1;
        }
        slot
    }
    fn insert(&mut self, slot: usize, child: u32, live: u32) {
        self.child.copy_within(slot..self.count, slot + 1);
        self.live.copy_within(slot..self.count, slot + 1);
        self.child[slot] = child;
        self.live[slot] = live;
        self.count += 1;
    }
    fn halve(&mut self, half: usize) -> Self {
        let mut right = Self { parent: self.parent, count: FAN - half, child: [NONE; FAN], live: [0; FAN] };
        right.child[..FAN - half].copy_from_slice(&self.child[half..]);
        right.live[..FAN - half].copy_from_slice(&self.live[half..]);
        self.child[half..].fill(NONE);
        self.live[half..].fill(0);
        self.count = half;
        right
    }
    fn sum(&self) -> u32 {
        self.live[..self.count].iter().sum()
    }
}

/// Grows a leaf's runs by small steps: leaves are many.
fn insert_run(runs: &mut Vec<Run>, at: usize, run: Run) {
    if runs.len() == runs.capacity() {
        runs.reserve_exact(4);
    }
    runs.insert(at, run);
}

/// Makes `n` elements from `k` of a live run dead, and joins what then continues each other. Says
/// where the first run that was touched now is.
fn bury(runs: &mut Vec<Run>, at: usize, k: u32, n: u32, death: Death) -> usize {
    let run = runs[at];
    let mut dead = if k == 0 { run } else { run.tail(k) };
    dead.len = n;
    dead.die(death);
    let rest = (k + n < run.len).then(|| run.tail(k + n));
    // Join with the dead before, if the run's beginning dies, and with the dead behind, if its end does.
    let before = k == 0 && at > 0 && runs[at - 1].continued_by(&dead);
    let behind = rest.is_none() && runs.get(at + 1).is_some_and(|next| dead.continued_by(next));
    match (k > 0, before, behind, rest) {
        (true, _, true, _) => {
            runs[at].len = k;
            dead.len += runs[at + 1].len;
            runs[at + 1] = dead;
        }
        (true, _, false, None) => {
            runs[at].len = k;
            insert_run(runs, at + 1, dead);
        }
        (true, _, false, Some(rest)) => {
            runs[at].len = k;
            insert_run(runs, at + 1, dead);
            insert_run(runs, at + 2, rest);
        }
        (false, true, true, _) => {
            runs[at - 1].len += n + runs[at + 1].len;
            runs.drain(at..at + 2);
            return at - 1;
        }
        (false, true, false, None) => {
            runs[at - 1].len += n;
            runs.remove(at);
            return at - 1;
        }
        (false, true, false, Some(rest)) => {
            runs[at - 1].len += n;
            runs[at] = rest;
            return at - 1;
        }
        (false, false, true, _) => {
            dead.len += runs[at + 1].len;
            runs[at] = dead;
            runs.remove(at + 1);
        }
        (false, false, false, None) => runs[at] = dead,
        (false, false, false, Some(rest)) => {
            runs[at] = dead;
            insert_run(runs, at + 1, rest);
        }
    }
    at
}
