//! The stream between two sites: lag, loss, cuts, crashes, bounds.
#![allow(missing_docs, reason = "a test")]

#[path = "world/link.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the example")]
mod link;

use dwcp_env::{Duration, Instant, NodeId, Ratio, Seed};
use dwcp_gossip::RumourId;
use dwcp_gossip::site::{Inbound, Item, Letter, Offer, Outbound, Received, Sent, SiteSettings, Vector};
use link::{Carrier, Link, run};
use proptest::prelude::*;

fn quantile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() - 1) * percent / 100]
}
fn in_order_and_whole(applied: &[u64], total: u64) {
    assert!(applied.iter().copied().eq(1..=total), "{} of {total}", applied.len());
}

#[test]
fn ten_thousand_updates_a_second_lag_a_quarter_of_a_second_at_160_ms() {
    let came = run(Link { seconds: 5, ..Link::default() }, Seed(1));
    in_order_and_whole(&came.applied, 50_000);
    assert_eq!(came.lag.len(), 50_000);
    let p99 = quantile(&came.lag, 99);
    assert!(p99 <= 220_000, "p99 {p99} us");
    // What the sender says of the oldest of each batch is what the world's clock says of the slowest.
    let (said, most) = (came.estimates.iter().max().unwrap(), quantile(&came.lag, 100));
    assert!(said.abs_diff(most) < 20_000, "{said} us, and {most} us");
    assert_eq!((came.again, came.begun), (0, 1));
}

#[test]
fn a_lone_update_waits_for_nobody() {
    let came = run(Link { per_second: 10, seconds: 2, ..Link::default() }, Seed(1));
    let worst = quantile(&came.lag, 100);
    assert!(worst <= 173_000, "{worst} us: the way, the sync, and the jitter");
}

#[test]
fn at_one_percent_loss_the_parity_keeps_the_lag() {
    let lag = |link| {
        let came = run(link, Seed(1));
        in_order_and_whole(&came.applied, 50_000);
        (quantile(&came.lag, 99), came.bytes)
    };
    let base = Link { seconds: 5, loss: Ratio::ppm(10_000), ..Link::default() };
    let (with, bytes) = lag(base);
    assert!(with <= 250_000, "p99 {with} us");
    assert!(bytes < 50_000 * 210, "{bytes} bytes");
    let (in_bursts, _) = lag(Link { burst: 3, seconds: 5, ..base });
    assert!(in_bursts <= 700_000, "p99 {in_bursts} us");
    // Without it, and over an ordered stream, a loss costs what it costs to notice and repair it.
    let none = SiteSettings { parity_max: 0, ..SiteSettings::default() };
    let (without, _) = lag(Link { settings: none, ..base });
    let (stream, _) = lag(Link { carrier: Carrier::Stream, settings: whole(), ..base });
    assert!(without > 480_000 && stream > 480_000, "p99 {without} us and {stream} us");
}

#[test]
fn a_link_that_loses_a_tenth_brings_all_in_order() {
    let link = Link { loss: Ratio::ppm(100_000), per_second: 2_000, seconds: 10, ..Link::default() };
    let came = run(link, Seed(2));
    in_order_and_whole(&came.applied, 20_000);
    assert!(quantile(&came.lag, 99) < 700_000, "{}", quantile(&came.lag, 99));
    // Without parity by sending again.
    let none = SiteSettings { parity_max: 0, ..SiteSettings::default() };
    for seed in 2..6 {
        let came = run(Link { settings: none, per_second: 200, ..link }, Seed(seed));
        in_order_and_whole(&came.applied, 2_000);
        // A tenth of 500, and little in vain; the worst is lost three times.
        assert!((20..100).contains(&came.again), "{}", came.again);
        assert!(quantile(&came.lag, 100) < 5_000_000, "{}", quantile(&came.lag, 100));
    }
}

#[test]
fn a_cut_link_resumes_where_the_other_side_stands() {
    let link = Link { cut: Some((3, 15)), per_second: 2_000, seconds: 18, ..Link::default() };
    let came = run(link, Seed(3));
    in_order_and_whole(&came.applied, 36_000);
    assert!(came.begun == 2, "begun {} times", came.begun);
    // The backlog of the cut drains at once: what came two seconds after it lags as ever.
    assert!(came.lag.iter().filter(|l| **l > 300_000).count() <= 2_000 * 15);
    assert!(came.queued_most <= 300_000, "{}: the log is the queue", came.queued_most);
}

