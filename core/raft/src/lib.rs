//! openraft behind the engine trait.
//!
//! **Promise.** Each group of a node agrees with its peers as [`dwcp_consensus`] promises, and
//! the node sees neither openraft nor futures: it hands in what happened, calls
//! [`RaftHost::run`], and carries out what comes back. Same seed and same inputs: same outputs.
//!
//! **Model.** openraft (Raft, Ongaro 2014; pre-vote and leadership transfer as in the
//! dissertation; joint consensus for members) is a set of tasks per group. All groups of a node
//! live on one executor and one write-ahead log.
//!
//! ```text
//!    requests, messages, jobs' ends            disk completions
//!         |                                         |
//!    +----v-----------------------------------+  +--v--+
//!    | host: one executor                     |  | wal |
//!    |  group | group | ...                   |  +^-+--+
//!    |   core, replication, state machine     |---+ |  records, then callbacks
//!    +----+-----------------------------------+<----+
//!         | sends, jobs, answers
//!         v
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `host`, `group` | what a node calls |
//! | `config` | settings, planted bugs |
//! | `types`, `message` | our positions, votes, members, payloads; what goes over the wire |
//! | `log` | votes and entries on the write-ahead log |
//! | `network`, `inbound` | requests out with pacing and deadlines; requests of peers, checked |
//! | `machine`, `transfer` | commands and checkpoints; checkpoints to and from peers |
//! | `suspect` | a node whose disk lost part of the log: how it gets well |
//! | `watch` | events |
//! | [`runtime`] | openraft's runtime on the node's executor |
//!
//! **Invariants.**
//! 1. A vote and an entry are answered only once durable (openraft waits for the log's callback).
//! 2. Nothing a peer sends makes the node panic: `inbound` asks what openraft would assert.
//! 3. What is proposed is answered once: with its response, or with why not, or with "unknown".
//!
//! **Limits.** 32,768 messages and 4,096 calls to peers per group in flight; 1,024 requests of
//! peers being answered; 4 pieces of a snapshot in flight.
//!
//! **Left to others.** Sessions (the state machine), routing to the leader (the node), when to
//! flush the log (the node).

mod config;
mod gone;
mod group;
mod host;
mod inbound;
mod log;
mod look;
mod machine;
mod message;
mod network;
pub mod runtime;
mod shared;
mod suspect;
mod transfer;
mod types;
mod watch;

pub use config::GroupConfig;
#[cfg(feature = "planted-bugs")]
pub use config::RaftBugs;
pub use group::{Brief, RaftGroup};
pub use host::{AddError, GroupEngine, JOBS_END, RaftHost};
pub use log::{LogError, SharedWal};
pub use look::{command_of, founding, members_of, payload_of, seal_of, sealed_record};
