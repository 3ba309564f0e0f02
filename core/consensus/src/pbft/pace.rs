//! Whether a primary is slower than it need be.
//!
//! **Promise.** A primary that keeps bundles waiting, always just within the patience, is left. One that is as quick as the network
//! and the disks let it be is not, nor is one that is no slower than twice the quickest there is.
//!
//! **Source.** Clement et al., *Making Byzantine Fault Tolerant Systems Tolerate Byzantine Faults* (Aardvark, NSDI 2009, §4.3): a
//! primary is held to what others have achieved. There throughput is compared, which falls when clients ask for less; here it is
//! times.
//!
//! **Model.** Two times are known to each member. From its note of a place to the decision there: that is two ways between the
//! quickest quorum's members and two of their syncs, which no primary can stretch (the *phase*). And from when a bundle is
//! known here until the primary gives it a place (the *wait*): of a correct primary that is two ways and a sync, and the time
//! until its pipeline has room, which is about a phase. So a wait of many phases is the primary's doing. Of each the median of
//! the last few counts, in this view.
//!
//! One member alone must not leave: it would take part in no view, and the others would stay. Who finds the primary slow
//! *complains*: it sends its next bundles to everybody. They pass them on to the primary, so that nobody can make it look slow
//! by keeping a bundle from it, and now all of them see how long it takes. Who sees the same for twice as long again leaves, and
//! who would complain itself leaves with it.
//!
//! **Not for ever.** A primary far away is slow for those who are near each other, and so may all be. What each primary came to is
//! remembered: it is left only for one that was never tried, or was twice as quick.
//!
//! **Left to others.** A primary that orders nothing at all is found out by the patience (`requests`).

use alloc::collections::BTreeMap;
use dwcp_env::{Duration, Instant};

/// Waits and phases that are looked at; a view is judged by no fewer.
const SAMPLES: usize = 15;
/// A wait of so many phases is not the network's.
const PHASES: u64 = 8;
/// Nor is it a primary's fault if it is below this part of the patience.
const PATIENCE_PARTS: u64 = 32;
/// How much quicker another was, to be gone to.
const QUICKER: u64 = 2;

/// The last few of a time.
#[derive(Clone, Debug, Default)]
struct Lately {
    last: [u64; SAMPLES],
    count: usize,
}

impl Lately {
    fn add(&mut self, time: Duration) {
        self.last[self.count % SAMPLES] = time.as_nanos();
        self.count += 1;
    }
    /// The median, once there are enough.
    fn median(&self) -> Option<u64> {
        let mut sorted = self.last;
        sorted.sort_unstable();
        (self.count >= SAMPLES).then(|| sorted[SAMPLES / 2])
    }
}

/// What a member thinks of its primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thought {
    /// It is as quick as it can be, as far as is known.
    Fine,
    /// It is slow: others should see that.
    Complain,
    /// It stays slow while others can see that.
    Leave,
}

/// What is known of times in this view, and of primaries before.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    phase: Lately,
    wait: Lately,
    /// How many waits had been seen when this member began to complain.
    complained_at: Option<usize>,
    /// What each primary came to when it was last judged, by place.
    known: BTreeMap<usize, u64>,
    /// When places that are not decided were noted.
    noted: BTreeMap<u64, Instant>,
    /// The time of this step.
    pub(super) clock: Instant,
}

