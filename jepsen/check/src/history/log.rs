//! The lines that Jepsen's console log has of each event, as Porcupine keeps them:
//! `INFO  jepsen.util - 4⇥:invoke⇥:cas⇥[2 4]`, with a fifth column for the error.
//!
//! Lines of other sources are skipped. In these logs a failed `cas` *observed* that the
//! register held another value ([`super::FailedCas::ObservedMismatch`]).

use super::edn::{keyword, kind_name, operation_value, term, value};
use super::jsonl::kind;
use super::lines::Lines;
use super::{Event, History, HistoryError, Limits, Process};
use std::io::{BufRead, Write};

/// What stands before the columns.
const MARK: &str = "jepsen.util - ";

/// Reads a whole history.
///
/// # Errors
/// The first marked line that is not an event; a limit.
pub fn read(input: impl BufRead, limits: Limits) -> Result<History, HistoryError> {
    let mut lines = Lines::new(input, limits);
    let mut history = History::default();
    while let Some((line, text)) = lines.next()? {
        let Some((_, columns)) = text.split_once(MARK) else { continue };
        let event = event(columns, history.events.len(), limits);
        let event = event.map_err(|why| HistoryError::Syntax { line, column: 0, why })?;
        history.push(event, line, limits)?;
    }
    Ok(history)
}

fn event(columns: &str, position: usize, limits: Limits) -> Result<Event, String> {
    let mut columns = columns.split('\t').map(str::trim);
    let mut column = |what: &str| columns.next().ok_or_else(|| format!("the line lacks its {what}"));
    let process = column("process")?;
    let process = match process.parse() {
        Ok(number) => Process::Client(number),
        Err(_) if process.starts_with(':') => Process::Nemesis(process[1..].to_owned()),
        Err(_) => return Err(format!("a process is a number or a keyword, not {process:?}")),
    };
    let kind = kind(column("kind")?)?;
    let function = column("function")?.trim_start_matches(':').to_owned();
    let parsed = value(column("value")?, limits)?;
    let error = columns.next().filter(|text| !text.is_empty());
    let error = error.map(|text| value(text, limits)).transpose()?;
    Ok(Event {
        index: position as u64,
        process,
        kind,
        function,
        key: None,
        value: parsed,
        time_ns: None,
        error,
    })
}

/// Writes one line an event. Keys and times have no column and are left out.
///
/// # Errors
/// Whatever the writer answers.
pub fn write(history: &History, mut output: impl Write) -> std::io::Result<()> {
    for event in &history.events {
        let process = match &event.process {
            Process::Client(number) => number.to_string(),
            Process::Nemesis(name) => format!(":{}", keyword(name)),
        };
        let (kind, function) = (kind_name(event.kind), keyword(&event.function));
        let value = operation_value(event);
        write!(output, "INFO  {MARK}{process}\t:{kind}\t:{function}\t{value}")?;
        if let Some(error) = &event.error {
            write!(output, "\t{}", term(error))?;
        }
        writeln!(output)?;
    }
    output.flush()
}
