//! One operation, as it travels and lies in the log.
//!
//! ```text
//! head   1 byte   bits 0-2 action, 3 same container as the operation before, 4-5 time, 6 last of its
//!                 transaction, 7 supersedes something
//! time   0..10    by code: 0 as before; 1 one moment later; 2 varint: milliseconds later, counter zero;
//!                 3 varint: moments later
//! where  0..      unless "same": the container's address (kind, number of names, names)
//! name   1..      varint length and bytes; in a map also one byte: the kind of the field
//! supersedes 0..  if bit 7: varint count, dots ascending, each: 0 and the distance back from the own dot, or
//!                 replica + 1 and sequence
//! action 0..      write: value; count: instance, plus, minus; escrow: instance, granted, spent, transfers;
//!                 splice: width, bytes; clear: 0, or 1 and a version vector
//! ```
//!
//! An addition of an eight-byte element is eleven bytes. The form is canonical: the decoder refuses a longer
//! spelling of the same operation. It borrows from the input; decoding allocates only for operations that
//! supersede several others.

use crate::address::{DEPTH_MAX, Kind, NAME_MAX, VALUE_MAX, read_kind};
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::hlc::Hlc;
use crate::splice::Splice;
use crate::version::VersionVector;
use alloc::vec::Vec;

/// Dots an operation may name.
pub const SUPERSEDES_MAX: usize = 1 << 20;

/// Dots, ascending; none and one without a heap allocation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Dots {
    /// None.
    #[default]
    None,
    /// One.
    One(Dot),
    /// Several, ascending, each once.
    Many(Vec<Dot>),
}

impl Dots {
    /// These, in order and each once.
    #[must_use]
    pub fn new(mut dots: Vec<Dot>) -> Self {
        dots.sort_unstable();
        dots.dedup();
        match dots[..] {
            [] => Self::None,
            [one] => Self::One(one),
            _ => Self::Many(dots),
        }
    }
    /// As a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Dot] {
        match self {
            Self::None => &[],
            Self::One(d) => core::slice::from_ref(d),
            Self::Many(d) => d,
        }
    }
}

impl From<Vec<Dot>> for Dots {
    fn from(dots: Vec<Dot>) -> Self {
        Self::new(dots)
    }
}

impl FromIterator<Dot> for Dots {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut dots = dots.into_iter();
        match (dots.next(), dots.next()) {
            (None, _) => Self::None,
            (Some(one), None) => Self::One(one),
            (Some(one), Some(two)) => Self::new([one, two].into_iter().chain(dots).collect()),
        }
    }
}

/// What an operation does at its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// A register's value.
    Write(&'a [u8]),
    /// A set's element is there.
    Add,
    /// What is superseded goes, nothing comes.
    Remove,
    /// Everything at and below the place goes that this vector knows, and what is named beside it.
    Clear(Option<VersionVector>),
    /// A replica's totals in one instance of a counter.
    Count {
        /// The dot of the operation that created the counter.
        instance: Dot,
        /// All that this replica ever added to it.
        plus: u64,
        /// All that this replica ever took from it.
        minus: u64,
    },
    /// A replica's totals in one instance of a bounded counter.
    Escrow {
        /// The dot of the operation that created the counter.
        instance: Dot,
        /// All that this replica ever added, and so may spend.
        granted: u64,
        /// All that it spent.
        spent: u64,
        /// All that it ever handed over, by receiver, ascending.
        transfers: Vec<(ReplicaIndex, u64)>,
    },
    /// An operation of a sequence. An insertion of `width` elements takes as many dots, one for each.
    Splice {
        /// Dots it takes, from its own on.
        width: u64,
        /// What comes and what goes ([`crate::splice`]).
        bytes: &'a [u8],
    },
    /// A 2P-Set's element is gone for good.
    Retire,
}

impl Action<'_> {
    const fn number(&self) -> u8 {
        match self {
            Self::Write(_) => 0,
            Self::Add => 1,
            Self::Remove => 2,
            Self::Clear(_) => 3,
            Self::Count { .. } => 4,
            Self::Escrow { .. } => 5,
            Self::Splice { .. } => 6,
            Self::Retire => 7,
        }
    }
}

