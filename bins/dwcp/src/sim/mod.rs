//! `dwcp sim`: the same nodes in a seeded world, judged.

mod bar;
mod capsule;
mod claims;
mod explain;
mod gate;
mod mutants;
mod run;
mod search;
mod sweep;
pub mod view;

use clap::{Args, Subcommand};
use dwcp_env::Seed;
use dwcp_scenarios::capsule::Capsule;
use dwcp_scenarios::catalogue;
use dwcp_scenarios::expand::{RunPlan, expand};
use dwcp_scenarios::gate::WARM_UP;
use dwcp_scenarios::pool::Program;
use dwcp_scenarios::worker::{Job, Perturbed, Report, Want, execute, serve};
use std::path::{Path, PathBuf};

/// Runs the nodes in a seeded world: the same plan, seed and build give the same run.
#[derive(Args, Debug)]
#[command(after_help = "Begin with `dwcp sim run region-loss`, then `dwcp sim sweep --html report.html`.")]
pub struct Sim {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Lists the scenarios and what each defends.
    List,
    /// Runs one seed of a scenario and says what happened.
    Run {
        /// Its name, or the path of its file.
        scenario: String,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Writes a page with a space-time picture here.
        #[arg(long)]
        html: Option<PathBuf>,
        /// Writes a capsule here if it fails.
        #[arg(long)]
        capsule: Option<PathBuf>,
    },
    /// Runs many seeds of many scenarios on all cores.
    Sweep(sweep::SweepArgs),
    /// Measures every claim of the scenarios and writes docs/claims.md, or compares with it.
    Claims(claims::ClaimsArgs),
    /// Runs a capsule again and says whether it still fails; or shows the nodes at a moment of it.
    Replay(capsule::ReplayArgs),
    /// Says why a capsule fails: its story, its witnesses, its picture, and the moment that decided.
    Explain(explain::ExplainArgs),
    /// Finds the smallest run that fails as this one does.
    Shrink {
        /// A capsule's file, or a scenario's name.
        what: String,
        /// The seed, for a scenario.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// For how long, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Where the smaller capsule goes; beside the first if not said.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Prints the events of a run, one a line.
    Trace {
        /// A capsule's file, or a scenario's name.
        what: String,
        /// The seed, for a scenario.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The place of the first event.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        count: u64,
    },
    /// Draws chosen seeds as pictures in one page.
    Report {
        /// Scenarios' names, or capsules' files.
        #[arg(required = true)]
        what: Vec<String>,
        /// The seed, for scenarios.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the page goes.
        #[arg(long, default_value = "report.html")]
        html: PathBuf,
    },
    /// Runs each seed in two processes that differ on purpose, and compares the runs.
    Gate {
        /// Scenarios; the swarm if none is named.
        scenarios: Vec<String>,
        /// How many seeds of each.
        #[arg(long, default_value_t = 300)]
        seeds: u32,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        /// Short runs of other seeds that one of the processes begins with.
        #[arg(long, default_value_t = WARM_UP)]
        warm_up: u32,
        /// Plants a leak that the gate must catch (a build with planted-leaks).
        #[arg(long, value_enum)]
        leak: Option<gate::LeakArg>,
    },
    /// Puts known bugs back in and hunts all of them at once (a build with planted-bugs).
    Mutants(mutants::MutantsArgs),
    /// Serves the simulator as a page: run, step forward and back, see what happened.
    View(view::ViewArgs),
    /// Runs plans given as lines of JSON; what the other commands start.
    #[command(hide = true)]
    Worker {
        /// Threads to start first.
        #[arg(long, default_value_t = 0)]
        threads: u32,
        /// Short runs to make first.
        #[arg(long, default_value_t = 0)]
        warm_up: u32,
    },
}

/// Runs the command.
///
/// # Errors
/// What went wrong, or that something failed.
pub fn run(args: Sim, json: bool) -> Result<(), String> {
    match args.what {
        What::List => run::list(json),
        What::Run { scenario, seed, html, capsule } => {
            run::one(&scenario, seed, html.as_deref(), capsule.as_deref(), json)
        }
        What::Sweep(args) => sweep::sweep(&args, json),
        What::Claims(args) => claims::claims(&args, json),
        What::Replay(args) => capsule::replay(&args, json),
        What::Explain(args) => explain::explain(&args, json),
        What::Shrink { what, seed, seconds, to } => capsule::smaller(&what, seed, seconds, to, json),
        What::Trace { what, seed, from, count } => run::trace(&what, seed, from, count, json),
        What::View(args) => view::run(&args, json),
        What::Report { what, seed, html } => run::pictures(&what, seed, &html),
        What::Gate { scenarios, seeds, first_seed, warm_up, leak } => {
            let names = if scenarios.is_empty() { vec!["swarm/nine_nodes".to_owned()] } else { scenarios };
            gate::gate(&names, seeds, first_seed, warm_up, leak, json)
        }
        What::Mutants(args) => mutants::mutants(&args, json),
        What::Worker { threads, warm_up } => {
            let perturbed = Perturbed { threads, warm_up };
            #[allow(clippy::disallowed_methods, reason = "a worker speaks to its sweep, and ends with it")]
            let answers = std::io::stdout().lock();
            serve(perturbed, std::io::stdin().lock(), answers).map_err(|e| e.to_string())
        }
    }
}

/// The plan that a capsule's file or a scenario's name means.
fn plan_of(what: &str, seed: u64) -> Result<RunPlan, String> {
    let path = Path::new(what);
    if path.is_file()
        && let Ok(capsule) = Capsule::load(path)
    {
        return Ok(capsule.plan);
    }
    let scenario = catalogue::find(what).map_err(|e| e.to_string())?;
    Ok(expand(&scenario, Seed(seed)))
}

fn execute_plan(plan: RunPlan, want: Want) -> Result<Report, String> {
    execute(&Job { id: 0, plan, want, leak: None })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn program() -> Result<Program, String> {
    Program::this().map_err(|e| format!("this program can't be found: {e}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: can't be written: {e}", path.display()))
}
