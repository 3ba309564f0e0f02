//! Transactions of lists: one history a kind of anomaly, recorded histories, and the law
//! that the checker agrees with trying every serial order.

use dwcp_check::anomaly::Anomaly;
use dwcp_check::append::{Level, Status, Step, Through, Transaction, check, transactions};
use dwcp_check::history::format::{self, Loaded};
use dwcp_check::history::{Interner, Limits};
use proptest::prelude::*;
use std::io::{BufReader, Read};

/// `"c0 1..4 ok: a x1, r y[1 2]"`: client, interval, outcome, steps.
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
    let key = |text: &str| u64::from(text.as_bytes()[0]);
    let step = |step: &str| {
        let (function, rest) = step.split_once(' ').expect("a step");
        if function == "a" {
            let (key, element) = (key(rest), number(&rest[1..]));
            return Step::Append { key, element };
        }
        let elements = rest[1..].trim_matches(['[', ']']);
        let list: Box<[u64]> = elements.split_whitespace().map(number).collect();
        Step::Read { key: key(rest), list: (status == Status::Committed).then_some(list) }
    };
    Transaction {
        process: number(&client[1..]),
        call: number(call),
        ret: number(ret),
        status,
        steps: body.split(", ").map(step).collect(),
    }
}

fn names(anomalies: &[Anomaly]) -> Vec<String> {
    anomalies.iter().map(Anomaly::name).collect()
}

#[test]
fn each_anomaly_has_its_name_and_its_level() {
    use Level::{
        ReadAtomic, ReadCommitted, ReadUncommitted, Serializable, SnapshotIsolation,
        StrongSessionSnapshotIsolation, StrongSnapshotIsolation,
    };
    let cases: &[(&str, Level, &[&str])] = &[
        (
            "G0",
            ReadUncommitted,
            &["c0 1..9 ok: a x1, a y1", "c1 1..9 ok: a x2, a y2", "c2 10..11 ok: r x[1 2], r y[2 1]"],
        ),
        ("G1a", ReadCommitted, &["c0 1..2 fail: a x1", "c1 3..4 ok: r x[1]"]),
        ("G1b", ReadCommitted, &["c0 1..9 ok: a x1, a x2", "c1 1..9 ok: r x[1]"]),
        ("G1c", ReadCommitted, &["c0 1..9 ok: a x1, r y[1]", "c1 1..9 ok: a y1, r x[1]"]),
        ("internal", ReadAtomic, &["c0 1..2 ok: a x1, r x[]"]),
        ("internal", ReadAtomic, &["c0 1..2 ok: r x[1], a x1"]),
        ("internal", ReadAtomic, &["c0 1..2 ok: a x1, a x2", "c1 1..2 ok: r x[2]"]),
        ("internal", ReadAtomic, &["c0 1..9 ok: r x[], r x[1]", "c1 1..9 ok: a x1"]),
        // Both read nothing, both append.
        (
            "lost-update",
            SnapshotIsolation,
            &["c0 1..9 ok: r x[], a x1", "c1 1..9 ok: r x[], a x2", "c2 10..11 ok: r x[1 2]"],
        ),
        // Read skew: old x, new y.
        ("G-single", SnapshotIsolation, &["c0 1..9 ok: a x1, a y1", "c1 1..9 ok: r x[], r y[1]"]),
        // Write skew.
        ("G2-item", Serializable, &["c0 1..9 ok: r x[], a y1", "c1 1..9 ok: r y[], a x1"]),
        // Long fork.
        (
            "G-nonadjacent",
            SnapshotIsolation,
            &[
                "c0 1..9 ok: a x1",
                "c1 1..9 ok: a y1",
                "c2 1..9 ok: r x[1], r y[]",
                "c3 1..9 ok: r x[], r y[1]",
            ],
        ),
        (
            "G-single-process",
            StrongSessionSnapshotIsolation,
            &["c0 1..2 ok: a x1", "c0 3..4 ok: r x[]", "c1 1..9 ok: r x[1]"],
        ),
        // A stale read.
        (
            "G-single-realtime",
            StrongSnapshotIsolation,
            &["c0 1..2 ok: a x1", "c1 3..4 ok: r x[]", "c2 5..6 ok: r x[1]"],
        ),
        // A lost append: acknowledged, never seen.
        (
            "G-single-realtime",
            StrongSnapshotIsolation,
            &["c0 1..2 ok: a x1", "c1 3..4 ok: a x2", "c2 5..6 ok: r x[1]"],
        ),
        ("G1c-realtime", StrongSnapshotIsolation, &["c0 5..6 ok: a x1", "c1 1..2 ok: r x[1]"]),
        (
            "G0-realtime",
            StrongSnapshotIsolation,
            &["c0 1..2 ok: a x1", "c1 3..4 ok: a x2", "c2 1..9 ok: r x[2 1]"],
        ),
        ("duplicate-element", ReadUncommitted, &["c0 1..2 ok: a x1", "c1 3..4 ok: r x[1 1]"]),
        (
            "incompatible-order",
            ReadUncommitted,
            &["c0 1..9 ok: a x1", "c1 1..9 ok: a x2", "c2 1..9 ok: r x[1]", "c3 1..9 ok: r x[2 1]"],
        ),
        ("unwritten-element", ReadUncommitted, &["c1 3..4 ok: r x[7]"]),
        ("repeated-append", ReadUncommitted, &["c0 1..2 ok: a x1", "c1 3..4 ok: a x1"]),
    ];
    for (name, from, lines) in cases {
        let history = script(lines);
        for level in Level::ALL {
            let found = names(&check(&history, level));
            // Real time contains the order of sessions.
            let renamed = name.ends_with("-process") && level.through() == Through::Realtime;
            if renamed {
                assert!(!found.is_empty() || !level.implies(*from), "{name} at {level:?}");
            } else if level.implies(*from) {
                assert!(found.iter().any(|f| f == name), "{name} at {level:?}: {found:?}");
            }
        }
        // What is above is the first fault: nothing weaker forbids the history.
        let weaker = Level::ALL.into_iter().filter(|level| from.implies(*level) && level != from);
        for level in weaker.filter(|level| !matches!(level, ReadAtomic | Level::Causal)) {
            assert_eq!(names(&check(&history, level)), [""; 0], "{name} at {level:?}");
        }
    }
}