#[test]
fn a_receiver_that_dies_is_given_again_what_it_had_not_on_disk() {
    // Each life takes up where its disk stands; nothing is missing and nothing comes out of order.
    let link = Link { crash: Some(3), per_second: 2_000, seconds: 6, ..Link::default() };
    let came = run(link, Seed(4));
    in_order_and_whole(&came.applied, 12_000);
    assert_eq!(came.begun, 2);
    // A way to notice, a way there and back to say where it stands, a way with what it lacks.
    assert!(quantile(&came.lag, 100) < 900_000, "{}", quantile(&came.lag, 100));
}

#[test]
fn a_slow_disk_there_is_asked_and_nothing_is_sent_twice() {
    let link = Link { one_way: Duration::millis(1), per_second: 2_000, seconds: 4, ..Link::default() };
    let quick = run(link, Seed(5));
    let slow = run(Link { sync: Duration::millis(150), ..link }, Seed(5));
    in_order_and_whole(&slow.applied, 8_000);
    assert!(slow.again <= 2, "{} batches twice", slow.again);
    assert!(slow.bytes * 5 <= quick.bytes * 6, "{} bytes, {} over a quick disk", slow.bytes, quick.bytes);
    let p99 = quantile(&slow.lag, 99);
    assert!(p99 <= 350_000, "{p99} us: one sync to wait for, and one");
    // Nor does one that stands still end the session.
    let still = run(Link { sync: Duration::secs(30), seconds: 1, ..link }, Seed(5));
    in_order_and_whole(&still.applied, 2_000);
    assert_eq!((still.begun, still.again), (1, 0));
}

