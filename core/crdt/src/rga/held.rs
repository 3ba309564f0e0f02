//! A list held in a space, whose dots name the elements and whose version says what was received.
//!
//! A space asks other things than a sequence of its own does. It knows what it has received, in all of its sequences; it
//! counts what is live into its fingerprint; it forgets a sequence of which nothing is left; and it applies operations
//! to states that already show some of what comes later (a snapshot read while operations went on).
//!
//! **Which rules change.**
//!
//! 1. *No operation made here names what is dead.* An insertion hangs on a live element, or on the root. So what a deletion
//!    killed can be purged once every replica has applied the deletion and everything it made before has been applied
//!    here: one line, the space's stable line ([`Space::stable`](crate::Space::stable)), where a text has two
//!    ([`purge`](super::purge)). The price: who replaces an element that another region has just deleted orders
//!    the new one less finely than Fugue does. In lists of values that is no loss; replacing is one operation, which names
//!    the old element while it lives.
//! 2. *What was received and isn't here was purged.* An insertion that hangs on it is an old one that comes again, and all that it
//!    brings was purged as well: it is passed over. Only what hangs on something *not received* waits.
//! 3. *Deaths are dated by the space's version*, not by their deletions: an epoch of deaths ends with all that was received
//!    by then. That is later than it need be, never earlier, and right for deletions that came before what they delete.
//! 4. Purging changes nothing that is compared: fingerprints count live elements only.
//! 5. *Chains of the dead are shortened* ([`contract`](super::contract)): what no operation to come names has all the children it
//!    will ever have. So what is left of one insertion need not be its beginning, and an element may hang elsewhere here than in
//!    another's state. Whoever amends its state by another's keeps the names of what the other has not, as dead ones.
//! 6. *What will never come is the root.* An eviction may cut off elements on which others, which were received, hang. These
//!    stand behind what hangs on the root then, by their names, as everyone who knows the roster says.

use super::delta::{Chain, Delta, push_interval};
use super::item::Item;
use super::order::Origin;
use super::purge::Epochs;
use super::tree::{ROOT, Run};
use super::{Content, Hang, List};
use crate::dot::Dot;
use crate::version::VersionVector;
use alloc::vec::Vec;

/// Elements in a row, all live or all dead, as they are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// The first's name.
    pub(crate) first: u64,
    /// How many.
    pub(crate) len: u64,
    /// What the first hangs on; each other hangs right of the one before.
    pub(crate) origin: u64,
    /// On which side.
    pub(crate) left: bool,
    /// The elements; nothing if they are dead.
    pub(crate) items: Option<&'a [Item]>,
}

/// One element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Element {
    /// Its name.
    pub(crate) name: u64,
    /// What it hangs on.
    pub(crate) origin: u64,
    /// On which side.
    pub(crate) left: bool,
    /// Its value; nothing if it is dead.
    pub(crate) item: Option<Item>,
}

/// What became of an element when others were brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// It is new, and live.
    Came,
    /// It was live and waited for what turns out to be purged.
    Went,
}

/// No element.
pub(crate) const NO_ELEMENT: u64 = ROOT;
const ON_ROOT: Origin = Origin { name: ROOT, left: false };

impl List {
    /// What the new element `first`, inserted before position `at`, hangs on.
    pub(crate) fn hang_at(&self, first: Dot, at: usize) -> Hang {
        let before = at.min(self.len()).checked_sub(1);
        let left = before.map(|at| self.tree.seek(at as u32));
        self.tree.origin_at(first.bits(), left, None::<fn(&Run) -> bool>).0.into()
    }
    /// Whether the element is in its place and not dead.
    pub(crate) fn is_live(&self, name: Dot) -> bool {
        self.tree.find(name.bits()).is_some_and(|at| !self.tree.run(at.leaf, at.run).is_dead())
    }
    /// The names of a range of positions, in order.
    pub(crate) fn names(&self, from: usize, count: usize) -> Vec<u64> {
        let mut out = Vec::with_capacity(count);
        let mut at = from;
        let end = from.saturating_add(count).min(self.len());
        while at < end {
            let place = self.tree.seek(at as u32);
            let run = self.tree.run(place.leaf, place.run);
            let n = ((run.len - place.k) as usize).min(end - at);
            let first = run.first + u64::from(place.k);
            out.extend(first..first + n as u64);
            at += n;
        }
        out
    }

