//! Places in the roster: given up, reported on, ended.

use crate::world::{World, add, members, set_all};
use crate::{secs, three};
use dwcp_crdt::{Begins, ReplicaIndex, Standing};
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
    let mut w = World::patient(&[0, 1]);
    w.run(secs(15));
    w.all_serve();
    let place = ReplicaIndex(w.node_place(1));
    w.cut(1, true);
    w.acked(1, add("s", "alone"));
    w.acked(0, add("s", "here"));
    w.run(secs(60));
    let standing = |w: &World| w.node(0).space().roster().get(place).unwrap().standing;
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
    let place = |w: &World, n| ReplicaIndex(w.node_place(n));
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

fn place(w: &World, n: usize) -> ReplicaIndex {
    ReplicaIndex(w.node_place(n))
}

#[test]
fn what_counts_of_an_ended_place_its_node_passes_on_for_who_reported_it_may_be_gone() {
    let mut w = World::patient(&[0, 0, 0]);
    w.run(secs(15));
    let one = place(&w, 1);
    w.cut(2, true);
    w.acked(1, add("s", "counts"));
    w.run(Duration::millis(100));
    w.cut(1, true);
    w.acked(1, add("s", "of one"));
    // They can decide, and not speak.
    w.bad(1_000, 0);
    w.cut(2, false);
    assert_eq!(w.evict(0, 1), Ok(()));
    w.run(secs(10));
    assert!(matches!(w.decided(one), Standing::Evicted { last: 1, .. }), "{:?}", w.decided(one));
    w.wipe(0);
    w.boot(0);
    w.bad(0, 0);
    w.cut(1, false);
    w.run(secs(60));
    w.all_serve();
    w.all_equal();
    assert_eq!(w.ask(0, members("s")).len(), 2);
}

/// Runs until the log has called a replica active again.
fn until_active(w: &mut World, of: ReplicaIndex) {
    for _ in 0..500 {
        if w.decided(of) == Standing::Active {
            return;
        }
        w.run(Duration::millis(20));
    }
    panic!("it stays {:?}", w.decided(of));
}

#[test]
fn from_calling_one_active_again_on_the_log_is_kept_for_it_whether_that_is_known_or_not() {
    let mut w = World::new(&[0, 0, 0]);
    w.run(secs(10));
    let two = place(&w, 2);
    w.cut(2, true);
    w.run(secs(30));
    assert_eq!(w.decided(two), Standing::Lagging);
    w.news_takes(secs(15));
    w.cut(2, false);
    until_active(&mut w, two);
    w.cut(2, true);
    w.acked(0, add("s", "x"));
    w.run(secs(10));
    let logged = |n: usize| w.node(n).space().logged().0;
    assert!(logged(0).max(logged(1)) > 0, "one of them proposed it, and they don't know that it was decided");
    let known = w.node(0).space().roster().get(two).unwrap().standing;
    assert_eq!(known, Standing::Lagging);
}

#[test]
fn one_whose_log_has_lost_what_is_cut_off_goes_on_under_names_of_its_own() {
    let mut w = World::new(&[0, 0, 0]);
    w.run(secs(10));
    let (one, two) = (place(&w, 1), place(&w, 2));
    w.cut(2, true);
    w.run(secs(30));
    assert_eq!(w.decided(two), Standing::Lagging);
    // Node 0 calls it active again; node 1 neither hears it nor of that.
    w.news_takes(secs(15));
    w.sever(1, 2, true);
    w.cut(2, false);
    until_active(&mut w, two);
    w.cut(2, true);
    w.acked(1, add("s", "of two who end"));
    w.run(secs(8));
    assert_eq!(w.node(1).space().logged().0, 0, "all who are active have it, as far as it knows");
    w.cut(0, true);
    w.cut(1, true);
    w.acked(1, add("s", "of one"));
    w.news_takes(Duration::millis(40));
    w.cut(2, false);
    w.run(secs(2));
    for n in [0, 1] {
        assert_eq!(w.evict(2, n), Ok(()));
        w.run(secs(8));
    }
    assert!(matches!(w.decided(one), Standing::Evicted { last: 0, .. }), "{:?}", w.decided(one));
    w.sever(1, 2, false);
    w.cut(0, false);
    w.cut(1, false);
    w.run(secs(60));
    w.all_serve();
    w.all_equal();
    let begins = w.node(1).space().roster().get(place(&w, 1)).unwrap().begins;
    assert_eq!(begins, Begins::Anew, "what is lost has names at the place where it was awaited");
    assert_eq!(w.ask(2, members("s")), ["of one"]);
}

#[test]
fn one_broken_link_is_no_silence() {
    let mut w = World::new(&[0, 0, 0]);
    w.run(secs(15));
    w.all_serve();
    w.sever(0, 2, true);
    let epoch = w.node(1).space().roster().epoch;
    for i in 0..100 {
        w.acked(i % 3, add("s", &i.to_string()));
        w.run(secs(2));
        assert_eq!(w.node(1).space().roster().epoch, epoch, "after {} s", 2 * (i + 1));
    }
    w.all_equal();
    w.run(secs(60));
    assert_eq!(w.node(0).space().logged().0, 0, "what all have, node 1 tells on");
}
