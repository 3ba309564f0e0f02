//! Epochs of agreement, each under an engine of its own, as one log.
//!
//! **Promise.** The commands of a group take effect once, in one order, whichever engines order them; an engine is
//! replaced by another, its members or quorums by others, without a command lost or doubled and without anybody's leave
//! but a decision of the group's own.
//!
//! **Source.** Balakrishnan et al., *Virtual Consensus in Delos* (OSDI 2020); Malkhi, Lamport, Zhou, *Stoppable Paxos*
//! (2008). The switch is checked in `AcpSwitch.tla` (research); what follows says how it is here.
//!
//! **Model.** An *epoch* is one engine over one set of members with one quorum system: a [`Spec`]. A *seal* is an ordinary
//! command that carries the next epoch's spec; the first one decided ends the epoch, and what its engine decides behind is
//! void. The state carries the tail of the chain (which epoch it is in, where that began), so the chain of epochs is the
//! log itself; there is no other place that could disagree. The state's index runs through all epochs.
//!
//! ```text
//!   epoch 0, raft            epoch 1, paxos                epoch 2, ...
//!   1 2 3 4 5 seal | void    7 8 9 ... 40 seal | void      42 ...
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `spec`, `record` | what an epoch is; the tail that is kept with the state |
//! | `manifest`, `journal` | which part of the log is whose; a protocol's records in it |
//! | `driver` | a protocol (`dwcp_consensus::step`) on this node |
//! | `lens`, `behind` | the state as Raft sees it: through one epoch; its log behind a state of others |
//! | `group`, `host` | a group's epochs; what a node calls |
//! | `adapt` | what the network shows, and what the selection makes of it |
//! | `company`, `fetch` | beacons, checkpoints to and from peers, epochs let go |
//! | `order` | who keeps time for leases where every member serves |
//! | `trust` | epochs whose members may lie: keys, proofs of peers' states, operators' seals |
//! | `message` | what goes over the wire |
//!
//! **Invariants.**
//! 1. A command takes effect in the epoch that the state is in, and in no other: what an engine decides behind its seal is
//!    void, and is answered as certainly not done.
//! 2. All members of a group see the same chain: the successor is a function of what an epoch has decided.
//! 3. A read passes its barrier only if the epoch that checked it is the one the state is in.
//! 4. A node takes part in an epoch under what it has promised in it, or not at all: who lost records of an epoch keeps
//!    silent in it, for good.
//! 5. The engine of an ended epoch goes only when a checkpoint behind its seal is durable here. So whoever can't be taught
//!    any more can be given state.
//!
//! **Limits.** 1,024 messages or 8 MiB of an epoch whose seal has not come; 64 jobs for peers; one transfer a group.
//!
//! **Rejected.** *A metastore of epochs beside the log*: a second place to agree. *Buffering proposals over a switch*: the
//! node asks again what was certainly not done, and sessions make the rest harmless. *Starting the next epoch before
//! its seal is decided*: a leader named in the seal needs one round trip, the same that the warm start would save.
//! *A fence beside the engines, to seal without a leader*: a member that begins to lead fences the one before it, and hints that
//! a process is gone make that a matter of a heartbeat (`ChainHost::unreachable`). An epoch without a quorum can't be
//! sealed by any means that keeps what it acknowledged.

mod adapt;
mod behind;
mod bugs;
mod company;
mod driver;
mod fetch;
mod group;
mod host;
mod journal;
mod lens;
mod manifest;
mod message;
mod order;
mod record;
mod spec;
#[cfg(test)]
mod tests;
mod trust;

#[cfg(feature = "planted-bugs")]
pub use bugs::ChainBugs;
pub use group::{Brief, ChainConfig, ChainGroup, Secret};
pub use host::{ChainHost, Switch};
pub use manifest::{Found, end_unknown_slots};
pub use order::Kept;
pub use record::{ChainRecord, Past, covers};
pub use spec::{Distrust, EngineKind, INTERVAL_MAX, Spec, SpecError};
pub use trust::interval;
