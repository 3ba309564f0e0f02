//! Tables, laws, and two oracles that others wrote: the `quorum-set` crate and etcd raft's tables.

use super::admission::judge;
use super::*;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use dwcp_env::NodeId;
use proptest::prelude::*;
use quorum_set::{QuorumSet, verify_intersection};
use std::string::{String, ToString};

fn nodes(n: usize) -> Vec<NodeId> {
    (1..=n as u64).map(NodeId).collect()
}
fn verdict(system: &System, needs: Needs) -> Result<(), Refusal> {
    admit(system, &nodes(system.members()), needs)
}
fn set(places: &[usize]) -> NodeSet {
    places.iter().fold(NodeSet::EMPTY, |s, p| s.or(NodeSet::one(*p)))
}

/// Some of every system, small and large, sound and not.
fn any_system(most: u8) -> impl Strategy<Value = System> {
    let region = (prop::collection::vec(0_u8..4, 1..=usize::from(most)), any::<bool>()).prop_map(
        |(regions, inside)| {
            let rule = if inside { RegionRule::InRegion } else { RegionRule::MajorityOfMajorities };
            System::Regional { regions, rule }
        },
    );
    let weighted = (prop::collection::vec(0_u16..6, 1..=usize::from(most)), any::<[u16; 3]>())
        .prop_filter_map("somebody has a vote", |(weights, draws)| {
            let all: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            let [prepare, accept, fast] = draws.map(|d| u32::from(d) % all.max(1) + 1);
            (all > 0).then_some(System::Weighted { weights, prepare, accept, fast })
        });
    let threshold = (1..=most, any::<[u8; 3]>()).prop_map(|(members, draws)| {
        let [prepare, accept, fast] = draws.map(|d| d % members + 1);
        System::Threshold { members, prepare, accept, fast }
    });
    let witness = (1..=most, any::<u16>()).prop_filter_map("somebody keeps data", |(members, who)| {
        let witnesses = NodeSet(u128::from(who)).and(NodeSet::first(usize::from(members)));
        (witnesses.len() < usize::from(members)).then_some(System::Witness { members, witnesses })
    });
    let grid = (1..=3_u8, 1..=most / 3).prop_map(|(rows, columns)| System::Grid { rows, columns });
    prop_oneof![
        (1..=most).prop_map(|members| System::Majority { members }),
        (1..=most).prop_map(|members| System::Byzantine { members }),
        threshold,
        weighted,
        region,
        witness,
        grid,
    ]
}

/// A phase of a system, as the oracle sees it: nothing but its own `is_quorum`.
struct Seen<'a>(&'a System, Phase);

