//! Heads of a chain that were put where the chain's owner can't alter them alone: into consensus.
//!
//! **Promise.** Who makes a chain anew, or cuts off its end, contradicts a head that was promised before: [`Promised::against`] finds it, and between which records the first that
//! is another lies. The owner promises only what no crash can take back, a minute after the last time at the earliest: what is younger nothing guards yet.
//!
//! The last [`KEPT`] heads are kept, so that what is found lies between two of them and not anywhere.

use super::chain::{Chain, Head};
use alloc::vec::Vec;
use dwcp_crdt::code::{Malformed, Reader, Writer};

/// Heads that are kept of a chain.
pub const KEPT: usize = 32;
/// Between two promises, in milliseconds.
pub const EVERY: u64 = 60_000;
const VERSION: u8 = 1;

/// The heads of one chain that were promised, ascending, and when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Promised(Vec<(Head, u64)>);

/// What a chain is beside its promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// All that was promised is there, as far as it is left to compare; up to this record.
    Whole(u64),
    /// It has fewer records than were promised: they were cut off, or have not come yet.
    Short {
        /// How many it has.
        found: u64,
        /// How many were promised.
        promised: u64,
    },
    /// It is another: the first record that differs is behind the first of these and not behind the second.
    Differs {
        /// The last that is as promised.
        after: u64,
        /// The one whose promise it contradicts.
        upto: u64,
    },
}

impl Promised {
    /// Promises a head; the oldest is forgotten for it.
    pub fn add(&mut self, head: Head, now_millis: u64) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push((head, now_millis));
    }
    /// The last one, and when it was made, in milliseconds since 1970.
    #[must_use]
    pub fn last(&self) -> Option<(Head, u64)> {
        self.0.last().copied()
    }
    /// Whether a head is to be promised now. A calendar that was set back keeps nothing waiting for longer than from then on.
    #[must_use]
    pub fn is_due(&self, head: Head, now_millis: u64) -> bool {
        let rests = |at: u64| now_millis.abs_diff(at) < EVERY;
        head.sequence > self.last().map_or(0, |(h, _)| h.sequence)
            && !self.last().is_some_and(|(_, at)| rests(at))
    }
    /// What a chain is beside them.
    #[must_use]
    pub fn against(&self, chain: &Chain) -> Kept {
        let mut after = 0;
        for (head, _) in &self.0 {
            if head.sequence > chain.head().sequence {
                return Kept::Short { found: chain.head().sequence, promised: head.sequence };
            }
            match chain.check_at(head.sequence) {
                // Of what is gone altogether nothing is left to compare.
                None => {}
                Some(check) if check == head.check => after = head.sequence,
                Some(_) => return Kept::Differs { after, upto: head.sequence },
            }
        }
        Kept::Whole(after)
    }
    /// Their bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(VERSION);
        out.varint(self.0.len() as u64);
        for (head, at) in &self.0 {
            out.varint(head.sequence);
            out.raw(&head.check);
            out.varint(*at);
        }
        out.into_bytes()
    }
    /// Reads what [`Promised::to_bytes`] wrote.
    ///
    /// # Errors
    /// If the bytes are no promises, or do not ascend.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(from.malformed("promises of an unknown version"));
        }
        let mut out: Vec<(Head, u64)> = Vec::new();
        for _ in 0..from.count(KEPT)? {
            let sequence = from.varint()?;
            let mut check = [0; 32];
            check.copy_from_slice(from.raw(32)?);
            if out.last().is_some_and(|(h, _)| h.sequence >= sequence) {
                return Err(from.malformed("promises that do not ascend"));
            }
            out.push((Head { sequence, check }, from.varint()?));
        }
        if from.is_empty() { Ok(Self(out)) } else { Err(from.malformed("bytes behind promises")) }
    }
}
