//! The selection: tables of cases told in words, laws over anything, weather.

mod weather;

use dwcp_consensus::epaxos;
use dwcp_consensus::quorum::{Needs, System, admit};
use dwcp_consensus::select::{
    Brake, Candidate, Choice, Class, Current, Decision, EngineKind, Keyspace, Link, Measurements, Member,
    Mode, Part, Placement, Policy, Refused, Region, Rule, Share, Trust, Why, choose, decide,
};
use dwcp_env::{Duration, Instant, NodeId, RegionId};
use proptest::prelude::*;
use weather::{aws, calm};

const FIVE: [&str; 5] = ["eu-west-1", "us-west-1", "ap-southeast-1", "ca-central-1", "sa-east-1"];
const THREE: [&str; 3] = ["eu-west-1", "us-west-1", "ca-central-1"];

fn five() -> Measurements {
    calm(&aws(&FIVE))
}

fn conflicting(mut m: Measurements, share: Share) -> Measurements {
    m.keyspaces[0].conflict = share;
    m
}

fn led(engine: EngineKind, members: u8, leader: u64) -> Placement {
    let quorums = Some(System::Majority { members });
    Placement { engine, quorums, leader: Some(NodeId(leader)), parts: vec![] }
}

fn pick(choice: &Choice) -> &Candidate {
    choice.picked().unwrap_or_else(|| panic!("nothing picked: {}", choice.explain()))
}

fn engine_of(m: &Measurements) -> (EngineKind, Rule) {
    let choice = choose(m, &Policy::default(), None);
    (pick(&choice).placement.engine, choice.rule)
}

/// Milliseconds a rule's forecast says, of an engine's best candidate.
fn forecast(m: &Measurements, policy: &Policy, engine: EngineKind) -> (u64, u64) {
    let choice = choose(m, policy, None);
    let of = choice.candidates.iter().filter(|c| c.placement.engine == engine);
    let best = of.min_by_key(|c| c.forecast.cost).expect("a candidate");
    (best.forecast.mean.as_millis(), best.forecast.p99.as_millis())
}

#[test]
fn forecasts_agree_with_fantoch() {
    // shared/research/consensus.md §3.6: 145.2 ms and 70.7 ms for EPaxos without conflicts.
    assert_eq!(forecast(&five(), &Policy::default(), EngineKind::EPaxos), (145, 186));
    let one = Policy { bear_members: Some(1), tail_weight: Share::NONE, ..Policy::default() };
    let (mean, p99) = forecast(&five(), &one, EngineKind::MultiPaxos);
    // fantoch's leader decides with f + 1 = 2: 170 and 292 ms.
    assert!((165..=176).contains(&mean) && (285..=300).contains(&p99), "{mean} {p99}");
}

