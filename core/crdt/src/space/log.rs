//! The operations that somebody may still lack, in their canonical bytes.
//!
//! A log a replica, in chunks of some sixty operations; a chunk is one run of the operation format, so what is sent is
//! nearly a copy of what lies here. It begins after its *base*: all up to the base is stable, and a
//! peer that has not come that far is served from a snapshot.
//!
//! Own operations are written here and nowhere else: a transaction borrows the last chunk ([`Log::lend`]), writes behind what is
//! there, and gives it back. A batch of them is read out of the log when it is to be logged or sent.
//!
//! **Invariant.** No transaction lies in two chunks.

use crate::batch::{BATCH_MAX, Batch, OPS_MAX, Run};
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::op::Op;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const CHUNK_OPS: u64 = 64;
const CHUNK_BYTES: usize = 8 * 1024;
/// Bytes of operations that are gathered in one batch.
const PIECE_BYTES: usize = 64 * 1024;
/// Operations that are.
const PIECE_OPS: usize = 4_096;

const _: () = assert!(PIECE_OPS <= OPS_MAX && 2 * PIECE_BYTES <= BATCH_MAX, "what is gathered is a batch");

/// One replica's operations.
#[derive(Clone, Debug)]
pub(super) struct Log {
    replica: ReplicaIndex,
    base: u64,
    last: u64,
    chunks: VecDeque<Run>,
    /// The last chunk is with a transaction.
    lent: bool,
}

impl Log {
    /// An empty one that begins after operation number `base`.
    pub(super) fn new(replica: ReplicaIndex, base: u64) -> Self {
        Self { replica, base, last: base, chunks: VecDeque::new(), lent: false }
    }
    /// All up to this number is gone.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }
    /// When what comes behind operation number `after` was made, or a little earlier; nothing lies there: before all.
    pub(super) fn time_after(&self, after: u64) -> Hlc {
        let next = self.chunks.partition_point(|c| c.last().sequence() <= after);
        self.chunks.get(next).map_or(Hlc::default(), Run::hlc)
    }
    /// How many operations lie here.
    pub(super) fn len(&self) -> u64 {
        self.chunks.iter().map(Run::count).sum()
    }
    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(Run::size).sum()
    }
    /// The chunk to which operations of this time are added next: the last one, taken out, or a new one.
    fn open(&mut self, first: Dot, hlc: Hlc) -> Run {
        debug_assert_eq!(first.sequence(), self.last + 1, "the log has no holes");
        // Within a run time only rises; a replica whose clock went back between two batches begins another.
        let room =
            |c: &Run| hlc >= c.last_hlc() && (!c.ends() || c.count() < CHUNK_OPS && c.size() < CHUNK_BYTES);
        if let Some(c) = self.chunks.pop_back_if(|c| room(c)) {
            return c;
        }
        if let Some(c) = self.chunks.back_mut() {
            c.shrink();
        }
        Run::new(first, hlc)
    }
    fn close(&mut self, chunk: Run) {
        self.last = chunk.last().sequence();
        self.chunks.push_back(chunk);
    }
    /// Lends the chunk that operations from `first` on, all made at `hlc`, are written to. It must come back.
    pub(super) fn lend(&mut self, first: Dot, hlc: Hlc) -> Run {
        assert!(!self.lent, "a transaction of {} was begun and not ended", self.replica);
        self.lent = true;
        self.open(first, hlc)
    }
    /// Takes back what was lent.
    pub(super) fn take_back(&mut self, chunk: Run) {
        self.lent = false;
        if chunk.count() > 0 {
            self.close(chunk);
        }
    }
    /// Adds the next operation.
    pub(super) fn push(&mut self, op: &Op<'_>) {
        let mut chunk = self.open(op.dot, op.hlc);
        chunk.push(op);
        self.close(chunk);
    }
    /// Adds the operations that come next, nearly as a copy.
    pub(super) fn push_batch(&mut self, batch: &Batch) {
        let run = batch.run();
        let mut chunk = self.open(run.first(), run.hlc());
        let fits = |c: &Run| c.count() + run.count() <= CHUNK_OPS && c.size() + run.size() <= CHUNK_BYTES;
        match run.behind(0).filter(|_| chunk.count() > 0 && fits(&chunk)) {
            Some((op, rest)) => chunk.append(&op, rest, run),
            None => {
                chunk.shrink();
                self.take_back(chunk);
                chunk = run.clone();
            }
        }
        self.close(chunk);
    }
    /// Operations after number `after` and up to `upto`, in order: of about `budget` bytes together (give or take a chunk), at least one
    /// transaction if there is any. Each batch is of about [`PIECE_BYTES`] at most, or is one transaction.
    pub(super) fn after(&self, after: u64, upto: u64, budget: usize) -> Vec<Batch> {
        let mut pieces = Pieces::default();
        let from = self.chunks.partition_point(|c| c.last().sequence() <= after);
        for chunk in self.chunks.range(from..) {
            if chunk.first().sequence() > upto || (pieces.spent > 0 && pieces.spent >= budget) {
                break;
            }
            // What came as one batch is logged as one: a maker's record is somewhat over its budget, and what is cut is spelled anew.
            let fits = chunk.size() <= budget.saturating_add(budget / 4);
            if chunk.last().sequence() <= upto && fits && Pieces::is_small(chunk) {
                pieces.add_all(chunk, after);
                continue;
            }
            let (mut ops, mut at) = (chunk.ops(), 0);
            let (mut transaction, mut bytes) = (Vec::new(), 0);
            while let Some(op) = ops.next() {
                let op = op.expect("the log holds what was checked");
                let start = core::mem::replace(&mut at, ops.position());
                if op.dot.sequence() <= after || op.dot.sequence() > upto {
                    continue;
                }
                let ends = op.ends;
                bytes += at - start;
                // Most are of one operation.
                if ends && transaction.is_empty() {
                    pieces.add(core::slice::from_ref(&op), core::mem::take(&mut bytes));
                } else {
                    transaction.push(op);
                    if !ends {
                        continue;
                    }
                    pieces.add(&transaction, core::mem::take(&mut bytes));
                    transaction.clear();
                }
                if pieces.spent >= budget {
                    break;
                }
            }
            pieces.add(&transaction, bytes);
        }
        pieces.finish()
    }
    /// Forgets all up to number `stable`, in whole chunks; of what comes after number `spare` only the oldest, until no more than
    /// `most` bytes are left.
    pub(super) fn trim(&mut self, stable: u64, spare: u64, most: usize) {
        let mut left = if spare < stable { self.bytes() } else { 0 };
        while let Some(c) = self.chunks.front() {
            let last = c.last().sequence();
            if last > stable || (last > spare && left <= most) {
                break;
            }
            left = left.saturating_sub(c.size());
            self.base = last;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            self.chunks.shrink_to_fit();
        }
    }
    /// Whose operations they are.
    pub(super) const fn replica(&self) -> ReplicaIndex {
        self.replica
    }
}

