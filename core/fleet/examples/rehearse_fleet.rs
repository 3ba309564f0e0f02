//! Rehearses the fleet under seeds, from the command line; `--help` has the whole of it.
//!
//! ```text
//! cargo run --profile sim -p dwcp-fleet --features rehearsal --example rehearse_fleet -- --seeds 1000
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a command line reads a clock, starts threads and prints"
)]

use clap::{Parser, ValueEnum};
#[cfg(feature = "planted-bugs")]
use dwcp_fleet::planted::{Bug, plant};
use dwcp_fleet::rehearsal::{Failure, Plan, Tally, World, run};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prints a line; who closed the pipe does not want the rest.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        if writeln!(std::io::stdout(), $($words)*).is_err() {
            std::process::exit(0);
        }
    }};
}

/// Rehearses the fleet in seeded worlds: regions cut off, hosts and agents dying, messages late, clocks off.
///
/// A run is a function of its seed: what fails here fails everywhere, and `--seeds 1 --from SEED --story` tells what led
/// there. The digest of a sweep is the same for equal builds, whatever `--jobs` is.
///
/// Exit codes: 0 everything held and every hard path was taken (with --mutant: every planted bug was found); 1 an
/// invariant was broken, or a hard path was not taken in a sweep of 10,000 seeds or more (with --mutant: a bug was not
/// found: none of the invariants broke first that it breaks); 2 the command line makes no sense; 130 Ctrl-C.
#[derive(Parser, Debug)]
#[command(name = "rehearse_fleet", after_help = AFTER)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Plants a bug by name, or each after the other with `all`, and demands that it is found (needs the feature
    /// `planted-bugs`).
    #[arg(long)]
    mutant: Option<String>,
    /// Tells what led to the failure (the last lines).
    #[arg(long)]
    story: bool,
    /// How results are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

const AFTER: &str = "Examples:
  rehearse_fleet --seeds 100000 --jobs 2
  rehearse_fleet --seeds 1 --from 17 --story
  rehearse_fleet --mutant all --seeds 5000 --output json";

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: one object.
    Json,
}

/// What the seeds came to.
#[derive(Default)]
struct Sum {
    held: u64,
    events: u64,
    digest: u64,
    tally: Tally,
    failure: Option<Failure>,
    cpu: std::time::Duration,
}

/// CPU time of this thread: other load on the machine does not count.
fn cpu() -> std::time::Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn sweep(args: &Args, bar: &ProgressBar) -> Sum {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                let (begin, mut sum) = (cpu(), Sum::default());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= args.seeds {
                        break;
                    }
                    let seed = args.from + at;
                    match run(seed) {
                        Ok(report) => {
                            sum.held += 1;
                            sum.events += report.events;
                            sum.digest = sum
                                .digest
                                .wrapping_add((report.trace ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                            sum.tally.merge(&report.tally);
                        }
                        Err(failure) => {
                            sum.failure = Some(failure);
                            next.store(args.seeds, Ordering::Relaxed);
                        }
                    }
                    bar.inc(1);
                }
                sum.cpu = cpu() - begin;
                merge(&mut total.lock().expect("no thread panicked with it"), sum);
            });
        }
    });
    total.into_inner().expect("no thread panicked with it")
}

fn merge(all: &mut Sum, one: Sum) {
    all.held += one.held;
    all.events += one.events;
    all.digest = all.digest.wrapping_add(one.digest);
    all.tally.merge(&one.tally);
    all.cpu += one.cpu;
    let first = |f: &Option<Failure>| f.as_ref().map_or(u64::MAX, |f| f.seed);
    if first(&one.failure) < first(&all.failure) {
        all.failure = one.failure;
    }
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>20} {wide_bar} {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(length).with_style(style.expect("a sound template"))
}

/// What led to a failure: the run again, remembered.
fn story(failure: &Failure) -> Vec<String> {
    World::new(Plan::expand(failure.seed)).with_story().run().err().map(|f| f.story).unwrap_or_default()
}

