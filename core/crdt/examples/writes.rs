//! What a client's write costs, by its kind and by the shape of its names, and what it costs to log it and to take it in elsewhere.
//!
//! ```text
//! cargo run --release -p dwcp-crdt --example writes
//! ```
//!
//! With a word (`writes sadd`) only of the kinds that begin with it, for a profiler.
//!
//! Keys and members are those of `redis-benchmark`: they begin alike and end in twelve digits, drawn from 100,000.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a measuring program reads a clock and prints"
)]

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit, Stroke};
use dwcp_crdt::space::{Config, Missing};
use dwcp_crdt::{Batch, ReplicaIndex, Roster, Space, VersionVector};
use dwcp_env::NodeId;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: u64 = 1_790_000_000_000;
const NAMES: u64 = 100_000;
/// Writes of one measurement, and between two drains of the log.
const WRITES: u64 = 400_000;
const DRAIN: u64 = 4_000;
const ROUNDS: usize = 5;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn space(me: u16) -> Space {
    let roster = Roster::founding((0..3).map(NodeId));
    let mut s = Space::new(Config::new([5; 32]), roster, ReplicaIndex(me));
    s.open();
    s
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

type Shape = (&'static str, fn(u64) -> Edit);

const SHAPES: [Shape; 4] = [
    ("set key:000000012345, 64 bytes", |n| {
        Edit::new(Address::key(Kind::Lww, format!("key:{n:012}")), Change::Write(vec![b'x'; 64]))
    }),
    ("incr counter:000000012345", |n| {
        Edit::new(Address::key(Kind::PnCounter, format!("counter:{n:012}")), Change::Increase(1))
    }),
    ("sadd element:000000012345", |n| {
        Edit::new(Address::key(Kind::OrSet, "myset"), Change::Add(format!("element:{n:012}").into_bytes()))
    }),
    ("sadd of eight bytes", |n| {
        Edit::new(Address::key(Kind::OrSet, "short"), Change::Add(mix(n).to_be_bytes().to_vec()))
    }),
];

/// The edit, as the door of a node asks for it.
fn stroke(edit: &Edit) -> Stroke<'_> {
    let key = &edit.at.names[0];
    match &edit.change {
        Change::Write(value) => Stroke::Write { key, value },
        Change::Add(element) => Stroke::Add { key, element },
        _ => Stroke::Count { key, by: 1 },
    }
}

fn main() {
    let head = ["ns a write", "read", "write", "allocs", "log", "decode", "apply"];
    println!(
        "{:<34} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6]
    );
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let (mut us, mut peer) = (space(0), space(1));
    let mut logged = VersionVector::new();
    for (what, edit) in SHAPES.into_iter().filter(|(what, _)| what.starts_with(&wanted)) {
        // Everything is there: writes replace.
        for n in 0..NAMES {
            us.make(NOW, &[edit(mix(n) % NAMES)]).expect("allowed");
        }
        let mut best = [f64::MAX; 6];
        for round in 0..ROUNDS as u64 {
            let (mut read, mut write, mut log, mut decode, mut take) = Default::default();
            let mut allocations = 0;
            for n in 0..WRITES / DRAIN {
                let edits: Vec<Edit> =
                    (0..DRAIN).map(|i| edit(mix(round * WRITES + n * DRAIN + i) % NAMES)).collect();
                let start = cpu();
                for e in &edits {
                    black_box(us.glance(&e.at.names[0]).count());
                }
                read += cpu() - start;
                let (start, region) = (cpu(), Region::new(GLOBAL));
                // As a client's pipeline of sixteen: looked up together, then one after the other read and written.
                for some in edits.chunks(16) {
                    let member = |e: &'_ Edit| match &e.change {
                        Change::Add(m) => m.clone(),
                        _ => e.at.names[0].clone(),
                    };
                    let names: Vec<Vec<u8>> = some.iter().map(member).collect();
                    let names: Vec<&[u8]> = names.iter().map(|n| &n[..]).collect();
                    match some[0].at.kind {
                        Kind::OrSet => us.warm_members(&some[0].at.names[0], &names),
                        _ => us.warm_keys(&names),
                    }
                    for e in some {
                        black_box(us.glance(&e.at.names[0]).count());
                        us.make_stroke(NOW + n, &stroke(e)).expect("allowed");
                    }
                }
                write += cpu() - start;
                allocations += region.change().allocations;
                let start = cpu();
                let mut payloads = Vec::new();
                while us.version() != &logged {
                    let Missing::Operations { batches, .. } = us.missing(&logged, 32 * 1024) else { break };
                    for batch in batches {
                        logged.raise(batch.replica(), batch.last().sequence());
                        payloads.push(batch.to_bytes());
                    }
                }
                log += cpu() - start;
                let start = cpu();
                let batches = payloads.iter().map(|p| Batch::from_bytes(p).expect("sound"));
                let batches: Vec<Batch> = batches.collect();
                decode += cpu() - start;
                let start = cpu();
                for batch in &batches {
                    peer.receive(batch, NOW).expect("sound");
                }
                take += cpu() - start;
                us.acknowledged(ReplicaIndex(1), &logged, us.roster().epoch);
                us.acknowledged(ReplicaIndex(2), &logged, us.roster().epoch);
                us.trim();
            }
            let each = |t: Duration| t.as_nanos() as f64 / WRITES as f64;
            let allocations = allocations as f64 / WRITES as f64;
            let all = [each(read), each(write), allocations, each(log), each(decode), each(take)];
            best.iter_mut().zip(all).for_each(|(best, this)| *best = best.min(this));
        }
        let [read, write, allocations, log, decode, take] = best;
        println!(
            "{what:<34} {read:>8.0} {write:>8.0} {allocations:>8.1} {log:>8.0} {decode:>8.0} {take:>8.0}"
        );
    }
    assert_eq!(us.fingerprint(), peer.fingerprint(), "both hold the same");
}
