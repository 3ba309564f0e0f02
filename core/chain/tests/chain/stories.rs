//! A few seeded stories; thousands are a command of their own (`--example rehearse`).

use crate::harness::world::Answered;
use crate::harness::{G, World, n};
use crate::trial::{Ended, Told, tell};
use dwcp_chain::{EngineKind, Switch};
use dwcp_consensus::quorum::System;
use dwcp_env::Duration;

#[test]
fn stories_hold() {
    let mut all = Told::default();
    for seed in 0..24 {
        let Ended { told, verdict, story } = tell(seed, seed % 2 == 1, &|_| {});
        assert_eq!(verdict, Ok(()), "seed {seed}: {story:#?}");
        all.add(&told);
    }
    let Told { acknowledged, unknown, switches, crashes, cuts, .. } = all;
    let least = acknowledged.min(unknown * 5).min(switches * 5).min(crashes * 3).min(cuts * 3);
    assert!(least > 100, "too little happened: {all:?}");
    assert!(all.pbft > 0 && all.changes > 0, "never without trust, or always with the same members: {all:?}");
}

/// Seeds of longer sweeps, each with what it showed.
#[test]
fn stories_that_broke_once_hold() {
    for (seed, rots, what) in [
        (
            6_575,
            false,
            "an operator's question went down with a node, and nobody asked again (the story's own fault)",
        ),
        (
            21_723,
            false,
            "a Raft that came to its own seal as it started was dumb: it heard the late, and they not it",
        ),
        (
            29_735,
            false,
            "a log held an undecided entry where the state had a decided one, and its node stopped",
        ),
        (35_135, false, "the same, at the first entry"),
        (
            45,
            true,
            "who had lost an entry looked for the voters before openraft had read them, found none, and was well",
        ),
    ] {
        let Ended { verdict, story, .. } = tell(seed, rots, &|_| {});
        assert_eq!(verdict, Ok(()), "seed {seed}, {what}: {story:#?}");
    }
}

#[test]
fn a_checkpoint_of_nothing_is_taken_for_done_and_stops_nobody() {
    for engine in [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos] {
        let mut w = World::cluster(29, 3, engine);
        w.elect_any();
        for _ in 0..3 {
            let at = w.leader(G).unwrap_or(n(1));
            let token = w.barrier(at);
            w.answer(token);
        }
        for id in w.up() {
            let token = w.snapshot(id);
            w.run(Duration::secs(1));
            assert!(w.answers.contains_key(&token), "{engine}: {id} does not answer");
            assert_eq!(w.fatal(id), None, "{engine}");
        }
        w.write_at(n(1), "after");
    }
}

/// An epoch under Atlas' rule, which its seal names: every member serves, one that dies holds nobody up, and the next epoch follows.
#[test]
fn an_epoch_under_atlas_rule_serves_loses_a_member_and_ends() {
    let mut w = World::cluster(31, 3, EngineKind::Paxos);
    w.elect_any();
    let at = w.leader(G).unwrap_or(n(1));
    let to = |quorums| Switch { engine: EngineKind::EPaxos, quorums: Some(quorums), ..Switch::default() };
    // Two of three elect and all decide: that EPaxos can't be run under.
    let token = w.ask(at, |h, t| h.switch(G, t, None, to(System::flexible(3, 2, 3))));
    assert!(!matches!(w.answer(token), Answered::Done(Ok(()))), "taken");
    let token = w.ask(at, |h, t| h.switch(G, t, None, to(System::atlas(3, 1))));
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.run(Duration::secs(1));
    for id in [1, 2, 3].map(n) {
        assert_eq!(w.epoch(id), 1);
        w.write_at(id, "under Atlas' rule");
    }
    w.crash(n(3));
    for id in [1, 2].map(n) {
        w.write_at(id, "without a member");
    }
    w.start(n(3));
    w.run(Duration::secs(2));
    let token = w.switch(n(2), EngineKind::Paxos);
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.run(Duration::secs(2));
    let at = w.leader(G).unwrap_or(n(1));
    w.write_at(at, "behind it");
    assert!(w.up().into_iter().all(|id| w.epoch(id) == 2));
}
