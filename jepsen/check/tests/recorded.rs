//! Histories recorded by others must get the verdicts that others gave them.
//!
//! Judged as `dwcp check` judges them, by the rows of `testdata/MANIFEST.csv`. Rows whose
//! file is neither here nor in `../shared` are skipped, with a line that says so.

use dwcp_check::history::format::{self, Format, Loaded};
use dwcp_check::history::{FailedCas, Limits};
use dwcp_check::judge::{Ask, Model, detect, judge};
use dwcp_check::level::Level;
use dwcp_check::report::{Outcome, Report};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The quotes of the list keep commas inside a field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().expect("there is one").push(c),
        }
    }
    fields
}

fn find(file: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("testdata"), root.join("../../../shared/data/histories")];
    let names = [file, file.trim_end_matches(".gz")];
    folders.iter().flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

fn load(path: &Path) -> (Format, Loaded) {
    let file = std::fs::File::open(path).expect("it is a file");
    let input: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(flate2::read::GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let loaded = format::read(BufReader::new(input), Limits::default());
    loaded.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of levels as the sources write them.
fn level(name: &str) -> Level {
    match name.trim() {
        "SER" => Level::Serializable,
        "SI" => Level::SnapshotIsolation,
        "causal consistency" | "causal" | "transactional causal consistency" => Level::Causal,
        "read atomic" => Level::ReadAtomic,
        "read committed" => Level::ReadCommitted,
        other => Level::named(other).unwrap_or_else(|| panic!("no level is called {other}")),
    }
}

/// What a row says: levels with answers, or one answer.
fn expectations(verdict: &str) -> Vec<(Option<Level>, Outcome)> {
    let outcome = match verdict {
        v if v.starts_with("NOT linearizable") || v == "INVALID" => Outcome::Invalid,
        v if v.starts_with("linearizable") || v.starts_with("valid") => Outcome::Valid,
        _ => {
            let claims = verdict.split([',', ';', '(']).map(str::trim);
            let claim = |text: &str| {
                let satisfied = text.strip_prefix("satisfies ").map(|name| (level(name), Outcome::Valid));
                satisfied.or_else(|| Some((level(text.strip_prefix("violates ")?), Outcome::Invalid)))
            };
            return claims.filter_map(claim).map(|(level, outcome)| (Some(level), outcome)).collect();
        }
    };
    vec![(None, outcome)]
}

fn ask(group: &str, model: &str, level: Option<Level>) -> Ask {
    let word = model.split_whitespace().next().unwrap_or_default();
    let model = match group {
        "txn-rw" | "txn-weak" => None,
        _ => Some(Model::named(word).unwrap_or_else(|| panic!("no model is called {word}"))),
    };
    let failed_cas = (group == "porcupine-etcd").then_some(FailedCas::ObservedMismatch);
    Ask { model, level, failed_cas, ..Ask::default() }
}

fn assert_small(report: &Report, file: &str) {
    let Some(finding) = report.findings.first() else { return };
    assert!(!finding.text.is_empty() && !finding.operations.is_empty(), "{file}: {report}");
    let drawn = dwcp_check::picture::svg(finding);
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"), "{file}");
}

#[test]
fn verdicts_of_others() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/MANIFEST.csv");
    let list = std::fs::read_to_string(list).expect("the list is there");
    let (mut judged, mut slow) = (0, Vec::new());
    for line in list.lines().skip(1) {
        let row = fields(line);
        let (file, model, verdict) = (&row[0], &row[2], &row[4]);
        let Some(path) = find(file) else {
            println!("skipped: {file} is not here");
            continue;
        };
        let (group, _) = file.split_once('/').expect("a folder and a file");
        let expected = expectations(verdict);
        assert!(!expected.is_empty(), "{file}: {verdict}");
        for (level, outcome) in expected {
            let began = Instant::now();
            let (format, loaded) = load(&path);
            let report = judge(&loaded, format == Format::Log, &ask(group, model, level));
            let report = report.unwrap_or_else(|e| panic!("{file}: {e}"));
            let took = began.elapsed();
            assert_eq!(report.outcome, outcome, "{file}: the list says {verdict}: {report}");
            assert_small(&report, file);
            let count = report.findings.first().map_or(0, |f| f.operations.len());
            println!("{took:>9.1?} {file}: {} ({count} operations shown)", report.claim);
            if took > Duration::from_secs(1) {
                slow.push((file.clone(), took));
            }
        }
        judged += 1;
    }
    println!("{judged} histories judged; above a second: {slow:?}");
    assert!(judged > 150, "{judged}");
}

/// What `dwcp check` takes each history for, unasked.
#[test]
fn models_are_told_by_their_functions() {
    for (file, expected) in [
        ("elle/elle-cli-bank-neg.edn", Model::Bank),
        ("elle/elle-cli-bank.edn.gz", Model::Bank),
        ("elle/elle-cli-list-append-gh-30.edn", Model::ListAppend),
        ("elle/elle-cli-long-fork.edn", Model::LongFork),
        ("elle/elle-cli-rw-register.edn", Model::RwRegister),
        ("elle/elle-cli-set.edn", Model::Set),
        ("elle/elle-cli-set_full.edn", Model::Set),
        ("porcupine-kv/c10-ok.jsonl", Model::Kv),
        ("porcupine-etcd/etcd_000.jsonl", Model::Register),
        ("knossos/cas-register-bad-cas-failure.jsonl", Model::Register),
    ] {
        let (_, loaded) = load(&find(file).expect("it is here"));
        let Loaded::Events(history) = loaded else { panic!("{file} holds events") };
        assert_eq!(detect(&history), Ok(expected), "{file}");
    }
}
