//! JSON lines: one event a line, empty lines skipped; or one array of events.
//!
//! Two spellings of the fields are read: the short one of the project's recorded data (see
//! [`super`]), which is also written, and Jepsen's (`index`, `process`, `type`, `f`, `key`,
//! `value`, `time`, `error`), in which names may begin with a colon.

use super::lines::{Lines, whole};
use super::{Event, History, HistoryError, Kind, Limits, Process};
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, Write};

/// An event as others may have written it.
#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "index")]
    i: Option<u64>,
    #[serde(alias = "process", default)]
    p: Value,
    #[serde(alias = "type")]
    t: String,
    f: Option<String>,
    #[serde(alias = "key")]
    k: Option<Value>,
    #[serde(alias = "value", default)]
    v: Value,
    #[serde(alias = "time")]
    ns: Option<u64>,
    #[serde(alias = "error")]
    err: Option<Value>,
}

impl Raw {
    fn event(self, position: usize) -> Result<Event, String> {
        Ok(Event {
            index: self.i.unwrap_or(position as u64),
            process: process(&self.p)?,
            kind: kind(&self.t)?,
            function: plain(self.f.as_deref().unwrap_or("txn")).to_owned(),
            key: self.k,
            value: self.v,
            time_ns: self.ns,
            error: self.err,
        })
    }
}

fn plain(name: &str) -> &str {
    name.strip_prefix(':').unwrap_or(name)
}

/// The process of a value; none at all is client 0.
pub(crate) fn process(value: &Value) -> Result<Process, String> {
    match value {
        Value::Null => Ok(Process::Client(0)),
        Value::String(name) => Ok(Process::Nemesis(plain(name).to_owned())),
        Value::Number(number) => {
            let number = number.as_u64().ok_or_else(|| format!("{number} is no process number"))?;
            Ok(Process::Client(number))
        }
        other => Err(format!("a process is a number or a name, not {other}")),
    }
}

/// The kind of a name.
pub(crate) fn kind(name: &str) -> Result<Kind, String> {
    match plain(name) {
        "invoke" => Ok(Kind::Invoke),
        "ok" => Ok(Kind::Ok),
        "fail" => Ok(Kind::Fail),
        "info" => Ok(Kind::Info),
        other => Err(format!("an event is invoke, ok, fail or info, not {other:?}")),
    }
}

/// Reads a whole history within the default limits.
///
/// # Errors
/// The first line that is not an event, or that cannot be read, by its number.
pub fn read(input: impl BufRead) -> Result<History, HistoryError> {
    read_within(input, Limits::default())
}

/// Reads a whole history.
///
/// # Errors
/// The first line that is not an event, or that cannot be read, by its number; a limit.
pub fn read_within(input: impl BufRead, limits: Limits) -> Result<History, HistoryError> {
    let mut lines = Lines::new(input, limits);
    let mut history = History::default();
    while let Some((line, text)) = lines.next()? {
        if text.trim().is_empty() {
            continue;
        }
        let syntax = |column, why| HistoryError::Syntax { line, column, why };
        let raw: Raw = serde_json::from_str(text).map_err(|e| syntax(e.column(), bare(&e)))?;
        let event = raw.event(history.events.len()).map_err(|why| syntax(0, why))?;
        history.push(event, line, limits)?;
    }
    Ok(history)
}

/// Reads one JSON array of events.
///
/// # Errors
/// Where it is not one; a limit.
pub fn read_array(input: impl BufRead, limits: Limits) -> Result<History, HistoryError> {
    let text = whole(input, limits)?;
    let syntax = |line, column, why| HistoryError::Syntax { line, column, why };
    let raws: Vec<Raw> = serde_json::from_str(&text).map_err(|e| syntax(e.line(), e.column(), bare(&e)))?;
    let mut history = History::default();
    for (at, raw) in raws.into_iter().enumerate() {
        let event = raw.event(at).map_err(|why| HistoryError::Meaning { index: at, why })?;
        history.push(event, 0, limits)?;
    }
    history.lines.clear();
    Ok(history)
}

/// The parser's words without the place, which the error has of its own.
fn bare(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    format!("not an event: {text}")
}

/// Writes a whole history, in a form that [`read`] gives back unchanged.
///
/// # Errors
/// Whatever the writer answers.
pub fn write(history: &History, mut output: impl Write) -> std::io::Result<()> {
    for event in &history.events {
        serde_json::to_writer(&mut output, event)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}
