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
//! | [`plan`], [`fault`] | what a run depends on, as data; the 26 kinds of fault |
//! | [`swarm`], [`atlas`] | a plan from a specification and a seed; which faults are survivable, and why |
//! | [`world`], [`client`], [`trace`] | the run: nodes, clients, events |
//! | [`net`], `disk`, `clock` | the models |
//! | [`fingerprint`] | two runs compared by their hashes, to the first differing event |
//! | [`shrink`] | the smallest plan that still fails |
//! | `queue`, [`watch`], `catch` | the event queue; what nodes say through probes; panics with their place |
//!
//! **Invariants of absence.** No thread, socket, file, environment variable, hash map or
//! floating-point number decides anything here; the only clock read is the shrinker's budget
//! (docs/determinism.md).
//!
//! **Limits.** 1,024 nodes; 2^40 events a run; 2^24 events waiting; 8,192 inputs waiting for
//! one node, after which messages are lost. Seeds in TOML files stay below 2^63, which is
//! TOML's largest integer.

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
pub mod watch;
pub mod world;
pub use client::{Advance, ClientEvent, Heard};
pub use fault::{Effect, Fault, FaultKind, Fired, Target};
pub use plan::{Latency, NodePlan, Plan, PlanError};
pub use trace::{Keep, Violation};
pub use world::{SimWorld, Stats, View};
