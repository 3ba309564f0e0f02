//! Operational transformation against a log that a server orders: clients edit a text or list by positions of the revision
//! they have seen, and get back what to do at the newest.
//!
//! **Promise.** Every client that applies what [`ServerLog::submit`] and [`ServerLog::since`] tell, in order, holds the server's content; an
//! edit keeps its meaning: what it inserts stands between what stood beside it, what it deletes is gone, once.
//!
//! **Method.** Eg-walker's (Gentle and Kleppmann, *Collaborative Text Editing with Eg-walker*, EuroSys 2025): positions are turned into names by replaying
//! the log up to the revision that the edit was made at, and back into positions at the newest one. Edits made at the newest revision, nearly
//! all, need no replay. The sequence is [`dwcp_crdt::rga`]. Transforming one edit against each other one, as classic OT does, costs the square of what
//! was concurrent: 61 minutes on a trace that replay does in milliseconds (`research/crdt-conflict.md` §2.3).
//!
//! **Invariants.** 1. A revision is a number of edits in the log. 2. `base` is the content at the log's beginning. 3. What `head` holds is
//! the log replayed on `base`.
//!
//! **Limits.** 4096 edits are kept ([`LOG_MAX`]); who is further behind fetches the content anew.

use alloc::vec::Vec;
use core::ops::Range;
use dwcp_crdt::rga::{Content, EditError, Op, Rga, SPANS_MAX};
use dwcp_crdt::{Dot, ReplicaIndex};

/// Edits that the log keeps.
pub const LOG_MAX: usize = 4096;
/// Elements are named after the one who orders.
const SERVER: ReplicaIndex = ReplicaIndex(0);

/// An edit by position: so many elements go from there on, these come in their place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch<C> {
    /// Where.
    pub at: usize,
    /// How many go.
    pub erase: usize,
    /// What comes.
    pub insert: C,
}

/// Why an edit was not taken. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotTaken {
    /// It was made at a revision that is not kept.
    #[error(
        "revision {asked} is not kept, {oldest} to {newest} are: fetch the content anew and make the edit there"
    )]
    Revision {
        /// The revision it was made at.
        asked: u64,
        /// The oldest that is kept.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// It does not fit the content at its revision.
    #[error("the edit does not fit revision {revision}: {fault}")]
    Edit {
        /// The revision.
        revision: u64,
        /// What does not fit.
        fault: EditError,
    },
}

/// What one submission came to.
#[derive(Clone, Debug)]
struct Entry<C> {
    ops: Vec<Op<C>>,
    /// By positions of the revision before it, last position first.
    patches: Vec<Patch<C>>,
}

/// The log and what it comes to.
#[derive(Clone, Debug)]
pub struct ServerLog<C> {
    base: Rga<C>,
    head: Rga<C>,
    /// Revision of `base`.
    first: u64,
    log: Vec<Entry<C>>,
    erasures: u64,
}

