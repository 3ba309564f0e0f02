//! What one liar, one lost message or one crash may not stop.

use super::super::Record;
use super::super::bundle::Batch;
use super::super::message::{Message, Status};
use super::table::Table;
use crate::step::{Input, Payload, Protocol};
use bytes::Bytes;
use dwcp_env::{Duration, NodeId};
use std::vec::Vec;

fn all(_: usize, _: usize, _: &Message) -> bool {
    true
}

fn command(bytes: &'static [u8]) -> [Payload; 1] {
    [Payload::Command(Bytes::from_static(bytes))]
}

/// An origin's earlier lifetime waits at one member; the later one takes effect everywhere, at that member
/// through a batch it fetched. What can have no effect any more is not waited for.
#[test]
fn a_bundle_of_a_past_lifetime_is_not_waited_for() {
    let mut t = Table::of(4);
    let (old, new) = (t.bundle(0, 1, 1, &command(b"old")), t.bundle(0, 2, 1, &command(b"new")));
    t.input(3, Input::Message { from: NodeId(1), message: Message::Request(old) });
    assert_eq!(t.nodes[3].pool.len(), 1);
    let batch = Batch { bundles: [new].into() };
    for to in 1..3 {
        let message = t.pre_prepare(0, to, 0, 1, &batch);
        t.say(0, to, message);
    }
    // The liar votes with the two.
    for to in 1..4 {
        let config = &t.nodes[0].config;
        let digest = batch.digest(&config.realm);
        let tag =
            config.tag(super::super::crypto::Kind::Commit, to, &super::super::message::covered(0, 1, digest));
        t.say(0, to, Message::Commit { view: 0, seq: 1, digest, tag });
    }
    for _ in 0..3 {
        t.settle(all);
        t.wait(Duration::millis(10));
    }
    assert_eq!(t.order(3), ["new"]);
    assert!(t.nodes[3].pool.is_empty(), "{:?}", t.nodes[3].pool.keys().collect::<Vec<_>>());
    let view = t.nodes[3].standing().ballot;
    for _ in 0..200 {
        t.wait(Duration::millis(10));
        t.settle(all);
    }
    assert_eq!(t.nodes[3].standing().ballot, view, "nothing waits: no view is left");
}

/// After a restart a member knows which of its checkpoints is proved: it says so to its driver, and has a peer
/// that lacks it brought the state.
#[test]
fn what_was_stable_is_announced_after_a_restart() {
    let mut t = Table::of(4);
    for token in 1..=6 {
        t.propose(0, token, b"x");
        t.settle(|_, to, _| to != 3);
        if token % 2 == 0 {
            t.vouch(0..3, [token as u8; 32]);
            t.settle(|_, to, _| to != 3);
        }
    }
    assert_eq!(t.stable[1].len(), 3);
    for compacted in [false, true] {
        let records = if compacted { t.nodes[1].compact() } else { t.disks[1].clone() };
        let mark = t.stable[1].last().unwrap().clone();
        t.restart_from(1, Some(&mark), records);
        t.stable[1].clear();
        t.behind.clear();
        let message = t.status(3, 1, Status { stuck: true, active: true, ..Status::default() });
        t.input(1, Input::Message { from: NodeId(4), message });
        assert_eq!(t.behind, [(1, NodeId(4))], "compacted: {compacted}");
        assert_eq!(t.stable[1], [mark]);
    }
}

/// The primary of a new view crashes when others know the view: what they count it for is in its leave of that view, so
/// any quorum's leaves determine the next.
#[test]
fn a_primary_of_a_new_view_is_counted_for_what_is_on_its_disk() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"kept");
    // All prepare, nobody hears of it: the batch must be carried on.
    t.settle(|_, _, m| !matches!(m, Message::Commit { .. }));
    let digest = t.nodes[2].slots[&1].last_prepared.expect("prepared in view 0").1;
    let entered = |t: &Table| t.disks[1].iter().position(|r| matches!(r, Record::Entered(_)));
    for _ in 0..400 {
        t.deliver(|from, to, m| from != 0 && to != 0 && !matches!(m, Message::Commit { view: 0, .. }));
        if entered(&t).is_some() {
            break;
        }
        (0..4).for_each(|node| t.sync(node));
        if t.wire.is_empty() {
            t.wait(Duration::millis(10));
        }
    }
    let entered = entered(&t).expect("the second member begins view 1");
    let noted =
        t.disks[1].iter().position(|r| matches!(r, Record::Noted { view: 1, .. })).expect("carried on");
    let says = t.held[1].iter().filter(|(_, _, m)| matches!(m, Message::NewView(_)));
    let says: Vec<u64> = says.map(|(ticket, ..)| ticket.0).collect();
    assert_eq!(says.len(), 3);
    // Tickets count from 1.
    assert!(says.iter().all(|ticket| *ticket > noted as u64), "{says:?}, noted as {}", noted + 1);
    // A crash keeps the begin of the view only. Asked before anything else, it says so when it has taken note again.
    let records = t.disks[1][..=entered].to_vec();
    t.restart(1, records);
    let ask = t.status(2, 1, Status { view: 0, active: false, ..Status::default() });
    t.input(1, Input::Message { from: NodeId(3), message: ask });
    assert!(
        matches!(&t.disks[1][entered + 1..], [Record::Noted { view: 1, seq: 1, digest: d, .. }] if *d == digest)
    );
    assert!(
        t.wire.iter().all(|(from, _, m)| *from != 1 || !matches!(m, Message::NewView(_))),
        "not on disk yet"
    );
    let mut out = Vec::new();
    t.nodes[1].leave(2, &mut out);
    assert!(t.nodes[1].leaf().noted.iter().any(|c| c.view == 1 && c.digest == digest));
}

