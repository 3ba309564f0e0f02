//! What the chain keeps with the state: which epoch it is in, where that began, what the engine needs.

use crate::spec::{EngineKind, Spec};
use bytes::Bytes;
use dwcp_consensus::Position;
use dwcp_env::wire;
use serde::{Deserialize, Serialize};
use spin::Mutex;
use std::sync::Arc;

/// Ended epochs that are remembered, for people.
const REMEMBERED: usize = 16;
/// Bits of a term that count within an epoch.
const TERM_BITS: u32 = 40;

/// An epoch that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub epoch: u32,
    /// Its engine.
    pub engine: EngineKind,
    /// The index before its first.
    pub base: u64,
    /// The index of its seal.
    pub sealed: u64,
}

/// The tail of the chain, as of the last index applied. The state machine stores it without looking inside.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ChainRecord {
    /// The epoch the state is in.
    pub spec: Spec,
    /// The index of the seal that began it; 0 for the first.
    pub base: u64,
    /// The last epochs before it, oldest first.
    pub past: Vec<Past>,
    /// The engine's own: Raft's record, or a protocol's mark of what is applied (empty: nothing of this epoch).
    pub inner: Bytes,
}

impl ChainRecord {
    /// The chain before anything was decided. Of a first epoch under Raft it names no members: Raft keeps them itself, and who
    /// joins knows none.
    #[must_use]
    pub fn genesis(spec: Spec) -> Self {
        let spec = if spec.engine == EngineKind::Raft { Spec::default() } else { spec };
        Self { spec, ..Self::default() }
    }
    /// The bytes that are kept.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        wire::encode(self).into()
    }
    /// From bytes; empty ones are a state that knows no chain yet.
    ///
    /// # Errors
    /// If they are no record.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, &'static str> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let record: Self = wire::decode(bytes).map_err(|_| "a chain record that does not decode")?;
        // Raft's first epoch may know no members yet.
        if record.spec.epoch > 0 && record.spec.check().is_err() {
            return Err("a chain record of an epoch that can't be");
        }
        Ok(Some(record))
    }
    /// The record of the next epoch, which begins behind `sealed`.
    #[must_use]
    pub fn next(&self, spec: Spec, sealed: u64) -> Self {
        let Spec { epoch, engine, .. } = self.spec;
        let mut past = self.past.clone();
        past.push(Past { epoch, engine, base: self.base, sealed });
        let extra = past.len().saturating_sub(REMEMBERED);
        past.drain(..extra);
        Self { spec, base: sealed, past, inner: Bytes::new() }
    }
    /// A position of the epoch's engine as one of the chain.
    #[must_use]
    pub fn outer(&self, at: Position) -> Position {
        outer(self.spec.epoch, self.base, at)
    }
    /// A position of the chain as one of the epoch's engine; `None` if it lies in another epoch.
    #[must_use]
    pub fn inner(&self, at: Position) -> Option<Position> {
        let index = at.index.checked_sub(self.base).filter(|i| *i > 0)?;
        (at.term >> TERM_BITS == u64::from(self.spec.epoch))
            .then_some(Position { term: at.term & ((1 << TERM_BITS) - 1), index })
    }
}

/// A position of an epoch's engine as one of the chain.
pub(crate) fn outer(epoch: u32, base: u64, at: Position) -> Position {
    Position { term: term(epoch, at.term), index: base + at.index }
}

/// A term of an epoch's engine as one of the chain: later epochs have higher ones.
pub(crate) const fn term(epoch: u32, term: u64) -> u64 {
    (epoch as u64) << TERM_BITS | term
}

/// The tail of a group on this node: what is applied decides who may apply.
#[derive(Clone, Debug)]
pub(crate) struct Tail(Arc<Mutex<ChainRecord>>);

impl Tail {
    pub(crate) fn new(record: ChainRecord) -> Self {
        Self(Arc::new(Mutex::new(record)))
    }
    pub(crate) fn get(&self) -> ChainRecord {
        self.0.lock().clone()
    }
    pub(crate) fn set(&self, record: ChainRecord) {
        *self.0.lock() = record;
    }
    pub(crate) fn epoch(&self) -> u32 {
        self.0.lock().spec.epoch
    }
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut ChainRecord) -> T) -> T {
        f(&mut self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_out_and_come_back_in_their_own_epoch_only() {
        let first = ChainRecord::genesis(Spec::default());
        let at = Position { term: 7, index: 30 };
        assert_eq!((first.outer(at), first.inner(at)), (at, Some(at)), "the first epoch's are the chain's");
        let second = first.next(Spec { epoch: 1, ..Spec::default() }, 30);
        let here = Position { term: 2, index: 5 };
        let out = second.outer(here);
        assert_eq!(out.index, 35);
        assert!(out > at, "later epochs lie behind earlier ones");
        assert_eq!(second.inner(out), Some(here));
        assert_eq!(first.inner(out), None, "another epoch");
        assert_eq!(second.inner(at), None);
        assert_eq!(second.inner(Position { term: at.term, index: 31 }), None, "before the epoch by its term");
    }

    #[test]
    fn a_record_survives_and_junk_does_not() {
        let record = ChainRecord::genesis(Spec::default()).next(Spec::default(), 9);
        assert_eq!(ChainRecord::decode(&record.encode()), Ok(Some(record)));
        assert_eq!(ChainRecord::decode(b""), Ok(None));
        assert!(ChainRecord::decode(&[255; 9]).is_err());
    }
}
