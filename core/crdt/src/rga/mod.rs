//! A sequence that many replicas edit at once: text, and lists of opaque values.
//!
//! **Promise.** Replicas that received the same operations, in whatever order (each replica's own in its order),
//! hold the same sequence. What one replica typed in a row stays in a row, typed forward or backward. An
//! edit costs the same in a long document as in a short one.
//!
//! **Source.** The order is Fugue's: Weidner and Kleppmann, *The Art of the Fugue: Minimizing Interleaving
//! in Collaborative Text Editing* (IEEE TPDS 2025). The name of the type is of Roh et al., *Replicated abstract
//! data types* (2011), whose RGA mixes up what two replicas type backward. Runs and a B-tree
//! instead of a list are Yjs's and diamond-types' idea. Ours: an operation names one origin, and none that
//! was dead for long ([`order`]), so that it can be purged; the list alone is kept, no tree of elements.
//!
//! **Model.** Each element has a *name*, a [`Dot`]: replica and sequence. It hangs on its
//! *origin*, left or right of it, for ever. The document is the tree of elements read in order; siblings by name.
//! A deleted element is *dead*: its content goes at once, its name stays while others may hang on it.
//!
//! | operation | carries | is |
//! |---|---|---|
//! | insert | first name, origin, side, elements | one run: names count up, each hangs right of the one before |
//! | delete | its own dot, spans of names | idempotent; of two that delete one element either may come first |
//!
//! **Names.** An insertion of `n` elements takes `n` consecutive names, so that what is typed in a row is one run
//! of 24 bytes. The caller gives the first: in a space, take `n` consecutive dots for it; or count per sequence
//! ([`Rga::next`]) and let the operation have the one dot of any mutation. Both work, because only order and
//! uniqueness matter here. (dot, offset) pairs were rejected: they are half as wide again, and a run typed in
//! several operations would not join. Whoever counts per sequence must never count anew in a sequence that was
//! dropped and came back: two elements of one name break every replica.
//!
//! **Invariants.** (Those of the tree are in [`tree`].)
//!
//! 1. [`Rga::seen`] covers every name in the tree or parked; a replica's names only grow.
//! 2. A name that is seen, not parked and not in the tree was dead and is purged.
//! 3. No operation names as origin a dead element that its maker had retired ([`Rga::retire`]).
//! 4. What is parked waits for a name that is not in the tree.
//! 5. Equal operations received, equal [`Rga::fingerprint`], purged or not. Equal [`Rga::encode`] only if the
//!    same was purged.
//!
//! **Limits.** 2³² − 1 live elements; 2²⁴ elements an insertion; 2²⁰ elements parked ([`PARKED_MAX`]).
//!
//! **Rejected.** Two origins an operation (Yjs): wider, and the second only saves a climb. A rope
//! beside the tree of runs (diamond-types): two descents an edit. Storing children of elements: half the memory, for
//! a question that climbing answers. Collapsing the stable prefix into new names: saves the skeleton of dead
//! elements that live ones hang on, and needs a map of old names; see `docs/sequences.md`.
//!
//! **Left to others.** Order of one replica's operations, dots, stability, who may write: the space.
//!
//! Read [`order`], then [`tree`], `apply`, `purge`, `delta`.

mod apply;
mod build;
mod codec;
mod content;
mod contract;
mod delta;
mod fingerprint;
mod held;
mod index;
mod item;
mod join;
mod load;
mod op;
mod order;
pub mod planted;
mod purge;
mod split;
mod tree;

pub use apply::PARKED_MAX;
pub use content::Content;
pub use delta::Delta;
pub(crate) use held::{Element, NO_ELEMENT, Turn, item};
pub use item::Item;
pub use op::{Applied, EditError, Hang, INSERT_MAX, Op, Refused, SPANS_MAX, Side, Span, Spans};
pub use purge::Purged;

use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::version::VersionVector;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use order::Origin;
use tree::{Place, ROOT, Run, Tree};

