//! `dwcp sim list`, `run`, `trace`, `report`: one run at a time.

use super::{execute_plan, plan_of, write};
use dwcp_env::Seed;
use dwcp_scenarios::capsule::{Build, Capsule};
use dwcp_scenarios::expand::expand;
use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::sweep::Summary;
use dwcp_scenarios::worker::{Report, Want};
use dwcp_scenarios::{catalogue, report};
use std::path::Path;

pub(super) fn list(json: bool) -> Result<(), String> {
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

pub(super) fn one(
    name: &str,
    seed: u64,
    html: Option<&Path>,
    capsule: Option<&Path>,
    json: bool,
) -> Result<(), String> {
    let scenario = catalogue::find(name).map_err(|e| e.to_string())?;
    let plan = expand(&scenario, Seed(seed));
    let want = if html.is_some() { Want::Picture } else { Want::Verdict };
    let mut report = execute_plan(plan.clone(), want)?;
    if let (Some(path), Some(picture)) = (html, report.picture.take()) {
        let empty = Summary { build: Build::current(), verdicts: Vec::new(), wall_ms: 0 };
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

pub(super) fn tell(scenario: &Scenario, r: &Report) {
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

pub(super) fn names(scenario: &Scenario) -> String {
    let all: Vec<&str> = scenario.check.always.iter().map(|p| p.name()).collect();
    all.join(", ")
}
pub(super) fn trace(what: &str, seed: u64, from: u64, count: u64, json: bool) -> Result<(), String> {
    let report = execute_plan(plan_of(what, seed)?, Want::Events { from, to: from.saturating_add(count) })?;
    for (place, event) in &report.events {
        let line = if json {
            serde_json::json!({ "place": place, "event": event }).to_string()
        } else {
            format!("{place:>9} {event}")
        };
        println!("{line}");
    }
    Ok(())
}

pub(super) fn pictures(what: &[String], seed: u64, path: &Path) -> Result<(), String> {
    let mut drawn = Vec::new();
    for name in what {
        let report = execute_plan(plan_of(name, seed)?, Want::Picture)?;
        drawn.extend(report.picture);
    }
    let empty = Summary { build: Build::current(), verdicts: Vec::new(), wall_ms: 0 };
    write(path, &report::html(&empty, &drawn))?;
    println!("{} pictures in {}", drawn.len(), path.display());
    Ok(())
}
