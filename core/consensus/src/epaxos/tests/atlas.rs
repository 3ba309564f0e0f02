//! Atlas' rule by hand: who is asked, what is decided fast, what a recovery makes of what is left.

use super::super::ConfigError;
use super::super::message::{Deps, InstanceId, Message, Phase, Vote};
use super::{Cluster, config_of, name, settings};
use crate::quorum::{NodeSet, System};
use crate::step::{Fault, Input, Output, Payload, Protocol};
use bytes::Bytes;
use dwcp_env::{Duration, NodeId};
use std::vec::Vec;

const FIRST: InstanceId = InstanceId::new(0, 1);

fn executed(c: &Cluster, node: usize) -> usize {
    c.given[node].iter().filter(|g| !g.payload.is_empty()).count()
}

#[test]
fn quorums_are_those_of_the_paper_and_others_are_refused() {
    // n, f, fast quorum; majorities vote.
    for (n, f, fast) in
        [(3, 1, 2), (4, 1, 3), (5, 1, 3), (5, 2, 4), (7, 1, 4), (7, 2, 5), (7, 3, 6), (15, 7, 14)]
    {
        let c = config_of(0, &System::atlas(n, f));
        assert_eq!((c.fast_size(), c.reported), (fast, Some(usize::from(f))), "of {n}");
        assert_eq!(c.n - c.slow_misses, usize::from(n) / 2 + 1);
    }
    let check = |quorums: System| {
        let members = match quorums {
            System::Threshold { members, .. } => members,
            _ => 5,
        };
        super::Settings { quorums, ..settings(0, u64::from(members)) }.check().err()
    };
    let of = |prepare, accept, fast| System::Threshold { members: 5, prepare, accept, fast };
    assert_eq!(check(of(4, 3, 3)), None);
    // Nobody may be gone; decided by fewer or more than a majority; a fast quorum too small or too large.
    for wrong in
        [of(5, 3, 2), of(4, 2, 3), of(4, 4, 3), of(3, 3, 3), of(4, 3, 4), System::Byzantine { members: 5 }]
    {
        assert!(check(wrong.clone()).is_some(), "{wrong:?}");
    }
    // More may be gone than a minority.
    assert!(matches!(check(System::atlas(5, 3)), Some(ConfigError::Atlas(_))));
    for n in 3..=15 {
        for f in 0..n {
            let fits = f >= 1 && f <= (n - 1) / 2;
            assert_eq!(check(System::atlas(n, f)).is_none(), fits, "{f} of {n}");
        }
    }
}

#[test]
fn a_meeting_takes_one_round_trip_where_one_may_be_gone() {
    let mut c = Cluster::of(System::atlas(3, 1));
    c.propose(0, 1, "a=1");
    c.lose(0, 2);
    c.deliver(0, 1, "Collect");
    c.deliver(1, 0, "PreAcceptOk");
    assert!(c.pool.iter().all(|(_, _, m)| name(m) == "Commit"), "2 is told only what is decided");
    c.lose(0, 2);
    // 2 has not heard of it; its fast quorum is 0 and itself, and 0 has something to add.
    c.propose(2, 2, "a=2");
    c.deliver(2, 0, "Collect");
    c.deliver(0, 2, "PreAcceptOk");
    assert_eq!((c.nodes[2].counts().fast, c.nodes[2].counts().slow), (1, 0));
    c.run(Duration::millis(60));
    assert_eq!(c.contradiction(), None);
    assert!((0..3).all(|n| executed(&c, n) == 2), "{:?}", c.given);
}

