//! What a node keeps for each group it hosts.

use crate::origin::Origins;
use crate::repair::Repair;
use dwcp_env::{GroupId, NodeId, RequestId};
use dwcp_store::{LeaseClock, Store, WatchId, Watchers};
use spin::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A store shared with its engine. Both live on one thread, so the lock never waits.
pub(crate) type SharedStore = Arc<Mutex<Store>>;

/// One group of a node.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) keyspace: String,
    pub(crate) store: SharedStore,
    /// Present while the disk's damage is being made good; the engine does not run then.
    pub(crate) repair: Option<Box<Repair>>,
    /// Term and leader as last told to whoever waits for one.
    pub(crate) seen_leader: (u64, Option<NodeId>),
    /// Where in the log the members were written that the world was last told to have links to.
    pub(crate) told_members_at: Option<u64>,
    /// Deadlines of leases; has an opinion while this node leads.
    pub(crate) leases: LeaseClock,
    /// The term in which it was last wound up.
    pub(crate) leases_term: u64,
    /// Watches at this node's door,
    pub(crate) watchers: Watchers,
    /// and who waits for each.
    pub(crate) watches: BTreeMap<WatchId, RequestId>,
    /// Where its epoch comes from.
    pub(crate) origins: Origins,
    /// Whether watches have more to hear than one turn tells.
    pub(crate) more_to_watch: bool,
}

impl Group {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock()
    }
}
