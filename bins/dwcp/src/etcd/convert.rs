//! Between etcd's messages and the store's own types; what etcd refuses is refused here, before
//! the node is troubled.
//!
//! Byte strings change hands by reference count. Only the checks that etcd makes at its own
//! door are here (`v3rpc/key.go`); the store makes them again for whoever comes another way.

use super::message as pb;
use super::reserved;
use super::status::{self, Code, Status};
use dwcp_env::bound;
use dwcp_node::{Answer, AskError};
use dwcp_store::api::{self, Body, OpError, TXN_OPS_MAX};

/// The status for a question that got no answer.
pub(crate) fn refusal(e: &AskError) -> Status {
    match e {
        AskError::Op(e) => of_op_error(e),
        AskError::NoLeader => status::NO_LEADER,
        AskError::Unknown => status::LEADER_CHANGED,
        AskError::Deadline => status::TIMED_OUT,
        AskError::Overloaded => status::TOO_MANY_REQUESTS,
        AskError::Stopping => status::STOPPED,
        AskError::Refused(why) => Status::told(Code::FailedPrecondition, format!("etcdserver: {why}")),
        AskError::Eventual(refusal) => Status::told(Code::FailedPrecondition, format!("dwcp: {refusal}")),
        AskError::NoGroup(_) => Status::told(Code::Unavailable, format!("dwcp: {e}; ask another node")),
    }
}

fn of_op_error(e: &OpError) -> Status {
    let code = match e.code() {
        api::Code::InvalidArgument => Code::InvalidArgument,
        api::Code::NotFound => Code::NotFound,
        api::Code::ResourceExhausted => Code::ResourceExhausted,
        api::Code::FailedPrecondition => Code::FailedPrecondition,
        api::Code::OutOfRange => Code::OutOfRange,
        api::Code::Unavailable => Code::Unavailable,
    };
    Status::told(code, e.to_string())
}

/// Refuses what is larger than any request may be.
pub(crate) fn check_size(message: &impl prost::Message) -> Result<(), Status> {
    if message.encoded_len() as u64 > bound::REQUEST_MAX.0 { Err(status::REQUEST_TOO_LARGE) } else { Ok(()) }
}

pub(crate) fn put(r: pb::PutRequest) -> Result<api::PutRequest, Status> {
    if r.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    if r.ignore_value && !r.value.is_empty() {
        return Err(status::VALUE_PROVIDED);
    }
    if r.ignore_lease && r.lease != 0 {
        return Err(status::LEASE_PROVIDED);
    }
    reserved::refuse(&r.key, &[])?;
    Ok(api::PutRequest {
        key: r.key,
        value: r.value,
        lease: r.lease,
        prev_kv: r.prev_kv,
        ignore_value: r.ignore_value,
        ignore_lease: r.ignore_lease,
    })
}

pub(crate) fn delete_range(r: pb::DeleteRangeRequest) -> Result<api::DeleteRangeRequest, Status> {
    if r.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    reserved::refuse(&r.key, &r.range_end)?;
    Ok(api::DeleteRangeRequest { key: r.key, range_end: r.range_end, prev_kv: r.prev_kv })
}

pub(crate) fn range(r: pb::RangeRequest) -> Result<api::RangeRequest, Status> {
    if r.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    Ok(api::RangeRequest {
        key: r.key,
        range_end: r.range_end,
        limit: r.limit,
        revision: r.revision,
        sort_order: match r.sort_order {
            pb::SORT_ASCEND => api::SortOrder::Ascend,
            pb::SORT_DESCEND => api::SortOrder::Descend,
            _ => api::SortOrder::None,
        },
        sort_target: match r.sort_target {
            pb::SORT_BY_VERSION => api::SortTarget::Version,
            pb::SORT_BY_CREATE => api::SortTarget::Create,
            pb::SORT_BY_MOD => api::SortTarget::Mod,
            pb::SORT_BY_VALUE => api::SortTarget::Value,
            _ => api::SortTarget::Key,
        },
        keys_only: r.keys_only,
        count_only: r.count_only,
        min_mod_revision: r.min_mod_revision,
        max_mod_revision: r.max_mod_revision,
        min_create_revision: r.min_create_revision,
        max_create_revision: r.max_create_revision,
    })
}

