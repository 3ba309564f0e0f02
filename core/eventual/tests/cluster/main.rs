//! Named disasters, each a story: replicas on disks that crash, a network that is cut, a strong keyspace that may be out of reach.
//!
//! The simulator's scenarios (`scenarios/eventual`) do the same to whole nodes under thousands of seeds; here one can be read.

mod between;
mod checkpoints;
#[allow(dead_code, reason = "the log's tests use all of it")]
#[path = "../../../wal/tests/log/disk.rs"]
mod disk;
mod documents;
mod fallen;
mod floors;
mod heads;
mod joined;
mod ladder;
mod large;
mod last_state;
mod places;
mod streams;
mod world;

use dwcp_crdt::Standing;
use dwcp_env::disk::FileName;
use dwcp_env::{Duration, Instant};
use dwcp_eventual::SyncPolicy;
use world::{World, add, count, members, total};

pub(crate) fn secs(n: u64) -> Duration {
    Duration::secs(n)
}

/// Three nodes that serve.
pub(crate) fn three() -> World {
    let mut w = World::new(&[0, 0, 1]);
    w.run(secs(15));
    w.all_serve();
    w
}

#[test]
fn nodes_are_admitted_and_agree() {
    let mut w = three();
    for n in 0..3 {
        w.acked(n, add("s", &format!("from {n}")));
        w.acked(n, count("c", 5));
    }
    w.run(secs(5));
    w.all_equal();
    for n in 0..3 {
        assert_eq!(w.ask(n, members("s")).len(), 3);
        assert_eq!(w.ask(n, total("c")), ["15"]);
    }
    assert!(w.node(0).counts().digests_equal > 0);
}

#[test]
fn those_without_a_place_stand_in_line_and_lose_no_race_for_it() {
    // The first wish is made after a second; a change of the roster is everywhere 40 ms later, and then the next in line makes the next.
    let mut w = World::new(&[0, 0, 1, 1, 2]);
    w.run(Duration::millis(1_300));
    let without: Vec<usize> = (0..5).filter(|n| w.node(*n).place().is_none()).collect();
    assert!(without.is_empty(), "{without:?} have no place");
}

#[test]
fn one_that_is_down_is_passed_over_in_the_line() {
    let mut w = World::new(&[0, 0, 1, 1, 2]);
    w.crash(1);
    w.run(secs(5));
    let without: Vec<usize> = [0, 2, 3, 4].into_iter().filter(|n| w.node(*n).place().is_none()).collect();
    assert!(without.is_empty(), "{without:?} have no place");
}

#[test]
fn both_sides_of_a_partition_go_on_and_agree_soon_after() {
    let mut w = three();
    w.cut(2, true);
    for i in 0..50 {
        w.acked(i % 3, add("s", &i.to_string()));
        w.run(Duration::millis(100));
    }
    assert!(w.ask(2, members("s")).len() < 50);
    w.cut(2, false);
    w.run(secs(8));
    w.all_equal();
    assert_eq!(w.ask(2, members("s")).len(), 50);
}

#[test]
fn what_was_acknowledged_survives_any_crash_and_no_dot_is_used_twice() {
    for seed in 0..6 {
        let mut w = three();
        w.dice(seed);
        let mut promised = Vec::new();
        for i in 0..120_u64 {
            let node = (i % 3) as usize;
            if let Some(true) = w.try_add(node, "s", &i.to_string()) {
                promised.push(i.to_string());
            }
            // Right after an answer, or in the middle of a write that nobody waits for.
            if i % 7 == seed {
                w.begin_add(node, "s", &format!("{i} unanswered"));
                w.run(Duration::micros(i % 3 * 700));
                w.crash(node);
                w.boot(node);
                w.run(Duration::millis(30));
            }
            w.run(Duration::millis(11));
        }
        w.run(secs(20));
        w.all_equal();
        let there = w.ask(1, members("s"));
        assert!(promised.len() > 40, "seed {seed}: {} promised", promised.len());
        for p in &promised {
            assert!(there.contains(p), "seed {seed}: {p} was acknowledged and is gone");
        }
    }
}

#[test]
fn answers_ahead_of_the_disk_lose_a_second_at_most_and_no_dot_that_anybody_saw() {
    let mut lost = 0;
    for seed in 0..6 {
        let mut w = World::with(&[0, 0, 1], SyncPolicy::EverySecond);
        w.run(secs(15));
        w.all_serve();
        w.dice(seed);
        let mut promised: Vec<(usize, Instant, String)> = Vec::new();
        let mut crashes: Vec<(usize, Instant)> = Vec::new();
        for i in 0..200_u64 {
            let node = (i % 3) as usize;
            // Long enough that the state is written to its file again and again in between.
            let element = format!("{i:0200}");
            if let Some(true) = w.try_add(node, "s", &element) {
                promised.push((node, w.now(), element));
            }
            if i % 7 == seed {
                w.run(Duration::millis(i % 5 * 9));
                crashes.push((node, w.now()));
                w.crash(node);
                w.boot(node);
                w.run(Duration::millis(30));
            }
            w.run(Duration::millis(3));
        }
        w.run(secs(20));
        w.all_equal();
        assert!((0..3).any(|n| w.node(n).counts().checkpoints > 0));
        let there = w.ask(1, members("s"));
        for (node, at, element) in promised.iter().filter(|(_, _, e)| !there.contains(e)) {
            lost += 1;
            let excused = crashes.iter().any(|(n, t)| n == node && t >= at && t.since(*at) <= secs(1));
            assert!(
                excused,
                "seed {seed}: {element} of node {node} is gone, and it did not crash soon after"
            );
        }
    }
    assert!(lost > 0, "nothing was lost: answers waited for the disk");
}

