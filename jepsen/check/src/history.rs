//! Histories: what clients asked, what they were told, and in which order.
//!
//! A history is one list of events in the order in which one observer saw them. Every
//! operation begins with an `invoke` and ends with at most one of three completions.
//!
//! | completion | what the client knows | what a checker may assume |
//! |---|---|---|
//! | `ok` | it happened, with this result | it took effect at one instant between the two events |
//! | `fail` | it did not happen | it has no effect, ever; it is left out |
//! | `info` | nothing: a timeout, a broken connection | it took effect at some instant after the invocation, however late, or never |
//! | none | the history ended first | as `info` |
//!
//! One refinement: a compare-and-set that was *refused because the value differed* did
//! happen, and observed something. Sources disagree on how they write it down, so the
//! reader is told ([`FailedCas`]): our own histories write such a refusal as `fail` with
//! `"err":"mismatch"` and mean the observation only with [`FailedCas::ObservedMismatch`].
//!
//! A claim of `fail` for something that took effect is a lie to the checker, and turns up
//! as a false alarm. When in doubt a client writes `info`.
//!
//! # Invariants
//! 1. The position in the list is the order. Times are for people and for measurements;
//!    two events of one nanosecond are still ordered by position.
//! 2. A process (a client's single thread of work) has at most one open operation. A
//!    process whose operation ended in `info` is dead: the next work bears a new number.
//!    [`History::pair`] tolerates a reused number after `info` (the old operation simply
//!    stays open for ever) and refuses an invocation over an open one.
//! 3. Only client operations are judged. Events of a nemesis bear a textual process name
//!    and are carried along for reports.
//!
//! # Format
//! JSON lines, one event each, the fields of the project's recorded data sets:
//! `i` index, `p` process, `t` `invoke|ok|fail|info`, `f` function, `k` key if any,
//! `v` value, `ns` time in nanoseconds if known, `err` the reason in words.
//! [`format`](mod@format) reads and writes these and the notations of Jepsen, Knossos, Elle,
//! Porcupine, PolySI and AWDIT; `docs/formats/history.md` has them all on one page.

pub mod edn;
pub mod format;
pub mod jsonl;
mod lines;
pub mod log;
pub mod sessions;

pub use lines::Limits;

use crate::mistake::{Mistake, planted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A value or key of an operation, interned to a number. Checkers compare, never compute.
pub type Value = u64;

/// Who acts: a client's thread of work, or a nemesis.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Process {
    /// A client, numbered.
    Client(u64),
    /// Whoever breaks things, by name.
    Nemesis(String),
}

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The operation begins.
    Invoke,
    /// It happened, with the result in the event.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows, or a remark of a nemesis.
    Info,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the history.
    #[serde(rename = "i")]
    pub index: u64,
    /// Who.
    #[serde(rename = "p")]
    pub process: Process,
    /// What kind of event.
    #[serde(rename = "t")]
    pub kind: Kind,
    /// The function: `read`, `write`, `cas`, `txn`, ...
    #[serde(rename = "f")]
    pub function: String,
    /// The key, for workloads over many keys.
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<serde_json::Value>,
    /// Arguments at the invocation, results at the completion.
    #[serde(rename = "v", default)]
    pub value: serde_json::Value,
    /// When, in nanoseconds since the start of the run.
    #[serde(rename = "ns", default, skip_serializing_if = "Option::is_none")]
    pub time_ns: Option<u64>,
    /// Why it failed or is unknown, in words.
    #[serde(rename = "err", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<serde_json::Value>,
}

/// All events of a run in the order observed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// The events; their order is the order of time.
    pub events: Vec<Event>,
    /// The line of each event in the file that it came from; empty if it came from none.
    pub lines: Vec<u32>,
}

/// How a compare-and-set that ended in `fail` is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedCas {
    /// It did not happen and tells nothing (Knossos, Jepsen's default).
    DidNotHappen,
    /// It happened and saw another value than it expected (etcd logs of Porcupine, ours).
    ObservedMismatch,
}

