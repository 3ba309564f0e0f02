//! Real clients of Redis against real processes: Debian's `redis-cli` and `redis-benchmark` and the Python client `redis`,
//! all unmodified, on three regions started by `dwcp dev`; and the same regions while one is killed and comes back.
//!
//! What the clients check is in `clients/`; every check but those marked otherwise holds on Debian's redis-server 7.0
//! too (`clients/redis_client.py PORT --redis`, `clients/redis_cli.sh PORT --redis`).
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");
/// A client script that has not ended by then hangs.
const PATIENCE_S: &str = "300";
const NODES: u16 = 3;
/// Where Redis' clients are served, counted from the first port.
const REDIS: u16 = 4_000;

/// A running cluster; dropped, it is killed and its nodes end with it.
struct Cluster {
    supervisor: Child,
    dir: tempfile::TempDir,
    /// What `dwcp dev` said when it was ready.
    ready: String,
    first_port: u16,
}

impl Cluster {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first_port = free_ports();
        let mut supervisor = Command::new(DWCP)
            .args(["--output", "json", "dev", "--nodes", &NODES.to_string()])
            .args(["--port", &first_port.to_string(), "--dir"])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("dwcp starts");
        let mut ready = String::new();
        let stdout = supervisor.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("dwcp speaks");
        assert!(ready.contains("ready_ms"), "the cluster did not get ready: {ready}");
        Self { supervisor, dir, ready: ready.trim().to_owned(), first_port }
    }

    fn redis(&self, node: u16) -> String {
        (self.first_port + REDIS + node).to_string()
    }

    fn crdt(&self, words: &[&str]) -> String {
        let mut command = Command::new(DWCP);
        command.args(words).arg("--dir").arg(self.dir.path());
        let output = command.output().expect("dwcp starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its nodes end with their standard input.
        let _gone = self.supervisor.kill();
        let _reaped = self.supervisor.wait();
    }
}

/// A first port such that all that `dwcp dev` wants are free.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 600).expect("below 600") * 10;
    for _ in 0..600 {
        // Below the ports that the system gives to outgoing connections, beside those of the other tests.
        let first = 22_000 + (seed + NEXT.fetch_add(10, Ordering::Relaxed)) % 6_000;
        let wanted =
            (0..NODES).flat_map(|n| [first + n, first + 1_000 + n, first + 2_000 + n, first + REDIS + n]);
        let free = wanted.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>();
        if free.is_ok() {
            return first;
        }
    }
    panic!("no free ports between 22000 and 32000");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// The Python with redis in it, as `cargo run -p dwcp-ci -- test` sets it up.
fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    assert!(python.exists(), "{} is missing: `cargo run -p dwcp-ci -- test` sets it up", python.display());
    python
}

/// Runs a client to its end and shows what it said if it failed.
fn run(program: &Path, words: &[&str]) {
    let output =
        Command::new("timeout").arg(PATIENCE_S).arg(program).args(words).output().expect("`timeout` runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} ended with {}\n{said}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
}

#[test]
fn redis_cli_and_redis_benchmark_work_unmodified() {
    let found = Command::new("redis-cli").arg("--version").output();
    assert!(found.is_ok(), "redis-cli is missing: apt-get install redis-tools");
    let cluster = Cluster::start();
    for node in 0..NODES {
        run(&script("redis_cli.sh"), &[&cluster.redis(node)]);
    }
}

#[test]
fn the_python_client_works_unmodified_and_what_it_wrote_is_explained() {
    let cluster = Cluster::start();
    let checks = script("redis_client.py");
    for node in 0..NODES {
        run(&python(), &[&checks.to_string_lossy(), &cluster.redis(node)]);
    }
    let cli = |words: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &cluster.redis(0)]).args(words);
        assert!(command.output().is_ok_and(|o| o.status.success()), "{words:?}");
    };
    cli(&["set", "greeting", "hello"]);
    cli(&["sadd", "members", "a", "b"]);
    assert_eq!(cluster.crdt(&["crdt", "get", "greeting"]), "hello\n");
    assert_eq!(cluster.crdt(&["crdt", "get", "members"]), "a\nb\n");
    assert_eq!(cluster.crdt(&["crdt", "get", "greeting", "--siblings"]), "hello\n");
    assert!(cluster.crdt(&["crdt", "why", "greeting"]).starts_with("greeting = hello\n"));
    assert!(cluster.crdt(&["crdt", "history", "members"]).lines().count() >= 3);
    assert_eq!(cluster.crdt(&["--output", "json", "crdt", "status"]).lines().count(), usize::from(NODES));
}

#[test]
fn nothing_acknowledged_is_lost_when_a_region_is_killed_and_comes_back() {
    let cluster = Cluster::start();
    let crash = script("redis_crash.py");
    run(&python(), &[&crash.to_string_lossy(), DWCP, &cluster.dir.path().to_string_lossy(), &cluster.ready]);
}
