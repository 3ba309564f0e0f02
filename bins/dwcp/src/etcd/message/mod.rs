//! The messages of the etcd v3 API, by hand.
//!
//! They restate the public wire format of etcd 3.4's `rpc.proto`, `kv.proto`, `auth.proto`,
//! `v3lock.proto` and `v3election.proto`: names are etcd's, the tags are what a client sends.
//! Enumerations are kept as the `int32` they are on the wire, so that an unknown value
//! reaches the code that can refuse it; the values are constants beside the message.
//! Byte strings are [`bytes::Bytes`]: decoding slices the received frame and copies nothing.
//!
//! Rejected: generating them from the `.proto` files. It would bring `protoc` or a parser into
//! every build for a format that has not changed a tag in eight years.

mod admin;
mod auth;
mod concurrency;
mod kv;
mod lease;
mod watch;

pub(crate) use admin::*;
pub(crate) use auth::*;
pub(crate) use concurrency::*;
pub(crate) use kv::*;
pub(crate) use lease::*;
pub(crate) use watch::*;

/// What every answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    pub(crate) cluster_id: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) member_id: u64,
    #[prost(int64, tag = "3")]
    pub(crate) revision: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) raft_term: u64,
}
