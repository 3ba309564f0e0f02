//! Documents: trees like JSON's, with one form for each meaning, and bounded.
//!
//! **Promise.** Equal values are equal bytes ([`Value::encode`]), on every machine. Copying a value copies a pointer: a document that
//! differs from another in one field shares the rest with it, which is what makes merges and checkpoints cheap.
//!
//! | | form |
//! |---|---|
//! | numbers | a whole one below 2⁵³ is an `Int`, however it was written; other reals are finite; −0 is 0 |
//! | fields | ascending by bytes of their names, each once |
//!
//! ```text
//! null 0    false 1    true 2
//! int  3, varint of zigzag          real 4, 8 bytes, IEEE 754, little end first
//! text 5, varint length, UTF-8      list 6, varint count, values
//! map  7, varint count, each: varint length, name, value
//! ```
//!
//! **Limits.** 10 MB in canonical bytes ([`SIZE_MAX`]), 64 levels ([`DEPTH_MAX`]). Decoders check both before they take memory.

use crate::pointer::Pointer;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use dwcp_crdt::code::{Malformed, Reader, Writer};

/// Bytes of a document, in its canonical form.
pub const SIZE_MAX: usize = 10_000_000;
/// Levels of a document.
pub const DEPTH_MAX: usize = 64;
/// Up to here every whole number is exact as a real.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A finite number that is not a small whole one.
#[derive(Clone, Copy, Debug)]
pub struct Real(f64);

impl Real {
    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}
impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Real {}
impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A name and what lies under it.
pub type Entry = (Arc<str>, Value);

/// A value of a document. The order is the canonical one: of kinds as listed here, then of contents.
#[derive(Clone, Debug, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing, said aloud. Not the same as an absent field.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Real(Real),
    /// Text.
    Text(Arc<str>),
    /// Values in a row.
    List(Arc<[Self]>),
    /// Fields, ascending by name. Built by [`Value::map`] only, which orders them.
    Map(Fields),
}

/// Fields, ascending by name, each name once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fields(Arc<[Entry]>);

impl core::ops::Deref for Fields {
    type Target = [Entry];
    fn deref(&self) -> &[Entry] {
        &self.0
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            // Shared is equal: most of two versions of a document is.
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Map(a), Self::Map(b)) => Arc::ptr_eq(&a.0, &b.0) || a == b,
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}
impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::Text(s.into())
    }
}
impl From<Vec<Self>> for Value {
    fn from(list: Vec<Self>) -> Self {
        Self::List(list.into())
    }
}

/// A document beyond its bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Oversize {
    /// More bytes than allowed.
    #[error(
        "the document has {size} bytes, {SIZE_MAX} are allowed: keep large contents elsewhere and refer to them"
    )]
    Bytes {
        /// How many it has.
        size: usize,
    },
    /// Deeper than allowed.
    #[error("the document is nested deeper than {DEPTH_MAX} levels: flatten it")]
    Depth,
}

