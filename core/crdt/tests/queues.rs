//! A list used as a queue, for ever: what it keeps is what lives in it. A binary of its own, because it counts the whole heap.

#![allow(clippy::disallowed_macros, reason = "a figure for whoever runs it with --nocapture")]

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::{Config, Missing, Restore};
use dwcp_crdt::{ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: u64 = 1_790_000_000_000;
/// Elements that are pushed and cut in all.
const ELEMENTS: usize = 1_000_000;
/// Elements that are in the list at any time.
const LENGTH: usize = 40;
/// Edits of a transaction: so many pushes and as many cuts.
const AT_ONCE: usize = 50;
/// What two replicas may hold beyond what they held when the list was as long and new: blocks of the index, a leaf or two, two for each
/// live element.
const SLACK: usize = 32 * 1024;

fn live() -> usize {
    let s = HEAP.stats();
    s.bytes_allocated - s.bytes_deallocated
}
fn queue() -> Address {
    Address::key(Kind::Sequence, "queue")
}
fn push(at: usize, n: usize) -> Edit {
    Edit::new(queue(), Change::Insert { at, values: vec![n.to_be_bytes().to_vec()] })
}
fn send(from: &Space, to: &mut Space) {
    let Missing::Operations { batches, .. } = from.missing(to.version(), usize::MAX) else {
        panic!("trimmed")
    };
    for batch in batches {
        to.receive(&batch, NOW).unwrap();
    }
}
/// Both say what they have and forget what both have; twice, for what died since the last time goes the time after.
fn settle(a: &mut Space, b: &mut Space) {
    for _ in 0..2 {
        let (va, vb) = (a.version().clone(), b.version().clone());
        a.acknowledged(b.me(), &vb, 0);
        b.acknowledged(a.me(), &va, 0);
        a.trim();
        b.trim();
    }
}
fn shown(s: &Space) -> Vec<u64> {
    let number = |v: Vec<u8>| u64::from_be_bytes(v.try_into().unwrap());
    s.range(&queue(), 0, usize::MAX).into_iter().map(number).collect()
}

#[test]
fn a_million_elements_go_through_a_list_that_is_never_empty_and_leave_nothing() {
    let roster = Roster::founding((0..2).map(NodeId));
    let space = |i| {
        let mut s = Space::new(Config::new([7; 32]), roster.clone(), ReplicaIndex(i));
        s.open();
        s
    };
    let (mut a, mut b) = (space(0), space(1));
    let first: Vec<Edit> = (0..LENGTH).map(|n| push(n, n)).collect();
    a.transact(NOW, &first).unwrap();
    send(&a, &mut b);
    settle(&mut a, &mut b);
    let before = live();
    let (mut most, mut n) = (0, LENGTH);
    // By turns each pushes at the end and cuts at the beginning, and hears of it from the other.
    while n < ELEMENTS {
        let edits: Vec<Edit> = (0..AT_ONCE)
            .flat_map(|k| [push(LENGTH, n + k), Edit::new(queue(), Change::Erase { from: 0, count: 1 })])
            .collect();
        a.transact(NOW + n as u64, &edits).unwrap();
        send(&a, &mut b);
        n += AT_ONCE;
        if (n / AT_ONCE).is_multiple_of(20) {
            settle(&mut a, &mut b);
            most = most.max(live().saturating_sub(before));
        }
        core::mem::swap(&mut a, &mut b);
    }
    settle(&mut a, &mut b);
    let after = live().saturating_sub(before);
    eprintln!(
        "after a million elements: {after} bytes more than at the beginning, {most} at most in between"
    );
    let (kept, mourned) = a.tombstones();
    assert!(kept as usize <= 3 * LENGTH && mourned == 0, "{kept} dead elements are kept");
    assert!(most.max(after) < SLACK, "{after} bytes more than at the beginning, {most} in between");
    let last: Vec<u64> = ((n - LENGTH) as u64..n as u64).collect();
    assert_eq!((shown(&a), shown(&b)), (last.clone(), last.clone()));
    assert_eq!((a.digest(), a.to_bytes()), (b.digest(), b.to_bytes()));
    // A replica that comes back from its state is the same, and goes on.
    let mut again = Restore::new(Config::new([7; 32]), roster, a.me(), a.snapshot());
    again.absorb(&a.chunk(None, usize::MAX).bytes).unwrap();
    let mut again = again.finish(&[], NOW).unwrap();
    again.open();
    assert_eq!((again.digest(), again.to_bytes()), (a.digest(), a.to_bytes()));
    again.transact(NOW * 2, &[push(0, 1), push(LENGTH + 1, 2)]).unwrap();
    send(&again, &mut b);
    assert_eq!(shown(&again), shown(&b));
    assert_eq!(shown(&b), [&[1], &last[..], &[2]].concat());
}
