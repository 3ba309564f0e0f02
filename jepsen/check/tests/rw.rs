//! Transactions of registers: one history a kind of anomaly with its words, and the law that
//! the checker agrees with trying every serial order, and every order of begins and commits.

use dwcp_check::append::Status;
use dwcp_check::level::Level;
use dwcp_check::rw::{Budget, Options, Step, Transaction, Unwritten, Verdict, check, verdict};
use proptest::prelude::*;

/// `"c0 1..4 ok: w x1, r y2"`: client, interval, outcome, steps; value 0 is the beginning.
fn script(lines: &[&str]) -> Vec<Transaction> {
    lines.iter().map(|line| parse(line)).collect()
}

fn parse(line: &str) -> Transaction {
    let (head, body) = line.split_once(": ").expect("a head and steps");
    let [client, interval, status] = head.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("client, interval, outcome: {head}");
    };
    let (call, ret) = interval.split_once("..").expect("an interval");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let status = match status {
        "ok" => Status::Committed,
        "fail" => Status::Aborted,
        _ => Status::Unknown,
    };
    let step = |step: &str| {
        let (function, rest) = step.split_once(' ').expect("a step");
        let (key, value) = (u64::from(rest.as_bytes()[0]), number(&rest[1..]));
        match function {
            "w" => Step::Write { key, value },
            _ => Step::Read { key, value: (value > 0).then_some(value) },
        }
    };
    Transaction {
        process: number(&client[1..]),
        call: number(call),
        ret: number(ret),
        status,
        steps: body.split(", ").map(step).collect(),
    }
}

fn options(level: Level) -> Options {
    Options { level, unwritten: Unwritten::Refuse, sessions: false, budget: Budget::default() }
}

fn names(history: &[Transaction], level: Level) -> Vec<String> {
    match check(history, &options(level)) {
        Verdict::Valid => Vec::new(),
        Verdict::Invalid(found) => found.iter().map(|anomaly| anomaly.name()).collect(),
        Verdict::Unknown(why) => panic!("{why}"),
    }
}

