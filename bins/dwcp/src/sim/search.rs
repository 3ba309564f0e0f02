//! `dwcp sim sweep --search`: runs that reached something rare are branched from.

use super::bar::Bar;
use super::sweep::SweepArgs;
use super::{cores, program};
use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::search::{Found, RARE, Search};

/// Rare states named for each scenario.
const NAMED: usize = 12;

pub(super) fn search(args: &SweepArgs, scenarios: Vec<Scenario>, json: bool) -> Result<(), String> {
    let (program, workers) = (program()?, args.workers.unwrap_or_else(cores));
    let mut failed = 0;
    for scenario in scenarios {
        let runs = u64::from(args.seeds.unwrap_or(scenario.seeds));
        let (guided, bug) = (!args.blind, args.bug.clone());
        let program = program.clone();
        let search = Search { scenario, first_seed: args.first_seed, runs, guided, bug, workers, program };
        let bar = Bar::new();
        let found = search.run(&mut |p| {
            bar.of(p.done, Some(runs), &format!("{} states, {} failed", p.states, p.failed));
        });
        bar.end();
        if let Some(folder) = &args.capsules {
            std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            for f in &found.failures {
                f.capsule.save(&folder.join(format!("run-{}-{}", f.run, f.capsule.file_name())))?;
            }
        }
        failed += found.failed;
        if json {
            println!("{}", serde_json::to_string(&found).map_err(|e| e.to_string())?);
        } else {
            tell(&found);
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} runs failed; --capsules keeps them")) }
}

fn tell(f: &Found) {
    let minutes = f.wall_ms as f64 / 60e3;
    println!(
        "{}: {} runs, {} of them branches, in {:.1} s; {} states, {:.1} new ones a minute; {} failed",
        f.scenario,
        f.runs,
        f.branches,
        f.wall_ms as f64 / 1e3,
        f.states.len(),
        f.states.len() as f64 / minutes.max(1e-9),
        f.failed
    );
    println!("  states known after each generation: {:?}", f.growth);
    println!("  new states by the minute: {:?}", f.by_minute);
    let rare = f.states.iter().filter(|s| s.plain <= (f.runs / RARE).max(1));
    println!("  {:<40} {:>6} {:>8} {:>8}", "rare states, the rarest first", "times", "seeds", "branches");
    for s in rare.take(NAMED) {
        let first = if s.by_branch { "  first reached by a branch" } else { "" };
        println!("  {:<40} {:>6} {:>8} {:>8}{first}", s.name, s.times, s.plain, s.branched);
    }
    for e in &f.failures {
        let how = if e.branched { "a branch" } else { "a seed" };
        let again = if e.reproduced { "" } else { " [NOT REPRODUCED: a failure of determinism]" };
        println!("  run {} ({how}): {}{again}", e.run, e.violation);
    }
}
