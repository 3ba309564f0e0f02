//! Real clients of Redis against real processes: Debian's `redis-cli` and `redis-benchmark` and the Python client `redis`,
//! all unmodified, on three regions started by `dwcp dev`; and the same regions while one is killed and comes back.
//!
//! What the clients check is in `clients/`; every check but those marked otherwise holds on Debian's redis-server 7.0
//! too (`clients/redis_client.py PORT --redis`, `clients/redis_cli.sh PORT --redis`).
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

mod dev;

use dev::{Cluster, DWCP, NODES, python, run, script};
use std::process::Command;

/// Where Redis' clients are served, counted from the first port.
const REDIS: u16 = 4_000;

fn start() -> Cluster {
    Cluster::start(22_000..27_000)
}

/// A node's door.
fn door(cluster: &Cluster, node: u16) -> String {
    (cluster.first_port + REDIS + node).to_string()
}

/// What the program itself says of the cluster.
fn dwcp(cluster: &Cluster, words: &[&str]) -> String {
    let mut command = Command::new(DWCP);
    command.args(words).arg("--dir").arg(cluster.dir.path());
    let output = command.output().expect("dwcp starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn redis_cli_and_redis_benchmark_work_unmodified() {
    let found = Command::new("redis-cli").arg("--version").output();
    assert!(found.is_ok(), "redis-cli is missing: apt-get install redis-tools");
    let cluster = start();
    for node in 0..NODES {
        run(&script("redis_cli.sh"), &[&door(&cluster, node)]);
    }
}

#[test]
fn the_python_client_works_unmodified_and_what_it_wrote_is_explained() {
    let cluster = start();
    let checks = script("redis_client.py");
    for node in 0..NODES {
        run(&python(), &[&checks.to_string_lossy(), &door(&cluster, node)]);
    }
    let cli = |words: &[&str]| {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &door(&cluster, 0)]).args(words);
        assert!(command.output().is_ok_and(|o| o.status.success()), "{words:?}");
    };
    cli(&["set", "greeting", "hello"]);
    cli(&["sadd", "members", "a", "b"]);
    assert_eq!(dwcp(&cluster, &["crdt", "get", "greeting"]), "hello\n");
    assert_eq!(dwcp(&cluster, &["crdt", "get", "members"]), "a\nb\n");
    assert_eq!(dwcp(&cluster, &["crdt", "get", "greeting", "--siblings"]), "hello\n");
    assert!(dwcp(&cluster, &["crdt", "why", "greeting"]).starts_with("greeting = hello\n"));
    assert!(dwcp(&cluster, &["crdt", "history", "members"]).lines().count() >= 3);
    assert_eq!(dwcp(&cluster, &["--output", "json", "crdt", "status"]).lines().count(), usize::from(NODES));
}

#[test]
fn nothing_acknowledged_is_lost_when_a_region_is_killed_and_comes_back() {
    let cluster = start();
    let crash = script("redis_crash.py");
    run(&python(), &[&crash.to_string_lossy(), DWCP, &cluster.dir.path().to_string_lossy(), &cluster.ready]);
}
