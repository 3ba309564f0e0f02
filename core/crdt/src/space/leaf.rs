//! A run of entries in order: the part of the index that is searched and moved.
//!
//! ```text
//! slot, 20 bytes   key  8   eight bytes of the name, big end first, zeros behind: the first eight; or, where all names of the leaf
//!                           share as much or more, the eight behind what they share
//!                  dot  8
//!                  tail 4   bit 31 clear: bits 27-30 the name's length (0..8), bits 0-26 its stamp: the whole
//!                           entry is here (a short element of a set)
//!                           bit 31 set: where in `tails` the rest lies
//! tails            length of the name (varint), what of it is beyond eight bytes, tag (1),
//!                  tag 0 or 255: stamp 4 (a long, or a retired, element)
//!                  tag 128..:    index of a container 4
//!                  tag 1..:      time 8, body's length (varint), body; or 0 and an index into `bigs` (varint)
//! bigs             bodies beyond 96 bytes, each in memory of its own size: growing a leaf never moves them,
//!                  and no room is kept for what may come
//! ```
//!
//! Keys of people's data begin alike (`user:0000123`, `order:0000456`): told apart by their first eight bytes, each step of a search
//! would go to `tails`. By what comes behind the part that all share it goes there once, at its end.
//!
//! An eight-byte element costs twenty bytes and the slack of one vector, which grows by an eighth at a time.
//! Order is (name, tag, dot), names by bytes. What a removal leaves in `tails` is reclaimed when half of it is dead.

use crate::fingerprint::little;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::hint::select_unpredictable;

/// Entries of one leaf.
pub(super) const SLOTS_MAX: usize = 128;
const TAILS_MAX: usize = 16 * 1024;
const BIG: usize = 96;
const SPILLED: u32 = 1 << 31;
/// Stamps have 27 bits.
pub(super) const STAMP_MAX: u32 = (1 << 27) - 1;

/// Tag of a set's element.
pub(super) const ELEMENT: u8 = 0;
/// Tag of a 2P-Set's element that is gone for good.
pub(super) const RETIRED: u8 = 255;
/// Added to a kind: the entry is a container below this one.
pub(super) const CHILD: u8 = 128;

#[repr(C, packed(4))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    key: u64,
    dot: u64,
    tail: u32,
}

/// A name, ready to be searched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) head: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Name<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { head: eight(bytes, 0), bytes }
    }
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(8..).unwrap_or(&[])
    }
}

/// Eight bytes from a place on, big end first, zeros behind. Of names that are equal before that place their order is that of the names, as
/// far as they differ.
#[inline]
pub(super) fn eight(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).unwrap_or(&[]);
    little(bytes).swap_bytes()
}

/// Whether these are the same bytes. Of names what lies here is short: two reads that overlap are less than a call.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() <= 8 {
        return little(a) == little(b);
    }
    let ends = |s: &[u8]| (s.first_chunk::<8>().copied(), s.last_chunk::<8>().copied());
    if a.len() <= 16 { ends(a) == ends(b) } else { a == b }
}

/// How many bytes two names begin with alike.
pub(super) fn alike(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// An entry as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) head: u64,
    pub(super) len: usize,
    pub(super) rest: &'a [u8],
    pub(super) tag: u8,
    pub(super) dot: u64,
    /// Time, in full; zero for elements of sets and for containers.
    pub(super) hlc: u64,
    /// Time, coarsely; of elements of sets only.
    pub(super) stamp: u32,
    /// Value, totals, or a container's index.
    pub(super) body: &'a [u8],
}

impl Entry<'_> {
    /// The name, written over `out`.
    pub(super) fn name_into(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.head.to_be_bytes()[..self.len.min(8)]);
        out.extend_from_slice(self.rest);
    }
    pub(super) fn name(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        self.name_into(&mut out);
        out
    }
    pub(super) fn is(&self, name: &Name<'_>) -> bool {
        self.head == name.head
            && self.len == name.bytes.len()
            && (self.len <= 8 || same(self.rest, name.rest()))
    }
    /// The container this entry stands for.
    pub(super) fn child(&self) -> Option<u32> {
        let raw: [u8; 4] = self.body.try_into().ok()?;
        (self.tag & CHILD != 0 && self.tag != RETIRED).then_some(u32::from_le_bytes(raw))
    }
}

/// An entry as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct New<'a> {
    pub(super) name: Name<'a>,
    pub(super) tag: u8,
    pub(super) dot: u64,
    pub(super) hlc: u64,
    pub(super) stamp: u32,
    pub(super) body: &'a [u8],
}

