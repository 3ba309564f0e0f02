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
//! Names change with the operations: number `last + n` of an ended place is number `n` of its node's next ([`Roster::renamed`]), for
//! everyone who reads the roster, from the eviction on. So what one evicted replica did to what another made is still done when both come
//! back, whichever is first. While the end of a place that they name is being decided, nothing is made anew: its names are not known. A number of
//! which the disk lost the operation is made anew as one that does nothing. A counter's totals are counted from the
//! shares that the ended places have in the present state. An element of a sequence hangs where it hung if what it hung on lives, else
//! where that stood: what is dead may be purged elsewhere. Rights that a tail hands over are left out: the heir has them.
//!
//! **Rejected**: making the clients' edits anew. A removal would take what others added since, a write would win over later ones, and what
//! a counter's totals were before the tail is no longer in the log.

use super::apply::totals;
use super::leaf::Name;
use super::{Rejected, Space};
use crate::address::{Kind, encode_path};
use crate::batch::Batch;
use crate::code::Writer;
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::op::{Action, Dots, Op};
use crate::planted::{self, Bug};
use crate::roster::{Begins, Standing};
use crate::splice::Splice;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use dwcp_env::NodeId;

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
        let mut end = 0;
        batches.retain(|b| {
            let adds = b.last().sequence() > end;
            end = end.max(b.last().sequence());
            adds
        });
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
        Piece { tail: self, from: self.last, to: self.end() }.steps().count()
    }
    fn end(&self) -> u64 {
        self.batches.iter().map(|b| b.last().sequence()).fold(self.last, u64::max)
    }
}

/// One operation to be made anew.
struct Step<'t> {
    hlc: Hlc,
    /// None if it is lost.
    op: Option<Op<'t>>,
}

/// Numbers `from + 1` to `to` of a tail.
struct Piece<'t> {
    tail: &'t Tail,
    from: u64,
    to: u64,
}

impl<'t> Piece<'t> {
    /// Its operations, without holes.
    fn steps(&self) -> impl Iterator<Item = Step<'t>> + use<'t> {
        let (mut at, to) = (self.from, self.to);
        let behind = |b: &&Batch| b.last().sequence() > at;
        let batches =
            self.tail.batches.iter().skip(self.tail.batches.iter().take_while(|b| !behind(b)).count());
        batches.flat_map(Batch::ops).flatten().flat_map(move |op| {
            let sequence = op.dot.sequence();
            let known = sequence <= at || sequence > to;
            let lost = if known { 0..0 } else { at + 1..sequence };
            let hlc = op.hlc;
            let width = op.last().sequence().saturating_sub(sequence) + 1;
            if !known {
                at = sequence + width - 1;
            }
            let lost = lost.map(move |_| Step { hlc, op: None });
            lost.chain((!known).then_some(Step { hlc, op: Some(op) }))
        })
    }
}

/// What a replica, of a node whose ended places were these, has still to make anew, having made `done` operations.
fn left<'t>(tails: &'t [Tail], ended: &[(ReplicaIndex, u64)], done: u64) -> VecDeque<Piece<'t>> {
    let mut queue = VecDeque::new();
    for (place, cut) in ended {
        let tail = tails.iter().find(|t| t.of == *place);
        // The first that each place made was what was left of those before it.
        drop_first(&mut queue, tail.map_or(*cut, Tail::end));
        if let Some(tail) = tail {
            queue.push_front(Piece { tail, from: *cut, to: tail.end().max(*cut) });
        }
    }
    drop_first(&mut queue, done);
    queue
}

fn drop_first(queue: &mut VecDeque<Piece<'_>>, mut made: u64) {
    while let Some(piece) = queue.front_mut() {
        let dropped = made.min(piece.to - piece.from);
        piece.from += dropped;
        made -= dropped;
        if piece.from < piece.to {
            break;
        }
        queue.pop_front();
    }
}

/// Whether an operation names one of that replica.
fn names(op: &Op<'_>, replica: ReplicaIndex) -> bool {
    let of = |d: &Dot| d.replica() == replica;
    op.supersedes.as_slice().iter().any(of)
        || match &op.action {
            Action::Count { instance, .. } | Action::Escrow { instance, .. } => of(instance),
            Action::Clear(Some(upto)) => upto.get(replica) > 0,
            Action::Splice { width, bytes } => {
                Splice::decode(op.dot, *width, bytes).is_ok_and(|s| s.spans.iter().any(|s| of(&s.first)))
            }
            _ => false,
        }
}

impl Space {
    /// What lies here of a place's operations beyond number `last`.
    #[must_use]
    pub fn tail_of(&self, of: ReplicaIndex, last: u64) -> Tail {
        let log = self.logs.get(usize::from(of.0));
        Tail::new(of, last, log.map(|l| l.after(last, u64::MAX, usize::MAX)).unwrap_or_default())
    }

