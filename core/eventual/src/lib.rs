//! One replica of the eventual keyspaces in a node.
//!
//! **Promise.** Every region reads and writes at local speed, through any partition; what was acknowledged is on
//! the disk and reaches everybody; all who have received the same hold the same.
//!
//! **Model.** [`Eventual`] is a step-like value that its node drives: a `dwcp_crdt::Space`, the node's write-ahead log under
//! it, `dwcp_gossip` beside it, and a roster that a strong keyspace decides.
//!
//! | module | holds |
//! |---|---|
//! | [`api`], [`refusal`] | what is asked, and what each command means under concurrency; what is not done, and what to use instead |
//! | `command` | from commands to edits and replies |
//! | `replica` | the turn; the table of what is durable when |
//! | `execute`, `notice` | questions; changes told to subscribers |
//! | [`documents`] | objects of declared kinds, their conflicts, policies and audit |
//! | `identity`, `durable`, `checkpoint`, `boot` | the log, the state's file, recovery |
//! | `message`, `sync`, `fetch`, `ranges` | what replicas say; the ladder; the state from a peer, or only what differs |
//! | `floors` | what everyone has |
//! | `streams` | what the relays ship to other regions, where links carry datagrams |
//! | [`roster`], `membership` | who takes part |
//! | `config`, `look` | settings; what is seen from outside |
//!
//! **Invariants**, watched from outside by the scenarios:
//! 1. A dot is used once (`no_dot_twice`).
//! 2. Equal versions have equal fingerprints, compared at every digest (`crdt.1`).
//! 3. What was acknowledged is superseded by what has seen it, or is there (`eventual_no_acknowledged_loss`).
//! 4. Some time after the last write and the last fault all hold the same (`eventual_converged`).
//!
//! **Limits.** Values of 1 MiB; writes of 1.5 MiB; 16,384 requests in flight; operations that wait for silent members
//! [`EventualSpec::unstable_max`]; the state must fit memory.
//!
//! **Left to others.** Merging (`dwcp-crdt`), spreading (`dwcp-gossip`), bytes of doors and links.

pub mod api;
mod boot;
mod checkpoint;
mod command;
mod config;
pub mod documents;
mod durable;
mod execute;
mod fetch;
mod floors;
mod identity;
mod look;
mod membership;
mod message;
mod notice;
mod ranges;
pub mod refusal;
mod replica;
pub mod roster;
mod salvage;
mod streams;
mod sync;

pub use api::{Answer, Command, Expiry, Notice, Query, Reply, Span, Subscription};
pub use boot::Host;
pub use config::{EventualSpec, SyncPolicy};
pub use look::{Rung, RungCounts, Rungs};
pub use refusal::{Refusal, Unkept, not_kept};
pub use replica::{Counts, Eventual, Outbox, Work};
pub use roster::{Kept, Patience, Wish};
