//! What may be seen of a node from outside without asking it: for invariants that watch every step, and
//! for the console of a node's own process.

use crate::hybrid::{Aside, Part};
use crate::node::Node;
use bytes::Bytes;
use dwcp_chain::{EngineKind, Past, Spec};
use dwcp_consensus::{Position, Role};
use dwcp_env::{GroupId, RegionId};
use dwcp_store::api::{Header, LeaseId, OpError, RangeRequest, RangeResponse, Revision};

/// One group of a node at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sight {
    /// The node's role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The epoch its state is in.
    pub epoch: u32,
    /// That one's engine.
    pub engine: EngineKind,
    /// The last entry in its log.
    pub last_index: u64,
    /// The last entry known decided.
    pub committed_index: u64,
    /// The last entry that its state holds.
    pub applied: Option<Position>,
    /// Its state's revision.
    pub revision: Revision,
    /// Whether its disk lost something that its peers have not made good yet: its engine does not run, or runs
    /// without a vote.
    pub repairing: bool,
}

/// One hybrid keyspace of a node at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HybridSight {
    /// What the node is to it.
    pub part: Part,
    /// The era of the deed that it knows.
    pub era: u32,
    /// The era of its state.
    pub state_era: u32,
    /// Where it stands.
    pub region: RegionId,
    /// The last entry that its state holds.
    pub applied: Option<Position>,
    /// Its state's revision.
    pub revision: Revision,
    /// The last index that it has on disk (a copy), or has applied (a home).
    pub durable: u64,
    /// Answers that are not stale by request, given by this node as home in this life,
    pub answers: u64,
    /// and writes among them.
    pub writes: u64,
    /// The index that its state was at when it answered the last of these.
    pub answered_at: u64,
    /// Whether its state is one that counts.
    pub whole: bool,
}

impl Node {
    /// A hybrid keyspace as it is now, if this node has a part in it.
    #[must_use]
    pub fn look_hybrid(&self, group: GroupId) -> Option<HybridSight> {
        let (h, g) = (self.hybrid.get(&group)?, self.groups.get(&group)?);
        let store = g.store();
        let applied = store.position();
        let index = applied.map_or(0, |p| p.index);
        Some(HybridSight {
            part: h.part,
            era: h.deed.as_ref().map_or(0, |(d, _)| d.era),
            state_era: h.state_era(),
            region: h.spec.region,
            applied,
            revision: store.revision(),
            durable: if h.part == Part::Copy { h.durable() } else { index },
            answers: h.answers.0,
            writes: h.answers.1,
            answered_at: h.answers.2,
            whole: h.is_whole() && g.repair.is_none(),
        })
    }
    /// The deed of a hybrid keyspace, as this node knows it.
    #[must_use]
    pub fn deed(&self, group: GroupId) -> Option<&dwcp_consensus::hybrid::Deed> {
        self.hybrid.get(&group)?.deed.as_ref().map(|(deed, _)| deed)
    }
    /// What this node keeps aside of an era of a hybrid keyspace.
    #[must_use]
    pub fn aside(&self, group: GroupId, era: u32) -> Option<Aside> {
        self.hybrid.get(&group)?.aside_of(era)
    }
    /// A group as it is now; all zero if the node does not host it. Cheap: no allocation.
    #[must_use]
    pub fn look(&self, group: GroupId) -> Sight {
        let Some(g) = self.groups.get(&group) else { return Sight::default() };
        let brief = self.host.brief(group);
        let store = g.store();
        Sight {
            role: brief.role,
            term: brief.term,
            epoch: brief.epoch,
            engine: brief.engine,
            last_index: brief.last_index,
            committed_index: brief.committed_index,
            applied: store.position(),
            revision: store.revision(),
            repairing: g.repair.is_some() || self.host.is_suspect(group),
        }
    }
    /// The chain of a group as it was decided: the epoch its state is in, the index of the seal that began it, and the epochs
    /// before, oldest first, as far as they are remembered. `None` while its engine does not run.
    #[must_use]
    pub fn chain(&self, group: GroupId) -> Option<(Spec, u64, Vec<Past>)> {
        let g = self.host.group(group)?;
        let (base, past) = g.history();
        Some((g.spec(), base, past))
    }
    /// Its replica of an eventual keyspace.
    #[must_use]
    pub fn eventual(&self, group: GroupId) -> Option<&dwcp_eventual::Eventual> {
        self.eventual.get(&group).map(|e| &e.replica)
    }
    /// Reads this node's own state, whoever leads.
    ///
    /// # Errors
    /// As the store's; `Stopped` if the node does not host the group.
    pub fn read(&self, group: GroupId, range: &RangeRequest) -> Result<(Header, RangeResponse), OpError> {
        let none = || OpError::Stopped { why: format!("{group} is not hosted here") };
        self.groups.get(&group).ok_or_else(none)?.store().range(range)
    }
    /// Term and payload of an entry of a group's log, if it is still there; the payload's command is
    /// [`dwcp_raft::command_of`] it.
    #[must_use]
    pub fn entry(&self, group: GroupId, index: u64) -> Option<(u64, Bytes)> {
        self.host.entry_at(group, index)
    }
    /// The leases of this node's own state: name, life in seconds, number of keys.
    #[must_use]
    pub fn leases(&self, group: GroupId) -> Vec<(LeaseId, i64, usize)> {
        let Some(g) = self.groups.get(&group) else { return Vec::new() };
        g.store().leases().map(|l| (l.id, l.ttl_s, l.keys.len())).collect()
    }
    /// A hash of what this node's own state holds behind a revision up to another one, and what that was compacted to: hashes with
    /// different ones can't be compared.
    ///
    /// # Errors
    /// As the store's; `Stopped` if the node does not host the group.
    pub fn hash(
        &self,
        group: GroupId,
        after: Revision,
        revision: Revision,
    ) -> Result<(u64, Revision), OpError> {
        let none = || OpError::Stopped { why: format!("{group} is not hosted here") };
        let found = self.groups.get(&group).ok_or_else(none)?.store().hash_behind(after, revision)?;
        let hash = found.hash.first_chunk().map_or(0, |h| u64::from_le_bytes(*h));
        Ok((hash, found.compact_revision))
    }
}
