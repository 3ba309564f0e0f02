//! The harness on its own test double: honest runs hold and repeat, planted bugs are found.
#![cfg(feature = "rehearsal")]

mod double;

use double::{ALL_BUGS, Double};
use dwcp_consensus::rehearsal::{self, Plan, Scenario, Seen, Tally, World};

const HONEST: Double = Double::new(None);

#[test]
fn an_honest_protocol_holds_in_every_scenario() {
    let mut tally = Tally::default();
    for scenario in Scenario::ALL {
        // The double has no quorum-connected election: stars and lines of five may starve it.
        for seed in 0..12 {
            match rehearsal::run(&HONEST, *scenario, seed) {
                Ok(report) => tally.merge(&report.tally),
                Err(failure) => {
                    let story =
                        World::new(&HONEST, Plan::expand(&HONEST, *scenario, seed)).with_story().run();
                    let story = story.expect_err("a run repeats").story;
                    panic!("{failure}\n{}", story[story.len().saturating_sub(120)..].join("\n"));
                }
            }
        }
    }
    // Wipes and liars need protocols that bear them; nothing is decided twice; the double does not show its log, and agrees on no dependencies.
    let not_here = [
        Seen::Wiped,
        Seen::Lied,
        Seen::Forged,
        Seen::Twice,
        Seen::NotAdmitted,
        Seen::Compared,
        Seen::Matched,
        Seen::Settled,
    ];
    for seen in Seen::ALL.iter().filter(|s| !not_here.contains(s)) {
        assert!(tally.of(*seen) > 0, "never: {}", seen.name());
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..10 {
        let first = rehearsal::run(&HONEST, Scenario::Storm, seed).unwrap();
        assert_eq!(first, rehearsal::run(&HONEST, Scenario::Storm, seed).unwrap());
        assert_ne!(first.trace, rehearsal::run(&HONEST, Scenario::Storm, seed + 1).unwrap().trace);
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in ALL_BUGS {
        let subject = Double::new(Some(*bug));
        let found = (0..1_000).find_map(|seed| {
            Scenario::ALL.iter().find_map(|scenario| rehearsal::run(&subject, *scenario, seed).err())
        });
        assert!(found.is_some(), "{bug:?} was not found in 1,000 seeds of each scenario");
    }
}

/// What is ordered as a whole is ordered by key too: the other way to judge must agree.
#[test]
fn judged_by_key_honest_runs_hold_and_bugs_are_found() {
    let mut tally = Tally::default();
    for scenario in [Scenario::Crashes, Scenario::Partitions, Scenario::Checkpoints, Scenario::Storm] {
        for seed in 0..12 {
            let report = rehearsal::run(&HONEST.by_key(), scenario, seed);
            tally.merge(&report.unwrap_or_else(|failure| panic!("{failure}")).tally);
        }
    }
    for seen in [Seen::Installed, Seen::FromMark, Seen::Read, Seen::Weighed] {
        assert!(tally.of(seen) > 0, "never: {}", seen.name());
    }
    use double::Bug;
    for (bug, invariants) in [
        (Bug::ForgetVotes, &["agreement", "nothing lost", "non-triviality", "durability"][..]),
        (Bug::StaleRead, &["linearizable reads"]),
        (Bug::SmallQuorum, &["durability"]),
        (Bug::LieRefused, &["non-triviality"]),
        (Bug::NoElection, &["liveness"]),
    ] {
        let subject = Double::new(Some(bug)).by_key();
        let found = (0..200).find_map(|seed| {
            Scenario::ALL.iter().find_map(|scenario| rehearsal::run(&subject, *scenario, seed).err())
        });
        let broken = found.unwrap_or_else(|| panic!("{bug:?} was not found")).broken;
        assert!(invariants.contains(&broken.invariant), "{bug:?}: {broken:?}");
    }
}