/// `room` is what is left of the bound on operations at this depth: etcd takes the longest of
/// the three lists off at each level of nesting.
pub(crate) fn txn(r: pb::TxnRequest, room: usize) -> Result<api::TxnRequest, Status> {
    let longest = r.compare.len().max(r.success.len()).max(r.failure.len());
    let room = room.checked_sub(longest).ok_or(status::TOO_MANY_OPS)?;
    Ok(api::TxnRequest {
        compare: r.compare.into_iter().map(compare).collect::<Result<_, _>>()?,
        success: txn_ops(r.success, room)?,
        failure: txn_ops(r.failure, room)?,
    })
}

/// A transaction as it comes from a client.
pub(crate) fn whole_txn(r: pb::TxnRequest) -> Result<api::TxnRequest, Status> {
    txn(r, TXN_OPS_MAX)
}

fn txn_ops(ops: Vec<pb::RequestOp>, room: usize) -> Result<Vec<api::TxnOp>, Status> {
    ops.into_iter()
        .map(|op| match op.request {
            Some(pb::Request::Range(r)) => range(r).map(api::TxnOp::Range),
            Some(pb::Request::Put(r)) => put(r).map(api::TxnOp::Put),
            Some(pb::Request::DeleteRange(r)) => delete_range(r).map(api::TxnOp::DeleteRange),
            Some(pb::Request::Txn(r)) => txn(r, room).map(api::TxnOp::Txn),
            None => Err(status::KEY_NOT_FOUND),
        })
        .collect()
}

fn compare(c: pb::Compare) -> Result<api::Compare, Status> {
    use api::CompareTarget as T;
    use pb::TargetUnion as U;
    if c.key.is_empty() {
        return Err(status::EMPTY_KEY);
    }
    let op = match c.result {
        pb::COMPARE_EQUAL => api::CompareOp::Equal,
        pb::COMPARE_GREATER => api::CompareOp::Greater,
        pb::COMPARE_LESS => api::CompareOp::Less,
        pb::COMPARE_NOT_EQUAL => api::CompareOp::NotEqual,
        n => return Err(unknown("compare.result", n)),
    };
    // The target says which field is meant; one that is not set is zero, as in etcd.
    let given = c.target_union;
    let target = match c.target {
        pb::COMPARE_VERSION => T::Version(if let Some(U::Version(n)) = given { n } else { 0 }),
        pb::COMPARE_CREATE => T::Create(if let Some(U::CreateRevision(n)) = given { n } else { 0 }),
        pb::COMPARE_MOD => T::Mod(if let Some(U::ModRevision(n)) = given { n } else { 0 }),
        pb::COMPARE_LEASE => T::Lease(if let Some(U::Lease(n)) = given { n } else { 0 }),
        pb::COMPARE_VALUE => T::Value(if let Some(U::Value(b)) = given { b } else { Default::default() }),
        n => return Err(unknown("compare.target", n)),
    };
    Ok(api::Compare { key: c.key, range_end: c.range_end, op, target })
}

fn unknown(field: &str, n: i32) -> Status {
    Status::told(Code::InvalidArgument, format!("etcdserver: {field} has no meaning for {n}"))
}

pub(crate) fn key_value(kv: api::KeyValue) -> pb::KeyValue {
    pb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

pub(crate) fn event(e: api::WatchEvent) -> pb::Event {
    pb::Event {
        kind: match e.kind {
            api::EventKind::Put => pb::EVENT_PUT,
            api::EventKind::Delete => pb::EVENT_DELETE,
        },
        kv: Some(key_value(e.kv)),
        prev_kv: e.prev_kv.map(key_value),
    }
}

pub(crate) fn range_response(header: pb::ResponseHeader, r: api::RangeResponse) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: r.kvs.into_iter().map(key_value).collect(),
        more: r.more,
        count: r.count,
    }
}

