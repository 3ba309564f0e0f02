//! Which format a file has, and reading and writing any of them.

use super::{History, HistoryError, Limits, edn, jsonl, log, sessions};
use crate::rw::Transaction;
use std::io::{BufRead, Write};

/// A notation of histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON lines, ours or in Jepsen's spelling.
    Jsonl,
    /// One JSON array of events.
    JsonArray,
    /// EDN: Jepsen, Knossos, Elle, Porcupine's key-value logs.
    Edn,
    /// Lines of Jepsen's console log, as Porcupine keeps them for etcd.
    Log,
    /// `r(key,value,session,txn)`.
    Rw,
    /// `r key value`, `-----`, `=====`.
    Awdit,
}

/// What a file held.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// Events in the order of time.
    Events(History),
    /// Transactions by session, without times.
    Sessions(Vec<Transaction>),
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Jsonl, Self::JsonArray, Self::Edn, Self::Log, Self::Rw, Self::Awdit];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::JsonArray => "json",
            Self::Edn => "edn",
            Self::Log => "log",
            Self::Rw => "rw",
            Self::Awdit => "awdit",
        }
    }

    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a text, by how it begins. Nothing at all is an empty history.
    #[must_use]
    pub fn of(beginning: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(beginning);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let inside = |open: char| text.strip_prefix(open).map(str::trim_start);
        if let Some(rest) = inside('{') {
            return Some(if rest.starts_with('"') { Self::Jsonl } else { Self::Edn });
        }
        if let Some(rest) = inside('[') {
            let json = rest.strip_prefix('{').is_some_and(|rest| rest.trim_start().starts_with('"'));
            return Some(if json { Self::JsonArray } else { Self::Edn });
        }
        let line = text.lines().next().unwrap_or("");
        let mut words = line.split_whitespace();
        let step = |word: &str| word.starts_with("r(") || word.starts_with("w(");
        match words.next() {
            None => Some(Self::Jsonl),
            Some(word) if step(word) => Some(Self::Rw),
            Some("r" | "w") => Some(Self::Awdit),
            Some(word) if word.len() >= 3 && word.chars().all(|c| c == '-') => Some(Self::Awdit),
            Some(word) if word.len() >= 3 && word.chars().all(|c| c == '=') => Some(Self::Awdit),
            Some(word) if word.starts_with(['(', ';', '#', '^']) => Some(Self::Edn),
            Some(_) if text.contains("jepsen.") || line.contains('\t') => Some(Self::Log),
            Some(_) => None,
        }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// Where and why it is not of this format; a limit.
    pub fn read(self, input: impl BufRead, limits: Limits) -> Result<Loaded, HistoryError> {
        match self {
            Self::Jsonl => jsonl::read_within(input, limits).map(Loaded::Events),
            Self::JsonArray => jsonl::read_array(input, limits).map(Loaded::Events),
            Self::Edn => edn::read(input, limits).map(Loaded::Events),
            Self::Log => log::read(input, limits).map(Loaded::Events),
            Self::Rw => sessions::read_rw(input, limits).map(Loaded::Sessions),
            Self::Awdit => sessions::read_awdit(input, limits).map(Loaded::Sessions),
        }
    }
}

/// Reads a file of whichever format it has.
///
/// # Errors
/// A format that none of ours is; else as [`Format::read`].
pub fn read(mut input: impl BufRead, limits: Limits) -> Result<(Format, Loaded), HistoryError> {
    let syntax = |why: String| HistoryError::Syntax { line: 1, column: 0, why };
    let beginning = input.fill_buf().map_err(|e| syntax(format!("can't read: {e}")))?;
    let format = Format::of(beginning).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(beginning).chars().take(30).collect();
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        syntax(format!("{shown:?} begins no known format; the formats are {}", names.join(", ")))
    })?;
    Ok((format, format.read(input, limits)?))
}

impl Loaded {
    /// Writes what was read in another notation.
    ///
    /// # Errors
    /// A pair of formats that cannot say the same; whatever the writer answers.
    pub fn write(&self, format: Format, output: impl Write) -> std::io::Result<()> {
        match (self, format) {
            (Self::Events(history), Format::Jsonl) => jsonl::write(history, output),
            (Self::Events(history), Format::Edn) => edn::write_as(history, edn::Keys::Field, output),
            (Self::Events(history), Format::Log) => log::write(history, output),
            (Self::Sessions(transactions), Format::Rw) => sessions::write_rw(transactions, output),
            (Self::Sessions(transactions), Format::Awdit) => sessions::write_awdit(transactions, output),
            (Self::Sessions(transactions), Format::Jsonl | Format::Edn) => {
                Self::Events(as_events(transactions)).write(format, output)
            }
            (Self::Events(_), Format::Rw | Format::Awdit) | (_, Format::JsonArray | Format::Log) => {
                let why = format!("this history cannot be written as {}", format.name());
                Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
            }
        }
    }
}

/// Sessions as events, one transaction after the other: the order between sessions is that
/// of the file and means nothing, so hold the result to no level of real time.
fn as_events(transactions: &[Transaction]) -> History {
    use super::{Event, Kind, Process};
    use crate::rw::Step;
    let mut history = History::default();
    for transaction in transactions {
        let value = |seen: bool| {
            let steps = transaction.steps.iter().map(|step| match *step {
                Step::Write { key, value } => serde_json::json!(["w", key, value]),
                Step::Read { key, value } if seen => serde_json::json!(["r", key, value]),
                Step::Read { key, .. } => serde_json::json!(["r", key, null]),
            });
            serde_json::Value::Array(steps.collect())
        };
        for (kind, seen) in [(Kind::Invoke, false), (Kind::Ok, true)] {
            history.events.push(Event {
                index: history.events.len() as u64,
                process: Process::Client(transaction.process),
                kind,
                function: "txn".to_owned(),
                key: None,
                value: value(seen),
                time_ns: None,
                error: None,
            });
        }
    }
    history
}
