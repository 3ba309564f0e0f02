//! What finding and settling a conflict costs, beside what the peers do in its place.
//!
//! ```text
//! cargo bench --manifest-path benches/conflict/Cargo.toml
//! ```
//!
//! Measured is the processor time of this thread: other load on the machine does not count.
//!
//! A document of forty fields is forked; each side changes one field. `apart`: another one each. `clash`: the same one; ours then asks
//! the policy and writes the audit record, the peers choose without saying so.
#![allow(missing_docs, reason = "criterion's macros")]

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ROOT};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dwcp_conflict::audit::{Audit, Retention, Settlement};
use dwcp_conflict::detect::{Arrival, Incoming, Live, arrival};
use dwcp_conflict::policy::Version;
use dwcp_conflict::{Document, Policy, Schema, Sibling, Value, Writer};
use dwcp_crdt::{Dot, Hlc, ReplicaIndex, VersionVector};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use yrs::updates::decoder::Decode;
use yrs::{Map as _, ReadTxn, Transact, Update};

const REPLICAS: u16 = 30;

/// Processor time of this thread.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;
    fn start(&self) -> Duration {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
    }
    fn end(&self, begun: Duration) -> Duration {
        self.start() - begun
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn vectors(c: &mut Criterion<Cpu>) {
    let vector = |ahead: u16| -> VersionVector {
        (0..REPLICAS).map(|r| (ReplicaIndex(r), 1_000 + u64::from(r == ahead))).collect()
    };
    let (a, b) = (vector(3), vector(20));
    let mut group = c.benchmark_group("compare two vectors of 30, concurrent");
    group.bench_function("dwcp", |bench| bench.iter(|| black_box(&a).compare(black_box(&b))));
    let clock = |ahead: u16| -> crdts::VClock<u16> {
        (0..REPLICAS).map(|r| crdts::Dot::new(r, 1_000 + u64::from(r == ahead))).collect()
    };
    let (x, y) = (clock(3), clock(20));
    group.bench_function("crdts", |bench| bench.iter(|| black_box(&x).partial_cmp(black_box(&y))));
    group.finish();
}

fn checks(c: &mut Criterion<Cpu>) {
    let seen: VersionVector = (0..REPLICAS).map(|r| (ReplicaIndex(r), 1_000)).collect();
    let dot = |r, s| Dot::new(ReplicaIndex(r), s);
    let here = [Live { dot: dot(4, 900), hlc: Hlc::at(5) }];
    let mut group = c.benchmark_group("is a write in conflict");
    let (follows, beside) = ([dot(4, 900)], [dot(5, 800)]);
    for (name, supersedes, want) in [
        ("dwcp, it follows", &follows, Arrival::Follows { backward_millis: 0 }),
        ("dwcp, it stands beside", &beside, Arrival::Beside { others: 1 }),
    ] {
        let new = Incoming { dot: dot(7, 1_001), hlc: Hlc::at(9), supersedes };
        assert_eq!(arrival(&seen, &here, &new), want);
        group.bench_function(name, |b| {
            b.iter(|| arrival(black_box(&seen), black_box(&here), black_box(&new)))
        });
    }
    // A multi-value register of crdts compares the write's clock with each that lies there.
    let clock = |ahead: u16| -> crdts::VClock<u16> {
        (0..REPLICAS).map(|r| crdts::Dot::new(r, 1_000 + u64::from(r == ahead))).collect()
    };
    let (lies, comes) = (clock(3), clock(20));
    group.bench_function("crdts, clock against clock", |b| {
        b.iter(|| crdts::VClock::concurrent(black_box(&lies), black_box(&comes)));
    });
    group.finish();
}

/// `field00` to `field39`: a third numbers, two thirds texts of twenty bytes.
fn fields() -> impl Iterator<Item = (String, Value)> {
    (0..40).map(|i| {
        let value = match i % 3 {
            0 => Value::Int(i * 1_000),
            _ => Value::from(&*format!("value of field {i:05}")),
        };
        (format!("field{i:02}"), value)
    })
}

const SIDES: [(&str, [(usize, &str); 2]); 2] =
    [("apart", [(7, "x"), (23, "y")]), ("clash", [(7, "x"), (7, "y")])];

struct Ours {
    schema: Schema,
    policy: Policy,
    base: Document,
    sides: [Document; 2],
    made: [Sibling; 2],
}

fn ours(changes: [(usize, &str); 2]) -> Ours {
    let declared = fields().map(|(name, _)| (name.as_str().into(), Value::from("atomic")));
    let schema = Schema::read(&Value::map([
        ("schema".into(), "vm".into()),
        ("version".into(), Value::Int(1)),
        ("fields".into(), Value::map(declared.collect::<Vec<_>>())),
    ]));
    let policy: Value = serde_json::from_str(
        r#"{"policy":"p","version":1,"activates":0,"rule":[
            {"name":"a","class":"invariant","use":"rollback"},
            {"name":"b","kind":"host","path":"/status/**","use":{"strategy":"priority","by":"role","order":["host"]}},
            {"name":"c","kind":"vm","path":"/field01","use":"rollback"},
            {"name":"d","kind":"vm","path":"/*","role":"operator","use":{"strategy":"priority","by":"role","order":["operator"]}},
            {"name":"e","use":"last-writer"}]}"#,
    )
    .expect("JSON");
    let schema = schema.expect("a schema");
    // Each document is read anew, so that they share no memory.
    let document = |change: Option<(usize, &str)>| {
        let value = Value::map(fields().enumerate().map(|(i, (name, v))| {
            let v = match change {
                Some((at, to)) if at == i => Value::from(to),
                _ => v,
            };
            (Arc::from(name), v)
        }));
        schema.admit(&value).expect("it fits")
    };
    let sibling = |r: u16, role: &str, region: &str| Sibling {
        dot: Dot::new(ReplicaIndex(r), 1_001),
        hlc: Hlc::at(1_790_000_000_000 + u64::from(r)),
        writer: Writer::new("ana", role, region),
        value: None,
    };
    Ours {
        base: document(None),
        sides: [document(Some(changes[0])), document(Some(changes[1]))],
        made: [sibling(1, "operator", "eu-west-1"), sibling(2, "autoscaler", "us-east-1")],
        policy: Policy::read(&policy).expect("a policy"),
        schema,
    }
}

