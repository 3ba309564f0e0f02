//! `dwcp sim`: the same nodes in a seeded world, judged.

use clap::{Args, Subcommand, ValueEnum};
use dwcp_env::Seed;
use dwcp_runtime_sim::shrink::Budget;
use dwcp_scenarios::capsule::Capsule;
use dwcp_scenarios::expand::{RunPlan, expand};
use dwcp_scenarios::file::{Figure, Scenario, Tier};
use dwcp_scenarios::gate::{Gate, WARM_UP};
use dwcp_scenarios::leak::Leak;
use dwcp_scenarios::mutants::{ELUSIVE, Hunt, MUTANTS, hunt};
use dwcp_scenarios::pool::{Done, Program, alone};
use dwcp_scenarios::sweep::{Amount, Progress, Summary, Sweep};
use dwcp_scenarios::worker::{Job, Perturbed, Report, Want, execute, serve};
use dwcp_scenarios::{catalogue, report, shrink};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    Sweep(SweepArgs),
    /// Runs a capsule again and says whether it still fails.
    Replay {
        /// The capsule's file.
        capsule: PathBuf,
    },
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
        leak: Option<LeakArg>,
    },
    /// Puts known bugs back in, one by one, and looks for each (a build with planted-bugs).
    Mutants {
        /// Their names; all that have ever been found if none is given.
        names: Vec<String>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
    },
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

#[derive(Args, Debug)]
struct SweepArgs {
    /// Scenarios, or themes (`failover/`); all of the tier if none is named.
    scenarios: Vec<String>,
    /// How many seeds of each, instead of what each file says.
    #[arg(long)]
    seeds: Option<u32>,
    /// For how many minutes, instead of a number of seeds.
    #[arg(long, conflicts_with = "seeds")]
    minutes: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// The slowest tier to run.
    #[arg(long, value_enum, default_value_t = TierArg::Fast)]
    tier: TierArg,
    /// Processes at once; one a core if not said.
    #[arg(long)]
    workers: Option<usize>,
    /// Writes a JUnit file here.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Writes a page with claims and pictures of failures here.
    #[arg(long)]
    html: Option<PathBuf>,
    /// Writes a capsule of each failure into this folder.
    #[arg(long)]
    capsules: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum TierArg {
    Fast,
    Slow,
    Soak,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum LeakArg {
    HashOrder,
    Clock,
    Address,
    Environment,
}

/// Runs the command.
///
/// # Errors
/// What went wrong, or that something failed.
pub fn run(args: Sim, json: bool) -> Result<(), String> {
    match args.what {
        What::List => list(json),
        What::Run { scenario, seed, html, capsule } => {
            one(&scenario, seed, html.as_deref(), capsule.as_deref(), json)
        }
        What::Sweep(args) => sweep(&args, json),
        What::Replay { capsule } => replay(&capsule, json),
        What::Shrink { what, seed, seconds, to } => smaller(&what, seed, seconds, to, json),
        What::Trace { what, seed, from, count } => trace(&what, seed, from, count, json),
        What::Report { what, seed, html } => pictures(&what, seed, &html),
        What::Gate { scenarios, seeds, first_seed, warm_up, leak } => {
            let names = if scenarios.is_empty() { vec!["swarm/nine_nodes".to_owned()] } else { scenarios };
            gate(&names, seeds, first_seed, warm_up, leak, json)
        }
        What::Mutants { names, first_seed } => mutants(&names, first_seed, json),
        What::Worker { threads, warm_up } => {
            let perturbed = Perturbed { threads, warm_up };
            serve(perturbed, std::io::stdin().lock(), std::io::stdout().lock()).map_err(|e| e.to_string())
        }
    }
}

fn list(json: bool) -> Result<(), String> {
    for s in catalogue::all() {
        if json {
            let (tier, seeds, nodes) = (s.tier.name(), s.seeds, s.nodes());
            println!(
                "{}",
                serde_json::json!({ "name": s.name, "tier": tier, "seeds": seeds, "nodes": nodes, "why": s.why })
            );
        } else {
            println!("{:<34} {:<5} {:>4} seeds  {}", s.name, s.tier.name(), s.seeds, s.why);
        }
    }
    Ok(())
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

fn one(name: &str, seed: u64, html: Option<&Path>, capsule: Option<&Path>, json: bool) -> Result<(), String> {
    let scenario = catalogue::find(name).map_err(|e| e.to_string())?;
    let plan = expand(&scenario, Seed(seed));
    let want = if html.is_some() { Want::Picture } else { Want::Verdict };
    let mut report = execute_plan(plan.clone(), want)?;
    if let (Some(path), Some(picture)) = (html, report.picture.take()) {
        let empty =
            Summary { build: dwcp_scenarios::capsule::Build::current(), verdicts: Vec::new(), wall_ms: 0 };
        write(path, &report::html(&empty, &[picture]))?;
    }
    if let (Some(path), Some(violation)) = (capsule, &report.violation) {
        Capsule::new(plan, violation.clone(), report.trail.id()).save(path)?;
    }
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|e| e.to_string())?);
    } else {
        tell(&scenario, &report);
    }
    match report.violation {
        None => Ok(()),
        Some(v) => Err(format!("{}: {v}", scenario.name)),
    }
}

