//! Range reconciliation of two spaces: for a replica older than the log, or one whose state is not what its version says.
//!
//! Who pulls makes its live entries *exactly* the other's, then its version the other's, then applies what it knows and the
//! other did not (from its own log) and what the other took meanwhile. Nothing is merged entry by entry, so there is no
//! rule of merging that could be wrong: the result is a state of the other, plus operations.
//!
//! | step | here | there |
//! |---|---|---|
//! | 1 | | header (`snapshot`), log (`unstable`) |
//! | 2 | `range::open`, `range::resolve` over `items` | `range::answer` over `items` |
//! | 3 | | `entries` of what is needed |
//! | 4 | `Restore::amend`, `absorb`, `log` | operations since the header (`missing`) |
//! | 5 | `finish`, `carry_over` from the old self, compare digests | |

use super::Space;
use super::leaf::{ELEMENT, Name, RETIRED};
use super::snapshot::{Restore, SnapshotHeader};
use super::tree::{ROOT, stamp};
use crate::address::Kind;
use crate::code::Writer;
use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::range::{Items, Key};
use crate::version::VersionVector;
use alloc::vec::Vec;

impl Space {
    /// The live entries in the order of reconciliation. Walks and sorts them all.
    #[must_use]
    pub fn items(&self) -> Items {
        let mut out = Vec::with_capacity(self.tree.len());
        self.walk(ROOT, &mut |id, e| {
            let stamp = if e.tag == ELEMENT || e.tag == RETIRED { e.stamp } else { stamp(Hlc(e.hlc)) };
            out.push((Key { stamp, dot: e.dot }, self.tree.hash(id, e)));
        });
        Items::new(self.config.secret, out)
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
    /// only entry is left out would count as removed. So entries of counters that are newer than the header's version `since`
    /// go along, wanted or not.
    #[must_use]
    pub fn entries(&self, dots: &[Dot], since: &VersionVector) -> Vec<u8> {
        let mut wanted: Vec<u64> = dots.iter().map(|d| d.bits()).collect();
        wanted.sort_unstable();
        let (mut out, mut name, mut shown) = (Writer::new(), Vec::new(), None);
        self.walk(ROOT, &mut |id, e| {
            let counter = Kind::from_number(e.tag).is_some_and(Kind::is_counter);
            if wanted.binary_search(&e.dot).is_ok() || (counter && !since.contains(Dot::from_bits(e.dot))) {
                if shown != Some(id) {
                    super::snapshot::write_container(&self.tree.path(id), &mut out);
                    shown = Some(id);
                }
                super::snapshot::write_entry(e, &mut name, &mut out);
            }
        });
        out.into_bytes()
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
            self.tree.take(*id, at, &name);
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
        let mut new = Self::new(old.config, old.roster.clone(), old.me, header);
        new.space.tree = old.tree.clone();
        new.space.deadlines = old.deadlines.clone();
        new.space.clock = old.clock.clone();
        new.space.strike(extra);
        new.amends = true;
        new
    }
}
