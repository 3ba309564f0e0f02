//! `etcdserverpb.Auth`: only what is needed to answer as an etcd without users does.

use super::ResponseHeader;

/// Any request of this service: its fields do not change the answer.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct AuthRequest {}

/// No roles, no users.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AuthListResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<ResponseHeader>,
    #[prost(string, repeated, tag = "2")]
    pub(crate) names: Vec<String>,
}
