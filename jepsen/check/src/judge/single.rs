//! Objects judged for linearizability.

use super::{Ask, explain};
use crate::history::{FailedCas, History, HistoryError, Interner, Kind, Pair, Process, Value};
use crate::linearizable::mutex::{Mutex, MutexAction, MutexOp};
use crate::linearizable::queue::{Queue, QueueAction, QueueOp};
use crate::linearizable::register::{self, Register};
use crate::linearizable::registers::{Access, Registers};
use crate::linearizable::text::{self, Text};
use crate::linearizable::{Model, Operation, Verdict, check};
use crate::report::{Finding, Outcome, Report, Shown};
use crate::rw::micro_operations;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

fn linearizable<M: Model>(
    name: super::Model,
    model: &M,
    operations: &[Operation<M::Op>],
    history: &History,
    names: &Interner,
    ask: &Ask,
) -> Report {
    let verdict = check(model, operations, &ask.budget());
    let count = operations.len();
    let mut report = super::report(name, "linearizable", count, Vec::new());
    match &verdict {
        Verdict::Linearizable => report.claim = format!("{count} operations are linearizable"),
        Verdict::NotLinearizable(witness) => {
            report.outcome = Outcome::Invalid;
            let shown: Vec<Shown> = witness
                .operations
                .iter()
                .map(|part| {
                    let operation = &operations[part.index];
                    let ret = operation.returned().then_some(operation.ret as usize);
                    let what = explain(names, &model.describe(&operation.op));
                    let shown = super::shown(history, operation.call as usize, ret, what);
                    Shown { certain: part.certain, ..shown }
                })
                .collect();
            report.claim = format!(
                "{count} operations are not linearizable; these {} already have no order",
                shown.len()
            );
            let text = explain(names, &witness.to_string());
            report.findings.push(Finding {
                name: "not-linearizable".to_owned(),
                text,
                operations: shown,
                arrows: Vec::new(),
            });
        }
        Verdict::Unknown { key, why } => {
            report.outcome = Outcome::Unknown;
            report.claim = format!("key {}: {why}", explain(names, &key.to_string()));
            report.notes.push(
                "--effort 10 spends ten times as much; fewer clients a key and unique values help more"
                    .to_owned(),
            );
        }
    }
    report
}

/// Whether keys are hidden in Jepsen's tuples `[key value]`: every write has one.
fn has_tuples(history: &History) -> bool {
    let mut writes = history.events.iter().filter(|event| event.function == "write").peekable();
    let pair = |value: &Json| value.as_array().is_some_and(|list| list.len() == 2);
    writes.peek().is_some()
        && writes.all(|event| pair(&event.value))
        && history.events.iter().all(|event| {
            event.key.is_none() && (pair(&event.value) || matches!(event.process, Process::Nemesis(_)))
        })
}

fn without_tuples(history: &History) -> History {
    let mut split = history.clone();
    for event in split.events.iter_mut().filter(|event| matches!(event.process, Process::Client(_))) {
        if let Json::Array(list) = &mut event.value
            && list.len() == 2
        {
            let value = list.pop().unwrap_or_default();
            event.key = list.pop();
            event.value = value;
        }
    }
    split
}

pub(super) fn register(history: &History, observed: bool, ask: &Ask) -> Result<Report, HistoryError> {
    let split = has_tuples(history).then(|| without_tuples(history));
    let history = split.as_ref().unwrap_or(history);
    let default = if observed { FailedCas::ObservedMismatch } else { FailedCas::DidNotHappen };
    let judge = |failed_cas| {
        let mut names = Interner::default();
        let operations = register::operations(history, failed_cas, &mut names)?;
        Ok(linearizable(super::Model::Register, &Register, &operations, history, &names, ask))
    };
    let mut report = judge(ask.failed_cas.unwrap_or(default))?;
    let refused = |event: &crate::history::Event| event.function == "cas" && event.kind == Kind::Fail;
    // Nothing in the events tells which is meant; where it matters, say so.
    if ask.failed_cas.is_none()
        && !observed
        && history.events.iter().any(refused)
        && report.outcome == Outcome::Valid
    {
        let other = judge(FailedCas::ObservedMismatch)?;
        if other.outcome != report.outcome {
            report.notes.push(
                "a failed cas is read as not having happened (Jepsen, Knossos); if this system answers so when it \
                 saw another value, ask again with --failed-cas observed: then the history is not linearizable"
                    .to_owned(),
            );
        }
    }
    Ok(report)
}

pub(super) fn kv(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let operations = text::operations(history, &mut names)?;
    Ok(linearizable(super::Model::Kv, &Text, &operations, history, &names, ask))
}

