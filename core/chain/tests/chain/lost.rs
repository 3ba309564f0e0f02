//! Members that lost something: what they promised, or the state.

use crate::harness::{Answered, G, World, engine_of, genesis, n};
use dwcp_chain::EngineKind;
use dwcp_env::disk::FileName;
use dwcp_env::{Duration, Lane};

#[test]
fn a_member_that_lost_its_promises_keeps_silent_until_the_others_begin_another_epoch() {
    for engine in [EngineKind::Paxos, EngineKind::EPaxos] {
        // The first voter too: where all serve, it is the first who counts.
        for lost in [1, 2, 3].map(n) {
            let mut w = World::cluster(11, 3, engine);
            w.elect_any();
            w.write_at(n(2), "before");
            w.crash(lost);
            w.start_with(lost, |log| log.vote_lost = true);
            assert!(w.life(lost).unwrap().host.is_suspect(G), "{engine}: {lost} has a voice");
            let rolled = |w: &World| w.up().into_iter().all(|id| w.epoch(id) == 1);
            w.until(Duration::secs(30), rolled).unwrap_or_else(|e| panic!("{engine}, {lost}: {e}"));
            assert!(!w.life(lost).unwrap().host.is_suspect(G), "{engine}: {lost} is silent still");
            // It counts again: another may go.
            let other = w.up().into_iter().find(|id| *id != lost).unwrap();
            w.crash(other);
            w.elect_any();
            w.write_at(lost, "behind");
        }
    }
}

#[test]
fn who_comes_back_with_a_state_from_before_an_epoch_it_has_left_keeps_silent_there() {
    let ledger = FileName::new("ledger-0").unwrap();
    for first in [EngineKind::Raft, EngineKind::Paxos] {
        let mut w = World::cluster(13, 3, first);
        w.elect_any();
        w.write_at(n(1), "before");
        let token = w.snapshot(n(1));
        w.answer(token);
        let old = crate::harness::disk::read(&w.nodes[&n(1)].disk, &ledger).expect("a checkpoint");
        w.switched(EngineKind::EPaxos);
        w.write_at(n(2), "behind");
        let left = |w: &World| w.marked("chain.epoch_let_go");
        w.until(Duration::secs(30), left).unwrap();
        w.run(Duration::secs(5));
        // Its state is lost, and one came in its place from somebody who lagged.
        for id in [1, 2, 3].map(n) {
            w.crash(id);
        }
        dwcp_env::disk::replace(&w.nodes[&n(1)].disk, &ledger, &old).unwrap();
        w.start(n(1));
        assert_eq!(w.epoch(n(1)), 0, "{first}");
        assert!(
            w.life(n(1)).unwrap().host.is_suspect(G),
            "{first}: what it promised there is gone with the log"
        );
        w.start(n(2));
        w.start(n(3));
        w.until(Duration::secs(60), |w| w.epoch(n(1)) == 1).unwrap();
        w.elect_any();
        w.write_at(n(1), "after");
        assert_eq!(w.agreed().len(), 3, "{first}");
    }
}

#[test]
fn one_that_was_away_for_a_moment_is_taught_by_the_engine_it_left() {
    for engine in [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos] {
        let mut w = World::cluster(17, 3, engine);
        w.elect_any();
        // An epoch that is older than it lingers.
        w.run(Duration::secs(60));
        w.write_at(n(1), "before");
        let leader = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
        let away = w.up().into_iter().find(|id| *id != leader).unwrap();
        w.isolate(away);
        w.write_at(leader, "unheard");
        let next = if engine == EngineKind::Paxos { EngineKind::EPaxos } else { EngineKind::Paxos };
        let token = w.switch(leader, next);
        w.answer(token);
        w.run(Duration::secs(5));
        w.cut.clear();
        w.until(Duration::secs(20), |w| w.epoch(away) == 1).unwrap();
        assert!(
            !w.marked("chain.checkpoint_installed"),
            "{engine}: the whole state was sent for two commands"
        );
    }
}

