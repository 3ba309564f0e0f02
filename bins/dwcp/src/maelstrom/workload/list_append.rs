//! txn-list-append: an element is a key below its list's, and a list is what lies below, in the order of
//! creation.
//!
//! A transaction is one command of the log: its reads see its own appends before them, and everything of
//! earlier commands. It never conflicts, so it never has to be tried again. Elements of one
//! transaction share a revision; their names end in their places, which orders them.

use super::{not_mine, operations};
use crate::maelstrom::protocol::{Answer, Body, Code, Fault, with};
use crate::maelstrom::strong::{Strong, below, in_order, key, put_op, recalled, stored};
use dwcp_store::api::{Body as Told, Response, TxnOp, TxnRequest};
use serde_json::{Value, json};

const TABLE: &str = "list";

pub(super) async fn answer(store: &Strong, kind: &str, body: &Body) -> Answer {
    if kind != "txn" {
        return Err(not_mine(kind));
    }
    let asked = operations(body)?;
    let name = store.fresh_name();
    let ops: Vec<TxnOp> = asked
        .iter()
        .enumerate()
        .map(|(place, (f, list, value))| match *f {
            "r" => Ok(TxnOp::Range(in_order(below(&key(TABLE, list))))),
            "append" => {
                let element = [&key(TABLE, list)[..], format!("/{name}-{place:04}").as_bytes()].concat();
                Ok(put_op(element.into(), stored(value)))
            }
            f => Err(Fault::malformed(format!("{f:?} is neither \"r\" nor \"append\""))),
        })
        .collect::<Result<_, _>>()?;
    let (_, answers) = store.txn(TxnRequest { success: ops, ..TxnRequest::default() }).await?;
    let told = asked.iter().zip(&answers).map(|((f, list, value), answer)| {
        let value = if *f == "r" { elements(answer)? } else { (*value).clone() };
        Ok(json!([f, list, value]))
    });
    with("txn", Value::Array(told.collect::<Result<_, Fault>>()?))
}

fn elements(answer: &Response) -> Result<Value, Fault> {
    match &answer.body {
        Told::Range(found) => found.kvs.iter().map(|kv| recalled(&kv.value)).collect(),
        other => Err(Fault::new(Code::Crash, format!("a read was answered with {other:?}"))),
    }
}
