//! The members of one container, in order of their names: leaves under one array of fences.
//!
//! Two levels: a binary search over the leaves' first heads (eight bytes each, in one array), then one inside a
//! leaf. Leaves of one head are told apart by the eight bytes behind what their first names share (`seconds`), so that no leaf need be touched but
//! the one that is wanted. At 128 entries a leaf a set of 100,000 elements has some 1,100 fences (9 KiB, in the first cache), one of ten
//! million 110,000; an insertion moves half a leaf, a kilobyte. Twice as large leaves move twice as much and are searched through as many
//! lines of memory more; half as large ones cost a byte an element more. Ordered rather than hashed: states are canonical without sorting, a subtree is a range, a
//! cursor of a scan is a name.

use super::leaf::{Entry, Leaf, Name, New, SLOTS_MAX, alike, eight, same, search_all};
use super::tree::as_entry;
use crate::address::Kind;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

/// A place in a table; any change of the table makes it stale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pos {
    pub(super) leaf: usize,
    pub(super) slot: usize,
}

/// Entries by (name, tag, dot).
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    fences: Vec<u64>,
    /// Eight bytes more of the same names: those behind their head and what all of that head share.
    seconds: Vec<u64>,
    /// By head: what the fences of this head share beyond it, if anything.
    shared: Vec<(u64, Box<[u8]>)>,
    /// Boxed: a leaf that is split moves pointers, not leaves.
    #[allow(clippy::vec_box, reason = "what is moved is the point")]
    leaves: Vec<Box<Leaf>>,
    len: usize,
    /// Names under which something lies besides a deadline.
    names: usize,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// How many names there are under which something lies. A deadline alone is nothing.
    pub(super) const fn names(&self) -> usize {
        self.names
    }
    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }
    /// The entry at this position; a look at each leaf before it.
    pub(super) fn nth(&self, mut nth: usize) -> Option<Entry<'_>> {
        for leaf in &self.leaves {
            if nth < leaf.len() {
                return leaf.entry(nth);
            }
            nth -= leaf.len();
        }
        None
    }
    pub(super) const fn start() -> Pos {
        Pos { leaf: 0, slot: 0 }
    }
    /// The first entry whose name is not before this one.
    #[inline]
    pub(super) fn locate(&self, name: &Name<'_>) -> Pos {
        let leaf = self.leaf_of(name);
        let slot = self.leaves.get(leaf).map_or(0, |l| l.locate(name));
        self.settle(Pos { leaf, slot })
    }
    /// The leaf in which a name is, or would be: the last that begins before it.
    #[inline]
    fn leaf_of(&self, name: &Name<'_>) -> usize {
        let run = self.run_of(name.head);
        let mut low = run.start;
        // Leaves that begin with the same eight bytes: compare what comes behind what they share, then whole names.
        if !run.is_empty() {
            let same = run.end;
            let (shared, rest) = (self.shared_by(name.head), name.rest());
            // Nothing is shared by most; comparing nothing may cost as much as a miss of memory (masked loads at an address that is none).
            if shared.is_empty() || rest.starts_with(shared) {
                let second = eight(rest, shared.len());
                low += self.seconds[low..same].partition_point(|s| *s < second);
                // Hardly ever is it just another's.
                let alike = self.seconds[low..same].iter().take_while(|s| **s == second).count();
                let mut to = low + alike;
                while low < to {
                    let mid = low.midpoint(to);
                    if self.leaves[mid].cmp_first(name) == Ordering::Less { low = mid + 1 } else { to = mid }
                }
            } else if !rest.is_empty() && rest > shared {
                low = same;
            }
        }
        low.saturating_sub(1)
    }
    /// What the fences of a head share beyond it.
    fn shared_by(&self, head: u64) -> &[u8] {
        let at = self.shared.binary_search_by_key(&head, |(h, _)| *h);
        at.map_or(&[], |at| &self.shared[at].1)
    }
    /// The fences of a head.
    #[inline]
    fn run_of(&self, head: u64) -> Range<usize> {
        // All of one kind, as the members of a set often are.
        if let [first, .., last] = &self.fences[..]
            && *first == head
            && *last == head
        {
            return 0..self.fences.len();
        }
        let low = self.fences.partition_point(|f| *f < head);
        if self.fences.get(low) != Some(&head) {
            return low..low;
        }
        low..low + self.fences[low..].partition_point(|f| *f == head)
    }
    /// Takes down how a leaf begins.
    fn set_fence(&mut self, leaf: usize) {
        let (head, rest) = self.leaves[leaf].first();
        let shared = self.shared_by(head);
        let second = eight(rest, shared.len());
        let less = (!rest.starts_with(shared)).then(|| alike(rest, shared));
        let before = core::mem::replace(&mut self.fences[leaf], head);
        self.seconds[leaf] = second;
        if let Some(less) = less {
            self.share(head, less);
        }
        if before != head {
            self.forget_head(before);
        }
    }
    /// Takes down a new leaf, which begins behind the first of its run of fences.
    fn add_leaf(&mut self, at: usize, leaf: Leaf) {
        let (head, _) = leaf.first();
        self.leaves.insert(at, Box::new(leaf));
        self.fences.insert(at, head);
        self.seconds.insert(at, 0);
        self.set_fence(at);
        let run = self.run_of(head);
        if run.len().is_power_of_two() && run.len() > 1 {
            let (first, last) = (self.leaves[run.start].first().1, self.leaves[run.end - 1].first().1);
            let all = alike(first, last);
            if all > self.shared_by(head).len() {
                self.share(head, all);
            }
        }
    }
    fn drop_leaf(&mut self, at: usize) -> Box<Leaf> {
        let head = self.fences.remove(at);
        self.seconds.remove(at);
        self.forget_head(head);
        self.leaves.remove(at)
    }
    /// From now on so many bytes beyond their head are known to be shared by its fences.
    fn share(&mut self, head: u64, len: usize) {
        let run = self.run_of(head);
        for at in run.clone() {
            self.seconds[at] = eight(self.leaves[at].first().1, len);
        }
        let at = self.shared.binary_search_by_key(&head, |(h, _)| *h);
        match (at, len) {
            (Ok(at), 0) => drop(self.shared.remove(at)),
            (Err(_), 0) => {}
            (at, _) => {
                let bytes = self.leaves[run.start].first().1[..len].into();
                match at {
                    Ok(at) => self.shared[at].1 = bytes,
                    Err(at) => self.shared.insert(at, (head, bytes)),
                }
            }
        }
    }
    fn forget_head(&mut self, head: u64) {
        if self.run_of(head).is_empty()
            && let Ok(at) = self.shared.binary_search_by_key(&head, |(h, _)| *h)
        {
            self.shared.remove(at);
        }
    }
    /// Searches for several names at once, by their keys alone, for the sake of what that brings near. Shows where each may be.
    pub(super) fn probe(&self, names: &[Name<'_>], mut each: impl FnMut(&Name<'_>, Pos)) {
        let Some(first) = self.leaves.first() else { return };
        let mut searches = [first.search(&Name::new(&[])); super::AT_ONCE];
        let mut leaves = [0; super::AT_ONCE];
        let searches = &mut searches[..names.len().min(super::AT_ONCE)];
        for (leaf, name) in leaves.iter_mut().zip(names) {
            *leaf = self.leaf_of(name);
        }
        // Apart: what is read of each leaf is far away, and few instructions lie between one leaf and the next.
        for ((search, leaf), name) in searches.iter_mut().zip(leaves).zip(names) {
            *search = self.leaves[leaf].search(name);
        }
        search_all(searches);
        for ((search, leaf), name) in searches.iter().zip(leaves).zip(names) {
            each(name, Pos { leaf, slot: search.place() });
        }
    }
    /// Whether [`Table::locate`] would find the name's place here, as far as two looks can tell.
    #[inline]
    pub(super) fn is_place(&self, at: Pos, name: &Name<'_>) -> bool {
        let first = at.leaf == 0;
        self.leaves.get(at.leaf).is_some_and(|l| l.is_place(at.slot, first, name))
    }
    /// A place past a leaf's end is the next leaf's start.
    fn settle(&self, at: Pos) -> Pos {
        let past = self.leaves.get(at.leaf).is_some_and(|l| at.slot >= l.len());
        if past && at.leaf + 1 < self.leaves.len() { Pos { leaf: at.leaf + 1, slot: 0 } } else { at }
    }
    #[inline]
    pub(super) fn entry(&self, at: Pos) -> Option<Entry<'_>> {
        self.leaves.get(at.leaf)?.entry(at.slot)
    }
    #[inline]
    pub(super) fn next(&self, at: Pos) -> Pos {
        self.settle(Pos { slot: at.slot + 1, ..at })
    }
    /// All entries from a place on.
    pub(super) fn from(&self, at: Pos) -> Iter<'_> {
        Iter { table: self, at }
    }
    /// All entries.
    pub(super) fn iter(&self) -> Iter<'_> {
        self.from(Self::start())
    }
    /// The entry at a place, if it is of this name. Of another one only the key is looked at, which lies in the slot.
    #[inline]
    pub(super) fn entry_of(&self, at: Pos, name: &Name<'_>) -> Option<Entry<'_>> {
        let leaf = self.leaves.get(at.leaf)?;
        if leaf.may_be(at.slot, name) { leaf.entry(at.slot).filter(|e| e.is(name)) } else { None }
    }
    /// All entries of a name.
    pub(super) fn named<'t>(&'t self, name: Name<'t>) -> impl Iterator<Item = Entry<'t>> {
        self.named_from(self.locate(&name), name)
    }
    /// The same, from the first of them on.
    pub(super) fn named_from<'t>(&'t self, mut at: Pos, name: Name<'t>) -> impl Iterator<Item = Entry<'t>> {
        core::iter::from_fn(move || {
            let e = self.entry_of(at, &name)?;
            at = self.next(at);
            Some(e)
        })
    }
    /// Adds an entry, unless one with its name, tag and dot is there. Whether it was added.
    pub(super) fn insert(&mut self, new: &New<'_>) -> bool {
        let mut at = self.locate(&new.name);
        while let Some(e) = self.entry_of(at, &new.name) {
            match (e.tag, e.dot).cmp(&(new.tag, new.dot)) {
                Ordering::Less => at = self.next(at),
                Ordering::Equal => return false,
                Ordering::Greater => break,
            }
        }
        self.insert_at(at, new);
        true
    }
    /// Adds an entry at its place, which the caller knows.
    pub(super) fn insert_at(&mut self, at: Pos, new: &New<'_>) {
        if self.leaves.is_empty() {
            self.leaves.push(Box::default());
            self.fences.push(new.name.head);
            self.seconds.push(0);
        }
        // Before the first of a leaf is as well behind the last of the one before: fill that first.
        let at = match at {
            Pos { leaf, slot: 0 } if leaf > 0 => Pos { leaf: leaf - 1, slot: self.leaves[leaf - 1].len() },
            at => at,
        };
        self.len += 1;
        self.names += usize::from(self.stands_alone(at, at, &as_entry(new)));
        self.leaves[at.leaf].insert(at.slot, new);
        if at.slot == 0 {
            self.set_fence(at.leaf);
        }
        if self.leaves[at.leaf].is_full() {
            let upper = self.leaves[at.leaf].split();
            self.add_leaf(at.leaf + 1, upper);
        }
    }
    /// Puts an entry in place of one with the same name and tag.
    pub(super) fn replace(&mut self, at: Pos, new: &New<'_>) {
        self.leaves[at.leaf].replace(at.slot, new);
    }
    pub(super) fn remove(&mut self, at: Pos) {
        let alone = self.entry(at).is_some_and(|e| self.stands_alone(at, self.next(at), &e));
        self.names -= usize::from(alone);
        let leaf = &mut self.leaves[at.leaf];
        leaf.remove(at.slot);
        self.len -= 1;
        let left = leaf.len();
        if left == 0 {
            self.drop_leaf(at.leaf);
            return;
        }
        if at.slot == 0 {
            self.set_fence(at.leaf);
        }
        let low = at.leaf.saturating_sub(1);
        if left < SLOTS_MAX / 8 && low + 1 < self.leaves.len() {
            let together = self.leaves[low].len() + self.leaves[low + 1].len();
            if together < SLOTS_MAX / 2 {
                let next = self.drop_leaf(low + 1);
                self.leaves[low].append(&next);
            }
        }
    }
    /// Whether an entry is the only one of its name, deadlines not counted, among those before `before` and from `from` on.
    fn stands_alone(&self, before: Pos, from: Pos, this: &Entry<'_>) -> bool {
        const DEADLINE: u8 = Kind::Deadline as u8;
        if this.tag == DEADLINE {
            return false;
        }
        // Of most neighbours the key, which lies in the slot, is another.
        let entry = |at: Pos| {
            let near = self.leaves.get(at.leaf)?.is_near(at.slot, this);
            let alike = |e: &Entry<'_>| e.head == this.head && e.len == this.len && same(e.rest, this.rest);
            if near { self.entry(at).filter(alike) } else { None }
        };
        let mut at = self.settle(from);
        while let Some(e) = entry(at) {
            if e.tag != DEADLINE {
                return false;
            }
            at = self.next(at);
        }
        let mut at = self.previous(before);
        while let Some((place, e)) = at.and_then(|at| Some((at, entry(at)?))) {
            if e.tag != DEADLINE {
                return false;
            }
            at = self.previous(place);
        }
        true
    }
    fn previous(&self, at: Pos) -> Option<Pos> {
        if at.slot > 0 {
            return Some(Pos { slot: at.slot - 1, ..at });
        }
        let leaf = at.leaf.checked_sub(1)?;
        Some(Pos { leaf, slot: self.leaves.get(leaf)?.len().checked_sub(1)? })
    }
    /// Gives back all room that is not used.
    pub(super) fn shrink(&mut self) {
        self.leaves.iter_mut().for_each(|l| l.shrink());
        self.leaves.shrink_to_fit();
        self.fences.shrink_to_fit();
        self.seconds.shrink_to_fit();
        self.shared.shrink_to_fit();
    }
}

