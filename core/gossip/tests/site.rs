//! The stream between two sites: lag, loss, cuts, coalescing, bounds.
#![allow(missing_docs, reason = "a test")]

#[path = "world/link.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the example")]
mod link;

use dwcp_env::{Duration, Instant, NodeId, Ratio, Seed};
use dwcp_gossip::RumourId;
use dwcp_gossip::site::{Inbound, Item, KeepAll, Letter, Outbound, Received, Sent, SiteSettings, Vector};
use link::{Carrier, LastOnly, Link, run};
use proptest::prelude::*;

fn quantile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}
fn in_order_and_whole(applied: &[u64], total: u64) {
    assert!(applied.iter().copied().eq(1..=total), "{} of {total}", applied.len());
}

#[test]
fn ten_thousand_updates_a_second_lag_a_quarter_of_a_second_at_160_ms() {
    let came = run(Link { seconds: 5, ..Link::default() }, Seed(1), &KeepAll);
    in_order_and_whole(&came.applied, 50_000);
    assert_eq!(came.lag.len(), 50_000);
    let p99 = quantile(&came.lag, 99);
    assert!(p99 <= 250_000, "p99 {p99} us");
    assert!(came.estimate_off < 20_000, "the sender's own figure is off by {} us", came.estimate_off);
    assert_eq!(came.again, 0);
}

#[test]
fn at_one_percent_loss_the_parity_keeps_the_lag() {
    let lag = |link| {
        let came = run(link, Seed(1), &KeepAll);
        in_order_and_whole(&came.applied, 50_000);
        (quantile(&came.lag, 99), came.bytes)
    };
    let base = Link { seconds: 5, loss: Ratio::ppm(10_000), ..Link::default() };
    let (with, bytes) = lag(base);
    assert!(with <= 250_000, "p99 {with} us");
    assert!(bytes < 50_000 * 190, "{bytes} bytes");
    let (in_bursts, _) = lag(Link { burst: 3, seconds: 5, ..base });
    assert!(in_bursts <= 700_000, "p99 {in_bursts} us");
    // Without it, and over an ordered stream, a loss costs what it costs to notice and repair it.
    let none = SiteSettings { parity_max: 0, ..SiteSettings::default() };
    let (without, _) = lag(Link { settings: none, ..base });
    let (stream, _) = lag(Link { carrier: Carrier::Stream, settings: whole(), ..base });
    assert!(without > 500_000 && stream > 480_000, "p99 {without} us and {stream} us");
}

#[test]
fn what_came_by_repair_is_not_waited_for() {
    // Batch 0 is lost; its items become durable there by a digest's repair, so it is never sent again.
    let mut s = Outbound::new(whole(), 0);
    let mut r = Inbound::new(at(0), Vector::new());
    let (mut out, mut got) = (Vec::new(), Vec::new());
    s.receive(at(0), &Letter::Hello { durable: Vector::new() }, &mut out);
    s.offer(at(1), item(1), 1, at(1), &KeepAll, &mut out);
    s.wake(at(51), &mut out);
    out.clear();
    r.receive(at(60), Letter::Begin { session: 1 }, &mut got);
    r.durable(at(70), &Vector::from([(1, 1)]), &mut got);
    let Some(Received::Letter(ack)) = got.pop() else { panic!("it acknowledges") };
    s.receive(at(80), &ack, &mut out);
    s.offer(at(81), item(2), 2, at(81), &KeepAll, &mut out);
    s.wake(at(131), &mut out);
    let batch = out.into_iter().find_map(|o| match o {
        Sent::Letter(l @ Letter::Batch { .. }) => Some(l),
        _ => None,
    });
    got.clear();
    r.receive(at(140), batch.expect("the next batch"), &mut got);
    assert!(got.iter().any(|g| matches!(g, Received::Apply { items } if items == &[item(2)])), "{got:?}");
}

#[test]
fn a_link_that_loses_a_tenth_brings_all_in_order() {
    let link = Link { loss: Ratio::ppm(100_000), per_second: 2_000, seconds: 10, ..Link::default() };
    let came = run(link, Seed(2), &KeepAll);
    in_order_and_whole(&came.applied, 20_000);
    assert!(quantile(&came.lag, 99) < 250_000, "{}", quantile(&came.lag, 99));
    // Without parity by sending again.
    let none = SiteSettings { parity_max: 0, ..SiteSettings::default() };
    let came = run(Link { settings: none, per_second: 200, ..link }, Seed(2), &KeepAll);
    in_order_and_whole(&came.applied, 2_000);
    assert!(came.again > 5);
    assert!(quantile(&came.lag, 100) < 8_000_000, "{}", quantile(&came.lag, 100));
}

