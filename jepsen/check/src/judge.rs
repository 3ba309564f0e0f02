//! From a file's contents to a report: which checker, how the events are read, what is told.
//!
//! | model | functions and values | what is checked |
//! |---|---|---|
//! | register | `read`, `write`, `cas [from to]`, by key | [`crate::linearizable::register`] |
//! | kv | `get`, `put`, `append` of strings, by key | [`crate::linearizable::text`] |
//! | mutex | `acquire`, `release` | [`crate::linearizable::mutex`] |
//! | queue | `enqueue`, `dequeue` | [`crate::linearizable::queue`] |
//! | multi-register | `txn` of `[read k v]`, `[write k v]` | [`crate::linearizable::registers`] |
//! | list-append | `txn` of `[append k v]`, `[r k [..]]` | [`crate::append`] |
//! | rw-register | `txn` of `[w k v]`, `[r k v]` | [`crate::rw`] |
//! | session-guarantees | the same, or `read` and `write` by key | [`crate::guarantees`] |
//! | set, set-full | `add`, `read` of a list | [`crate::set`] |
//! | counter | `add`, `read` of a number | [`crate::counter`] |
//! | bank | `transfer`, `read` of a map | [`crate::bank`] |
//! | long-fork | `write`, `read` of `[r k v]` of a group | [`crate::long_fork`] |
//! | durability | `put`, `get`, `delete`, `cas` by key; at last `survivor` | [`crate::durability`] |
//! | watch | `put`, `delete`; `watch` and `event` | [`crate::watch`] |
//! | fencing | `acquire`, `use`, `lead` | [`crate::fencing`] |
//! | g-counter ... sequence | `perform`, `receive`, `show` | [`crate::convergence`] |
//!
//! `docs/formats/history.md` shows each by example.

mod objects;
mod replicas;
mod single;
mod transactions;

use crate::convergence::Type;
use crate::history::format::Loaded;
use crate::history::{Event, FailedCas, History, HistoryError, Interner, Kind, Process};
use crate::level::Level;
use crate::linearizable;
use crate::report::{Finding, Outcome, Report, Shown};
use crate::rw::Unwritten;
use serde_json::Value as Json;
use std::collections::BTreeSet;

/// A checker with its way of reading events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Reads, writes and compare-and-sets of registers.
    Register,
    /// Strings with put, append and get.
    Kv,
    /// Acquire and release.
    Mutex,
    /// First in, first out.
    Queue,
    /// Several registers at one instant.
    MultiRegister,
    /// Transactions of appends.
    ListAppend,
    /// Transactions of writes.
    RwRegister,
    /// What one client may expect.
    SessionGuarantees,
    /// A set, judged element by element.
    Set,
    /// A counter.
    Counter,
    /// Transfers between accounts.
    Bank,
    /// Snapshots of groups of keys.
    LongFork,
    /// What was acknowledged survives.
    Durability,
    /// Streams of events.
    Watch,
    /// Tokens and terms.
    Fencing,
    /// A replicated data type.
    Replicated(Type),
}

impl Model {
    /// Names and models; the first name of a model is its own.
    const NAMES: [(&'static str, Self); 26] = [
        ("register", Self::Register),
        ("cas-register", Self::Register),
        ("kv", Self::Kv),
        ("mutex", Self::Mutex),
        ("queue", Self::Queue),
        ("multi-register", Self::MultiRegister),
        ("list-append", Self::ListAppend),
        ("rw-register", Self::RwRegister),
        ("session-guarantees", Self::SessionGuarantees),
        ("set", Self::Set),
        ("set-full", Self::Set),
        ("counter", Self::Counter),
        ("bank", Self::Bank),
        ("long-fork", Self::LongFork),
        ("durability", Self::Durability),
        ("watch", Self::Watch),
        ("fencing", Self::Fencing),
        ("g-counter", Self::Replicated(Type::GCounter)),
        ("pn-counter", Self::Replicated(Type::PnCounter)),
        ("g-set", Self::Replicated(Type::GSet)),
        ("2p-set", Self::Replicated(Type::TwoPhaseSet)),
        ("or-set", Self::Replicated(Type::OrSet)),
        ("lww-register", Self::Replicated(Type::LwwRegister)),
        ("mv-register", Self::Replicated(Type::MvRegister)),
        ("sequence", Self::Replicated(Type::Sequence)),
        ("text", Self::Replicated(Type::Sequence)),
    ];

    /// All names, for the command line.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        Self::NAMES.iter().map(|(name, _)| *name).collect()
    }

