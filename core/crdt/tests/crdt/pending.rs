//! However much was removed before it came, it comes.

use crate::anomalies::{NOW, cluster, pull, r};
use dwcp_crdt::Space;
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::{Config, Missing, Refused};

fn edit(change: Change) -> Edit {
    Edit::new(Address::key(Kind::OrSet, "jobs"), change)
}

/// Place 1 adds, place 0 removes what it has seen; place 2 was cut off and keeps few removals in mind.
fn produced_and_consumed(pending_max: usize) -> (Vec<Space>, Space) {
    let mut c = cluster(3);
    let config = Config { pending_max, ..Config::new([7; 32]) };
    let late = Space::new(config, c[2].roster().clone(), r(2));
    for job in 0..3_000u32 {
        let made = c[1].transact(NOW + u64::from(job), &[edit(Change::Add(job.to_be_bytes().to_vec()))]);
        made.expect("it is added");
        let (a, b) = c.split_at_mut(1);
        pull(&mut a[0], &b[0]);
        let taken = a[0].transact(NOW + u64::from(job), &[edit(Change::Remove(job.to_be_bytes().to_vec()))]);
        taken.expect("it is removed");
    }
    (c, late)
}

#[test]
fn a_replica_that_was_cut_off_catches_up_whatever_was_removed_meanwhile() {
    let (c, mut late) = produced_and_consumed(1_000);
    late.open();
    // Less goes at once than a slice of one maker.
    for _ in 0..2_000 {
        let Missing::Operations { batches, more } = c[0].missing(late.version(), 1_024) else {
            panic!("the log holds all")
        };
        for batch in &batches {
            late.receive(batch, NOW).expect("nothing is refused");
            assert!(late.waiting().0 <= 1_000, "{:?}", late.waiting());
        }
        if !more {
            break;
        }
    }
    assert_eq!(late.version(), c[0].version());
    assert_eq!(late.fingerprint(), c[0].fingerprint());
}

#[test]
fn what_is_waited_for_is_taken_however_much_waits() {
    let (c, mut late) = produced_and_consumed(100);
    late.open();
    let of = |maker, after| c[0].made(r(maker), after, u64::MAX, 1_024).expect("the log holds all");
    // All of the consumer's first, as a stream that begins at the first place would bring it.
    let mut refused = 0;
    loop {
        let batches = of(0, late.version().get(r(0)));
        let Some(batch) = batches.first() else { break };
        match late.receive(batch, NOW) {
            Ok(_) => {}
            Err(Refused::Pending(..)) => {
                refused += 1;
                let batches = of(1, late.version().get(r(1)));
                late.receive(batches.first().expect("there is more of it"), NOW).expect("it is waited for");
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused > 10, "the bound was met: {refused}");
    pull(&mut late, &c[0]);
    assert_eq!(late.fingerprint(), c[0].fingerprint());
}
