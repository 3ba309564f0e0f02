//! The same events in EDN, the notation of Jepsen, so that Knossos and Elle can be asked
//! for a second opinion. Only written, never read.

use super::{Event, History, Kind, Process};
use serde_json::Value;
use std::io::Write;

/// Writes one map a line.
///
/// A key becomes Jepsen's independent tuple `[key value]`. In the micro-operations of a
/// transaction (`f` is `txn`) the leading function name becomes a keyword.
///
/// # Errors
/// Whatever the writer answers.
pub fn write(history: &History, mut output: impl Write) -> std::io::Result<()> {
    for event in &history.events {
        writeln!(output, "{}", line(event))?;
    }
    output.flush()
}

fn line(event: &Event) -> String {
    let kind = match event.kind {
        Kind::Invoke => "invoke",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    };
    let process = match &event.process {
        Process::Client(number) => number.to_string(),
        Process::Nemesis(name) => format!(":{}", keyword(name)),
    };
    let mut value = if event.function == "txn" { transaction(&event.value) } else { term(&event.value) };
    if let Some(key) = &event.key {
        value = format!("[{} {value}]", term(key));
    }
    let mut text = format!(
        "{{:index {}, :type :{kind}, :process {process}, :f :{}, :value {value}",
        event.index,
        keyword(&event.function)
    );
    if let Some(time) = event.time_ns {
        text.push_str(&format!(", :time {time}"));
    }
    if let Some(error) = &event.error {
        text.push_str(&format!(", :error {}", term(error)));
    }
    text.push('}');
    text
}

/// Characters outside a keyword's alphabet become dashes.
fn keyword(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+*?!".contains(c);
    name.chars().map(|c| if plain(c) { c } else { '-' }).collect()
}

fn term(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => joined("[", items.iter().map(term), "]"),
        Value::Object(fields) => {
            joined("{", fields.iter().map(|(name, v)| format!(":{} {}", keyword(name), term(v))), "}")
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
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