#[test]
fn the_rules_in_their_order() {
    use EngineKind::{EPaxos, Eventual, MultiPaxos, Pbft, Raft};
    assert_eq!(engine_of(&five()), (EPaxos, Rule::Leaderless));
    assert_eq!(engine_of(&conflicting(five(), Share::percent(2))), (EPaxos, Rule::Leaderless));
    assert_eq!(engine_of(&conflicting(five(), Share::percent(10))), (MultiPaxos, Rule::Leader));
    assert_eq!(engine_of(&conflicting(five(), Share::percent(100))), (MultiPaxos, Rule::Leader));

    let mut alone = five();
    alone.keyspaces[0].writes = vec![0, 0, 0, 0, 100];
    assert_eq!(engine_of(&alone), (MultiPaxos, Rule::Leader));
    assert_eq!(pick(&choose(&alone, &Policy::default(), None)).region, Some(RegionId(5)));

    // Most of the writers in one region speak against EPaxos only where the policy says so.
    let mut most = five();
    most.keyspaces[0].writes = vec![5, 5, 80, 5, 5];
    assert_eq!(engine_of(&most), (EPaxos, Rule::Leaderless));
    let narrow = Policy {
        epaxos_writers_enter: Share::percent(60),
        epaxos_writers_leave: Share::percent(70),
        ..Policy::default()
    };
    let choice = choose(&most, &narrow, None);
    let share = Share::percent(80);
    let why = Some(Refused::Concentrated { region: RegionId(3), share, max: Share::percent(60) });
    assert!(choice.rule == Rule::Leader && choice.candidates.iter().any(|c| c.refused == why));

    let near = calm(&vec![vec![Duration::millis(2); 3]; 3]);
    assert_eq!(engine_of(&near), (MultiPaxos, Rule::Near));
    let choice = choose(&near, &Policy::default(), None);
    let why = |engine| choice.candidates.iter().find(|c| c.placement.engine == engine).unwrap().refused;
    assert!(
        why(Raft) == Some(Refused::Alike) && matches!(why(EPaxos), Some(Refused::Near { .. })),
        "{choice:?}"
    );
    let old = Policy { engines: vec![Raft, EPaxos], ..Policy::default() };
    let choice = choose(&near, &old, None);
    assert_eq!((pick(&choice).placement.engine, choice.rule), (Raft, Rule::Near));
    let never = Policy { near_rtt_max: Duration::ZERO, ..Policy::default() };
    assert_eq!(choose(&near, &never, None).rule, Rule::Leader, "near is nowhere");

    let mut mergeable = five();
    mergeable.keyspaces[0].class = Class::Mergeable;
    assert_eq!(engine_of(&mergeable).0, EPaxos);
    mergeable.keyspaces[0].budget = Some(Duration::millis(20));
    assert_eq!(engine_of(&mergeable), (Eventual, Rule::Mergeable));
    let mut cut = five();
    cut.keyspaces[0].class = Class::Mergeable;
    for other in 0..4 {
        cut.links[4][other].rtt = None;
    }
    assert_eq!(engine_of(&cut), (Eventual, Rule::Mergeable));
    cut.keyspaces[0].class = Class::Strong;
    assert_ne!(engine_of(&cut).0, Eventual, "a strong class is not weakened by a partition");

    let untrusted = Measurements { trust: Trust::Untrusted, ..mergeable };
    assert_eq!(engine_of(&untrusted), (Pbft, Rule::Untrusted));
    let three = Measurements { trust: Trust::Untrusted, ..calm(&aws(&THREE)) };
    let choice = choose(&three, &Policy::default(), None);
    assert_eq!((choice.pick, choice.rule), (None, Rule::Untrusted));
    assert!(choice.explain().contains("3 members; it needs 4"), "{}", choice.explain());
}

#[test]
fn hybrid_gives_each_keyspace_the_leader_of_its_owner() {
    let mut m = five();
    let space =
        |id, class, writes: [u64; 5]| Keyspace { id, class, writes: writes.to_vec(), ..Keyspace::default() };
    m.keyspaces = vec![
        space(1, Class::Strong, [90, 2, 2, 2, 2]),
        space(2, Class::Strong, [2, 2, 90, 2, 2]),
        space(3, Class::Mergeable, [9, 9, 9, 9, 9]),
    ];
    let choice = choose(&m, &Policy::default(), None);
    assert_eq!(choice.rule, Rule::Locality);
    let parts = &pick(&choice).placement.parts;
    let told: Vec<_> = parts.iter().map(|p: &Part| (p.keyspace, p.engine, p.leader)).collect();
    use EngineKind::{Eventual, MultiPaxos};
    assert_eq!(
        told,
        [(1, MultiPaxos, Some(NodeId(1))), (2, MultiPaxos, Some(NodeId(3))), (3, Eventual, None)]
    );
    // What runs is known again, with another leader too.
    let mut running = pick(&choice).placement.clone();
    running.parts[0].leader = Some(NodeId(4));
    assert!(choose(&m, &Policy::default(), Some(&running)).of(&running).is_some());
}

#[test]
fn a_transfer_comes_before_a_seal_and_a_good_place_is_left_alone() {
    let policy = Policy::default();
    let late = Instant::ZERO + Duration::secs(100);
    let busy = conflicting(five(), Share::percent(30));
    let worst = Current::new(led(EngineKind::MultiPaxos, 5, 3), Instant::ZERO);
    let verdict = decide(late, &busy, &policy, &worst);
    assert_eq!(verdict.decision, Decision::Transfer(NodeId(4)), "{}", verdict.explain(&worst.placement));
    // Without conflicts EPaxos would be better still; the transfer comes first.
    assert_eq!(decide(late, &five(), &policy, &worst).decision, Decision::Transfer(NodeId(4)));
    let best = Current::new(led(EngineKind::MultiPaxos, 5, 4), Instant::ZERO);
    assert_eq!(decide(late, &busy, &policy, &best).why, Why::Same);
    let seal = decide(late, &five(), &policy, &best);
    assert!(
        matches!(&seal.decision, Decision::Seal(to) if to.engine == EngineKind::EPaxos),
        "{}",
        seal.explain(&best.placement)
    );
    // Raft under the same leader is as fast: nothing would be saved.
    let raft = Current::new(led(EngineKind::Raft, 5, 4), Instant::ZERO);
    assert_eq!(decide(late, &busy, &policy, &raft).why, Why::TooLittle(Share::NONE));
    // A leader that is down hands nothing over.
    let mut down = busy;
    down.regions[2].members[0].up = false;
    assert_eq!(decide(late, &down, &policy, &worst).decision, Decision::Stay);
}

