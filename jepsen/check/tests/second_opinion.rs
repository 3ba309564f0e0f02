//! Second opinions: two checkers by others must agree on histories of seeded objects that
//! sometimes lie.
//!
//! `adya` follows dependencies and does not search: of registers with blind writes it sees less
//! than there is. There its refusals bind us, and not its acceptances; those are held against
//! every order in `rw.rs`, on histories small enough.

use dwcp_check::append::{self, Level, Status, Step, Through, Transaction};
use dwcp_check::linearizable::kv::{Kv, KvAction, KvOp};
use dwcp_check::linearizable::{Budget, Operation, check};
use dwcp_check::rw;
use std::fmt::Write;

/// Splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

/// What a client has open: an operation, and whether it took effect.
type Open = Option<(usize, bool)>;

/// Runs `clients` clients: `call` opens the n-th operation, `take` lets it take effect,
/// `done` tells it that it returned. A tenth of the operations never returns.
fn run(
    draw: &mut Draw,
    (clients, count): (usize, usize),
    mut call: impl FnMut(&mut Draw, u64, u64),
    mut take: impl FnMut(&mut Draw, usize),
    mut done: impl FnMut(usize, u64),
) {
    let mut open: Vec<Open> = vec![None; clients];
    let mut called = 0;
    let mut now = 0;
    while called < count || open.iter().any(Option::is_some) {
        now += 1;
        let client = draw.below(clients as u64) as usize;
        match open[client] {
            None if called < count => {
                open[client] = Some((called, false));
                call(draw, client as u64, now);
                called += 1;
            }
            None => {}
            Some((at, false)) => {
                if draw.below(20) > 0 {
                    take(draw, at);
                }
                open[client] = Some((at, true));
            }
            Some((at, true)) => {
                open[client] = None;
                done(at, now);
            }
        }
    }
}

#[derive(Clone)]
struct Theirs;

#[derive(Clone, Debug)]
struct TheirOp(KvAction, bool);

impl porcupine_rs::Model for Theirs {
    type State = Option<u64>;
    type Op = TheirOp;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, TheirOp(action, sure): &TheirOp) -> (bool, Option<u64>) {
        match *action {
            KvAction::Get(seen) => (!sure || seen == *state, *state),
            KvAction::Put(value) => (true, Some(value)),
            KvAction::Delete { existed } => {
                let fits = existed.is_none_or(|existed| existed == state.is_some());
                (!sure || fits, None)
            }
            KvAction::Cas { expected, new, succeeded } => {
                let fits = *state == expected;
                (!sure || fits == succeeded, if fits { Some(new) } else { *state })
            }
        }
    }
}

fn kv_history(seed: u64) -> Vec<Operation<KvOp>> {
    let mut draw = Draw(seed);
    let lies = seed % 3;
    let cell = std::cell::Cell::new(None);
    let old = std::cell::Cell::new(None);
    let operations = std::cell::RefCell::new(Vec::new());
    let call = |draw: &mut Draw, process, now| {
        let value = draw.below(4);
        let expected = draw.below(2) == 0;
        let action = match draw.below(10) {
            0..4 => KvAction::Get(None),
            4..7 => KvAction::Put(value),
            7 => KvAction::Delete { existed: None },
            _ => KvAction::Cas { expected: expected.then(|| draw.below(4)), new: value, succeeded: true },
        };
        let ret = Operation::<()>::PENDING;
        let op = KvOp { key: 0, action };
        operations.borrow_mut().push(Operation { process, call: now, ret, op });
    };
    let take = |draw: &mut Draw, at: usize| {
        let before = if lies > 0 && draw.below(30 / lies) == 0 { old.get() } else { cell.get() };
        let mut after = before;
        match &mut operations.borrow_mut()[at].op.action {
            KvAction::Get(seen) => *seen = before,
            KvAction::Put(value) => after = Some(*value),
            KvAction::Delete { existed } => {
                *existed = Some(before.is_some());
                after = None;
            }
            KvAction::Cas { expected, new, succeeded } => {
                *succeeded = before == *expected;
                after = if *succeeded { Some(*new) } else { before };
            }
        }
        old.set(cell.get());
        cell.set(after);
    };
    let done = |at: usize, now: u64| operations.borrow_mut()[at].ret = now;
    run(&mut draw, (4, 40), call, take, done);
    let mut operations = operations.into_inner();
    for operation in &mut operations {
        if draw.below(20) == 0 {
            operation.ret = Operation::<()>::PENDING;
            match &mut operation.op.action {
                KvAction::Delete { existed } => *existed = None,
                KvAction::Cas { succeeded, .. } => *succeeded = true,
                KvAction::Get(_) | KvAction::Put(_) => {}
            }
        }
    }
    operations
}

