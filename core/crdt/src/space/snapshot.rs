//! The whole state in chunks: for a replica that is new, or older than the log.
//!
//! ```text
//! header   version 1, version vector, pending removals (dots; cleared places with their maker and vector)
//! chunk    records: 128, address          what follows lies in this container
//!                   tag, name, dot, then  tag 0, 255: stamp (varint); tag 1..9, 11: time (fixed), body
//!                   10, elements in a row   see `elements`
//! ```
//!
//! First all records of maps and sets, then those of sequences: a sequence has one place in the state, whether anything in it is
//! shown at the moment or not, and is not missed for having changed that while others were read.
//!
//! The chunks of one state, put together, are its canonical bytes: equal states, equal bytes.
//!
//! **A snapshot of a moving state.** The header is taken first, each chunk whenever it is asked for, and the state
//! goes on in between. What the receiver then holds is mixed: some entries are newer than the header's version,
//! some that it names were superseded since. It becomes whole by applying the operations from the header's version to the
//! source's version after the last chunk ([`Restore::finish`]): applying is idempotent against such a state (`apply`), every
//! entry that went missing is superseded by one of these operations, and every one that came early is among them.
//!
//! Not so with the dead of sequences: what hangs on one may hang on another once chains of them are shortened
//! (`rga::contract`), and no operation says so. So nothing is buried ([`Space::trim`]) while a state is read; [`Space::trim_log`] is. Who can't be sure of
//! that compares digests at the end: an element that hung on what is missing is missing too.
//!
//! A returning replica then applies from its old log what the restored state lacks ([`Space::carry_over`]): what it made
//! itself and nobody has yet.

use super::elements::{ELEMENTS, Parts};
use super::leaf::{ELEMENT, Entry, Name, New, RETIRED, STAMP_MAX};
use super::pending::{Cleared, Upto};
use super::table::{Pos, Table};
use super::tree::{ROOT, path_names};
use super::{Config, Refused, Space};
use crate::address::{Address, Kind, NAME_MAX, VALUE_MAX};
use crate::batch::Batch;
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::op::read_transfers;
use crate::roster::Roster;
use crate::version::VersionVector;
use alloc::vec::Vec;
use thiserror::Error;

const VERSION: u8 = 1;
const CONTAINER: u8 = 128;

/// What a snapshot begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotHeader {
    /// The version the state had when it was begun.
    pub version: VersionVector,
    pub(super) pending: super::pending::Pending,
}

/// A part of a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Its records.
    pub bytes: Vec<u8>,
    /// Where the next begins; nothing after the last.
    pub next: Option<Cursor>,
}

/// A place in a state, between two chunks. It outlives changes of the state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub(super) container: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) tag: u8,
}

impl Cursor {
    /// The canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.bytes(&self.container);
        out.bytes(&self.name);
        out.byte(self.tag);
    }
    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no cursor.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let container = from.bytes(9 * (NAME_MAX + 10))?;
        let mut inner = Reader::new(container);
        Address::decode(&mut inner)?;
        if !inner.is_empty() {
            return Err(from.malformed("bytes after an address"));
        }
        Ok(Self { container: container.to_vec(), name: from.bytes(NAME_MAX)?.to_vec(), tag: from.byte()? })
    }
}

impl SnapshotHeader {
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.byte(VERSION);
        self.version.encode(out);
        let (dots, clears) = self.pending.all();
        out.varint(dots.len() as u64);
        for d in dots {
            out.dot(d);
        }
        out.varint(clears.len() as u64);
        for c in clears {
            Address { names: c.names.clone(), kind: c.kind }.encode(out);
            out.dot(c.by);
            c.upto.0.encode(out);
        }
    }
    /// Reads what [`SnapshotHeader::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no header.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.byte()? != VERSION {
            return Err(from.malformed("a snapshot of another format version"));
        }
        let version = VersionVector::decode(from)?;
        let mut pending = super::pending::Pending::default();
        for _ in 0..from.count(1 << 24)? {
            let d = from.dot()?;
            if pending.dots.last().is_some_and(|last| *last >= d) || version.contains(d) {
                return Err(from.malformed("pending dots out of order, or received"));
            }
            pending.dots.insert(d);
        }
        for _ in 0..from.count(1 << 24)? {
            let Address { names, kind } = Address::decode(from)?;
            let clear = Cleared { names, kind, by: from.dot()?, upto: Upto(VersionVector::decode(from)?) };
            if pending.clears.last().is_some_and(|last| *last >= clear) || version.covers(&clear.upto.0) {
                return Err(from.malformed("pending clearings out of order, or done"));
            }
            pending.clears.push(clear);
        }
        Ok(Self { version, pending })
    }
}

