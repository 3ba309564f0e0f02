//! The third world, judged from outside: `dwcp maelstrom` under the judge of `jepsen/maelstrom`, which was
//! written from the protocol alone and shares no code with it; and the judge judged by toy nodes that lie.

use dwcp_check::anomaly::Anomaly;
use dwcp_check::append::{self, Level};
use dwcp_check::history::{Event, History, Interner, Kind, Process};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");

fn judge(script: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jepsen/maelstrom");
    let mut python = Command::new("python3");
    // No bytecode is left in the working tree.
    python.arg("-B").arg(folder.join(script));
    python
}

fn said(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Runs the bench and returns its reports; the judge's reasons and the nodes' logs if it finds anything.
fn bench(name: &str, words: &[&str]) -> Vec<Value> {
    bench_in(tempfile::tempdir().unwrap().path(), name, words)
}

fn bench_in(kept: &Path, name: &str, words: &[&str]) -> Vec<Value> {
    let out = judge("bench.py").args(words).arg("--json").arg("--out").arg(kept).output().unwrap();
    assert!(out.status.success(), "{name}: {}\n{}", said(&out), logs(kept));
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).expect("a report is JSON")).collect()
}

/// The last lines of every node.
fn logs(folder: &Path) -> String {
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    };
    let files = inside(folder)
        .into_iter()
        .flat_map(|w| inside(&w))
        .filter(|f| f.extension().is_some_and(|e| e == "log"));
    let tail = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}:\n{}", file.display(), lines[lines.len().saturating_sub(8)..].join("\n"))
    };
    files.map(tail).collect::<Vec<_>>().join("\n")
}

/// All ten workloads through partitions, jitter and loss; then what was acknowledged through kills.
#[test]
fn every_workload_bears_partitions() {
    let bin = format!("{DWCP} maelstrom {{workload}} --timing lan");
    let reports = bench(
        "partitions",
        &[
            "all",
            "--at-once",
            "4",
            "--bin",
            &bin,
            "--nodes",
            "3",
            "--time",
            "4",
            "--least-ops",
            "100",
            "--rate",
            "60",
            "--latency",
            "3",
            "--latency-dist",
            "exponential",
            "--loss",
            "0.01",
            "--nemesis",
            "partition",
            "--nemesis-interval",
            "1",
            "--settle",
            "3",
            "--min-ok",
            "0.2",
        ],
    );
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|r| r["faults"].as_u64() >= Some(1)), "{reports:?}");
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let data = tempfile::tempdir().unwrap();
    let bin = format!("{DWCP} maelstrom lin-kv --timing lan --data {}", data.path().display());
    let words = [
        "lin-kv",
        "--bin",
        &bin,
        "--nodes",
        "3",
        "--time",
        "5",
        "--rate",
        "60",
        "--nemesis",
        "kill",
        "--nemesis-interval",
        "0.8",
        "--settle",
        "1",
        "--min-ok",
        "0.2",
    ];
    let reports = bench("kills", &words);
    assert!(reports[0]["faults"].as_u64() >= Some(2), "{reports:?}");
}