#[test]
fn porcupine_agrees_on_registers() {
    let mut verdicts = [0, 0];
    for seed in 0..400 {
        let history = kv_history(seed);
        let theirs: Vec<porcupine_rs::Operation<Theirs>> = history
            .iter()
            .map(|operation| porcupine_rs::Operation {
                client_id: None,
                call_time: operation.call as i64,
                return_time: i64::try_from(operation.ret).unwrap_or(i64::MAX),
                op: TheirOp(operation.op.action, operation.returned()),
                metadata: None,
            })
            .collect();
        let theirs = porcupine_rs::check_operations(&theirs);
        let ours = check(&Kv, &history, &Budget::default());
        assert_eq!(theirs, ours.is_linearizable(), "seed {seed}: {ours}");
        verdicts[usize::from(theirs)] += 1;
    }
    println!("refused {}, passed {}", verdicts[0], verdicts[1]);
    assert!(verdicts.iter().all(|count| *count > 50), "{verdicts:?}");
}

fn append_history(seed: u64) -> Vec<Transaction> {
    let mut draw = Draw(seed);
    let lies = seed % 3;
    let lists = std::cell::RefCell::new(vec![Vec::<u64>::new(); 3]);
    let transactions = std::cell::RefCell::new(Vec::<Transaction>::new());
    let next = std::cell::Cell::new(0);
    let call = |draw: &mut Draw, process, now| {
        let mut step = |_| {
            let key = draw.below(3);
            if draw.below(2) == 0 {
                return Step::Read { key, list: None };
            }
            next.set(next.get() + 1);
            let element = next.get();
            Step::Append { key, element }
        };
        let steps = (0..3).map(&mut step).collect();
        transactions.borrow_mut().push(Transaction {
            process,
            call: now,
            ret: u64::MAX,
            status: Status::Aborted,
            steps,
        });
    };
    let take = |draw: &mut Draw, at: usize| {
        let transaction = &mut transactions.borrow_mut()[at];
        transaction.status = Status::Committed;
        let mut lists = lists.borrow_mut();
        // A liar answers the reads of one transaction from an older state.
        let lie = lies > 0 && draw.below(60 / lies) == 0;
        let mut own: Vec<(u64, u64)> = Vec::new();
        for step in &mut transaction.steps {
            match step {
                Step::Append { key, element } => {
                    lists[*key as usize].push(*element);
                    own.push((*key, *element));
                }
                Step::Read { key, list } => {
                    let now = &lists[*key as usize];
                    let mine: Vec<u64> = own.iter().filter(|(k, _)| k == key).map(|(_, e)| *e).collect();
                    let others = now.len() - mine.len();
                    let cut = if lie { others.min(1) } else { 0 };
                    let mut seen = now[..others - cut].to_vec();
                    seen.extend(mine);
                    *list = Some(seen.into());
                }
            }
        }
    };
    let done = |at: usize, now: u64| transactions.borrow_mut()[at].ret = now;
    run(&mut draw, (4, 30), call, take, done);
    let mut transactions = transactions.into_inner();
    // At the end somebody reads everything, so that nothing is unseen.
    let lists = lists.into_inner();
    let read = |(key, list): (usize, Vec<u64>)| Step::Read { key: key as u64, list: Some(list.into()) };
    transactions.push(Transaction {
        process: 9,
        call: u64::MAX - 2,
        ret: u64::MAX - 1,
        status: Status::Committed,
        steps: lists.into_iter().enumerate().map(read).collect(),
    });
    transactions
}

/// A transaction as adya reads it: who, when, how it ended, and its steps before and after.
struct Told {
    process: u64,
    interval: (u64, u64),
    end: &'static str,
    asked: Vec<String>,
    answered: Vec<String>,
}

