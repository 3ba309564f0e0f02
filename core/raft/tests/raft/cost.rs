//! What a decision costs where nothing fails, to the byte: `tests/golden/cost_raft.txt`, written anew by `UPDATE_GOLDEN=1`.
//!
//! And what a cluster costs: run alone, under `time`, in a release build.
//! `time cargo test --release -p dwcp-raft --test raft -- --ignored --nocapture nine_idle`

use crate::harness::{Answered, G, World, members, n};
use bytes::Bytes;
use dwcp_env::{Duration, GroupId, NodeId};
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

/// One way in the group that is measured: long enough that disks, which take up to a millisecond, do not blur how many it took.
const ONE_WAY: Duration = Duration::millis(5);
/// By then everybody is quiet, and the next heartbeat is not due.
const QUIET: Duration = Duration::millis(60);

#[derive(Clone, Copy)]
struct Cost {
    messages: u64,
    bytes: u64,
    delays: u64,
    syncs_then: u64,
    syncs: u64,
    logged: u64,
}

/// Has so many commands of 64 bytes decided that are asked for together, right behind a heartbeat; waits until all is quiet.
fn measure(w: &mut World, leader: NodeId, batch: u64) -> Cost {
    let sent = w.messages;
    w.until(Duration::secs(1), |w| w.messages > sent).expect("a heartbeat");
    w.run(ONE_WAY * 3);
    let (begun, messages, bytes, syncs, logged) = (w.now, w.messages, w.bytes, w.syncs, w.logged);
    let tokens: Vec<_> =
        (0..batch).map(|_| w.propose_quietly(leader, G, Bytes::from_static(&[7; 64]))).collect();
    w.turn(leader);
    let done = |w: &World| tokens.iter().all(|t| matches!(w.answers.get(t), Some(Answered::Proposed(Ok(_)))));
    w.until(QUIET, done).expect("all decided");
    let (delays, syncs_then) = (w.now.since(begun).as_nanos() / ONE_WAY.as_nanos(), w.syncs - syncs);
    let end = begun + QUIET;
    w.run(end.since(w.now));
    Cost {
        messages: w.messages - messages,
        bytes: w.bytes - bytes,
        delays,
        syncs_then,
        syncs: w.syncs - syncs,
        logged: w.logged - logged,
    }
}

/// As `core/consensus/tests/cost.rs` has it of the other engines; `logged` is with the write-ahead log's frames and blocks here.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads its golden file, and rewrites it when asked to")]
fn raft_costs_what_the_golden_file_says() {
    let mut now = String::from(
        "members batch | messages bytes | one-way-delays syncs-by-then | syncs written | per command: messages bytes\n",
    );
    for count in [3, 5] {
        for batch in [1, 256] {
            let mut w = World::cluster(1, count);
            w.latency = (ONE_WAY, ONE_WAY + Duration::nanos(1));
            let leader = w.elect();
            w.write(G, "the first");
            let _of_the_first = measure(&mut w, leader, 1);
            let c = measure(&mut w, leader, batch);
            assert_eq!(w.leader(G), Some(leader));
            let per = |n: u64| format!("{}.{:02}", n / batch, n % batch * 100 / batch);
            now += &format!(
                "{count} {batch} | {} {} | {} {} | {} {} | {} {}\n",
                c.messages,
                c.bytes,
                c.delays,
                c.syncs_then,
                c.syncs,
                c.logged,
                per(c.messages),
                per(c.bytes)
            );
        }
    }
    let path = format!("{}/tests/golden/cost_raft.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(now, golden, "{path} says otherwise: if that is meant, run again with UPDATE_GOLDEN=1");
}
