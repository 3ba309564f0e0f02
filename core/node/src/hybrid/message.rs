//! What nodes of a hybrid keyspace say to each other.

use dwcp_consensus::Position;
use dwcp_env::Instant;
use dwcp_store::Taped;
use dwcp_store::api::Revision;
use serde::{Deserialize, Serialize};

/// What a node is to a hybrid keyspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Part {
    /// Its chain runs here.
    Home,
    /// It follows.
    #[default]
    Copy,
    /// It was home, and is not any more.
    Leaving,
}

/// Where a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Where {
    /// Of the deed that it knows.
    pub(crate) era: u32,
    /// What it is.
    pub(crate) part: Part,
    /// Whether its state is a prefix of that era's order.
    pub(crate) sound: bool,
    /// The last entry it has.
    pub(crate) at: Option<Position>,
    /// The last index it has on disk.
    pub(crate) durable: u64,
    /// Whether it leads the home's chain.
    pub(crate) leads: bool,
    /// It takes no entries any more, for the move of that revision of the deed; all it has is on its disk.
    pub(crate) frozen: Option<Revision>,
    /// For the move of that revision: this was all.
    pub(crate) drained: Option<(Revision, u64)>,
}

/// A message about one hybrid keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum HybridMessage {
    /// Where I am. Sent again and again to all.
    Where(Where),
    /// What comes behind the last entry I have?
    Pull {
        /// It.
        after: Option<Position>,
        /// Of the deed I know.
        era: u32,
    },
    /// This comes behind it.
    Haul {
        /// The last entry of who asked.
        after: Option<Position>,
        /// Of the deed I know.
        era: u32,
        /// What comes next, in order.
        entries: Vec<(Position, Taped)>,
    },
    /// I have not, or not any more, what comes behind it.
    Gone {
        /// The last entry of who asked.
        after: Option<Position>,
    },
}

/// What was heard of a node, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) word: Where,
}
