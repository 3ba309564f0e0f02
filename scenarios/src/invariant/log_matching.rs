//! **Log matching** (Raft §5.3): if two logs contain an entry with the same index and term,
//! they are identical up to it.
//!
//! Seen from outside: the term of the entry at index I is the same on every node that has
//! applied it. A look shows the last entry applied, so that of entries applied together only
//! the last is compared; the hashes of [`super::state_machine_safety`] cover the rest.

use super::Look;

/// Terms of the last so many indices: nodes further apart than this are brought together by
/// snapshots, and compared at the end.
const WINDOW: u64 = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct LogMatching {
    /// Ring over the index: (index, term).
    terms: Vec<(u64, u64)>,
}

impl LogMatching {
    pub(super) fn look(&mut self, look: &Look) -> Option<String> {
        let at = look.applied?;
        let slot = (at.index % WINDOW) as usize;
        if self.terms.len() <= slot {
            self.terms.resize((slot + 1).next_power_of_two().min(WINDOW as usize), (0, 0));
        }
        let (index, term) = self.terms[slot];
        if index == at.index && term != at.term {
            return Some(format!(
                "{} has applied index {index} of term {}; another node had it of term {term}",
                look.node, at.term
            ));
        }
        if index < at.index {
            self.terms[slot] = (at.index, at.term);
        }
        None
    }
}
