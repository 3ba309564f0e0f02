//! From a failing plan to the smallest that fails in the same way.
//!
//! Three things come before the world's own shrinker ([`dwcp_runtime_sim::shrink`]):
//!
//! 1. *Acts become faults*: whom an act hit in the failing run is written into the plan, so
//!    that nothing depends any more on who happens to lead.
//! 2. *Peace comes sooner*: what is judged at the end of a run (a lost write) can't lose the
//!    end; but the heal can follow the last fault at once.
//! 3. *Workloads go*, one at a time.
//!
//! Then horizon, families, faults, nodes, clients, widths; then 2 again, because faults have
//! gone; and so on until nothing gives way or the budget is spent.

use crate::capsule::Capsule;
use crate::expand::RunPlan;
use crate::run::{Options, run};
use dwcp_env::{Duration, Instant};
use dwcp_runtime_sim::fault::Fault;
use dwcp_runtime_sim::plan::Plan;
use dwcp_runtime_sim::shrink::{self as ddmin, Budget, Found, Progress};
use dwcp_runtime_sim::trace::Violation;

/// What shrinking came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Shrunk {
    /// The smallest run found.
    pub capsule: Capsule,
    /// Faults in it.
    pub faults: usize,
    /// Faults there were.
    pub faults_before: usize,
    /// Runs made.
    pub runs: u32,
    /// How long it took.
    pub took: std::time::Duration,
    /// Whether the budget ended first.
    pub cut_short: bool,
}

/// After the last fault, before the heal.
const REST: Duration = Duration::millis(500);

struct Search {
    best: RunPlan,
    violation: Violation,
    trace: String,
    runs: u32,
    began: std::time::Instant,
    budget: Budget,
}

impl Search {
    fn spent(&self) -> bool {
        self.runs >= self.budget.runs || self.began.elapsed() >= self.budget.wall
    }
    /// Whether a candidate fails in the same way; it is then the best.
    fn attempt(&mut self, candidate: RunPlan) -> bool {
        if self.spent() || candidate == self.best {
            return false;
        }
        self.runs += 1;
        let Ok(outcome) = run(&candidate, &Options::default()) else { return false };
        match outcome.violation {
            Some(v) if v.name == self.violation.name => {
                self.best = candidate;
                self.violation = v;
                self.trace = outcome.trail.id();
                true
            }
            _ => false,
        }
    }
    fn sooner(&mut self) {
        let last = self.best.world.faults.iter().map(|f| f.until).max().unwrap_or(Instant::ZERO);
        let heal = (last + REST).min(self.best.world.heal_at);
        let serve = self.best.serve_for.min(Duration::secs(1));
        let mut candidate = self.best.clone();
        candidate.serve_for = serve;
        candidate.world.heal_at = heal;
        self.attempt(candidate);
    }
    fn loads(&mut self) {
        let mut at = 0;
        while at < self.best.loads.len() && self.best.loads.len() > 1 {
            let mut candidate = self.best.clone();
            candidate.loads.remove(at);
            candidate.world.clients = candidate.loads.iter().map(|l| l.clients).sum();
            if !self.attempt(candidate) {
                at += 1;
            }
        }
    }
    fn world(&mut self, progress: &mut dyn FnMut(Progress)) {
        let base = self.best.clone();
        let of = |world: &Plan| with_world(&base, world);
        let runs = self.budget.runs.saturating_sub(self.runs);
        let wall = self.budget.wall.saturating_sub(self.began.elapsed());
        let one = |world: &Plan| {
            let outcome = run(&of(world), &Options::default()).ok()?;
            outcome.violation.map(|v| Found { name: v.name, at: v.at })
        };
        if let Some(shrunk) = ddmin::shrink(&base.world, Budget { runs, wall }, one, progress) {
            self.runs += shrunk.runs;
            self.best = of(&shrunk.plan);
        }
    }
}

/// A run in another world: nodes that are gone are no members, and nobody acts on them.
fn with_world(plan: &RunPlan, world: &Plan) -> RunPlan {
    let ids = world.node_ids();
    let mut plan = RunPlan { world: world.clone(), ..plan.clone() };
    plan.members.retain(|m| ids.contains(m));
    plan
}

/// The plan with its acts written out as the faults they were resolved to.
#[must_use]
pub fn settled(plan: &RunPlan, resolved: &[Fault]) -> RunPlan {
    let mut plan = plan.clone();
    plan.world.faults.extend_from_slice(resolved);
    plan.world.faults.sort_by_key(|f| f.at);
    plan.acts.retain(crate::expand::is_request);
    plan
}

/// Shrinks a run that fails; `None` if it does not fail when run once more.
pub fn shrink(plan: &RunPlan, budget: Budget, progress: &mut dyn FnMut(Progress)) -> Option<Shrunk> {
    let first = run(plan, &Options::default()).ok()?;
    let violation = first.violation?;
    let faults_before = plan.world.faults.len() + first.resolved.len();
    let trace = first.trail.id();
    let mut search =
        Search { best: plan.clone(), violation, trace, runs: 1, began: std::time::Instant::now(), budget };
    if !first.resolved.is_empty() {
        search.attempt(settled(plan, &first.resolved));
    }
    loop {
        let before = size(&search.best);
        search.sooner();
        search.world(progress);
        search.loads();
        if search.spent() || size(&search.best) >= before {
            break;
        }
    }
    let faults = search.best.world.faults.len() + search.best.acts.len();
    // The capsule's trace is that of the plan as it is now.
    if let Ok(last) = run(&search.best, &Options::default())
        && let Some(v) = last.violation
    {
        search.violation = v;
        search.trace = last.trail.id();
    }
    Some(Shrunk {
        cut_short: search.spent(),
        runs: search.runs,
        took: search.began.elapsed(),
        faults,
        faults_before,
        capsule: Capsule::new(search.best, search.violation, search.trace),
    })
}

fn size(plan: &RunPlan) -> (usize, usize, usize, u64) {
    let world = &plan.world;
    (world.faults.len() + plan.acts.len(), world.nodes.len(), plan.loads.len(), world.heal_at.as_nanos())
}
