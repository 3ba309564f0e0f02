//! Acts and cards use the words of scenario files, and acts are what their cards promise.

use dwcp_env::{NodeId, Seed};
use dwcp_nemesis::{Act, Nemesis, Place, Seen};
use dwcp_scenarios::file::action;
use std::collections::BTreeSet;

fn seen(nodes: u64, leader: Option<u64>) -> Seen {
    let place = |n| Place { node: NodeId(n), region: ["a", "b", "c"][n as usize % 3].into() };
    Seen { places: (1..=nodes).map(place).collect(), leader: leader.map(NodeId) }
}

#[test]
fn what_the_simulator_can_do_too_is_said_in_its_words() {
    let regions: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
    for nemesis in Nemesis::ALL {
        for nth in 0..12 {
            for line in nemesis.draw(Seed(7), nth, &seen(9, Some(4))).scenario() {
                let parsed = action::parse(&line, &regions);
                assert!(parsed.is_ok(), "{nemesis:?} says {line:?}: {parsed:?}");
            }
        }
        let card = nemesis.card();
        let known = action::VERBS.contains(&card.scenario) || card.scenario.starts_with('[');
        assert!(known, "{}: {} is no action of a scenario", card.name, card.scenario);
    }
}

/// Whom an act hits; none for links that are slow or lossy, which are all of them.
fn whom(act: &Act) -> Option<Vec<NodeId>> {
    match act {
        Act::Kill { nodes, .. }
        | Act::Pause { nodes }
        | Act::Restart { nodes }
        | Act::DiskFull { nodes }
        | Act::FsyncFail { nodes } => Some(nodes.clone()),
        Act::Cut { pairs } => Some(pairs.iter().flat_map(|(a, b)| [*a, *b]).collect()),
        Act::Clock { offsets } => Some(offsets.iter().map(|(n, _)| *n).collect()),
        Act::Delay { millis, .. } => (*millis == 0).then(Vec::new),
        Act::Loss { per_mille } => (*per_mille == 0).then(Vec::new),
    }
}

#[test]
fn every_draw_hits_somebody_of_the_cluster_and_names_are_found() {
    for nemesis in Nemesis::ALL {
        assert_eq!(Nemesis::named(nemesis.card().name), Ok(nemesis));
        for (nodes, nth) in [1, 3, 5, 9].into_iter().flat_map(|nodes| (0..8).map(move |nth| (nodes, nth))) {
            for leader in [None, Some(1)] {
                let act = nemesis.draw(Seed(1), nth, &seen(nodes, leader));
                let Some(whom) = whom(&act) else { continue };
                let alone = nodes == 1 && matches!(act, Act::Cut { .. });
                assert!(alone || !whom.is_empty(), "{nemesis:?} over {nodes} nodes does nothing: {act:?}");
                assert!(whom.iter().all(|n| (1..=nodes).contains(&n.0)), "{nemesis:?}: {act:?}");
                for node in &whom {
                    assert!(act.words().contains(&format!("n{}", node.0)), "{act:?}: {}", act.words());
                }
            }
        }
    }
    let error = Nemesis::named("mars").unwrap_err();
    assert!(error.contains("kill") && error.contains("fsync-fail"), "{error}");
}

#[test]
fn deaths_come_to_the_leader_a_minority_a_follower_and_a_majority_in_turn() {
    for seed in 0..20 {
        let died = |nth| match Nemesis::Kill.draw(Seed(seed), nth, &seen(9, Some(4))) {
            Act::Kill { nodes, lose_unsynced: false } => nodes,
            other => panic!("{other:?}"),
        };
        assert_eq!(died(0), [NodeId(4)]);
        assert_eq!(died(1).len(), 4);
        assert!(died(2).len() == 1 && died(2) != [NodeId(4)]);
        assert_eq!(died(3).len(), 5);
        for nemesis in [Nemesis::DiskFull, Nemesis::FsyncFail] {
            for nth in 0..8 {
                let broken = whom(&nemesis.draw(Seed(seed), nth, &seen(9, Some(4)))).unwrap();
                assert!(broken.len() <= 4, "{nemesis:?} leaves no quorum: {broken:?}");
            }
        }
    }
}

