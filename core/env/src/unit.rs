//! Sizes, rates and exact probabilities.
//!
//! Probabilities are ratios of integers, so that a seed means the same on every machine
//! (floating point is not associative, and its library functions differ between platforms).

use crate::time::Duration;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// `n` KiB.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n * 1024)
    }
    /// `n` MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n * 1024 * 1024)
    }
    /// As an index into memory.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 30 => write!(f, "{}.{} GiB", n >> 30, ((n & ((1 << 30) - 1)) * 10) >> 30),
            n if n >= 1 << 20 => write!(f, "{}.{} MiB", n >> 20, ((n & ((1 << 20) - 1)) * 10) >> 20),
            n if n >= 1 << 10 => write!(f, "{}.{} KiB", n >> 10, ((n & ((1 << 10) - 1)) * 10) >> 10),
            n => write!(f, "{n} B"),
        }
    }
}
impl fmt::Debug for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A rate in bytes a second; zero means "no limit stated".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// Bytes a second.
    pub bytes_per_s: u64,
}

impl Rate {
    /// How long `size` takes at this rate; no time if the rate is unlimited.
    #[must_use]
    pub fn time_for(self, size: ByteCount) -> Duration {
        if self.bytes_per_s == 0 {
            return Duration::ZERO;
        }
        let ns = u128::from(size.0) * 1_000_000_000 / u128::from(self.bytes_per_s);
        Duration::nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// An exact probability `num / den`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// Numerator; at most `den`.
    pub num: u32,
    /// Denominator; never zero.
    pub den: u32,
}

impl Ratio {
    /// Never.
    pub const NEVER: Self = Self { num: 0, den: 1 };
    /// Always.
    pub const ALWAYS: Self = Self { num: 1, den: 1 };

    /// `num` in `den`; `None` unless `num <= den` and `den > 0`.
    #[must_use]
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if den == 0 || num > den { None } else { Some(Self { num, den }) }
    }
    /// Parts in a million, capped at certainty.
    #[must_use]
    pub const fn ppm(n: u32) -> Self {
        Self { num: if n > 1_000_000 { 1_000_000 } else { n }, den: 1_000_000 }
    }
    /// Whether a uniform 64-bit draw falls inside this probability.
    #[must_use]
    pub fn hit(self, draw: u64) -> bool {
        // draw / 2^64 < num / den, exactly, in 128 bits.
        u128::from(draw) * u128::from(self.den) < (u128::from(self.num) << 64)
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self::NEVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn ratio_edges_are_exact() {
        assert!(!Ratio::NEVER.hit(0));
        assert!(Ratio::ALWAYS.hit(u64::MAX));
        let half = Ratio::new(1, 2).unwrap();
        assert!(half.hit((1 << 63) - 1));
        assert!(!half.hit(1 << 63));
        assert_eq!(Ratio::new(2, 1), None);
        assert_eq!(Ratio::new(0, 0), None);
    }

    #[test]
    fn rate_gives_time() {
        let r = Rate { bytes_per_s: 1_000_000 };
        assert_eq!(r.time_for(ByteCount(1_000)), Duration::millis(1));
        assert_eq!(Rate::default().time_for(ByteCount(1)), Duration::ZERO);
    }

    #[test]
    fn sizes_print_in_binary_units() {
        assert_eq!(ByteCount(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteCount::mib(3).to_string(), "3.0 MiB");
    }
}
