//! The sequences of a space.
//!
//! **Model.** An element is named by a dot. It is live if its operation was received and none received names it as one that goes, nor
//! clears its place. Where it stands follows from what it hangs on ([`crate::rga`]), dead elements included; one that hangs
//! on what has not come is not shown until it comes, but is live all the same: it counts, and can go.
//!
//! **Where they lie.** All in one arena, by the names of their places, whether anything in them is live or not. The tree of
//! containers has a place for a sequence only while something in it is shown: so readers, scans and types know nothing of
//! what is dead, and a list whose last element went is no key. What is left then, the dead that others may
//! still hang on, is found by its names when the next element comes, and goes when it is purged.
//!
//! **Fingerprint.** The sum over live elements, those that wait too, of hash(address, name, value). Dead elements have no part
//! in it: when a replica purges is its own affair. Counting them was rejected: equal versions would then have
//! equal fingerprints only if purging were itself an agreed operation, which would hold every replica's memory to the
//! slowest one's pace. What elements hang on has no part either: an eviction may change it (`rga::held`, rule 6), and rosters
//! come to replicas at different moments. So the sum says that elements and values are the same; that they are
//! in the same order follows from their names and origins, which the histories compare in full.
//!
//! **Purging.** By the stable line alone: what every member that may still write has on its disk, with all it made
//! before. No operation names what was dead where it was made (`rga::held`, rule 1). So an operation that hangs on
//! an element killed by a deletion below the line was made before its maker had applied the deletion, and is here. What
//! that element's place was is no longer asked for.
//!
//! **States in motion.** A snapshot may lack elements that were dead and went while it was read, and have others twice.
//! What its tail of operations brings again and hangs on something that was received and is not there, had
//! gone: it is passed over (`rga::held`, rule 2).

use super::Space;
use super::tree::{NO_SEQUENCE, Tree};
use crate::address::{Address, Kind, encode_path};
use crate::code::Writer;
use crate::dot::Dot;
use crate::op::Op;
use crate::planted::{self, Bug};
use crate::rga::{Element, List, Turn, item};
use crate::splice::Splice;
use crate::version::VersionVector;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// One sequence.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) names: Vec<Vec<u8>>,
    pub(super) list: List,
    /// Its place in the tree, while something in it is shown.
    container: Option<u32>,
    pub(super) seed: u64,
}

/// All sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequences {
    slots: Vec<Option<Box<Sequence>>>,
    free: Vec<u32>,
    by_names: BTreeMap<Vec<Vec<u8>>, u32>,
    /// The one that an operation went to last, by its path in canonical bytes.
    hot: Option<(Vec<u8>, u32)>,
    /// Those with dead elements that may be purged some day.
    mourned: BTreeSet<u32>,
    /// Of these, those in which something died since [`Space::bury`] came by,
    died: BTreeSet<u32>,
    /// and those in which it had when it did: where the dead are still coming they are left to gather.
    revisit: BTreeSet<u32>,
    /// What was stable when all were visited last.
    buried_at: VersionVector,
    waiting: usize,
}

