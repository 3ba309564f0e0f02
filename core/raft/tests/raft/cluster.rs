//! Scripted clusters: each test is one story.

use crate::harness::{Answered, G, World, members, n};
use bytes::Bytes;
use dwcp_consensus::{EngineError, MemberChange};
use dwcp_env::{Duration, GroupId};
use dwcp_raft::GroupConfig;
use std::collections::BTreeMap;

#[test]
fn three_nodes_elect_and_decide() {
    let mut w = World::cluster(1, 3);
    let leader = w.elect();
    let token = w.propose(leader, G, "a");
    assert!(matches!(w.answer(token), Answered::Proposed(Ok((_, 1)))));
    w.write(G, "b");
    assert_eq!(w.agree(G), ["a", "b"]);
    assert!(w.heard("raft.leader_changed group=g0"));
    assert!(w.heard("raft.members_changed group=g0 voters=n1,n2,n3"));
}

#[test]
fn a_follower_says_who_leads() {
    let mut w = World::cluster(2, 3);
    let leader = w.elect();
    w.write(G, "a");
    w.run(Duration::secs(1));
    let follower = [1, 2, 3].map(n).into_iter().find(|f| *f != leader).unwrap();
    let token = w.propose(follower, G, "b");
    assert_eq!(w.answer(token), Answered::Proposed(Err(EngineError::NotLeader { leader: Some(leader) })));
    let token = w.barrier(follower);
    assert_eq!(w.answer(token), Answered::Barrier(Err(EngineError::NotLeader { leader: Some(leader) })));
}

#[test]
fn a_leader_that_dies_is_replaced_and_comes_back_from_its_disk() {
    let mut w = World::cluster(3, 3);
    let old = w.elect();
    w.write(G, "a");
    w.crash(old);
    w.write(G, "b");
    assert_ne!(w.leader(G), Some(old));
    w.start(old);
    assert_eq!(w.agree(G), ["a", "b"]);
    // All of them at once: only the disks remember.
    for id in [1, 2, 3].map(n) {
        w.crash(id);
    }
    for id in [1, 2, 3].map(n) {
        w.start(id);
    }
    w.write(G, "c");
    assert_eq!(w.agree(G), ["a", "b", "c"]);
}

#[test]
fn what_a_lost_leader_alone_had_is_cut_off() {
    let mut w = World::cluster(4, 3);
    let old = w.elect();
    w.write(G, "a");
    w.isolate(old);
    let lost = w.propose(old, G, "lost");
    w.until(Duration::secs(10), |w| w.leader(G).is_some_and(|l| l != old)).unwrap();
    w.write(G, "b");
    w.cut.clear();
    assert_eq!(w.answer(lost), Answered::Proposed(Err(EngineError::Unknown)));
    assert_eq!(w.agree(G), ["a", "b"]);
    assert!(w.marked("raft.conflicting_suffix_truncated"));
    assert!(w.marked("raft.leader_stepped_down"));
}

#[test]
fn a_leader_without_a_lease_is_asked_again_until_it_has_one_or_time_is_up() {
    let mut w = World::cluster(14, 3);
    let old = w.elect();
    w.write(G, "a");
    w.isolate(old);
    w.run(Duration::millis(900));
    let late = w.propose(old, G, "late");
    w.run(Duration::millis(100));
    assert!(!w.answers.contains_key(&late));
    assert!(w.marked("raft.retry_after_lease_expired"));
    // Nothing was done, and that is what it says.
    assert!(matches!(w.answer(late), Answered::Proposed(Err(EngineError::NotLeader { .. }))));
    w.cut.clear();
    assert_eq!(w.agree(G), ["a"]);
}

#[test]
fn a_deposed_leader_passes_no_barrier() {
    let mut w = World::cluster(5, 3);
    let old = w.elect();
    w.write(G, "a");
    let token = w.barrier(old);
    assert_eq!(w.answer(token), Answered::Barrier(Ok(())));
    w.isolate(old);
    w.until(Duration::secs(10), |w| w.leader(G).is_some_and(|l| l != old)).unwrap();
    w.write(G, "b");
    let token = w.barrier(old);
    let answer = w.answer(token);
    assert!(matches!(answer, Answered::Barrier(Err(EngineError::NotLeader { .. }))), "{answer:?}");
}

#[test]
fn a_barrier_waits_for_what_was_decided_before_it() {
    let mut w = World::cluster(6, 3);
    let leader = w.elect();
    for round in 0..20_u64 {
        let write = w.propose(leader, G, format!("{round}"));
        w.answer(write);
        let before = w.commands(leader, G).len() as u64;
        let tokens: Vec<_> = (0..5).map(|_| w.barrier(leader)).collect();
        for token in tokens {
            assert_eq!(w.answer(token), Answered::Barrier(Ok(())));
        }
        assert!(before > round);
    }
}

