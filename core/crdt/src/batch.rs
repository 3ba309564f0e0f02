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
pub struct Batch {
    first: Dot,
    last: Dot,
    count: u64,
    hlc: Hlc,
    last_hlc: Hlc,
    named: Named,
    ops: Vec<u8>,
}

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

impl Batch {
    /// Whose operations they are.
    #[must_use]
    pub const fn replica(&self) -> ReplicaIndex {
        self.first.replica()
    }
    /// The first of them.
    #[must_use]
    pub const fn first(&self) -> Dot {
        self.first
    }
    /// The last dot of them.
    #[must_use]
    pub const fn last(&self) -> Dot {
        self.last
    }
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
    /// When the first was made.
    #[must_use]
    pub const fn hlc(&self) -> Hlc {
        self.hlc
    }
    /// When the last was made.
    #[must_use]
    pub const fn last_hlc(&self) -> Hlc {
        self.last_hlc
    }
    /// How many replicas a roster must have so that it holds all whose operations are named here.
    pub(crate) const fn replicas(&self) -> u32 {
        self.named.replicas
    }
    /// Its operations as they lie in memory: one run of the operation format.
    pub(crate) fn run(&self) -> &[u8] {
        &self.ops
    }
    /// Bytes it takes when encoded, within a few.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.ops.len() + 20
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.dot(self.first);
        out.varint(self.count);
        out.fixed(self.hlc.0);
        out.raw(&self.ops);
    }
    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
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
        let mut batch = Self {
            first,
            last: first,
            count,
            hlc,
            last_hlc: hlc,
            named: Named::default(),
            ops: bytes[start..].to_vec(),
        };
        let (mut n, mut ended, mut starts, mut last, mut end) = (0, false, hlc, hlc, first);
        let mut named = Named::default();
        let mut ops = batch.ops();
        for op in &mut ops {
            let op = op?;
            if n == 0 {
                starts = op.hlc;
            }
            (n, ended) = (n + 1, op.ends);
            (last, end) = (op.hlc, op.last());
            named.add(&op);
        }
        let fault = |what| Malformed { at: start, what };
        if !ops.from.is_empty() {
            return Err(fault("bytes after the last operation"));
        }
        if !ended {
            return Err(fault("a transaction without its end"));
        }
        if starts != hlc {
            return Err(fault("a first operation that is not made at the batch's time"));
        }
        (batch.last_hlc, batch.last, batch.named) = (last, end, named);
        Ok(batch)
    }
    /// The operations, in order.
    #[must_use]
    pub fn ops(&self) -> Ops<'_> {
        Ops {
            bytes: &self.ops,
            from: Reader::new(&self.ops),
            decoder: Decoder::new(self.first, self.hlc),
            left: self.count,
        }
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

impl<'a> Ops<'a> {
    /// Over a run of operations that lies in memory.
    pub(crate) const fn over(bytes: &'a [u8], first: Dot, hlc: Hlc, count: u64) -> Self {
        Self { bytes, from: Reader::new(bytes), decoder: Decoder::new(first, hlc), left: count }
    }
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

/// A batch in the making.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    first: Dot,
    last: Dot,
    count: u64,
    /// Where the last operation's head lies.
    head: usize,
    hlc: Hlc,
    last_hlc: Hlc,
    named: Named,
    encoder: Encoder,
    out: Writer,
}

impl BatchWriter {
    /// One that begins with the operation `first`, made at `hlc`.
    pub(crate) fn new(first: Dot, hlc: Hlc) -> Self {
        Self {
            first,
            last: first,
            count: 0,
            head: 0,
            hlc,
            last_hlc: hlc,
            named: Named::default(),
            encoder: Encoder::new(hlc),
            out: Writer::new(),
        }
    }
    /// Adds the next operation.
    pub(crate) fn push(&mut self, op: &Op<'_>) {
        self.head = self.out.len();
        self.encoder.write(op, &mut self.out);
        self.count += 1;
        (self.last, self.last_hlc) = (op.last(), op.hlc);
        self.named.add(op);
    }
    /// Marks the last operation as the end of its transaction.
    pub(crate) fn end(&mut self) {
        self.out.set(self.head, 0x40);
    }
    /// Bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.out.len()
    }
    /// When the last operation was made.
    pub(crate) fn last_hlc(&self) -> Hlc {
        self.last_hlc
    }
    /// Operations so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
    /// The batch.
    pub(crate) fn finish(self) -> Batch {
        let Self { first, last, count, hlc, last_hlc, named, out, .. } = self;
        Batch { first, last, count, hlc, last_hlc, named, ops: out.into_bytes() }
    }
}
