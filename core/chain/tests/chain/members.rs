//! Changes of members beside changes of epochs.

use crate::harness::{Answered, G, World, n};
use dwcp_chain::{EngineKind, Switch};
use dwcp_consensus::{EngineError, MemberChange, Token};
use dwcp_env::Duration;
use std::collections::BTreeSet;

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
