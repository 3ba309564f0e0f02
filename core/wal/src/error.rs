//! Why a log can't be opened or goes no further. Each ends with what to do.

use alloc::string::String;
use dwcp_env::{ClusterId, DiskError};
use thiserror::Error;

/// Why a log can't be opened, or goes no further. The node stops; nothing acknowledged is lost.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WalError {
    /// No room for the log.
    #[error(
        "no space left for the write-ahead log ({doing}); nothing acknowledged is lost: free {need} bytes \
         or more on the data directory's file system, then start the node again"
    )]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// Bytes a segment needs.
        need: u64,
    },
    /// The device failed. A failed write or sync is final: a later one that succeeds proves
    /// nothing about the bytes before it.
    #[error(
        "the write-ahead log stops ({doing}): {error}; nothing acknowledged is lost: check the device, then \
         start the node again, or replace the disk and let the node join anew"
    )]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What the device said.
        error: DiskError,
    },
    /// Written by a later version of the program.
    #[error(
        "{file} is written in log format {found}, this build knows formats up to {ours}: start the version \
         that wrote it (or a later one); a node is never rolled back across a format"
    )]
    Newer {
        /// Which file.
        file: String,
        /// The format found.
        found: u32,
        /// The latest format of this build.
        ours: u32,
    },
    /// The directory belongs to a node of another cluster.
    #[error(
        "{file} belongs to cluster {found}, this node to {ours}: point the node at its own data directory"
    )]
    Cluster {
        /// Which file.
        file: String,
        /// The cluster found.
        found: ClusterId,
        /// Ours.
        ours: ClusterId,
    },
    /// No segment's header can be read, so that nothing in the log can be checked.
    #[error(
        "no header of the write-ahead log's segments can be read ({why}): remove this node from the cluster, \
         empty its data directory and let it join under a new id"
    )]
    Unreadable {
        /// What was found.
        why: String,
    },
    /// The log was closed by an earlier error, or the node is stopping.
    #[error("the write-ahead log is closed by an earlier error; the node is stopping")]
    Closed,
}

impl WalError {
    pub(crate) fn disk(doing: &'static str, need: u64, error: DiskError) -> Self {
        match error {
            DiskError::NoSpace => Self::NoSpace { doing, need },
            DiskError::Stopped => Self::Closed,
            error => Self::Disk { doing, error },
        }
    }
}
