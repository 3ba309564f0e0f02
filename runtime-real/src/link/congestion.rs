//! How much a QUIC link may have in flight, when the path loses packets without being full.
//!
//! **Promise.** Loss of up to one packet in twenty, on a path whose round trip has not grown, costs what was lost and no
//! rate. Loss beyond it, loss while the round trip shows a queue, a mark of the network, and the loss of everything halve the
//! window, as TCP's do.
//!
//! **Why.** Over a link of 160 ms one way that loses 1 %, Cubic's window lets half a Mbit/s through (Mathis et al., 1997), and
//! what does not fit waits in the sender: parity ahead of loss ([`dwcp_gossip`'s site streams][s]) would be sent too late. BBR as
//! quinn has it fills the link and loses up to half of what it sends there (shared/research/transport.md, 2.2).
//!
//! **Model.** Slow start and additive increase, by what is acknowledged while the window was the limit (RFC 9002, 7.3).
//! The queue is what the smoothed round trip has over the least since the window was halved last, for halving it empties a queue
//! that is no deeper than the path. A span of seconds would not do: the window grows by a packet a round trip, so on a
//! fast and long path a queue takes minutes to fill, and all of the last seconds would show it (BBR, which remembers ten
//! seconds, empties the queue to look). The share of loss is that of the last rounds, each counting half of the one after; of a
//! window so small that a share is chance, a quarter of it and eight packets are no chance.
//!
//! **Limits.** A way that becomes longer costs one halving at the next loss. Beside flows that fill a deep queue it is what Reno is. On a path that loses more than one in twenty all the
//! time, too.
//!
//! [s]: ../../../core/gossip/src/site.rs

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes in flight before anything is known of the path.
const FIRST_WINDOW: u64 = 32 * 1_200;
/// The most: what three lanes and the datagrams of a second may need.
const MOST: u64 = 32 * 1024 * 1024;
/// Loss of one packet in so many is the path's.
const TOLERATED: u64 = 20;
/// With fewer bytes than these in the last rounds a share of loss is chance,
const ENOUGH: u64 = 64 * 1_200;
/// unless so many packets were lost, and one in so many.
const MANY: (u64, u64) = (8, 4);
/// A queue of less is jitter.
const JITTER: Duration = Duration::from_millis(10);

/// Makes the controllers of connections.
#[derive(Debug, Default)]
pub(crate) struct Tolerant;

impl ControllerFactory for Tolerant {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Window::new(now, mtu))
    }
}

/// The window of one connection.
#[derive(Clone, Debug)]
struct Window {
    mtu: u64,
    window: u64,
    /// Below it the window doubles each round trip.
    threshold: u64,
    /// Losses of what was sent before have been answered.
    slowed_at: Instant,
    /// Bytes acknowledged towards the next increase.
    credit: u64,
    round_trip: Duration,
    /// The least since the window was halved last.
    least: Duration,
    round_since: Instant,
    /// Bytes acknowledged and lost in the last rounds.
    acked: u64,
    lost: u64,
}

impl Window {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            mtu: u64::from(mtu),
            window: FIRST_WINDOW,
            threshold: u64::MAX,
            slowed_at: now,
            credit: 0,
            round_trip: Duration::ZERO,
            least: Duration::MAX,
            round_since: now,
            acked: 0,
            lost: 0,
        }
    }

    fn floor(&self) -> u64 {
        2 * self.mtu
    }

    fn measure(&mut self, now: Instant, round_trip: Duration) {
        self.round_trip = round_trip;
        self.least = self.least.min(round_trip);
        if now.saturating_duration_since(self.round_since) >= round_trip {
            self.round_since = now;
            (self.acked, self.lost) = (self.acked / 2, self.lost / 2);
        }
    }

    /// Whether the round trip shows a queue.
    fn is_queueing(&self) -> bool {
        self.round_trip > self.least.saturating_add((self.least / 8).max(JITTER))
    }

    /// Whether so much is lost that it can't be the path alone.
    fn is_flooding(&self) -> bool {
        let all = self.acked + self.lost;
        let many = self.lost >= MANY.0 * self.mtu && self.lost * MANY.1 > all;
        many || (all >= ENOUGH && self.lost * TOLERATED > all)
    }

    /// The losses of all that was sent so far are answered; what the queue was is seen anew.
    fn slow_down(&mut self, now: Instant, window: u64) {
        self.threshold = (self.window / 2).max(self.floor());
        (self.window, self.slowed_at, self.credit) = (window.max(self.floor()), now, 0);
        if !self.round_trip.is_zero() {
            self.least = self.round_trip;
        }
    }

    fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64, limited_by_us: bool, trip: Duration) {
        self.acked += bytes;
        self.measure(now, trip);
        if limited_by_us || sent <= self.slowed_at {
            return;
        }
        if self.window < self.threshold {
            // The queue is seen before it overflows, as in HyStart (Ha and Rhee, 2011).
            if self.is_queueing() {
                self.threshold = self.window;
            } else {
                self.window += bytes;
            }
        } else {
            self.credit += bytes;
            if self.credit >= self.window {
                self.credit -= self.window;
                self.window += self.mtu;
            }
        }
        self.window = self.window.min(MOST);
    }

    fn lost(&mut self, now: Instant, sent: Instant, everything: bool, bytes: u64) {
        self.lost += bytes;
        if everything {
            return self.slow_down(now, 0);
        }
        let marked = bytes == 0;
        if sent > self.slowed_at && (marked || self.is_queueing() || self.is_flooding()) {
            self.slow_down(now, self.window / 2);
        }
    }
}