/// What interferes interferes while nobody writes, too; and nothing is saved for nobody.
#[test]
fn an_idle_group_stays_what_it_is() {
    let (policy, late) = (Policy::default(), Instant::ZERO + Duration::secs(100));
    let mut idle = conflicting(five(), Share::percent(100));
    idle.keyspaces[0].writes.fill(0);
    assert_eq!(choose(&idle, &policy, None).facts.conflict, Share::percent(100));
    for leader in 1..=5 {
        let here = Current::new(led(EngineKind::MultiPaxos, 5, leader), Instant::ZERO);
        let verdict = decide(late, &idle, &policy, &here);
        assert_eq!(verdict.wanted, Decision::Stay, "{leader}: {}", verdict.explain(&here.placement));
    }
    let worst = Current::new(led(EngineKind::MultiPaxos, 5, 3), Instant::ZERO);
    assert_eq!(decide(late, &idle, &policy, &worst).why, Why::Idle);
    idle.trust = Trust::Untrusted;
    assert!(
        matches!(decide(late, &idle, &policy, &worst).decision, Decision::Seal(_)),
        "trust does not wait"
    );
}

#[test]
fn brakes_hold_and_distrust_does_not_wait() {
    let policy = Policy::default();
    let soon = Instant::ZERO + Duration::secs(3);
    let mut current = Current::new(led(EngineKind::MultiPaxos, 5, 3), Instant::ZERO);
    let verdict = decide(soon, &five(), &policy, &current);
    assert_eq!(verdict.decision, Decision::Stay);
    assert_eq!(verdict.brake, Some(Brake::Dwell { left: Duration::secs(7), returns: 0 }));
    let untrusted = Measurements { trust: Trust::Untrusted, ..five() };
    assert!(
        matches!(decide(soon, &untrusted, &policy, &current).decision, Decision::Seal(to) if to.engine == EngineKind::Pbft)
    );
    current.seal_in_flight = true;
    assert_eq!(decide(soon, &untrusted, &policy, &current).brake, Some(Brake::SealInFlight));
    current.seal_in_flight = false;
    let dry = Policy { mode: Mode::DryRun, ..Policy::default() };
    let told = decide(soon + Duration::secs(60), &five(), &dry, &current);
    assert_eq!(
        (told.decision, told.wanted, told.brake),
        (Decision::Stay, Decision::Transfer(NodeId(4)), Some(Brake::DryRun))
    );
    // PBFT, once entered, stays: trust again or not, in dwell or long after.
    let byzantine = Placement {
        engine: EngineKind::Pbft,
        quorums: Some(System::Byzantine { members: 5 }),
        leader: Some(NodeId(1)),
        parts: vec![],
    };
    let current = Current::new(byzantine, Instant::ZERO);
    let verdict = decide(soon + Duration::secs(9_999), &five(), &policy, &current);
    assert_eq!((verdict.decision, verdict.choice.rule), (Decision::Stay, Rule::StaysByzantine));
}

#[test]
fn each_return_doubles_the_dwell_up_to_its_bound_and_is_forgotten_in_time() {
    let policy = Policy::default();
    let (a, b) = (led(EngineKind::MultiPaxos, 5, 1), led(EngineKind::MultiPaxos, 5, 2));
    let mut current = Current::new(a.clone(), Instant::ZERO);
    let mut now = Instant::ZERO;
    let mut dwells = vec![];
    for turn in 0..9 {
        dwells.push(current.dwell(now, &policy).as_secs());
        now += Duration::secs(15);
        current.moved(now, if turn % 2 == 0 { b.clone() } else { a.clone() });
    }
    assert_eq!(dwells, [10, 10, 20, 40, 80, 160, 320, 600, 600]);
    now += Duration::secs(7_200);
    assert_eq!(current.dwell(now, &policy), policy.dwell);
    (0..100).for_each(|turn| current.moved(now, led(EngineKind::Raft, 5, turn % 5)));
    assert!(current.past.len() <= dwcp_consensus::select::PAST_MAX);
}

