//! Where a value lies: names from the root of the space, and the kind of what lies there.
//!
//! A space is an OR-Map; its fields hold values of any kind, other OR-Maps among them. The kind is
//! part of the place (as in Riak's maps): two replicas that give one name to a counter and to a
//! set at the same time make two things, and neither is lost; a reader sees both kinds
//! (`Space::kinds`) and a door decides which it shows.
//!
//! Everything but a map is a leaf of the path; so a path is names alone, with one kind at its end.

use crate::code::{Malformed, Reader, Writer};
use alloc::vec::Vec;
use core::fmt;

/// Names of a path, the last one included.
pub const DEPTH_MAX: usize = 8;
/// Bytes of one name or set element.
pub const NAME_MAX: usize = 64 * 1024;
/// Bytes of one value.
pub const VALUE_MAX: usize = 8 * 1024 * 1024;

/// What lies at an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Fields by name, each of any kind (OR-Map).
    Map = 1,
    /// One value: of concurrent writes the latest by (time, dot) is shown (LWW-Register).
    Lww = 2,
    /// All values that no write has superseded (MV-Register).
    Mv = 3,
    /// A total that only rises (G-Counter).
    GCounter = 4,
    /// A total that rises and falls (PN-Counter).
    PnCounter = 5,
    /// A total that never falls below zero (bounded counter, by escrow).
    Bounded = 6,
    /// Elements that are only added (G-Set).
    GSet = 7,
    /// Elements that never return once removed (2P-Set).
    TwoPhaseSet = 8,
    /// Elements; an addition survives a removal that did not see it (OR-Set, add-wins).
    OrSet = 9,
    /// A list or a text (RGA with Fugue's ordering rule).
    Sequence = 10,
    /// When the values of this name are to be removed, and by whom (time to live).
    Deadline = 11,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 11] = [
        Self::Map,
        Self::Lww,
        Self::Mv,
        Self::GCounter,
        Self::PnCounter,
        Self::Bounded,
        Self::GSet,
        Self::TwoPhaseSet,
        Self::OrSet,
        Self::Sequence,
        Self::Deadline,
    ];
    /// From its number.
    #[must_use]
    pub const fn from_number(n: u8) -> Option<Self> {
        if n >= 1 && n <= 11 { Some(Self::ALL[n as usize - 1]) } else { None }
    }
    /// Whether members of this kind carry a name of their own.
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, Self::Map | Self::GSet | Self::TwoPhaseSet | Self::OrSet | Self::Sequence)
    }
    /// Whether it is a set.
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::GSet | Self::TwoPhaseSet | Self::OrSet)
    }
    /// Whether it is a counter.
    #[must_use]
    pub const fn is_counter(self) -> bool {
        matches!(self, Self::GCounter | Self::PnCounter | Self::Bounded)
    }
    /// Whether it is a register.
    #[must_use]
    pub const fn is_register(self) -> bool {
        matches!(self, Self::Lww | Self::Mv | Self::Deadline)
    }
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Lww => "lww-register",
            Self::Mv => "mv-register",
            Self::GCounter => "g-counter",
            Self::PnCounter => "pn-counter",
            Self::Bounded => "bounded-counter",
            Self::GSet => "g-set",
            Self::TwoPhaseSet => "2p-set",
            Self::OrSet => "or-set",
            Self::Sequence => "sequence",
            Self::Deadline => "deadline",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A place in the space. The empty path is the root map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Names from the root.
    pub names: Vec<Vec<u8>>,
    /// What lies there.
    pub kind: Kind,
}

impl Address {
    /// The map that holds everything.
    #[must_use]
    pub const fn root() -> Self {
        Self { names: Vec::new(), kind: Kind::Map }
    }
    /// What lies under a key of the space.
    #[must_use]
    pub fn key(kind: Kind, key: impl AsRef<[u8]>) -> Self {
        Self { names: [key.as_ref().to_vec()].into(), kind }
    }
    /// What lies under a field of this map.
    #[must_use]
    pub fn field(&self, kind: Kind, name: impl AsRef<[u8]>) -> Self {
        let mut names = self.names.clone();
        names.push(name.as_ref().to_vec());
        Self { names, kind }
    }
    /// The map this lies in, and its name there; nothing for the root.
    #[must_use]
    pub fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.names.split_last().map(|(last, parent)| (parent, last.as_slice()))
    }
    /// Writes the canonical bytes: kind, number of names, names.
    pub fn encode(&self, out: &mut Writer) {
        encode_path(self.kind, self.names.iter().map(Vec::as_slice), out);
    }
    /// Reads what [`Address::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no address.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = read_kind(from)?;
        let n = from.count(DEPTH_MAX)?;
        let mut names = Vec::with_capacity(n);
        for _ in 0..n {
            names.push(from.bytes(NAME_MAX)?.to_vec());
        }
        if names.is_empty() && kind != Kind::Map {
            return Err(from.malformed("a root that is no map"));
        }
        Ok(Self { names, kind })
    }
}

/// Writes an address whose names lie elsewhere.
pub(crate) fn encode_path<'n>(kind: Kind, names: impl ExactSizeIterator<Item = &'n [u8]>, out: &mut Writer) {
    out.byte(kind as u8);
    out.varint(names.len() as u64);
    for name in names {
        out.bytes(name);
    }
}

/// Reads a kind's number.
pub(crate) fn read_kind(from: &mut Reader<'_>) -> Result<Kind, Malformed> {
    let n = from.byte()?;
    Kind::from_number(n).ok_or_else(|| from.malformed("an unknown kind"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            write!(f, "/{}", name.escape_ascii())?;
        }
        write!(f, " ({})", self.kind)
    }
}
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
