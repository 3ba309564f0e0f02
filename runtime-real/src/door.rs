//! How doors (gRPC, HTTP, the command line) reach a node: requests with a deadline, streams
//! with a bound, and a stop.
//!
//! **Promise.** Every call ends: with the node's answer, or with a [`DoorError`] that says whether
//! trying again can help. Whoever stops waiting (a dropped future, a dropped stream)
//! tells the node so. Nothing here waits for the disk or for a peer.

use crate::clock::Clock;
use crate::inbox::{Inbox, Level, Refused};
use crate::shard::Entry;
use dwcp_env::bound::{REQUESTS_IN_FLIGHT, WATCH_BACKLOG};
use dwcp_env::{Duration, Event, Instant, Probe, RequestId};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Why a node gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DoorError {
    /// Too much is in flight; nothing was done.
    #[error("overloaded: too many requests are in flight; nothing was done, try again later")]
    Overloaded,
    /// The deadline passed; the request may or may not still take effect.
    #[error("no answer before the deadline; the request may still take effect")]
    Deadline,
    /// The node stops or has stopped; the request may or may not have taken effect.
    #[error("the node is stopping; ask another node")]
    Stopped,
    /// A stream's reader was too slow and lost replies; start a new stream from what was read.
    #[error(
        "the stream's reader fell more than {WATCH_BACKLOG} replies behind; resume from the last one read"
    )]
    Lagged,
}

/// Where the answers to a request go.
pub(crate) enum Answer<R> {
    Once(oneshot::Sender<Result<R, DoorError>>),
    Stream { to: mpsc::Sender<R>, lagged: Arc<AtomicBool> },
}

/// What doors and the loop share.
pub(crate) struct Counts {
    next_request: AtomicU64,
    requests: AtomicUsize,
    streams: AtomicUsize,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self { next_request: AtomicU64::new(1), requests: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }
    /// Requests and streams in flight.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (self.requests.load(Ordering::Relaxed), self.streams.load(Ordering::Relaxed))
    }
    fn of(&self, kind: Kind) -> &AtomicUsize {
        match kind {
            Kind::Request => &self.requests,
            Kind::Stream => &self.streams,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Stream,
}

/// One request's place among those in flight; given back when dropped.
pub(crate) struct Place {
    counts: Arc<Counts>,
    kind: Kind,
}

impl Place {
    fn take(counts: &Arc<Counts>, kind: Kind) -> Result<Self, usize> {
        let before = counts.of(kind).fetch_add(1, Ordering::Relaxed);
        let place = Self { counts: counts.clone(), kind };
        if before >= REQUESTS_IN_FLIGHT { Err(before) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.of(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

/// A door's line to a node; clone it freely.
pub struct NodeHandle<Q, R> {
    pub(crate) inbox: Arc<Inbox<Entry<Q, R>>>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) clock: Clock,
    pub(crate) probe: Probe,
}

impl<Q, R> Clone for NodeHandle<Q, R> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
            counts: self.counts.clone(),
            clock: self.clock,
            probe: self.probe.clone(),
        }
    }
}

impl<Q, R> std::fmt::Debug for NodeHandle<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeHandle({:?} in flight)", self.counts.in_flight())
    }
}

impl<Q: Send + 'static, R: Send + 'static> NodeHandle<Q, R> {
    /// Asks and waits for the one answer. Dropping the future cancels the request.
    ///
    /// # Errors
    /// Any [`DoorError`] but `Lagged`.
    pub async fn request(&self, request: Q, within: Duration) -> Result<R, DoorError> {
        self.begin(request, within)?.await
    }

    /// Asks, and gives back what will be the one answer: for doors that keep thousands of these.
    ///
    /// # Errors
    /// `Overloaded`, `Stopped`.
    pub fn begin(&self, request: Q, within: Duration) -> Result<Pending<Q, R>, DoorError> {
        let (answer, waiting) = oneshot::channel();
        let id = self.enter(request, Kind::Request, self.clock.mono() + within, Answer::Once(answer))?;
        Ok(Pending { answer: waiting, inbox: self.inbox.clone(), id, answered: false })
    }

