//! Operations of one replica, consecutive: the unit of logging, sending and delivery.
//!
//! ```text
//! replica   varint
//! first     varint   sequence of the first operation
//! count     varint   number of operations, at least one
//! time      8 bytes  when the first was made
//! ops       ...      see `op`
//! ```
//!
//! A transaction never spans two batches; a batch may hold several.

use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::hlc::Hlc;
use crate::op::{Action, Decoder, Encoder, Op};
use crate::splice::Splice;
use alloc::vec::Vec;

/// Operations in one batch.
pub const OPS_MAX: usize = 1 << 16;
/// Bytes of one batch.
pub const BATCH_MAX: usize = 16 * 1024 * 1024;

/// Operations of one replica, checked for form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch(Run);

/// What a space must know of a batch before it applies the first operation, so that it need not read it twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Named {
    /// One more than the highest replica whose dots are named.
    replicas: u32,
}

impl Named {
    fn add(&mut self, op: &Op<'_>) {
        // Ascending: the last has the highest replica.
        let superseded = op.supersedes.as_slice().last().map(|d| d.replica());
        let beside = match &op.action {
            Action::Count { instance, .. } | Action::Escrow { instance, .. } => Some(instance.replica()),
            Action::Clear(Some(upto)) => upto.iter().last().map(|(r, _)| r),
            _ => None,
        };
        for r in superseded.into_iter().chain(beside) {
            self.replicas = self.replicas.max(u32::from(r.0) + 1);
        }
        if let Action::Splice { width, bytes } = op.action
            && let Ok(splice) = Splice::decode(op.dot, width, bytes)
        {
            self.replicas = self.replicas.max(splice.replicas());
        }
    }
}

/// Operations of one replica in a row, as they travel and as they lie in memory.
///
/// How an operation is spelled depends on the one before it alone, and only on its time and its container. So a run can be added to
/// another nearly as a copy: its first operation is spelled anew, the rest are the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    first: Dot,
    last: Dot,
    count: u64,
    hlc: Hlc,
    named: Named,
    /// Whether the last operation ends its transaction.
    ends: bool,
    /// Where the last operation's head lies.
    head: usize,
    /// How the next one is spelled.
    encoder: Encoder,
    ops: Writer,
}

impl PartialEq for Run {
    /// The rest follows from these.
    fn eq(&self, other: &Self) -> bool {
        (self.first, self.count, self.hlc) == (other.first, other.count, other.hlc) && self.ops == other.ops
    }
}
impl Eq for Run {}

impl Run {
    /// An empty one, which begins with the operation `first`, made at `hlc`.
    pub(crate) fn new(first: Dot, hlc: Hlc) -> Self {
        Self {
            first,
            last: first,
            count: 0,
            hlc,
            named: Named::default(),
            ends: false,
            head: 0,
            encoder: Encoder::new(hlc),
            ops: Writer::new(),
        }
    }
    /// The first operation's dot.
    pub(crate) const fn first(&self) -> Dot {
        self.first
    }
    /// The last dot.
    pub(crate) const fn last(&self) -> Dot {
        self.last
    }
    /// When the first operation was made.
    pub(crate) const fn hlc(&self) -> Hlc {
        self.hlc
    }
    /// When the last operation was made.
    pub(crate) const fn last_hlc(&self) -> Hlc {
        self.encoder.hlc
    }
    /// Operations so far.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
    /// Bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.ops.len()
    }
    /// Whether the last operation ends its transaction.
    pub(crate) const fn ends(&self) -> bool {
        self.ends
    }
    /// The operations, in order.
    pub(crate) fn ops(&self) -> Ops<'_> {
        let bytes = self.ops.as_slice();
        Ops { bytes, from: Reader::new(bytes), decoder: Decoder::new(self.first, self.hlc), left: self.count }
    }
    /// Gives back the room that was not used.
    pub(crate) fn shrink(&mut self) {
        self.ops.shrink();
    }
    /// Adds the next operation.
    pub(crate) fn push(&mut self, op: &Op<'_>) {
        self.head = self.ops.len();
        self.encoder.write(op, &mut self.ops);
        self.count += 1;
        self.last = op.last();
        self.ends = op.ends;
        self.named.add(op);
    }
    /// Marks the last operation as the end of its transaction.
    pub(crate) fn end(&mut self) {
        self.ops.set(self.head, 0x40);
        self.ends = true;
    }
    /// The first operation behind number `after`, and those that follow it.
    pub(crate) fn behind(&self, after: u64) -> Option<(Op<'_>, Ops<'_>)> {
        let mut ops = self.ops();
        while let Some(op) = ops.next() {
            let op = op.expect("a run holds what was checked");
            if op.dot.sequence() > after {
                return Some((op, ops));
            }
        }
        None
    }
    /// Adds an operation of the run that comes next, and all that follow it there.
    pub(crate) fn append(&mut self, op: &Op<'_>, ops: Ops<'_>, next: &Self) {
        self.push(op);
        if ops.left == 0 {
            return;
        }
        let (from, to) = (ops.from.position(), self.ops.len());
        self.ops.raw(&next.ops.as_slice()[from..]);
        let Encoder { hlc, container: (at, len) } = next.encoder;
        if at >= from {
            self.encoder.container = (at - from + to, len);
        }
        self.encoder.hlc = hlc;
        self.head = next.head - from + to;
        self.count += ops.left;
        (self.last, self.ends) = (next.last, next.ends);
        self.named.replicas = self.named.replicas.max(next.named.replicas);
    }
    /// All of it, as a batch.
    pub(crate) fn into_batch(self) -> Batch {
        debug_assert!(self.count > 0, "a batch of nothing");
        Batch(self)
    }
}

