//! The rules of the house, as a test. Each rule is a pure function from files to complaints, and is
//! itself tested on a file that breaks it.
//!
//! | rule | says |
//! |---|---|
//! | [`floors`] | a crate depends only on crates of lower floors, or on those listed for it |
//! | [`walls`] | nothing in `core/` names tokio; openraft is met in one crate; protocol crates are `no_std` |
//! | [`shape`] | files are short, rooms are not drawers, no stub and no banned word |
//! | [`listed`] | every doc page, scenario and crate is named by the list that should name it |
//! | [`metrics`] | every metric stands in the catalogue page, and the page names no other |

mod floors;
mod listed;
mod metrics;
mod shape;
mod walls;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tracked file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ci/ lies in the root").to_path_buf()
}

/// Every text file git tracks or would track.
fn sources() -> Vec<Source> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let mut found: Vec<Source> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter_map(|path| {
            let text = std::fs::read_to_string(root().join(path)).ok()?;
            Some(Source { path: path.to_string(), text })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn holds(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
