//! Many seeds of many scenarios: run, judged together, told in three formats.
//!
//! **Red is run again.** A seed that fails is run once more in a process of its own before it
//! is reported. If it does not fail there in the same way, that is reported instead, as a
//! failure of determinism: the run depended on something besides its plan.
//!
//! **What a scenario must show.** No seed breaks a property; every `sometimes` happened in
//! some seed; no claim is exceeded by any seed. A `sometimes` that did not happen fails the
//! scenario only if as many seeds ran as its file asks for.

use crate::capsule::Capsule;
use crate::expand::{RunPlan, expand};
use crate::file::{Claim, Figure, Scenario};
use crate::pool::{Done, Pool, Program, alone};
use crate::run::Stats;
use crate::worker::{Job, Report, Want};
use dwcp_env::{Instant, Seed};
use dwcp_runtime_sim::trace::Violation;
use serde::Serialize;
use std::collections::BTreeMap;

/// Failures of one kind kept whole for each scenario; more are only counted.
const EXAMPLES: usize = 3;

/// How much to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Amount {
    /// As many seeds of each scenario as its file says.
    AsWritten,
    /// So many of each.
    Seeds(u32),
    /// As many as fit in this time on the clock, in turn over the scenarios.
    Time(std::time::Duration),
    /// These seeds of each, in the order of the scenarios; the first seed is not looked at.
    These(Vec<Vec<u64>>),
}

/// A sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What to run.
    pub scenarios: Vec<Scenario>,
    /// The first seed.
    pub first_seed: u64,
    /// How much.
    pub amount: Amount,
    /// At most so many processes at once.
    pub workers: usize,
    /// How workers are started.
    pub program: Program,
}

/// How far a sweep is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Runs ended.
    pub done: u64,
    /// Runs in all, if that is known.
    pub of: Option<u64>,
    /// Of those ended, how many failed.
    pub failed: u64,
    /// Simulated time of all.
    pub simulated: dwcp_env::Duration,
}

/// A seed that failed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
    /// Whether it broke in the same way in a process of its own.
    pub reproduced: bool,
    /// The run, to be replayed or shrunk.
    #[serde(skip)]
    pub capsule: Capsule,
}

/// A figure over all seeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Spread {
    /// Runs that gave it.
    pub runs: u64,
    /// Half of them were at most this.
    pub median: u64,
    /// 99 of 100 were at most this.
    pub p99: u64,
    /// 999 of 1,000 were at most this.
    pub p999: u64,
    /// The worst.
    pub worst: u64,
    /// The smallest seed that gave the worst.
    pub worst_seed: u64,
}

/// What a claim came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Claimed {
    /// The figure.
    pub figure: Figure,
    /// At most this was claimed.
    pub at_most: u64,
    /// This was found.
    pub found: Spread,
    /// Runs that were over it.
    pub beyond: u64,
    /// Whether every run measured it, none broke a property, and the worst is within the claim.
    pub met: bool,
}

/// What came of one scenario.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verdict {
    /// Its name.
    pub scenario: String,
    /// Why it exists.
    pub why: String,
    /// Seeds run.
    pub runs: u64,
    /// Seeds that failed.
    pub failed: u64,
    /// How often each property broke.
    pub broken: BTreeMap<String, u64>,
    /// Examples.
    pub failures: Vec<Failure>,
    /// What happened how often, over all seeds.
    pub sometimes: BTreeMap<String, u64>,
    /// What should have happened and did not.
    pub never: Vec<String>,
    /// Claims.
    pub claims: Vec<Claimed>,
    /// All figures.
    pub figures: BTreeMap<&'static str, Spread>,
    /// Sums over the seeds.
    pub totals: Stats,
    /// Processor time of all runs, in microseconds.
    pub took_us: u64,
}

impl Verdict {
    /// Whether there is nothing to complain of.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed == 0 && self.never.is_empty() && self.claims.iter().all(|c| c.met)
    }
}

/// What came of a sweep.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Summary {
    /// The build.
    pub build: crate::capsule::Build,
    /// By scenario, in the order given.
    pub verdicts: Vec<Verdict>,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
}

impl Summary {
    /// Whether every scenario passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(Verdict::passed)
    }
    /// As JSON.
    ///
    /// # Panics
    /// Never: every part of it can be written.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a summary is plain data")
    }
}