/// Text: positions count characters.
pub type Text = Rga<String>;
/// A list of opaque values.
pub type List = Rga<Vec<Item>>;

/// A replica's state of a sequence.
#[derive(Clone, Debug)]
pub struct Rga<C> {
    tree: Tree<C>,
    /// The names that were ever received, per replica.
    seen: VersionVector,
    /// The deletions that were ever received, per replica the last.
    deleted: VersionVector,
    parked: apply::Parked<C>,
    epochs: purge::Epochs,
}

impl<C: Content> Default for Rga<C> {
    fn default() -> Self {
        Self {
            tree: Tree::default(),
            seen: VersionVector::new(),
            deleted: VersionVector::new(),
            parked: apply::Parked::default(),
            epochs: purge::Epochs::default(),
        }
    }
}

/// Equal if they hold the same elements, live and dead, and wait for the same.
impl<C: Content> PartialEq for Rga<C> {
    fn eq(&self, other: &Self) -> bool {
        self.delta() == other.delta()
    }
}
impl<C: Content> Eq for Rga<C> {}

impl From<Hang> for Origin {
    fn from(hang: Hang) -> Self {
        Self { name: hang.origin.map_or(ROOT, Dot::bits), left: hang.side == Side::Left }
    }
}
impl From<Origin> for Hang {
    fn from(origin: Origin) -> Self {
        Self {
            origin: (origin.name != ROOT).then(|| Dot::from_bits(origin.name)),
            side: if origin.left { Side::Left } else { Side::Right },
        }
    }
}