#[test]
fn naming_one_engine_forces_it() {
    let late = Instant::ZERO + Duration::secs(100);
    let current = Current::new(led(EngineKind::MultiPaxos, 5, 4), Instant::ZERO);
    for engine in [EngineKind::EPaxos, EngineKind::Raft, EngineKind::Pbft] {
        let policy = Policy { engines: vec![engine], ..Policy::default() };
        let verdict = decide(late, &conflicting(five(), Share::percent(50)), &policy, &current);
        assert!(
            matches!(&verdict.decision, Decision::Seal(to) if to.engine == engine),
            "{}",
            verdict.explain(&current.placement)
        );
    }
    let policy = Policy { engines: vec![EngineKind::Eventual], ..Policy::default() };
    let verdict = decide(late, &five(), &policy, &current);
    assert_eq!(verdict.why, Why::Nothing, "a policy does not weaken a strong class either");
}

#[test]
fn smaller_quorums_only_as_far_as_the_policy_bears_less() {
    let busy = conflicting(five(), Share::percent(30));
    let policy = Policy { bear_members: Some(1), ..Policy::default() };
    let choice = choose(&busy, &policy, None);
    assert_eq!(pick(&choice).placement.quorums, Some(System::flexible(5, 4, 2)));
    assert_eq!(
        pick(&choose(&busy, &Policy::default(), None)).placement.quorums,
        Some(System::Majority { members: 5 })
    );
    // Three members a region, and a region may be lost: then its own majority is enough.
    let mut wide = calm(&aws(&THREE));
    wide.keyspaces[0].writes = vec![100, 0, 0];
    for (r, region) in wide.regions.iter_mut().enumerate() {
        region.members = (0..3).map(|i| Member { node: NodeId(r as u64 * 3 + i), up: true }).collect();
    }
    let risky = Policy { bear_region: false, ..Policy::default() };
    let (safe, fast) = (choose(&wide, &Policy::default(), None), choose(&wide, &risky, None));
    assert!(matches!(pick(&fast).placement.quorums, Some(System::Regional { .. })), "{}", fast.explain());
    assert!(pick(&fast).forecast.mean < pick(&safe).forecast.mean / 4);
}

#[test]
fn every_refusal_has_its_words_and_the_text_reads() {
    let choice = choose(&five(), &Policy::default(), None);
    let text = choice.explain();
    for part in [
        "Pick: EPaxos with majorities of 5, because it costs less than any leader, and 0% of the writes conflict (allowed 2%)",
        "Predicted commit: 145.",
        "PBFT led by",
        "nobody is distrusted",
        "declared strong",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let all_but_pick =
        choice.candidates.iter().enumerate().all(|(at, c)| c.refused.is_none() == (Some(at) == choice.pick));
    assert!(all_but_pick, "who is not picked is told why");
    assert!(choice.candidates.iter().any(|c| matches!(c.refused, Some(Refused::Slower { .. }))));
    assert_eq!(choice.table().lines().count(), 1 + 5 * 5);
}

#[test]
fn a_policy_refuses_what_it_does_not_know() {
    let read = |text: &str| toml::from_str::<Policy>(text);
    assert_eq!(read("").unwrap(), Policy::default());
    assert_eq!(read("dwell = \"30s\"").unwrap().dwell, Duration::secs(30));
    let older = read("raft-rtt-max = \"7ms\"\nraft-regions-max = 2").unwrap();
    assert_eq!(
        (older.near_rtt_max, older.near_regions_max),
        (Duration::millis(7), 2),
        "names of older files"
    );
    assert!(read("dwel = \"30s\"").unwrap_err().to_string().contains("dwel"));
    assert!(read("dwell = 30").is_err());
    assert!(read("gain-min = \"0%\"").unwrap().check().is_err());
    assert!(read("engines = []").unwrap().check().is_err());
    assert!(
        read("epaxos-conflict-enter = \"9%\"").unwrap().check().unwrap_err().to_string().contains("band")
    );
    // The example has every key, with its default.
    let example = include_str!("../../../docs/protocols/consensus-policy.toml");
    assert_eq!(read(example).unwrap(), Policy::default());
    let keys = |text: &str| text.parse::<toml::Table>().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(example), keys(&toml::to_string(&Policy::default()).unwrap()));
    assert_eq!(read(&example.replace("# bear-members", "bear-members")).unwrap().bear_members, Some(1));
    let whole = toml::to_string(&Policy::default()).unwrap();
    assert_eq!(read(&whole).unwrap(), Policy::default());
    Policy::default().check().unwrap();
}

