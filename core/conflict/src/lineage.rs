//! What was at a place before its siblings: read off the siblings themselves, so that every node that has them says the same.
//!
//! **Promise.** [`meet`] is a function of the writes given, in whatever order. It says what was there before all of them
//! ([`Base`]), or that this can't be told; it never says what a node happens to remember. Two resolutions of one conflict, made on two
//! sides of a cut, are one.
//!
//! **Model.** A write at a place carries its *line*: the points of the place's history that all it rests on has behind it, the latest
//! first, each with the value that stood there; and *beside* each point the names of what was joined in it. What the writer saw is the first point:
//!
//! | the writer saw | the first point is |
//! |---|---|
//! | nothing | the beginning |
//! | one write | that write, and its line behind it |
//! | several | their resolution, as the writer was shown it; beside it all that they do not share; behind it what they share |
//!
//! A write is named by its dot; a resolution by the names of what it settled and by the rules it was settled under ([`Name::resolution`]). So
//! who resolves the same under the same rules makes the same point, wherever; a person's answer is a write of its own.
//!
//! **Base.** The latest point that all lines have in common, if nothing before it is shared by two siblings. If something is, what
//! it did would count twice (the criss-cross of version control): then nothing is said.
//!
//! **Invariants.** 1. A point of a line has everything behind it as its causes: lines agree about the order of common points. 2. A line
//! that was cut short says less, never something else. 3. A sibling that lies in the line of another is not one: it was seen, as a twin.
//!
//! **Limits.** 32 points, 256 names, 64 KiB of values a line; a point that everyone is known to have ends it: nobody's line begins before.
//! Beyond, the line ends: the base is not known.
//!
//! **Rejected.** A node's own memory of the last value that all had: two nodes remember differently. The space's stable version as base: it grows at
//! other times on other nodes. Asking the log for the common ancestor: the log is trimmed.

use crate::conflict::{Base, Sibling, Writer};
use crate::value::{Value, text};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use dwcp_crdt::code::{Malformed, Reader, Writer as Out};
use dwcp_crdt::{Dot, Hlc};

/// Points of a line.
pub const POINTS_MAX: usize = 32;
/// Names beside the points of a line, all together.
pub const NAMES_MAX: usize = 256;
/// Bytes of the values along a line.
pub const VALUES_MAX: usize = 64 * 1024;
/// Siblings of one place whose lines are looked at; of more nothing is said of what was there before, nor can they be recorded.
pub const SIBLINGS_MAX: usize = crate::audit::INPUTS_MAX;
const VERSION: u8 = 1;

/// What a write or a resolution is called in lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Name {
    /// Before everything.
    Beginning,
    /// A write.
    Write(Dot),
    /// What siblings were resolved to: the same for everyone who resolves the same siblings by the same rules.
    Resolution([u8; 16]),
}

impl Name {
    /// The resolution of these under these rules (digests of the policy and of the schema).
    #[must_use]
    pub fn resolution(of: impl IntoIterator<Item = Self>, rules: &[&[u8]]) -> Self {
        let mut all: Vec<Self> = of.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut bytes = Out::new();
        rules.iter().for_each(|r| bytes.bytes(r));
        all.iter().for_each(|n| n.encode(&mut bytes));
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"dwcp resolution 1\0").update(bytes.as_slice());
        let mut name = [0; 16];
        name.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self::Resolution(name)
    }
    fn encode(self, out: &mut Out) {
        match self {
            Self::Beginning => out.byte(0),
            Self::Write(dot) => {
                out.byte(1);
                out.dot(dot);
            }
            Self::Resolution(name) => {
                out.byte(2);
                out.raw(&name);
            }
        }
    }
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::Beginning,
            1 => Self::Write(from.dot()?),
            2 => {
                let mut name = [0; 16];
                name.copy_from_slice(from.raw(16)?);
                Self::Resolution(name)
            }
            _ => return Err(from.malformed("an unknown kind of name")),
        })
    }
}

/// A point of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    /// What it is called.
    pub name: Name,
    /// What stood there; not known if it was too long to be carried.
    pub value: Base<Value>,
    /// What was joined in it.
    pub beside: Vec<Name>,
}

/// What a write rests on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// What was joined in the write itself: a resolution's.
    pub beside: Vec<Name>,
    /// The points behind it, the latest first.
    pub points: Vec<Point>,
}

/// What a register holds for a write at a place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Who.
    pub writer: Writer,
    /// What; nothing deletes.
    pub value: Option<Value>,
    /// Of a resolution: its name, and when it was meant ([`Sibling::hlc`]).
    pub resolves: Option<([u8; 16], Hlc)>,
    /// What it rests on.
    pub line: Line,
}

/// A write that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its dot.
    pub dot: Dot,
    /// When it was made: of a resolution, when it was settled.
    pub at: Hlc,
    /// What it holds.
    pub envelope: Envelope,
}

