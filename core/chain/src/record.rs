//! What the chain keeps with the state: which epoch it is in, where that began, what the engine needs.

use crate::order::Kept;
use crate::spec::{EngineKind, Spec};
use bytes::Bytes;
use dwcp_consensus::{Position, Stage};
use dwcp_env::wire;
use serde::{Deserialize, Serialize};
use spin::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ended epochs that are remembered, for people.
const REMEMBERED: usize = 16;
/// And ends that an operator signed.
const SEALS_REMEMBERED: usize = 256;
/// Bits of a term that count within an epoch.
const TERM_BITS: u32 = 40;

/// An epoch that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub epoch: u32,
    /// Its engine.
    pub engine: EngineKind,
    /// The index before its first.
    pub base: u64,
    /// The index of its seal.
    pub sealed: u64,
    /// The seal itself, where members might lie and an operator had to sign it; else empty. It convinces whoever was left
    /// behind in that epoch.
    #[serde(default)]
    pub seal: Bytes,
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
    /// Who keeps time for leases, where every member serves.
    pub kept: Kept,
}

/// As builds before 22 November 2026 wrote it.
#[derive(Deserialize)]
struct WithoutKeeper {
    spec: Spec,
    base: u64,
    past: Vec<Past>,
    inner: Bytes,
}

impl From<WithoutKeeper> for ChainRecord {
    fn from(old: WithoutKeeper) -> Self {
        let WithoutKeeper { spec, base, past, inner } = old;
        Self { spec, base, past, inner, kept: Kept::default() }
    }
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
        let record = wire::decode(bytes).or_else(|_| wire::decode::<WithoutKeeper>(bytes).map(Self::from));
        let record: Self = record.map_err(|_| "a chain record that does not decode")?;
        // Raft's first epoch may know no members yet.
        if record.spec.epoch > 0 && record.spec.check().is_err() {
            return Err("a chain record of an epoch that can't be");
        }
        Ok(Some(record))
    }
    /// The record of the next epoch, which begins behind `sealed`.
    #[must_use]
    pub fn next(&self, spec: Spec, sealed: u64) -> Self {
        self.next_signed(spec, sealed, Bytes::new())
    }
    /// The same where this epoch's end had to be signed: with the seal.
    #[must_use]
    pub fn next_signed(&self, spec: Spec, sealed: u64, seal: Bytes) -> Self {
        let Spec { epoch, engine, .. } = self.spec;
        let mut past = self.past.clone();
        past.push(Past { epoch, engine, base: self.base, sealed, seal });
        let unsigned = past.iter().filter(|p| p.seal.is_empty()).count();
        let mut extra = unsigned.saturating_sub(REMEMBERED);
        past.retain(|p| {
            let goes = p.seal.is_empty() && extra > 0;
            extra -= usize::from(goes);
            !goes
        });
        // A seal is what convinces who was left behind before it: those stay for longer.
        past.drain(..past.len().saturating_sub(REMEMBERED + SEALS_REMEMBERED));
        Self { spec, base: sealed, past, inner: Bytes::new(), kept: Kept::default() }
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

/// Whether a state at one position of the chain holds all that lay at another, or behind it in an epoch that has ended: what an
/// engine's log holds behind its seal has indices that the next epoch gives out again.
#[must_use]
pub const fn covers(state: Position, at: Position) -> bool {
    state.index >= at.index || state.term >> TERM_BITS > at.term >> TERM_BITS
}

/// A position of an epoch's engine as one of the chain.
pub(crate) fn outer(epoch: u32, base: u64, at: Position) -> Position {
    Position { term: term(epoch, at.term), index: base + at.index }
}

/// A term of an epoch's engine as one of the chain: later epochs have higher ones.
pub(crate) const fn term(epoch: u32, term: u64) -> u64 {
    (epoch as u64) << TERM_BITS | term
}

/// Who is taking in a peer's checkpoint: the state has one place for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Intake {
    #[default]
    Nobody,
    /// The Raft of an epoch; once it swaps, nobody gets in between.
    Raft { epoch: u32, swaps: bool },
    /// The chain.
    Chain,
}

/// The tail of a group on this node: what is applied decides who may apply.
#[derive(Clone, Debug)]
pub(crate) struct Tail(Arc<Mutex<Shared>>);

/// What a group's engines on this node share beside the state.
#[derive(Debug)]
struct Shared {
    /// Looked at by every turn, and changed by few: whoever looks shares it.
    record: Arc<ChainRecord>,
    /// What names its epoch, once it was asked for.
    id: Option<u64>,
    intake: Intake,
    /// Of an epoch under Raft that a peer's state has overtaken: its first index that was not applied, though it may be in
    /// that state.
    overtaken: BTreeMap<u32, u64>,
    /// Why this node can't follow the chain.
    lost: Option<String>,
}

impl Tail {
    pub(crate) fn new(record: ChainRecord) -> Self {
        let (intake, overtaken) = (Intake::Nobody, BTreeMap::new());
        let record = Arc::new(record);
        Self(Arc::new(Mutex::new(Shared { record, id: None, intake, overtaken, lost: None })))
    }
    pub(crate) fn get(&self) -> Arc<ChainRecord> {
        self.0.lock().record.clone()
    }
    pub(crate) fn set(&self, record: ChainRecord) {
        let mut shared = self.0.lock();
        (shared.record, shared.id) = (Arc::new(record), None);
    }
    pub(crate) fn epoch(&self) -> u32 {
        self.0.lock().record.spec.epoch
    }
    pub(crate) fn with<T>(&self, f: impl FnOnce(&ChainRecord) -> T) -> T {
        f(&self.0.lock().record)
    }
    pub(crate) fn change<T>(&self, f: impl FnOnce(&mut ChainRecord) -> T) -> T {
        let mut shared = self.0.lock();
        shared.id = None;
        f(Arc::make_mut(&mut shared.record))
    }
    /// The epoch, and what names it ([`Spec::id`]), which each message bears.
    pub(crate) fn name(&self) -> (u32, u64) {
        let mut shared = self.0.lock();
        let spec = &shared.record.spec;
        let (epoch, id) = (spec.epoch, shared.id.unwrap_or_else(|| spec.id()));
        shared.id = Some(id);
        (epoch, id)
    }

