//! The operations that somebody may still lack, in their canonical bytes.
//!
//! A log a replica, in chunks of some sixty operations; a chunk is one run of the operation format, so what is sent is
//! nearly a copy of what lies here. It begins after its *base*: all up to the base is stable, and a
//! peer that has not come that far is served from a snapshot.

use crate::batch::{BATCH_MAX, Batch, BatchWriter, OPS_MAX, Ops};
use crate::code::Writer;
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::op::{Encoder, Op};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const CHUNK_OPS: u64 = 64;
const CHUNK_BYTES: usize = 8 * 1024;
/// Bytes of operations that are gathered in one batch.
const PIECE_BYTES: usize = 64 * 1024;
/// Operations that are.
const PIECE_OPS: usize = 4_096;

const _: () = assert!(PIECE_OPS <= OPS_MAX && 2 * PIECE_BYTES <= BATCH_MAX, "what is gathered is a batch");

#[derive(Clone, Debug)]
struct Chunk {
    first: Dot,
    last: Dot,
    count: u64,
    hlc: Hlc,
    last_hlc: Hlc,
    ops: Vec<u8>,
}

/// One replica's operations.
#[derive(Clone, Debug)]
pub(super) struct Log {
    replica: ReplicaIndex,
    base: u64,
    last: u64,
    chunks: VecDeque<Chunk>,
    encoder: Encoder,
    /// The last chunk came as it is: nothing is added to it.
    sealed: bool,
}

impl Log {
    /// An empty one that begins after operation number `base`.
    pub(super) fn new(replica: ReplicaIndex, base: u64) -> Self {
        Self {
            replica,
            base,
            last: base,
            chunks: VecDeque::new(),
            encoder: Encoder::default(),
            sealed: false,
        }
    }
    /// All up to this number is gone.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }
    /// How many operations lie here.
    pub(super) fn len(&self) -> u64 {
        self.chunks.iter().map(|c| c.count).sum()
    }
    /// How many bytes they take.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(|c| c.ops.len()).sum()
    }
    /// Adds the next operation.
    pub(super) fn push(&mut self, op: &Op<'_>) {
        debug_assert_eq!(op.dot.sequence(), self.last + 1, "the log has no holes");
        // Within a run time only rises; a replica whose clock went back between two batches begins another.
        let sealed = core::mem::take(&mut self.sealed);
        let full =
            |c: &Chunk| sealed || c.count >= CHUNK_OPS || c.ops.len() >= CHUNK_BYTES || op.hlc < c.last_hlc;
        if self.chunks.back().is_none_or(full) {
            if let Some(c) = self.chunks.back_mut() {
                c.ops.shrink_to_fit();
            }
            self.encoder = Encoder::new(op.hlc);
            let chunk = Chunk {
                first: op.dot,
                last: op.dot,
                count: 0,
                hlc: op.hlc,
                last_hlc: op.hlc,
                ops: Vec::new(),
            };
            self.chunks.push_back(chunk);
        }
        let Some(chunk) = self.chunks.back_mut() else { return };
        let mut out = Writer::after(core::mem::take(&mut chunk.ops));
        self.encoder.write(op, &mut out);
        chunk.ops = out.into_bytes();
        (chunk.last, chunk.last_hlc) = (op.last(), op.hlc);
        chunk.count += 1;
        self.last = op.last().sequence();
    }
    /// Adds the operations that come next, all of them, as a chunk of their own: one copy, nothing is spelled anew. Whether
    /// they make a good chunk; else they are to be added one by one.
    pub(super) fn push_batch(&mut self, batch: &Batch) -> bool {
        let (count, run) = (batch.count(), batch.run());
        if !(CHUNK_OPS / 8..=CHUNK_OPS).contains(&count) || run.len() > CHUNK_BYTES {
            return false;
        }
        debug_assert_eq!(batch.first().sequence(), self.last + 1, "the log has no holes");
        if let Some(c) = self.chunks.back_mut() {
            c.ops.shrink_to_fit();
        }
        self.last = batch.last().sequence();
        self.sealed = true;
        self.chunks.push_back(Chunk {
            first: batch.first(),
            last: batch.last(),
            count,
            hlc: batch.hlc(),
            last_hlc: batch.last_hlc(),
            ops: run.to_vec(),
        });
        true
    }
    /// Operations after number `after` and up to `upto`, in order: of about `budget` bytes together, at least one transaction if
    /// there is any. Each batch is of about [`PIECE_BYTES`] at most, or is one transaction.
    pub(super) fn after(&self, after: u64, upto: u64, budget: usize) -> Vec<Batch> {
        let mut pieces = Pieces::default();
        // A transaction may lie in two chunks.
        let (mut transaction, mut bytes) = (Vec::new(), 0);
        let from = self.chunks.partition_point(|c| c.last.sequence() <= after);
        for chunk in self.chunks.range(from..) {
            let mut ops = Ops::over(&chunk.ops, chunk.first, chunk.hlc, chunk.count);
            let mut at = 0;
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
                    return pieces.finish();
                }
            }
        }
        pieces.add(&transaction, bytes);
        pieces.finish()
    }
    /// Forgets all up to number `stable`, in whole chunks.
    pub(super) fn trim(&mut self, stable: u64) {
        while let Some(c) = self.chunks.front().filter(|c| c.last.sequence() <= stable) {
            self.base = c.last.sequence();
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
    writer: Option<BatchWriter>,
    /// Bytes of all.
    spent: usize,
}

impl Pieces {
    /// Adds a transaction of so many bytes.
    fn add(&mut self, transaction: &[Op<'_>], bytes: usize) {
        let full = |w: &BatchWriter| {
            w.size() + bytes > PIECE_BYTES || w.count() as usize + transaction.len() > PIECE_OPS
        };
        if self.writer.as_ref().is_some_and(full) {
            self.cut();
        }
        for op in transaction {
            // Within a batch time only rises.
            if self.writer.as_ref().is_some_and(|w| op.hlc < w.last_hlc()) {
                self.cut();
            }
            self.writer.get_or_insert_with(|| BatchWriter::new(op.dot, op.hlc)).push(op);
        }
        self.spent += bytes;
    }
    fn cut(&mut self) {
        self.done.extend(self.writer.take().map(BatchWriter::finish));
    }
    fn finish(mut self) -> Vec<Batch> {
        self.cut();
        self.done
    }
}
