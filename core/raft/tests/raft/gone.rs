//! Hints that a leader's process is gone, right and wrong ones.

use crate::harness::{Answered, G, World, members, n};
use dwcp_consensus::MemberChange;
use dwcp_env::{Duration, NodeId};
use dwcp_raft::GroupConfig;
use std::collections::BTreeMap;

fn others(of: NodeId) -> Vec<NodeId> {
    [1, 2, 3].map(n).into_iter().filter(|id| *id != of).collect()
}

/// Those nodes find nobody where a peer was, as a world tells it: behind all that was under way, as who was reset dials again after a pause.
fn find_gone(w: &mut World, by: &[NodeId], peer: NodeId) {
    w.run(Duration::millis(25));
    for id in by {
        w.hint(*id, peer);
    }
}

/// How long until another leads than `old`.
fn until_replaced(w: &mut World, old: NodeId) -> Duration {
    let step = Duration::millis(5);
    let mut waited = Duration::ZERO;
    while w.leader(G).is_none_or(|l| l == old) {
        w.run(step);
        waited += step;
        assert!(waited < Duration::secs(20), "nobody leads");
    }
    waited
}

#[test]
fn a_leader_that_is_known_to_be_gone_is_replaced_within_three_heartbeats() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let old = w.elect();
        w.write(G, "a");
        w.crash(old);
        find_gone(&mut w, &others(old), old);
        let waited = until_replaced(&mut w, old);
        let beat = GroupConfig::lan(old).heartbeat;
        assert!(waited < beat * 3, "seed {seed}: {waited}, a heartbeat is {beat}");
        assert!(w.marked("raft.campaign_for_a_gone_leader"));
        w.write(G, "b");
        w.start(old);
        assert_eq!(w.agree(G), ["a", "b"]);
    }
}

#[test]
fn a_leader_that_lives_is_not_deposed_by_wrong_hints_to_all() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let leader = w.elect();
        w.write(G, "a");
        for _ in 0..5 {
            for id in others(leader) {
                w.hint(id, leader);
            }
            w.run(Duration::millis(700));
            assert_eq!(w.leader(G), Some(leader), "seed {seed}");
        }
        w.run(Duration::secs(5));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}");
        assert!(w.marked("raft.gone_leader_lives"));
    }
}

#[test]
fn one_that_alone_is_cut_off_from_its_leader_deposes_it_not() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let leader = w.elect();
        w.write(G, "a");
        let apart = others(leader)[0];
        w.cut.insert((leader, apart));
        find_gone(&mut w, &[apart], leader);
        w.run(Duration::secs(4));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}: what the others hear is what counts");
        w.cut.clear();
        w.run(Duration::secs(2));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}: it asked before it raised its term");
        w.write(G, "b");
        assert_eq!(w.agree(G), ["a", "b"]);
    }
}

#[test]
fn a_lease_that_was_void_protects_the_leader_again_once_it_is_heard() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let leader = w.elect();
        w.write(G, "a");
        let beat = GroupConfig::lan(leader).heartbeat;
        let [helper, apart] = others(leader)[..] else { panic!("three nodes") };
        // It finds its leader silent, gives up the lease, and hears the leader again.
        w.cut.insert((leader, helper));
        find_gone(&mut w, &[helper], leader);
        w.run(beat + beat / 8);
        w.cut.clear();
        w.run(beat * 4);
        assert_eq!(w.leader(G), Some(leader), "seed {seed}");
        w.cut.insert((leader, apart));
        find_gone(&mut w, &[apart], leader);
        w.run(Duration::secs(4));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}: {helper} hears it and must not help {apart}");
        assert!(w.marked("raft.vote_refused_for_a_living_leader"), "seed {seed}");
    }
}

#[test]
fn hints_that_come_again_and_again_are_one() {
    let sent = |hints: u32| {
        let mut w = World::cluster(3, 3);
        let old = w.elect();
        w.write(G, "a");
        w.crash(old);
        let before = w.messages;
        for _ in 0..hints {
            others(old).into_iter().for_each(|id| w.hint(id, old));
        }
        until_replaced(&mut w, old);
        w.messages - before
    };
    assert_eq!(sent(1), sent(50));
}

#[test]
fn a_pre_vote_that_is_lost_is_asked_for_again_before_the_lease_ends() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let old = w.elect();
        w.write(G, "a");
        let beat = GroupConfig::lan(old).heartbeat;
        let [a, b] = others(old)[..] else { panic!("three nodes") };
        w.crash(old);
        w.cut.extend([(a, b), (b, a)]);
        find_gone(&mut w, &[a, b], old);
        w.run(beat * 2);
        w.cut.clear();
        let waited = until_replaced(&mut w, old);
        assert!(waited < beat * 5, "seed {seed}: {waited} after the cut, a heartbeat is {beat}");
    }
}

#[test]
fn who_has_no_vote_does_not_look_for_another_leader() {
    let mut w = World::cluster(5, 3);
    let leader = w.elect();
    w.write(G, "a");
    w.add(n(4), BTreeMap::from([(G, GroupConfig::lan(n(4)))]));
    let token = w.change(leader, MemberChange::AddLearner(n(4), members(&[4])[&n(4)].clone()));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    assert_eq!(w.agree(G), ["a"]);
    w.hint(n(4), leader);
    w.run(Duration::secs(2));
    assert!(!w.marked("raft.leader_gone"));
}
