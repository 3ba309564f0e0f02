//! The types as plain delta-state values: without a space, a log or a roster.
//!
//! **Promise.** [`State::mutate`] returns a delta; a delta is a state; joining deltas and states, in any order and any number
//! of times, gives the same state everywhere. Whoever wants one set shared between three processes needs nothing else.
//!
//! | kind | lives in | shown |
//! |---|---|---|
//! | `Lww`, `Mv` | `Written`: dot → (time, value) | the latest by (time, dot); all |
//! | `GCounter`, `PnCounter` | `Totals`: instance → replica → totals | the sum |
//! | `Bounded` | the same, with what was handed over | the sum; rights of a replica |
//! | `OrSet`, `GSet`, `TwoPhaseSet` | `Elements`: element → dots | the elements, less those retired |
//! | `Map` | `Fields`: (name, kind) → store | its fields |
//!
//! **Invariants.** (`tests/laws.rs`: each kind, and each nesting to depth three.) Join is associative, commutative and idempotent;
//! `join(s, mutate(s))` is the mutated state; the parts of [`State::split`], joined in any order, are the state, and
//! their fingerprints add up to its own; equal states are equal bytes.
//!
//! **How it differs from a space.** A space names gaps by a vector and so never compares states; here a delta carries the dots it
//! knows. An increment takes no dot here (its replica's totals only rise), so a replica's deltas may be lost and joined later.
//! The semantics are the same, which `tests/oracle.rs` checks against `crdts` and against the space.

mod context;
mod store;

pub use context::Context;
pub use store::{Share, Store};

use crate::address::{DEPTH_MAX, Kind, read_kind};
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::edit::{Change, EditFault};
use crate::fingerprint::Secret;
use crate::hlc::Hlc;
use crate::space::Field;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A state, which is a large delta; a delta, which is a small state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    kind: Kind,
    store: Store,
    context: Context,
}

