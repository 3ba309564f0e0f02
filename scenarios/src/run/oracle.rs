//! What the oracle is shown of a run: entries as replicas apply them, and what replicas hold.

use super::door::GROUP;
use dwcp_env::{Instant, NodeId};
use dwcp_node::Node;
use dwcp_store::api::{RangeRequest, Revision};
use dwcp_workload::oracle::Oracle;

/// How far back a replica's past is compared with the model's.
const PAST: Revision = 40;

/// The oracle, and how far it was shown each replica.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) oracle: Oracle,
    /// By node: which of its lives, and the last index seen applied in it.
    shown: Vec<(u32, u64)>,
}

impl Witness {
    /// Looks at a replica after an event at it.
    ///
    /// # Errors
    /// What can't be.
    pub(super) fn look(&mut self, now: Instant, node: &Node, life: u32) -> Result<(), String> {
        let slot = node.id().0 as usize;
        if self.shown.len() <= slot {
            self.shown.resize(slot + 1, (0, 0));
        }
        let sight = node.look(GROUP);
        let Some(applied) = sight.applied.filter(|_| !sight.repairing) else { return Ok(()) };
        let (seen_life, seen) = self.shown[slot];
        if (seen_life, seen) == (life, applied.index) {
            return Ok(());
        }
        // A new life begins with a checkpoint: what it holds is compared as a whole.
        let from = if seen_life == life { seen + 1 } else { applied.index.min(self.oracle.next()) };
        self.shown[slot] = (life, applied.index);
        for index in from..=applied.index {
            match node.entry(GROUP, index) {
                Some((term, payload)) => {
                    let command = dwcp_raft::command_of(&payload);
                    self.oracle.applied(now, index, term, &payload, command.as_ref())?;
                }
                None if index >= self.oracle.next() => self.oracle.missed(),
                None => {}
            }
        }
        self.oracle.shows(applied.index, sight.revision)
    }
    /// Compares all that a replica holds: now, and at a revision of its past.
    ///
    /// # Errors
    /// What differs.
    pub(super) fn audit(&self, node: &Node) -> Result<(), String> {
        let sight = node.look(GROUP);
        let Some(applied) = sight.applied.filter(|_| !sight.repairing) else { return Ok(()) };
        let tell = |id: NodeId| move |why: String| format!("{id}: {why}");
        for revision in [sight.revision, sight.revision - PAST] {
            let all = RangeRequest {
                key: vec![0].into(),
                range_end: vec![0].into(),
                revision,
                ..RangeRequest::default()
            };
            // Compacted, or before the beginning.
            let Ok((_, found)) = node.read(GROUP, &all) else { continue };
            if revision > 0 {
                self.oracle.holds(revision, &found.kvs).map_err(tell(node.id()))?;
            }
        }
        self.oracle.leases_are(applied.index, &node.leases(GROUP)).map_err(tell(node.id()))
    }
}