/// A history that no client can have produced, or that a model cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The text is not what it should be.
    #[error("line {line}{}: {why}", at_column(*column))]
    Syntax {
        /// Counted from 1; 0 where the whole is meant.
        line: usize,
        /// In bytes from 1; 0 where the whole line is meant.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// A completion whose process has nothing open.
    #[error("event {index}: process {process} completes an operation that it never invoked")]
    Orphan {
        /// Position of the completion.
        index: usize,
        /// The process.
        process: u64,
    },
    /// An invocation while the previous one of the process is open.
    #[error(
        "event {index}: process {process} invokes while its operation of event {open} is open; \
         end it with ok, fail or info first"
    )]
    Overlap {
        /// Position of the second invocation.
        index: usize,
        /// The process.
        process: u64,
        /// Position of the first invocation.
        open: usize,
    },
    /// A function or a value that the model does not know.
    #[error("event {index}: {why}")]
    Meaning {
        /// Position of the event.
        index: usize,
        /// What was expected.
        why: String,
    },
}

fn at_column(column: usize) -> String {
    if column == 0 { String::new() } else { format!(", column {column}") }
}

impl HistoryError {
    /// The position of the event that is at fault, if it is an event's.
    #[must_use]
    pub fn event(&self) -> Option<usize> {
        match self {
            Self::Syntax { .. } => None,
            Self::Orphan { index, .. } | Self::Overlap { index, .. } | Self::Meaning { index, .. } => {
                Some(*index)
            }
        }
    }
}

/// One client operation: its invocation and how it ended.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'h> {
    /// The client.
    pub process: u64,
    /// Position of the invocation.
    pub call: usize,
    /// The invocation.
    pub invoke: &'h Event,
    /// The completion with its position; `None` for `info` or for the end of the history.
    pub done: Option<(usize, &'h Event)>,
}

impl History {
    /// Takes one event more from `line` of a file.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn push(&mut self, event: Event, line: usize, limits: Limits) -> Result<(), HistoryError> {
        if self.events.len() >= limits.events {
            let why = format!("more than {} events", limits.events);
            return Err(HistoryError::Syntax { line, column: 0, why });
        }
        self.events.push(event);
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The line of an event, where it came from a file of lines.
    #[must_use]
    pub fn line(&self, event: usize) -> Option<u32> {
        self.lines.get(event).copied()
    }

    /// Joins each client invocation to its completion, in the order of invocation.
    ///
    /// # Errors
    /// An event stream that breaks invariant 2.
    pub fn pair(&self) -> Result<Vec<Pair<'_>>, HistoryError> {
        let mut open: BTreeMap<u64, usize> = BTreeMap::new();
        let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(self.events.len() / 2);
        for (index, event) in self.events.iter().enumerate() {
            let Process::Client(process) = event.process else {
                continue;
            };
            if event.kind == Kind::Invoke {
                if let Some(&at) = open.get(&process) {
                    return Err(HistoryError::Overlap { index, process, open: pairs[at].call });
                }
                open.insert(process, pairs.len());
                pairs.push(Pair { process, call: index, invoke: event, done: None });
                continue;
            }
            let Some(at) = open.remove(&process) else {
                return Err(HistoryError::Orphan { index, process });
            };
            if event.kind != Kind::Info || planted(Mistake::InfoReturns) {
                pairs[at].done = Some((index, event));
            }
        }
        Ok(pairs)
    }
}

/// Numbers for the keys and values of a history read from a file.
///
/// Integers below 2^63 stand for themselves, so that reports show what the file shows;
/// everything else is numbered from 2^63 in the order of first sight.
#[derive(Debug, Default)]
pub struct Interner {
    ids: BTreeMap<String, Value>,
    names: Vec<String>,
}

/// The first number that stands for something other than itself.
pub(crate) const INTERNED: Value = 1 << 63;

impl Interner {
    /// The number of `value`, new or known.
    pub fn value(&mut self, value: &serde_json::Value) -> Value {
        if let Some(number) = value.as_u64().filter(|&n| n < INTERNED) {
            return number;
        }
        let text = value.to_string();
        if let Some(&id) = self.ids.get(&text) {
            return id;
        }
        let id = INTERNED + self.names.len() as Value;
        self.names.push(text.clone());
        self.ids.insert(text, id);
        id
    }

    /// Null is absence; anything else is a value.
    pub fn optional(&mut self, value: &serde_json::Value) -> Option<Value> {
        (!value.is_null()).then(|| self.value(value))
    }

    /// What a number stood for.
    #[must_use]
    pub fn name(&self, value: Value) -> String {
        let interned = value.checked_sub(INTERNED).and_then(|at| self.names.get(usize::try_from(at).ok()?));
        interned.cloned().unwrap_or_else(|| value.to_string())
    }
}
