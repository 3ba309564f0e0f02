//! Places in the roster: given up, reported on, ended.

use crate::world::{add, members, set_all};
use crate::{secs, three};
use dwcp_crdt::{ReplicaIndex, Standing};
use dwcp_env::Duration;
use dwcp_env::disk::FileName;

#[test]
fn a_place_that_was_given_up_stays_so_whatever_is_written_and_read_before_there_is_another() {
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
    w.strong_down(true);
    w.boot(1);
    // Its state comes back, and into its file, which shows no damage any more.
    for i in 0..300 {
        w.acked(0, add("s", &format!("again {i:040}")));
        w.run(Duration::millis(50));
    }
    assert_eq!(w.node(1).place(), None);
    assert!(w.node(1).counts().checkpoints > 0, "{:?}", w.node(1).counts());
    w.crash(1);
    w.boot(1);
    w.run(secs(5));
    assert_eq!(w.node(1).place(), None, "what was made there is not all known");
    w.strong_down(false);
    w.cut(1, false);
    w.run(secs(30));
    w.all_serve();
    assert_ne!(w.node_place(1), before);
    w.all_equal();
    assert_eq!(w.ask(1, members("s")).len(), 600);
}

#[test]
fn an_operator_may_say_that_a_node_will_not_come_back_and_nothing_is_lost_if_it_does() {
    let mut w = crate::world::World::patient(&[0, 1]);
    w.run(secs(15));
    w.all_serve();
    let place = ReplicaIndex(w.node_place(1));
    w.cut(1, true);
    w.acked(1, add("s", "alone"));
    w.acked(0, add("s", "here"));
    w.run(secs(60));
    let standing = |w: &crate::world::World| w.node(0).space().roster().get(place).unwrap().standing;
    assert_eq!(standing(&w), Standing::Active, "it would be waited for, a day");
    assert!(w.evict(0, 0).is_err(), "nobody evicts itself");
    assert!(w.evict(0, 7).is_err(), "a stranger has no place");
    assert_eq!(w.evict(0, 1), Ok(()));
    w.run(secs(10));
    assert!(matches!(standing(&w), Standing::Evicted { .. }), "{:?}", standing(&w));
    assert_eq!(w.node(0).space().stable(), *w.node(0).version(), "nothing waits for it");
    w.cut(1, false);
    w.run(secs(30));
    w.all_serve();
    w.all_equal();
    assert_ne!(ReplicaIndex(w.node_place(1)), place);
    assert_eq!(w.ask(0, members("s")).len(), 2);
}

#[test]
fn a_node_that_only_read_and_was_given_an_older_disk_takes_another_place() {
    let mut w = three();
    w.acked(0, add("s", "a"));
    w.run(secs(5));
    w.crash(2);
    let backup = w.disk(2).copy();
    w.boot(2);
    w.run(secs(5));
    let place = w.node_place(2);
    w.acked(0, add("s", "b"));
    w.run(secs(5));
    w.crash(2);
    w.put_disk(2, backup);
    w.boot(2);
    w.run(secs(30));
    w.all_serve();
    assert_ne!(w.node_place(2), place, "others may have buried what it said it had");
    w.all_equal();
    assert_eq!(w.ask(2, members("s")).len(), 2);
}

#[test]
fn what_a_member_reports_of_one_that_closes_is_on_its_disk() {
    let mut w = three();
    for part in 0..5 {
        w.acked(1, set_all((0..50).map(|i| format!("key {part}.{i}")), &"v".repeat(100)));
    }
    w.run(secs(5));
    let old = w.node_place(1);
    w.wipe(1);
    w.boot(1);
    w.jobs_take(secs(3));
    for _ in 0..2_000 {
        w.run(Duration::millis(20));
        let new = w.node_place(1);
        if let Some((_, far)) = w.reports(old).into_iter().find(|(by, _)| *by == new) {
            w.crash(1);
            w.boot(1);
            let has = w.node(1).version().get(ReplicaIndex(old));
            assert!(has >= far, "it reported {far}, and has {has}");
            return;
        }
    }
    panic!("it never reported: {:?}", w.reports(old));
}

#[test]
fn what_only_a_lost_disk_had_is_not_waited_for() {
    let mut w = three();
    w.acked(0, add("s", "of all"));
    w.run(secs(5));
    let place = |w: &crate::world::World, n| ReplicaIndex(w.node_place(n));
    let old = place(&w, 2);
    w.cut(0, true);
    w.acked(2, add("s", "of two"));
    w.run(secs(1));
    assert_eq!(w.node(1).version().get(old), 1);
    // From now on they can decide, and not speak.
    w.bad(1_000, 0);
    w.cut(0, false);
    w.wipe(2);
    w.boot(2);
    w.run(secs(12));
    let ended = w.node(0).space().roster().get(old).unwrap().standing;
    assert!(matches!(ended, Standing::Evicted { last: 1, .. }), "{ended:?}");
    w.wipe(1);
    w.boot(1);
    w.run(secs(12));
    w.bad(0, 0);
    w.run(secs(90));
    w.all_serve();
    w.all_equal();
    let ended = w.node(0).space().roster().get(old).unwrap().standing;
    assert!(matches!(ended, Standing::Evicted { last: 0, .. }), "{ended:?}");
    for n in 0..3 {
        assert_eq!(w.node(n).space().stable(), *w.node(n).version(), "node {n}: tombstones go");
    }
    w.acked(2, add("s", "after"));
    w.run(secs(5));
    w.all_equal();
}
