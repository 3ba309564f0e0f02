//! Links that meet latency, partitions and crashes on simulated sockets, in simulated time.

use dwcp_env::Lane;
use dwcp_runtime_real::link::dial::LAST_PAUSE;
use dwcp_runtime_real::link::session::SILENCE;
use dwcp_turmoil::{Heard, SAYS_EVERY, Town, name};
use std::time::Duration;
use turmoil::{Builder, Sim};

/// Simulated seconds after which a test has failed.
const END: Duration = Duration::from_secs(30);
/// A connection, a handshake and a greeting at the latencies used here.
const SETUP: Duration = Duration::from_millis(1_000);

fn world(seed: u64) -> Sim<'static> {
    Builder::new()
        .simulation_duration(END)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(2))
        .max_message_latency(Duration::from_millis(40))
        .rng_seed(seed)
        .build()
}

fn town(size: u64, seed: u64) -> (Town, Sim<'static>) {
    let (town, mut sim) = (Town::new(size), world(seed));
    (1..=size).for_each(|n| town.settle(&mut sim, n, false));
    (town, sim)
}

/// Steps until it holds; how long that took.
fn until(
    sim: &mut Sim<'_>,
    town: &Town,
    what: &str,
    within: Duration,
    holds: impl Fn(&Town) -> bool,
) -> Duration {
    let start = sim.elapsed();
    while !holds(town) {
        let status: Vec<_> = (1..=3).map(|n| town.status(n)).collect();
        assert!(sim.elapsed() - start <= within, "not {what} within {within:?}: {status:#?}");
        sim.step().expect("no host fails");
    }
    sim.elapsed() - start
}

fn run_for(sim: &mut Sim<'_>, span: Duration) {
    let end = sim.elapsed() + span;
    while sim.elapsed() < end {
        sim.step().expect("no host fails");
    }
}

/// Of one life of a sender: nothing twice, nothing out of order.
fn assert_in_order(heard: &[Heard]) {
    for pair in heard.windows(2) {
        let order = (pair[0].life, pair[0].number) < (pair[1].life, pair[1].number);
        assert!(order, "{:?} came before {:?}", pair[0], pair[1]);
    }
}

fn pairs(size: u64) -> impl Iterator<Item = (u64, u64, Lane)> {
    (1..=size)
        .flat_map(move |a| (1..=size).map(move |b| (a, b)))
        .filter(|(a, b)| a != b)
        .flat_map(|(a, b)| Lane::ALL.map(|l| (a, b, l)))
}

#[test]
fn three_hosts_hear_each_other_on_every_lane() {
    let (town, mut sim) = town(3, 1);
    until(&mut sim, &town, "all links up", SETUP, Town::all_up);
    let up = sim.elapsed();
    run_for(&mut sim, Duration::from_secs(5));
    for (a, b, lane) in pairs(3) {
        let heard = town.ear(b).from(a, lane);
        assert_in_order(&heard);
        // Nothing is lost on a link that stands.
        let first = heard.first().expect("something is heard").number;
        let step = if lane == Lane::Bulk { 10 } else { 1 };
        let gap = heard.iter().zip(0..).find(|(h, i)| h.number != first + i * step);
        assert_eq!(gap, None, "n{a} to n{b} on {lane:?}");
        let said = (Duration::from_secs(5).as_millis() / SAYS_EVERY.as_millis()) as usize / step as usize;
        assert!(heard.len() + 4 >= said, "n{a} to n{b} on {lane:?} from {up:?}: {} of {said}", heard.len());
    }
}

