//! The state machine of the rehearsal: a hash chain over everything, a chain and a count per key,
//! and the numbers applied, so that a doubled command has no second effect (as sessions see to above).

use super::command::KEYS;
use super::fact::Value;
use alloc::vec::Vec;

/// Folds a value into a chain.
#[must_use]
pub(crate) const fn fold(chain: u64, value: u64) -> u64 {
    let mut z = (chain ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A set of numbers from 0 upwards.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    pub(crate) fn insert(&mut self, n: u32) -> bool {
        let (word, bit) = (n as usize / 64, n % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] >> bit & 1 == 0;
        self.0[word] |= 1 << bit;
        new
    }
    pub(crate) fn has(&self, n: u32) -> bool {
        self.0.get(n as usize / 64).is_some_and(|w| w >> (n % 64) & 1 == 1)
    }
    /// All of `other` too.
    pub(crate) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }
    /// The smallest number of `other` that is missing here.
    pub(crate) fn lacks(&self, other: &Self) -> Option<u32> {
        other.0.iter().enumerate().find_map(|(i, w)| {
            let missing = w & !self.0.get(i).copied().unwrap_or(0);
            (missing != 0).then(|| i as u32 * 64 + missing.trailing_zeros())
        })
    }
}

/// What one node has applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    /// The last index applied.
    pub applied: u64,
    /// The first seal applied: its index here. Nothing behind it has an effect.
    pub sealed: Option<u64>,
    /// Over everything in order (blanks are left out).
    pub chain: u64,
    /// Over each key's commands in order, and how many.
    pub keys: [(u64, u64); KEYS as usize],
    pub(crate) numbers: Numbers,
    /// Commands that came a second time.
    pub doubled: u64,
}

impl State {
    /// Of all that is equal wherever the same was applied in the same order.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (i, word) in out.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&fold(self.chain ^ i as u64, self.applied).to_le_bytes());
        }
        out
    }

    /// Of all that is ordered, whoever's local index: equal wherever the same was applied.
    pub(crate) fn ordered(&self) -> u64 {
        self.keys.iter().fold(0, |h, (chain, count)| fold(fold(h, *chain), *count))
    }

    /// Applies what was decided at `index`; says whether it was new.
    pub fn apply(&mut self, index: u64, key: u16, value: Value) -> bool {
        self.applied = index;
        let new = match value {
            Value::Blank => return true,
            Value::Command(number) => self.numbers.insert(number),
            Value::Seal(_) | Value::Foreign(_) => true,
        };
        if self.sealed.is_some() {
            return new;
        }
        if matches!(value, Value::Seal(_)) {
            self.sealed = Some(index);
        }
        let digest = value.digest();
        self.doubled += u64::from(!new);
        self.chain = fold(self.chain, digest);
        let (chain, count) = &mut self.keys[usize::from(key % KEYS)];
        *chain = fold(*chain, digest);
        *count += 1;
        new
    }
}
