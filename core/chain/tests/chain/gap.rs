//! How long nothing is decided while the engine changes, counted in round trips: links are equally long here and nothing is drawn, so that a
//! timer that somebody waits for shows, on short links in milliseconds and on long ones as a round trip too many.
//!
//! From the decided seal to the first decided write there are three: who is to lead asks for votes (or promises), makes its first entry
//! decided, and then a client's. (A write that came with the first entry would save one; openraft takes none before a quorum has
//! renewed its lease.)

use crate::harness::world::Answered;
use crate::harness::{G, World, n};
use dwcp_chain::EngineKind;
use dwcp_env::Duration;
use dwcp_raft::GroupConfig;

/// From the seal to the first write, both as decided where they were asked for.
fn gap(from: EngineKind, to: EngineKind, one_way: Duration) -> Duration {
    let name = format!("{from} to {to} over {one_way}");
    let mut w = World::cluster(7, 3, from);
    if one_way > Duration::millis(10) {
        for id in [1, 2, 3].map(n) {
            w.configure(id, |c| c.raft = GroupConfig::wan(id));
            w.crash(id);
            w.start(id);
        }
    }
    w.latency = (one_way, one_way + Duration::nanos(1));
    w.elect_any();
    w.run(Duration::secs(5));
    let at = w.leader(G).unwrap_or(n(1));
    w.write_at(at, "before");
    w.run(Duration::secs(2));
    let token = w.switch(at, to);
    assert_eq!(w.answer(token), Answered::Done(Ok(())), "{name}");
    let sealed = w.now;
    // As its node does, which knows at once that a command was not done: it asks again.
    for _ in 0..10_000 {
        let token = w.propose(at, G, "behind");
        if let Answered::Proposed(Ok(_)) = w.answer(token) {
            assert_eq!(w.epoch(at), 1, "{name}");
            return w.now.since(sealed);
        }
        w.run(Duration::micros(100));
    }
    panic!("{name}: nothing is decided");
}

#[test]
fn nobody_waits_for_a_timer_while_the_engine_changes() {
    let engines = [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos];
    for from in engines {
        for to in engines.into_iter().filter(|to| *to != from) {
            let (near, far) = (gap(from, to, Duration::millis(1)), gap(from, to, Duration::millis(75)));
            // Syncs take up to a millisecond each, and a Raft leader's appends to one peer are a fifth of a round trip apart.
            assert!(near <= Duration::millis(15), "{from} to {to}: {near} over links of 1 ms");
            assert!(far <= Duration::millis(490), "{from} to {to}: {far} over links of 75 ms");
        }
    }
}