impl State {
    /// Nothing of this kind.
    ///
    /// # Panics
    /// For a sequence, which is a type of its own, and a deadline, which is a space's affair.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        assert!(!matches!(kind, Kind::Sequence | Kind::Deadline), "a {kind} is no delta-state value");
        Self { kind, store: Store::empty(kind), context: Context::default() }
    }
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// What lives.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }
    /// What is known.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }
    /// The least state that holds what both hold. States of two kinds don't join: the other is left aside.
    pub fn join(&mut self, other: &Self) {
        if self.kind != other.kind {
            return;
        }
        self.store.join(&self.context, &other.store, &other.context);
        self.context.join(&other.context);
    }
    /// The delta of a change made by `by` at `hlc`, at a field of a field … of this map; at the value itself if `path` is empty.
    /// A change that changes nothing is an empty delta.
    ///
    /// # Errors
    /// If the change does not fit what lies there.
    pub fn mutate(
        &self,
        by: ReplicaIndex,
        hlc: Hlc,
        path: &[Field],
        change: &Change,
    ) -> Result<Self, EditFault> {
        if path.len() > DEPTH_MAX {
            return Err(EditFault::Size { what: "a path", size: path.len(), limit: DEPTH_MAX });
        }
        let kind = path.last().map_or(self.kind, |f| f.kind);
        let maps_above = self.kind == Kind::Map || path.is_empty();
        if !maps_above || path.iter().rev().skip(1).any(|f| f.kind != Kind::Map) {
            return Err(EditFault::Kind { change: "a field", kind: self.kind.name() });
        }
        let here = self.at(path);
        let nothing = Store::empty(kind);
        let here = here.unwrap_or(&nothing);
        let dot = self.context.next(by);
        let (mut store, context) = change_store(here, kind, by, hlc, dot, change)?;
        if store.is_empty() && context.is_empty() {
            return Ok(Self::new(self.kind));
        }
        for field in path.iter().rev() {
            let one = (field.name.clone(), field.kind);
            store = Store::Fields(if store.is_empty() { BTreeMap::new() } else { [(one, store)].into() });
        }
        Ok(Self { kind: self.kind, store, context })
    }
    /// What lives at a path.
    #[must_use]
    pub fn at(&self, path: &[Field]) -> Option<&Store> {
        let mut store = &self.store;
        for f in path {
            let Store::Fields(fields) = store else { return None };
            store = fields.get(&(f.name.clone(), f.kind))?;
        }
        Some(store)
    }
    /// A register's values at a path, the one that is shown first.
    #[must_use]
    pub fn values(&self, path: &[Field]) -> Vec<Vec<u8>> {
        let Some(Store::Written(w)) = self.at(path) else { return Vec::new() };
        let mut all: Vec<(&Dot, &(Hlc, Vec<u8>))> = w.iter().collect();
        all.sort_by_key(|(d, (hlc, _))| Reverse((*hlc, **d)));
        all.into_iter().map(|(_, (_, v))| v.clone()).collect()
    }
    /// A counter's total at a path.
    #[must_use]
    pub fn total(&self, path: &[Field]) -> Option<i128> {
        let Some(Store::Totals(t)) = self.at(path) else { return None };
        let all = t.values().flat_map(BTreeMap::values);
        Some(all.map(|s| i128::from(s.plus) - i128::from(s.minus)).sum())
    }
    /// A set's elements at a path.
    #[must_use]
    pub fn elements(&self, path: &[Field]) -> Vec<Vec<u8>> {
        let Some(Store::Elements { live, retired }) = self.at(path) else { return Vec::new() };
        live.keys().filter(|e| !retired.contains_key(*e)).cloned().collect()
    }
    /// How much of a bounded counter a replica may spend now, in one piece.
    #[must_use]
    pub fn rights(&self, path: &[Field], replica: ReplicaIndex) -> u64 {
        let Some(Store::Totals(t)) = self.at(path) else { return 0 };
        let most = t.values().map(|shares| rights(shares, replica)).max().unwrap_or(0);
        u64::try_from(most.max(0)).unwrap_or(u64::MAX)
    }
    /// Entries that live, and dots that are only known.
    #[must_use]
    pub fn size(&self) -> usize {
        let mut n = 0;
        self.store.atoms(&mut |_| n += 1);
        let mut dots = Vec::new();
        self.store.dots(&mut dots);
        n + (self.context.len() - dots.len())
    }
    /// Parts of at most `limit` entries; joined in any order they are the state again. What is only known — removed — goes
    /// in the last part.
    #[must_use]
    pub fn split(&self, limit: usize) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let mut entries = limit.max(1);
        self.store.atoms(&mut |store| {
            let mut dots = Vec::new();
            store.dots(&mut dots);
            let part = Self { kind: self.kind, store, context: dots.into_iter().collect() };
            match out.last_mut().filter(|_| entries < limit) {
                Some(last) => {
                    last.join(&part);
                    entries += 1;
                }
                None => {
                    out.push(part);
                    entries = 1;
                }
            }
        });
        let mut live = Vec::new();
        self.store.dots(&mut live);
        live.sort_unstable();
        let removed: Context = self.context.iter().filter(|d| live.binary_search(d).is_err()).collect();
        if !removed.is_empty() || out.is_empty() {
            out.push(Self { context: removed, ..Self::new(self.kind) });
        }
        out
    }
    /// The sum of keyed hashes over all that lives.
    #[must_use]
    pub fn fingerprint(&self, secret: &Secret) -> u128 {
        let mut sum = 0u128;
        let mut bytes = Writer::new();
        self.store.atoms(&mut |atom| {
            bytes.clear();
            atom.encode(&mut bytes);
            sum = sum.wrapping_add(secret.hasher().bytes(bytes.as_slice()).sum());
        });
        sum
    }
    /// Writes the canonical bytes: kind, context, store.
    pub fn encode(&self, out: &mut Writer) {
        out.byte(self.kind as u8);
        self.context.encode(out);
        self.store.encode(out);
    }
    /// Reads what [`State::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no state.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = read_kind(from)?;
        if matches!(kind, Kind::Sequence | Kind::Deadline) {
            return Err(from.malformed("a kind that is no delta-state value"));
        }
        let context = Context::decode(from)?;
        let store = Store::decode(kind, 0, from)?;
        let mut dots = Vec::new();
        store.dots(&mut dots);
        if dots.iter().any(|d| !context.contains(*d)) {
            return Err(from.malformed("something lives that is not known"));
        }
        Ok(Self { kind, store, context })
    }
}

fn rights(shares: &BTreeMap<ReplicaIndex, Share>, replica: ReplicaIndex) -> i128 {
    let own = shares.get(&replica);
    let held = own.map_or(0, |s| i128::from(s.plus) - i128::from(s.minus));
    let given: i128 = own.map_or(0, |s| s.handed.values().map(|n| i128::from(*n)).sum());
    let taken: i128 = shares.values().filter_map(|s| s.handed.get(&replica)).map(|n| i128::from(*n)).sum();
    held + taken - given
}