impl Written {
    /// What it is called in lines.
    #[must_use]
    pub const fn name(&self) -> Name {
        match self.envelope.resolves {
            Some((name, _)) => Name::Resolution(name),
            None => Name::Write(self.dot),
        }
    }
    /// As a policy sees it.
    #[must_use]
    pub fn sibling(&self) -> Sibling {
        let e = &self.envelope;
        let hlc = e.resolves.map_or(self.at, |(_, meant)| meant);
        Sibling { dot: self.dot, hlc, writer: e.writer.clone(), value: e.value.clone() }
    }
    /// The names from the write itself to a point, without it.
    fn own(&self, upto: usize) -> impl Iterator<Item = Name> + '_ {
        let line = &self.envelope.line;
        let before = &line.points[..upto.min(line.points.len())];
        let points = before.iter().flat_map(|p| core::iter::once(p.name).chain(p.beside.iter().copied()));
        core::iter::once(self.name()).chain(line.beside.iter().copied()).chain(points)
    }
    /// Where a name is in the line: 0 for the write itself, then the points.
    fn place(&self, name: Name) -> Option<usize> {
        if self.name() == name {
            return Some(0);
        }
        self.envelope.line.points.iter().position(|p| p.name == name).map(|at| at + 1)
    }
}

/// What lies at a place, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meeting {
    /// What was there before all of them.
    pub base: Base<Value>,
    /// The siblings, ascending by dot; those that another rests on are not among them.
    pub siblings: Vec<Sibling>,
    /// What the siblings are called in lines.
    pub names: Vec<Name>,
    /// Names that not all of them share.
    beside: Vec<Name>,
    /// The base and what is behind it.
    points: Vec<Point>,
}

/// What siblings have in common. The order in which they are given changes nothing.
#[must_use]
pub fn meet(written: &[Written]) -> Meeting {
    let mut all: Vec<&Written> = written.iter().collect();
    all.sort_by_key(|w| w.dot);
    if all.len() > SIBLINGS_MAX {
        let (siblings, names) = all.iter().map(|w| (w.sibling(), w.name())).unzip();
        return Meeting { base: Base::Unknown, siblings, names, beside: Vec::new(), points: Vec::new() };
    }
    // Twins of one resolution: the first stands for all.
    let mut known = BTreeSet::new();
    all.retain(|w| known.insert(w.name()));
    let rests = |w: &Written, on: Name| w.name() != on && w.own(usize::MAX).any(|n| n == on);
    let live: Vec<&Written> =
        all.iter().copied().filter(|w| !all.iter().any(|other| rests(other, w.name()))).collect();
    let (siblings, names) = live.iter().map(|w| (w.sibling(), w.name())).unzip();
    let common = live.split_first().and_then(|(first, others)| {
        let points = &first.envelope.line.points;
        points.iter().position(|p| others.iter().all(|o| o.place(p.name).is_some_and(|at| at > 0)))
    });
    let own = |w: &Written, to: Name| -> Vec<Name> {
        let upto = w.place(to).map_or(usize::MAX, |at| at - 1);
        w.own(upto).collect()
    };
    let Some(first) = live.first() else {
        return Meeting { base: Base::Nothing, siblings, names, beside: Vec::new(), points: Vec::new() };
    };
    let Some(at) = common else {
        let beside = live.iter().flat_map(|w| w.own(usize::MAX)).collect();
        return Meeting { base: Base::Unknown, siblings, names, beside, points: Vec::new() };
    };
    let point = &first.envelope.line.points[at];
    let mut beside: Vec<Name> = live.iter().flat_map(|w| own(w, point.name)).collect();
    let n = beside.len();
    beside.sort_unstable();
    beside.dedup();
    if beside.len() < n {
        return Meeting { base: Base::Unknown, siblings, names, beside, points: Vec::new() };
    }
    let points = first.envelope.line.points[at..].to_vec();
    Meeting { base: point.value.clone(), siblings, names, beside, points }
}

impl Meeting {
    /// What a resolution of these rests on.
    #[must_use]
    pub fn line_of_resolution(&self) -> Line {
        Line { beside: self.beside.clone(), points: self.points.clone() }.bounded(&|_| false)
    }
}

