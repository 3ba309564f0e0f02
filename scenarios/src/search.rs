//! Search beyond chance: runs that reached something rare are kept and branched from.
//!
//! **Idea.** A plain sweep draws each seed afresh, and meets a state that one seed in five
//! hundred reaches once in five hundred runs. A run that has reached it is kept instead, up to
//! that moment: the next runs are the same run so far and then another future (other draws, and
//! mutated later faults), so that what lies behind the rare state is met again and again.
//! (FoundationDB and Antithesis guide by the same `sometimes`; AFL by edges.)
//!
//! **What counts as a state.** The nodes' probes and events, and how often: `(name, b)` is
//! reached when `name` happened for the 2^b-th time ([`coverage`]). What faults fired is no
//! state: it is what we put in.
//!
//! **The loop.** Generations of [`GENERATION`] runs; what a generation is made of depends only
//! on what the ones before it found, so that the search is a function of (scenario, first seed,
//! runs, build) however many processes take part:
//!
//! ```text
//! a quarter of a generation: the next seeds, as a plain sweep would
//! the rest: an entry of the corpus, drawn by how rare its state is, branched behind its moment
//! each report: states not seen before, or seen in fewer than one run in RARE, enter the corpus
//! ```
//!
//! **What a branch may change.** The draws ([`dwcp_runtime_sim::plan::Rekey`]) always; in half
//! of the branches also faults that begin behind the moment ([`mutate`]): shifted, stretched,
//! doubled, dropped, never aimed at another node, so that what the plan's atlas allowed stays
//! survivable and what fails is a bug.
//!
//! **Limits.** A branch runs its past again (nodes can't be copied in mid-run). The corpus
//! holds one entry a state. Probes guide only as well as they are placed; docs/scenarios.md
//! says what was measured against plain chance.

pub mod coverage;
pub mod mutate;

use crate::capsule::Capsule;
use crate::expand::{RunPlan, expand};
use crate::file::Scenario;
use crate::pool::{Done, Pool, Program, alone};
use crate::worker::{Job, Report, Want};
use coverage::{Coverage, State};
use dwcp_env::{Duration, Instant, Purpose, Seed};
use dwcp_runtime_sim::plan::Rekey;
use dwcp_runtime_sim::trace::Violation;
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs of a generation.
pub const GENERATION: u64 = 16;
/// Of these, plain seeds.
const PLAIN: u64 = 4;
/// A state is rare while fewer than one run in so many has reached it.
pub const RARE: u64 = 16;
/// Failures kept whole.
const EXAMPLES: usize = 3;
/// A branch of a branch of a branch… at most so often: each costs its whole past again.
const DEPTH: usize = 6;

const CHOICE: Purpose = Purpose::named("search.entry");
const SALT: Purpose = Purpose::named("search.salt");
const MUTATES: Purpose = Purpose::named("search.mutates");

/// A search of one scenario.
#[derive(Clone, Debug)]
pub struct Search {
    /// What to run.
    pub scenario: Scenario,
    /// The first seed.
    pub first_seed: u64,
    /// How many runs, plain and branched.
    pub runs: u64,
    /// Whether runs are branched at all; without, it is a plain sweep that counts the same.
    pub guided: bool,
    /// A bug to plant ([`crate::mutants`]), and to stop at.
    pub bug: Option<String>,
    /// Processes at once.
    pub workers: usize,
    /// How workers are started.
    pub program: Program,
}

/// How far a search is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Runs ended.
    pub done: u64,
    /// States seen.
    pub states: u64,
    /// Runs that failed.
    pub failed: u64,
}

/// A failure the search met.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Failure {
    /// The number of the run, from 1.
    pub run: u64,
    /// Whether it was a branch.
    pub branched: bool,
    /// What broke.
    pub violation: Violation,
    /// Whether it broke in the same way in a process of its own.
    pub reproduced: bool,
    /// The run, to be replayed, shrunk and explained.
    #[serde(skip)]
    pub capsule: Capsule,
}

/// What a search came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Found {
    /// Which scenario.
    pub scenario: String,
    /// Runs made.
    pub runs: u64,
    /// Of these, branches.
    pub branches: u64,
    /// Runs that failed.
    pub failed: u64,
    /// The first few.
    pub failures: Vec<Failure>,
    /// States seen, each with how many plain runs and how many branches reached it.
    pub states: Vec<Seen>,
    /// How many states were known after each generation.
    pub growth: Vec<u64>,
    /// States first seen, by the minute on the clock: not a function of the search.
    pub by_minute: Vec<u64>,
    /// Time on the clock, in milliseconds.
    pub wall_ms: u64,
}

/// How often a state was reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Seen {
    /// Probe or event.
    pub name: String,
    /// It happened at least so often in a run.
    pub times: u64,
    /// Plain runs that reached it.
    pub plain: u64,
    /// Branches that reached it.
    pub branched: u64,
    /// Whether a branch was the first.
    pub by_branch: bool,
}

