//! The figures of the convergent store, measured beside `crdts` and `negentropy` in one run.
//!
//! ```text
//! cargo run --profile sim -p dwcp-crdt --example figures
//! cargo run --release     -p dwcp-crdt --example figures      (without the assertions)
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a measuring program reads a clock and prints"
)]

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::fingerprint::Secret;
use dwcp_crdt::range::{self, Difference, Items, Key};
use dwcp_crdt::space::{Config, Missing};
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: u64 = 1_790_000_000_000;
const N: u64 = 100_000;
const REPLICAS: u16 = 30;

fn mix(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn space(me: u16) -> Space {
    let roster = Roster::founding((0..u64::from(REPLICAS) + 1).map(NodeId));
    let mut s = Space::new(Config::new([5; 32]), roster, ReplicaIndex(me));
    s.open();
    s
}

/// CPU time of this thread: other load on the machine does not count.
struct Cpu(Duration);

impl Cpu {
    fn now() -> Self {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Self(Duration::new(t.tv_sec as u64, t.tv_nsec as u32))
    }
    fn elapsed(&self) -> Duration {
        Self::now().0 - self.0
    }
}

/// Heap that a value holds, by building it.
fn heap<T>(build: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(GLOBAL);
    let value = build();
    let s = region.change();
    (value, s.bytes_allocated.wrapping_sub(s.bytes_deallocated))
}

/// The median of several takes, in nanoseconds for each of `n` things.
fn median(n: usize, mut take: impl FnMut()) -> f64 {
    let mut all: Vec<f64> = (0..9)
        .map(|_| {
            let start = Cpu::now();
            take();
            start.elapsed().as_nanos() as f64 / n as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[4]
}

fn row(what: &str, value: String, limit: &str) {
    println!("{what:<64} {value:>16}   {limit}");
}

/// A set of `N` elements made by thirty replicas, and the replicas, each of whom has it all.
fn makers(at: &Address) -> (Vec<Space>, Vec<Batch>) {
    let mut all: Vec<Space> = (0..REPLICAS).map(space).collect();
    let mut batches = Vec::new();
    for (r, s) in all.iter_mut().enumerate() {
        let own: Vec<u64> = (0..N).filter(|n| n % u64::from(REPLICAS) == r as u64).collect();
        for some in own.chunks(100) {
            let edits: Vec<Edit> = some
                .iter()
                .map(|n| Edit::new(at.clone(), Change::Add(mix(*n).to_be_bytes().to_vec())))
                .collect();
            batches.extend(s.transact(NOW + r as u64, &edits).expect("allowed"));
        }
    }
    for s in &mut all {
        for b in &batches {
            if b.replica() != s.me() {
                s.receive(b, NOW).expect("sound");
            }
        }
    }
    (all, batches)
}

fn stable(s: &mut Space) {
    let v = s.version().clone();
    for r in 0..=REPLICAS {
        s.acknowledged(ReplicaIndex(r), &v, 0);
    }
    s.trim();
}

fn set_of_100k() {
    let at = Address::key(Kind::OrSet, "s");
    let (mut all, batches) = makers(&at);
    let (mut x, _) = heap(|| space(REPLICAS));
    let ((), log) = heap(|| {
        for b in &batches {
            x.receive(b, NOW).expect("sound");
        }
    });
    drop(x);
    // A replica as it runs: a clone has no room in any leaf, and the first entry that comes to one would copy it.
    let built = |later: &[Batch]| {
        let mut x = space(REPLICAS);
        for b in &batches {
            x.receive(b, NOW).expect("sound");
        }
        stable(&mut x);
        for b in later {
            x.receive(b, NOW).expect("sound");
        }
        x
    };
    let (mut x, kept) = heap(|| built(&[]));
    row("heap an element, log kept (bytes)", format!("{:.1}", log as f64 / N as f64), "");
    row("heap an element after GC (bytes)", format!("{:.1}", kept as f64 / N as f64), "<= 24");

    // One change.
    stable(&mut all[7]);
    let one = [Edit::new(at.clone(), Change::Add(77u64.to_be_bytes().to_vec()))];
    all[7].transact(NOW + 5, &one).expect("allowed");
    let ask = x.ask();
    let Missing::Operations { batches: reply, .. } = all[7].missing(x.version(), usize::MAX) else {
        panic!()
    };
    let bytes = 32 + ask.len() + reply.iter().map(|b| b.to_bytes().len()).sum::<usize>();
    row("one change in 100,000: bytes (digest, version, operation)", bytes.to_string(), "<= 150");
    let cpu = median(10_000, || {
        for _ in 0..10_000 {
            let mut x2 = Reader(x.ask());
            let theirs = x2.version();
            let Missing::Operations { batches, .. } = all[7].missing(&theirs, usize::MAX) else { panic!() };
            for b in &batches {
                black_box(Batch::from_bytes(&b.to_bytes()).expect("sound"));
            }
            black_box(x.digest());
        }
    });
    row("one change in 100,000: CPU of both sides, apply apart (us)", format!("{:.2}", cpu / 1000.0), "<= 5");
    x.receive(&reply[0], NOW).expect("sound");

    // A thousand changes, all over the roster.
    let before = x.version().clone();
    let mut alone: Vec<Batch> = Vec::new();
    for (r, s) in all.iter_mut().enumerate() {
        stable(s);
        for n in 0..34 {
            let e = mix(1_000_000 + r as u64 * 100 + n).to_be_bytes().to_vec();
            let made = s.transact(NOW + 1000 + n, &[Edit::new(at.clone(), Change::Add(e))]);
            alone.extend(made.expect("allowed"));
        }
    }
    let (mut bytes, mut n) = (x.ask().len(), 0_u64);
    let mut wire = Vec::new();
    for s in &all {
        let mut known = before.clone();
        known.raise(ReplicaIndex(7), x.version().get(ReplicaIndex(7)));
        // Each maker answers for itself: what it made after the exchange.
        s.version().iter().filter(|(r, _)| *r != s.me()).for_each(|(r, seq)| known.raise(r, seq));
        let Missing::Operations { batches, .. } = s.missing(&known, usize::MAX) else { panic!() };
        for b in batches {
            n += b.count();
            let raw = b.to_bytes();
            bytes += raw.len();
            wire.push(raw);
        }
    }
    row("1,000 changes in 100,000: bytes a change", format!("{:.2}", bytes as f64 / n as f64), "<= 14");
    let read: Vec<Batch> = wire.iter().map(|b| Batch::from_bytes(b).expect("sound")).collect();
    let applied = |changes: &[Batch], before: &[Batch]| {
        let count: u64 = changes.iter().map(Batch::count).sum();
        let mut takes: Vec<f64> = (0..9)
            .map(|_| {
                let mut y = built(before);
                let start = Cpu::now();
                for b in changes {
                    y.receive(b, NOW).expect("sound");
                }
                start.elapsed().as_nanos() as f64 / count as f64
            })
            .collect();
        takes.sort_by(f64::total_cmp);
        takes
    };
    let apply = applied(&read, &reply)[4];
    row("1,000 changes: CPU to apply them (ms)", format!("{:.3}", apply * n as f64 / 1e6), "<= 0.25");

    let each = applied(&alone, &reply)[4];
    row("the same, each as a batch of its own (ns a change)", format!("{each:.0}"), "");

    // Applying, mixed: a third new, a third written again, a third removed; 34 operations a batch.
    let mut mixed: Vec<Batch> = Vec::new();
    for (r, s) in all.iter_mut().enumerate() {
        for b in &read {
            if b.replica() != s.me() {
                s.receive(b, NOW).expect("sound");
            }
        }
        let x7 = &reply[0];
        s.receive(x7, NOW).ok();
        for chunk in 0..30u64 {
            let edits: Vec<Edit> = (0..34u64)
                .map(|n| {
                    let old = mix(mix(r as u64 * 7919 + chunk * 34 + n) % N).to_be_bytes().to_vec();
                    let new = mix(2_000_000 + r as u64 * 5000 + chunk * 34 + n).to_be_bytes().to_vec();
                    let change = match n % 3 {
                        0 => Change::Add(new),
                        1 => Change::Add(old),
                        _ => Change::Remove(old),
                    };
                    Edit::new(at.clone(), change)
                })
                .collect();
            mixed.extend(s.transact(NOW + 2000 + chunk, &edits).expect("allowed"));
        }
    }
    for b in &read {
        x.receive(b, NOW).expect("sound");
    }
    let known: Vec<Batch> = reply.iter().chain(&read).cloned().collect();
    let takes = applied(&mixed, &known);
    row("remote apply, 100k entries, 30 replicas (ns)", format!("{:.0}", takes[4]), "<= 120");
    row("the same, the least of nine takes (ns)", format!("{:.0}", takes[0]), "");
    let mut y = x.clone();
    let mut n = 9_000_000;
    let local = median(20_000, || {
        for _ in 0..20_000 {
            n += 1;
            let e = mix(n).to_be_bytes().to_vec();
            y.transact(NOW + 9000, &[Edit::new(at.clone(), Change::Add(e))]).expect("allowed");
        }
    });
    row("local transaction of one edit (ns)", format!("{local:.0}"), "");
    let (a, b) = (x.version().clone(), y.version().clone());
    let cmp = median(100_000, || {
        for _ in 0..100_000 {
            black_box(black_box(&a).compare(black_box(&b)));
        }
    });
    row("version vectors of 30 compared (ns)", format!("{cmp:.1}"), "<= 30");
}

struct Reader(Vec<u8>);
impl Reader {
    fn version(&mut self) -> dwcp_crdt::VersionVector {
        dwcp_crdt::VersionVector::decode(&mut dwcp_crdt::code::Reader::new(&self.0)).expect("ours")
    }
}

fn rival() {
    use crdts::{CmRDT, CvRDT, Orswot};
    let build = || {
        let mut s: Orswot<u64, u16> = Orswot::new();
        for n in 0..N {
            let ctx = s.read_ctx().derive_add_ctx((n % u64::from(REPLICAS)) as u16);
            let op = s.add(mix(n), ctx);
            s.apply(op);
        }
        s
    };
    let (s, bytes) = heap(build);
    row("crdts::Orswot: heap an element (bytes)", format!("{:.1}", bytes as f64 / N as f64), "");
    let mut other = s.clone();
    let op = other.add(1, other.read_ctx().derive_add_ctx(3));
    other.apply(op);
    let mut takes: Vec<f64> = (0..3)
        .map(|_| {
            let (mut a, b) = (s.clone(), other.clone());
            let start = Cpu::now();
            a.merge(b);
            start.elapsed().as_nanos() as f64
        })
        .collect();
    takes.sort_by(f64::total_cmp);
    row("crdts::Orswot: one change merged (ms)", format!("{:.1}", takes[1] / 1e6), "");
    let ops: Vec<_> = (0..10_000u64)
        .map(|n| {
            let ctx = other.read_ctx().derive_add_ctx((n % 30) as u16);
            let op = other.add(mix(5_000_000 + n), ctx);
            other.apply(op.clone());
            op
        })
        .collect();
    let mut a = s;
    let start = Cpu::now();
    for op in ops {
        a.apply(op);
    }
    row(
        "crdts::Orswot: remote apply (ns)",
        format!("{:.0}", start.elapsed().as_nanos() as f64 / 10_000.0),
        "",
    );
}

fn percent(ours: usize, theirs: usize) -> String {
    format!("{:+.2} %", (ours as f64 / theirs as f64 - 1.0) * 100.0)
}

fn records() {
    let key = |n: u64| format!("vm:{:016x}", mix(n)).into_bytes();
    let value = |n: u64| vec![n as u8; 1024];
    let count = 10_000u64;
    let (map, theirs) = heap(|| (0..count).map(|n| (key(n), value(n))).collect::<BTreeMap<_, _>>());
    drop(map);
    let (s, ours) = heap(|| {
        let mut s = space(0);
        for n in 0..count {
            s.transact(NOW, &[Edit::new(Address::key(Kind::Lww, key(n)), Change::Write(value(n)))])
                .expect("allowed");
        }
        stable(&mut s);
        s
    });
    drop(s);
    row("1 KiB record over BTreeMap<key, value>", percent(ours, theirs), "<= +2 %");

    let field = |n: u64| format!("field.name.{n:02}").into_bytes();
    let value = |d: u64, n: u64| vec![(d + n) as u8; 35];
    let docs = 1_000u64;
    let (map, theirs) = heap(|| {
        let doc = |d| (0..40).map(|n| (field(n), value(d, n))).collect::<BTreeMap<_, _>>();
        (0..docs).map(|d| (key(d), doc(d))).collect::<BTreeMap<_, _>>()
    });
    drop(map);
    let packed = docs as usize * (19 + 40 * (13 + 35));
    let (s, ours) = heap(|| {
        let mut s = space(0);
        for d in 0..docs {
            let doc = Address::key(Kind::Map, key(d));
            let edits: Vec<Edit> = (0..40)
                .map(|n| Edit::new(doc.field(Kind::Lww, field(n)), Change::Write(value(d, n))))
                .collect();
            s.transact(NOW, &edits).expect("allowed");
        }
        stable(&mut s);
        s.shrink();
        s
    });
    drop(s);
    row("40-field document over BTreeMap of BTreeMaps", percent(ours, theirs), "<= +5 %");
    row("40-field document over its bare bytes", percent(ours, packed), "");
}

/// A list of `N` elements of eight bytes, of thirty replicas, once all is stable.
fn lists() {
    let at = Address::key(Kind::Sequence, "l");
    let mut n = 0;
    let mut element = || {
        n += 1;
        mix(n).to_be_bytes().to_vec()
    };
    let kinds = [
        ("pushed by one", 1, false),
        ("pushed by three in turn", 3, false),
        ("anywhere, by three in turn", 3, true),
    ];
    for (what, makers, anywhere) in kinds {
        let mut all: Vec<Space> = (0..makers).map(space).collect();
        let mut batches: Vec<Batch> = Vec::new();
        for k in 0..N {
            let position = if anywhere { mix(k) % (k + 1) } else { k } as usize;
            let change = Change::Insert { at: position, values: vec![element()] };
            let maker = (k % u64::from(makers)) as usize;
            let made = all[maker].transact(NOW + k, &[Edit::new(at.clone(), change)]).expect("allowed");
            let made = made.expect("something");
            for (_, s) in all.iter_mut().enumerate().filter(|(r, _)| *r != maker) {
                s.receive(&made, NOW).expect("sound");
            }
            batches.push(made);
        }
        drop(all);
        let (s, kept) = heap(|| {
            let mut s = space(REPLICAS);
            for b in &batches {
                s.receive(b, NOW).expect("sound");
            }
            stable(&mut s);
            stable(&mut s);
            s
        });
        row(
            &format!("list, {what}: heap an element after GC (bytes)"),
            format!("{:.1}", kept as f64 / N as f64),
            "<= 24",
        );
        let mut s = s;
        s.shrink();
        drop(s);
    }
}

fn ranges() {
    println!("\nrange reconciliation of 100,000 items, bytes both ways (ours, negentropy, ratio)");
    for (order, random) in [("recent", false), ("random", true)] {
        for d in [0u64, 1, 10, 100, 1000] {
            let secret = Secret::new([5; 32]);
            let missing = |n: u64| {
                if random { mix(n ^ 0xabc).is_multiple_of(N / d.max(1)) && d > 0 } else { n >= N - d }
            };
            // Twenty items a second from thirty replicas.
            let stamp = |n: u64| (n / 80) as u32 + 1000;
            let dot = |n: u64| Dot::new(ReplicaIndex((n % 30) as u16), n / 30 + 1).bits();
            let items = |all: bool| {
                let chosen = (0..N).filter(|n| all || !missing(*n));
                let item = |n| (Key { stamp: stamp(n), dot: dot(n) }, secret.hasher().pair(n, 1).sum());
                Items::new(secret, chosen.map(item).collect())
            };
            let (a, b) = (items(true), items(false));
            let start = Cpu::now();
            let (mut ours, mut found, mut rounds) = (0, Difference::default(), 0);
            let mut question = Some(range::open(&b));
            while let Some(q) = question {
                let answer = range::answer(&a, &q).expect("sound");
                (ours, rounds) = (ours + q.len() + answer.len(), rounds + 1);
                question = range::resolve(&b, &answer, &mut found).expect("sound");
            }
            let cpu = start.elapsed();
            let differ = (0..N).filter(|n| missing(*n)).count();
            assert_eq!(found.need.len(), differ);
            let (theirs, their_cpu) = negentropy_bytes(&missing);
            println!(
                "{order:<7} d={differ:<5} {ours:>8} {theirs:>8} {:>6.3}   {rounds} rounds   CPU {:>7.3} ms, {:>7.3} ms",
                ours as f64 / theirs as f64,
                cpu.as_secs_f64() * 1e3,
                their_cpu * 1e3
            );
        }
    }
}

fn negentropy_bytes(missing: &dyn Fn(u64) -> bool) -> (usize, f64) {
    use negentropy::{Id, Negentropy, NegentropyStorageVector};
    let fill = |all: bool| {
        let mut s = NegentropyStorageVector::new();
        for n in (0..N).filter(|n| all || !missing(*n)) {
            let mut id = [0; 32];
            for (i, part) in id.chunks_exact_mut(8).enumerate() {
                part.copy_from_slice(&mix(n * 4 + i as u64).to_le_bytes());
            }
            s.insert(1_790_000_000 + n / 20, Id::from_byte_array(id)).expect("a new item");
        }
        s.seal().expect("sealed once");
        s
    };
    let (a, b) = (fill(true), fill(false));
    let start = Cpu::now();
    let mut server = Negentropy::owned(a, 0).expect("no limit");
    let mut client = Negentropy::owned(b, 0).expect("no limit");
    let mut query = Some(client.initiate().expect("the first"));
    let (mut have, mut need, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(q) = query {
        let reply = server.reconcile(&q).expect("sound");
        bytes += q.len() + reply.len();
        query = client.reconcile_with_ids(&reply, &mut have, &mut need).expect("sound");
    }
    (bytes, start.elapsed().as_secs_f64())
}

fn main() {
    set_of_100k();
    // `figures apply`: the rows above alone, for a profiler.
    if std::env::args().nth(1).as_deref() == Some("apply") {
        return;
    }
    rival();
    records();
    lists();
    ranges();
}