/// One operation, borrowing from the bytes it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op<'a> {
    /// Its name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
    /// Whether its transaction ends with it.
    pub ends: bool,
    /// The container's address, in its canonical bytes.
    pub container: &'a [u8],
    /// The container's kind.
    pub container_kind: Kind,
    /// The member's name.
    pub name: &'a [u8],
    /// The member's kind; for a set's element the set's.
    pub kind: Kind,
    /// What it supersedes.
    pub supersedes: Dots,
    /// What it does.
    pub action: Action<'a>,
}

impl Op<'_> {
    /// The last of the dots it takes: its own, except for an insertion of several elements.
    #[must_use]
    pub fn last(&self) -> Dot {
        match self.action {
            Action::Splice { width, .. } => Dot::new(self.dot.replica(), self.dot.sequence() + width - 1),
            _ => self.dot,
        }
    }
}

/// What the spelling of the next operation depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Encoder {
    /// When the operation before was made.
    pub(crate) hlc: Hlc,
    /// Where in the run its container is spelled, and in how many bytes.
    pub(crate) container: (usize, usize),
}

impl Encoder {
    /// At the start of a run whose first operation is made at `hlc`.
    pub(crate) const fn new(hlc: Hlc) -> Self {
        Self { hlc, container: (0, 0) }
    }
    /// Writes one operation behind those of its run, which are all that `out` holds.
    pub(crate) fn write(&mut self, op: &Op<'_>, out: &mut Writer) {
        let (at, len) = self.container;
        let same = &out.as_slice()[at..at + len] == op.container;
        let later = op.hlc.0 - self.hlc.0;
        let millis = op.hlc.millis() - self.hlc.millis();
        let code = match later {
            0 => 0,
            1 => 1,
            _ if op.hlc.counter() == 0 => 2,
            _ => 3,
        };
        let supersedes = op.supersedes.as_slice();
        out.byte(
            op.action.number()
                | u8::from(same) << 3
                | code << 4
                | u8::from(op.ends) << 6
                | u8::from(!supersedes.is_empty()) << 7,
        );
        match code {
            2 => out.varint(millis),
            3 => out.varint(later),
            _ => {}
        }
        if !same {
            self.container = (out.len(), op.container.len());
            out.raw(op.container);
        }
        self.hlc = op.hlc;
        out.bytes(op.name);
        if op.container_kind == Kind::Map {
            out.byte(op.kind as u8);
        }
        if !supersedes.is_empty() {
            out.varint(supersedes.len() as u64);
            for d in supersedes {
                write_near(*d, op.dot, out);
            }
        }
        match &op.action {
            Action::Write(value) => out.bytes(value),
            Action::Splice { width, bytes } => {
                out.varint(*width);
                out.bytes(bytes);
            }
            Action::Add | Action::Remove | Action::Retire => {}
            Action::Clear(None) => out.byte(0),
            Action::Clear(Some(upto)) => {
                out.byte(1);
                upto.encode(out);
            }
            Action::Count { instance, plus, minus } => {
                write_near(*instance, op.dot, out);
                out.varint(*plus);
                out.varint(*minus);
            }
            Action::Escrow { instance, granted, spent, transfers } => {
                write_near(*instance, op.dot, out);
                out.varint(*granted);
                out.varint(*spent);
                write_transfers(transfers, out);
            }
        }
    }
}

/// Writes a dot that the operation `own` names.
pub(crate) fn write_near(d: Dot, own: Dot, out: &mut Writer) {
    if d.replica() == own.replica() && d.sequence() <= own.sequence() {
        out.byte(0);
        out.varint(own.sequence() - d.sequence());
    } else {
        out.varint(u64::from(d.replica().0) + 1);
        out.varint(d.sequence());
    }
}

/// Reads what [`write_near`] wrote.
#[inline]
pub(crate) fn read_near(own: Dot, from: &mut Reader<'_>) -> Result<Dot, Malformed> {
    let tag = from.varint()?;
    let n = from.varint()?;
    if tag == 0 {
        let sequence = own.sequence().checked_sub(n).filter(|s| *s > 0);
        return sequence.map(|s| Dot::new(own.replica(), s)).ok_or(from.malformed("a dot before the first"));
    }
    let replica = u16::try_from(tag - 1).map_err(|_| from.malformed("a replica beyond 16 bits"))?;
    if n == 0 || n > SEQUENCE_MAX || (replica == own.replica().0 && n <= own.sequence()) {
        return Err(from.malformed("a dot that is none, or spelled at length"));
    }
    Ok(Dot::new(ReplicaIndex(replica), n))
}