/// What is gathered of one scenario while it runs.
#[derive(Default)]
struct Gathered {
    runs: u64,
    failed: u64,
    broken: BTreeMap<String, u64>,
    failures: Vec<Failure>,
    sometimes: BTreeMap<String, u64>,
    figures: BTreeMap<Figure, Vec<(u64, u64)>>,
    totals: Stats,
    took_us: u64,
}

impl Sweep {
    /// Runs it. `progress` is told after each run.
    pub fn run(&self, progress: &mut dyn FnMut(&Progress)) -> Summary {
        let began = std::time::Instant::now();
        let mut pool = Pool::new(&self.program, self.workers);
        let mut gathered: Vec<Gathered> = self.scenarios.iter().map(|_| Gathered::default()).collect();
        let mut state = Progress { of: self.total(), ..Progress::default() };
        let mut queue = self.queue(began);
        // Plans are drawn when a worker is free, so that memory does not grow with the sweep.
        let mut fill = |pool: &mut Pool| {
            while pool.open() < self.workers * 2 {
                let Some((scenario, nth)) = queue.next() else { return };
                let plan = expand(&self.scenarios[scenario], Seed(self.seed(scenario, nth)));
                let id = (scenario as u64) << 48 | nth;
                pool.submit(Job { id, plan, want: Want::Verdict, leak: None });
            }
        };
        fill(&mut pool);
        while let Some((id, done)) = pool.take() {
            let scenario = (id >> 48) as usize;
            let seed = self.seed(scenario, id & 0xffff_ffff_ffff);
            let g = &mut gathered[scenario];
            let before = g.failed;
            self.take(g, scenario, seed, done);
            state.done += 1;
            state.failed += g.failed - before;
            state.simulated = dwcp_env::Duration::nanos(
                gathered.iter().map(|g| g.totals.simulated_ns).fold(0, u64::saturating_add),
            );
            progress(&state);
            fill(&mut pool);
        }
        let full = !matches!(self.amount, Amount::Seeds(_) | Amount::These(_));
        let verdicts = self.scenarios.iter().zip(gathered).map(|(s, g)| verdict(s, g, full)).collect();
        let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Summary { build: crate::capsule::Build::current(), verdicts, wall_ms }
    }

    /// How many seeds of scenario `place`.
    fn seeds(&self, place: usize) -> u64 {
        match &self.amount {
            Amount::AsWritten => self.scenarios[place].seeds.into(),
            Amount::Seeds(n) => (*n).into(),
            Amount::Time(_) => u64::MAX,
            Amount::These(seeds) => seeds.get(place).map_or(0, |s| s.len() as u64),
        }
    }
    /// The seed of run `nth` of scenario `place`.
    fn seed(&self, place: usize, nth: u64) -> u64 {
        match &self.amount {
            Amount::These(seeds) => seeds[place][nth as usize],
            _ => self.first_seed + nth,
        }
    }
    fn total(&self) -> Option<u64> {
        let timed = matches!(self.amount, Amount::Time(_));
        (!timed).then(|| (0..self.scenarios.len()).map(|s| self.seeds(s)).sum())
    }
    /// Which runs, in which order: in turn over all scenarios.
    fn queue(&self, began: std::time::Instant) -> impl Iterator<Item = (usize, u64)> + '_ {
        let most = (0..self.scenarios.len()).map(|s| self.seeds(s)).max().unwrap_or(0);
        let in_time = move || match self.amount {
            Amount::Time(limit) => began.elapsed() < limit,
            _ => true,
        };
        (0..most)
            .flat_map(move |nth| (0..self.scenarios.len()).map(move |s| (s, nth)))
            .filter(move |(s, nth)| *nth < self.seeds(*s))
            .take_while(move |_| in_time())
    }

    fn take(&self, g: &mut Gathered, scenario: usize, seed: u64, done: Done) {
        g.runs += 1;
        let (violation, trace) = match done {
            Done::Ran(report) => {
                let violation = report.violation.clone();
                let trace = report.trail.id();
                gather(g, seed, &report);
                (violation, trace)
            }
            Done::Refused(why) => (Some(of_the_harness("plan", why)), String::new()),
            Done::Died(how) => (Some(of_the_harness("worker", how)), String::new()),
        };
        let Some(violation) = violation else { return };
        g.failed += 1;
        let count = g.broken.entry(violation.name.clone()).or_default();
        *count += 1;
        if *count as usize > EXAMPLES {
            return;
        }
        let plan = expand(&self.scenarios[scenario], Seed(seed));
        let reproduced = self.again(&plan, &violation);
        if !reproduced {
            *g.broken.entry("determinism".to_owned()).or_default() += 1;
        }
        let capsule = Capsule::new(plan, violation.clone(), trace);
        g.failures.push(Failure { seed, violation, reproduced, capsule });
    }

    /// Whether a plan fails in the same way in a process of its own.
    fn again(&self, plan: &RunPlan, violation: &Violation) -> bool {
        let job = Job { id: 0, plan: plan.clone(), want: Want::Verdict, leak: None };
        match alone(&self.program, &job) {
            Done::Ran(report) => report.violation.as_ref() == Some(violation),
            Done::Died(_) => violation.name == "worker",
            Done::Refused(_) => violation.name == "plan",
        }
    }
}