impl Line {
    /// What a write by someone who saw these rests on. `shown` is the resolution as they saw it, where there are several; `stable` tells
    /// of which writes it is known that everyone has them.
    #[must_use]
    pub fn over(written: &[Written], shown: (Name, Option<&Value>), stable: &dyn Fn(Dot) -> bool) -> Self {
        let here = |v: Option<&Value>| Base::known(v.cloned());
        let meeting = meet(written);
        let points = match &meeting.names[..] {
            [] => Vec::from([Point { name: Name::Beginning, value: Base::Nothing, beside: Vec::new() }]),
            [only] => {
                let Some(w) = written.iter().find(|w| w.name() == *only) else { return Self::default() };
                let e = &w.envelope;
                let beside = e.line.beside.clone();
                let first = Point { name: *only, value: here(e.value.as_ref()), beside };
                let behind = if stable(w.dot) { &[][..] } else { &e.line.points };
                core::iter::once(first).chain(behind.iter().cloned()).collect()
            }
            _ => {
                let first = Point { name: shown.0, value: here(shown.1), beside: meeting.beside };
                core::iter::once(first).chain(meeting.points).collect()
            }
        };
        Self { beside: Vec::new(), points }.bounded(stable)
    }
    /// Cut short where everyone is known to have been, or where it is too long.
    fn bounded(mut self, stable: &dyn Fn(Dot) -> bool) -> Self {
        let ends = |p: &Point| matches!(p.name, Name::Write(dot) if stable(dot));
        if let Some(at) = self.points.iter().position(ends) {
            self.points.truncate(at + 1);
            self.points[at].beside = Vec::new();
        }
        self.points.truncate(POINTS_MAX);
        let mut names = self.beside.len();
        if names > NAMES_MAX {
            return Self::default();
        }
        // Beyond a point whose company is not known nothing can be told.
        let enough = self.points.iter().position(|p| {
            names += p.beside.len();
            names > NAMES_MAX
        });
        if let Some(at) = enough {
            self.points.truncate(at + 1);
            self.points[at].beside = Vec::new();
        }
        let mut left = VALUES_MAX;
        for p in &mut self.points {
            if let Base::Known(v) = &p.value {
                match v.size().ok().and_then(|n| left.checked_sub(n)) {
                    Some(rest) => left = rest,
                    None => p.value = Base::Unknown,
                }
            }
        }
        self
    }
}

fn encode_value(v: Base<&Value>, out: &mut Out) {
    match v {
        Base::Nothing => out.byte(0),
        Base::Known(v) => {
            out.byte(1);
            v.encode(out);
        }
        Base::Unknown => out.byte(2),
    }
}

fn decode_value(from: &mut Reader<'_>) -> Result<Base<Value>, Malformed> {
    Ok(match from.byte()? {
        0 => Base::Nothing,
        1 => Base::Known(Value::decode(from)?),
        2 => Base::Unknown,
        _ => return Err(from.malformed("neither a value nor its absence")),
    })
}

fn encode_names(names: &[Name], out: &mut Out) {
    out.varint(names.len() as u64);
    names.iter().for_each(|n| n.encode(out));
}

fn decode_names(from: &mut Reader<'_>) -> Result<Vec<Name>, Malformed> {
    let n = from.count(NAMES_MAX)?;
    (0..n).map(|_| Name::decode(from)).collect()
}

impl Envelope {
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Out::new();
        out.byte(VERSION);
        for word in [&self.writer.name, &self.writer.role, &self.writer.region] {
            out.bytes(word.as_bytes());
        }
        encode_value(Base::known(self.value.as_ref()), &mut out);
        out.byte(u8::from(self.resolves.is_some()));
        if let Some((name, meant)) = &self.resolves {
            out.raw(name);
            out.fixed(meant.0);
        }
        encode_names(&self.line.beside, &mut out);
        out.varint(self.line.points.len() as u64);
        for p in &self.line.points {
            p.name.encode(&mut out);
            encode_value(p.value.as_ref(), &mut out);
            encode_names(&p.beside, &mut out);
        }
        out.into_bytes()
    }
    /// Whether bytes are those of a write that deletes, without reading what it rests on.
    #[must_use]
    pub fn deletes(bytes: &[u8]) -> bool {
        let from = &mut Reader::new(bytes);
        let words = from.byte().is_ok_and(|v| v == VERSION) && (0..3).all(|_| text(from).is_ok());
        words && from.byte().is_ok_and(|tag| tag == 0)
    }
    /// Reads what [`Envelope::to_bytes`] wrote, all of it.
    ///
    /// # Errors
    /// If the bytes are no envelope.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let from = &mut Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(from.malformed("an envelope of an unknown version"));
        }
        let writer = Writer { name: text(from)?, role: text(from)?, region: text(from)? };
        let value = match decode_value(from)? {
            Base::Unknown => return Err(from.malformed("a write that does not say what it writes")),
            known => known.value(),
        };
        let resolves = match from.byte()? {
            0 => None,
            1 => {
                let mut name = [0; 16];
                name.copy_from_slice(from.raw(16)?);
                Some((name, Hlc(from.fixed()?)))
            }
            _ => return Err(from.malformed("neither yes nor no")),
        };
        let beside = decode_names(from)?;
        let mut points = Vec::new();
        for _ in 0..from.count(POINTS_MAX)? {
            let name = Name::decode(from)?;
            points.push(Point { name, value: decode_value(from)?, beside: decode_names(from)? });
        }
        if !from.is_empty() {
            return Err(from.malformed("bytes behind an envelope"));
        }
        Ok(Self { writer, value, resolves, line: Line { beside, points } })
    }
}
