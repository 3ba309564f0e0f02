//! What the programs of this crate that start servers have in common: how they run, and which binary they start.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs a program to its end, on one thread; says what went wrong.
pub(crate) fn run(name: &str, program: impl Future<Output = Result<(), String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The dwcp binary that was asked for, or the one beside this program; and the directory for data, made.
pub(crate) fn ready(dwcp: Option<&PathBuf>, data: &Path) -> Result<PathBuf, String> {
    let beside = || std::env::current_exe().ok().and_then(|p| p.parent().map(|d| d.join("dwcp")));
    let dwcp = dwcp.cloned().or_else(beside).filter(|p| p.exists());
    let dwcp = dwcp.ok_or("no dwcp binary; build it first: cargo build --release -p dwcp")?;
    std::fs::create_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
    Ok(dwcp)
}