#[test]
fn cuts_have_the_shapes_that_are_promised() {
    for (seed, nodes) in (0..20).flat_map(|seed| [3, 5, 9].map(|nodes| (seed, nodes))) {
        let cut = |nemesis: Nemesis, nth| match nemesis.draw(Seed(seed), nth, &seen(nodes, Some(2))) {
            Act::Cut { pairs } => pairs.into_iter().map(|(a, b)| (a.0, b.0)).collect::<BTreeSet<_>>(),
            other => panic!("{other:?}"),
        };
        let reached = |pairs: &BTreeSet<(u64, u64)>, from: u64| {
            (1..=nodes).filter(|to| *to != from && !pairs.contains(&(from, *to))).count() as u64
        };
        for nth in 0..4 {
            let pairs = cut(Nemesis::Partition, nth);
            assert!(pairs.iter().all(|(a, b)| a != b && pairs.contains(&(*b, *a))), "both ways: {pairs:?}");
            let reach: Vec<u64> = (1..=nodes).map(|n| reached(&pairs, n)).collect();
            match nth {
                0 => assert!(reach[1] < nodes / 2, "the leader is with the fewer: {pairs:?}"),
                1 => assert!(reach.contains(&(nodes / 2)), "a majority is together: {pairs:?}"),
                2 => assert_eq!(reach.iter().filter(|r| **r == nodes - 1).count(), 1, "a bridge: {pairs:?}"),
                _ if nodes > 3 => assert_eq!(reach, vec![2; nodes as usize], "a ring: {pairs:?}"),
                _ => assert!(reach.contains(&0), "three have no ring, one is alone: {pairs:?}"),
            }
            let pairs = cut(Nemesis::OneWay, nth);
            assert!(pairs.iter().all(|(a, b)| !pairs.contains(&(*b, *a))), "one way: {pairs:?}");
            let one = |at: &(u64, u64)| if nth % 2 == 0 { at.0 } else { at.1 };
            let ones: BTreeSet<u64> = pairs.iter().map(one).collect();
            assert!(pairs.len() as u64 == nodes - 1 && ones.len() == 1, "one against all: {pairs:?}");
            assert!(nth > 1 || ones.contains(&2), "first the leader: {pairs:?}");
        }
    }
}

#[test]
fn each_card_keeps_its_word() {
    let regions = |nodes: &[NodeId]| nodes.iter().map(|n| n.0 % 3).collect::<BTreeSet<_>>();
    let (mut offsets, mut delays, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, nth) in (0..20).flat_map(|seed| (0..8).map(move |nth| (Seed(seed), nth))) {
        let seen = seen(9, Some(4));
        match Nemesis::RegionLoss.draw(seed, nth, &seen) {
            Act::Kill { nodes, lose_unsynced: false } => {
                assert!(nodes.len() == 3 && regions(&nodes).len() == 1, "a whole region, no more: {nodes:?}");
                assert!(
                    nth % 2 == 1 || nodes.contains(&NodeId(4)),
                    "the leader's every other time: {nodes:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        match Nemesis::LoseUnsynced.draw(seed, nth, &seen) {
            Act::Kill { nodes, lose_unsynced: true } => {
                assert_eq!(nodes.len(), if nth % 2 == 0 { 9 } else { 5 }, "all, or a majority");
            }
            other => panic!("{other:?}"),
        }
        let restarted: BTreeSet<NodeId> =
            whom(&Nemesis::Restart.draw(seed, nth, &seen)).unwrap().into_iter().collect();
        assert_eq!(restarted.len(), 9, "everybody in turn");
        let paused = whom(&Nemesis::Pause.draw(seed, 3, &seen)).unwrap();
        assert_eq!(paused.len(), 5, "a majority, too");
        if let Act::Clock { offsets: by } = Nemesis::Clock.draw(seed, nth, &seen) {
            assert!(nth % 2 == 0 || by.len() == 9, "everybody every other time");
            offsets.extend(by.into_iter().map(|(_, by)| by));
        }
        if let Act::Delay { millis, jitter_millis } = Nemesis::Delay.draw(seed, nth, &seen) {
            assert!(jitter_millis < millis);
            delays.push(millis);
        }
        if let Act::Loss { per_mille } = Nemesis::Loss.draw(seed, nth, &seen) {
            losses.push(per_mille);
        }
    }
    assert!(offsets.iter().all(|by| *by != 0 && by.abs() <= 60_000), "{offsets:?}");
    assert!(offsets.iter().any(|by| *by > 20_000) && offsets.iter().any(|by| *by < -20_000), "{offsets:?}");
    assert!(delays.iter().all(|ms| (20..=120).contains(ms)), "{delays:?}");
    assert!(losses.iter().all(|of| (10..=100).contains(of)), "{losses:?}");
    let drawn: BTreeSet<u64> = delays.into_iter().collect();
    assert!(drawn.len() > 20, "each window draws anew: {drawn:?}");
}

#[test]
fn an_act_says_what_it_does_and_whose_processes_end() {
    let nodes = vec![NodeId(1), NodeId(2)];
    let table = [
        (Act::Kill { nodes: nodes.clone(), lose_unsynced: true }, vec!["crash n1,n2"], 2),
        (Act::Pause { nodes: nodes.clone() }, vec!["pause n1,n2"], 0),
        (Act::Restart { nodes: nodes.clone() }, vec!["restart n1", "restart n2"], 2),
        (Act::Cut { pairs: vec![(NodeId(1), NodeId(2))] }, vec!["cut n1 to n2"], 0),
        (Act::DiskFull { nodes: nodes.clone() }, vec!["disk.full n1,n2"], 0),
        (Act::FsyncFail { nodes }, vec!["disk.fail n1,n2"], 2),
        (
            Act::Clock { offsets: vec![(NodeId(1), -7), (NodeId(2), 8)] },
            vec!["clock.jump n1 by -7ms", "clock.jump n2 by +8ms"],
            0,
        ),
    ];
    for (act, words, ends) in table {
        assert_eq!(act.scenario(), words, "{act:?}");
        assert_eq!(act.ends().len(), ends, "{act:?}");
    }
    assert_eq!(Nemesis::named("region.lose"), Ok(Nemesis::RegionLoss), "a scenario's word is a name, too");
}
