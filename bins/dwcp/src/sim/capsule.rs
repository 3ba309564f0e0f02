//! `dwcp sim replay` and `shrink`: what is done with a failure.

use super::bar::Bar;
use super::{execute_plan, plan_of};
use clap::Args;
use dwcp_env::{Duration as Span, Instant};
use dwcp_runtime_sim::shrink::Budget;
use dwcp_scenarios::capsule::{Build, Capsule};
use dwcp_scenarios::file::quantity;
use dwcp_scenarios::run::moment::Moment;
use dwcp_scenarios::shrink;
use dwcp_scenarios::worker::Want;
use std::path::{Path, PathBuf};
use std::time::Duration;

const REPLAY: &str = "\
Examples:
  dwcp sim replay small.toml                            does it still fail in the same way?
  dwcp sim replay small.toml --to 31.2s                 what is each node at that moment?
  dwcp sim replay region-loss --seed 7 --to 12s --window 5ms   and what happens from 5 ms before to 5 ms after

Exit status: 0 it does not fail any more, or the moment was shown; 1 it fails; 2 bad usage.";

#[derive(Args, Debug)]
#[command(after_help = REPLAY)]
pub(super) struct ReplayArgs {
    /// The capsule's file; with --to also a scenario's name.
    what: String,
    /// The seed, for a scenario.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stops at this moment of simulated time and shows each node.
    #[arg(long, value_parser = span)]
    to: Option<Span>,
    /// Shows the events from so long before it to so long after.
    #[arg(long, value_parser = span, requires = "to", default_value = "50ms")]
    window: Span,
    /// At most so many events.
    #[arg(long, requires = "to", default_value_t = 200)]
    events: usize,
}

fn span(text: &str) -> Result<Span, String> {
    quantity::duration(text)
}

pub(super) fn replay(args: &ReplayArgs, json: bool) -> Result<(), String> {
    match args.to {
        Some(to) => moment(args, to, json),
        None => again(Path::new(&args.what), json),
    }
}

fn moment(args: &ReplayArgs, to: Span, json: bool) -> Result<(), String> {
    let at = Instant::ZERO + to;
    let plan = plan_of(&args.what, args.seed)?;
    let report = execute_plan(plan, Want::Moment(Moment { at, window: args.window }))?;
    if json {
        let doc = serde_json::json!({ "at": at, "nodes": report.states, "events": report.events, "violation": report.violation });
        println!("{doc}");
        return Ok(());
    }
    println!(
        "{:<5} {:<16} {:<7} {:>4} {:<10} {:>5} {:>8} {:>9} {:>8} {:>8}  cut from, faults",
        "node", "region", "is", "life", "role", "term", "log", "committed", "applied", "revision"
    );
    for s in &report.states {
        let cut: Vec<String> = s.cut_from.iter().map(|n| format!("n{n}")).collect();
        let also: Vec<String> = cut.into_iter().chain(s.faults.iter().cloned()).collect();
        println!(
            "n{:<4} {:<16} {:<7} {:>4} {:<10} {:>5} {:>8} {:>9} {:>8} {:>8}  {}",
            s.node,
            s.region,
            format!("{:?}", s.standing).to_lowercase(),
            s.life,
            s.role.as_deref().unwrap_or("–"),
            s.term,
            s.last,
            s.committed,
            s.applied,
            s.revision,
            also.join(" ")
        );
    }
    for s in &report.states {
        if let Some(replica) = &s.eventual {
            println!("n{:<4} eventual: {replica}", s.node);
        }
    }
    let shown = report.events.len().min(args.events);
    // The middle of what was kept is the moment.
    let first = report.events.len().saturating_sub(shown) / 2;
    println!("\n{shown} of {} events within {} of {at}:", report.events.len(), args.window);
    for (place, says) in &report.events[first..first + shown] {
        println!("{place:>9} {says}");
    }
    if let Some(v) = report.violation {
        println!("\nthe run has ended before: {v}");
    }
    Ok(())
}

fn again(path: &Path, json: bool) -> Result<(), String> {
    let capsule = Capsule::load(path)?;
    let build = Build::current();
    if build != capsule.build {
        eprintln!(
            "note: the capsule is of build {}, this is {}: the run may differ",
            capsule.build.commit, build.commit
        );
    }
    let report = execute_plan(capsule.plan.clone(), Want::Verdict)?;
    let same = report.trail.id() == capsule.trace;
    if json {
        println!(
            "{}",
            serde_json::json!({ "same_run": same, "violation": report.violation, "was": capsule.violation })
        );
    } else {
        println!("{}: {}", if same { "the same run" } else { "another run" }, capsule.about);
    }
    match report.violation {
        Some(v) => Err(format!("it fails: {v}")),
        None => {
            println!("it does not fail any more");
            Ok(())
        }
    }
}

pub(super) fn smaller(
    what: &str,
    seed: u64,
    seconds: u64,
    to: Option<PathBuf>,
    json: bool,
) -> Result<(), String> {
    let plan = plan_of(what, seed)?;
    let budget = Budget { wall: Duration::from_secs(seconds), ..Budget::default() };
    let bar = Bar::new();
    let shrunk = shrink::shrink(&plan, budget, &mut |p| {
        bar.say(&format!("{}: {} faults, {} nodes left after {} runs", p.step, p.faults, p.nodes, p.runs));
    });
    bar.end();
    let shrunk = shrunk.ok_or("this run does not fail: nothing to shrink")?;
    let path = to.unwrap_or_else(|| PathBuf::from(format!("small-{}", shrunk.capsule.file_name())));
    shrunk.capsule.save(&path)?;
    if json {
        println!(
            "{}",
            serde_json::json!({ "capsule": path, "faults": shrunk.faults, "before": shrunk.faults_before, "runs": shrunk.runs })
        );
        return Ok(());
    }
    println!(
        "{} of {} faults left after {} runs in {:.1} s:",
        shrunk.faults,
        shrunk.faults_before,
        shrunk.runs,
        shrunk.took.as_secs_f64()
    );
    shrunk.capsule.plan.world.faults.iter().for_each(|f| println!("  {f}"));
    println!("{}", shrunk.capsule.violation);
    println!("understand it: dwcp sim explain {} --html why.html", path.display());
    Ok(())
}
