//! Members: joining, dying, refuting, leaving, coming back — and what went wrong with it in public.
//! Each world is a few dozen nodes in three regions of the measured matrix at 5 % loss.
#![allow(missing_docs, reason = "a test")]

mod world;

use dwcp_env::{Duration, Instant, NodeId, Ratio, RegionId, Seed};
use dwcp_gossip::{Gossip, Incarnation, Input, Metadata, Output, RumourId, Settings, Status, Store};
use world::{Net, World, id, metadata};

const LOSS: Ratio = Ratio::ppm(50_000);

fn s(n: u64) -> Duration {
    Duration::secs(n)
}
fn net() -> Net {
    Net::measured(3, LOSS)
}
fn known(n: usize, seed: u64) -> World {
    World::new(n, net(), &Settings::default(), Seed(seed), true)
}
/// Deaths said by anybody about a node that was up when it was said.
fn deaths_of(w: &World, member: usize) -> usize {
    w.said.iter().filter(|x| x.change.member == id(member) && x.change.status == Status::Dead).count()
}
fn run_until(w: &mut World, most: u64, done: impl Fn(&World) -> bool) -> u64 {
    let start = w.now;
    while !done(w) && w.now < start + s(most).as_nanos() {
        w.run_for(Duration::millis(250));
    }
    assert!(done(w), "not within {most} s");
    (w.now - start) / 1_000_000
}

#[test]
fn strangers_find_each_other_through_one_seed() {
    let mut w = World::new(1, net(), &Settings::default(), Seed(1), false);
    for i in 1..40 {
        w.join(i % 3, &Settings::default(), &[0]);
    }
    run_until(&mut w, 30, World::views_whole);
}

#[test]
fn two_who_know_only_each_other_find_the_rest_by_their_seeds() {
    // Found by `eventual/steady --seed 1`: two nodes that began together asked nobody else any more.
    let mut w = World::new(1, net(), &Settings::default(), Seed(1), false);
    let one = w.join(1, &Settings::default(), &[0]);
    let two = w.join(2, &Settings::default(), &[]);
    let three = w.join(0, &Settings::default(), &[two]);
    let knows = |w: &World, a: usize, b: usize| w.nodes[a].gossip.live().contains(&id(b));
    run_until(&mut w, 30, |w| knows(w, one, 0) && knows(w, three, two) && knows(w, two, three));
    assert!(!w.views_whole());
    w.input(three, Input::Join { seeds: vec![id(0), id(one), id(two)] });
    run_until(&mut w, 30, World::views_whole);
}

#[test]
fn a_dead_member_is_dead_to_all_and_the_living_stay() {
    let mut w = known(40, 2);
    w.run_for(s(5));
    w.crash(7);
    run_until(&mut w, 30, World::views_whole);
    w.run_for(s(60));
    assert!(w.views_whole());
    let wrongly =
        w.said.iter().filter(|x| x.change.status == Status::Dead && x.change.member != id(7)).count();
    assert_eq!(wrongly, 0);
}

#[test]
fn one_that_answers_somebody_refutes_what_is_said_about_it() {
    // The mutant "no refutation" dies here: everybody is told that node 3 is suspected.
    let mut w = known(20, 3);
    w.run_for(s(3));
    let body = accusation(3, 0);
    for i in (0..20).filter(|i| *i != 3) {
        w.input(i, Input::Message { from: id((i + 1) % 20), body: body.clone() });
    }
    w.run_for(s(60));
    assert!(w.views_whole());
    assert_eq!(deaths_of(&w, 3), 0);
    assert!(w.nodes[3].gossip.incarnation() > Incarnation(0));
}

/// The bytes of a message that suspects member `i`, taken from a node that does.
fn accusation(i: usize, incarnation: u64) -> bytes::Bytes {
    // pass-on of incarnation 0 with one fact: (member, incarnation, suspect by n2).
    let fact = (id(i), Incarnation(incarnation), 1_u32, NodeId(2));
    dwcp_env::wire::encode(&(Incarnation(0), 4_u32, vec![fact])).into()
}

#[test]
fn one_who_leaves_is_gone_at_once_and_nobody_suspects_it() {
    let mut w = known(30, 4);
    w.run_for(s(3));
    w.input(5, Input::Leave);
    run_until(&mut w, 10, World::views_whole);
    w.run_for(s(30));
    assert!(w.gone.contains(&5) && w.views_whole());
    let about: Vec<_> = w.said.iter().filter(|x| x.change.member == id(5)).collect();
    assert!(about.iter().all(|x| x.change.status == Status::Left), "{about:?}");
}