/// The answers inside a transaction. Inner headers carry the revision alone, as etcd's do.
pub(crate) fn responses(all: Vec<api::Response>) -> Result<Vec<pb::ResponseOp>, Status> {
    all.into_iter()
        .map(|r| {
            let header = pb::ResponseHeader { revision: r.header.revision, ..Default::default() };
            let response = match r.body {
                Body::Range(r) => pb::Response::Range(range_response(header, r)),
                Body::Put { prev_kv } => pb::Response::Put(pb::PutResponse {
                    header: Some(header),
                    prev_kv: prev_kv.map(key_value),
                }),
                Body::DeleteRange { deleted, prev_kvs } => {
                    pb::Response::DeleteRange(pb::DeleteRangeResponse {
                        header: Some(header),
                        deleted,
                        prev_kvs: prev_kvs.into_iter().map(key_value).collect(),
                    })
                }
                Body::Txn { succeeded, responses: inner } => pb::Response::Txn(pb::TxnResponse {
                    header: Some(header),
                    succeeded,
                    responses: responses(inner)?,
                }),
                other => return Err(mismatch("txn", &other)),
            };
            Ok(pb::ResponseOp { response: Some(response) })
        })
        .collect()
}

/// The node answered another question than the one it was asked: our fault, told to the client
/// as such rather than ended, because the log is not in doubt.
pub(crate) fn mismatch(asked: &str, answer: &dyn std::fmt::Debug) -> Status {
    let kind = format!("{answer:?}");
    let kind = kind.split(['(', '{']).next().unwrap_or_default();
    Status::told(Code::Internal, format!("dwcp: {asked} was answered with {kind}; please report this"))
}

/// The body of a command's answer.
pub(crate) fn written(answer: Answer) -> Result<api::Response, Status> {
    match answer {
        Answer::Written(response) => Ok(response),
        other => Err(mismatch("a command", &other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put_op(key: &'static str) -> pb::RequestOp {
        pb::RequestOp {
            request: Some(pb::Request::Put(pb::PutRequest {
                key: Bytes::from_static(key.as_bytes()),
                ..Default::default()
            })),
        }
    }

    #[test]
    fn what_etcd_refuses_at_its_door_is_refused_with_its_words() {
        let key = Bytes::from_static(b"k");
        let cases = [
            (pb::PutRequest::default(), status::EMPTY_KEY),
            (
                pb::PutRequest {
                    key: key.clone(),
                    value: key.clone(),
                    ignore_value: true,
                    ..Default::default()
                },
                status::VALUE_PROVIDED,
            ),
            (
                pb::PutRequest { key: key.clone(), lease: 7, ignore_lease: true, ..Default::default() },
                status::LEASE_PROVIDED,
            ),
        ];
        for (request, want) in cases {
            assert_eq!(put(request), Err(want));
        }
        assert_eq!(range(pb::RangeRequest::default()), Err(status::EMPTY_KEY));
        assert_eq!(delete_range(pb::DeleteRangeRequest::default()), Err(status::EMPTY_KEY));
    }

    #[test]
    fn nesting_shares_one_bound_on_operations() {
        let inner = |n| pb::TxnRequest { success: vec![put_op("k"); n], ..Default::default() };
        assert!(whole_txn(inner(TXN_OPS_MAX)).is_ok());
        assert_eq!(whole_txn(inner(TXN_OPS_MAX + 1)), Err(status::TOO_MANY_OPS));
        let nested = |n| pb::TxnRequest {
            success: vec![pb::RequestOp { request: Some(pb::Request::Txn(inner(n))) }],
            ..Default::default()
        };
        assert!(whole_txn(nested(TXN_OPS_MAX - 1)).is_ok());
        assert_eq!(whole_txn(nested(TXN_OPS_MAX)), Err(status::TOO_MANY_OPS));
    }

    #[test]
    fn an_operation_that_says_nothing_is_refused() {
        let t = pb::TxnRequest { failure: vec![pb::RequestOp { request: None }], ..Default::default() };
        assert_eq!(whole_txn(t), Err(status::KEY_NOT_FOUND));
    }

    #[test]
    fn a_compare_reads_the_field_its_target_names() {
        let c = |target, union| {
            compare(pb::Compare {
                result: pb::COMPARE_EQUAL,
                target,
                key: Bytes::from_static(b"k"),
                target_union: union,
                range_end: Bytes::new(),
            })
            .map(|c| c.target)
        };
        assert_eq!(c(pb::COMPARE_MOD, Some(pb::TargetUnion::ModRevision(9))), Ok(api::CompareTarget::Mod(9)));
        assert_eq!(c(pb::COMPARE_MOD, Some(pb::TargetUnion::Version(9))), Ok(api::CompareTarget::Mod(0)));
        assert_eq!(c(pb::COMPARE_VALUE, None), Ok(api::CompareTarget::Value(Bytes::new())));
        assert!(c(99, None).is_err());
    }
}