#[test]
fn a_power_cut_of_all_before_the_first_checkpoint_loses_nothing() {
    for (first, next) in [
        (EngineKind::Raft, EngineKind::Paxos),
        (EngineKind::Paxos, EngineKind::EPaxos),
        (EngineKind::EPaxos, EngineKind::Raft),
    ] {
        let mut w = World::cluster(19, 3, first);
        w.elect_any();
        w.write_at(n(1), "before");
        // No checkpoint is written: its job takes longer than all this.
        w.job_slow = Duration::secs(30);
        let leader = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
        let token = w.switch(leader, next);
        w.until(Duration::secs(5), |w| w.answers.contains_key(&token)).unwrap();
        let all_come = |w: &World| w.up().into_iter().all(|id| w.epoch(id) == 1);
        w.until(Duration::millis(100), all_come).unwrap_or_else(|e| panic!("{first} to {next}: {e}"));
        // What is promised in the new epoch is on the disks, and which part of the log holds it.
        w.run(Duration::millis(50));
        for id in [1, 2, 3].map(n) {
            w.crash(id);
        }
        w.job_slow = Duration::ZERO;
        for id in [1, 2, 3].map(n) {
            w.start(id);
        }
        w.elect_any();
        w.write_at(n(2), "behind");
        assert_eq!(w.agreed().len(), 2, "{first} to {next}");
        assert!(w.up().into_iter().all(|id| w.epoch(id) == 1), "{first} to {next}");
    }
}

#[test]
fn a_raft_epoch_whose_first_leader_got_votes_and_died_is_led_by_another() {
    let mut w = World::cluster(23, 3, EngineKind::Paxos);
    let first = w.elect();
    w.write_at(first, "before");
    // Of the next epoch's Raft its votes come through, and none of its entries.
    w.sieve = Some(Box::new(move |from, _, lane, body| {
        from != first || engine_of(body) != Some(1) || lane == Lane::Control
    }));
    let token = w.switch(first, EngineKind::Raft);
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    let others: Vec<_> = w.up().into_iter().filter(|id| *id != first).collect();
    w.until(Duration::secs(20), |w| others.iter().all(|id| w.epoch(*id) == 1)).unwrap();
    w.run(Duration::millis(300));
    w.crash(first);
    // They may have been down, too, and know of their votes alone.
    for id in &others {
        w.crash(*id);
        w.start(*id);
    }
    let led = |w: &World| others.iter().any(|id| w.leads(*id) && w.epoch(*id) == 1);
    w.until(Duration::secs(20), led).expect("a majority is up, and leads itself");
    w.write_at(others[0], "behind");
    w.start(first);
    assert_eq!(w.agreed().len(), 2);
}

#[test]
fn who_got_an_older_state_than_its_journal_goes_on_from_waits_for_a_later_one() {
    let ledger = FileName::new("ledger-0").unwrap();
    let mut w = World::cluster(31, 3, EngineKind::Paxos);
    // The third has an early checkpoint, and takes none by itself.
    for (id, every) in [(1, 1_000), (2, 1_000), (3, 0)] {
        w.configure(n(id), |c| c.raft.snapshot_entries = every);
        w.crash(n(id));
        w.start(n(id));
    }
    w.elect_any();
    w.run(Duration::secs(1));
    w.write_at(n(1), "early");
    w.run(Duration::secs(1));
    let token = w.snapshot(n(3));
    w.answer(token);
    // More than any protocol keeps for who lags.
    let leader = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
    for _ in 0..36 {
        for _ in 0..200 {
            w.propose(leader, G, "later");
        }
        w.run(Duration::millis(100));
    }
    let before = w.agreed().len();
    w.run(Duration::secs(1));
    // The first loses its state, and the second is down: all depends on the first.
    w.crash(n(1));
    dwcp_env::disk::Storage::remove(&w.nodes[&n(1)].disk, &ledger).unwrap();
    w.crash(n(2));
    w.start(n(1));
    let whole = |w: &World| w.marked("chain.checkpoint_installed");
    w.until(Duration::secs(60), whole).expect("a state comes");
    w.run(Duration::secs(5));
    assert!(!w.life(n(1)).unwrap().host.is_suspect(G), "it is silent for good");
    assert!(w.marked("chain.awaits_a_later_state"));
    w.elect_any();
    w.write_at(n(3), "with it");
    assert_eq!(w.agreed().len(), before + 1);
}

