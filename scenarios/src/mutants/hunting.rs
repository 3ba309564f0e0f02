//! The hunt: every bug at once on all cores, a slice of time each, the hard ones again and longer.
//!
//! A thread takes the bug that waits longest, runs seed after seed in a process of its own for a slice of processor time, and either finds it — then
//! the failing plan is run once without the bug, shrunk, and told — or puts it back at the end of the
//! queue with twice the time. So the easy ones are out of the way in the first minutes, and the rest of the
//! time is for the hard ones. Which seed finds a bug does not depend on the machine: each bug's runs are made in one order.

use super::{Mutant, SEEDS};
use crate::catalogue::find;
use crate::expand::{RunPlan, expand};
use crate::pool::{Done, Program, Steady, alone};
use crate::shrink::{Shrunk, shrink};
use crate::worker::{Job, Want};
use dwcp_env::Seed;
use dwcp_runtime_sim::shrink::Budget;
use dwcp_runtime_sim::trace::Violation;
use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first slice of a bug.
const SLICE: Duration = Duration::from_secs(5);

/// What a hunt may spend.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The first seed.
    pub first_seed: u64,
    /// For all bugs together, shrinking included.
    pub wall: Duration,
    /// For shrinking one.
    pub shrink: Duration,
    /// Cores.
    pub workers: usize,
}

/// A run that broke.
#[derive(Clone, Debug)]
pub struct Found {
    /// Runs made until then.
    pub runs: u64,
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
}

/// A run that breaks without any bug: a finding, or a judge that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
}

/// What the hunt for one bug came to.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// Runs made.
    pub runs: u64,
    /// Where it showed.
    pub found: Option<Found>,
    /// The smallest run that shows it.
    pub shrunk: Option<Shrunk>,
    /// Processor time of its runs, until it was found or given up.
    pub took: Duration,
    /// Runs that broke without it, in the same way.
    pub alarms: Vec<Alarm>,
}

impl Hunt {
    /// Whether it was found and shrunk within what is asked for.
    #[must_use]
    pub fn passed(&self) -> bool {
        let soon = self.found.as_ref().is_some_and(|f| f.runs <= SEEDS);
        let small = |s: &Shrunk| s.faults <= super::FAULTS && s.took <= super::SHRINK;
        soon && self.shrunk.as_ref().is_some_and(small) && self.alarms.is_empty()
    }
}

struct Prey {
    hunt: Hunt,
    slice: Duration,
}

/// Hunts bugs; `told` hears of each as soon as it is found or given up.
///
/// # Panics
/// If a scenario that a bug names does not exist, which a test excludes.
pub fn hunt(mutants: &[Mutant], terms: &Terms, program: &Program, told: &mut dyn FnMut(&Hunt)) -> Vec<Hunt> {
    let end = Instant::now() + terms.wall;
    let prey = |mutant: &Mutant| Prey {
        hunt: Hunt {
            mutant: *mutant,
            runs: 0,
            found: None,
            shrunk: None,
            took: Duration::ZERO,
            alarms: Vec::new(),
        },
        slice: SLICE,
    };
    let queue: Mutex<VecDeque<Prey>> = Mutex::new(mutants.iter().map(prey).collect());
    let (tell, hear) = channel();
    let mut hunts = Vec::with_capacity(mutants.len());
    std::thread::scope(|scope| {
        for _ in 0..terms.workers.max(1) {
            let (queue, tell) = (&queue, tell.clone());
            scope.spawn(move || work(queue, terms, program, end, &tell));
        }
        drop(tell);
        for hunt in hear {
            told(&hunt);
            hunts.push(hunt);
        }
    });
    let place = |h: &Hunt| mutants.iter().position(|m| m.name == h.mutant.name);
    hunts.sort_by_key(place);
    hunts
}

fn work(queue: &Mutex<VecDeque<Prey>>, terms: &Terms, program: &Program, end: Instant, tell: &Sender<Hunt>) {
    let mut steady = Steady::new(program);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(mut prey) = next else { return };
        // What is found late must still be shrunk in time.
        let until = end - terms.shrink / 2;
        let limit = prey.hunt.took + prey.slice;
        let plan = chase(&mut prey.hunt, terms, program, &mut steady, (limit, until));
        let over = Instant::now() >= until || prey.hunt.runs >= SEEDS;
        if let Some(plan) = plan {
            let wall = terms.shrink.min(end.saturating_duration_since(Instant::now()).max(SLICE / 2));
            prey.hunt.shrunk = shrink(&plan, Budget { wall, ..Budget::default() }, &mut |_| {});
        } else if !over {
            prey.slice *= 2;
            queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(prey);
            continue;
        }
        if tell.send(prey.hunt).is_err() {
            return;
        }
    }
}

/// Run `nth` of a hunt.
fn plan_of(mutant: &Mutant, first_seed: u64, nth: u64) -> RunPlan {
    let (name, seed) = mutant.place(nth);
    let scenario = find(name).unwrap_or_else(|e| panic!("{e}"));
    let mut plan = expand(&scenario, Seed(first_seed + seed));
    plan.bug = Some(mutant.name.to_owned());
    plan
}

/// Runs seeds until one breaks, or so much processor time is spent, or the hunt is over; the plan that broke.
fn chase(
    hunt: &mut Hunt,
    terms: &Terms,
    program: &Program,
    steady: &mut Steady,
    (limit, until): (Duration, Instant),
) -> Option<RunPlan> {
    while hunt.runs < SEEDS && hunt.took < limit && Instant::now() < until {
        let plan = plan_of(&hunt.mutant, terms.first_seed, hunt.runs);
        hunt.runs += 1;
        let job = |plan: RunPlan| Job { id: 0, plan, want: Want::Verdict, leak: None };
        let Done::Ran(report) = steady.run(&job(plan.clone())) else {
            // Refused or dead: nothing is known of its cost.
            hunt.took += SLICE / 4;
            continue;
        };
        hunt.took += Duration::from_micros(report.took_us);
        let Some(violation) = report.violation else { continue };
        let (scenario, seed) = (plan.scenario.clone(), plan.world.seed.0);
        // A seed that fails without the bug as well says nothing about it.
        if let Done::Ran(sound) = alone(program, &job(RunPlan { bug: None, ..plan.clone() }))
            && let Some(violation) = sound.violation.filter(|v| v.name == violation.name)
        {
            hunt.alarms.push(Alarm { scenario, seed, violation });
            continue;
        }
        hunt.found = Some(Found { runs: hunt.runs, scenario, seed, violation });
        return Some(plan);
    }
    None
}
