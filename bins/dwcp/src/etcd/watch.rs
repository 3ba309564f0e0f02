//! `etcdserverpb.Watch`: many watches on one stream.
//!
//! **Model.** A client's stream is one task. Each of its watches is a stream of the node's
//! answers; whichever is ready is forwarded. Nothing is buffered here: while a client does
//! not read, its watches wait, and the node's own bound ends those that fall too far behind;
//! they are then asked for again from the revision after the last one told. The client
//! notices a delay, never a gap.
//!
//! **Invariants.**
//! 1. For one watch: `created` comes first, then changes in the order of revisions, each once.
//! 2. A watch is asked for again from behind the last change that was told, never from a revision
//!    that a header showed: history may still have been on its way.
//! 3. A progress answer with revision `r` (`watch_id` -1) is sent only when every watch of the
//!    stream has been told all up to `r`. (etcd 3.4 does not keep this one.)

use super::backend::Backend;
use super::convert;
use super::door::{CATCH_UP, Context, Door};
use super::grpc::{self, Call, Left, Limit, Outbound};
use super::message as pb;
use super::status::{self, Status};
use bytes::Bytes;
use dwcp_env::{GroupId, bound};
use dwcp_node::{Answer, Ask, AskError, Request, Response, WatchRequest};
use dwcp_store::api::{OpError, Revision, WatchEvent};
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt, StreamFuture};
use http::HeaderMap;
use prost::Message as _;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Watches on one stream.
pub(super) const WATCHES: usize = 16_384;
/// What etcd sends where no watch is meant.
const NO_WATCH: i64 = -1;
/// An answer with more is cut into fragments, for clients that asked for that.
const FRAGMENT: usize = bound::REQUEST_MAX.as_usize() + 512 * 1024;
/// How often a progress answer that is owed is tried.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often a stream that requires a leader asks whether there is one.
const LEADER_CHECK: Duration = Duration::from_secs(1);
/// Checks in a row without a leader that end such a stream; as etcd's three election timeouts.
const LEADER_MISSES: u32 = 3;

/// A watch as its client sees it.
struct Entry {
    /// As asked for, `start_revision` kept at the first revision not yet told (0: not known).
    wanted: WatchRequest,
    /// Distinguishes it from earlier watches of the same number.
    generation: u64,
    /// The highest revision shown to the client; `None` until `created` has been sent.
    shown: Option<Revision>,
    /// Whether the node has answered since it was last asked.
    answered: bool,
    fragment: bool,
    abort: AbortHandle,
}

/// The next answer of a watch, with the number and generation of the watch it is for.
struct Next<S> {
    id: i64,
    generation: u64,
    answer: Abortable<StreamFuture<S>>,
}

type Arrived<S> = (i64, u64, Option<(Option<Response>, S)>);

impl<S: futures_util::Stream + Unpin> Future for Next<S>
where
    S: futures_util::Stream<Item = Response>,
{
    type Output = Arrived<S>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let arrived = ready!(Pin::new(&mut self.answer).poll(cx)).ok();
        Poll::Ready((self.id, self.generation, arrived))
    }
}

/// One client's stream.
struct Session<B: Backend> {
    door: Door<B>,
    group: GroupId,
    out: Outbound,
    watches: BTreeMap<i64, Entry>,
    /// One for each watch, and for a moment those of watches just ended.
    coming: FuturesUnordered<Next<B::Replies>>,
    next_id: i64,
    next_generation: u64,
    /// A progress answer is owed since then.
    progress_owed: Option<Instant>,
}

/// Why a stream ends.
enum End {
    Left,
    With(Status),
}

