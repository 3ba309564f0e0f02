//! What each lane runs.

use crate::need;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A named list of checks.
pub(crate) struct Lane {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Runs it; the error says which command failed.
    pub(crate) run: fn() -> Result<(), String>,
}

/// All lanes, the quickest to fail first.
pub(crate) const LANES: &[Lane] = &[
    Lane { name: "check", run: check },
    Lane { name: "test", run: test },
    Lane { name: "sim", run: sim },
    Lane { name: "second", run: second },
    Lane { name: "docs", run: docs },
];

/// Lanes that run only when they are named: longer than CI may take.
pub(crate) const BY_NAME: &[Lane] = &[
    Lane { name: "jepsen", run: jepsen },
    Lane { name: "mutants", run: mutants },
    Lane { name: "web", run: crate::web::web },
];

/// The lanes with these names, or all; or the first name that is none.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Lane>, String> {
    if names.is_empty() {
        return Ok(LANES.iter().collect());
    }
    let find = |n: &String| LANES.iter().chain(BY_NAME).find(|l| l.name == n).ok_or_else(|| n.clone());
    names.iter().map(find).collect()
}

/// The repository's root: this crate lies one folder below it.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs a command from the root; its output goes where ours goes.
pub(crate) fn sh(words: &[&str]) -> Result<(), String> {
    sh_in(&root(), words)
}

fn sh_in(folder: &Path, words: &[&str]) -> Result<(), String> {
    sh_with(folder, &[], words)
}

/// Runs a command in a folder, with variables in its environment.
pub(crate) fn sh_with(folder: &Path, env: &[(&str, String)], words: &[&str]) -> Result<(), String> {
    println!("$ {}", words.join(" "));
    let status = Command::new(words[0])
        .args(&words[1..])
        .envs(env.iter().map(|(k, v)| (k, v)))
        .current_dir(folder)
        .status()
        .map_err(|e| format!("`{}` can't be started: {e}", words[0]))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", words.join(" "))) }
}

