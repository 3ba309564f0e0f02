//! A cluster of three regions started by `dwcp dev`, and clients that are run against it.

pub(crate) mod ports;

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The program.
pub(crate) const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");
/// Nodes of a cluster, one a region.
pub(crate) const NODES: u16 = 3;
/// A client that has not ended by then hangs.
const PATIENCE_S: &str = "300";
/// A running cluster; dropped, it is killed and its nodes end with it.
pub(crate) struct Cluster {
    supervisor: Child,
    pub(crate) dir: tempfile::TempDir,
    /// What `dwcp dev` said when it was ready.
    pub(crate) ready: String,
    pub(crate) first_port: u16,
}

impl Cluster {
    /// Starts one whose first port lies in this range. Each file of tests has a range of its own.
    pub(crate) fn start(ports: Range<u16>) -> Self {
        Self::of(NODES, ports)
    }
    /// One of so many nodes.
    pub(crate) fn of(nodes: u16, ports: Range<u16>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first_port = ports::free(ports, nodes);
        let mut supervisor = Command::new(DWCP)
            .args(["--output", "json", "dev", "--nodes", &nodes.to_string()])
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