    /// The model of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, model)| *model)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, model)| *model == self);
        found.expect("every model has a name").0
    }
}

/// How a history is to be judged; what is left open is found out or has a default.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Which checker; by the events if open.
    pub model: Option<Model>,
    /// For transactions: the level; if open the strongest that the format can tell.
    pub level: Option<Level>,
    /// A refused compare-and-set; if open as the format has it, with a note where it matters.
    pub failed_cas: Option<FailedCas>,
    /// What registers begin with: one value, or an object by key.
    pub initial: Option<Json>,
    /// Reads of values that nobody wrote; if open as the format has it.
    pub unwritten: Option<Unwritten>,
    /// Sets: whether a stale read counts.
    pub linearizable: bool,
    /// Banks: whether accounts may be overdrawn.
    pub overdraft: bool,
    /// Banks: the total; if open that of the first read.
    pub total: Option<i64>,
    /// Budgets, as a multiple of the default; 0 is 1.
    pub effort: u64,
}

impl Ask {
    fn effort(&self) -> u64 {
        self.effort.max(1)
    }

    fn budget(&self) -> linearizable::Budget {
        let default = linearizable::Budget::default();
        linearizable::Budget { steps: default.steps.saturating_mul(self.effort()), ..default }
    }
}

/// Judges what a file held. `observed` says that the file's format writes an observed
/// mismatch as a failed compare-and-set.
///
/// # Errors
/// Events that no client can have produced or that the model cannot read.
pub fn judge(loaded: &Loaded, observed: bool, ask: &Ask) -> Result<Report, HistoryError> {
    let history = match loaded {
        Loaded::Sessions(list) if ask.model == Some(Model::SessionGuarantees) => {
            return Ok(replicas::guarantees(list, None));
        }
        Loaded::Sessions(list) => {
            return match ask.model {
                None | Some(Model::RwRegister) => Ok(transactions::sessions(list, ask)),
                Some(other) => Err(HistoryError::Meaning {
                    index: 0,
                    why: format!(
                        "sessions of reads and writes are judged as rw-register or session-guarantees, not as {}",
                        other.name()
                    ),
                }),
            };
        }
        Loaded::Events(history) => history,
    };
    let model = match ask.model {
        Some(model) => model,
        None => detect(history).map_err(|why| HistoryError::Meaning { index: 0, why })?,
    };
    match model {
        Model::Register => single::register(history, observed, ask),
        Model::Kv => single::kv(history, ask),
        Model::Mutex => single::mutex(history, ask),
        Model::Queue => single::queue(history, ask),
        Model::MultiRegister => single::multi_register(history, ask),
        Model::ListAppend => transactions::list_append(history, ask),
        Model::RwRegister => transactions::rw_register(history, ask),
        Model::SessionGuarantees => replicas::session_guarantees(history, ask),
        Model::Set => objects::set(history, ask),
        Model::Counter => objects::counter(history),
        Model::Bank => objects::bank(history, ask),
        Model::LongFork => objects::long_fork(history),
        Model::Durability => replicas::durability(history),
        Model::Watch => replicas::watch(history),
        Model::Fencing => replicas::fencing(history),
        Model::Replicated(of) => replicas::convergence(history, of),
    }
}