#[test]
fn members_come_and_go() {
    let mut w = World::cluster(7, 3);
    let leader = w.elect();
    w.write(G, "a");
    w.add(n(4), BTreeMap::from([(G, GroupConfig::lan(n(4)))]));
    let member = members(&[4])[&n(4)].clone();
    let done = |w: &mut World, change| {
        let token = w.change(leader, change);
        w.answer(token)
    };
    assert_eq!(done(&mut w, MemberChange::AddLearner(n(4), member.clone())), Answered::Done(Ok(())));
    assert_eq!(done(&mut w, MemberChange::Promote([n(4)].into())), Answered::Done(Ok(())));
    let gone = [1, 2, 3].map(n).into_iter().find(|f| *f != leader).unwrap();
    assert_eq!(done(&mut w, MemberChange::Remove([gone].into())), Answered::Done(Ok(())));
    let renamed = dwcp_consensus::Member { name: String::from("four"), ..member };
    assert_eq!(done(&mut w, MemberChange::Update(n(4), renamed.clone())), Answered::Done(Ok(())));
    let status = w.host(leader).group(G).unwrap().status();
    assert_eq!(status.members.voters, [1, 2, 3, 4].map(n).into_iter().filter(|i| *i != gone).collect());
    assert!(status.members.outgoing.is_empty());
    assert_eq!(status.members.nodes[&n(4)], renamed);
    w.crash(gone);
    w.write(G, "b");
    assert_eq!(w.agree(G), ["a", "b"]);
    let stranger = done(&mut w, MemberChange::Promote([n(9)].into()));
    assert!(matches!(stranger, Answered::Done(Err(EngineError::Refused(_)))), "{stranger:?}");
}

#[test]
fn a_leader_may_remove_itself() {
    let mut w = World::cluster(8, 3);
    let old = w.elect();
    w.write(G, "a");
    let token = w.change(old, MemberChange::Remove([old].into()));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.run(Duration::secs(5));
    assert!(w.leader(G).is_some_and(|l| l != old), "{:?}", w.leader(G));
    w.write(G, "b");
}

#[test]
fn leadership_is_handed_over() {
    let mut w = World::cluster(9, 3);
    let old = w.elect();
    w.write(G, "a");
    let to = [1, 2, 3].map(n).into_iter().find(|f| *f != old).unwrap();
    let begun = w.now;
    let token = w.transfer(old, to);
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(10), |w| w.leader(G) == Some(to)).unwrap();
    assert!(w.now.since(begun) < Duration::millis(100), "took {}", w.now.since(begun));
    let token = w.transfer(old, to);
    assert!(matches!(w.answer(token), Answered::Done(Err(EngineError::NotLeader { .. }))));
    let token = w.transfer(to, n(9));
    assert!(matches!(w.answer(token), Answered::Done(Err(EngineError::Refused(_)))));
    w.write(G, "b");
}

/// A cluster whose leader has a snapshot and no log before it, and a new node that needs both.
fn with_a_snapshot(seed: u64) -> World {
    let mut w = World::cluster(seed, 3);
    for id in [1, 2, 3].map(n) {
        w.configure(id, |c| c.keep_entries = 0);
        w.crash(id);
        w.start(id);
    }
    w.elect();
    for _ in 0..400 {
        w.write(G, "a command of some length");
    }
    for id in [1, 2, 3].map(n) {
        let token = w.snapshot(id);
        assert_eq!(w.answer(token), Answered::Done(Ok(())));
    }
    w.write(G, "after");
    assert!(w.heard("snapshot.taken group=g0"));
    w
}

#[test]
fn a_new_node_is_sent_a_snapshot() {
    let mut w = with_a_snapshot(10);
    w.add(n(4), BTreeMap::from([(G, GroupConfig::lan(n(4)))]));
    let leader = w.elect();
    let token = w.change(leader, MemberChange::AddLearner(n(4), members(&[4])[&n(4)].clone()));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    assert_eq!(w.agree(G).len(), 401);
    assert!(w.heard("snapshot.installed group=g0"));
    // And it is durable there.
    w.crash(n(4));
    w.start(n(4));
    assert!(w.commands(n(4), G).len() >= 400);
    w.write(G, "more");
    assert_eq!(w.agree(G).len(), 402);
}

