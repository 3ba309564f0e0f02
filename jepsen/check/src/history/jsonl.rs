//! JSON lines: one event a line, empty lines skipped. See [`super`] for the fields.

use super::{Event, History, HistoryError};
use std::io::{BufRead, Write};

/// Reads a whole history.
///
/// # Errors
/// The first line that is not an event, or that cannot be read, by its number.
pub fn read(input: impl BufRead) -> Result<History, HistoryError> {
    let mut events = Vec::new();
    for (at, line) in input.lines().enumerate() {
        let syntax = |why: String| HistoryError::Syntax { line: at + 1, why };
        let line = line.map_err(|e| syntax(e.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(&line).map_err(|e| syntax(e.to_string()))?;
        events.push(event);
    }
    Ok(History { events })
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