impl From<Left> for End {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

impl<B: Backend> Door<B> {
    pub(super) async fn watch(self, mut call: Call) {
        let group = match self.group(&call.head) {
            Ok(group) => group,
            Err(status) => return grpc::refuse(&mut call.respond, &status),
        };
        let needs_leader = Self::requires_leader(&call.head);
        let Ok(out) = Outbound::open(&mut call.respond) else { return };
        let mut session = Session {
            door: self,
            group,
            out,
            watches: BTreeMap::new(),
            coming: FuturesUnordered::new(),
            next_id: 0,
            next_generation: 0,
            progress_owed: None,
        };
        if let End::With(status) = session.run(&mut call.inbound, needs_leader).await {
            session.out.finish(&status);
        }
    }
}

impl<B: Backend> Session<B> {
    async fn run(&mut self, inbound: &mut grpc::Inbound, needs_leader: bool) -> End {
        let mut speaking = true;
        let mut misses = 0;
        let mut leader_check = interval(LEADER_CHECK);
        leader_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                request = inbound.next::<pb::WatchRequest>(), if speaking => match request {
                    Ok(Some(request)) => self.request(request).await,
                    // The client has no more wishes and still listens.
                    Ok(None) => { speaking = false; Ok(()) }
                    Err(status) => Err(End::With(status)),
                },
                Some(arrived) = self.coming.next(), if !self.coming.is_empty() => self.arrived(arrived).await,
                () = self.out.left() => Err(End::Left),
                // A progress answer waits for this node's state, which tells nobody when it moves.
                () = sleep(LOOK_AGAIN), if self.progress_owed.is_some() => Ok(()),
                _ = leader_check.tick(), if needs_leader => {
                    let led = self.status().await.is_ok_and(|s| s.leader.is_some());
                    misses = if led { 0 } else { misses + 1 };
                    if misses < LEADER_MISSES { Ok(()) } else { Err(End::With(status::NO_LEADER)) }
                }
            };
            if let Err(end) = step {
                return end;
            }
            if let Some(since) = self.progress_owed
                && let Err(end) = self.progress(since).await
            {
                return end;
            }
        }
    }

    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), End> {
        match request.request_union {
            Some(pb::WatchRequestUnion::Create(r)) => self.create(r).await,
            Some(pb::WatchRequestUnion::Cancel(r)) => self.cancel(r.watch_id).await,
            Some(pb::WatchRequestUnion::Progress(_)) => {
                self.progress_owed.get_or_insert_with(Instant::now);
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, r: pb::WatchCreateRequest) -> Result<(), End> {
        let key = if r.key.is_empty() { Bytes::from_static(b"\0") } else { r.key };
        let open_end = r.range_end[..] == [0];
        let refusal = if self.watches.contains_key(&r.watch_id) && r.watch_id != 0 {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else if !open_end && !r.range_end.is_empty() && key >= r.range_end {
            Some("mvcc: watcher range is empty")
        } else if self.watches.len() >= WATCHES {
            Some("dwcp: too many watches on one stream; open another stream")
        } else {
            None
        };
        if let Some(why) = refusal {
            return self.tell_refused(why).await;
        }
        let id = if r.watch_id == 0 { self.free_id() } else { r.watch_id };
        let wanted = WatchRequest {
            key,
            range_end: r.range_end,
            start_revision: self.start(r.start_revision).await,
            prev_kv: r.prev_kv,
            no_put: r.filters.contains(&pb::FILTER_NO_PUT),
            no_delete: r.filters.contains(&pb::FILTER_NO_DELETE),
            progress: r.progress_notify,
        };
        let generation = self.next_generation;
        self.next_generation += 1;
        let abort = self.listen(id, generation, wanted.clone());
        self.watches.insert(
            id,
            Entry { wanted, generation, shown: None, answered: false, fragment: r.fragment, abort },
        );
        Ok(())
    }

    /// The first revision of a watch; 0 if it is for the node to say. "From now on" must not be
    /// before what this door has shown: a client does not expect to be told of its own last write.
    async fn start(&mut self, asked: Revision) -> Revision {
        if asked > 0 {
            return asked;
        }
        let shown = self.door.shown(self.group);
        match self.status().await {
            Ok(status) if status.revision < shown => shown + 1,
            _ => 0,
        }
    }

    async fn tell_refused(&mut self, why: &str) -> Result<(), End> {
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, 0)),
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: why.to_owned(),
            ..Default::default()
        };
        Ok(self.out.send(&response).await?)
    }

    fn free_id(&mut self) -> i64 {
        loop {
            let id = self.next_id;
            self.next_id += 1;
            if !self.watches.contains_key(&id) {
                return id;
            }
        }
    }

    /// Asks the node, and waits for its first answer.
    fn listen(&mut self, id: i64, generation: u64, wanted: WatchRequest) -> AbortHandle {
        let replies = self.door.backend.open(Request { group: self.group, ask: Ask::Watch(wanted) });
        self.wait(id, generation, replies)
    }

    fn wait(&mut self, id: i64, generation: u64, replies: B::Replies) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let answer = Abortable::new(replies.into_future(), registration);
        self.coming.push(Next { id, generation, answer });
        abort
    }

    async fn cancel(&mut self, id: i64) -> Result<(), End> {
        let Some(entry) = self.watches.remove(&id) else { return Ok(()) };
        entry.abort.abort();
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, entry.shown.unwrap_or_default())),
            watch_id: id,
            canceled: true,
            ..Default::default()
        };
        Ok(self.out.send(&response).await?)
    }

    async fn arrived(&mut self, arrived: Arrived<B::Replies>) -> Result<(), End> {
        let (id, generation, arrived) = arrived;
        // What comes for a watch that was cancelled meanwhile is nobody's.
        let Some((answer, replies)) = arrived else { return Ok(()) };
        let Some(entry) = self.watches.get_mut(&id).filter(|e| e.generation == generation) else {
            return Ok(());
        };
        match answer {
            Some(Ok(Answer::Watched { revision, events })) => {
                let first = entry.shown.is_none();
                entry.shown = entry.shown.max(Some(revision));
                entry.answered = true;
                match events.last() {
                    Some(last) => entry.wanted.start_revision = last.kv.mod_revision + 1,
                    None if entry.wanted.start_revision == 0 => entry.wanted.start_revision = revision + 1,
                    // A report of progress says nothing about history that is still on its way.
                    None => {}
                }
                let (fragment, progress) = (entry.fragment, entry.wanted.progress);
                let abort = self.wait(id, generation, replies);
                if let Some(entry) = self.watches.get_mut(&id) {
                    entry.abort = abort;
                }
                if first {
                    self.tell_created(id, revision).await?;
                }
                if !events.is_empty() || (progress && !first) {
                    self.tell(id, revision, events, fragment).await?;
                }
                Ok(())
            }
            Some(Ok(other)) => Err(End::With(convert::mismatch("a watch", &other))),
            Some(Err(e)) => self.ended(id, &e).await,
            None => self.again(id),
        }
    }

    /// The node let a slow watch go: it is asked for again from where it was.
    fn again(&mut self, id: i64) -> Result<(), End> {
        let Some(entry) = self.watches.get_mut(&id) else { return Ok(()) };
        // A watch that ended without a word: the node is going, and would say no more next time.
        if !std::mem::take(&mut entry.answered) {
            return Err(End::With(status::STOPPED));
        }
        let (generation, wanted) = (entry.generation, entry.wanted.clone());
        let abort = self.listen(id, generation, wanted);
        if let Some(entry) = self.watches.get_mut(&id) {
            entry.abort = abort;
        }
        Ok(())
    }

    async fn ended(&mut self, id: i64, e: &AskError) -> Result<(), End> {
        let Some(entry) = self.watches.remove(&id) else { return Ok(()) };
        let compact_revision = match e {
            AskError::Op(OpError::Compacted { compact_revision }) => *compact_revision,
            // Not this watch but the node has ended: the client goes to another one.
            AskError::Stopping => return Err(End::With(status::STOPPED)),
            _ => 0,
        };
        if entry.shown.is_none() {
            self.tell_created(id, compact_revision).await?;
        }
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, 0)),
            watch_id: id,
            canceled: true,
            compact_revision,
            cancel_reason: convert::refusal(e).message.into_owned(),
            ..Default::default()
        };
        Ok(self.out.send(&response).await?)
    }

    async fn tell_created(&mut self, id: i64, revision: Revision) -> Result<(), End> {
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, revision)),
            watch_id: id,
            created: true,
            ..Default::default()
        };
        Ok(self.out.send(&response).await?)
    }

    /// Changes, or none of them: then it is a report of progress.
    async fn tell(
        &mut self,
        id: i64,
        revision: Revision,
        events: Vec<WatchEvent>,
        fragment: bool,
    ) -> Result<(), End> {
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, revision)),
            watch_id: id,
            events: events.into_iter().map(convert::event).collect(),
            ..Default::default()
        };
        if !fragment || response.encoded_len() < FRAGMENT {
            return Ok(self.out.send(&response).await?);
        }
        for piece in fragments(response, FRAGMENT) {
            self.out.send(&piece).await?;
        }
        Ok(())
    }

    async fn status(&mut self) -> Result<dwcp_node::GroupStatus, Status> {
        let context = Context { group: self.group, limit: Limit::of(&HeaderMap::new()) };
        self.door.group_status(context).await
    }

    /// Answers a request for progress, once every watch has caught up (invariant 3), and this
    /// node's state with what the door has shown; for the latter it waits no longer than
    /// [`CATCH_UP`].
    async fn progress(&mut self, since: Instant) -> Result<(), End> {
        let Ok(status) = self.status().await else {
            self.progress_owed = None;
            return Ok(());
        };
        // What the node told before it told its revision is in the streams by now.
        while let Some(Some(arrived)) = self.coming.next().now_or_never() {
            self.arrived(arrived).await?;
        }
        let behind = status.revision < self.door.shown(self.group) && since.elapsed() < CATCH_UP;
        if behind || self.watches.values().any(|e| e.shown.is_none()) {
            return Ok(());
        }
        self.progress_owed = None;
        let response = pb::WatchResponse {
            header: Some(self.door.header(self.group, status.revision)),
            watch_id: NO_WATCH,
            ..Default::default()
        };
        Ok(self.out.send(&response).await?)
    }
}

