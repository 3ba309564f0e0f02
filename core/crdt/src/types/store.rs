//! What lives, by dot; and how two such things join.
//!
//! One rule for all types (Almeida et al. 2018, §7.3): what both hold stays; what one holds and the other does not know stays;
//! what one holds and the other knows and does not hold was removed there, and goes.
//!
//! | store | dots name | same dot in both |
//! |---|---|---|
//! | `Written` | writes | equal, for a dot is used once |
//! | `Totals` | instances of a counter | each replica's totals, the larger |
//! | `Elements` | additions; retirements of a 2P-Set | equal |
//! | `Fields` | what its fields' stores name | joined field by field |

use super::context::Context;
use crate::address::{DEPTH_MAX, Kind, NAME_MAX, VALUE_MAX, read_kind};
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::op::{read_transfers, write_transfers};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What a replica ever did in one instance of a counter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// All it added.
    pub plus: u64,
    /// All it took.
    pub minus: u64,
    /// Rights it handed over, by receiver.
    pub handed: BTreeMap<ReplicaIndex, u64>,
}

type ByName = BTreeMap<Vec<u8>, BTreeSet<Dot>>;

/// What lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// A register's writes.
    Written(BTreeMap<Dot, (Hlc, Vec<u8>)>),
    /// A counter's instances.
    Totals(BTreeMap<Dot, BTreeMap<ReplicaIndex, Share>>),
    /// A set's elements, and those that are gone for good.
    Elements {
        /// Additions, by element.
        live: ByName,
        /// Retirements, by element.
        retired: ByName,
    },
    /// A map's fields.
    Fields(BTreeMap<(Vec<u8>, Kind), Self>),
}

/// Joins two maps of dots; `same` joins what both hold.
fn join_dots<V: Clone>(
    mine: &mut BTreeMap<Dot, V>,
    my: &Context,
    theirs: &BTreeMap<Dot, V>,
    their: &Context,
    same: impl Fn(&mut V, &V),
) {
    mine.retain(|d, _| theirs.contains_key(d) || !their.contains(*d));
    for (d, v) in theirs {
        match mine.get_mut(d) {
            Some(m) => same(m, v),
            None if !my.contains(*d) => {
                mine.insert(*d, v.clone());
            }
            None => {}
        }
    }
}

fn join_names(mine: &mut ByName, my: &Context, theirs: &ByName, their: &Context) {
    let empty = BTreeSet::new();
    for name in theirs.keys() {
        mine.entry(name.clone()).or_default();
    }
    mine.retain(|name, dots| {
        let other = theirs.get(name).unwrap_or(&empty);
        dots.retain(|d| other.contains(d) || !their.contains(*d));
        dots.extend(other.iter().filter(|d| !my.contains(**d)).copied());
        !dots.is_empty()
    });
}

