//! `dwcp sim sweep`: many seeds of many scenarios.

use super::bar::Bar;
use super::{cores, program, write};
use clap::{Args, ValueEnum};
use dwcp_scenarios::expand::RunPlan;
use dwcp_scenarios::file::{Figure, Scenario, Tier};
use dwcp_scenarios::mutants::MUTANTS;
use dwcp_scenarios::pool::{Done, Program, alone};
use dwcp_scenarios::sweep::{Amount, Summary, Sweep};
use dwcp_scenarios::worker::{Job, Want};
use dwcp_scenarios::{catalogue, report};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  dwcp sim sweep                                    as many seeds of each scenario as its file says
  dwcp sim sweep swarm/ --minutes 480 --capsules out/   a night, failures kept
  dwcp sim sweep swarm/three_nodes --search --seeds 2000   keep what is rare and branch from it

A search reports which states (probes passed 1, 2, 4, 8… times) were reached, how often by seeds and by branches, and how
fast new ones came. It is a function of scenario, first seed and number of runs.

Exit status: 0 all passed; 1 something failed; 2 bad usage.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SweepArgs {
    /// Scenarios, or themes (`failover/`); all of the tier if none is named.
    pub(super) scenarios: Vec<String>,
    /// How many seeds of each, instead of what each file says.
    #[arg(long)]
    pub(super) seeds: Option<u32>,
    /// For how many minutes, instead of a number of seeds.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(super) first_seed: u64,
    /// The slowest tier to run.
    #[arg(long, value_enum, default_value_t = TierArg::Fast)]
    tier: TierArg,
    /// Processes at once; one a core if not said.
    #[arg(long)]
    pub(super) workers: Option<usize>,
    /// Branches from runs that reached something rare, instead of trying seeds alone; --seeds counts all runs.
    #[arg(long, conflicts_with_all = ["minutes", "junit", "html"])]
    search: bool,
    /// With --search: no branches, for comparison.
    #[arg(long, requires = "search")]
    pub(super) blind: bool,
    /// With --search: plants a bug and stops when it shows (a build with planted-bugs).
    #[arg(long, requires = "search")]
    pub(super) bug: Option<String>,
    /// Writes a JUnit file here.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Writes a page with claims and pictures of failures here.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Writes a capsule of each failure into this folder.
    #[arg(long)]
    pub(super) capsules: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum TierArg {
    Fast,
    Slow,
    Soak,
}

/// Scenarios by name or theme; all up to a tier if none is named.
pub(super) fn chosen(names: &[String], tier: TierArg) -> Result<Vec<Scenario>, String> {
    let most = match tier {
        TierArg::Fast => Tier::Fast,
        TierArg::Slow => Tier::Slow,
        TierArg::Soak => Tier::Soak,
    };
    if names.is_empty() {
        return Ok(catalogue::all().into_iter().filter(|s| s.tier <= most).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        if name.ends_with('/') {
            chosen.extend(catalogue::all().into_iter().filter(|s| s.name.starts_with(name.as_str())));
        } else {
            chosen.push(catalogue::find(name).map_err(|e| e.to_string())?);
        }
    }
    if chosen.is_empty() {
        Err("no scenario has such a theme; see dwcp sim list".to_owned())
    } else {
        Ok(chosen)
    }
}

pub(super) fn sweep(args: &SweepArgs, json: bool) -> Result<(), String> {
    if args.search {
        if let Some(bug) = args.bug.as_ref().filter(|b| MUTANTS.iter().all(|m| m.name != b.as_str())) {
            let all: Vec<&str> = MUTANTS.iter().map(|m| m.name).collect();
            return Err(format!("no bug is called {bug}; there are {}", all.join(", ")));
        }
        return super::search::search(args, chosen(&args.scenarios, args.tier)?, json);
    }
    let amount = match (args.seeds, args.minutes) {
        (Some(n), _) => Amount::Seeds(n),
        (None, Some(minutes)) => Amount::Time(Duration::from_secs(minutes * 60)),
        (None, None) => Amount::AsWritten,
    };
    let (scenarios, program) = (chosen(&args.scenarios, args.tier)?, program()?);
    let workers = args.workers.unwrap_or_else(cores);
    let sweep = Sweep { scenarios, first_seed: args.first_seed, amount, workers, program: program.clone() };
    let bar = Bar::new();
    let summary = sweep.run(&mut |p| bar.sweep(p));
    bar.end();
    if let Some(path) = &args.junit {
        write(path, &report::junit(&summary))?;
    }
    if let Some(path) = &args.html {
        let failures = summary.verdicts.iter().flat_map(|v| &v.failures).take(12);
        let drawn = failures.filter_map(|f| draw(&program, f.capsule.plan.clone())).collect::<Vec<_>>();
        write(path, &report::html(&summary, &drawn))?;
    }
    if let Some(folder) = &args.capsules {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for f in summary.verdicts.iter().flat_map(|v| &v.failures) {
            f.capsule.save(&folder.join(f.capsule.file_name()))?;
        }
    }
    if json {
        println!("{}", summary.json())
    } else {
        table(&summary)
    }
    let bad = summary.verdicts.iter().filter(|v| !v.passed()).count();
    if bad == 0 { Ok(()) } else { Err(format!("{bad} of {} scenarios failed", summary.verdicts.len())) }
}

pub(super) fn draw(program: &Program, plan: RunPlan) -> Option<dwcp_scenarios::run::picture::Picture> {
    match alone(program, &Job { id: 0, plan, want: Want::Picture, leak: None }) {
        Done::Ran(report) => report.picture,
        Done::Refused(_) | Done::Died(_) => None,
    }
}

pub(super) fn table(summary: &Summary) {
    println!(
        "{:<34} {:>5} {:>6} {:>9} {:>9} {:>9} {:>8}",
        "scenario", "runs", "failed", "rto p50", "rto worst", "rpo worst", "sim-s/s"
    );
    for v in &summary.verdicts {
        let rto = v.figures.get(Figure::Rto.name());
        let rpo = v.figures.get(Figure::Rpo.name());
        let show = |s: Option<u64>, f: Figure| s.map_or_else(|| "–".to_owned(), |n| f.show(n));
        let speed = v.totals.simulated_ns / 1_000 / v.took_us.max(1);
        println!(
            "{:<34} {:>5} {:>6} {:>9} {:>9} {:>9} {:>8}  {}",
            v.scenario,
            v.runs,
            v.failed,
            show(rto.map(|s| s.median), Figure::Rto),
            show(rto.map(|s| s.worst), Figure::Rto),
            show(rpo.map(|s| s.worst), Figure::Rpo),
            speed,
            if v.passed() { "ok" } else { "FAILED" }
        );
        print!("{}", report::complaints(v));
    }
    println!("{:.1} s on the clock, build {}", summary.wall_ms as f64 / 1e3, summary.build.commit);
}
