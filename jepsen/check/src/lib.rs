//! Histories and their checkers: one mind that judges both worlds.
//!
//! A run, simulated or real, leaves a [`history`]. The checkers here answer, of the history
//! alone and without knowing anything of how the system works, whether what clients were
//! told can be true. They are pure: no clock, no thread, no randomness; the same history
//! gets the same verdict and the same words everywhere.
//!
//! | question | checker | cost |
//! |---|---|---|
//! | is there one order that explains single-object operations, in real time? | [`linearizable`] | near linear on written workloads, bounded always |
//! | is there a serial order of list-append transactions, and of which strength? | [`append`] | linear |
//! | does what was acknowledged survive? | [`durability`] | linear |
//! | what became of each element of a growing set? | [`set`] | reads times elements |
//! | can a counter have shown that? | [`counter`] | n log n |
//! | does the money add up? | [`bank`] | linear |
//!
//! # Invariants
//! 1. A refusal is always right: it names operations that contradict each other, and the
//!    reader can check them by hand.
//! 2. What cannot be decided within bounds is *unknown*, never passed.
//! 3. An operation whose outcome the client does not know never counts against the system.
//!
//! # Rejected
//! The linearizability checkers at hand keep a bit set per configuration and die of memory
//! at ten thousand operations of one key; of the transaction checkers at hand Elle needs a
//! JVM. Both serve as second opinions in the tests instead.

pub mod anomaly;
pub mod append;
pub mod bank;
pub mod convergence;
pub mod counter;
mod digraph;
pub mod durability;
pub mod fencing;
pub mod guarantees;
pub mod history;
pub mod judge;
pub mod level;
pub mod linearizable;
pub mod long_fork;
pub mod mistake;
pub mod picture;
pub mod report;
pub mod rw;
pub mod set;
pub mod watch;