/// The delta of a change, and the dots it knows.
fn change_store(
    here: &Store,
    kind: Kind,
    by: ReplicaIndex,
    hlc: Hlc,
    dot: Dot,
    change: &Change,
) -> Result<(Store, Context), EditFault> {
    let misfit = |change| Err(EditFault::Kind { change, kind: kind.name() });
    let mut seen = Vec::new();
    match (here, change) {
        (Store::Written(w), Change::Write(value)) => {
            let context = w.keys().copied().chain([dot]).collect();
            Ok((Store::Written([(dot, (hlc, value.clone()))].into()), context))
        }
        (Store::Totals(t), Change::Increase(n)) => Ok(count(t, by, dot, i128::from(*n), |s| {
            s.plus = s.plus.checked_add(*n)?;
            Some(())
        })?),
        (Store::Totals(t), Change::Decrease(n)) if kind != Kind::GCounter => {
            let need = if kind == Kind::Bounded { -i128::from(*n) } else { 0 };
            Ok(count(t, by, dot, need, |s| {
                s.minus = s.minus.checked_add(*n)?;
                Some(())
            })?)
        }
        (Store::Totals(t), Change::Transfer { to, amount }) if kind == Kind::Bounded => {
            if *to == by {
                return Err(EditFault::Receiver);
            }
            Ok(count(t, by, dot, -i128::from(*amount), |s| {
                let handed = s.handed.entry(*to).or_default();
                *handed = handed.checked_add(*amount)?;
                s.handed.retain(|_, n| *n > 0);
                Some(())
            })?)
        }
        (Store::Elements { live, retired }, Change::Add(e)) => {
            if retired.contains_key(e) {
                return Err(EditFault::Retired);
            }
            seen.extend(live.get(e).into_iter().flatten());
            if kind != Kind::OrSet && !seen.is_empty() {
                return Ok((Store::empty(kind), Context::default()));
            }
            let one = [(e.clone(), [dot].into())].into();
            let store = Store::Elements { live: one, retired: BTreeMap::new() };
            Ok((store, seen.into_iter().chain([dot]).collect()))
        }
        (Store::Elements { live, .. }, Change::Remove(e)) if kind != Kind::GSet => {
            seen.extend(live.get(e).into_iter().flatten());
            if seen.is_empty() {
                return Ok((Store::empty(kind), Context::default()));
            }
            if kind == Kind::OrSet {
                return Ok((Store::empty(kind), seen.into_iter().collect()));
            }
            let one = [(e.clone(), [dot].into())].into();
            let store = Store::Elements { live: BTreeMap::new(), retired: one };
            Ok((store, seen.into_iter().chain([dot]).collect()))
        }
        (_, Change::Delete) => {
            here.dots(&mut seen);
            Ok((Store::empty(kind), seen.into_iter().collect()))
        }
        _ => misfit("this change"),
    }
}

/// A replica's new totals in the instance it counts in: the oldest whose rights cover the change, else a new one.
fn count(
    instances: &BTreeMap<Dot, BTreeMap<ReplicaIndex, Share>>,
    by: ReplicaIndex,
    dot: Dot,
    change: i128,
    step: impl Fn(&mut Share) -> Option<()>,
) -> Result<(Store, Context), EditFault> {
    let covered = |shares: &BTreeMap<ReplicaIndex, Share>| change >= 0 || rights(shares, by) + change >= 0;
    let of = instances.iter().find(|(_, shares)| covered(shares));
    if of.is_none() && change < 0 {
        let held = instances.values().map(|s| rights(s, by)).max().unwrap_or(0).max(0);
        let clamp = |n: i128| u64::try_from(n).unwrap_or(u64::MAX);
        return Err(EditFault::Rights { wanted: clamp(-change), held: clamp(held) });
    }
    let mut share = of.and_then(|(_, shares)| shares.get(&by)).cloned().unwrap_or_default();
    step(&mut share).ok_or(EditFault::Overflow)?;
    let instance = of.map_or(dot, |(d, _)| *d);
    let store = Store::Totals([(instance, [(by, share)].into())].into());
    Ok((store, [instance].into_iter().collect()))
}
