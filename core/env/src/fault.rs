//! Errors by whose fault they are.
//!
//! | fault of | what is done |
//! |---|---|
//! | us (a broken invariant) | assert and stop: a node that can't be sure it is right stops |
//! | a peer | a [`PeerFault`] with its evidence: counted, the message dropped, the link judged |
//! | the environment (disk, clock, memory) | a typed error the caller must handle |
//! | the caller | an error that says what was wrong and what would be right; nothing changed |
//!
//! A variant exists only if someone can act on it differently.

use crate::id::{ClusterId, NodeId};
use alloc::string::String;
use thiserror::Error;

/// Whose fault an error is: decides whether to stop, to count, to handle, or to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blame {
    /// A broken invariant of ours.
    Us,
    /// Another node, or whoever speaks on its port.
    Peer,
    /// The disk, the clock, the operating system.
    Environment,
    /// The client or the operator.
    Caller,
}

/// What a peer did wrong, with the evidence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PeerFault {
    /// A frame that fails its checks.
    #[error("bad frame from {from}: {why}")]
    Frame {
        /// Who sent it, as far as the connection says.
        from: NodeId,
        /// Which check failed, with the offending values.
        why: crate::wire::WireError,
    },
    /// A body that does not decode, or decodes to something out of range.
    #[error("bad {what} from {from}: {why}")]
    Body {
        /// Who sent it.
        from: NodeId,
        /// What it claimed to be.
        what: &'static str,
        /// What was wrong with it.
        why: String,
    },
    /// A node of another cluster.
    #[error("{from} belongs to cluster {theirs}, not to {ours}; give each cluster its own addresses")]
    Cluster {
        /// Who connected.
        from: NodeId,
        /// The cluster it showed.
        theirs: ClusterId,
        /// The cluster we serve.
        ours: ClusterId,
    },
}
