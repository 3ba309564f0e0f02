//! Whom the acts of a scenario hit, once it is known who leads.

use dwcp_env::{Duration, Instant, NodeId, Seed};
use dwcp_runtime_sim::fault::{Effect, Fault, Target};
use dwcp_scenarios::expand::{Act, Cast, asked, faults, is_request};
use dwcp_scenarios::file::action;
use std::collections::BTreeSet;

/// Seven members in two regions, and a spare, n8; n3 leads if anybody does.
fn act(words: &str, led: bool, seed: u64) -> (Vec<Fault>, Vec<u64>) {
    let regions = ["here".to_owned(), "there".to_owned()];
    let all: Vec<_> = (1..=8).map(|n| (NodeId(n), regions[usize::from(n > 4)].clone())).collect();
    let members: Vec<NodeId> = (1..=7).map(NodeId).collect();
    let leader = led.then_some(NodeId(3));
    let cast = Cast { all: &all, members: &members, leader, seed: Seed(seed) };
    let at = Instant::ZERO + Duration::secs(3);
    let action = action::parse(words, &regions).unwrap_or_else(|e| panic!("{words}: {e:?}"));
    let act = Act { at, until: at + Duration::secs(2), nth: 5, action };
    let found = faults(&act, &cast);
    assert!(found.iter().all(|f| (f.at, f.until) == (act.at, act.until)), "{words}: {found:?}");
    let asked = asked(&act, &cast);
    assert!(asked.is_empty() || is_request(&act), "{words}");
    (found, asked.into_iter().map(|n| n.0).collect())
}

/// The nodes that are hit, each once.
fn hit(words: &str, led: bool, seed: u64) -> Vec<u64> {
    let nodes: Vec<u64> = act(words, led, seed)
        .0
        .iter()
        .map(|f| match &f.target {
            Target::Node(n) => n.0,
            Target::Links { .. } => panic!("{words} hits links"),
        })
        .collect();
    let set: BTreeSet<u64> = nodes.iter().copied().collect();
    assert_eq!(set.len(), nodes.len(), "{words}: {nodes:?}");
    set.into_iter().collect()
}

#[test]
fn sets_are_who_their_words_say() {
    for (words, nodes) in [
        ("crash leader", &[3][..]),
        ("crash followers", &[1, 2, 4, 5, 6, 7]),
        ("crash here", &[1, 2, 3, 4]),
        ("crash n2,n8", &[2, 8]),
        ("region.lose there", &[5, 6, 7, 8]),
        ("region.lose leader", &[1, 2, 3, 4]),
    ] {
        assert_eq!(hit(words, true, 1), nodes, "{words}");
    }
    for words in ["crash leader", "region.lose leader"] {
        assert_eq!(hit(words, false, 1), [0; 0], "{words}: nobody leads");
    }
}

#[test]
fn drawn_sets_have_their_size_and_every_member_in_turn() {
    for (words, size, with_leader) in [
        ("crash any", 1, None),
        ("crash follower", 1, Some(false)),
        ("crash minority", 3, None),
        ("crash majority", 4, None),
        ("crash minority+leader", 3, Some(true)),
        ("crash majority-leader", 4, Some(false)),
    ] {
        let mut ever = BTreeSet::new();
        for seed in 0..200 {
            let nodes = hit(words, true, seed);
            assert_eq!(nodes, hit(words, true, seed), "{words} is a function of the seed");
            assert_eq!(nodes.len(), size, "{words}: {nodes:?}");
            assert!(with_leader.is_none_or(|with| nodes.contains(&3) == with), "{words}: {nodes:?}");
            ever.extend(nodes);
        }
        let wanted: BTreeSet<u64> = (1..=7).filter(|n| *n != 3 || with_leader != Some(false)).collect();
        assert_eq!(ever, wanted, "{words}: all members, and the spare never");
    }
}

#[test]
fn links_are_broken_between_the_two_sets_and_in_the_directions_said() {
    let ids = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
    let (leader, others) = (ids(&[3]), ids(&[1, 2, 4, 5, 6, 7, 8]));
    let by = |millis| Effect::Delay { extra: Duration::millis(millis), jitter: Duration::ZERO };
    for (words, links) in [
        ("partition leader", vec![(&leader, &others, Effect::Partition {})]),
        ("partition n1,n2 from n3", vec![(&ids(&[1, 2]), &leader, Effect::Partition {})]),
        ("cut leader to others", vec![(&leader, &others, Effect::PartitionOneWay {})]),
        ("cut others to leader", vec![(&others, &leader, Effect::PartitionOneWay {})]),
        ("clog n1 to n2", vec![(&ids(&[1]), &ids(&[2]), Effect::Clog {})]),
        ("slow leader to others by 200ms", vec![(&leader, &others, by(200)), (&others, &leader, by(200))]),
    ] {
        let found = act(words, true, 1).0.into_iter().map(|f| (f.target, f.effect)).collect::<Vec<_>>();
        let wanted = |(from, to, effect): (&Vec<NodeId>, &Vec<NodeId>, Effect)| {
            (Target::Links { from: from.clone(), to: to.clone() }, effect)
        };
        assert_eq!(found, links.into_iter().map(wanted).collect::<Vec<_>>(), "{words}");
    }
    assert_eq!(act("cut leader to followers", false, 1).0, [], "nobody leads: nothing is cut");
}

#[test]
fn requests_break_nothing() {
    for (words, whom) in
        [("transfer n2", 2), ("members.add n8", 8), ("members.remove leader", 3), ("snapshot n1", 1)]
    {
        assert_eq!(act(words, true, 1), (Vec::new(), vec![whom]), "{words}");
    }
}
