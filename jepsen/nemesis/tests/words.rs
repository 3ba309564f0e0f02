//! Acts and cards use the words of scenario files.

use dwcp_env::{NodeId, Seed};
use dwcp_nemesis::{Nemesis, Place, Seen};
use dwcp_scenarios::file::action;

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

#[test]
fn every_draw_hits_somebody_and_names_are_found() {
    for nemesis in Nemesis::ALL {
        assert_eq!(Nemesis::named(nemesis.card().name), Ok(nemesis));
        for nodes in [1, 3, 5, 9] {
            for nth in 0..8 {
                for leader in [None, Some(1)] {
                    let act = nemesis.draw(Seed(1), nth, &seen(nodes, leader));
                    let words = act.words();
                    let hits = nodes == 1 || words.contains('n') && !words.ends_with(' ');
                    assert!(hits, "{nemesis:?} over {nodes} nodes does nothing: {words:?}");
                }
            }
        }
    }
    let error = Nemesis::named("mars").unwrap_err();
    assert!(error.contains("kill") && error.contains("fsync-fail"), "{error}");
}
