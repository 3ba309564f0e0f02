//! Range reconciliation of two spaces: for a replica older than the log, or one whose state is not what its version says.
//!
//! Who pulls makes its live entries *exactly* the other's, then its version the other's, then applies what it knows and the
//! other did not (from its own log) and what the other took meanwhile. Nothing is merged entry by entry, so there is no
//! rule of merging that could be wrong: the result is a state of the other, plus operations.
//!
//! | step | here | there |
//! |---|---|---|
//! | 1 | `Restore::copy` of ourselves | header (`snapshot`) |
//! | 2 | `range::open`, `range::resolve` over the copy's `items` | `range::answer` over `items`, not older than the header |
//! | 3 | `Restore::adopt` the roster, `aim` at the header, `strike` what only we have | `entries_within` of what is needed |
//! | 4 | `absorb` | operations since the header (`missing`), digest |
//! | 5 | `finish`, compare digests, `carry_over` from what we are by then | |
//!
//! **Both sides may go on meanwhile.** Here the copy stands still, and what we take in meanwhile is carried over like
//! the rest. There, an item seen at any time after the header and gone at the end was superseded by one of the operations
//! of step 4; one that came after the header is itself among them. What is *older* than the header may not be
//! looked at: an item superseded between the two would stay, and no operation of step 4 would take it away.

use super::Space;
use super::elements::Parts;
use super::leaf::{ELEMENT, Name, RETIRED};
use super::pending::Pending;
use super::sequence::each_element;
use super::snapshot::{Restore, SnapshotHeader};
use super::tree::{ROOT, stamp};
use crate::address::Kind;
use crate::code::Writer;
use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::range::{Items, Key};
use crate::roster::{Roster, RosterFault};
use crate::version::VersionVector;
use alloc::vec::Vec;

impl Space {
    /// The live entries, and the elements of sequences, in the order of reconciliation. Walks and sorts them all. Dead elements
    /// are among them: others may still hang on them. Which of those a replica has purged already differs, and costs
    /// some bytes when it does.
    #[must_use]
    pub fn items(&self) -> Items {
        Items::new(self.config.secret, self.keys())
    }
    fn keys(&self) -> Vec<(Key, u128)> {
        let mut out = Vec::with_capacity(self.tree.len());
        self.walk(ROOT, &mut |id, e| {
            let stamp = if e.tag == ELEMENT || e.tag == RETIRED { e.stamp } else { stamp(Hlc(e.hlc)) };
            out.push((Key { stamp, dot: e.dot }, self.tree.hash(id, e)));
        });
        for s in self.sequences.iter() {
            each_element(&s.list, |name, _, _, value| out.push(self.element_key(s.seed, name, value)));
        }
        out
    }
    /// Lists of items are compared by their keys alone: the dead are not the live.
    fn element_key(&self, seed: u64, name: u64, value: Option<&[u8]>) -> (Key, u128) {
        let key = Key { stamp: u32::from(value.is_none()), dot: name };
        (key, self.tree.element_hash(seed, name, value))
    }
    fn walk<'s>(&'s self, id: u32, see: &mut impl FnMut(u32, &super::leaf::Entry<'s>)) {
        for e in self.tree.container(id).table.iter() {
            match e.child() {
                Some(child) => self.walk(child, see),
                None => see(id, &e),
            }
        }
    }
    /// The entries of these dots, as records of a chunk. What is no longer live is left out: it was superseded since, by an
    /// operation that will follow. Not so with counters: a replica's newer totals replace its older, and an instance whose
    /// only entry is left out would count as removed. So entries of counters that are newer than the version `since`
    /// go along, wanted or not.
    #[must_use]
    pub fn entries(&self, dots: &[Dot], since: &VersionVector) -> Vec<u8> {
        self.entries_within(dots, since, usize::MAX).0
    }
    /// The same with about `budget` bytes at most, at least one entry; and the dots of what had no room. Whoever asks for those
    /// gives our version of now as its next `since`.
    #[must_use]
    pub fn entries_within(&self, dots: &[Dot], since: &VersionVector, budget: usize) -> (Vec<u8>, Vec<Dot>) {
        let mut wanted: Vec<u64> = dots.iter().map(|d| d.bits()).collect();
        wanted.sort_unstable();
        let (mut out, mut name, mut shown) = (Writer::new(), Vec::new(), None);
        let mut left = Vec::new();
        self.walk(ROOT, &mut |id, e| {
            let counter = Kind::from_number(e.tag).is_some_and(Kind::is_counter);
            if wanted.binary_search(&e.dot).is_ok() || (counter && !since.contains(Dot::from_bits(e.dot))) {
                if out.len() >= budget {
                    return left.push(Dot::from_bits(e.dot));
                }
                if shown != Some(id) {
                    super::snapshot::write_container(&self.tree.path(id), &mut out);
                    shown = Some(id);
                }
                super::snapshot::write_entry(e, &mut name, &mut out);
            }
        });
        for s in self.sequences.iter() {
            super::elements::write_some(s, &mut out, budget, &mut left, |name| {
                wanted.binary_search(&name).is_ok()
            });
        }
        (out.into_bytes(), left)
    }
    /// Takes entries out of the index, without a trace.
    fn strike(&mut self, dots: &[Dot]) {
        let mut struck: Vec<u64> = dots.iter().map(|d| d.bits()).collect();
        struck.sort_unstable();
        let mut gone: Vec<(u32, Vec<u8>, u8, u64)> = Vec::new();
        self.walk(ROOT, &mut |id, e| {
            if struck.binary_search(&e.dot).is_ok() {
                gone.push((id, e.name(), e.tag, e.dot));
            }
        });
        for (id, bytes, tag, dot) in &gone {
            let name = Name::new(bytes);
            let table = &self.tree.container(*id).table;
            let mut at = table.locate(&name);
            while table.entry(at).is_some_and(|e| e.is(&name) && (e.tag, e.dot) != (*tag, *dot)) {
                at = table.next(at);
            }
            if *tag == Kind::Deadline as u8 {
                let body = table.entry(at).map(|e| e.body.to_vec()).unwrap_or_default();
                self.deadline(Dot::from_bits(*dot), *id, bytes, &body, false);
            }
            self.tree.take(*id, at);
        }
        // Only now: a container that is let go gives its place away.
        for (id, ..) in &gone {
            if self.tree.is_there(*id) {
                self.tree.release(*id);
            }
        }
        self.hot.forget();
    }
}

