//! Sessions, survivors, streams, tokens and replicas.

use super::{Ask, Model, explain, report, shown};
use crate::append::Status;
use crate::convergence::{self, Act, State, Type, Update};
use crate::durability;
use crate::fencing::{self, FencingOp};
use crate::guarantees;
use crate::history::{Event, History, HistoryError, Interner, Kind, Process, Value};
use crate::linearizable::Operation;
use crate::linearizable::kv::{KvAction, KvOp};
use crate::mistake::{Mistake, planted};
use crate::report::{Arrow, Finding, Report, Shown};
use crate::rw::{self, Step, Transaction};
use crate::watch::{self, Change, Told};
use serde_json::Value as Json;
use std::collections::BTreeMap;

fn meaning(index: usize, why: String) -> HistoryError {
    HistoryError::Meaning { index, why }
}

/// Judges sessions; `history` is where the transactions' instants are positions, if it is
/// one.
pub(super) fn guarantees(transactions: &[Transaction], history: Option<(&History, &Interner)>) -> Report {
    let show = |at: &usize| {
        let t = &transactions[*at];
        let text = rw::in_words(t);
        match history {
            Some((history, names)) => {
                let ret = (t.ret != u64::MAX).then_some(t.ret as usize);
                let text = explain(names, &text);
                Shown { name: format!("T{at}"), ..shown(history, t.call as usize, ret, text) }
            }
            None => Shown {
                name: format!("T{at}"),
                lane: format!("session {}", t.process),
                call: t.call,
                ret: Some(t.ret),
                text,
                certain: true,
                line: None,
            },
        }
    };
    let finding = |broken: guarantees::Broken| {
        let names: Vec<&str> = broken.guarantees.iter().map(|g| g.name()).collect();
        let text = history.map_or(broken.text.clone(), |(_, names)| explain(names, &broken.text));
        let arrow =
            |(from, to, label): &(usize, usize, String)| Arrow { from: *from, to: *to, label: label.clone() };
        Finding {
            name: names.join("+"),
            text,
            operations: broken.transactions.iter().map(show).collect(),
            arrows: broken.edges.iter().map(arrow).collect(),
        }
    };
    let findings = guarantees::check(transactions).into_iter().map(finding).collect();
    let promise = "read your writes, monotonic reads, monotonic writes, writes follow reads";
    report(Model::SessionGuarantees, promise, transactions.len(), findings)
}

pub(super) fn session_guarantees(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let transactional = history.events.iter().any(|event| event.function == "txn");
    let transactions = if transactional {
        rw::transactions(history, ask.initial.as_ref(), &mut names)?
    } else {
        registers(history, ask, &mut names)?
    };
    Ok(guarantees(&transactions, Some((history, &names))))
}

/// Reads and writes by key, each a transaction of one step.
fn registers(history: &History, ask: &Ask, names: &mut Interner) -> Result<Vec<Transaction>, HistoryError> {
    let mut transactions = Vec::new();
    for pair in history.pair()? {
        let key = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let status = match pair.done {
            Some((_, done)) if done.kind == Kind::Ok => Status::Committed,
            Some(_) => Status::Aborted,
            None => Status::Unknown,
        };
        let steps = match (pair.invoke.function.as_str(), pair.done) {
            ("write", _) => vec![Step::Write { key, value: names.value(&pair.invoke.value) }],
            ("read", Some((_, done))) if done.kind == Kind::Ok => {
                let beginning = done.value.is_null() || Some(&done.value) == ask.initial.as_ref();
                vec![Step::Read { key, value: (!beginning).then(|| names.value(&done.value)) }]
            }
            ("read", _) => continue,
            (other, _) => {
                return Err(meaning(
                    pair.call,
                    format!("session guarantees are judged on read and write, not {other}"),
                ));
            }
        };
        let ret = pair.done.map_or(u64::MAX, |(at, _)| at as u64);
        transactions.push(Transaction { process: pair.process, call: pair.call as u64, ret, status, steps });
    }
    Ok(transactions)
}

/// A call with its place, its completion with its own, and the process.
type Placed<'h> = (usize, Option<(usize, &'h Event)>, &'h Event, u64);

