//! Convergent state: replicas write at local speed, through any partition, and agree when they have
//! exchanged what the other lacks, at a cost that follows the difference.
//!
//! **Promise.** Two replicas that have received the same operations hold the same state, byte for
//! byte, in whatever order the operations came. What a write had seen, it supersedes; what it had
//! not seen, it stands beside. `docs/crdt.md` teaches the model with pictures.
//!
//! **Reading order.**
//!
//! | module | holds |
//! |---|---|
//! | [`dot`], [`version`], [`hlc`], [`roster`] | names of operations, how far a replica has come, time, who takes part |
//! | [`address`], [`edit`], [`op`], [`batch`] | where a value lies, what a client asks, what travels |
//! | [`rga`], [`splice`] | text and lists; what an operation on one says |
//! | [`space`] | one replica of one space: `transact`, `receive`, reads, sync, stability, snapshots |
//! | [`mod@range`] | range reconciliation: what differs between two sets, in a logarithm of rounds |
//! | [`types`] | the same types as plain delta-state values, for use without a space |
//! | [`code`], [`fingerprint`] | bytes; sums that tell equal states from different ones |
//!
//! **Sources.** Server-wide causality: Gonçalves et al., *DottedDB* (SRDS 2017). Deltas over dot stores:
//! Almeida, Shoker, Baquero, *Delta state replicated data types* (2018). Bounded counters: Balegas et al. (SRDS 2015).
//! Counters that can be removed: Baquero et al., *The problem with embedded CRDT counters* (PaPoC 2016).
//! Range reconciliation: Meyer (SRDS 2023). We differ: every mutation takes a dot, removals too, so that a gap in a
//! version vector names exactly what is missing; and two states of one version are compared at every digest.
//!
//! **Invariants of absence.** No clock, no randomness, no thread, no socket, no file, no hash map with a
//! seed of the process: the crate is `no_std`. It knows no network, no disk and no door; time comes
//! in as milliseconds, membership as a [`roster::Roster`].
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod batch;
pub mod code;
pub mod dot;
pub mod edit;
pub mod fingerprint;
pub mod hlc;
pub mod op;
pub mod planted;
pub mod range;
pub mod rga;
pub mod roster;
pub mod space;
pub mod splice;
pub mod types;
pub mod version;

pub use address::{Address, Kind};
pub use batch::Batch;
pub use dot::{Dot, ReplicaIndex};
pub use edit::{Change, Edit, Stroke};
pub use hlc::Hlc;
pub use roster::{Begins, Member, Roster, Standing};
pub use space::Space;
pub use version::VersionVector;
