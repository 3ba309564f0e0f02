//! What a replica wrote at places that ended, under the names of the place it has now.
//!
//! **Promise.** Operations that nobody had taken when their maker was evicted are made anew, each once: at the same place, with the
//! same time, superseding the same. A removal takes no more than it took, an older write does not win over a younger one, an
//! increment counts once.
//!
//! **Model.** The operations of an ended place beyond the last that counts are its *tail*. The first operations of the replica's next place
//! are the tail's, in order, and nothing else is written there before. So the version vector says how far that has come: a crash
//! on the way loses nothing and does nothing twice, without a record of its own. If the next place ends before that is done, its own tail
//! comes first at the place after it, and then what was left.
//!
//! Names change with the operations: a dot of a tail stands for the dot that its operation has now. A counter's totals are counted from the
//! shares that the ended places have in the present state. An element of a sequence hangs where it hung if what it hung on lives, else
//! where that stood: what is dead may be purged elsewhere. Rights that a tail hands over are left out: the heir has them.
//!
//! **Rejected**: making the clients' edits anew. A removal would take what others added since, a write would win over later ones, and what
//! a counter's totals were before the tail is no longer in the log.

use super::apply::totals;
use super::leaf::Name;
use super::tree::instance;
use super::{Rejected, Space};
use crate::batch::Batch;
use crate::dot::{Dot, ReplicaIndex};
use crate::op::{Action, Dots, Op};
use crate::version::VersionVector;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Operations of an ended place beyond the last that counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tail {
    of: ReplicaIndex,
    last: u64,
    batches: Vec<Batch>,
}

impl Tail {
    /// What of these batches lies beyond operation number `last` of a place. They may overlap.
    #[must_use]
    pub fn new(of: ReplicaIndex, last: u64, batches: impl IntoIterator<Item = Batch>) -> Self {
        let beyond = |b: &Batch| b.replica() == of && b.last().sequence() > last;
        let mut batches: Vec<Batch> = batches.into_iter().filter(beyond).collect();
        batches.sort_by_key(|b| (b.first(), core::cmp::Reverse(b.last())));
        Self { of, last, batches }
    }
    /// Whose it is.
    #[must_use]
    pub const fn of(&self) -> ReplicaIndex {
        self.of
    }
    /// Whether nothing is left to be made anew.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
    /// The batches, in order.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }
    /// How many operations it holds.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ops().len()
    }
    fn end(&self) -> u64 {
        self.batches.iter().map(|b| b.last().sequence()).fold(self.last, u64::max)
    }
    fn ops(&self) -> Vec<Op<'_>> {
        let mut end = self.last;
        let mut out = Vec::new();
        for op in self.batches.iter().flat_map(Batch::ops).flatten() {
            if op.dot.sequence() > end {
                end = op.last().sequence();
                out.push(op);
            }
        }
        out
    }
}

/// What is to be made anew, and what the names of before stand for now.
#[derive(Default)]
struct Plan<'t> {
    /// With the number of its tail.
    queue: VecDeque<(usize, Op<'t>)>,
    /// From an operation's first dot: how many it takes, and the first of them now.
    names: BTreeMap<Dot, (u64, Dot)>,
}

impl<'t> Plan<'t> {
    /// For a replica at `me` that has made `done` operations there. Tails in the order of their places.
    fn new(tails: &'t [Tail], me: ReplicaIndex, done: u64) -> Self {
        let mut plan = Self::default();
        for (i, tail) in tails.iter().enumerate() {
            plan.made(tail.of, tail.end());
            for op in tail.ops().into_iter().rev() {
                plan.queue.push_front((i, op));
            }
        }
        plan.made(me, done);
        plan
    }
    /// The first operations of a place, `done` of them in all, were those that stand here.
    fn made(&mut self, place: ReplicaIndex, done: u64) {
        let mut next = 1;
        while let Some((_, op)) = self.queue.front() {
            let width = width(op);
            if next + width - 1 > done {
                break;
            }
            self.names.insert(op.dot, (width, Dot::new(place, next)));
            next += width;
            self.queue.pop_front();
        }
    }
    /// What a dot is called now.
    fn now(&self, mut d: Dot) -> Dot {
        while let Some((first, (width, now))) = self.names.range(..=d).next_back()
            && first.replica() == d.replica()
            && d.sequence() - first.sequence() < *width
        {
            d = Dot::new(now.replica(), now.sequence() + (d.sequence() - first.sequence()));
        }
        d
    }
}

