//! How fast the checkers are, beside others on the same histories, each case in a process of its
//! own: `cargo run --release --example speed -p dwcp-check`.
//!
//! Histories are produced by a correct object under a seeded schedule: `clients` clients,
//! each with one operation open at a time, over `keys` keys; half reads, 40 % writes of
//! unique values, 10 % compare-and-puts from the current value.

use dwcp_check::append::{self, Level, Status, Step, Transaction};
use dwcp_check::linearizable::kv::{Kv, KvAction, KvOp};
use dwcp_check::linearizable::{Budget, Operation, check};
use dwcp_check::rw;
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

/// Transactions of one to four reads and blind writes by 20 clients on a strictly serializable
/// store of `keys` registers; in a spoiled one a read in the middle answers what the register
/// held a while before.
fn registers(count: usize, keys: u64, spoiled: bool) -> Vec<rw::Transaction> {
    let mut draw = Draw(11);
    let mut past: Vec<Vec<Option<u64>>> = vec![vec![None]; keys as usize];
    let mut free = [0_u64; 20];
    let mut out = Vec::with_capacity(count);
    let (mut value, mut lie) = (0, spoiled);
    for at in 0..count as u64 {
        let process = at % 20;
        let call = free[process as usize].max(at * 10 - draw.below(100).min(at * 10)).min(at * 10);
        let ret = at * 10 + 1 + draw.below(100);
        free[process as usize] = ret + 1;
        let (mut steps, mut own) = (Vec::new(), Vec::new());
        for _ in 0..=draw.below(4) {
            let key = draw.below(keys);
            let states = &mut past[key as usize];
            if draw.below(2) == 0 {
                let now = states.len() - 1;
                let old = lie && at as usize > count / 2 && now > 4 && !own.contains(&key);
                lie = lie && !old;
                steps.push(rw::Step::Read { key, value: states[if old { now / 2 } else { now }] });
            } else {
                value += 1;
                if own.contains(&key) {
                    states.pop();
                }
                own.push(key);
                states.push(Some(value));
                steps.push(rw::Step::Write { key, value });
            }
        }
        out.push(rw::Transaction { process, call, ret, status: Status::Committed, steps });
    }
    out
}

/// The history as adya reads it.
fn registers_json(transactions: &[rw::Transaction]) -> String {
    json(transactions.iter().map(|transaction| {
        let step = |step: &rw::Step, shown: bool| match *step {
            rw::Step::Write { key, value } => format!("[\"w\",{key},{value}]"),
            rw::Step::Read { key, value: Some(value) } if shown => format!("[\"r\",{key},{value}]"),
            rw::Step::Read { key, .. } => format!("[\"r\",{key},null]"),
        };
        let value =
            |shown: bool| transaction.steps.iter().map(|s| step(s, shown)).collect::<Vec<_>>().join(",");
        (transaction.process, transaction.call, transaction.ret, [value(false), value(true)])
    }))
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

/// What `porcupine-rs` is asked.
#[derive(Clone)]
struct Theirs;

impl porcupine_rs::Model for Theirs {
    type State = std::collections::BTreeMap<u64, u64>;
    type Op = KvOp;
    type Metadata = ();

    fn init() -> Self::State {
        Self::State::new()
    }

    fn step(state: &Self::State, op: &KvOp) -> (bool, Self::State) {
        let found = state.get(&op.key).copied();
        let mut after = state.clone();
        let fits = match op.action {
            KvAction::Get(seen) => seen == found,
            KvAction::Put(value) => {
                after.insert(op.key, value);
                true
            }
            KvAction::Delete { existed } => {
                after.remove(&op.key);
                existed.is_none_or(|existed| existed == found.is_some())
            }
            KvAction::Cas { expected, new, succeeded } => {
                if found == expected {
                    after.insert(op.key, new);
                }
                succeeded == (found == expected)
            }
        };
        (fits, after)
    }
}

/// One key at a time, as its own tests partition.
fn porcupine(operations: &[Operation<KvOp>]) -> String {
    let mut by_key: std::collections::BTreeMap<u64, Vec<porcupine_rs::Operation<Theirs>>> =
        Default::default();
    for operation in operations {
        by_key.entry(operation.op.key).or_default().push(porcupine_rs::Operation {
            client_id: None,
            call_time: operation.call as i64,
            return_time: i64::try_from(operation.ret).unwrap_or(i64::MAX),
            op: operation.op,
            metadata: None,
        });
    }
    let all = by_key.values().all(|list| porcupine_rs::check_operations(list));
    if all { "linearizable".to_owned() } else { "not linearizable".to_owned() }
}

/// The history as adya reads it.
fn lists_json(transactions: &[Transaction]) -> String {
    json(transactions.iter().map(|transaction| {
        let step = |step: &Step, shown: bool| match step {
            Step::Append { key, element } => format!("[\"append\",{key},{element}]"),
            Step::Read { key, list: Some(list) } if shown => format!("[\"r\",{key},{list:?}]"),
            Step::Read { key, .. } => format!("[\"r\",{key},null]"),
        };
        let value =
            |shown: bool| transaction.steps.iter().map(|s| step(s, shown)).collect::<Vec<_>>().join(",");
        (transaction.process, transaction.call, transaction.ret, [value(false), value(true)])
    }))
}

/// Lines of process, call, return, and steps before and after.
fn json(transactions: impl Iterator<Item = (u64, u64, u64, [String; 2])>) -> String {
    let mut events: Vec<(u64, String)> = Vec::new();
    for (process, call, ret, [asked, answered]) in transactions {
        for (at, kind, value) in [(call, "invoke", asked), (ret, "ok", answered)] {
            let line = format!("{{\"type\":\"{kind}\",\"process\":{process},\"value\":[{value}]}}\n");
            events.push((at, line));
        }
    }
    events.sort();
    events.into_iter().map(|(_, line)| line).collect()
}

/// What a case is judged by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Ours,
    Theirs,
}

