//! What locks and elections share: a key under a prefix, and waiting for those before it.
//!
//! The scheme is etcd's (`clientv3/concurrency`), so that clients which run the recipe
//! themselves (`etcdctl lock`) and clients which let this door run it exclude each other:
//! each contender puts `<name>/<lease in hex>` under its lease; the oldest key, by create
//! revision, holds. A contender waits for the deletion of the youngest key older than its
//! own, so that a release wakes one waiter and not all.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door};
use super::grpc::{Call, DEADLINE, Limit, while_wanted};
use super::message as pb;
use super::status::{self, Status};
use bytes::{Bytes, BytesMut};
use dwcp_env::GroupId;
use dwcp_node::{Answer, Ask, Request, WatchRequest};
use dwcp_store::api::{
    self, Body, Compare, CompareOp, CompareTarget, EventKind, KeyValue, LeaseId, Op, RangeRequest, Revision,
    SortOrder, SortTarget, TxnOp, TxnRequest,
};
use futures_util::StreamExt;
use std::future::Future;
use std::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// The life of a lease made for a client that named none, in seconds (etcd's).
const SESSION_TTL_S: i64 = 60;

/// A key that stands in a queue.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// `<name>/<lease in hex>`.
    pub(super) key: Bytes,
    /// The revision that created it: the place in the queue.
    pub(super) revision: Revision,
}

/// `<name>/`: under it, all contenders.
pub(super) fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// The first key above all that begin with `prefix`.
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = BytesMut::from(prefix);
    while let Some(last) = end.last_mut() {
        if *last < 0xff {
            *last += 1;
            return end.freeze();
        }
        end.truncate(end.len() - 1);
    }
    // All 0xff, or nothing: to the end of keys.
    Bytes::from_static(&[0])
}

/// The oldest key under a prefix: who holds.
pub(super) fn oldest(prefix: &Bytes) -> RangeRequest {
    RangeRequest {
        key: prefix.clone(),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..RangeRequest::default()
    }
}

/// A condition on the revision that created a key; 0: there is no such key.
pub(super) fn created_at(key: &Bytes, revision: Revision) -> Compare {
    Compare {
        key: key.clone(),
        range_end: Bytes::new(),
        op: CompareOp::Equal,
        target: CompareTarget::Create(revision),
    }
}

/// The limit of one step of a recipe: each is a short call of its own.
pub(super) fn step(group: GroupId) -> Context {
    Context { group, limit: Limit::within(DEADLINE) }
}

impl<B: Backend> Door<B> {
    /// A call that waits for others: as long as its client does, and no longer than its deadline.
    /// If it was not done, `undo` is.
    pub(super) async fn patient<Q, A, F, U>(
        &self,
        mut call: Call,
        work: impl FnOnce(GroupId, Q) -> F,
        undo: impl FnOnce(GroupId) -> U,
    ) where
        Q: prost::Message + Default,
        A: prost::Message,
        F: Future<Output = Result<A, Status>>,
        U: Future<Output = ()>,
    {
        let context = match self.context(&call.head) {
            Ok(context) => context,
            Err(status) => return super::grpc::refuse(&mut call.respond, &status),
        };
        let message = match timeout_at(context.limit.at, call.inbound.only::<Q>()).await {
            Ok(Ok(message)) => message,
            Ok(Err(status)) => return super::grpc::refuse(&mut call.respond, &status),
            Err(_) => return super::grpc::refuse(&mut call.respond, &context.limit.passed()),
        };
        let limit = Limit::patient(&call.head.headers);
        let work = work(context.group, message);
        let bounded = async {
            match limit {
                Some(limit) => timeout_at(limit.at, work).await.unwrap_or(Err(limit.passed())),
                None => work.await,
            }
        };
        match while_wanted(&mut call.respond, bounded).await {
            Ok(Ok(answer)) => super::grpc::answer(&mut call.respond, Ok(answer)),
            Ok(Err(status)) => {
                undo(context.group).await;
                super::grpc::refuse(&mut call.respond, &status);
            }
            Err(_) => undo(context.group).await,
        }
    }