#[test]
fn a_way_that_becomes_longer_is_learned() {
    let way = (5, Duration::millis(200));
    let link = Link {
        one_way: Duration::millis(25),
        longer: Some(way),
        per_second: 5_000,
        seconds: 25,
        ..Link::default()
    };
    let came = run(link, Seed(6));
    in_order_and_whole(&came.applied, 125_000);
    assert!(came.again > 0 && came.again_at <= 7, "{} twice, to second {}", came.again, came.again_at);
    // The two seconds in which it was learned are a twelfth of all.
    let p90 = quantile(&came.lag, 90);
    assert!(p90 < 250_000, "p90 {p90} us");
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
/// A sender whose receiver stands there.
fn standing(settings: SiteSettings, held: Vector) -> Outbound {
    let mut s = Outbound::new(settings, 7, at(0));
    let mut out = Vec::new();
    s.wake(at(0), &mut out);
    assert_eq!(out, [Sent::Letter(Letter::Begin { session: 7 })]);
    s.receive(at(0), &Letter::Hello { session: 7, held }, &mut out);
    assert_eq!(out.pop(), Some(Sent::Stands));
    s
}
fn ack(next: u64, durable: u64) -> Letter {
    Letter::Ack { session: 7, next, beyond: 0, durable, held_us: 0, lost: None }
}
fn receive(r: &mut Inbound, ms: u64, letter: Letter) -> Vec<Received> {
    let mut got = Vec::new();
    r.receive(at(ms), letter, Vector::new, &mut got);
    got
}

#[test]
fn bytes_in_flight_never_exceed_the_window_and_what_does_not_fit_waits_in_the_log() {
    let settings = SiteSettings { in_flight: 80_000, batch_bytes: 2_000, queue_bytes: 3_000, ..whole() };
    let mut s = standing(settings, Vector::new());
    let mut out = Vec::new();
    let mut later = 0;
    for n in 1..=1_000 {
        let next = s.offered(1) + 1;
        later += u64::from(s.offer(at(n), next, item(next), at(n), &mut out) == Offer::Later);
        s.wake(at(n), &mut out);
        assert!(s.bytes().1 <= 10_000, "an eighth of the most, until something has landed");
        assert!(s.bytes().0 <= 3_116);
    }
    assert!(later > 850 && s.bytes().1 > 8_000 && s.exposure(at(1_000)) == Duration::millis(999));
    // An acknowledgement makes room, and the next batches go at once.
    out.clear();
    s.receive(at(1_001), &ack(3, 3), &mut out);
    assert!(out.iter().any(|o| matches!(o, Sent::Letter(Letter::Batch { .. }))));
    assert_eq!(out.iter().filter(|o| matches!(o, Sent::Durable { .. })).count(), 3);
    assert!(s.has_room());
}

#[test]
fn no_batch_leaves_that_the_receiver_would_not_keep() {
    let mut s = standing(SiteSettings::default(), Vector::new());
    let mut r = Inbound::new(at(0));
    receive(&mut r, 0, Letter::Begin { session: 7 });
    let (mut out, mut heard) = (Vec::new(), Vec::new());
    // A lone batch is lost, and many come after it before that is noticed.
    for n in 1..=100 {
        s.offer(at(n * 21), n, item(n), at(n * 21), &mut out);
        let sent = numbers(&out);
        assert!(sent.iter().all(|n| *n <= 64), "{sent:?}");
        for said in out.drain(..) {
            let Sent::Letter(letter) = said else { continue };
            if !matches!(&letter, Letter::Shard(x) if x.number == 0) {
                heard.extend(receive(&mut r, n * 21, letter));
            }
        }
    }
    assert_eq!(heard.len(), 64, "each is acknowledged");
    assert!(s.has_room() && s.bytes().0 == 35 * 116, "the others wait");
}

#[test]
fn what_is_not_the_next_is_not_taken() {
    let mut s = standing(whole(), Vector::from([(1, 4)]));
    let mut out = Vec::new();
    assert_eq!(s.offer(at(1), 3, item(4), at(1), &mut out), Offer::Taken, "it is there already");
    assert_eq!(s.offer(at(1), 6, item(6), at(1), &mut out), Offer::Later, "5 is missing");
    assert_eq!(s.offer(at(1), 4, item(6), at(1), &mut out), Offer::Taken, "an overlap does no harm");
    s.pass_over(1, 9);
    assert_eq!(s.offer(at(1), 10, item(10), at(1), &mut out), Offer::Taken);
    s.pass_over(1, 3);
    assert_eq!(s.offered(1), 10, "it never goes back");
}

#[test]
fn an_acknowledgement_says_what_is_durable_and_not_what_has_come() {
    let mut s = standing(whole(), Vector::new());
    let mut r = Inbound::new(at(0));
    receive(&mut r, 0, Letter::Begin { session: 7 });
    let mut out = Vec::new();
    s.offer(at(1), 1, item(1), at(1), &mut out);
    let Some(Sent::Letter(batch)) = out.pop() else { panic!("a lone item goes at once") };
    let got = receive(&mut r, 100, batch);
    assert_eq!(got[0], Received::Apply { number: 0, items: vec![item(1)] });
    assert_eq!(got[1], Received::Letter(ack(1, 0)));
    s.receive(at(200), &ack(1, 0), &mut out);
    assert!(out.is_empty() && s.bytes().1 > 0, "a crash of the receiver would lose it");
    let mut got = Vec::new();
    r.durable(at(110), 7, 0, &mut got);
    let Some(Received::Letter(last)) = got.pop() else { panic!("it is said") };
    assert_eq!(last, Letter::Ack { session: 7, next: 1, beyond: 0, durable: 1, held_us: 10_000, lost: None });
    s.receive(at(210), &last, &mut out);
    assert_eq!(s.bytes(), (0, 0));
    assert!(matches!(out[..], [Sent::Durable { lag, items: 1 }] if lag.at_most == Duration::millis(209)));
}

#[test]
fn who_does_not_know_a_session_says_so_and_is_asked_where_it_stands() {
    let mut s = standing(whole(), Vector::new());
    let mut out = Vec::new();
    s.offer(at(1), 1, item(1), at(1), &mut out);
    let Some(Sent::Letter(batch)) = out.pop() else { panic!("a lone item goes at once") };
    // It has died meanwhile.
    let mut r = Inbound::new(at(90));
    let got = receive(&mut r, 100, batch.clone());
    assert_eq!(got, [Received::Letter(Letter::Unknown { session: 7 })]);
    assert_eq!(receive(&mut r, 101, batch), [], "once is enough");
    s.receive(at(200), &Letter::Unknown { session: 7 }, &mut out);
    assert_eq!(out, [Sent::Letter(Letter::Begin { session: 8 })]);
    assert!(!s.is_connected() && s.bytes() == (0, 0), "the log has it");
    assert_eq!(s.offer(at(201), 2, item(2), at(201), &mut out), Offer::Later);
    let mut got = Vec::new();
    r.receive(at(300), Letter::Begin { session: 8 }, || Vector::from([(1, 5)]), &mut got);
    let hello = Letter::Hello { session: 8, held: Vector::from([(1, 5)]) };
    assert_eq!(got, [Received::Letter(hello.clone())]);
    s.receive(at(400), &hello, &mut out);
    assert!(s.is_connected() && s.offered(1) == 5);
}

#[test]
fn letters_of_another_session_and_letters_said_twice_change_nothing() {
    let mut r = Inbound::new(at(0));
    receive(&mut r, 0, Letter::Begin { session: 7 });
    let batch = |session, n: u64| Letter::Batch { session, number: n, items: vec![item(n + 1)] };
    assert_eq!(receive(&mut r, 1, batch(7, 0)).len(), 2);
    // Said again: the sender has missed the acknowledgement.
    assert_eq!(receive(&mut r, 2, batch(7, 0)), [Received::Letter(ack(1, 0))]);
    receive(&mut r, 3, Letter::Begin { session: 7 });
    assert_eq!(receive(&mut r, 4, batch(7, 1)).len(), 2, "the session goes on");
    assert_eq!(receive(&mut r, 5, batch(6, 0)), [Received::Letter(Letter::Unknown { session: 6 })]);
    let mut s = standing(SiteSettings::default(), Vector::new());
    let mut out = Vec::new();
    s.receive(at(3), &Letter::Unknown { session: 6 }, &mut out);
    s.receive(at(3), &Letter::Hello { session: 7, held: Vector::from([(1, 9)]) }, &mut out);
    let other = Letter::Ack { session: 9, next: 3, beyond: 0, durable: 0, held_us: 0, lost: None };
    s.receive(at(3), &other, &mut out);
    assert!(out.is_empty() && s.is_connected() && s.offered(1) == 0);
}

/// Offers large items until no more are taken, as a caller that reads its log.
fn fill(s: &mut Outbound, now: Instant, out: &mut Vec<Sent>) {
    loop {
        let n = s.offered(1) + 1;
        let item = Item { id: RumourId { origin: 1, sequence: n }, bytes: vec![0; 60_000].into() };
        if s.offer(now, n, item, now, out) == Offer::Later {
            return s.wake(now, out);
        }
    }
}
/// The batches of which pieces are sent here.
fn numbers(out: &[Sent]) -> Vec<u64> {
    let number = |s: &Sent| if let Sent::Letter(Letter::Shard(x)) = s { Some(x.number) } else { None };
    let mut all: Vec<u64> = out.iter().filter_map(number).collect();
    all.dedup();
    all
}

#[test]
fn what_a_cut_left_unanswered_leaves_again_at_the_rate_and_oldest_first() {
    let settings = SiteSettings { again_after: Duration::secs(2), ..SiteSettings::default() };
    let mut s = standing(settings, Vector::new());
    let (mut out, mut ms, mut came) = (Vec::new(), 0, 0);
    while s.bytes().1 < 7 << 20 {
        // Until the window is open all lands, a while later.
        ms += 50;
        if ms < 2_000 {
            s.receive(at(ms), &ack(came, came), &mut out);
        }
        fill(&mut s, at(ms), &mut out);
        came = numbers(&out).last().map_or(came, |n| n + 1);
        out.clear();
        assert!(ms < 4_000, "{:?}", s.bytes());
    }
    assert_eq!(s.again(), 0);
    // Nothing is heard for a while.
    ms += 5_000;
    let (mut again, mut wakes, begin) = (Vec::new(), 0, at(ms));
    let mut now = begin;
    while again.len() < 56 {
        s.wake(now, &mut out);
        assert!(out.len() < dwcp_env::bound::SEND_QUEUE, "{} pieces in one turn", out.len());
        again.extend(numbers(&out));
        out.clear();
        now = s.wake_at();
        wakes += 1;
        assert!(wakes <= 200 && now < begin + Duration::secs(2), "{} after {wakes} wakes", again.len());
    }
    assert!(again.is_sorted(), "{again:?}");
    // The bucket's 2 MiB, then 16 MiB a second.
    let took = now.since(begin);
    assert!(took >= Duration::millis(250) && took <= Duration::millis(500), "{took:?}");
}

/// Two ends that hear each other at once; for so long, from then on.
fn quiet(s: &mut Outbound, r: &mut Inbound, from: Instant, long: Duration) -> (Instant, usize) {
    let (mut now, mut said) = (from, 0);
    while s.wake_at() <= from + long {
        now = now.max(s.wake_at());
        let (mut out, mut got) = (Vec::new(), Vec::new());
        s.wake(now, &mut out);
        while let Some(letter) = out.pop() {
            let Sent::Letter(letter) = letter else { continue };
            said += 1;
            r.receive(now, Letter::read(NodeId(1), &letter.write()).unwrap(), Vector::new, &mut got);
            for letter in got.drain(..) {
                let Received::Letter(letter) = letter else { panic!("{letter:?}") };
                s.receive(now, &letter, &mut out);
            }
        }
    }
    (from + long, said)
}

#[test]
fn a_quiet_stream_asks_now_and_then_and_finds_who_has_died() {
    for written in [false, true] {
        let (mut s, mut r) = (standing(SiteSettings::default(), Vector::new()), Inbound::new(at(0)));
        receive(&mut r, 0, Letter::Begin { session: 7 });
        if written {
            let mut out = Vec::new();
            s.offer(at(1), 1, item(1), at(1), &mut out);
            let Some(Sent::Letter(piece)) = out.into_iter().next() else { panic!("it goes at once") };
            assert!(receive(&mut r, 1, piece).len() == 2);
            s.receive(at(1), &ack(1, 1), &mut Vec::new());
        }
        let (now, said) = quiet(&mut s, &mut r, at(1), Duration::secs(300));
        assert!((10..=20).contains(&said), "{said} letters in five minutes");
        assert!(now.since(r.heard_at()) <= Duration::secs(21), "it would be forgotten");
        assert!(s.is_connected() && r.session() == Some(7));
        // It dies, and is found so before there is anything to write.
        r = Inbound::new(now);
        quiet(&mut s, &mut r, now, Duration::secs(22));
        assert!(s.is_connected() && r.session() == Some(if written { 8 } else { 7 }));
    }
}

#[test]
fn a_sender_that_nobody_answers_asks_each_second_and_floods_nobody() {
    let mut s = standing(SiteSettings::default(), Vector::new());
    let mut out = Vec::new();
    s.offer(at(1), 1, item(1), at(1), &mut out);
    let mut asked = 0;
    for ms in 2..60_000 {
        if s.wake_at() <= at(ms) {
            s.wake(at(ms), &mut out);
        }
        asked += out.iter().filter(|o| matches!(o, Sent::Letter(Letter::Begin { .. }))).count();
        assert!(out.len() <= 4, "{}", out.len());
        out.clear();
    }
    assert!((30..=60).contains(&asked), "{asked}");
}

#[test]
fn a_receiver_may_hold_of_every_place_there_can_be() {
    let held: Vector = (0..=u16::MAX).map(|place| (place, (1 << 48) - 1)).collect();
    let hello = Letter::Hello { session: 7, held };
    let body = hello.write();
    assert!(body.len() < dwcp_env::bound::FRAME_BODY_MAX.as_usize() / 4, "{} bytes", body.len());
    assert_eq!(Letter::read(NodeId(1), &body), Ok(hello));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is lost, whenever it is cut and the receiver dies: all arrives, in order, each once a life.
    #[test]
    fn nothing_is_lost_repeated_or_reordered(
        seed in any::<u64>(),
        loss in 0..300_000_u32,
        from in 1..3_u64,
        long in 0..12_u64,
        crash in 0..6_u64,
    ) {
        let link = Link {
            loss: Ratio::ppm(loss),
            per_second: 300,
            seconds: 4,
            crash: (crash > 0).then_some(crash),
            cut: (long > 0).then_some((from, from + long)),
            ..Link::default()
        };
        let came = run(link, Seed(seed));
        prop_assert!(came.applied.iter().copied().eq(1..=1_200), "{} of 1200", came.applied.len());
    }

    #[test]
    fn junk_is_a_fault_and_never_a_panic(junk in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ignored = Letter::read(NodeId(1), &junk);
    }
}
