//! The etcd v3 door: `etcdctl`, the Python client and every other client of etcd 3.4 work
//! unmodified.
//!
//! **Promise.** A client cannot tell this door from etcd's by its answers, its refusals or
//! their texts; where it must differ, it says so in a status. Requests go to the node as they
//! came ([`backend`]); nothing is cached, nothing is decided here.
//!
//! | file | holds |
//! |---|---|
//! | [`backend`] | what the door needs of the node |
//! | `grpc` | gRPC over HTTP/2: framing, deadlines, statuses, bounds |
//! | `status` | etcd's errors, to the letter |
//! | `message` | etcd's messages |
//! | `convert` | messages to the node's questions and back; etcd's own checks |
//! | `reserved` | keys of the fleet's, which are not written here |
//! | `door` | from a call's path to its service; headers |
//! | `kv`, `watch`, `lease`, `cluster`, `maintenance` | the services |
//! | `snapshot`, `bolt` | a keyspace as etcd's own database file |
//! | `wait`, `lock`, `election` | recipes on keys and leases that etcd runs for its clients |
//!
//! **Differences from etcd 3.4,** each refused with a text that says so, or harmless:
//! users and roles are not kept (`auth enable` fails as in an etcd without a root user); alarms
//! can be listed and there are none; `defrag` is answered and has nothing to do; keys below `/dwcp/fleet/` are read and
//! watched, and not written.
//!
//! **Keyspaces.** Metadata `dwcp-keyspace` names one; without it the default keyspace is meant.
//!
//! **Bounds.** Requests of at most [`bound::REQUEST_MAX`](dwcp_env::bound::REQUEST_MAX);
//! [`bound::REQUESTS_IN_FLIGHT`](dwcp_env::bound::REQUESTS_IN_FLIGHT) calls on one connection;
//! [`CONNECTIONS`] connections; 16,384 watches on one stream.

pub mod backend;

mod bolt;
mod cluster;
mod consensus;
mod convert;
mod door;
mod election;
mod grpc;
#[cfg(test)]
mod hostile;
mod kv;
mod lease;
mod lock;
mod maintenance;
pub(crate) mod message;
mod reserved;
mod snapshot;
mod status;
mod wait;
mod watch;

pub use backend::Backend;
pub use door::{CONNECTIONS, Door};
