//! The kernels a put passes through, one by one.
//!
//! `cargo bench -p dwcp-benches`

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dwcp_env::exec::{Executor, Pick};
use dwcp_env::{Instant, Purpose, Seed, WallTime, wire};
use dwcp_store::api::{Command, Op, PutRequest};
use std::hint::black_box;

fn command(n: u64) -> Command {
    let key = Bytes::from(format!("bench/{n:06}"));
    let put = PutRequest { key, value: Bytes::from_static(&[7; 64]), ..PutRequest::default() };
    Command { session: None, time: WallTime::from_nanos(n), op: Op::Put(put) }
}

fn frames(c: &mut Criterion) {
    let body = Bytes::from_static(&[7; 256]);
    c.bench_function("frame 256 B", |b| b.iter(|| wire::frame(1, black_box(&body))));
    let frame = wire::frame(1, &body).expect("a small body");
    c.bench_function("parse 256 B", |b| b.iter(|| wire::parse(black_box(&frame))));
}

fn commands(c: &mut Criterion) {
    let put = command(1);
    c.bench_function("encode a put", |b| b.iter(|| black_box(&put).encode()));
    let bytes = put.encode();
    c.bench_function("decode a put", |b| b.iter(|| Command::decode(black_box(&bytes))));
}

fn draws(c: &mut Criterion) {
    const P: Purpose = Purpose::named("bench");
    c.bench_function("keyed draw", |b| b.iter(|| Seed(1).draw(P, black_box(2), Instant::ZERO, black_box(3))));
}

fn executor(c: &mut Criterion) {
    c.bench_function("spawn and poll 100 tasks", |b| {
        b.iter_batched(
            || Executor::new(Pick::Fifo),
            |mut executor| {
                for _ in 0..100 {
                    executor.spawner().spawn(async {});
                }
                executor.run(Instant::ZERO)
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(kernels, frames, commands, draws, executor);
criterion_main!(kernels);
