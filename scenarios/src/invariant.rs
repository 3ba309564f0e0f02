//! What must be true, watched from outside: one property a file, named after itself, with its
//! place in the paper.
//!
//! | property | looks at | when |
//! |---|---|---|
//! | `election_safety` | who leads in which term | every look |
//! | `log_matching` | the term of each index applied | every look |
//! | `leader_completeness` | a new leader's log against what was committed | every look |
//! | `committed_on_quorum` | how many logs reach the commit index | every look |
//! | `state_machine_safety` | the revision, and the hash of the content, at equal index | every look; hashes at intervals and at the end |
//! | `chain_never_forks` | the epoch a node comes to, and those it remembers | every look that shows another epoch or life |
//! | `monotone` | term, commit and applied index of one life of a node | every look |
//! | `no_acknowledged_loss` | acknowledged writes against a replica's history | at the end |
//! | `exactly_once` | what is there against who wrote it | at the end |
//! | `linearizable`, `list_append_serializable`, `bank_sum`, `locks_exclusive`, `watch_complete` | clients' logs | at the end |
//! | `store_model` | entries applied, revisions, contents, leases, and every answer, against a reference model | every look, every answer |
//! | `no_dot_twice` | a dot of an eventual keyspace names one operation, whatever crashes | every look |
//! | `equal_versions_equal_states` | equal version vectors, equal fingerprints, of all replicas at all times | every look |
//! | `eventual_no_acknowledged_loss` | what clients were told against a converged replica | at the end |
//! | `eventual_converged` | the core's replicas of the eventual keyspace after the heal | the liveness phase |
//! | `eventual_logs_cut` | their logs, once they are equal | the liveness phase |
//! | `documents_one_view` | what replicas with the same writes and rules show of documents; of the core, and that nothing is left to settle | every look; the liveness phase |
//! | `documents_nothing_lost` | every write that a resolution superseded, against the audit of every core replica | the liveness phase |
//! | `documents_rolled_back` | what a replica shows after a turn in which it went back to a checkpoint, against the checkpoint's bytes | every look |
//! | `hybrid_one_home` | who answers for a hybrid keyspace, in which era | every answer |
//! | `hybrid_bound_kept` | what other regions have on disk when a home answers a write | every answer |
//! | `hybrid_prefix` | the revision at each place of the order, on every node; contents at the end | every look, at the end |
//! | `hybrid_no_untold_loss` | acknowledged writes against the last home, the cuts and what old homes kept aside | at the end |
//! | `hybrid_reads` | linearizable reads against what was acknowledged before, within an era | every answer |
//! | `hybrid_converged` | the core's nodes of the hybrid keyspace after the heal | the liveness phase |
//! | `convergence` | the core's replicas after the heal | the liveness phase |
//!
//! A *look* ([`Look`]) is what a node's engine says of itself after an event at that node: a
//! few numbers, no allocation, so that nine nodes can be looked at a hundred thousand times a
//! second. Nothing here knows the engine.

mod chain_never_forks;
mod committed_on_quorum;
mod convergence;
mod documents;
mod election_safety;
mod eventual;
mod hybrid;
mod leader_completeness;
mod log_matching;
mod monotone;
mod state_machine_safety;

pub use chain_never_forks::Chains;
pub use convergence::converged;
pub use documents::{Settled, Watched, one_view};
pub use eventual::{Replicas, uncut, unequal};
pub use hybrid::Homes;
pub use state_machine_safety::Extent;

