//! The cheap rungs of the ladder: 32 bytes that say whether anything is missing, then exactly what is.
//!
//! | rung | sent | answered |
//! |---|---|---|
//! | digest | 16 bytes of the version's hash, 16 of the state's fingerprint | equal: nothing to do |
//! | version | the version vector (30 replicas: 60 to 130 bytes) | the operations that are missing |
//! | beyond the log | the version vector | range reconciliation (`range`), or a snapshot |
//!
//! Two digests with equal versions and different states can't be: a bug or rot. [`Space::compare`] says so, and the
//! caller raises it (`Probe::always`) before it repairs by reconciliation.

use super::Space;
use crate::batch::Batch;
use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::hlc::Hlc;
use crate::version::VersionVector;
use alloc::vec::Vec;
use dwcp_env::Probe;

/// A space in 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// Hash of what was received.
    pub version: u128,
    /// Fingerprint of what is live.
    pub state: u128,
}

impl Digest {
    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        out[..16].copy_from_slice(&self.version.to_le_bytes());
        out[16..].copy_from_slice(&self.state.to_le_bytes());
        out
    }
    /// From the 32 bytes.
    ///
    /// # Errors
    /// If there are not 32.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut half =
            || -> Result<u128, Malformed> { Ok(u128::from(from.fixed()?) | u128::from(from.fixed()?) << 64) };
        Ok(Self { version: half()?, state: half()? })
    }
}

/// How a peer's digest compares with ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// Same operations, same state.
    Same,
    /// Different operations: exchange versions.
    Differ,
    /// Same operations, different states: a bug or rot, here or there. Reconcile against a third replica.
    Broken,
}

/// What a peer lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// These operations; `more` if the budget did not suffice.
    Operations {
        /// To be applied in this order.
        batches: Vec<Batch>,
        /// Whether there are more.
        more: bool,
    },
    /// Operations that our log no longer holds: it needs reconciliation or a snapshot. The replica of whom it lacks them.
    BelowLog(ReplicaIndex),
}

/// Bytes of one maker's operations before it is asked anew whose are the oldest.
const SLICE: usize = 64 * 1024;

impl Space {
    /// The space in 32 bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut h = self.config.secret.hasher();
        for (r, s) in self.vv.iter() {
            h = h.pair(u64::from(r.0), s);
        }
        Digest { version: h.sum(), state: self.fingerprint() }
    }
    /// The sum over all that is live.
    #[must_use]
    pub const fn fingerprint(&self) -> u128 {
        self.tree.total()
    }
    /// Compares a peer's digest with ours. Equal versions with different states break `crdt.1`.
    pub fn compare(&self, theirs: &Digest, probe: &Probe) -> Compared {
        let ours = self.digest();
        if ours.version != theirs.version {
            return Compared::Differ;
        }
        probe.always("crdt.1", ours.state == theirs.state, || {
            alloc::format!(
                "{} at {}: {:032x} here, {:032x} there",
                self.me,
                self.vv,
                ours.state,
                theirs.state
            )
        });
        if ours.state == theirs.state { Compared::Same } else { Compared::Broken }
    }
    /// What a peer of that version lacks, about `budget` bytes of it: the oldest of all makers first. What an operation removes is
    /// older than it, so little of what is sent speaks of what has not been; one maker after the other, the first
    /// might have removed more of the second's than a peer keeps in mind ([`super::Config::pending_max`]).
    #[must_use]
    pub fn missing(&self, theirs: &VersionVector, budget: usize) -> Missing {
        let mut behind: Vec<(Hlc, ReplicaIndex, u64)> = Vec::new();
        for (r, have) in self.vv.iter() {
            let they_have = theirs.get(r);
            if they_have >= have {
                continue;
            }
            let Some(log) = self.logs.get(usize::from(r.0)).filter(|l| l.base() <= they_have) else {
                return Missing::BelowLog(r);
            };
            behind.push((log.time_after(they_have), r, they_have));
        }
        let (mut batches, mut left) = (Vec::<Batch>::new(), budget);
        while let Some(oldest) = (0..behind.len()).min_by_key(|i| behind[*i]) {
            if left == 0 {
                return Missing::Operations { batches, more: true };
            }
            let (_, r, they_have) = behind[oldest];
            let (log, have) = (&self.logs[usize::from(r.0)], self.vv.get(r));
            let slice = if behind.len() == 1 { left } else { left.min(SLICE) };
            let found = log.after(they_have, have, slice);
            left = left.saturating_sub(found.iter().map(Batch::size).sum());
            match found.last().map(|b| b.last().sequence()) {
                Some(upto) if upto < have => behind[oldest] = (log.time_after(upto), r, upto),
                _ => drop(behind.remove(oldest)),
            }
            batches.extend(found);
        }
        Missing::Operations { batches, more: false }
    }
    /// What a replica made after one of its operations up to another, about `budget` bytes of it; nothing if our log no longer
    /// holds it all.
    #[must_use]
    pub fn made(&self, by: ReplicaIndex, after: u64, upto: u64, budget: usize) -> Option<Vec<Batch>> {
        let upto = upto.min(self.vv.get(by));
        if after >= upto {
            return Some(Vec::new());
        }
        let log = self.logs.get(usize::from(by.0))?;
        (after >= log.base()).then(|| log.after(after, upto, budget))
    }
    /// Up to `operations` operations, the latest of them `last`, which ends a batch; nothing if the log no longer holds it.
    /// Whoever lacks only some of them takes only those.
    #[must_use]
    pub fn ending_with(&self, last: Dot, operations: u64) -> Option<Batch> {
        let log = self.logs.get(usize::from(last.replica().0))?;
        if last.sequence() <= log.base() || !self.vv.contains(last) {
            return None;
        }
        let after = last.sequence().saturating_sub(operations).max(log.base());
        let batch = log.after(after, last.sequence(), usize::MAX).pop()?;
        (batch.last() == last).then_some(batch)
    }
    /// Writes the version, the question after what is missing.
    #[must_use]
    pub fn ask(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.vv.encode(&mut out);
        out.into_bytes()
    }
}
