//! Tables: settings, quorums, messages that are not believed, chains, reads, catching up.

use super::super::message::{Deps, InstanceId, Message, Value, Vote};
use super::super::{ConfigError, Epaxos};
use super::{Cluster, config, settings, started};
use crate::engine::Token;
use crate::quorum::System;
use crate::step::{Fault, Input, Output, Payload, Protocol};
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId};
use std::vec::Vec;

#[test]
fn quorums_are_those_of_the_paper() {
    // n, slow quorum, fast quorum.
    for (n, slow, fast) in
        [(1, 1, 1), (2, 2, 2), (3, 2, 2), (4, 3, 3), (5, 3, 3), (6, 4, 5), (7, 4, 5), (9, 5, 6)]
    {
        let c = config(0, n);
        assert_eq!((c.n - c.slow_misses, c.fast_size()), (slow, fast), "of {n}");
        assert!(c.n + 1 >= 2 * c.fast_misses + c.slow_misses && c.n > 2 * c.slow_misses, "of {n}");
    }
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let bad = |f: fn(&mut super::Settings)| {
        let mut s = settings(0, 3);
        f(&mut s);
        s.check().err()
    };
    assert_eq!(bad(|_| {}), None);
    assert_eq!(bad(|s| s.members.reverse()), Some(ConfigError::Members));
    assert_eq!(bad(|s| s.me = NodeId(9)), Some(ConfigError::Members));
    assert_eq!(bad(|s| s.quorums = System::Majority { members: 5 }), Some(ConfigError::Quorums));
    assert!(matches!(bad(|s| s.recover_after = s.resend), Some(ConfigError::Range(_))));
    assert!(matches!(bad(|s| s.chain_max = 0), Some(ConfigError::Range(_))));
}

#[test]
fn ballots_belong_to_one_replica_and_grow() {
    for me in 0..3 {
        let c = config(me, 3);
        for ballot in 0..20 {
            let next = c.ballot_above(ballot);
            assert!(next > ballot && c.owner(0, next) == me as u8);
        }
        assert_eq!(c.owner(2, 0), 2);
    }
}

fn blamed(replica: &Epaxos, from: u64, message: Message) -> Option<Fault> {
    let mut after = replica.clone();
    let mut out = Vec::new();
    after.step(Instant::from_nanos(1), Input::Message { from: NodeId(from), message }, &mut out);
    let fault =
        out.iter().find_map(|o| if let Output::Blame { fault, .. } = o { Some(*fault) } else { None });
    if fault.is_some() {
        assert_eq!(out.len(), 1, "nothing else comes of it: {out:?}");
        assert_eq!(after.instances, replica.instances, "nothing changed");
    }
    fault
}

#[test]
fn what_no_replica_says_is_not_believed() {
    let replica = started(0, 3, &[]);
    let id = InstanceId::new(1, 1);
    let command = Payload::Command(Bytes::from_static(b"a=1"));
    let none = Deps::none(3);
    let pre_accept = |id, deps| Message::PreAccept { id, command: command.clone(), deps };
    let accept = |ballot| Message::Accept { id, ballot, value: Value::Noop, deps: none.clone() };
    assert_eq!(blamed(&replica, 2, pre_accept(id, none.clone())), None);
    for (from, message, fault) in [
        (9, accept(0), Fault::Sender),
        (3, pre_accept(id, none.clone()), Fault::Sender),
        (3, accept(0), Fault::Sender),
        (3, accept(4), Fault::Sender),
        (2, Message::Prepare { id, ballot: 5 }, Fault::Sender),
        (2, Message::Prepare { id, ballot: 0 }, Fault::Contradiction),
        (2, pre_accept(InstanceId::new(1, 0), none.clone()), Fault::Bound),
        (2, pre_accept(InstanceId::new(7, 1), none.clone()), Fault::Bound),
        (2, pre_accept(id, Deps::none(2)), Fault::Bound),
        (2, pre_accept(id, Deps([0, 1, 0].into())), Fault::Contradiction),
        (2, Message::Fetch { replica: 1, from: 1, to: 100 }, Fault::Bound),
        (2, Message::Fetch { replica: 1, from: 0, to: 1 }, Fault::Contradiction),
        (2, Message::Beat { committed: [0].into(), seen: [0, 0, 0].into(), ask: false }, Fault::Bound),
        (2, Message::PrepareOk { id, ballot: 3, vote: Vote::new(3) }, Fault::Contradiction),
    ] {
        assert_eq!(blamed(&replica, from, message.clone()), Some(fault), "{message:?}");
    }
}

#[test]
fn a_decision_is_not_taken_back() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.settle();
    let id = InstanceId::new(0, 1);
    let other = Message::Commit { id, value: Value::Noop, deps: Deps::none(3) };
    assert_eq!(blamed(&c.nodes[1], 3, other), Some(Fault::Contradiction));
}

#[test]
fn a_long_chain_takes_no_more_until_it_drains() {
    let mut c = Cluster::new(3);
    for token in 1..=12 {
        c.propose(0, token, "a=1");
    }
    // `chain_max` is 8.
    assert_eq!((c.nodes[0].counts().delayed, c.nodes[0].next), (4, 9));
    c.propose(0, 13, "b=1");
    assert_eq!(c.nodes[0].next, 10, "another key goes on");
    c.settle();
    assert_eq!(c.given[0].len(), 13);
    assert_eq!(c.given[1].len(), 13);
}

