//! Random histories of a space, each step compared with the specification.
//!
//! ```text
//! cargo run --profile sim -p dwcp-crdt --example histories -- --count 10000000
//! ```
//!
//! Exit codes: 0 all held, 1 a history was violated (its seed and story are printed), 2 wrong arguments, 130 stopped (Ctrl-C, SIGTERM): how
//! many had held by then is printed; a second Ctrl-C ends it at once.
#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "a tool: it prints")]

mod draw;
mod rival;
mod spec;
mod world;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The exit code of one that was stopped.
const STOPPED: u8 = 130;
/// Histories between two movements of the bar, and between two lines of a log.
const TOLD: u64 = 100;
const LOGGED: u64 = 100_000;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Random histories of a convergent space, each step compared with the specification.
///
/// A history is two to five nodes with loss, duplicates, reordering, partitions, crashes that take unsynced operations
/// back, lost disks, states read while operations go on, trimming, clocks an hour apart; members that lag, are evicted, some together and without
/// knowing, and return with what nobody had taken; and rosters that come late, or after later ones. The same seed is the same history everywhere: `--seed 123 --count 1 --story` tells what happened.
///
/// Exit codes: 0 all held, 1 one was violated, 2 wrong arguments, 130 stopped by Ctrl-C.
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
    let (bar, stop) = (bar(args.count), Arc::new(AtomicBool::new(false)));
    // The second Ctrl-C ends it at once.
    for signal in [SIGINT, SIGTERM] {
        let ends = flag::register_conditional_shutdown(signal, STOPPED.into(), stop.clone());
        ends.and(flag::register(signal, stop.clone())).expect("a handler of signals");
    }
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new(world::Counts::default());
    let broken = Mutex::new(None::<u64>);
    std::thread::scope(|threads| {
        for _ in 0..args.jobs.max(1) {
            threads.spawn(|| {
                let mut counts = world::Counts::default();
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.count {
                        break;
                    }
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
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(TOLD) {
                        bar.set_position(done);
                        if bar.is_hidden() && done.is_multiple_of(LOGGED) {
                            eprintln!("{done} of {} histories, 0 violations so far", args.count);
                        }
                    }
                }
                total.lock().expect("a lock").add(&counts);
            });
        }
    });
    bar.finish_and_clear();
    let done = done.into_inner();
    let (counts, broken) = (*total.lock().expect("a lock"), *broken.lock().expect("a lock"));
    if let Some(seed) = broken {
        let (result, _, story) = world::run(seed, true);
        let what =
            result.err().map_or_else(|| "not again: a run is not a function of its seed".into(), |v| v.0);
        eprintln!("seed {seed}\n{story}{what}");
        return ExitCode::from(1);
    }
    if args.output == "json" {
        println!("{{\"histories\":{done},\"checks\":{},\"violations\":0}}", counts.checks);
    } else {
        let stopped =
            if done < args.count { format!(" of {}, then stopped", args.count) } else { String::new() };
        println!("{done} histories{stopped}, 0 violations: {counts:#?}");
    }
    if done < args.count { ExitCode::from(STOPPED) } else { ExitCode::SUCCESS }
}

fn bar(count: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {human_pos}/{human_len} {per_sec} {eta} left");
    ProgressBar::new(count).with_style(style.expect("a template"))
}
