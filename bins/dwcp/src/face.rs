//! The node as its doors see it: requests with deadlines, streams, and the headers' numbers.

use crate::etcd::Backend;
use crate::redis::{self, Answered, Keyspace, Refused};
use bytes::Bytes;
use dwcp_env::{Duration, GroupId};
use dwcp_eventual::{Command, Query, Subscription};
use dwcp_node::{Answer, Ask, AskError, Request, Response};
use dwcp_runtime_real::clock::Clock;
use dwcp_runtime_real::{self as runtime, DoorError, NodeHandle, ReplyStream};
use futures_util::stream::Map;
use futures_util::{Stream, StreamExt};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// A door's view of the node of this process.
#[derive(Clone, Debug)]
pub struct Face {
    handle: NodeHandle<Request, Response>,
    identity: (u64, u64),
    keyspaces: Arc<BTreeMap<String, GroupId>>,
    terms: Terms,
    eventual: Arc<[Keyspace]>,
}

/// The groups' terms, as lately seen.
type Terms = Arc<BTreeMap<GroupId, AtomicU64>>;

/// A node's own affairs are answered in this time, or it hangs.
const STATUS_WITHIN: Duration = Duration::secs(2);

impl Face {
    /// A view of `handle`; `identity` is what headers carry: cluster and member.
    #[must_use]
    pub fn new(
        handle: NodeHandle<Request, Response>,
        identity: (u64, u64),
        keyspaces: BTreeMap<String, GroupId>,
    ) -> Self {
        let terms = keyspaces.values().map(|g| (*g, AtomicU64::new(0))).collect();
        Self {
            handle,
            identity,
            keyspaces: Arc::new(keyspaces),
            terms: Arc::new(terms),
            eventual: Arc::default(),
        }
    }

    /// With these eventual keyspaces, in the order in which clients number them.
    #[must_use]
    pub fn with_eventual(mut self, eventual: impl IntoIterator<Item = Keyspace>) -> Self {
        self.eventual = eventual.into_iter().collect();
        self
    }

    /// All keyspaces by name.
    #[must_use]
    pub fn keyspaces(&self) -> &BTreeMap<String, GroupId> {
        &self.keyspaces
    }

    /// The node's clocks.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.handle.clock()
    }

    /// Whether an eventual keyspace serves.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub async fn serves(&self, keyspace: GroupId) -> Result<(), String> {
        // The cheapest question that an unready replica refuses.
        let query = Query::Command(Command::Type { key: Bytes::new() });
        let asked = redis::Backend::ask(self, keyspace, query, Instant::now() + STATUS_WITHIN.to_std()).await;
        asked.map(drop).map_err(|refused| refused.to_string())
    }

    /// How a replica of an eventual keyspace fares.
    ///
    /// # Errors
    /// Why it does not say.
    pub async fn eventual_status(&self, keyspace: GroupId) -> Result<dwcp_eventual::api::Status, String> {
        let deadline = Instant::now() + STATUS_WITHIN.to_std();
        match redis::Backend::ask(self, keyspace, Query::Status, deadline).await {
            Ok(dwcp_eventual::Answer::Status(status)) => Ok(*status),
            Ok(_) => Err("another answer than to this question".into()),
            Err(refused) => Err(refused.to_string()),
        }
    }

    /// How the node sees a group.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hybrid(&self, group: GroupId) -> Result<dwcp_node::HybridStatus, AskError> {
        let request = Request { group, ask: Ask::Hybrid(dwcp_node::HybridAsk::Status) };
        match self.handle.request(request, STATUS_WITHIN).await {
            Ok(Ok(Answer::Hybrid(status))) => Ok(*status),
            Ok(Ok(_)) => Err(AskError::Unknown),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(refusal(error)),
        }
    }

    /// How the node sees a group.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self, group: GroupId) -> Result<dwcp_node::GroupStatus, AskError> {
        let request = Request { group, ask: Ask::Status };
        match self.handle.request(request, STATUS_WITHIN).await {
            Ok(Ok(Answer::Status(status))) => {
                if let Some(term) = self.terms.get(&group) {
                    term.store(status.term, Ordering::Relaxed);
                }
                Ok(*status)
            }
            Ok(Ok(_)) => Err(AskError::Unknown),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(refusal(error)),
        }
    }
}

