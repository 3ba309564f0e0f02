//! Whether conflicts come out as those who wrote meant it: a fleet under partitions, and an oracle of intent.
//!
//! ```text
//! cargo run --profile sim -p dwcp-conflict --example intent -- --seeds 100
//! ```
//!
//! Five regions, a replica of a space each, work on forty virtual machines for twelve hours: create, resize, migrate, power, addresses, labels, notes,
//! delete. Links are cut for 1 to 30 minutes again and again; clocks stray by up to 400 ms. What meets afterwards is settled by the policy in
//! `policy.toml`, and judged by `oracle`, which knows what each writer meant and when they truly wrote, and looks at no policy.
//!
//! Exit code 0: all claims hold. 1: one does not; the seed is told.
#![allow(clippy::disallowed_macros, reason = "a measuring program prints")]

mod fleet;
mod oracle;
mod run;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use oracle::Tally;
use std::process::ExitCode;

/// Settle the conflicts of a simulated fleet, and judge them by what their writers meant.
#[derive(Parser)]
#[command(
    after_help = "Each seed is a fleet of its own: five regions, forty machines, twelve hours.\nExit code: 0 if all claims hold, 1 if one does not."
)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Print what came out wrong, conflict by conflict.
    #[arg(long)]
    verbose: bool,
    /// What is printed at the end.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bar = ProgressBar::new(args.seeds);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} fleets, {eta} left").expect("a template"),
    );
    let mut all = Tally::default();
    for seed in args.seed..args.seed + args.seeds {
        let tally = run::run(seed, run::POLICY);
        if args.verbose {
            tally.wrong_told.iter().for_each(|w| bar.suspend(|| println!("seed {seed}: {w}")));
        }
        all.add(tally);
        bar.inc(1);
    }
    bar.finish_and_clear();
    match args.output {
        Output::Text => print!("{}", all.table()),
        Output::Json => println!("{}", all.json()),
    }
    let broken = all.broken();
    broken.iter().for_each(|claim| eprintln!("not met: {claim}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