#[test]
fn a_partition_that_swallows_segments_is_noticed_and_healed() {
    let (town, mut sim) = town(3, 2);
    until(&mut sim, &town, "all links up", SETUP, Town::all_up);
    sim.partition(name(1), name(2));
    sim.partition(name(1), name(3));
    let cut = sim.elapsed();
    // Long enough for the silence to be noticed, and for attempts to fail.
    let noticed = SILENCE + Duration::from_secs(1);
    until(&mut sim, &town, "noticed", noticed, |t| t.status(1).iter().all(|p| p.connected.is_empty()));
    run_for(&mut sim, Duration::from_secs(3));
    for peer in town.status(1) {
        assert!(!peer.last_error.is_empty(), "an operator is told why: {peer:?}");
    }
    assert!(town.status(2).iter().any(|p| p.connected.len() == 3), "the other two are not disturbed");
    sim.repair(name(1), name(2));
    sim.repair(name(1), name(3));
    let healed = sim.elapsed();
    let took = until(&mut sim, &town, "healed", LAST_PAUSE + SETUP, Town::all_up);
    run_for(&mut sim, Duration::from_secs(2));
    println!("partition from {cut:?} to {healed:?}, links back after {took:?}");
    for (a, b, lane) in pairs(3) {
        let heard = town.ear(b).from(a, lane);
        assert_in_order(&heard);
        let last = heard.last().expect("something is heard").at;
        assert!(last + Duration::from_secs(1) > sim.elapsed(), "n{a} to n{b} on {lane:?} fell silent");
        let during = heard.iter().filter(|h| h.at > cut + Duration::from_millis(50) && h.at < healed).count();
        let across = a == 1 || b == 1;
        assert_eq!(during == 0, across, "n{a} to n{b} on {lane:?}: {during} heard during the partition");
    }
}

#[test]
fn a_cut_in_one_direction_does_not_stop_the_other_for_ever() {
    let (town, mut sim) = town(2, 3);
    until(&mut sim, &town, "all links up", SETUP, Town::all_up);
    sim.partition_oneway(name(1), name(2));
    run_for(&mut sim, Duration::from_secs(4));
    let before = sim.elapsed();
    sim.repair_oneway(name(1), name(2));
    // What was swallowed left streams mute: they are given up, and made again.
    run_for(&mut sim, SILENCE + LAST_PAUSE + SETUP);
    assert!(town.all_up(), "{:?} {:?}", town.status(1), town.status(2));
    for (a, b, lane) in pairs(2) {
        let heard = town.ear(b).from(a, lane);
        assert_in_order(&heard);
        assert!(heard.last().is_some_and(|h| h.at > before), "n{a} to n{b} on {lane:?} fell silent");
    }
}

#[test]
fn a_host_that_crashes_is_dialled_again() {
    let (town, mut sim) = town(3, 4);
    until(&mut sim, &town, "all links up", SETUP, Town::all_up);
    run_for(&mut sim, Duration::from_secs(1));
    sim.crash(name(2));
    run_for(&mut sim, Duration::from_secs(4));
    for n in [1, 3] {
        let dead = town.status(n).into_iter().find(|p| p.peer.node.0 == 2).expect("a peer");
        assert!(dead.connected.is_empty(), "n{n} still believes in n2: {dead:?}");
    }
    sim.bounce(name(2));
    let reborn = sim.elapsed();
    let second = |t: &Town, n| t.ear(n).from(2, Lane::Bulk).last().is_some_and(|h| h.life == 2);
    let back = |t: &Town| t.all_up() && second(t, 1) && second(t, 3);
    let took = until(&mut sim, &town, "back", LAST_PAUSE + SETUP, back);
    run_for(&mut sim, Duration::from_secs(2));
    println!("reborn at {reborn:?}, links back after {took:?}");
    for (a, b, lane) in pairs(3) {
        let heard = town.ear(b).from(a, lane);
        assert_in_order(&heard);
        assert!(heard.last().is_some_and(|h| h.at > reborn), "n{a} to n{b} on {lane:?} fell silent");
    }
}

#[test]
fn a_stranger_hears_nothing_and_is_not_heard() {
    let (town, mut sim) = (Town::new(3), world(5));
    town.settle(&mut sim, 1, false);
    town.settle(&mut sim, 2, false);
    town.settle(&mut sim, 3, true);
    run_for(&mut sim, Duration::from_secs(5));
    for (a, b, lane) in pairs(3) {
        let heard = town.ear(b).from(a, lane);
        let strange = a == 3 || b == 3;
        assert_eq!(heard.is_empty(), strange, "n{a} to n{b} on {lane:?}: {} heard", heard.len());
    }
    let why = &town.status(1).into_iter().find(|p| p.peer.node.0 == 3).expect("a peer").last_error;
    assert!(why.contains("authority"), "{why}");
}