/// Where a case was begun: everything before is the input.
struct Begun {
    at: Instant,
    spent: f64,
    input: u64,
}

fn start() -> Begun {
    Begun { at: Instant::now(), spent: processor(), input: peak_mib() }
}

/// Runs one case in this process and prints its row.
fn run(kind: &str, by: By, numbers: &[u64]) {
    let (begun, told) = match kind {
        "lists" => lists(by, numbers[0] as usize),
        "registers" | "registers-stale" => transactions_on_registers(
            by,
            &registers(numbers[0] as usize, numbers[1], kind == "registers-stale"),
        ),
        _ => objects(by, kind == "stale", numbers),
    };
    let (took, cpu) = (begun.at.elapsed().as_secs_f64(), processor() - begun.spent);
    println!("{took:>8.3} {cpu:>8.3} {:>9} {:>9}  {told}", peak_mib(), begun.input);
}

fn lists(by: By, count: usize) -> (Begun, String) {
    let history = transactions(count);
    if by == By::Ours {
        let begun = start();
        let found = append::check(&history, Level::StrictSerializable);
        return (begun, format!("{} anomalies", found.len()));
    }
    adyas(&lists_json(&history), adya::Workload::ListAppend)
}

fn transactions_on_registers(by: By, history: &[rw::Transaction]) -> (Begun, String) {
    if by == By::Theirs {
        return adyas(&registers_json(history), adya::Workload::RwRegister);
    }
    let (level, budget) = (Level::StrictSerializable, rw::Budget::default());
    let options = rw::Options { level, unwritten: rw::Unwritten::Refuse, sessions: false, budget };
    let begun = start();
    let told = match rw::check(history, &options) {
        rw::Verdict::Valid => "valid".to_owned(),
        rw::Verdict::Unknown(why) => format!("unknown: {why}"),
        rw::Verdict::Invalid(found) => {
            let steps = found[0].transactions.iter().map(|at| history[*at].steps.len());
            let (name, count) = (found[0].name(), found[0].transactions.len());
            format!("{name}, witness of {count} transactions with {} operations", steps.sum::<usize>())
        }
    };
    (begun, told)
}

fn adyas(text: &str, workload: adya::Workload) -> (Begun, String) {
    let history = adya::History::from_json(text).expect("adya reads it");
    let opts = adya::Opts {
        models: vec!["strict-serializable".to_owned()],
        wfr_keys: true,
        linearizable_keys: true,
        ..adya::Opts::default()
    };
    let begun = start();
    let report = adya::check(&history, workload, &opts);
    (begun, format!("{:?}", report.valid))
}

fn objects(by: By, stale: bool, numbers: &[u64]) -> (Begun, String) {
    let mut operations = history(numbers[0] as usize, numbers[1], numbers[2]);
    if stale {
        spoil(&mut operations);
    }
    let begun = start();
    if by == By::Theirs {
        return (begun, porcupine(&operations));
    }
    let verdict = check(&Kv, &operations, &Budget::default());
    let count = verdict.witness().map_or(0, |witness| witness.operations.len());
    let words = if verdict.is_linearizable() { "linearizable" } else { "not linearizable" };
    (begun, format!("{words}, witness of {count}"))
}

/// Seconds after which a case of somebody else's is given up.
const PATIENCE: u64 = 60;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, by, numbers @ ..] = &args[..] {
        let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
        let by = if by == "ours" { By::Ours } else { By::Theirs };
        return run(kind, by, &numbers);
    }
    println!("{:<46} {:>8} {:>8} {:>9} {:>9}", "case", "s", "CPU s", "peak MiB", "of it in");
    let cases: [(&str, &[u64]); 13] = [
        ("kv", &[100_000, 12, 20]),
        ("kv", &[1_000_000, 100, 100]),
        ("stale", &[1_000_000, 100, 100]),
        ("kv", &[1_000_000, 10, 1]),
        ("kv", &[1_000_000, 100, 1]),
        ("stale", &[1_000_000, 10, 1]),
        ("kv", &[10_000, 10, 1]),
        ("lists", &[100_000]),
        ("lists", &[1_000_000]),
        ("registers", &[10_000, 100]),
        ("registers-stale", &[10_000, 100]),
        ("registers", &[100_000, 10_000]),
        ("registers-stale", &[100_000, 10_000]),
    ];
    for (kind, numbers) in cases {
        for (by, name) in [
            ("ours", "dwcp"),
            ("theirs", if ["kv", "stale"].contains(&kind) { "porcupine-rs" } else { "adya" }),
        ] {
            let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let title = format!("{kind} {} {name}", text.join("/"));
            print!("{title:<46} ");
            let child = std::process::Command::new("timeout")
                .arg(PATIENCE.to_string())
                .arg(std::env::current_exe().expect("this program"))
                .args([kind, by])
                .args(&text)
                .output()
                .expect("a process starts");
            let told = String::from_utf8_lossy(&child.stdout).into_owned();
            print!("{}", if told.is_empty() { format!("no answer in {PATIENCE} s\n") } else { told });
        }
    }
}