fn tell(scenario: &Scenario, r: &Report) {
    println!("{}, seed {}: {}", scenario.name, r.seed, scenario.why);
    println!(
        "  {} s simulated in {} ms, {} events; trace {}",
        r.stats.simulated_ns / 1_000_000_000,
        r.took_us / 1_000,
        r.stats.events,
        r.trail.id()
    );
    println!(
        "  operations: {} done, {} refused, {} unknown; {} writes acknowledged; {} leaders",
        r.stats.ok, r.stats.failed, r.stats.unknown, r.stats.writes, r.stats.leaders
    );
    for (figure, value) in &r.figures {
        let claim = scenario.check.claims.iter().find(|c| c.figure == *figure);
        let says = claim.map_or_else(String::new, |c| {
            let met = if *value <= c.at_most { "met" } else { "NOT MET" };
            format!("  (claimed <= {}: {met})", figure.show(c.at_most))
        });
        println!("  {:<20} {}{says}", figure.name(), figure.show(*value));
    }
    let happened: Vec<String> = r.sometimes.iter().map(|(name, n)| format!("{name} {n}")).collect();
    println!("  happened: {}", happened.join(", "));
    match &r.violation {
        None => println!("  every property held: {}", names(scenario)),
        Some(v) => println!("  BROKEN {v}\n  next: dwcp sim shrink {} --seed {}", scenario.name, r.seed),
    }
}

fn names(scenario: &Scenario) -> String {
    let all: Vec<&str> = scenario.check.always.iter().map(|p| p.name()).collect();
    all.join(", ")
}