impl Controller for Window {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.acknowledged(now, sent, bytes, app_limited, rtt.get());
    }
    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.lost(now, sent, persistent, lost_bytes);
    }
    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
        self.window = self.window.max(self.floor());
    }
    fn window(&self) -> u64 {
        self.window
    }
    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }
    fn initial_window(&self) -> u64 {
        FIRST_WINDOW
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path on which each round trip's packets are acknowledged, but for every `nth`, which is lost.
    struct Path {
        window: Window,
        now: Instant,
        packets: u64,
    }

    impl Path {
        fn new() -> Self {
            let now = Instant::now();
            Self { window: Window::new(now, 1_200), now, packets: 0 }
        }
        fn rounds(&mut self, rounds: u32, trip_ms: u64, every_nth_lost: u64) -> u64 {
            for _ in 0..rounds {
                let sent = self.now + Duration::from_millis(1);
                self.now += Duration::from_millis(trip_ms);
                for _ in 0..(self.window.window / 1_200).min(2_000) {
                    self.packets += 1;
                    if every_nth_lost > 0 && self.packets.is_multiple_of(every_nth_lost) {
                        self.window.lost(self.now, sent, false, 1_200);
                    } else {
                        let trip = Duration::from_millis(trip_ms);
                        self.window.acknowledged(self.now, sent, 1_200, false, trip);
                    }
                }
            }
            self.window.window
        }
        /// A round trip in which so many packets are acknowledged, and then so many lost.
        fn round(&mut self, trip_ms: u64, acknowledged: u64, lost: u64) {
            let sent = self.now + Duration::from_millis(1);
            let trip = Duration::from_millis(trip_ms);
            self.now += trip;
            (0..acknowledged).for_each(|_| self.window.acknowledged(self.now, sent, 1_200, false, trip));
            (0..lost).for_each(|_| self.window.lost(self.now, sent, false, 1_200));
        }
    }

    #[test]
    fn loss_at_a_flat_round_trip_costs_no_rate_and_a_flood_of_it_does() {
        let mut path = Path::new();
        let grown = path.rounds(8, 320, 0);
        assert!(grown > 1_000_000, "{grown}");
        let lossy = path.rounds(100, 320, 50);
        assert!(lossy >= grown, "2 %: {grown} became {lossy}");
        let flooded = path.rounds(20, 320, 10);
        assert!(flooded < grown / 8, "10 %: {grown} became {flooded}");
    }

    #[test]
    fn a_small_window_is_no_excuse_for_losing_half() {
        // A path that takes no more than so much and has no queue: its round trip stays what it is.
        let mut path = Path::new();
        assert!(path.rounds(200, 20, 2) <= 8 * 1_200, "{}", path.window.window);
    }

    /// 100 Mbit/s, 100 ms, and a buffer for as much as is on its way: 2,080 packets fit, and the queue grows by one a trip.
    #[test]
    fn a_queue_that_grows_slowly_is_seen_when_it_overflows() {
        let (mut path, mut lost, mut all) = (Path::new(), 0, 0);
        for round in 0..5_000 {
            let packets = path.window.window / 1_200;
            let trip = 100 + packets.saturating_sub(1_040) * 96 / 1_000;
            let over = packets.saturating_sub(2_080);
            path.round(trip, packets - over, over);
            if round > 100 {
                (all, lost) = (all + packets, lost + over);
            }
        }
        assert!(lost * 2_000 <= all, "{lost} of {all} lost");
    }

    #[test]
    fn loss_with_a_queue_halves_once_a_round_trip() {
        let mut path = Path::new();
        let grown = path.rounds(8, 100, 0);
        let after = path.rounds(1, 140, 50);
        assert!((grown / 2 - 3_600..grown / 2 + 3_600).contains(&after), "{grown} became {after}");
    }

    #[test]
    fn a_queue_ends_slow_start_before_anything_is_lost() {
        let mut path = Path::new();
        let grown = path.rounds(4, 100, 0);
        let after = path.rounds(10, 160, 0);
        assert!(after < grown + 20 * 1_200, "{grown} became {after}");
    }

    #[test]
    fn a_longer_way_is_a_queue_until_it_has_cost_one_halving() {
        let mut path = Path::new();
        path.rounds(8, 50, 0);
        let grown = path.rounds(20, 100, 0);
        assert!(path.window.is_queueing());
        let halved = path.rounds(1, 100, 50);
        assert!((grown / 2 - 3_600..grown / 2 + 3_600).contains(&halved), "{grown} became {halved}");
        assert!(!path.window.is_queueing());
        assert!(path.rounds(50, 100, 50) >= halved, "and then it is the path's again");
    }

    #[test]
    fn marks_and_the_loss_of_everything_are_heard() {
        let mut path = Path::new();
        let grown = path.rounds(6, 100, 0);
        let later = path.now + Duration::from_millis(1);
        path.window.lost(later, later, false, 0);
        assert_eq!(path.window.window, grown / 2);
        path.window.lost(later, later, true, 1_200);
        assert_eq!(path.window.window, 2_400);
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut path = Path::new();
        let sent = path.now + Duration::from_millis(1);
        for n in 2..1_000 {
            let now = path.now + Duration::from_millis(n);
            path.window.acknowledged(now, sent, 1_200, true, Duration::from_millis(1));
        }
        assert_eq!(path.window.window, FIRST_WINDOW);
    }
}
