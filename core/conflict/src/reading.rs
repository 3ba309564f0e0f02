//! Files of settings (schemas, policies) read from a [`Value`]: each complaint says where, what is wrong, and what would be right.

use crate::pointer::Pointer;
use crate::value::Value;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// What is wrong with a schema, a policy or a document, and where. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where in the file.
    pub at: Pointer,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub instead: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at == Pointer::root() { "the document" } else { self.at.as_str() };
        write!(f, "{at}: {}; {}", self.what, self.instead)
    }
}
impl core::error::Error for Fault {}

impl Fault {
    /// A complaint.
    pub(crate) fn new(at: &Pointer, what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { at: at.clone(), what: what.into(), instead: instead.into() }
    }
}

/// A part of a file, and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) at: Pointer,
    pub(crate) value: &'a Value,
}

/// `a, b or c`.
pub(crate) fn any_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let all: Vec<&str> = words.into_iter().collect();
    match &all[..] {
        [] => "nothing".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

impl<'a> Part<'a> {
    pub(crate) const fn root(value: &'a Value) -> Self {
        Self { at: Pointer::root(), value }
    }
    pub(crate) fn fault<T>(&self, what: impl Into<String>, instead: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::new(&self.at, what, instead))
    }
    fn expected<T>(&self, want: &str) -> Result<T, Fault> {
        self.fault(format!("{} where {want} is due", self.value.what()), format!("write {want}"))
    }
    /// It is a map with no other names than these.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let Value::Map(fields) = self.value else { return self.expected("a map") };
        match fields.iter().find(|(name, _)| !known.contains(&&**name)) {
            None => Ok(()),
            Some((name, _)) => {
                self.fault(format!("unknown key `{name}`"), format!("known here: {}", known.join(", ")))
            }
        }
    }
    pub(crate) fn may(&self, name: &str) -> Option<Self> {
        self.value.get(name).map(|value| Self { at: self.at.join(name), value })
    }
    pub(crate) fn need(&self, name: &str) -> Result<Self, Fault> {
        match self.may(name) {
            Some(part) => Ok(part),
            None => self.fault(format!("`{name}` is missing"), format!("add `{name}`")),
        }
    }
    pub(crate) fn text(&self) -> Result<&'a Arc<str>, Fault> {
        match self.value {
            Value::Text(t) if t.is_empty() => self.fault("an empty text", "write a name"),
            Value::Text(t) => Ok(t),
            _ => self.expected("a text"),
        }
    }
    pub(crate) fn bool(&self) -> Result<bool, Fault> {
        if let Value::Bool(b) = self.value { Ok(*b) } else { self.expected("true or false") }
    }
    pub(crate) fn int(&self, allowed: RangeInclusive<i64>) -> Result<i64, Fault> {
        match self.value {
            Value::Int(n) if allowed.contains(n) => Ok(*n),
            Value::Int(n) => self.fault(
                format!("{n} is out of range"),
                format!("{} to {} are allowed", allowed.start(), allowed.end()),
            ),
            _ => self.expected("a whole number"),
        }
    }
    pub(crate) fn items(&self) -> Result<Vec<Self>, Fault> {
        let Value::List(items) = self.value else { return self.expected("a list") };
        let below = |(i, value): (usize, &'a Value)| Self { at: self.at.join(&i.to_string()), value };
        Ok(items.iter().enumerate().map(below).collect())
    }
    pub(crate) fn entries(&self) -> Result<Vec<(&'a Arc<str>, Self)>, Fault> {
        let Value::Map(fields) = self.value else { return self.expected("a map") };
        Ok(fields.iter().map(|(name, value)| (name, Self { at: self.at.join(name), value })).collect())
    }
    /// A list of texts, each once, one at least; a single text is a list of one.
    pub(crate) fn names(&self) -> Result<Vec<Arc<str>>, Fault> {
        if let Value::Text(_) = self.value {
            return Ok([self.text()?.clone()].into());
        }
        let mut all: Vec<Arc<str>> = Vec::new();
        for part in self.items()? {
            let name = part.text()?;
            if all.contains(name) {
                return part.fault(format!("`{name}` is listed twice"), "keep one");
            }
            all.push(name.clone());
        }
        if all.is_empty() {
            self.fault("an empty list", "name one at least, or leave the key out")
        } else {
            Ok(all)
        }
    }
    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Fault> {
        let text = self.text()?;
        match words.iter().find(|(w, _)| *w == &**text) {
            Some((_, t)) => Ok(*t),
            None => self.fault(
                format!("`{text}` is unknown here"),
                format!("write {}", any_of(words.iter().map(|w| w.0))),
            ),
        }
    }
    /// A length of time such as `90s`, `30m`, `24h`, `30d`, in milliseconds.
    pub(crate) fn duration(&self) -> Result<u64, Fault> {
        const UNITS: [(&str, u64); 5] =
            [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let text = self.text()?;
        let read = UNITS.iter().find_map(|(unit, millis)| {
            text.strip_suffix(unit)?.parse::<u32>().ok().map(|n| u64::from(n) * millis)
        });
        match read {
            Some(n) => Ok(n),
            None => {
                self.fault(format!("`{text}` is no length of time"), "write one such as 90s, 30m, 24h or 30d")
            }
        }
    }
}
