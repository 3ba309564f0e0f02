//! A run that is looked at while it goes.
//!
//! **Promise.** However often and wherever a [`Live`] run is interrupted, it is the run that
//! [`super::run`] makes of the same plan: same events, same trail, same verdict.
//!
//! A pause comes between two events of the world. What clients, the operator and the checks
//! have to do is done when the world has gone as far as it would have gone without the pause;
//! the time a pause asks for is therefore a time of the world, and never one at which anything
//! is decided.
//!
//! Time only goes forward here. Whoever wants to go back keeps copies of the whole process (a
//! page in a browser copies its memory) or begins again.

use super::drive::{Drive, Pause};
use super::moment::NodeState;
use super::{Options, Outcome};
use crate::expand::RunPlan;
use dwcp_env::Instant;
use dwcp_runtime_sim::fault::Fault;
use dwcp_runtime_sim::plan::PlanError;
use dwcp_runtime_sim::trace::{Event, Violation};
use dwcp_workload::Log;
use std::rc::Rc;

/// A run under way.
pub struct Live {
    drive: Drive,
    over: bool,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({} at {})", self.drive.plan.scenario, self.now())
    }
}

impl Live {
    /// The run of this plan, at time zero.
    ///
    /// # Errors
    /// The plan makes no sense.
    pub fn new(plan: &RunPlan, options: &Options) -> Result<Self, PlanError> {
        Ok(Self { drive: Drive::new(Rc::new(plan.clone()), options)?, over: false })
    }
    /// Goes on, not past `until` and not over `steps` more steps of the world (one is made at
    /// least, if there is one before `until`); whether the run can go further.
    pub fn go(&mut self, until: Instant, steps: u64) -> bool {
        let mut pause = Pause { until, steps, came: false };
        self.over = self.over || !self.drive.go(&mut pause);
        !self.over
    }
    /// Whether it has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }
    /// Simulated time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.drive.world.now()
    }
    /// How many steps the world has made. A step is one thing taken from its queue; it makes
    /// any number of events of the trace.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.drive.world.stats().events
    }
    /// How many events the trace has so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.drive.world.noted()
    }
    /// What was kept of the events since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.drive.world.take_events()
    }
    /// The nodes as they are now, in the order of the plan.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeState> {
        self.drive.look_at_all()
    }
    /// The faults as they act: the plan's, then those that were looked up in the run.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        self.drive.world.windows()
    }
    /// What clients have done so far.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.drive.crowd.log
    }
    /// What broke so far; the clients' logs are judged only at the end.
    #[must_use]
    pub const fn violation(&self) -> Option<&Violation> {
        match &self.drive.broken {
            Some(v) => Some(v),
            None => self.drive.world.violation(),
        }
    }
    /// Runs what is left and judges it.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        self.go(Instant::FAR, u64::MAX);
        self.drive.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::expand::expand;
    use crate::run::run;
    use dwcp_env::{Duration, Seed};
    use dwcp_runtime_sim::Keep;

    fn plan(name: &str) -> RunPlan {
        expand(&catalogue::find(name).expect("it is in the catalogue"), Seed(3))
    }

    /// Interrupted at odd places, by time and by count, and watched all the while.
    fn interrupted(plan: &RunPlan, by_time: Duration, by_steps: u64) -> Outcome {
        let options = Options { keep: Keep::Everything, ..Options::default() };
        let mut live = Live::new(plan, &options).expect("the plan is sound");
        let (mut seen, mut pauses) = (0, 0_u32);
        loop {
            let until = if by_time == Duration::ZERO { Instant::FAR } else { live.now() + by_time };
            let goes_on = live.go(until, by_steps);
            pauses += 1;
            seen += live.take_events().len() as u64;
            assert!(live.nodes().len() == plan.world.nodes.len() && live.events() == seen);
            if !goes_on {
                assert!(pauses > 100, "{pauses} pauses interrupt nothing");
                return live.finish();
            }
        }
    }

    #[test]
    fn a_run_is_the_same_however_it_is_interrupted() {
        for name in ["failover/leader_crash", "members/change_under_partition"] {
            let plan = plan(name);
            let whole = run(&plan, &Options::default()).expect("the plan is sound");
            for (time, steps) in
                [(Duration::micros(7_919), u64::MAX), (Duration::ZERO, 97), (Duration::millis(50), 613)]
            {
                let cut = interrupted(&plan, time, steps);
                assert_eq!(cut.trail, whole.trail, "{name} by {time} and {steps} steps");
                assert_eq!((cut.violation, cut.figures), (whole.violation.clone(), whole.figures.clone()));
                assert_eq!(cut.log.records, whole.log.records);
            }
        }
    }
}