/// Dots an operation takes.
fn width(op: &Op<'_>) -> u64 {
    op.last().sequence() - op.dot.sequence() + 1
}

impl Space {
    /// What lies here of a place's operations beyond number `last`.
    #[must_use]
    pub fn tail_of(&self, of: ReplicaIndex, last: u64) -> Tail {
        let log = self.logs.get(usize::from(of.0));
        Tail::new(of, last, log.map(|l| l.after(last, u64::MAX, usize::MAX)).unwrap_or_default())
    }

    /// Makes up to about `most` operations of the tails anew, in whole transactions. `tails` are of all of this replica's former places,
    /// in their order. Whether all of them are made.
    ///
    /// # Errors
    /// This replica may not write now.
    pub fn write_anew(&mut self, tails: &[Tail], most: usize) -> Result<bool, Rejected> {
        self.may_write()?;
        self.open();
        let me = self.me;
        let mut plan = Plan::new(tails, me, self.vv.get(me));
        let mut made = 0;
        while let Some((tail, old)) = plan.queue.pop_front() {
            let dot = self.next_dot();
            let spliced = self.splice_anew(&old, dot, |d| plan.now(d));
            let mut op = self.renamed(&plan, &tails[tail..], &old, dot);
            if let (Some(bytes), Action::Splice { width, .. }) = (&spliced, &old.action) {
                op.action = Action::Splice { width: *width, bytes };
            }
            plan.names.insert(old.dot, (width(&old), dot));
            self.apply(&op);
            self.log(me).push(&op);
            self.clock.resume(op.hlc);
            made += 1;
            if made >= most && op.ends {
                break;
            }
        }
        Ok(plan.queue.is_empty())
    }

    /// The operation under its new name. `tails`: its own, and those of later places.
    fn renamed<'o>(&self, plan: &Plan<'_>, tails: &[Tail], op: &Op<'o>, dot: Dot) -> Op<'o> {
        let action = match &op.action {
            Action::Count { instance, plus, minus } => {
                let instance = plan.now(*instance);
                let (plus, minus) = self.beyond_shares(op, instance, tails, (*plus, *minus));
                Action::Count { instance: of(instance, op, dot), plus, minus }
            }
            Action::Escrow { instance, granted, spent, .. } => {
                let instance = plan.now(*instance);
                let (granted, spent) = self.beyond_shares(op, instance, tails, (*granted, *spent));
                Action::Escrow { instance: of(instance, op, dot), granted, spent, transfers: Vec::new() }
            }
            Action::Clear(Some(upto)) => Action::Clear(Some(known(upto, tails, dot))),
            other => other.clone(),
        };
        let supersedes = op.supersedes.as_slice().iter().map(|d| plan.now(*d)).collect();
        Op { dot, supersedes: Dots::new(supersedes), action, ..op.clone() }
    }

    /// A counter's running totals without what the ended places' shares hold of them.
    fn beyond_shares(&self, op: &Op<'_>, of: Dot, tails: &[Tail], all: (u64, u64)) -> (u64, u64) {
        let Some(id) = self.tree.find(op.container) else { return all };
        let name = Name::new(op.name);
        let here = self.tree.container(id).table.named(name);
        let ended = |d: u64| tails.iter().any(|t| t.of == Dot::from_bits(d).replica());
        here.filter(|e| e.tag == op.kind as u8 && instance(e.body) == Some(of) && ended(e.dot)).fold(
            all,
            |sum, e| {
                let (plus, minus) = totals(e.body);
                (sum.0.saturating_sub(plus), sum.1.saturating_sub(minus))
            },
        )
    }
}

/// The counter that an operation creates is named by the operation itself.
fn of(instance: Dot, old: &Op<'_>, dot: Dot) -> Dot {
    if instance == old.dot { dot } else { instance }
}

/// What the maker of a deletion knew, in today's names: of its ended places what counts, and all that was made of their tails before.
fn known(upto: &VersionVector, tails: &[Tail], dot: Dot) -> VersionVector {
    let mut out = VersionVector::new();
    for (r, sequence) in upto.iter() {
        let counts = tails.iter().find(|t| t.of == r).map_or(sequence, |t| sequence.min(t.last));
        out.raise(r, counts);
    }
    for later in tails.iter().skip(1) {
        out.raise(later.of, later.last);
    }
    out.raise(dot.replica(), dot.sequence() - 1);
    out
}
