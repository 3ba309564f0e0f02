//! Schedules told step by step.

use super::super::checkpoint::vouched;
use super::super::config::Watched;
use super::super::crypto::{Digest, Tag};
use super::super::message::{Certificate, Message, Status};
use super::super::{Batch, Pbft, Record};
use super::table::Table;
use crate::engine::Token;
use crate::step::{Fault, Input, Output, Protocol};
use dwcp_env::{Duration, Instant, NodeId};
use std::vec::Vec;

fn all(_: usize, _: usize, _: &Message) -> bool {
    true
}

/// What one batch costs among four: the golden figure. 3 pre-prepares, 9 prepares, 12 commits; a request.
#[test]
fn the_cost_of_a_batch() {
    let mut t = Table::of(4);
    t.propose(1, 7, b"put x");
    t.settle(all);
    for node in 0..4 {
        assert_eq!(t.order(node), ["put x"]);
    }
    assert_eq!(t.decided[1][0].2, Some(Token(7)), "the proposer's node answers its question");
    assert_eq!(t.decided[0][0].2, None);
    // Syncs: the lifetime of the proposer; note, prepared and decided by all; the last is waited for by nobody.
    let prepared =
        |t: &Table| t.disks.iter().flatten().filter(|r| matches!(r, Record::Prepared { .. })).count();
    assert_eq!((t.sent, prepared(&t)), (25, 4));
    assert_eq!((t.bytes, t.syncs), (1_444, 13));
    assert_eq!(t.blamed, []);
}

/// Votes leave after their records: at every send of a vote, `after` is its record's ticket.
#[test]
fn votes_wait_for_the_disk() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"a");
    assert!(t.wire.is_empty(), "the primary's own note is on disk before anybody hears of the batch");
    t.sync(0);
    t.deliver(all);
    assert!(t.wire.is_empty(), "nobody prepares what is not on disk");
    (1..4).for_each(|node| t.sync(node));
    assert_eq!(t.wire.len(), 9);
    t.deliver(all);
    assert!(t.wire.is_empty(), "nobody commits what is not on disk");
    assert!((0..4).all(|node| t.decided[node].is_empty()));
    t.settle(all);
    assert!((0..4).all(|node| t.order(node) == ["a"]));
}

/// A batch is decided among three; the fourth, which saw nothing, and the next primary know nothing of it; the
/// first primary is gone. The next view carries it on.
#[test]
fn a_decided_batch_survives_its_primary() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"kept");
    // Commits reach only the primary.
    t.settle(|_, to, m| to != 1 && (to == 0 || !matches!(m, Message::Commit { .. })));
    assert_eq!(t.order(0), ["kept"]);
    assert!((1..4).all(|node| t.decided[node].is_empty()));
    let without_first = |from: usize, to: usize, _: &Message| from != 0 && to != 0;
    for _ in 0..40 {
        t.wait(Duration::millis(10));
        t.settle(without_first);
    }
    assert!((1..4).all(|node| t.order(node) == ["kept"]), "{:?}", t.decided);
    assert!((1..4).all(|node| t.nodes[node].standing().ballot >= 1));
    // And the old primary finds its way back.
    for _ in 0..20 {
        t.wait(Duration::millis(10));
        t.settle(all);
    }
    assert_eq!(t.nodes[0].standing().ballot, t.nodes[1].standing().ballot);
    assert_eq!(t.blamed, []);
}

/// A primary gives two members one batch and the third another: nothing of it can be decided twice; all agree
/// in the next view.
#[test]
fn two_faces_cannot_divide() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"one");
    t.sync(0);
    let (mut wire, empty) = (std::mem::take(&mut t.wire), Batch::default());
    for (_, to, message) in &mut wire {
        if let Message::PrePrepare { view, seq, batch, tag } = message
            && *to == 3
        {
            *batch = empty.clone();
            let digest = batch.digest(&t.nodes[0].config.realm);
            let what = super::super::message::covered(*view, *seq, digest);
            *tag = t.nodes[0].config.tag(super::super::crypto::Kind::PrePrepare, 3, &what);
        }
    }
    t.wire = wire;
    // The liar says no more.
    for _ in 0..60 {
        t.settle(|from, to, m| to != 0 && (from != 0 || matches!(m, Message::PrePrepare { .. })));
        t.wait(Duration::millis(10));
    }
    let orders: Vec<_> = (1..4).map(|node| t.order(node).len()).collect();
    assert_eq!(orders, [1, 1, 1], "the batch of the two is carried on, whatever the third was given");
    assert_eq!(t.blamed, []);
}

