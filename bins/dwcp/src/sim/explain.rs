//! `dwcp sim explain`: why a run fails.

use super::bar::Bar;
use super::{cores, plan_of, program, write};
use clap::Args;
use dwcp_scenarios::explain::chance::Effort;
use dwcp_scenarios::explain::{self, page};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  dwcp sim shrink swarm/nine_nodes --seed 41      first make it small
  dwcp sim explain small-nine_nodes.toml --html why.html
  dwcp sim explain small.toml --each 40 --seconds 60   finer: more branches at each moment

Branches are the same run up to a moment, then the same faults under other draws. Where the share of branches that fail
jumps is the moment that decided. With --steps and enough --seconds the answer is the same on every machine.

Exit status: 0 explained; 1 the run does not fail, or the plan makes no sense; 2 bad usage.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// A capsule's file, or a scenario's name.
    what: String,
    /// The seed, for a scenario.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes a page with the story, the chart and the space-time picture here.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Time for branches, in seconds.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Branches at each moment.
    #[arg(long, default_value_t = 12)]
    each: u32,
    /// Moments at most.
    #[arg(long, default_value_t = 24)]
    steps: u32,
}

pub(super) fn explain(args: &ExplainArgs, json: bool) -> Result<(), String> {
    let plan = plan_of(&args.what, args.seed)?;
    let wall = Duration::from_secs(args.seconds);
    let effort = Effort { each: args.each, steps: args.steps, wall, workers: cores() };
    let bar = Bar::new();
    let told = explain::explain(&plan, &program()?, effort, &mut |done, of| {
        bar.of(done.into(), Some(of.into()), "branches");
    });
    bar.end();
    let told = told?;
    if let Some(path) = &args.html {
        write(path, &page::html(&told))?;
    }
    if json {
        println!("{}", serde_json::to_string(&told).map_err(|e| e.to_string())?);
        return Ok(());
    }
    print!("{}", page::text(&told));
    if told.faults > 12 {
        println!(
            "\n{} faults are more than a person can follow: dwcp sim shrink {} first",
            told.faults, args.what
        );
    }
    if let Some(path) = &args.html {
        println!("\nthe picture: {}", path.display());
    }
    Ok(())
}
