//! Sets, counters, banks and long forks.

use super::{Ask, Model, explain, report, shown};
use crate::bank::{Bank, Fault};
use crate::counter::{self, CounterOp};
use crate::history::{History, HistoryError, Interner, Kind, Pair, Value};
use crate::linearizable::Operation;
use crate::long_fork;
use crate::mistake::{Mistake, planted};
use crate::report::{Finding, Report};
use crate::rw::micro_operations;
use crate::set::{self, SetOp};
use serde_json::Value as Json;
use std::collections::BTreeMap;

fn meaning(pair: &Pair<'_>, why: String) -> HistoryError {
    HistoryError::Meaning { index: pair.call, why }
}

/// Operations that did not fail, with the positions of their calls.
fn pairs(history: &History) -> Result<Vec<Pair<'_>>, HistoryError> {
    let mut pairs = history.pair()?;
    let failed = |pair: &Pair<'_>| pair.done.is_some_and(|(_, done)| done.kind == Kind::Fail);
    pairs.retain(|pair| planted(Mistake::FailHappened) || !failed(pair));
    if planted(Mistake::InfoIsFail) {
        pairs.retain(|pair| pair.done.is_some());
    }
    Ok(pairs)
}

fn operation<O>(pair: &Pair<'_>, op: O) -> Operation<O> {
    let ret = pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64);
    Operation { process: pair.process, call: pair.call as u64, ret, op }
}

pub(super) fn set(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut operations: Vec<Operation<SetOp>> = Vec::new();
    for pair in pairs(history)? {
        let op = match (pair.invoke.function.as_str(), pair.done) {
            ("add", _) => SetOp::Add(names.value(&pair.invoke.value)),
            ("read", None) => continue,
            ("read", Some((_, done))) if done.value.is_null() => SetOp::Read(Vec::new()),
            ("read", Some((_, done))) => {
                let list = done.value.as_array();
                let list = list.ok_or_else(|| {
                    meaning(&pair, format!("a read of a set shows a list, not {}", done.value))
                })?;
                SetOp::Read(list.iter().map(|element| names.value(element)).collect())
            }
            (other, _) => return Err(meaning(&pair, format!("a set knows add and read, not {other}"))),
        };
        operations.push(operation(&pair, op));
    }
    let fates = set::check(&operations);
    let mut findings = Vec::new();
    let fault_lists = [
        ("lost", &fates.lost, "was acknowledged or read, and later reads lack it to the end"),
        ("unexpected", &fates.unexpected, "was read, and nobody added it"),
        ("duplicated", &fates.duplicated, "was shown twice by one read"),
        ("stale", &fates.stale, "was missing from a read called after it was known, and came back"),
    ];
    for (name, elements, what) in fault_lists {
        let counts = name != "stale" || ask.linearizable;
        let Some(first) = elements.first().filter(|_| counts) else { continue };
        let text = format!("element {} {what}; {} elements in all", names.name(*first), elements.len());
        findings.push(Finding {
            name: name.to_owned(),
            text,
            operations: set_operations(history, &operations, *first, name, &names),
            arrows: Vec::new(),
        });
    }
    let promise = if ask.linearizable {
        "every element known is in every later read"
    } else {
        "no element known is lost"
    };
    let mut report = report(Model::Set, promise, operations.len(), findings);
    let (stable, never) = (fates.stable, fates.never_read.len());
    report.notes.push(format!(
        "{} additions asked for, {} acknowledged; {stable} elements stable, {} recovered, {} stale, {never} never read",
        fates.attempted,
        fates.acknowledged,
        fates.recovered.len(),
        fates.stale.len()
    ));
    Ok(report)
}

/// The addition of an element and the read that shows the fault.
fn set_operations(
    history: &History,
    operations: &[Operation<SetOp>],
    element: Value,
    fault: &str,
    names: &Interner,
) -> Vec<crate::report::Shown> {
    let adds = |operation: &&Operation<SetOp>| operation.op == SetOp::Add(element);
    let added = operations.iter().find(adds);
    let has =
        |operation: &&Operation<SetOp>| matches!(&operation.op, SetOp::Read(list) if list.contains(&element));
    let seen = operations.iter().find(has);
    let known = added.map(|add| add.ret).into_iter().chain(seen.map(|read| read.ret)).min();
    let lacks = |operation: &&Operation<SetOp>| {
        matches!(&operation.op, SetOp::Read(list) if !list.contains(&element))
            && known.is_some_and(|known| known < operation.call)
    };
    let wrong = match fault {
        "lost" => operations.iter().rfind(lacks),
        "stale" => operations.iter().find(lacks),
        _ => seen,
    };
    let mut list: Vec<&Operation<SetOp>> = added.into_iter().chain(seen).chain(wrong).collect();
    list.sort_by_key(|operation| operation.call);
    list.dedup();
    let words = |op: &SetOp| match op {
        SetOp::Add(value) => format!("add {}", names.name(*value)),
        SetOp::Read(list) => {
            let with = if list.contains(&element) { "with" } else { "without" };
            format!("read {} elements, {with} {}", list.len(), names.name(element))
        }
    };
    let show = |operation: &&Operation<SetOp>| {
        let ret = operation.returned().then_some(operation.ret as usize);
        shown(history, operation.call as usize, ret, words(&operation.op))
    };
    list.iter().map(show).collect()
}