#[test]
fn what_is_allowed_is_not_an_anomaly() {
    for lines in [
        // Unknown outcomes, seen or not, and an aborted append that nobody saw.
        &["c0 1..9 info: a x1", "c1 2..3 ok: r x[]", "c2 20..21 ok: r x[1]"][..],
        &["c0 1..9 info: a x1, a y1", "c1 2..3 ok: r x[]", "c2 20..21 ok: r x[], r y[]"],
        &["c0 1..9 fail: a x1", "c1 20..21 ok: r x[]"],
        // Own appends are seen at once; an own unseen append does not follow itself.
        &["c0 1..2 ok: r x[], a x1, r x[1], a x2, r x[1 2]", "c1 3..4 ok: r x[1 2], a x3"],
        // Concurrent transactions may come in either order.
        &["c0 1..9 ok: a x1", "c1 2..3 ok: r x[]", "c2 4..5 ok: r x[1]"],
    ] {
        assert_eq!(check(&script(lines), Level::StrictSerializable), []);
    }
}

/// Golden: the words that people read.
#[test]
fn a_cycle_is_told_in_words() {
    let history = script(&["c0 1..2 ok: a x1", "c1 3..4 ok: a x2", "c2 5..6 ok: r x[1]"]);
    let told: Vec<String> =
        check(&history, Level::StrictSerializable).iter().map(Anomaly::to_string).collect();
    assert_eq!(
        told,
        ["G-single-realtime: T2, T1 would each come before the next, and the last before the first\
         \n  T2 = client 2: read 120 -> [1]\
         \n  T1 = client 1: append 2 to 120\
         \n  T2 before T1: it read all that was ever seen of 120, without 2 (rw)\
         \n  T1 before T2: it had returned when the other was called (realtime)"]
    );
}