impl Sequences {
    pub(super) fn get(&self, id: u32) -> Option<&Sequence> {
        self.slots.get(id as usize)?.as_deref()
    }
    fn get_mut(&mut self, id: u32) -> Option<&mut Sequence> {
        self.slots.get_mut(id as usize)?.as_deref_mut()
    }
    /// In the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.by_names.values().filter_map(|id| self.get(*id))
    }
    /// Those whose names are at or after these.
    pub(super) fn from(&self, names: &[Vec<u8>]) -> impl Iterator<Item = &Sequence> {
        self.by_names.range(names.to_vec()..).filter_map(|(_, id)| self.get(*id))
    }
    /// Elements that wait for others.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }
    fn mourn(&mut self, id: u32) {
        self.mourned.insert(id);
        self.died.insert(id);
    }
    /// Those that may have something to bury now that this is stable: while nothing more is, only those in which something died lately.
    fn burials(&mut self, stable: &VersionVector) -> BTreeSet<u32> {
        let died = core::mem::take(&mut self.died);
        let lately = core::mem::replace(&mut self.revisit, died.clone());
        if self.buried_at == *stable {
            return died.union(&lately).copied().collect();
        }
        self.buried_at = stable.clone();
        self.mourned.clone()
    }
    fn add(&mut self, sequence: Sequence) -> u32 {
        let names = sequence.names.clone();
        let new = Some(Box::new(sequence));
        let id = if let Some(id) = self.free.pop() {
            self.slots[id as usize] = new;
            id
        } else {
            self.slots.push(new);
            (self.slots.len() - 1) as u32
        };
        self.by_names.insert(names, id);
        id
    }
    fn remove(&mut self, id: u32) {
        if let Some(gone) = self.slots.get_mut(id as usize).and_then(Option::take) {
            self.by_names.remove(&gone.names);
            self.mourned.remove(&id);
            self.free.push(id);
            self.hot = None;
        }
    }
    pub(super) fn shrink(&mut self) {
        self.slots.iter_mut().flatten().for_each(|s| s.list.trim());
        self.slots.shrink_to_fit();
        self.free.shrink_to_fit();
    }
}

impl Sequence {
    fn path(&self) -> Vec<u8> {
        let mut out = Writer::new();
        encode_path(Kind::Sequence, self.names.iter().map(Vec::as_slice), &mut out);
        out.into_bytes()
    }
}

/// Hashes that come and go, with how many.
#[derive(Clone, Copy, Default)]
struct Tally {
    plus: (u128, usize),
    minus: (u128, usize),
}

impl Tally {
    fn add(&mut self, hash: u128) {
        self.plus = (self.plus.0.wrapping_add(hash), self.plus.1 + 1);
    }
    fn take(&mut self, hash: u128) {
        self.minus = (self.minus.0.wrapping_add(hash), self.minus.1 + 1);
    }
}

