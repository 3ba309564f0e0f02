//! etcd v3's data model as a deterministic state machine: keys with history, transactions, leases,
//! watches, and sessions that make retries safe.
//!
//! **Promise.** The same commands give the same answers and the same state on every replica; a
//! checkpoint on disk is whole or absent; what is read was written, or an error says so.
//!
//! **Model.** Every change of a key is a *record* under a *revision*; a key's present is its newest
//! record, its past the ones below, until they are *compacted*. An index in memory says which
//! records exist; the records themselves are in memory since the last checkpoint, and in a redb
//! file before it. The log repeats what the file does not hold yet: writing the file is never
//! urgent, and never done on the node's loop.
//!
//! | module | holds |
//! |---|---|
//! | [`api`] | commands, answers, errors: the types doors and log speak |
//! | `check` | what a request may not be, whatever the state |
//! | `store` | the store as a value; opening it |
//! | `machine` | applying the log; jobs for checkpoints and transfers |
//! | `txn`, `range` | writes and reads |
//! | `index`, `record` | which records exist; how they lie in the file |
//! | `lease`, `session`, `watch` | what lives beside the keys |
//! | `checkpoint`, `table`, `current` | memory to file; redb contained; which file it is |
//! | `piece`, `install` | a checkpoint on its way to a peer |
//! | `tape` | the last entries, for copies elsewhere |
//! | `digest` | what makes two checkpoints equal |
//! | `bugs` | known bugs to plant, for proving the harness |
//!
//! **Invariants.**
//! 1. State is a function of the applied commands. No clock, no chance, no address, no thread:
//!    even log time comes with the commands.
//! 2. A command is applied whole under one revision, or changes nothing but log time and sessions.
//! 3. Nothing from the file is believed without its checksum; a store that met a wrong one applies
//!    nothing any more ([`Store::failure`]).
//! 4. Work for one command is bounded by the command, besides constants named in the modules.
//!
//! **Left to others.** Whether a read is fresh enough (the engine's barrier); when leases end (the
//! leader's [`LeaseClock`] says, the log decides); who may do what; how large a request may be.
//!
//! **Limits.** About 100 bytes of memory a key and 16 a revision of it, beside the page cache; one
//! checkpoint in flight; at boot every record is read and checked.
//!
//! The file's format is drawn in `docs/formats/store.md`.

pub mod api;

mod bugs;
mod check;
mod checkpoint;
mod current;
mod digest;
mod error;
mod index;
mod install;
mod lease;
mod lent;
mod machine;
#[cfg(test)]
mod memory;
mod piece;
mod range;
mod record;
mod session;
mod store;
mod table;
mod tape;
#[cfg(test)]
mod tests;
mod txn;
mod watch;

pub use bugs::StoreBugs;
pub use error::StoreError;
pub use lease::{LeaseClock, LeaseView};
pub use range::HashKv;
pub use store::{Store, StoreOptions};
pub use tape::{Tape, Taped};
pub use watch::{WatchId, WatchRequest, WatchUpdate, Watchers};
