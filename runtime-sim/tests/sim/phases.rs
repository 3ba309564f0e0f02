//! Safety, then liveness: at `heal_at` the core is healed, the rest stays as it is, and
//! nothing new breaks.
use crate::machines::{Chatter, ms, on_links, on_node, plan};
use dwcp_env::{Instant, NodeId, Seed};
use dwcp_runtime_sim::{Effect, Latency, NodePlan, SimWorld};

#[test]
fn the_core_is_healed_and_the_rest_stays_broken() {
    let mut p = plan(1, 4, 400);
    p.heal_at = ms(200);
    p.core = vec![NodeId(1), NodeId(2)];
    p.faults = vec![
        on_node(1, 100, 390, Effect::Crash { mid_write: false }),
        on_node(2, 100, 390, Effect::Pause {}),
        on_node(3, 100, 250, Effect::Crash { mid_write: false }),
        on_links(&[], &[4], 150, 300, Effect::Partition {}),
        on_links(&[1], &[2], 150, 300, Effect::Partition {}),
        on_node(1, 210, 220, Effect::Crash { mid_write: false }),
    ];
    let mut w = SimWorld::new(p, Chatter::boot(4, 64)).unwrap();
    w.run_until(ms(399)).unwrap();
    let v = w.view();
    assert!(v.runs(NodeId(1)) && v.runs(NodeId(2)) && !v.runs(NodeId(3)) && v.runs(NodeId(4)));
    assert_eq!(v.incarnation(NodeId(1)), 2, "no crash after the peace");
    let late = |at: u64, from: u64| {
        let heard = &v.machine(NodeId(at)).unwrap().heard;
        heard.iter().filter(|h| h.0 == NodeId(from) && h.2 > ms(210)).count()
    };
    assert!(late(1, 2) > 150 && late(2, 1) > 150, "the core hears itself");
    assert_eq!((late(4, 1), late(1, 4), late(4, 2)), (0, 0, 0), "the rest stays cut");
}

#[test]
fn a_spare_boots_when_its_time_comes_even_after_a_crash() {
    let mut p = plan(1, 2, 400);
    p.nodes[1].boot_at = ms(100);
    p.faults = vec![on_node(2, 10, 50, Effect::Crash { mid_write: false })];
    let mut w = SimWorld::new(p, Chatter::boot(2, 64)).unwrap();
    w.run_until(ms(99)).unwrap();
    assert!(!w.view().runs(NodeId(2)));
    w.run_until(ms(120)).unwrap();
    assert_eq!(w.view().incarnation(NodeId(2)), 1);
}

#[test]
fn measured_latencies_are_those_of_the_matrix() {
    let nodes =
        vec![NodePlan::new(1, "eu-west-1"), NodePlan::new(2, "us-east-1"), NodePlan::new(3, "eu-west-1")];
    let p = dwcp_runtime_sim::Plan::calm(Seed(5), nodes, Latency::Measured("aws-2020".into()), ms(2_000));
    let mut w = SimWorld::new(p, Chatter::boot(3, 64)).unwrap();
    w.run_until(ms(2_000)).unwrap();
    let took = |from: u64| -> Vec<u64> {
        let heard = &w.view().machine(NodeId(1)).unwrap().heard;
        heard.iter().filter(|h| h.0 == NodeId(from)).map(|h| h.2.since(ms(h.1)).as_micros()).collect()
    };
    let (far, near) = (took(2), took(3));
    let path = dwcp_runtime_sim::net::Matrix::named("aws-2020").unwrap();
    let path = path.path(path.region("us-east-1").unwrap(), path.region("eu-west-1").unwrap());
    assert!(far.iter().all(|t| (path.min.as_micros()..=path.max.as_micros()).contains(t)));
    let mean = far.iter().sum::<u64>() / far.len() as u64;
    assert!(mean.abs_diff(path.mean.as_micros()) < 500, "{mean} us, published {}", path.mean);
    // In order, so that one may wait for an earlier one; the bounds hold all the same.
    assert!(near.iter().all(|t| (300..=700).contains(t)) && near.len() > 1_900);
    assert!(Instant::ZERO < w.now());
}
