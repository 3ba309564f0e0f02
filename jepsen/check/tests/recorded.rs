//! Histories recorded by others must get the verdicts that others gave them.

use dwcp_check::history::{FailedCas, History, Interner, jsonl};
use dwcp_check::linearizable::register::{self, Register};
use dwcp_check::linearizable::text::{self, Text};
use dwcp_check::linearizable::{Budget, Verdict, check};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

fn testdata(group: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(group)
}

fn load(path: &Path) -> History {
    let file = std::fs::File::open(path).expect("a history of the list is there");
    jsonl::read(BufReader::new(file)).expect("a recorded history can be read")
}

/// Verdict by the model that the list names.
fn judge(history: &History, group: &str) -> Verdict {
    let mut names = Interner::default();
    let budget = Budget::default();
    if group == "porcupine-kv" {
        let operations = text::operations(history, &mut names).expect("a string map history");
        return check(&Text, &operations, &budget);
    }
    let failed_cas =
        if group == "porcupine-etcd" { FailedCas::ObservedMismatch } else { FailedCas::DidNotHappen };
    let operations = register::operations(history, failed_cas, &mut names).expect("a register history");
    check(&Register, &operations, &budget)
}

/// Each history of `group` against its recorded verdict; every refusal proved exactly.
fn judge_group(group: &str, linearizable: usize, not: usize) {
    let folder = testdata(group);
    let list = std::fs::read_to_string(folder.join("verdicts.txt")).expect("the list is there");
    let mut counts = (0, 0);
    for line in list.lines() {
        let [file, _model, expected] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("a line of the list has three words: {line}");
        };
        let began = std::time::Instant::now();
        let verdict = judge(&load(&folder.join(file)), group);
        println!("{:>9.1?} {group}/{file}", began.elapsed());
        match verdict {
            Verdict::Linearizable => {
                assert_eq!(expected, "linearizable", "{group}/{file}");
                counts.0 += 1;
            }
            Verdict::NotLinearizable(witness) => {
                assert_eq!(expected, "not", "{group}/{file}: {witness}");
                assert!(witness.exact, "{group}/{file}: {witness}");
                counts.1 += 1;
            }
            unknown @ Verdict::Unknown { .. } => panic!("{group}/{file}: {unknown}"),
        }
    }
    assert_eq!(counts, (linearizable, not), "{group}");
}

#[test]
fn etcd_registers_of_porcupine() {
    judge_group("porcupine-etcd", 15, 53);
}

#[test]
fn string_maps_of_porcupine() {
    judge_group("porcupine-kv", 2, 2);
}

#[test]
fn registers_of_knossos() {
    judge_group("knossos", 76, 5);
}

/// Not in the repository for lack of a clear licence; judged where the data folder is at hand.
#[test]
fn registers_of_redis_sentinel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/histories/redis-sentinel");
    let runs = [
        ("redis-flapping-partitions-test.jsonl.gz", false),
        ("redis-intensive-concurrent-test.jsonl.gz", true),
        ("redis-latency-injection-test.jsonl.gz", false),
        ("redis-majorities-ring-test.jsonl.gz", false),
        ("redis-simple-test.jsonl", true),
        ("redis-split-brain-test.jsonl.gz", false),
    ];
    if !folder.is_dir() {
        println!("skipped: {} is not here", folder.display());
        return;
    }
    for (file, linearizable) in runs {
        let unpacked =
            Command::new("gzip").args(["-dcf"]).arg(folder.join(file)).output().expect("gzip runs");
        let history = jsonl::read(&unpacked.stdout[..]).expect("a recorded history can be read");
        let verdict = judge(&history, "redis-sentinel");
        assert_eq!(verdict.is_linearizable(), linearizable, "{file}: {verdict}");
        assert!(!matches!(verdict, Verdict::Unknown { .. }), "{file}: {verdict}");
        println!("{file}: {verdict}");
    }
}
