//! The nodes as an invariant sees them: from outside.

use super::{Host, SimWorld};
use dwcp_env::{Instant, Machine, NodeId};

/// The nodes at one moment.
pub struct View<'a, M: Machine> {
    world: &'a SimWorld<M>,
}

impl<M: Machine> std::fmt::Debug for View<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.world, f)
    }
}

impl<'a, M: Machine> View<'a, M> {
    pub(super) const fn new(world: &'a SimWorld<M>) -> Self {
        Self { world }
    }
    fn host(&self, node: NodeId) -> Option<&'a Host<M>> {
        self.world.index(node).map(|i| &self.world.hosts[i])
    }
    /// Simulated time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.world.now()
    }
    /// How many turns all nodes together have taken: which turn an event is of, where several fall into one instant.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.world.stats.turns
    }
    /// A node's machine, if it is up.
    #[must_use]
    pub fn machine(&self, node: NodeId) -> Option<&'a M> {
        self.host(node)?.machine.as_ref()
    }
    /// All machines that are up, in the order of the plan.
    pub fn machines(&self) -> impl Iterator<Item = (NodeId, &'a M)> + use<'a, M> {
        self.world.hosts.iter().filter_map(|h| Some((h.id, h.machine.as_ref()?)))
    }
    /// All nodes, in the order of the plan.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<'a, M> {
        self.world.hosts.iter().map(|h| h.id)
    }
    /// Whether a node is up and not paused.
    #[must_use]
    pub fn runs(&self, node: NodeId) -> bool {
        self.host(node).is_some_and(|h| h.machine.is_some() && h.pauses == 0)
    }
    /// How often a node has booted.
    #[must_use]
    pub fn incarnation(&self, node: NodeId) -> u32 {
        self.host(node).map_or(0, |h| h.incarnation)
    }
    /// The version a node runs, or would boot.
    #[must_use]
    pub fn version(&self, node: NodeId) -> u32 {
        self.host(node).map_or(0, |h| h.version)
    }
    /// How often in a row a node could not boot.
    #[must_use]
    pub fn boot_failures(&self, node: NodeId) -> u32 {
        self.host(node).map_or(0, |h| h.boot_failures)
    }
    /// A node's disk as its process would read it, without its faults: every file whole.
    #[must_use]
    pub fn files(&self, node: NodeId) -> Vec<(String, Vec<u8>)> {
        self.host(node).map(|h| h.disk.lock().contents()).unwrap_or_default()
    }
}
