//! The selection under weather, and how long a choice takes.

#![allow(clippy::disallowed_types, clippy::disallowed_macros)] // a tool on the command line, no part of a node

#[path = "../tests/weather/mod.rs"]
mod weather;

use clap::{Parser, Subcommand};
use dwcp_consensus::select::{Current, EngineKind, Member, Policy, choose, decide};
use dwcp_env::{Instant, NodeId};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use weather::{STEPS, Tally, Weather, aws, calm};

/// Traces of made-up weather, followed by what the selection says; and its own speed.
#[derive(Parser)]
#[command(
    after_help = "Exit status: 0 no flap, 1 a flap or a broken law, 2 wrong usage.\n\nThe weather of a trace is a function of its seed: equal seeds, equal tallies, whatever --jobs is."
)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// How to print: text or json.
    #[arg(long, default_value = "text", global = true, value_parser = ["text", "json"])]
    output: String,
}

#[derive(Subcommand)]
enum Command {
    /// Follow traces: changes, returns, flaps.
    Traces {
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Threads.
        #[arg(long, default_value_t = 1)]
        jobs: u64,
    },
    /// How long one choice takes for nine regions, of one and of three members.
    Speed {
        /// How many choices.
        #[arg(long, default_value_t = 20_000)]
        count: u32,
    },
    /// Tell a trace: every change with its reasons.
    Explain {
        /// Its seed.
        #[arg(long)]
        seed: u64,
    },
}

fn traces(count: u64, from: u64, jobs: u64) -> Result<Tally, String> {
    let bar = ProgressBar::new(count);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} traces, {eta} left").expect("a template"),
    );
    let policy = Policy::default();
    let jobs = jobs.clamp(1, 64);
    let (policy, watched) = (&policy, &bar);
    let parts: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let run = |job: u64| {
            let mut tally = Tally::default();
            for seed in (from + job..from + count).step_by(jobs as usize) {
                let one = weather::follow(seed, policy)?;
                if one.flaps > 0 {
                    watched.suspend(|| eprintln!("seed {seed} flaps"));
                }
                tally.add(&one);
                watched.inc(1);
            }
            Ok(tally)
        };
        let handles: Vec<_> = (0..jobs).map(|job| scope.spawn(move || run(job))).collect();
        handles.into_iter().map(|h| h.join().expect("a trace does not panic")).collect()
    });
    bar.finish_and_clear();
    let mut tally = Tally::default();
    for part in parts {
        tally.add(&part?);
    }
    Ok(tally)
}

/// The median and the slowest of a hundred, in microseconds.
fn speed(count: u32, members: u64) -> (f64, f64) {
    let names = [
        "us-east-1",
        "us-west-2",
        "sa-east-1",
        "eu-west-1",
        "eu-central-1",
        "ap-south-1",
        "ap-southeast-1",
        "ap-northeast-1",
        "af-south-1",
    ];
    let mut m = calm(&aws(&names));
    for (r, region) in m.regions.iter_mut().enumerate() {
        region.members = (0..members).map(|i| Member { node: NodeId(r as u64 * 10 + i), up: true }).collect();
    }
    let policy = Policy { bear_members: Some(2), ..Policy::default() };
    let first = choose(&m, &policy, None).picked().expect("all are up").placement.clone();
    let current = Current::new(first, Instant::ZERO);
    let mut times: Vec<Duration> = (0..count.max(100))
        .map(|i| {
            m.keyspaces[0].writes[i as usize % 9] = 100 + u64::from(i % 7);
            let begin = std::time::Instant::now();
            let verdict = decide(Instant::from_nanos(u64::from(i)), &m, &policy, &current);
            let took = begin.elapsed();
            assert!(verdict.choice.pick.is_some());
            took
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_nanos() as f64 / 1_000.0;
    (at(50), at(99))
}

fn explain(seed: u64) {
    let policy = Policy::default();
    let mut weather = Weather::new(seed);
    let mut current: Option<Current> = None;
    for step in 0..STEPS {
        let m = weather.blow();
        let now = Instant::ZERO + dwcp_env::Duration::secs(2) * step;
        let Some(running) = &mut current else {
            let first = choose(&m, &policy, None);
            println!("{now}: begin\n{}", first.explain());
            current = first.picked().map(|c| Current::new(c.placement.clone(), now));
            continue;
        };
        let verdict = decide(now, &m, &policy, running);
        let to = match &verdict.decision {
            dwcp_consensus::select::Decision::Stay => continue,
            dwcp_consensus::select::Decision::Seal(to) => to.clone(),
            dwcp_consensus::select::Decision::Transfer(to) => {
                dwcp_consensus::select::Placement { leader: Some(*to), ..running.placement.clone() }
            }
        };
        println!("{now}:\n{}", verdict.explain(&running.placement));
        running.moved(now, to);
    }
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    let json = args.output == "json";
    match args.command {
        Command::Traces { count, from, jobs } => match traces(count, from, jobs) {
            Ok(t) => {
                let under: serde_json::Map<String, serde_json::Value> = EngineKind::ALL
                    .iter()
                    .zip(t.under)
                    .map(|(e, n)| (e.name().to_string(), n.into()))
                    .collect();
                if json {
                    println!(
                        "{}",
                        serde_json::json!({ "traces": t.traces, "changes": t.changes, "transfers": t.transfers, "returns": t.returns, "flaps": t.flaps, "steps_under": under })
                    );
                } else {
                    println!(
                        "{} traces of {STEPS} looks: {} changes ({} within an epoch), {} returns, {} flaps",
                        t.traces, t.changes, t.transfers, t.returns, t.flaps
                    );
                    under.iter().for_each(|(engine, steps)| println!("  {steps:>12} looks under {engine}"));
                }
                if t.flaps == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::from(1) }
            }
            Err(law) => {
                eprintln!("{law}");
                std::process::ExitCode::from(1)
            }
        },
        Command::Speed { count } => {
            for members in [1, 3] {
                let (p50, p99) = speed(count, members);
                if json {
                    println!(
                        "{}",
                        serde_json::json!({ "regions": 9, "members": 9 * members, "p50_us": p50, "p99_us": p99 })
                    );
                } else {
                    println!("9 regions, {:>2} members: p50 {p50:.1} us, p99 {p99:.1} us", 9 * members);
                }
            }
            std::process::ExitCode::SUCCESS
        }
        Command::Explain { seed } => {
            explain(seed);
            std::process::ExitCode::SUCCESS
        }
    }
}