    /// Puts in what isn't here yet of the elements from `first` on. `received` is the space's version before this operation,
    /// `lost` says of what will never come; `each` is shown what becomes of whom.
    pub(crate) fn bring(
        &mut self,
        first: Dot,
        hang: Hang,
        items: &[Item],
        received: &VersionVector,
        lost: impl Fn(Dot) -> bool,
        mut each: impl FnMut(Turn, u64, &Item),
    ) {
        let (first, end) = (first.bits(), first.bits() + items.len() as u64);
        let last = Dot::from_bits(end - 1);
        let whole = !self.seen.contains(Dot::from_bits(first));
        self.seen.raise(last.replica(), last.sequence());
        let mut from = first;
        while let Some((name, to)) = if whole { Some((from, end)) } else { self.absent(from, end) } {
            let some = &items[(name - first) as usize..(to - first) as usize];
            let origin =
                if name == first { Origin::from(hang) } else { Origin { name: name - 1, left: false } };
            // One that stands behind these in its place hangs on others now: these were purged.
            if to == end || self.parked.holds(to) {
                self.bring_row(name, origin, some, received, &lost, &mut each);
            }
            from = to;
            if whole || from >= end {
                break;
            }
        }
    }
    fn bring_row(
        &mut self,
        name: u64,
        origin: Origin,
        items: &[Item],
        received: &VersionVector,
        lost: &impl Fn(Dot) -> bool,
        each: &mut impl FnMut(Turn, u64, &Item),
    ) {
        let at = Dot::from_bits(origin.name);
        let here = origin.name == ROOT || self.tree.find(origin.name).is_some();
        let waits = !here && self.parked.holds(origin.name);
        if !here && !waits && received.contains(at) {
            let (waiting, doomed) = self.parked.take_waiting(name, name + items.len() as u64);
            for (first, _, items) in &waiting {
                for (k, item) in (*first..).zip(items) {
                    if !doomed.iter().any(|(from, end)| (*from..*end).contains(&k)) {
                        each(Turn::Went, k, item);
                    }
                }
            }
            return;
        }
        (name..).zip(items).for_each(|(name, item)| each(Turn::Came, name, item));
        if here {
            self.hang(name, origin, items, items.len());
        } else if !waits && lost(at) {
            self.hang(name, ON_ROOT, items, items.len());
        } else {
            self.parked.park(name, origin, items.to_vec());
        }
    }
    /// The first row of these names that are neither here nor wait.
    fn absent(&self, first: u64, end: u64) -> Option<(u64, u64)> {
        let here = |name: u64| match self.tree.find(name) {
            Some(at) => self.tree.run(at.leaf, at.run).end(),
            None if self.parked.holds(name) => name + 1,
            None => name,
        };
        let mut from = first;
        while from < end && here(from) > from {
            from = here(from);
        }
        let mut to = from;
        while to < end && here(to) == to {
            to += 1;
        }
        (from < to).then_some((from, to))
    }

    /// Hangs on the root what waits for something that will never come.
    pub(crate) fn adopt(&mut self, lost: impl Fn(Dot) -> bool) {
        let awaited: Vec<u64> = self.parked.awaited().filter(|name| lost(Dot::from_bits(*name))).collect();
        for name in awaited {
            while let Some((first, _, items)) = self.parked.wake(name, name + 1) {
                self.hang(first, ON_ROOT, &items, items.len());
            }
        }
    }

    /// Kills those of these names that are here or wait; `each` is shown every one that was live. Returns how many.
    pub(crate) fn strike(&mut self, first: u64, end: u64, mut each: impl FnMut(u64, &Item)) -> usize {
        self.tree.lift_cursor();
        let (mut name, mut n) = (first, 0);
        while name < end {
            let Some(at) = self.tree.find(name) else {
                n += usize::from(self.strike_parked(name, &mut each));
                name += 1;
                continue;
            };
            let run = *self.tree.run(at.leaf, at.run);
            let count = (run.len - at.k).min((end - name).min(u64::from(u32::MAX)) as u32);
            if !run.is_dead() {
                let leaf = self.tree.leaf(at.leaf);
                let off = self.tree.offset_in_leaf(at) as usize;
                let items = leaf.content.slice(off, count as usize, leaf.live as usize);
                (name..).zip(items).for_each(|(name, item)| each(name, item));
                let death = self.epochs.quiet();
                self.tree.kill(at, count, death);
                n += count as usize;
            }
            name += u64::from(count);
        }
        n
    }
    fn strike_parked(&mut self, name: u64, each: &mut impl FnMut(u64, &Item)) -> bool {
        let Some((first, (_, items))) = self.parked.inserts.range(..=name).next_back() else { return false };
        let Some(item) = items.get((name - first) as usize) else { return false };
        if self.parked.dooms(name) {
            return false;
        }
        each(name, item);
        self.parked.doom(name, name + 1);
        true
    }

