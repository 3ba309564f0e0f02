//! Bytes that may go to one peer: a token bucket in integers.
//!
//! What does not fit is not queued here: a rumour is announced instead of pushed, a repair waits for the next
//! digest. So a slow peer costs a bounded number of bytes a second and no memory.

use dwcp_env::{Duration, Instant};

/// A bucket of bytes that refills with time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    rate: u64,
    burst: u64,
    bytes: u64,
    at: Instant,
}

impl Budget {
    /// A full bucket of `burst` bytes that refills at `rate` bytes a second.
    #[must_use]
    pub const fn new(now: Instant, rate: u64, burst: u64) -> Self {
        Self { rate, burst, bytes: burst, at: now }
    }

    /// What may go now.
    pub fn room(&mut self, now: Instant) -> u64 {
        let passed = now.since(self.at);
        let more = u128::from(passed.as_nanos()) * u128::from(self.rate) / 1_000_000_000;
        // Time is taken only as far as it made whole bytes, so that many short steps lose none.
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.bytes = self.bytes.saturating_add(more).min(self.burst);
            let used = u128::from(more) * 1_000_000_000 / u128::from(self.rate);
            self.at += Duration::nanos(u64::try_from(used).unwrap_or(u64::MAX));
        }
        self.bytes
    }

    /// When there will be room for so many, if nothing is taken until then; for more than the bucket holds, when it is full.
    #[must_use]
    pub fn room_at(&self, bytes: u64) -> Instant {
        let lacking = bytes.min(self.burst).saturating_sub(self.bytes);
        let nanos = (u128::from(lacking) * 1_000_000_000).div_ceil(u128::from(self.rate.max(1)));
        self.at + Duration::nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
    }

    /// Takes `bytes` if there are as many.
    pub fn take(&mut self, now: Instant, bytes: u64) -> bool {
        let fits = self.room(now) >= bytes;
        if fits {
            self.bytes -= bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let at = |ms| Instant::ZERO + Duration::millis(ms);
        let mut b = Budget::new(at(0), 1_000, 500);
        assert!(b.take(at(0), 500));
        assert!(!b.take(at(0), 1));
        assert!(b.take(at(100), 100));
        assert!(!b.take(at(100), 1));
        assert_eq!(b.room(at(60_000)), 500);
    }

    #[test]
    fn short_steps_lose_nothing() {
        let mut b = Budget::new(Instant::ZERO, 1_000, 1_000);
        assert!(b.take(Instant::ZERO, 1_000));
        for us in 1..=1_000_000 / 300 {
            b.room(Instant::ZERO + Duration::micros(us * 300));
        }
        assert_eq!(b.room(Instant::ZERO + Duration::secs(1)), 1_000);
    }
}
