//! Sums that tell equal states from different ones.
//!
//! The fingerprint of a state is the sum (modulo 2^128) of a keyed hash of each live entry: adding
//! and removing an entry costs one addition, the order doesn't matter, and two parts' fingerprints
//! add up to the whole's: so the sums of ranges narrow a difference down ([`crate::range`]).
//!
//! The hash is a keyed folded multiplication (two 64-bit lanes), not a cryptographic one: it finds rot,
//! bugs and divergence. The key is the cluster's secret, so that clients, who choose names and values but
//! don't hold it, can't aim for collisions. Members of the roster are believed to that extent.

/// The key of all hashes of a space: a secret of the cluster, the same on each replica.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u64; 4]);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From 32 bytes that only the cluster knows.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (w, b) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut raw = [0; 8];
            raw.copy_from_slice(b);
            // Odd constants keep a weak secret (zeros) from making a weak hash.
            *w = u64::from_le_bytes(raw) ^ 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(*w + 3);
        }
        let [a, b, c, d] = words;
        Self([a ^ 0x2d35_8dcc_aa6c_78a5, b ^ 0x8bb8_4b93_962e_acc9, c ^ 0x4b33_a62e_d433_d4a3, d | 1])
    }
    /// A hash in the making.
    #[must_use]
    pub const fn hasher(&self) -> Hasher {
        Hasher { k: self.0, a: self.0[0], b: self.0[2] }
    }
}

/// Both halves of a product as one: each bit depends on all of both factors, or nearly.
#[inline]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let wide = (a as u128).wrapping_mul(b as u128);
    wide as u64 ^ (wide >> 64) as u64
}

/// Eight bytes at most as a number, little end first, zeros behind: by two reads that overlap, for a copy of unknown length is a call.
#[inline]
pub(crate) fn little(bytes: &[u8]) -> u64 {
    let n = bytes.len();
    if let Some(all) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*all);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (n - 4));
    }
    let at = |i: usize| u64::from(bytes[i]) << (8 * i);
    if n == 0 { 0 } else { at(0) | at(n / 2) | at(n - 1) }
}

/// A hash in the making.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    k: [u64; 4],
    a: u64,
    b: u64,
}

impl Hasher {
    /// Takes two words.
    #[inline]
    #[must_use]
    pub const fn pair(mut self, x: u64, y: u64) -> Self {
        self.a = fold(self.a ^ x, self.k[1] ^ y);
        self.b = fold(self.b ^ y, self.k[3] ^ x.rotate_left(32));
        self
    }
    /// Takes bytes, and how many there are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<16>();
        for c in chunks {
            let [low, high] = [0, 8].map(|at| u64::from_le_bytes(core::array::from_fn(|i| c[at + i])));
            self = self.pair(low, high);
        }
        let (low, high) = rest.split_at(rest.len().min(8));
        self.pair(little(low), little(high)).pair(bytes.len() as u64, self.k[2])
    }
    /// The hash.
    #[inline]
    #[must_use]
    pub const fn sum(self) -> u128 {
        let a = fold(self.a ^ self.k[3], self.b ^ self.k[0]);
        let b = fold(self.b ^ self.k[1], self.a.rotate_left(17) ^ self.k[2]);
        (a as u128) << 64 | b as u128
    }
    /// Half of it.
    #[inline]
    #[must_use]
    pub const fn short(self) -> u64 {
        (self.sum() >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn short_bytes_are_read_as_if_zeros_followed() {
        let bytes = [0x91, 0x82, 0x73, 0x64, 0x55, 0xc6, 0xd7, 0xe8, 0xf9];
        for n in 0..=8 {
            let mut padded = [0; 8];
            padded[..n].copy_from_slice(&bytes[..n]);
            assert_eq!(little(&bytes[..n]), u64::from_le_bytes(padded), "{n}");
        }
        // What other builds say of the same state.
        let sum = Secret::new([5; 32]).hasher().bytes(b"thirty bytes, fourteen at end!").sum();
        assert_eq!(sum, 0x3cb9b9ae619518641266957ee9c7b25f, "{sum:#x}");
    }

    #[test]
    fn small_differences_show_in_both_halves() {
        let s = Secret::new([0; 32]);
        let (mut high, mut low) = (BTreeSet::new(), BTreeSet::new());
        for x in 0..64u64 {
            for y in 0..64u64 {
                let h = s.hasher().pair(x, y).sum();
                high.insert((h >> 64) as u64);
                low.insert(h as u64);
            }
        }
        assert_eq!((high.len(), low.len()), (4096, 4096));
        let bytes = [0u8; 40];
        let sums: BTreeSet<u128> = (0..40).map(|n| s.hasher().bytes(&bytes[..n]).sum()).collect();
        assert_eq!(sums.len(), 40, "length counts");
        assert_ne!(s.hasher().pair(1, 2).sum(), Secret::new([7; 32]).hasher().pair(1, 2).sum());
    }
}
