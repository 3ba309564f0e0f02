//! A run of entries in order: the part of the index that is searched and moved.
//!
//! ```text
//! slot, 20 bytes   head 8   the first eight bytes of the name, big end first, zeros behind
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
//! An eight-byte element costs twenty bytes and the slack of one vector, which grows by an eighth at a time.
//! Order is (name, tag, dot), names by bytes. What a removal leaves in `tails` is reclaimed when half of it is dead.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

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
    head: u64,
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
        let mut raw = [0; 8];
        let n = bytes.len().min(8);
        raw[..n].copy_from_slice(&bytes[..n]);
        Self { head: u64::from_be_bytes(raw), bytes }
    }
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(8..).unwrap_or(&[])
    }
    /// The second eight bytes.
    pub(super) fn second(&self) -> u64 {
        second(self.rest())
    }
}

/// The eight bytes behind a head, big end first, zeros behind. Their order is that of names of one head, as far as they differ.
fn second(rest: &[u8]) -> u64 {
    let mut raw = [0; 8];
    let n = rest.len().min(8);
    raw[..n].copy_from_slice(&rest[..n]);
    u64::from_be_bytes(raw)
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
        self.head == name.head && self.len == name.bytes.len() && (self.len <= 8 || self.rest == name.rest())
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

/// Binary searches in lockstep: a step of each before the next step of any, so that their loads overlap.
pub(super) fn probe(probes: &mut [(&[Slot], u64)]) {
    const STEPS: u32 = SLOTS_MAX.ilog2() + 1;
    for _ in 0..STEPS {
        for (slots, head) in probes.iter_mut() {
            let half = slots.len() / 2;
            if let Some(mid) = slots.get(half) {
                *slots = if mid.head < *head { &slots[half + 1..] } else { &slots[..half] };
            }
        }
    }
    core::hint::black_box(probes.iter().map(|(slots, _)| slots.len()).sum::<usize>());
}

impl Leaf {
    /// The entries' short parts.
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
    /// The head of an entry's name.
    #[inline]
    pub(super) fn head(&self, at: usize) -> Option<u64> {
        self.slots.get(at).map(|s| s.head)
    }
    /// The second eight bytes of the first name.
    pub(super) fn second(&self) -> u64 {
        self.entry(0).map_or(0, |e| second(e.rest))
    }
    /// The first name's head, by which leaves are found.
    pub(super) fn fence(&self) -> u64 {
        self.slots.first().map_or(0, |s| s.head)
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
        let (head, dot, tail) = (s.head, s.dot, s.tail);
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
        let head = s.head;
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
        let mut low = self.slots.partition_point(|s| s.head < name.head);
        let mut high = low;
        while high < self.slots.len() && high - low < 4 && self.slots[high].head == name.head {
            high += 1;
        }
        if high - low == 4 {
            high += self.slots[high..].partition_point(|s| s.head == name.head);
        }
        while low < high {
            let mid = low.midpoint(high);
            if self.cmp_name(mid, name) == Ordering::Less { low = mid + 1 } else { high = mid }
        }
        low
    }
    /// Puts an entry at its place, which the caller knows.
    pub(super) fn insert(&mut self, at: usize, new: &New<'_>) {
        let tail = if new.fits_slot() { new.slot_tail() } else { self.spill(new) };
        let least = 8.min(self.slots.len() / 2 + 1);
        reserve(&mut self.slots, 1, least);
        self.slots.insert(at, Slot { head: new.name.head, dot: new.dot, tail });
    }
    /// Puts an entry of the same name and tag in another's place.
    pub(super) fn replace(&mut self, at: usize, new: &New<'_>) {
        self.bury(at);
        let tail = if new.fits_slot() { new.slot_tail() } else { self.spill(new) };
        self.slots[at] = Slot { head: new.name.head, dot: new.dot, tail };
        self.tidy();
    }
    pub(super) fn remove(&mut self, at: usize) {
        self.bury(at);
        self.slots.remove(at);
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
        let old = Self { slots: Vec::new(), tails: old, bigs: Vec::new(), dead: 0 };
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
            let slot = other.slots[at];
            if slot.tail & SPILLED == 0 {
                self.slots.push(slot);
                continue;
            }
            let e = other.view(slot);
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
        upper
    }
    /// Takes all of `next`, whose names come after.
    pub(super) fn append(&mut self, next: &Self) {
        self.take(next, 0);
    }
}