/// A failure that is not of the cluster.
fn of_the_harness(name: &str, detail: String) -> Violation {
    Violation { name: name.to_owned(), detail, at: Instant::ZERO, node: None }
}

fn gather(g: &mut Gathered, seed: u64, report: &Report) {
    for (name, n) in &report.sometimes {
        *g.sometimes.entry(name.clone()).or_default() += n;
    }
    for (figure, value) in &report.figures {
        g.figures.entry(*figure).or_default().push((*value, seed));
    }
    let (t, s) = (&mut g.totals, &report.stats);
    t.events += s.events;
    t.simulated_ns += s.simulated_ns;
    t.ok += s.ok;
    t.failed += s.failed;
    t.unknown += s.unknown;
    t.writes += s.writes;
    t.messages += s.messages;
    t.disk_requests += s.disk_requests;
    t.looks += s.looks;
    t.leaders += s.leaders;
    g.took_us += report.took_us;
}

/// Nearest ranks: the smallest value that the stated share of the runs does not exceed.
fn spread(values: &mut [(u64, u64)]) -> Spread {
    values.sort_unstable();
    let n = values.len();
    let at = |permille: usize| values[(n * permille).div_ceil(1_000).max(1) - 1].0;
    let Some(&(worst, _)) = values.last() else { return Spread::default() };
    let first_worst = values.partition_point(|v| v.0 < worst);
    let worst_seed = values[first_worst].1;
    Spread { runs: n as u64, median: at(500), p99: at(990), p999: at(999), worst, worst_seed }
}

fn verdict(scenario: &Scenario, mut g: Gathered, full: bool) -> Verdict {
    let spreads: BTreeMap<Figure, Spread> = g.figures.iter_mut().map(|(f, v)| (*f, spread(v))).collect();
    let claimed = |c: &Claim| {
        let found = spreads.get(&c.figure).copied().unwrap_or_default();
        // The values are sorted by now.
        let values = g.figures.get(&c.figure);
        let within = values.map_or(0, |v| v.partition_point(|v| v.0 <= c.at_most)) as u64;
        let measured = found.runs > 0 && found.runs == g.runs && g.failed == 0;
        let beyond = found.runs - within;
        Claimed { figure: c.figure, at_most: c.at_most, found, beyond, met: measured && beyond == 0 }
    };
    let enough = full || g.runs >= u64::from(scenario.seeds);
    let happened = |name: &String| g.sometimes.get(name).is_some_and(|n| *n > 0);
    let never = scenario.check.sometimes.iter().filter(|n| enough && !happened(n)).cloned().collect();
    Verdict {
        scenario: scenario.name.clone(),
        why: scenario.why.clone(),
        runs: g.runs,
        failed: g.failed,
        broken: g.broken,
        failures: g.failures,
        never,
        claims: scenario.check.claims.iter().map(claimed).collect(),
        figures: spreads.iter().map(|(f, s)| (f.name(), *s)).collect(),
        sometimes: g.sometimes,
        totals: g.totals,
        took_us: g.took_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks_and_the_worst_names_its_first_seed() {
        let mut values: Vec<(u64, u64)> = (1..=2_000).map(|n| (n, 10_000 - n)).collect();
        values.extend([(2_000, 7), (2_000, 8)]);
        let s = spread(&mut values);
        assert_eq!((s.runs, s.median, s.p99, s.p999), (2_002, 1_001, 1_982, 2_000));
        assert_eq!((s.worst, s.worst_seed), (2_000, 7));
        let few = spread(&mut [(3, 1), (5, 2), (4, 3)]);
        assert_eq!((few.median, few.p99, few.p999, few.worst_seed), (4, 5, 5, 2));
        assert_eq!(spread(&mut []), Spread::default());
    }
}
