//! The explorer on the harness' double and on Multi-Paxos: small spaces whole, planted bugs with their shortest stories.
#![cfg(feature = "rehearsal")]

mod double;

use double::{ALL_BUGS, Bug, Double};
use dwcp_consensus::paxos::Rehearsed;
use dwcp_consensus::rehearsal::explore::{Bounds, explore};

#[test]
fn the_double_holds_in_every_state_of_small_worlds() {
    let small = Bounds { commands: 1, ticks: 1, ..Bounds::default() };
    let in_order = Bounds { fifo: true, commands: 2, ..small };
    for bounds in [
        small,
        Bounds { late_syncs: true, ..small },
        Bounds { nodes: 2, ticks: 2, reads: 1, ..small },
        in_order,
        Bounds { losses: 1, ..in_order },
        Bounds { crashes: 1, late_syncs: true, commands: 1, ..in_order },
    ] {
        let explored = explore(&Double::new(None), bounds);
        assert_eq!(explored.violation, None, "{:#?}", explored.violation);
        assert!(explored.complete && explored.finished > 0, "{explored:?}");
        // The same again: the same states.
        assert_eq!(explored, explore(&Double::new(None), bounds));
    }
}

#[test]
fn planted_bugs_are_found_with_a_story() {
    let late = Bounds { commands: 1, ticks: 1, late_syncs: true, ..Bounds::default() };
    let rival = Bounds { commands: 1, ticks: 2, ..Bounds::default() };
    let cases = [
        (Bug::CountOwnBeforeSync, late, "durability"),
        (Bug::AnswerBeforeSync, late, "durability"),
        (Bug::SmallQuorum, rival, "durability"),
        // Its own disk no longer holds what it decides: seen before others decide otherwise.
        (Bug::IgnoreAccepted, rival, "durability"),
        (Bug::StaleRead, Bounds { reads: 1, ..rival }, "linearizable reads"),
    ];
    for (bug, bounds, invariant) in cases {
        assert!(ALL_BUGS.contains(&bug));
        let explored = explore(&Double::new(Some(bug)), bounds);
        let (broken, story) = explored.violation.unwrap_or_else(|| panic!("{bug:?} was not found"));
        assert_eq!(broken.invariant, invariant, "{bug:?}: {}", broken.what);
        assert!(!story.is_empty() && story.len() < 25, "{bug:?}: {story:#?}");
    }
}

/// Two leaders with two commands are 4.4 million states: a command of `docs/protocols/consensus.md`.
#[test]
fn multi_paxos_holds_in_every_state_of_small_worlds_with_checkpoints() {
    let one = Bounds { fifo: true, commands: 2, ticks: 1, tickers: 1, checkpoints: 1, ..Bounds::default() };
    for bounds in [one, Bounds { checkpoints: 2, crashes: 1, ..one }] {
        let explored = explore(&Rehearsed::default(), bounds);
        assert_eq!(explored.violation, None, "{:#?}", explored.violation);
        assert!(explored.complete && explored.finished > 0, "{explored:?}");
    }
}
