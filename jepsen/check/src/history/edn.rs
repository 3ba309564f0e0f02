//! EDN, the notation of Jepsen, Knossos, Elle and of Porcupine's key-value logs.
//!
//! Read: maps one after the other, or one vector, list or set of maps; comments, discarded
//! forms (`#_`), tags (left out: `#jepsen.history.Op{...}` is its map), metadata (left out).
//! Values become the values of JSON lines, which loses kinds that no checker tells apart:
//!
//! | EDN | here |
//! |---|---|
//! | keyword, symbol, character | a string without its colon or backslash |
//! | vector, list, set | an array |
//! | map | an object; a key that is no string is written as text |
//! | ratio, integer beyond 64 bits, decimal with `M` | a string of the digits |
//!
//! Written: one map a line. A key is a field of its own, or the first part of Jepsen's
//! independent tuple `[key value]` ([`Keys`]). In the micro-operations of a transaction (`f`
//! is `txn`) the leading function name becomes a keyword.

use super::jsonl::{kind, process};
use super::lines::whole;
use super::{Event, History, HistoryError, Kind, Limits, Process};
use serde_json::{Map, Number, Value};
use std::io::{BufRead, Write};

/// Reads a whole history.
///
/// # Errors
/// The place that is not EDN, or the event that is none, by line and column; a limit.
pub fn read(input: impl BufRead, limits: Limits) -> Result<History, HistoryError> {
    let text = whole(input, limits)?;
    let mut parser = Parser::new(&text, limits);
    let mut history = History::default();
    loop {
        parser.skip(0)?;
        let Some(byte) = parser.peek() else { return Ok(history) };
        // A history in brackets is taken event by event, never built whole.
        let close = match byte {
            b'[' => Some(b']'),
            b'(' => Some(b')'),
            _ => None,
        };
        match close {
            Some(close) => {
                parser.at += 1;
                loop {
                    parser.skip(0)?;
                    match parser.peek() {
                        None => {
                            return Err(
                                parser.error(&format!("the history lacks its closing {}", close as char))
                            );
                        }
                        Some(byte) if byte == close => break,
                        Some(_) => parser.event(&mut history)?,
                    }
                }
                parser.at += 1;
            }
            None => parser.event(&mut history)?,
        }
    }
}

