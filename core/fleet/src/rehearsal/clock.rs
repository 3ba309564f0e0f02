//! Clocks of the rehearsal: monotonic ones that drift, calendars that jump inside what they state, and liars.

use crate::time::DRIFT_PPM;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Now, Seed, WallTime};

/// The calendar at the beginning of a run.
const EPOCH_NS: u64 = 1_800_000_000_000_000_000;

/// One node's clocks, as functions of the true time.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    ppm: i64,
    uncertainty: i64,
    /// From when on the calendar is off by how much.
    offsets: Vec<(Instant, i64)>,
}

const P: dwcp_env::Purpose = dwcp_env::Purpose::named("fleet.clock");

impl Clock {
    /// The clocks of a node.
    /// In doubt all state a second and a half, and are off by all of it.
    pub(super) fn draw(seed: Seed, node: u64, until: Instant, doubt: bool) -> Self {
        let draw = |ordinal, n| seed.below(n, P, node, Instant::ZERO, ordinal) as i64;
        let ppm = draw(0, 2 * DRIFT_PPM * 4 / 5) - DRIFT_PPM as i64 * 4 / 5;
        // From a GPS clock to a neglected NTP client.
        let stated = [1_000, 1_000_000, 50_000_000, 400_000_000, 1_500_000_000][draw(1, 5) as usize];
        let uncertainty = if doubt { 1_500_000_000 } else { stated };
        // Half of the clocks are off by all they state, one way or the other: where leases would meet if it were not stated.
        let extreme = [-uncertainty, uncertainty].get(draw(2, if doubt { 2 } else { 4 }) as usize).copied();
        let mut offsets = Vec::new();
        let mut at = 0;
        for jump in 0..8 {
            let anywhere = draw(10 + jump, 2 * uncertainty as u64 + 1) - uncertainty;
            offsets.push((Instant::from_nanos(at), extreme.unwrap_or(anywhere)));
            at += draw(20 + jump, until.as_nanos() / 3) as u64;
        }
        Self { ppm, uncertainty, offsets }
    }
    /// States three seconds, and is off by all of it: early, or late.
    pub(super) fn apart(&mut self, early: bool) {
        self.uncertainty = 3_000_000_000;
        let by = if early { self.uncertainty } else { -self.uncertainty };
        self.offsets = alloc::vec![(Instant::ZERO, by)];
    }
    /// From one time to another the calendar is off by this much beyond all it states.
    pub(super) fn lie(&mut self, from: Instant, to: Instant, by: i64) {
        let after = self.offset(to);
        self.offsets.retain(|(at, _)| *at < from || *at > to);
        self.offsets.push((from, by));
        self.offsets.push((to, after));
        self.offsets.sort_by_key(|(at, _)| *at);
    }
    fn offset(&self, at: Instant) -> i64 {
        self.offsets.iter().take_while(|(from, _)| *from <= at).last().map_or(0, |(_, by)| *by)
    }
    /// What the clocks say at a true time.
    pub(super) fn at(&self, truth: Instant) -> Now {
        let t = truth.as_nanos() as i64;
        Now {
            mono: Instant::from_nanos((t + t / 1_000_000 * self.ppm) as u64),
            wall: WallTime::from_nanos((EPOCH_NS as i64 + t + self.offset(truth)) as u64),
            uncertainty: Duration::nanos(self.uncertainty as u64),
        }
    }
    /// The true time at which the monotonic clock shows at least this.
    pub(super) fn truth(&self, mono: Instant) -> Instant {
        let m = i128::from(mono.as_nanos());
        let t = m * 1_000_000 / (1_000_000 + i128::from(self.ppm)) + 2_000_000;
        Instant::from_nanos(u64::try_from(t).unwrap_or(u64::MAX))
    }
}
