//! Values as large as they may be, and many of them: everything that carries operations has a bound, and keeps within it.

use crate::world::{World, set_all};
use crate::{secs, three};
use dwcp_crdt::Standing;
use dwcp_env::Duration;
use dwcp_eventual::Command;

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
