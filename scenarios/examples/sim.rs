//! `dwcp sim` without the rest of `dwcp`: builds in a fraction of the time, for whoever works on
//! the harness or on what it tests. `cargo run --profile sim --example sim -- run region-loss`

#[allow(unreachable_pub, reason = "the same file is a public module of dwcp")]
#[path = "../../bins/dwcp/src/sim/mod.rs"]
mod sim;

use clap::Parser;
use std::process::ExitCode;

#[derive(Parser)]
struct Cli {
    /// Answers as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    sim: sim::Sim,
}

fn main() -> ExitCode {
    // Workers are started as `… sim worker`.
    let args = std::env::args().enumerate().filter(|(i, a)| *i != 1 || a != "sim").map(|(_, a)| a);
    let cli = Cli::parse_from(args);
    match sim::run(cli.sim, cli.json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("sim: {why}");
            ExitCode::FAILURE
        }
    }
}
