//! Random histories of a space, each step compared with the specification.
//!
//! ```text
//! cargo run --profile sim -p dwcp-crdt --example histories -- --count 10000000
//! ```
//!
//! Exit codes: 0 all held, 1 a history was violated (its seed and story are printed), 2 wrong arguments.
#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "a tool: it prints")]

mod draw;
mod rival;
mod spec;
mod world;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Random histories of a convergent space, each step compared with the specification.
///
/// A history is two to five replicas with loss, duplicates, reordering, partitions, crashes that take unsynced operations
/// back, lost disks, snapshots read while operations go on, trimming, lagging and evicted members, and clocks an hour apart.
/// The same seed is the same history everywhere: `--seed 123 --count 1 --story` tells what happened.
#[derive(Parser)]
struct Args {
    /// How many histories.
    #[arg(long, default_value_t = 100_000)]
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Tells what happened in each history; use it with a count of one.
    #[arg(long)]
    story: bool,
    /// Runs the histories against `crdts::Map`, which does not converge, and counts how often that shows.
    #[arg(long)]
    rival: bool,
    /// How the outcome is written.
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.rival {
        let found = (args.seed..args.seed + args.count).filter(|s| !rival::converges(*s)).count();
        println!("crdts::Map: {found} of {} histories read differently by the order of merging", args.count);
        return ExitCode::SUCCESS;
    }
    let bar = ProgressBar::new(args.count);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} {per_sec} {eta} left")
            .expect("a template"),
    );
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let total = Mutex::new(world::Counts::default());
    let broken = Mutex::new(None::<u64>);
    std::thread::scope(|threads| {
        for _ in 0..args.jobs.max(1) {
            threads.spawn(|| {
                let mut counts = world::Counts::default();
                while !stop.load(Ordering::Relaxed) {
                    let from = next.fetch_add(1000, Ordering::Relaxed);
                    let to = (from + 1000).min(args.count);
                    if from >= to {
                        break;
                    }
                    for n in from..to {
                        let (result, c, story) = world::run(args.seed + n, args.story);
                        counts.add(&c);
                        if args.story {
                            println!("{story}");
                        }
                        if result.is_err() {
                            stop.store(true, Ordering::Relaxed);
                            broken.lock().expect("a lock").get_or_insert(args.seed + n);
                            break;
                        }
                    }
                    bar.inc(to - from);
                }
                total.lock().expect("a lock").add(&counts);
            });
        }
    });
    bar.finish_and_clear();
    let (counts, broken) = (*total.lock().expect("a lock"), *broken.lock().expect("a lock"));
    if let Some(seed) = broken {
        let (result, _, story) = world::run(seed, true);
        let what =
            result.err().map_or_else(|| "not again: a run is not a function of its seed".into(), |v| v.0);
        eprintln!("seed {seed}\n{story}{what}");
        return ExitCode::from(1);
    }
    if args.output == "json" {
        println!("{{\"histories\":{},\"checks\":{},\"violations\":0}}", args.count, counts.checks);
    } else {
        println!("{} histories, 0 violations: {counts:#?}", args.count);
    }
    ExitCode::SUCCESS
}
