//! PBFT in the rehearsal: every scenario, every kind of liar, real signatures for a sample.
#![cfg(feature = "rehearsal")]

use dwcp_consensus::pbft::liar::Manner;
use dwcp_consensus::pbft::rehearsed::Rehearsed;
use dwcp_consensus::rehearsal::{Plan, Scenario, Seen, Tally, World, run};

fn sweep(subject: &Rehearsed, scenario: Scenario, seeds: std::ops::Range<u64>, tally: &mut Tally) {
    for seed in seeds {
        match run(subject, scenario, seed) {
            Ok(report) => tally.merge(&report.tally),
            Err(failure) => {
                let story = World::new(subject, Plan::expand(subject, scenario, seed)).with_story().run();
                let story = story.expect_err("a run repeats").story;
                panic!("{failure}\n{}", story[story.len().saturating_sub(80)..].join("\n"));
            }
        }
    }
}

#[test]
fn it_holds_in_every_scenario_and_takes_its_hard_paths() {
    let mut tally = Tally::default();
    for scenario in Scenario::ALL {
        sweep(&Rehearsed::default(), *scenario, 0..6, &mut tally);
    }
    sweep(&Rehearsed::default(), Scenario::Storm, 100..116, &mut tally);
    let never: Vec<_> = tally.hard.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    assert_eq!(never, [""; 0], "hard paths never taken");
    for seen in [Seen::Lied, Seen::Forged, Seen::NotAdmitted, Seen::Installed, Seen::FromMark, Seen::Torn] {
        assert!(tally.of(seen) > 0, "never: {}", seen.name());
    }
}

#[test]
fn no_kind_of_liar_divides_or_stops_it() {
    for kind in 0..Manner::ALL.len() as u64 {
        let subject = Rehearsed { kind: Some(kind), ..Rehearsed::default() };
        sweep(&subject, Scenario::Liars, 1_000..1_005, &mut Tally::default());
    }
}

#[test]
fn it_holds_with_the_signatures_of_production() {
    let subject = Rehearsed { signed: true, ..Rehearsed::default() };
    for scenario in [Scenario::Steady, Scenario::Crashes, Scenario::Liars, Scenario::Storm] {
        sweep(&subject, scenario, 0..2, &mut Tally::default());
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    for seed in 0..4 {
        let subject = Rehearsed::default();
        assert_eq!(run(&subject, Scenario::Storm, seed), run(&subject, Scenario::Storm, seed));
    }
}
