//! Rehearsal: a seeded world in which a protocol of agreement is tried before anything depends on it.
//!
//! **Promise.** A run is a pure function of (subject, scenario, seed): the same three give the same
//! [`Report::trace`] in any process. A run ends in a [`Report`] or in a [`Failure`] that names the
//! invariant, the time and the node, and replays from its seed.
//!
//! **Model.** One thread, integer nanoseconds, one heap of (time, sequence). Every draw is keyed
//! ([`dwcp_env::Seed::draw`]). Nodes have clocks that drift; links delay, lose, double, reorder and
//! are cut, also one way; a cut loses what is sent, or holds it until it is mended, as TCP does; a few messages come
//! leaderships later. Disks sync late, keep at a crash all that was reported as persisted and a
//! drawn prefix of the rest. Clients propose numbered commands and seals, and read. Checkpoints are taken, logs
//! replaced by [`crate::step::Protocol::compact`], laggards given checkpoints, which takes time; what is
//! decided behind the first seal has no effect, as the driver sees to. At the calm all faults
//! end, all nodes run, and everything must be decided everywhere within a bound.
//!
//! **Invariants** watch from outside: the world reports [`Fact`]s and `invariant` judges them, one
//! file each. They never look into a protocol.
//!
//! **What a protocol gives**: a [`Subject`]. To write one: config from a [`Place`], its longest
//! timeout, whether order is total or by [`command::key`], what its disks hold.
//!
//! | file | holds |
//! |---|---|
//! | `subject` | what the world must know of a protocol beside its steps |
//! | `command`, `state` | numbered commands; the state machine they drive |
//! | `plan` | scenarios by name; a seed expanded into faults |
//! | `disk`, `network`, `site` | the parts of a node's world |
//! | `world`, `carry`, `faults`, `client` | the event loop; outputs carried out; faults; what clients do |
//! | `invariant/*` | what must hold |
//! | [`explore`] | every state a small group can reach |
//! | [`lockstep`], [`bad`] | a group without faults, for what it costs; honest messages, damaged |
//! | `tally` | what must have happened at least once |
//!
//! **Limits.** At most 16 nodes; 65,535 commands a run; 8 keys.
//!
//! **Rejected.** *The node's simulator (`runtime-sim`) for this*: it simulates a whole node, a
//! thousand times the work per decision; it stays the judge of the composition. *A shared generator*:
//! taking one fault away would shift all the others.

pub mod bad;
mod carry;
mod client;
pub mod command;
mod disk;
pub mod explore;
mod fact;
mod faults;
pub mod invariant;
pub mod lockstep;
mod network;
mod plan;
mod site;
mod state;
mod subject;
mod tally;
mod world;

pub use fact::{Fact, NODES_MAX, Value};
pub use invariant::{Broken, Invariant};
pub use plan::{Fault, Plan, Scenario, Shape};
pub use state::State;
pub use subject::{Evidence, Held, Liar, Order, Place, Settled, Subject};
pub use tally::{Seen, Tally};
pub use world::{Failure, Report, World};

/// Runs one seed of a scenario.
///
/// # Errors
/// The first invariant broken.
pub fn run<S: Subject>(subject: &S, scenario: Scenario, seed: u64) -> Result<Report, Failure> {
    World::new(subject, Plan::expand(subject, scenario, seed)).run()
}