/// Which model the events speak of.
///
/// # Errors
/// None, or several, in words.
pub fn detect(history: &History) -> Result<Model, String> {
    let clients = || history.events.iter().filter(|event| matches!(event.process, Process::Client(_)));
    let functions: BTreeSet<&str> = clients().map(|event| event.function.as_str()).collect();
    let within = |allowed: &[&str]| functions.iter().all(|function| allowed.contains(function));
    let has = |function: &str| functions.contains(function);
    let shown = |wanted: fn(&Json) -> bool| {
        clients().any(|event| event.function == "read" && event.kind == Kind::Ok && wanted(&event.value))
    };
    let steps = |event: &&Event| event.value.as_array().is_some_and(|list| list.iter().any(Json::is_array));
    let step_names: BTreeSet<&str> = clients()
        .filter(|event| matches!(event.function.as_str(), "txn" | "read" | "write"))
        .filter_map(|event| event.value.as_array())
        .flatten()
        .filter_map(|step| step.as_array()?.first()?.as_str())
        .collect();
    if functions.is_empty() {
        return Ok(Model::Register);
    }
    if within(&["txn"]) {
        return Ok(match () {
            () if step_names.contains("append") => Model::ListAppend,
            () if step_names.contains("read") || step_names.contains("write") => Model::MultiRegister,
            () => Model::RwRegister,
        });
    }
    if within(&["read", "write", "cas"]) {
        let forked = !has("cas") && clients().any(|event| steps(&event)) && step_names.contains("r");
        return Ok(match () {
            () if forked => Model::LongFork,
            () if !has("write") && !has("cas") && shown(Json::is_object) => Model::Bank,
            () => Model::Register,
        });
    }
    if within(&["perform", "receive", "show"]) {
        return Err("a replicated data type: say which with --model, for example or-set".to_owned());
    }
    let found = match () {
        () if within(&["get", "put", "append"]) => Model::Kv,
        () if within(&["acquire", "release"]) => Model::Mutex,
        () if within(&["acquire", "release", "use", "lead"]) => Model::Fencing,
        () if within(&["enqueue", "dequeue"]) => Model::Queue,
        () if within(&["read", "transfer"]) => Model::Bank,
        () if within(&["add", "read", "decrement", "increment"]) && shown(Json::is_number) => Model::Counter,
        () if within(&["add", "read"]) => Model::Set,
        () if has("survivor") => Model::Durability,
        () if has("event") && within(&["put", "delete", "watch", "event"]) => Model::Watch,
        () => {
            let names: Vec<&str> = functions.into_iter().take(8).collect();
            return Err(format!(
                "functions {} belong to no model that can be told; choose one with --model",
                names.join(", ")
            ));
        }
    };
    Ok(found)
}

/// An operation for a report, from its events.
fn shown(history: &History, call: usize, ret: Option<usize>, text: String) -> Shown {
    let lane = match history.events.get(call).map(|event| &event.process) {
        Some(Process::Client(number)) => format!("client {number}"),
        Some(Process::Nemesis(name)) => name.clone(),
        None => String::new(),
    };
    Shown {
        name: format!("#{call}"),
        lane,
        call: call as u64,
        ret: ret.map(|at| at as u64),
        text,
        certain: true,
        line: history.line(call),
    }
}

/// A report from findings: invalid if there are any.
fn report(model: Model, promise: &str, operations: usize, findings: Vec<Finding>) -> Report {
    let outcome = if findings.is_empty() { Outcome::Valid } else { Outcome::Invalid };
    let claim = match outcome {
        Outcome::Invalid => format!("{operations} operations break the promise: {promise}"),
        _ => format!("{operations} operations keep the promise: {promise}"),
    };
    Report {
        outcome,
        model: model.name().to_owned(),
        claim,
        operations,
        findings,
        notes: Vec::new(),
        levels: Vec::new(),
    }
}

/// Texts of checkers show numbers; where a number stands for a value of the file, the value.
fn explain(names: &Interner, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = &after[..digits];
        match number.parse::<u64>().ok().filter(|n| *n >= crate::history::INTERNED) {
            Some(value) => out.push_str(&names.name(value)),
            None => out.push_str(number),
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}