/// The events of some functions, paired as a history of their own; positions stay.
fn paired<'h>(history: &'h History, functions: &[&str]) -> Result<Vec<Placed<'h>>, HistoryError> {
    let places: Vec<usize> = (0..history.events.len())
        .filter(|at| functions.contains(&history.events[*at].function.as_str()))
        .collect();
    let part =
        History { events: places.iter().map(|at| history.events[*at].clone()).collect(), lines: Vec::new() };
    let moved = |error| match error {
        HistoryError::Orphan { index, process } => HistoryError::Orphan { index: places[index], process },
        HistoryError::Overlap { index, process, open } => {
            HistoryError::Overlap { index: places[index], process, open: places[open] }
        }
        other => other,
    };
    let pairs = part.pair().map_err(moved)?;
    let mut list = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let call = places[pair.call];
        let done = pair.done.map(|(at, _)| (places[at], &history.events[places[at]]));
        list.push((call, done, &history.events[call], pair.process));
    }
    Ok(list)
}

pub(super) fn durability(history: &History) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut operations: Vec<Operation<KvOp>> = Vec::new();
    let mut survivors: BTreeMap<Value, (Option<Value>, usize)> = BTreeMap::new();
    for (call, done, invoke, process) in
        paired(history, &["put", "write", "get", "read", "delete", "cas", "survivor"])?
    {
        if done.is_some_and(|(_, done)| done.kind == Kind::Fail) {
            continue;
        }
        let key = invoke.key.as_ref().map_or(0, |key| names.value(key));
        let action = match (invoke.function.as_str(), done) {
            ("survivor", Some((_, done))) => {
                survivors.insert(key, (names.optional(&done.value), call));
                continue;
            }
            ("survivor" | "get" | "read", _) => continue,
            ("put" | "write", _) => KvAction::Put(names.value(&invoke.value)),
            ("delete", _) => KvAction::Delete { existed: None },
            ("cas", _) => match invoke.value.as_array().map(Vec::as_slice) {
                Some([from, to]) => {
                    let (expected, new) = (names.optional(from), names.value(to));
                    KvAction::Cas { expected, new, succeeded: true }
                }
                _ => return Err(meaning(call, format!("cas needs [from, to], not {}", invoke.value))),
            },
            (other, _) => return Err(meaning(call, format!("durability knows no {other}"))),
        };
        let ret = done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64);
        operations.push(Operation { process, call: call as u64, ret, op: KvOp { key, action } });
    }
    let found: BTreeMap<Value, Option<Value>> =
        survivors.iter().map(|(key, (value, _))| (*key, *value)).collect();
    let finding = |loss: durability::Loss| {
        let name = match loss.fault {
            durability::Fault::Lost => "lost",
            durability::Fault::Resurrected => "resurrected",
            durability::Fault::Invented => "invented",
        };
        let last = loss.last.map(|at| {
            let operation = &operations[at];
            let text = match operation.op.action {
                KvAction::Put(value) => format!("put {} {}", names.name(loss.key), names.name(value)),
                KvAction::Delete { .. } => format!("delete {}", names.name(loss.key)),
                _ => format!("cas {}", names.name(loss.key)),
            };
            let ret = operation.returned().then_some(operation.ret as usize);
            shown(history, operation.call as usize, ret, text)
        });
        let (value, at) = survivors[&loss.key];
        let value = value.map_or("nothing".to_owned(), |value| names.name(value));
        let read = shown(history, at, None, format!("survivor {} -> {value}", names.name(loss.key)));
        Finding {
            name: name.to_owned(),
            text: explain(&names, &loss.to_string()),
            operations: last.into_iter().chain([read]).collect(),
            arrows: Vec::new(),
        }
    };
    let findings = durability::check(&operations, &found).into_iter().map(finding).collect();
    let mut report = report(Model::Durability, "what was acknowledged survives", operations.len(), findings);
    if survivors.is_empty() {
        report.outcome = crate::report::Outcome::Unknown;
        report.claim = "no survivor was read: end the history with survivor events".to_owned();
    }
    Ok(report)
}

