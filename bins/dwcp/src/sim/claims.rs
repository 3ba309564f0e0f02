//! `dwcp sim claims`: every figure the project states, measured and written down, or compared
//! with what was written down.

use super::bar::Bar;
use super::sweep::TierArg;
use super::{cores, program, write};
use clap::Args;
use dwcp_scenarios::catalogue;
use dwcp_scenarios::claims::{Table, badge, compare, page};
use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::sweep::{Amount, Sweep};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  dwcp sim claims --seeds 1000            measure all and write docs/claims.md and docs/claims.svg
  dwcp sim claims failover/ --seeds 100   measure some and print them; nothing is written
  dwcp sim claims --check --seeds 3       run three seeds of each row again: is what was met still met?

A claim is met if in every run the figure is within it and no property breaks. --check runs seeds of the page, those
that came nearest to their bounds first: what it finds is never chance, since a run is a function of build and seed.

Exit status: 0 written, printed, or all kept; 1 a claim was lost, or page and scenarios disagree; 2 bad usage.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ClaimsArgs {
    /// Scenarios, or themes (`failover/`); every one that claims something if none is named.
    scenarios: Vec<String>,
    /// How many seeds of each, from 1 on, instead of what each file says; with --check three.
    #[arg(long)]
    seeds: Option<u32>,
    /// For how many minutes, instead of a number of seeds.
    #[arg(long, conflicts_with_all = ["seeds", "check"])]
    minutes: Option<u64>,
    /// Compares with the page instead of writing it.
    #[arg(long)]
    check: bool,
    /// The page; the badge lies beside it.
    #[arg(long, default_value = "docs/claims.md")]
    page: PathBuf,
    /// The slowest tier to run.
    #[arg(long, value_enum, default_value_t = TierArg::Slow)]
    tier: TierArg,
    /// Processes at once; one a core if not said.
    #[arg(long)]
    workers: Option<usize>,
}

/// Seeds of each scenario that a check runs again.
const CHECKED: u32 = 3;

pub(super) fn claims(args: &ClaimsArgs, json: bool) -> Result<(), String> {
    let chosen = super::sweep::chosen(&args.scenarios, args.tier)?;
    let claiming: Vec<Scenario> = chosen.into_iter().filter(|s| !s.check.claims.is_empty()).collect();
    if claiming.is_empty() {
        return Err(
            "none of these scenarios claims anything; see [check] claims in docs/scenarios.md".to_owned()
        );
    }
    if args.check { check(args, claiming, json) } else { measure(args, claiming, json) }
}

fn swept(args: &ClaimsArgs, scenarios: &[Scenario], amount: Amount) -> Result<Table, String> {
    let sweep = Sweep {
        scenarios: scenarios.to_vec(),
        first_seed: 1,
        amount,
        workers: args.workers.unwrap_or_else(cores),
        program: program()?,
    };
    let bar = Bar::new();
    let summary = sweep.run(&mut |p| bar.sweep(p));
    bar.end();
    Ok(Table::of(scenarios, &summary, command(args)))
}

/// The command that measures the same again.
fn command(args: &ClaimsArgs) -> String {
    let mut words = vec!["dwcp sim claims".to_owned()];
    words.extend(args.scenarios.iter().cloned());
    words.extend(args.seeds.map(|n| format!("--seeds {n}")));
    words.extend(args.minutes.map(|n| format!("--minutes {n}")));
    words.join(" ")
}

fn measure(args: &ClaimsArgs, scenarios: Vec<Scenario>, json: bool) -> Result<(), String> {
    let amount = match (args.seeds, args.minutes) {
        (Some(n), _) => Amount::Seeds(n),
        (None, Some(minutes)) => Amount::Time(Duration::from_secs(minutes * 60)),
        (None, None) => Amount::AsWritten,
    };
    let table = swept(args, &scenarios, amount)?;
    // A page of some would drop the others.
    let whole = args.scenarios.is_empty();
    if whole {
        write(&args.page, &page::markdown(&table))?;
        write(&badge_of(&args.page), &badge::svg(&table))?;
    }
    if json {
        println!("{}", serde_json::to_string(&table).map_err(|e| e.to_string())?);
        return Ok(());
    }
    tell(&table);
    if whole {
        println!("written to {} and {}", args.page.display(), badge_of(&args.page).display());
    }
    Ok(())
}

fn badge_of(page: &Path) -> PathBuf {
    page.with_extension("svg")
}

fn tell(t: &Table) {
    println!(
        "{:<34} {:<32} {:>11} {:>11} {:>11} {:>6} {:>5}",
        "scenario", "claim", "p50", "p99", "worst", "seed", "runs"
    );
    for r in &t.rows {
        let show = |n| r.figure.show(n);
        println!(
            "{:<34} {:<32} {:>11} {:>11} {:>11} {:>6} {:>5}  {}",
            r.scenario,
            format!("{} <= {}", r.figure.name(), show(r.at_most)),
            show(r.found.median),
            show(r.found.p99),
            show(r.found.worst),
            r.found.worst_seed,
            r.runs,
            r.complaint().map_or_else(|| "met".to_owned(), |why| format!("NOT MET: {why}")),
        );
    }
    println!(
        "{} of {} claims are met, in {} runs of build {}",
        t.met(),
        t.rows.len(),
        t.runs,
        t.build.commit
    );
}

fn check(args: &ClaimsArgs, scenarios: Vec<Scenario>, json: bool) -> Result<(), String> {
    let shown = args.page.display();
    let text = std::fs::read_to_string(&args.page).map_err(|e| {
        format!("{shown}: can't be read: {e}; `dwcp sim claims` writes it, --page says where it lies")
    })?;
    let recorded = page::parse(&text).map_err(|e| format!("{shown}: {e}"))?;
    let seeds = compare::seeds(&recorded, &scenarios, args.seeds.unwrap_or(CHECKED));
    let table = swept(args, &scenarios, Amount::These(seeds))?;
    let mut found = compare::compare(&recorded, &scenarios, &table);
    found.stale.extend(compare::orphans(&recorded, &catalogue::all()));
    if json {
        println!(
            "{}",
            serde_json::json!({ "passed": found.passed(), "runs": table.runs, "comparison": found })
        );
    } else {
        found.notes.iter().for_each(|n| println!("note: {n}"));
        found.stale.iter().for_each(|s| println!("stale: {s}"));
        found.lost.iter().for_each(|l| println!("LOST: {l}"));
        println!("{} claims kept, {} lost, in {} runs", found.kept, found.lost.len(), table.runs);
    }
    match (found.lost.len(), found.stale.len()) {
        (0, 0) => Ok(()),
        (0, n) => Err(format!(
            "{shown} and the scenarios disagree in {n} places; run `dwcp sim claims` and look at the diff"
        )),
        (n, _) => Err(format!(
            "{n} claims that {shown} says are met are not met any more; `dwcp sim run SCENARIO --seed N` shows why"
        )),
    }
}
