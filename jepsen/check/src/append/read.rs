//! Transactions out of recorded events.

use super::{Status, Step, Transaction};
use crate::history::{History, HistoryError, Interner, Kind, Pair};
use serde_json::Value as Json;

/// The transactions of a history whose values are lists of `["append", key, element]` and
/// `["r", key, list]`. Positions in the history are the instants.
///
/// # Errors
/// Malformed histories and steps of another shape.
pub fn transactions(history: &History, names: &mut Interner) -> Result<Vec<Transaction>, HistoryError> {
    history.pair()?.iter().map(|pair| transaction(pair, names)).collect()
}

fn transaction(pair: &Pair<'_>, names: &mut Interner) -> Result<Transaction, HistoryError> {
    let (status, ret, value) = match pair.done {
        Some((at, done)) if done.kind == Kind::Ok => (Status::Committed, at as u64, &done.value),
        Some((at, _)) => (Status::Aborted, at as u64, &pair.invoke.value),
        None => (Status::Unknown, u64::MAX, &pair.invoke.value),
    };
    let meaning = |why: String| HistoryError::Meaning { index: pair.call, why };
    let list =
        value.as_array().ok_or_else(|| meaning(format!("a transaction is a list of steps, not {value}")))?;
    let mut steps = Vec::with_capacity(list.len());
    for item in list {
        let step = step(item, status == Status::Committed, names);
        steps.push(step.ok_or_else(|| {
            meaning(format!("a step is [\"append\", key, element] or [\"r\", key, list], not {item}"))
        })?);
    }
    Ok(Transaction { process: pair.process, call: pair.call as u64, ret, status, steps })
}

fn step(item: &Json, committed: bool, names: &mut Interner) -> Option<Step> {
    let [Json::String(function), key, value] = item.as_array()?.as_slice() else {
        return None;
    };
    let key = names.value(key);
    match (function.as_str(), value) {
        ("append", element) => Some(Step::Append { key, element: names.value(element) }),
        // A committed read of null saw a list that does not exist yet.
        ("r" | "read", Json::Null) => {
            let list = committed.then(|| Box::from([]));
            Some(Step::Read { key, list })
        }
        ("r" | "read", Json::Array(list)) => {
            let list = list.iter().map(|element| names.value(element)).collect();
            Some(Step::Read { key, list: committed.then_some(list) })
        }
        _ => None,
    }
}
