//! Small rooms, no drawers, no stubs.

use crate::{Source, holds, sources};

const LINES_MAX: usize = 800;
const DRAWERS: &[&str] = &["util", "utils", "common", "manager", "helpers", "misc"];

fn complaints(files: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for f in files.iter().filter(|f| f.path.ends_with(".rs")) {
        let lines = f.text.lines().count();
        if lines > LINES_MAX {
            out.push(format!("{}: {lines} lines; a file is one idea, at most {LINES_MAX}", f.path));
        }
        let room =
            f.path.trim_end_matches(".rs").rsplit('/').find(|p| *p != "mod" && *p != "lib").unwrap_or("");
        if DRAWERS.contains(&room) {
            out.push(format!("{}: a drawer, not a room; name it after what it holds", f.path));
        }
        let rules_themselves = f.path.starts_with("ci/tests/tidy/");
        for word in ["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("] {
            if !rules_themselves && f.text.contains(word) {
                out.push(format!("{}: {word}", f.path));
            }
        }
        let begins = f.text.trim_start();
        let inner = f.path.contains("/src/") && !begins.starts_with("//!");
        if inner {
            out.push(format!("{}: begins without a header that teaches (//!)", f.path));
        }
    }
    out
}

#[test]
fn rooms_are_small_and_whole() {
    holds(complaints(&sources()));
}

#[test]
fn each_bad_shape_is_found() {
    let bad = [
        Source {
            path: "core/env/src/long.rs".into(),
            text: format!("//! x\n{}", "\n".repeat(LINES_MAX + 1)),
        },
        Source { path: "core/env/src/util.rs".into(), text: "//! x".into() },
        Source { path: "core/env/src/hole.rs".into(), text: "//! x\nfn f() { todo!() }".into() },
        Source { path: "core/env/src/mute.rs".into(), text: "fn f() {}".into() },
    ];
    assert_eq!(complaints(&bad).len(), 4);
}
