//! What openraft is told our types are, and how its positions, votes and members become ours.
//!
//! openraft counts log indexes from 0, dwcp from 1 (0 is "nothing"): every position that leaves
//! this crate is openraft's plus one. Terms have one leader each (standard Raft), so that a
//! [`Position`] names an entry for ever.

use crate::runtime::Runtime;
use bytes::{BufMut, Bytes, BytesMut};
use dwcp_consensus::{Member, Members, Position};
use dwcp_env::NodeId;
use dwcp_env::wire;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use openraft::{EntryPayload, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

/// openraft's type configuration, over what the state machine answers.
pub(crate) struct Types<R>(PhantomData<fn() -> R>);

impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Types<R> {}
impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for Types<R> {}
impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl<R: Send + Sync + 'static> RaftTypeConfig for Types<R> {
    type D = Command;
    type R = Answer<R>;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Reply<T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Vote = openraft::Vote<LeaderId<u64, u64>>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId<u64>>;
pub(crate) type Payload = EntryPayload<Command, u64, Member>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId<u64>, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId<u64>, u64, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId<u64>, u64, Member>;
pub(crate) type Snapshot<D> = openraft::Snapshot<CommittedLeaderId<u64>, u64, Member, D>;

/// A command with its kind in front, as it is logged: kept whole, so that the log, the disk and
/// the peers share its bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

/// The first byte of a logged payload.
pub(crate) mod kind {
    /// No command: a new leader's first entry.
    pub(crate) const BLANK: u8 = 0;
    /// A command of the state machine's.
    pub(crate) const COMMAND: u8 = 1;
    /// The end of this engine's epoch.
    pub(crate) const SEAL: u8 = 2;
    /// The members from here on.
    pub(crate) const MEMBERS: u8 = 3;
}

impl Command {
    /// A payload of this kind: the one copy that a proposal costs.
    pub(crate) fn new(kind: u8, body: &[u8]) -> Self {
        let mut whole = BytesMut::with_capacity(1 + body.len());
        whole.put_u8(kind);
        whole.put_slice(body);
        Self(whole.freeze())
    }
    pub(crate) fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or(kind::BLANK)
    }
    pub(crate) fn body(&self) -> Bytes {
        self.0.slice(1.min(self.0.len())..)
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer<R> {
    /// The state machine's response to a command.
    Applied(R),
    /// There was no command in it: members, a seal, a leader's first entry.
    Blank,
    /// It came behind the seal and took no effect.
    Void,
}

type Heard<T> = Box<dyn FnOnce(Option<T>) + Send>;

/// Called with a result, or with nothing when openraft lets go of it without one.
pub(crate) struct Reply<T>(Option<Heard<T>>);

impl<T> Reply<T> {
    pub(crate) fn new(heard: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(heard)))
    }
}
impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}
impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(heard) = self.0.take() {
            heard(None);
        }
    }
}
impl<R: Send + Sync + 'static, T: Send + 'static> Responder<Types<R>, T> for Reply<T> {
    fn on_complete(mut self, result: T) {
        if let Some(heard) = self.0.take() {
            heard(Some(result));
        }
    }
}

/// openraft's log id as ours; nothing is the position zero.
pub(crate) fn position(id: Option<&LogId>) -> Position {
    id.map_or(Position::default(), |id| Position { term: id.leader_id.term, index: id.index + 1 })
}

/// Our position as openraft's log id.
pub(crate) fn log_id(at: Position) -> Option<LogId> {
    let index = at.index.checked_sub(1)?;
    Some(LogId { leader_id: CommittedLeaderId::new(at.term), index })
}

/// openraft's vote as it is written and sent: who, in which term, and whether a quorum agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) term: u64,
    pub(crate) node: NodeId,
    pub(crate) committed: bool,
}

impl From<&Vote> for Ballot {
    fn from(v: &Vote) -> Self {
        Self { term: v.leader_id.term, node: NodeId(v.leader_id.voted_for), committed: v.committed }
    }
}
impl From<Ballot> for Vote {
    fn from(b: Ballot) -> Self {
        Self { leader_id: LeaderId { term: b.term, voted_for: b.node.0 }, committed: b.committed }
    }
}

/// openraft's membership as ours.
pub(crate) fn members(m: &Membership) -> Members {
    let ids = |set: &BTreeSet<u64>| set.iter().map(|n| NodeId(*n)).collect::<BTreeSet<_>>();
    let configs = m.get_joint_config();
    Members {
        voters: configs.last().map(ids).unwrap_or_default(),
        outgoing: if configs.len() > 1 { ids(&configs[0]) } else { BTreeSet::new() },
        nodes: m.nodes().map(|(id, node)| (NodeId(*id), node.clone())).collect(),
    }
}

