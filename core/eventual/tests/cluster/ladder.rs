//! Which rung of the ladder repairs what, and what it costs.

use crate::world::{World, add, add_all, count, delete, list, members, push, remove, set_all, total, unlist};
use crate::{secs, three};
use dwcp_crdt::Standing;
use dwcp_env::Duration;
use dwcp_eventual::Rung;

/// Three nodes that hold some thousands of entries of all kinds.
fn full() -> World {
    fill(three())
}

fn fill(mut w: World) -> World {
    for part in 0..20 {
        w.acked(part % 3, add_all("s", (0..100).map(|i| format!("element {part}.{i}"))));
        w.acked(part % 3, set_all((0..50).map(|i| format!("key {part}.{i}")), &"v".repeat(100)));
        for n in 0..3 {
            w.acked(n, count(&format!("count {part}"), 1));
        }
        w.acked(part % 3, push(&format!("list {part}"), (0..20).map(|i| format!("item {i}"))));
        w.run(Duration::millis(300));
    }
    w.run(secs(5));
    w.all_equal();
    assert!(w.node(0).space().len() > 3_000);
    w
}

fn state_bytes(w: &World) -> u64 {
    w.node(0).space().to_bytes().len() as u64
}

/// Away for so long that the others have cut their logs, and not so long that they have evicted it.
fn away(w: &mut World, n: usize, meanwhile: impl FnOnce(&mut World)) {
    w.cut(n, true);
    meanwhile(w);
    w.run(secs(28));
    let other = w.node((n + 1) % 3);
    let place = w.node(n).place().expect("it keeps its place");
    assert_eq!(other.space().roster().get(place).map(|m| m.standing), Some(Standing::Lagging));
}

#[test]
fn who_was_away_gets_what_differs_and_nothing_removed_comes_back() {
    let mut w = full();
    away(&mut w, 2, |w| {
        // What only it knows: elements, a removal, a counter's share.
        w.acked(2, add("s", "alone"));
        w.acked(2, remove("s", &["element 7.7".into()]));
        w.acked(2, delete(["key 8.8".to_string()].into_iter()));
        w.acked(2, count("count 3", 70));
        w.acked(2, push("list 1", ["from 2".to_string()].into_iter()));
        w.acked(2, unlist("list 1", "item 3"));
        // What only the others know.
        w.acked(0, remove("s", &(0..20).map(|i| format!("element 5.{i}")).collect::<Vec<_>>()));
        w.acked(1, delete((0..10).map(|i| format!("key 6.{i}"))));
        w.acked(0, set_all((10..20).map(|i| format!("key 6.{i}")), "new"));
        w.acked(0, count("count 3", 500));
        w.acked(1, delete(["count 4".to_string()].into_iter()));
        w.acked(1, push("list 1", ["from 1".to_string()].into_iter()));
        w.acked(0, unlist("list 1", "item 4"));
        w.acked(0, delete(["list 2".to_string()].into_iter()));
    });
    let before = w.node(2).rungs();
    w.cut(2, false);
    // The third writes on while it is repaired.
    for i in 0..40 {
        w.acked(i % 3, add("s", &format!("meanwhile {i}")));
        w.acked(i % 3, count("count 9", 1));
        w.run(Duration::millis(50));
    }
    w.run(secs(15));
    w.all_equal();
    let (after, state) = (w.node(2).rungs(), state_bytes(&w));
    let by = |rung| after.of(rung).repairs - before.of(rung).repairs;
    assert_eq!((by(Rung::Ranges), by(Rung::State)), (1, 0));
    let cost = |rung| {
        let (a, b) = (after.of(rung), before.of(rung));
        a.sent - b.sent + a.received - b.received
    };
    let bytes = cost(Rung::Ranges) + cost(Rung::Tail);
    assert!(bytes * 10 < state, "{bytes} bytes for a state of {state}");
    let there = w.ask(0, members("s"));
    assert!(there.contains(&"alone".into()));
    assert!(!there.iter().any(|m| m == "element 7.7" || m == "element 5.3"));
    assert_eq!(there.len(), 2_000 + 1 + 40 - 1 - 20);
    assert_eq!(w.ask(2, total("count 3")), ["573"]);
    assert_eq!(w.ask(2, total("count 9")), ["43"]);
    let mut listed = w.ask(2, list("list 1"));
    assert_eq!(listed.len(), 20);
    assert!(listed.contains(&"from 1".into()) && listed.contains(&"from 2".into()));
    listed.truncate(18);
    let items = (0..20).filter(|i| ![3, 4].contains(i)).map(|i| format!("item {i}"));
    assert_eq!(listed, items.collect::<Vec<_>>());
    assert!(w.ask(2, list("list 2")).is_empty());
    for gone in ["key 8.8", "key 6.0", "count 4"] {
        assert!(w.ask(2, total(gone)).is_empty(), "{gone}");
    }
    assert_eq!(w.ask(2, total("key 6.12")), ["new"]);
}