#[test]
fn a_snapshot_that_is_interrupted_begins_anew() {
    let mut w = with_a_snapshot(11);
    w.lossy = 50_000;
    w.add(n(4), BTreeMap::from([(G, GroupConfig::lan(n(4)))]));
    let leader = w.elect();
    w.change(leader, MemberChange::AddLearner(n(4), members(&[4])[&n(4)].clone()));
    w.run(Duration::millis(400));
    w.crash(leader);
    w.run(Duration::secs(3));
    w.start(leader);
    w.crash(n(4));
    w.start(n(4));
    w.lossy = 0;
    let leader = w.elect();
    let token = w.change(leader, MemberChange::AddLearner(n(4), members(&[4])[&n(4)].clone()));
    w.answer(token);
    assert_eq!(w.agree(G).len(), 401);
}

#[test]
fn nothing_takes_effect_behind_a_seal() {
    let mut w = World::cluster(12, 3);
    let leader = w.elect();
    w.write(G, "a");
    let sealed = w.seal(leader);
    let late = w.propose(leader, G, "late");
    assert_eq!(w.answer(sealed), Answered::Done(Ok(())));
    assert!(matches!(w.answer(late), Answered::Proposed(Err(EngineError::NotLeader { leader: None }))));
    // Also after restarts: the seal is part of the state.
    for id in [1, 2, 3].map(n) {
        w.crash(id);
        w.start(id);
    }
    let leader = w.elect();
    let later = w.propose(leader, G, "later");
    assert!(matches!(w.answer(later), Answered::Proposed(Err(EngineError::NotLeader { leader: None }))));
    assert_eq!(w.agree(G), ["a"]);
}

#[test]
fn many_groups_share_a_node_and_its_log() {
    let mut w = World::new(13);
    for id in 1..=3 {
        let config = GroupConfig { initial: Some(members(&[1, 2, 3])), ..GroupConfig::lan(n(id)) };
        w.add(n(id), (0..8).map(|g| (GroupId(g), config.clone())).collect());
    }
    w.run(Duration::secs(3));
    for g in (0..8).map(GroupId) {
        w.write(g, "x");
        w.write(g, "y");
    }
    w.crash(n(2));
    w.start(n(2));
    for g in (0..8).map(GroupId) {
        assert_eq!(w.agree(g), ["x", "y"], "{g}");
    }
}

/// A run with losses, repeats and crashes; what was acknowledged must be there at the end.
fn chaos(seed: u64, drawn: bool) -> (u64, usize) {
    let mut w = World::cluster(seed, 5);
    w.pick_drawn = drawn;
    w.lossy = 30_000;
    w.latency = (Duration::millis(1), Duration::millis(30));
    for id in (1..=5).map(n) {
        w.configure(id, |c| (c.snapshot_entries, c.keep_entries) = (40, 5));
    }
    let mut asked = BTreeMap::new();
    for round in 0..60_u64 {
        let victim =
            n(1 + dwcp_env::Seed(seed).below(5, dwcp_env::Purpose::named("victim"), round, w.now, 0));
        match round % 6 {
            0 if w.is_up(victim) => w.crash(victim),
            2 => w.isolate(victim),
            3 => w.cut.clear(),
            _ => (1..=5).map(n).for_each(|id| {
                if !w.is_up(id) {
                    w.start(id);
                }
            }),
        }
        for i in 0..5 {
            if let Some(leader) = w.leader(G) {
                let command = Bytes::from(format!("{round}.{i}"));
                asked.insert(w.propose(leader, G, command.clone()), command);
            }
            w.run(Duration::millis(60));
        }
    }
    w.cut.clear();
    w.lossy = 0;
    for id in (1..=5).map(n) {
        if !w.is_up(id) {
            w.start(id);
        }
    }
    w.write(G, "the end");
    let end = w.agree(G);
    let mut acknowledged = 0;
    for (token, command) in asked {
        let times = end.iter().filter(|c| **c == command).count();
        match w.answers.get(&token) {
            Some(Answered::Proposed(Ok(_))) => {
                assert_eq!(times, 1, "seed {seed}: acknowledged {command:?}");
                acknowledged += 1;
            }
            Some(Answered::Proposed(Err(EngineError::NotLeader { .. }))) => {
                assert_eq!(times, 0, "seed {seed}: certainly not done {command:?}");
            }
            _ => assert!(times <= 1, "seed {seed}: {command:?} {times} times"),
        }
    }
    (w.hash, acknowledged)
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    for seed in 0..6 {
        let (_, acknowledged) = chaos(seed, seed % 2 == 1);
        assert!(acknowledged > 60, "seed {seed}: only {acknowledged} were acknowledged");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for drawn in [false, true] {
        assert_eq!(chaos(77, drawn), chaos(77, drawn));
    }
    assert_ne!(chaos(77, false).0, chaos(78, false).0);
}
