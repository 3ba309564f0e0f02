//! What an operation on a sequence says: elements that come, in one row, and elements that go.
//!
//! ```text
//! head      1 byte   1: elements come · 2: left of their origin · 4: the root is their origin · 8: elements go
//! origin    if elements come, unless the root: a dot, as `op` spells those that are superseded
//! spans     if elements go: varint count; each: the first's dot, varint length less one
//! elements  if elements come: to the end, each varint length and bytes; as many as the operation takes dots
//! ```
//!
//! An element is named by its dot: the first by the operation's own, the others by those that follow. Each but
//! the first hangs right of the one before. Replacing an element is one operation: the old goes, the new comes, hung on it.
//!
//! **Invariants.** Canonical: spans ascend and don't touch. What comes is younger than what it hangs on and than what goes with it, as
//! far as both are of one replica. What goes is named, never counted: nothing else goes elsewhere.

use crate::address::VALUE_MAX;
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, SEQUENCE_MAX};
use crate::op::{SUPERSEDES_MAX, read_near, write_near};
use crate::rga::{Hang, Side, Span};
use alloc::vec::Vec;

const COMES: u8 = 1;
const LEFT: u8 = 2;
const ON_ROOT: u8 = 4;
const GOES: u8 = 8;

/// An operation on a sequence, borrowing from the bytes it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Splice<'a> {
    /// What the first element that comes hangs on; nothing if none comes.
    pub hang: Option<Hang>,
    /// The elements that go.
    pub spans: Vec<Span>,
    elements: &'a [u8],
}

impl<'a> Splice<'a> {
    /// Reads the bytes of the operation `dot` that takes `width` dots.
    ///
    /// # Errors
    /// If they are not the canonical form of such an operation.
    pub fn decode(dot: Dot, width: u64, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let head = from.byte()?;
        let comes = head & COMES != 0;
        let hang_bits = head & (LEFT | ON_ROOT);
        if head & (COMES | GOES) == 0
            || head > (COMES | LEFT | ON_ROOT | GOES)
            || (!comes && hang_bits != 0)
            || hang_bits == LEFT | ON_ROOT
        {
            return Err(from.malformed("neither elements that come nor elements that go"));
        }
        let mut hang = None;
        if comes {
            let side = if head & LEFT == 0 { Side::Right } else { Side::Left };
            let origin = if head & ON_ROOT == 0 { Some(read_near(dot, &mut from)?) } else { None };
            if origin.is_some_and(|o| o.replica() == dot.replica() && o.sequence() >= dot.sequence()) {
                return Err(from.malformed("an element that hangs on itself, or on a later one of its maker"));
            }
            hang = Some(Hang { origin, side });
        }
        let spans = if head & GOES == 0 { Vec::new() } else { read_spans(dot, &mut from)? };
        let elements = &bytes[from.position()..];
        if !comes {
            let alone = width == 1 && elements.is_empty();
            return if alone {
                Ok(Self { hang, spans, elements })
            } else {
                Err(from.malformed("bytes after what goes"))
            };
        }
        for _ in 0..width {
            from.bytes(VALUE_MAX)?;
        }
        if !from.is_empty() {
            return Err(from.malformed("more elements than dots"));
        }
        Ok(Self { hang, spans, elements })
    }
    /// The elements that come, in order.
    pub fn elements(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut from = Reader::new(self.elements);
        core::iter::from_fn(move || if from.is_empty() { None } else { from.bytes(VALUE_MAX).ok() })
    }
    /// One more than the highest replica whose dots are named.
    pub(crate) fn replicas(&self) -> u32 {
        let origin = self.hang.and_then(|h| h.origin);
        let last = self.spans.last().map(|s| s.first);
        origin.into_iter().chain(last).map(|d| u32::from(d.replica().0) + 1).max().unwrap_or(0)
    }
}

/// The bytes of the operation `dot`. The spans must ascend, disjoint; those that touch become one.
#[must_use]
pub fn encode(dot: Dot, hang: Option<Hang>, spans: &[Span], elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Writer::new();
    let side = hang.map_or(0, |h| {
        COMES | if h.side == Side::Left { LEFT } else { 0 } | if h.origin.is_none() { ON_ROOT } else { 0 }
    });
    out.byte(side | if spans.is_empty() { 0 } else { GOES });
    if let Some(origin) = hang.and_then(|h| h.origin) {
        write_near(origin, dot, &mut out);
    }
    if !spans.is_empty() {
        let joined = join(spans);
        out.varint(joined.len() as u64);
        for span in joined {
            write_near(span.first, dot, &mut out);
            out.varint(u64::from(span.len) - 1);
        }
    }
    for element in elements {
        out.bytes(element);
    }
    out.into_bytes()
}

