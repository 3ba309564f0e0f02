//! What an epoch is: its engine, its members, its quorums. It travels inside the seal that begins it.

use bytes::Bytes;
use dwcp_consensus::quorum::{Needs, Refusal, System, admit};
use dwcp_consensus::{MemberChange, Members};
use dwcp_consensus::{epaxos, paxos, pbft};
use dwcp_env::bound::VOTERS_MAX;
use dwcp_env::{GroupId, NodeId, wire};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The engines there are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// openraft.
    #[default]
    Raft,
    /// Multi-Paxos, with any quorum system.
    Paxos,
    /// EPaxos: every member proposes.
    EPaxos,
    /// PBFT: up to f of 3f + 1 members may lie.
    Pbft,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raft, Self::Paxos, Self::EPaxos, Self::Pbft];
    /// As it is written in configurations and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
            Self::EPaxos => "epaxos",
            Self::Pbft => "pbft",
        }
    }
    /// Whether every member takes its own clients' commands, whoever orders them.
    #[must_use]
    pub const fn serves_everywhere(self) -> bool {
        matches!(self, Self::EPaxos | Self::Pbft)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EngineKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|k| k.name() == s);
        found.ok_or_else(|| format!("{s:?} is no engine; there are raft, paxos, epaxos and pbft"))
    }
}

/// Places of the order from one checkpoint to the next under PBFT, at most: half of its window.
pub const INTERVAL_MAX: u64 = pbft::config::WINDOW_MAX / 2;

/// What members that may lie need: keys, equal on all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Distrust {
    /// The operator's public Ed25519 key: the epoch ends by a seal under it, and by no other.
    pub operator: [u8; 32],
    /// Each voter's public key (`dwcp_consensus::pbft::keys`).
    pub public: BTreeMap<NodeId, [u8; 32]>,
    /// A checkpoint is due each so many places of the order.
    pub interval: u64,
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why an epoch can't be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SpecError {
    /// Nobody, or too many, who count.
    #[error("an epoch has 1 to {VOTERS_MAX} voters, not {0}")]
    Voters(usize),
    /// A voter that is not among the nodes.
    #[error("{0} is a voter and not among the nodes")]
    Stranger(NodeId),
    /// Quorums are an engine's own.
    #[error("{0} knows majorities only: other quorum systems need `paxos`")]
    Quorums(EngineKind),
    /// Quorums that do not meet.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Quorums under which EPaxos can't run.
    #[error(transparent)]
    Leaderless(#[from] epaxos::ConfigError),
    /// The first leader does not count.
    #[error("{0} is to lead first and is no voter")]
    First(NodeId),
    /// It is not the next one.
    #[error("epoch {found} does not follow epoch {current}")]
    Number {
        /// Its number.
        found: u32,
        /// The current one's.
        current: u32,
    },
    /// Members of an epoch are the new ones and no others.
    #[error("an epoch begins with one set of voters, not between two")]
    Joint,
    /// Too few to bear a liar.
    #[error(
        "pbft needs 4 members to bear one liar (3f + 1 for f), and there are {0}: add members first (`dwcp member add`)"
    )]
    Few(usize),
    /// Keys of members are not known, or are none.
    #[error("the consensus keys of {} are not known, or are none: are these nodes up, and of this version?", names(.0))]
    Keys(Vec<NodeId>),
    /// One key for two: who holds it speaks for both.
    #[error("{} have one and the same consensus key: give each its own (`dwcp consensus keygen`)", names(.0))]
    SameKey(Vec<NodeId>),
    /// The operator's key is missing or none.
    #[error(
        "an epoch under pbft ends by its operator's signature: give the public half of an Ed25519 key (`--operator FILE`; \
             `dwcp consensus keygen FILE` makes one)"
    )]
    Operator,
    /// How often a checkpoint is due.
    #[error("a checkpoint is due each 1 to {INTERVAL_MAX} places of the order, not each {0}")]
    Interval(u64),
    /// Keys where members are believed.
    #[error("{0} believes its members: keys belong to pbft")]
    Believed(EngineKind),
    /// A change that changes nothing or can't be.
    #[error("{0}")]
    Change(String),
}

/// An epoch: equal on all its members, never changed. (Raft alone changes its members inside.)
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Spec {
    /// Its number, from 0 by one.
    pub epoch: u32,
    /// Who orders its commands.
    pub engine: EngineKind,
    /// Who belongs to it.
    pub members: Members,
    /// Who must answer; `None`: a majority.
    pub quorums: Option<System>,
    /// Who leads first, if it can.
    pub first: Option<NodeId>,
    /// Keys, where members may lie; `None` where they are believed.
    #[serde(default)]
    pub distrust: Option<Distrust>,
}