/// In two halves, which run side by side; a quarter under a policy that names Raft in the place of Multi-Paxos.
fn nothing_flaps(seeds: core::ops::Range<u64>) {
    let mut older = Policy::default();
    older.engines.retain(|e| *e != EngineKind::MultiPaxos);
    let policies = [Policy::default(), Policy::default(), Policy::default(), older];
    let mut tally = weather::Tally::default();
    for (seed, policy) in seeds.zip(policies.iter().cycle()) {
        tally.add(&weather::follow(seed, policy).unwrap_or_else(|law| panic!("{law}")));
    }
    assert_eq!(tally.flaps, 0, "{tally:?}");
    assert!(tally.changes > 100 && tally.transfers > 20 && tally.returns > 5, "nothing was tried: {tally:?}");
    assert!(tally.under.iter().all(|steps| *steps > 0), "an engine never ran: {tally:?}");
}

#[test]
fn weather_makes_nothing_flap() {
    nothing_flaps(0..500);
}

#[test]
fn other_weather_makes_nothing_flap() {
    nothing_flaps(500..1_000);
}

#[test]
fn without_hysteresis_the_weather_makes_it_flap() {
    let little = Share::millionths(1);
    let policy =
        Policy { gain_min: little, transfer_gain_min: little, dwell: Duration::secs(2), ..Policy::default() };
    let mut tally = weather::Tally::default();
    (0..60).for_each(|seed| tally.add(&weather::follow(seed, &policy).unwrap()));
    assert!(tally.flaps > 0, "the judge sees nothing: {tally:?}");
}

// ---- laws over anything -----------------------------------------------------------------------------------------

fn link() -> impl Strategy<Value = Link> {
    let span = prop_oneof![4 => 0..400_000_000_u64, 1 => Just(u64::MAX), 1 => any::<u64>()];
    (proptest::option::weighted(0.9, span.clone()), span, any::<u32>()).prop_map(|(rtt, p99, loss)| Link {
        rtt: rtt.map(Duration::nanos),
        rtt_p99: Duration::nanos(p99),
        loss: Share::millionths(u64::from(loss >> 8)),
    })
}

fn keyspace(regions: usize) -> impl Strategy<Value = Keyspace> {
    let count = prop_oneof![3 => 0..1_000_u64, 1 => any::<u64>()];
    let budget = proptest::option::of(any::<u32>().prop_map(|n| Duration::nanos(u64::from(n))));
    (0..4_u32, any::<bool>(), proptest::collection::vec(count, 0..regions + 2), 0..1_000_000_u64, budget)
        .prop_map(|(id, mergeable, writes, conflict, budget)| Keyspace {
            id,
            class: if mergeable { Class::Mergeable } else { Class::Strong },
            writes,
            conflict: Share::millionths(conflict),
            budget,
        })
}

