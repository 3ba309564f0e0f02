//! Tells the program which build it is: a capsule names it.

use std::process::Command;

fn said(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_owned())
}

fn main() {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"]).map_or_else(
        || "unknown".to_owned(),
        |commit| {
            let clean =
                said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| s.is_empty());
            if clean { commit } else { format!("{commit}+changes") }
        },
    );
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let toolchain = said(&rustc, &["--version"]).unwrap_or_else(|| "unknown".to_owned());
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".to_owned());
    println!("cargo:rustc-env=DWCP_COMMIT={commit}");
    println!("cargo:rustc-env=DWCP_TOOLCHAIN={toolchain}");
    println!("cargo:rustc-env=DWCP_TARGET={target}");
    // In a second work tree of a checkout these lie elsewhere than in `.git`.
    for path in ["HEAD", "index"].iter().filter_map(|f| said("git", &["rev-parse", "--git-path", f])) {
        if std::path::Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
}