/// Five members of which two may be gone, fast quorums of four: what one alone reports is voted on, what two report is not.
#[test]
fn what_too_few_report_is_voted_on() {
    for (know, fast) in [(&[1_u8][..], 0), (&[1, 2], 1), (&[1, 2, 3], 1)] {
        let mut c = Cluster::of(System::atlas(5, 2));
        c.propose(4, 1, "a=1");
        // 4 asks 0, 1 and 2; for 3 it is carried by hand.
        let question = c.pool.iter().find(|m| name(&m.2) == "Collect").expect("asked").2.clone();
        c.pool.clear();
        for node in know {
            c.step(*node, Input::Message { from: NodeId(5), message: question.clone() });
        }
        c.pool.clear();
        c.propose(0, 2, "a=2");
        for node in [1, 2, 3] {
            c.deliver(0, node, "Collect");
            c.deliver(node, 0, "PreAcceptOk");
        }
        assert_eq!((c.nodes[0].counts().fast, c.nodes[0].counts().slow), (fast, 1 - fast), "{know:?} know");
    }
}

/// 0 decides fast behind 4.1, which 1 and 2 report; 0 and either of them are gone: the rest tells the whole set.
#[test]
fn a_fast_decision_behind_what_the_dead_reported_is_found_again() {
    for gone in [1, 2] {
        let mut c = Cluster::of(System::atlas(5, 2));
        c.propose(4, 1, "a=1");
        c.deliver(4, 1, "Collect");
        c.deliver(4, 2, "Collect");
        c.pool.clear();
        c.propose(0, 2, "a=2");
        for node in [1, 2, 3] {
            c.deliver(0, node, "Collect");
            c.deliver(node, 0, "PreAcceptOk");
        }
        let decided: Vec<Deps> = c.nodes[0].decided().map(|(_, _, deps)| deps.clone()).collect();
        assert_eq!(decided, [Deps(std::vec![0, 0, 0, 0, 1])]);
        c.pool.clear();
        c.recover(3, FIRST);
        let rest: Vec<u8> = [1, 2, 4].into_iter().filter(|n| *n != gone).collect();
        for node in &rest {
            c.deliver(3, *node, "Prepare");
            c.deliver(*node, 3, "PrepareOk");
        }
        assert_eq!(c.nodes[3].counts().recovered_union, 1);
        for node in &rest {
            c.deliver(3, *node, "Accept");
            c.deliver(*node, 3, "AcceptOk");
        }
        assert_eq!(c.nodes[3].decided().map(|(_, _, d)| d.clone()).collect::<Vec<_>>(), decided);
        assert_eq!((c.contradiction(), c.blamed), (None, 0));
    }
}

/// Of five one may be gone. 0 decides fast with 1 and 2 behind what 1 reports; 0 and 1 are silent: 2 can't tell what was decided
/// and waits, until 1 is back.
#[test]
fn a_recovery_that_lacks_too_many_waits_for_one_of_them() {
    let mut c = Cluster::of(System::atlas(5, 1));
    c.propose(4, 1, "a=1");
    c.deliver(4, 1, "Collect");
    c.pool.clear();
    c.propose(0, 2, "a=2");
    for node in [1, 2] {
        c.deliver(0, node, "Collect");
        c.deliver(node, 0, "PreAcceptOk");
    }
    assert_eq!(c.nodes[0].counts().fast, 1);
    c.pool.clear();
    c.recover(2, FIRST);
    for node in [3, 4] {
        c.deliver(2, node, "Prepare");
        c.deliver(node, 2, "PrepareOk");
    }
    assert_eq!(c.nodes[2].counts().recovered_blocked, 1, "a majority promised, and it is not enough");
    assert!(!c.pool.iter().any(|m| name(&m.2) == "Accept"));
    c.deliver(2, 1, "Prepare");
    c.deliver(1, 2, "PrepareOk");
    c.lose(2, 0);
    for node in [1, 3] {
        c.deliver(2, node, "Accept");
        c.deliver(node, 2, "AcceptOk");
    }
    assert_eq!(c.nodes[2].decided().count(), 1);
    assert_eq!(c.contradiction(), None);
}

