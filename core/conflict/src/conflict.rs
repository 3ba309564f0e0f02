//! The words: who wrote what where, and what kind of disagreement it is.
//!
//! A conflict is named by the writes that take part: [`ConflictId`] is BLAKE3 over their dots in order. So all nodes call it by
//! one name without having spoken, and a sibling more makes another conflict.

use crate::pointer::Pointer;
use crate::value::Value;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::{Dot, Hlc};

/// What kind of disagreement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// C1: siblings at one place.
    Value = 1,
    /// C2: siblings, one of them by the field's owner, another not.
    Intent = 2,
    /// C3: deleted here and changed there; a reference to nothing, in a circle, or by a name that two have.
    Structure = 3,
    /// C4: what must not be is: held twice, beyond a limit.
    Invariant = 4,
    /// C5: written under another version of the schema.
    Version = 5,
}

impl Class {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Value, Self::Intent, Self::Structure, Self::Invariant, Self::Version];
    /// Its name in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Intent => "intent",
            Self::Structure => "structure",
            Self::Invariant => "invariant",
            Self::Version => "version",
        }
    }
    /// From its number.
    #[must_use]
    pub const fn from_number(n: u8) -> Option<Self> {
        if n >= 1 && n <= 5 { Some(Self::ALL[n as usize - 1]) } else { None }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "C{} {}", *self as u8, self.name())
    }
}

/// The name of a conflict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId(pub [u8; 32]);

impl ConflictId {
    /// The conflict between these writes, in whatever order they are given.
    #[must_use]
    pub fn of(dots: impl IntoIterator<Item = Dot>) -> Self {
        let mut all: Vec<u64> = dots.into_iter().map(Dot::bits).collect();
        all.sort_unstable();
        all.dedup();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"dwcp conflict 1\0");
        for d in all {
            hasher.update(&d.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }
    /// From the 64 hexadecimal digits that it is shown as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            let digit = |c: u8| (c as char).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Self(out))
    }
}

impl fmt::Display for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:.8}` shows so many bytes.
        let n = f.precision().unwrap_or(32).min(32);
        self.0[..n].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for ConflictId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:.8}")
    }
}

/// Who wrote: not the replica, which is in the dot, but whom it acted for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Writer {
    /// As people know them.
    pub name: Arc<str>,
    /// What they are here: `operator`, `autoscaler`, `host`.
    pub role: Arc<str>,
    /// Where they are.
    pub region: Arc<str>,
}

impl Writer {
    /// This writer.
    #[must_use]
    pub fn new(name: &str, role: &str, region: &str) -> Self {
        Self { name: name.into(), role: role.into(), region: region.into() }
    }
}

/// What was at a place before all siblings. That nobody here knows it is not the same as that there was nothing: from what is
/// not known nothing is concluded, so that a node that forgot and a node that remembers come to one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Base<T> {
    /// This.
    Known(T),
    /// Nothing: never written, or deleted.
    Nothing,
    /// It can't be told from the siblings ([`crate::lineage`]).
    Unknown,
}

impl<T> Base<T> {
    /// Of something that is known to be there or not.
    #[must_use]
    pub fn known(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Self::Known)
    }
    /// What was there; nothing if nothing was, or if it is not known.
    #[must_use]
    pub fn value(self) -> Option<T> {
        if let Self::Known(v) = self { Some(v) } else { None }
    }
    /// Whether it is known what was there.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }
    /// The same of a reference.
    #[must_use]
    pub const fn as_ref(&self) -> Base<&T> {
        match self {
            Self::Known(v) => Base::Known(v),
            Self::Nothing => Base::Nothing,
            Self::Unknown => Base::Unknown,
        }
    }
    /// The same of something made of it.
    #[must_use]
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Base<U> {
        match self {
            Self::Known(v) => Base::Known(make(v)),
            Self::Nothing => Base::Nothing,
            Self::Unknown => Base::Unknown,
        }
    }
}

/// One of several writes that did not see each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sibling {
    /// The write's name.
    pub dot: Dot,
    /// When it was meant, by its maker's clock. A resolution was meant when whoever prevails wrote
    /// ([`crate::Answer::author`]), not when it was settled: else it would beat what a person wrote between the two.
    pub hlc: Hlc,
    /// By whom.
    pub writer: Writer,
    /// What was written; nothing for a deletion.
    pub value: Option<Value>,
}

/// A field of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The object's kind, which names its schema: `vm`.
    pub kind: Arc<str>,
    /// The object's key.
    pub key: Arc<str>,
    /// Where in the object.
    pub pointer: Pointer,
}

impl Place {
    /// A place in an object.
    #[must_use]
    pub fn new(kind: &str, key: &str, pointer: Pointer) -> Self {
        Self { kind: kind.into(), key: key.into(), pointer }
    }
    /// The register of a space that holds it: all siblings are kept there until a write saw them.
    #[must_use]
    pub fn address(&self) -> Address {
        let names = [self.kind.as_bytes(), self.key.as_bytes(), self.pointer.as_str().as_bytes()];
        Address { names: names.into_iter().map(<[u8]>::to_vec).collect(), kind: Kind::Mv }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.kind, self.key, self.pointer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::ReplicaIndex;
    use std::string::ToString;

    #[test]
    fn a_conflict_has_one_name_for_everyone() {
        let dot = |r, s| Dot::new(ReplicaIndex(r), s);
        let id = ConflictId::of([dot(1, 7), dot(2, 3)]);
        assert_eq!(id, ConflictId::of([dot(2, 3), dot(1, 7), dot(2, 3)]));
        assert_ne!(id, ConflictId::of([dot(1, 7), dot(2, 4)]));
        assert_eq!(ConflictId::parse(&id.to_string()), Some(id));
        assert_eq!(ConflictId::parse("zz"), None);
    }
}
