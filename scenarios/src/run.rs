//! One run: a plan in, an outcome out.
//!
//! **Promise.** [`run`] is a function of its plan and the build. Nothing else is consulted:
//! no clock, no environment, no thread.
//!
//! ```text
//! 0 ──────────── faults, clients ──────────── heal_at ── clients ── +serve_for ── last answers ── all equal?
//!                   safety                                          liveness
//! ```
//!
//! *Safety*: after every event at a node a look is taken ([`crate::invariant`]); hashes of what
//! replicas hold are compared every [`HASH_EVERY`]. *Liveness*: from `heal_at` on the core is
//! healed and nothing new breaks; within `converge_within` every node of the core must reach
//! what was committed by then and a write must succeed; clients stop `serve_for` later, and
//! once the last has its answer the core must become equal within `converge_within`. Then the
//! clients' logs are judged against each other and against what a replica holds.
//!
//! A node of the core that says its disk lost what it may have promised (it would vote
//! twice) is left out of the core: refusing to serve is what it promises then.
//!
//! Files: `run` (this), `cluster` (nodes in the world), `door` (questions and answers),
//! `crowd` (the clients), `homes` (those of a hybrid keyspace), `moment` (a look at all nodes), `chores` (the operator), `drive` (the loop), `oracle` (what must
//! be answered), `judge` (the end);
//! [`live`] is a run interrupted and looked at, [`picture`] what is drawn of one.

mod chores;
pub mod cluster;
mod crowd;
mod door;
mod drive;
mod homes;
mod judge;
pub mod live;
pub mod moment;
mod oracle;
pub mod picture;

use crate::expand::RunPlan;
use crate::file::Figure;
use dwcp_env::Duration;
use dwcp_runtime_sim::fault::{Fault, Fired};
use dwcp_runtime_sim::fingerprint::Trail;
use dwcp_runtime_sim::plan::PlanError;
use dwcp_runtime_sim::trace::{self, Keep, Violation};
use dwcp_runtime_sim::watch::Reached;
use dwcp_workload::Log;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use drive::HASH_EVERY;

/// What a run is to keep besides its verdict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Events of the trace.
    pub keep: Keep,
    /// A leak planted on purpose ([`crate::leak`]).
    pub leak: Option<crate::leak::Leak>,
    /// A moment to stop at; nothing is judged then.
    pub moment: Option<moment::Moment>,
}

/// What a run did, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Events of the world.
    pub events: u64,
    /// Simulated nanoseconds.
    pub simulated_ns: u64,
    /// Operations that succeeded.
    pub ok: u64,
    /// Operations that certainly did nothing.
    pub failed: u64,
    /// Operations of which nobody knows.
    pub unknown: u64,
    /// Acknowledged writes.
    pub writes: u64,
    /// Messages that left a node.
    pub messages: u64,
    /// Disk requests carried out.
    pub disk_requests: u64,
    /// Looks that differed from the one before.
    pub looks: u64,
    /// Leaders seen.
    pub leaders: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its identity.
    pub trail: Trail,
    /// What broke, if anything.
    pub violation: Option<Violation>,
    /// Probes and events with their counts, `fault.<kind>` included.
    pub sometimes: BTreeMap<String, u64>,
    /// When probes and events were passed for the first, second, fourth… time.
    pub reached: BTreeMap<String, Reached>,
    /// Figures measured.
    pub figures: BTreeMap<Figure, u64>,
    /// Numbers.
    pub stats: Stats,
    /// The faults that acts were resolved to.
    pub resolved: Vec<Fault>,
    /// What clients did.
    pub log: Log,
    /// The events asked for.
    pub events: Vec<trace::Event>,
    /// Faults by kind.
    pub fired: Fired,
    /// Seconds of simulated time.
    pub simulated: Duration,
    /// The nodes at the moment asked for, or at the end if the run ended before.
    pub states: Vec<moment::NodeState>,
}

/// Runs a plan.
///
/// # Errors
/// The plan makes no sense.
pub fn run(plan: &RunPlan, options: &Options) -> Result<Outcome, PlanError> {
    drive::drive(plan, options)
}