    /// All elements, by name: live, dead, and those that wait.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut out: Vec<Row<'_>> = Vec::new();
        for (run, items) in self.tree.runs() {
            let items = (!run.is_dead()).then_some(items);
            let (first, len) = (run.first, u64::from(run.len));
            out.push(Row { first, len, origin: run.origin, left: run.is_left(), items });
        }
        for (first, (origin, items)) in &self.parked.inserts {
            for (k, name) in (*first..).take(items.len()).enumerate() {
                let (at, left) = if k == 0 { (origin.name, origin.left) } else { (name - 1, false) };
                let items = (!self.parked.dooms(name)).then(|| &items[k..=k]);
                out.push(Row { first: name, len: 1, origin: at, left, items });
            }
        }
        out.sort_unstable_by_key(|row| row.first);
        out
    }
    /// The list of these elements, which may be several of one name (one of them dead: then it is) and in any order. What hangs on
    /// something that is not among them waits for it, unless that was received: then it was purged, and what hangs on it is left out.
    /// `ghosts` are names that have no element but may hold others.
    pub(crate) fn of_elements(mut all: Vec<Element>, ghosts: Vec<Element>, received: &VersionVector) -> Self {
        all.sort_by_key(|e| (e.name, e.item.is_some()));
        all.dedup_by_key(|e| e.name);
        let mut ghosts = ghosts;
        ghosts.retain(|g| all.binary_search_by_key(&g.name, |e| e.name).is_err());
        all.extend(ghosts);
        all.sort_by_key(|e| e.name);
        let mut list = Self::new();
        for e in &all {
            let name = Dot::from_bits(e.name);
            list.seen.raise(name.replica(), name.sequence());
        }
        let has = |name: u64| all.binary_search_by_key(&name, |e| e.name).is_ok();
        let waits =
            |e: &Element| e.origin != ROOT && !has(e.origin) && !received.contains(Dot::from_bits(e.origin));
        let rooted = below(&all, |e| e.origin == ROOT);
        let waiting = below(&all, waits);
        let mut delta = Delta::<Vec<Item>>::empty();
        for (at, e) in all.iter_mut().enumerate() {
            if rooted[at] {
                take(&mut delta, e);
            } else if waiting[at] {
                let origin = Origin { name: e.origin, left: e.left };
                if e.item.is_none() {
                    list.parked.doom(e.name, e.name + 1);
                }
                list.parked.park(e.name, origin, Vec::from([e.item.take().unwrap_or_default()]));
            }
        }
        // All that is in it hangs, over others in it, on the root.
        if let Ok(tree) = delta.tree() {
            list.tree = tree;
        }
        list.epochs = Epochs::default();
        let _died_before = list.epochs.quiet();
        list
    }

    /// Ends the epoch of deaths that is under way at `now`, and forgets the dead of those that `stable` covers. A list in
    /// which something still dies is only rebuilt when that frees a sixteenth of it. Whether there is more to forget later.
    pub(crate) fn bury(&mut self, now: &VersionVector, stable: &VersionVector) -> bool {
        let busy = self.epochs.close(now);
        let passed = self.epochs.passed(stable);
        if passed > 0 {
            let dead = self.tree.leaves_in_order().flat_map(|l| &l.runs);
            let ripe: u64 = dead
                .filter(|r| r.is_dead() && (1..=passed).contains(&r.epoch()))
                .map(|r| u64::from(r.len))
                .sum();
            if !busy || ripe * 16 >= self.len() as u64 {
                self.forget(passed, true);
                self.epochs.drop_to(passed);
            }
        }
        self.epochs.any()
    }
    /// Whether there are dead that may be forgotten some day.
    pub(crate) const fn mourns(&self) -> bool {
        self.epochs.any()
    }
    /// Elements that wait for others.
    pub(crate) const fn waiting(&self) -> usize {
        self.parked.elements()
    }
    /// Whether no element is left, live or dead.
    pub(crate) fn is_vacant(&self) -> bool {
        self.tree.head().is_none() && self.parked.is_empty()
    }
    /// Gives back room that is not used.
    pub(crate) fn trim(&mut self) {
        for leaf in &mut self.tree.leaves {
            leaf.runs.shrink_to_fit();
            leaf.content.trim();
        }
    }
}

/// Which elements hang, over others of these, on one that `begins`.
fn below(all: &[Element], begins: impl Fn(&Element) -> bool) -> Vec<bool> {
    let mut edges: Vec<(u64, u32)> = all.iter().zip(0..).map(|(e, at)| (e.origin, at)).collect();
    edges.sort_unstable();
    let mut found = alloc::vec![false; all.len()];
    let mut stack: Vec<usize> = (0..all.len()).filter(|at| begins(&all[*at])).collect();
    while let Some(at) = stack.pop() {
        if core::mem::replace(&mut found[at], true) {
            continue;
        }
        let name = all[at].name;
        let from = edges.partition_point(|(origin, _)| *origin < name);
        stack.extend(
            edges[from..].iter().take_while(|(origin, _)| *origin == name).map(|(_, at)| *at as usize),
        );
    }
    found
}

/// Adds the next element by name to a state.
fn take(delta: &mut Delta<Vec<Item>>, e: &mut Element) {
    match delta.chains.last_mut() {
        Some(c) if c.end == e.name && e.origin + 1 == e.name && !e.left => c.end += 1,
        _ => delta.chains.push(Chain {
            first: e.name,
            end: e.name + 1,
            origin: Origin { name: e.origin, left: e.left },
        }),
    }
    match e.item.take() {
        Some(item) => delta.content.push(item),
        None => push_interval(&mut delta.dead, e.name, e.name + 1),
    }
}

/// A value as an element.
pub(crate) fn item(bytes: &[u8]) -> Item {
    Item::from(bytes)
}
