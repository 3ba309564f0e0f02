//! Histories of sequences against their textbook, as many as asked for:
//! `cargo run --release -p dwcp-crdt --example rga_hunt -- [histories] [first seed]`.
//! Exit code 1 and the story of the first history that went wrong, if one did.

#[path = "../tests/rga/histories.rs"]
mod histories;
#[path = "../tests/rga/spec.rs"]
mod spec;
#[path = "../tests/rga/world.rs"]
mod world;

use std::process::ExitCode;

#[allow(clippy::disallowed_macros, reason = "a command speaks on its output")]
fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Ok(count), Ok(first)) = (args.next().unwrap_or(Ok(100_000)), args.next().unwrap_or(Ok(0))) else {
        eprintln!("usage: rga_hunt [histories] [first seed]: both are numbers");
        return ExitCode::from(2);
    };
    let mut steps = 0;
    for seed in first..first.saturating_add(count) {
        let n = histories::steps(seed);
        steps += n;
        if let Err(story) = histories::run(seed, n) {
            println!("{story}");
            return ExitCode::from(1);
        }
        if (seed + 1 - first) % 10_000 == 0 {
            eprintln!("{} histories, {steps} steps: each equal to the textbook", seed + 1 - first);
        }
    }
    println!("{count} histories, {steps} steps: each equal to the textbook");
    ExitCode::SUCCESS
}