/// Entries from a place on.
#[derive(Clone, Debug)]
pub(super) struct Iter<'t> {
    table: &'t Table,
    at: Pos,
}

impl<'t> Iterator for Iter<'t> {
    type Item = Entry<'t>;

    fn next(&mut self) -> Option<Entry<'t>> {
        let e = self.table.entry(self.at)?;
        self.at = self.table.next(self.at);
        Some(e)
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::{CHILD, ELEMENT, RETIRED};
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    type Key = (Vec<u8>, u8, u64);

    fn new<'a>(key: &'a Key, body: &'a [u8]) -> New<'a> {
        New { name: Name::new(&key.0), tag: key.1, dot: key.2, hlc: key.2 * 3, stamp: key.2 as u32, body }
    }

    fn body(tag: u8, n: u64) -> Vec<u8> {
        match tag {
            ELEMENT | RETIRED => Vec::new(),
            t if t & CHILD != 0 => (n as u32).to_le_bytes().to_vec(),
            _ => std::vec![n as u8; (n % 150) as usize],
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(0u8..3, 0..10),
            (0u16..400).prop_map(|n| std::format!("user:00000{n}").into_bytes()),
            (0u64..4000).prop_map(|n| n.to_be_bytes().to_vec()),
            (0u16..600).prop_map(|n| std::format!("element:00000000{n:04}").into_bytes()),
            (0u16..600).prop_map(|n| std::format!("element:{}0000{n}", n % 2).into_bytes()),
            (0usize..20).prop_map(|n| b"element:00000000012"[..n.min(19)].to_vec()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_is_an_ordered_map(
            steps in proptest::collection::vec((name(), prop_oneof![Just(0u8), Just(255), Just(2), Just(Kind::Deadline as u8), Just(129)], 1u64..4, 0u64..400, 0u8..4), 1..1200)
        ) {
            let mut table = Table::default();
            let mut model: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
            let strangers: Vec<Key> = steps.iter().rev().take(40).map(|(name, ..)| (name.clone(), 0, 0)).collect();
            for (name, tag, dot, n, what) in steps {
                let key = (name, tag, dot);
                let b = body(tag, n);
                let there = table.from(table.locate(&Name::new(&key.0))).take_while(|e| e.is(&Name::new(&key.0)));
                let there = there.filter(|e| (e.tag, e.dot) == (key.1, key.2)).count();
                prop_assert_eq!(there == 1, model.contains_key(&key));
                let place = || {
                    let mut at = table.locate(&Name::new(&key.0));
                    while table.entry(at).is_some_and(|e| (e.tag, e.dot) != (key.1, key.2)) {
                        at = table.next(at);
                    }
                    at
                };
                if there == 1 && what == 0 {
                    let at = place();
                    table.remove(at);
                    model.remove(&key);
                } else if there == 1 {
                    let at = place();
                    table.replace(at, &new(&key, &b));
                    model.insert(key, b);
                } else {
                    prop_assert!(table.insert(&new(&key, &b)));
                    prop_assert!(!table.insert(&new(&key, &b)));
                    model.insert(key, b);
                }
            }
            let check = |table: &Table| {
                let got: Vec<(Key, Vec<u8>)> =
                    table.iter().map(|e| ((e.name(), e.tag, e.dot), e.body.to_vec())).collect();
                let want: Vec<(Key, Vec<u8>)> = model.clone().into_iter().collect();
                assert_eq!(got, want);
                assert_eq!(table.len, model.len());
                let named = model.keys().filter(|k| k.1 != Kind::Deadline as u8).map(|k| &k.0);
                assert_eq!(table.names(), named.collect::<BTreeSet<_>>().len());
                for (name, ..) in model.keys().chain(&strangers) {
                    let name = Name::new(name);
                    let at = table.locate(&name);
                    let places = (0..table.leaves.len()).flat_map(|leaf| (0..=SLOTS_MAX).map(move |slot| Pos { leaf, slot }));
                    let held: Vec<Pos> = places.filter(|p| table.is_place(*p, &name)).collect();
                    assert!(held.iter().all(|p| *p == at), "a guess is right or denied");
                    let inside = at.slot > 0 && table.entry_of(at, &name).is_some();
                    assert!(!inside || held == [at] || table.leaves[at.leaf].may_be(at.slot - 1, &name), "and mostly it is taken");
                }
                for e in table.iter() {
                    let timed = e.tag & CHILD == 0 && e.tag != ELEMENT;
                    assert_eq!((e.hlc, u64::from(e.stamp)), if timed { (e.dot * 3, 0) } else if e.tag & CHILD == 0 || e.tag == RETIRED { (0, e.dot) } else { (0, 0) });
                }
            };
            check(&table);
            table.shrink();
            check(&table);
        }
    }
}
