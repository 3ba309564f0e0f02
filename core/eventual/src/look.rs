//! What may be seen of a replica from outside without asking it.

use crate::api::{PeerStatus, Status};
use crate::command::{self, View};
use crate::replica::{Counts, Eventual};
use dwcp_crdt::{Batch, ReplicaIndex, Space, VersionVector};
use dwcp_env::{NodeId, Now};
use std::collections::BTreeSet;

/// A rung of the ladder: a way in which operations or entries reach a replica, and what tells whether they have to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rung {
    /// Gossip: pushed batches, announcements, membership.
    Push,
    /// 32 bytes, compared.
    Digest,
    /// Version vectors and rosters.
    Version,
    /// The operations that are missing, from the peer's log.
    Operations,
    /// Ranges, and the entries that differ.
    Ranges,
    /// The whole state in parts.
    State,
    /// Operations that go with ranges or a state.
    Tail,
    /// Site streams to and from other regions.
    Stream,
}

impl Rung {
    /// All, the cheapest first.
    pub const ALL: [Self; 8] = [
        Self::Push,
        Self::Digest,
        Self::Version,
        Self::Operations,
        Self::Ranges,
        Self::State,
        Self::Tail,
        Self::Stream,
    ];
    /// Its name, as metrics label it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Digest => "digest",
            Self::Version => "version",
            Self::Operations => "operations",
            Self::Ranges => "ranges",
            Self::State => "state",
            Self::Tail => "tail",
            Self::Stream => "stream",
        }
    }
}

/// What one rung cost and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RungCounts {
    /// Bytes of its messages sent.
    pub sent: u64,
    /// The same, received.
    pub received: u64,
    /// Repairs it completed here: messages of operations that brought something, states taken. Pushes are none.
    pub repairs: u64,
}

/// What each rung cost and did since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rungs([RungCounts; Rung::ALL.len()]);

impl Rungs {
    /// One rung's.
    #[must_use]
    pub const fn of(&self, rung: Rung) -> RungCounts {
        self.0[rung as usize]
    }
    /// All, the cheapest first.
    pub fn iter(&self) -> impl Iterator<Item = (Rung, RungCounts)> + '_ {
        Rung::ALL.into_iter().map(|r| (r, self.of(r)))
    }
    pub(crate) const fn sent(&mut self, rung: Rung, bytes: usize) {
        self.0[rung as usize].sent += bytes as u64;
    }
    pub(crate) const fn received(&mut self, rung: Rung, bytes: usize) {
        self.0[rung as usize].received += bytes as u64;
    }
    pub(crate) const fn repaired(&mut self, rung: Rung) {
        self.0[rung as usize].repairs += 1;
    }
}

