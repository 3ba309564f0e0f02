//! Elements of sequences, as they travel in states.
//!
//! ```text
//! 10, first's dot, marks (1 byte: 1 left, 2 on the root, 4 dead), origin's dot unless the root, count (varint),
//!     then, unless dead, each: length (varint), bytes
//! ```
//!
//! Elements in a row, each hanging right of the one before, all live or all dead. A row is as long as can be, but ends before a sequence
//! number that divides by sixteen, and behind the element with which it grows beyond 32 KiB: so a state can be cut nearly
//! anywhere, and wherever it is cut its parts are the same bytes.

use super::Space;
use super::sequence::{Sequence, each_element};
use super::snapshot::{Chunk, Cursor, write_container};
use super::tree::path_names;
use crate::address::{Kind, VALUE_MAX, encode_path};
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::rga::{Element, NO_ELEMENT, item};
use crate::version::VersionVector;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a record of elements begins with.
pub(super) const ELEMENTS: u8 = Kind::Sequence as u8;
/// A row ends before names that divide by this.
const ALIGN: u64 = 16;
/// A row ends behind the element with which its values come to this.
const ROW_BYTES: usize = 32 * 1024;

/// A row in the making.
struct Row {
    first: u64,
    end: u64,
    origin: u64,
    left: bool,
    dead: bool,
    bytes: usize,
    values: Writer,
}

impl Row {
    fn write(&self, out: &mut Writer) {
        out.byte(ELEMENTS);
        out.dot(Dot::from_bits(self.first));
        let root = self.origin == NO_ELEMENT;
        out.byte(u8::from(self.left) | u8::from(root) << 1 | u8::from(self.dead) << 2);
        if !root {
            out.dot(Dot::from_bits(self.origin));
        }
        out.varint(self.end - self.first);
        out.raw(self.values.as_slice());
    }
}

/// Shows the rows of those elements that are wanted, by name, until told to stop.
fn rows(s: &Sequence, wanted: impl Fn(u64) -> bool, mut each: impl FnMut(&Row) -> bool) {
    let mut row: Option<Row> = None;
    let mut stopped = false;
    each_element(&s.list, |name, origin, left, value| {
        if stopped || !wanted(name) {
            return;
        }
        let continues = row.as_ref().is_some_and(|r| {
            r.end == name
                && origin + 1 == name
                && !left
                && r.dead == value.is_none()
                && name % ALIGN != 0
                && r.bytes < ROW_BYTES
        });
        if !continues {
            stopped = row.take().is_some_and(|r| !each(&r));
            if stopped {
                return;
            }
            let dead = value.is_none();
            row = Some(Row { first: name, end: name, origin, left, dead, bytes: 0, values: Writer::new() });
        }
        let Some(r) = &mut row else { return };
        r.end = name + 1;
        if let Some(value) = value {
            r.values.bytes(value);
            r.bytes += value.len();
        }
    });
    if !stopped && let Some(r) = row {
        each(&r);
    }
}

fn write_place(s: &Sequence, out: &mut Writer) {
    let mut path = Writer::new();
    encode_path(Kind::Sequence, s.names.iter().map(Vec::as_slice), &mut path);
    write_container(path.as_slice(), out);
}

/// Writes the records of some elements of a sequence, within about `budget` bytes in all; the dots of the others are `left`.
pub(super) fn write_some(
    s: &Sequence,
    out: &mut Writer,
    budget: usize,
    left: &mut Vec<Dot>,
    wanted: impl Fn(u64) -> bool,
) {
    let mut shown = false;
    rows(s, wanted, |row| {
        if out.len() >= budget {
            left.extend((row.first..row.end).map(Dot::from_bits));
            return true;
        }
        if !core::mem::replace(&mut shown, true) {
            write_place(s, out);
        }
        row.write(out);
        true
    });
}