/// Cuts an answer into pieces below `limit` bytes, at least one change in each; all but the
/// last are marked as fragments.
fn fragments(whole: pb::WatchResponse, limit: usize) -> Vec<pb::WatchResponse> {
    let empty = pb::WatchResponse { events: Vec::new(), fragment: true, ..whole.clone() };
    let envelope = empty.encoded_len();
    let mut pieces = Vec::new();
    let mut piece = empty.clone();
    let mut size = envelope;
    for event in whole.events {
        // A tag and a length of at most five bytes each.
        let more = event.encoded_len() + 10;
        if !piece.events.is_empty() && size + more > limit {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            size = envelope;
        }
        size += more;
        piece.events.push(event);
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_lose_nothing_and_only_the_last_ends_the_answer() {
        let event = |n: u8| pb::Event {
            kind: pb::EVENT_PUT,
            kv: Some(pb::KeyValue { key: vec![n; 40].into(), ..Default::default() }),
            prev_kv: None,
        };
        let whole =
            pb::WatchResponse { watch_id: 3, events: (0..10).map(event).collect(), ..Default::default() };
        let pieces = fragments(whole.clone(), 150);
        assert!(pieces.len() > 2);
        assert!(pieces.iter().all(|p| p.encoded_len() <= 150 && p.watch_id == 3));
        let (last, rest) = pieces.split_last().unwrap();
        assert!(!last.fragment && rest.iter().all(|p| p.fragment));
        let put_together: Vec<_> = pieces.iter().flat_map(|p| p.events.clone()).collect();
        assert_eq!(put_together, whole.events);
    }

    #[test]
    fn a_change_larger_than_a_fragment_goes_alone() {
        let event = pb::Event {
            kv: Some(pb::KeyValue { value: vec![0; 500].into(), ..Default::default() }),
            ..Default::default()
        };
        let whole = pb::WatchResponse { events: vec![event; 2], ..Default::default() };
        assert_eq!(fragments(whole, 100).iter().map(|p| p.events.len()).collect::<Vec<_>>(), [1, 1]);
    }
}
