//! txn-rw-register: a register is a key, a transaction one command of the log.
//!
//! etcd's transactions write a key once, so of several writes to one register only the last is made; reads
//! behind a write of the same transaction are answered with what it wrote. All other reads come first, and see
//! the state before the command.

use super::{not_mine, operations};
use crate::maelstrom::protocol::{Answer, Body, Code, Fault, with};
use crate::maelstrom::strong::{Strong, key, one, put_op, recalled, stored};
use dwcp_store::api::{Body as Told, Response, TxnOp, TxnRequest};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TABLE: &str = "register";

/// Where a value of the answer comes from.
enum From {
    Asked(Value),
    /// The n-th answer of the store.
    Store(usize),
}

pub(super) async fn answer(store: &Strong, kind: &str, body: &Body) -> Answer {
    if kind != "txn" {
        return Err(not_mine(kind));
    }
    let asked = operations(body)?;
    let (txn, sources) = plan(&asked)?;
    let (_, answers) = store.txn(txn).await?;
    let told = asked.iter().zip(sources).map(|((f, register, _), source)| {
        let value = match source {
            From::Asked(value) => value,
            From::Store(nth) => held(answers.get(nth))?,
        };
        Ok(json!([f, register, value]))
    });
    with("txn", Value::Array(told.collect::<Result<_, Fault>>()?))
}

fn plan(asked: &[(&str, &Value, &Value)]) -> Result<(TxnRequest, Vec<From>), Fault> {
    let mut written = BTreeMap::new();
    let (mut reads, mut sources) = (Vec::new(), Vec::new());
    for (f, register, value) in asked {
        let key = key(TABLE, register);
        sources.push(match *f {
            "w" => {
                written.insert(key, (*value).clone());
                From::Asked((*value).clone())
            }
            "r" => match written.get(&key) {
                Some(mine) => From::Asked(mine.clone()),
                None => {
                    reads.push(TxnOp::Range(one(key)));
                    From::Store(reads.len() - 1)
                }
            },
            f => return Err(Fault::malformed(format!("{f:?} is neither \"r\" nor \"w\""))),
        });
    }
    reads.extend(written.into_iter().map(|(key, value)| put_op(key, stored(&value))));
    Ok((TxnRequest { success: reads, ..TxnRequest::default() }, sources))
}

fn held(answer: Option<&Response>) -> Result<Value, Fault> {
    match answer.map(|a| &a.body) {
        Some(Told::Range(found)) => found.kvs.first().map_or(Ok(Value::Null), |kv| recalled(&kv.value)),
        other => Err(Fault::new(Code::Crash, format!("a read was answered with {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_written_twice_is_put_once_and_read_as_written() {
        let (a, n) = (json!("a"), Value::Null);
        let (one, two) = (json!(1), json!(2));
        let asked = [("r", &a, &n), ("w", &a, &one), ("r", &a, &n), ("w", &a, &two)];
        let (txn, sources) = plan(&asked).unwrap();
        assert_eq!(txn.success.len(), 2);
        assert_eq!(txn.success[1], put_op(key(TABLE, &a), stored(&two)));
        assert!(matches!(sources[0], From::Store(0)));
        assert!(matches!(&sources[2], From::Asked(v) if *v == one));
        assert!(plan(&[("x", &a, &n)]).is_err());
    }
}