pub(super) fn counter(history: &History) -> Result<Report, HistoryError> {
    let mut operations: Vec<Operation<CounterOp>> = Vec::new();
    for pair in pairs(history)? {
        let amount = |value: &Json, sign: i64| {
            let number = if value.is_null() { Some(1) } else { value.as_i64() };
            let number = number.and_then(|number| number.checked_mul(sign));
            number.ok_or_else(|| meaning(&pair, format!("a counter adds whole numbers, not {value}")))
        };
        let op = match (pair.invoke.function.as_str(), pair.done) {
            ("add" | "increment" | "inc", _) => CounterOp::Add(amount(&pair.invoke.value, 1)?),
            ("decrement" | "dec", _) => CounterOp::Add(amount(&pair.invoke.value, -1)?),
            ("read", None) => continue,
            ("read", Some((_, done))) => {
                let seen = done.value.as_i64();
                CounterOp::Read(seen.ok_or_else(|| {
                    meaning(&pair, format!("a read of a counter shows a whole number, not {}", done.value))
                })?)
            }
            (other, _) => return Err(meaning(&pair, format!("a counter knows add and read, not {other}"))),
        };
        operations.push(operation(&pair, op));
    }
    let findings = counter::check(&operations).into_iter().map(|wrong| {
        let read = &operations[wrong.index];
        let text = format!(
            "a read showed {}, and what was added by then allows {} to {}",
            wrong.seen, wrong.least, wrong.most
        );
        let what = format!("read -> {} (possible: {}..={})", wrong.seen, wrong.least, wrong.most);
        Finding {
            name: "out-of-bounds".to_owned(),
            text,
            operations: vec![shown(history, read.call as usize, Some(read.ret as usize), what)],
            arrows: Vec::new(),
        }
    });
    let findings: Vec<Finding> = findings.collect();
    Ok(report(
        Model::Counter,
        "every read lies between what must and what can have been added",
        operations.len(),
        findings,
    ))
}

pub(super) fn bank(history: &History, ask: &Ask) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut reads: Vec<(usize, usize, BTreeMap<Value, i64>)> = Vec::new();
    let pairs = pairs(history)?;
    for pair in &pairs {
        let Some((ret, done)) = pair.done.filter(|_| pair.invoke.function == "read") else { continue };
        let Json::Object(fields) = &done.value else {
            return Err(meaning(
                pair,
                format!("a read of a bank shows {{account balance}}, not {}", done.value),
            ));
        };
        let mut read = BTreeMap::new();
        for (account, balance) in fields {
            // A missing balance is a missing account.
            if balance.is_null() {
                continue;
            }
            let number = balance.as_i64();
            let number =
                number.ok_or_else(|| meaning(pair, format!("a balance is a whole number, not {balance}")))?;
            let account = account.parse::<u64>().map_or_else(|_| Json::from(account.as_str()), Json::from);
            read.insert(names.value(&account), number);
        }
        reads.push((pair.call, ret, read));
    }
    let first = reads.first().map(|(_, _, read)| read.clone()).unwrap_or_default();
    let total = ask.total.unwrap_or_else(|| first.values().fold(0_i64, |sum, b| sum.saturating_add(*b)));
    let bank = Bank { accounts: first.keys().copied().collect(), total, overdraft: ask.overdraft };
    let judge = |(call, ret, read): &(usize, usize, BTreeMap<Value, i64>)| {
        let fault = bank.judge(read)?;
        let name = match &fault {
            Fault::WrongTotal { .. } => "wrong-total",
            Fault::Overdrawn { .. } => "overdrawn",
            Fault::Missing { .. } => "missing-account",
            Fault::Unexpected { .. } => "unexpected-account",
        };
        let text = match &fault {
            Fault::WrongTotal { found } => format!("the accounts hold {found} together, not {total}"),
            other => explain(&names, &other.to_string()),
        };
        let balances: Vec<String> =
            read.iter().take(16).map(|(account, b)| format!("{} {b}", names.name(*account))).collect();
        let what = format!("read -> {{{}}}", balances.join(", "));
        Some(Finding {
            name: name.to_owned(),
            text,
            operations: vec![shown(history, *call, Some(*ret), what)],
            arrows: Vec::new(),
        })
    };
    let findings: Vec<Finding> = reads.iter().filter_map(judge).collect();
    let promise = format!("the accounts hold {total} together at every read");
    Ok(report(Model::Bank, &promise, pairs.len(), findings))
}

pub(super) fn long_fork(history: &History) -> Result<Report, HistoryError> {
    let mut names = Interner::default();
    let mut places = Vec::new();
    let mut reads = Vec::new();
    let pairs = pairs(history)?;
    for pair in &pairs {
        let Some((ret, done)) = pair.done else { continue };
        let steps = micro_operations(&done.value).map_err(|why| meaning(pair, why))?;
        if !steps.iter().all(|(function, ..)| matches!(*function, "r" | "read")) {
            continue;
        }
        let shows = steps.iter().map(|(_, key, value)| (names.value(key), names.optional(value)));
        reads.push(shows.collect::<long_fork::Snapshot>());
        places.push((pair.call, ret));
    }
    let forks = long_fork::check(&reads).into_iter().map(|fork| {
        let [a, b] = fork.reads;
        let [x, y] = fork.keys.map(|key| names.name(key));
        let show = |at: usize| {
            let list = reads[at].iter().map(|(key, value)| {
                let value = value.map_or("unset".to_owned(), |value| names.name(value));
                format!("{} {value}", names.name(*key))
            });
            let text = format!("read {}", list.collect::<Vec<_>>().join(", "));
            shown(history, places[at].0, Some(places[at].1), text)
        };
        let text = format!(
            "the read #{} shows key {x} and not {y}, the read #{} shows {y} and not {x}: neither snapshot can be the older",
            places[a].0, places[b].0
        );
        Finding { name: "long-fork".to_owned(), text, operations: vec![show(a), show(b)], arrows: Vec::new() }
    });
    let findings: Vec<Finding> = forks.collect();
    Ok(report(Model::LongFork, "snapshots of a group are ordered", pairs.len(), findings))
}
