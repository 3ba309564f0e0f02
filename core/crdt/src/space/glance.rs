//! What lies under one key, in one look: one search, nothing copied. For those who ask for little and often.

use super::Space;
use super::apply::totals;
use super::leaf::{CHILD, Name};
use super::read::has_element;
use super::tree::{ROOT, Tree};
use crate::address::Kind;
use crate::dot::Dot;
use crate::hlc::Hlc;

/// One thing that lies under a key.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// What it is.
    pub kind: Kind,
    /// The operation that put it there; of containers there is none.
    pub dot: Dot,
    /// When that was made.
    pub hlc: Hlc,
    body: &'s [u8],
    child: Option<u32>,
}

/// A container that was seen; any change of the space makes it stale.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'s> {
    tree: &'s Tree,
    id: u32,
}

impl<'s> Seen<'s> {
    /// The value of a register; of a deadline its eight bytes.
    #[must_use]
    pub const fn value(&self) -> &'s [u8] {
        self.body
    }
    /// What a replica contributes to a counter.
    #[must_use]
    pub fn total(&self) -> i128 {
        let (plus, minus) = totals(self.body);
        i128::from(plus) - i128::from(minus)
    }
}

impl Inside<'_> {
    /// Whether the set has an element.
    #[must_use]
    pub fn contains(&self, element: &[u8]) -> bool {
        has_element(self.tree.named(self.id, Name::new(element)))
    }
}

impl Space {
    /// All that lies under a key: leaves by kind and dot, and the containers.
    pub fn glance<'s>(&'s self, key: &'s [u8]) -> impl Iterator<Item = Seen<'s>> {
        self.tree.named(ROOT, Name::new(key)).filter_map(|e| {
            let kind = Kind::from_number(e.tag & !CHILD)?;
            let child = e.child();
            let body = if child.is_none() { e.body } else { &[] };
            Some(Seen { kind, dot: Dot::from_bits(e.dot), hlc: Hlc(e.hlc), body, child })
        })
    }
    /// What was seen, if it is a container.
    #[must_use]
    pub fn inside(&self, seen: &Seen<'_>) -> Option<Inside<'_>> {
        seen.child.map(|id| Inside { tree: &self.tree, id })
    }
}
