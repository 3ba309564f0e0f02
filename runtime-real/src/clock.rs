//! The clocks of a process: monotonic since the node's boot, and the calendar with its error.
//!
//! The operating system's own estimate of the calendar's error (`adjtimex`) can't be read
//! without `unsafe`, so the bound is a setting: what the operator's time service promises.
//! Nothing that must be right depends on it; leases are counted on the monotonic clock.
//!
//! Where faults may be injected ([`crate::inject`]) the calendar can be put off; a production node's clock holds
//! no [`Offset`] at all.

use dwcp_env::{Duration, Instant, Now, WallTime};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clocks, as one boot of a node sees them. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
    uncertainty: Duration,
    offset: Option<Offset>,
}

/// What a calendar is off by, on purpose; shared by all copies of its clock.
#[derive(Clone, Copy, Debug)]
pub struct Offset(&'static AtomicI64);

impl Offset {
    /// Puts the calendar off by so many nanoseconds.
    pub fn set(self, nanos: i64) {
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl Clock {
    /// A clock whose origin is now; the calendar is off by at most `uncertainty`.
    #[must_use]
    pub fn start(uncertainty: Duration) -> Self {
        Self { origin: std::time::Instant::now(), uncertainty, offset: None }
    }
    /// The same clock with a calendar that can be put off. A cell of eight bytes is kept for the life of the
    /// process, so that clocks stay free to copy.
    #[must_use]
    pub fn adjustable(self) -> Self {
        Self { offset: Some(Offset(Box::leak(Box::default()))), ..self }
    }
    /// What puts its calendar off; nothing unless it is [`adjustable`](Self::adjustable).
    #[must_use]
    pub const fn offset(&self) -> Option<Offset> {
        self.offset
    }
    /// The monotonic clock alone: `CLOCK_MONOTONIC` less the origin.
    #[must_use]
    pub fn mono(&self) -> Instant {
        Instant::from_nanos(Duration::from_std(self.origin.elapsed()).as_nanos())
    }
    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Duration::from_std(wall).as_nanos();
        let off = self.offset.map_or(0, |o| o.0.load(Ordering::Relaxed));
        Now {
            mono: self.mono(),
            wall: WallTime::from_nanos(wall.saturating_add_signed(off)),
            uncertainty: self.uncertainty,
        }
    }
    /// A point of the monotonic clock as the standard library's type; `FAR` is a year ahead.
    #[must_use]
    pub fn to_std(&self, at: Instant) -> std::time::Instant {
        const YEAR_NANOS: u64 = 31_536_000_000_000_000;
        let ahead = std::time::Duration::from_nanos(at.as_nanos().min(YEAR_NANOS));
        self.origin.checked_add(ahead).unwrap_or(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_near_zero_and_never_goes_back() {
        let c = Clock::start(Duration::millis(5));
        let mut last = c.mono();
        assert!(last < Instant::ZERO + Duration::secs(5));
        for _ in 0..1_000 {
            let now = c.now();
            assert!(now.mono >= last);
            assert_eq!(now.uncertainty, Duration::millis(5));
            last = now.mono;
        }
    }

    #[test]
    fn only_an_adjustable_calendar_is_put_off_and_all_copies_with_it() {
        let sound = Clock::start(Duration::ZERO);
        assert!(sound.offset().is_none());
        let c = sound.adjustable();
        let copy = c;
        c.offset().unwrap().set(-3_600_000_000_000);
        let ahead = sound.now().wall.as_nanos() - copy.now().wall.as_nanos();
        assert!((3_599_000_000_000..3_601_000_000_000).contains(&ahead), "{ahead}");
        assert!(copy.mono() <= sound.mono());
    }

    #[test]
    fn a_far_point_converts_without_overflow() {
        let c = Clock::start(Duration::ZERO);
        assert!(c.to_std(Instant::FAR) > std::time::Instant::now());
    }
}
