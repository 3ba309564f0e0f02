//! When a failure became likely: the chance that the run fails as it did, given all that
//! happened up to a moment.
//!
//! **How.** A *branch* at `t` is the run up to `t` and then the same faults under other draws
//! ([`Rekey`]): other delays, other losses, other fates of unsynced writes. The share of the
//! branches at `t` that break the same property is P(t). At the violation it is 1; where it is
//! already high at the start the faults alone bring the failure about; where it jumps is the
//! moment that decided.
//!
//! **Which moments.** First a ladder of equal steps. Then, as long as the budget lasts, the gap
//! with the greatest rise between two neighbours is halved, so that the steps crowd around the
//! jump; a gap is left alone once it is shorter than [`FINEST`].
//!
//! **What it costs.** Nodes are not values that could be copied in mid-run (the engine is a
//! library's task), so each branch runs its past again. A shrunk run takes some tens of
//! milliseconds, and branches run on all cores.
//!
//! **Limits.** What a node draws from the seed it booted with (the election timeouts of one
//! life) stays the same in all branches until it boots again. P is measured with a few dozen
//! branches a step: its interval (Wilson 1927, 95 %) is part of the answer.

use crate::expand::RunPlan;
use crate::pool::{Done, Pool, Program};
use crate::worker::{Job, Want};
use dwcp_env::{Duration, Instant};
use dwcp_runtime_sim::plan::Rekey;
use dwcp_runtime_sim::trace::Violation;
use serde::Serialize;
use std::collections::BTreeMap;

/// Gaps shorter than this are not halved.
pub const FINEST: Duration = Duration::millis(1);
/// Steps of the first ladder.
const LADDER: u64 = 9;

/// How much to spend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Branches of each step.
    pub each: u32,
    /// Steps at most; the answer depends on nothing else if the time does not run out.
    pub steps: u32,
    /// Time on the clock, at most.
    pub wall: std::time::Duration,
    /// Processes at once.
    pub workers: usize,
}

impl Default for Effort {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { each: 12, steps: 24, wall: std::time::Duration::from_secs(6), workers }
    }
}

/// What was found at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// Up to here the past is the run's.
    pub at: Instant,
    /// Branches made.
    pub branches: u32,
    /// Those that broke the same property.
    pub failed: u32,
}

impl Step {
    /// The share of branches that failed.
    #[must_use]
    pub fn share(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.branches.max(1))
    }
    /// Where the true chance lies with 95 % confidence (Wilson's score interval).
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        if self.branches == 0 {
            return (0.0, 1.0);
        }
        let (n, p, z) = (f64::from(self.branches), self.share(), 1.96_f64);
        let middle = p + z * z / (2.0 * n);
        let width = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        (((middle - width) / scale).max(0.0), ((middle + width) / scale).min(1.0))
    }
}

/// The chance over time.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Curve {
    /// By time; the first is the beginning of the run.
    pub steps: Vec<Step>,
    /// Between which moments it rises most, as places in `steps`; none if it rises nowhere.
    pub jump: Option<(usize, usize)>,
    /// Branches made in all.
    pub branches: u32,
    /// Whether time ran out before the steps did.
    pub cut_short: bool,
}

/// Measures the chance of `violation` over the time of `plan`. `progress` hears how many
/// branches of at most how many are done.
pub fn curve(
    plan: &RunPlan,
    violation: &Violation,
    program: &Program,
    effort: Effort,
    progress: &mut dyn FnMut(u32, u32),
) -> Curve {
    let began = std::time::Instant::now();
    let mut search = Search {
        plan,
        violation,
        effort,
        pool: Pool::new(program, effort.workers),
        steps: BTreeMap::new(),
        done: 0,
    };
    // What is judged at the end of a run has no moment of its own: the end is the last one.
    let end = violation.at.as_nanos().max(1);
    for nth in 0..=LADDER {
        if began.elapsed() < effort.wall && search.steps.len() < effort.steps as usize {
            let at = u128::from(end) * u128::from(nth) / u128::from(LADDER);
            search.measure(Instant::from_nanos(at as u64), began, progress);
        }
    }
    while began.elapsed() < effort.wall
        && search.steps.len() < effort.steps as usize
        && let Some(middle) = search.steepest()
    {
        search.measure(middle, began, progress);
    }
    let steps: Vec<Step> = search.steps.into_values().collect();
    let jump = jump(&steps);
    Curve { cut_short: began.elapsed() >= effort.wall, branches: search.done, jump, steps }
}

