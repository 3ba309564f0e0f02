//! Who is there, and how news reaches all of them.
//!
//! **Promise.** In a cluster of up to some thousands of nodes in several regions, over links that lose, delay and
//! repeat: a member that stops is found within seconds and one that answers is kept; a rumour of one node
//! reaches all in a fraction of a second and a few copies over each WAN; what was missed anyway is found by
//! digests. All of it is pure: (time, input, keyed draws) → outputs. No clock, socket, thread or store is in here.
//!
//! | module | holds |
//! |---|---|
//! | [`gossip`](Gossip) | one node's gossip behind one door: start here |
//! | [`settings`] | periods, fan-outs and bounds; the original specification's beside the default |
//! | [`member`] | facts about members, and the law by which they join |
//! | `table`, `queue`, `health` | all members and the summary; facts to pass on; local health and suspicion |
//! | `swim` | the failure detector (SWIM with Lifeguard) |
//! | `overlay` | rings and relays from the live view |
//! | `tree`, `rumours` | payloads, announcements, grafts; what was seen |
//! | [`site`] | the replication stream between two sites |
//! | [`budget`] | bytes a peer may be sent |
//! | `message` | the bytes between nodes, and what is checked |
//!
//! **A rumour** is a name (replica, sequence) and bytes. What they mean, and whether they are right, is the
//! caller's; the crate knows no CRDT. Under it lies a [`Store`], which is asked what it holds.
//!
//! **Sources.** SWIM (Das et al., DSN'02), Lifeguard (Dadgar et al., DSN'18), Plumtree (Leitão et al., SRDS'07);
//! behaviour compared with memberlist and foca. The reasons are in `shared/research/crdt-conflict.md` §2.5, §3.6,
//! the measurements in docs/gossip.md.
//!
//! **Not here.** Encryption and identity (the links are mutually authenticated), Byzantine members, addresses
//! and connections (the runtime's), retiring a member for good (consensus).
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod budget;
mod gossip;
mod health;
pub mod member;
mod message;
mod overlay;
mod queue;
mod rumours;
pub mod settings;
pub mod site;
mod step;
mod swim;
mod table;
mod tree;

pub use budget::Budget;
pub use gossip::{Change, Gossip, Input, Output};
pub use member::{Incarnation, Knowledge, Metadata, Status};
pub use message::RumourId;
pub use rumours::Store;
pub use settings::{Settings, SettingsError, Spread};
pub use swim::DetectorCounts;
pub use tree::SpreadCounts;
