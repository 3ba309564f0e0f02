//! A client's questions in etcd's words, and a node's answers back.
//!
//! What an answer says about the fate of a write:
//!
//! | answer | the client is told |
//! |---|---|
//! | a response | it was done, with this result |
//! | no connection, no leader, too many requests | it was not done |
//! | an error of the request itself (no such lease, …) | it was not done, and why |
//! | anything else: leader changed, timed out, stopped, the connection lost | nobody knows |

use crate::client::{Answers, Client, ClientError};
use crate::etcd::message as pb;
use dwcp_store::api::{self, Body, Header, KeyValue, OpError, Response, TxnOp};
use dwcp_workload::{Answer, Ask, Refusal};

/// Asks what has one answer.
pub(super) async fn ask(client: &Client, ask: &Ask) -> Result<Answer, Refusal> {
    match ask {
        Ask::Range(r) => {
            let answer: pb::RangeResponse = call(client, "KV/Range", &range(r)).await?;
            said(answer.header, Body::Range(range_body(answer.kvs, answer.more, answer.count)))
        }
        Ask::Do { op: api::Op::Put(p), .. } => {
            let answer: pb::PutResponse = call(client, "KV/Put", &put(p)).await?;
            said(answer.header, Body::Put { prev_kv: answer.prev_kv.map(key_value) })
        }
        Ask::Do { op: api::Op::DeleteRange(d), .. } => {
            let answer: pb::DeleteRangeResponse = call(client, "KV/DeleteRange", &delete(d)).await?;
            let prev_kvs = answer.prev_kvs.into_iter().map(key_value).collect();
            said(answer.header, Body::DeleteRange { deleted: answer.deleted, prev_kvs })
        }
        Ask::Do { op: api::Op::Txn(t), .. } => {
            let answer: pb::TxnResponse = call(client, "KV/Txn", &txn(t)).await?;
            said(answer.header, txn_body(answer.succeeded, answer.responses))
        }
        Ask::Do { op: api::Op::LeaseGrant { id, ttl_s }, .. } => {
            let question = pb::LeaseGrantRequest { ttl: *ttl_s, id: *id };
            let answer: pb::LeaseGrantResponse = call(client, "Lease/LeaseGrant", &question).await?;
            said(answer.header, Body::LeaseGrant { id: answer.id, ttl_s: answer.ttl })
        }
        Ask::KeepAlive(id) => {
            let question = pb::LeaseKeepAliveRequest { id: *id };
            let answer: pb::LeaseKeepAliveResponse = call(client, "Lease/LeaseKeepAlive", &question).await?;
            Ok(Answer::Alive(answer.ttl))
        }
        // No workload asks this at a public door; not sent, so not done.
        Ask::Do { .. } | Ask::Watch { .. } | Ask::Eventual(_) | Ask::Together(_) | Ask::Documents(_) => {
            Err(Refusal::NotDone { hint: None })
        }
    }
}

/// A watch under way.
pub(super) struct Watching(Answers<pb::WatchResponse>);

/// Opens a watch on a range of keys from a revision on.
pub(super) async fn watch(
    client: &Client,
    key: &[u8],
    range_end: &[u8],
    from: i64,
) -> Result<Watching, Refusal> {
    let create = pb::WatchCreateRequest {
        key: key.to_vec().into(),
        range_end: range_end.to_vec().into(),
        start_revision: from,
        progress_notify: true,
        ..pb::WatchCreateRequest::default()
    };
    let question = pb::WatchRequest { request_union: Some(pb::WatchRequestUnion::Create(create)) };
    let stream = client.stream("/etcdserverpb.Watch/Watch", &question).await;
    stream.map(Watching).map_err(|e| refusal(&e))
}

impl Watching {
    /// The next changes: perhaps none, with the revision up to which they are complete.
    pub(super) async fn next(&mut self) -> Result<Answer, Refusal> {
        let answer = self.0.next().await.map_err(|e| refusal(&e))?.ok_or(Refusal::Unknown)?;
        if answer.compact_revision > 0 {
            return Err(Refusal::Op(OpError::Compacted { compact_revision: answer.compact_revision }));
        }
        if answer.canceled {
            return Err(Refusal::Unknown);
        }
        let revision = answer.header.map_or(0, |h| h.revision);
        let events = answer.events.into_iter().filter_map(|e| {
            let kind = if e.kind == pb::EVENT_DELETE { api::EventKind::Delete } else { api::EventKind::Put };
            Some(api::WatchEvent { kind, kv: key_value(e.kv?), prev_kv: e.prev_kv.map(key_value) })
        });
        Ok(Answer::Changes { events: events.collect(), revision })
    }
}

async fn call<Q: prost::Message, A: prost::Message + Default>(
    client: &Client,
    method: &str,
    question: &Q,
) -> Result<A, Refusal> {
    client.call(&format!("/etcdserverpb.{method}"), question).await.map_err(|e| refusal(&e))
}

