//! What the Redis door needs of the node behind it.
//!
//! **What an implementation owes.**
//! 1. A question is answered by its deadline, be it with [`AskError::Unknown`].
//! 2. Steps of one [`Query::Pipeline`] are done in order; their answers come together.
//! 3. A subscription is answered at once with an empty [`Answer::Notices`]: every change from then on is told.
//! 4. A subscription that falls behind ends with [`Refusal::Lagged`], never with a gap that nobody is told of.
//! 5. Dropping a stream cancels the subscription.

use dwcp_env::GroupId;
use dwcp_eventual::{Answer, Query, Refusal, Subscription, SyncPolicy};
use dwcp_node::AskError;
use futures_util::Stream;
use std::future::Future;
use std::time::Instant;
use thiserror::Error;

/// An eventual keyspace as clients choose it: by its place in the list (`SELECT 0`), or by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyspace {
    /// Its name.
    pub name: String,
    /// Its number among the node's groups.
    pub group: GroupId,
    /// What its answers to writes wait for.
    pub sync: SyncPolicy,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// The replica's word: nothing was done.
    #[error(transparent)]
    Replica(#[from] Refusal),
    /// The node's word.
    #[error(transparent)]
    Node(#[from] AskError),
}

/// What comes of a question.
pub type Answered = Result<Answer, Refused>;

/// The node, as the door sees it.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The answers to a subscription.
    type Notices: Stream<Item = Answered> + Send + Unpin + 'static;

    /// The eventual keyspaces, the default one first. Never empty.
    fn eventual(&self) -> &[Keyspace];
    /// The strong keyspace that refusals name.
    fn strong(&self) -> &str;
    /// Cluster and node, for `INFO`.
    fn identity(&self) -> (u64, u64);
    /// Asks what has one answer.
    fn ask(
        &self,
        keyspace: GroupId,
        query: Query,
        deadline: Instant,
    ) -> impl Future<Output = Answered> + Send;
    /// Asks for changes.
    fn subscribe(&self, keyspace: GroupId, wanted: Subscription) -> Self::Notices;
}
