//! Two runs compared by their hashes.
//!
//! **Promise.** Runs with the same events have the same [`Trail`]; of runs that differ, the
//! trails name the block of [`BLOCK`] events in which they first do, and a second run that
//! keeps the trace of that block ([`crate::Keep::Range`]) names the event.
//!
//! **Model.** Each event folds (time, place, node and kind, digest of its content) into two
//! lanes of 64 bits by multiply-and-fold; after each block the lanes are hashed with blake3
//! behind the previous checkpoint. The fold is fast and not collision-proof against malice:
//! it guards against our own mistakes.

use serde::{Deserialize, Serialize};

/// Events between two checkpoints.
pub const BLOCK: u64 = 1_024;

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;
const K2: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Both halves of the product, folded (Wang Yi's wyhash).
#[inline]
const fn fold(a: u64, b: u64) -> u64 {
    let p = a as u128 * b as u128;
    p as u64 ^ (p >> 64) as u64
}

/// A digest of bytes for the fingerprint: fast, of 64 bits.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut h = K2 ^ bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(16);
    for c in &mut chunks {
        let (lo, hi) = c.split_at(8);
        let (lo, hi) = (word(lo), word(hi));
        h = fold(lo ^ K0 ^ h, hi ^ K1);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        let (lo, hi) = tail.split_at(tail.len().min(8));
        h = fold(word(lo) ^ K1 ^ h, word(hi) ^ K0);
    }
    fold(h ^ K2, K0)
}

/// Up to eight bytes, little endian.
fn word(b: &[u8]) -> u64 {
    let mut w = [0; 8];
    w[..b.len()].copy_from_slice(b);
    u64::from_le_bytes(w)
}

/// Digests what is formatted into it, without making a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextDigest(pub(crate) u64);

impl std::fmt::Write for TextDigest {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.0 = fold(self.0 ^ K0, digest(s.as_bytes()) ^ K1);
        Ok(())
    }
}

/// The hash of a run so far.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint {
    a: u64,
    b: u64,
    events: u64,
    blocks: Vec<Mark>,
}

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self { a: K1, b: K2, events: 0, blocks: Vec::new() }
    }
    /// How many events there have been: the place of the next.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }
    /// One more event.
    #[inline]
    pub(crate) fn add(&mut self, at: u64, what: u64, content: u64) {
        self.a = fold(self.a ^ at ^ K0, what ^ K1);
        self.b = fold(self.b ^ content ^ K2, self.a ^ self.events ^ K0);
        self.events += 1;
        if self.events.is_multiple_of(BLOCK) {
            self.checkpoint();
        }
    }
    fn checkpoint(&mut self) {
        let sum = self.sum();
        self.blocks.push(sum);
    }
    fn sum(&self) -> Mark {
        let mut h = blake3::Hasher::new();
        h.update(&self.blocks.last().map_or(0, |m| m.0).to_le_bytes());
        h.update(&self.a.to_le_bytes());
        h.update(&self.b.to_le_bytes());
        h.update(&self.events.to_le_bytes());
        let mut out = [0; 16];
        out.copy_from_slice(&h.finalize().as_bytes()[..16]);
        Mark(u128::from_le_bytes(out))
    }
    pub(crate) fn trail(&self) -> Trail {
        Trail { events: self.events, blocks: self.blocks.clone(), end: self.sum() }
    }
}

/// A hash as 32 hexadecimal digits, in files and for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mark(u128);

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl From<Mark> for String {
    fn from(m: Mark) -> Self {
        m.to_string()
    }
}

impl TryFrom<String> for Mark {
    type Error = std::num::ParseIntError;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&s, 16).map(Self)
    }
}

/// A run's checkpoints: what two processes compare.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trail {
    /// How many events.
    pub events: u64,
    /// After each full block.
    pub blocks: Vec<Mark>,
    /// After the last event.
    pub end: Mark,
}

impl Trail {
    /// The run's identity in 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        self.end.to_string()
    }
    /// The places of the events among which the runs first differ; `None` if they don't.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<(u64, u64)> {
        if self == other {
            return None;
        }
        // A checkpoint covers all before it, so that equality is monotone: bisect.
        let shared = self.blocks.len().min(other.blocks.len());
        let (mut same, mut differs) = (0, shared + 1);
        while same + 1 < differs {
            let middle = usize::midpoint(same, differs);
            if self.blocks[middle - 1] == other.blocks[middle - 1] {
                same = middle;
            } else {
                differs = middle;
            }
        }
        let from = same as u64 * BLOCK;
        Some((from, from + BLOCK))
    }
}

/// The first place at which two kept traces of one block differ: what each run has there.
#[must_use]
pub fn first_differing<'a, E: PartialEq>(
    left: &'a [E],
    right: &'a [E],
) -> Option<(Option<&'a E>, Option<&'a E>)> {
    let longer = left.len().max(right.len());
    let i = (0..longer).find(|i| left.get(*i) != right.get(*i))?;
    Some((left.get(i), right.get(i)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u64, odd: Option<u64>) -> Trail {
        let mut f = Fingerprint::new();
        for i in 0..n {
            f.add(i * 3, i % 7, if Some(i) == odd { 1 } else { 0 });
        }
        f.trail()
    }

    #[test]
    fn the_first_differing_block_is_named() {
        let base = run(10_000, None);
        assert_eq!(base.first_difference(&run(10_000, None)), None);
        for odd in [0, 1_023, 1_024, 5_000, 9_999] {
            let (from, to) = base.first_difference(&run(10_000, Some(odd))).unwrap();
            assert!(from <= odd && odd < to, "{odd}: {from}..{to}");
        }
        assert_eq!(base.first_difference(&run(9_000, None)), Some((8_192, 9_216)));
    }

    #[test]
    fn every_byte_and_the_length_matter() {
        let base: Vec<u8> = (0..40).collect();
        for n in 0..40 {
            let mut other = base[..n].to_vec();
            let d = digest(&other);
            for i in 0..n {
                other[i] ^= 1;
                assert_ne!(digest(&other), d, "{n} {i}");
                other[i] ^= 1;
            }
            other.push(0);
            assert_ne!(digest(&other), d);
        }
    }
}