/// What an error says about the fate of what was asked.
pub(super) fn refusal(error: &ClientError) -> Refusal {
    let ClientError::Status { message, .. } = error else {
        return match error {
            ClientError::Connect { .. } => Refusal::NotDone { hint: None },
            _ => Refusal::Unknown,
        };
    };
    match message.as_str() {
        "etcdserver: no leader" | "etcdserver: too many requests" => Refusal::NotDone { hint: None },
        "etcdserver: requested lease not found" => Refusal::Op(OpError::LeaseNotFound),
        "etcdserver: mvcc: database space exceeded" => Refusal::Op(OpError::NoSpace),
        "etcdserver: mvcc: required revision is a future revision" => Refusal::Op(OpError::FutureRev),
        _ => Refusal::Unknown,
    }
}

fn said(header: Option<pb::ResponseHeader>, body: Body) -> Result<Answer, Refusal> {
    // Every answer of the door bears one; without it nothing can be said about when it happened.
    let revision = header.ok_or(Refusal::Unknown)?.revision;
    Ok(Answer::Said(Response { header: Header { revision }, body }))
}

fn key_value(kv: pb::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

fn range_body(kvs: Vec<pb::KeyValue>, more: bool, count: i64) -> api::RangeResponse {
    api::RangeResponse { kvs: kvs.into_iter().map(key_value).collect(), more, count }
}

fn txn_body(succeeded: bool, responses: Vec<pb::ResponseOp>) -> Body {
    let inner = responses.into_iter().map(|r| {
        let (header, body) = match r.response {
            Some(pb::Response::Range(r)) => (r.header, Body::Range(range_body(r.kvs, r.more, r.count))),
            Some(pb::Response::Put(r)) => (r.header, Body::Put { prev_kv: r.prev_kv.map(key_value) }),
            Some(pb::Response::DeleteRange(r)) => {
                let prev_kvs = r.prev_kvs.into_iter().map(key_value).collect();
                (r.header, Body::DeleteRange { deleted: r.deleted, prev_kvs })
            }
            Some(pb::Response::Txn(r)) => (r.header, txn_body(r.succeeded, r.responses)),
            None => (None, Body::Noop),
        };
        Response { header: Header { revision: header.map_or(0, |h| h.revision) }, body }
    });
    Body::Txn { succeeded, responses: inner.collect() }
}

fn range(r: &api::RangeRequest) -> pb::RangeRequest {
    pb::RangeRequest {
        key: r.key.clone(),
        range_end: r.range_end.clone(),
        limit: r.limit,
        revision: r.revision,
        keys_only: r.keys_only,
        count_only: r.count_only,
        ..pb::RangeRequest::default()
    }
}

fn put(p: &api::PutRequest) -> pb::PutRequest {
    pb::PutRequest {
        key: p.key.clone(),
        value: p.value.clone(),
        lease: p.lease,
        prev_kv: p.prev_kv,
        ignore_value: p.ignore_value,
        ignore_lease: p.ignore_lease,
    }
}

fn delete(d: &api::DeleteRangeRequest) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: d.key.clone(), range_end: d.range_end.clone(), prev_kv: d.prev_kv }
}

fn txn(t: &api::TxnRequest) -> pb::TxnRequest {
    let ops = |ops: &[TxnOp]| ops.iter().map(operation).collect();
    pb::TxnRequest {
        compare: t.compare.iter().map(compare).collect(),
        success: ops(&t.success),
        failure: ops(&t.failure),
    }
}

fn operation(op: &TxnOp) -> pb::RequestOp {
    let request = match op {
        TxnOp::Range(r) => pb::Request::Range(range(r)),
        TxnOp::Put(p) => pb::Request::Put(put(p)),
        TxnOp::DeleteRange(d) => pb::Request::DeleteRange(delete(d)),
        TxnOp::Txn(t) => pb::Request::Txn(txn(t)),
    };
    pb::RequestOp { request: Some(request) }
}

fn compare(c: &api::Compare) -> pb::Compare {
    use api::{CompareOp, CompareTarget as T};
    use pb::TargetUnion as U;
    let (target, union) = match &c.target {
        T::Version(v) => (pb::COMPARE_VERSION, U::Version(*v)),
        T::Create(v) => (pb::COMPARE_CREATE, U::CreateRevision(*v)),
        T::Mod(v) => (pb::COMPARE_MOD, U::ModRevision(*v)),
        T::Value(v) => (pb::COMPARE_VALUE, U::Value(v.clone())),
        T::Lease(v) => (pb::COMPARE_LEASE, U::Lease(*v)),
    };
    let result = match c.op {
        CompareOp::Equal => pb::COMPARE_EQUAL,
        CompareOp::Greater => pb::COMPARE_GREATER,
        CompareOp::Less => pb::COMPARE_LESS,
        CompareOp::NotEqual => pb::COMPARE_NOT_EQUAL,
    };
    pb::Compare {
        result,
        target,
        key: c.key.clone(),
        target_union: Some(union),
        range_end: c.range_end.clone(),
    }
}