impl New<'_> {
    fn fits_slot(&self) -> bool {
        self.tag == ELEMENT && self.name.bytes.len() <= 8
    }
    const fn slot_tail(&self) -> u32 {
        (self.name.bytes.len() as u32) << 27 | self.stamp
    }
}

/// Entries in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaf {
    slots: Vec<Slot>,
    tails: Vec<u8>,
    bigs: Vec<Option<Box<[u8]>>>,
    dead: usize,
    /// Bytes that all names share, if keys are what comes behind these; else zero. Never less than eight.
    shared: usize,
    /// The first eight of them.
    common: u64,
}

#[inline]
fn read_varint(bytes: &[u8], at: &mut usize) -> usize {
    let (mut n, mut shift) = (0usize, 0);
    loop {
        let b = bytes[*at];
        *at += 1;
        n |= usize::from(b & 0x7f) << shift;
        if b < 0x80 {
            return n;
        }
        shift += 7;
    }
}

fn write_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Makes room without the doubling of `Vec`: an eighth more, a few at least.
fn reserve<T>(v: &mut Vec<T>, more: usize, least: usize) {
    if v.capacity() - v.len() < more {
        v.reserve_exact(more.max(v.len() / 8).max(least));
    }
}

/// A search in a leaf, as far as it has come: the key belongs to one of the `len + 1` places from `low` on.
#[derive(Clone, Copy)]
pub(super) struct Search<'l> {
    slots: &'l [Slot],
    tails: &'l [u8],
    key: u64,
    low: usize,
    len: usize,
}

impl Search<'_> {
    /// Where the key belongs, once the search has come to its end.
    pub(super) const fn place(&self) -> usize {
        self.low
    }
    /// Halves what is left. How much is left depends on no key, and nothing branches on what is read: a guess of the processor that turns
    /// out wrong would throw away the steps of the searches behind this one, which wait for memory too.
    #[inline]
    fn step(&mut self) {
        let half = self.len.div_ceil(2);
        let upper = self.low + half;
        if let Some(last) = self.slots.get(upper.wrapping_sub(1)) {
            self.low = select_unpredictable(last.key < self.key, upper, self.low);
        }
        self.len /= 2;
    }
}

/// Binary searches in lockstep: a step of each before the next step of any, so that their loads overlap.
pub(super) fn search_all(all: &mut [Search<'_>]) {
    const STEPS: u32 = SLOTS_MAX.ilog2() + 1;
    for _ in 0..STEPS {
        all.iter_mut().for_each(Search::step);
    }
    // A line of memory is 64 bytes; most entries lie in two.
    let tail = |s: &Search<'_>| {
        let at = (s.slots.get(s.low)?.tail & !SPILLED) as usize;
        Some(s.tails.get(at).copied()? ^ s.tails.get(at + 64).copied().unwrap_or(0))
    };
    core::hint::black_box(all.iter().filter_map(tail).fold(0, |a, b| a ^ b));
}

