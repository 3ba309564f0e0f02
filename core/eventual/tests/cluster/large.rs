//! Values as large as they may be, and many of them: everything that carries operations has a bound, and keeps within it.

use crate::world::{World, add, delete, set_all, total};
use crate::{secs, three};
use dwcp_crdt::Standing;
use dwcp_env::Duration;
use dwcp_eventual::{Command, Expiry, Span};

const KIB: usize = 1024;

/// Writes so many values of so many bytes under keys of this name.
fn fill(w: &mut World, n: usize, name: &str, values: usize, bytes: usize) {
    for i in 0..values {
        w.acked(n, set_all([format!("{name} {i}")].into_iter(), &"v".repeat(bytes)));
    }
}

fn length(w: &mut World, n: usize, key: &str) -> String {
    let end = w.ask(n, Command::GetRange { key: key.to_string().into(), start: 0, end: -1 });
    end.concat().len().to_string()
}

/// The state's file carries what somebody may still ask for, however much that is.
#[test]
fn a_state_with_megabytes_that_nobody_has_acknowledged_is_read_back() {
    let mut w = three();
    w.cut(2, true);
    fill(&mut w, 0, "large", 20, 1_000 * KIB);
    w.run(secs(3));
    assert!(w.node(0).counts().checkpoints > 0);
    let place = w.node_place(0);
    for _ in 0..2 {
        w.crash(0);
        w.boot(0);
        w.run(secs(2));
    }
    assert_eq!(w.node_place(0), place, "its state was not believed");
    assert_eq!(length(&mut w, 0, "large 19"), (1_000 * KIB).to_string());
    w.cut(2, false);
    w.run(secs(10));
    w.all_equal();
}

/// What an evicted node has still to write anew lies in its log, in records that have a bound.
#[test]
fn an_evicted_node_writes_megabytes_anew() {
    let mut w = three();
    w.cut(2, true);
    fill(&mut w, 2, "alone", 5, 1_000 * KIB);
    fill(&mut w, 2, "small", 300, 10);
    w.run(secs(100));
    let roster = w.node(0).space().roster();
    assert!(roster.iter().any(|(_, m)| matches!(m.standing, Standing::Evicted { .. })));
    w.cut(2, false);
    w.run(secs(40));
    w.all_serve();
    w.run(secs(10));
    w.all_equal();
    assert_eq!(length(&mut w, 0, "alone 4"), (1_000 * KIB).to_string());
    assert_eq!(length(&mut w, 1, "small 299"), "10");
}

/// Whoever was away is sent what it lacks in batches that it takes, whatever was written one after the other.
#[test]
fn a_large_write_after_many_small_ones_reaches_who_was_away() {
    let mut w = three();
    w.cut(2, true);
    fill(&mut w, 0, "small", 230, 4 * KIB);
    let keys = (0..40).map(|i| format!("many {i}"));
    w.acked(0, set_all(keys, &"v".repeat(31 * KIB)));
    w.run(Duration::millis(500));
    w.cut(2, false);
    w.run(secs(8));
    w.all_equal();
    assert_eq!(length(&mut w, 2, "many 39"), (31 * KIB).to_string());
}

/// Names as long as they may be, all with the same deadline: what is removed at once has a bound, too.
#[test]
fn long_names_that_end_at_the_same_moment_are_removed_in_several_turns() {
    let mut w = World::new(&[0]);
    w.run(secs(15));
    w.all_serve();
    let key = |i: usize| format!("{i:0>32768}");
    let end = w.wall_ms() + 3_000;
    for i in 0..60 {
        let (key, value) = (key(i).into(), "v".into());
        w.acked(0, Command::Set { key, value, expiry: Expiry::At(end as i64) });
    }
    assert_eq!(w.node(0).space().names_in(&[]), 60);
    w.run(secs(5));
    assert_eq!(w.node(0).space().names_in(&[]), 0);
}

/// What a peer lacks is sent when all that the state shows is durable: while that takes long, it is not read into memory again and again.
#[test]
fn what_waits_for_a_slow_disk_to_be_sent_has_a_bound() {
    let mut w = World::new(&[0, 1, 1, 1, 1, 1, 1]);
    w.run(secs(15));
    w.all_serve();
    (1..7).for_each(|n| w.cut(n, true));
    fill(&mut w, 0, "large", 20, 1_000 * KIB);
    w.run(secs(1));
    w.disks_take(secs(6));
    w.bad(0, 1_000);
    (1..7).for_each(|n| w.cut(n, false));
    let mut most = 0;
    for i in 0..300 {
        // There is always something that is not durable yet.
        w.begin(0, add("s", &i.to_string()));
        w.run(Duration::millis(50));
        most = most.max(w.node(0).held_bytes());
    }
    w.bad(0, 0);
    assert!(most > 4_000 * KIB && most < 12_000 * KIB, "{most}");
    w.disks_take(Duration::millis(2));
    w.run(secs(50));
    w.all_equal();
}

/// Nobody is shown what a crash could take back, whether the write named its keys or not.
#[test]
fn reads_wait_for_what_a_flush_removed_and_for_any_key_if_they_name_none() {
    let scan = || Command::Scan { span: Span::default(), kind: None };
    let mut w = World::new(&[0]);
    w.run(secs(15));
    w.acked(0, set_all((0..9).map(|i| format!("k{i}")), "v"));
    assert!(w.answers_at_once(0, total("k1")) && w.answers_at_once(0, scan()));
    w.disks_take(secs(1));
    w.begin(0, delete(["k1".to_string()].into_iter()));
    assert!(w.answers_at_once(0, total("k2")), "nobody writes that");
    for keyless in [scan(), Command::DbSize, Command::Keys { pattern: "*".into() }, Command::RandomKey] {
        assert!(!w.answers_at_once(0, keyless.clone()), "{}", keyless.name());
    }
    w.run(secs(3));
    assert!(w.answers_at_once(0, scan()));
    w.begin(0, Command::FlushDb);
    assert!(!w.answers_at_once(0, total("k2")) && !w.answers_at_once(0, Command::DbSize));
    w.run(secs(3));
    assert!(w.answers_at_once(0, total("k2")) && w.answers_at_once(0, Command::DbSize));
}