#[test]
fn a_cut_link_resumes_where_the_other_side_stands() {
    let link = Link { cut: Some((3, 9)), per_second: 2_000, seconds: 12, ..Link::default() };
    let came = run(link, Seed(3), &KeepAll);
    in_order_and_whole(&came.applied, 24_000);
    assert_eq!((came.behind, came.overflowed), (0, 0));
    // The backlog of the cut drains at once: what was offered a second after it lags as ever.
    assert!(came.lag.iter().filter(|l| **l > 300_000).count() <= 2_000 * 8);
}

#[test]
fn a_chain_of_one_key_travels_as_its_last_value() {
    let link = Link { keys: 10, per_second: 5_000, seconds: 3, ..Link::default() };
    let (whole, less) = (run(link, Seed(4), &KeepAll), run(link, Seed(4), &LastOnly));
    in_order_and_whole(&less.applied, 15_000);
    assert!(less.shrunk > 14_000);
    assert!(less.bytes * 5 < whole.bytes, "{} of {} bytes", less.bytes, whole.bytes);
}

#[test]
fn a_full_queue_is_given_up_and_said_and_the_stream_goes_on() {
    let settings = SiteSettings { queue_bytes: 100_000, in_flight: 200_000, ..SiteSettings::default() };
    let link = Link { cut: Some((2, 5)), per_second: 2_000, seconds: 8, settings, ..Link::default() };
    let came = run(link, Seed(5), &KeepAll);
    assert!(came.overflowed > 0 && came.behind > 0);
    assert!(came.queued_most <= 100_000, "{}", came.queued_most);
    let last = came.applied.last().copied();
    assert_eq!(last, Some(16_000));
}

fn item(sequence: u64) -> Item {
    Item { id: RumourId { origin: 1, sequence }, bytes: vec![0; 100].into() }
}
/// Over a carrier that brings letters of any size.
fn whole() -> SiteSettings {
    SiteSettings { datagram: 0, ..SiteSettings::default() }
}
fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::millis(ms)
}

#[test]
fn bytes_in_flight_never_exceed_the_window() {
    let settings =
        SiteSettings { in_flight: 10_000, batch_bytes: 2_000, datagram: 0, ..SiteSettings::default() };
    let mut s = Outbound::new(settings, 0);
    let mut out = Vec::new();
    s.receive(at(0), &Letter::Hello { durable: Vector::new() }, &mut out);
    for n in 1..=1_000 {
        s.offer(at(n), item(n), n, at(n), &KeepAll, &mut out);
        s.wake(at(n), &mut out);
        assert!(s.bytes().1 <= 10_000);
    }
    assert!(s.bytes().1 > 8_000 && s.exposure(at(1_000)) == Duration::millis(999));
    // An acknowledgement makes room, and the next batches go at once.
    out.clear();
    let ack = Letter::Ack {
        session: 1,
        next: 5,
        beyond: 0,
        durable: Vector::from([(1, 60)]),
        held_us: 0,
        lost: None,
    };
    s.receive(at(1_001), &ack, &mut out);
    assert!(out.iter().any(|o| matches!(o, Sent::Letter(Letter::Batch { .. }))));
    assert_eq!(out.iter().filter(|o| matches!(o, Sent::Durable { .. })).count(), 60);
}