/// A member that lost its disk proposes under a lifetime it has used before: its questions are answered all the same, and
/// what it proposes next is decided.
#[test]
fn who_lost_its_disk_finds_a_lifetime_it_never_used() {
    let mut t = Table::of(4);
    let earlier = t.bundle(3, 5, 1, &command(b"earlier"));
    // Under way at the others; the one that lost its disk begins anew.
    t.input(0, Input::Message { from: NodeId(4), message: Message::Request(earlier) });
    t.propose(3, 1, b"lost");
    for token in 2..5 {
        for _ in 0..60 {
            t.settle(all);
            t.wait(Duration::millis(10));
        }
        t.propose(3, token, b"next");
        t.settle(all);
    }
    let mut answered: Vec<u64> = t.decided[3].iter().filter_map(|d| d.2).map(|t| t.0).collect();
    answered.extend(t.refused.iter().filter(|(node, _)| *node == 3).map(|(_, t)| t.0));
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4]);
    assert!(t.order(0).iter().filter(|text| **text == "next").count() >= 2, "{:?}", t.order(0));
    assert_eq!(t.nodes[3].lifetime, 6);
}

/// A primary whose orders do not hold, under a code or without, is left at the third: nobody has to run out of patience.
#[test]
fn a_primary_caught_lying_is_left_at_once() {
    for coded in [true, false] {
        let mut t = Table::of(4);
        let batch = Batch { bundles: [t.bundle(1, 1, 1, &command(b"x"))].into() };
        for seq in 1..=3 {
            // Of place 0 nothing can be said; a code of another place holds for none.
            let mut message = t.pre_prepare(0, 3, 0, if coded { 0 } else { 7 }, &batch);
            if let Message::PrePrepare { seq: at, .. } = &mut message
                && !coded
            {
                *at = seq;
            }
            t.input(3, Input::Message { from: NodeId(1), message });
            assert_eq!(t.nodes[3].standing().ballot, u64::from(seq == 3));
        }
        // One that is not the primary is blamed, and no view is left for it.
        let before = t.nodes[2].view;
        for _ in 0..5 {
            let message = t.pre_prepare(1, 2, 0, 1, &batch);
            t.input(2, Input::Message { from: NodeId(2), message });
        }
        assert_eq!(t.nodes[2].view, before);
    }
}

/// A member's window is full of its own checkpoints when the proof of the first comes; before that is on its disk, which is
/// slow, the window that it has opened fills up again. The first is announced all the same.
#[test]
fn a_checkpoint_that_is_proved_late_is_announced_however_many_lie_above() {
    let mut t = Table::of(4);
    let unheard = |_: usize, to: usize, m: &Message| {
        to != 3 || !matches!(m, Message::Checkpoint(_) | Message::Stable(_))
    };
    // An interval is two places, a window eight.
    for token in 1..=8 {
        t.propose(0, token, b"x");
        t.settle(unheard);
        t.vouch(0..4, [7; 32]);
        t.settle(unheard);
    }
    assert_eq!((t.marks[3].len(), t.stable[3].len()), (4, 0));
    let first = t.marks[3][0].clone();
    let message = t.nodes[0].proof(&first).expect("kept for as many as a window has room for");
    t.input(3, Input::Message { from: NodeId(1), message });
    for token in 9..=10 {
        t.propose(0, token, b"x");
        for _ in 0..8 {
            (0..3).for_each(|node| t.sync(node));
            t.deliver(unheard);
        }
    }
    t.vouch([3], [7; 32]);
    assert_eq!((t.marks[3].len(), t.stable[3].len()), (5, 0));
    t.sync(3);
    assert_eq!(t.stable[3].first(), Some(&first));
}

/// A primary gives out each batch as late as nobody appeals. It is left once all have seen that, and its successor is not.
#[test]
fn a_primary_that_brakes_is_left_and_a_quick_one_is_not() {
    let mut t = Table::of(4);
    let round = |t: &mut Table, token: u64, brakes: bool| {
        t.propose(1 + token as usize % 3, token, b"x");
        for _ in 0..4 {
            (0..4).for_each(|node| t.sync(node));
            let (held, said): (Vec<_>, Vec<_>) = std::mem::take(&mut t.wire)
                .into_iter()
                .partition(|(from, _, m)| brakes && *from == 0 && matches!(m, Message::PrePrepare { .. }));
            t.wire = said;
            t.deliver(all);
            t.wire.extend(held);
        }
        (0..4).for_each(|_| t.wait(Duration::millis(10)));
        t.settle(all);
        t.vouch(0..4, [token as u8; 32]);
        t.settle(all);
    };
    let mut left = 0;
    for token in 1..=400 {
        round(&mut t, token, true);
        if left == 0 && t.nodes[1].standing().ballot > 0 {
            left = token;
        }
    }
    assert!((30..=200).contains(&left), "left after {left} batches");
    assert!((0..4).all(|node| t.nodes[node].standing().ballot == 1), "and who is quick stays");
    assert!((1..4).any(|node| t.nodes[node].counts().slow > 0));
    assert_eq!(t.order(2).len(), 400);
}