/// Every prefix of a disk is a state to start from; the compaction stands for the whole.
#[test]
fn every_prefix_of_a_disk_is_a_start() {
    let mut t = Table::of(4);
    for (i, command) in [&b"a"[..], b"b", b"c", b"d", b"e"].into_iter().enumerate() {
        t.propose(i % 4, i as u64 + 1, command);
        t.settle(all);
    }
    for node in 0..4 {
        let config = t.nodes[node].config.clone();
        let records = t.disks[node].clone();
        for kept in 0..=records.len() {
            let from = records[..kept].to_vec();
            let there = Pbft::recover(config.clone(), None, from, Instant::ZERO).unwrap();
            let again = Pbft::recover(config.clone(), None, there.compact(), Instant::ZERO).unwrap();
            assert_eq!(there.leaf(), again.leaf(), "claims of {kept} records and of their compaction");
            assert_eq!((there.lifetime, there.view, there.next), (again.lifetime, again.view, again.next));
        }
    }
    let disk = t.disks[2].clone();
    t.restart(2, disk);
    t.wait(Duration::millis(1));
    assert_eq!(t.order(2).len(), 5, "what its disk holds as decided is given out again");
}

/// A stable checkpoint needs a quorum's equal words; a liar's other word does not count.
#[test]
fn checkpoints_need_a_quorum() {
    let mut t = Table::of(4);
    for (token, command) in [&b"a"[..], b"b"].into_iter().enumerate() {
        t.propose(0, token as u64 + 1, command);
        t.settle(all);
    }
    assert!(t.marks.iter().all(|marks| marks.len() == 1 && marks[0] == t.marks[0][0]));
    let mark = t.marks[0][0].clone();
    for (node, digest) in [(0, [5; 32]), (1, [5; 32]), (2, [6; 32])] {
        t.input(node, Input::Vouched { mark: mark.clone(), digest });
        t.settle(all);
    }
    assert!(t.stable.iter().all(Vec::is_empty), "two alike and one other are no quorum");
    assert!(!t.nodes[3].admits(&mark, &[5; 32]));
    t.input(3, Input::Vouched { mark: mark.clone(), digest: [5; 32] });
    t.settle(all);
    let stable: Vec<usize> = t.stable.iter().map(Vec::len).collect();
    assert_eq!(stable, [1, 1, 0, 1], "the one whose state differs cannot call its own checkpoint stable");
    assert!(t.nodes.iter().all(|n| n.stable.seq == 2));
}

/// What makes a checkpoint stable convinces others of its state's digest: a member that lags, and who is none.
#[test]
fn a_proof_convinces_who_was_not_there() {
    let mut t = Table::of(4);
    let mut alone = Table::of(4).nodes.remove(3);
    for (token, command) in [&b"a"[..], b"b"].into_iter().enumerate() {
        t.propose(0, token as u64 + 1, command);
        t.settle(all);
    }
    let mark = t.marks[0][0].clone();
    assert_eq!(t.nodes[0].proof(&mark), None, "nobody has vouched for it");
    for node in 0..3 {
        t.input(node, Input::Vouched { mark: mark.clone(), digest: [5; 32] });
    }
    t.settle(all);
    let proof = t.nodes[1].proof(&mark).expect("it is stable");
    let Message::Stable(certificate) = &proof else { panic!("{proof:?}") };

    let p = super::parameters(1, 4);
    let watched = Watched { realm: p.realm, members: p.members, public: p.public };
    assert_eq!(vouched(&watched, &mark, &proof), Some([5; 32]));
    let elsewhere = Watched { realm: [2; 32], ..watched.clone() };
    assert_eq!(vouched(&elsewhere, &mark, &proof), None, "of another epoch");
    let mut few = certificate.clone();
    few.votes.pop();
    let mut other = certificate.clone();
    other.state = Digest([6; 32]);
    for (name, lie) in [("too few", few), ("another state", other), ("the begin", Certificate::default())] {
        assert_eq!(vouched(&watched, &mark, &Message::Stable(lie)), None, "{name}");
    }
    let another = Table::of(4).nodes[0].mark();
    assert_eq!(vouched(&watched, &another, &proof), None, "another mark");

    assert_eq!(alone.proved(&mark), None, "it has heard nothing");
    let mut out = Vec::new();
    alone.step(Instant::ZERO, Input::Message { from: NodeId(2), message: proof }, &mut out);
    assert_eq!(alone.proved(&mark), Some([5; 32]));
    assert_eq!(t.nodes[1].proved(&mark), None, "who has applied as much needs no state");
}

