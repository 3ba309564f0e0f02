//! Tells seeded stories of chains of epochs: writes and reads, switches between all engines in mid-fault; judged from outside.
//!
//! ```text
//! cargo run --profile sim -p dwcp-chain --example rehearse -- --seeds 10000 --jobs 2
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::print_stdout,
    reason = "a command line reads a clock, starts threads and prints"
)]

#[path = "../tests/chain/harness.rs"]
mod harness;
#[path = "../tests/chain/trial.rs"]
mod trial;

use clap::{Parser, ValueEnum};
use dwcp_chain::ChainConfig;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use trial::{Ended, Told, tell};

/// Tells seeded stories of a chain and judges them from outside: one order, nothing lost or doubled, what was answered as not done
/// is not there, no stale read, no fork, and a good end.
///
/// A story is a function of its seed: what fails here fails everywhere. Exit codes: 0 all held (with --mutant: it was
/// found); 1 one did not (with --mutant: it was not found); 2 the command line makes no sense.
#[derive(Parser, Debug)]
#[command(
    name = "rehearse",
    after_help = "Examples:\n  rehearse --seeds 100000 --jobs 2\n  rehearse --from 17 --seeds 1\n  rehearse --rot --seeds 10000\n  rehearse --mutant void-applied --seeds 1000"
)]
struct Args {
    /// How many stories.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Tells what led to each failure.
    #[arg(long)]
    story: bool,
    /// Disks lose entries of Raft's epochs, too.
    #[arg(long)]
    rot: bool,
    /// Plants a bug, and demands that it is found (needs `--features planted-bugs`).
    #[arg(long, value_enum)]
    mutant: Option<Mutant>,
}

/// The planted bugs of the chain (`ChainBugs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Mutant {
    VoidApplied,
    SentBeforeDurable,
    DurableAtOnce,
    DamageIgnored,
    OldBarrierPasses,
    MarkNotRenewed,
    SlotForgotten,
    LogEndedEarly,
    /// Needs --rot (`RaftBugs`).
    HoleUntold,
}

#[cfg(feature = "planted-bugs")]
fn plant(config: &mut ChainConfig, mutant: Option<Mutant>) {
    let bugs = &mut config.bugs;
    let Some(mutant) = mutant else { return };
    *match mutant {
        Mutant::VoidApplied => &mut bugs.void_applied,
        Mutant::SentBeforeDurable => &mut bugs.sent_before_durable,
        Mutant::DurableAtOnce => &mut bugs.durable_at_once,
        Mutant::DamageIgnored => &mut bugs.damage_ignored,
        Mutant::OldBarrierPasses => &mut bugs.old_barrier_passes,
        Mutant::MarkNotRenewed => &mut bugs.mark_not_renewed,
        Mutant::SlotForgotten => &mut bugs.slot_forgotten,
        Mutant::LogEndedEarly => &mut bugs.log_ended_early,
        Mutant::HoleUntold => &mut config.raft.bugs.hole_untold,
    } = true;
}

#[cfg(not(feature = "planted-bugs"))]
const fn plant(_: &mut ChainConfig, _: Option<Mutant>) {}

/// What a sweep came to.
#[derive(Default)]
struct Swept {
    told: Told,
    failed: Vec<(u64, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.mutant.is_some() && cfg!(not(feature = "planted-bugs")) {
        eprintln!("rehearse: --mutant needs a build with planted bugs: add `--features planted-bugs`");
        return ExitCode::from(2);
    }
    let begun = Instant::now();
    let swept = sweep(&args);
    let Swept { told, failed } = &swept;
    for (seed, why) in failed.iter().take(5) {
        println!("seed {seed}: {why}");
    }
    println!("{told:?}");
    println!("{} failed; {:.1} s", failed.len(), begun.elapsed().as_secs_f64());
    if failed.is_empty() == args.mutant.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sweep(args: &Args) -> Swept {
    let bar = ProgressBar::new(args.seeds);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let (next, swept) = (AtomicU64::new(0), Mutex::new(Swept::default()));
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    // One is enough of a planted bug.
                    let found = args.mutant.is_some() && swept.lock().is_ok_and(|s| !s.failed.is_empty());
                    if nth >= args.seeds || found {
                        return;
                    }
                    let seed = args.from + nth;
                    let ended = std::panic::catch_unwind(|| tell(seed, args.rot, &|c| plant(c, args.mutant)));
                    bar.inc(1);
                    let Ok(mut swept) = swept.lock() else { return };
                    let Ok(Ended { told, verdict, story }) = ended else {
                        swept.failed.push((seed, "a panic".into()));
                        continue;
                    };
                    swept.told.add(&told);
                    let story = if args.story { story.join("\n") + "\n" } else { String::new() };
                    swept.failed.extend(verdict.err().map(|why| (seed, story + &why)));
                }
            });
        }
    });
    bar.finish_and_clear();
    swept.into_inner().unwrap_or_default()
}
