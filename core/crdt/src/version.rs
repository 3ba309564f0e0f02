//! How far a replica has come: for each replica, the number of its operations that were applied.
//!
//! Operations of one replica are applied in its order without holes, so one number a replica says
//! everything: the dot `r3:17` was received if and only if the entry of `r3` is at least 17. The
//! vector is dense, by replica index: comparing two of them is one pass over two arrays of `u64`
//! (measured by the example `figures`).
//!
//! Trailing zeros are never stored, so that equal vectors are equal bytes.

use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

/// For each replica, how many of its operations are known.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct VersionVector(Vec<u64>);

impl VersionVector {
    /// Nothing known.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }
    /// How many operations of `replica` are known.
    #[must_use]
    pub fn get(&self, replica: ReplicaIndex) -> u64 {
        self.0.get(usize::from(replica.0)).copied().unwrap_or(0)
    }
    /// Whether the operation `dot` is known.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        dot.sequence() <= self.get(dot.replica())
    }
    /// Raises `replica`'s entry to `sequence`; lower values change nothing.
    pub fn raise(&mut self, replica: ReplicaIndex, sequence: u64) {
        let at = usize::from(replica.0);
        if sequence == 0 {
            return;
        }
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(entry) = self.0.get_mut(at) {
            *entry = (*entry).max(sequence);
        }
    }
    /// The least vector that knows what either knows.
    pub fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }
    /// The greatest vector that knows only what both know.
    pub fn meet(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).min(*theirs);
        }
        self.trim();
    }
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
    /// Which of the two knows more; `None` if each knows what the other does not.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        let shared = self.0.len().min(other.0.len());
        let (mut less, mut more) = (false, false);
        for (a, b) in self.0[..shared].iter().zip(&other.0[..shared]) {
            less |= a < b;
            more |= a > b;
        }
        // No trailing zeros: a longer vector knows something the shorter does not.
        more |= self.0.len() > shared;
        less |= other.0.len() > shared;
        match (less, more) {
            (false, false) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (true, true) => None,
        }
    }
    /// Whether all that `other` knows is known.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        matches!(self.compare(other), Some(Ordering::Equal | Ordering::Greater))
    }
    /// The replicas of whom something is known, with how much.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaIndex, u64)> + '_ {
        self.0.iter().enumerate().filter(|(_, s)| **s > 0).map(|(r, s)| (ReplicaIndex(r as u16), *s))
    }
    /// How many operations are known, all replicas together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, s| sum.saturating_add(*s))
    }
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Writes the canonical bytes: the number of entries, then each as a varint.
    pub fn encode(&self, out: &mut Writer) {
        out.varint(self.0.len() as u64);
        for s in &self.0 {
            out.varint(*s);
        }
    }
    /// Reads what [`VersionVector::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of a vector.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let n = from.count(usize::from(u16::MAX) + 1)?;
        let mut entries = Vec::with_capacity(n);
        for _ in 0..n {
            let s = from.varint()?;
            if s > SEQUENCE_MAX {
                return Err(from.malformed("a sequence beyond 48 bits"));
            }
            entries.push(s);
        }
        if entries.last() == Some(&0) {
            return Err(from.malformed("a version vector that ends in zero"));
        }
        Ok(Self(entries))
    }
}

impl FromIterator<(ReplicaIndex, u64)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (ReplicaIndex, u64)>>(entries: I) -> Self {
        let mut vv = Self::new();
        for (r, s) in entries {
            vv.raise(r, s);
        }
        vv
    }
}

impl fmt::Display for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (r, s)) in self.iter().enumerate() {
            write!(f, "{}{r}:{s}", if i > 0 { " " } else { "" })?;
        }
        f.write_str("}")
    }
}
impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    fn vv(entries: &[u64]) -> VersionVector {
        entries.iter().enumerate().map(|(r, s)| (ReplicaIndex(r as u16), *s)).collect()
    }

    #[test]
    fn order_is_entry_by_entry() {
        let table = [
            (vec![], vec![], Some(Ordering::Equal)),
            (vec![1], vec![], Some(Ordering::Greater)),
            (vec![1, 0], vec![1], Some(Ordering::Equal)),
            (vec![1, 2], vec![2, 2], Some(Ordering::Less)),
            (vec![1, 2], vec![2, 1], None),
            (vec![1], vec![0, 1], None),
        ];
        for (a, b, want) in table {
            assert_eq!(vv(&a).compare(&vv(&b)), want, "{a:?} {b:?}");
        }
    }

    proptest! {
        #[test]
        fn join_is_the_least_upper_bound_and_meet_the_greatest_lower(
            a in proptest::collection::vec(0u64..4, 0..5), b in proptest::collection::vec(0u64..4, 0..5)
        ) {
            let (a, b) = (vv(&a), vv(&b));
            let (mut j, mut m) = (a.clone(), a.clone());
            j.join(&b);
            m.meet(&b);
            prop_assert!(j.covers(&a) && j.covers(&b) && a.covers(&m) && b.covers(&m));
            for r in 0..5 {
                let r = ReplicaIndex(r);
                prop_assert_eq!(j.get(r), a.get(r).max(b.get(r)));
                prop_assert_eq!(m.get(r), a.get(r).min(b.get(r)));
            }
            let mut w = Writer::new();
            j.encode(&mut w);
            let bytes: Vec<u8> = w.into_bytes();
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(VersionVector::decode(&mut r).unwrap(), j);
            prop_assert!(r.is_empty());
        }
    }
}
