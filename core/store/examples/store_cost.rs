//! What the store costs: puts applied in memory, checkpoints, reads, boot.
//!
//! `cargo run --release -p dwcp-store --example store_cost [puts] [keys]`. The disk is memory: this
//! is the CPU's part.
#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "a tool: it measures and prints")]

#[path = "../src/memory.rs"]
mod memory;

use bytes::Bytes;
use dwcp_consensus::{Position, StateMachine};
use dwcp_env::{ByteCount, ClusterId, Duration, GroupId, Probe, WallTime};
use dwcp_store::api::{Command, Op, PutRequest, RangeRequest, SessionId, Stamp};
use dwcp_store::{Store, StoreBugs, StoreOptions};

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let puts = args.next().unwrap_or(200_000);
    let keys = args.next().unwrap_or(100_000);
    let disk = memory::MemoryDisk::new();
    let options = StoreOptions {
        cluster: ClusterId(1),
        group: GroupId(0),
        cache: ByteCount::mib(64),
        bugs: StoreBugs::default(),
    };
    let open = || Store::open(options.clone(), disk.clone(), Probe::silent()).expect("opens");
    let mut store = open();
    println!("an empty store's file: {}", store.file_size());
    let at = |index| Position { term: 1, index };
    let session = Op::OpenSession { ttl: Duration::secs(3_600) };
    let _session =
        store.apply(at(1), &Command { session: None, time: WallTime::default(), op: session }.encode());
    for round in 0..3 {
        let commands: Vec<Bytes> = (0..puts)
            .map(|i| {
                // A fixed order that jumps over the whole key space.
                let key = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
                let seq = round * puts + i;
                let put = PutRequest {
                    key: format!("/registry/key-{key:010}").into(),
                    value: vec![b'v'; 64].into(),
                    ..PutRequest::default()
                };
                let session = Some(Stamp { session: SessionId(1), seq, ack_below: seq.saturating_sub(64) });
                Command { session, time: WallTime::from_nanos(seq * 1_000), op: Op::Put(put) }.encode()
            })
            .collect();
        let begin = Cpu::now();
        for (i, command) in commands.iter().enumerate() {
            store.apply(at(2 + round * puts + i as u64), command).expect("a put is applied");
        }
        per("apply a put of 64 bytes, in a session", begin, puts);
        let begin = Cpu::now();
        let work = store.checkpoint().expect("something is new");
        let frozen = begin.elapsed();
        let done = (work.run)();
        per("checkpoint, a record", begin, puts);
        store.checkpoint_done(Some(done)).expect("is durable");
        println!("  of it on the loop: {frozen:?}; file {}", store.file_size());
    }
    let begin = Cpu::now();
    for i in 0..keys {
        let key = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
        let q = RangeRequest { key: format!("/registry/key-{key:010}").into(), ..RangeRequest::default() };
        assert!(store.range(&q).is_ok());
    }
    per("read a key from the file", begin, keys);
    drop(store);
    let begin = Cpu::now();
    let store = open();
    per("boot, a record", begin, puts * 3);
    assert_eq!(store.revision() as u64, 1 + puts * 3);
}

/// The processor time of this thread, so that a busy machine does not count.
struct Cpu(u64);

impl Cpu {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
        Self(stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds on a processor"))
    }
    fn elapsed(&self) -> Duration {
        Duration::nanos(Self::now().0 - self.0)
    }
}

fn per(what: &str, begin: Cpu, n: u64) {
    let took = begin.elapsed();
    println!("{what}: {} ns ({n} in {took:?})", took.as_nanos() / n);
}