fn held(args: &Args) -> bool {
    let bar = bar(args.seeds);
    let sum = sweep(args, &bar);
    bar.finish_and_clear();
    let missing: Vec<_> = if args.seeds < 10_000 { Vec::new() } else { sum.tally.missing().collect() };
    let story = sum.failure.as_ref().filter(|_| args.story).map(story);
    let speed = sum.held as f64 / sum.cpu.as_secs_f64().max(1e-9);
    if args.output == Format::Json {
        let tally: serde_json::Map<_, _> = sum.tally.each().map(|(n, c)| (n.into(), c.into())).collect();
        let failure = sum.failure.as_ref().map(|f| {
            serde_json::json!({ "seed": f.seed, "at_ns": f.at.as_nanos(), "invariant": f.broken.invariant,
                "what": f.broken.what, "story": story })
        });
        let digest = format!("{:016x}", sum.digest);
        let report = serde_json::json!({ "held": sum.held, "events": sum.events, "digest": digest,
            "seeds_per_core_second": speed, "tally": tally, "not_taken": missing, "failure": failure });
        say!("{report}");
    } else {
        for (name, count) in sum.tally.each() {
            say!("{count:>12} {name}");
        }
        say!(
            "{} seeds held, {} events, {speed:.0} seeds a core-second, digest {:016x}",
            sum.held,
            sum.events,
            sum.digest
        );
        story.iter().flatten().for_each(|line| say!("{line}"));
        missing.iter().for_each(|name| say!("NOT TAKEN {name}"));
        if let Some(failure) = &sum.failure {
            say!("BROKEN {failure}");
            say!("again: --seeds 1 --from {} --story", failure.seed);
        }
    }
    sum.failure.is_none() && missing.is_empty()
}

#[cfg(feature = "planted-bugs")]
fn found(args: &Args, bug: Bug) -> bool {
    plant(Some(bug));
    let bar = bar(args.seeds);
    let name = format!("{bug:?}");
    bar.set_message(name.clone());
    let sum = sweep(args, &bar);
    bar.finish_and_clear();
    let story = sum.failure.as_ref().filter(|_| args.story).map(story);
    plant(None);
    // Something else that broke is no finding of this bug.
    let found = sum.failure.as_ref().is_some_and(|f| bug.breaks().contains(&f.broken.invariant));
    if args.output == Format::Json {
        let failure = sum
            .failure
            .as_ref()
            .map(|f| serde_json::json!({ "seed": f.seed, "invariant": f.broken.invariant }));
        say!(
            "{}",
            serde_json::json!({ "mutant": name, "what": bug.what().trim(), "breaks": bug.breaks(), "found": found,
            "runs": sum.held + 1, "failure": failure })
        );
    } else {
        story.iter().flatten().for_each(|line| say!("{line}"));
        match &sum.failure {
            Some(failure) if !found => {
                say!(
                    "{name:<22} SOMETHING ELSE after {} runs, not {:?}: {failure}",
                    sum.held + 1,
                    bug.breaks()
                );
            }
            Some(failure) => say!("{name:<22} found after {:>5} runs: {failure}", sum.held + 1),
            None => say!("{name:<22} NOT FOUND in {} seeds", args.seeds),
        }
    }
    found
}

#[cfg(feature = "planted-bugs")]
fn mutants(args: &Args, name: &str) -> ExitCode {
    let bugs: Vec<Bug> = match (name, Bug::named(name)) {
        ("all", _) => Bug::ALL.to_vec(),
        (_, Some(bug)) => vec![bug],
        _ => {
            eprintln!("no bug is called {name:?}; there are: all, {:?}", Bug::ALL);
            return ExitCode::from(2);
        }
    };
    let missed = bugs.into_iter().filter(|bug| !found(args, *bug)).count();
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "planted-bugs"))]
fn mutants(_: &Args, _: &str) -> ExitCode {
    eprintln!("this build has no planted bugs: build it with --features rehearsal,planted-bugs");
    ExitCode::from(2)
}

fn main() -> ExitCode {
    let args = Args::parse();
    match &args.mutant {
        Some(name) => mutants(&args, name),
        None if held(&args) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}