fn check() -> Result<(), String> {
    sh(&["cargo", "fmt", "--all", "--check"])?;
    sh(&["cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    let mut deny = vec!["cargo", "deny", "--offline", "check", "--hide-inclusion-graph"];
    if !need::cargo_deny()? {
        deny.extend(["bans", "licenses", "sources"]);
    }
    sh(&deny)
}

/// One profile for tests and simulation, so that everything is compiled once.
const PROFILE: &str = "sim";

fn test() -> Result<(), String> {
    need::debian(&[
        ("etcdctl", "etcd-client"),
        ("redis-cli", "redis-tools"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
    ])?;
    need::python_clients(&root())?;
    sh(&[&["cargo", "test", "--no-fail-fast"][..], &BUILT[..]].concat())
}

/// What is built once, for both lanes that run it: a binary built without the tests has libraries without
/// the features that tests turn on, and the whole workspace would be compiled a second time for them.
/// Benchmarks have no tests: the `check` lane compiles them, and examples; nothing is a documentation test.
const BUILT: [&str; 9] = [
    "--lib",
    "--bins",
    "--tests",
    "--workspace",
    "--exclude",
    "dwcp-benches",
    "--profile",
    PROFILE,
    "--locked",
];

fn sim() -> Result<(), String> {
    let dwcp = root().join("target").join(PROFILE).join("dwcp");
    // Tests of the binary need it, so building them builds it.
    sh(&[&["cargo", "test", "--no-run", "--quiet"][..], &BUILT[..]].concat())?;
    let dwcp = dwcp.to_string_lossy().into_owned();
    for (scenarios, seeds) in GATED {
        let mut gate = vec![dwcp.as_str(), "sim", "gate", "--seeds", seeds, "--warm-up", "100"];
        gate.extend(scenarios);
        sh(&gate)?;
    }
    // The fleet's own world, and its planted bugs, each by a seed that finds it.
    let fleet =
        ["-p", "dwcp-fleet", "--features", "rehearsal,planted-bugs", "--profile", PROFILE, "--locked"];
    sh(&[&["cargo", "test", "--test", "mutants"][..], &fleet[..]].concat())?;
    let rehearse = ["--example", "rehearse_fleet", "--", "--seeds", "400", "--from", "200000"];
    sh(&[&["cargo", "run"][..], &fleet[..], &rehearse[..]].concat())?;
    // The seed of every row of docs/claims.md that is nearest to its bounds, again.
    sh(&[&dwcp, "sim", "claims", "--check", "--seeds", "1"])
}

/// What every change must hold, each seed in two processes that differ on purpose: 334 seeds, most under
/// the engine that clusters begin with, some of what it must hold under Raft, and of how it is left. More is `dwcp sim gate swarm/nine_nodes swarm/three_nodes swarm/crashes --seeds 334`.
const GATED: [(&[&str], &str); 11] = [
    (&["swarm/nine_nodes"], "30"),
    (&["swarm/nine_nodes@raft"], "8"),
    (&["eventual/swarm", "eventual/swarm_disks"], "16"),
    (&["eventual/collections"], "4"),
    (&["swarm/three_nodes", "swarm/crashes"], "58"),
    (&["swarm/three_nodes@raft", "swarm/crashes@raft"], "20"),
    (
        &[
            "failover/region_loss",
            "failover/leader_crash",
            "partition/minority",
            "partition/one_way",
            "disk/torn_write",
            "disk/bit_rot",
            "clock/jump",
            "eventual/region_returns",
            "eventual/bit_rot",
        ],
        "8",
    ),
    (
        &[
            "failover/region_loss@raft",
            "failover/leader_crash@raft",
            "partition/minority@raft",
            "partition/one_way@raft",
            "disk/torn_write@raft",
            "disk/bit_rot@raft",
            "clock/jump@raft",
        ],
        "2",
    ),
    (&["consensus/switch_killed@paxos", "consensus/adaptive@paxos", "consensus/hybrid_returns@paxos"], "2"),
    // Out of a first epoch under the engine that clusters begin with.
    (
        &[
            "consensus/switch@paxos",
            "consensus/switch_crashes@paxos",
            "consensus/switch_idle@paxos",
            "consensus/switch_leases@paxos",
            "consensus/switch_rot@paxos",
        ],
        "4",
    ),
    // Ten switches a minute between all engines, and what `claims` has no row of.
    (
        &[
            "consensus/switch",
            "consensus/switch_idle",
            "consensus/switch_leases",
            "consensus/pbft_switch",
            "consensus/epaxos",
            "consensus/paxos_leases",
        ],
        "2",
    ),
];

/// Seven workloads under six nemeses on real processes, some fourteen minutes; docs/jepsen.md has the hour.
fn jepsen() -> Result<(), String> {
    need::debian(&[("ip", "iproute2"), ("nft", "nftables")])?;
    sh(&["cargo", "build", "-p", "dwcp", "--profile", PROFILE, "--locked"])?;
    let dwcp = root().join("target").join(PROFILE).join("dwcp");
    let nemeses = "kill,pause,partition,fsync-fail,lose-unsynced,clock";
    sh(&[&dwcp.to_string_lossy(), "jepsen", "matrix", "--time", "10s", "--nemesis", nemeses])
}

fn mutants() -> Result<(), String> {
    let features = "planted-bugs,planted-leaks";
    sh(&["cargo", "test", "-p", "dwcp-scenarios", "--features", features, "--profile", PROFILE, "--locked"])?;
    // And some of them on real processes, whose disks lose power and whose links are cut: needs root, /dev/fuse and nft.
    let test = ["--test", "jepsen", "a_build_that"];
    let mut real = vec!["cargo", "test", "-p", "dwcp", "--features", "planted-bugs", "--profile", PROFILE];
    real.extend(test);
    sh(&real)
}

fn second() -> Result<(), String> {
    for workspace in ["ci/madsim", "ci/turmoil"] {
        sh_in(&root().join(workspace), &["cargo", "test", "--locked"])?;
    }
    Ok(())
}

fn docs() -> Result<(), String> {
    sh(&["cargo", "doc", "--workspace", "--no-deps", "--locked", "--quiet"])
}