fn after(table: &Table, name: &[u8], tag: u8) -> Pos {
    let name = Name::new(name);
    let mut at = table.locate(&name);
    while table.entry(at).is_some_and(|e| e.is(&name) && e.tag <= tag) {
        at = table.next(at);
    }
    at
}

pub(super) fn write_container(path: &[u8], out: &mut Writer) {
    out.byte(CONTAINER);
    out.raw(path);
}

pub(super) fn write_entry(e: &Entry<'_>, name: &mut Vec<u8>, out: &mut Writer) {
    e.name_into(name);
    out.byte(e.tag);
    out.bytes(name);
    out.dot(Dot::from_bits(e.dot));
    if e.tag == ELEMENT || e.tag == RETIRED {
        out.varint(u64::from(e.stamp));
    } else {
        out.fixed(e.hlc);
        out.bytes(e.body);
    }
}

impl Space {
    /// The header of a snapshot taken from now on.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotHeader {
        SnapshotHeader { version: self.vv.clone(), pending: self.pending.clone() }
    }
    /// A part of the state, of about `budget` bytes, from a cursor on; from the beginning without one.
    #[must_use]
    pub fn chunk(&self, from: Option<&Cursor>, budget: usize) -> Chunk {
        let mut out = Writer::new();
        if let Some(c) = from.filter(|c| c.tag == ELEMENTS) {
            return self.chunk_of_sequences(Some((&c.container, &c.name)), None, out, budget);
        }
        let mut stack = from.map_or_else(|| [(ROOT, Table::start())].into(), |c| self.resume(c));
        let mut shown: Option<u32> = None;
        let mut name = Vec::new();
        let mut last: Option<(u32, u8)> = None;
        while let Some((id, at)) = stack.pop() {
            let table = &self.tree.container(id).table;
            let Some(e) = table.entry(at) else { continue };
            let same_place = last == Some((id, e.tag)) && e.is(&Name::new(&name));
            if out.len() >= budget
                && !same_place
                && let Some((id, tag)) = last
            {
                let cursor = Cursor { container: self.tree.path(id), name, tag };
                return Chunk { bytes: out.into_bytes(), next: Some(cursor) };
            }
            stack.push((id, table.next(at)));
            if let Some(child) = e.child() {
                stack.push((child, Table::start()));
                continue;
            }
            if shown != Some(id) {
                write_container(&self.tree.path(id), &mut out);
                shown = Some(id);
            }
            write_entry(&e, &mut name, &mut out);
            last = Some((id, e.tag));
        }
        let last = last.map(|(id, tag)| Cursor { container: self.tree.path(id), name, tag });
        self.chunk_of_sequences(None, last.or_else(|| from.cloned()), out, budget)
    }
    fn resume(&self, cursor: &Cursor) -> Vec<(u32, Pos)> {
        let (kind, names) = path_names(&cursor.container);
        let names: Vec<&[u8]> = names.collect();
        let mut stack = Vec::new();
        let mut id = ROOT;
        for (i, name) in names.iter().enumerate() {
            let kind = if i + 1 == names.len() { kind } else { Kind::Map };
            stack.push((id, after(&self.tree.container(id).table, name, kind as u8 | CONTAINER)));
            let Some(child) = self.tree.child(id, kind, name) else { return stack };
            id = child;
        }
        stack.push((id, after(&self.tree.container(id).table, &cursor.name, cursor.tag)));
        stack
    }
    /// The operations in the log, to go along with a snapshot: whoever restores it can then serve members that lack them.
    #[must_use]
    pub fn unstable(&self) -> Vec<Batch> {
        self.logs.iter().flat_map(|l| l.after(l.base(), u64::MAX, usize::MAX)).collect()
    }
    /// A part of [`Space::unstable`], of about `budget` bytes and of what `upto` has: what follows the operation `from`, the first
    /// part without one. With it, the last that it goes through if more follow.
    ///
    /// The log may be cut between two parts. Then what was in the first of them is not needed any more, and
    /// [`Restore::log`] leaves it out.
    #[must_use]
    pub fn unstable_part(
        &self,
        from: Option<Dot>,
        upto: &VersionVector,
        budget: usize,
    ) -> (Vec<Batch>, Option<Dot>) {
        let (mut batches, mut left) = (Vec::new(), budget);
        let start = from.map_or(0, |d| usize::from(d.replica().0));
        for log in self.logs.iter().skip(start) {
            let r = log.replica();
            let after = from.filter(|d| d.replica() == r).map_or(0, Dot::sequence).max(log.base());
            let found = log.after(after, upto.get(r), left);
            left = left.saturating_sub(found.iter().map(Batch::size).sum());
            let last = found.last().map(Batch::last);
            let more = last.is_some_and(|d| d.sequence() < upto.get(r));
            batches.extend(found);
            if more || left == 0 {
                return (batches, last);
            }
        }
        (batches, None)
    }
    /// The operations in the log that count: up to the last that the roster admits, of each place.
    #[must_use]
    pub fn unstable_that_counts(&self) -> Vec<Batch> {
        self.logs.iter().flat_map(|l| l.after(l.base(), self.roster.last(l.replica()), usize::MAX)).collect()
    }
    /// The whole state in its canonical bytes. For tests and small spaces.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.snapshot().encode(&mut out);
        out.raw(&self.chunk(None, usize::MAX).bytes);
        out.into_bytes()
    }
    /// Applies from an older self's log what this state lacks: its own operations that nobody has yet, and others' that
    /// only it received.
    ///
    /// # Errors
    /// If the old log no longer holds them; then they are stable, and the snapshot came from a replica that is behind
    /// what it acknowledged.
    pub fn carry_over(&mut self, old: &Self, millis: u64) -> Result<u64, RestoreFault> {
        let mut n = 0;
        self.replaying = true;
        for log in &old.logs {
            let have = self.vv.get(log.replica());
            // Of an evicted self only what counts: the rest is salvaged.
            let upto = old.vv.get(log.replica()).min(self.roster.last(log.replica()));
            if have >= upto {
                continue;
            }
            if have < log.base() {
                return Err(RestoreFault::Behind(log.replica()));
            }
            for batch in log.after(have, upto, usize::MAX) {
                self.receive(&batch, millis).map_err(RestoreFault::Refused)?;
                n += batch.count();
            }
        }
        Ok(n)
    }
}

