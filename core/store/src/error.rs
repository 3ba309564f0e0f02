//! What can be wrong with the store's files.

use dwcp_env::{ClusterId, DiskError};
use thiserror::Error;

/// Why a store can't be opened, read or written. The text ends with the next step.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum StoreError {
    /// The disk failed, or is full.
    #[error("the store's disk: {0}")]
    Disk(#[from] DiskError),
    /// The file's content fails its checks. Nothing of it is believed: `Store::reset`, then
    /// install a peer's checkpoint.
    #[error("the store's file {file:?} is corrupt: {why}; its content has to come from a peer")]
    Corrupt {
        /// Which file.
        file: String,
        /// Which check failed.
        why: String,
    },
    /// Written by a newer build.
    #[error("the store has format {found}, this build knows up to {known}: start the newer build again")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The data of another cluster.
    #[error("the data directory belongs to cluster {theirs}, this node to {ours}: point it to its own")]
    OtherCluster {
        /// In the file.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// A checkpoint from a peer that fails its checks; what was there before stands.
    #[error("the checkpoint received is refused: {0}; ask for it again")]
    Refused(String),
}

impl StoreError {
    pub(crate) fn corrupt(file: &str, why: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), why: why.into() }
    }
}
