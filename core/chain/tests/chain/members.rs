//! Changes of members beside changes of epochs.

use crate::harness::{Answered, G, World, config, n};
use dwcp_chain::{EngineKind, Switch};
use dwcp_consensus::{EngineError, Member, MemberChange, Token};
use dwcp_env::Duration;
use std::collections::{BTreeMap, BTreeSet};

fn switch_to(engine: EngineKind) -> Switch {
    Switch { engine, ..Switch::default() }
}

#[test]
fn a_change_of_members_beside_a_switch_is_in_the_next_epoch_or_was_not_done() {
    let (change, seal) = (Token(1 << 40), Token(1 << 41));
    for engine in [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos] {
        for change_first in [false, true] {
            for gap in [0, 1, 2, 3, 5] {
                let mut w = World::cluster(7, 3, engine);
                w.elect_any();
                w.write_at(n(1), "before");
                let leader = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
                let gone = w.up().into_iter().find(|id| *id != leader).unwrap();
                let next = if engine == EngineKind::Paxos { EngineKind::EPaxos } else { EngineKind::Paxos };
                for first in [change_first, !change_first] {
                    let host = w.host(leader);
                    if first {
                        host.change_members(G, change, MemberChange::Remove(BTreeSet::from([gone])));
                    } else {
                        host.switch(G, seal, Some(0), switch_to(next));
                    }
                    w.run(Duration::millis(gap));
                }
                w.turn(leader);
                w.run(Duration::secs(10));
                let story = format!("{engine}, change first {change_first}, {gap} ms between");
                let done = w.answers.get(&change).unwrap_or_else(|| panic!("{story}: no answer"));
                let still = w.life(leader).unwrap().host.members(G).voters.contains(&gone);
                match done {
                    Answered::Done(Ok(())) => assert!(!still, "{story}: removed, and a voter"),
                    Answered::Done(Err(EngineError::Unknown)) => {}
                    Answered::Done(Err(_)) => assert!(still, "{story}: not done, and removed"),
                    other => panic!("{story}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_leader_under_paxos_can_be_removed() {
    let mut w = World::cluster(9, 3, EngineKind::Paxos);
    let leader = w.elect();
    let token = w.change(leader, MemberChange::Remove(BTreeSet::from([leader])));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(20), |w| w.leader(G).is_some_and(|l| l != leader)).unwrap();
    let next = w.leader(G).unwrap();
    assert_eq!(w.epoch(next), 1);
    assert_eq!(w.life(next).unwrap().host.members(G).voters.len(), 2);
    w.write_at(next, "without it");
}

#[test]
fn a_learner_knows_where_its_clients_commands_go() {
    for engine in [EngineKind::Paxos, EngineKind::EPaxos] {
        let mut w = World::cluster(33, 3, engine);
        w.elect_any();
        w.write_at(n(1), "before");
        let mut learner = config(4, None);
        learner.known = [1, 2, 3].map(n).into();
        w.add(n(4), BTreeMap::from([(G, learner)]));
        let leader = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
        let token = w.change(leader, MemberChange::AddLearner(n(4), Member::default()));
        assert_eq!(w.answer(token), Answered::Done(Ok(())));
        let points = |w: &World, to: &dyn Fn(dwcp_env::NodeId) -> bool| {
            w.life(n(4)).and_then(|l| l.host.brief(G).leader).is_some_and(to)
        };
        w.until(Duration::secs(30), |w| w.epoch(n(4)) == 1 && points(w, &|l| w.is_up(l) && l != n(4)))
            .unwrap_or_else(|e| panic!("{engine}: {e}"));
        // Not to who is gone.
        let gone = w.life(n(4)).and_then(|l| l.host.brief(G).leader).unwrap();
        w.crash(gone);
        w.until(Duration::secs(30), |w| points(w, &|l| l != gone))
            .unwrap_or_else(|e| panic!("{engine}: {e}"));
        w.write_at(n(4), "through another");
    }
}

#[test]
fn the_keeper_of_leases_is_one_member_and_another_when_it_is_silent() {
    let mut w = World::cluster(35, 3, EngineKind::EPaxos);
    w.elect_any();
    w.write_at(n(1), "before");
    let keeper = |w: &World, id| w.life(id).and_then(|l| l.host.brief(G).keeper);
    let term = |w: &World, id| w.life(id).map(|l| l.host.brief(G).term).unwrap();
    assert!(w.up().into_iter().all(|id| keeper(&w, id) == Some(n(1))));
    let before = term(&w, n(2));
    w.crash(n(1));
    let moved = |w: &World| [2, 3].into_iter().all(|id| keeper(w, n(id)) == Some(n(2)));
    w.until(Duration::secs(20), moved).expect("the next voter takes its role");
    assert!(term(&w, n(2)) > before, "clocks of leases start anew");
    w.start(n(1));
    w.until(Duration::secs(20), |w| keeper(w, n(1)) == Some(n(2))).expect("who comes back learns of it");
    // What the first had ordered in its name, and what nobody hears of before the role has gone on, has no effect.
    w.isolate(n(2));
    let command = bytes::Bytes::from_static(b"in the second's name");
    let late = w.ask(n(2), |h, t| h.propose_as_keeper(G, t, &command));
    w.until(Duration::secs(20), |w| keeper(w, n(3)) == Some(n(3))).expect("the third");
    w.cut.clear();
    let refused = Answered::Proposed(Err(EngineError::NotLeader { leader: Some(n(3)) }));
    assert_eq!(w.answer(late), refused);
    let mine = w.ask(n(3), |h, t| h.propose_as_keeper(G, t, &bytes::Bytes::from_static(b"in its own")));
    assert!(matches!(w.answer(mine), Answered::Proposed(Ok(_))));
    assert_eq!(w.agreed(), ["before", "in its own"].map(bytes::Bytes::from));
}
