//! The last entries as they were applied: what copies elsewhere are brought up to date with.
//!
//! **Promise.** Played to a store that is where the tape begins, the tape makes it equal to this one.
//!
//! A tape is no part of the state. It is kept while somebody asks for it ([`Store::keep_tape`]), in memory, begins anew
//! with every start and with every checkpoint that is swapped in, and forgets its oldest entries when it is full.

use crate::store::Store;
use bytes::Bytes;
use dwcp_consensus::{Position, StateMachine as _};
use dwcp_env::ByteCount;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What was done at a place of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Taped {
    /// A command was applied.
    Command(Bytes),
    /// An entry without one was noted, perhaps with a new record of the engine's.
    Note(Option<Bytes>),
}

impl Taped {
    /// Bytes it counts as.
    #[must_use]
    pub fn len(&self) -> u64 {
        let body = match self {
            Self::Command(b) | Self::Note(Some(b)) => b.len(),
            Self::Note(None) => 0,
        };
        body as u64 + 16
    }
    /// Never: an entry takes its head.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

/// The last entries.
#[derive(Clone, Debug)]
pub struct Tape {
    entries: VecDeque<(Position, Taped)>,
    /// The place before the first.
    before: Option<Position>,
    bytes: u64,
    /// Bytes of all entries ever taped.
    total: u64,
    most: ByteCount,
}

impl Tape {
    const fn new(before: Option<Position>, most: ByteCount) -> Self {
        Self { entries: VecDeque::new(), before, bytes: 0, total: 0, most }
    }
    fn push(&mut self, at: Position, entry: Taped) {
        let len = entry.len();
        (self.bytes, self.total) = (self.bytes + len, self.total + len);
        self.entries.push_back((at, entry));
        while self.bytes > self.most.0 && self.entries.len() > 1 {
            if let Some((at, old)) = self.entries.pop_front() {
                self.bytes -= old.len();
                self.before = Some(at);
            }
        }
    }
    /// Bytes of all that was ever taped by this lifetime.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }
    /// The last place.
    #[must_use]
    pub fn end(&self) -> Option<Position> {
        self.entries.back().map(|(at, _)| *at).or(self.before)
    }
    /// What comes behind a place, about so many bytes of it (one entry at least, if there is one); `None` if the place is not
    /// on the tape: forgotten, not reached, or another entry's.
    #[must_use]
    pub fn behind(&self, at: Option<Position>, most: ByteCount) -> Option<Vec<(Position, Taped)>> {
        let first = if at == self.before {
            0
        } else {
            let at = at?;
            let place = self.entries.partition_point(|(p, _)| p.index < at.index);
            self.entries.get(place).filter(|(p, _)| *p == at)?;
            place + 1
        };
        let mut room = most.0;
        let mut out = Vec::new();
        for (at, entry) in self.entries.range(first..) {
            if !out.is_empty() && entry.len() > room {
                break;
            }
            room = room.saturating_sub(entry.len());
            out.push((*at, entry.clone()));
        }
        Some(out)
    }
}

impl Store {
    /// Begins a tape, of so many bytes at most, at the place the state is at.
    pub fn keep_tape(&mut self, most: ByteCount) {
        self.tape = Some(Tape::new(self.position(), most));
    }
    /// The tape, if one is kept.
    #[must_use]
    pub const fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }
    /// Does what was done elsewhere at the next place. What is not behind this state's place is passed over; tells whether it
    /// was done.
    pub fn play(&mut self, at: Position, entry: &Taped) -> bool {
        if self.position().is_some_and(|p| p.index >= at.index) {
            return false;
        }
        match entry {
            Taped::Command(command) => drop(self.apply(at, command)),
            Taped::Note(record) => self.note(at, record.clone()),
        }
        self.failure().is_none()
    }
    pub(crate) fn tape_entry(&mut self, at: Position, entry: impl FnOnce() -> Taped) {
        if let Some(tape) = &mut self.tape {
            tape.push(at, entry());
        }
    }
    pub(crate) fn restart_tape(&mut self) {
        if let Some(most) = self.tape.as_ref().map(|t| t.most) {
            self.keep_tape(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> Position {
        Position { term: index / 10 + 1, index }
    }

    fn note(n: usize) -> Taped {
        Taped::Note(Some(Bytes::from(vec![0; n])))
    }

    fn tape(most: u64, entries: u64) -> Tape {
        let mut tape = Tape::new(None, ByteCount(most));
        for index in 1..=entries {
            tape.push(at(index), note(84));
        }
        tape
    }

    #[test]
    fn what_comes_behind_a_place_is_given_if_the_place_is_known() {
        let tape = tape(1_000, 25);
        assert_eq!((tape.end(), tape.total()), (Some(at(25)), 2_500));
        let indices = |from, most| {
            let found = tape.behind(from, ByteCount(most))?;
            Some(found.into_iter().map(|(p, _)| p.index).collect::<Vec<_>>())
        };
        assert_eq!(indices(None, 9_999), None, "forgotten");
        assert_eq!(indices(Some(at(14)), 9_999), None, "forgotten");
        assert_eq!(indices(Some(at(15)), 250), Some(vec![16, 17]), "the place before the first");
        assert_eq!(indices(Some(at(23)), 1), Some(vec![24]), "one at least");
        assert_eq!(indices(Some(at(25)), 1), Some(vec![]));
        assert_eq!(indices(Some(at(26)), 1), None, "not reached");
        assert_eq!(indices(Some(Position { term: 9, index: 20 }), 1), None, "another entry of that index");
        let whole = self::tape(9_999, 3).behind(None, ByteCount(9_999));
        assert_eq!(whole.map(|w| w.len()), Some(3));
    }
}
