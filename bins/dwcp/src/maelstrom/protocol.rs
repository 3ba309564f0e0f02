//! Maelstrom's protocol: one JSON object a line, and what its error codes promise.
//!
//! ```text
//! {"src": "c1", "dest": "n0", "body": {"type": "read", "msg_id": 7, "key": 1}}
//! {"src": "n0", "dest": "c1", "body": {"type": "read_ok", "in_reply_to": 7, "value": 3}}
//! {"src": "n0", "dest": "c1", "body": {"type": "error", "in_reply_to": 7, "code": 20, "text": "…"}}
//! ```
//!
//! A *definite* code says that the operation did not happen and never will; an *indefinite* one that
//! nobody knows. A definite code for what took effect is a lie, so whatever is in doubt is indefinite.

use dwcp_env::bound::FRAME_BODY_MAX;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::io::{self, BufRead, Read};

/// The fields of a message.
pub(super) type Body = Map<String, Value>;

/// The longest line taken: the largest frame between nodes in base64, and its envelope.
pub(super) const LINE_MAX: u64 = FRAME_BODY_MAX.0 / 3 * 4 + 64 * 1024;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) src: String,
    pub(super) dest: String,
    pub(super) body: Body,
}

impl Message {
    /// What it is, or an empty word.
    pub(super) fn kind(&self) -> &str {
        self.body.get("type").and_then(Value::as_str).unwrap_or_default()
    }
    /// Its number, if an answer is wanted.
    pub(super) fn number(&self) -> Option<u64> {
        self.body.get("msg_id").and_then(Value::as_u64)
    }
}

/// Maelstrom's error codes, as far as a node gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Code {
    /// Indefinite: no answer in time, and it may have happened.
    Timeout = 0,
    /// This node does not do that.
    NotSupported = 10,
    /// It did not happen, and may when asked again.
    Unavailable = 11,
    /// The request is at fault.
    Malformed = 12,
    /// Indefinite: something broke while it was under way.
    Crash = 13,
    /// No such key.
    NoKey = 20,
    /// The value is not the one expected.
    Precondition = 22,
}

impl Code {
    /// Whether it says for certain that nothing happened.
    #[cfg(test)]
    pub(super) const fn is_definite(self) -> bool {
        !matches!(self, Self::Timeout | Self::Crash)
    }
}

/// An error body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
    /// The request is at fault: what was found, and what would be right.
    pub(super) fn malformed(text: impl Into<String>) -> Self {
        Self::new(Code::Malformed, text)
    }
}

/// A good answer's fields besides its type, or an error.
pub(super) type Answer = Result<Body, Fault>;

/// An answer with one field.
#[expect(clippy::unnecessary_wraps, reason = "it is the end of functions that answer")]
pub(super) fn with(name: &str, value: Value) -> Answer {
    Ok(Map::from_iter([(name.to_string(), value)]))
}

/// An answer without fields.
#[expect(clippy::unnecessary_wraps, reason = "it is the end of functions that answer")]
pub(super) fn done() -> Answer {
    Ok(Map::new())
}

/// A field that must be there.
pub(super) fn field<'a>(body: &'a Body, name: &str) -> Result<&'a Value, Fault> {
    body.get(name).ok_or_else(|| Fault::malformed(format!("the field {name:?} is missing")))
}

/// The body that answers question `number` of a type.
pub(super) fn reply(kind: &str, number: u64, answer: Answer) -> Body {
    let (kind, mut body) = match answer {
        Ok(body) => (format!("{kind}_ok"), body),
        Err(fault) => {
            let mut body = Map::new();
            body.insert("code".into(), (fault.code as u64).into());
            body.insert("text".into(), fault.text.into());
            ("error".to_string(), body)
        }
    };
    body.insert("type".into(), kind.into());
    body.insert("in_reply_to".into(), number.into());
    body
}

/// The next line's message; `None` at the end. What is no message, or too long to be one, is told and left out.
pub(super) fn next_message(input: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') && line.len() as u64 >= LINE_MAX {
            tracing::warn!("a line of more than {LINE_MAX} bytes is left out");
            skip_line(input)?;
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(message) => return Ok(Some(message)),
            Err(_) if line.iter().all(u8::is_ascii_whitespace) => {}
            Err(e) => tracing::warn!("a line that is no message is left out: {e}"),
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let held = input.fill_buf()?;
        let (used, ends) = match held.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (held.len(), held.is_empty()),
        };
        input.consume(used);
        if ends {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_become_messages_and_bad_ones_are_left_out() {
        let good = r#"{"id":3,"src":"c1","dest":"n0","body":{"type":"read","msg_id":7}}"#;
        let long = "x".repeat(LINE_MAX as usize + 10);
        let text = format!("{good}\nno json\n\n[1]\n{{\"src\":1}}\n{long}\n{good}");
        let mut input = io::BufReader::with_capacity(100, text.as_bytes());
        for _ in 0..2 {
            let message = next_message(&mut input).unwrap().expect("a message");
            assert_eq!((message.kind(), message.number()), ("read", Some(7)));
        }
        assert_eq!(next_message(&mut input).unwrap(), None);
    }

    #[test]
    fn replies_say_what_the_protocol_wants() {
        let ok = Value::Object(reply("read", 7, with("value", json!(3))));
        assert_eq!(ok, json!({"type": "read_ok", "in_reply_to": 7, "value": 3}));
        let fault = Fault::new(Code::NoKey, "none");
        let bad = Value::Object(reply("read", 7, Err(fault)));
        assert_eq!(bad, json!({"type": "error", "in_reply_to": 7, "code": 20, "text": "none"}));
    }
}
