//! Hybrid logical time: a wall clock that never runs backwards along cause and effect.
//!
//! Source: Kulkarni et al., *Logical physical clocks* (OPODIS 2014). Differences: packed into one
//! `u64` (48 bits of milliseconds, 16 of counter; a full counter carries into the next
//! millisecond); time is always an argument; and what a peer says moves the clock only so far.
//!
//! **What time decides, and what it doesn't.** An operation that saw another supersedes it by its
//! dots, whatever the clocks said. Time only picks the winner among *concurrent* writes of a
//! last-writer-wins register, and orders range reconciliation.
//!
//! **Drift is bounded at the origin.** A replica whose own clock stands more than
//! [`Bounds::drift`] from the median of its peers refuses *its own* writes ([`Drift`]) until an
//! operator has mended the clock. A peer's operation is never refused for its time: others have
//! it already, and refusing it would make us differ from them for ever. Nor does it drag the clock
//! along if it lies more than [`Bounds::ahead`] in the future; the dots keep cause and effect right
//! without it.

use crate::dot::ReplicaIndex;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

/// A moment: 48 bits of milliseconds since 1970, 16 bits that tell apart what happened within one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first moment of a millisecond; beyond 48 bits, the last there is.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        if millis >= 1 << 48 { Self(u64::MAX) } else { Self(millis << 16) }
    }
    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }
    /// Which moment of its millisecond.
    #[must_use]
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }
    /// The next moment; the last has none and stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}
impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How far clocks may stray.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// From the median of the peers before own writes are refused, in milliseconds.
    pub drift: u64,
    /// How far into the future a peer's operation may push the clock, in milliseconds.
    pub ahead: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { drift: 500, ahead: 60_000 }
    }
}

/// The own clock strays too far to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error(
    "this clock is {offset} ms from the median of its peers, {bound} ms are allowed: set the clock (chronyc tracking), writes resume by themselves"
)]
pub struct Drift {
    /// Own clock minus the peers' median, in milliseconds.
    pub offset: i64,
    /// What is allowed.
    pub bound: u64,
}

/// A replica's clock. It holds no time of its own: each call brings the wall clock's reading.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    last: Hlc,
    bounds: Bounds,
    offsets: BTreeMap<ReplicaIndex, i64>,
    /// What they come to: each write asks.
    offset: Option<i64>,
}

impl Clock {
    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { last: Hlc::default(), bounds, offsets: BTreeMap::new(), offset: None }
    }
    /// A moment later than every other this clock has given or taken, for a write at `millis`.
    ///
    /// # Errors
    /// If the clock strays from its peers.
    pub fn tick(&mut self, millis: u64) -> Result<Hlc, Drift> {
        self.check()?;
        self.last = Hlc::at(millis).max(self.last.next());
        Ok(self.last)
    }
    /// Whether own writes are allowed.
    ///
    /// # Errors
    /// If the clock strays from its peers.
    pub fn check(&self) -> Result<(), Drift> {
        let Some(offset) = self.offset else { return Ok(()) };
        if offset.unsigned_abs() > self.bounds.drift {
            return Err(Drift { offset, bound: self.bounds.drift });
        }
        Ok(())
    }
    /// Takes note of a peer's operation, read when the wall clock stood at `millis`.
    pub fn observe(&mut self, theirs: Hlc, millis: u64) {
        if theirs.millis() <= millis.saturating_add(self.bounds.ahead) {
            self.last = self.last.max(theirs);
        }
    }
    /// Takes note of an operation of our own, found in the log at start.
    pub fn resume(&mut self, own: Hlc) {
        self.last = self.last.max(own);
    }
    /// Takes note of how far a peer's wall clock stands behind ours (negative: before), as its last exchange showed.
    pub fn measured(&mut self, peer: ReplicaIndex, offset_millis: i64) {
        self.offsets.insert(peer, offset_millis);
        self.offset = self.median();
    }
    /// Forgets a peer that left.
    pub fn forget(&mut self, peer: ReplicaIndex) {
        self.offsets.remove(&peer);
        self.offset = self.median();
    }
    /// Own clock minus the median of all clocks measured, our own among them.
    #[must_use]
    pub const fn offset(&self) -> Option<i64> {
        self.offset
    }
    fn median(&self) -> Option<i64> {
        if self.offsets.is_empty() {
            return None;
        }
        let mut all: Vec<i64> = self.offsets.values().copied().collect();
        all.push(0);
        all.sort_unstable();
        // Of two middle ones the nearer to us: two replicas that differ can't know which is wrong.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Some(if low.unsigned_abs() < high.unsigned_abs() { low } else { high })
    }
    /// The last moment given or taken.
    #[must_use]
    pub const fn last(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_back() {
        let mut c = Clock::default();
        let a = c.tick(1_000).unwrap();
        let b = c.tick(1_000).unwrap();
        let d = c.tick(400).unwrap();
        assert!(a < b && b < d, "{a} {b} {d}");
        c.observe(Hlc::at(30_000), 1_000);
        assert!(c.tick(1_000).unwrap() > Hlc::at(30_000));
    }

    #[test]
    fn the_far_future_does_not_drag_the_clock_along() {
        let mut c = Clock::default();
        c.observe(Hlc(u64::MAX), 1_000);
        assert_eq!(c.tick(1_000).unwrap(), Hlc::at(1_000));
    }

    #[test]
    fn a_full_counter_carries() {
        let mut c = Clock::default();
        let first = c.tick(5).unwrap();
        let mut last = first;
        for _ in 0..70_000 {
            last = c.tick(5).unwrap();
        }
        assert_eq!(last.millis(), 6);
        assert_eq!(last.0 - first.0, 70_000);
    }

    #[test]
    fn own_writes_stop_when_the_clock_strays_from_the_median() {
        let mut c = Clock::default();
        c.measured(ReplicaIndex(1), 3_600_000);
        assert!(c.tick(1).is_ok(), "one against one decides nothing");
        c.measured(ReplicaIndex(2), 3_600_100);
        assert_eq!(c.tick(1), Err(Drift { offset: 3_600_000, bound: 500 }));
        c.measured(ReplicaIndex(1), 20);
        assert!(c.tick(1).is_ok(), "one bad peer is outvoted");
    }
}