impl QuorumSet for Seen<'_> {
    type Id = usize;
    type Iter = std::ops::Range<usize>;
    fn is_quorum<'b, I: Iterator<Item = &'b usize> + Clone>(&self, ids: I) -> bool {
        let set =
            ids.filter(|id| **id < self.0.members()).fold(NodeSet::EMPTY, |s, p| s.or(NodeSet::one(*p)));
        Quorums::is_quorum(self.0, self.1, set)
    }
    fn ids(&self) -> Self::Iter {
        0..self.0.members()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_covers_a_quorum_is_one(system in any_system(9), draw in any::<u16>(), more in 0_usize..9) {
        for phase in [Phase::Prepare, Phase::Accept, Phase::Fast] {
            let small = NodeSet(u128::from(draw));
            prop_assert!(!system.is_quorum(phase, small) || system.is_quorum(phase, small.or(NodeSet::one(more))));
            let minimal = minimal(&system, phase);
            let covered = minimal.iter().any(|q| small.covers(*q));
            prop_assert_eq!(covered, system.is_quorum(phase, small));
        }
    }

    #[test]
    fn the_oracle_agrees_on_prepare_and_accept(system in any_system(7)) {
        let theirs = verify_intersection(&Seen(&system, Phase::Prepare), &Seen(&system, Phase::Accept));
        let ours = verdict(&system, Needs::Paxos);
        prop_assert_eq!(ours.is_ok(), theirs, "{:?}: {:?}", system, ours);
    }

    #[test]
    fn what_is_refused_is_refused_for_a_reason_that_holds(system in any_system(9)) {
        for needs in [Needs::Paxos, Needs::FastPaxos, Needs::EPaxos, Needs::Atlas, Needs::Byzantine] {
            if let Err(Refusal::Apart { sets, shared, wanted, .. }) = verdict(&system, needs) {
                let places = |named: &Named| set(&named.members.iter().map(|n| n.0 as usize - 1).collect::<Vec<_>>());
                prop_assert!(sets.iter().all(|named| system.is_quorum(named.phase, places(named))));
                let common = sets.iter().fold(NodeSet::first(9), |s, named| s.and(places(named)));
                prop_assert_eq!(common.len(), shared.len());
                prop_assert!(common.len() < wanted);
            }
        }
    }

    #[test]
    fn arithmetic_says_what_looking_says_or_says_that_it_can_not(system in any_system(9)) {
        let members = nodes(system.members());
        for needs in [Needs::Paxos, Needs::FastPaxos, Needs::EPaxos, Needs::Atlas, Needs::Byzantine] {
            match (judge(&system, &members, needs, true), judge(&system, &members, needs, false)) {
                (_, Err(Refusal::Unproved { .. })) => {}
                (looked, proved) => prop_assert_eq!(looked.is_ok(), proved.is_ok(), "{:?} {:?}: {:?} {:?}", needs, system, looked, proved),
            }
        }
    }

    #[test]
    fn what_blocks_is_counted_right(system in any_system(9)) {
        for phase in [Phase::Prepare, Phase::Accept, Phase::Fast] {
            let blocking = blocking(&system, phase);
            let n = system.members();
            prop_assert!(blocking >= 1 && blocking <= n, "{system:?} {phase:?} {blocking}");
            let (alive, of) = survives(&system, phase, blocking - 1);
            prop_assert_eq!(alive, of, "{:?} {:?} bears {}", system, phase, blocking - 1);
            let (alive, of) = survives(&system, phase, blocking);
            prop_assert!(alive < of, "{system:?} {phase:?} is blocked by {blocking}");
        }
    }

    #[test]
    fn systems_travel(system in any_system(40)) {
        let bytes = dwcp_env::wire::encode(&system);
        prop_assert_eq!(dwcp_env::wire::decode::<System>(&bytes).unwrap(), system);
    }
}

#[test]
fn the_systems_that_are_known_to_fit_are_admitted() {
    for members in 1..=60 {
        assert_eq!(verdict(&System::Majority { members }, Needs::Paxos), Ok(()), "{members}");
        assert_eq!(verdict(&System::super_majority(members), Needs::FastPaxos), Ok(()), "{members}");
    }
    for members in (3..=13).step_by(2).chain((15..=61).step_by(2)) {
        assert_eq!(verdict(&System::Majority { members }, Needs::EPaxos), Ok(()), "{members}");
    }
    for members in (3..=13).chain(50..=60) {
        for bears in 1..=(members - 1) / 2 {
            assert_eq!(verdict(&System::atlas(members, bears), Needs::Atlas), Ok(()), "{bears} of {members}");
        }
    }
    for members in 4..=60 {
        assert_eq!(verdict(&System::Byzantine { members }, Needs::Byzantine), Ok(()), "{members}");
    }
    let three_regions = |rule| System::Regional { regions: [0, 0, 0, 1, 1, 1, 2, 2, 2].into(), rule };
    assert_eq!(verdict(&three_regions(RegionRule::MajorityOfMajorities), Needs::Paxos), Ok(()));
    assert_eq!(verdict(&three_regions(RegionRule::InRegion), Needs::Paxos), Ok(()));
    assert_eq!(verdict(&System::flexible(6, 5, 2), Needs::Paxos), Ok(()));
    assert_eq!(verdict(&System::Grid { rows: 3, columns: 4 }, Needs::Paxos), Ok(()));
    assert_eq!(verdict(&System::Grid { rows: 8, columns: 16 }, Needs::Paxos), Ok(()));
    let weighted = System::Weighted { weights: [3, 1, 1, 1, 1].into(), prepare: 4, accept: 4, fast: 6 };
    assert_eq!(verdict(&weighted, Needs::Paxos), Ok(()));
    let witness = System::Witness { members: 3, witnesses: set(&[2]) };
    assert_eq!(verdict(&witness, Needs::Paxos), Ok(()));
    // The fast quorums of EPaxos, as the paper has them: 3 → 2, 5 → 3, 7 → 5.
    let fast = |members| System::Majority { members }.size(Phase::Fast);
    assert_eq!([fast(3), fast(5), fast(7)], [Some(2), Some(3), Some(5)]);
    // And PBFT's: 4 → 3, 7 → 5, 10 → 7.
    let byzantine = |members| System::Byzantine { members }.size(Phase::Accept);
    assert_eq!([byzantine(4), byzantine(7), byzantine(10)], [Some(3), Some(5), Some(7)]);
}