impl<C: Content> ServerLog<C> {
    /// A log that begins with this content.
    ///
    /// # Errors
    /// If it is larger than a sequence may be.
    pub fn new(content: &C::Slice) -> Result<Self, EditError> {
        let mut base = Rga::new();
        if C::count(content) > 0 {
            base.insert(base.next(SERVER), 0, content)?;
        }
        Ok(Self { head: base.clone(), base, first: 0, log: Vec::new(), erasures: 0 })
    }
    /// The newest revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.first + self.log.len() as u64
    }
    /// The content at the newest revision.
    #[must_use]
    pub fn content(&self) -> C {
        self.head.content()
    }
    /// Takes an edit that was made at a revision; tells what it is at the newest, last position first, for everyone to apply.
    ///
    /// # Errors
    /// If the revision is not kept, or the edit does not fit it.
    pub fn submit(&mut self, revision: u64, patch: &Patch<C>) -> Result<&[Patch<C>], NotTaken> {
        let newest = self.revision();
        let Some(behind) = newest.checked_sub(revision).filter(|_| revision >= self.first) else {
            return Err(NotTaken::Revision { asked: revision, oldest: self.first, newest });
        };
        let refused = |fault| NotTaken::Edit { revision, fault };
        // Names grow in the order of the log, also past those that this revision has not seen.
        let first = self.head.next(SERVER);
        let (ops, patches) = if behind == 0 {
            let ops = edit(&mut self.head, first, self.erasures, patch).map_err(refused)?;
            (ops, Vec::from([patch.clone()]))
        } else {
            let ops = edit(&mut self.at(revision), first, self.erasures, patch).map_err(refused)?;
            let patches = self.take(&ops);
            (ops, patches)
        };
        self.erasures += ops.iter().filter(|op| matches!(op, Op::Delete { .. })).count() as u64;
        self.log.push(Entry { ops, patches });
        if self.log.len() > LOG_MAX {
            self.forget(LOG_MAX / 2);
        }
        Ok(self.log.last().map_or(&[], |e| &e.patches))
    }
    /// What came after a revision, each edit by positions of the one before.
    ///
    /// # Errors
    /// If the revision is not kept.
    pub fn since(&self, revision: u64) -> Result<impl Iterator<Item = &Patch<C>>, NotTaken> {
        let newest = self.revision();
        if revision < self.first || revision > newest {
            return Err(NotTaken::Revision { asked: revision, oldest: self.first, newest });
        }
        Ok(self.log[(revision - self.first) as usize..].iter().flat_map(|e| &e.patches))
    }
    /// The state at a revision.
    fn at(&self, revision: u64) -> Rga<C> {
        let mut there = self.base.clone();
        for entry in &self.log[..(revision - self.first) as usize] {
            replay(&mut there, &entry.ops);
        }
        there
    }
    /// Applies operations to the newest revision; tells the positions they touch.
    fn take(&mut self, ops: &[Op<C>]) -> Vec<Patch<C>> {
        let mut patches = Vec::new();
        // Positions of what still lives; runs of them, from the end.
        let mut at: Vec<usize> = Vec::new();
        for op in ops {
            let Op::Delete { spans, .. } = op else { continue };
            for span in spans.iter() {
                let (replica, from) = (span.first.replica(), span.first.sequence());
                let names = (from..from + u64::from(span.len)).map(|s| Dot::new(replica, s));
                let live = |n: Dot| self.head.position(n).filter(|p| self.head.name_at(*p) == Some(n));
                at.extend(names.filter_map(live));
            }
        }
        at.sort_unstable();
        for run in runs(&at).into_iter().rev() {
            patches.push(Patch { at: run.start, erase: run.len(), insert: C::default() });
        }
        replay(&mut self.head, ops);
        for op in ops {
            if let Op::Insert { first, content, .. } = op
                && let Some(at) = self.head.position(*first)
            {
                patches.push(Patch { at, erase: 0, insert: content.clone() });
            }
        }
        patches
    }
    /// Drops the log's oldest edits.
    fn forget(&mut self, n: usize) {
        for entry in self.log.drain(..n) {
            replay(&mut self.base, &entry.ops);
        }
        self.first += n as u64;
    }
}

/// Makes an edit; the operations are what others apply, and each is one that they take: of a deletion of more than one may say there
/// are several, numbered on from `erased`. If it is refused nothing changed.
fn edit<C: Content>(
    on: &mut Rga<C>,
    first: Dot,
    erased: u64,
    patch: &Patch<C>,
) -> Result<Vec<Op<C>>, EditError> {
    let (len, n) = (on.len(), C::count(patch.insert.as_slice()));
    let end = patch.at.checked_add(patch.erase).filter(|end| *end <= len);
    let Some(end) = end else {
        return Err(EditError::Beyond { at: patch.at.saturating_add(patch.erase), len });
    };
    let mut ops = Vec::with_capacity(2);
    if n > 0 {
        // Behind what goes: what others put before it at the same time stays before what comes in its place.
        let hang = on.insert(first, end, patch.insert.as_slice())?;
        ops.push(Op::Insert { first, hang, content: patch.insert.clone() });
    }
    let (mut left, mut by) = (patch.erase, erased);
    while left > 0 {
        by += 1;
        let by = Dot::new(SERVER, by);
        let some = left.min(SPANS_MAX);
        let spans = on.delete(by, patch.at..patch.at + some)?;
        ops.push(Op::Delete { by, spans });
        left -= some;
    }
    Ok(ops)
}

