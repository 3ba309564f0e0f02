//! One node, composed: groups, their stores, one write-ahead log, and the doors' questions.
//!
//! **Promise.** Any node answers any question. What needs the leader is brought to it and its answer
//! brought back; what was answered survives the loss of a minority; what could not be known to be done is
//! answered "unknown", never guessed.
//!
//! **Model.** [`Node`] is a [`Machine`](dwcp_env::Machine). A turn takes what arrived, runs the engines of all
//! groups until nothing is ready, carries their answers to the questions that wait for them, groups all
//! log writes of the turn into one request, and says when to wake.
//!
//! **Invariants**, watched from outside by the scenarios:
//! 1. A write is answered only after it was applied here or on the leader that was asked.
//! 2. A read that is not `serializable` is answered only behind a barrier of its group's engine.
//! 3. A question that can't be repeated safely is given to at most one leader (see [`question`]).
//! 4. A group whose state or log is damaged neither votes nor serves before it is whole again (see [`repair`]).
//! 5. A failed write or sync of the log ends the node.
//!
//! **Files, in reading order**: [`api`] (what is asked), `peer` (what nodes say), `question` (what is in progress),
//! `node` (the turn), `route` (where a question goes), `serve` (answers from state), `repair` (what was lost
//! to the disk), `eventual` (keyspaces without a leader), `hybrid` (keyspaces with a home), `outside` (keyspaces of other regions),
//! `boot`, `origin` (where an epoch comes from), `look` (what is seen from outside).
//!
//! **Left to others**: order and quorums (`dwcp-raft`), meaning of commands and exactly-once
//! (`dwcp-store`), bytes on disk (`dwcp-wal`), bytes on the wire (the runtimes).

pub mod api;
mod boot;
mod config;
mod eventual;
mod group;
pub mod hybrid;
mod look;
mod node;
mod origin;
mod outside;
mod peer;
mod question;
mod repair;
mod route;
mod serve;

pub use api::{
    Answer, Ask, AskError, ConsensusStatus, GroupStatus, LeaseStatus, Request, Response, WatchRequest,
};
pub use boot::BootError;
#[cfg(feature = "planted-bugs")]
pub use config::NodeBugs;
pub use config::{GroupSpec, NodeConfig};
pub use dwcp_chain::{Distrust, EngineKind, Past, Secret, Spec, Switch, interval};
pub use hybrid::{HybridAsk, HybridSpec, HybridStatus};
pub use look::{HybridSight, Sight};
pub use node::Node;
pub use origin::{Cause, Origin};
pub use outside::{Lead, OutsideSpec};
pub use peer::{Call, PeerMessage};