impl<C: Content> Rga<C> {
    /// An empty sequence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// How many live elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tree.live() as usize
    }
    /// Whether there is no live element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Runs in memory, live and dead: what the state costs besides its content, at 24 bytes each.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.tree.leaves_in_order().map(|leaf| leaf.runs.len()).sum()
    }
    /// Dead elements that are still kept.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.tree.leaves_in_order().flat_map(|l| &l.runs).map(|r| u64::from(r.len - r.live())).sum()
    }
    /// The names that were received, per replica.
    #[must_use]
    pub const fn seen(&self) -> &VersionVector {
        &self.seen
    }
    /// The deletions that were received, per replica the last.
    #[must_use]
    pub const fn deleted(&self) -> &VersionVector {
        &self.deleted
    }
    /// The first name `replica` has not used here.
    #[must_use]
    pub fn next(&self, replica: ReplicaIndex) -> Dot {
        Dot::new(replica, self.seen.get(replica) + 1)
    }

    /// Inserts `content` before position `at` under the names from `first` on. The answer, with `first`
    /// and the content, is the operation to send ([`Op::Insert`]).
    ///
    /// # Errors
    /// If `at` is beyond the end, a name is not new, or it is too much or nothing.
    pub fn insert(&mut self, first: Dot, at: usize, content: &C::Slice) -> Result<Hang, EditError> {
        let len = self.len();
        if at > len {
            return Err(EditError::Beyond { at, len });
        }
        let n = C::count(content);
        if n == 0 {
            return Err(EditError::Nothing);
        }
        if n > INSERT_MAX || len + n >= u32::MAX as usize {
            return Err(EditError::TooMany { n });
        }
        let last = first.sequence() + (n as u64 - 1);
        if first.sequence() <= self.seen.get(first.replica()) || last > SEQUENCE_MAX {
            return Err(EditError::Reused { first });
        }
        let left = if at > 0 {
            Some(self.tree.move_to(at as u32 - 1))
        } else {
            self.tree.lift_cursor();
            None
        };
        let may = |run: &Run| self.epochs.may_name(run);
        let (origin, place) = self.tree.origin_at(first.bits(), left, Some(may));
        self.graft(place, origin, first.bits(), content, n);
        self.seen.raise(first.replica(), last);
        Ok(origin.into())
    }

    /// Deletes the elements of a range of positions, as the operation `by`. The answer, with `by`, is the
    /// operation to send ([`Op::Delete`]); it is empty if the range is.
    ///
    /// # Errors
    /// If the range ends beyond the end.
    pub fn delete(&mut self, by: Dot, range: Range<usize>) -> Result<Spans, EditError> {
        let len = self.len();
        if range.end > len || range.start > range.end {
            return Err(EditError::Beyond { at: range.end.max(range.start), len });
        }
        let mut spans = Spans::default();
        let mut left = (range.end - range.start) as u32;
        if left == 0 {
            return Ok(spans);
        }
        let death = self.epochs.fresh();
        while left > 0 {
            let place = self.tree.move_to(range.start as u32);
            let first = self.tree.run(place.leaf, place.run).first + u64::from(place.k);
            let n = self.tree.kill(place, left, death);
            spans.push(Span { first: Dot::from_bits(first), len: n });
            left -= n;
        }
        self.deleted.raise(by.replica(), by.sequence());
        Ok(spans)
    }

    /// Puts a new run at its place, joined to the run before if it continues it.
    fn graft(&mut self, place: Place, origin: Origin, first: u64, content: &C::Slice, n: usize) {
        let place = self.tree.cut(place);
        self.mark_origin(place, origin);
        let take = n.min(C::LEAF / 2);
        let (piece, mut rest) = if take == n { (content, content) } else { C::cut(content, take) };
        let run = Run::new(first, origin.name, origin.left, take as u32);
        let before = place.run.checked_sub(1).map(|r| (r, self.tree.run(place.leaf, r)));
        match before {
            Some((r, b)) if !b.is_dead() && b.continued_by(&run) => {
                self.tree.extend(place.leaf, r, piece, take as u32);
            }
            _ => {
                self.tree.put(place, run, piece);
            }
        }
        let mut done = take;
        while done < n {
            let take = (n - done).min(C::LEAF / 2);
            let (piece, more) = C::cut(rest, take);
            rest = more;
            self.tree.extend_after(first + done as u64 - 1, piece, take as u32);
            done += take;
        }
    }

    /// Says of the origin behind a place, which gets its first left child, that it has one.
    fn mark_origin(&mut self, place: Place, origin: Origin) {
        // Siblings that are there have marked it already.
        if origin.left
            && let Some((leaf, run)) = self.tree.at_or_next(place)
            && self.tree.run(leaf, run).first == origin.name
        {
            self.tree.mark_left(Place { leaf, run, k: 0 });
        }
    }

    /// The live elements in order, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &C::Slice> {
        self.tree.leaves_in_order().filter(|leaf| leaf.live > 0).map(|leaf| leaf.content.as_slice())
    }
    /// All live elements, in one.
    #[must_use]
    pub fn content(&self) -> C {
        let mut all = C::default();
        for piece in self.pieces() {
            all.push(piece);
        }
        all
    }
    /// The live elements of a range of positions, cut to the sequence's end.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> C {
        let end = range.end.min(self.len());
        let mut at = range.start;
        let mut out = C::default();
        while at < end {
            let place = self.tree.seek(at as u32);
            let leaf = self.tree.leaf(place.leaf);
            let off = self.tree.offset_in_leaf(place) as usize;
            let n = (end - at).min(leaf.live as usize - off);
            out.push(leaf.content.slice(off, n, leaf.live as usize));
            at += n;
        }
        out
    }
    /// The name of the live element at a position.
    #[must_use]
    pub fn name_at(&self, at: usize) -> Option<Dot> {
        (at < self.len()).then(|| Dot::from_bits(self.tree.name_at(at as u32)))
    }
    /// The position of an element: where it is, or, if it is dead but kept, where it would be.
    #[must_use]
    pub fn position(&self, name: Dot) -> Option<usize> {
        self.tree.find(name.bits()).map(|place| self.tree.position(place) as usize)
    }
}