/// Why a state can't be restored.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RestoreFault {
    /// The bytes are not a state.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// An operation could not be applied.
    #[error("restoring: {0}")]
    Refused(Refused),
    /// The old log does not reach back to the state.
    #[error(
        "the log of {0} begins after the restored state: take the snapshot from a replica that is up to date"
    )]
    Behind(ReplicaIndex),
}

/// A state being restored.
#[derive(Debug)]
pub struct Restore {
    pub(super) space: Space,
    /// Sequences, until all of their elements are here.
    pub(super) parts: Parts,
    pub(super) header: SnapshotHeader,
    latest: Hlc,
    logged: Vec<Batch>,
    /// It began with entries of its own: some may come again.
    pub(super) amends: bool,
}

impl Restore {
    /// An empty state at place `me` of the roster, about to take a snapshot.
    #[must_use]
    pub fn new(config: Config, roster: Roster, me: ReplicaIndex, header: SnapshotHeader) -> Self {
        Self {
            space: Space::new(config, roster, me),
            parts: Parts::default(),
            header,
            latest: Hlc::default(),
            logged: Vec::new(),
            amends: false,
        }
    }
    /// Takes the next chunk.
    ///
    /// # Errors
    /// If the bytes are not a chunk; the restoration is then to be given up.
    pub fn absorb(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut from = Reader::new(bytes);
        let mut container: Option<u32> = None;
        let mut sequence: Option<Vec<Vec<u8>>> = None;
        let mut kind = Kind::Map;
        while !from.is_empty() {
            let tag = from.byte()?;
            if tag == CONTAINER {
                let start = from.position();
                let at = Address::decode(&mut from)?;
                if !at.kind.is_container() {
                    return Err(from.malformed("a container that is none"));
                }
                kind = at.kind;
                (container, sequence) = (None, None);
                if kind == Kind::Sequence {
                    sequence = Some(at.names);
                    continue;
                }
                container = Some(self.space.tree.find_or_new(&bytes[start..from.position()]));
                continue;
            }
            if let (Some(names), ELEMENTS) = (&sequence, tag) {
                let roster = &self.space.roster;
                self.parts.read(names, &mut from, |r| roster.get(r).is_some())?;
                continue;
            }
            let Some(id) = container else { return Err(from.malformed("an entry that lies nowhere")) };
            self.entry(id, kind, tag, &mut from)?;
        }
        Ok(())
    }
    fn entry(&mut self, id: u32, kind: Kind, tag: u8, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let bytes = from.bytes(NAME_MAX)?;
        let name = Name::new(bytes);
        let dot = from.dot()?;
        if self.space.roster.get(dot.replica()).is_none() {
            return Err(from.malformed("a dot of a stranger to the roster"));
        }
        let leaf = Kind::from_number(tag).filter(|k| !k.is_container());
        let (hlc, stamp, body) = match leaf {
            None if kind.is_set() && (tag == ELEMENT || tag == RETIRED && kind == Kind::TwoPhaseSet) => {
                let stamp = from.varint()?;
                if stamp > u64::from(STAMP_MAX) {
                    return Err(from.malformed("a stamp beyond 27 bits"));
                }
                (0, stamp as u32, &[][..])
            }
            Some(leaf) if kind == Kind::Map => {
                let hlc = from.fixed()?;
                let body = from.bytes(VALUE_MAX)?;
                check_body(leaf, body)?;
                (hlc, 0, body)
            }
            _ => return Err(from.malformed("an entry that does not fit its container")),
        };
        self.latest = self.latest.max(Hlc(hlc));
        if self.amends && leaf.is_some_and(Kind::is_counter) && !self.make_room(id, &name, tag, dot, body) {
            return Ok(());
        }
        let new = New { name, tag, dot: dot.bits(), hlc, stamp, body };
        if !self.space.tree.put(id, &new) && !self.amends {
            return Err(from.malformed("an entry that was there before"));
        }
        if leaf == Some(Kind::Deadline) {
            self.space.deadline(dot, id, bytes, body, true);
        }
        Ok(())
    }
    /// A replica has one entry in an instance of a counter: the newer stays. Whether that is the one that comes.
    fn make_room(&mut self, id: u32, name: &Name<'_>, tag: u8, dot: Dot, body: &[u8]) -> bool {
        let table = &self.space.tree.container(id).table;
        let mut at = table.locate(name);
        while let Some(e) = table.entry(at).filter(|e| e.is(name)) {
            let there = Dot::from_bits(e.dot);
            if e.tag == tag
                && there.replica() == dot.replica()
                && self.space.instance(e.body) == self.space.instance(body)
            {
                if there >= dot {
                    return false;
                }
                self.space.tree.take(id, at);
                return true;
            }
            at = table.next(at);
        }
        true
    }
    /// Takes a part of the log that goes with the state ([`Space::unstable`]): operations that the state already shows and
    /// that some member may still ask for.
    pub fn log(&mut self, batch: Batch) {
        self.logged.push(batch);
    }
    /// Ends the restoration with the operations from the header's version to the source's version after the last chunk.
    /// The space still takes its own operations, from its own log, until [`Space::open`].
    ///
    /// # Errors
    /// If an operation can't be applied.
    pub fn finish(mut self, tail: &[Batch], millis: u64) -> Result<Space, RestoreFault> {
        let SnapshotHeader { version, pending } = self.header;
        self.logged.sort_by_key(Batch::first);
        for (r, s) in version.iter() {
            let of_r: Vec<&Batch> =
                self.logged.iter().filter(|b| b.replica() == r && b.first().sequence() <= s).collect();
            // What lies before a hole was cut off while the parts were read: everybody has it.
            let hole = of_r.windows(2).rposition(|w| w[0].last().sequence() + 1 != w[1].first().sequence());
            let of_r = &of_r[hole.map_or(0, |at| at + 1)..];
            let whole = of_r.last().is_some_and(|b| b.last().sequence() >= s);
            match of_r.first().filter(|_| whole) {
                Some(first) => self.space.begin_log(r, first.first().sequence() - 1, of_r, s)?,
                // A log that does not reach the state serves nobody: begin after it.
                None => self.space.begin_log(r, s, &[], s)?,
            }
        }
        for (names, elements) in core::mem::take(&mut self.parts).into_lists() {
            self.space.restore_sequence(names, elements, &version);
        }
        self.space.vv = version;
        self.space.pending = pending;
        self.space.rename_pending();
        self.space.clock.observe(self.latest, millis);
        for batch in tail {
            self.space.receive(batch, millis).map_err(RestoreFault::Refused)?;
        }
        Ok(self.space)
    }
}

/// Whether an entry's body has the form its kind asks for.
fn check_body(kind: Kind, body: &[u8]) -> Result<(), Malformed> {
    let mut r = Reader::new(body);
    if kind == Kind::Deadline && body.len() != 8 {
        return Err(r.malformed("a deadline that is no moment"));
    }
    if kind.is_counter() {
        r.fixed()?;
        r.varint()?;
        r.varint()?;
        if kind == Kind::Bounded {
            read_transfers(&mut r)?;
        }
        if !r.is_empty() {
            return Err(r.malformed("bytes after a counter's totals"));
        }
    }
    Ok(())
}
