//! Rehearses protocols of agreement under seeds, from the command line; `--help` has the whole of it.
//!
//! ```text
//! cargo run --profile sim -p dwcp-consensus --features rehearsal --example rehearse -- --protocol double
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a command line reads a clock, starts threads and prints"
)]

/// Prints a line; who closed the pipe does not want the rest.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        if writeln!(std::io::stdout(), $($words)*).is_err() {
            std::process::exit(0);
        }
    }};
}

#[path = "../../tests/double/mod.rs"]
mod double;
mod explored;
mod protocols;
mod sweep;

use clap::{Parser, ValueEnum};
use dwcp_consensus::rehearsal::Scenario;
use std::process::ExitCode;

/// Rehearses a protocol of agreement in seeded worlds and judges it from outside.
///
/// A run is a function of (protocol, scenario, seed): what fails here fails everywhere, and `--seeds 1 --from
/// SEED --story` tells what led there. The digest of a sweep is the same for equal builds, whatever
/// `--jobs` is.
///
/// Exit codes: 0 everything held (with --mutant: every planted bug was found); 1 an invariant was broken (with
/// --mutant: a bug was not found); 2 the command line makes no sense.
#[derive(Parser, Clone, Debug)]
#[command(name = "rehearse", after_help = AFTER)]
pub(crate) struct Args {
    /// Which protocol; `list` names them, with their planted bugs.
    #[arg(long, default_value = "list")]
    protocol: String,
    /// How many seeds of each scenario.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Only this scenario; `all` is every one.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// Plants a bug by name, or each after the other with `all`, and demands that it is found.
    #[arg(long)]
    mutant: Option<String>,
    /// Tells what led to the failure (the last lines).
    #[arg(long)]
    story: bool,
    /// Invariants that look away, by name, separated by commas: what do the others find without them?
    #[arg(long, default_value = "")]
    without: String,
    /// The same, once read.
    #[arg(skip)]
    blind: &'static [&'static str],
    /// Explores every state of a small group instead of running seeds; the bounds follow.
    #[arg(long)]
    explore: bool,
    /// [explore] Members.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// [explore] Commands.
    #[arg(long, default_value_t = 2)]
    commands: u8,
    /// [explore] Timeouts in all.
    #[arg(long, default_value_t = 1)]
    ticks: u8,
    /// [explore] Timeouts of one member.
    #[arg(long, default_value_t = 15)]
    ticks_each: u8,
    /// [explore] How many members' timers run at all.
    #[arg(long, default_value_t = 2)]
    tickers: usize,
    /// [explore] Crashes in all.
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// [explore] Reads in all.
    #[arg(long, default_value_t = 0)]
    reads: u8,
    /// [explore] Links keep order.
    #[arg(long)]
    fifo: bool,
    /// [explore] With links that keep order: messages lost while later ones arrive.
    #[arg(long, default_value_t = 0)]
    losses: u8,
    /// [explore] Checkpoints in all.
    #[arg(long, default_value_t = 0)]
    checkpoints: u8,
    /// [explore] A sync is an action of its own.
    #[arg(long)]
    late_syncs: bool,
    /// [explore] The commands touch different keys.
    #[arg(long)]
    commute: bool,
    /// [explore] Depth first.
    #[arg(long)]
    depth_first: bool,
    /// [explore] Where to stop, if not everything was seen before: some 500 bytes each.
    #[arg(long, default_value_t = 3_000_000)]
    states: usize,
    /// How results are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

const AFTER: &str = "Examples:
  rehearse --protocol double --seeds 10000 --jobs 2
  rehearse --protocol double --scenario crashes --seeds 1 --from 17 --story
  rehearse --protocol double --mutant all --output json
  rehearse --protocol double --explore --ticks 2 --commands 1";

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: one object.
    Json,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    let names = args.without.split(',').filter(|n| !n.is_empty());
    // For as long as the process lives: it is its command line.
    args.blind = names.map(|n| &*n.to_string().leak()).collect::<Vec<&'static str>>().leak();
    let scenarios: Vec<Scenario> = if args.scenario == "all" {
        Scenario::ALL.to_vec()
    } else if let Some(scenario) = Scenario::named(&args.scenario) {
        vec![scenario]
    } else {
        let names: Vec<_> = Scenario::ALL.iter().map(|s| s.name()).collect();
        eprintln!("no scenario is called {:?}; there are: all, {}", args.scenario, names.join(", "));
        return ExitCode::from(2);
    };
    if args.jobs == 0 || args.jobs > 64 {
        eprintln!("--jobs {}: from 1 to 64", args.jobs);
        return ExitCode::from(2);
    }
    protocols::run(&args, &scenarios)
}