/// Writes what a replica handed over.
pub(crate) fn write_transfers(transfers: &[(ReplicaIndex, u64)], out: &mut Writer) {
    out.varint(transfers.len() as u64);
    for (to, amount) in transfers {
        out.varint(u64::from(to.0));
        out.varint(*amount);
    }
}

/// Reads what [`write_transfers`] wrote.
pub(crate) fn read_transfers(from: &mut Reader<'_>) -> Result<Vec<(ReplicaIndex, u64)>, Malformed> {
    let n = from.count(usize::from(u16::MAX) + 1)?;
    let mut out: Vec<(ReplicaIndex, u64)> = Vec::with_capacity(n);
    for _ in 0..n {
        let to = from.varint()?;
        let to = u16::try_from(to).map_err(|_| from.malformed("a replica beyond 16 bits"))?;
        let amount = from.varint()?;
        if amount == 0 || out.last().is_some_and(|(before, _)| before.0 >= to) {
            return Err(from.malformed("transfers out of order, or of nothing"));
        }
        out.push((ReplicaIndex(to), amount));
    }
    Ok(out)
}

/// What the reading of the next operation depends on.
#[derive(Clone, Debug)]
pub(crate) struct Decoder<'a> {
    dot: Dot,
    hlc: Hlc,
    container: &'a [u8],
    /// Where in the run that is spelled.
    container_at: usize,
    kind: Kind,
}