fn number(event: &Event, index: usize, field: &str) -> Result<u64, HistoryError> {
    let found = if field.is_empty() { &event.value } else { &event.value[field] };
    found.as_u64().ok_or_else(|| {
        meaning(index, format!("{} needs a whole number {field}, not {found}", event.function))
    })
}

pub(super) fn watch(history: &History) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut changes = Vec::new();
    for (_, done, invoke, _) in paired(history, &["put", "delete"])? {
        if done.is_some_and(|(_, done)| done.kind == Kind::Fail) {
            continue;
        }
        let key = invoke.key.as_ref().map_or(0, |key| names.value(key));
        let revision = done.map(|(at, done)| number(done, at, "revision")).transpose()?;
        let value = match invoke.function.as_str() {
            "delete" => None,
            _ => Some(names.value(invoke.value.get("value").unwrap_or(&invoke.value))),
        };
        changes.push(Change { revision, key, value });
    }
    let mut streams: BTreeMap<String, Vec<(usize, Told)>> = BTreeMap::new();
    let mut keys: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (at, event) in history.events.iter().enumerate() {
        let lane = match &event.process {
            Process::Client(number) => format!("watcher {number}"),
            Process::Nemesis(name) => name.clone(),
        };
        let key = event.key.as_ref().map(|key| names.value(key));
        let told = match event.function.as_str() {
            "watch" if event.kind != Kind::Fail => {
                keys.entry(lane.clone()).or_default().extend(key);
                Told::From(number(event, at, "from")?)
            }
            "event" => {
                let revision = number(event, at, "revision")?;
                let value = names.optional(&event.value["value"]);
                Told::Event { revision, key: key.unwrap_or(0), value }
            }
            _ => continue,
        };
        streams.entry(lane).or_default().push((at, told));
    }
    let mut findings = Vec::new();
    let mut count = changes.len();
    for (lane, stream) in &streams {
        count += stream.len();
        let told: Vec<Told> = stream.iter().map(|(_, told)| *told).collect();
        let wanted = keys.get(lane).cloned().unwrap_or_default();
        let watched = |key| wanted.is_empty() || wanted.contains(&key);
        for fault in watch::check(&changes, &told, watched) {
            let place = stream[fault.at].0;
            let text = format!("{lane}: {}", explain(&names, &fault.text));
            let what = event_words(&history.events[place]);
            let operations = vec![shown(history, place, Some(place), what)];
            findings.push(Finding { name: fault.name.to_owned(), text, operations, arrows: Vec::new() });
        }
    }
    Ok(report(Model::Watch, "every change once, in order, without a gap, across resumption", count, findings))
}

fn event_words(event: &Event) -> String {
    let key = event.key.as_ref().map_or(String::new(), |key| format!(" {key}"));
    let value = if event.value.is_null() { String::new() } else { format!(" {}", event.value) };
    let mut text = format!("{}{key}{value}", event.function);
    if text.len() > 120 {
        let end = (0..=117).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

pub(super) fn fencing(history: &History) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut operations: Vec<Operation<FencingOp>> = Vec::new();
    for pair in history.pair()? {
        let failed = pair.done.is_some_and(|(_, done)| done.kind == Kind::Fail);
        if failed && !planted(Mistake::FailHappened) {
            continue;
        }
        let lock = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let op = match (pair.invoke.function.as_str(), pair.done) {
            ("acquire", Some((at, done))) => FencingOp::Acquire { lock, token: number(done, at, "")? },
            ("use", _) => FencingOp::Use { lock, token: number(pair.invoke, pair.call, "")? },
            ("lead", Some((_, done))) => FencingOp::Lead { term: lock, node: names.value(&done.value) },
            ("acquire" | "release" | "lead", _) => continue,
            (other, _) => {
                return Err(meaning(
                    pair.call,
                    format!("fencing knows acquire, use, release and lead, not {other}"),
                ));
            }
        };
        let ret = pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64);
        operations.push(Operation { process: pair.process, call: pair.call as u64, ret, op });
    }
    let show = |at: &usize| {
        let operation = &operations[*at];
        let ret = operation.returned().then_some(operation.ret as usize);
        let text = match operation.op {
            FencingOp::Acquire { lock, token } => format!("acquire {} -> {token}", names.name(lock)),
            FencingOp::Use { lock, token } => format!("use {} under {token}", names.name(lock)),
            FencingOp::Lead { term, node } => format!("node {} leads in term {term}", names.name(node)),
        };
        shown(history, operation.call as usize, ret, text)
    };
    let finding = |fault: fencing::Fault| Finding {
        name: fault.name.to_owned(),
        text: explain(&names, &fault.text),
        operations: fault.operations.iter().map(show).collect(),
        arrows: Vec::new(),
    };
    let findings = fencing::check(&operations).into_iter().map(finding).collect();
    Ok(report(
        Model::Fencing,
        "tokens rise, old ones are refused, a term has one leader",
        operations.len(),
        findings,
    ))
}