fn chosen(args: &SweepArgs) -> Result<Vec<Scenario>, String> {
    let most = match args.tier {
        TierArg::Fast => Tier::Fast,
        TierArg::Slow => Tier::Slow,
        TierArg::Soak => Tier::Soak,
    };
    if args.scenarios.is_empty() {
        return Ok(catalogue::all().into_iter().filter(|s| s.tier <= most).collect());
    }
    let mut chosen = Vec::new();
    for name in &args.scenarios {
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn program() -> Result<Program, String> {
    Program::this().map_err(|e| format!("this program can't be found: {e}"))
}

fn sweep(args: &SweepArgs, json: bool) -> Result<(), String> {
    let amount = match (args.seeds, args.minutes) {
        (Some(n), _) => Amount::Seeds(n),
        (None, Some(minutes)) => Amount::Time(Duration::from_secs(minutes * 60)),
        (None, None) => Amount::AsWritten,
    };
    let (scenarios, program) = (chosen(args)?, program()?);
    let workers = args.workers.unwrap_or_else(cores);
    let sweep = Sweep { scenarios, first_seed: args.first_seed, amount, workers, program: program.clone() };
    let mut bar = Bar::new();
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

fn draw(program: &Program, plan: RunPlan) -> Option<dwcp_scenarios::run::picture::Picture> {
    match alone(program, &Job { id: 0, plan, want: Want::Picture, leak: None }) {
        Done::Ran(report) => report.picture,
        Done::Refused(_) | Done::Died(_) => None,
    }
}

fn table(summary: &Summary) {
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

fn replay(path: &Path, json: bool) -> Result<(), String> {
    let capsule = Capsule::load(path)?;
    let build = dwcp_scenarios::capsule::Build::current();
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

fn smaller(what: &str, seed: u64, seconds: u64, to: Option<PathBuf>, json: bool) -> Result<(), String> {
    let plan = plan_of(what, seed)?;
    let budget = Budget { wall: Duration::from_secs(seconds), ..Budget::default() };
    let mut bar = Bar::new();
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
    println!("replay it: dwcp sim replay {}", path.display());
    Ok(())
}

fn trace(what: &str, seed: u64, from: u64, count: u64, json: bool) -> Result<(), String> {
    let report = execute_plan(plan_of(what, seed)?, Want::Events { from, to: from.saturating_add(count) })?;
    let mut out = std::io::stdout().lock();
    for (place, event) in &report.events {
        let line = if json {
            serde_json::json!({ "place": place, "event": event }).to_string()
        } else {
            format!("{place:>9} {event}")
        };
        // A reader that has seen enough closes the pipe.
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

fn pictures(what: &[String], seed: u64, path: &Path) -> Result<(), String> {
    let mut drawn = Vec::new();
    for name in what {
        let report = execute_plan(plan_of(name, seed)?, Want::Picture)?;
        drawn.extend(report.picture);
    }
    let empty =
        Summary { build: dwcp_scenarios::capsule::Build::current(), verdicts: Vec::new(), wall_ms: 0 };
    write(path, &report::html(&empty, &drawn))?;
    println!("{} pictures in {}", drawn.len(), path.display());
    Ok(())
}

fn gate(
    names: &[String],
    seeds: u32,
    first_seed: u64,
    warm_up: u32,
    leak: Option<LeakArg>,
    json: bool,
) -> Result<(), String> {
    let scenarios =
        names.iter().map(|n| catalogue::find(n).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
    let leak = leak.map(|l| match l {
        LeakArg::HashOrder => Leak::HashOrder,
        LeakArg::Clock => Leak::Clock,
        LeakArg::Address => Leak::Address,
        LeakArg::Environment => Leak::Environment,
    });
    if leak.is_some() && leak.map(Leak::span) == Some(dwcp_env::Duration::ZERO) {
        return Err(
            "this build can't plant leaks: build it with --features dwcp-scenarios/planted-leaks".to_owned()
        );
    }
    let gate = Gate { scenarios, first_seed, seeds, program: program()?, warm_up, leak };
    let mut bar = Bar::new();
    let report = gate.run(&mut |done, of| bar.say(&format!("{done} of {of} seeds compared")));
    bar.end();
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|e| e.to_string())?);
    } else {
        println!(
            "{} of {} seeds gave the same run in two processes; {} s simulated, each twice, in {:.1} s",
            report.equal,
            report.seeds,
            report.simulated_ns / 1_000_000_000,
            report.wall_ms as f64 / 1e3
        );
        for d in report.divergences.iter().take(8) {
            println!(
                "{} seed {} differs first at event {}:\n  {}\n  {}",
                d.scenario, d.seed, d.place, d.events.0, d.events.1
            );
        }
        report.violations.iter().take(8).for_each(|(s, seed, v)| println!("{s} seed {seed}: {v}"));
        report.failed.iter().take(8).for_each(|f| println!("{f}"));
    }
    if report.passed() { Ok(()) } else { Err("the gate is closed".to_owned()) }
}

fn mutants(names: &[String], first_seed: u64, json: bool) -> Result<(), String> {
    if let Some(stranger) = names.iter().find(|n| MUTANTS.iter().all(|m| m.name != n.as_str())) {
        let all: Vec<&str> = MUTANTS.iter().map(|m| m.name).collect();
        return Err(format!("no bug is called {stranger}; there are {}", all.join(", ")));
    }
    let program = program()?;
    let mut missed = 0;
    if !json {
        println!(
            "{:<34} {:>5} {:<30} {:>6} {:>7} {:>7}  broke",
            "bug", "runs", "found by", "faults", "before", "shrink"
        );
    }
    let wanted = |name: &str| {
        if names.is_empty() { !ELUSIVE.contains(&name) } else { names.iter().any(|n| n == name) }
    };
    for mutant in MUTANTS.iter().filter(|m| wanted(m.name)) {
        let found = hunt(mutant, &program, cores(), first_seed);
        missed += usize::from(!found.passed());
        tell_hunt(&found, json);
    }
    if names.is_empty() && !json {
        println!("not hunted, because never found so far: {}", ELUSIVE.join(", "));
    }
    if missed == 0 { Ok(()) } else { Err(format!("{missed} bugs were not found, or not shrunk far enough")) }
}

fn tell_hunt(h: &Hunt, json: bool) {
    let found = h.found.as_ref();
    let shrunk = h.shrunk.as_ref();
    if json {
        println!(
            "{}",
            serde_json::json!({
                "bug": h.mutant.name, "passed": h.passed(), "runs": found.map(|f| f.0), "scenario": found.map(|f| &f.1),
                "seed": found.map(|f| f.2), "violation": found.map(|f| &f.3.name),
                "faults": shrunk.map(|s| s.faults), "faults_before": shrunk.map(|s| s.faults_before),
                "shrink_ms": shrunk.map(|s| s.took.as_millis() as u64),
            })
        );
        return;
    }
    let Some((runs, scenario, seed, violation)) = found else {
        println!("{:<34} NOT FOUND in {:.0} s", h.mutant.name, h.took.as_secs_f64());
        return;
    };
    let place = format!("{scenario} #{seed}");
    match shrunk {
        Some(s) => println!(
            "{:<34} {runs:>5} {place:<30} {:>6} {:>7} {:>6.1}s  {}{}",
            h.mutant.name,
            s.faults,
            s.faults_before,
            s.took.as_secs_f64(),
            violation.name,
            if h.passed() { "" } else { "  NOT ENOUGH" }
        ),
        None => println!(
            "{:<34} {runs:>5} {place:<30} not shrunk: it does not fail in this process",
            h.mutant.name
        ),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("{}: can't be written: {e}", path.display()))
}

/// A line that is written over, where a person watches.
struct Bar {
    shown: bool,
    last: std::time::Instant,
}

impl Bar {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), last: std::time::Instant::now() }
    }
    fn sweep(&mut self, p: &Progress) {
        let of = p.of.map_or_else(String::new, |n| format!(" of {n}"));
        self.say(&format!("{}{of} runs, {} failed, {} simulated", p.done, p.failed, p.simulated));
    }
    fn say(&mut self, text: &str) {
        if self.shown && self.last.elapsed() > Duration::from_millis(100) {
            self.last = std::time::Instant::now();
            eprint!("\r\x1b[K{text}");
        }
    }
    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