use dwcp_consensus::{Position, Role};
use dwcp_env::NodeId;
use dwcp_node::EngineKind;
use serde::{Deserialize, Serialize};

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A property by name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Property { $($(#[$doc])* $name,)* }

        impl Property {
            /// Every property.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
            /// Whether it is a promise of this engine: three are about Raft's log, which the others have not.
            #[must_use]
            pub const fn holds_under(self, engine: EngineKind) -> bool {
                matches!(engine, EngineKind::Raft)
                    || !matches!(self, Self::LogMatching | Self::LeaderCompleteness | Self::CommittedOnQuorum)
            }
            /// Its name in files and reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

properties! {
    /// At most one leader a term (Raft §5.2), under engines that elect one.
    ElectionSafety "election_safety",
    /// Equal index, equal term, on every node (Raft §5.3).
    LogMatching "log_matching",
    /// A leader holds every entry committed before its term (Raft §5.4).
    LeaderCompleteness "leader_completeness",
    /// What is committed is in the logs of a quorum (Raft §5.3, §5.4.2).
    CommittedOnQuorum "committed_on_quorum",
    /// Equal index applied, equal state (Raft §5.4.3).
    StateMachineSafety "state_machine_safety",
    /// One epoch of each number, one end of each (Delos §3.2).
    ChainNeverForks "chain_never_forks",
    /// Term, commit and applied index of one life never fall.
    Monotone "monotone",
    /// An acknowledged write is there, at its revision.
    NoAcknowledgedLoss "no_acknowledged_loss",
    /// A write is applied once however often it is sent (Raft dissertation §6.3).
    ExactlyOnce "exactly_once",
    /// Each key is a register (Herlihy and Wing 1990).
    Linearizable "linearizable",
    /// Transactions over lists have one order (Kingsbury and Alvaro 2020).
    ListAppendSerializable "list_append_serializable",
    /// The sum of all accounts never changes.
    BankSum "bank_sum",
    /// One holder a token, nothing under an older one (Chubby §2.4).
    LocksExclusive "locks_exclusive",
    /// Every change once, in order, without a gap.
    WatchComplete "watch_complete",
    /// Every answer and every replica is what a reference model makes of the log that was decided.
    StoreModel "store_model",
    /// A dot names one operation (Almeida et al. 2018, §7).
    NoDotTwice "no_dot_twice",
    /// Equal version vectors, equal fingerprints.
    EqualVersionsEqualStates "equal_versions_equal_states",
    /// What an eventual keyspace acknowledged is there, or superseded by what has seen it.
    EventualNoAcknowledgedLoss "eventual_no_acknowledged_loss",
    /// After the heal, all replicas of the core hold the same in bounded time.
    EventualConverged "eventual_converged",
    /// After the heal, no replica of the core keeps operations that all have.
    EventualLogsCut "eventual_logs_cut",
    /// After the heal, all replicas of the core show the same documents, and nothing is left to settle, in bounded time.
    DocumentsOneView "documents_one_view",
    /// What a resolution superseded is on record, with its value, on every replica of the core.
    DocumentsNothingLost "documents_nothing_lost",
    /// Who went back to a checkpoint, and took nothing else in, shows what it holds.
    DocumentsRolledBack "documents_rolled_back",
    /// At no time do nodes of two regions answer for a hybrid keyspace, nor an earlier era after a later one.
    HybridOneHome "hybrid_one_home",
    /// A home answers a write only while enough regions have on disk all but what the bound allows.
    HybridBoundKept "hybrid_bound_kept",
    /// One place of the order, one revision, on every node.
    HybridPrefix "hybrid_prefix",
    /// An acknowledged write is there, or lies behind a cut, is told, and is one of no more than the bound.
    HybridNoUntoldLoss "hybrid_no_untold_loss",
    /// A linearizable read shows what was acknowledged before it, within an era.
    HybridReads "hybrid_reads",
    /// After the heal, all of the core hold the same, one home answers, and deposed ones have become copies.
    HybridConverged "hybrid_converged",
    /// After the heal, all of the core serve and become equal in bounded time.
    Convergence "convergence",
}

impl Property {
    /// The property of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.name() == name)
    }
}

/// What a node's engine says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Whose.
    pub node: NodeId,
    /// Which of its lives.
    pub life: u32,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The epoch its state is in.
    pub epoch: u32,
    /// That one's engine.
    pub engine: EngineKind,
    /// The last entry in its log.
    pub last: u64,
    /// The last entry known to be decided.
    pub committed: u64,
    /// The last entry applied.
    pub applied: Option<Position>,
    /// The store's revision.
    pub revision: i64,
    /// Whether it is being repaired: what it holds counts as before until that is done.
    pub repairing: bool,
}

/// A property that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub property: Property,
    /// What was seen.
    pub detail: String,
}

/// Every property that is checked look by look, with what each must remember.
#[derive(Debug, Default)]
pub struct Looks {
    watched: Vec<Property>,
    last: Vec<Look>,
    election_safety: election_safety::ElectionSafety,
    log_matching: log_matching::LogMatching,
    leader_completeness: leader_completeness::LeaderCompleteness,
    committed_on_quorum: committed_on_quorum::CommittedOnQuorum,
    state_machine_safety: state_machine_safety::StateMachineSafety,
    taken: u64,
}

impl Looks {
    /// Watches these properties of a group that starts with so many voters; the quorum is not
    /// judged once members change.
    #[must_use]
    pub fn new(watched: &[Property], voters: usize) -> Self {
        Self {
            watched: watched.to_vec(),
            committed_on_quorum: committed_on_quorum::CommittedOnQuorum::of(voters),
            ..Self::default()
        }
    }
    /// How many looks there were.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }
    /// The voters change: quorums are not judged any more.
    pub const fn members_change(&mut self) {
        self.committed_on_quorum.stop();
    }
    /// The last look at each node, by number.
    #[must_use]
    pub fn last(&self) -> &[Look] {
        &self.last
    }
    /// Takes a look. `None` if everything watched holds, and at once if nothing has changed.
    pub fn take(&mut self, mut look: Look) -> Option<Broken> {
        let slot = usize::try_from(look.node.0).unwrap_or(usize::MAX).min(dwcp_runtime_sim::plan::NODES_MAX);
        if self.last.len() <= slot {
            self.last.resize(slot + 1, Look::default());
        }
        if look.repairing {
            look.last = look.last.max(self.last[slot].last);
        }
        let before = std::mem::replace(&mut self.last[slot], look);
        if before == look {
            return None;
        }
        self.taken += 1;
        for at in 0..self.watched.len() {
            let property = self.watched[at];
            let broken = match property {
                Property::ElectionSafety => self.election_safety.look(&look),
                Property::LogMatching => self.log_matching.look(&look),
                Property::LeaderCompleteness => self.leader_completeness.look(&look),
                Property::CommittedOnQuorum => self.committed_on_quorum.look(&look, &self.last),
                Property::StateMachineSafety => self.state_machine_safety.look(&look),
                Property::Monotone => monotone::look(&before, &look),
                _ => None,
            };
            if let Some(detail) = broken {
                return Some(Broken { property, detail });
            }
        }
        None
    }
    /// Takes the hash of a replica's content.
    pub fn hash(&mut self, node: NodeId, of: Extent, hash: u64) -> Option<Broken> {
        let property = Property::StateMachineSafety;
        if !self.watched.contains(&property) {
            return None;
        }
        self.state_machine_safety.hash(node, of, hash).map(|detail| Broken { property, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(node: u64, role: Role, term: u64, last: u64, committed: u64) -> Look {
        let applied = (committed > 0).then_some(Position { term, index: committed });
        Look {
            node: NodeId(node),
            life: 1,
            role,
            term,
            epoch: 0,
            engine: EngineKind::Raft,
            last,
            committed,
            applied,
            revision: committed as i64,
            repairing: false,
        }
    }

    fn judge(looks: &[Look]) -> Option<Property> {
        let mut all = Looks::new(Property::ALL, 3);
        looks.iter().find_map(|l| all.take(*l)).map(|b| b.property)
    }

    #[test]
    fn a_quiet_life_is_not_accused() {
        let follower = Role::Follower;
        assert_eq!(
            judge(&[
                look(2, follower, 1, 1, 0),
                look(1, Role::Leader, 1, 1, 0),
                look(1, Role::Leader, 1, 1, 1),
                look(2, follower, 1, 2, 1),
                look(1, Role::Leader, 1, 2, 2),
                look(2, follower, 1, 2, 2),
                look(3, Role::Leader, 2, 3, 2),
            ]),
            // n3 leads in term 2 and says that index 2 is of term 2: it is not.
            Some(Property::LogMatching)
        );
    }

    #[test]
    fn where_everybody_leads_nobody_is_elected() {
        let both = |engine| [1, 2].map(|node| Look { engine, ..look(node, Role::Leader, 1 << 40, 0, 0) });
        assert_eq!(judge(&both(EngineKind::Paxos)), Some(Property::ElectionSafety));
        assert_eq!(judge(&both(EngineKind::EPaxos)), None);
    }

    #[test]
    fn the_log_of_a_node_in_repair_still_counts() {
        let (f, l) = (Role::Follower, Role::Leader);
        let shows = |repairing| {
            let booted = Look { life: 2, repairing, ..look(2, f, 1, 0, 0) };
            judge(&[look(2, f, 1, 9, 0), booted, look(1, l, 1, 9, 0), look(1, l, 1, 9, 9)])
        };
        assert_eq!(shows(true), None);
        assert_eq!(shows(false), Some(Property::CommittedOnQuorum));
    }

    #[test]
    fn each_property_can_break() {
        let (f, l) = (Role::Follower, Role::Leader);
        for (property, looks) in [
            (Property::ElectionSafety, vec![look(1, l, 3, 0, 0), look(2, l, 3, 0, 0)]),
            (
                Property::LogMatching,
                vec![
                    look(1, f, 1, 5, 0),
                    look(2, f, 1, 5, 5),
                    look(3, f, 1, 5, 0),
                    Look { applied: Some(Position { term: 2, index: 5 }), ..look(3, f, 2, 5, 5) },
                ],
            ),
            (
                Property::LeaderCompleteness,
                vec![look(1, f, 1, 9, 0), look(2, f, 1, 9, 0), look(1, f, 1, 9, 9), look(3, l, 2, 8, 0)],
            ),
            (Property::CommittedOnQuorum, vec![look(1, l, 1, 9, 0), look(1, l, 1, 9, 9)]),
            (
                Property::StateMachineSafety,
                vec![look(1, f, 1, 9, 0), look(2, f, 1, 9, 9), Look { revision: 7, ..look(1, f, 1, 9, 9) }],
            ),
            (Property::Monotone, vec![look(1, f, 4, 9, 0), look(1, f, 3, 9, 0)]),
        ] {
            assert_eq!(judge(&looks), Some(property));
        }
    }

    #[test]
    fn hashes_at_one_revision_must_agree() {
        let mut all = Looks::new(&[Property::StateMachineSafety], 3);
        let of = |revision, after, compacted| Extent { revision, after, compacted };
        assert_eq!(all.hash(NodeId(1), of(7, 0, -1), 1), None);
        assert_eq!(all.hash(NodeId(2), of(8, 0, -1), 2), None);
        assert_eq!(all.hash(NodeId(3), of(7, 0, -1), 1), None);
        assert_eq!(all.hash(NodeId(2), of(7, 0, 5), 3), None, "less is left of it");
        assert_eq!(all.hash(NodeId(2), of(7, 6, -1), 4), None, "only what is new");
        assert!(all.hash(NodeId(2), of(7, 0, -1), 3).is_some());
    }
}