/// Data that must be refused, and the words an operator reads.
#[test]
fn refusals_name_the_offending_sets() {
    let cases: [(System, Needs, &str); 12] = [
        (
            System::flexible(4, 2, 2),
            Needs::Paxos,
            "quorums prepare {n1, n2} and accept {n3, n4} share {}, Paxos needs them to share 1: raise a threshold or choose another system",
        ),
        (
            System::flexible(40, 20, 20),
            Needs::Paxos,
            "quorums prepare {n1, n2, n3, n4, n5, n6, n7, n8, n9, n10, n11, n12, n13, n14, n15, n16, n17, n18, n19, n20} and accept {n21, n22, n23, n24, n25, n26, n27, n28, n29, n30, n31, n32, n33, n34, n35, n36, n37, n38, n39, n40} share {}, Paxos needs them to share 1: raise a threshold or choose another system",
        ),
        (
            System::Majority { members: 5 },
            Needs::FastPaxos,
            "quorums prepare {n3, n4, n5} and fast {n1, n2, n3} and fast {n1, n2, n4} share {}, FastPaxos needs them to share 1: raise a threshold or choose another system",
        ),
        (
            System::Grid { rows: 2, columns: 2 },
            Needs::EPaxos,
            "quorums accept {n1, n3} and accept {n2, n4} share {}, EPaxos needs them to share 1: raise a threshold or choose another system",
        ),
        (
            System::Weighted { weights: [3, 3, 1, 1].into(), prepare: 4, accept: 4, fast: 8 },
            Needs::Paxos,
            "quorums prepare {n1, n3} and accept {n2, n4} share {}, Paxos needs them to share 1: raise a threshold or choose another system",
        ),
        (System::Majority { members: 4 }, Needs::Byzantine, ""),
        (
            System::Threshold { members: 4, prepare: 2, accept: 3, fast: 4 },
            Needs::Byzantine,
            "quorums prepare {n1, n2} and prepare {n3, n4} share {}, Byzantine needs them to share 2: raise a threshold or choose another system",
        ),
        (
            System::flexible(4, 4, 4),
            Needs::Byzantine,
            "without {n1} no Prepare quorum is left, Byzantine is to bear that: lower a threshold",
        ),
        (System::Majority { members: 3 }, Needs::Byzantine, "3 members bear no liar: at least 4"),
        (System::Majority { members: 0 }, Needs::Paxos, "0 members: from 1 to 128"),
        (System::flexible(3, 4, 1), Needs::Paxos, "Prepare needs 4 of 3: from 1 to 3"),
        (
            System::Regional { regions: [0; 20].into(), rule: RegionRule::MajorityOfMajorities },
            Needs::FastPaxos,
            "not proved for 20 members (FastPaxos): at most 13 are looked at one by one; use thresholds or weights",
        ),
    ];
    for (system, needs, words) in cases {
        let said = verdict(&system, needs).map_err(|r| r.to_string()).err().unwrap_or_default();
        // A majority of four is PBFT's 2f + 1 of 3f + 1.
        assert_eq!(said, words, "{system:?}");
    }
    let all = NodeSet::first(3);
    for witnesses in [all, NodeSet::one(5)] {
        assert_eq!(System::Witness { members: 3, witnesses }.check(), Err(Malformed::Witnesses));
    }
    let three = System::Majority { members: 3 };
    assert_eq!(admit(&three, &nodes(4), Needs::Paxos), Err(Refusal::Members { system: 3, given: 4 }));
}

