//! EPaxos in rehearsal: it holds in every scenario and takes its hard paths.
#![cfg(feature = "rehearsal")]

use dwcp_consensus::epaxos::Rehearsed;
use dwcp_consensus::rehearsal::{self, Plan, Scenario, Tally, World};

fn sweep(subject: &Rehearsed, seeds: u64) -> Tally {
    let mut tally = Tally::default();
    for scenario in Scenario::ALL {
        for seed in 0..seeds {
            match rehearsal::run(subject, *scenario, seed) {
                Ok(report) => tally.merge(&report.tally),
                Err(failure) => {
                    let story =
                        World::new(subject, Plan::expand(subject, *scenario, seed)).with_story().run();
                    let story = story.expect_err("a run repeats").story;
                    panic!("{failure}\n{}", story[story.len().saturating_sub(60)..].join("\n"));
                }
            }
        }
    }
    tally
}

#[test]
fn it_holds_in_every_scenario_and_takes_its_hard_paths() {
    let tally = sweep(&Rehearsed::default(), 5);
    // Left to the long sweeps.
    let rare = [
        "recoveries by what a fast quorum's rest knew",
        "recoveries that lacked more of a fast quorum than may be gone",
        "waits ended by a late promise",
        "waits ended by another recovery's count",
        "walks interrupted",
        "checkpoints a driver swapped in without asking",
    ];
    for (name, n) in tally.hard.iter().filter(|(name, _)| !rare.contains(*name)) {
        assert!(*n > 0, "never: {name}");
    }
}

/// A command that only those had heard of who are gone is known from what others depend on alone.
#[test]
fn what_is_heard_of_in_dependencies_alone_is_found_out() {
    let seven = Rehearsed { seven: true, ..Rehearsed::default() };
    let store = Rehearsed { store: true, ..Rehearsed::default() };
    for (subject, seed) in [(Rehearsed::default(), 49), (store, 49), (seven, 120)] {
        rehearsal::run(&subject, Scenario::Gone, seed).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// One order of everything: what a store asks of it, whose entries have one index on all nodes.
#[test]
fn it_holds_as_a_store_runs_it() {
    sweep(&Rehearsed { store: true, ..Rehearsed::default() }, 2);
}

#[test]
fn it_holds_where_fast_quorums_are_larger_than_slow_ones() {
    sweep(&Rehearsed { seven: true, ..Rehearsed::default() }, 1);
}

/// Atlas' rule has no validation and no waits, and paths of its own.
#[test]
fn it_holds_under_atlas_rule_where_one_or_two_may_be_gone() {
    for (bears, seeds) in [(1, 3), (2, 1)] {
        let tally = sweep(&Rehearsed { atlas: Some(bears), ..Rehearsed::default() }, seeds);
        for name in [
            "fast decisions",
            "slow paths",
            "recoveries by what a fast quorum's rest knew",
            "recoveries that lacked more of a fast quorum than may be gone",
            "recoveries that voted for nothing",
            "recoveries that found a vote",
        ] {
            assert!(tally.hard[name] > 0, "never: {name}");
        }
        assert_eq!(tally.hard["recoveries that waited for others"], 0);
    }
}
