//! What a client asks for: typed changes at addresses. A space turns them into operations.

use crate::address::{Address, Kind};
use crate::dot::{Dot, ReplicaIndex};
use alloc::vec::Vec;
use thiserror::Error;

/// One change at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// Where.
    pub at: Address,
    /// What.
    pub change: Change,
}

impl Edit {
    /// This change at this place.
    #[must_use]
    pub const fn new(at: Address, change: Change) -> Self {
        Self { at, change }
    }
}

/// One change of one thing right under the root, in words that lie elsewhere: what most commands of clients come to. It does what its
/// [`Edit`] does; nothing is copied before it is written into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stroke<'a> {
    /// A new value of a LWW-Register.
    Write {
        /// Its name.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// More of a PN-Counter, or less.
    Count {
        /// Its name.
        key: &'a [u8],
        /// How much.
        by: i64,
    },
    /// An element into an OR-Set.
    Add {
        /// The set's name.
        key: &'a [u8],
        /// The element.
        element: &'a [u8],
    },
}

impl Stroke<'_> {
    /// The same as an edit.
    #[must_use]
    pub fn edit(&self) -> Edit {
        match *self {
            Self::Write { key, value } => {
                Edit::new(Address::key(Kind::Lww, key), Change::Write(value.to_vec()))
            }
            Self::Count { key, by } if by < 0 => {
                Edit::new(Address::key(Kind::PnCounter, key), Change::Decrease(by.unsigned_abs()))
            }
            Self::Count { key, by } => {
                Edit::new(Address::key(Kind::PnCounter, key), Change::Increase(by.unsigned_abs()))
            }
            Self::Add { key, element } => {
                Edit::new(Address::key(Kind::OrSet, key), Change::Add(element.to_vec()))
            }
        }
    }
}

/// A change. Each fits certain kinds only; what does not fit is refused and changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A register's new value, in place of all that are seen here.
    Write(Vec<u8>),
    /// More of a counter. On a bounded counter the new amount may be spent here.
    Increase(u64),
    /// Less of a PN or bounded counter; the latter only as far as this replica holds rights.
    Decrease(u64),
    /// Hands rights of a bounded counter to another replica.
    Transfer {
        /// Who gets them.
        to: ReplicaIndex,
        /// How many.
        amount: u64,
    },
    /// An element into a set.
    Add(Vec<u8>),
    /// An element out of an OR-Set or 2P-Set.
    Remove(Vec<u8>),
    /// Elements into a sequence, before a position.
    Insert {
        /// The position, at most the length.
        at: usize,
        /// The elements; one at least.
        values: Vec<Vec<u8>>,
    },
    /// The elements of a range of positions of a sequence go.
    Erase {
        /// The first.
        from: usize,
        /// How many.
        count: usize,
    },
    /// These elements of a sequence go; those that are gone are passed over.
    EraseNamed(Vec<Dot>),
    /// The element of a sequence goes, and another comes in its place.
    Replace {
        /// Its position, below the length.
        at: usize,
        /// The new one.
        value: Vec<u8>,
    },
    /// The values of this name are to go at this moment (milliseconds since 1970), by an operation of this replica.
    Expire(u64),
    /// All that is seen here goes, with everything below. What is written elsewhere at the same time stays,
    /// except in counters, which go as a whole (`docs/crdt.md`, "Counters").
    Delete,
}

/// Why an edit can't be done. Nothing of its transaction was done.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum EditFault {
    /// The change does not fit what lies there.
    #[error("{change} does not fit a {kind}")]
    Kind {
        /// The change's name.
        change: &'static str,
        /// What lies there.
        kind: &'static str,
    },
    /// A path, name or value beyond its limit.
    #[error("{what} of {size} is beyond the limit of {limit}")]
    Size {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A bounded counter's rights held here do not suffice.
    #[error("{wanted} wanted, {held} may be spent here: ask a replica that holds rights for a transfer")]
    Rights {
        /// What was asked.
        wanted: u64,
        /// What this replica holds.
        held: u64,
    },
    /// An element of a 2P-Set that was removed can't return.
    #[error("the element was removed from this 2P-Set and can't return; an OR-Set allows it")]
    Retired,
    /// A total would not fit 64 bits.
    #[error("the counter would overflow 64 bits")]
    Overflow,
    /// The receiver of rights has no place in the roster, or is this replica.
    #[error("rights can only go to another member of the roster")]
    Receiver,
    /// The position is not in the sequence.
    #[error("position {at} is beyond a sequence of {len}")]
    Beyond {
        /// The position.
        at: usize,
        /// The length.
        len: usize,
    },
    /// Nothing is to be inserted.
    #[error("an insertion of nothing")]
    Nothing,
}