impl<'a> Decoder<'a> {
    /// At the start of a run whose first operation is `dot`, made at `hlc`.
    pub(crate) const fn new(dot: Dot, hlc: Hlc) -> Self {
        Self { dot, hlc, container: &[], container_at: 0, kind: Kind::Map }
    }
    /// What would write on where this one has come.
    pub(crate) const fn encoder(&self) -> Encoder {
        Encoder { hlc: self.hlc, container: (self.container_at, self.container.len()) }
    }
    /// Reads one operation.
    #[inline]
    pub(crate) fn read(&mut self, from: &mut Reader<'a>, bytes: &'a [u8]) -> Result<Op<'a>, Malformed> {
        let head = from.byte()?;
        self.time(head >> 4 & 3, from)?;
        if head & 8 == 0 {
            self.place(from, bytes)?;
        } else if self.container.is_empty() {
            return Err(from.malformed("the first operation lies nowhere"));
        }
        let name = from.bytes(NAME_MAX)?;
        let kind = if self.kind == Kind::Map { read_kind(from)? } else { self.kind };
        let supersedes = if head & 0x80 == 0 { Dots::None } else { self.dots(from)? };
        let action = self.action(head & 7, kind, from)?;
        let op = Op {
            dot: self.dot,
            hlc: self.hlc,
            ends: head & 0x40 != 0,
            container: self.container,
            container_kind: self.kind,
            name,
            kind,
            supersedes,
            action,
        };
        if !fits(&op) {
            return Err(from.malformed("an action that does not fit what lies there"));
        }
        let last = op.last();
        self.dot = if last.sequence() < SEQUENCE_MAX { last.next() } else { last };
        Ok(op)
    }
    #[inline]
    fn time(&mut self, code: u8, from: &mut Reader<'a>) -> Result<(), Malformed> {
        let before = self.hlc;
        let next = match code {
            0 => Some(before.0),
            1 => before.0.checked_add(1),
            2 => {
                let millis = from.varint()?;
                let at = before.millis().checked_add(millis).filter(|m| *m < 1 << 48);
                // One moment later has a shorter spelling, zero milliseconds would run back.
                at.map(|m| m << 16).filter(|h| millis > 0 && *h != before.0 + 1)
            }
            _ => before.0.checked_add(from.varint()?).filter(|h| *h > before.0 + 1 && *h as u16 != 0),
        };
        self.hlc = Hlc(next.ok_or(from.malformed("a moment that is none, or spelled at length"))?);
        Ok(())
    }
    fn place(&mut self, from: &mut Reader<'a>, bytes: &'a [u8]) -> Result<(), Malformed> {
        let start = from.position();
        let kind = read_kind(from)?;
        let n = from.count(DEPTH_MAX)?;
        for _ in 0..n {
            from.bytes(NAME_MAX)?;
        }
        let container = &bytes[start..from.position()];
        if !kind.is_container() || (n == 0 && kind != Kind::Map) || (kind == Kind::Map && n == DEPTH_MAX) {
            return Err(from.malformed("a container that is none, or too deep"));
        }
        if container == self.container {
            return Err(from.malformed("the same container, spelled at length"));
        }
        (self.kind, self.container, self.container_at) = (kind, container, start);
        Ok(())
    }
    #[inline]
    fn dots(&self, from: &mut Reader<'a>) -> Result<Dots, Malformed> {
        let n = from.count(SUPERSEDES_MAX)?;
        if n == 1 {
            return Ok(Dots::One(read_near(self.dot, from)?));
        }
        let mut dots: Vec<Dot> = Vec::with_capacity(n);
        for _ in 0..n {
            let d = read_near(self.dot, from)?;
            if dots.last().is_some_and(|last| *last >= d) {
                return Err(from.malformed("dots out of order"));
            }
            dots.push(d);
        }
        if dots.is_empty() { Err(from.malformed("an empty list of dots")) } else { Ok(Dots::Many(dots)) }
    }
    #[inline]
    fn action(&self, number: u8, kind: Kind, from: &mut Reader<'a>) -> Result<Action<'a>, Malformed> {
        Ok(match number {
            0 => Action::Write(from.bytes(VALUE_MAX)?),
            1 => Action::Add,
            2 => Action::Remove,
            3 => match from.byte()? {
                0 => Action::Clear(None),
                1 => Action::Clear(Some(VersionVector::decode(from)?)),
                _ => return Err(from.malformed("neither with a version vector nor without")),
            },
            4 => Action::Count {
                instance: read_near(self.dot, from)?,
                plus: from.varint()?,
                minus: from.varint()?,
            },
            5 => Action::Escrow {
                instance: read_near(self.dot, from)?,
                granted: from.varint()?,
                spent: from.varint()?,
                transfers: read_transfers(from)?,
            },
            6 => {
                let (width, bytes) = (from.varint()?, from.bytes(VALUE_MAX)?);
                if width == 0 || width > SEQUENCE_MAX - self.dot.sequence() + 1 {
                    return Err(from.malformed("more dots than are left, or none"));
                }
                Splice::decode(self.dot, width, bytes)?;
                Action::Splice { width, bytes }
            }
            _ => Action::Retire,
        })
        .and_then(|a: Action<'a>| match (&a, kind) {
            (Action::Count { minus, .. }, Kind::GCounter) if *minus > 0 => {
                Err(from.malformed("a G-Counter that falls"))
            }
            _ => Ok(a),
        })
    }
}

/// Whether the action can be done to what lies there.
#[inline]
fn fits(op: &Op<'_>) -> bool {
    let member = op.container_kind;
    let own = |d: &Dot| d.replica() == op.dot.replica();
    if op.supersedes.as_slice().iter().any(|d| own(d) && *d >= op.dot) {
        return false;
    }
    match &op.action {
        Action::Write(value) => {
            member == Kind::Map && op.kind.is_register() && (op.kind != Kind::Deadline || value.len() == 8)
        }
        Action::Add => member.is_set(),
        Action::Remove if member == Kind::Map => op.kind.is_register() || op.kind.is_counter(),
        Action::Remove => member == Kind::OrSet,
        Action::Retire => member == Kind::TwoPhaseSet,
        Action::Clear(_) => member == Kind::Map && op.kind.is_container(),
        Action::Count { .. } => {
            member == Kind::Map
                && matches!(op.kind, Kind::GCounter | Kind::PnCounter)
                && op.supersedes == Dots::None
        }
        Action::Escrow { .. } => {
            member == Kind::Map && op.kind == Kind::Bounded && op.supersedes == Dots::None
        }
        Action::Splice { .. } => {
            member == Kind::Sequence && op.name.is_empty() && op.supersedes == Dots::None
        }
    }
}
