//! What a plan asks of a store: if nothing that was read has changed, write.
//!
//! The shape is etcd's: compares on revisions, then puts and deletes, all at one revision or not at all.

use crate::key::{Key, Scope};
use alloc::vec::Vec;
use bytes::Bytes;

/// The most checks, and the most writes, of one transaction: etcd's bound on operations.
pub const OPS_MAX: usize = 128;

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// The key's last write was at this revision; zero: there is no such key.
    At(Key, i64),
    /// There is no key from the first up to the second.
    Empty(Key, Key),
    /// No key from the first up to the second was written after this revision.
    NoneSince(Key, Key, i64),
}

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Its value.
    Put(Key, Bytes),
    /// It goes.
    Delete(Key),
}

impl Write {
    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// All of it, or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transaction {
    /// In which store.
    pub scope: Scope,
    /// All must hold.
    pub checks: Vec<Check>,
    /// What is done then.
    pub writes: Vec<Write>,
    /// What the plan has read in other stores. It can't be checked at commit: it must have been read after all that is
    /// checked, so that there was a moment at which all of it was true ([`crate::work`] sees to it).
    pub rests_on: Vec<Key>,
}