impl Space {
    /// The rest of a part of the state, from a place among the sequences on. `last` is where the part has come so far.
    pub(super) fn chunk_of_sequences(
        &self,
        from: Option<(&[u8], &[u8])>,
        last: Option<Cursor>,
        mut out: Writer,
        budget: usize,
    ) -> Chunk {
        let (names, after) = from.map_or((Vec::new(), 0), |(path, name)| {
            let after = name.try_into().map(u64::from_be_bytes).unwrap_or(0);
            (path_names(path).1.map(<[u8]>::to_vec).collect(), after)
        });
        let mut last = last;
        let mut cut = false;
        for s in self.sequences.from(&names) {
            let after = if s.names == names { after } else { 0 };
            let mut shown = false;
            rows(
                s,
                |name| name > after,
                |row| {
                    if out.len() >= budget && last.is_some() {
                        cut = true;
                        return false;
                    }
                    if !core::mem::replace(&mut shown, true) {
                        write_place(s, &mut out);
                    }
                    row.write(&mut out);
                    let mut container = Writer::new();
                    encode_path(Kind::Sequence, s.names.iter().map(Vec::as_slice), &mut container);
                    // Its end: a row may begin earlier when it is read again, with elements that have died since.
                    let name = (row.end - 1).to_be_bytes().to_vec();
                    last = Some(Cursor { container: container.into_bytes(), name, tag: ELEMENTS });
                    true
                },
            );
            if cut {
                break;
            }
        }
        Chunk { bytes: out.into_bytes(), next: last.filter(|_| cut) }
    }
}

/// Elements of sequences, by the names of their places.
type Lists = BTreeMap<Vec<Vec<u8>>, Vec<Element>>;

/// A sequence's place, its elements, and its ghosts.
type Brought = (Vec<Vec<u8>>, (Vec<Element>, Vec<Element>));

/// Sequences whose elements are being received.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) elements: Lists,
    /// Those that the other side does not have any more, as dead ones, for others to hang on.
    ghosts: Lists,
}

impl Parts {
    /// These to begin with.
    pub(super) const fn of(elements: Lists) -> Self {
        Self { elements, ghosts: BTreeMap::new() }
    }
    /// Each sequence's elements, and its ghosts.
    pub(super) fn into_lists(mut self) -> impl Iterator<Item = Brought> {
        let mut ghosts = core::mem::take(&mut self.ghosts);
        self.elements.into_iter().map(move |(names, elements)| {
            let ghosts = ghosts.remove(&names).unwrap_or_default();
            (names, (elements, ghosts))
        })
    }
    /// Reads a row of a sequence, behind its tag. `known` says whether a replica is in the roster.
    pub(super) fn read(
        &mut self,
        names: &[Vec<u8>],
        from: &mut Reader<'_>,
        known: impl Fn(ReplicaIndex) -> bool,
    ) -> Result<(), Malformed> {
        let first = from.dot()?;
        let marks = from.byte()?;
        let (left, root, dead) = (marks & 1 != 0, marks & 2 != 0, marks & 4 != 0);
        if marks > 7 || (left && root) {
            return Err(from.malformed("marks of an element that can't be"));
        }
        let origin = if root { NO_ELEMENT } else { from.dot()?.bits() };
        let n = from.varint()?;
        let window = ALIGN - first.bits() % ALIGN;
        if n == 0 || n > window {
            return Err(from.malformed("a row of elements of nothing, or too long"));
        }
        let maker = Dot::from_bits(origin).replica();
        let older = maker != first.replica() || origin < first.bits();
        if !known(first.replica()) || (!root && !known(maker)) || !older {
            return Err(from.malformed("an element of a stranger to the roster, or hung on a younger one"));
        }
        if !self.elements.contains_key(names) {
            self.elements.insert(names.to_vec(), Vec::new());
        }
        let Some(all) = self.elements.get_mut(names) else { return Ok(()) };
        for k in 0..n {
            let name = first.bits() + k;
            let value = if dead { None } else { Some(item(from.bytes(VALUE_MAX)?)) };
            let (origin, left) = if k == 0 { (origin, left) } else { (name - 1, false) };
            all.push(Element { name, origin, left, item: value });
        }
        Ok(())
    }
    /// Leaves out what the other side does not have; of what it had received the names stay.
    pub(super) fn strike(&mut self, extra: &[Dot], received: &VersionVector) {
        let mut struck: Vec<u64> = extra.iter().map(|d| d.bits()).collect();
        struck.sort_unstable();
        for (names, elements) in &mut self.elements {
            let gone = elements.extract_if(.., |e| struck.binary_search(&e.name).is_ok());
            let ghosts: Vec<Element> = gone
                .filter(|e| received.contains(Dot::from_bits(e.name)))
                .map(|e| Element { item: None, ..e })
                .collect();
            if !ghosts.is_empty() {
                self.ghosts.entry(names.clone()).or_default().extend(ghosts);
            }
        }
    }
}