struct Search<'a> {
    plan: &'a RunPlan,
    violation: &'a Violation,
    effort: Effort,
    pool: Pool,
    steps: BTreeMap<Instant, Step>,
    done: u32,
}

impl Search<'_> {
    fn measure(&mut self, at: Instant, began: std::time::Instant, progress: &mut dyn FnMut(u32, u32)) {
        let mut step = Step { at, branches: 0, failed: 0 };
        for salt in 0..u64::from(self.effort.each) {
            let plan = branch(self.plan, at, salt);
            self.pool.submit(Job { id: salt, plan, want: Want::Verdict, leak: None });
        }
        let most = self.effort.each * self.effort.steps;
        while let Some((_, done)) = self.pool.take() {
            let broke = match &done {
                Done::Ran(report) => report.violation.as_ref().map(|v| v.name.as_str()),
                Done::Died(_) => Some("worker"),
                Done::Refused(_) => None,
            };
            step.branches += 1;
            step.failed += u32::from(broke == Some(self.violation.name.as_str()));
            self.done += 1;
            progress(self.done, most);
            if began.elapsed() >= self.effort.wall {
                self.pool.forget();
            }
        }
        self.steps.insert(at, step);
    }
    /// The middle of the gap with the greatest rise, if one is long enough to be halved.
    fn steepest(&self) -> Option<Instant> {
        let steps: Vec<&Step> = self.steps.values().collect();
        let gaps = steps.windows(2).filter(|w| w[1].at.since(w[0].at) > FINEST);
        let rise = |w: &&[&Step]| {
            // In thousandths, so that it is an integer; of equal rises the longer gap.
            let of = |s: &Step| i64::from(s.failed) * 1_000 / i64::from(s.branches.max(1));
            (of(w[1]) - of(w[0]), w[1].at.since(w[0].at).as_nanos())
        };
        let widest = gaps.max_by_key(rise)?;
        Some(widest[0].at + widest[1].at.since(widest[0].at) / 2)
    }
}

/// A run that is `plan` up to `at`, and then one of its other futures.
#[must_use]
pub fn branch(plan: &RunPlan, at: Instant, salt: u64) -> RunPlan {
    let mut plan = plan.clone();
    plan.world.rekey.retain(|r| r.at <= at);
    plan.world.rekey.push(Rekey { at, salt });
    plan
}

/// The greatest rise between neighbours.
fn jump(steps: &[Step]) -> Option<(usize, usize)> {
    let rise = |i: &usize| {
        let of = |s: &Step| i64::from(s.failed) * 1_000 / i64::from(s.branches.max(1));
        of(&steps[*i + 1]) - of(&steps[*i])
    };
    let best = (0..steps.len().saturating_sub(1)).max_by_key(|i| (rise(i), std::cmp::Reverse(*i)))?;
    (rise(&best) > 0).then_some((best, best + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ms: u64, failed: u32) -> Step {
        Step { at: Instant::ZERO + Duration::millis(ms), branches: 10, failed }
    }

    #[test]
    fn the_jump_is_the_greatest_rise_and_a_flat_or_falling_curve_has_none() {
        assert_eq!(jump(&[step(0, 1), step(10, 2), step(20, 9), step(30, 10)]), Some((1, 2)));
        assert_eq!(jump(&[step(0, 10), step(10, 10)]), None);
        assert_eq!(jump(&[step(0, 10), step(10, 3)]), None);
        assert_eq!(jump(&[step(0, 0), step(10, 5), step(20, 10)]), Some((0, 1)), "the earlier of equals");
        assert_eq!(jump(&[]), None);
    }

    #[test]
    fn intervals_are_wilsons() {
        let close = |a: f64, b: f64| (a - b).abs() < 2e-3;
        let (low, high) = step(0, 0).interval();
        assert!(low == 0.0 && close(high, 0.278), "{high}");
        let (low, high) = step(0, 5).interval();
        assert!(close(low, 0.237) && close(high, 0.763), "{low} {high}");
        assert_eq!(Step { at: Instant::ZERO, branches: 0, failed: 0 }.interval(), (0.0, 1.0));
    }
}
