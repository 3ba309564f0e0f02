//! lin-kv: registers with compare-and-set.

use super::not_mine;
use crate::maelstrom::protocol::{Answer, Body, Code, Fault, done, field, with};
use crate::maelstrom::strong::{Strong, key, one, put_op, recalled, stored};
use bytes::Bytes;
use dwcp_store::api::{Body as Told, Compare, CompareOp, CompareTarget, Response, TxnOp, TxnRequest};
use serde_json::Value;

const TABLE: &str = "kv";

pub(super) async fn answer(store: &Strong, kind: &str, body: &Body) -> Answer {
    let name = field(body, "key")?;
    let key = key(TABLE, name);
    match kind {
        "read" => {
            let found = store.read(one(key)).await?;
            match found.kvs.first() {
                Some(kv) => with("value", recalled(&kv.value)?),
                None => Err(no_key(name)),
            }
        }
        "write" => {
            store.put(key, stored(field(body, "value")?)).await?;
            done()
        }
        "cas" => {
            let (from, to) = (stored(field(body, "from")?), stored(field(body, "to")?));
            let create = body.get("create_if_not_exists").and_then(Value::as_bool).unwrap_or_default();
            let (held, answers) = store.txn(cas(key, from, to, create)).await?;
            if held { done() } else { judge(name, &answers) }
        }
        _ => Err(not_mine(kind)),
    }
}

/// If the value is `from`, writes `to`; else tells what is there, and may make what is not.
fn cas(key: Bytes, from: Bytes, to: Bytes, create: bool) -> TxnRequest {
    let when = |op, target| Compare { key: key.clone(), range_end: Bytes::new(), op, target };
    let equal = when(CompareOp::Equal, CompareTarget::Value(from));
    let absent = when(CompareOp::Equal, CompareTarget::Version(0));
    let put = put_op(key.clone(), to);
    let mut otherwise = vec![TxnOp::Range(one(key))];
    if create {
        let make = TxnRequest { compare: vec![absent], success: vec![put.clone()], failure: Vec::new() };
        otherwise.push(TxnOp::Txn(make));
    }
    TxnRequest { compare: vec![equal], success: vec![put], failure: otherwise }
}

fn judge(name: &Value, answers: &[Response]) -> Answer {
    if answers.iter().any(|a| matches!(a.body, Told::Txn { succeeded: true, .. })) {
        return done();
    }
    match answers.first().map(|a| &a.body) {
        Some(Told::Range(found)) if found.kvs.is_empty() => Err(no_key(name)),
        Some(Told::Range(found)) => {
            let value = String::from_utf8_lossy(&found.kvs[0].value).into_owned();
            Err(Fault::new(Code::Precondition, format!("the value of {name} is {value}")))
        }
        other => Err(Fault::new(Code::Crash, format!("a compare-and-set was answered with {other:?}"))),
    }
}

fn no_key(name: &Value) -> Fault {
    Fault::new(Code::NoKey, format!("there is no key {name}"))
}
