//! What clients do, in both worlds.
//!
//! **Promise.** A [`Client`] is a state machine like a node: the driver (the simulator, or a
//! program on real sockets) tells it the time and the answers, and it says what to send
//! where. The same seed makes it ask the same questions; everything it asked and learned is
//! in the [`Log`], from which [`judge`] decides whether the store kept its promises.
//!
//! **How it retries.** A write carries a stamp (session and number). As long as the outcome
//! is not known — no answer in time, a broken connection, leadership lost — the same stamp
//! goes to the next node, so that the write is done at most once. After
//! [`client::GIVE_UP`] the client records that it does not know, and goes on under a new
//! process number, as the checkers want it.
//!
//! | workload | clients do | judged by |
//! |---|---|---|
//! | `register` | get, put, compare-and-put, delete; values unique | linearizability of each key; acknowledged writes present at their revision |
//! | `list-append` | transactions of reads and appends over several keys, by compare of revisions | list-append serializability; no element lost or twice |
//! | `bank` | transfers between accounts, reads of all of them | the sum never changes |
//! | `lock` | leases and locks; work fenced by the lock's revision | tokens rise, no two holders, no fenced write after its token |
//! | `watch` | half write, half watch from their last revision on | every change once, in order, without a gap |
//! | `eventual` | sets, counters, registers and maps of an eventual keyspace, in all regions at once; elements unique | nothing acknowledged lost, nothing removed returns, counters exact ([`converged`]) |
//! | `collections` | the same and lists; elements go again, registers and whole collections are emptied, several things are done as one | the same, and the order of lists, of one node's writes to a register, and that a transaction is there as a whole |
//! | `store` | all that the store can do, its past, leases, compaction and watches included | each answer against a reference model of the log ([`oracle`]) |
//!
//! **Invariants.** 1. A process has at most one operation open. 2. `fail` is recorded only
//! for what certainly did not happen. 3. Values written are unique over the run. 4. A client
//! holds one request at a time, and each has a deadline.
//!
//! Read in this order: [`ask`], [`record`], [`client`], one script each in [`script`], [`judge`],
//! [`history`], [`model`], [`oracle`].

pub mod ask;
pub mod client;
pub mod converged;
pub mod history;
pub mod judge;
pub mod model;
pub mod oracle;
pub mod record;
pub mod script;

pub use ask::{Answer, Ask, Refusal};
pub use client::{Client, Do};
pub use record::{Log, Outcome, Record, What};
pub use script::Sizes;

use serde::{Deserialize, Serialize};

/// A workload by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Single keys.
    Register,
    /// Transactions over lists.
    ListAppend,
    /// Transfers.
    Bank,
    /// Locks under leases.
    Lock,
    /// Watches beside writes.
    Watch,
    /// Everything.
    Store,
    /// Convergent types.
    Eventual,
    /// Convergent types with all that empties them.
    Collections,
    /// Documents with a schema, settled by policy.
    Documents,
    /// The same, of which checkpoints are taken, and gone back to.
    Checkpoints,
}

impl Use {
    /// Every workload that the clients' logs alone can judge, so that it runs in both worlds.
    pub const ALL: [Self; 5] = [Self::Register, Self::ListAppend, Self::Bank, Self::Lock, Self::Watch];
    /// These, and those that what real nodes hold at the end judges: all that run on real processes.
    pub const LIVE: [Self; 7] = [
        Self::Register,
        Self::ListAppend,
        Self::Bank,
        Self::Lock,
        Self::Watch,
        Self::Eventual,
        Self::Collections,
    ];
    /// These, the one that needs the oracle, which sees the decided log, and those that need the replicas' state.
    pub const SIMULATED: [Self; 10] = [
        Self::Register,
        Self::ListAppend,
        Self::Bank,
        Self::Lock,
        Self::Watch,
        Self::Store,
        Self::Eventual,
        Self::Collections,
        Self::Documents,
        Self::Checkpoints,
    ];

    /// Its name in scenario files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::ListAppend => "list-append",
            Self::Bank => "bank",
            Self::Lock => "lock",
            Self::Watch => "watch",
            Self::Store => "store",
            Self::Eventual => "eventual",
            Self::Collections => "collections",
            Self::Documents => "documents",
            Self::Checkpoints => "checkpoints",
        }
    }
    /// Whether it lives in an eventual keyspace.
    #[must_use]
    pub const fn is_eventual(self) -> bool {
        matches!(self, Self::Eventual | Self::Collections | Self::Documents | Self::Checkpoints)
    }
    /// The workload of this name that runs on real processes.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::LIVE.into_iter().find(|u| u.name() == name)
    }
    /// The prefix of its keys.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Register => "r/",
            Self::ListAppend => "l/",
            Self::Bank => "b/",
            Self::Lock => "k/",
            Self::Watch => "w/",
            Self::Store => "s/",
            Self::Eventual | Self::Collections | Self::Documents | Self::Checkpoints => "e/",
        }
    }
    /// The key of this number: the prefix and eight bytes.
    #[must_use]
    pub fn key(self, number: u64) -> bytes::Bytes {
        let mut key = Vec::with_capacity(10);
        key.extend_from_slice(self.prefix().as_bytes());
        key.extend_from_slice(&number.to_be_bytes());
        key.into()
    }
    /// The number of a key of this workload.
    #[must_use]
    pub fn number(self, key: &[u8]) -> Option<u64> {
        let rest = key.strip_prefix(self.prefix().as_bytes())?;
        Some(u64::from_be_bytes(rest.try_into().ok()?))
    }
    /// The end of the range of all its keys.
    #[must_use]
    pub fn range_end(self) -> bytes::Bytes {
        let mut end = self.prefix().as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end.into()
    }
}