/// One value, for fields of other formats.
///
/// # Errors
/// Where the text is not one EDN form.
pub(crate) fn value(text: &str, limits: Limits) -> Result<Value, String> {
    let mut parser = Parser::new(text, limits);
    let parsed = parser.form(0).and_then(|value| {
        parser.skip(0)?;
        match parser.peek() {
            None => Ok(value),
            Some(_) => Err(parser.error("more than one value")),
        }
    });
    parsed.map_err(|error| match error {
        HistoryError::Syntax { why, column, .. } => format!("{why} (at character {column} of the value)"),
        other => other.to_string(),
    })
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Line of the place `counted`, from 1, and where that line began.
    line: usize,
    counted: usize,
    begun: usize,
    limits: Limits,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, limits: Limits) -> Self {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at, line: 1, counted: 0, begun: 0, limits }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&mut self) -> (usize, usize) {
        let until = self.at.min(self.text.len());
        for (at, byte) in self.text.as_bytes()[self.counted..until].iter().enumerate() {
            if *byte == b'\n' {
                self.line += 1;
                self.begun = self.counted + at + 1;
            }
        }
        self.counted = until.max(self.counted);
        (self.line, until + 1 - self.begun.min(until))
    }

    fn error(&mut self, why: &str) -> HistoryError {
        let (line, column) = self.place();
        HistoryError::Syntax { line, column, why: why.to_owned() }
    }

    /// Passes white space, comments, discarded forms.
    fn skip(&mut self, depth: usize) -> Result<(), HistoryError> {
        loop {
            match self.peek() {
                Some(byte) if byte.is_ascii_whitespace() || byte == b',' => self.at += 1,
                Some(b';') => self.skip_line(),
                Some(b'#') if self.text[self.at..].starts_with("#_") => {
                    self.at += 2;
                    self.form(depth + 1)?;
                }
                Some(b'#') if self.text[self.at..].starts_with("#!") => self.skip_line(),
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    fn event(&mut self, history: &mut History) -> Result<(), HistoryError> {
        let (line, column) = self.place();
        let form = self.form(0)?;
        let syntax = |why: String| HistoryError::Syntax { line, column, why };
        let Value::Object(fields) = form else {
            return Err(syntax("an event is a map, {:type :invoke, ...}".to_owned()));
        };
        let event = event(fields, history.events.len()).map_err(syntax)?;
        history.push(event, line, self.limits)
    }

    fn form(&mut self, depth: usize) -> Result<Value, HistoryError> {
        if depth > self.limits.depth {
            return Err(self.error(&format!("nested more than {} deep", self.limits.depth)));
        }
        self.skip(depth)?;
        match self.peek() {
            None => Err(self.error("the text ends in the middle of a value")),
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(b']', depth),
            Some(b'(') => self.list(b')', depth),
            Some(b'"') => self.string(),
            Some(b'\\') => self.character(),
            Some(b'#') => self.dispatch(depth),
            Some(b'^') => {
                self.at += 1;
                self.form(depth + 1)?;
                self.form(depth + 1)
            }
            Some(b':') => {
                self.at += 1;
                let token = self.token();
                if token.is_empty() { Err(self.error("a colon without a name")) } else { Ok(token.into()) }
            }
            Some(b'}' | b']' | b')') => Err(self.error("a closing bracket without an opening one")),
            Some(_) => self.atom(),
        }
    }

    fn token(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let ends =
            |c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '[' | ']' | '(' | ')' | '"' | ';');
        let token = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += token.len();
        token
    }

    fn list(&mut self, close: u8, depth: usize) -> Result<Value, HistoryError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip(depth)?;
            match self.peek() {
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                None => return Err(self.error(&format!("a list lacks its closing {}", close as char))),
                Some(_) => items.push(self.form(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, HistoryError> {
        self.at += 1;
        let mut fields = Map::new();
        loop {
            self.skip(depth)?;
            match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(fields));
                }
                None => return Err(self.error("a map lacks its closing }")),
                Some(_) => {}
            }
            let name = match self.form(depth + 1)? {
                Value::String(name) => name,
                other => other.to_string(),
            };
            self.skip(depth)?;
            if self.peek() == Some(b'}') {
                return Err(self.error(&format!("a map has {name} without a value")));
            }
            let value = self.form(depth + 1)?;
            fields.insert(name, value);
        }
    }

    /// `#{set}`, `##Inf`, `#"pattern"`, `#tag form`.
    fn dispatch(&mut self, depth: usize) -> Result<Value, HistoryError> {
        self.at += 1;
        match self.peek() {
            Some(b'{') => self.list(b'}', depth),
            Some(b'"') => self.string(),
            Some(b'#') => {
                self.at += 1;
                Ok(self.token().into())
            }
            _ => {
                if self.token().is_empty() {
                    return Err(self.error("a # without a tag"));
                }
                self.form(depth + 1)
            }
        }
    }

    fn string(&mut self) -> Result<Value, HistoryError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.find(['"', '\\']) else {
                return Err(self.error("a string lacks its closing quote"));
            };
            out.push_str(&rest[..stop]);
            self.at += stop + 1;
            if rest.as_bytes()[stop] == b'"' {
                return Ok(Value::String(out));
            }
            let Some(escape) = self.text[self.at..].chars().next() else {
                return Err(self.error("a string ends in a backslash"));
            };
            self.at += escape.len_utf8();
            match escape {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                '"' | '\\' | '/' => out.push(escape),
                'u' => out.push(self.code_point()?),
                other => return Err(self.error(&format!("a string has the unknown escape \\{other}"))),
            }
        }
    }

    /// Four hexadecimal digits, and four more where they are the first half of a pair.
    fn code_point(&mut self) -> Result<char, HistoryError> {
        let mut unit = || {
            let digits = self.text.get(self.at..self.at + 4)?;
            self.at += 4;
            u32::from_str_radix(digits, 16).ok()
        };
        let first = unit();
        let code = match first {
            Some(high @ 0xd800..0xdc00) if self.text[self.at..].starts_with("\\u") => {
                self.at += 2;
                let mut unit = || {
                    let digits = self.text.get(self.at..self.at + 4)?;
                    self.at += 4;
                    u32::from_str_radix(digits, 16).ok()
                };
                unit()
                    .filter(|low| (0xdc00..0xe000).contains(low))
                    .map(|low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            other => other,
        };
        code.and_then(char::from_u32)
            .ok_or_else(|| self.error("\\u needs four hexadecimal digits of a character"))
    }

    fn character(&mut self) -> Result<Value, HistoryError> {
        self.at += 1;
        let Some(first) = self.text[self.at..].chars().next() else {
            return Err(self.error("a backslash without a character"));
        };
        self.at += first.len_utf8();
        let start = self.at - first.len_utf8();
        self.token();
        let name = &self.text[start..self.at];
        let named = match name {
            "newline" => "\n".to_owned(),
            "space" => " ".to_owned(),
            "tab" => "\t".to_owned(),
            "return" => "\r".to_owned(),
            other => other.to_owned(),
        };
        Ok(named.into())
    }

    fn atom(&mut self) -> Result<Value, HistoryError> {
        let token = self.token();
        if token.is_empty() {
            return Err(self.error("not EDN"));
        }
        match token {
            "nil" => return Ok(Value::Null),
            "true" => return Ok(true.into()),
            "false" => return Ok(false.into()),
            _ => {}
        }
        let digits = token.strip_prefix(['+', '-']).unwrap_or(token);
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(token.into());
        }
        Ok(number(token).unwrap_or_else(|| token.trim_end_matches(['N', 'M']).into()))
    }
}

