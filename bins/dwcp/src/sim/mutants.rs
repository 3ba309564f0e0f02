//! `dwcp sim mutants`: known bugs put back in, each to be found.

use super::{cores, program};
use dwcp_scenarios::mutants::{ELUSIVE, Hunt, MUTANTS, hunt};

pub(super) fn mutants(names: &[String], first_seed: u64, json: bool) -> Result<(), String> {
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

pub(super) fn tell_hunt(h: &Hunt, json: bool) {
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