impl Spec {
    /// The bytes that travel.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::encode(self).into()
    }
    /// From bytes; `None` if they are none or describe an epoch that can't be.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        wire::decode::<Self>(bytes).ok().filter(|s| s.check().is_ok())
    }
    /// Whether bytes describe an epoch at all, one that can be or not. What a newer version writes may not be readable here.
    #[must_use]
    pub fn is_readable(bytes: &[u8]) -> bool {
        wire::decode::<Self>(bytes).is_ok()
    }
    /// Names it: two epochs of equal number and different content never take each other's messages.
    #[must_use]
    pub fn id(&self) -> u64 {
        // Raft's first epoch is the same for who formed it and who joins knowing nobody.
        if self.epoch == 0 && self.engine == EngineKind::Raft {
            return 0;
        }
        let hash = blake3::hash(&self.encode());
        hash.as_bytes().first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
    }
    /// Whether it can be.
    ///
    /// # Errors
    /// What can't.
    pub fn check(&self) -> Result<(), SpecError> {
        let Members { voters, outgoing, nodes } = &self.members;
        if !outgoing.is_empty() {
            return Err(SpecError::Joint);
        }
        if voters.is_empty() || voters.len() > VOTERS_MAX {
            return Err(SpecError::Voters(voters.len()));
        }
        if let Some(stranger) = voters.iter().find(|v| !nodes.contains_key(v)) {
            return Err(SpecError::Stranger(*stranger));
        }
        if let Some(first) = self.first.filter(|f| !voters.contains(f)) {
            return Err(SpecError::First(first));
        }
        self.check_distrust()?;
        match (&self.quorums, self.engine) {
            (None, _) => Ok(()),
            (Some(system), EngineKind::Paxos) => {
                let voters: Vec<NodeId> = voters.iter().copied().collect();
                Ok(admit(system, &voters, Needs::Paxos)?)
            }
            (Some(system), EngineKind::EPaxos) => {
                let voters: Vec<NodeId> = voters.iter().copied().collect();
                Ok(epaxos::admits(system, &voters)?)
            }
            (Some(_), engine) => Err(SpecError::Quorums(engine)),
        }
    }
    fn check_distrust(&self) -> Result<(), SpecError> {
        let voters = &self.members.voters;
        let distrust = match (&self.distrust, self.engine) {
            (None, EngineKind::Pbft) => &Distrust::default(),
            (Some(distrust), EngineKind::Pbft) => distrust,
            (Some(_), engine) => return Err(SpecError::Believed(engine)),
            (None, _) => return Ok(()),
        };
        if voters.len() < 4 {
            return Err(SpecError::Few(voters.len()));
        }
        if !pbft::keys::is_public(&distrust.operator) {
            return Err(SpecError::Operator);
        }
        let known = |v: &NodeId| distrust.public.get(v).is_some_and(pbft::keys::is_public);
        let mut wrong: Vec<NodeId> = voters.iter().filter(|v| !known(v)).copied().collect();
        wrong.extend(distrust.public.keys().filter(|n| !voters.contains(n)));
        if !wrong.is_empty() {
            return Err(SpecError::Keys(wrong));
        }
        let shares = |v: &&NodeId| {
            let key = distrust.public.get(*v);
            distrust.public.iter().any(|(other, k)| other != *v && Some(k) == key)
        };
        let same: Vec<NodeId> = voters.iter().filter(shares).copied().collect();
        if !same.is_empty() {
            return Err(SpecError::SameKey(same));
        }
        match distrust.interval {
            1..=INTERVAL_MAX => Ok(()),
            interval => Err(SpecError::Interval(interval)),
        }
    }
    /// Names the epoch of a group to those who sign: nothing signed in one counts in another.
    #[must_use]
    pub fn realm(&self, group: GroupId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("dwcp 2026-11 epoch of a group");
        hasher.update(&group.0.to_le_bytes()).update(&self.encode());
        hasher.finalize().into()
    }
    /// Whether it may follow an epoch.
    ///
    /// # Errors
    /// Why not.
    pub fn follows(&self, current: u32) -> Result<(), SpecError> {
        if self.epoch != current.wrapping_add(1) {
            return Err(SpecError::Number { found: self.epoch, current });
        }
        self.check()
    }
    /// The quorum system it is run with.
    #[must_use]
    pub fn system(&self) -> System {
        let members = self.members.voters.len() as u8;
        self.quorums.clone().unwrap_or(System::Majority { members })
    }
    /// The epoch after this one with other members, under the same engine.
    ///
    /// # Errors
    /// Why the change can't be.
    pub fn changed(&self, change: MemberChange) -> Result<Self, SpecError> {
        if self.engine == EngineKind::Pbft {
            return Err(SpecError::Change(
                "the members of an epoch under pbft are fixed by the keys it was begun with: switch to another engine, signed by \
                 the operator, change them there, and switch back"
                    .into(),
            ));
        }
        let mut next = Self { epoch: self.epoch + 1, first: None, ..self.clone() };
        let members = &mut next.members;
        match change {
            MemberChange::AddLearner(id, member) => {
                if members.nodes.insert(id, member).is_some() {
                    return Err(SpecError::Change(format!("{id} is a member already")));
                }
            }
            MemberChange::Promote(ids) => {
                if let Some(stranger) = ids.iter().find(|id| !members.nodes.contains_key(id)) {
                    return Err(SpecError::Change(format!("{stranger} is no member: add it first")));
                }
                members.voters.extend(ids);
            }
            MemberChange::Remove(ids) => {
                members.nodes.retain(|id, _| !ids.contains(id));
                members.voters.retain(|id| !ids.contains(id));
            }
            MemberChange::Update(id, member) => match members.nodes.get_mut(&id) {
                Some(known) => *known = member,
                None => return Err(SpecError::Change(format!("{id} is no member"))),
            },
        }
        if next.members.voters != self.members.voters && next.quorums.take().is_some() {
            // What was said of other members says nothing of these.
            return Err(SpecError::Change(
                "the quorums of this epoch name its members one by one: switch to an epoch with the new members and quorums \
                 (`dwcp consensus switch`)"
                    .into(),
            ));
        }
        next.check()?;
        Ok(next)
    }
}

/// Times of a step engine, from those that all engines of a node are given.
pub(crate) fn times(config: &dwcp_raft::GroupConfig) -> paxos::Times {
    paxos::Times {
        heartbeat: config.heartbeat,
        election: config.election_min.max(config.heartbeat * 3),
        retry: config.append_timeout,
        announce: dwcp_env::Duration::millis(1),
    }
}