#[test]
fn one_that_restarts_without_memory_comes_back_above_its_death() {
    let mut w = known(30, 5);
    w.run_for(s(3));
    w.crash(5);
    run_until(&mut w, 30, World::views_whole);
    w.restart(5, &Settings::default(), 1, &[0, 1]);
    run_until(&mut w, 20, World::views_whole);
    assert!(w.nodes[5].gossip.incarnation() > Incarnation(0));
}

#[test]
fn changed_metadata_reaches_all() {
    let mut w = known(30, 6);
    w.run_for(s(2));
    let moved = Metadata { address: "10.9.9.9:7400".into(), ..metadata(4, 1) };
    w.input(4, Input::Describe(moved.clone()));
    run_until(&mut w, 15, |w| {
        w.nodes.iter().all(|n| n.gossip.member(id(4)).and_then(|k| k.metadata()) == Some(&moved))
    });
}

#[test]
fn an_hour_of_partition_heals_within_a_minute_and_kills_nobody_on_the_way() {
    let mut w = known(45, 7);
    w.run_for(s(3));
    // Region 0 against the other two.
    w.cut = Some((0..45).map(|i| u8::from(i % 3 == 0)).collect());
    w.run_for(s(3_600));
    assert!(w.nodes.iter().all(|n| n.gossip.live().len() == if n.region == 0 { 15 } else { 30 }));
    w.cut = None;
    w.said.clear();
    run_until(&mut w, 60, World::views_whole);
    let deaths = w.said.iter().filter(|x| x.change.status == Status::Dead).count();
    assert_eq!(deaths, 0, "the heal itself declared deaths");
}

/// chitchat #155: nodes flag a death at different times; whoever forgets it first hears of the member again
/// from one that has not noticed yet.
#[test]
fn chitchat_155_a_dead_member_does_not_come_back_from_a_node_that_slept() {
    let mut w = known(30, 8);
    w.run_for(s(3));
    // Node 9 sleeps through everything for a day, and still holds 7 alive when it wakes.
    w.nodes[9].up = false;
    w.crash(7);
    w.run_for(s(86_400 / 8));
    w.said.clear();
    w.nodes[9].up = true;
    w.input(9, Input::Wake);
    run_until(&mut w, 90, World::views_whole);
    w.run_for(s(60));
    assert!(w.views_whole());
    let back = w.said.iter().filter(|x| x.change.member == id(7) && x.change.status == Status::Alive).count();
    assert_eq!(back, 0, "somebody believed that the dead is alive");
}

/// chitchat #161: the dead incarnation of a node that runs again is gossiped for ever.
#[test]
fn chitchat_161_the_dead_incarnation_of_one_that_runs_again_is_spoken_of_no_more() {
    let mut w = known(30, 14);
    w.run_for(s(3));
    w.crash(5);
    run_until(&mut w, 30, World::views_whole);
    w.restart(5, &Settings::default(), 1, &[0]);
    run_until(&mut w, 20, World::views_whole);
    w.run_for(s(20));
    let incarnation = w.nodes[5].gossip.incarnation();
    w.said.clear();
    w.run_for(s(300));
    assert!(w.said.iter().all(|x| x.change.member != id(5)), "somebody still speaks of its death");
    assert_eq!(w.nodes[5].gossip.incarnation(), incarnation, "it had to refute its old death again");
}

/// vernemq #2343, vernemq PR 2162: what is known of the dead travels for ever, in exchanges that
/// carry nothing else.
#[test]
fn vernemq_2343_after_a_death_no_exchange_speaks_of_it_any_more() {
    let mut w = known(30, 9);
    w.run_for(s(3));
    for dead in [4, 11, 23] {
        w.crash(dead);
    }
    w.run_for(s(120));
    assert!(w.views_whole());
    // Views are equal: each comparison ends with its first message, and nothing waits to be passed on. What is
    // left of a minute's traffic is probes, their answers, one comparison a node in 10 s, one try to reach a dead
    // one in 5 s, and digests.
    let before = w.wire;
    w.run_for(s(60));
    let bytes = (w.wire.bytes - before.bytes) / 27 / 60;
    assert!(bytes < 300, "{bytes} bytes a second and node at rest");
}

/// consul #5567, #5928: one node that hears badly suspects hundreds of others, who all have to refute.
#[test]
fn consul_5567_one_deaf_node_causes_no_storm() {
    let storm = |lifeguard| {
        let settings = Settings { lifeguard, ..Settings::default() };
        let mut w = World::new(60, net(), &settings, Seed(10), true);
        w.run_for(s(5));
        w.said.clear();
        // Node 9 stands still for 4 of every 5 seconds.
        for _ in 0..24 {
            w.nodes[9].paused_until = w.now + s(4).as_nanos();
            w.run_for(s(5));
        }
        let suspected = w.nodes[9].gossip.detector_counts().suspected;
        let others =
            w.said.iter().filter(|x| x.change.status == Status::Dead && x.change.member != id(9)).count();
        (suspected, others)
    };
    let (with, deaths) = storm(true);
    let (without, _) = storm(false);
    assert_eq!(deaths, 0, "members died because one node was slow");
    assert!(with * 4 <= without, "suspicions by the slow node: {with} with Lifeguard, {without} without");
}