/// A run kept at the moment it reached something rare.
#[derive(Clone, Debug)]
struct Entry {
    plan: RunPlan,
    at: Instant,
}

struct Hunting<'a> {
    search: &'a Search,
    coverage: Coverage,
    corpus: BTreeMap<State, Entry>,
    found: Found,
    next_seed: u64,
    began: std::time::Instant,
}

impl Search {
    /// Runs it. `progress` is told after each run.
    pub fn run(&self, progress: &mut dyn FnMut(Progress)) -> Found {
        let mut hunting = Hunting::new(self);
        let mut pool = Pool::new(&self.program, self.workers);
        while hunting.found.runs < self.runs {
            let first = hunting.found.runs;
            let size = GENERATION.min(self.runs - first);
            let plans: Vec<(RunPlan, bool)> = (0..size).map(|nth| hunting.next(first + nth)).collect();
            let mut reports: BTreeMap<u64, Done> = BTreeMap::new();
            for (nth, (plan, _)) in plans.iter().enumerate() {
                let id = nth as u64;
                pool.submit(Job { id, plan: plan.clone(), want: Want::Coverage, leak: None });
            }
            while let Some((id, done)) = pool.take() {
                reports.insert(id, done);
                let done = first + reports.len() as u64;
                progress(Progress { done, states: hunting.coverage.len(), failed: hunting.found.failed });
            }
            // In the order of their numbers, whoever was first.
            for (id, done) in reports {
                let (plan, branched) = &plans[id as usize];
                hunting.take(plan, *branched, done);
            }
            hunting.found.growth.push(hunting.coverage.len());
            if self.bug.is_some() && hunting.found.failed > 0 {
                break;
            }
        }
        hunting.end()
    }
}

impl<'a> Hunting<'a> {
    fn new(search: &'a Search) -> Self {
        let found = Found {
            scenario: search.scenario.name.clone(),
            runs: 0,
            branches: 0,
            failed: 0,
            failures: Vec::new(),
            states: Vec::new(),
            growth: Vec::new(),
            by_minute: Vec::new(),
            wall_ms: 0,
        };
        Self {
            search,
            coverage: Coverage::default(),
            corpus: BTreeMap::new(),
            found,
            next_seed: search.first_seed,
            began: std::time::Instant::now(),
        }
    }

    /// The plan of run `number`, and whether it is a branch.
    fn next(&mut self, number: u64) -> (RunPlan, bool) {
        let branched = self.search.guided && number % GENERATION >= PLAIN;
        let seed = Seed(self.search.first_seed).part(CHOICE, number);
        if let Some(entry) = self.choose(seed).filter(|_| branched) {
            return (branch(entry, seed), true);
        }
        let mut plan = expand(&self.search.scenario, Seed(self.next_seed));
        plan.bug.clone_from(&self.search.bug);
        self.next_seed += 1;
        (plan, false)
    }

    /// An entry of the corpus: the rarer its state, the more often.
    fn choose(&self, seed: Seed) -> Option<&Entry> {
        let runs = self.coverage.runs();
        let weight = |s: &State| runs / self.coverage.plain_or_branched(s).max(1) + 1;
        let rare = self.corpus.iter().filter(|(s, _)| self.coverage.is_rare(s));
        let total: u64 = rare.clone().map(|(s, _)| weight(s)).sum();
        let mut at = seed.below(total.max(1), CHOICE, 0, Instant::ZERO, 0);
        for (state, entry) in rare {
            let own = weight(state);
            if at < own {
                return Some(entry);
            }
            at -= own;
        }
        None
    }

    fn take(&mut self, plan: &RunPlan, branched: bool, done: Done) {
        self.found.runs += 1;
        self.found.branches += u64::from(branched);
        let violation = match done {
            Done::Ran(report) => {
                self.learn(plan, branched, &report);
                report.violation.map(|v| (v, report.trail.id()))
            }
            Done::Refused(why) => Some((of_the_harness("plan", why), String::new())),
            Done::Died(how) => Some((of_the_harness("worker", how), String::new())),
        };
        let Some((violation, trace)) = violation else { return };
        self.found.failed += 1;
        if self.found.failures.len() < EXAMPLES {
            let reproduced = self.again(plan, &violation);
            let capsule = Capsule::new(plan.clone(), violation.clone(), trace);
            let run = self.found.runs;
            self.found.failures.push(Failure { run, branched, violation, reproduced, capsule });
        }
    }

