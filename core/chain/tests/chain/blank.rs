//! An epoch of Raft in which nothing was applied: no entry of its own, and so no checkpoint of Raft's making.

use crate::harness::{Answered, G, World, config, genesis, n};
use dwcp_chain::{ChainConfig, EngineKind, Switch};
use dwcp_consensus::quorum::System;
use dwcp_consensus::{Member, MemberChange};
use dwcp_env::disk::FileName;
use dwcp_env::{Duration, NodeId};
use std::collections::BTreeMap;

/// Five nodes under Multi-Paxos, of which four elect and two decide.
fn flexible(seed: u64) -> World {
    let mut w = World::new(seed);
    let mut first = genesis(EngineKind::Paxos, &[1, 2, 3, 4, 5]);
    first.quorums = Some(System::flexible(5, 4, 2));
    for id in 1..=5 {
        w.add(n(id), BTreeMap::from([(G, config(id, Some(first.clone())))]));
    }
    w
}

/// One of the five is down for good. Two are in an epoch of Raft that they can't elect in; the leader's checkpoint holds a blank that the
/// other two have not, and nothing else that they have not.
fn stranded(seed: u64) -> (World, Vec<NodeId>) {
    let mut w = flexible(seed);
    let first = w.elect();
    let others: Vec<NodeId> = w.up().into_iter().filter(|id| *id != first).collect();
    let (second, dead, late) = (others[0], others[1], others[2..].to_vec());
    w.crash(second);
    w.write_at(first, "before");
    w.run(Duration::secs(1));
    let to = |engine, quorums| Switch { engine, quorums, ..Switch::default() };
    let four_and_two = Some(System::flexible(5, 4, 2));
    let token = w.ask(first, |h, t| h.switch(G, t, Some(0), to(EngineKind::Paxos, four_and_two)));
    let come = |w: &World| w.up().into_iter().all(|id| w.epoch(id) == 1) && w.leads(first);
    w.until(Duration::secs(5), come).expect("all who are up come to the second epoch");
    assert_eq!(w.answers.get(&token), Some(&Answered::Done(Ok(()))));
    // The blank that a leadership begins with is on its way: it reaches one.
    late.iter().for_each(|id| w.crash(*id));
    let read = w.barrier(first);
    assert_eq!(w.answer(read), Answered::Barrier(Ok(())), "two decide");
    w.crash(dead);
    let taken = w.snapshot(first);
    assert_eq!(w.answer(taken), Answered::Done(Ok(())));
    // The first epoch is let go: who was away is given the checkpoint.
    w.run(Duration::secs(40));
    w.start(second);
    w.until(Duration::secs(20), |w| w.epoch(second) == 1).expect("it is given the checkpoint");
    // It alone reaches four.
    w.cut.extend(late.iter().flat_map(|id| [(first, *id), (*id, first)]));
    late.iter().for_each(|id| w.start(*id));
    w.until(Duration::secs(20), |w| w.leads(second)).expect("it leads");
    let token = w.ask(second, |h, t| h.switch(G, t, None, to(EngineKind::Raft, None)));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(5), |w| w.epoch(first) == 2 && w.epoch(second) == 2).unwrap();
    w.cut.clear();
    (w, late)
}

/// The two have been given the state that the epoch began with.
fn given(seed: u64) -> (World, Vec<NodeId>) {
    let (mut w, late) = stranded(seed);
    assert!(late.iter().all(|id| w.epoch(*id) == 1));
    let come = |w: &World| late.iter().all(|id| w.epoch(*id) == 2);
    w.until(Duration::secs(60), come).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(w.marked("chain.checkpoint_of_a_beginning"));
    (w, late)
}

#[test]
fn who_lacks_a_blank_behind_a_checkpoint_is_given_the_state_that_raft_begins_with() {
    for seed in 1..=3 {
        let (mut w, late) = given(seed);
        let base = w.life(late[0]).unwrap().host.status(G).snapshot_index;
        w.elect();
        w.write_at(late[0], "behind");
        assert_eq!(w.agreed().len(), 2, "seed {seed}");
        // Raft makes its own as soon as it can, though it is far from due: the epoch before ends by that one.
        w.run(Duration::secs(5));
        for id in w.up() {
            let newest = w.life(id).unwrap().host.status(G).snapshot_index;
            assert!(newest > base, "seed {seed}: {id} has {newest}, and began with {base}");
        }
    }
}

#[test]
fn the_state_that_raft_begins_with_survives_a_power_cut_of_all_who_have_it() {
    for seed in 1..=3 {
        let (mut w, late) = given(seed);
        for id in w.up() {
            w.crash(id);
            w.start(id);
        }
        assert!(late.iter().all(|id| w.epoch(*id) == 2 && !w.life(*id).unwrap().host.is_suspect(G)));
        w.elect();
        w.write_at(late[0], "behind");
        assert_eq!(w.agreed().len(), 2, "seed {seed}");
    }
}

#[test]
fn who_joins_behind_the_state_that_raft_began_with_is_taught_by_raft() {
    let (mut w, late) = given(1);
    let leader = w.elect();
    w.write_at(late[0], "behind");
    // Raft's own checkpoint, if there is one yet, knows nothing of it, and what the epoch began with knows of no member.
    let known = w.up();
    let newcomer = ChainConfig { known, ..config(6, None) };
    w.add(n(6), BTreeMap::from([(G, newcomer)]));
    let token = w.change(leader, MemberChange::AddLearner(n(6), Member::default()));
    let done = |w: &World| w.answers.get(&token) == Some(&Answered::Done(Ok(())));
    w.until(Duration::secs(60), done).expect("it is a learner");
    let leader = w.elect();
    let token = w.change(leader, MemberChange::Promote([n(6)].into()));
    let done = |w: &World| w.answers.get(&token) == Some(&Answered::Done(Ok(())));
    w.until(Duration::secs(60), done).expect("it counts");
    w.write_at(late[0], "further");
    assert_eq!(w.agreed().len(), 3);
    // Four of six decide.
    w.crash(late[1]);
    w.elect();
    w.write_at(late[0], "with its voice");
    assert_eq!(w.agreed().len(), 4);
}

#[test]
fn a_log_that_begins_behind_the_state_that_raft_began_with_waits_for_a_later_state() {
    let ledger = FileName::new("ledger-0").unwrap();
    let (mut w, late) = given(1);
    let old = crate::harness::disk::read(&w.nodes[&late[0]].disk, &ledger).expect("what it was given");
    for id in w.up() {
        w.configure(id, |c| (c.raft.keep_entries, c.raft.snapshot_entries) = (0, 20));
        w.crash(id);
        w.start(id);
    }
    for _ in 0..60 {
        w.write_at(late[1], "behind");
    }
    w.run(Duration::secs(2));
    // Its state is lost, and what it was given first came in its place.
    w.crash(late[0]);
    dwcp_env::disk::replace(&w.nodes[&late[0]].disk, &ledger, &old).unwrap();
    w.start(late[0]);
    assert_eq!((w.epoch(late[0]), w.fatal(late[0])), (2, None));
    assert_eq!(w.agreed().len(), 61);
    assert!(w.marked("chain.awaits_a_later_state"));
    w.write_at(late[0], "further");
    assert_eq!(w.agreed().len(), 62);
}
