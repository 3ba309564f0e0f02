//! How large the operations of edits get, before they are made: a caller with a bound can refuse what would not fit.
//!
//! What an edit carries is in the edit. What its operation names of the state (the values it supersedes, the version that a
//! deletion carries) is not: it is bounded roughly by the number of places in the roster, and where that is too much, counted.

use super::Space;
use super::apply::handed;
use super::mutate::{NAMED_MAX, Place};
use crate::address::Kind;
use crate::dot::Dot;
use crate::edit::{Change, Edit};
use alloc::vec::Vec;

/// Of a batch, besides its operations.
const BATCH_BYTES: usize = 48;
/// A dot that is named, or an entry of a version.
const DOT_BYTES: usize = 10;
/// What a replica handed to another.
const HANDED_BYTES: usize = 13;
/// An operation's head, its kinds and counts.
const OP_BYTES: usize = 12;
/// The length before a name or an element.
const LENGTH_BYTES: usize = 3;
/// A counter's instance and totals.
const TOTALS_BYTES: usize = 30;
/// A row of elements of a sequence that go.
const SPAN_BYTES: usize = 14;

impl Space {
    /// Bytes of the batch that these edits become, from above. It is looked at more closely if it seems to be over `within`.
    #[must_use]
    pub fn weigh(&self, edits: &[Edit], within: usize) -> usize {
        let carried: usize = BATCH_BYTES + edits.iter().map(carries).sum::<usize>();
        let most = carried + edits.iter().map(|e| self.names_at_most(e)).sum::<usize>();
        if most <= within {
            return most;
        }
        carried + edits.iter().map(|e| self.names_bytes(e)).sum::<usize>()
    }
    /// Bytes of what an edit's operation names, if every place has written there.
    fn names_at_most(&self, edit: &Edit) -> usize {
        let places = self.roster.len();
        match edit.change {
            Change::Delete if edit.at.kind == Kind::Sequence => self.names_bytes(edit),
            Change::Delete if edit.at.kind.is_container() => DOT_BYTES * (NAMED_MAX + places) + LENGTH_BYTES,
            _ if edit.at.kind == Kind::Sequence => 0,
            _ if edit.at.kind == Kind::Bounded => HANDED_BYTES * places,
            _ => DOT_BYTES * places,
        }
    }
    /// The same, counted.
    fn names_bytes(&self, edit: &Edit) -> usize {
        let at = &edit.at;
        if let (Change::Delete, Some(shown)) = (&edit.change, self.shown_beside_others(at)) {
            return SPAN_BYTES * rows(shown) + LENGTH_BYTES;
        }
        let dots = match &edit.change {
            Change::Delete if at.kind.is_container() => {
                let Some(top) = self.tree.find_names(at.kind, at.names.iter().map(Vec::as_slice)) else {
                    return 0;
                };
                let (named, upto) = self.cleared(top);
                named.len() + upto.map_or(0, |v| v.iter().count())
            }
            Change::Write(_) | Change::Expire(_) | Change::Delete => {
                let kind = if matches!(edit.change, Change::Expire(_)) { Kind::Deadline } else { at.kind };
                self.seen(&Place::member(at, kind)).dots.as_slice().len()
            }
            Change::Add(e) | Change::Remove(e) => self.seen(&Place::element(at, e)).dots.as_slice().len(),
            _ if at.kind == Kind::Bounded => {
                let mine = self.counter_entries(at).into_iter().filter(|(dot, _)| dot.replica() == self.me);
                return HANDED_BYTES * mine.map(|(_, body)| handed(&body).len()).max().unwrap_or(0);
            }
            _ => 0,
        };
        DOT_BYTES * dots + LENGTH_BYTES
    }
}

/// Bytes of an edit's operation, but for what it names of the state.
fn carries(edit: &Edit) -> usize {
    let names: usize = edit.at.names.iter().map(|n| n.len() + LENGTH_BYTES).sum();
    let change = match &edit.change {
        Change::Write(b) | Change::Add(b) | Change::Remove(b) => b.len() + 1 + LENGTH_BYTES,
        Change::Increase(_) | Change::Decrease(_) => TOTALS_BYTES,
        Change::Transfer { .. } => TOTALS_BYTES + HANDED_BYTES,
        Change::Expire(_) => 9,
        Change::Replace { value, .. } => value.len() + 64,
        Change::Insert { values, .. } => 64 + values.iter().map(|v| v.len() + 4).sum::<usize>(),
        Change::EraseNamed(names) => 32 + SPAN_BYTES * spans(names),
        Change::Erase { count, .. } => 32 + SPAN_BYTES * count,
        Change::Delete => 1,
    };
    OP_BYTES + names + change
}

/// In how many rows these names lie.
fn spans(names: &[Dot]) -> usize {
    rows(names.iter().map(|n| n.bits()).collect())
}

fn rows(mut names: Vec<u64>) -> usize {
    names.sort_unstable();
    names.chunk_by(|a, b| a + 1 == *b).count()
}
