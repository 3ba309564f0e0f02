//! Multi-Paxos in the rehearsal: every scenario holds, hard paths are taken, planted bugs are found.
#![cfg(feature = "rehearsal")]

use dwcp_consensus::paxos::{Quorum, Rehearsed};
use dwcp_consensus::rehearsal::{self, Scenario, Seen, Tally};

/// Longer sweeps: `docs/protocols/consensus.md`.
const SEEDS: u64 = 24;
const MAJORITY: Rehearsed = Rehearsed { quorum: Quorum::Majority };
const UNEVEN: Rehearsed = Rehearsed { quorum: Quorum::Uneven };

#[test]
fn multi_paxos_holds_in_every_scenario_and_takes_its_hard_paths() {
    let mut tally = Tally::default();
    let runs = Scenario::ALL.iter().flat_map(|s| (0..SEEDS).map(move |seed| (*s, seed)));
    for (scenario, seed) in runs.chain((SEEDS..SEEDS * 8).map(|seed| (Scenario::Upheaval, seed))) {
        match rehearsal::run(&MAJORITY, scenario, seed) {
            Ok(report) => tally.merge(&report.tally),
            Err(failure) => panic!("{failure}"),
        }
    }
    let never: Vec<_> = tally.hard.iter().filter(|(_, n)| **n == 0).collect();
    assert!(never.is_empty(), "never taken: {never:?}");
    for seen in [Seen::Sealed, Seen::Void, Seen::Late, Seen::Held, Seen::Fell, Seen::Compared, Seen::Matched]
    {
        assert!(tally.of(seen) > 0, "never: {}", seen.name());
    }
    assert_eq!(tally.of(Seen::Twice), 0);
}

/// Weighted, grid, flexible and regional quorums: who elects is not who decides.
#[test]
fn uneven_quorums_hold() {
    for seed in 0..SEEDS * 4 {
        for scenario in [Scenario::Upheaval, Scenario::Storm] {
            if let Err(failure) = rehearsal::run(&UNEVEN, scenario, seed) {
                panic!("{failure}");
            }
        }
    }
}

#[test]
fn equal_seeds_run_equally() {
    for seed in 0..5 {
        let run = || rehearsal::run(&MAJORITY, Scenario::Upheaval, seed).unwrap();
        assert_eq!(run(), run());
    }
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use dwcp_consensus::paxos::planted::{Bug, plant};

    /// `cargo test --profile sim -p dwcp-consensus --features planted-bugs --test paxos -- --ignored`
    #[test]
    #[ignore = "plants bugs in the whole process: runs alone"]
    fn every_planted_bug_is_found_within_a_thousand_seeds() {
        for bug in Bug::ALL {
            plant(Some(bug));
            let found = (0..1_000).find(|seed| {
                Scenario::ALL.iter().any(|scenario| rehearsal::run(&MAJORITY, *scenario, *seed).is_err())
            });
            plant(None);
            assert!(found.is_some(), "{bug:?}");
        }
    }
}