/// Operations that did not fail, each by `read`; those that it leaves out are no part.
fn operations<O>(
    history: &History,
    mut read: impl FnMut(&Pair<'_>, &Json) -> Result<Option<O>, String>,
) -> Result<Vec<Operation<O>>, HistoryError> {
    let mut operations = Vec::new();
    for pair in history.pair()? {
        let result = match pair.done {
            Some((_, done)) if done.kind == Kind::Fail => continue,
            Some((_, done)) => &done.value,
            None => &pair.invoke.value,
        };
        let op = read(&pair, result).map_err(|why| HistoryError::Meaning { index: pair.call, why })?;
        operations.extend(op.map(|op| Operation {
            process: pair.process,
            call: pair.call as u64,
            ret: pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64),
            op,
        }));
    }
    Ok(operations)
}

pub(super) fn mutex(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let operations = operations(history, |pair, _| {
        let key = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let action = match pair.invoke.function.as_str() {
            "acquire" => MutexAction::Acquire,
            "release" => MutexAction::Release,
            other => return Err(format!("a mutex knows acquire and release, not {other}")),
        };
        Ok(Some(MutexOp { key, action }))
    })?;
    Ok(linearizable(super::Model::Mutex, &Mutex, &operations, history, &names, ask))
}

pub(super) fn queue(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let operations = operations(history, |pair, result| {
        let key = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let action = match (pair.invoke.function.as_str(), pair.done) {
            ("enqueue", _) => QueueAction::Enqueue(names.value(&pair.invoke.value)),
            ("dequeue", Some(_)) => QueueAction::Dequeue(names.optional(result)),
            ("dequeue", None) => QueueAction::DequeueUnseen,
            (other, _) => return Err(format!("a queue knows enqueue and dequeue, not {other}")),
        };
        Ok(Some(QueueOp { key, action }))
    })?;
    Ok(linearizable(super::Model::Queue, &Queue, &operations, history, &names, ask))
}

/// Reads and writes of a value: steps with a function each, or pairs under the event's one.
fn accesses<'v>(function: &'v str, value: &'v Json) -> Result<Vec<(&'v str, Json, &'v Json)>, String> {
    if let Json::Object(fields) = value {
        return Ok(fields.iter().map(|(key, value)| (function, Json::from(key.as_str()), value)).collect());
    }
    if function == "txn" {
        let steps = micro_operations(value)?;
        return Ok(steps.into_iter().map(|(function, key, value)| (function, key.clone(), value)).collect());
    }
    let list = value.as_array().ok_or_else(|| format!("a list of [key, value] is needed, not {value}"))?;
    let pair = |item: &'v Json| match item.as_array().map(Vec::as_slice) {
        Some([key, value]) => Ok((function, key.clone(), value)),
        _ => Err(format!("a step is [key, value], not {item}")),
    };
    list.iter().map(pair).collect()
}

pub(super) fn multi_register(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let fixed = |key: &Json| match &ask.initial {
        Some(Json::Object(fields)) => fields.get(key.as_str().unwrap_or_default()).cloned(),
        other => other.clone(),
    };
    let mut initial: BTreeMap<Value, Value> = BTreeMap::new();
    let mut written: BTreeSet<(Value, Value)> = BTreeSet::new();
    let mut list = operations(history, |pair, result| {
        let mut steps = Vec::new();
        for (function, key, value) in accesses(&pair.invoke.function, result)? {
            let register = names.value(&key);
            let begins = fixed(&key);
            if let Some(value) = &begins {
                initial.insert(register, names.value(value));
            }
            steps.push(match function {
                "w" | "write" => {
                    let value = names.value(value);
                    written.insert((register, value));
                    Access::Write(register, value)
                }
                "r" | "read" if pair.done.is_none() => Access::Skip,
                // A register that begins with a value is never unset: such a read saw nothing.
                "r" | "read" if value.is_null() && begins.is_some() => Access::Skip,
                "r" | "read" => Access::Read(register, names.optional(value)),
                other => return Err(format!("a step is a read or a write, not {other}")),
            });
        }
        Ok(Some(steps))
    })?;
    let inferred = infer(&list, &written, &mut initial);
    for operation in &mut list {
        for step in &mut operation.op {
            if matches!(step, Access::Read(register, None) if initial.contains_key(register)) {
                *step = Access::Skip;
            }
        }
    }
    let model = Registers { initial };
    let mut report = linearizable(super::Model::MultiRegister, &model, &list, history, &names, ask);
    if inferred {
        report
            .notes
            .push("registers were taken to begin with the values that reads saw and nobody wrote".to_owned());
    }
    Ok(report)
}

/// A value that was read and never written can only be the beginning.
fn infer(
    list: &[Operation<Vec<Access>>],
    written: &BTreeSet<(Value, Value)>,
    initial: &mut BTreeMap<Value, Value>,
) -> bool {
    let known = initial.len();
    for access in list.iter().flat_map(|operation| &operation.op) {
        if let Access::Read(register, Some(value)) = *access
            && !written.contains(&(register, value))
        {
            initial.entry(register).or_insert(value);
        }
    }
    initial.len() > known
}