/// A fast quorum that was named stays named: after a restart the same members are asked, and their answers count.
#[test]
fn a_restart_names_the_same_quorum() {
    let mut c = Cluster::of(System::atlas(5, 1));
    c.propose(0, 1, "a=1");
    let named = |c: &Cluster| c.nodes[0].instances[&FIRST].vote.phase;
    assert_eq!(named(&c), Phase::Collected(NodeSet(0b00111)));
    c.pool.clear();
    c.crash(0);
    // 1 and 2 are far by now.
    c.nodes[0].peers.kept_waiting(Phase::Collected(NodeSet::first(3)), &[0]);
    c.run(Duration::millis(60));
    assert!((0..5).all(|n| executed(&c, n) == 1), "{:?}", c.given);
    c.propose(0, 2, "b=1");
    let asked: Vec<u8> = c.pool.iter().map(|m| m.1).collect();
    assert!(!asked.contains(&1) || !asked.contains(&2), "{asked:?}: who is far is not asked first");
}

#[test]
fn who_is_asked_and_silent_is_passed_over() {
    let mut c = Cluster::of(System::atlas(3, 1));
    for token in 1..=40 {
        c.propose(0, token, "a=1");
        for _ in 0..30 {
            c.pool.retain(|(from, to, _)| *from != 1 && *to != 1);
            while !c.pool.is_empty() {
                let (from, to, message) = c.pool.remove(0);
                if from != 1 && to != 1 {
                    c.step(to, Input::Message { from: NodeId(u64::from(from) + 1), message });
                }
            }
            c.now += Duration::millis(1);
            for node in [0, 2] {
                c.step(node, Input::Tick);
            }
        }
    }
    let counts = c.nodes[0].counts();
    assert_eq!(executed(&c, 0), 40);
    assert!(counts.slow <= 2 && counts.fast >= 38, "{counts:?}: 1 is asked once or twice");
}

#[test]
fn what_belongs_to_the_other_rule_is_not_believed() {
    let id = InstanceId::new(1, 1);
    let command = Payload::Command(Bytes::from_static(b"a=1"));
    let deps = Deps::none(3);
    let plain = Message::PreAccept { id, command: command.clone(), deps: deps.clone() };
    let collect = |quorum| Message::Collect {
        id,
        command: command.clone(),
        deps: deps.clone(),
        quorum: NodeSet(quorum),
    };
    let promise = |quorum| {
        let vote = Vote {
            command: Some(command.clone()),
            phase: Phase::Collected(NodeSet(quorum)),
            ballot: 1,
            initial: Some(deps.clone()),
            ..Vote::new(3)
        };
        Message::PrepareOk { id, ballot: 1, vote }
    };
    let blamed = |quorums: &System, message: &Message| {
        let mut c = Cluster::of(quorums.clone());
        let before = c.nodes[0].clone();
        let mut out = Vec::new();
        c.nodes[0].step(c.now, Input::Message { from: NodeId(2), message: message.clone() }, &mut out);
        let fault =
            out.iter().find_map(|o| if let Output::Blame { fault, .. } = o { Some(*fault) } else { None });
        assert!(fault.is_none() || c.nodes[0].instances == before.instances);
        fault
    };
    let (majority, atlas) = (System::Majority { members: 3 }, System::atlas(3, 1));
    for (quorums, message, fault) in [
        (&majority, &plain, None),
        (&atlas, &collect(0b011), None),
        (&majority, &collect(0b011), Some(Fault::Contradiction)),
        (&atlas, &plain, Some(Fault::Contradiction)),
        // Too few, too many, without its replica, with a stranger.
        (&atlas, &collect(0b010), Some(Fault::Contradiction)),
        (&atlas, &collect(0b111), Some(Fault::Contradiction)),
        (&atlas, &collect(0b101), Some(Fault::Contradiction)),
        (&atlas, &collect(0b1010), Some(Fault::Bound)),
        // The same where a promise names it: what is left of it would tell a recovery too little, or nothing.
        (&atlas, &promise(0b011), None),
        (&majority, &promise(0b011), Some(Fault::Contradiction)),
        (&atlas, &promise(0b010), Some(Fault::Contradiction)),
        (&atlas, &promise(0b111), Some(Fault::Contradiction)),
        (&atlas, &promise(0b101), Some(Fault::Contradiction)),
        (&atlas, &promise(0b1010), Some(Fault::Bound)),
    ] {
        assert_eq!(blamed(quorums, message), fault, "{message:?}");
    }
}