impl Ours {
    fn merge(&self, key: &Arc<str>, audit: &mut Audit) -> Document {
        let versions = [0, 1].map(|i| Version { made: &self.made[i], document: Some(&self.sides[i]) });
        let merged = self.policy.merge(&self.schema, key, Some(&self.base), &versions);
        let (merged, resolved) = merged.expect("sides of one schema");
        for r in &resolved {
            let settlement = Settlement::of_merge(r, self.policy.version(), Hlc::at(1_790_000_000_009));
            audit.record(&settlement).expect("room");
        }
        merged.document.expect("nobody deleted it")
    }
}

fn automerge_fork(changes: [(usize, &str); 2]) -> (AutoCommit, AutoCommit) {
    let mut base = AutoCommit::new();
    for (name, v) in fields() {
        match v {
            Value::Int(n) => base.put(ROOT, name, n).expect("put"),
            v => base.put(ROOT, name, v.to_string()).expect("put"),
        }
    }
    base.commit();
    let mut forks = [base.fork(), base.fork()];
    for (fork, (at, to)) in forks.iter_mut().zip(changes) {
        fork.put(ROOT, format!("field{at:02}"), to).expect("put");
        fork.commit();
    }
    let [a, b] = forks;
    (a, b)
}

fn yrs_doc(state: &[u8], change: Option<(usize, &str)>) -> yrs::Doc {
    let doc = yrs::Doc::new();
    let map = doc.get_or_insert_map("vm");
    let mut txn = doc.transact_mut();
    if state.is_empty() {
        for (name, v) in fields() {
            match v {
                Value::Int(n) => drop(map.insert(&mut txn, name, n)),
                v => drop(map.insert(&mut txn, name, v.to_string())),
            }
        }
    } else {
        txn.apply_update(Update::decode_v1(state).expect("own bytes")).expect("own bytes");
    }
    if let Some((at, to)) = change {
        map.insert(&mut txn, format!("field{at:02}"), to);
    }
    drop(txn);
    doc
}

