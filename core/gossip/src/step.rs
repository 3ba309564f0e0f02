//! What a step is given and where its outputs go, shared by the parts of the crate.

use crate::gossip::Output;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, Lane, NodeId, Purpose, Seed};

/// One step: the time, keyed draws, the outputs.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) out: &'a mut Vec<Output>,
    seed: Seed,
    ordinal: u64,
}

impl<'a> Step<'a> {
    /// `count` tells apart the steps of one instant.
    pub(crate) const fn new(now: Instant, seed: Seed, count: u64, out: &'a mut Vec<Output>) -> Self {
        Self { now, out, seed, ordinal: count << 16 }
    }
    /// A draw in `0..n`.
    pub(crate) fn below(&mut self, n: usize, purpose: Purpose) -> usize {
        self.ordinal += 1;
        self.seed.below(n as u64, purpose, 0, self.now, self.ordinal) as usize
    }
    /// A node's place in a period, the same at every step.
    pub(crate) const fn phase(&self, me: NodeId, period: Duration, purpose: Purpose) -> Duration {
        Duration::nanos(self.seed.below(period.as_nanos(), purpose, me.0, Instant::FAR, 0))
    }
    pub(crate) fn send(&mut self, to: NodeId, lane: Lane, body: Bytes) {
        self.out.push(Output::Send { to, lane, body });
    }
    /// One of `from` that `fits`, or none if there is none.
    pub(crate) fn pick(
        &mut self,
        from: &[NodeId],
        purpose: Purpose,
        fits: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        // A few tries find one quickly where most fit; then the scan from a drawn place is sure to.
        for _ in 0..4 {
            let n = *from.get(self.below(from.len(), purpose))?;
            if fits(n) {
                return Some(n);
            }
        }
        let start = self.below(from.len(), purpose);
        (0..from.len()).map(|i| from[(start + i) % from.len()]).find(|n| fits(*n))
    }
}
