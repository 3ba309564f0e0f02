//! What replicas tell each other about a sequence.

use super::content::Content;
use crate::dot::{Dot, SEQUENCE_MAX};
use alloc::vec::Vec;
use thiserror::Error;

/// Most elements of one insertion.
pub const INSERT_MAX: usize = 1 << 24;
/// Most spans of one deletion.
pub const SPANS_MAX: usize = 1 << 20;

/// Elements of one replica with consecutive names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The name of the first.
    pub first: Dot,
    /// How many; at least one.
    pub len: u32,
}

impl Span {
    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = Dot> + use<> {
        (self.first.bits()..self.end()).map(Dot::from_bits)
    }
    pub(super) const fn end(&self) -> u64 {
        self.first.bits() + self.len as u64
    }
    /// Whether it names elements that one replica can have made.
    pub(super) const fn is_sound(&self) -> bool {
        self.len > 0
            && self.first.sequence() > 0
            && self.first.sequence() + self.len as u64 - 1 <= SEQUENCE_MAX
    }
}

/// Some spans; one, as nearly always, takes no allocation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spans {
    first: Option<Span>,
    rest: Vec<Span>,
}

impl Spans {
    /// Adds a span, joining it to the last if it continues it.
    pub fn push(&mut self, span: Span) {
        let Some(last) = self.rest.last_mut().or(self.first.as_mut()) else {
            self.first = Some(span);
            return;
        };
        match last.len.checked_add(span.len) {
            Some(len) if last.end() == span.first.bits() => last.len = len,
            _ => self.rest.push(span),
        }
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.first.iter().chain(&self.rest).copied()
    }
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut all = Self::default();
        for span in spans {
            all.push(span);
        }
        all
    }
}

/// On which side of its origin an element hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Before it.
    Left,
    /// After it.
    Right,
}

/// Where an insertion hangs: what a replica must tell others besides the elements and their first name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hang {
    /// The element it hangs on, or `None` for the root of the sequence.
    pub origin: Option<Dot>,
    /// On which side; always right of the root.
    pub side: Side,
}

/// An operation on a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op<C> {
    /// New elements in a row.
    Insert {
        /// The name of the first; the others follow it.
        first: Dot,
        /// What the first hangs on. Each other hangs right of the one before it.
        hang: Hang,
        /// The elements.
        content: C,
    },
    /// Elements that are no more.
    Delete {
        /// The operation that deletes them, for [`purge`](super::Rga::purge).
        by: Dot,
        /// Their names.
        spans: Spans,
    },
}

/// Why a local edit was not made. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EditError {
    /// The place is not in the sequence.
    #[error("position {at} is beyond the end of a sequence of {len}: read its length and try again")]
    Beyond {
        /// The position asked for.
        at: usize,
        /// The length.
        len: usize,
    },
    /// The name was used before, or is none.
    #[error("{first} is not a new name here: take Rga::next, or a dot that the replica never used")]
    Reused {
        /// The first name.
        first: Dot,
    },
    /// More than a sequence or an operation holds.
    #[error("{n} elements are too many for one insertion or for the sequence: insert less at a time")]
    TooMany {
        /// How many were to be inserted.
        n: usize,
    },
    /// Nothing was to be inserted.
    #[error("an insertion of nothing takes no name: leave it out")]
    Nothing,
}

/// Why an operation or a delta of another replica was refused. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// It can't have been made by a correct replica.
    #[error("{what}: its sender is faulty or of another version; drop it and look at the sender")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It waits for what is missing, and too much waits already.
    #[error("{held} elements wait for others that have not come: fetch those, then offer it again")]
    Full {
        /// How many wait.
        held: usize,
    },
}

/// What came of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// It is in effect.
    Now,
    /// It was, before.
    Known,
    /// It waits for elements that have not come yet.
    Waits,
}

impl<C: Content> Op<C> {
    /// What can be checked of it alone.
    ///
    /// # Errors
    /// If no correct replica can have made it.
    pub fn check(&self) -> Result<(), Refused> {
        let malformed = |what| Err(Refused::Malformed { what });
        match self {
            Self::Insert { first, hang, content } => {
                let n = C::count(content.as_slice());
                if n == 0 || n > INSERT_MAX {
                    return malformed("an insertion of no element or of too many");
                }
                if !(Span { first: *first, len: n as u32 }).is_sound() {
                    return malformed("names outside a replica's sequence");
                }
                match hang.origin {
                    None if hang.side == Side::Left => malformed("nothing can be left of the root"),
                    Some(origin) if origin.sequence() == 0 => malformed("an origin that names nothing"),
                    Some(origin) if origin.replica() == first.replica() && origin >= *first => {
                        malformed("an element that hangs on a younger one of its own replica")
                    }
                    _ => Ok(()),
                }
            }
            Self::Delete { by, spans } => {
                if by.sequence() == 0 || spans.is_empty() || spans.len() > SPANS_MAX {
                    return malformed("a deletion without a name, of nothing, or of too much");
                }
                if spans.iter().all(|s| s.is_sound()) { Ok(()) } else { malformed("a span of no elements") }
            }
        }
    }
}
