//! What a sequence is made of: characters of UTF-8 text, or opaque byte strings.
//!
//! A leaf of the tree holds the live elements of its runs in one chunk, so that an edit moves a few
//! hundred bytes and allocates nothing. Offsets are in elements; a chunk of plain ASCII is known by having as
//! many bytes as elements, and is then indexed directly.

use super::item::Item;
use crate::code::{Reader, Writer};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Spare bytes a chunk of text gets when it grows: chunks are small and many, doubling would waste a third.
const TEXT_SLACK: usize = 40;
/// Spare elements a chunk of a list gets when it grows.
const LIST_SLACK: usize = 4;

/// The elements of a sequence, and how a chunk of them is cut and joined.
///
/// Every `live` is the number of elements the chunk holds; the caller always knows it.
pub trait Content: Clone + Default + PartialEq + Eq + fmt::Debug {
    /// Some elements in a row, borrowed.
    type Slice: ?Sized;
    /// The byte that names this kind of content in encoded states.
    const KIND: u8;
    /// A leaf with more live elements than this is split.
    const LEAF: usize;

    /// All elements.
    fn as_slice(&self) -> &Self::Slice;
    /// How many elements there are in `slice`.
    fn count(slice: &Self::Slice) -> usize;
    /// `slice` cut before element `at`, which is at most its count.
    fn cut(slice: &Self::Slice, at: usize) -> (&Self::Slice, &Self::Slice);
    /// Appends.
    fn push(&mut self, slice: &Self::Slice);
    /// Inserts before element `at`.
    fn insert(&mut self, at: usize, live: usize, slice: &Self::Slice);
    /// Removes `n` elements from `at` on.
    fn remove(&mut self, at: usize, n: usize, live: usize);
    /// Keeps the elements before `at`, returns the rest.
    fn split_off(&mut self, at: usize, live: usize) -> Self;
    /// `n` elements from `at` on.
    fn slice(&self, at: usize, n: usize, live: usize) -> &Self::Slice;
    /// Appends the elements as bytes, such that [`Content::read`] finds their ends.
    fn write(slice: &Self::Slice, out: &mut Writer);
    /// Reads `count` elements, all of `bytes`; `None` if that is not what they are.
    fn read(bytes: &[u8], count: usize) -> Option<Self>;
    /// Gives back room that is not used.
    fn trim(&mut self);
    /// What the elements weigh, in bytes.
    fn weight(slice: &Self::Slice) -> usize;
}

/// The byte at which character `at` begins.
fn byte_of(text: &str, at: usize, live: usize) -> usize {
    if text.len() == live {
        return at;
    }
    if at == live {
        return text.len();
    }
    text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
}

impl Content for String {
    type Slice = str;
    const KIND: u8 = b'T';
    const LEAF: usize = 512;

    fn as_slice(&self) -> &str {
        self
    }

    fn count(slice: &str) -> usize {
        if slice.len() == 1 { 1 } else { slice.chars().count() }
    }

    fn cut(slice: &str, at: usize) -> (&str, &str) {
        let ascii = slice.as_bytes().get(..at).is_some_and(<[u8]>::is_ascii);
        let byte =
            if ascii { at } else { slice.char_indices().nth(at).map_or(slice.len(), |(byte, _)| byte) };
        slice.split_at(byte)
    }

    fn push(&mut self, slice: &str) {
        self.push_str(slice);
    }

    fn insert(&mut self, at: usize, live: usize, slice: &str) {
        if self.capacity() - self.len() < slice.len() {
            self.reserve_exact(slice.len() + TEXT_SLACK);
        }
        let byte = byte_of(self, at, live);
        self.insert_str(byte, slice);
    }

    fn remove(&mut self, at: usize, n: usize, live: usize) {
        let from = byte_of(self, at, live);
        let to = byte_of(self, at + n, live);
        self.drain(from..to);
    }

    fn split_off(&mut self, at: usize, live: usize) -> Self {
        let byte = byte_of(self, at, live);
        let rest = Self::from(&self[byte..]);
        self.truncate(byte);
        self.shrink_to(byte + TEXT_SLACK);
        rest
    }

    fn slice(&self, at: usize, n: usize, live: usize) -> &str {
        &self[byte_of(self, at, live)..byte_of(self, at + n, live)]
    }

    fn write(slice: &str, out: &mut Writer) {
        out.raw(slice.as_bytes());
    }

    fn read(bytes: &[u8], count: usize) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        (Self::count(text) == count).then(|| Self::from(text))
    }

    fn trim(&mut self) {
        self.shrink_to_fit();
    }

    fn weight(slice: &str) -> usize {
        slice.len()
    }
}

impl Content for Vec<Item> {
    type Slice = [Item];
    const KIND: u8 = b'L';
    const LEAF: usize = 64;

    fn as_slice(&self) -> &[Item] {
        self
    }

    fn count(slice: &[Item]) -> usize {
        slice.len()
    }

    fn cut(slice: &[Item], at: usize) -> (&[Item], &[Item]) {
        slice.split_at(at)
    }

    fn push(&mut self, slice: &[Item]) {
        self.extend_from_slice(slice);
    }

    fn insert(&mut self, at: usize, _live: usize, slice: &[Item]) {
        if self.capacity() - self.len() < slice.len() {
            self.reserve_exact(slice.len() + LIST_SLACK);
        }
        if let [one] = slice {
            Self::insert(self, at, one.clone());
        } else {
            self.splice(at..at, slice.iter().cloned());
        }
    }

    fn remove(&mut self, at: usize, n: usize, _live: usize) {
        self.drain(at..at + n);
    }

    fn split_off(&mut self, at: usize, _live: usize) -> Self {
        let rest = Self::split_off(self, at);
        self.shrink_to(at + LIST_SLACK);
        rest
    }

    fn slice(&self, at: usize, n: usize, _live: usize) -> &[Item] {
        &self[at..at + n]
    }

    fn write(slice: &[Item], out: &mut Writer) {
        for item in slice {
            out.bytes(item);
        }
    }

    fn read(bytes: &[u8], count: usize) -> Option<Self> {
        // Each element takes a byte at least: a count from outside reserves no more than was sent.
        if count > bytes.len() {
            return None;
        }
        let mut rest = Reader::new(bytes);
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(Item::from(rest.bytes(bytes.len()).ok()?));
        }
        rest.is_empty().then_some(items)
    }

    fn trim(&mut self) {
        self.shrink_to_fit();
    }

    fn weight(slice: &[Item]) -> usize {
        slice.iter().map(|item| item.len() + 1).sum()
    }
}