/// Batches in the making. A batch is what is logged and sent as one, and whoever reads it has a bound for it: so a
/// transaction that would make one large begins another, and a large transaction is in one as its maker made it.
#[derive(Default)]
struct Pieces {
    done: Vec<Batch>,
    run: Option<Run>,
    /// Bytes of all.
    spent: usize,
}

impl Pieces {
    /// Whether a chunk is taken as it is.
    fn is_small(chunk: &Run) -> bool {
        chunk.size() <= PIECE_BYTES && chunk.count() as usize <= PIECE_OPS
    }
    /// The run to which so many bytes and operations are added next, the first of them at this time.
    fn run_for(&mut self, first: &Op<'_>, bytes: usize, count: usize) -> &mut Run {
        let full = |r: &Run| r.size() + bytes > PIECE_BYTES || r.count() as usize + count > PIECE_OPS;
        // Within a batch time only rises.
        if self.run.as_ref().is_some_and(|r| full(r) || first.hlc < r.last_hlc()) {
            self.cut();
        }
        self.run.get_or_insert_with(|| Run::new(first.dot, first.hlc))
    }
    /// Adds a transaction of so many bytes.
    fn add(&mut self, transaction: &[Op<'_>], bytes: usize) {
        let Some(first) = transaction.first() else { return };
        let run = self.run_for(first, bytes, transaction.len());
        transaction.iter().for_each(|op| run.push(op));
        self.spent += bytes;
    }
    /// Adds what a chunk holds behind operation number `after`, nearly as a copy.
    fn add_all(&mut self, chunk: &Run, after: u64) {
        let Some((first, rest)) = chunk.behind(after) else { return };
        let run = self.run_for(&first, chunk.size(), chunk.count() as usize);
        let before = run.size();
        run.append(&first, rest, chunk);
        self.spent += run.size() - before;
    }
    fn cut(&mut self) {
        self.done.extend(self.run.take().map(Run::into_batch));
    }
    fn finish(mut self) -> Vec<Batch> {
        self.cut();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Kind;
    use crate::op::{Action, Dots};
    use proptest::prelude::*;
    use std::vec::Vec;

    const ME: ReplicaIndex = ReplicaIndex(3);
    /// The root, a set under `k`, a map under `m`.
    const PLACES: [(&[u8], Kind); 3] =
        [(&[1, 0], Kind::Map), (&[9, 1, 1, b'k'], Kind::OrSet), (&[1, 1, 1, b'm'], Kind::Map)];

    /// A transaction: how it gets into the log, its time, and of each operation the place and the length of its value.
    type Spec = (u8, u64, Vec<(usize, usize)>);

    fn ops<'o>(specs: &'o [Spec], values: &'o [u8]) -> Vec<Vec<Op<'o>>> {
        let mut next = 1;
        let op = |(i, last, time, (place, len)): (u64, bool, u64, (usize, usize))| {
            let (container, container_kind) = PLACES[place];
            let set = container_kind == Kind::OrSet;
            let dot = Dot::new(ME, i);
            Op {
                dot,
                hlc: Hlc(time),
                ends: last,
                container,
                container_kind,
                name: &values[..3 + len % 9],
                kind: if set { Kind::OrSet } else { Kind::Lww },
                supersedes: if len % 2 == 0 || i < 3 { Dots::None } else { Dots::One(Dot::new(ME, i - 2)) },
                action: if set { Action::Add } else { Action::Write(&values[..len]) },
            }
        };
        let transaction = |(_, time, all): &Spec| -> Vec<Op<'o>> {
            let n = all.len();
            let numbered = all.iter().enumerate().map(|(at, what)| (at + 1 == n, *time, *what));
            numbered
                .map(|(last, time, what)| {
                    next += 1;
                    op((next - 1, last, (1 << 40) + time, what))
                })
                .collect()
        };
        specs.iter().map(transaction).collect()
    }

    fn batch(of: &[Op<'_>]) -> Batch {
        let mut run = Run::new(of[0].dot, of[0].hlc);
        of.iter().for_each(|op| run.push(op));
        run.into_batch()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn what_is_read_is_what_was_written_however_it_came_and_is_cut(
            specs in proptest::collection::vec(
                (0u8..3, 0u64..300_000, proptest::collection::vec((0usize..3, 0usize..400), 1..6)), 1..90),
            cuts in proptest::collection::vec((0usize..90, 0usize..90, 0usize..40_000), 8),
        ) {
            let values = std::vec![7; 400];
            let all = ops(&specs, &values);
            let mut log = Log::new(ME, 0);
            for ((how, ..), transaction) in specs.iter().zip(&all) {
                match how {
                    0 => transaction.iter().for_each(|op| log.push(op)),
                    1 => log.push_batch(&batch(transaction)),
                    _ => {
                        let mut run = log.lend(transaction[0].dot, transaction[0].hlc);
                        transaction.iter().for_each(|op| run.push(&Op { ends: false, ..op.clone() }));
                        run.end();
                        log.take_back(run);
                    }
                }
            }
            let end = |n: usize| all[..n.min(all.len())].last().map_or(0, |t| t.last().map_or(0, |o| o.dot.sequence()));
            for (a, b, budget) in cuts {
                let (after, upto) = (end(a.min(b)), end(a.max(b)));
                let batches = log.after(after, upto, budget);
                let got: Vec<Op<'_>> = batches.iter().flat_map(|b| b.ops().map(Result::unwrap)).collect();
                let want: Vec<Op<'_>> = all.iter().flatten().filter(|o| (after + 1..=upto).contains(&o.dot.sequence())).cloned().collect();
                prop_assert!(got.len() <= want.len() && got[..] == want[..got.len()]);
                prop_assert!(got.is_empty() == want.is_empty());
                // What lies at a chunk's beginning is spelled shorter behind another's end.
                let size: usize = batches.iter().map(Batch::size).sum();
                prop_assert!(got.len() == want.len() || size + 200 >= budget);
                for b in &batches {
                    prop_assert_eq!(&Batch::from_bytes(&b.to_bytes()).unwrap(), b, "canonical");
                    prop_assert!(b.ops().last().unwrap().unwrap().ends);
                }
            }
        }
    }
}
