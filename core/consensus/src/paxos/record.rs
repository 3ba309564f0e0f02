//! What must outlive a crash, and the mark of a checkpoint.

use super::log::Run;
use super::message::Ballot;
use crate::step::Corrupt;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What must outlive a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Record {
    /// Nothing below this ballot will be accepted.
    Promised(Ballot),
    /// A run was accepted, which promises its ballot too. All up to `decided` was decided then, and its
    /// values are in earlier records.
    Accepted {
        /// What.
        run: Run,
        /// How much was decided.
        decided: u64,
    },
    /// Decided values told by a peer. All before the first was decided then, and its values are in earlier
    /// records.
    Chosen(Vec<Run>),
    /// Everything up to `mark` lies in a durable checkpoint; values held there before mean nothing.
    Base(Mark),
}

/// How far a checkpoint goes: sixteen bytes, two big-endian numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// All up to this slot.
    pub index: u64,
    /// The slot of the first seal in it; 0 if there is none.
    pub sealed: u64,
}

impl Mark {
    /// As bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut out = Vec::with_capacity(16);
        out.extend_from_slice(&self.index.to_be_bytes());
        out.extend_from_slice(&self.sealed.to_be_bytes());
        out.into()
    }
    /// From bytes.
    ///
    /// # Errors
    /// If no member encoded them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let (index, sealed) = bytes.split_at_checked(8).ok_or(Corrupt("a mark is sixteen bytes"))?;
        let number = |b: &[u8]| b.try_into().map(u64::from_be_bytes);
        let (Ok(index), Ok(sealed)) = (number(index), number(sealed)) else {
            return Err(Corrupt("a mark is sixteen bytes"));
        };
        if sealed > index || index >= super::config::SLOT_MAX {
            return Err(Corrupt("a mark names a seal behind its end, or a slot that can't be"));
        }
        Ok(Self { index, sealed })
    }
}
