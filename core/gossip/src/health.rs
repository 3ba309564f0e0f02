//! How well this node itself hears (Lifeguard §4: local health), and how long a suspicion lasts (§4.1).
//!
//! A node that misses answers may itself be the slow one. A counter grows with each sign of that (a probe
//! without answer and without the nacks of those asked to help, a suspicion of ourselves that we had to refute,
//! a step that came late) and falls with each probe answered; periods and timeouts are multiplied by it plus one.
//!
//! The lasting of a suspicion with `n` of `k` independent confirmations:
//! `max - (max - min) * log(n + 1) / log(k + 1)`, in integers.

use dwcp_env::Duration;

/// The counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Health {
    score: u32,
    max: u32,
    on: bool,
}

impl Health {
    pub(crate) const fn new(max: u32, on: bool) -> Self {
        Self { score: 0, max, on }
    }
    pub(crate) fn worse(&mut self, by: u32) {
        if self.on {
            self.score = (self.score + by).min(self.max);
        }
    }
    pub(crate) const fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }
    pub(crate) const fn score(self) -> u32 {
        self.score
    }
    pub(crate) fn scale(self, d: Duration) -> Duration {
        d * (u64::from(self.score) + 1)
    }
}

/// log2 in 1/65536, by repeated squaring.
fn log2(n: u32) -> u64 {
    debug_assert!(n > 0);
    let whole = u64::from(n.ilog2());
    // x = n / 2^whole in 1.31 fixed point, 1 <= x < 2.
    let mut x = (u64::from(n) << 31) >> whole;
    let mut fraction = 0;
    for _ in 0..16 {
        x = (x * x) >> 31;
        fraction <<= 1;
        if x >= 1 << 32 {
            x >>= 1;
            fraction |= 1;
        }
    }
    (whole << 16) | fraction
}

/// `mult * max(1, log10(n)) * period`: how the least suspicion grows with the cluster.
pub(crate) fn least(mult: u32, members: usize, period: Duration) -> Duration {
    let n = u32::try_from(members).unwrap_or(u32::MAX).max(1);
    let scale = (log2(n) << 16) / log2(10);
    Duration::nanos(
        u64::try_from(
            (u128::from(period.as_nanos()) * u128::from(mult) * u128::from(scale.max(1 << 16))) >> 16,
        )
        .unwrap_or(u64::MAX),
    )
}

/// How long a suspicion lasts from its start, with `n` confirmations of `k`.
pub(crate) fn lasts(min: Duration, max: Duration, n: u32, k: u32) -> Duration {
    if k == 0 || n >= k {
        return min;
    }
    let share = (log2(n + 1) << 16) / log2(k + 1);
    let off = (u128::from((max - min).as_nanos()) * u128::from(share)) >> 16;
    max - Duration::nanos(u64::try_from(off).unwrap_or(u64::MAX))
}

/// Times a fact is passed on: `mult * ceil(log10(n + 1))`.
pub(crate) fn retransmits(mult: u32, members: usize) -> u32 {
    let n = u32::try_from(members).unwrap_or(u32::MAX - 1).saturating_add(1);
    mult * (n.saturating_sub(1).checked_ilog10().unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_a_ten_thousandth() {
        // (n, log2 n * 10,000 rounded)
        for (n, want) in [(1, 0), (2, 10_000), (3, 15_850), (10, 33_219), (1_000, 99_658), (1 << 20, 200_000)]
        {
            let got = log2(n) * 10_000 / 65_536;
            assert!(got.abs_diff(want) <= 2, "log2({n}) = {got}");
        }
    }

    #[test]
    fn a_suspicion_shrinks_with_confirmations_from_max_to_min() {
        let (min, max) = (Duration::secs(6), Duration::secs(36));
        let at = |n| lasts(min, max, n, 3).as_millis();
        assert_eq!((at(0), at(1), at(3), at(9)), (36_000, 21_000, 6_000, 6_000));
        assert!((12_000..12_300).contains(&at(2)), "{}", at(2));
        assert_eq!(lasts(min, max, 0, 0), min);
    }

    #[test]
    fn the_least_grows_with_the_logarithm() {
        let s = |n| least(2, n, Duration::secs(1)).as_millis();
        assert_eq!((s(1), s(10)), (2_000, 2_000));
        assert!(s(1_000).abs_diff(6_000) < 5, "{}", s(1_000));
    }

    #[test]
    fn retransmits_follow_the_decimal_digits() {
        for (n, want) in [(0, 4), (1, 4), (9, 4), (10, 8), (99, 8), (999, 12), (1_000, 16)] {
            assert_eq!(retransmits(4, n), want, "{n}");
        }
    }

    #[test]
    fn health_stays_within_its_bounds_and_off_is_off() {
        let mut h = Health::new(8, true);
        h.better();
        h.worse(3);
        assert_eq!(h.scale(Duration::secs(1)), Duration::secs(4));
        h.worse(100);
        assert_eq!(h.score(), 8);
        let mut off = Health::new(8, false);
        off.worse(5);
        assert_eq!(off.scale(Duration::secs(1)), Duration::secs(1));
    }
}
