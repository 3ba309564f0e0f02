//! How far regions are behind their home, and whether that is within what was agreed.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use dwcp_env::{ByteCount, Duration, Instant, NodeId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Marks that are remembered; with more every second one goes, and times are told by the earlier neighbour.
const MARKS_MAX: usize = 4_096;

/// How far regions may be behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bound {
    /// Entries a region may lack.
    pub entries: u64,
    /// Bytes of commands it may lack.
    pub bytes: ByteCount,
    /// How long ago the first that it lacks was decided.
    pub time: Duration,
    /// How many regions must be within.
    pub copies: u32,
}

impl Default for Bound {
    fn default() -> Self {
        Self { entries: 10_000, bytes: ByteCount::mib(16), time: Duration::secs(5), copies: 1 }
    }
}

/// Why a bound can't be.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BoundError {
    /// Nothing could ever be written.
    #[error(
        "a bound of nothing lets nothing be written: entries, bytes and time are at least 1, 4 KiB and 100 ms"
    )]
    Nothing,
    /// More than there are.
    #[error("{wanted} regions can't be within the bound: there are {others} besides the home")]
    Copies {
        /// How many were asked for.
        wanted: u32,
        /// How many there are.
        others: u32,
    },
}

impl Bound {
    /// Whether it can be, with so many regions besides the home.
    ///
    /// # Errors
    /// Why not.
    pub const fn check(&self, others: u32) -> Result<(), BoundError> {
        let least = Duration::millis(100);
        if self.entries == 0 || self.bytes.0 < 4_096 || self.time.as_nanos() < least.as_nanos() {
            return Err(BoundError::Nothing);
        }
        if self.copies > others {
            return Err(BoundError::Copies { wanted: self.copies, others });
        }
        Ok(())
    }
    /// Whether so much may be lacking.
    #[must_use]
    pub fn allows(&self, lag: &Lag) -> bool {
        lag.entries <= self.entries && lag.bytes <= self.bytes && lag.time <= self.time
    }
}

/// What somebody lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lag {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: ByteCount,
    /// Since when, by the home's clock.
    pub time: Duration,
}

/// Where the order was at some time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    /// Bytes of all entries up to it.
    bytes: u64,
    at: Instant,
}

/// What was applied here, and what others have of it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: VecDeque<Mark>,
    /// The first mark's predecessor: what lies before it is nobody's concern.
    base: (u64, u64),
    begun: Instant,
    held: BTreeMap<NodeId, u64>,
}

