//! The six invariants of the contract, examined from inside ([`dwcp_env::suite`]) under every
//! fault that the contract allows.
use crate::machines::{ms, on_links, on_node};
use dwcp_env::suite::{Examinee, Report};
use dwcp_env::{Duration, NodeId, Seed};
use dwcp_runtime_sim::atlas::Tolerates;
use dwcp_runtime_sim::swarm::{Family, Spec, expand};
use dwcp_runtime_sim::{Effect, FaultKind, Fired, Latency, Plan, SimWorld, plan};
use std::collections::BTreeMap;

fn world(plan: Plan) -> SimWorld<Examinee> {
    let ids = plan.node_ids();
    SimWorld::new(plan, move |id, world, _| Examinee::boot(id, &ids, &world).map_err(|e| e.to_string()))
        .unwrap()
}

fn reports(w: &SimWorld<Examinee>) -> Vec<Report> {
    w.view().machines().map(|(_, m)| m.report()).collect()
}

#[test]
fn everything_is_exercised_without_faults() {
    let mut w = world(crate::machines::plan(1, 3, 500));
    w.run_until(ms(500)).unwrap();
    for r in reports(&w) {
        assert!(r.wakes > 200 && r.written > 200 && r.refused > 20 && r.jobs > 10, "{r:?}");
        assert!(r.letters > 400 && r.vouched > 200 && r.latest == Duration::ZERO, "{r:?}");
    }
}

#[test]
fn the_contract_holds_under_every_fault_it_allows() {
    use Family as F;
    let allowed = [
        F::Partitions,
        F::Congestion,
        F::Messages,
        F::Clocks,
        F::Crashes,
        F::Pauses,
        F::SlowDisks,
        F::Upgrades,
    ];
    let (mut fired, mut recovered, mut lives) = (Fired::default(), 0, 0);
    for seed in 0..16 {
        let spec = Spec {
            nodes: crate::machines::nodes(3),
            latency: Latency::Uniform { min: Duration::millis(1), max: Duration::millis(20) },
            net: plan::NetSettings::default(),
            disk: plan::DiskSettings::default(),
            process: plan::ProcessSettings {
                drift_ppm: 50,
                turn: Duration::micros(if seed % 3 == 0 { 20 } else { 0 }),
                ..Default::default()
            },
            clients: 0,
            knobs: BTreeMap::new(),
            buggify: true,
            families: allowed.to_vec(),
            always: vec![F::Crashes],
            every: Duration::millis(300),
            longest: Duration::millis(200),
            quiet_until: ms(10),
            heal_at: ms(1_500),
            horizon: ms(2_000),
            draw_core: false,
            tolerates: Tolerates::default(),
            groups: vec![],
            versions: vec![1, 2, 3],
            faults: vec![],
        };
        let mut w = world(expand(&spec, Seed(seed)));
        w.run_until(ms(2_000)).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
        for r in reports(&w) {
            recovered += r.recovered;
            lives += r.incarnation;
        }
        fired.merge(&w.fired());
    }
    assert!(recovered > 1_000 && lives > 60, "{recovered} {lives}");
    for family in allowed {
        let any = family.kinds().iter().map(|k| fired.of(*k)).sum::<u64>();
        assert!(any > 0, "{family:?} never fired");
    }
}

/// The suite would notice: a disk that lies is not within the contract.
#[test]
fn a_lying_disk_is_found_out() {
    let found = (0..20).find_map(|seed| {
        let mut p = crate::machines::plan(seed, 3, 1_000);
        let lie = Effect::PhantomWrite { rate: dwcp_env::Ratio::NEVER, lying_sync: dwcp_env::Ratio::ALWAYS };
        p.faults.push(on_node(1, 100, 400, lie));
        p.faults.push(on_node(1, 390, 420, Effect::Crash { mid_write: false }));
        // So that a peer still remembers what the node forgets.
        world(p).run_until(ms(1_000)).err()
    });
    assert_eq!(found.map(|v| v.name).as_deref(), Some("contract.6"));
}

/// And a liar is: what arrives is not what was sent.
#[test]
fn a_liar_is_found_out() {
    let mut p = crate::machines::plan(1, 3, 1_000);
    let never = dwcp_env::Ratio::NEVER;
    let lie = Effect::Byzantine {
        mutate: dwcp_env::Ratio::ALWAYS,
        duplicate: never,
        replay: never,
        withhold: never,
    };
    p.faults.push(on_node(2, 100, 400, lie));
    let v = world(p).run_until(ms(1_000)).unwrap_err();
    assert_eq!(v.name, "contract.4");
    assert_ne!(v.node, Some(NodeId(2)));
}

#[test]
fn altered_frames_never_reach_a_node() {
    let mut p = crate::machines::plan(1, 2, 1_000);
    let corrupt = Effect::CorruptPacket { rate: dwcp_env::Ratio { num: 1, den: 2 }, bits: 3 };
    p.faults.push(on_links(&[], &[], 0, 1_000, corrupt));
    let mut w = world(p);
    w.run_until(ms(1_000)).unwrap();
    assert!(w.fired().of(FaultKind::CorruptPacket) > 100);
    assert!(reports(&w).iter().all(|r| r.letters > 100));
}
