//! g-set: one key an element. Adding twice is adding once.

use super::not_mine;
use crate::maelstrom::protocol::{Answer, Body, done, field, with};
use crate::maelstrom::strong::{Strong, below, key, recalled};
use bytes::Bytes;
use serde_json::Value;

const TABLE: &str = "set";

pub(super) async fn answer(store: &Strong, kind: &str, body: &Body) -> Answer {
    match kind {
        "add" => {
            store.put(key(TABLE, field(body, "element")?), Bytes::new()).await?;
            done()
        }
        "read" => {
            let mut range = below(TABLE.as_bytes());
            range.keys_only = true;
            let found = store.read_or_recall(range).await?;
            let element = |kv: &dwcp_store::api::KeyValue| recalled(&kv.key[TABLE.len() + 1..]);
            with("value", Value::Array(found.kvs.iter().map(element).collect::<Result<_, _>>()?))
        }
        _ => Err(not_mine(kind)),
    }
}
