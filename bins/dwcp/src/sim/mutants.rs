//! `dwcp sim mutants`: known bugs put back in, all hunted at once.

use super::bar::Bar;
use super::{cores, program, write};
use clap::Args;
use dwcp_scenarios::mutants::{ELUSIVE, Hunt, MUTANTS, Mutant, Terms, hunt, page, verdict};
use std::path::PathBuf;
use std::time::Duration;

/// Of a hundred bugs so many must be found and shrunk as asked for.
const ENOUGH: usize = 95;

#[derive(Args, Debug)]
pub(super) struct MutantsArgs {
    /// Their names, or the name of a part with a dot (`watch.`); all if none is given.
    names: Vec<String>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// How long all of it may take.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many seconds shrinking one may take.
    #[arg(long, default_value_t = 8.0)]
    shrink: f64,
    /// Writes the table here (`docs/mutants.md`).
    #[arg(long)]
    write: Option<PathBuf>,
    /// Writes the smallest run that shows each bug here, for `dwcp sim explain`.
    #[arg(long)]
    capsules: Option<PathBuf>,
}

pub(super) fn mutants(args: &MutantsArgs, json: bool) -> Result<(), String> {
    let chosen = chosen(&args.names)?;
    if cfg!(not(feature = "planted-bugs")) {
        return Err(
            "no bug can be planted in this build: make one with `cargo build -p dwcp --features planted-bugs`"
                .into(),
        );
    }
    let terms = Terms {
        first_seed: args.first_seed,
        wall: Duration::from_secs_f64(args.minutes.clamp(0.01, 1e6) * 60.0),
        shrink: Duration::from_secs_f64(args.shrink.clamp(0.1, 1e6)),
        workers: cores(),
    };
    if !json {
        println!(
            "{:<32} {:>5} {:>7}  {:<34} {:>6} {:>7} {:>5} {:>7}  broke",
            "bug", "runs", "found", "scenario #seed", "faults", "before", "nodes", "shrink"
        );
    }
    let began = std::time::Instant::now();
    let (bar, mut done) = (Bar::new(), 0);
    bar.of(0, Some(chosen.len() as u64), "");
    let hunts = hunt(&chosen, &terms, &program()?, &mut |h| {
        done += 1;
        bar.aside(|| tell(h, json));
        bar.of(done, Some(chosen.len() as u64), h.mutant.name);
    });
    bar.end();
    let took = began.elapsed();
    if let Some(path) = &args.write {
        let command = format!("dwcp sim mutants --minutes {} --write docs/mutants.md", args.minutes);
        write(path, &page(&hunts, &command, took, cores()))?;
    }
    if let Some(folder) = &args.capsules {
        std::fs::create_dir_all(folder).map_err(|e| format!("can't make {}: {e}", folder.display()))?;
        for h in &hunts {
            if let Some(shrunk) = &h.shrunk {
                shrunk.capsule.save(&folder.join(format!("{}.toml", h.mutant.name)))?;
            }
        }
    }
    let alarms: Vec<_> = hunts.iter().flat_map(|h| &h.alarms).collect();
    if !json {
        println!("{} in {:.0} s on {} cores", verdict(&hunts), took.as_secs_f64(), cores());
        alarms
            .iter()
            .for_each(|a| println!("without any bug: {} seed {}: {}", a.scenario, a.seed, a.violation));
        if args.names.is_empty() && !ELUSIVE.is_empty() {
            println!("not hunted, because no scenario shows them: {}", ELUSIVE.join(", "));
        }
    }
    let passed = hunts.iter().filter(|h| h.passed()).count();
    match (passed * 100 >= hunts.len() * ENOUGH, alarms.is_empty()) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("{} bugs were not found, or not shrunk far enough", hunts.len() - passed)),
        (_, false) => Err("the sound build breaks, too; see `dwcp sim run`".to_owned()),
    }
}

/// The bugs of these names; all that can be found if there are none.
fn chosen(names: &[String]) -> Result<Vec<Mutant>, String> {
    let named = |m: &Mutant, n: &str| m.name == n || (n.ends_with('.') && m.name.starts_with(n));
    if let Some(stranger) = names.iter().find(|n| !MUTANTS.iter().any(|m| named(m, n))) {
        let all: Vec<&str> = MUTANTS.iter().map(|m| m.name).collect();
        return Err(format!("no bug is called {stranger}; there are {}", all.join(", ")));
    }
    let wanted = |m: &&Mutant| {
        if names.is_empty() { !ELUSIVE.contains(&m.name) } else { names.iter().any(|n| named(m, n)) }
    };
    Ok(MUTANTS.iter().filter(wanted).copied().collect())
}

fn tell(h: &Hunt, json: bool) {
    let (found, shrunk) = (h.found.as_ref(), h.shrunk.as_ref());
    if json {
        let alarms: Vec<String> =
            h.alarms.iter().map(|a| format!("{} {}: {}", a.scenario, a.seed, a.violation.name)).collect();
        println!(
            "{}",
            serde_json::json!({
                "bug": h.mutant.name, "what": h.mutant.what, "passed": h.passed(), "runs": h.runs,
                "found_ms": found.map(|_| h.took.as_millis() as u64), "scenario": found.map(|f| &f.scenario),
                "seed": found.map(|f| f.seed), "violation": found.map(|f| &f.violation.name),
                "faults": shrunk.map(|s| s.faults), "faults_before": shrunk.map(|s| s.faults_before),
                "nodes": shrunk.map(|s| s.capsule.plan.world.nodes.len()),
                "clients": shrunk.map(|s| s.capsule.plan.world.clients),
                "shrink_ms": shrunk.map(|s| s.took.as_millis() as u64), "alarms": alarms,
            })
        );
        return;
    }
    let (name, took) = (h.mutant.name, h.took.as_secs_f64());
    let Some(found) = found else {
        println!("{name:<32} {:>5} {took:>6.1}s  NOT FOUND", h.runs);
        return;
    };
    let place = format!("{} #{}", found.scenario, found.seed);
    let head = format!("{name:<32} {:>5} {took:>6.1}s  {place:<34}", found.runs);
    match shrunk {
        Some(s) => println!(
            "{head} {:>6} {:>7} {:>5} {:>6.1}s  {}{}",
            s.faults,
            s.faults_before,
            s.capsule.plan.world.nodes.len(),
            s.took.as_secs_f64(),
            found.violation.name,
            if h.passed() { "" } else { "  NOT ENOUGH" }
        ),
        None => println!("{head} not shrunk: it does not fail in this process"),
    }
}
