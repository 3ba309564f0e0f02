//! Leases on clocks that are only known to lie within a bound of the truth.
//!
//! A lease ends at a time on the calendar. Whoever *holds* it must be done before **any** clock could read that time,
//! whoever wants to *take* it waits until **every** clock must read it. Each adds its own clock's stated uncertainty, on its
//! own side: so the two never overlap while both statements are true, whatever the clock of who wrote the end.
//!
//! A holder does not sit on the calendar: it turns the end into a point on its monotonic clock, once, and keeps the earliest
//! it ever computed for that end. A calendar that is set back later can't stretch the lease.
//!
//! Where a clock lies beyond its stated bound, two hosts may run one machine for as long as it lies; storage then still
//! serves one of them only ([`crate::storage`]).

use crate::planted::{self, Bug};
use dwcp_env::{Duration, Instant, Now, WallTime};

/// The shortest lease that may be asked for: shorter ones end before a slow disk has answered twice.
pub const LEASE_MIN: Duration = Duration::secs(2);
/// The longest: it is how long a lost host's machines stay down at least, and a restored region gives nothing.
pub const LEASE_MAX: Duration = Duration::secs(60);
/// What sound clocks may be off by at most; who states more keeps its promises all the same.
pub const UNCERTAINTY_MAX: Duration = Duration::secs(10);
/// How much a monotonic clock may run fast or slow, in millionths: quartz has tens, virtual machines some hundreds.
pub const DRIFT_PPM: u64 = 500;

fn uncertainty(now: Now) -> Duration {
    if planted::is(Bug::ClockTrusted) { Duration::ZERO } else { now.uncertainty }
}

/// Whether a time is past by every clock.
#[must_use]
pub fn surely_past(end: WallTime, now: Now) -> bool {
    now.wall.as_nanos().saturating_sub(uncertainty(now).as_nanos()) > end.as_nanos()
}

/// Whether no sound clock can have given this end: it lies too far ahead. A calendar a year ahead for a second would keep
/// a place for a year; so who wants to take it may set the end to [`latest_end`] instead. That is safe since a holder does
/// not believe such an end either: it is done a lease after it *asked*, by its own monotonic clock ([`crate::agent`]).
#[must_use]
pub fn absurd(end: WallTime, now: Now) -> bool {
    let latest = lease_end(now, uncertainty(now) + LEASE_MAX + UNCERTAINTY_MAX);
    end > latest && !planted::is(Bug::AnyEndBelieved)
}

/// Whether no sound clock can have dated the opening of a region: it lies too far ahead, by every clock.
#[must_use]
pub fn misdated(from: WallTime, now: Now) -> bool {
    from > lease_end(now, LEASE_MAX + UNCERTAINTY_MAX * 5)
}

/// A time at which, by every clock, whoever has been given a lease before now is done.
#[must_use]
pub fn latest_end(now: Now) -> WallTime {
    lease_end(now, uncertainty(now) * 2 + LEASE_MAX + UNCERTAINTY_MAX)
}

/// A lease's end, asked for now.
#[must_use]
pub fn lease_end(now: Now, length: Duration) -> WallTime {
    WallTime::from_nanos(now.wall.as_nanos().saturating_add(length.as_nanos()))
}

/// The point on this node's monotonic clock before which no clock has reached a time; `None` if one may have already.
#[must_use]
pub fn surely_before(end: WallTime, now: Now) -> Option<Instant> {
    let latest = now.wall.as_nanos().checked_add(uncertainty(now).as_nanos())?;
    let left = end.as_nanos().checked_sub(latest).filter(|n| *n > 0)?;
    Some(surely_within(now.mono, Duration::nanos(left)))
}

/// The point on this node's monotonic clock that is at most so long after another, whatever its drift.
#[must_use]
pub fn surely_within(from: Instant, length: Duration) -> Instant {
    let left = length.as_nanos();
    from + Duration::nanos(left - left / 1_000_000 * DRIFT_PPM - DRIFT_PPM.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(truth: i64, offset: i64, uncertainty: i64) -> Now {
        let wall = WallTime::from_nanos((truth + offset) as u64);
        Now {
            mono: Instant::from_nanos(truth as u64),
            wall,
            uncertainty: Duration::nanos(uncertainty as u64),
        }
    }

    proptest! {
        /// Who holds is done before who takes begins, wherever in their bounds the clocks are.
        #[test]
        fn holder_and_taker_never_overlap(
            truth in 1_000_000_000_i64..2_000_000_000, end in 0_i64..4_000_000_000,
            u in 0_i64..50_000_000, v in 0_i64..50_000_000, a in -100_i64..=100, b in -100_i64..=100, later in 0_i64..3_000_000_000,
        ) {
            let end = WallTime::from_nanos(end as u64);
            let holder = clock(truth, u * a / 100, u);
            let taker = clock(truth + later, v * b / 100, v);
            if surely_past(end, taker) {
                let until = surely_before(end, holder).unwrap_or(Instant::ZERO);
                prop_assert!(until < taker.mono);
            }
        }
    }
}
