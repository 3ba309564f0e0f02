//! What may be seen of a replica from outside without asking it.

use crate::api::{PeerStatus, Status};
use crate::command::{self, View};
use crate::replica::{Counts, Eventual};
use dwcp_crdt::{Batch, ReplicaIndex, Space, Standing, VersionVector};
use dwcp_env::Now;

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
    /// Whether nothing waits for the disk.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.fresh.is_empty()
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
            Some(i) if !i.whole => Some("its state is being fetched from a peer".into()),
            Some(_) => None,
        }
    }

    /// How it fares.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let view = View { space: &self.space, millis: crate::replica::millis(now), draw: 0 };
        let keys = command::count(view);
        let print = self.space.fingerprint();
        let (unstable_operations, unstable_bytes) = self.space.logged();
        let peers = self.space.roster().iter().filter(|(r, _)| Some(*r) != self.identity.map(|i| i.replica));
        let peers =
            peers.filter(|(_, m)| !matches!(m.standing, Standing::Evicted { .. })).map(|(r, m)| PeerStatus {
                node: m.node.0,
                behind: self.space.lag(r),
                silent_ms: self.heard.get(&r).map_or(0, |h| now.mono.since(h.at).as_millis()),
                standing: format!("{:?}", m.standing).to_lowercase(),
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
            peers: peers.collect(),
            waiting_for: self.waiting_for(),
        }
    }
}