impl Batch {
    /// Whose operations they are.
    #[must_use]
    pub const fn replica(&self) -> ReplicaIndex {
        self.0.first.replica()
    }
    /// The first of them.
    #[must_use]
    pub const fn first(&self) -> Dot {
        self.0.first
    }
    /// The last dot of them.
    #[must_use]
    pub const fn last(&self) -> Dot {
        self.0.last
    }
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.0.count
    }
    /// When the first was made.
    #[must_use]
    pub const fn hlc(&self) -> Hlc {
        self.0.hlc
    }
    /// When the last was made.
    #[must_use]
    pub const fn last_hlc(&self) -> Hlc {
        self.0.encoder.hlc
    }
    /// How many replicas a roster must have so that it holds all whose operations are named here; more may be said.
    pub(crate) const fn replicas(&self) -> u32 {
        self.0.named.replicas
    }
    /// Its operations as they lie in memory.
    pub(crate) const fn run(&self) -> &Run {
        &self.0
    }
    /// Bytes it takes when encoded, within a few.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size() + 20
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.dot(self.0.first);
        out.varint(self.0.count);
        out.fixed(self.0.hlc.0);
        out.raw(self.0.ops.as_slice());
    }
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::after(Vec::with_capacity(self.size()));
        self.encode(&mut w);
        w.into_bytes()
    }
    /// Reads what [`Batch::encode`] wrote, every operation checked; the batch must be all there is.
    ///
    /// # Errors
    /// If the bytes are no batch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if bytes.len() > BATCH_MAX {
            return Err(from.malformed("a batch beyond its limit"));
        }
        let first = from.dot()?;
        let count = from.count(OPS_MAX)? as u64;
        let hlc = Hlc(from.fixed()?);
        if count == 0 || count > SEQUENCE_MAX - first.sequence() + 1 {
            return Err(from.malformed("a batch of nothing, or beyond the last sequence"));
        }
        let start = from.position();
        let mut run = Run { count, ops: Writer::after(bytes[start..].to_vec()), ..Run::new(first, hlc) };
        let (mut starts, mut ended, mut end, mut head) = (None, false, first, 0);
        let mut named = Named::default();
        let mut ops = run.ops();
        loop {
            let at = ops.from.position();
            let Some(op) = ops.next() else { break };
            let op = op?;
            starts.get_or_insert(op.hlc);
            (ended, end, head) = (op.ends, op.last(), at);
            named.add(&op);
        }
        let fault = |what| Malformed { at: start, what };
        if !ops.from.is_empty() {
            return Err(fault("bytes after the last operation"));
        }
        if !ended {
            return Err(fault("a transaction without its end"));
        }
        if starts != Some(hlc) {
            return Err(fault("a first operation that is not made at the batch's time"));
        }
        let encoder = ops.decoder.encoder();
        (run.last, run.named, run.ends, run.head, run.encoder) = (end, named, true, head, encoder);
        Ok(Self(run))
    }
    /// The operations, in order.
    #[must_use]
    pub fn ops(&self) -> Ops<'_> {
        self.0.ops()
    }
}

/// The operations of a batch, in order.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    bytes: &'a [u8],
    from: Reader<'a>,
    decoder: Decoder<'a>,
    left: u64,
}

impl Ops<'_> {
    /// Bytes of the run that were read.
    pub(crate) const fn position(&self) -> usize {
        self.from.position()
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let op = self.decoder.read(&mut self.from, self.bytes);
        if op.is_err() {
            self.left = 0;
        }
        Some(op)
    }
}
