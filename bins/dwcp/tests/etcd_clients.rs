//! Real clients of etcd against real processes: Debian's `etcdctl` and the Python client `etcd3`,
//! both unmodified, on a three-node cluster started by `dwcp dev`; and the same cluster with its
//! leader, then a whole region, killed in the middle of writes.
//!
//! What the clients check is in `clients/`; every check but those marked otherwise holds on
//! Debian's etcd 3.4 too (`clients/etcd3_client.py HOST:PORT --etcd`, `clients/etcdctl.sh HOST:PORT`).
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

mod dev;

use dev::{Cluster, DWCP, NODES, python, run, script};
use std::process::Command;

fn start() -> Cluster {
    Cluster::start(12_000..18_000)
}

/// A node's door.
fn endpoint(cluster: &Cluster, node: u16) -> String {
    format!("127.0.0.1:{}", cluster.first_port + node)
}

#[test]
fn etcdctl_works_unmodified() {
    let found = Command::new("etcdctl").arg("version").output();
    assert!(found.is_ok(), "etcdctl is missing: apt-get install etcd-client");
    let cluster = start();
    // Leader or follower: a client can't tell.
    for node in 0..NODES {
        run(&script("etcdctl.sh"), &[&endpoint(&cluster, node)]);
    }
}

#[test]
fn the_python_client_works_unmodified() {
    let cluster = start();
    let checks = script("etcd3_client.py");
    for node in 0..NODES {
        run(&python(), &[&checks.to_string_lossy(), &endpoint(&cluster, node)]);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_leader_and_region_are_killed() {
    let cluster = start();
    let crash = script("crash.py");
    run(&python(), &[&crash.to_string_lossy(), DWCP, &cluster.dir.path().to_string_lossy(), &cluster.ready]);
}
