//! The world as a node sees it, and what a node owes the world.
//!
//! **Promise.** Everything above this crate decides; nothing above it acts. A node is a
//! value with one mutating door, [`Machine::step`]: an [`Input`] goes in, [`Outputs`] come
//! out, and whoever holds the node — `runtime-real` or `runtime-sim` — carries them out.
//! So the code that runs in production is scheduled by the same rules as the code that
//! was simulated.
//!
//! **What is here, in reading order.**
//!
//! | module | holds |
//! |---|---|
//! | [`time`], [`mod@unit`], [`id`] | quantities and names in types: no bare `u64` crosses a crate |
//! | [`bound`] | every limit of the system, proved against each other at compile time; bounded queues |
//! | [`contract`] | `Machine`, `Input`, `Outputs`: the node's contract, durability order included |
//! | [`disk`] | what a node may ask of a disk, at once ([`disk::Storage`]) or in order ([`disk::DiskRequest`]) |
//! | [`exec`] | the deterministic executor: async workflows without threads or clocks |
//! | [`draw`] | keyed randomness: a draw is bound to its event, never to a position in a stream |
//! | [`probe`], [`event`] | `always`, `sometimes`, `reachable`, `buggify`; the one declaration of every event |
//! | `planted` | bugs planted on purpose: [`planted_bugs!`] |
//! | [`wire`] | frames: magic, version, kind, length, checksum; bodies by serde and bincode |
//! | [`fault`] | errors by whose fault they are |
//! | `suite` (feature `testing`) | the contract examined from inside, for every runtime |
//!
//! **Invariants of absence.** No clock, socket, file, thread or ambient randomness can be
//! reached from here: the crate is `no_std`. It knows no protocol and no service.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bound;
pub mod contract;
pub mod disk;
pub mod draw;
pub mod event;
pub mod exec;
pub mod fault;
pub mod id;
mod planted;
pub mod probe;
#[cfg(feature = "testing")]
pub mod suite;
pub mod time;
pub mod unit;
pub mod wire;

pub use contract::{Input, Job, JobResult, Lane, Machine, Outputs, Reply, Send, World};
pub use disk::{DiskError, DiskOp, DiskRequest, File, Storage};
pub use draw::{Purpose, Seed};
pub use event::Event;
pub use fault::{Blame, PeerFault};
pub use id::{ClusterId, GroupId, JobId, NodeId, RegionId, RequestId, Ticket};
pub use probe::Probe;
pub use time::{Duration, Instant, Now, WallTime};
pub use unit::{ByteCount, Rate, Ratio};
