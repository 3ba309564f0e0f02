//! Lines of bounded length out of an input of bounded size.

use super::HistoryError;
use std::io::{BufRead, Read};

/// What a reader takes in before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The whole input, in bytes after unpacking.
    pub bytes: u64,
    /// One line, in bytes.
    pub line: usize,
    /// Values within values.
    pub depth: usize,
    /// Events or transactions.
    pub events: usize,
}

impl Default for Limits {
    /// 4 GiB, lines of 16 MiB, 64 deep, 100 million events.
    fn default() -> Self {
        Self { bytes: 4 << 30, line: 16 << 20, depth: 64, events: 100_000_000 }
    }
}

/// Lines with their numbers, from 1.
pub(crate) struct Lines<R> {
    input: R,
    limits: Limits,
    taken: u64,
    number: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R, limits: Limits) -> Self {
        Self { input, limits, taken: 0, number: 0, buffer: Vec::new() }
    }

    /// The next line without its end; `None` at the end of the input.
    ///
    /// # Errors
    /// Too long, too much, not text, or what the input answers.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, &str)>, HistoryError> {
        self.buffer.clear();
        self.number += 1;
        let line = self.number;
        let syntax = |why: String| HistoryError::Syntax { line, column: 0, why };
        let most = self.limits.line as u64 + 1;
        let read = self.input.by_ref().take(most).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|e| syntax(format!("can't read on: {e}")))? as u64;
        if read == 0 {
            return Ok(None);
        }
        self.taken += read;
        if self.taken > self.limits.bytes {
            return Err(syntax(format!("the input is longer than {} bytes", self.limits.bytes)));
        }
        if read == most && self.buffer.last() != Some(&b'\n') {
            return Err(syntax(format!("the line is longer than {} bytes", self.limits.line)));
        }
        while self.buffer.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.buffer.pop();
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some((line, text.strip_prefix('\u{feff}').unwrap_or(text)))),
            Err(e) => Err(HistoryError::Syntax {
                line,
                column: e.valid_up_to() + 1,
                why: "not UTF-8; is the file packed, or binary?".to_owned(),
            }),
        }
    }
}

/// The whole input as text.
///
/// # Errors
/// Too much, not text, or what the input answers.
pub(crate) fn whole(input: impl Read, limits: Limits) -> Result<String, HistoryError> {
    let mut bytes = Vec::new();
    let syntax = |line, why| HistoryError::Syntax { line, column: 0, why };
    let read = input.take(limits.bytes + 1).read_to_end(&mut bytes);
    read.map_err(|e| syntax(0, format!("can't read on: {e}")))?;
    if bytes.len() as u64 > limits.bytes {
        return Err(syntax(0, format!("the input is longer than {} bytes", limits.bytes)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        syntax(line, "not UTF-8; is the file packed, or binary?".to_owned())
    })
}