fn join(spans: &[Span]) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if last.first.bits() + u64::from(last.len) == span.first.bits() => {
                last.len += span.len
            }
            _ => out.push(*span),
        }
    }
    out
}

fn read_spans(dot: Dot, from: &mut Reader<'_>) -> Result<Vec<Span>, Malformed> {
    let n = from.count(SUPERSEDES_MAX)?;
    let mut spans: Vec<Span> = Vec::with_capacity(n);
    let (mut all, mut end) = (0u64, 0u64);
    for _ in 0..n {
        let first = read_near(dot, from)?;
        let len = from.varint()?.saturating_add(1);
        let last = first.sequence().saturating_add(len - 1);
        all = all.saturating_add(len);
        if all > SUPERSEDES_MAX as u64 || last > SEQUENCE_MAX {
            return Err(from.malformed("more elements than can go at once"));
        }
        let older = first.replica() != dot.replica() || last < dot.sequence();
        let apart = spans.is_empty() || first.bits() > end;
        if !older || !apart {
            return Err(from.malformed("spans out of order, touching, or of what is to come"));
        }
        end = first.bits() + len;
        spans.push(Span { first, len: len as u32 });
    }
    if spans.is_empty() { Err(from.malformed("an empty list of spans")) } else { Ok(spans) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::ReplicaIndex;
    use proptest::prelude::*;
    use std::vec;

    const fn dot(r: u16, s: u64) -> Dot {
        Dot::new(ReplicaIndex(r), s)
    }

    #[test]
    fn lies_are_refused() {
        let own = dot(1, 10);
        let lies: [(u64, &[u8], &str); 12] = [
            (1, &[], "nothing at all"),
            (1, &[0], "neither"),
            (1, &[16], "an unknown bit"),
            (1, &[7, 0, 1], "left of the root"),
            (1, &[1, 0, 0, 0], "on itself"),
            (3, &[1, 2, 11, 0, 0, 0], "on one that it brings itself"),
            (2, &[5, 0], "fewer elements than dots"),
            (1, &[5, 0, 0], "more elements than dots"),
            (2, &[8, 1, 0, 3, 0], "two dots for what goes"),
            (1, &[8, 0], "no spans"),
            (1, &[8, 1, 0, 3, 5], "a span up to itself"),
            (1, &[8, 2, 0, 5, 0, 0, 4, 0], "spans that touch"),
        ];
        for (width, bytes, what) in lies {
            assert!(Splice::decode(own, width, bytes).is_err(), "{what}");
        }
        assert!(Splice::decode(own, 1, &[8, 2, 0, 5, 0, 0, 3, 0]).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_has_one_form(
            origin in proptest::option::of((0u16..3, 1u64..50)), left: bool, comes: bool,
            spans in proptest::collection::btree_set((0u16..3, 1u64..40), 0..8),
            elements in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 1..5),
        ) {
            let own = dot(1, 60);
            let origin = origin.map(|(r, s)| dot(r, s));
            let side = if left && origin.is_some() { Side::Left } else { Side::Right };
            let spans: Vec<Span> = spans.into_iter().map(|(r, s)| Span { first: dot(r, s), len: 1 }).collect();
            prop_assume!(comes || !spans.is_empty());
            let hang = comes.then_some(Hang { origin, side });
            let elements = if comes { elements } else { vec![] };
            let width = (elements.len() as u64).max(1);
            let bytes = encode(own, hang, &spans, &elements);
            let read = Splice::decode(own, width, &bytes).unwrap();
            prop_assert_eq!(read.hang, hang);
            prop_assert_eq!(read.elements().map(<[u8]>::to_vec).collect::<Vec<_>>(), elements.clone());
            let all = |s: &[Span]| -> Vec<Dot> {
                s.iter().flat_map(|s| (0..u64::from(s.len)).map(|k| Dot::from_bits(s.first.bits() + k))).collect()
            };
            prop_assert_eq!(all(&read.spans), all(&spans));
            prop_assert_eq!(encode(own, read.hang, &read.spans, &elements), bytes);
        }

        #[test]
        fn what_is_accepted_was_canonical(bytes in proptest::collection::vec(0u8..20, 0..14), width in 1u64..4) {
            let own = dot(1, 9);
            if let Ok(read) = Splice::decode(own, width, &bytes) {
                let elements: Vec<Vec<u8>> = read.elements().map(<[u8]>::to_vec).collect();
                prop_assert_eq!(encode(own, read.hang, &read.spans, &elements), bytes);
            }
        }
    }
}