impl Eventual {
    /// What it holds.
    #[must_use]
    pub const fn space(&self) -> &Space {
        &self.space
    }
    /// What it has received and made.
    #[must_use]
    pub const fn version(&self) -> &VersionVector {
        self.space.version()
    }
    /// The fingerprint of its state.
    #[must_use]
    pub const fn fingerprint(&self) -> u128 {
        self.space.fingerprint()
    }
    /// Its place in the roster, if it has one that it may write from.
    #[must_use]
    pub fn place(&self) -> Option<ReplicaIndex> {
        self.identity.filter(|_| self.place_lost.is_none()).map(|i| i.replica)
    }
    /// Whether it serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.identity.is_some_and(|i| i.whole)
    }
    /// Bytes of messages that wait for the disk.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }
    /// Whether nothing waits for the disk.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.fresh.is_empty()
    }
    /// Whether all that its state shows is on its disk: no crash can take any of it back.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.space.version() == &self.logged && self.wal.lock().durable() >= self.last_lsn
    }
    /// Batches it appended to its log in the last turn.
    #[must_use]
    pub fn drained(&self) -> &[Batch] {
        &self.drained
    }
    /// What it has counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What the rungs of the ladder cost and did.
    #[must_use]
    pub const fn rungs(&self) -> Rungs {
        self.rungs
    }

    /// What keeps it from serving, if anything does.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        if let Some(why) = self.place_lost {
            return Some(format!("{why}: a new place in the roster is asked for"));
        }
        match self.identity {
            None => {
                let strong = match self.spec.strong.as_str() {
                    "" => "the default keyspace".to_string(),
                    name => format!("the strong keyspace '{name}'"),
                };
                Some(format!("it has no place in the roster yet; {strong} has to have a leader"))
            }
            Some(i) if !i.whole => Some(match self.unheard_with_a_state().as_slice() {
                [] => "its state is being fetched from a peer".into(),
                away => format!(
                    "its state is being fetched from a peer; if none that is heard has one, {} may: `dwcp crdt evict` says that it will not come back",
                    away.join(", ")
                ),
            }),
            Some(_) => None,
        }
    }

    /// Nodes that are not heard, and may have more than this one and those that are.
    fn unheard_with_a_state(&self) -> Vec<String> {
        let live = |n: &NodeId| self.gossip.member(*n).is_some_and(|known| known.status.is_live());
        let away = self.places.iter().filter(|(n, r)| **n != self.node && !live(n) && !self.is_ended(**r));
        away.filter(|(n, _)| !self.covered.contains(n)).map(|(n, _)| n.to_string()).collect()
    }

    /// All documents as they are shown under the rules it knows, in their canonical order; and the places where writes stand beside
    /// each other that the policy in force settles by itself.
    #[must_use]
    pub fn documents_shown(&self) -> (Vec<(String, String, String)>, Vec<String>) {
        self.documents.as_ref().map_or_else(Default::default, |d| d.seen(&self.space))
    }
    /// Which files of decided rules the above is shown by, with their revisions; nothing while nothing stands beside anything.
    #[must_use]
    pub fn rules_of_siblings(&self) -> Option<Vec<(Vec<u8>, i64)>> {
        self.documents.as_ref().and_then(crate::documents::Documents::rules_of_siblings)
    }
    /// The writes that took part in what is on record, and whose values can be had.
    #[must_use]
    pub fn writes_on_record(&self) -> BTreeSet<dwcp_crdt::Dot> {
        self.documents.as_ref().map_or_else(BTreeSet::new, crate::documents::Documents::on_record)
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let view = View { space: &self.space, millis: crate::replica::millis(now), draw: 0 };
        let keys = command::count(view);
        let print = self.space.fingerprint();
        let (unstable_operations, unstable_bytes) = self.space.logged();
        let peers = self.space.roster().iter().filter(|(r, _)| Some(*r) != self.identity.map(|i| i.replica));
        let peers = peers.filter(|(_, m)| m.takes_part()).map(|(r, m)| PeerStatus {
            node: m.node.0,
            behind: self.space.lag(r),
            silent_ms: self.heard.get(&r).map_or(0, |h| now.mono.since(h.at).as_millis()),
            standing: format!("{:?}", m.standing).to_lowercase(),
            stream: self.stream(m.node, now),
        });
        Status {
            keyspace: self.spec.keyspace.clone(),
            replica: self.identity.map(|i| (i.replica.0, i.incarnation)),
            epoch: self.space.roster().epoch,
            keys: keys as u64,
            version: self.space.version().iter().map(|(r, s)| (r.0, s)).collect(),
            fingerprint: [print as u64, (print >> 64) as u64],
            unstable_operations,
            unstable_bytes: unstable_bytes as u64,
            pending: self.space.waiting().1 as u64,
            repair_bytes: (self.counts.repair_sent, self.counts.repair_received),
            digests: (self.counts.digests_equal, self.counts.digests_unequal),
            rungs: self.rungs.iter().map(|(r, c)| (r.name().into(), c.sent, c.received, c.repairs)).collect(),
            peers: peers.collect(),
            waiting_for: self.waiting_for(),
            documents: self.documents.as_ref().map(crate::documents::Documents::figures),
        }
    }
}