    /// Makes up to about `most` operations of the tails anew, in whole transactions. `tails` are of this replica's former places, in
    /// their order. Whether all of them are made: nothing is before the end of each former place is decided, and of those that the tails name.
    ///
    /// # Errors
    /// This replica may not write now.
    pub fn write_anew(&mut self, tails: &[Tail], most: usize) -> Result<bool, Rejected> {
        self.may_write()?;
        self.open();
        if tails.iter().all(Tail::is_empty) {
            return Ok(true);
        }
        let me = self.me;
        let Some((node, ended)) = self.former_places(tails) else { return Ok(false) };
        let mut queue = left(tails, &ended, self.vv.get(me));
        let mut root = Writer::new();
        encode_path(Kind::Map, core::iter::empty(), &mut root);
        let mut made = 0;
        while let Some(piece) = queue.pop_front() {
            for step in piece.steps() {
                let ends = step.op.as_ref().is_none_or(|op| op.ends);
                self.make_anew(&step, node, root.as_slice());
                made += 1;
                if made >= most && ends {
                    return Ok(left(tails, &ended, self.vv.get(me)).is_empty());
                }
            }
        }
        Ok(true)
    }

    fn make_anew(&mut self, step: &Step<'_>, node: NodeId, root: &[u8]) {
        let dot = self.next_dot();
        let Some(old) = &step.op else { return self.make_op(&nothing(dot, step.hlc, root)) };
        let spliced = self.splice_anew(old, dot, |d| self.roster.renamed(d, Some(node)));
        let mut op = self.anew(old, dot, node);
        if let (Some(bytes), Action::Splice { width, .. }) = (&spliced, &old.action) {
            op.action = Action::Splice { width: *width, bytes };
        }
        self.make_op(&op);
    }

    /// This node, the places that it had before, and the last that counts of each; none if that is not decided yet, or what others' operations
    /// will be called is not.
    fn former_places(&self, tails: &[Tail]) -> Option<(NodeId, Vec<(ReplicaIndex, u64)>)> {
        let closing = self.roster.iter().filter(|(_, m)| m.standing == Standing::Closing);
        let closing: Vec<ReplicaIndex> = closing.map(|(r, _)| r).collect();
        let ops = || tails.iter().flat_map(|t| t.batches.iter().flat_map(Batch::ops).flatten());
        if !closing.is_empty() && ops().any(|op| closing.iter().any(|r| names(&op, *r))) {
            return None;
        }
        let node = self.roster.get(self.me)?.node;
        let former = self.roster.iter().filter(|(r, m)| *r < self.me && m.node == node);
        let lasts = former.map(|(r, m)| match (self.roster.next_place(r).map(|m| m.begins), m.standing) {
            (Some(Begins::Beyond(cut)), Standing::Evicted { .. }) => Some((r, cut)),
            (_, Standing::Evicted { last, .. }) => Some((r, last)),
            _ => None,
        });
        Some((node, lasts.collect::<Option<_>>()?))
    }

    fn make_op(&mut self, op: &Op<'_>) {
        self.apply(op);
        self.log(self.me).push(op);
        self.clock.resume(op.hlc);
    }

    /// The operation under its new name, what it names by today's names.
    fn anew<'o>(&self, old: &Op<'o>, dot: Dot, by: NodeId) -> Op<'o> {
        let mut op = self.renamed(old, Some(by));
        op.dot = dot;
        match &mut op.action {
            Action::Count { instance, plus, minus } => {
                (*plus, *minus) = self.beyond_shares(old, dot, *instance, (*plus, *minus));
            }
            Action::Escrow { instance, granted, spent, transfers } => {
                (*granted, *spent) = self.beyond_shares(old, dot, *instance, (*granted, *spent));
                transfers.clear();
            }
            _ => {}
        }
        op
    }

    /// A counter's running totals without what the shares of this node's ended places hold of them. Nothing if the counter was removed: what these
    /// shares held is gone with it, and where the removal has not come the whole totals would count again.
    fn beyond_shares(&self, op: &Op<'_>, dot: Dot, of: Dot, all: (u64, u64)) -> (u64, u64) {
        let name = Name::new(op.name);
        let node = self.roster.get(self.me).map(|m| m.node);
        let ended = |r: ReplicaIndex| {
            (op.dot.replica()..self.me).contains(&r) && self.roster.get(r).map(|m| m.node) == node
        };
        let id = self.tree.find(op.container);
        let named = id.into_iter().flat_map(|id| self.tree.container(id).table.named(name));
        let shares = named.filter(|e| e.tag == op.kind as u8 && self.instance(e.body) == Some(of));
        let (mut left, mut known) = (all, false);
        for e in shares {
            known = true;
            if ended(Dot::from_bits(e.dot).replica()) && !planted::is(Bug::WholeTotals) {
                let (plus, minus) = totals(e.body);
                left = (left.0.saturating_sub(plus), left.1.saturating_sub(minus));
            }
        }
        let lives = !self.is_removed(op, of) && (known || of == dot || !self.vv.contains(of));
        if lives { left } else { (0, 0) }
    }
}

/// An operation in the place of one that is lost.
fn nothing<'r>(dot: Dot, hlc: Hlc, root: &'r [u8]) -> Op<'r> {
    Op {
        dot,
        hlc,
        ends: true,
        container: root,
        container_kind: Kind::Map,
        name: &[],
        kind: Kind::Lww,
        supersedes: Dots::None,
        action: Action::Remove,
    }
}