impl Space {
    /// An operation on a sequence.
    pub(super) fn splice(&mut self, op: &Op<'_>, width: u64, bytes: &[u8]) {
        let mut splice =
            Splice::decode(op.dot, width, bytes).expect("an operation is checked when it is read");
        self.rename_spans(&mut splice.spans);
        for span in &splice.spans {
            self.await_elements(span.first, u64::from(span.len));
        }
        let Some(id) = self.sequence_of(op.container, splice.hang.is_some()) else { return };
        let (tree, vv) = (&self.tree, &self.vv);
        let Some(s) = self.sequences.get_mut(id) else { return };
        let (seed, waited) = (s.seed, s.list.waiting());
        let hash = |name, value: &[u8]| tree.element_hash(seed, name, Some(value));
        let mut tally = Tally::default();
        if let Some(hang) = splice.hang {
            let items: Vec<_> = splice.elements().map(item).collect();
            let lost = |dot| self.roster.cuts_off(dot);
            s.list.bring(op.dot, hang, &items, vv, lost, |turn, name, value| match turn {
                Turn::Came => tally.add(hash(name, value)),
                Turn::Went => tally.take(hash(name, value)),
            });
            let early = (op.dot.bits()..=op.last().bits()).filter(|_| !self.pending.is_empty());
            for name in early.filter(|name| self.pending.holds(op, Dot::from_bits(*name), false)) {
                s.list.strike(name, name + 1, |name, value| tally.take(hash(name, value)));
            }
        }
        for span in &splice.spans {
            let known = vv.get(span.first.replica()) + 1;
            let end = span.first.sequence() + u64::from(span.len);
            let end = span.first.bits() + (end.min(known).saturating_sub(span.first.sequence()));
            s.list.strike(span.first.bits(), end, |name, value| tally.take(hash(name, value)));
        }
        self.settle_sequence(id, &tally, waited);
    }
    /// The sequence at a place, whether anything in it is live or not.
    pub(super) fn any_list(&self, at: &Address) -> Option<&List> {
        let id = *self.sequences.by_names.get(&at.names)?;
        self.sequences.get(id).map(|s| &s.list)
    }
    /// Remembers those of some elements that go and have not come.
    fn await_elements(&mut self, first: Dot, len: u64) {
        let known = self.vv.get(first.replica()) + 1;
        for s in first.sequence().max(known)..first.sequence() + len {
            self.pending.add(Dot::new(first.replica(), s), &self.roster);
        }
    }
    /// The sequence at a path in canonical bytes.
    fn sequence_of(&mut self, path: &[u8], make: bool) -> Option<u32> {
        if let Some((hot, id)) = &self.sequences.hot
            && hot == path
        {
            return Some(*id);
        }
        let (_, names) = super::tree::path_names(path);
        let names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        let id = match self.sequences.by_names.get(&names) {
            Some(id) => *id,
            None if make => self.add_sequence(names, List::new()),
            None => return None,
        };
        self.sequences.hot = Some((path.to_vec(), id));
        Some(id)
    }
    fn add_sequence(&mut self, names: Vec<Vec<u8>>, list: List) -> u32 {
        let seed = self.tree.seed_of(Kind::Sequence, &names);
        self.sequences.add(Sequence { names, list, container: None, seed })
    }
    /// After a change: the sums, the place in the tree, and whether anything is left.
    fn settle_sequence(&mut self, id: u32, tally: &Tally, waited: usize) {
        let Some(s) = self.sequences.slots.get_mut(id as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        self.tree.count_elements(tally.plus, tally.minus);
        // One that died while it waited is dead in its place once it stands there, and nothing else may have died by then.
        let died = tally.minus.1 > 0 || (s.list.mourns() && !self.sequences.mourned.contains(&id));
        let (waits, vacant) = (s.list.waiting(), s.list.is_vacant());
        match s.container {
            None if !s.list.is_empty() => {
                let place = self.tree.find_or_new(&s.path());
                s.container = Some(place);
                self.tree.set_sequence(place, id);
            }
            Some(place) if s.list.is_empty() => {
                s.container = None;
                self.tree.set_sequence(place, NO_SEQUENCE);
                self.release(place);
            }
            _ => {}
        }
        self.sequences.waiting = self.sequences.waiting + waits - waited;
        if vacant {
            self.sequences.remove(id);
        } else if died {
            self.sequences.mourn(id);
        }
    }
    /// What a clearing takes of the sequences at and below its place.
    pub(super) fn clear_sequences(&mut self, op: &Op<'_>, upto: &VersionVector) {
        if self.sequences.by_names.is_empty() {
            return;
        }
        let (_, names) = super::tree::path_names(op.container);
        let mut top: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
        top.push(op.name.to_vec());
        let below =
            self.sequences.by_names.range(top.clone()..).take_while(|(names, _)| names.starts_with(&top));
        let fits = |names: &[Vec<u8>]| (names.len() == top.len()) == (op.kind == Kind::Sequence);
        let ids: Vec<u32> = below.filter(|(names, _)| fits(names)).map(|(_, id)| *id).collect();
        let dots = op.supersedes.as_slice();
        let goes = |name: u64| {
            let dot = Dot::from_bits(name);
            upto.contains(dot) || dots.binary_search(&dot).is_ok()
        };
        for id in ids {
            let tree = &self.tree;
            let Some(s) = self.sequences.get_mut(id) else { continue };
            let (seed, waited) = (s.seed, s.list.waiting());
            let rows = s.list.rows();
            let live = rows.iter().filter(|r| r.items.is_some()).flat_map(|r| r.first..r.first + r.len);
            let gone: Vec<u64> = live.filter(|name| goes(*name)).collect();
            let mut tally = Tally::default();
            for row in gone.chunk_by(|a, b| a + 1 == *b) {
                s.list.strike(row[0], row[row.len() - 1] + 1, |name, value| {
                    tally.take(tree.element_hash(seed, name, Some(value)));
                });
            }
            self.settle_sequence(id, &tally, waited);
        }
    }
    /// Shows what waited for elements that the roster has cut off.
    pub(super) fn adopt_elements(&mut self) {
        if self.sequences.waiting == 0 {
            return;
        }
        let ids: Vec<u32> = self.sequences.by_names.values().copied().collect();
        for id in ids {
            let Some(s) = self.sequences.get_mut(id) else { continue };
            let waited = s.list.waiting();
            if waited > 0 {
                s.list.adopt(|dot| self.roster.cuts_off(dot));
                self.settle_sequence(id, &Tally::default(), waited);
            }
        }
    }
    /// Forgets dead elements that nothing to come can name and nothing live hangs on.
    pub(super) fn bury(&mut self) {
        if self.sequences.mourned.is_empty() {
            return;
        }
        let stable = if planted::is(Bug::PurgeEarly) { self.vv.clone() } else { self.stable() };
        for id in self.sequences.burials(&stable) {
            let Some(s) = self.sequences.get_mut(id) else { continue };
            let waited = s.list.waiting();
            if !s.list.bury(&self.vv, &stable) {
                self.sequences.mourned.remove(&id);
            }
            self.settle_sequence(id, &Tally::default(), waited);
        }
    }
    /// Dead elements of sequences that are kept, and in how many sequences some of them wait to be purged. Those that live
    /// ones hang on are kept for as long as these live.
    #[must_use]
    pub fn tombstones(&self) -> (u64, usize) {
        (self.sequences.iter().map(|s| s.list.dead()).sum(), self.sequences.mourned.len())
    }
    /// Puts in a sequence that a state brought, in place of none.
    pub(super) fn restore_sequence(
        &mut self,
        names: Vec<Vec<u8>>,
        (elements, ghosts): (Vec<Element>, Vec<Element>),
        received: &VersionVector,
    ) {
        let mut list = List::of_elements(elements, ghosts, received);
        list.adopt(|dot| self.roster.cuts_off(dot));
        let id = self.add_sequence(names, list);
        let Some(s) = self.sequences.get(id) else { return };
        let mut tally = Tally::default();
        each_element(&s.list, |name, _, _, value| {
            if value.is_some() {
                tally.add(self.tree.element_hash(s.seed, name, value));
            }
        });
        self.sequences.mourn(id);
        self.settle_sequence(id, &tally, 0);
    }
    /// All elements of all sequences, in the order of names; the tree then has none.
    pub(super) fn elements_of(&self, tree: &mut Tree) -> BTreeMap<Vec<Vec<u8>>, Vec<Element>> {
        let mut out = BTreeMap::new();
        for s in self.sequences.iter() {
            let (mut elements, mut tally) = (Vec::new(), Tally::default());
            each_element(&s.list, |name, origin, left, value| {
                if value.is_some() {
                    tally.take(self.tree.element_hash(s.seed, name, value));
                }
                elements.push(Element { name, origin, left, item: value.map(item) });
            });
            tree.count_elements(tally.plus, tally.minus);
            if let Some(place) = s.container {
                tree.set_sequence(place, NO_SEQUENCE);
                tree.release(place);
            }
            out.insert(s.names.clone(), elements);
        }
        out
    }
}

/// Shows every element of a list, by name: origin, side, and its value if it is live.
pub(super) fn each_element(list: &List, mut each: impl FnMut(u64, u64, bool, Option<&[u8]>)) {
    for row in list.rows() {
        for k in 0..row.len {
            let name = row.first + k;
            let (origin, left) = if k == 0 { (row.origin, row.left) } else { (name - 1, false) };
            each(name, origin, left, row.items.map(|items| &*items[k as usize]));
        }
    }
}