/// A door's error as the node would have said it.
const fn refusal(error: DoorError) -> AskError {
    match error {
        DoorError::Overloaded => AskError::Overloaded,
        DoorError::Deadline | DoorError::Lagged => AskError::Unknown,
        DoorError::Stopped => AskError::Stopping,
    }
}

impl Backend for Face {
    type Replies = Replies;
    type Pending = Pending;

    fn identity(&self) -> (u64, u64) {
        self.identity
    }
    fn term(&self, group: GroupId) -> u64 {
        self.terms.get(&group).map_or(0, |t| t.load(Ordering::Relaxed))
    }
    fn group(&self, keyspace: &str) -> Option<GroupId> {
        self.keyspaces.get(keyspace).copied()
    }
    fn begin(&self, request: Request, deadline: Instant) -> Pending {
        let within = Duration::from_std(deadline.saturating_duration_since(Instant::now()));
        let terms = matches!(request.ask, Ask::Status).then(|| (request.group, self.terms.clone()));
        Pending { answer: self.handle.begin(request, within), terms }
    }
    fn open(&self, request: Request) -> Replies {
        match self.handle.stream(request) {
            Ok(stream) => Replies::Open(stream),
            Err(error) => Replies::Refused(Some(refusal(error))),
        }
    }
}

/// The answer to a request, once the node gives it.
#[derive(Debug)]
pub struct Pending {
    answer: Result<runtime::Pending<Request, Response>, DoorError>,
    /// Where to note the term that a status tells.
    terms: Option<(GroupId, Terms)>,
}

impl Future for Pending {
    type Output = Response;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let answer = match &mut self.answer {
            Ok(pending) => ready!(Pin::new(pending).poll(cx)),
            Err(error) => Err(*error),
        };
        let response = answer.unwrap_or_else(|error| Err(refusal(error)));
        if let (Some((group, terms)), Ok(Answer::Status(status))) = (&self.terms, &response)
            && let Some(term) = terms.get(group)
        {
            term.store(status.term, Ordering::Relaxed);
        }
        Poll::Ready(response)
    }
}

/// An answer as the Redis door takes it.
fn eventual(response: Response) -> Answered {
    match response {
        Ok(Answer::Eventual(answer)) => Ok(answer),
        Ok(_) => Err(Refused::Node(AskError::Unknown)),
        Err(AskError::Eventual(refusal)) => Err(Refused::Replica(refusal)),
        Err(error) => Err(Refused::Node(error)),
    }
}

impl redis::Backend for Face {
    type Notices = Map<Replies, fn(Response) -> Answered>;

    fn eventual(&self) -> &[Keyspace] {
        &self.eventual
    }
    fn strong(&self) -> &str {
        "default"
    }
    fn identity(&self) -> (u64, u64) {
        self.identity
    }
    async fn ask(&self, keyspace: GroupId, query: Query, deadline: Instant) -> Answered {
        let within = Duration::from_std(deadline.saturating_duration_since(Instant::now()));
        let request = Request { group: keyspace, ask: Ask::Eventual(query) };
        match self.handle.request(request, within).await {
            Ok(response) => eventual(response),
            Err(error) => Err(Refused::Node(refusal(error))),
        }
    }
    fn subscribe(&self, keyspace: GroupId, wanted: Subscription) -> Self::Notices {
        let request = Request { group: keyspace, ask: Ask::Eventual(Query::Subscribe(wanted)) };
        Backend::open(self, request).map(eventual as fn(Response) -> Answered)
    }
}

/// The answers to a streaming request.
#[derive(Debug)]
pub enum Replies {
    /// They come.
    Open(ReplyStream<Request, Response>),
    /// They will not; the reason, until it is told.
    Refused(Option<AskError>),
}

impl Stream for Replies {
    type Item = Response;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        match &mut *self {
            Self::Open(stream) => stream.poll_next(cx).map(|next| match next {
                Ok(reply) => reply,
                // The reader fell behind: the stream ends, and the door asks again from where it was.
                Err(DoorError::Lagged) => None,
                Err(error) => {
                    *self = Self::Refused(None);
                    Some(Err(refusal(error)))
                }
            }),
            Self::Refused(why) => Poll::Ready(why.take().map(Err)),
        }
    }
}
