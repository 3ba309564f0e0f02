//! Files of settings (schemas, policies) read from a [`Value`]: each complaint says where, what is wrong, and what would be right.
//!
//! **Limits.** Texts of 256 bytes ([`TEXT_MAX`]), 64 names a list ([`NAMES_MAX`]); what is counted is counted before it is gone through, and a
//! complaint quotes no more than a line. So a file costs by its own length, and little.

use crate::pointer::Pointer;
use crate::value::Value;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

/// Bytes of a name, a path or a word.
pub(crate) const TEXT_MAX: usize = 256;
/// Names of one list.
pub(crate) const NAMES_MAX: usize = 64;
/// Words that a complaint lists.
const WORDS_MAX: usize = 16;

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

/// A word of a file as complaints quote it.
pub(crate) fn quoted(word: &str) -> String {
    let mut cut: String = word.chars().take(TEXT_MAX).collect();
    if cut.len() < word.len() {
        cut.push('…');
    }
    cut
}

/// A part of a file, and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) at: Pointer,
    pub(crate) value: &'a Value,
}

/// `a, b or c`.
pub(crate) fn any_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut all: Vec<&str> = words.into_iter().take(WORDS_MAX + 1).collect();
    if all.len() > WORDS_MAX {
        all[WORDS_MAX] = "another that is declared";
    }
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
                let what = format!("unknown key `{}`", quoted(name));
                self.fault(what, format!("known here: {}", known.join(", ")))
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
            Value::Text(_) => self.any_text(),
            _ => self.expected("a text"),
        }
    }
    /// The same; it may be empty.
    pub(crate) fn any_text(&self) -> Result<&'a Arc<str>, Fault> {
        match self.value {
            Value::Text(t) if t.len() > TEXT_MAX => {
                self.fault(format!("a text of {} bytes", t.len()), format!("{TEXT_MAX} are allowed"))
            }
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
    /// The items of a list, of so many `what` at most.
    pub(crate) fn items(&self, most: usize, what: &str) -> Result<Vec<Self>, Fault> {
        let Value::List(items) = self.value else { return self.expected("a list") };
        self.at_most(items.len(), most, what)?;
        let below = |(i, value): (usize, &'a Value)| Self { at: self.at.join(&i.to_string()), value };
        Ok(items.iter().enumerate().map(below).collect())
    }
    fn at_most(&self, n: usize, most: usize, what: &str) -> Result<(), Fault> {
        if n <= most {
            return Ok(());
        }
        self.fault(format!("{n} {what}"), format!("{most} are allowed"))
    }
    /// The entries of a map, of so many `what` at most; their names are no longer than texts may be.
    pub(crate) fn entries(&self, most: usize, what: &str) -> Result<Vec<(&'a Arc<str>, Self)>, Fault> {
        let Value::Map(fields) = self.value else { return self.expected("a map") };
        self.at_most(fields.len(), most, what)?;
        if let Some((long, _)) = fields.iter().find(|(name, _)| name.len() > TEXT_MAX) {
            return self.fault(format!("a name of {} bytes", long.len()), format!("{TEXT_MAX} are allowed"));
        }
        Ok(fields.iter().map(|(name, value)| (name, Self { at: self.at.join(name), value })).collect())
    }
    /// A list of texts, each once, one at least; a single text is a list of one.
    pub(crate) fn names(&self) -> Result<Vec<Arc<str>>, Fault> {
        if let Value::Text(_) = self.value {
            return Ok([self.text()?.clone()].into());
        }
        let mut all: Vec<Arc<str>> = Vec::new();
        for part in self.items(NAMES_MAX, "names")? {
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
