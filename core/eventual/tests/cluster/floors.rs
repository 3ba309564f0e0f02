//! Logs are cut in clusters whose members don't all speak with each other.

use crate::secs;
use crate::world::{World, add, push, remove, unlist};
use dwcp_env::Duration;
use dwcp_eventual::SyncPolicy;

/// Nodes, three in each of so many regions, that serve.
fn threes(regions: u16) -> World {
    let of: Vec<u16> = (0..regions).flat_map(|r| [r; 3]).collect();
    let mut w = World::new(&of);
    w.run(secs(40));
    w.all_serve();
    w
}

fn kept(w: &World, n: usize) -> Vec<u64> {
    (0..n).map(|i| w.node(i).space().logged().0).collect()
}

#[test]
fn what_all_have_leaves_every_log_though_not_all_have_spoken() {
    for regions in [2, 3] {
        let (mut w, n) = (threes(regions), usize::from(regions) * 3);
        for i in 0..n {
            w.acked(i, add("s", &format!("from {i}")));
            w.acked(i, push("list", (0..3).map(|j| format!("{i}.{j}"))));
        }
        w.run(secs(5));
        for i in 0..n {
            w.acked(i, remove("s", &[format!("from {}", (i + 1) % n)]));
            w.acked(i, unlist("list", &format!("{}.1", (i + 1) % n)));
        }
        w.run(secs(45));
        w.all_equal();
        assert_eq!(kept(&w, n), vec![0; n], "operations in the logs");
        for i in 0..n {
            assert_eq!(w.node(i).space().stable(), *w.node(i).version(), "node {i}: tombstones go");
        }
    }
}

#[test]
fn under_load_a_log_holds_the_last_seconds_only() {
    let mut w = threes(2);
    for i in 0..1_200 {
        w.acked(i % 6, add("s", &i.to_string()));
        w.run(Duration::millis(95));
    }
    let kept = kept(&w, 6);
    assert!(kept.iter().all(|k| *k < 500), "{kept:?} of 1,200");
}

#[test]
fn a_silent_member_holds_every_log_until_it_lags_and_tombstones_until_it_is_back() {
    let mut w = threes(2);
    w.acked(0, add("s", "before"));
    w.run(secs(40));
    w.cut(5, true);
    w.acked(0, add("s", "meanwhile"));
    w.run(secs(15));
    assert_eq!(kept(&w, 5), [1; 5], "it may come back");
    w.run(secs(20));
    assert_eq!(kept(&w, 5), [0; 5], "it lags");
    let stable = |w: &World, n: usize| w.node(n).space().stable() == *w.node(n).version();
    assert!((0..5).all(|n| !stable(&w, n)), "it may still name what is deleted now");
    w.cut(5, false);
    w.run(secs(60));
    w.all_equal();
    assert!((0..6).all(|n| stable(&w, n)));
    assert_eq!(kept(&w, 6), [0; 6]);
}

#[test]
fn answers_ahead_of_the_disk_under_load_do_not_keep_the_log() {
    let mut w = World::with(&[0, 1], SyncPolicy::EverySecond);
    w.run(secs(15));
    w.all_serve();
    for i in 0..5_000 {
        w.begin_add(i % 2, "s", &i.to_string());
        w.run(Duration::millis(4));
    }
    let kept = kept(&w, 2);
    assert!(kept.iter().all(|k| *k < 1_500), "{kept:?} of 5,000 in 20 s");
}