    /// What was decided can't be followed here: the group stops, as it is.
    pub(crate) fn lose(&self, why: String) {
        self.0.lock().lost.get_or_insert(why);
    }
    /// Whether an epoch's engine may change the state.
    pub(crate) fn is_in(&self, epoch: u32) -> bool {
        let shared = self.0.lock();
        shared.record.spec.epoch == epoch && shared.lost.is_none()
    }
    pub(crate) fn lost(&self) -> Option<String> {
        self.0.lock().lost.clone()
    }

    /// An entry of an epoch's Raft was not applied, because the state is a peer's of a later epoch.
    pub(crate) fn overtake(&self, epoch: u32, index: u64) {
        let mut shared = self.0.lock();
        let first = shared.overtaken.entry(epoch).or_insert(index);
        *first = index.min(*first);
    }
    /// Whether what an epoch's Raft says of this index says nothing: whether it was done before the seal is not known here.
    pub(crate) fn is_overtaken(&self, epoch: u32, index: u64) -> bool {
        self.0.lock().overtaken.get(&epoch).is_some_and(|first| *first <= index)
    }

    /// The chain asks for the place. It has precedence, its checkpoints are of later epochs; but not over a swap.
    pub(crate) fn chain_takes_in(&self) -> bool {
        let intake = &mut self.0.lock().intake;
        let free = !matches!(intake, Intake::Raft { swaps: true, .. });
        if free {
            *intake = Intake::Chain;
        }
        free
    }
    /// The chain's transfer is over, or never came to anything.
    pub(crate) fn chain_took_in(&self) {
        let intake = &mut self.0.lock().intake;
        if *intake == Intake::Chain {
            *intake = Intake::Nobody;
        }
    }
    /// Whether the transfer of an epoch's Raft goes on.
    pub(crate) fn raft_takes_in(&self, epoch: u32, stage: Stage) -> bool {
        let intake = &mut self.0.lock().intake;
        let swaps = stage == Stage::Swap;
        let goes_on = match (&*intake, stage) {
            (Intake::Chain | Intake::Raft { swaps: true, .. }, _) => false,
            (_, Stage::Begin) => true,
            (Intake::Raft { epoch: e, .. }, _) => *e == epoch,
            (Intake::Nobody, _) => false,
        };
        if goes_on {
            *intake = Intake::Raft { epoch, swaps };
        }
        goes_on
    }
    /// Whether a Raft is swapping in what it was sent.
    pub(crate) fn raft_swaps(&self) -> bool {
        matches!(self.0.lock().intake, Intake::Raft { swaps: true, .. })
    }
    /// The swap of an epoch's Raft is over, or all of the epoch is.
    pub(crate) fn raft_took_in(&self, epoch: u32) {
        let intake = &mut self.0.lock().intake;
        if matches!(intake, Intake::Raft { epoch: e, .. } if *e == epoch) {
            *intake = Intake::Nobody;
        }
    }
    /// An epoch's engine is gone.
    pub(crate) fn forget(&self, epoch: u32) {
        self.raft_took_in(epoch);
        self.0.lock().overtaken.remove(&epoch);
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
    fn a_state_of_a_later_epoch_covers_what_lies_behind_the_seal() {
        let at = |epoch, index| outer(epoch, 0, Position { term: 3, index });
        assert!(covers(at(0, 9), at(0, 9)) && covers(at(0, 10), at(0, 9)) && !covers(at(0, 8), at(0, 9)));
        assert!(covers(at(1, 101), at(0, 103)), "void, and so in no state");
        assert!(!covers(at(0, 101), at(1, 103)));
    }

    #[test]
    fn signed_ends_are_remembered_longer_than_others() {
        let mut record = ChainRecord::genesis(Spec::default());
        let next = |record: &ChainRecord, seal: &'static [u8]| {
            let spec = Spec { epoch: record.spec.epoch + 1, ..Spec::default() };
            record.next_signed(spec, u64::from(record.spec.epoch), Bytes::from_static(seal))
        };
        record = next(&record, b"signed");
        for _ in 0..40 {
            record = next(&record, b"");
        }
        assert_eq!(record.past.len(), REMEMBERED + 1);
        assert_eq!(record.past[0].epoch, 0, "whoever is still there can be convinced");
        for _ in 0..2 * SEALS_REMEMBERED {
            record = next(&record, b"signed");
        }
        assert_eq!(record.past.len(), REMEMBERED + SEALS_REMEMBERED, "and there is an end to it");
    }

    #[test]
    fn a_record_survives_and_junk_does_not() {
        let record = ChainRecord::genesis(Spec::default()).next(Spec::default(), 9);
        assert_eq!(ChainRecord::decode(&record.encode()), Ok(Some(record.clone())));
        assert_eq!(ChainRecord::decode(b""), Ok(None));
        let ChainRecord { spec, base, past, inner, .. } = &record;
        assert_eq!(ChainRecord::decode(&wire::encode(&(spec, base, past, inner))), Ok(Some(record)));
        assert!(ChainRecord::decode(&[255; 9]).is_err());
    }
}
