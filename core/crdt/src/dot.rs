//! Who made an operation, and which of theirs it was.
//!
//! A [`Dot`] names one operation for ever: 16 bits say which replica made it, 48 bits count that
//! replica's operations from 1. At a million operations a second 48 bits last nine years for one
//! incarnation, and a new incarnation starts anew.
//!
//! **Invariant 1.** A dot is used once. A replica that may have lost operations it once sent
//! (empty disk, restored backup, forked machine) must take a new [`ReplicaIndex`], which the roster
//! ([`crate::roster`]) hands out: a reused dot makes two different operations look like one, and
//! removes both of them everywhere (`tests/anomalies.rs`, `x4`).
//!
//! Source of the name: Almeida, Shoker, Baquero, *Delta state replicated data types* (2018), §7.

use core::fmt;

/// A replica of a space, by its place in the roster: one incarnation of one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReplicaIndex(pub u16);

impl fmt::Display for ReplicaIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
impl fmt::Debug for ReplicaIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The largest sequence number a dot can carry.
pub const SEQUENCE_MAX: u64 = (1 << 48) - 1;

/// The name of one operation. Ordered by replica, then by sequence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot(u64);

impl Dot {
    /// The dot of `replica`'s operation number `sequence`.
    ///
    /// # Panics
    /// If `sequence` is beyond [`SEQUENCE_MAX`]; decoders check before they call.
    #[must_use]
    pub const fn new(replica: ReplicaIndex, sequence: u64) -> Self {
        assert!(sequence <= SEQUENCE_MAX, "a replica's sequence is exhausted: it needs a new incarnation");
        Self((replica.0 as u64) << 48 | sequence)
    }
    /// Who made the operation.
    #[must_use]
    pub const fn replica(self) -> ReplicaIndex {
        ReplicaIndex((self.0 >> 48) as u16)
    }
    /// Which of theirs it is, from 1.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0 & SEQUENCE_MAX
    }
    /// As one number: 16 bits of replica, 48 of sequence.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
    /// From [`Dot::bits`].
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// The same replica's next operation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.replica(), self.sequence() + 1)
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.replica(), self.sequence())
    }
}
impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_its_two_parts() {
        for (r, s) in [(0, 1), (7, 0), (u16::MAX, SEQUENCE_MAX)] {
            let d = Dot::new(ReplicaIndex(r), s);
            assert_eq!((d.replica().0, d.sequence()), (r, s));
            assert_eq!(Dot::from_bits(d.bits()), d);
        }
        assert!(Dot::new(ReplicaIndex(1), 9) < Dot::new(ReplicaIndex(2), 1));
    }

    #[test]
    #[should_panic(expected = "new incarnation")]
    fn a_sequence_ends() {
        let _ = Dot::new(ReplicaIndex(0), SEQUENCE_MAX).next();
    }
}
