//! Two kinds of transfers, one place in the state for what comes in.

use crate::harness::{Answered, G, World, engine_of, n, unknown};
use dwcp_chain::EngineKind;
use dwcp_env::{Duration, Lane};

/// Three nodes under Raft whose logs keep nothing behind a checkpoint.
fn short_logs(seed: u64) -> World {
    let mut w = World::cluster(seed, 3, EngineKind::Raft);
    for id in [1, 2, 3].map(n) {
        w.configure(id, |c| (c.raft.keep_entries, c.raft.snapshot_entries) = (0, 50));
        w.crash(id);
        w.start(id);
    }
    w
}

#[test]
fn a_switch_while_raft_sends_a_checkpoint_stops_nobody() {
    // The transfer is longer than the patience with a node that is left behind, so the chain's meets it at each of its steps.
    let mut met = false;
    for seed in [1, 3, 5] {
        let mut w = short_logs(seed);
        w.elect();
        let late = w.up().into_iter().find(|id| w.leader(G) != Some(*id)).unwrap();
        w.crash(late);
        for _ in 0..500 {
            w.write(G, "a command that fills the pieces of a checkpoint");
        }
        let leader = w.elect();
        let token = w.snapshot(leader);
        w.answer(token);
        // On long ways Raft's transfer is under way for seconds, and the chain's begins beside it.
        w.latency = (Duration::millis(15), Duration::millis(20));
        w.start(late);
        w.run(Duration::millis(500 + 200 * seed));
        w.switched_but(EngineKind::Paxos, late);
        let leader = w.elect();
        let token = w.snapshot(leader);
        w.answer(token);
        let came = w.until(Duration::secs(120), |w| w.epoch(late) == 1 || w.fatal(late).is_some());
        assert_eq!((came, w.fatal(late)), (Ok(()), None), "seed {seed}");
        w.write(G, "behind");
        assert_eq!(w.agreed().len(), 501, "seed {seed}");
        met |= w.marked("raft.transfer_gave_way");
    }
    assert!(met, "the two never met");
}

#[test]
fn what_is_decided_behind_a_swapped_in_state_is_answered_as_unknown() {
    for engine in [EngineKind::Raft, EngineKind::EPaxos] {
        let mut w = World::cluster(3, 3, engine);
        w.elect_any();
        w.write_at(n(1), "first");
        let old = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
        // Its entry reaches the others, their answers do not come back.
        w.sieve = Some(Box::new(move |_, to, _, _| to != old));
        let token = w.propose(old, G, "second");
        w.run(Duration::millis(50));
        w.isolate(old);
        let others: Vec<_> = w.up().into_iter().filter(|id| *id != old).collect();
        let serves = |w: &World| {
            others.iter().copied().find(|id| w.life(*id).unwrap().host.brief(G).leader == Some(*id))
        };
        w.until(Duration::secs(20), |w| serves(w).is_some()).unwrap();
        // Until what was begun is decided there, with or without who began it.
        let knows = |w: &World| w.commands(others[0], G).iter().any(|c| &c[..] == b"second");
        w.until(Duration::secs(20), knows).unwrap();
        let asked = serves(&w).unwrap();
        let seal = w.switch(asked, EngineKind::Paxos);
        assert_eq!(w.answer(seal), Answered::Done(Ok(())));
        w.until(Duration::secs(20), |w| others.iter().any(|id| w.leads(*id) && w.epoch(*id) == 1)).unwrap();
        let leader = others.iter().copied().find(|id| w.leads(*id) && w.epoch(*id) == 1).unwrap();
        let asked = w.snapshot(leader);
        w.answer(asked);
        // The chain's messages come through before the engine's, from one of the others; and that it has left they do not
        // hear. So all keep their engines of the ended epoch, and those go on teaching it.
        w.cut.clear();
        w.sieve = Some(Box::new(move |from, to, lane, body| {
            let chain = engine_of(body).is_none();
            if from == old { lane == Lane::Bulk } else { to != old || (chain && from == leader) }
        }));
        w.until(Duration::secs(60), |w| w.epoch(old) == 1).unwrap();
        assert!(!w.answers.contains_key(&token), "{engine}: nobody has told it");
        w.sieve = Some(Box::new(move |from, to, _, body| {
            let chain = engine_of(body).is_none();
            if from == old { !chain } else { to != old || !chain || from == leader }
        }));
        w.until(Duration::secs(20), |w| w.answers.contains_key(&token)).unwrap();
        w.sieve = None;
        assert_eq!(w.answers[&token], unknown(), "{engine}");
        let all = w.agreed();
        assert_eq!(all.iter().filter(|c| &c[..] == b"second").count(), 1, "{engine}: it was done, once");
    }
}

#[test]
fn a_protocols_own_checkpoint_and_a_peers_do_not_meet() {
    for engine in [EngineKind::Paxos, EngineKind::EPaxos] {
        let mut w = World::cluster(5, 3, engine);
        for id in [1, 2, 3].map(n) {
            w.configure(id, |c| c.raft.snapshot_entries = 20);
            w.crash(id);
            w.start(id);
        }
        w.elect_any();
        for round in 0..6 {
            let late = n(1 + round % 3);
            w.isolate(late);
            let asked = w.up().into_iter().find(|id| *id != late).unwrap();
            for _ in 0..60 {
                w.write_at(asked, "a command of some length");
            }
            w.cut.clear();
            // Checkpoints are begun while another's comes in.
            let token = w.snapshot(late);
            w.run(Duration::secs(3));
            assert_eq!(w.answers.get(&token), Some(&Answered::Done(Ok(()))), "{engine}");
            assert_eq!(w.fatal(late), None, "{engine}");
        }
        assert_eq!(w.agreed().len(), 360, "{engine}");
    }
}

#[test]
fn a_raft_that_is_over_needs_no_checkpoint_of_its_own_to_go_on() {
    let mut w = short_logs(21);
    let leader = w.elect();
    let late = w.up().into_iter().find(|id| *id != leader).unwrap();
    w.isolate(late);
    for _ in 0..120 {
        w.write(G, "more than the log keeps");
    }
    w.switched_but(EngineKind::Paxos, late);
    w.until(Duration::secs(20), |w| w.leader(G).is_some_and(|l| l != late)).unwrap();
    let asked = w.leader(G).unwrap();
    let token = w.snapshot(asked);
    w.answer(token);
    // The late one speaks with the ended epoch's Raft alone, which has nothing to give it any more.
    w.cut.clear();
    w.sieve = Some(Box::new(move |from, to, _, body| {
        let raft = engine_of(body) == Some(0);
        (from != late && to != late) || raft
    }));
    w.run(Duration::secs(10));
    assert!(w.marked("raft.snapshot_transfer_broken"), "it was to be sent one");
    for id in w.up() {
        assert_eq!(w.fatal(id), None);
    }
    w.sieve = None;
    w.until(Duration::secs(60), |w| w.epoch(late) == 1).unwrap();
    assert_eq!(w.agreed().len(), 120);
}
