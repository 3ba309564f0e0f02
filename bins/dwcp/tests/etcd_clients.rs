//! Real clients of etcd against real processes: Debian's `etcdctl` and the Python client `etcd3`,
//! both unmodified, on a three-node cluster started by `dwcp dev`; and the same cluster with its
//! leader, then a whole region, killed in the middle of writes.
//!
//! What the clients check is in `clients/`; every check but those marked otherwise holds on
//! Debian's etcd 3.4 too (`clients/etcd3_client.py HOST:PORT --etcd`, `clients/etcdctl.sh HOST:PORT`).
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

    fn endpoint(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.first_port + node)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its nodes end with their standard input.
        let _gone = self.supervisor.kill();
        let _reaped = self.supervisor.wait();
    }
}

/// A first port such that all that `dwcp dev` wants are free: clients', peers' (+1000), admin (+2000), Redis' (+4000).
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 600).expect("below 600") * 10;
    for _ in 0..600 {
        // Below the ports that the system gives to outgoing connections.
        let first = 12_000 + (seed + NEXT.fetch_add(10, Ordering::Relaxed)) % 6_000;
        let wanted =
            (0..NODES).flat_map(|n| [first + n, first + 1_000 + n, first + 2_000 + n, first + 4_000 + n]);
        let free = wanted.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>();
        if free.is_ok() {
            return first;
        }
    }
    panic!("no free ports between 12000 and 22000");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// The Python with etcd3 in it, as `cargo run -p dwcp-ci -- test` sets it up.
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
fn etcdctl_works_unmodified() {
    let found = Command::new("etcdctl").arg("version").output();
    assert!(found.is_ok(), "etcdctl is missing: apt-get install etcd-client");
    let cluster = Cluster::start();
    // Leader or follower: a client can't tell.
    for node in 0..NODES {
        run(&script("etcdctl.sh"), &[&cluster.endpoint(node)]);
    }
}

#[test]
fn the_python_client_works_unmodified() {
    let cluster = Cluster::start();
    let checks = script("etcd3_client.py");
    for node in 0..NODES {
        run(&python(), &[&checks.to_string_lossy(), &cluster.endpoint(node)]);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_leader_and_region_are_killed() {
    let cluster = Cluster::start();
    let crash = script("crash.py");
    run(&python(), &[&crash.to_string_lossy(), DWCP, &cluster.dir.path().to_string_lossy(), &cluster.ready]);
}
