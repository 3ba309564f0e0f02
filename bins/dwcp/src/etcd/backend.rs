//! What the etcd door needs of the node behind it.
//!
//! The door holds no state of the cluster: every answer comes through this trait, in the node's
//! own words ([`dwcp_node::api`]).
//!
//! **What an implementation owes.**
//! 1. A call is answered by its deadline, be it with [`AskError::Unknown`](dwcp_node::AskError).
//!    The door asks nobody twice: retries belong to the client, and to sessions.
//! 2. A watch is answered at once with a `Watched` whose revision is the store's at that
//!    moment; so the door can tell the client that the watch stands.
//! 3. Each change of the range is told once, in the order of revisions, all changes of one
//!    revision in one `Watched`. History that was asked for is told before anything newer.
//! 4. Changes reach a watch's stream before any later answer of this node shows their
//!    revision. (One loop makes both, so this costs nothing; the door's answers to requests
//!    for progress rest on it.)
//! 5. A watch that falls too far behind is ended without an error: its stream ends, and the door
//!    asks again from where it was. With an error it has ended for good.
//! 6. Dropping a stream cancels the request.

use dwcp_env::GroupId;
use dwcp_node::{Request, Response};
use futures_util::Stream;
use std::future::Future;
use std::time::Instant;

/// The node, as the door sees it.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The answers to a request that has several.
    type Replies: Stream<Item = Response> + Send + Unpin + 'static;
    /// The answer to a request that has one.
    type Pending: Future<Output = Response> + Send + Unpin + 'static;

    /// The numbers that every answer's header carries: cluster and member.
    fn identity(&self) -> (u64, u64);
    /// The term of a group, as lately seen; for headers only.
    fn term(&self, group: GroupId) -> u64;
    /// The group of a keyspace; the default one has the empty name.
    fn group(&self, keyspace: &str) -> Option<GroupId>;
    /// Asks what has one answer. Dropping what is given back cancels the request.
    fn begin(&self, request: Request, deadline: Instant) -> Self::Pending;
    /// Asks what has several.
    fn open(&self, request: Request) -> Self::Replies;
}
