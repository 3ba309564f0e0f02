//! **State machine safety** (Raft §5.4.3): if a node has applied an entry at an index, no other
//! node applies a different one there.
//!
//! Seen from outside: nodes that have applied the same index show the same revision; the
//! content as of one revision has one hash on every node that is asked for it.

use super::Look;
use dwcp_env::NodeId;
use std::collections::BTreeMap;

/// Revisions of the last so many indices.
const WINDOW: u64 = 1 << 16;
/// Hashes of the last so many revisions asked for.
const HASHES: usize = 256;

/// What of a replica's content was hashed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Extent {
    /// As of this revision.
    pub revision: i64,
    /// Without what was written up to this one.
    pub after: i64,
    /// What is left of it behind a compaction to this one.
    pub compacted: i64,
}

#[derive(Debug, Default)]
pub(super) struct StateMachineSafety {
    /// Ring over the index: (index, revision, who).
    revisions: Vec<(u64, i64, NodeId)>,
    hashes: BTreeMap<Extent, (u64, NodeId)>,
}

impl StateMachineSafety {
    pub(super) fn look(&mut self, look: &Look) -> Option<String> {
        let index = look.applied?.index;
        let slot = (index % WINDOW) as usize;
        if self.revisions.len() <= slot {
            let len = (slot + 1).next_power_of_two().min(WINDOW as usize);
            self.revisions.resize(len, (0, 0, NodeId(0)));
        }
        let (known, revision, who) = self.revisions[slot];
        if known == index && revision != look.revision {
            return Some(format!(
                "{} is at revision {} after index {index}; {who} was at {revision}",
                look.node, look.revision
            ));
        }
        if known < index {
            self.revisions[slot] = (index, look.revision, look.node);
        }
        None
    }

    pub(super) fn hash(&mut self, node: NodeId, of: Extent, hash: u64) -> Option<String> {
        if self.hashes.len() >= HASHES {
            self.hashes.pop_first();
        }
        let (known, who) = *self.hashes.entry(of).or_insert((hash, node));
        (known != hash).then(|| {
            format!(
                "at revision {} the content of {node} has hash {hash:016x}, that of {who} {known:016x}",
                of.revision
            )
        })
    }
}
