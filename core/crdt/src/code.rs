//! Bytes: little things from which every format of this crate is made.
//!
//! | thing | form |
//! |---|---|
//! | varint | LEB128 of a `u64`: seven bits a byte, low first, and never longer than needed |
//! | fixed | eight bytes, little end first |
//! | bytes | varint length, then the bytes |
//!
//! Formats are canonical: a value has exactly one form, and a decoder refuses every other, so that
//! equal states are equal bytes and a digest over bytes means something. A decoder believes no
//! length: it never reserves more than the input could hold.

use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use alloc::vec::Vec;
use thiserror::Error;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("malformed at byte {at}: {what}")]
pub struct Malformed {
    /// How far the reader had come.
    pub at: usize,
    /// What was found there.
    pub what: &'static str,
}

/// Where bytes are written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }
    /// One that appends to `bytes`.
    #[must_use]
    pub const fn after(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
    /// One byte.
    pub fn byte(&mut self, b: u8) {
        self.0.push(b);
    }
    /// A number, short if it is small.
    pub fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    /// A number in eight bytes.
    pub fn fixed(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    /// Bytes with their length before them.
    pub fn bytes(&mut self, b: &[u8]) {
        self.varint(b.len() as u64);
        self.raw(b);
    }
    /// Bytes whose length the reader knows.
    pub fn raw(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b);
    }
    /// A dot: its replica, then its sequence.
    pub fn dot(&mut self, dot: Dot) {
        self.varint(u64::from(dot.replica().0));
        self.varint(dot.sequence());
    }
    /// Sets bits of a byte that was written.
    pub(crate) fn set(&mut self, at: usize, bits: u8) {
        if let Some(b) = self.0.get_mut(at) {
            *b |= bits;
        }
    }
    /// Makes room for so many bytes more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }
    /// Gives back the room that was not used.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// What was written.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
    /// What was written, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// Forgets what was written, keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Where bytes are read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the beginning of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
    /// Whether all was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
    /// How far it came.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }
    /// An error at this place.
    #[must_use]
    pub const fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }
    /// One byte.
    ///
    /// # Errors
    /// At the end.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let b = *self.bytes.get(self.at).ok_or(self.malformed("the end, where a byte was due"))?;
        self.at += 1;
        Ok(b)
    }
    /// A number that [`Writer::varint`] wrote.
    ///
    /// # Errors
    /// At the end, beyond 64 bits, or if a shorter form exists.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_varint(first) }
    }
    /// The rest of one whose first byte was read and is not its last.
    fn long_varint(&mut self, first: u8) -> Result<u64, Malformed> {
        const ENDS: u64 = 0x8080_8080_8080_8080;
        let word = self.bytes.get(self.at - 1..).and_then(|rest| rest.first_chunk().copied());
        let ends = word.map_or(0, |word| !u64::from_le_bytes(word) & ENDS);
        let Some(word) = word.filter(|_| ends != 0) else { return self.varint_by_bytes(first) };
        // Eight bytes at once: what is behind the first that ends the number is cut off, the sevens of bits are moved together.
        let len = ends.trailing_zeros() / 8 + 1;
        let word = u64::from_le_bytes(word) & (u64::MAX >> (64 - 8 * len));
        self.at += len as usize - 1;
        if word >> (8 * (len - 1)) == 0 {
            return Err(self.malformed("a number with idle bytes"));
        }
        let n = word & !ENDS;
        let n = (n & 0x007f_007f_007f_007f) | (n & 0x7f00_7f00_7f00_7f00) >> 1;
        let n = (n & 0x0000_3fff_0000_3fff) | (n & 0x3fff_0000_3fff_0000) >> 2;
        Ok((n & 0x0fff_ffff) | (n & 0x0fff_ffff_0000_0000) >> 4)
    }
    /// The same near the end of the input, and for the longest.
    #[cold]
    fn varint_by_bytes(&mut self, first: u8) -> Result<u64, Malformed> {
        let mut n = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let b = self.byte()?;
            let low = u64::from(b & 0x7f);
            if shift == 63 && low > 1 {
                return Err(self.malformed("a number beyond 64 bits"));
            }
            n |= low << shift;
            if b < 0x80 {
                return if b == 0 { Err(self.malformed("a number with idle bytes")) } else { Ok(n) };
            }
        }
        Err(self.malformed("a number beyond 64 bits"))
    }
    /// A number of eight bytes.
    ///
    /// # Errors
    /// At the end.
    pub fn fixed(&mut self) -> Result<u64, Malformed> {
        let raw = self.raw(8)?;
        let mut b = [0; 8];
        b.copy_from_slice(raw);
        Ok(u64::from_le_bytes(b))
    }
    /// `n` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    #[inline]
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(n).filter(|e| *e <= self.bytes.len());
        let end = end.ok_or(self.malformed("fewer bytes than announced"))?;
        let out = &self.bytes[self.at..end];
        self.at = end;
        Ok(out)
    }
    /// Bytes with their length before them, `most` at most.
    ///
    /// # Errors
    /// If there are fewer than announced, or more than allowed.
    #[inline]
    pub fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let n = self.varint()?;
        if n > most as u64 {
            return Err(self.malformed("longer than allowed"));
        }
        self.raw(n as usize)
    }
    /// How many things of at least one byte follow, `most` at most.
    ///
    /// # Errors
    /// If there are more than allowed, or than the bytes that are left.
    #[inline]
    pub fn count(&mut self, most: usize) -> Result<usize, Malformed> {
        let n = self.varint()?;
        if n > most as u64 || n > (self.bytes.len() - self.at) as u64 {
            return Err(self.malformed("more things than allowed"));
        }
        Ok(n as usize)
    }
    /// A dot.
    ///
    /// # Errors
    /// If it is none: sequences start at 1 and end at 48 bits.
    pub fn dot(&mut self) -> Result<Dot, Malformed> {
        let r = self.varint()?;
        let s = self.varint()?;
        let r = u16::try_from(r).map_err(|_| self.malformed("a replica beyond 16 bits"))?;
        if s == 0 || s > SEQUENCE_MAX {
            return Err(self.malformed("a sequence of zero or beyond 48 bits"));
        }
        Ok(Dot::new(ReplicaIndex(r), s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_has_one_form(n: u64) {
            let mut w = Writer::new();
            w.varint(n);
            let bytes = w.into_bytes();
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(r.varint(), Ok(n));
            prop_assert!(r.is_empty());
        }

        #[test]
        fn what_is_accepted_was_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            let mut r = Reader::new(&bytes);
            if let Ok(n) = r.varint() {
                let mut w = Writer::new();
                w.varint(n);
                prop_assert_eq!(w.as_slice(), &bytes[..r.position()]);
            }
        }

        #[test]
        fn a_number_is_the_same_whatever_comes_behind_it(
            n: u64, bits in 0u32..64, idle: bool, behind in proptest::collection::vec(any::<u8>(), 0..12)
        ) {
            let mut w = Writer::new();
            w.varint(n >> bits);
            let mut bytes = w.into_bytes();
            let len = bytes.len();
            if idle && len < 10 {
                *bytes.last_mut().unwrap() |= 0x80;
                bytes.push(0);
            }
            bytes.extend(&behind);
            let mut r = Reader::new(&bytes);
            let read = r.varint();
            if idle && len < 10 {
                prop_assert_eq!(read.map_err(|e| (e.at, e.what)), Err((len + 1, "a number with idle bytes")));
            } else {
                prop_assert_eq!((read, r.position()), (Ok(n >> bits), len));
            }
        }
    }

    #[test]
    fn lies_are_refused() {
        for lie in [&[0x80, 0][..], &[0xff; 10], &[0x80], &[5, 1, 2]] {
            assert!(Reader::new(lie).bytes(100).is_err(), "{lie:?}");
        }
        assert!(Reader::new(&[3, 0, 0, 0]).bytes(2).is_err());
        assert!(Reader::new(&[0, 0]).dot().is_err());
        assert!(Reader::new(&[200, 1]).count(1000).is_err());
    }
}
