//! Until when a node may answer for the keyspace it is home to.

use dwcp_env::{Duration, Instant};

/// A lease on the deed, by this node's own clock.
///
/// A read of the deed that began at t and found this node's region alone named tells that until t nobody had asked for the
/// keyspace. Whoever asks later waits [`Fence::wait`] from when it saw its wish decided, which is after t; so until t + lease, by a
/// clock that is not a fifth slower than the other, nobody else answers.
#[derive(Clone, Debug)]
pub struct Fence {
    lease: Duration,
    until: Instant,
    asked_at: Option<Instant>,
}

impl Fence {
    /// Not held.
    #[must_use]
    pub const fn new(lease: Duration) -> Self {
        Self { lease, until: Instant::ZERO, asked_at: None }
    }
    /// How long who takes over must wait after it saw its wish in the deed.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.lease + self.lease / 4
    }
    /// Whether this node may answer.
    #[must_use]
    pub fn holds(&self, now: Instant) -> bool {
        now < self.until
    }
    /// What is left of it.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.until.since(now)
    }
    /// Whether the deed is to be read now: a third of the lease is over, and no question is younger than a sixth.
    #[must_use]
    pub fn wants(&self, now: Instant) -> bool {
        self.next() <= now
    }
    /// When it is to be read next.
    #[must_use]
    pub fn next(&self) -> Instant {
        let renew = if self.until == Instant::ZERO { Instant::ZERO } else { self.renew_at() };
        let again = self.asked_at.map_or(Instant::ZERO, |at| at + self.lease / 6);
        renew.max(again)
    }
    fn renew_at(&self) -> Instant {
        // The lease began with the question that was answered.
        let began = Instant::from_nanos(self.until.as_nanos().saturating_sub(self.lease.as_nanos()));
        began + self.lease / 3
    }
    /// A read of the deed begins.
    pub fn ask(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }
    /// The read that began then found this node's region alone.
    pub fn confirm(&mut self, began: Instant) {
        self.until = self.until.max(began + self.lease);
    }
    /// It found another, or a wish.
    pub fn lose(&mut self) {
        self.until = Instant::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    #[test]
    fn it_lasts_from_the_start_of_the_read_and_not_from_its_answer() {
        let mut fence = Fence::new(Duration::millis(300));
        assert!(!fence.holds(at(1)) && fence.wants(at(1)));
        fence.ask(at(10));
        assert!(!fence.wants(at(59)) && fence.wants(at(60)), "an answer may be lost");
        fence.confirm(at(10));
        assert!(fence.holds(at(309)) && !fence.holds(at(310)));
        assert_eq!(fence.next(), at(110));
        fence.confirm(at(5));
        assert!(fence.holds(at(309)), "a late answer to an earlier read takes nothing back");
        fence.lose();
        assert!(!fence.holds(at(11)));
    }

    #[test]
    fn who_takes_over_waits_longer_than_a_slow_clock_holds_on() {
        let fence = Fence::new(Duration::secs(4));
        // Two clocks, each a tenth off the truth, as far as a simulated one may be.
        let (slow, fast) = (Duration::millis(4_000 * 10 / 9), Duration::millis(5_000 * 10 / 11));
        assert!(fence.wait() == Duration::secs(5) && slow < fast);
    }
}