/// More nodes than voters: the others join as learners and serve all the same. The history gets a second opinion,
/// and so does one that the judge condemns.
#[test]
fn nine_nodes_serve_with_seven_voters() {
    let kept = tempfile::tempdir().unwrap();
    let bin = format!("{DWCP} maelstrom txn-list-append --timing lan");
    let words =
        ["txn-list-append", "--nodes", "9", "--time", "3", "--rate", "40", "--min-ok", "0.5", "--bin", &bin];
    bench_in(kept.path(), "nine nodes", &words);
    let found = second_opinion(kept.path());
    assert!(found.is_empty(), "{}", found[0].text);

    let toy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jepsen/maelstrom/tests/toy.py");
    let bin = format!("python3 -B {} txn-list-append reads-locally", toy.display());
    let words =
        ["txn-list-append", "--time", "1", "--least-ops", "300", "--rate", "300", "--bin", &bin, "--out"];
    let out = judge("bench.py").args(words).arg(kept.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(!second_opinion(kept.path()).is_empty(), "the judge condemns what our checker finds sound");
}

/// What our own checker says of a history that the judge kept.
fn second_opinion(kept: &Path) -> Vec<Anomaly> {
    let text = std::fs::read_to_string(kept.join("txn-list-append/history.jsonl")).unwrap();
    let event = |line: &str| {
        let e: Value = serde_json::from_str(line).unwrap();
        Event {
            index: e["index"].as_u64().unwrap(),
            process: Process::Client(e["process"].as_u64().unwrap()),
            kind: serde_json::from_value::<Kind>(e["type"].clone()).unwrap(),
            function: e["f"].as_str().unwrap().into(),
            key: None,
            value: e["value"].clone(),
            time_ns: e["time"].as_u64(),
            error: None,
        }
    };
    let history = History { events: text.lines().map(event).collect(), ..History::default() };
    let transactions = append::transactions(&history, &mut Interner::default()).unwrap();
    assert!(transactions.len() > 50, "{} transactions", transactions.len());
    append::check(&transactions, Level::StrictSerializable)
}

/// Both of the Gossip Glomers' efficiency challenges, by one setting.
#[test]
fn broadcast_is_quick_and_cheap() {
    let bin = format!("{DWCP} maelstrom broadcast");
    bench(
        "glomers",
        &[
            "broadcast",
            "--bin",
            &bin,
            "--nodes",
            "25",
            "--time",
            "5",
            "--rate",
            "100",
            "--latency",
            "100",
            "--max-msgs-per-op",
            "20",
            "--max-stable-median",
            "400",
            "--max-stable",
            "600",
            "--min-ok",
            "1",
        ],
    );
}

#[test]
fn the_judge_convicts_every_liar() {
    for script in ["tests/test_checkers.py", "tests/test_liars.py"] {
        let out = judge(script).output().unwrap();
        assert!(out.status.success(), "{script}: {}", said(&out));
    }
}

/// Whatever comes on its input, a node answers in the protocol's words or goes on.
#[test]
fn bad_input_is_answered_and_survived() {
    use std::io::Write;
    let mut node = Command::new(DWCP)
        .args(["maelstrom", "kafka"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = [
        r#"{"src":"c1","dest":"n1","body":{"type":"send","msg_id":1,"key":"k","msg":1}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"init","msg_id":2,"node_id":"n9","node_ids":["n1"]}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"init","msg_id":3,"node_id":"n1","node_ids":["n1"]}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"init","msg_id":4,"node_id":"n2","node_ids":["n1","n2"]}}"#,
        "no json",
        r#"{"src":"n2","dest":"n1","body":{"type":"dwcp","frame":"AAAA"}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"dance","msg_id":5}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"poll","msg_id":6,"offsets":{"k":-1}}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"send","msg_id":7}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"send","msg_id":8,"key":"k","msg":[1]}}"#,
    ];
    let mut input = node.stdin.take().unwrap();
    input.write_all(lines.join("\n").as_bytes()).unwrap();
    input.write_all(b"\n").unwrap();
    let output = std::io::BufReader::new(node.stdout.take().unwrap());
    let wanted =
        [(1, "11"), (2, "12"), (3, "init_ok"), (4, "12"), (5, "10"), (6, "12"), (7, "12"), (8, "send_ok")];
    let mut answers = std::collections::BTreeMap::new();
    for line in std::io::BufRead::lines(output) {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let body = &message["body"];
        let word =
            body["code"].as_u64().map_or_else(|| body["type"].as_str().unwrap().into(), |c| c.to_string());
        answers.insert(body["in_reply_to"].as_u64().unwrap(), word);
        if answers.len() == wanted.len() {
            break;
        }
    }
    drop(input);
    assert!(node.wait().unwrap().success());
    assert_eq!(answers, wanted.into_iter().map(|(n, w)| (n, w.to_string())).collect());
}