#[test]
fn each_anomaly_has_its_name_and_its_level() {
    use Level::{
        Causal, ReadAtomic, ReadCommitted, Serializable, SnapshotIsolation, StrongSession,
        StrongSnapshotIsolation,
    };
    let cases: &[(&str, Level, &[&str])] = &[
        ("thin-air-read", ReadCommitted, &["c0 1..9 ok: r x7"]),
        ("future-read", ReadCommitted, &["c0 1..9 ok: r x1, w x1"]),
        ("internal", ReadCommitted, &["c0 1..9 ok: w x1, r x2", "c1 1..9 ok: w x2"]),
        ("G1a", ReadCommitted, &["c0 1..2 fail: w x1", "c1 3..4 ok: r x1"]),
        ("G1b", ReadCommitted, &["c0 1..9 ok: w x1, w x2", "c1 1..9 ok: r x1"]),
        ("G1c", ReadCommitted, &["c0 1..9 ok: w x1, r y1", "c1 1..9 ok: w y1, r x1"]),
        (
            "read-committed-cycle",
            ReadCommitted,
            &[
                "c0 1..9 ok: w x1, w y1",
                "c1 1..9 ok: w x2, w y2",
                "c2 1..9 ok: r x1, r y2, r x1",
                "c3 1..9 ok: r x2, r y1",
            ],
        ),
        ("non-repeatable-read", ReadAtomic, &["c0 1..9 ok: r x0, r x1", "c1 1..9 ok: w x1"]),
        ("fractured-read", ReadAtomic, &["c0 1..9 ok: w x1, w y1", "c1 1..9 ok: r x1, r y0"]),
        (
            "causality-violation",
            Causal,
            &["c0 1..2 ok: w x1", "c1 3..4 ok: r x1, w y1", "c2 5..6 ok: r y1", "c2 7..8 ok: r x0"],
        ),
        ("lost-update", SnapshotIsolation, &["c0 1..9 ok: r x0, w x1", "c1 1..9 ok: r x0, w x2"]),
        (
            "G-nonadjacent",
            SnapshotIsolation,
            &["c0 1..9 ok: w x1", "c1 1..9 ok: w y1", "c2 1..9 ok: r x1, r y0", "c3 1..9 ok: r x0, r y1"],
        ),
        ("G2-item", Serializable, &["c0 1..9 ok: r x0, w y1", "c1 1..9 ok: r y0, w x1"]),
        ("G-single-process", StrongSession, &["c0 1..2 ok: w x1", "c0 3..4 ok: r x0"]),
        ("G-single-realtime", StrongSnapshotIsolation, &["c0 1..2 ok: w x1", "c1 3..4 ok: r x0"]),
        ("G1c-realtime", StrongSnapshotIsolation, &["c0 5..6 ok: w x1", "c1 1..2 ok: r x1"]),
    ];
    for (name, from, lines) in cases {
        let history = script(lines);
        let found = names(&history, *from);
        assert!(found.iter().any(|f| f == name), "{name} at {from:?}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_an_anomaly() {
    for lines in [
        &["c0 1..9 info: w x1", "c1 2..3 ok: r x0", "c2 20..21 ok: r x1"][..],
        &["c0 1..9 info: w x1, w y1", "c1 2..3 ok: r x0", "c2 20..21 ok: r x0, r y0"],
        &["c0 1..9 fail: w x1", "c1 20..21 ok: r x0"],
        &["c0 1..2 ok: r x0, w x1, r x1, w x2, r x2", "c1 3..4 ok: r x2, w x3"],
        &["c0 1..9 ok: w x1", "c1 2..3 ok: r x0", "c2 4..5 ok: r x1"],
        // Three blind writers, seen in an order that nobody wrote down.
        &["c0 1..9 ok: w x1", "c1 1..9 ok: w x2", "c2 1..9 ok: w x3", "c3 10..11 ok: r x2"],
    ] {
        assert_eq!(names(&script(lines), Level::StrictSerializable), [""; 0], "{lines:?}");
    }
}

/// Golden: a refusal that rests on more than one cycle names who it leans on.
#[test]
fn a_refusal_is_told_in_words() {
    let history = script(&[
        "c9 1..9 ok: w z5, w z6, r q0",
        "c0 1..9 ok: r x0, w y1, r z0",
        "c1 1..9 ok: r y0, w x1",
        "c8 1..9 ok: w q7",
    ]);
    let Verdict::Invalid(found) = check(&history, &options(Level::Serializable)) else {
        panic!("write skew")
    };
    assert_eq!(
        found[0].to_string(),
        "G2-item: T1, T2 would each come before the next, and the last before the first\
         \n  T1 = client 0: read 120 -> unset, write 121 1\
         \n  T2 = client 1: read 121 -> unset, write 120 1\
         \n  T1 before T2: it read 120 without 1 (rw)\
         \n  T2 before T1: it read 121 without 1 (rw)"
    );
}

/// Tries every serial order.
fn serial(
    transactions: &[Transaction],
    done: &mut Vec<usize>,
    state: &[u64; 3],
    order: &dyn Fn(usize, usize) -> bool,
) -> bool {
    let left: Vec<usize> = (0..transactions.len()).filter(|at| !done.contains(at)).collect();
    if left.is_empty() {
        return true;
    }
    left.iter().any(|&at| {
        if left.iter().any(|other| *other != at && order(*other, at)) {
            return false;
        }
        let mut after = *state;
        for step in &transactions[at].steps {
            match *step {
                Step::Write { key, value } => after[key as usize] = value,
                Step::Read { key, value } if after[key as usize] != value.unwrap_or(0) => return false,
                Step::Read { .. } => {}
            }
        }
        done.push(at);
        let found = serial(transactions, done, &after, order);
        done.pop();
        found
    })
}

/// Tries every order of begins and commits: reads from the state at the begin, and no other
/// commit to a written key between begin and commit.
fn snapshots(
    transactions: &[Transaction],
    begun: &mut Vec<(usize, [u64; 3], [u64; 3])>,
    committed: &mut Vec<usize>,
    state: &[u64; 3],
    versions: &[u64; 3],
    order: &dyn Fn(usize, usize) -> bool,
) -> bool {
    if committed.len() == transactions.len() {
        return true;
    }
    let open: Vec<usize> = (0..transactions.len()).filter(|at| !committed.contains(at)).collect();
    for &at in &open {
        let started = begun.iter().position(|(other, ..)| *other == at);
        let Some(place) = started else {
            if open.iter().any(|other| *other != at && order(*other, at)) {
                continue;
            }
            let mut own = *state;
            let fits = transactions[at].steps.iter().all(|step| match *step {
                Step::Write { key, value } => {
                    own[key as usize] = value;
                    true
                }
                Step::Read { key, value } => own[key as usize] == value.unwrap_or(0),
            });
            if !fits {
                continue;
            }
            begun.push((at, own, *versions));
            if snapshots(transactions, begun, committed, state, versions, order) {
                return true;
            }
            begun.pop();
            continue;
        };
        let (_, own, seen) = begun[place];
        let mut after = *state;
        let mut counts = *versions;
        let writes = |key: usize| {
            transactions[at]
                .steps
                .iter()
                .any(|step| matches!(step, Step::Write { key: k, .. } if *k as usize == key))
        };
        if (0..3).any(|key| writes(key) && seen[key] != versions[key]) {
            continue;
        }
        for key in (0..3).filter(|key| writes(*key)) {
            after[key] = own[key];
            counts[key] += 1;
        }
        let entry = begun.remove(place);
        committed.push(at);
        if snapshots(transactions, begun, committed, &after, &counts, order) {
            return true;
        }
        committed.pop();
        begun.insert(place, entry);
    }
    false
}

/// Session, steps (write, key, choice), gap and length.
type RawTransaction = (u64, Vec<(bool, u64, u64)>, u64, u64);

/// Which transaction must come before which.
type Before<'a> = &'a dyn Fn(usize, usize) -> bool;

/// Steps by kind, key and a choice; values are unique, reads choose among those written.
fn build(raw: Vec<RawTransaction>) -> Vec<Transaction> {
    let mut written: Vec<Vec<u64>> = vec![vec![0]; 3];
    let mut next = 0;
    let mut transactions = Vec::new();
    let mut ends = [0_u64; 3];
    for (process, steps, gap, length) in &raw {
        let call = ends[*process as usize] + gap + 1;
        ends[*process as usize] = call + length;
        let mut out = Vec::new();
        for (write, key, _) in steps {
            if *write {
                next += 1;
                written[*key as usize].push(next);
                out.push(Step::Write { key: *key, value: next });
            } else {
                out.push(Step::Read { key: *key, value: None });
            }
        }
        let (process, status) = (*process, Status::Committed);
        transactions.push(Transaction { process, call, ret: call + length, status, steps: out });
    }
    for (transaction, (_, steps, ..)) in transactions.iter_mut().zip(&raw) {
        for (step, (_, _, choice)) in transaction.steps.iter_mut().zip(steps) {
            if let Step::Read { key, value } = step {
                let list = &written[*key as usize];
                let chosen = list[*choice as usize % list.len()];
                *value = (chosen > 0).then_some(chosen);
            }
        }
    }
    transactions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_every_order(
        raw in prop::collection::vec(
            (0..3_u64, prop::collection::vec((any::<bool>(), 0..3_u64, 0..4_u64), 1..4), 0..4_u64, 0..6_u64), 1..6),
    ) {
        let history = build(raw);
        let none = |_: usize, _: usize| false;
        let session = |a: usize, b: usize| history[a].process == history[b].process && history[a].call < history[b].call;
        let real = |a: usize, b: usize| history[a].ret < history[b].call;
        let levels: [(Level, Before<'_>); 6] = [
            (Level::Serializable, &none),
            (Level::StrongSession, &session),
            (Level::StrictSerializable, &real),
            (Level::SnapshotIsolation, &none),
            (Level::StrongSessionSnapshotIsolation, &session),
            (Level::StrongSnapshotIsolation, &real),
        ];
        for (level, order) in levels {
            let truth = if level.is_serial() {
                serial(&history, &mut Vec::new(), &[0; 3], order)
            } else {
                snapshots(&history, &mut Vec::new(), &mut Vec::new(), &[0; 3], &[0; 3], order)
            };
            let found = verdict(&history, &options(level));
            prop_assert_eq!(truth, found.is_valid(), "{} {:?} {:#?}", level, found, &history);
            // Cutting down changes the words, never the verdict; and what is left is small.
            let cut = check(&history, &options(level));
            prop_assert_eq!(cut.is_valid(), found.is_valid());
        }
    }

    /// What a level implies, a verdict must imply.
    #[test]
    fn stronger_levels_refuse_more(
        raw in prop::collection::vec(
            (0..3_u64, prop::collection::vec((any::<bool>(), 0..3_u64, 0..4_u64), 1..4), 0..4_u64, 0..6_u64), 1..7),
    ) {
        let history = build(raw);
        let held: Vec<Level> =
            Level::ALL.into_iter().filter(|level| verdict(&history, &options(*level)).is_valid()).collect();
        for strong in &held {
            for weak in Level::ALL.into_iter().filter(|weak| strong.implies(*weak)) {
                prop_assert!(held.contains(&weak), "{} holds and {} does not: {:#?}", strong, weak, &history);
            }
        }
    }
}