pub(super) fn convergence(history: &History, of: Type) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut acts = Vec::new();
    let mut places = Vec::new();
    for (at, event) in history.events.iter().enumerate() {
        let Process::Client(replica) = event.process else { continue };
        if event.kind == Kind::Fail {
            continue;
        }
        let act = match event.function.as_str() {
            "perform" => Act::Perform(number(event, at, "number")?, update(event, at, &mut names)?),
            "receive" => Act::Receive(number(event, at, "")?),
            "show" => Act::Show(match &event.value {
                Json::Number(sum) => {
                    let sum = sum.as_i64();
                    State::Sum(sum.ok_or_else(|| meaning(at, "a counter shows a whole number".to_owned()))?)
                }
                Json::Array(list) => {
                    let mut values: Vec<Value> = list.iter().map(|value| names.value(value)).collect();
                    if of != Type::Sequence {
                        values.sort_unstable();
                    }
                    State::Values(values)
                }
                Json::Null => State::Values(Vec::new()),
                one => State::Values(vec![names.value(one)]),
            }),
            other => {
                return Err(meaning(at, format!("a replica does perform, receive and show, not {other}")));
            }
        };
        acts.push((replica, act));
        places.push(at);
    }
    let show = |at: &usize| {
        let place = places[*at];
        let mut shown = shown(history, place, Some(place), event_words(&history.events[place]));
        shown.lane = format!("replica {}", acts[*at].0);
        shown
    };
    let finding = |fault: convergence::Fault| Finding {
        name: fault.name.to_owned(),
        text: explain(&names, &fault.text),
        operations: fault.acts.iter().map(show).collect(),
        arrows: Vec::new(),
    };
    let findings = convergence::check(of, &acts).into_iter().map(finding).collect();
    let promise = "who received the same shows the same, and what it means";
    Ok(report(Model::Replicated(of), promise, acts.len(), findings))
}

/// The operation of a `perform` event, by the one field besides its number.
fn update(event: &Event, at: usize, names: &mut Interner) -> Result<Update, HistoryError> {
    let value = &event.value;
    let list = |field: &Json| -> Vec<u64> {
        field.as_array().map_or(Vec::new(), |list| list.iter().filter_map(Json::as_u64).collect())
    };
    if let Some(amount) = value.get("add") {
        let amount = amount.as_i64();
        return amount.map(Update::Add).ok_or_else(|| meaning(at, "add needs a whole number".to_owned()));
    }
    if let Some(element) = value.get("insert") {
        let element = names.value(element);
        return Ok(match value.get("after") {
            Some(after) => Update::Place { element, after: names.optional(after) },
            None => Update::Insert(element),
        });
    }
    if let Some(element) = value.get("remove") {
        return Ok(Update::Remove { element: names.value(element), observed: list(&value["observed"]) });
    }
    if let Some(element) = value.get("delete") {
        return Ok(Update::Delete { element: names.value(element) });
    }
    if let Some(written) = value.get("write") {
        let timestamp = value["timestamp"].as_u64().unwrap_or(0);
        return Ok(Update::Write {
            value: names.value(written),
            timestamp,
            overwritten: list(&value["overwritten"]),
        });
    }
    Err(meaning(at, format!("perform needs add, insert, remove, delete or write, not {value}")))
}
