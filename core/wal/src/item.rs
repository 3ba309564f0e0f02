//! What is written for one record, and the state of a group that heads each segment.

use crate::format::{Kind, u32_at, u64_at};
use crate::record::Record;
use alloc::vec::Vec;
use bytes::Bytes;

/// A record as it waits to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    Record(Record),
    Healed,
    /// Written as the group's state: see [`crate::live::Live::written`].
    Suspect,
    Ended,
}

impl Item {
    /// Kind, term, index and payload as the format has them; of a state not its payload.
    pub(crate) fn parts(&self) -> (Kind, u64, u64, &[u8]) {
        match self {
            Self::Record(Record::Entry { index, term, payload }) => (Kind::Entry, *term, *index, payload),
            Self::Record(Record::Truncate { after: Some(after) }) => (Kind::Truncate, 1, *after, &[]),
            Self::Record(Record::Truncate { after: None }) => (Kind::Truncate, 0, 0, &[]),
            Self::Record(Record::Purge { term, index }) => (Kind::Purge, *term, *index, &[]),
            Self::Record(Record::Vote(payload)) => (Kind::Vote, 0, 0, payload),
            Self::Record(Record::Note(payload)) => (Kind::Note, 0, 0, payload),
            Self::Suspect => (Kind::State, 0, 0, &[]),
            Self::Healed => (Kind::Healed, 0, 0, &[]),
            Self::Ended => (Kind::Ended, 0, 0, &[]),
        }
    }
}

/// The `after` of a truncation, from its term and index fields.
pub(crate) const fn truncate_after(term: u64, index: u64) -> Option<u64> {
    if term == 0 { None } else { Some(index) }
}

/// All that is known of a group but its entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    pub(crate) vote: Option<Bytes>,
    pub(crate) note: Option<Bytes>,
    pub(crate) purged: Option<(u64, u64)>,
    /// The lowest index since there were entries; without `purged`, the log begins here.
    pub(crate) first: Option<u64>,
    /// The last index of the log; entries above it that come earlier are void.
    pub(crate) last: Option<u64>,
    pub(crate) vote_lost: bool,
    /// Acknowledged records may be lost without a trace.
    pub(crate) suspect: bool,
    /// Entries were lost, and perhaps not all repaired.
    pub(crate) holed: bool,
}

impl State {
    /// Takes note of an entry.
    pub(crate) fn extend(&mut self, index: u64) {
        self.first = Some(self.first.map_or(index, |first| first.min(index)));
        self.last = self.last.max(Some(index));
    }
    /// Takes note of a truncation.
    pub(crate) fn truncate(&mut self, after: Option<u64>) {
        self.first = self.first.filter(|first| Some(*first) <= after);
        self.last = self.last.min(after);
    }
    /// Takes note of a purge.
    pub(crate) fn purge(&mut self, term: u64, index: u64) {
        self.last = self.last.max(Some(index));
        if self.purged.is_none_or(|(_, i)| i <= index) {
            self.purged = Some((term, index));
        }
    }
    const HEAD: usize = 48;

    /// Flags, lengths of vote and note, zero (4 bytes each); term and index purged, last, keep
    /// first (8 each); vote; note.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let vote = self.vote.as_deref().unwrap_or_default();
        let note = self.note.as_deref().unwrap_or_default();
        let flags = [
            self.vote.is_some(),
            self.note.is_some(),
            self.purged.is_some(),
            self.last.is_some(),
            self.first.is_some(),
            self.vote_lost,
            self.suspect,
            self.holed,
        ];
        let flags = flags.iter().enumerate().fold(0, |f, (i, set)| f | u32::from(*set) << i);
        let mut out = Vec::with_capacity(Self::HEAD + vote.len() + note.len());
        for n in [flags, vote.len() as u32, note.len() as u32, 0] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        let (term, index) = self.purged.unwrap_or_default();
        for n in [term, index] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for n in [self.last, self.first] {
            out.extend_from_slice(&n.unwrap_or_default().to_le_bytes());
        }
        out.extend_from_slice(vote);
        out.extend_from_slice(note);
        out
    }
    /// The state in a payload that has been checked; `None` if its lengths do not fit.
    pub(crate) fn decode(payload: &Bytes) -> Option<Self> {
        if payload.len() < Self::HEAD {
            return None;
        }
        let flags = u32_at(payload, 0);
        let set = |i: u32| flags & (1 << i) != 0;
        let vote_end = Self::HEAD.checked_add(u32_at(payload, 4) as usize)?;
        let note_end = vote_end.checked_add(u32_at(payload, 8) as usize)?;
        if note_end != payload.len() {
            return None;
        }
        Some(Self {
            vote: set(0).then(|| payload.slice(Self::HEAD..vote_end)),
            note: set(1).then(|| payload.slice(vote_end..note_end)),
            purged: set(2).then(|| (u64_at(payload, 16), u64_at(payload, 24))),
            last: set(3).then(|| u64_at(payload, 32)),
            first: set(4).then(|| u64_at(payload, 40)),
            vote_lost: set(5),
            suspect: set(6),
            holed: set(7),
        })
    }
}