/// The history as adya reads it.
fn json(transactions: impl Iterator<Item = Told>) -> adya::History {
    let mut events: Vec<(u64, String)> = Vec::new();
    for Told { process, interval, end, asked, answered } in transactions {
        for (at, kind, steps) in [(interval.0, "invoke", asked), (interval.1, end, answered)] {
            let steps = steps.join(",");
            let line = format!("{{\"type\":\"{kind}\",\"process\":{process},\"value\":[{steps}]}}");
            events.push((at, line));
        }
    }
    events.sort();
    let mut text = String::new();
    for (_, line) in events {
        writeln!(text, "{line}").expect("a String grows");
    }
    adya::History::from_json(&text).expect("adya reads it")
}

fn end(status: Status) -> &'static str {
    match status {
        Status::Committed => "ok",
        Status::Aborted => "fail",
        Status::Unknown => "info",
    }
}

fn lists_told(transactions: &[Transaction]) -> adya::History {
    json(transactions.iter().map(|t| {
        let step = |step: &Step, shown: bool| match step {
            Step::Append { key, element } => format!("[\"append\",{key},{element}]"),
            Step::Read { key, list: Some(list) } if shown => format!("[\"r\",{key},{list:?}]"),
            Step::Read { key, .. } => format!("[\"r\",{key},null]"),
        };
        let all = |shown| t.steps.iter().map(|s| step(s, shown)).collect();
        let answered = all(t.status == Status::Committed);
        Told {
            process: t.process,
            interval: (t.call, t.ret),
            end: end(t.status),
            asked: all(false),
            answered,
        }
    }))
}

#[test]
fn adya_agrees_on_transactions() {
    let levels = [("serializable", Level::Serializable), ("strict-serializable", Level::StrictSerializable)];
    let mut verdicts = [0, 0];
    for seed in 0..300 {
        let history = append_history(seed);
        let theirs = lists_told(&history);
        for (name, level) in levels {
            let opts = adya::Opts { models: vec![name.to_owned()], ..adya::Opts::default() };
            let report = adya::check(&theirs, adya::Workload::ListAppend, &opts);
            let valid = report.valid == adya::Valid::True;
            let ours = append::check(&history, level);
            assert_eq!(
                valid,
                ours.is_empty(),
                "seed {seed} {name}: adya {:?}, ours {ours:#?}",
                report.anomaly_types
            );
            verdicts[usize::from(valid)] += 1;
        }
    }
    println!("refused {}, passed {}", verdicts[0], verdicts[1]);
    assert!(verdicts.iter().all(|count| *count > 50), "{verdicts:?}");
}

/// How transactions on registers are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writes {
    /// A write of a key follows a read of it, and every end is known: each version names the
    /// one before it, so whoever follows dependencies sees all there is.
    AfterReads,
    /// Writes as they come, some outcomes unknown: the order of versions must be found.
    Blind,
}