    /// Asks for a stream of answers. Dropping the [`ReplyStream`] cancels the request.
    ///
    /// # Errors
    /// `Overloaded`, `Stopped`.
    pub fn stream(&self, request: Q) -> Result<ReplyStream<Q, R>, DoorError> {
        let (to, replies) = mpsc::channel(WATCH_BACKLOG);
        let lagged = Arc::new(AtomicBool::new(false));
        let answer = Answer::Stream { to, lagged: lagged.clone() };
        let id = self.enter(request, Kind::Stream, Instant::FAR, answer)?;
        Ok(ReplyStream { replies, lagged, id, inbox: self.inbox.clone() })
    }

    fn enter(
        &self,
        request: Q,
        kind: Kind,
        deadline: Instant,
        answer: Answer<R>,
    ) -> Result<RequestId, DoorError> {
        let place = Place::take(&self.counts, kind).map_err(|n| self.overloaded(n))?;
        let id = RequestId(self.counts.next_request.fetch_add(1, Ordering::Relaxed));
        match self.inbox.push(Level::Work, Entry::Request { id, deadline, request, answer, place }) {
            Ok(()) => Ok(id),
            Err(Refused::Full(_)) => Err(self.overloaded(self.inbox.waiting())),
            Err(Refused::Closed) => Err(DoorError::Stopped),
        }
    }

    fn overloaded(&self, in_flight: usize) -> DoorError {
        self.probe.event(&Event::Overloaded { in_flight: in_flight as u64 });
        DoorError::Overloaded
    }

    /// Asks the node to end well: hand over what it leads, flush, and end. It has `within`
    /// for that. Await [`Node::ended`](crate::Node::ended) for the outcome.
    pub fn stop(&self, within: Duration) {
        self.inbox.complete(Entry::Stop { deadline: self.clock.mono() + within });
    }

    /// Whether the node has ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.inbox.is_closed()
    }

    /// The node's monotonic clock, on which deadlines are stated.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Requests and streams in flight.
    #[must_use]
    pub fn in_flight(&self) -> (usize, usize) {
        self.counts.in_flight()
    }
}

/// The answer to a request, once it comes. Dropping it cancels the request.
pub struct Pending<Q, R> {
    answer: oneshot::Receiver<Result<R, DoorError>>,
    inbox: Arc<Inbox<Entry<Q, R>>>,
    id: RequestId,
    answered: bool,
}

impl<Q, R> std::fmt::Debug for Pending<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.id)
    }
}

impl<Q, R> Future for Pending<Q, R> {
    type Output = Result<R, DoorError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.answered = true;
        Poll::Ready(answer.unwrap_or(Err(DoorError::Stopped)))
    }
}

impl<Q, R> Drop for Pending<Q, R> {
    fn drop(&mut self) {
        if !self.answered {
            self.inbox.follow(Level::Work, Entry::Cancel { id: self.id });
        }
    }
}

/// The answers to a streaming request, in order.
pub struct ReplyStream<Q, R> {
    replies: mpsc::Receiver<R>,
    lagged: Arc<AtomicBool>,
    id: RequestId,
    inbox: Arc<Inbox<Entry<Q, R>>>,
}

impl<Q, R> std::fmt::Debug for ReplyStream<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplyStream({})", self.id)
    }
}

impl<Q, R> ReplyStream<Q, R> {
    /// The next answer; `None` after the last one.
    ///
    /// # Errors
    /// `Lagged` once the answers kept are read, if the reader was too slow; `Stopped` if the
    /// node ended.
    pub async fn next(&mut self) -> Result<Option<R>, DoorError> {
        match self.replies.recv().await {
            Some(r) => Ok(Some(r)),
            None => self.end(),
        }
    }

    /// As [`next`](Self::next), for use inside `poll` functions.
    pub fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<Option<R>, DoorError>> {
        self.replies.poll_recv(cx).map(|r| match r {
            Some(r) => Ok(Some(r)),
            None => self.end(),
        })
    }

    /// The next answer if it is there already.
    pub fn try_next(&mut self) -> Option<R> {
        self.replies.try_recv().ok()
    }

    fn end(&self) -> Result<Option<R>, DoorError> {
        if self.lagged.load(Ordering::Acquire) {
            Err(DoorError::Lagged)
        } else if self.inbox.is_closed() {
            Err(DoorError::Stopped)
        } else {
            Ok(None)
        }
    }
}

impl<Q, R> Drop for ReplyStream<Q, R> {
    fn drop(&mut self) {
        self.inbox.follow(Level::Work, Entry::Cancel { id: self.id });
    }
}