/// A node's log was begun under one engine, and its file names another.
fn renamed(began: EngineKind, named: EngineKind) {
    let mut w = World::cluster(17, 3, began);
    w.elect_any();
    w.write_at(n(2), "before");
    w.write_at(n(2), "and more");
    w.crash(n(1));
    w.configure(n(1), |config| config.genesis = Some(genesis(named, &[1, 2, 3])));
    w.start(n(1));
}

/// As after an upgrade that meant another default.
#[test]
#[should_panic(expected = "its log was begun under raft, and its configuration says paxos")]
fn a_log_of_raft_is_opened_under_no_other_engine() {
    renamed(EngineKind::Raft, EngineKind::Paxos);
}

#[test]
#[should_panic(expected = "its log was begun under another engine than raft, which its configuration names")]
fn a_log_of_another_engine_is_not_opened_under_raft() {
    renamed(EngineKind::Paxos, EngineKind::Raft);
}

/// A later epoch's Raft lost an entry of its log, within it or at its end, and its node goes down again before a leader could give it
/// back. The state is at the epoch's beginning, or a checkpoint within it.
#[test]
fn what_a_later_epochs_raft_lost_is_known_in_every_later_life() {
    let cases = [("third", false), ("fourth", false), ("third", true), ("fourth", true)];
    for ((rotten, within), seed) in cases.into_iter().zip(41..) {
        let name =
            format!("{rotten} is lost, the state is {} the epoch", if within { "within" } else { "before" });
        // Under EPaxos a log alone says what it has decided.
        let mut w = World::cluster(seed, 3, EngineKind::EPaxos);
        w.elect_any();
        w.switched(EngineKind::Raft);
        let leader = w.elect();
        let [hurt, other] =
            <[_; 2]>::try_from(w.up().into_iter().filter(|i| *i != leader).collect::<Vec<_>>()).unwrap();
        let snapshot = |w: &mut World| {
            let token = w.snapshot(hurt);
            assert_eq!(w.answer(token), Answered::Done(Ok(())));
        };
        for command in ["first", "second"] {
            w.write_at(leader, command);
        }
        w.agreed();
        if within {
            snapshot(&mut w);
        }
        w.write_at(leader, "third");
        w.agreed();
        w.crash(other);
        w.write_at(leader, "fourth");
        assert_eq!(w.crash_and_rot(hurt, rotten), 1);
        w.crash(leader);
        for life in 1..=3 {
            w.start(hurt);
            w.run(Duration::secs(1));
            assert_eq!(w.epoch(hurt), 1, "{name}");
            assert!(w.life(hurt).unwrap().host.is_suspect(G), "{name}: it has a vote in life {life}");
            w.crash(hurt);
        }
        w.start(hurt);
        w.start(other);
        w.run(Duration::secs(10));
        assert!(!w.leads(hurt) && !w.leads(other), "{name}: a leader without the fourth");
        w.start(leader);
        w.write_at(leader, "fifth");
        assert_eq!(w.agreed(), ["first", "second", "third", "fourth", "fifth"], "{name}");
        w.crash(hurt);
        w.start(hurt);
        assert!(!w.life(hurt).unwrap().host.is_suspect(G), "{name}: it is well, for good");
    }
}

/// The entry that founds a Raft's group is the same everywhere: who lost it alone writes it anew.
#[test]
fn the_first_entry_of_a_later_epochs_raft_is_made_good_without_help() {
    let mut w = World::cluster(47, 3, EngineKind::EPaxos);
    w.elect_any();
    w.switched(EngineKind::Raft);
    let leader = w.elect();
    let hurt = w.up().into_iter().find(|i| *i != leader).unwrap();
    w.write_at(leader, "first");
    w.agreed();
    assert!(w.crash_and_rot(hurt, "node 3") > 1, "the seal has it, too");
    w.isolate(hurt);
    for life in 1..=2 {
        w.start(hurt);
        w.run(Duration::secs(1));
        assert_eq!(w.epoch(hurt), 1);
        assert!(!w.life(hurt).unwrap().host.is_suspect(G), "life {life}");
        w.crash(hurt);
    }
    w.cut.clear();
    w.start(hurt);
    w.write_at(leader, "second");
    assert_eq!(w.agreed(), ["first", "second"]);
}