impl Value {
    /// A number: whole if it is.
    ///
    /// # Errors
    /// Gives back what is not finite.
    pub fn number(n: f64) -> Result<Self, f64> {
        if !n.is_finite() {
            return Err(n);
        }
        let whole = n as i64;
        let is_whole = n.abs() < EXACT && (whole as f64).to_bits() == (n + 0.0).to_bits();
        Ok(if is_whole { Self::Int(whole) } else { Self::Real(Real(n)) })
    }
    /// A map of these fields. Of a name that comes twice the later value stands; doors refuse it before.
    #[must_use]
    pub fn map(fields: impl IntoIterator<Item = Entry>) -> Self {
        let mut all: Vec<Entry> = fields.into_iter().collect();
        if !all.is_sorted_by(|a, b| a.0 < b.0) {
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all.reverse();
            all.dedup_by(|a, b| a.0 == b.0);
            all.reverse();
        }
        Self::Map(Fields(all.into()))
    }
    /// The fields of a map; of everything else, none.
    #[must_use]
    pub fn fields(&self) -> &[Entry] {
        if let Self::Map(f) = self { f } else { &[] }
    }
    /// The values of a list; of everything else, none.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        if let Self::List(l) = self { l } else { &[] }
    }
    /// The field of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        let fields = self.fields();
        fields.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| &fields[at].1)
    }
    /// What lies at a pointer.
    #[must_use]
    pub fn at(&self, pointer: &Pointer) -> Option<&Self> {
        pointer.segments().try_fold(self, |here, segment| match here {
            Self::Map(_) => here.get(&segment),
            Self::List(items) => crate::pointer::index(&segment).and_then(|i| items.get(i)),
            _ => None,
        })
    }
    /// This value with another at a pointer, or with nothing there. What lies beside is shared. Nothing if the way leads through
    /// what is neither a map nor a list, or beyond a list's end.
    #[must_use]
    pub fn with(&self, pointer: &Pointer, value: Option<Self>) -> Option<Self> {
        let segments: Vec<_> = pointer.segments().collect();
        self.with_at(&segments, value)
    }
    fn with_at<S: AsRef<str>>(&self, way: &[S], value: Option<Self>) -> Option<Self> {
        let [first, rest @ ..] = way else { return value };
        let name = first.as_ref();
        match self {
            Self::Map(fields) => {
                let place = fields.binary_search_by(|(n, _)| (**n).cmp(name));
                let below = match (place, rest.is_empty()) {
                    (Ok(at), false) => Some(fields[at].1.with_at(rest, value)?),
                    (Err(_), false) => return None,
                    (_, true) => value,
                };
                let mut all = fields.to_vec();
                match (place, below) {
                    (Ok(at), Some(v)) => all[at].1 = v,
                    (Ok(at), None) => drop(all.remove(at)),
                    (Err(at), Some(v)) => all.insert(at, (name.into(), v)),
                    (Err(_), None) => {}
                }
                Some(Self::Map(Fields(all.into())))
            }
            Self::List(items) => {
                let at = crate::pointer::index(name)?;
                let mut all = items.to_vec();
                match (rest.is_empty(), value) {
                    (false, value) => {
                        let slot = all.get_mut(at)?;
                        *slot = slot.with_at(rest, value)?;
                    }
                    (true, Some(v)) if at < all.len() => all[at] = v,
                    (true, Some(v)) if at == all.len() => all.push(v),
                    (true, None) if at < all.len() => drop(all.remove(at)),
                    _ => return None,
                }
                Some(Self::List(all.into()))
            }
            _ => None,
        }
    }
    /// What kind of value it is, in words.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Real(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
    /// Bytes of its canonical form.
    ///
    /// # Errors
    /// If it is larger or deeper than a document may be.
    pub fn size(&self) -> Result<usize, Oversize> {
        let mut left = SIZE_MAX;
        self.spend(&mut left, DEPTH_MAX)?;
        Ok(SIZE_MAX - left)
    }
    fn spend(&self, left: &mut usize, depth: usize) -> Result<(), Oversize> {
        let Some(depth) = depth.checked_sub(1) else { return Err(Oversize::Depth) };
        let own = 1 + match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Int(n) => varint_len(zigzag(*n)),
            Self::Real(_) => 8,
            Self::Text(t) => varint_len(t.len() as u64) + t.len(),
            Self::List(l) => varint_len(l.len() as u64),
            Self::Map(f) => varint_len(f.len() as u64),
        };
        take(left, own)?;
        match self {
            Self::List(l) => l.iter().try_for_each(|v| v.spend(left, depth)),
            Self::Map(f) => f.iter().try_for_each(|(name, v)| {
                take(left, varint_len(name.len() as u64) + name.len())?;
                v.spend(left, depth)
            }),
            _ => Ok(()),
        }
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        match self {
            Self::Null => out.byte(0),
            Self::Bool(b) => out.byte(1 + u8::from(*b)),
            Self::Int(n) => {
                out.byte(3);
                out.varint(zigzag(*n));
            }
            Self::Real(r) => {
                out.byte(4);
                out.fixed(r.0.to_bits());
            }
            Self::Text(t) => {
                out.byte(5);
                out.bytes(t.as_bytes());
            }
            Self::List(l) => {
                out.byte(6);
                out.varint(l.len() as u64);
                l.iter().for_each(|v| v.encode(out));
            }
            Self::Map(f) => {
                out.byte(7);
                out.varint(f.len() as u64);
                for (name, v) in f.iter() {
                    out.bytes(name.as_bytes());
                    v.encode(out);
                }
            }
        }
    }
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.encode(&mut out);
        out.into_bytes()
    }
    /// BLAKE3 of the canonical bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }
    /// Reads what [`Value::to_bytes`] wrote, all of it.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of a value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let value = Self::decode(&mut from)?;
        if from.is_empty() { Ok(value) } else { Err(from.malformed("bytes behind a value")) }
    }
    /// Reads what [`Value::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are not the canonical form of a value, or too deep.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::decode_at(from, DEPTH_MAX)
    }
    fn decode_at(from: &mut Reader<'_>, depth: usize) -> Result<Self, Malformed> {
        let Some(depth) = depth.checked_sub(1) else { return Err(from.malformed("a value too deep")) };
        Ok(match from.byte()? {
            0 => Self::Null,
            1 => Self::Bool(false),
            2 => Self::Bool(true),
            3 => Self::Int(unzigzag(from.varint()?)),
            4 => {
                let n = f64::from_bits(from.fixed()?);
                match Self::number(n) {
                    Ok(Self::Real(r)) => Self::Real(r),
                    _ => return Err(from.malformed("a real that is whole or not finite")),
                }
            }
            5 => Self::Text(text(from)?),
            6 => {
                let n = from.count(SIZE_MAX)?;
                let mut all = Vec::with_capacity(n.min(1024));
                for _ in 0..n {
                    all.push(Self::decode_at(from, depth)?);
                }
                Self::List(all.into())
            }
            7 => {
                let n = from.count(SIZE_MAX)?;
                let mut all: Vec<Entry> = Vec::with_capacity(n.min(1024));
                for _ in 0..n {
                    let name = text(from)?;
                    if all.last().is_some_and(|(last, _)| *last >= name) {
                        return Err(from.malformed("fields out of order"));
                    }
                    all.push((name, Self::decode_at(from, depth)?));
                }
                Self::Map(Fields(all.into()))
            }
            _ => return Err(from.malformed("an unknown kind of value")),
        })
    }
}

/// Text with its length before it.
pub(crate) fn text(from: &mut Reader<'_>) -> Result<Arc<str>, Malformed> {
    let bytes = from.bytes(SIZE_MAX)?;
    core::str::from_utf8(bytes).map(Arc::from).map_err(|_| from.malformed("text that is not UTF-8"))
}

const fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}
const fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}
const fn varint_len(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
fn take(left: &mut usize, n: usize) -> Result<(), Oversize> {
    *left = left.checked_sub(n).ok_or(Oversize::Bytes { size: SIZE_MAX - *left + n })?;
    Ok(())
}

/// As compact JSON.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Real(r) => write!(f, "{:?}", r.0),
            Self::Text(t) => quote(t, f),
            Self::List(l) => {
                f.write_str("[")?;
                for (i, v) in l.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    v.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Map(fields) => {
                f.write_str("{")?;
                for (i, (name, v)) in fields.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    quote(name, f)?;
                    f.write_str(":")?;
                    v.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