impl Restore {
    /// Begins with the live entries of `old` instead of none, less those the other side does not have.
    #[must_use]
    pub fn amend(old: &Space, header: SnapshotHeader, extra: &[Dot]) -> Self {
        let mut new = Self::copy(old);
        new.header = header;
        new.strike(extra);
        new
    }
    /// Begins with the live entries of `old`, which may go on. Nothing is known yet of whom it is to become.
    #[must_use]
    pub fn copy(old: &Space) -> Self {
        let nothing = SnapshotHeader { version: VersionVector::new(), pending: Pending::default() };
        let mut new = Self::new(old.config, old.roster.clone(), old.me, nothing);
        new.space.tree = old.tree.clone();
        new.parts = Parts::of(old.elements_of(&mut new.space.tree));
        new.space.deadlines = old.deadlines.clone();
        new.space.clock = old.clock.clone();
        new.amends = true;
        new
    }
    /// The other side's header has come: that is what it is to become.
    pub fn aim(&mut self, header: SnapshotHeader) {
        self.header = header;
    }
    /// The roster by which the other side is to be read, if it is later than the one so far.
    ///
    /// # Errors
    /// If it can't follow that one.
    pub fn adopt(&mut self, roster: &Roster) -> Result<(), RosterFault> {
        if roster.epoch > self.space.roster.epoch {
            self.space.set_roster(roster.clone())?;
        }
        Ok(())
    }
    /// Its entries in the order of reconciliation.
    #[must_use]
    pub fn items(&self) -> Items {
        let mut keys = self.space.keys();
        for (names, elements) in &self.parts.elements {
            let seed = self.space.tree.seed_of(Kind::Sequence, names);
            keys.extend(elements.iter().map(|e| self.space.element_key(seed, e.name, e.item.as_deref())));
        }
        Items::new(self.space.config.secret, keys)
    }
    /// Takes out what the other side does not have, once it is known whom this is to become. An element of a sequence that the other side had
    /// received is dead there; others may hang on it here that hang elsewhere there, so its name stays until it is buried.
    pub fn strike(&mut self, extra: &[Dot]) {
        self.space.strike(extra);
        self.parts.strike(extra, &self.header.version);
    }
}