#[test]
fn answers_wait_for_a_disk_that_is_a_second_behind() {
    let mut w = World::with(&[0], SyncPolicy::EverySecond);
    w.run(secs(15));
    w.all_serve();
    w.disks_take(secs(4));
    let begun = w.now();
    let mut answered = Vec::new();
    for i in 0..200_u64 {
        if w.try_add(0, "s", &i.to_string()).is_some() {
            answered.push(w.now().since(begun));
        }
        w.run(Duration::millis(10));
    }
    let ahead = answered.iter().filter(|at| **at < secs(4)).max().expect("some were answered at once");
    assert!((Duration::millis(900)..=Duration::millis(1_100)).contains(ahead), "{ahead}");
    // What was answered is what the disk did not have: a crash costs it, and no more.
    w.crash(0);
    w.boot(0);
    w.disks_take(Duration::millis(2));
    w.run(secs(20));
    w.acked(0, add("s", "after"));
}

/// The state's file and the log are written at the same time, by different hands: a file that shows an operation which the log
/// lost would keep its effect when the dot is used again.
#[test]
fn a_state_is_not_named_before_the_log_has_what_it_shows() {
    for sync in [SyncPolicy::Always, SyncPolicy::EverySecond] {
        let mut w = World::with(&[0, 1], sync);
        w.run(secs(15));
        w.disks_take(Duration::millis(12));
        let mut written = 0;
        for i in 0..600_u64 {
            w.begin_add(0, "s", &format!("{i:0300}"));
            w.run(Duration::millis(1 + i % 3));
            let now = w.node(0).counts().checkpoints;
            if now > written && i % 2 == 0 {
                w.crash(0);
                w.boot(0);
                w.run(Duration::millis(5));
                written = 0;
            } else {
                written = now;
            }
        }
        w.run(secs(10));
        w.all_equal();
    }
}

#[test]
fn a_lost_disk_takes_a_new_place_and_gets_the_state_back() {
    let mut w = three();
    for i in 0..200 {
        w.acked(i % 3, add("s", &i.to_string()));
    }
    w.run(secs(5));
    let before = w.node(1).place().unwrap();
    w.wipe(1);
    w.boot(1);
    w.run(secs(30));
    w.all_serve();
    let after = w.node(1).place().unwrap();
    assert_ne!(before, after);
    assert_eq!(w.ask(1, members("s")).len(), 200);
    w.acked(1, add("s", "after"));
    w.run(secs(10));
    w.all_equal();
    let standing = w.node(0).space().roster().get(before).unwrap().standing;
    assert!(matches!(standing, Standing::Evicted { .. }), "{standing:?}");
}

#[test]
fn a_corrupt_state_is_not_believed() {
    let mut w = three();
    for i in 0..300 {
        w.acked(i % 3, add("s", &format!("{i:040}")));
        w.run(Duration::millis(20));
    }
    assert!(w.node(1).counts().checkpoints > 0);
    w.crash(1);
    let file = FileName::new("g9-eventual.ckpt").unwrap();
    w.disk(1).alter(&file, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let before = w.node_place(1);
    w.boot(1);
    w.run(secs(30));
    w.all_serve();
    assert_ne!(before, w.node_place(1));
    w.all_equal();
    assert_eq!(w.ask(1, members("s")).len(), 300);
}

#[test]
fn who_was_away_too_long_gets_the_state_and_who_was_evicted_writes_anew_what_nobody_had() {
    let mut w = three();
    w.cut(2, true);
    // Nobody else ever receives this before the eviction.
    w.acked(2, add("s", "alone"));
    for i in 0..100 {
        w.acked(i % 2, add("s", &i.to_string()));
        w.run(secs(1));
    }
    let evicted = |w: &World| {
        let roster = w.node(0).space().roster();
        roster.iter().filter(|(_, m)| matches!(m.standing, Standing::Evicted { .. })).count()
    };
    assert_eq!(evicted(&w), 1, "{:?}", w.node(0).space().roster());
    w.cut(2, false);
    w.run(secs(40));
    w.all_serve();
    w.run(secs(10));
    w.all_equal();
    assert!(w.ask(0, members("s")).contains(&"alone".to_string()));
    assert_eq!(w.ask(2, members("s")).len(), 101);
}

#[test]
fn without_the_strong_keyspace_everything_but_the_roster_goes_on() {
    let mut w = three();
    w.strong_down(true);
    for n in 0..3 {
        w.crash(n);
        w.boot(n);
    }
    w.run(secs(3));
    w.all_serve();
    w.acked(0, count("c", 2));
    w.acked(2, count("c", 3));
    w.run(secs(5));
    assert_eq!(w.ask(1, total("c")), ["5"]);
}
