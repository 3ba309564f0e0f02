//! Regions that ship to each other over site streams.

use crate::secs;
use crate::world::{World, add, count, members, set_all, total};
use dwcp_crdt::ReplicaIndex;
use dwcp_env::Duration;
use dwcp_eventual::Rung;

/// Two regions of two nodes and one of one, that serve and have begun their streams.
fn five() -> World {
    let mut w = World::streaming(&[0, 0, 1, 1, 2]);
    w.run(secs(20));
    w.all_serve();
    for n in 0..5 {
        let streams = w.streams(n);
        let far = if n == 4 { 4 } else { 2 };
        assert_eq!(streams.len(), far, "node {n}: {streams:?}");
        assert!(streams.values().all(|s| s.connected), "node {n}: {streams:?}");
    }
    w
}

fn repairs(w: &World, n: usize) -> u64 {
    Rung::ALL.iter().map(|r| w.node(n).rungs().of(*r).repairs).sum()
}

#[test]
fn what_one_region_writes_the_others_have_in_one_way() {
    let mut w = five();
    let (before, repaired): (_, Vec<u64>) = (w.datagrams(), (0..5).map(|n| repairs(&w, n)).collect());
    for n in 0..5 {
        w.acked(n, add("s", &format!("from {n}")));
        w.acked(n, count("c", 1));
    }
    // 40 ms between regions, 1 ms inside, 2 ms to the disk.
    w.run(Duration::millis(120));
    w.all_equal();
    assert!(w.datagrams() > before);
    for (n, before) in repaired.into_iter().enumerate() {
        assert_eq!(w.ask(n, members("s")).len(), 5);
        assert_eq!(repairs(&w, n), before, "no repair had to bring it");
    }
    w.run(secs(1));
    for n in 0..5 {
        for s in w.streams(n).values() {
            assert!(s.batches > 0 && s.exposure_us == 0, "{s:?}");
            assert!(s.worst_lag_us < 100_000, "{s:?}");
        }
    }
}

#[test]
fn the_first_write_after_a_pause_takes_one_way() {
    let mut w = five();
    w.acked(0, add("s", "before"));
    w.run(secs(90));
    for n in 0..5 {
        w.acked(n, add("s", &format!("from {n}")));
    }
    w.run(Duration::millis(120));
    w.all_equal();
}

#[test]
fn any_one_relay_may_fail_and_its_streams_begin_again_when_it_is_back() {
    for victim in 0..4 {
        let mut w = five();
        w.crash(victim);
        for i in 0..20 {
            let writer = (0..5).filter(|n| *n != victim).nth(i % 4).expect("four are left");
            w.acked(writer, add("s", &i.to_string()));
            w.run(Duration::millis(60));
        }
        w.run(Duration::millis(120));
        for n in (0..5).filter(|n| *n != victim) {
            assert_eq!(w.ask(n, members("s")).len(), 20, "node {n} without {victim}");
        }
        w.boot(victim);
        w.run(secs(10));
        w.all_equal();
        assert!(w.streams(victim).values().all(|s| s.connected), "{:?}", w.streams(victim));
        w.acked(victim, add("s", "back"));
        w.run(Duration::millis(120));
        w.all_equal();
    }
}

#[test]
fn a_region_that_was_cut_off_gets_what_it_missed_and_is_heard_again() {
    let mut w = five();
    w.cut(4, true);
    for i in 0..200 {
        w.acked(i % 5, count("c", 1));
        w.acked(i % 5, add("s", &i.to_string()));
        w.run(Duration::millis(100));
    }
    w.cut(4, false);
    w.run(secs(10));
    w.all_equal();
    assert_eq!(w.ask(4, total("c")), ["200"]);
    assert!(w.streams(4).values().all(|s| s.connected));
    assert!((0..4).all(|n| w.streams(n)[&4].connected));
}

#[test]
fn the_backlog_of_one_place_does_not_hold_up_another() {
    let mut w = five();
    let places = [w.node_place(0), w.node_place(1)].map(ReplicaIndex);
    let has = |w: &World, n: usize| places.map(|p| w.node(n).version().get(p));
    assert!(places[0] < places[1]);
    let before = has(&w, 4);
    // More than the window takes, at once; and then a lone one in the same region.
    let value = "v".repeat(40_000);
    for i in 0..120 {
        w.begin(0, set_all(std::iter::once(i.to_string()), &value));
    }
    w.run(Duration::millis(10));
    w.acked(1, add("s", "a lone one"));
    let whole = has(&w, 1)[1];
    for _ in 0..1_000 {
        if has(&w, 4)[1] == whole {
            break;
        }
        w.run(Duration::millis(2));
    }
    assert_eq!(has(&w, 4)[1], whole);
    let (came, all) = (has(&w, 4)[0] - before[0], has(&w, 0)[0] - before[0]);
    assert_eq!(all, 120);
    assert!(came * 2 < all, "{came} of {all} came first");
    w.run(secs(10));
    w.all_equal();
}

#[test]
fn a_link_that_loses_and_repeats_costs_no_repair() {
    let mut w = five();
    w.bad(30, 20);
    let repaired: u64 = (0..5).map(|n| repairs(&w, n)).sum();
    for i in 0..400 {
        w.acked(i % 5, add("s", &i.to_string()));
        w.run(Duration::millis(5));
    }
    w.bad(0, 0);
    w.run(secs(3));
    w.all_equal();
    let more = (0..5).map(|n| repairs(&w, n)).sum::<u64>() - repaired;
    // What the tree loses inside a region is grafted or repaired; between regions nothing has to be.
    assert!(more < 40, "{more} repairs of 400 writes to four others each");
}
