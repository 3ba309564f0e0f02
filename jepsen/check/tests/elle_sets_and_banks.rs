//! Recorded sets and banks of elle-cli, with the verdicts of its tests.

use dwcp_check::bank::Bank;
use dwcp_check::history::{History, Interner, Kind, jsonl};
use dwcp_check::linearizable::Operation;
use dwcp_check::set::{self, SetOp};
use std::collections::BTreeMap;
use std::io::BufReader;

fn load(file: &str) -> History {
    let path = format!("{}/testdata/elle/{file}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).expect("a recorded history is there");
    jsonl::read(BufReader::new(file)).expect("it can be read")
}

fn set_report(file: &str) -> set::Report {
    let history = load(file);
    let mut names = Interner::default();
    let mut operations = Vec::new();
    for pair in history.pair().expect("well formed") {
        if pair.done.is_some_and(|(_, done)| done.kind == Kind::Fail) {
            continue;
        }
        let op = match (pair.invoke.function.as_str(), pair.done) {
            ("add", _) => SetOp::Add(names.value(&pair.invoke.value)),
            (_, Some((_, done))) => {
                let list = done.value.as_array().expect("a list");
                SetOp::Read(list.iter().map(|element| names.value(element)).collect())
            }
            (_, None) => continue,
        };
        operations.push(Operation {
            process: pair.process,
            call: pair.call as u64,
            ret: pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64),
            op,
        });
    }
    set::check(&operations)
}

#[test]
fn sets() {
    let valid = set_report("elle-cli-set.jsonl");
    assert!(valid.is_valid(true), "{valid:?}");
    assert_eq!(valid.stable, 3);
    // The client adds pairs and reads back bare numbers.
    let invalid = set_report("elle-cli-set_full.jsonl");
    assert!(!invalid.is_valid(false), "{invalid:?}");
    assert_eq!((invalid.lost.len(), invalid.stable), (293, 0));
}

#[test]
fn banks() {
    for file in ["elle-cli-bank.jsonl", "elle-cli-bank-neg.jsonl"] {
        let mut reads: Vec<BTreeMap<u64, i64>> = Vec::new();
        for event in load(file).events {
            let Some(fields) = event.value.as_object() else {
                continue;
            };
            if event.kind != Kind::Ok || event.function != "read" {
                continue;
            }
            let balance = |(name, value): (&String, &serde_json::Value)| {
                let account = name.parse().expect("an account number");
                (account, value.as_i64().expect("a balance"))
            };
            reads.push(fields.iter().map(balance).collect());
        }
        let bank = Bank {
            accounts: reads[0].keys().copied().collect(),
            total: reads[0].values().sum(),
            overdraft: false,
        };
        assert_eq!(bank.check(&reads), [], "{file}");
    }
}