impl Ledger {
    /// Notes that up to this index, in all so many bytes, is applied.
    pub fn applied(&mut self, now: Instant, index: u64, bytes: u64) {
        let last = self.marks.back().map_or(self.base.0, |m| m.index);
        if index > last {
            self.marks.push_back(Mark { index, bytes, at: now });
        }
        if self.marks.len() > MARKS_MAX {
            // The later of two goes: what it stood for is then told to be as old as its elder.
            let mut nth = 0_usize;
            let all: Vec<Mark> = self.marks.drain(..).collect();
            for pair in all.chunks(2) {
                nth += 1;
                let (first, second) = (pair[0], *pair.last().unwrap_or(&pair[0]));
                self.marks.push_back(Mark { at: first.at, ..second });
            }
            debug_assert!(nth <= MARKS_MAX);
        }
    }
    /// Notes what a node has on disk.
    pub fn heard(&mut self, node: NodeId, index: u64) {
        let held = self.held.entry(node).or_default();
        *held = index.max(*held);
    }
    /// A new era, or a new lifetime: what nodes had before says nothing.
    pub fn begin(&mut self, now: Instant, index: u64, bytes: u64) {
        *self = Self { base: (index, bytes), begun: now, ..Self::default() };
    }
    /// The index that a majority of these nodes has on disk; `None` until so many have said what they have.
    #[must_use]
    pub fn held_by(&self, nodes: &[NodeId]) -> Option<u64> {
        // Who has said nothing may have nothing, and is no part of a majority.
        let mut held: Vec<Option<u64>> = nodes.iter().map(|n| self.held.get(n).copied()).collect();
        held.sort_unstable();
        // Of n sorted, those before this one may lack it: more than half have it.
        let minority = held.len().saturating_sub(1) / 2;
        held.get(minority).copied().flatten()
    }
    /// What somebody lacks who has this index.
    #[must_use]
    pub fn lag(&self, now: Instant, has: u64) -> Lag {
        let (last, bytes) = self.marks.back().map_or(self.base, |m| (m.index, m.bytes));
        if last <= has {
            return Lag::default();
        }
        let next = self.marks.partition_point(|m| m.index <= has);
        let before = next.checked_sub(1).and_then(|i| self.marks.get(i)).map_or(self.base.1, |m| m.bytes);
        // What lies before the base this ledger did not see: it is at least as old as the ledger.
        let unseen = has < self.base.0;
        let since = self.marks.get(next).filter(|_| !unseen).map_or(self.begun, |m| m.at);
        Lag { entries: last - has, bytes: ByteCount(bytes.saturating_sub(before)), time: now.since(since) }
    }
    /// Forgets what all of these have.
    pub fn trim(&mut self, nodes: &[NodeId]) {
        let all = nodes.iter().map(|n| self.held.get(n).copied().unwrap_or(0)).min().unwrap_or(0);
        while let Some(first) = self.marks.front().copied().filter(|m| m.index <= all) {
            self.base = (first.index, first.bytes);
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    fn lag(entries: u64, bytes: u64, ms: u64) -> Lag {
        Lag { entries, bytes: ByteCount(bytes), time: Duration::millis(ms) }
    }

    #[test]
    fn a_region_holds_what_a_majority_of_its_nodes_has() {
        let nodes: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let mut ledger = Ledger::default();
        for (node, index) in [(1, 9), (2, 7), (3, 5), (4, 0), (2, 3)] {
            ledger.heard(NodeId(node), index);
        }
        for (n, held) in [(1, Some(9)), (2, Some(7)), (3, Some(7)), (4, Some(5)), (5, Some(5))] {
            assert_eq!(ledger.held_by(&nodes[..n]), held, "{n} nodes");
        }
        let strangers: Vec<NodeId> = (3..=7).map(NodeId).collect();
        assert_eq!(
            (ledger.held_by(&strangers), ledger.held_by(&[])),
            (None, None),
            "two of five have spoken"
        );
    }

    #[test]
    fn what_is_lacking_is_counted_in_entries_bytes_and_time() {
        let mut ledger = Ledger::default();
        ledger.begin(at(5), 100, 0);
        ledger.applied(at(10), 103, 30);
        ledger.applied(at(20), 103, 30);
        ledger.applied(at(30), 110, 100);
        for (has, is) in [
            (110, lag(0, 0, 0)),
            (103, lag(7, 70, 20)),
            (101, lag(9, 100, 40)),
            (90, lag(20, 100, 45)),
            (120, lag(0, 0, 0)),
        ] {
            assert_eq!(ledger.lag(at(50), has), is, "who has {has}");
        }
        ledger.heard(NodeId(1), 103);
        ledger.trim(&[NodeId(1)]);
        assert_eq!(ledger.lag(at(50), 103), lag(7, 70, 20));
    }

    #[test]
    fn marks_are_bounded_and_no_lag_is_told_too_short() {
        let mut ledger = Ledger::default();
        for n in 1..=20_000 {
            ledger.applied(at(n), n, n);
        }
        assert!(ledger.marks.len() <= MARKS_MAX);
        for has in [0, 1, 77, 9_999, 19_990] {
            let lag = ledger.lag(at(20_000), has);
            assert!(
                lag.time >= at(20_000).since(at(has + 1)) && lag.entries == 20_000 - has,
                "{has}: {lag:?}"
            );
            assert!(lag.bytes.0 >= 20_000 - has);
        }
    }

    #[test]
    fn a_bound_allows_what_is_within_all_three() {
        let bound = Bound { entries: 5, bytes: ByteCount::kib(4), time: Duration::secs(1), copies: 1 };
        assert!(bound.allows(&lag(5, 4_096, 1_000)) && bound.check(1).is_ok());
        assert!(
            !bound.allows(&lag(6, 1, 1))
                && !bound.allows(&lag(1, 4_097, 1))
                && !bound.allows(&lag(1, 1, 1_001))
        );
        assert_eq!(bound.check(0), Err(BoundError::Copies { wanted: 1, others: 0 }));
        assert_eq!(Bound { entries: 0, ..bound }.check(1), Err(BoundError::Nothing));
    }
}
