//! A cluster of three regions started by `dwcp dev`, and clients that are run against it.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

/// The program.
pub(crate) const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");
/// Nodes of a cluster, one a region.
pub(crate) const NODES: u16 = 3;
/// A client that has not ended by then hangs.
const PATIENCE_S: &str = "300";
/// What `dwcp dev` listens on, counted from the first port: clients, peers, admin, Redis' clients.
const DOORS: [u16; 4] = [0, 1_000, 2_000, 4_000];

/// A running cluster; dropped, it is killed and its nodes end with it.
pub(crate) struct Cluster {
    supervisor: Child,
    pub(crate) dir: tempfile::TempDir,
    /// What `dwcp dev` said when it was ready.
    pub(crate) ready: String,
    pub(crate) first_port: u16,
}

impl Cluster {
    /// Starts one whose first port lies in this range. Tests of different files run at the same time: each has a range
    /// of its own, below the ports that the system gives to outgoing connections.
    pub(crate) fn start(ports: Range<u16>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first_port = free_ports(ports);
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
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Its nodes end with their standard input.
        let _gone = self.supervisor.kill();
        let _reaped = self.supervisor.wait();
    }
}

/// A first port such that all that `dwcp dev` wants are free.
fn free_ports(range: Range<u16>) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = range.end - range.start;
    let seed = u16::try_from(std::process::id() % 600).expect("below 600") * 10;
    for _ in 0..600 {
        let first = range.start + (seed + NEXT.fetch_add(10, Ordering::Relaxed)) % width;
        let wanted = (0..NODES).flat_map(|n| DOORS.map(|door| first + door + n));
        let free = wanted.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>();
        if free.is_ok() {
            return first;
        }
    }
    panic!("no free ports from {} on", range.start);
}

/// A client's script.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// The Python with the clients' libraries in it, as `cargo run -p dwcp-ci -- test` sets it up.
pub(crate) fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    assert!(python.exists(), "{} is missing: `cargo run -p dwcp-ci -- test` sets it up", python.display());
    python
}

/// Runs a client to its end and shows what it said if it failed.
pub(crate) fn run(program: &Path, words: &[&str]) {
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