fn number(token: &str) -> Option<Value> {
    let token = token.strip_prefix('+').unwrap_or(token);
    let whole = token.strip_suffix('N').unwrap_or(token);
    if let Ok(number) = whole.parse::<i64>() {
        return Some(number.into());
    }
    if let Ok(number) = whole.parse::<u64>() {
        return Some(number.into());
    }
    if !token.contains(['.', 'e', 'E']) {
        return None;
    }
    Number::from_f64(token.parse::<f64>().ok()?).map(Value::Number)
}

fn event(mut fields: Map<String, Value>, position: usize) -> Result<Event, String> {
    let mut take = |name: &str| fields.remove(name).unwrap_or_default();
    let name = |value: Value, what: &str| match value {
        Value::String(name) => Ok(name),
        Value::Null => Err(format!("an event lacks its :{what}")),
        other => Err(format!("the :{what} of an event is a keyword, not {other}")),
    };
    let whole = |value: Value, what: &str| match &value {
        Value::Null => Ok(None),
        Value::Number(n) if n.is_u64() => Ok(n.as_u64()),
        // Clocks that were set back give times before the beginning.
        Value::Number(n) if n.is_i64() && what == "time" => Ok(Some(0)),
        other => Err(format!("the :{what} of an event is a whole number, not {other}")),
    };
    let function = match take("f") {
        Value::Null => "txn".to_owned(),
        value => name(value, "f")?,
    };
    let optional = |value: Value| (!value.is_null()).then_some(value);
    Ok(Event {
        index: whole(take("index"), "index")?.unwrap_or(position as u64),
        process: process(&take("process"))?,
        kind: kind(&name(take("type"), "type")?)?,
        function,
        key: optional(take("key")),
        value: take("value"),
        time_ns: whole(take("time"), "time")?,
        error: optional(take("error")),
    })
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// As a field `:key`, as Porcupine's logs have it; [`read`] gives it back.
    Field,
    /// As the first part of the value, as Jepsen's `independent` has it.
    Tuple,
}

/// Writes one map a line, keys as Jepsen's tuples.
///
/// # Errors
/// Whatever the writer answers.
pub fn write(history: &History, output: impl Write) -> std::io::Result<()> {
    write_as(history, Keys::Tuple, output)
}

/// Writes one map a line.
///
/// # Errors
/// Whatever the writer answers.
pub fn write_as(history: &History, keys: Keys, mut output: impl Write) -> std::io::Result<()> {
    for event in &history.events {
        writeln!(output, "{}", line(event, keys))?;
    }
    output.flush()
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoke => "invoke",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    }
}

fn line(event: &Event, keys: Keys) -> String {
    let process = match &event.process {
        Process::Client(number) => number.to_string(),
        Process::Nemesis(name) => format!(":{}", keyword(name)),
    };
    let mut text = format!(
        "{{:index {}, :type :{}, :process {process}, :f :{}",
        event.index,
        kind_name(event.kind),
        keyword(&event.function)
    );
    let mut value = operation_value(event);
    if let Some(key) = &event.key {
        match keys {
            Keys::Tuple => value = format!("[{} {value}]", term(key)),
            Keys::Field => text.push_str(&format!(", :key {}", term(key))),
        }
    }
    text.push_str(&format!(", :value {value}"));
    if let Some(time) = event.time_ns {
        text.push_str(&format!(", :time {time}"));
    }
    if let Some(error) = &event.error {
        text.push_str(&format!(", :error {}", term(error)));
    }
    text.push('}');
    text
}

pub(crate) fn operation_value(event: &Event) -> String {
    if event.function == "txn" { transaction(&event.value) } else { term(&event.value) }
}

/// What may stand in a keyword; anything else becomes a dash.
pub(crate) fn keyword(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.*+!?<>=/".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}

pub(crate) fn term(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => joined("[", items.iter().map(term), "]"),
        Value::Object(fields) => {
            joined("{", fields.iter().map(|(name, v)| format!("{} {}", field(name), term(v))), "}")
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// A number as a number, a name as a keyword, anything else as a string.
fn field(name: &str) -> String {
    if name.parse::<i64>().is_ok_and(|number| number.to_string() == name) {
        return name.to_owned();
    }
    let first = |c: char| c.is_alphabetic();
    if name.starts_with(first) && keyword(name) == name {
        return format!(":{name}");
    }
    Value::from(name).to_string()
}

fn joined(open: &str, items: impl Iterator<Item = String>, close: &str) -> String {
    format!("{open}{}{close}", items.collect::<Vec<_>>().join(" "))
}

fn transaction(value: &Value) -> String {
    let Value::Array(steps) = value else {
        return term(value);
    };
    let step = |step: &Value| match step.as_array().map(Vec::as_slice) {
        Some([Value::String(function), rest @ ..]) => {
            let head = std::iter::once(format!(":{}", keyword(function)));
            joined("[", head.chain(rest.iter().map(term)), "]")
        }
        _ => term(step),
    };
    joined("[", steps.iter().map(step), "]")
}
