//! `etcdserverpb.Cluster`, `etcdserverpb.Maintenance` and `grpc.health.v1`.

use super::ResponseHeader;
use bytes::Bytes;

/// A member of the cluster.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Member {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) peer_urls: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) client_urls: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(crate) is_learner: bool,
}

/// Adds a member.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberAddRequest {
    #[prost(string, repeated, tag = "1")]
    pub(crate) peer_urls: Vec<String>,
    #[prost(bool, tag = "2")]
    pub(crate) is_learner: bool,
    /// Ours, not etcd's: the number to give it, the same in every keyspace; 0: draw one.
    #[prost(uint64, tag = "1001")]
    pub(crate) id: u64,
    /// Ours: its name.
    #[prost(string, tag = "1002")]
    pub(crate) name: String,
    /// Ours: where clients reach it.
    #[prost(string, tag = "1003")]
    pub(crate) client_url: String,
}

/// A member was added.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberAddResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(message, optional, tag = "2")]
    pub(crate) member: Option<Member>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) members: Vec<Member>,
}

/// Removes a member.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct MemberRemoveRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
}

/// Changes a member's addresses.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberUpdateRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, repeated, tag = "2")]
    pub(crate) peer_urls: Vec<String>,
}

/// Asks for the members.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct MemberListRequest {}

/// Makes a learner a voter.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct MemberPromoteRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
}

/// The members after what was asked; `MemberListResponse` and its three siblings are the same.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MembersResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) members: Vec<Member>,
}

/// [`AlarmRequest::action`]: raise one.
pub(crate) const ALARM_ACTIVATE: i32 = 1;
/// Asks about alarms.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AlarmRequest {
    #[prost(int32, tag = "1")]
    pub(crate) action: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int32, tag = "3")]
    pub(crate) alarm: i32,
}

/// An alarm of a member.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AlarmMember {
    #[prost(uint64, tag = "1")]
    pub(crate) member_id: u64,
    #[prost(int32, tag = "2")]
    pub(crate) alarm: i32,
}

/// The alarms.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AlarmResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) alarms: Vec<AlarmMember>,
}

/// Asks how a member does.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct StatusRequest {}

/// How a member does.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(int64, tag = "3")]
    pub(crate) db_size: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) leader: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) raft_term: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raft_applied_index: u64,
    #[prost(string, repeated, tag = "8")]
    pub(crate) errors: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(crate) db_size_in_use: i64,
    #[prost(bool, tag = "10")]
    pub(crate) is_learner: bool,
}

/// Gives unused space back.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct DefragmentRequest {}

/// An answer that is a header and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HeaderResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
}

/// Asks for a hash of the whole backend.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HashRequest {}

/// A hash of the whole backend.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HashResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(uint32, tag = "2")]
    pub(crate) hash: u32,
}

/// Asks for a hash of the keys up to a revision.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HashKvRequest {
    #[prost(int64, tag = "1")]
    pub(crate) revision: i64,
}

/// A hash of the keys.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HashKvResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(uint32, tag = "2")]
    pub(crate) hash: u32,
    #[prost(int64, tag = "3")]
    pub(crate) compact_revision: i64,
}

/// Asks for all of the state.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotRequest {}

/// A piece of the state.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(uint64, tag = "2")]
    pub(crate) remaining_bytes: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) blob: Bytes,
}

/// Asks the leader to make way.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) target_id: u64,
}

/// Asks which engine orders a keyspace's commands (`dwcp.v1.Consensus`).
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ConsensusStatusRequest {}

/// Asks for the next epoch (`dwcp.v1.Consensus`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ConsensusSwitchRequest {
    /// The epoch it is to follow.
    #[prost(uint32, optional, tag = "1")]
    pub(crate) after: Option<u32>,
    /// What is to follow.
    #[prost(string, tag = "2")]
    pub(crate) json: String,
}

/// An answer of `dwcp.v1.Consensus`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ConsensusAnswer {
    /// What was asked for.
    #[prost(string, tag = "1")]
    pub(crate) json: String,
}

/// Asks whether a service serves (`grpc.health.v1`).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// [`HealthCheckResponse::status`]: it serves.
pub(crate) const HEALTH_SERVING: i32 = 1;
/// Whether a service serves.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}
