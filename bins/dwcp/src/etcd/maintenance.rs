//! `etcdserverpb.Maintenance`, and `etcdserverpb.Auth` as an etcd without users answers.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door, refuse_path};
use super::grpc::{self, Call};
use super::message as pb;
use super::status::{self, Code, Status};
use dwcp_consensus::Role;
use dwcp_env::NodeId;
use dwcp_node::{Answer, Ask};
use dwcp_store::api::Revision;

/// The version this door speaks; clients choose what they ask by it.
const VERSION: &str = "3.4.23";

impl<B: Backend> Door<B> {
    pub(super) async fn maintenance_service(self, call: Call, method: &str) {
        match method {
            "Status" => self.unary(call, |c, r| self.member_status(c, r)).await,
            "Alarm" => self.unary(call, |c, r| self.alarm(c, r)).await,
            "Defragment" => self.unary(call, |c, r| self.defragment(c, r)).await,
            "Hash" => self.unary(call, |c, r| self.hash(c, r)).await,
            "HashKV" => self.unary(call, |c, r| self.hash_kv(c, r)).await,
            "MoveLeader" => self.unary(call, |c, r| self.move_leader(c, r)).await,
            "Snapshot" => self.snapshot(call).await,
            _ => refuse_path(call),
        }
    }

    async fn member_status(&self, c: Context, _: pb::StatusRequest) -> Result<pb::StatusResponse, Status> {
        let s = self.group_status(c).await?;
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut errors: Vec<String> = s.repairing.into_iter().collect();
        if s.leader.is_none() {
            errors.push(status::NO_LEADER.message.into_owned());
        }
        let mut header = self.header(c.group, s.revision);
        header.raft_term = s.term;
        Ok(pb::StatusResponse {
            header: Some(header),
            version: VERSION.to_owned(),
            db_size: signed(s.state_bytes),
            leader: s.leader.map_or(0, |n| n.0),
            raft_index: s.committed_index,
            raft_term: s.term,
            raft_applied_index: s.applied_index,
            errors,
            db_size_in_use: signed(s.state_bytes),
            is_learner: s.role == Role::Learner,
        })
    }

    /// There is one alarm etcd raises by itself, for a full quota; here a full disk is an error of
    /// the request that meets it. So none is ever on, and none can be raised by hand.
    async fn alarm(&self, c: Context, r: pb::AlarmRequest) -> Result<pb::AlarmResponse, Status> {
        if r.action == pb::ALARM_ACTIVATE {
            return Err(Status::new(Code::Unimplemented, "dwcp: alarms can't be raised by hand"));
        }
        let s = self.group_status(c).await?;
        Ok(pb::AlarmResponse { header: Some(self.header(c.group, s.revision)), alarms: Vec::new() })
    }

    /// The store's file uses its free pages again, and is written anew by checkpoints.
    async fn defragment(&self, c: Context, _: pb::DefragmentRequest) -> Result<pb::HeaderResponse, Status> {
        let s = self.group_status(c).await?;
        Ok(pb::HeaderResponse { header: Some(self.header(c.group, s.revision)) })
    }

    async fn keys_hash(&self, c: Context, upto: Revision) -> Result<(u32, Revision, Revision), Status> {
        match self.ask(c, Ask::HashKv(upto)).await? {
            // Both halves of the hash, folded: etcd's field has 32 bits.
            Answer::Hash { hash, revision, compact_revision } => {
                Ok(((hash ^ (hash >> 32)) as u32, revision, compact_revision))
            }
            other => Err(convert::mismatch("a hash", &other)),
        }
    }

    async fn hash(&self, c: Context, _: pb::HashRequest) -> Result<pb::HashResponse, Status> {
        let (hash, revision, _) = self.keys_hash(c, 0).await?;
        Ok(pb::HashResponse { header: Some(self.header(c.group, revision)), hash })
    }

    async fn hash_kv(&self, c: Context, r: pb::HashKvRequest) -> Result<pb::HashKvResponse, Status> {
        let (hash, revision, compact_revision) = self.keys_hash(c, r.revision).await?;
        Ok(pb::HashKvResponse { header: Some(self.header(c.group, revision)), hash, compact_revision })
    }

    async fn move_leader(&self, c: Context, r: pb::MoveLeaderRequest) -> Result<pb::HeaderResponse, Status> {
        let s = self.group_status(c).await?;
        if s.leader != Some(s.node) {
            return Err(status::NOT_LEADER);
        }
        let members = match self.ask(c, Ask::Members).await? {
            Answer::Members(members) => members,
            other => return Err(convert::mismatch("the members", &other)),
        };
        if !members.voters.contains(&NodeId(r.target_id)) {
            return Err(status::BAD_LEADER_TRANSFEREE);
        }
        match self.ask(c, Ask::MoveLeader(NodeId(r.target_id))).await? {
            Answer::Done => Ok(pb::HeaderResponse { header: Some(self.header(c.group, s.revision)) }),
            other => Err(convert::mismatch("a move of the leader", &other)),
        }
    }

    /// Users and roles are not kept: as in an etcd that has none. What would make one is refused.
    pub(super) async fn auth_service(self, mut call: Call, method: &str) {
        let refused = match method {
            "AuthEnable" => status::ROOT_USER_NOT_EXIST,
            "Authenticate" => status::AUTH_NOT_ENABLED,
            "UserGet" | "UserDelete" | "UserChangePassword" | "UserGrantRole" | "UserRevokeRole" => {
                status::USER_NOT_FOUND
            }
            "RoleGet" | "RoleDelete" | "RoleGrantPermission" | "RoleRevokePermission" => {
                status::ROLE_NOT_FOUND
            }
            "UserAdd" | "RoleAdd" => Status::new(
                Code::Unimplemented,
                "dwcp: users and roles are not kept; let the network or TLS decide who reaches this port",
            ),
            "AuthDisable" | "UserList" | "RoleList" => {
                return self.unary(call, |c, r| self.no_names(c, r)).await;
            }
            _ => return refuse_path(call),
        };
        grpc::refuse(&mut call.respond, &refused);
    }

    async fn no_names(&self, c: Context, _: pb::AuthRequest) -> Result<pb::AuthListResponse, Status> {
        Ok(pb::AuthListResponse { header: Some(self.header(c.group, 0)), names: Vec::new() })
    }
}
