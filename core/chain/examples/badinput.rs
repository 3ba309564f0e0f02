//! Bends what nodes of a chain say to each other and gives it to them again; nothing may come of it.
//!
//! ```text
//! cargo run --profile sim -p dwcp-chain --example badinput -- --count 1000000
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::print_stdout,
    reason = "a command line prints"
)]

#[path = "../tests/chain/bent.rs"]
mod bent;
#[path = "../tests/chain/harness.rs"]
mod harness;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

/// Bends what nodes of a chain say to each other, under all engines, and gives it to them again.
///
/// Nobody may panic or stop, who is blamed must have changed nothing, and in the end all hold one order with all that was
/// acknowledged. Prints what became of the inputs. Exit codes: 0 it held; 1 it did not, with the input that showed it.
#[derive(Parser)]
#[command(name = "badinput", after_help = "Example:\n  badinput --count 100000 --seed 7")]
struct Args {
    /// Bad inputs to give.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Where all draws come from: equal seeds give equal inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bar = ProgressBar::new(args.count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    let bent = bent::bent(args.seed, args.count, |given| bar.set_position(given));
    bar.finish_and_clear();
    match bent {
        Ok(bent) => {
            println!("{bent:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
