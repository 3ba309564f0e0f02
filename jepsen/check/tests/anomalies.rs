//! Every checker has histories that it must refuse, one for each anomaly, with the words that
//! people read; and some that it must let pass.
//!
//! After a change of words: `cargo test -p dwcp-check --test anomalies -- --ignored` writes
//! the golden file anew; read the difference.

mod table;

use std::fmt::Write;
use table::TABLE;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/anomalies.golden");

fn told() -> String {
    let mut out = String::new();
    for case in TABLE {
        let report = case.judged().unwrap_or_else(|e| panic!("{}: {e}", case.name));
        writeln!(out, "--- {} ({})\n{report}\n", case.name, case.model).expect("a String grows");
    }
    out
}

#[test]
fn each_is_found() {
    let red: Vec<&str> = TABLE.iter().filter(|case| case.is_red()).map(|case| case.name).collect();
    assert!(red.is_empty(), "{red:?}");
    let shown = |case: &table::Case| {
        let report = case.judged().expect("judged above");
        report.findings.iter().map(|finding| finding.operations.len()).max().unwrap_or(0)
    };
    let many: Vec<&str> = TABLE.iter().filter(|case| shown(case) > 10).map(|case| case.name).collect();
    assert!(many.is_empty(), "more than ten operations: {many:?}");
}

#[test]
fn the_words_are_golden() {
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden file is there");
    for (ours, theirs) in told().split("--- ").zip(golden.split("--- ")) {
        assert_eq!(ours, theirs);
    }
}

#[test]
#[ignore = "writes the golden file"]
fn write_the_golden_file() {
    std::fs::write(GOLDEN, told()).expect("it can be written");
}
