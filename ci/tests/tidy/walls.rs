//! What may not be reached from where.

use crate::{Source, holds, root, sources};
use std::process::Command;

const NO_STD: &[&str] = &[
    "core/env/src/lib.rs",
    "core/wal/src/lib.rs",
    "core/consensus/src/lib.rs",
    "core/crdt/src/lib.rs",
    "core/conflict/src/lib.rs",
    "core/gossip/src/lib.rs",
    "core/fleet/src/lib.rs",
];

fn complaints(files: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for f in files {
        let manifest = f.path.starts_with("core/") && f.path.ends_with("Cargo.toml");
        let runtime_part = f.text.split("[dev-dependencies]").next().unwrap_or("");
        if manifest && runtime_part.lines().any(|l| l.starts_with("tokio") || l.starts_with("getrandom")) {
            out.push(format!("{}: core/ may not name tokio or getrandom", f.path));
        }
        if manifest
            && runtime_part.lines().any(|l| l.starts_with("openraft"))
            && !f.path.starts_with("core/raft/")
        {
            out.push(format!("{}: openraft is met in core/raft only", f.path));
        }
        if NO_STD.contains(&f.path.as_str()) && !f.text.contains("#![no_std]") {
            out.push(format!("{}: a protocol crate is #![no_std]", f.path));
        }
        if f.path.starts_with("core/") && f.path.ends_with(".rs") && f.text.contains("allow(unsafe_code)") {
            out.push(format!("{}: no unsafe code in core/", f.path));
        }
    }
    out
}

#[test]
fn walls_stand() {
    holds(complaints(&sources()));
}

#[test]
fn a_hole_in_the_wall_is_found() {
    let bad = [
        Source {
            path: "core/store/Cargo.toml".into(),
            text: "[dependencies]\ntokio = \"1\"\nopenraft = \"0\"\n".into(),
        },
        Source { path: "core/env/src/lib.rs".into(), text: "//! with std".into() },
    ];
    assert_eq!(complaints(&bad).len(), 3);
}

/// The one path from `core/` to the operating system's randomness leads through openraft.
#[test]
fn only_openraft_reaches_getrandom_and_nothing_reaches_tokio() {
    for (package, banned) in [
        ("dwcp-consensus", "getrandom"),
        ("dwcp-store", "getrandom"),
        ("dwcp-wal", "getrandom"),
        ("dwcp-node", "tokio"),
    ] {
        let out = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "-p", package, "-e", "normal", "--prefix", "none"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let tree = String::from_utf8_lossy(&out.stdout).into_owned();
        let hit = tree.lines().find(|l| l.split(' ').next() == Some(banned));
        assert_eq!(hit, None, "{package} reaches {banned}: cargo tree -p {package} -e normal -i {banned}");
    }
}