#[test]
fn when_most_of_it_differs_the_state_is_taken() {
    let mut w = full();
    away(&mut w, 2, |w| {
        for part in 0..20 {
            w.acked(0, remove("s", &(0..100).map(|i| format!("element {part}.{i}")).collect::<Vec<_>>()));
            let keys = || (0..400).map(|i| format!("fresh key {part}.{i}"));
            w.acked(1, set_all(keys(), &"w".repeat(40)));
            w.run(Duration::millis(100));
        }
    });
    w.cut(2, false);
    w.run(secs(20));
    w.all_equal();
    let rungs = w.node(2).rungs();
    assert_eq!((rungs.of(Rung::State).repairs, rungs.of(Rung::Ranges).repairs), (1, 0));
}

#[test]
fn ranges_are_right_under_loss_repetition_crashes_and_writes_everywhere() {
    let mut by_ranges = 0;
    for seed in 0..4_u64 {
        let mut w = full();
        w.dice(seed);
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        away(&mut w, 2, |w| {
            for i in 0..60_u64 {
                let node = (i % 3) as usize;
                let name = format!("{seed}.{i}");
                w.acked(node, add("s", &name));
                kept.push(name);
                let old = format!("element {}.{}", i % 20, 20 + i + seed);
                w.acked(node, remove("s", std::slice::from_ref(&old)));
                gone.push(old);
                w.acked(node, count(&format!("count {}", i % 20), 1));
            }
        });
        w.cut(2, false);
        w.bad(100, 100);
        for i in 0..60_u64 {
            let node = (i % 3) as usize;
            let name = format!("{seed}.meanwhile.{i}");
            if w.try_add(node, "s", &name) == Some(true) {
                kept.push(name);
            }
            // The puller, or a holder, in the middle of it.
            if i == 10 + seed || i == 25 + 3 * seed {
                let who = if seed % 2 == 0 { 2 } else { (seed % 3) as usize };
                by_ranges += w.node(who).rungs().of(Rung::Ranges).repairs;
                w.crash(who);
                w.boot(who);
            }
            w.run(Duration::millis(60));
        }
        w.run(secs(10));
        w.bad(0, 0);
        w.run(secs(25));
        w.all_equal();
        by_ranges += (0..3).map(|n| w.node(n).rungs().of(Rung::Ranges).repairs).sum::<u64>();
        let there = w.ask(1, members("s"));
        assert!(kept.len() > 80, "seed {seed}: {}", kept.len());
        assert!(kept.iter().all(|k| there.contains(k)), "seed {seed}: an acknowledged element is gone");
        assert!(!gone.iter().any(|g| there.contains(g)), "seed {seed}: a removed element is back");
        for part in 0..20 {
            assert_eq!(w.ask(0, total(&format!("count {part}"))), ["6"], "seed {seed}");
        }
    }
    assert!(by_ranges >= 2, "{by_ranges} of 4");
}