/// What is decided before a read was asked for comes before it.
#[test]
fn a_read_has_a_place_in_the_order() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"w");
    t.settle(all);
    t.input(2, Input::Read(Token(9)));
    assert!(t.readable.is_empty());
    t.settle(all);
    assert_eq!(t.readable, [(2, Token(9))]);
    assert_eq!(t.decided[2].len(), 1, "a read takes no index");
}

/// Bad input: a peer's fault, and nothing else changes.
#[test]
fn bad_input_changes_nothing() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"a");
    t.sync(0);
    let good = t.wire[0].2.clone();
    let (tag, digest) = (Tag::default(), Digest([3; 32]));
    let bad: Vec<(Message, Fault)> = [
        (Message::Prepare { view: 0, seq: 1, digest, tag }, Fault::Forged),
        (Message::Commit { view: 0, seq: 1, digest, tag }, Fault::Forged),
        (Message::Decision { seq: 1, digest, tag }, Fault::Forged),
        (Message::Fetch { digest, tag }, Fault::Forged),
        (Message::Status(Status::default()), Fault::Forged),
        (good, Fault::Forged), // coded for another
    ]
    .into();
    for (message, fault) in bad {
        let mut out = Vec::new();
        let mut node = t.nodes[3].clone();
        node.step(t.now, Input::Message { from: NodeId(1), message }, &mut out);
        assert_eq!(out, [Output::Blame { peer: NodeId(1), fault }]);
        (node.counts, node.lies) = (t.nodes[3].counts, t.nodes[3].lies);
        assert_eq!(node, t.nodes[3]);
    }
    let mut out = Vec::new();
    t.nodes[3].step(
        t.now,
        Input::Message { from: NodeId(99), message: Message::Batch(Batch::default()) },
        &mut out,
    );
    assert_eq!(out, [Output::Blame { peer: NodeId(99), fault: Fault::Sender }]);
}

/// Messages whose bytes were damaged and still parse: no panic, no decision, only faults of the sender or silence.
#[test]
fn damaged_messages_are_borne() {
    let mut t = Table::of(4);
    for i in 0..6 {
        t.propose(i % 4, i as u64 + 1, b"some command");
    }
    let mut samples = Vec::new();
    for round in 0..60 {
        (0..4).for_each(|node| t.sync(node));
        samples.extend(t.wire.iter().map(|(from, to, m)| (*from, *to, dwcp_env::wire::encode(m))));
        // The first primary falls silent: samples of view changes too.
        t.deliver(|from, to, _| round < 8 || (from != 0 && to != 0));
        t.wait(Duration::millis(10));
    }
    let (mut draw, mut parsed) = (1_u64, 0);
    let mut next = |n: usize| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) as usize % n
    };
    let before: Vec<usize> = t.decided.iter().map(Vec::len).collect();
    for _ in 0..20_000 {
        let (from, to, bytes) = &samples[next(samples.len())];
        let mut bytes = bytes.clone();
        let at = next(bytes.len());
        bytes[at] = next(256) as u8;
        if next(4) == 0 {
            bytes.truncate(next(bytes.len()) + 1);
        }
        if let Ok(message) = dwcp_env::wire::decode::<Message>(&bytes) {
            parsed += 1;
            // From another too: codes and signatures are the sender's.
            let from = if next(2) == 0 { *from } else { next(4) };
            if from != *to {
                t.input(*to, Input::Message { from: NodeId(from as u64 + 1), message });
                t.wire.clear();
            }
        }
    }
    assert!(parsed > 5_000, "{parsed}");
    let after: Vec<usize> = t.decided.iter().map(Vec::len).collect();
    assert!(before.iter().zip(&after).all(|(b, a)| a - b <= 6), "{before:?} {after:?}");
    let first = t.decided.iter().max_by_key(|d| d.len()).unwrap();
    for decided in &t.decided {
        assert!(decided.iter().zip(first).all(|(a, b)| (a.0, &a.1) == (b.0, &b.1)));
    }
}