#[test]
fn weights_are_proved_beyond_what_is_looked_at() {
    // Twenty members of weight 2 and one of 1: 41 votes, and no set has exactly half.
    let mut weights: Vec<u16> = [2; 20].into();
    weights.push(1);
    let system = |prepare, accept| System::Weighted { weights: weights.clone(), prepare, accept, fast: 41 };
    assert_eq!(verdict(&system(21, 21), Needs::Paxos), Ok(()));
    let refused = verdict(&system(20, 21), Needs::Paxos).unwrap_err();
    let Refusal::Apart { sets, shared, .. } = &refused else { panic!("{refused}") };
    assert_eq!((sets[0].members.len() + sets[1].members.len(), shared.len()), (21, 0), "{refused}");
    // Sums may not overlap though thresholds add up to less than all: weights of 10 can't be split at 15.
    let tens = System::Weighted { weights: [10; 15].into(), prepare: 75, accept: 75, fast: 150 };
    assert_eq!(verdict(&tens, Needs::Paxos), Ok(()));
}

/// Ten members whose quorums of every kind are six share two of any pair, and that is what the paper asks for where
/// n = 2F + 1; but F = e = 4, and no protocol decides fast with n < 2e + F - 1 = 11.
#[test]
fn what_no_protocol_can_do_is_refused() {
    let system = |members, prepare, fast| System::Threshold { members, prepare, accept: prepare, fast };
    let refused = |s: &System| verdict(s, Needs::EPaxos).err();
    assert!(matches!(refused(&system(10, 6, 6)), Some(Refusal::Apart { wanted: 3, .. })));
    assert_eq!(refused(&system(11, 7, 7)), None);
    assert_eq!(refused(&system(10, 7, 6)), Some(Refusal::Hasty { fast: 6, prepare: 7 }));
    for n in 3..=61_u8 {
        for prepare in n / 2 + 1..=n {
            for fast in 1..=n {
                let (failures, e) = (n - prepare, n - fast);
                let possible = e <= failures && n + 1 >= 2 * e + failures && n > 2 * failures;
                if refused(&system(n, prepare, fast)).is_none() {
                    assert!(possible, "{n}: prepare {prepare}, fast {fast}");
                }
            }
        }
    }
    for members in 3..=15 {
        assert_eq!(refused(&System::Majority { members }), None, "{members}");
    }
}

#[test]
fn members_have_an_order_and_votes_a_bound() {
    let three = System::Majority { members: 3 };
    for wrong in [[1, 3, 2], [1, 1, 2]] {
        assert_eq!(admit(&three, &wrong.map(NodeId), Needs::Paxos), Err(Refusal::Order));
    }
    let weighted = |weight: u16, odd: u16| {
        let mut weights: Vec<u16> = [weight; 40].into();
        weights[0] = odd;
        let all: u32 = weights.iter().map(|w| u32::from(*w)).sum();
        System::Weighted { weights, prepare: all / 2 + 1, accept: all / 2 + 1, fast: all }
    };
    assert_eq!(verdict(&weighted(60_000, 60_000), Needs::Paxos), Ok(()), "a vote each, in other words");
    assert_eq!(verdict(&weighted(60_000, 59_999), Needs::Paxos), Err(Refusal::Votes { votes: 2_399_999 }));
    // Thresholds between two units: 5 of 40 x 10 is met by one member, and 395 by all of them.
    let tens = |prepare, accept| System::Weighted { weights: [10; 40].into(), prepare, accept, fast: 400 };
    assert_eq!(verdict(&tens(5, 395), Needs::Paxos), Ok(()));
    assert!(matches!(verdict(&tens(5, 390), Needs::Paxos), Err(Refusal::Apart { .. })));
}