    fn learn(&mut self, plan: &RunPlan, branched: bool, report: &Report) {
        let minute = (self.began.elapsed().as_secs() / 60) as usize;
        for (state, at) in self.coverage.take(&report.reached, branched) {
            if self.coverage.is_new(&state) {
                if self.found.by_minute.len() <= minute {
                    self.found.by_minute.resize(minute + 1, 0);
                }
                self.found.by_minute[minute] += 1;
            }
            // The earliest way to a state leaves the most behind it.
            let entry = self.corpus.get(&state);
            let better = entry.is_none_or(|e| at < e.at) && plan.world.rekey.len() < DEPTH;
            if better && self.coverage.is_rare(&state) && at < plan.world.heal_at {
                self.corpus.insert(state, Entry { plan: plan.clone(), at });
            }
        }
    }

    fn again(&self, plan: &RunPlan, violation: &Violation) -> bool {
        let job = Job { id: 0, plan: plan.clone(), want: Want::Verdict, leak: None };
        match alone(&self.search.program, &job) {
            Done::Ran(report) => report.violation.as_ref() == Some(violation),
            Done::Died(_) => violation.name == "worker",
            Done::Refused(_) => violation.name == "plan",
        }
    }

    fn end(mut self) -> Found {
        self.found.states = self.coverage.seen();
        self.found.wall_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.found
    }
}

/// One of the other futures of a run that reached something rare.
fn branch(entry: &Entry, seed: Seed) -> RunPlan {
    let mut plan = entry.plan.clone();
    // What reached the state has happened.
    let at = entry.at + Duration::nanos(1);
    plan.world.rekey.retain(|r| r.at < at);
    let salt = seed.draw(SALT, 0, Instant::ZERO, 0) >> 1;
    plan.world.rekey.push(Rekey { at, salt });
    if seed.below(2, MUTATES, 0, Instant::ZERO, 0) == 0 {
        mutate::faults(&mut plan, at, seed);
    }
    plan
}

fn of_the_harness(name: &str, detail: String) -> Violation {
    Violation { name: name.to_owned(), detail, at: Instant::ZERO, node: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::worker::execute;

    fn search(guided: bool) -> Search {
        let program = Program {
            path: "none".into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            perturbed: crate::worker::Perturbed::default(),
        };
        let mut scenario = catalogue::find("swarm/crashes").unwrap();
        scenario.heal.at = Duration::secs(12);
        Search { scenario, first_seed: 1, runs: 64, guided, bug: None, workers: 1, program }
    }

    /// A report that says a run reached these.
    fn report(reached: &[(&str, &[u64])]) -> Report {
        let plan = expand(&search(true).scenario, Seed(1));
        let mut short = plan;
        short.world.heal_at = Instant::ZERO + Duration::millis(1);
        short.world.horizon = short.world.heal_at;
        short.world.faults.clear();
        let job = Job { id: 0, plan: short, want: Want::Verdict, leak: None };
        let times = |at: &[u64]| at.iter().map(|ms| Instant::ZERO + Duration::millis(*ms)).collect();
        let reached = reached.iter().map(|(name, at)| ((*name).to_owned(), times(at))).collect();
        Report { violation: None, reached, ..execute(&job).unwrap() }
    }

    #[test]
    fn what_is_rare_is_branched_from_behind_its_moment() {
        let search = search(true);
        let mut hunting = Hunting::new(&search);
        let common = report(&[("common", &[100])]);
        for _ in 0..40 {
            let (plan, branched) = hunting.next(0);
            assert!(!branched);
            hunting.take(&plan, false, Done::Ran(Box::new(common.clone())));
        }
        let (odd, _) = hunting.next(0);
        let rare = report(&[("common", &[100]), ("rare", &[5_000, 6_000])]);
        hunting.take(&odd, false, Done::Ran(Box::new(rare)));
        for number in PLAIN..GENERATION {
            let (plan, branched) = hunting.next(number);
            assert!(branched, "run {number} is a branch");
            assert_eq!(plan.world.seed, odd.world.seed, "of the run that reached the rare state");
            let at = plan.world.rekey[0].at;
            assert!(at > Instant::ZERO + Duration::secs(5) && plan.world.rekey.len() == 1);
            let past = |p: &RunPlan| p.world.faults.iter().filter(|f| f.at < at).cloned().collect::<Vec<_>>();
            assert_eq!(past(&plan), past(&odd), "its past is the same");
            plan.world.check().unwrap();
            assert_eq!(hunting.next(number).0, plan, "and follows from the number");
        }
    }

    #[test]
    fn a_blind_search_only_counts() {
        let search = search(false);
        let mut hunting = Hunting::new(&search);
        for number in 0..GENERATION {
            let (plan, branched) = hunting.next(number);
            assert!(!branched && plan.world.seed == Seed(1 + number) && plan.world.rekey.is_empty());
            hunting.take(&plan, false, Done::Ran(Box::new(report(&[("rare", &[100])]))));
        }
        assert_eq!(hunting.end().states.len(), 1);
    }
}