#[test]
fn a_receiver_before_what_is_left_is_served_from_the_log() {
    let mut s = Outbound::new(whole(), 0);
    let mut out = Vec::new();
    // This sender never had 1 to 4.
    s.offer(at(1), item(5), 1, at(1), &KeepAll, &mut out);
    s.receive(at(2), &Letter::Hello { durable: Vector::from([(1, 2)]) }, &mut out);
    assert!(out.contains(&Sent::Behind { from: Vector::from([(1, 2)]) }));
    let mut r = Inbound::new(at(2), Vector::from([(1, 2)]));
    let mut got = Vec::new();
    r.receive(at(3), Letter::Batch { session: 2, number: 0, settled: 0, items: vec![item(5)] }, &mut got);
    assert!(got.contains(&Received::Gap { origin: 1, held: 2, came: 5 }));
    // It is told once a gap, and ends with the repair.
    r.receive(at(4), Letter::Batch { session: 2, number: 1, settled: 0, items: vec![item(6)] }, &mut got);
    assert_eq!(got.iter().filter(|g| matches!(g, Received::Gap { .. })).count(), 1);
    r.durable(at(5), &Vector::from([(1, 6)]), &mut got);
    got.clear();
    r.receive(
        at(6),
        Letter::Batch { session: 2, number: 2, settled: 0, items: vec![item(6), item(7)] },
        &mut got,
    );
    assert!(matches!(&got[0], Received::Apply { items } if items.len() == 1));
}

/// What an acknowledgement says of replica 1.
fn acknowledged(got: &[Received]) -> Option<u64> {
    got.iter().rev().find_map(|g| match g {
        Received::Letter(Letter::Ack { durable, .. }) => Some(durable.get(&1).copied().unwrap_or(0)),
        _ => None,
    })
}

#[test]
fn an_acknowledgement_says_what_is_durable_and_not_what_has_come() {
    // A crash of the receiver between the two loses nothing: the sender still has it.
    let mut s = Outbound::new(whole(), 0);
    let mut r = Inbound::new(at(0), Vector::new());
    let (mut out, mut got) = (Vec::new(), Vec::new());
    s.receive(at(0), &Letter::Hello { durable: Vector::new() }, &mut out);
    for n in 1..=3 {
        s.offer(at(n), item(n), n, at(n), &KeepAll, &mut out);
    }
    s.wake(at(60), &mut out);
    for o in out.drain(..) {
        if let Sent::Letter(l) = o {
            r.receive(at(100), l, &mut got);
        }
    }
    assert!(got.iter().any(|g| matches!(g, Received::Apply { items } if items.len() == 3)));
    assert_eq!(acknowledged(&got), Some(0));
    r.durable(at(110), &Vector::from([(1, 2)]), &mut got);
    assert_eq!(acknowledged(&got), Some(2));

    // It dies with 3 unsynced, and comes back from its disk.
    let mut r = Inbound::new(at(200), Vector::from([(1, 2)]));
    got.clear();
    r.wake(at(200), &mut got);
    let Some(Received::Letter(hello)) = got.pop() else { panic!("it says where it stands") };
    s.receive(at(300), &hello, &mut out);
    let again = out.iter().find_map(|o| match o {
        Sent::Letter(Letter::Batch { items, .. }) => Some(items.clone()),
        _ => None,
    });
    assert_eq!(again, Some(vec![item(3)]));
}

#[test]
fn a_late_hello_and_an_old_session_change_nothing_for_good() {
    let mut r = Inbound::new(at(0), Vector::new());
    let mut got = Vec::new();
    r.receive(at(1), Letter::Batch { session: 7, number: 0, settled: 0, items: vec![item(1)] }, &mut got);
    got.clear();
    r.receive(at(2), Letter::Batch { session: 6, number: 1, settled: 0, items: vec![item(2)] }, &mut got);
    assert!(got.is_empty());
    let mut s = Outbound::new(SiteSettings::default(), 0);
    let mut out = Vec::new();
    s.receive(
        at(3),
        &Letter::Ack { session: 9, next: 3, beyond: 0, durable: Vector::new(), held_us: 0, lost: None },
        &mut out,
    );
    assert!(out.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is lost and whenever it is cut: all arrives, in order, each once.
    #[test]
    fn nothing_is_lost_repeated_or_reordered(seed in any::<u64>(), loss in 0..300_000_u32, from in 1..3_u64, long in 0..3_u64) {
        let link = Link {
            loss: Ratio::ppm(loss),
            per_second: 300,
            seconds: 4,
            cut: (long > 0).then_some((from, from + long)),
            ..Link::default()
        };
        let came = run(link, Seed(seed), &KeepAll);
        prop_assert!(came.applied.iter().copied().eq(1..=1_200), "{} of 1200", came.applied.len());
        prop_assert_eq!(came.behind + came.overflowed, 0);
    }

    #[test]
    fn junk_is_a_fault_and_never_a_panic(junk in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ignored = Letter::read(NodeId(1), &junk);
    }
}