impl Leaf {
    /// The beginning of a search.
    pub(super) fn search(&self, name: &Name<'_>) -> Search<'_> {
        Search { slots: &self.slots, tails: &self.tails, key: self.key(name), low: 0, len: self.slots.len() }
    }
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
    /// What a name is searched by.
    #[inline]
    pub(super) fn key(&self, name: &Name<'_>) -> u64 {
        if self.shared == 0 { name.head } else { eight(name.bytes, self.shared) }
    }
    /// Whether an entry's name may be this, by what lies in the slot.
    #[inline]
    pub(super) fn may_be(&self, at: usize, name: &Name<'_>) -> bool {
        self.slots.get(at).is_some_and(|s| s.key == self.key(name))
    }
    /// Whether an entry's name may be that of another entry, by what lies in the slot.
    #[inline]
    pub(super) fn is_near(&self, at: usize, other: &Entry<'_>) -> bool {
        self.slots.get(at).is_some_and(|s| s.key == self.key_of(other))
    }
    fn key_of(&self, e: &Entry<'_>) -> u64 {
        if self.shared == 0 { e.head } else { eight(e.rest, self.shared - 8) }
    }
    /// The first name: its head, and what of it is beyond eight bytes.
    pub(super) fn first(&self) -> (u64, &[u8]) {
        self.entry(0).map_or((0, &[]), |e| (e.head, e.rest))
    }
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= SLOTS_MAX || (self.tails.len() - self.dead > TAILS_MAX && self.slots.len() > 1)
    }
    #[inline]
    pub(super) fn entry(&self, at: usize) -> Option<Entry<'_>> {
        self.slots.get(at).map(|s| self.view(*s))
    }
    #[inline]
    fn view(&self, s: Slot) -> Entry<'_> {
        let (dot, tail) = (s.dot, s.tail);
        let head = if self.shared == 0 { s.key } else { self.common };
        if tail & SPILLED == 0 {
            let len = (tail >> 27) as usize;
            let stamp = tail & STAMP_MAX;
            return Entry { head, len, rest: &[], tag: ELEMENT, dot, hlc: 0, stamp, body: &[] };
        }
        let mut at = (tail & !SPILLED) as usize;
        let len = read_varint(&self.tails, &mut at);
        let rest = &self.tails[at..at + len.saturating_sub(8)];
        at += rest.len();
        let tag = self.tails[at];
        at += 1;
        let mut e = Entry { head, len, rest, tag, dot, hlc: 0, stamp: 0, body: &[] };
        if tag == ELEMENT || tag == RETIRED {
            e.stamp = u32::from_le_bytes(self.tails[at..at + 4].try_into().expect("four bytes"));
        } else if tag & CHILD != 0 {
            e.body = &self.tails[at..at + 4];
        } else {
            e.hlc = u64::from_le_bytes(self.tails[at..at + 8].try_into().expect("eight bytes"));
            at += 8;
            let n = read_varint(&self.tails, &mut at);
            e.body = if n == 0 {
                let big = read_varint(&self.tails, &mut at);
                self.bigs[big].as_deref().expect("a body that is named is there")
            } else {
                &self.tails[at..at + n - 1]
            };
        }
        e
    }
    /// Bytes in `tails` that the entry at `at` takes.
    fn tail_size(&self, at: usize) -> usize {
        let tail = self.slots[at].tail;
        if tail & SPILLED == 0 {
            return 0;
        }
        self.size_at((tail & !SPILLED) as usize)
    }
    fn size_at(&self, start: usize) -> usize {
        let mut i = start;
        let len = read_varint(&self.tails, &mut i);
        i += len.saturating_sub(8);
        let tag = self.tails[i];
        i += 1;
        if tag == ELEMENT || tag & CHILD != 0 {
            i += 4;
        } else {
            i += 8;
            let n = read_varint(&self.tails, &mut i);
            if n == 0 {
                read_varint(&self.tails, &mut i);
            } else {
                i += n - 1;
            }
        }
        i - start
    }
    #[inline]
    fn cmp_name(&self, at: usize, name: &Name<'_>) -> Ordering {
        let s = self.slots[at];
        let head = if self.shared == 0 { s.key } else { self.common };
        head.cmp(&name.head).then_with(|| {
            let (len, rest) = if s.tail & SPILLED == 0 {
                ((s.tail >> 27) as usize, &[][..])
            } else {
                let mut i = (s.tail & !SPILLED) as usize;
                let len = read_varint(&self.tails, &mut i);
                (len, &self.tails[i..i + len.saturating_sub(8)])
            };
            let by_length = len.min(9).cmp(&name.bytes.len().min(9));
            if len <= 8 || by_length != Ordering::Equal { by_length } else { rest.cmp(name.rest()) }
        })
    }
    /// How the first entry's name compares.
    pub(super) fn cmp_first(&self, name: &Name<'_>) -> Ordering {
        if self.slots.is_empty() { Ordering::Greater } else { self.cmp_name(0, name) }
    }
    /// Where the first entry of that name is, or would be.
    #[inline]
    pub(super) fn locate(&self, name: &Name<'_>) -> usize {
        let key = self.key(name);
        let mut low = self.slots.partition_point(|s| s.key < key);
        let mut high = low;
        while high < self.slots.len() && high - low < 4 && self.slots[high].key == key {
            high += 1;
        }
        if high - low == 4 {
            high += self.slots[high..].partition_point(|s| s.key == key);
        }
        if self.shared > 0 {
            // Looked at where the search ended: the caller reads that entry next.
            let near = low.min(self.slots.len() - 1);
            if !self.shares(near, name) {
                // All are before it, or behind.
                return if self.cmp_name(near, name) == Ordering::Less { self.slots.len() } else { 0 };
            }
        }
        while low < high {
            let mid = low.midpoint(high);
            if self.cmp_name(mid, name) == Ordering::Less { low = mid + 1 } else { high = mid }
        }
        low
    }
    /// Whether a name's place is at a slot: what is before it is less, and what is there is not. It may be so and be denied. In the `first`
    /// leaf nothing is before the first slot.
    #[inline]
    pub(super) fn is_place(&self, at: usize, first: bool, name: &Name<'_>) -> bool {
        let key = self.key(name);
        let Some(here) = self.slots.get(at).map(|s| s.key).filter(|here| *here >= key) else { return false };
        let before = at.checked_sub(1).and_then(|before| self.slots.get(before));
        // One that is of this name shares what all of them do.
        let of_name = || self.entry(at).is_some_and(|e| e.is(name));
        before.map_or(first, |before| before.key < key)
            && if here == key { of_name() } else { self.shares(at, name) }
    }
    /// Whether a name begins with what the names here share, of which the one at `at` is an example.
    #[inline]
    fn shares(&self, at: usize, name: &Name<'_>) -> bool {
        let beyond = self.shared.saturating_sub(8);
        self.shared == 0
            || name.head == self.common
                && name.bytes.len() >= self.shared
                && self
                    .entry(at)
                    .is_some_and(|e| e.rest.get(..beyond).is_some_and(|r| same(r, &name.rest()[..beyond])))
    }
    /// Makes keys of what comes behind `shared` bytes, which all names share; zero if that is less than eight.
    fn rekey(&mut self, shared: usize) {
        let (common, _) = self.first();
        let of = Self { shared, ..Self::default() };
        for at in 0..self.slots.len() {
            let key = of.key_of(&self.view(self.slots[at]));
            self.slots[at].key = key;
        }
        (self.shared, self.common) = (shared, common);
    }
    /// Looks for more that all names share.
    fn narrow(&mut self) {
        let ends = self.entry(0).zip(self.slots.len().checked_sub(1).and_then(|last| self.entry(last)));
        let Some((first, last)) = ends.filter(|(a, b)| a.head == b.head && a.len >= 8) else { return };
        let shared = 8 + alike(first.rest, last.rest);
        if shared > self.shared {
            self.rekey(shared);
        }
    }
    /// Takes account of a name that is to come.
    fn widen(&mut self, at: usize, name: &Name<'_>) {
        let near = at.min(self.slots.len().saturating_sub(1));
        if self.shares(near, name) {
            return;
        }
        let (head, rest) = self.first();
        let same = head == name.head && name.bytes.len() >= 8;
        self.rekey(if same { 8 + alike(rest, name.rest()) } else { 0 });
    }
    /// Puts an entry at its place, which the caller knows.
    pub(super) fn insert(&mut self, at: usize, new: &New<'_>) {
        self.widen(at, &new.name);
        let tail = if new.fits_slot() { new.slot_tail() } else { self.spill(new) };
        let least = 8.min(self.slots.len() / 2 + 1);
        reserve(&mut self.slots, 1, least);
        self.slots.insert(at, Slot { key: self.key(&new.name), dot: new.dot, tail });
        if self.slots.len() >= 8 && self.slots.len().is_power_of_two() {
            self.narrow();
        }
    }
    /// Puts an entry of the same name and tag in another's place. What is as long as what was there takes its bytes: values that are
    /// written over and over, and counters, make no garbage.
    pub(super) fn replace(&mut self, at: usize, new: &New<'_>) {
        if new.fits_slot() {
            self.slots[at] = Slot { key: self.key(&new.name), dot: new.dot, tail: new.slot_tail() };
            return;
        }
        self.slots[at].dot = new.dot;
        if self.overwrite(at, new) {
            return;
        }
        self.bury(at);
        self.slots[at].tail = self.spill(new);
        self.tidy();
    }
    /// Writes an entry over another of the same name and tag, if it is as long.
    fn overwrite(&mut self, at: usize, new: &New<'_>) -> bool {
        let mut i = (self.slots[at].tail & !SPILLED) as usize;
        let len = read_varint(&self.tails, &mut i);
        // Behind the name, and the tag, which stays.
        i += len.saturating_sub(8) + 1;
        let body = match new.tag {
            ELEMENT | RETIRED => &new.stamp.to_le_bytes(),
            tag if tag & CHILD != 0 => new.body,
            _ => {
                let mut body = i + 8;
                let n = read_varint(&self.tails, &mut body);
                if n != new.body.len() + 1 {
                    return false;
                }
                self.tails[i..i + 8].copy_from_slice(&new.hlc.to_le_bytes());
                i = body;
                new.body
            }
        };
        self.tails[i..i + body.len()].copy_from_slice(body);
        true
    }
    pub(super) fn remove(&mut self, at: usize) {
        self.bury(at);
        self.slots.remove(at);
        if self.slots.is_empty() {
            (self.shared, self.common) = (0, 0);
        }
        self.tidy();
    }
    /// Leaves what the entry has in `tails` and `bigs` to be reclaimed.
    fn bury(&mut self, at: usize) {
        let size = self.tail_size(at);
        self.dead += size;
        if let Some(big) = self.big_of(at) {
            self.bigs[big] = None;
            while matches!(self.bigs.last(), Some(None)) {
                self.bigs.pop();
            }
        }
    }
    fn big_of(&self, at: usize) -> Option<usize> {
        let tail = self.slots[at].tail;
        if tail & SPILLED == 0 || self.bigs.is_empty() {
            return None;
        }
        let mut i = (tail & !SPILLED) as usize;
        let len = read_varint(&self.tails, &mut i);
        i += len.saturating_sub(8);
        let tag = self.tails[i];
        if tag == ELEMENT || tag & CHILD != 0 {
            return None;
        }
        i += 9;
        (read_varint(&self.tails, &mut i) == 0).then(|| read_varint(&self.tails, &mut i))
    }
    fn tidy(&mut self) {
        if self.dead > 256 && self.dead * 2 > self.tails.len() || self.slots.is_empty() {
            self.compact();
        }
    }
    fn spill(&mut self, new: &New<'_>) -> u32 {
        let start = self.tails.len();
        let rest = new.name.rest();
        reserve(&mut self.tails, rest.len() + new.body.len().min(BIG) + 24, 32);
        write_varint(&mut self.tails, new.name.bytes.len());
        self.tails.extend_from_slice(rest);
        self.tails.push(new.tag);
        if new.tag == ELEMENT || new.tag == RETIRED {
            self.tails.extend_from_slice(&new.stamp.to_le_bytes());
        } else if new.tag & CHILD != 0 {
            self.tails.extend_from_slice(new.body);
        } else {
            self.tails.extend_from_slice(&new.hlc.to_le_bytes());
            if new.body.len() > BIG {
                let free = self.bigs.iter().position(Option::is_none);
                let big = free.unwrap_or_else(|| {
                    reserve(&mut self.bigs, 1, 1);
                    self.bigs.push(None);
                    self.bigs.len() - 1
                });
                self.bigs[big] = Some(new.body.into());
                self.tails.push(0);
                write_varint(&mut self.tails, big);
            } else {
                write_varint(&mut self.tails, new.body.len() + 1);
                self.tails.extend_from_slice(new.body);
            }
        }
        start as u32 | SPILLED
    }
    /// Rewrites `tails` without what is dead.
    fn compact(&mut self) {
        let live = self.tails.len() - self.dead;
        let old = core::mem::replace(&mut self.tails, Vec::with_capacity(live));
        let old = Self { tails: old, ..Self::default() };
        for slot in self.slots.iter_mut().filter(|s| s.tail & SPILLED != 0) {
            let start = (slot.tail & !SPILLED) as usize;
            let size = old.size_at(start);
            slot.tail = self.tails.len() as u32 | SPILLED;
            self.tails.extend_from_slice(&old.tails[start..start + size]);
        }
        self.dead = 0;
    }
    /// Gives back all room that is not used.
    pub(super) fn shrink(&mut self) {
        if self.dead > 0 {
            self.compact();
        }
        self.slots.shrink_to_fit();
        self.tails.shrink_to_fit();
        self.bigs.shrink_to_fit();
    }
    /// Adds entries `from..` of another leaf, whose names come after ours.
    fn take(&mut self, other: &Self, from: usize) {
        let mut name = Vec::new();
        reserve(&mut self.slots, other.slots.len() - from, 0);
        for at in from..other.slots.len() {
            let e = other.view(other.slots[at]);
            e.name_into(&mut name);
            let (tag, dot, hlc, stamp, body) = (e.tag, e.dot, e.hlc, e.stamp, e.body);
            let end = self.slots.len();
            self.insert(end, &New { name: Name::new(&name), tag, dot, hlc, stamp, body });
        }
    }
    /// Cuts the leaf in two; the upper half is returned.
    pub(super) fn split(&mut self) -> Self {
        let half = self.slots.len() / 2;
        let mut upper = Self::default();
        upper.take(self, half);
        for at in half..self.slots.len() {
            self.bury(at);
        }
        self.slots.truncate(half);
        self.shrink();
        self.narrow();
        upper.narrow();
        upper
    }
    /// Takes all of `next`, whose names come after.
    pub(super) fn append(&mut self, next: &Self) {
        self.take(next, 0);
    }
}