/// 30 transactions of one to three steps by four clients on three registers; a third of the
/// histories are true, in the others some transactions read an older state.
fn register_history(seed: u64, writes: Writes) -> Vec<rw::Transaction> {
    let mut draw = Draw(seed);
    // One transaction in so many reads an older state; a lie about blind writes is often none.
    let lie = [u64::MAX, 30, 15][(seed % 3) as usize] / if writes == Writes::Blind { 5 } else { 1 };
    // The states of the three registers, oldest first.
    let states = std::cell::RefCell::new(vec![[None::<u64>; 3]]);
    let transactions = std::cell::RefCell::new(Vec::<rw::Transaction>::new());
    let next = std::cell::Cell::new(0);
    let call = |draw: &mut Draw, process, now| {
        let first = draw.below(3);
        let mut steps = Vec::new();
        for nth in 0..=draw.below(3) {
            let key = if writes == Writes::AfterReads { (first + nth) % 3 } else { draw.below(3) };
            let write = draw.below(2) == 0;
            if writes == Writes::AfterReads || !write {
                steps.push(rw::Step::Read { key, value: None });
            }
            if write {
                next.set(next.get() + 1);
                steps.push(rw::Step::Write { key, value: next.get() });
            }
        }
        let status = Status::Aborted;
        transactions.borrow_mut().push(rw::Transaction { process, call: now, ret: u64::MAX, status, steps });
    };
    let take = |draw: &mut Draw, at: usize| {
        let transaction = &mut transactions.borrow_mut()[at];
        transaction.status = Status::Committed;
        let mut states = states.borrow_mut();
        let now = states[states.len() - 1];
        let back = if draw.below(lie) == 0 { 1 + draw.below(3) as usize } else { 0 };
        let mut shown = states[states.len().saturating_sub(1 + back)];
        let mut after = now;
        for step in &mut transaction.steps {
            match step {
                rw::Step::Write { key, value } => {
                    (after[*key as usize], shown[*key as usize]) = (Some(*value), Some(*value));
                }
                rw::Step::Read { key, value } => *value = shown[*key as usize],
            }
        }
        states.push(after);
    };
    let done = |at: usize, now: u64| transactions.borrow_mut()[at].ret = now;
    run(&mut draw, (4, 30), call, take, done);
    let mut transactions = transactions.into_inner();
    for (at, transaction) in transactions.iter_mut().enumerate() {
        if writes == Writes::Blind && draw.below(15) == 0 {
            // A client whose outcome is unknown is not heard of again.
            (transaction.status, transaction.process) = (Status::Unknown, 100 + at as u64);
        }
        if transaction.status != Status::Committed {
            transaction.steps.retain(|step| matches!(step, rw::Step::Write { .. }));
        }
    }
    transactions.retain(|transaction| !transaction.steps.is_empty());
    transactions
}

fn registers_told(transactions: &[rw::Transaction]) -> adya::History {
    json(transactions.iter().map(|t| {
        let step = |step: &rw::Step, shown: bool| match *step {
            rw::Step::Write { key, value } => format!("[\"w\",{key},{value}]"),
            rw::Step::Read { key, value: Some(value) } if shown => format!("[\"r\",{key},{value}]"),
            rw::Step::Read { key, .. } => format!("[\"r\",{key},null]"),
        };
        let all = |shown| t.steps.iter().map(|s| step(s, shown)).collect();
        let (asked, answered) = (all(false), all(true));
        Told { process: t.process, interval: (t.call, t.ret), end: end(t.status), asked, answered }
    }))
}

/// What adya refuses we refuse; where each write follows a read of its key, we refuse nothing else.
/// adya is told what each level implies of the order of versions: it does not infer that.
#[test]
fn adya_agrees_on_registers() {
    let levels = [
        Level::SnapshotIsolation,
        Level::StrongSessionSnapshotIsolation,
        Level::StrongSnapshotIsolation,
        Level::Serializable,
        Level::StrongSession,
        Level::StrictSerializable,
    ];
    for writes in [Writes::AfterReads, Writes::Blind] {
        // Refused by both, passed by both, refused by us alone.
        let mut verdicts = [0, 0, 0];
        for (seed, level) in (0..300).flat_map(|seed| levels.map(|level| (seed, level))) {
            let history = register_history(seed, writes);
            let opts = adya::Opts {
                models: vec![level.name().to_owned()],
                wfr_keys: true,
                sequential_keys: level.through() >= Through::Process,
                linearizable_keys: level.through() == Through::Realtime,
                ..adya::Opts::default()
            };
            let report = adya::check(&registers_told(&history), adya::Workload::RwRegister, &opts);
            let theirs = report.valid == adya::Valid::False;
            let budget = rw::Budget::default();
            let options = rw::Options { level, unwritten: rw::Unwritten::Refuse, sessions: false, budget };
            let ours = rw::check(&history, &options);
            assert!(!matches!(ours, rw::Verdict::Unknown(_)), "seed {seed} {level}: {ours:?}");
            let row = match (theirs, !ours.is_valid()) {
                (true, true) => 0,
                (false, false) => 1,
                (false, true) if writes == Writes::Blind => 2,
                _ => {
                    panic!("{writes:?} seed {seed} {level}: adya {:?}, ours {ours:#?}", report.anomaly_types)
                }
            };
            verdicts[row] += 1;
        }
        println!(
            "{writes:?}: refused {}, passed {}, refused by us alone {}",
            verdicts[0], verdicts[1], verdicts[2]
        );
        assert!(verdicts[..2].iter().all(|count| *count > 300), "{writes:?} {verdicts:?}");
    }
}