fn recorded(file: &str) -> Vec<Transaction> {
    let path = format!("{}/testdata/elle/{file}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).expect("a recorded history is there");
    let input: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let (_, loaded) = format::read(BufReader::new(input), Limits::default()).expect("it can be read");
    let Loaded::Events(history) = loaded else { panic!("{path} holds events") };
    transactions(&history, &mut Interner::default()).expect("it holds transactions")
}

/// Verdicts by the tests of Elle and of elle-cli.
#[test]
fn recorded_by_elle() {
    let gh_30 = recorded("elle-cli-list-append-gh-30.edn");
    let found = check(&gh_30, Level::Serializable);
    assert!(!found.is_empty(), "violates serializability");
    println!("{}", found[0]);
    let paper = recorded("elle-cli-paper-example.edn");
    let found = names(&check(&paper, Level::StrictSerializable));
    assert!(!found.is_empty(), "violates strict serializability");
    println!("{found:?}");
    let huge = recorded("elle-huge-scc.edn.gz");
    let began = std::time::Instant::now();
    let found = check(&huge, Level::StrictSerializable);
    println!("{:?} for {} transactions", began.elapsed(), huge.len());
    for anomaly in &found {
        println!("{anomaly}");
    }
    assert!(!found.is_empty(), "violates strong snapshot isolation");
    assert_eq!(names(&check(&huge, Level::Serializable)), [""; 0], "only real time is violated");
}

/// Tries every serial order.
fn every_order(
    transactions: &[Transaction],
    done: &mut Vec<usize>,
    lists: &[Vec<u64>; 2],
    realtime: bool,
) -> bool {
    let left: Vec<usize> = (0..transactions.len()).filter(|at| !done.contains(at)).collect();
    let committed = |at: &usize| transactions[*at].status == Status::Committed;
    if !left.iter().any(committed) {
        return true;
    }
    left.iter().any(|&at| {
        let transaction = &transactions[at];
        let overtaken = |other: &usize| transactions[*other].ret < transaction.call;
        if realtime && left.iter().filter(|other| committed(other)).any(overtaken) {
            return false;
        }
        let mut after = lists.clone();
        for step in &transaction.steps {
            match step {
                Step::Append { key, element } => after[*key as usize].push(*element),
                Step::Read { key, list } => {
                    if list.as_ref().is_some_and(|list| **list != *after[*key as usize]) {
                        return false;
                    }
                }
            }
        }
        done.push(at);
        let found = every_order(transactions, done, &after, realtime);
        done.pop();
        found
    })
}

type RawStep = (bool, u64, usize);

/// Transactions whose reads begin a shuffled final order of each key: near the border
/// between valid and not.
fn build(raw: Vec<(Vec<RawStep>, u64, u64, u8)>, shuffle: u64) -> Vec<Transaction> {
    let mut next = [0_u64; 2];
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut now = 0;
    for (process, (steps, gap, duration, status)) in raw.into_iter().enumerate() {
        now += gap;
        let status = match status {
            0 => Status::Unknown,
            1 => Status::Aborted,
            _ => Status::Committed,
        };
        let mut build = |(append, key, length): RawStep| {
            if append {
                next[key as usize] += 1;
                let element = next[key as usize];
                return Step::Append { key, element };
            }
            // The length stands for the list until all elements are known.
            let list = Some(vec![length as u64].into());
            Step::Read { key, list }
        };
        transactions.push(Transaction {
            process: process as u64,
            call: now,
            ret: now + duration,
            status,
            steps: steps.into_iter().map(&mut build).collect(),
        });
    }
    let order = |key: u64| {
        let mut order: Vec<u64> = (1..=next[key as usize]).collect();
        if order.len() > 1 {
            let at = (shuffle >> (8 * key)) as usize % (order.len() * 2);
            if at + 1 < order.len() {
                order.swap(at, at + 1);
            }
        }
        order
    };
    for transaction in &mut transactions {
        let committed = transaction.status == Status::Committed;
        let mut own: Vec<(u64, u64)> = Vec::new();
        for step in &mut transaction.steps {
            match step {
                Step::Append { key, element } => own.push((*key, *element)),
                Step::Read { list, .. } if !committed => *list = None,
                Step::Read { key, list } => {
                    let order = order(*key);
                    let length = list.as_ref().map_or(0, |list| list[0] as usize);
                    let mut seen = order[..length.min(order.len())].to_vec();
                    // Usually a transaction sees its own appends.
                    let mine = own.iter().filter(|(k, _)| k == key).map(|(_, element)| *element);
                    let mine: Vec<u64> = mine.filter(|element| !seen.contains(element)).collect();
                    seen.extend(mine);
                    *list = Some(seen.into());
                }
            }
        }
    }
    transactions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_every_order(
        raw in prop::collection::vec(
            (
                prop::collection::vec((any::<bool>(), 0..2_u64, 0..4_usize), 1..4),
                0..4_u64,
                0..9_u64,
                0..10_u8,
            ),
            1..6,
        ),
        shuffle in any::<u64>(),
    ) {
        let history = build(raw, shuffle);
        let lists = [Vec::new(), Vec::new()];
        let mut live: Vec<Transaction> = history.clone();
        live.retain(|t| t.status != Status::Aborted);
        for (level, realtime) in [(Level::Serializable, false), (Level::StrictSerializable, true)] {
            let truth = every_order(&live, &mut Vec::new(), &lists, realtime);
            let found = check(&history, level);
            prop_assert_eq!(truth, found.is_empty(), "{:?} {:#?} {:#?}", level, found, history);
        }
    }
}
