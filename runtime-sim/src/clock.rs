//! A node's clocks: a straight line over simulated time, bent by faults.
//!
//! **Promise.** The monotonic clock never goes back and never jumps; drift bends both clocks;
//! skew and jumps move the calendar alone. Timers run on the node's own clock:
//! [`Clock::when`] says at which simulated time it will show a reading.
//!
//! **Model.** Since its last bend at simulated time `a`, the clock has shown
//! `m + (t - a) * (1 + ppm / 10^6)`, in integers, rounded down.
//!
//! **Uncertainty.** The stated bound covers the offset that a node has from its start, and
//! that of skews which are honest. It is wrong by design under other skews, jumps and drift:
//! that is what these faults are.

use dwcp_env::{Duration, Instant, Now, WallTime};

/// 2026-01-01T00:00:00Z: the calendar at simulated time zero.
const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;
const MILLION: i128 = 1_000_000;
/// Drifts that overlap add up to this much at most: a clock never stands still.
const PPM_MAX: i64 = 500_000;

/// The clocks of one node.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    bent_at: u64,
    mono_then: u64,
    /// The sum of all drifts asked for, and as much of it as is given.
    asked: i64,
    ppm: i64,
    offset: i64,
    stated: u64,
}

impl Clock {
    /// A clock that shows zero at simulated time zero.
    pub(crate) const fn new(ppm: i64, offset: i64, stated: u64) -> Self {
        Self { bent_at: 0, mono_then: 0, asked: ppm, ppm, offset, stated }
    }
    /// The monotonic reading at a simulated time not before the last bend.
    #[inline]
    pub(crate) fn mono(&self, t: u64) -> u64 {
        let passed = t - self.bent_at;
        if self.ppm == 0 {
            return self.mono_then + passed;
        }
        let bent = i128::from(passed) * (MILLION + i128::from(self.ppm)) / MILLION;
        self.mono_then + bent as u64
    }
    /// The first simulated time at which the monotonic clock shows `reading` or more.
    #[inline]
    pub(crate) fn when(&self, reading: u64) -> u64 {
        if reading == u64::MAX {
            return u64::MAX;
        }
        let ahead = reading.saturating_sub(self.mono_then);
        if self.ppm == 0 {
            return self.bent_at.saturating_add(ahead);
        }
        let rate = MILLION + i128::from(self.ppm);
        let passed = (i128::from(ahead) * MILLION + rate - 1) / rate;
        self.bent_at.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
    /// Both clocks.
    #[inline]
    pub(crate) fn now(&self, t: u64) -> Now {
        let mono = self.mono(t);
        let wall = (EPOCH_NANOS + mono).saturating_add_signed(self.offset);
        Now {
            mono: Instant::from_nanos(mono),
            wall: WallTime::from_nanos(wall),
            uncertainty: Duration::nanos(self.stated),
        }
    }
    /// Bends the clock at `t` by so much more.
    pub(crate) fn drift(&mut self, t: u64, ppm: i64) {
        self.mono_then = self.mono(t);
        self.bent_at = t;
        self.asked += ppm;
        self.ppm = self.asked.clamp(-PPM_MAX, PPM_MAX);
    }
    /// Moves the calendar; an honest clock knows.
    pub(crate) fn step(&mut self, nanos: i64) {
        self.offset = self.offset.saturating_add(nanos);
    }
    /// States a bound wider, or again narrower.
    pub(crate) fn state(&mut self, nanos: i64) {
        self.stated = self.stated.saturating_add_signed(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_timer_fires_when_the_clock_shows_it_and_not_before(
            bends in prop::collection::vec((1_u64..10_000_000_000, -400_000_i64..400_000), 0..6),
            ahead in 0_u64..100_000_000_000,
        ) {
            let mut c = Clock::new(0, 0, 0);
            let mut t = 0;
            for (gap, ppm) in bends {
                t += gap;
                let before = c.mono(t);
                c.drift(t, ppm);
                prop_assert_eq!(c.mono(t), before);
            }
            let reading = c.mono(t) + ahead;
            let at = c.when(reading);
            prop_assert!(at >= t);
            prop_assert!(c.mono(at) >= reading);
            prop_assert!(at == t || c.mono(at - 1) < reading);
        }
    }

    #[test]
    fn the_calendar_steps_both_ways_and_the_monotonic_clock_does_not() {
        let mut c = Clock::new(0, 0, 1_000);
        let before = c.now(500);
        c.step(-200);
        let after = c.now(500);
        assert_eq!(before.mono, after.mono);
        assert_eq!(before.wall.as_nanos() - after.wall.as_nanos(), 200);
        assert_eq!(after.uncertainty, Duration::micros(1));
    }
}
