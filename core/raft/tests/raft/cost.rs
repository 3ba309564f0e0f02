//! What a cluster costs: run alone, under `time`, in a release build.
//!
//! `time cargo test --release -p dwcp-raft --test raft -- --ignored --nocapture nine_idle`

use crate::harness::{Answered, G, World, members, n};
use bytes::Bytes;
use dwcp_env::{Duration, GroupId};
use dwcp_raft::GroupConfig;
use std::collections::BTreeMap;

/// Nine voters in three regions.
fn nine() -> World {
    let mut w = World::new(1);
    let ids: Vec<u64> = (1..=9).collect();
    w.regions = 3;
    for id in &ids {
        let config = GroupConfig { initial: Some(members(&ids)), ..GroupConfig::wan(n(*id)) };
        w.add(n(*id), BTreeMap::from([(G, config)]));
    }
    w.elect();
    w
}

fn report(w: &World, what: &str, before: (u64, u64), seconds: u64, writes: u64) {
    let (messages, requests) = (w.messages - before.0, w.requests - before.1);
    #[allow(clippy::disallowed_macros)]
    {
        println!(
            "{what}: {seconds} simulated s, {writes} writes, {} messages/s, {} disk requests/s, {} polls",
            messages / seconds,
            requests / seconds,
            w.polls()
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn nine_idle() {
    let mut w = nine();
    let before = (w.messages, w.requests);
    w.run(Duration::secs(600));
    report(&w, "idle", before, 600, 0);
}

#[test]
#[ignore = "a measurement"]
fn nine_loaded() {
    let mut w = nine();
    w.write(GroupId(0), "first");
    let before = (w.messages, w.requests);
    let mut waiting = Vec::new();
    let mut writes = 0;
    let mut latency = Duration::ZERO;
    for _ in 0..60 * 250 {
        let leader = w.leader(G).unwrap();
        waiting.push((w.now, w.propose(leader, G, Bytes::from_static(&[7; 100]))));
        w.run(Duration::millis(4));
        let now = w.now;
        waiting.retain(|(begun, token)| match w.answers.get(token) {
            Some(Answered::Proposed(Ok(_))) => {
                writes += 1;
                latency += now.since(*begun);
                false
            }
            Some(_) => false,
            None => true,
        });
    }
    report(&w, &format!("loaded, mean latency {}", latency / writes), before, 60, writes);
}

#[test]
#[ignore = "a measurement"]
fn three_in_one_process() {
    let mut w = World::cluster(1, 3);
    w.latency = (Duration::micros(50), Duration::micros(100));
    let leader = w.elect();
    w.run(Duration::secs(1));
    let before = (w.messages, w.requests);
    let mut tokens = Vec::new();
    for _ in 0..1_000 {
        for _ in 0..256 {
            tokens.push(w.propose_quietly(leader, G, Bytes::from_static(&[7; 40])));
        }
        w.run(Duration::millis(2));
    }
    w.run(Duration::millis(100));
    let done = tokens.iter().filter(|t| matches!(w.answers.get(t), Some(Answered::Proposed(Ok(_))))).count();
    report(&w, "three nodes, batches of 256", before, 2, done as u64);
}
