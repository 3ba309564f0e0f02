//! Bends honest messages in every way and gives them to honest members; nothing may come of it.
//!
//! ```text
//! cargo run --profile sim -p dwcp-consensus --features rehearsal --example badinput -- --help
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a command line prints"
)]

use clap::{Parser, ValueEnum};
use dwcp_consensus::rehearsal::Subject;
use dwcp_consensus::rehearsal::bad::{Bad, bad_inputs};
use dwcp_consensus::{epaxos, paxos, pbft};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;

/// Bends honest messages in every way and gives them to honest members.
///
/// Nobody may panic, who is blamed must have changed nothing, and where members may lie nothing may change at all. Prints what
/// became of the inputs. Exit codes: 0 it held; 1 it did not, with the input that showed it; 2 the command line makes no
/// sense.
#[derive(Parser)]
#[command(name = "badinput")]
struct Args {
    /// Whose messages.
    #[arg(long, value_enum)]
    protocol: Engine,
    /// Bad inputs to give.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// Where all draws come from: equal seeds give equal inputs.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many members; of PBFT four at least.
    #[arg(long, default_value_t = 4)]
    members: usize,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Pbft,
    Epaxos,
    Paxos,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn give<S: Subject>(subject: &S, args: &Args, bar: &ProgressBar) -> Result<Bad, String> {
    bad_inputs(subject, args.members, args.seed, args.count, |given| bar.set_position(given))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let least = if args.protocol == Engine::Pbft { 4 } else { 3 };
    if !(least..=15).contains(&args.members) || args.count == 0 {
        eprintln!("from {least} to 15 members, and at least one input");
        return ExitCode::from(2);
    }
    let bar = ProgressBar::new(args.count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    let bad = match args.protocol {
        Engine::Pbft => give(&pbft::rehearsed::Rehearsed { signed: true, kind: None }, &args, &bar),
        Engine::Epaxos => give(&epaxos::Rehearsed::default(), &args, &bar),
        Engine::Paxos => give(&paxos::Rehearsed::default(), &args, &bar),
    };
    bar.finish_and_clear();
    let bad = match bad {
        Ok(bad) => bad,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let Bad { given, unreadable, blamed, ignored, taken } = bad;
    if args.output == Format::Json {
        let all = serde_json::json!({
            "given": given, "unreadable": unreadable, "blamed": blamed, "ignored": ignored, "taken": taken,
        });
        println!("{all}");
    } else {
        println!(
            "{given} given: {unreadable} unreadable, {blamed} blamed, {ignored} without effect, {taken} taken"
        );
    }
    ExitCode::SUCCESS
}