/// How quick somebody is changes no state: it is no part of its identity.
impl PartialEq for Pace {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Pace {}
impl core::hash::Hash for Pace {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

impl Pace {
    /// This member takes note of a place.
    pub(super) fn noted(&mut self, seq: u64) {
        self.noted.insert(seq, self.clock);
    }
    /// It is decided: by this view's commits, or by the word of others, which says nothing of the time it took.
    pub(super) fn decided(&mut self, seq: u64, by_commits: bool) {
        if let Some(at) = self.noted.remove(&seq).filter(|_| by_commits) {
            self.phase.add(self.clock.since(at));
        }
    }
    /// A bundle got its place, so long after it was known here.
    pub(super) fn ordered(&mut self, after: Duration) {
        self.wait.add(after);
    }
    /// Another view begins.
    pub(super) fn renew(&mut self) {
        (self.phase, self.wait, self.complained_at) = Default::default();
        self.noted.clear();
    }
    /// Whether own bundles go to everybody.
    pub(super) fn complains(&self) -> bool {
        self.complained_at.is_some()
    }
    /// What this member thinks of the primary at this place, one of `n`.
    pub(super) fn think(&mut self, primary: usize, n: usize, patience: Duration) -> Thought {
        let (Some(wait), Some(phase)) = (self.wait.median(), self.phase.median()) else {
            return Thought::Fine;
        };
        self.known.insert(primary, wait);
        let slow = wait > phase.saturating_mul(PHASES) && wait > patience.as_nanos() / PATIENCE_PARTS;
        let others = (0..n).filter(|place| *place != primary).map(|place| self.known.get(&place));
        let better = others.into_iter().any(|known| known.is_none_or(|w| wait / QUICKER > *w));
        if !slow || !better {
            self.complained_at = None;
            return Thought::Fine;
        }
        let since = *self.complained_at.get_or_insert(self.wait.count);
        if self.wait.count - since < 2 * SAMPLES { Thought::Complain } else { Thought::Leave }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::secs(1);

    fn ms(n: u64) -> Duration {
        Duration::millis(n)
    }
    fn seen(pace: &mut Pace, wait: u64, phase: u64, times: usize) {
        for _ in 0..times {
            pace.ordered(ms(wait));
            pace.noted(1);
            pace.clock += ms(phase);
            pace.decided(1, true);
        }
    }

    #[test]
    fn a_primary_that_keeps_bundles_waiting_is_complained_of_and_then_left() {
        let mut pace = Pace::default();
        seen(&mut pace, 400, 5, SAMPLES - 1);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Fine, "too little was seen");
        seen(&mut pace, 400, 5, 1);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Complain);
        assert!(pace.complains());
        seen(&mut pace, 400, 5, 2 * SAMPLES - 1);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Complain);
        seen(&mut pace, 400, 5, 1);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Leave);
    }

    #[test]
    fn who_mends_its_ways_or_has_a_reason_stays() {
        let mut pace = Pace::default();
        seen(&mut pace, 400, 5, SAMPLES);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Complain);
        seen(&mut pace, 12, 5, SAMPLES);
        assert_eq!(pace.think(0, 4, PATIENCE), Thought::Fine);
        assert!(!pace.complains());
        for (wait, phase, why) in
            [(400, 60, "the network is as slow"), (30, 1, "that is nothing beside the patience")]
        {
            let mut pace = Pace::default();
            seen(&mut pace, wait, phase, 3 * SAMPLES);
            assert_eq!(pace.think(0, 4, PATIENCE), Thought::Fine, "{why}");
        }
    }

    #[test]
    fn primaries_that_are_all_alike_are_each_tried_once() {
        let mut pace = Pace::default();
        for (primary, wait) in [(0, 300), (1, 260), (2, 340)] {
            pace.renew();
            seen(&mut pace, wait, 5, SAMPLES);
            assert_eq!(pace.think(primary, 4, PATIENCE), Thought::Complain, "{primary}");
            seen(&mut pace, wait, 5, 2 * SAMPLES);
            assert_eq!(pace.think(primary, 4, PATIENCE), Thought::Leave, "{primary}");
        }
        pace.renew();
        seen(&mut pace, 280, 5, 2 * SAMPLES);
        assert_eq!(pace.think(3, 4, PATIENCE), Thought::Fine, "no other is twice as quick");
        // One that was quicker has become slow since.
        pace.renew();
        seen(&mut pace, 900, 5, SAMPLES);
        assert_eq!(pace.think(1, 4, PATIENCE), Thought::Complain);
    }
}