fn loro_fork(changes: [(usize, &str); 2]) -> [loro::LoroDoc; 2] {
    let base = loro::LoroDoc::new();
    let map = base.get_map("vm");
    for (name, v) in fields() {
        match v {
            Value::Int(n) => map.insert(&name, n).expect("insert"),
            v => map.insert(&name, v.to_string()).expect("insert"),
        }
    }
    base.commit();
    changes.map(|(at, to)| {
        let fork = base.fork();
        fork.get_map("vm").insert(&format!("field{at:02}"), to).expect("insert");
        fork.commit();
        fork
    })
}

fn merges(c: &mut Criterion<Cpu>) {
    for (name, changes) in SIDES {
        let mut group = c.benchmark_group(format!("merge 40 fields, {name}"));
        let world = ours(changes);
        let key: Arc<str> = "web-1".into();
        let new_audit = || Audit::new(ReplicaIndex(0), Retention::default(), 1 << 30);
        group.bench_function("dwcp: merge, policy, audit record", |b| {
            // The chain grows as a node's does; begun anew now and then, so that memory does not measure.
            let mut audit = new_audit();
            b.iter(|| {
                if audit.chain().head().sequence >= 10_000 {
                    audit = new_audit();
                }
                black_box(world.merge(black_box(&key), &mut audit))
            });
        });
        let (mine, theirs) = automerge_fork(changes);
        group.bench_function("automerge", |b| {
            b.iter_batched_ref(
                || (mine.clone(), theirs.clone()),
                |(mine, theirs)| mine.merge(theirs).expect("merges"),
                BatchSize::SmallInput,
            );
        });
        let base = yrs_doc(&[], None);
        let state = base.transact().encode_state_as_update_v1(&yrs::StateVector::default());
        let theirs = yrs_doc(&state, Some(changes[1]));
        group.bench_function("yrs: vector, difference, apply", |b| {
            b.iter_batched_ref(
                || yrs_doc(&state, Some(changes[0])),
                |mine| {
                    let vector = mine.transact().state_vector();
                    let update = theirs.transact().encode_state_as_update_v1(&vector);
                    let update = Update::decode_v1(&update).expect("own bytes");
                    mine.transact_mut().apply_update(update).expect("own bytes");
                },
                BatchSize::SmallInput,
            );
        });
        let [mine, theirs] = loro_fork(changes);
        group.bench_function("loro: difference, import", |b| {
            b.iter_batched_ref(
                || mine.fork(),
                |mine| {
                    let from = mine.oplog_vv();
                    let update = theirs.export(loro::ExportMode::updates(&from)).expect("exports");
                    mine.import(&update).expect("own bytes");
                },
                BatchSize::SmallInput,
            );
        });
        let json = |d: &Document| -> serde_json::Value { serde_json::to_value(d.value()).expect("JSON") };
        let (base, mine, theirs) = (json(&world.base), json(&world.sides[0]), json(&world.sides[1]));
        group.bench_function("json-patch: difference, apply", |b| {
            b.iter_batched_ref(
                || mine.clone(),
                |mine| {
                    let patch = json_patch::diff(&base, &theirs);
                    json_patch::patch(mine, &patch).expect("applies");
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group! {
    name = conflict;
    config = Criterion::default().with_measurement(Cpu);
    targets = vectors, checks, merges
}
criterion_main!(conflict);
