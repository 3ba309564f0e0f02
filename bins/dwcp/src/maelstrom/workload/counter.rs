//! g-counter and pn-counter: every add makes a key of its own, a read sums them.
//!
//! An add that is asked twice writes its key twice, and counts once.

use super::not_mine;
use crate::maelstrom::protocol::{Answer, Body, Code, Fault, done, field, with};
use crate::maelstrom::strong::{Strong, below, key, recalled, stored};
use serde_json::Value;

const TABLE: &str = "add";

/// Which deltas are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sign {
    /// None below zero.
    Positive,
    /// All.
    Any,
}

pub(super) async fn answer(store: &Strong, sign: Sign, kind: &str, body: &Body) -> Answer {
    match kind {
        "add" => {
            let delta = field(body, "delta")?;
            let n = delta.as_i64().ok_or_else(|| Fault::malformed("delta is no whole number of 64 bits"))?;
            if n < 0 && sign == Sign::Positive {
                return Err(Fault::malformed("delta is negative, and this counter only grows"));
            }
            if n != 0 {
                store.put(key(TABLE, &store.fresh_name().into()), stored(delta)).await?;
            }
            done()
        }
        "read" => {
            let found = store.read_or_recall(below(TABLE.as_bytes())).await?;
            let mut sum = 0_i64;
            for kv in &found.kvs {
                let delta = recalled(&kv.value)?.as_i64().unwrap_or_default();
                sum = sum
                    .checked_add(delta)
                    .ok_or_else(|| Fault::new(Code::NotSupported, "the sum is beyond 64 bits"))?;
            }
            with("value", Value::from(sum))
        }
        _ => Err(not_mine(kind)),
    }
}
