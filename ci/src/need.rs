//! What a lane needs and installs itself when it is missing: from Debian, PyPI, the crate registry.

use crate::lane::{root, sh};
use std::path::Path;
use std::process::{Command, Stdio};

fn works(words: &[&str]) -> bool {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

/// Programs by name with the Debian package that brings them.
pub(crate) fn debian(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<&str> =
        programs.iter().filter(|(p, _)| !works(&["which", p])).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    sh(&["apt-get", "update", "-q"])?;
    let mut install = vec!["apt-get", "install", "-y", "-q", "--no-install-recommends"];
    install.extend(missing);
    sh(&install)
}

/// The Python clients of etcd and Redis in an environment of its own under `target/`.
pub(crate) fn python_clients(root: &Path) -> Result<(), String> {
    let venv = root.join("target/venv");
    let python = venv.join("bin/python").to_string_lossy().into_owned();
    // The client's generated messages predate protobuf 4; its lock, the signature of tenacity's `wait` since 7.
    if works(&[&python, "-c", "import etcd3, redis"]) {
        return Ok(());
    }
    sh(&["python3", "-m", "venv", &venv.to_string_lossy()])?;
    sh(&[
        &python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "etcd3==0.12.0",
        "protobuf==3.20.3",
        "tenacity==6.3.1",
        "grpcio",
        "redis==5.2.1",
    ])
}

/// cargo-deny; tells whether the advisory data it reads is there too.
pub(crate) fn cargo_deny() -> Result<bool, String> {
    if !works(&["cargo", "deny", "--version"]) {
        sh(&["cargo", "install", "cargo-deny", "--locked", "--quiet"])?;
    }
    let root = root();
    let into = root.join("target/advisory-db");
    // cargo-deny by hand makes the folder with nothing but its lock in it.
    let unpacked = std::fs::read_dir(&into).is_ok_and(|d| d.flatten().any(|e| e.path().is_dir()));
    if unpacked {
        return Ok(true);
    }
    let archive = root.join("../shared/data/advisory-db/advisory-db-2026-08-21.tar.gz");
    if !archive.exists() {
        println!("no advisory data at {}: advisories are not checked here", archive.display());
        return Ok(false);
    }
    std::fs::create_dir_all(&into).map_err(|e| e.to_string())?;
    sh(&["tar", "-xzf", &archive.to_string_lossy(), "-C", &into.to_string_lossy()])?;
    Ok(true)
}