/// Operations of the log, in its order: they were made on a copy of this, and are within what a sequence takes.
fn replay<C: Content>(on: &mut Rga<C>, ops: &[Op<C>]) {
    for op in ops {
        let applied = on.apply(op);
        debug_assert!(applied.is_ok(), "an operation of the log is not taken: {applied:?}");
    }
}

/// Ascending numbers as ranges.
fn runs(of: &[usize]) -> Vec<Range<usize>> {
    let runs = of.chunk_by(|a, b| a + 1 == *b);
    runs.filter_map(|r| Some(*r.first()?..*r.last()? + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn patch(at: usize, erase: usize, insert: &str) -> Patch<String> {
        Patch { at, erase, insert: insert.to_string() }
    }
    fn apply(text: &mut String, p: &Patch<String>) {
        let mut all: Vec<char> = text.chars().collect();
        all.splice(p.at..p.at + p.erase, p.insert.chars());
        *text = all.into_iter().collect();
    }

    #[test]
    fn edits_keep_their_meaning() {
        let mut log = ServerLog::<String>::new("the cat sat").unwrap();
        log.submit(0, &patch(4, 3, "dog")).unwrap();
        log.submit(0, &patch(11, 0, "!")).unwrap();
        assert_eq!(log.submit(0, &patch(4, 0, "big ")).unwrap(), [patch(4, 0, "big ")]);
        assert_eq!(
            log.submit(0, &patch(4, 4, "")).unwrap(),
            [patch(11, 1, "")],
            "of `cat ` the space was left"
        );
        assert_eq!(log.content(), "the big dogsat!");
        assert_eq!(
            log.submit(9, &patch(0, 0, "x")),
            Err(NotTaken::Revision { asked: 9, oldest: 0, newest: 4 })
        );
        let refused = log.submit(0, &patch(9, 9, "x")).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the edit does not fit revision 0: position 18 is beyond the end of a sequence of 11: read its length and try again"
        );
        assert_eq!(log.revision(), 4);
    }

    #[test]
    fn who_is_too_far_behind_is_told() {
        let mut log = ServerLog::<String>::new("").unwrap();
        for n in 0..=LOG_MAX {
            log.submit(n as u64, &patch(0, 0, "x")).unwrap();
        }
        let oldest = LOG_MAX as u64 / 2;
        assert!(
            matches!(log.submit(3, &patch(0, 0, "y")), Err(NotTaken::Revision { oldest: o, .. }) if o == oldest)
        );
        assert!(log.submit(oldest, &patch(1, 1, "y")).is_ok());
        assert!(log.since(oldest).unwrap().count() > LOG_MAX / 2);
    }

    proptest! {
        /// Clients that lag by any number of revisions, who apply what they are told, hold what the server holds.
        #[test]
        fn everyone_comes_to_the_servers_content(
            edits in prop::collection::vec((0u64..6, 0usize..40, 0usize..4, "[a-cä]{0,3}"), 1..40)
        ) {
            let start = "0123456789";
            let mut log = ServerLog::<String>::new(start).unwrap();
            let mut texts = Vec::from([start.to_string()]);
            for (behind, at, erase, insert) in edits {
                let revision = log.revision().saturating_sub(behind);
                let len = texts[revision as usize].chars().count();
                let at = at.min(len);
                let erase = erase.min(len - at);
                let told = log.submit(revision, &patch(at, erase, &insert)).unwrap().to_vec();
                let mut now = texts.last().unwrap().clone();
                told.iter().for_each(|p| apply(&mut now, p));
                prop_assert_eq!(&now, &log.content());
                if behind == 0 {
                    let mut plain = texts.last().unwrap().clone();
                    apply(&mut plain, &patch(at, erase, &insert));
                    prop_assert_eq!(&now, &plain, "at the newest revision an edit is what it says");
                }
                prop_assert!(now.contains(&insert));
                texts.push(now);
            }
            let mut late = texts[0].clone();
            log.since(0).unwrap().for_each(|p| apply(&mut late, p));
            prop_assert_eq!(late, log.content());
        }
    }
}
