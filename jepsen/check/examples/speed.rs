//! How fast the checkers are: `cargo run --release --example speed -p dwcp-check`.
//!
//! Histories are produced by a correct object under a seeded schedule: `clients` clients,
//! each with one operation open at a time, over `keys` keys; half reads, 40 % writes of
//! unique values, 10 % compare-and-puts from the current value.

use dwcp_check::linearizable::kv::{Kv, KvAction, KvOp};
use dwcp_check::linearizable::{Budget, Operation, check};
use std::time::Instant;

/// Splitmix64: enough for a schedule.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

fn history(count: usize, clients: u64, keys: u64) -> Vec<Operation<KvOp>> {
    let mut draw = Draw(7);
    let mut cells: Vec<Option<u64>> = vec![None; keys as usize];
    // Per client: the index of its open operation, and whether it took effect.
    let mut open: Vec<Option<(usize, bool)>> = vec![None; clients as usize];
    let mut operations: Vec<Operation<KvOp>> = Vec::with_capacity(count);
    let mut now = 0;
    while operations.len() < count || open.iter().any(Option::is_some) {
        now += 1;
        let client = draw.below(clients);
        match open[client as usize] {
            None if operations.len() < count => {
                let key = draw.below(keys);
                let value = operations.len() as u64 + 1;
                let action = match draw.below(10) {
                    0..5 => KvAction::Get(None),
                    5..9 => KvAction::Put(value),
                    _ => KvAction::Cas { expected: cells[key as usize], new: value, succeeded: true },
                };
                open[client as usize] = Some((operations.len(), false));
                operations.push(Operation {
                    process: client,
                    call: now,
                    ret: Operation::<()>::PENDING,
                    op: KvOp { key, action },
                });
            }
            None => {}
            Some((at, false)) => {
                apply(&mut operations[at].op, &mut cells);
                open[client as usize] = Some((at, true));
            }
            Some((at, true)) => {
                operations[at].ret = now;
                open[client as usize] = None;
            }
        }
    }
    operations
}

fn apply(op: &mut KvOp, cells: &mut [Option<u64>]) {
    let cell = &mut cells[op.key as usize];
    match &mut op.action {
        KvAction::Get(seen) => *seen = *cell,
        KvAction::Put(value) => *cell = Some(*value),
        KvAction::Delete { existed } => *existed = Some(cell.take().is_some()),
        KvAction::Cas { expected, new, succeeded } => {
            *succeeded = *cell == *expected;
            if *succeeded {
                *cell = Some(*new);
            }
        }
    }
}

/// Makes one read in the middle answer what a much earlier read of the key answered.
fn spoil(operations: &mut [Operation<KvOp>]) {
    let is_get = |op: &Operation<KvOp>| matches!(op.op.action, KvAction::Get(Some(_)));
    let middle = operations.len() / 2;
    let late = (middle..).find(|at| is_get(&operations[*at])).expect("a read");
    let same = |at: &usize| is_get(&operations[*at]) && operations[*at].op.key == operations[late].op.key;
    let early = (0..middle / 2).rev().find(same).expect("an earlier read");
    operations[late].op.action = operations[early].op.action;
}

/// Peak resident memory of this process so far, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn measure(count: usize, clients: u64, keys: u64, stale: bool) {
    let mut operations = history(count, clients, keys);
    if stale {
        spoil(&mut operations);
    }
    let input = peak_mib();
    let began = Instant::now();
    let verdict = check(&Kv, &operations, &Budget::default());
    let took = began.elapsed();
    let rate = count as f64 / took.as_secs_f64() / 1e6;
    let text = verdict.to_string();
    let words: Vec<&str> = text.lines().collect();
    println!(
        "{count:>9} ops, {clients:>3} clients, {keys:>3} keys, stale read: {stale:<5} {:>8.3} s {rate:>6.2} M ops/s, peak {:>4} MiB ({input} before)  {}",
        took.as_secs_f64(),
        peak_mib(),
        words.first().unwrap_or(&""),
    );
}

fn main() {
    for (clients, keys) in [(100, 100), (10, 100), (10, 1), (100, 1)] {
        for stale in [false, true] {
            measure(1_000_000, clients, keys, stale);
        }
    }
    measure(100_000, 12, 20, false);
}