    /// The lease a contender named, or a new one.
    pub(super) async fn session(&self, group: GroupId, lease: LeaseId) -> Result<LeaseId, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let grant = pb::LeaseGrantRequest { ttl: SESSION_TTL_S, id: 0 };
        Ok(self.lease_grant(step(group), grant).await?.id)
    }

    /// Takes a place in the queue, or finds the one taken before under the same lease: the place,
    /// the key as it was found, and who holds.
    pub(super) async fn take_place(
        &self,
        group: GroupId,
        prefix: &Bytes,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<(Place, Option<KeyValue>, Option<KeyValue>, Revision), Status> {
        let key = place_key(prefix, lease);
        super::reserved::refuse(&key, &[])?;
        let put = api::PutRequest { key: key.clone(), value, lease, ..api::PutRequest::default() };
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let txn = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![TxnOp::Put(put), TxnOp::Range(oldest(prefix))],
            failure: vec![TxnOp::Range(get), TxnOp::Range(oldest(prefix))],
        };
        let done = self.write(step(group), Op::Txn(txn)).await?;
        let revision = done.header.revision;
        let Body::Txn { succeeded, responses } = done.body else {
            return Err(convert::mismatch("a txn", &done.body));
        };
        let mut found = responses.into_iter().map(|r| match r.body {
            Body::Range(range) => range.kvs.into_iter().next(),
            _ => None,
        });
        let (mine, holder) = (found.next().flatten(), found.next().flatten());
        let since = mine.as_ref().map_or(revision, |kv| kv.create_revision);
        debug_assert_eq!(succeeded, mine.is_none(), "a txn that found no key has put it");
        Ok((Place { key, revision: since }, mine, holder, revision))
    }

    /// Waits until no key under `prefix` is older than `place`; the store's revision then.
    /// Fails if the place itself was lost meanwhile: its lease has run out.
    pub(super) async fn wait_for_turn(
        &self,
        group: GroupId,
        prefix: &Bytes,
        place: &Place,
    ) -> Result<Revision, Status> {
        let youngest_before = RangeRequest {
            key: prefix.clone(),
            range_end: prefix_end(prefix),
            limit: 1,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Create,
            max_create_revision: place.revision - 1,
            ..RangeRequest::default()
        };
        loop {
            let (now, found) = self.read(step(group), youngest_before.clone()).await?;
            let Some(before) = found.kvs.into_iter().next() else { break };
            self.wait_for_deletion(group, before.key, now).await?;
        }
        let own = RangeRequest { key: place.key.clone(), ..RangeRequest::default() };
        let (now, found) = self.read(step(group), own).await?;
        match found.kvs.first() {
            Some(kv) if kv.create_revision == place.revision => Ok(now),
            _ => Err(status::SESSION_EXPIRED),
        }
    }

    /// Waits until `key` is deleted behind `from`, or until the watch ends: then one looks again.
    async fn wait_for_deletion(&self, group: GroupId, key: Bytes, from: Revision) -> Result<(), Status> {
        let watch = WatchRequest { key, start_revision: from, no_put: true, ..WatchRequest::default() };
        let mut replies = self.backend.open(Request { group, ask: Ask::Watch(watch) });
        loop {
            match replies.next().await {
                Some(Ok(Answer::Watched { events, .. })) => {
                    if events.iter().any(|e| e.kind == EventKind::Delete) {
                        return Ok(());
                    }
                }
                // Compacted past the revision: the deletion may be in what is gone.
                Some(Err(dwcp_node::AskError::Op(api::OpError::Compacted { .. }))) | None => return Ok(()),
                Some(Err(e)) => return Err(convert::refusal(&e)),
                Some(Ok(other)) => return Err(convert::mismatch("a watch", &other)),
            }
        }
    }

    /// Gives back the place that a wait had taken which ended badly. Where this fails, the lease
    /// takes the key in its time.
    pub(super) async fn give_back(&self, group: GroupId, taken: &Mutex<Option<Place>>) {
        let place = taken.lock().ok().and_then(|mut taken| taken.take());
        if let Some(place) = place {
            let _lease_does_it: Result<Revision, Status> = self.leave_place(group, &place).await;
        }
    }

    /// Gives a place back if it is still the one that was taken.
    pub(super) async fn leave_place(&self, group: GroupId, place: &Place) -> Result<Revision, Status> {
        let gone = api::DeleteRangeRequest { key: place.key.clone(), ..api::DeleteRangeRequest::default() };
        let txn = TxnRequest {
            compare: vec![created_at(&place.key, place.revision)],
            success: vec![TxnOp::DeleteRange(gone)],
            failure: Vec::new(),
        };
        Ok(self.write(step(group), Op::Txn(txn)).await?.header.revision)
    }
}

fn place_key(prefix: &[u8], lease: LeaseId) -> Bytes {
    // Go prints a negative number in hex with its sign; so must this.
    let hex = if lease < 0 { format!("-{:x}", lease.unsigned_abs()) } else { format!("{lease:x}") };
    [prefix, hex.as_bytes()].concat().into()
}

impl Limit {
    /// A limit this long from now, of our own making.
    pub(super) fn within(span: std::time::Duration) -> Self {
        Self::ours(Instant::now() + span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        for (prefix, end) in
            [(&b"lock/"[..], &b"lock0"[..]), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")]
        {
            assert_eq!(&prefix_end(prefix)[..], end);
        }
    }

    #[test]
    fn the_oldest_key_of_a_queue_holds() {
        let range = oldest(&prefix(b"e"));
        assert_eq!((&range.key[..], &range.range_end[..], range.limit), (&b"e/"[..], &b"e0"[..], 1));
    }

    #[test]
    fn the_key_is_the_one_that_etcd_makes() {
        assert_eq!(&place_key(b"l/", 0x694d_7a1b)[..], b"l/694d7a1b");
        assert_eq!(&place_key(b"l/", -1)[..], b"l/-1");
    }
}
