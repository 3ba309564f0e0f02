//! The set of configurations already tried, 16 bytes each.
//!
//! The classic cache of Wing-Gong-Lowe keeps one n-bit set per configuration, O(n^2/8)
//! bytes a partition, and dies of memory at ten thousand operations of one key. Here a
//! configuration is 128 bits: the exclusive or of one pseudo-random number per linearized
//! operation (Zobrist hashing: adding or removing one is one exclusive or), and one for
//! the state. At 10^9 configurations the chance that any two of them collide is about
//! 10^-21. A collision can only hide a configuration, that is, turn "linearizable" into
//! "not"; every refusal is therefore proved again without hashing (`exact`).

/// 64 well-mixed bits (splitmix64's finalizer).
#[inline]
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 128 pseudo-random bits that stand for `x`, never 0.
#[inline]
pub(crate) fn scatter(x: u64) -> u128 {
    let low = mix(x.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15));
    let high = mix(low ^ x.rotate_left(32) ^ 0xd1b5_4a32_d192_ed03);
    (u128::from(high) << 64) | u128::from(low | 1)
}

/// Open addressing over a power of two of slots; 0 marks a free one.
#[derive(Debug)]
pub(crate) struct Visited {
    slots: Vec<u128>,
    len: usize,
    most: usize,
}

/// The set has reached its bound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

const SMALLEST: usize = 1 << 10;

impl Visited {
    pub(crate) fn new() -> Self {
        Self { slots: vec![0; SMALLEST], len: 0, most: 0 }
    }

    /// Empties the set and bounds it to `most` configurations. Slots are kept only while
    /// clearing them is cheap beside the work to come.
    pub(crate) fn reset(&mut self, most: usize, expected: usize) {
        let wanted = (expected * 2).next_power_of_two().max(SMALLEST);
        if self.slots.len() > wanted * 4 {
            self.slots = vec![0; wanted];
        } else if self.len > 0 {
            self.slots.fill(0);
        }
        self.len = 0;
        self.most = most;
    }

    /// True if `key` is new.
    #[inline]
    pub(crate) fn insert(&mut self, key: u128) -> Result<bool, Full> {
        let key = if key == 0 { 1 } else { key };
        let at = Self::find(&self.slots, key);
        if self.slots[at] == key {
            return Ok(false);
        }
        if self.len >= self.most {
            return Err(Full);
        }
        self.slots[at] = key;
        self.len += 1;
        if self.len * 4 > self.slots.len() * 3 {
            self.grow();
        }
        Ok(true)
    }

    #[inline]
    fn find(slots: &[u128], key: u128) -> usize {
        let mask = slots.len() - 1;
        let mut at = (key >> 64) as usize & mask;
        while slots[at] != 0 && slots[at] != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        for &key in self.slots.iter().filter(|&&key| key != 0) {
            let at = Self::find(&slots, key);
            slots[at] = key;
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_set() {
        let mut set = Visited::new();
        set.reset(10_000, 10);
        for x in 0..5_000 {
            assert_eq!(set.insert(scatter(x)), Ok(true));
        }
        for x in 0..5_000 {
            assert_eq!(set.insert(scatter(x)), Ok(false));
        }
        assert_eq!(set.len, 5_000);
        set.reset(2, 10);
        assert_eq!(set.insert(scatter(7)), Ok(true));
        assert_eq!(set.insert(scatter(8)), Ok(true));
        assert_eq!(set.insert(scatter(8)), Ok(false));
        assert_eq!(set.insert(scatter(9)), Err(Full));
    }
}