/// consul #1337: members that are well flap between failed and alive in a large cluster.
#[test]
fn consul_1337_nobody_flaps_at_five_percent_loss() {
    let mut w = known(100, 11);
    w.run_for(s(300));
    let deaths = w.said.iter().filter(|x| x.change.status == Status::Dead).count();
    assert_eq!(deaths, 0);
}

/// Quickwit #6653: the digest of members outgrew its packet at 500 nodes.
#[test]
fn quickwit_6653_a_view_of_thousands_compares_in_one_datagram() {
    let settings = Settings::default();
    let now = Instant::ZERO;
    let mut out = Vec::new();
    let mut of = |i: usize, all: usize| {
        let mut g =
            Gossip::new(id(i), Incarnation(0), metadata(i, 0), settings.clone(), now, Seed(1)).unwrap();
        let members = (0..all).map(|m| (id(m), Incarnation(0), metadata(m, m % 5))).collect();
        g.step(now, Input::Introduce { members }, &Nothing, &mut out);
        g
    };
    let (mut a, mut b) = (of(0, 5_000), of(1, 2));
    out.clear();
    // B asks A through its join, and takes A's pages until it knows all.
    b.step(now, Input::Join { seeds: vec![id(0)] }, &Nothing, &mut out);
    let mut at = now;
    let mut largest = 0;
    for _ in 0..200 {
        let mut next = Vec::new();
        for o in out.drain(..) {
            let Output::Send { to, body, .. } = o else { continue };
            largest = largest.max(body.len());
            let (g, from) = if to == id(0) { (&mut a, id(1)) } else { (&mut b, id(0)) };
            if to == id(0) || to == id(1) {
                g.step(at, Input::Message { from, body }, &Nothing, &mut next);
            }
        }
        at += s(1);
        a.step(at, Input::Wake, &Nothing, &mut next);
        b.step(at, Input::Wake, &Nothing, &mut next);
        out = next;
        if b.live().len() == 5_000 {
            break;
        }
    }
    assert_eq!(b.live().len(), 5_000);
    assert!(largest <= 1_200, "{largest} bytes");
}

#[test]
fn malformed_and_oversized_messages_change_nothing_and_are_faults() {
    let mut w = known(3, 12);
    let before: Vec<_> = w.nodes[0].gossip.members().map(|(i, k)| (i, k.clone())).collect();
    let long = vec![0; 300 * 1_024];
    let many: bytes::Bytes =
        dwcp_env::wire::encode(&(Incarnation(0), 4_u32, vec![(id(1), Incarnation(9), 3_u32); 900])).into();
    for body in [bytes::Bytes::new(), bytes::Bytes::from_static(&[9; 40]), long.into(), many] {
        w.input(0, Input::Message { from: id(1), body });
    }
    // A message under our own name, and one of a retired member.
    w.input(0, Input::Message { from: id(0), body: accusation(1, 0) });
    w.input(0, Input::Retire(id(2)));
    w.input(0, Input::Message { from: id(2), body: accusation(1, 0) });
    assert_eq!(w.faults, 6);
    let after: Vec<_> = w.nodes[0].gossip.members().map(|(i, k)| (i, k.clone())).collect();
    assert_eq!(after, before[..2]);
}

#[test]
fn the_retired_never_come_back() {
    let mut w = known(20, 13);
    w.run_for(s(2));
    for i in 0..20 {
        if i != 6 {
            w.input(i, Input::Retire(id(6)));
        }
    }
    w.run_for(s(60));
    assert!((0..20).filter(|i| *i != 6).all(|i| w.nodes[i].gossip.live().len() == 19));
    assert!(w.nodes[0].gossip.member(id(6)).is_none());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let mut w = known(25, seed);
        w.run_for(s(5));
        w.broadcast(3, 1);
        w.crash(9);
        w.run_for(s(15));
        (
            w.wire.messages,
            w.wire.bytes,
            w.events,
            w.said.len(),
            w.nodes[0].gossip.live_in(RegionId(0)).to_vec(),
        )
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

struct Nothing;
impl Store for Nothing {
    fn holds(&self, _: RumourId) -> bool {
        false
    }
    fn fetch(&self, _: RumourId) -> Option<bytes::Bytes> {
        None
    }
}
