//! The real world: files, sockets, clocks and threads for a node.
//!
//! **Promise.** A [`Machine`](dwcp_env::Machine) that runs here is scheduled by the contract of
//! [`dwcp_env::contract`] and meets what it met in simulation: one step at a time, durability before
//! what depends on it, messages that are lost but never altered. What fails — a peer, a disk, a
//! configuration — fails with a sentence that says what to do; what we got wrong ends the
//! process.
//!
//! **Where to start.** [`Node::start`] puts everything together and answers with a [`Node`]; doors
//! reach it through its [`NodeHandle`].
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | settings, start and end of one node |
//! | [`hosted`] | the same without sockets, for a world that carries messages itself |
//! | [`door`] | requests with deadlines, streams with bounds |
//! | [`shard`], `inbox`, `disk`, `jobs` | the loop, its one queue, its disk, work off the loop |
//! | [`storage`] | the directory: whose it is, one process at a time |
//! | [`link`], [`authority`] | peers over TCP or QUIC, who they are, the development authority |
//! | [`inject`] | delays and cuts on purpose, only where configured |
//! | [`metrics`], [`watch`] | counters, gauges, histograms; events as log lines |
//!
//! **Threads.** One for the node and its links (and its doors, if they are few), one for what its disk
//! does not do quickly, two for its jobs. Nothing but `step` ever touches the node.
//!
//! **Invariants of absence.** No protocol and no service is named here: the crate knows
//! `dwcp-env` and nothing else of the project.

pub mod authority;
pub mod clock;
mod disk;
pub mod door;
pub mod hosted;
pub mod http;
mod inbox;
pub mod inject;
mod jobs;
pub mod link;
pub mod metrics;
pub mod node;
pub mod shard;
pub mod storage;
pub mod watch;

pub use authority::{Authority, Identity, Name};
pub use door::{DoorError, NodeHandle, Pending, ReplyStream};
pub use hosted::{Arrivals, HostSettings, Hosted};
pub use link::{Links, Peer, PeerStatus, Transport};
pub use metrics::Registry;
pub use node::{Node, Settings, StartError};
pub use shard::Ended;
pub use storage::RealStorage;
pub use watch::OnBroken;
