//! Rehearsal: a seeded world of three regions in which the fleet's plans and agents are tried.
//!
//! **Promise.** A run is a pure function of its seed: the same [`Report::trace`] in any process. It ends in a [`Report`], or
//! in a [`Failure`] that names the invariant and replays from its seed.
//!
//! **Model.** One thread, integer nanoseconds, one heap of (time, sequence). Four linearizable stores (the fleet's, one a
//! region); six to nine hosts with a hypervisor, a watchdog and an agent; storage that fences; three operators, and two
//! controllers for each region, one of which stands in another region. Requests and answers take time, get lost, or come up to 25
//! seconds late; regions and hosts are cut off, stores are down, hosts lose power, agents die and stand still, stops
//! hang, storage is slow; what an agent has asked lives on at its region's door when it is dead. Second processes go by a host's
//! name on hypervisors of their own; one number is asked in two regions; and in one run of eight a region's store is restored
//! from a backup, after which what it had acknowledged since may be lost, and still no machine runs twice. Each node has its own clocks: monotonic ones that drift within [`crate::time::DRIFT_PPM`], calendars that
//! jump within what they state (1 µs to 3 s), or are off by all of it. In one run of five a calendar lies, by up to a minute or for a moment by a year: then only what needs
//! no clock must hold (storage serves one host, stores stay consistent), and it is counted that two hosts ran one machine.
//!
//! After 45 to 75 seconds faults and operators end; 60 seconds later everything must be at rest.
//!
//! | file | holds |
//! |---|---|
//! | `plan`, `clock` | a seed expanded |
//! | `setup`, `client` | the fleet at the beginning; what operators ask |
//! | `store`, `restore` | stores; one that is restored |
//! | `world`, `host` | the event loop; hosts |
//! | `hearsay` | what regions and hosts announce |
//! | `malice` | dice that are loaded for hard paths |
//! | `mirror`, `judge` | what must hold |
//! | `tally` | what must have happened at least once |
//!
//! **Rejected.** *The node's simulator for this*: a thousand times the work a seed, and the stores' own claims are proved
//! there. What is tried here rests on the stores being linearizable, and on nothing else.

mod client;
mod clock;
mod hearsay;
mod host;
mod judge;
mod malice;
mod mirror;
mod plan;
mod restore;
mod setup;
mod store;
mod tally;
mod world;

pub use judge::Broken;
pub use plan::Plan;
pub use store::{Found, Store};
pub use tally::{HARD, Tally};
pub use world::{Failure, Report, World};

/// Runs one seed.
///
/// # Errors
/// The first invariant broken.
pub fn run(seed: u64) -> Result<Report, Failure> {
    World::new(Plan::expand(seed)).run()
}
