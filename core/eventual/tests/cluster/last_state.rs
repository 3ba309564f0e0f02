//! The last whole state is never given up, and whoever lost its own takes it, whatever the standing of its holder.

use crate::secs;
use crate::world::{World, add, add_all, members};
use dwcp_crdt::{ReplicaIndex, Standing};
use dwcp_env::Duration;

fn standing(w: &World, by: usize, place: ReplicaIndex) -> Standing {
    w.node(by).space().roster().get(place).unwrap().standing
}

fn place(w: &World, n: usize) -> ReplicaIndex {
    ReplicaIndex(w.node_place(n))
}

#[test]
fn who_lost_their_disks_do_not_decide_what_counts_of_the_only_one_that_has_a_state() {
    let mut w = World::patient(&[0, 0, 0]);
    w.run(secs(10));
    w.acked(0, add_all("s", (0..40).map(|i| format!("{i:030}"))));
    w.run(secs(40));
    assert_eq!(w.node(1).space().logged().0, 0, "all have it: it is in nobody's log");
    let old = place(&w, 1);
    w.cut(1, true);
    w.acked(1, add("s", "alone"));
    assert_eq!(w.evict(0, 1), Ok(()));
    for _ in 0..200 {
        if standing(&w, 0, old) == Standing::Closing {
            break;
        }
        w.run(Duration::millis(20));
    }
    for n in [0, 2] {
        w.wipe(n);
        w.boot(n);
    }
    w.run(secs(60));
    assert_eq!(standing(&w, 0, old), Standing::Closing, "what they have of it is nothing");
    assert!(!w.node(0).serves() && !w.node(2).serves());
    let waits = w.node(0).waiting_for().unwrap_or_default();
    assert!(waits.contains("n2 may"), "{waits}");
    w.cut(1, false);
    w.run(secs(60));
    w.all_serve();
    w.all_equal();
    assert_eq!(w.ask(0, members("s")).len(), 41);
    assert!(matches!(standing(&w, 0, old), Standing::Evicted { .. }));
}

#[test]
fn who_waits_for_a_state_and_for_an_end_that_waits_for_it_takes_a_state() {
    let mut w = World::patient(&[0, 0, 0]);
    w.run(secs(15));
    w.all_serve();
    let (one, two) = (place(&w, 1), place(&w, 2));
    // Of the two that node 2 makes, node 0 has one, node 1 both. No log is cut.
    w.acked(2, add("s", "of all"));
    w.run(Duration::millis(50));
    w.cut(0, true);
    w.acked(2, add("s", "of one"));
    w.run(Duration::millis(50));
    assert_eq!((w.node(0).version().get(two), w.node(1).version().get(two)), (1, 2));
    // They can decide, and not speak.
    w.bad(1_000, 0);
    w.cut(0, false);
    assert_eq!(w.evict(0, 1), Ok(()));
    w.run(secs(10));
    assert!(matches!(standing(&w, 1, one), Standing::Evicted { .. }));
    assert!(place(&w, 1) != one && !w.node(1).serves(), "it begins anew, and asks for a state");
    w.wipe(2);
    assert_eq!(w.evict(0, 2), Ok(()));
    w.run(secs(10));
    assert_eq!(
        standing(&w, 0, two),
        Standing::Closing,
        "node 1 does not say how far it came before it has a state"
    );
    w.bad(0, 0);
    w.run(secs(30));
    assert!(matches!(standing(&w, 0, two), Standing::Evicted { last: 2, .. }), "{:?}", standing(&w, 0, two));
    for n in [0, 1] {
        assert!(w.node(n).serves());
        assert_eq!(w.ask(n, members("s")).len(), 2, "what only node 1 had kept counts");
    }
}

#[test]
fn what_the_only_active_member_wrote_is_in_its_log_until_somebody_has_it() {
    let mut w = World::new(&[0, 1]);
    w.run(secs(10));
    let (here, other) = (place(&w, 0), place(&w, 1));
    w.cut(1, true);
    w.strong_down(true);
    // It does not know yet that it is alone when it crashes.
    w.acked(0, add("s", "before"));
    w.strong_down(false);
    w.run(secs(30));
    assert!(matches!(standing(&w, 0, other), Standing::Lagging), "{:?}", standing(&w, 0, other));
    w.acked(0, add("s", "alone"));
    w.run(secs(5));
    assert_eq!(w.node(0).version().get(here), 2);
    assert_eq!(w.node(0).space().logged().0, 2, "nobody else has it");
    w.cut(1, false);
    w.run(secs(15));
    w.all_equal();
    assert_eq!(w.node(0).space().logged().0, 0);
}

#[test]
fn after_a_start_the_log_is_kept_until_it_is_known_who_takes_part() {
    let mut w = World::new(&[0, 1, 2]);
    w.run(secs(10));
    w.cut(0, true);
    w.run(secs(30));
    assert!(matches!(standing(&w, 1, place(&w, 0)), Standing::Lagging));
    w.acked(1, add("s", "x"));
    w.run(Duration::millis(200));
    w.crash(1);
    w.strong_down(true);
    w.boot(1);
    w.run(secs(20));
    // Node 2 has it, and node 0 may have been called active by the last life, as the strong keyspace would tell.
    assert!(w.node(2).version() == w.node(1).version());
    assert_eq!(w.node(1).space().logged().0, 1);
    w.run(secs(60));
    assert_eq!(w.node(1).space().logged().0, 0, "no proposal is under way for so long");
}