impl Store {
    /// Nothing of this kind.
    #[must_use]
    pub fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Map => Self::Fields(BTreeMap::new()),
            k if k.is_counter() => Self::Totals(BTreeMap::new()),
            k if k.is_set() => Self::Elements { live: ByName::new(), retired: ByName::new() },
            _ => Self::Written(BTreeMap::new()),
        }
    }
    /// Whether nothing lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Written(w) => w.is_empty(),
            Self::Totals(t) => t.is_empty(),
            Self::Elements { live, retired } => live.is_empty() && retired.is_empty(),
            Self::Fields(f) => f.is_empty(),
        }
    }
    /// Joins with another of the same kind; `my` and `their` are what each side knows.
    pub fn join(&mut self, my: &Context, theirs: &Self, their: &Context) {
        match (self, theirs) {
            (Self::Written(a), Self::Written(b)) => join_dots(a, my, b, their, |_, _| {}),
            (Self::Totals(a), Self::Totals(b)) => join_dots(a, my, b, their, join_shares),
            (Self::Elements { live, retired }, Self::Elements { live: l, retired: r }) => {
                join_names(live, my, l, their);
                join_names(retired, my, r, their);
            }
            (Self::Fields(a), Self::Fields(b)) => {
                for (name, kind) in b.keys() {
                    a.entry((name.clone(), *kind)).or_insert_with(|| Self::empty(*kind));
                }
                a.retain(|(name, kind), store| {
                    match b.get(&(name.clone(), *kind)) {
                        Some(other) => store.join(my, other, their),
                        None => store.join(my, &Self::empty(*kind), their),
                    }
                    !store.is_empty()
                });
            }
            // Kinds are part of names: two kinds never meet.
            _ => debug_assert!(false, "two kinds under one name"),
        }
    }
    /// The dots that live here.
    pub fn dots(&self, out: &mut Vec<Dot>) {
        match self {
            Self::Written(w) => out.extend(w.keys()),
            Self::Totals(t) => out.extend(t.keys()),
            Self::Elements { live, retired } => out.extend(live.values().chain(retired.values()).flatten()),
            Self::Fields(f) => f.values().for_each(|s| s.dots(out)),
        }
    }
    /// Cuts the store into stores of one entry each.
    pub(super) fn atoms(&self, see: &mut dyn FnMut(Self)) {
        match self {
            Self::Written(w) => w.iter().for_each(|(d, v)| see(Self::Written([(*d, v.clone())].into()))),
            Self::Totals(t) => t.iter().for_each(|(d, v)| see(Self::Totals([(*d, v.clone())].into()))),
            Self::Elements { live, retired } => {
                for (name, dots) in live {
                    let live = [(name.clone(), dots.clone())].into();
                    see(Self::Elements { live, retired: ByName::new() });
                }
                for (name, dots) in retired {
                    let retired = [(name.clone(), dots.clone())].into();
                    see(Self::Elements { live: ByName::new(), retired });
                }
            }
            Self::Fields(f) => {
                for (key, store) in f {
                    store.atoms(&mut |atom| see(Self::Fields([(key.clone(), atom)].into())));
                }
            }
        }
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Written(w) => {
                out.varint(w.len() as u64);
                for (d, (hlc, value)) in w {
                    out.dot(*d);
                    out.fixed(hlc.0);
                    out.bytes(value);
                }
            }
            Self::Totals(t) => {
                out.varint(t.len() as u64);
                for (d, shares) in t {
                    out.dot(*d);
                    out.varint(shares.len() as u64);
                    for (r, s) in shares {
                        out.varint(u64::from(r.0));
                        out.varint(s.plus);
                        out.varint(s.minus);
                        let handed: Vec<(ReplicaIndex, u64)> =
                            s.handed.iter().map(|(r, n)| (*r, *n)).collect();
                        write_transfers(&handed, out);
                    }
                }
            }
            Self::Elements { live, retired } => {
                for names in [live, retired] {
                    out.varint(names.len() as u64);
                    for (name, dots) in names {
                        out.bytes(name);
                        out.varint(dots.len() as u64);
                        dots.iter().for_each(|d| out.dot(*d));
                    }
                }
            }
            Self::Fields(f) => {
                out.varint(f.len() as u64);
                for ((name, kind), store) in f {
                    out.bytes(name);
                    out.byte(*kind as u8);
                    store.encode(out);
                }
            }
        }
    }
    /// Reads what [`Store::encode`] wrote, of this kind and at this depth.
    ///
    /// # Errors
    /// If the bytes are no such store.
    pub fn decode(kind: Kind, depth: usize, from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut out = Self::empty(kind);
        let rise = |rises: bool, from: &Reader<'_>| {
            if rises { Ok(()) } else { Err(from.malformed("entries out of order, or twice")) }
        };
        match &mut out {
            Self::Written(w) => {
                for _ in 0..from.count(1 << 24)? {
                    let d = from.dot()?;
                    rise(w.last_key_value().is_none_or(|(last, _)| *last < d), from)?;
                    w.insert(d, (Hlc(from.fixed()?), from.bytes(VALUE_MAX)?.to_vec()));
                }
            }
            Self::Totals(t) => {
                for _ in 0..from.count(1 << 24)? {
                    let d = from.dot()?;
                    rise(t.last_key_value().is_none_or(|(last, _)| *last < d), from)?;
                    let mut shares: BTreeMap<ReplicaIndex, Share> = BTreeMap::new();
                    for _ in 0..from.count(1 << 16)? {
                        let r = from.varint()?;
                        let r = u16::try_from(r).map_err(|_| from.malformed("a replica beyond 16 bits"))?;
                        rise(shares.last_key_value().is_none_or(|(last, _)| last.0 < r), from)?;
                        let (plus, minus) = (from.varint()?, from.varint()?);
                        let handed = read_transfers(from)?.into_iter().collect();
                        shares.insert(ReplicaIndex(r), Share { plus, minus, handed });
                    }
                    t.insert(d, shares);
                }
            }
            Self::Elements { live, retired } => {
                for names in [live, retired] {
                    for _ in 0..from.count(1 << 24)? {
                        let name = from.bytes(NAME_MAX)?.to_vec();
                        rise(names.last_key_value().is_none_or(|(last, _)| *last < name), from)?;
                        let mut dots = BTreeSet::new();
                        for _ in 0..from.count(1 << 24)? {
                            let d = from.dot()?;
                            rise(dots.last().is_none_or(|last| *last < d), from)?;
                            dots.insert(d);
                        }
                        rise(!dots.is_empty(), from)?;
                        names.insert(name, dots);
                    }
                }
            }
            Self::Fields(f) => {
                if depth >= DEPTH_MAX {
                    return Err(from.malformed("maps nested too deep"));
                }
                for _ in 0..from.count(1 << 24)? {
                    let key = (from.bytes(NAME_MAX)?.to_vec(), read_kind(from)?);
                    rise(f.last_key_value().is_none_or(|(last, _)| *last < key), from)?;
                    let store = Self::decode(key.1, depth + 1, from)?;
                    rise(!store.is_empty(), from)?;
                    f.insert(key, store);
                }
            }
        }
        Ok(out)
    }
}

fn join_shares(mine: &mut BTreeMap<ReplicaIndex, Share>, theirs: &BTreeMap<ReplicaIndex, Share>) {
    for (r, s) in theirs {
        let m = mine.entry(*r).or_default();
        m.plus = m.plus.max(s.plus);
        m.minus = m.minus.max(s.minus);
        for (to, n) in &s.handed {
            let h = m.handed.entry(*to).or_default();
            *h = (*h).max(*n);
        }
    }
}
