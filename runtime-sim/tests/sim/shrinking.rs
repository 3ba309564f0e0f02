//! A planted bug is found by swarm runs, and shrunk to its cause.
use crate::machines::{Ask, Flaw, Ledger, ms, nodes};
use dwcp_env::{Duration, Instant, NodeId, Seed};
use dwcp_runtime_sim::shrink::{Budget, Found, shrink};
use dwcp_runtime_sim::swarm::{Family, Spec, expand};
use dwcp_runtime_sim::{Advance, Latency, Plan, SimWorld, plan};
use std::collections::BTreeMap;

fn spec() -> Spec {
    Spec {
        nodes: nodes(3),
        latency: Latency::Uniform { min: Duration::millis(1), max: Duration::millis(2) },
        net: plan::NetSettings::default(),
        disk: plan::DiskSettings::default(),
        process: plan::ProcessSettings::default(),
        clients: 3,
        knobs: BTreeMap::new(),
        buggify: false,
        families: vec![],
        always: vec![Family::Crashes, Family::Pauses, Family::Clocks, Family::SlowDisks, Family::Partitions],
        every: Duration::millis(250),
        longest: Duration::millis(100),
        quiet_until: ms(20),
        heal_at: ms(10_000),
        horizon: ms(12_000),
        draw_core: false,
        tolerates: dwcp_runtime_sim::atlas::Tolerates::default(),
        groups: vec![],
        versions: vec![],
        faults: vec![],
    }
}

/// Each client appends to its own node. The ledgers answer before they are durable.
fn run(plan: &Plan) -> Option<Found> {
    let (clients, end, ids) = (u64::from(plan.clients), plan.horizon, plan.node_ids());
    let mut w = SimWorld::new(plan.clone(), Ledger::boot(Flaw::AnswersEarly)).unwrap();
    for c in 0..clients {
        w.timer(ms(10), c);
    }
    let (mut value, mut of) = (0, BTreeMap::new());
    let mut acked: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut lives = BTreeMap::new();
    loop {
        match w.advance(end) {
            Advance::Timer(c) => {
                value += 1;
                let node = ids[c as usize % ids.len()];
                of.insert(
                    w.request(node, Ask::Append(value), w.now() + Duration::millis(50)),
                    (c, node, value),
                );
            }
            Advance::Client(e) => {
                let (c, node, value) = of.remove(&e.id).unwrap();
                if matches!(e.heard, dwcp_runtime_sim::Heard::Reply { .. }) {
                    acked.insert(node, value);
                }
                w.timer(w.now() + Duration::millis(3), c);
            }
            Advance::Reached => {}
            Advance::Limit => return None,
            Advance::Violated => return w.violation().map(Found::from),
        }
        for &node in &ids {
            let life = w.view().incarnation(node);
            if lives.insert(node, life) != Some(life)
                && let Some(a) = acked.get(&node)
                && let Some(m) = w.view().machine(node)
                && !m.values.contains(a)
            {
                w.fail("acknowledged is kept", format!("{node} lost {a}"));
            }
        }
    }
}

#[test]
fn a_planted_bug_shrinks_to_at_most_twelve_faults() {
    let mut left = Vec::new();
    for seed in 0..40 {
        let plan = expand(&spec(), Seed(seed));
        if plan.faults.len() < 80 {
            continue;
        }
        let Some(found) = run(&plan) else { continue };
        let s = shrink(&plan, Budget { runs: 400, wall: std::time::Duration::from_secs(60) }, run, |_| {})
            .unwrap();
        assert_eq!(s.found.name, found.name);
        assert!(s.plan.faults.len() <= 12, "{} of {} faults left", s.plan.faults.len(), plan.faults.len());
        assert_eq!(run(&s.plan).map(|f| f.name), Some(found.name), "the shrunk plan fails again");
        assert!(s.plan.horizon < plan.horizon || found.at > Instant::ZERO + Duration::secs(11));
        left.push((plan.faults.len(), s.plan.faults.len(), s.plan.nodes.len(), s.runs));
        if left.len() == 4 {
            break;
        }
    }
    println!("(faults before, after, nodes, runs): {left:?}");
    assert!(left.len() >= 2, "{left:?}");
}