#[test]
fn worth_is_told_by_tables() {
    let majority = System::Majority { members: 5 };
    assert_eq!(survives(&majority, Phase::Accept, 2), (10, 10));
    assert_eq!(survives(&majority, Phase::Accept, 3), (0, 10));
    let grid = System::Grid { rows: 2, columns: 3 };
    // Of the fifteen pairs, a column is lost to every pair but whole columns lose one of three.
    assert_eq!(survives(&grid, Phase::Accept, 1), (6, 6));
    assert_eq!(survives(&grid, Phase::Accept, 3), (12, 20));
    assert_eq!(load(&majority, Phase::Accept), Some(Load { smallest: 3, busiest_of_1000: 600 }));
    assert_eq!(load(&grid, Phase::Accept), Some(Load { smallest: 2, busiest_of_1000: 333 }));
    let weighted = System::Weighted { weights: [3, 1, 1, 1].into(), prepare: 4, accept: 4, fast: 6 };
    assert_eq!(load(&weighted, Phase::Accept), Some(Load { smallest: 2, busiest_of_1000: 1_000 }));
    // A leader in the first of three regions, 1 ms, 80 ms and 150 ms away.
    let after = [0, 1, 1, 80, 80, 80, 150, 150, 150];
    let regions = |rule| System::Regional { regions: [0, 0, 0, 1, 1, 1, 2, 2, 2].into(), rule };
    assert_eq!(nearest(&regions(RegionRule::InRegion), Phase::Accept, &after), Some(1));
    assert_eq!(nearest(&regions(RegionRule::InRegion), Phase::Prepare, &after), Some(150));
    assert_eq!(nearest(&regions(RegionRule::MajorityOfMajorities), Phase::Accept, &after), Some(80));
    assert_eq!(nearest(&System::Majority { members: 9 }, Phase::Accept, &after), Some(80));
    assert_eq!(nearest(&System::flexible(9, 7, 3), Phase::Accept, &after), Some(1));
}

/// Members named by a row, in the order in which they first appear in either half.
fn voters(first: &str, second: &str) -> (Vec<u64>, BTreeSet<u64>, BTreeSet<u64>) {
    let of = |text: &str| text.split(',').filter_map(|n| n.parse::<u64>().ok()).collect::<Vec<_>>();
    let (a, b) = (of(first), of(second));
    let mut order = Vec::new();
    for id in a.iter().chain(&b) {
        if !order.contains(id) {
            order.push(*id);
        }
    }
    (order, a.into_iter().collect(), b.into_iter().collect())
}

#[test]
fn etcds_tables_hold() {
    let mut rows = 0;
    for row in include_str!("../../tests/golden/etcd_quorum.txt").lines().filter(|l| !l.starts_with('#')) {
        let [kind, first, second, said, result] =
            row.split(' ').collect::<Vec<_>>().try_into().expect("five words");
        let (order, first, second) = voters(first, second);
        let said: Vec<&str> = said.split(',').collect();
        // A joint configuration is two majorities; an empty one wants nothing.
        let halves: Vec<&BTreeSet<u64>> = [&first, &second].into_iter().filter(|h| !h.is_empty()).collect();
        let of_half = |half: &BTreeSet<u64>| -> Vec<&str> {
            half.iter()
                .map(|id| {
                    order.iter().position(|o| o == id).and_then(|i| said.get(i)).copied().unwrap_or("_")
                })
                .collect()
        };
        let ours: String = if kind == "vote" {
            let outcomes: Vec<Outcome> = halves
                .iter()
                .map(|half| {
                    let (mut yes, mut no) = (NodeSet::EMPTY, NodeSet::EMPTY);
                    for (place, word) in of_half(half).into_iter().enumerate() {
                        let _new = match word {
                            "y" => yes.insert(place),
                            "n" => no.insert(place),
                            _ => false,
                        };
                    }
                    System::Majority { members: half.len() as u8 }.outcome(Phase::Prepare, yes, no)
                })
                .collect();
            let is = |o: Outcome| outcomes.contains(&o);
            if is(Outcome::Lost) {
                "VoteLost"
            } else if is(Outcome::Pending) {
                "VotePending"
            } else {
                "VoteWon"
            }
            .into()
        } else {
            let reached = halves.iter().map(|half| {
                let marks: Vec<u64> = of_half(half).into_iter().map(|w| w.parse().unwrap_or(0)).collect();
                System::Majority { members: half.len() as u8 }.reached(Phase::Accept, &marks)
            });
            reached.min().map_or_else(|| "all".into(), |least| least.to_string())
        };
        assert_eq!(ours, result, "{row}");
        rows += 1;
    }
    assert_eq!(rows, 127, "the whole of the tables");
}