#[test]
fn a_view_is_never_older_than_the_header_it_goes_with() {
    let mut four = World::new(&[0, 0, 1, 0]);
    four.run(secs(10));
    let mut w = fill(four);
    w.cut(1, true);
    away(&mut w, 2, |w| w.acked(0, add("s", "new")));
    // Node 3 has it, too, so it is in no log; now it is gone.
    w.cut(3, true);
    w.cut(1, false);
    w.cut(2, false);
    // Both pull from node 0, the second from the view that the first made it take; what was removed between the two must
    // not stay.
    let gone: Vec<String> = (0..100).map(|i| format!("element 11.{i}")).collect();
    for one in &gone {
        w.acked(0, remove("s", std::slice::from_ref(one)));
        w.run(Duration::millis(200));
    }
    w.cut(3, false);
    w.run(secs(10));
    w.all_equal();
    for n in 1..3 {
        let rungs = w.node(n).rungs();
        assert!(rungs.of(Rung::Ranges).repairs > 0);
        assert_eq!(rungs.of(Rung::State).repairs, 0);
        assert!(!w.ask(n, members("s")).iter().any(|m| gone.contains(m)));
    }
}

#[test]
fn a_holder_keeps_its_log_for_as_long_as_it_is_asked() {
    let mut w = full();
    away(&mut w, 2, |w| w.acked(0, add("s", "new")));
    w.cut(2, false);
    // So many answers are lost that a fetch takes seconds, and the others write and acknowledge all the while.
    w.bad(150, 0);
    for i in 0..200 {
        w.try_add(i % 2, "s", &format!("meanwhile {i}"));
        w.run(Duration::millis(80));
    }
    let rungs = w.node(2).rungs();
    assert!(rungs.of(Rung::Ranges).repairs + rungs.of(Rung::State).repairs > 0);
    w.bad(0, 0);
    w.run(secs(10));
    w.all_equal();
}

#[test]
fn an_hour_apart_is_healed_in_seconds_and_leaves_no_tombstone() {
    let mut w = World::patient(&[0, 0, 1]);
    w.run(secs(15));
    w.all_serve();
    w.cut(2, true);
    for minute in 0..61 {
        for n in [0, 1, 2] {
            let names = |minute| (0..20).map(move |i| format!("{n}.{minute}.{i}"));
            w.acked(n, push("l", names(minute)));
            w.acked(n, add_all("s", names(minute)));
            // What was made a minute ago goes.
            if minute > 0 {
                names(minute - 1).for_each(|gone| w.acked(n, unlist("l", &gone)));
                w.acked(n, remove("s", &names(minute - 1).collect::<Vec<_>>()));
            }
        }
        w.run(secs(59));
    }
    for n in [0, 2] {
        w.acked(n, delete(["l".to_string()].into_iter()));
    }
    w.cut(2, false);
    let mut took = Duration::ZERO;
    while !w.are_equal() {
        w.run(Duration::millis(250));
        took += Duration::millis(250);
        assert!(took < secs(60), "not equal after {took}");
    }
    assert!(w.ask(2, list("l")).is_empty());
    assert_eq!(w.ask(0, members("s")).len(), 60);
    w.run(secs(10));
    for n in 0..3 {
        assert_eq!(w.node(n).space().tombstones(), (0, 0), "node {n}");
    }
}

#[test]
fn what_a_repair_brought_is_asked_for_by_name_by_the_neighbours() {
    // Two regions; the far one misses pushes, and hears of them by one digest.
    let mut w = World::new(&[0, 1, 1, 1]);
    w.run(secs(20));
    w.all_serve();
    for n in 1..4 {
        w.cut(n, true);
    }
    for i in 0..30 {
        w.acked(0, add("s", &i.to_string()));
    }
    w.run(secs(5));
    for n in 1..4 {
        w.cut(n, false);
    }
    w.run(secs(12));
    w.all_equal();
    assert_eq!(w.ask(3, members("s")).len(), 30);
}
