//! A digest of 128 bits through [`core::hash::Hash`], the same on every machine of one word size.
//!
//! Two lanes, each a multiplication folded to 64 bits per word. Two of ten million states collide with a
//! probability of about 10⁻²⁵ if the lanes behave like random functions; nobody chooses the states.

use core::hash::{Hash, Hasher};

/// Two lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64, u64);

#[inline]
const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

impl Digest {
    pub(super) fn of<T: Hash + ?Sized>(value: &T) -> u128 {
        let mut digest = Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        value.hash(&mut digest);
        let a = folded(digest.0 ^ 0xa409_3822_299f_31d1, 0x9e37_79b9_7f4a_7c15);
        let b = folded(digest.1 ^ 0x082e_fa98_ec4e_6c89, 0xd6e8_feb8_6659_fd93);
        u128::from(a) << 64 | u128::from(b)
    }
    #[inline]
    fn word(&mut self, w: u64) {
        self.0 = folded(self.0 ^ w, 0x9fb2_1c65_1e98_df25).wrapping_add(w.rotate_left(32));
        self.1 = folded(self.1.wrapping_add(w), 0xa076_1d64_78bd_642f) ^ w.rotate_left(17);
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
        }
    }
    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.word(u64::from(n));
    }
    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.word(u64::from(n));
    }
    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.word(u64::from(n));
    }
    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }
    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }
    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.word(n as u64);
        self.word((n >> 64) as u64);
    }
}

/// Digests met so far: open addressing, linear probing, at most half full.
#[derive(Debug)]
pub(super) struct Met {
    slots: alloc::vec::Vec<u128>,
    count: usize,
}

impl Met {
    pub(super) fn new() -> Self {
        Self { slots: alloc::vec![0; 1 << 12], count: 0 }
    }
    pub(super) const fn count(&self) -> usize {
        self.count
    }
    /// Adds; says whether it was new.
    pub(super) fn insert(&mut self, digest: u128) -> bool {
        if (self.count + 1) * 2 > self.slots.len() {
            let old = core::mem::take(&mut self.slots);
            self.slots = alloc::vec![0; old.len() * 2];
            self.count = 0;
            for digest in old.into_iter().filter(|d| *d != 0) {
                self.insert(digest);
            }
        }
        let digest = digest.max(1); // 0 marks a free slot
        let mask = self.slots.len() - 1;
        let mut at = digest as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.slots[at] = digest;
                    self.count += 1;
                    return true;
                }
                met if met == digest => return false,
                _ => at = (at + 1) & mask,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_tell_small_differences_apart() {
        let mut met = Met::new();
        for a in 0..200_u64 {
            for b in 0..200_u8 {
                assert!(met.insert(Digest::of(&(a, b))), "({a}, {b}) collides");
            }
        }
        assert!(!met.insert(Digest::of(&(7_u64, 9_u8))));
        assert_eq!(met.count(), 40_000);
        assert_ne!(Digest::of("ab"), Digest::of("a"));
        assert_ne!(Digest::of(&[1_u8, 0][..]), Digest::of(&[1_u8][..]));
    }
}