/// Our members as openraft's membership; `None` if they make none (a voter that is no node).
pub(crate) fn membership(m: &Members) -> Option<Membership> {
    if m.voters.is_empty() && m.outgoing.is_empty() && m.nodes.is_empty() {
        return Some(Membership::default());
    }
    let ids = |set: &BTreeSet<NodeId>| set.iter().map(|n| n.0).collect::<BTreeSet<_>>();
    let mut configs = Vec::new();
    if !m.outgoing.is_empty() {
        configs.push(ids(&m.outgoing));
    }
    configs.push(ids(&m.voters));
    let nodes: BTreeMap<u64, Member> = m.nodes.iter().map(|(id, node)| (id.0, node.clone())).collect();
    Membership::new(configs, nodes).ok()
}

/// A payload as the bytes that are logged.
pub(crate) fn payload_bytes(payload: &Payload) -> Bytes {
    match payload {
        EntryPayload::Blank => Bytes::from_static(&[kind::BLANK]),
        EntryPayload::Normal(command) => command.0.clone(),
        EntryPayload::Membership(m) => Command::new(kind::MEMBERS, &wire::encode(&members(m))).0,
    }
}

/// Logged bytes as a payload; the reason if they are none.
pub(crate) fn payload(bytes: Bytes) -> Result<Payload, &'static str> {
    match bytes.first() {
        Some(&kind::BLANK) if bytes.len() == 1 => Ok(EntryPayload::Blank),
        Some(&(kind::COMMAND | kind::SEAL)) => Ok(EntryPayload::Normal(Command(bytes))),
        Some(&kind::MEMBERS) => {
            let m: Members = wire::decode(&bytes[1..]).map_err(|_| "members that do not decode")?;
            membership(&m).map(EntryPayload::Membership).ok_or("members with a voter that is no node")
        }
        _ => Err("a payload of an unknown kind"),
    }
}

/// What the engine keeps with the state, for restarts and in snapshots: the state machine stores
/// it without looking inside.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EngineRecord {
    /// Where the members were decided.
    members_at: Position,
    members: Members,
    /// Set once the seal is applied: what comes next.
    pub(crate) sealed: Option<Bytes>,
}

impl EngineRecord {
    pub(crate) fn encode(&self) -> Bytes {
        wire::encode(self).into()
    }
    /// Empty bytes are a state that has seen no members yet.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let record: Self = wire::decode(bytes).map_err(|_| "an engine record that does not decode")?;
        membership(&record.members).ok_or("an engine record with a voter that is no node")?;
        Ok(record)
    }
    pub(crate) fn set_members(&mut self, at: Position, m: &Membership) {
        (self.members_at, self.members) = (at, members(m));
    }
    pub(crate) fn into_members(self) -> Members {
        self.members
    }
    pub(crate) fn stored(&self) -> StoredMembership {
        let m = membership(&self.members).unwrap_or_default();
        StoredMembership::new(log_id(self.members_at), m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Members {
        let nodes = (1..=3).map(|n| (NodeId(n), Member::default())).collect::<BTreeMap<_, _>>();
        Members { voters: nodes.keys().copied().collect(), outgoing: BTreeSet::new(), nodes }
    }

    #[test]
    fn positions_begin_at_one() {
        assert_eq!(position(None), Position::default());
        assert_eq!(log_id(Position::default()), None);
        let first = log_id(Position { term: 4, index: 1 }).unwrap();
        assert_eq!(first.index, 0);
        assert_eq!(position(Some(&first)), Position { term: 4, index: 1 });
    }

    #[test]
    fn payloads_come_back_as_they_went() {
        let mut joint = three();
        joint.outgoing = [NodeId(1)].into();
        for p in [
            EntryPayload::Blank,
            EntryPayload::Normal(Command::new(kind::COMMAND, b"put")),
            EntryPayload::Normal(Command::new(kind::SEAL, b"")),
            EntryPayload::Membership(membership(&three()).unwrap()),
            EntryPayload::Membership(membership(&joint).unwrap()),
        ] {
            assert_eq!(payload(payload_bytes(&p)), Ok(p));
        }
    }

    #[test]
    fn bytes_that_are_no_payload_are_refused() {
        let mut stranger = three();
        stranger.voters.insert(NodeId(9));
        let stranger = Command::new(kind::MEMBERS, &wire::encode(&stranger)).0;
        for bad in [&b""[..], &[0, 0], &[4], &[kind::MEMBERS, 255], &stranger] {
            assert!(payload(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_engine_record_survives_and_junk_does_not() {
        let mut r = EngineRecord::default();
        r.set_members(Position { term: 1, index: 7 }, &membership(&three()).unwrap());
        r.sealed = Some(Bytes::from_static(b"next"));
        assert_eq!(EngineRecord::decode(&r.encode()), Ok(r));
        assert_eq!(EngineRecord::decode(b""), Ok(EngineRecord::default()));
        assert!(EngineRecord::decode(&[255; 7]).is_err());
    }
}
