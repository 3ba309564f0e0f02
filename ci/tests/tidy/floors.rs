//! A crate may depend on the floors below its own, never above, never beside unless listed.

use crate::{Source, holds, sources};

/// Crates by floor, as docs/architecture.md draws them.
const FLOORS: &[(&str, u8)] = &[
    ("dwcp-env", 0),
    ("dwcp-wal", 1),
    ("dwcp-consensus", 1),
    ("dwcp-crdt", 1),
    ("dwcp-conflict", 1),
    ("dwcp-raft", 1),
    ("dwcp-chain", 2),
    ("dwcp-gossip", 1),
    ("dwcp-store", 2),
    ("dwcp-eventual", 2),
    ("dwcp-fleet", 2),
    ("dwcp-node", 3),
    ("dwcp-runtime-sim", 4),
    ("dwcp-runtime-real", 4),
    ("dwcp-check", 5),
    ("dwcp-workload", 5),
    ("dwcp-nemesis", 5),
    ("dwcp-scenarios", 5),
    ("dwcp-benches", 6),
    ("dwcp", 6),
    ("dwcp-web", 6),
    ("dwcp-ci", 6),
];

/// Edges on one floor, each a decision.
const BESIDE: &[(&str, &str)] = &[
    ("dwcp-raft", "dwcp-wal"),       // an engine's log lies on the shared write-ahead log
    ("dwcp-raft", "dwcp-consensus"), // and it implements the engine trait
    ("dwcp-conflict", "dwcp-crdt"),  // conflicts are read off dots; texts merge in its sequences
    ("dwcp-scenarios", "dwcp-check"), // a scenario's history is judged
    ("dwcp-scenarios", "dwcp-workload"),
    ("dwcp-workload", "dwcp-check"), // a workload records a history
    ("dwcp-benches", "dwcp"),        // the benchmark starts the binary it measures
];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

fn complaints(manifests: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for m in manifests {
        let mut name = "";
        let mut section = "";
        for line in m.text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if section == "[package]" && line.starts_with("name") {
                name = line.split('"').nth(1).unwrap_or("");
                if floor(name).is_none() {
                    out.push(format!("{}: crate {name} has no floor; give it one in tidy's FLOORS", m.path));
                }
            } else if section == "[dependencies]" || section == "[build-dependencies]" {
                let dep = line.split([' ', '=', '.']).next().unwrap_or("");
                if let (Some(mine), Some(theirs)) = (floor(name), floor(dep)) {
                    let fine = theirs < mine || BESIDE.contains(&(name, dep));
                    if !fine {
                        out.push(format!(
                            "{}: {name} (floor {mine}) may not depend on {dep} (floor {theirs})",
                            m.path
                        ));
                    }
                }
            }
        }
    }
    out
}

#[test]
fn floors_are_kept() {
    let manifests: Vec<Source> = sources()
        .into_iter()
        .filter(|s| {
            s.path.ends_with("/Cargo.toml")
                && !s.path.starts_with("ci/madsim")
                && !s.path.starts_with("ci/turmoil")
                && !s.path.starts_with("benches/text")
                && !s.path.starts_with("benches/conflict")
                && !s.path.starts_with("benches/openraft")
        })
        .collect();
    assert_eq!(manifests.len(), FLOORS.len(), "a crate is missing, or one is not in FLOORS");
    holds(complaints(&manifests));
}

#[test]
fn a_dependency_upwards_is_found() {
    let bad = Source {
        path: "core/env/Cargo.toml".into(),
        text: "[package]\nname = \"dwcp-env\"\n[dependencies]\ndwcp-node = { workspace = true }\n".into(),
    };
    assert_eq!(complaints(&[bad]).len(), 1);
}
