//! Transactions out of recorded events.

use super::{Step, Transaction};
use crate::append::Status;
use crate::history::{History, HistoryError, Interner, Kind, Pair};
use crate::mistake::{Mistake, planted};
use serde_json::Value as Json;

/// The transactions of a history whose values are lists of `["w", key, value]` and
/// `["r", key, value]`. Positions in the history are the instants. `initial` is what a
/// register's beginning reads as, besides null.
///
/// # Errors
/// Malformed histories and steps of another shape.
pub fn transactions(
    history: &History,
    initial: Option<&Json>,
    names: &mut Interner,
) -> Result<Vec<Transaction>, HistoryError> {
    history.pair()?.iter().map(|pair| transaction(pair, initial, names)).collect()
}

fn transaction(
    pair: &Pair<'_>,
    initial: Option<&Json>,
    names: &mut Interner,
) -> Result<Transaction, HistoryError> {
    let (status, ret, value) = match pair.done {
        Some((at, done)) if done.kind == Kind::Ok => (Status::Committed, at as u64, &done.value),
        Some((at, _)) if planted(Mistake::FailHappened) => (Status::Unknown, at as u64, &pair.invoke.value),
        Some((at, _)) => (Status::Aborted, at as u64, &pair.invoke.value),
        None => (Status::Unknown, u64::MAX, &pair.invoke.value),
    };
    let meaning = |why: String| HistoryError::Meaning { index: pair.call, why };
    let mut steps = Vec::new();
    for (function, key, value) in micro_operations(value).map_err(meaning)? {
        let key = names.value(key);
        match function {
            "w" | "write" => steps.push(Step::Write { key, value: names.value(value) }),
            "r" | "read" if status != Status::Committed => {}
            "r" | "read" => {
                let beginning = value.is_null() || Some(value) == initial;
                steps.push(Step::Read { key, value: (!beginning).then(|| names.value(value)) });
            }
            other => return Err(meaning(format!("a step is [\"r\", ...] or [\"w\", ...], not {other}"))),
        }
    }
    Ok(Transaction { process: pair.process, call: pair.call as u64, ret, status, steps })
}

/// The steps of a transaction's value: function, key, value.
///
/// # Errors
/// What is not a list of such triples, in words.
pub(crate) fn micro_operations(value: &Json) -> Result<Vec<(&str, &Json, &Json)>, String> {
    let list = value.as_array().ok_or_else(|| format!("a transaction is a list of steps, not {value}"))?;
    let step = |item: &'_ Json| match item.as_array().map(Vec::as_slice) {
        Some([Json::String(_), _, _]) => Ok(()),
        _ => Err(format!("a step is [function, key, value], not {item}")),
    };
    for item in list {
        step(item)?;
    }
    Ok(list
        .iter()
        .filter_map(|item| match item.as_array()?.as_slice() {
            [Json::String(function), key, value] => Some((function.as_str(), key, value)),
            _ => None,
        })
        .collect())
}
