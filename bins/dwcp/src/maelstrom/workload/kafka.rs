//! kafka: a message is a key below its log's, and its offset the revision that made it.
//!
//! Offsets rise and have gaps, as the workload allows. A commit never goes back: of two for one log the higher
//! stays, whichever comes last.

use super::not_mine;
use crate::maelstrom::protocol::{Answer, Body, Fault, done, field, with};
use crate::maelstrom::strong::{Strong, below, in_order, key, one, put_op, recalled, stored};
use bytes::Bytes;
use dwcp_store::api::{Compare, CompareOp, CompareTarget, TxnOp, TxnRequest};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};

const LOG: &str = "log";
const COMMITTED: &str = "committed";
/// Messages of one log in one answer.
const POLL_MAX: i64 = 64;

pub(super) async fn answer(store: &Strong, kind: &str, body: &Body) -> Answer {
    match kind {
        "send" => {
            let log = key(LOG, field(body, "key")?);
            let message = [&log[..], b"/", store.fresh_name().as_bytes()].concat();
            with("offset", store.put(message.into(), stored(field(body, "msg")?)).await?.into())
        }
        "poll" => {
            let logs = offsets(body)?;
            let polls = logs.iter().map(|(log, from)| poll(store, log, *from));
            with("msgs", Value::Object(try_join_all(polls).await?.into_iter().collect()))
        }
        "commit_offsets" => {
            let success = offsets(body)?.into_iter().map(|(log, offset)| raise(log, offset)).collect();
            store.txn(TxnRequest { success, ..TxnRequest::default() }).await?;
            done()
        }
        "list_committed_offsets" => {
            let bad = || Fault::malformed("keys is no list of texts");
            let logs: Vec<&str> = field(body, "keys")?
                .as_array()
                .and_then(|logs| logs.iter().map(Value::as_str).collect())
                .ok_or_else(bad)?;
            let found = try_join_all(logs.iter().map(|log| committed(store, log))).await?;
            with("offsets", Value::Object(found.into_iter().flatten().collect()))
        }
        _ => Err(not_mine(kind)),
    }
}

fn offsets(body: &Body) -> Result<Vec<(&str, i64)>, Fault> {
    let bad = || Fault::malformed("offsets is no object from logs to numbers from 0 up");
    let each =
        |(log, offset): (&'_ String, &'_ Value)| offset.as_i64().filter(|o| *o >= 0).map(|_| log.len());
    let logs: &Map<String, Value> = field(body, "offsets")?.as_object().ok_or_else(bad)?;
    logs.iter().map(each).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
    Ok(logs.iter().map(|(log, offset)| (log.as_str(), offset.as_i64().unwrap_or_default())).collect())
}

async fn poll(store: &Strong, log: &str, from: i64) -> Result<(String, Value), Fault> {
    let mut range = in_order(below(&key(LOG, &log.into())));
    (range.min_create_revision, range.limit) = (from, POLL_MAX);
    let found = store.read(range).await?;
    let each = |kv: &dwcp_store::api::KeyValue| Ok(json!([kv.create_revision, recalled(&kv.value)?]));
    Ok((log.into(), Value::Array(found.kvs.iter().map(each).collect::<Result<_, Fault>>()?)))
}

/// Writes an offset unless a higher one is there. Twenty digits, so that text is ordered as numbers are.
fn raise(log: &str, offset: i64) -> TxnOp {
    let (key, value) = (key(COMMITTED, &log.into()), Bytes::from(format!("{offset:020}")));
    let higher = Compare {
        key: key.clone(),
        range_end: Bytes::new(),
        op: CompareOp::Greater,
        target: CompareTarget::Value(value.clone()),
    };
    let failure = vec![put_op(key, value)];
    TxnOp::Txn(TxnRequest { compare: vec![higher], success: Vec::new(), failure })
}

async fn committed(store: &Strong, log: &str) -> Result<Option<(String, Value)>, Fault> {
    let found = store.read(one(key(COMMITTED, &log.into()))).await?;
    let Some(kv) = found.kvs.first() else { return Ok(None) };
    let offset: Option<i64> = std::str::from_utf8(&kv.value).ok().and_then(|t| t.parse().ok());
    Ok(offset.map(|o| (log.into(), o.into())))
}
