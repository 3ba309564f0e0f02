//! The determinism gate: each seed in two processes that differ on purpose must give one trace.
//!
//! | differs | how |
//! |---|---|
//! | addresses, hash seeds | the operating system, in every process |
//! | environment, its size, the time zone | [`Program::perturbed`] |
//! | working directory | the same |
//! | threads started before, and so thread numbers and stacks | the same |
//! | time of day | the second process runs each seed at another time than the first |
//! | what earlier runs left behind | one process first runs other seeds, and then many |
//!
//! When two traces differ, the trails name the block of events in which they first do, and
//! both processes run that seed once more and send the events of that block: the report names
//! the first that differs.

use crate::expand::expand;
use crate::file::Scenario;
use crate::leak::Leak;
use crate::pool::{Done, Pool, Program};
use crate::worker::{Job, Report, Want};
use dwcp_env::Seed;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs of other seeds that one of the two processes begins with.
pub const WARM_UP: u32 = 1_000;

/// A gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What to run.
    pub scenarios: Vec<Scenario>,
    /// The first seed.
    pub first_seed: u64,
    /// How many of each scenario.
    pub seeds: u32,
    /// How workers are started.
    pub program: Program,
    /// Runs that the second process begins with.
    pub warm_up: u32,
    /// A leak planted on purpose.
    pub leak: Option<Leak>,
}

/// A seed whose traces differ.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Divergence {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The place of the first event that differs.
    pub place: u64,
    /// That event in the one process, and in the other.
    pub events: (String, String),
}

/// What the gate found.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct GateReport {
    /// Seeds run twice.
    pub seeds: u64,
    /// Seeds with one trace.
    pub equal: u64,
    /// Those with two.
    pub divergences: Vec<Divergence>,
    /// Seeds that broke something: (scenario, seed, what).
    pub violations: Vec<(String, u64, String)>,
    /// Seeds that could not be run.
    pub failed: Vec<String>,
    /// Simulated time, in nanoseconds.
    pub simulated_ns: u64,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
}

impl GateReport {
    /// Whether every seed gave one trace, and nothing broke.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.divergences.is_empty() && self.failed.is_empty() && self.violations.is_empty()
    }
}

impl Gate {
    /// Runs it. `progress` is told how many seeds are compared, of how many.
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> GateReport {
        let began = std::time::Instant::now();
        let sides = [self.program.perturbed(0, 0), self.program.perturbed(1, self.warm_up)];
        let mut pools = sides.each_ref().map(|p| Pool::new(p, 1));
        let total = u64::from(self.seeds) * self.scenarios.len() as u64;
        let mut halves: BTreeMap<u64, Done> = BTreeMap::new();
        let mut report = GateReport::default();
        let mut submitted = [0_u64; 2];
        loop {
            for (side, pool) in pools.iter_mut().enumerate() {
                // The second process runs the seeds of a stretch in the other direction.
                while submitted[side] < total && pool.open() < 2 {
                    let nth = if side == 0 { submitted[side] } else { mirrored(submitted[side], total) };
                    submitted[side] += 1;
                    pool.submit(self.job(nth, Want::Verdict));
                }
            }
            // Whoever is behind is waited for, so that halves don't pile up.
            let side =
                usize::from(submitted[0] - pools[0].open() as u64 > submitted[1] - pools[1].open() as u64);
            let other = 1 - side;
            let Some((id, done)) = pools[side].take().or_else(|| pools[other].take()) else { break };
            match halves.remove(&id) {
                None => drop(halves.insert(id, done)),
                Some(half) => {
                    self.compare(id, half, done, &sides, &mut report);
                    progress(report.seeds, total);
                }
            }
        }
        report.wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        report
    }

    fn job(&self, nth: u64, want: Want) -> Job {
        let per = self.scenarios.len() as u64;
        let scenario = &self.scenarios[(nth % per) as usize];
        let plan = expand(scenario, Seed(self.first_seed + nth / per));
        Job { id: nth, plan, want, leak: self.leak }
    }

    fn compare(&self, nth: u64, one: Done, other: Done, sides: &[Program; 2], report: &mut GateReport) {
        report.seeds += 1;
        let job = self.job(nth, Want::Verdict);
        let (scenario, seed) = (job.plan.scenario, job.plan.world.seed.0);
        let (one, other) = match (one, other) {
            (Done::Ran(one), Done::Ran(other)) => (one, other),
            (a, b) => {
                let say = |d: Done| match d {
                    Done::Ran(_) => "ran".to_owned(),
                    Done::Refused(why) | Done::Died(why) => why,
                };
                report.failed.push(format!("{scenario} seed {seed}: {} / {}", say(a), say(b)));
                return;
            }
        };
        report.simulated_ns += one.stats.simulated_ns;
        if let Some(v) = &one.violation {
            report.violations.push((scenario.clone(), seed, v.to_string()));
        }
        match one.trail.first_difference(&other.trail) {
            None if one.violation == other.violation && one.figures == other.figures => report.equal += 1,
            None => {
                let events = (format!("{:?}", one.violation), format!("{:?}", other.violation));
                report.divergences.push(Divergence { scenario, seed, place: one.trail.events, events });
            }
            Some((from, to)) => {
                let (place, events) = self.locate(nth, from, to, sides);
                report.divergences.push(Divergence { scenario, seed, place, events });
            }
        }
    }

    /// Runs both sides again and names the first event that differs.
    fn locate(&self, nth: u64, from: u64, to: u64, sides: &[Program; 2]) -> (u64, (String, String)) {
        let job = self.job(nth, Want::Events { from, to });
        let events = sides.each_ref().map(|side| match crate::pool::alone(side, &job) {
            Done::Ran(report) => report.events,
            Done::Refused(why) | Done::Died(why) => vec![(from, why)],
        });
        first_difference(from, &events[0], &events[1])
    }
}

/// Place `n` of a list run backwards in stretches of 16, so that each seed meets both
/// processes at different times and after different seeds.
fn mirrored(n: u64, total: u64) -> u64 {
    let start = n / 16 * 16;
    let end = (start + 16).min(total);
    end - 1 - (n - start)
}

fn first_difference(from: u64, one: &[(u64, String)], other: &[(u64, String)]) -> (u64, (String, String)) {
    let longest = one.len().max(other.len());
    for i in 0..longest {
        let (a, b) = (one.get(i), other.get(i));
        if a != b {
            let show = |e: Option<&(u64, String)>| e.map_or_else(|| "nothing".to_owned(), |e| e.1.clone());
            return (from + i as u64, (show(a), show(b)));
        }
    }
    let same = "the second pair of runs did not differ here: the difference itself varies".to_owned();
    (from, (same.clone(), same))
}

/// A report's identity, for whoever compares by hand.
#[must_use]
pub fn identity(report: &Report) -> String {
    report.trail.id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_has_its_mirror() {
        for total in [1, 15, 16, 17, 100] {
            let mut all: Vec<u64> = (0..total).map(|n| mirrored(n, total)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let list = |texts: &[&str]| {
            texts.iter().enumerate().map(|(i, t)| (i as u64, (*t).to_owned())).collect::<Vec<_>>()
        };
        let (place, events) = first_difference(7, &list(&["a", "b", "c"]), &list(&["a", "x", "c"]));
        assert_eq!((place, events), (8, ("b".to_owned(), "x".to_owned())));
        let (place, events) = first_difference(7, &list(&["a"]), &list(&["a", "b"]));
        assert_eq!((place, events), (8, ("nothing".to_owned(), "b".to_owned())));
    }
}