#[test]
fn a_cycle_is_executed_in_one_order() {
    // Three commands on one key, each first known at its own replica and at the next: 0 before 1 before 2 before 0.
    let mut c = Cluster::new(3);
    for node in 0..3 {
        c.propose(node, u64::from(node), ["a=0", "a=1", "a=2"][usize::from(node)]);
    }
    for node in 0..3 {
        c.deliver(node, (node + 1) % 3, "PreAccept");
    }
    c.settle();
    assert!(c.nodes.iter().any(|n| n.counts().cycles > 0), "a cycle");
    assert_eq!(c.contradiction(), None);
    assert!(
        c.given
            .iter()
            .all(|g| g.len() == 3 && g.iter().map(|g| &g.payload).eq(c.given[0].iter().map(|g| &g.payload)))
    );
}

#[test]
fn reads_of_a_key_do_not_order_each_other() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "?a");
    c.propose(1, 2, "?a");
    c.settle();
    assert!(c.nodes.iter().all(|n| n.counts().slow == 0));
    assert_eq!(c.nodes[0].counts().fast + c.nodes[1].counts().fast, 2);
}

#[test]
fn a_read_waits_for_what_a_majority_has_heard_of() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.deliver(0, 1, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    assert_eq!(c.given[0].len(), 1, "answered at 0");
    // 2 has not heard of it; 1 has.
    c.step(2, Input::Read(Token(7)));
    c.lose(2, 0);
    c.deliver(2, 1, "ReadAsk");
    c.deliver(1, 2, "ReadOk");
    assert!(c.readable.is_empty() && c.given[2].is_empty());
    c.deliver(0, 2, "Commit");
    assert_eq!((c.readable.as_slice(), c.given[2].len()), (&[(2, 7)][..], 1));
}

#[test]
fn an_answer_to_a_question_of_a_former_life_is_none() {
    let mut c = Cluster::new(3);
    c.step(2, Input::Read(Token(7)));
    c.lose(2, 0);
    c.deliver(2, 1, "ReadAsk");
    c.crash(2);
    // 1's answer is on its way still. What 0 decides with it meanwhile it does not tell of.
    c.propose(0, 1, "a=1");
    c.lose(0, 2);
    c.deliver(0, 1, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    assert_eq!(c.given[0].len(), 1, "answered at 0");
    c.now += Duration::millis(1);
    c.crash(2);
    c.step(2, Input::Read(Token(8)));
    c.deliver(1, 2, "ReadOk");
    assert!(c.readable.is_empty(), "{:?}", c.readable);
    c.settle();
    assert_eq!((c.readable.as_slice(), c.given[2].len()), (&[(2, 8)][..], 1));
}

#[test]
fn reads_and_proposals_without_a_quorum_are_answered_in_the_end() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.step(0, Input::Read(Token(2)));
    for _ in 0..200 {
        c.now += Duration::millis(10);
        c.step(0, Input::Tick);
        c.pool.clear();
    }
    c.refused.sort_unstable();
    assert_eq!(c.refused, [1, 2]);
}

#[test]
fn lost_decisions_are_fetched_and_then_all_are_quiet() {
    let mut c = Cluster::new(3);
    for token in 1..=5 {
        c.propose(0, token, "a=1");
    }
    c.deliver(0, 1, "PreAccept");
    c.lose(0, 2);
    c.settle();
    c.run(Duration::millis(400));
    assert!(c.given.iter().all(|g| g.len() == 5), "{:?}", c.given);
    for node in &c.nodes {
        assert_eq!(node.wake_at(), Instant::FAR, "nothing is left to do");
    }
}

/// A peer's word that there are 60,000 numbers makes no 60,000 entries at once; in the end all are looked after.
#[test]
fn a_word_of_many_numbers_is_followed_up_step_by_step() {
    let mut replica = started(0, 3, &[]);
    let word = |seen| Message::Beat { committed: [0, 0, 0].into(), seen: [0, seen, 0].into(), ask: false };
    let mut now = Instant::from_nanos(1);
    let mut out = Vec::new();
    replica.step(now, Input::Message { from: NodeId(2), message: word(60_000) }, &mut out);
    assert_eq!((replica.instances.len(), replica.seen[1]), (1_024, 60_000));
    replica.step(now, Input::Message { from: NodeId(2), message: word(1 << 40) }, &mut out);
    assert_eq!(replica.instances.len(), 2_048);
    for _ in 0..80 {
        now += Duration::millis(10);
        assert!(replica.wake_at() <= now, "it goes on by itself");
        replica.step(now, Input::Tick, &mut out);
    }
    assert_eq!(replica.instances.len(), 65_536, "and no farther than the window");
}

#[test]
fn a_mark_and_what_is_compacted_make_the_same_replica_again() {
    let mut c = Cluster::new(3);
    for (token, command) in [(1, "a=1"), (2, "b=1"), (3, "a=2")] {
        c.propose((token % 3) as u8, token, command);
        c.settle();
    }
    let mark = c.nodes[1].mark();
    c.propose(1, 4, "a=3");
    c.settle();
    c.step(1, Input::Checkpointed { mark: mark.clone() });
    let records = c.nodes[1].compact();
    assert_eq!(records.len(), 4, "without a marker nothing may be forgotten");
    let again = Epaxos::recover(config(1, 3), Some(&mark), records, c.now).expect("its own");
    let mut out = Vec::new();
    let mut again2 = again.clone();
    again2.step(c.now, Input::Tick, &mut out);
    assert!(out.iter().any(|o| matches!(o, Output::Decided { index: 4, .. })), "{out:?}");
    assert_eq!(again2.mark(), c.nodes[1].mark());
    assert_eq!(again.next, c.nodes[1].next);
    assert!(!again2.admits(&mark, &[0; 32]), "brings nothing");
}
