//! How fast the checkers are: `cargo run --release --example speed -p dwcp-check`.
//!
//! Histories are produced by a correct object under a seeded schedule: `clients` clients,
//! each with one operation open at a time, over `keys` keys; half reads, 40 % writes of
//! unique values, 10 % compare-and-puts from the current value.

use dwcp_check::append::{self, Level, Status, Step, Transaction};
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

/// Transactions of one to four steps by 20 clients on a strictly serializable store; ten
/// live keys, each replaced by a new one after 100 appends.
fn transactions(count: usize) -> Vec<Transaction> {
    let mut draw = Draw(9);
    let mut lists: Vec<(u64, Vec<u64>)> = (0..10).map(|key| (key, Vec::new())).collect();
    let mut next_key = 10;
    let mut free = [0_u64; 20];
    let mut out = Vec::with_capacity(count);
    for at in 0..count as u64 {
        let process = at % 20;
        let call = free[process as usize].max(at * 10 - draw.below(100).min(at * 10));
        let ret = at * 10 + 1 + draw.below(100);
        free[process as usize] = ret + 1;
        let mut steps = Vec::new();
        for _ in 0..=draw.below(4) {
            let slot = &mut lists[draw.below(10) as usize];
            if draw.below(2) == 0 {
                let list = Some(slot.1.clone().into());
                steps.push(Step::Read { key: slot.0, list });
                continue;
            }
            if slot.1.len() == 100 {
                *slot = (next_key, Vec::new());
                next_key += 1;
            }
            let element = slot.1.len() as u64;
            slot.1.push(element);
            let key = slot.0;
            steps.push(Step::Append { key, element });
        }
        out.push(Transaction { process, call: call.min(at * 10), ret, status: Status::Committed, steps });
    }
    out
}

fn measure_transactions(count: usize) {
    let history = transactions(count);
    let input = peak_mib();
    let (began, spent) = (Instant::now(), processor());
    let found = append::check(&history, Level::StrictSerializable);
    println!(
        "{count:>9} list-append transactions, strict serializable: {:>7.3} s ({:.3} CPU s), peak {:>4} MiB ({input} before), {} anomalies",
        began.elapsed().as_secs_f64(),
        processor() - spent,
        peak_mib(),
        found.len(),
    );
}

/// Processor time of this process so far, seconds: other work on the machine does not count.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = stat.split_whitespace().next();
    first.and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
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
    let (began, spent) = (Instant::now(), processor());
    let verdict = check(&Kv, &operations, &Budget::default());
    let took = began.elapsed();
    let spent = processor() - spent;
    let rate = count as f64 / spent / 1e6;
    let text = verdict.to_string();
    let words: Vec<&str> = text.lines().collect();
    println!(
        "{count:>9} ops, {clients:>3} clients, {keys:>3} keys, stale read: {stale:<5} {:>7.3} s ({spent:.3} CPU s, {rate:.2} M ops/CPU s), peak {:>4} MiB ({input} before)  {}",
        took.as_secs_f64(),
        peak_mib(),
        words.first().unwrap_or(&""),
    );
}

fn main() {
    measure_transactions(100_000);
    measure_transactions(1_000_000);
    measure(100_000, 12, 20, false);
    for (clients, keys) in [(100, 100), (10, 100), (10, 1)] {
        for stale in [false, true] {
            measure(1_000_000, clients, keys, stale);
        }
    }
    measure(1_000_000, 100, 1, false);
}
