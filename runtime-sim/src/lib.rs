//! The seeded world: every node of a cluster on one thread, on virtual time, under faults.
//!
//! **Promise.** A run is a function of (plan, build, what the caller does in reaction): the
//! same events in the same order at the same nanosecond, in any process. It is generic over
//! [`dwcp_env::Machine`]; it knows no protocol.
//!
//! ```text
//! let plan  = swarm::expand(&spec, Seed(7));           // or Plan::calm(..) with faults pushed by hand
//! let mut w = SimWorld::new(plan, |id, world, version| Ok(MyNode::boot(id, world, version)?))?;
//! w.watch(|view, event| invariant(view, event));        // after every event; Some((name, detail)) ends the run
//! w.keep(Keep::Everything);                             // optional: a trace for pictures
//! w.timer(first_request_at, 0);
//! let end = loop {
//!     match w.advance(w.plan().horizon) {
//!         Advance::Timer(client)  => { let id = w.request(node, ask(client), w.now() + Duration::secs(2)); … }
//!         Advance::Client(event)  => history.record(event),     // Reply | Broken | Expired, at event.at
//!         Advance::Limit          => break Ok(()),
//!         Advance::Violated       => break Err(w.violation()),
//!         Advance::Reached        => {}                         // only from advance_until(limit, |view| …)
//!     }
//! };
//! w.fired(); w.sometimes(); w.trail(); w.events(); w.view().machine(NodeId(1));
//! ```
//!
//! | module | holds |
//! |---|---|
pub mod atlas;
mod catch;
pub mod client;
mod clock;
mod disk;
pub mod fault;
pub mod fingerprint;
pub mod net;
pub mod plan;
mod queue;
pub mod shrink;
pub mod swarm;
pub mod trace;
mod watch;
pub mod world;
pub use client::{Advance, ClientEvent, Heard};
pub use fault::{Effect, Fault, FaultKind, Fired, Target};
pub use plan::{Latency, NodePlan, Plan, PlanError};
pub use trace::{Keep, Violation};
pub use world::{SimWorld, Stats, View};
