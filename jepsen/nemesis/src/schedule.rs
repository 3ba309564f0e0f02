//! When which nemesis strikes.
//!
//! ```text
//! |-- settle --|== window 0 ==|-- rest --|== window 1 ==|-- rest --| … |-- rest --| end of the run
//! ```
//!
//! Nemeses take turns. A window lasts between [`SHORTEST`] and [`LONGEST`], a rest between half of that and all of
//! it: long enough for a leader to be elected in both, so that every fault and every recovery is seen
//! under load. Drawn from the seed: the same seed and time, the same schedule.

use crate::Nemesis;
use dwcp_env::{Duration, Instant, Purpose, Seed};

const HOW_LONG: Purpose = Purpose::named("nemesis.window");
/// Operations run for so long before the first window.
pub const SETTLE: Duration = Duration::secs(2);
/// No window is shorter.
pub const SHORTEST: Duration = Duration::millis(2_500);
/// No window is longer.
pub const LONGEST: Duration = Duration::secs(8);

/// A nemesis' time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    /// Its number in the run.
    pub nth: u64,
    /// Who strikes; more than one in a mix.
    pub strikers: Vec<Nemesis>,
    /// From here, since the beginning of the run.
    pub begin: Duration,
    /// To here.
    pub end: Duration,
}

/// All windows of a run, in order, none overlapping.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// The windows.
    pub windows: Vec<Window>,
}

impl Schedule {
    /// The windows of a run of `time` under these nemeses, each in turn. `allowed` are those a mix may draw.
    #[must_use]
    pub fn draw(seed: Seed, nemeses: &[Nemesis], allowed: &[Nemesis], time: Duration) -> Self {
        let mut windows = Vec::new();
        if nemeses.is_empty() {
            return Self { windows };
        }
        // Short runs have shorter windows, so that every nemesis has one.
        let share = Duration::nanos(time.as_nanos() / (2 * nemeses.len() as u64 + 1));
        let longest = share.min(LONGEST).max(SHORTEST);
        let mut at = SETTLE.min(share);
        for nth in 0_u64.. {
            let span = |from: u64, to: u64, ordinal| {
                let width = to.saturating_sub(from).max(1);
                Duration::nanos(from + seed.below(width, HOW_LONG, nth, Instant::ZERO, ordinal))
            };
            let long = span(SHORTEST.as_nanos(), longest.as_nanos(), 0);
            let rest = span(long.as_nanos() / 2, long.as_nanos(), 1);
            let end = at + long;
            if end > time {
                break;
            }
            let strikers = nemeses[(nth % nemeses.len() as u64) as usize].strikers(seed, nth, allowed);
            // Each nemesis counts its own turns, so that it goes through all of its kinds.
            windows.push(Window { nth: nth / nemeses.len() as u64, strikers, begin: at, end });
            at = end + rest;
        }
        Self { windows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_end_in_time_and_every_nemesis_has_one() {
        let nemeses = [Nemesis::Kill, Nemesis::Partition, Nemesis::Clock];
        for seed in 0..50 {
            for time in [25, 60, 600] {
                let time = Duration::secs(time);
                let s = Schedule::draw(Seed(seed), &nemeses, &nemeses, time);
                assert_eq!(s, Schedule::draw(Seed(seed), &nemeses, &nemeses, time));
                assert!(s.windows.iter().all(|w| w.begin < w.end && w.end <= time));
                assert!(s.windows.windows(2).all(|w| w[0].end < w[1].begin));
                assert!(s.windows[0].begin >= SETTLE.min(SHORTEST), "operations run first");
                for (w, next) in s.windows.iter().zip(s.windows.iter().skip(1)) {
                    let (long, rest) = (w.end.saturating_sub(w.begin), next.begin.saturating_sub(w.end));
                    assert!((SHORTEST..=LONGEST).contains(&long), "{long}");
                    assert!(long / 2 <= rest && rest <= long, "{rest} after {long}");
                }
                for n in nemeses {
                    let turns: Vec<u64> =
                        s.windows.iter().filter(|w| w.strikers.contains(&n)).map(|w| w.nth).collect();
                    let counted: Vec<u64> = (0..turns.len() as u64).collect();
                    assert!(!turns.is_empty() && turns == counted, "{seed} {time:?} {n:?}: {turns:?}");
                }
            }
        }
    }

    #[test]
    fn a_mix_is_two_of_the_others() {
        let allowed = [Nemesis::Kill, Nemesis::Pause, Nemesis::Mix];
        let s = Schedule::draw(Seed(3), &[Nemesis::Mix], &allowed, Duration::secs(60));
        let fits = |n: &Nemesis| *n != Nemesis::Mix && allowed.contains(n);
        assert!(s.windows.iter().all(|w| w.strikers.len() == 2 && w.strikers.iter().all(fits)));
        assert!(s.windows.iter().all(|w| w.strikers[0] != w.strikers[1]), "two, and different ones");
    }
}