/// Anything the type can hold, sensible or not.
fn nonsense() -> impl Strategy<Value = Measurements> {
    (0..8_usize).prop_flat_map(|n| {
        let region = (0..10_u16, proptest::collection::vec((0..30_u64, any::<bool>()), 0..5)).prop_map(
            |(id, members)| Region {
                id: RegionId(id),
                members: members.into_iter().map(|(node, up)| Member { node: NodeId(node), up }).collect(),
            },
        );
        (
            proptest::collection::vec(region, n),
            proptest::collection::vec(proptest::collection::vec(link(), 0..n + 2), 0..n + 2),
            proptest::collection::vec(keyspace(n), 0..4),
            proptest::bool::weighted(0.1),
            any::<u64>(),
        )
            .prop_map(|(regions, links, keyspaces, untrusted, sync)| Measurements {
                regions,
                links,
                keyspaces,
                trust: if untrusted { Trust::Untrusted } else { Trust::Trusted },
                sync: Duration::nanos(sync),
            })
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    (
        proptest::sample::subsequence(EngineKind::ALL.to_vec(), 1..=6),
        proptest::option::of(1..200_u8),
        any::<bool>(),
    )
        .prop_map(|(engines, bear_members, bear_region)| Policy {
            engines,
            bear_members,
            bear_region,
            ..Policy::default()
        })
}

/// Sensible: regions and members with names of their own, a full matrix.
fn sensible() -> impl Strategy<Value = Measurements> {
    (1..8_usize).prop_flat_map(|n| {
        let rtt = proptest::collection::vec(proptest::collection::vec(1..400_u64, n), n);
        let spaces = proptest::collection::vec(keyspace(n), 1..3);
        (rtt, spaces, proptest::collection::vec(1..4_u64, n)).prop_map(move |(rtt, keyspaces, members)| {
            let rtt: Vec<Vec<Duration>> =
                rtt.iter().map(|row| row.iter().map(|ms| Duration::millis(*ms)).collect()).collect();
            let mut m = calm(&rtt);
            for (r, count) in members.into_iter().enumerate() {
                m.regions[r].members = (0..count)
                    .map(|i| Member { node: NodeId(r as u64 * 10 + i), up: (r as u64 + i) % 7 != 6 })
                    .collect();
            }
            m.keyspaces = keyspaces;
            for (id, space) in m.keyspaces.iter_mut().enumerate() {
                space.id = id as u32;
                space.writes.resize(n, 1);
            }
            m
        })
    })
}

fn shuffled(m: &Measurements, turn: usize) -> Measurements {
    let n = m.regions.len();
    let order: Vec<usize> =
        (0..n).map(|i| (i * if n.is_multiple_of(3) { 1 } else { 3 } + turn) % n).rev().collect();
    let mut other = m.clone();
    other.regions = order.iter().map(|r| m.regions[*r].clone()).collect();
    other.regions.iter_mut().for_each(|r| r.members.reverse());
    other.links = order.iter().map(|a| order.iter().map(|b| m.links[*a][*b]).collect()).collect();
    for (space, old) in other.keyspaces.iter_mut().zip(&m.keyspaces) {
        space.writes = order.iter().map(|r| old.writes[*r]).collect();
    }
    other.keyspaces.reverse();
    other
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn anything_gets_an_answer(m in nonsense(), policy in policy(), at in 0..8_usize, now in any::<u64>()) {
        let choice = choose(&m, &policy, None);
        if let Some(pick) = choice.picked() {
            prop_assert!(pick.forecast.serves() && pick.refused.is_none());
            let strong = m.keyspaces.is_empty() || m.keyspaces.iter().any(|k| k.class == Class::Strong);
            prop_assert!(pick.placement.engine != EngineKind::Eventual || !strong);
            prop_assert!(m.trust == Trust::Trusted || pick.placement.engine == EngineKind::Pbft);
        }
        prop_assert!(!choice.explain().is_empty() && !choice.table().is_empty());
        if let Some(candidate) = choice.candidates.get(at) {
            let current = Current::new(candidate.placement.clone(), Instant::ZERO);
            let verdict = decide(Instant::from_nanos(now), &m, &policy, &current);
            if current.placement.engine == EngineKind::Pbft {
                prop_assert_eq!(&verdict.decision, &Decision::Stay);
            }
            let text = serde_json::to_string(&verdict).expect("told as JSON");
            prop_assert_eq!(&serde_json::from_str::<dwcp_consensus::select::Verdict>(&text).expect("read again"), &verdict);
            prop_assert!(verdict.explain(&current.placement).contains("Decision: "));
        }
    }

    #[test]
    fn the_order_of_a_list_means_nothing(m in sensible(), turn in 0..8_usize) {
        let policy = Policy { bear_members: Some(1), bear_region: turn % 2 == 0, ..Policy::default() };
        prop_assert_eq!(choose(&m, &policy, None), choose(&shuffled(&m, turn), &policy, None));
    }

    #[test]
    fn every_quorum_system_it_proposes_is_admitted(m in sensible(), bear in 1..4_u8, bear_region: bool) {
        let policy = Policy { bear_members: Some(bear), bear_region, ..Policy::default() };
        let choice = choose(&m, &policy, None);
        for candidate in &choice.candidates {
            let parts = candidate.placement.parts.iter().map(|p| (p.engine, &p.quorums));
            for (engine, quorums) in parts.chain([(candidate.placement.engine, &candidate.placement.quorums)]) {
                let needs = match engine {
                    EngineKind::EPaxos if choice.members.len() <= epaxos::GROUP_MAX => Needs::EPaxos,
                    EngineKind::Pbft => Needs::Byzantine,
                    _ => Needs::Paxos,
                };
                if let Some(system) = quorums {
                    admit(system, &choice.members, needs).map_err(|e| TestCaseError::fail(format!("{engine:?}: {e}")))?;
                }
            }
        }
    }
}
