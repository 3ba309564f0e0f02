//! The gate with real processes: this program is its own worker (`gate sim worker …`), which is
//! why it has no test harness.

use dwcp_env::{Duration, Seed};
use dwcp_scenarios::claims::{Table, compare, page};
use dwcp_scenarios::expand::expand;
use dwcp_scenarios::explain::{self, chance::Effort};
use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::file::quantity::Span;
use dwcp_scenarios::gate::Gate;
use dwcp_scenarios::leak::Leak;
use dwcp_scenarios::pool::Program;
use dwcp_scenarios::search::Search;
use dwcp_scenarios::sweep::{Amount, Sweep};
use dwcp_scenarios::worker::{Perturbed, serve};

const TINY: &str = r#"
why   = "One node, so that the gate is what is tested."
tier  = "fast"
seeds = 3
[world]
latency = "1ms..2ms"
regions = { here = 1 }
[[workload]]
use = "register"
clients = 2
rate = "20/s"
[heal]
at = "4s"
converge_within = "5s"
serve_for = "1s"
[check]
always = ["linearizable", "no_acknowledged_loss", "convergence"]
sometimes = ["fault.crash"]
claims = { rto = "<= 3s" }
"#;

fn gate(seeds: u32, leak: Option<Leak>) -> Gate {
    let scenarios = vec![Scenario::parse("test/tiny", TINY).expect("a scenario")];
    let program = Program::this().expect("this program");
    Gate { scenarios, first_seed: 1, seeds, program, warm_up: 3, leak }
}

fn sound_seeds_pass() {
    let report = gate(20, None).run(&mut |_, _| {});
    assert!(report.passed(), "{report:?}");
    assert_eq!((report.seeds, report.equal), (20, 20));
}

/// Each class of leak makes traces differ, and the first event that differs is named.
fn each_leak_is_caught() {
    if Leak::Clock.span() == dwcp_env::Duration::ZERO {
        println!("leaks can't be planted in this build; see --features planted-leaks");
        return;
    }
    for leak in Leak::ALL {
        let report = gate(3, Some(leak)).run(&mut |_, _| {});
        let first =
            report.divergences.first().unwrap_or_else(|| panic!("{leak:?} went unnoticed: {report:?}"));
        assert_ne!(first.events.0, first.events.1, "{leak:?}");
        assert!(first.events.0.contains("Request"), "{leak:?} first shows in a client's request: {first:?}");
    }
}

/// A sweep runs what it says, and complains of what never happened and of what is not met.
fn a_sweep_says_what_is_wrong() {
    let scenarios = vec![Scenario::parse("test/tiny", TINY).expect("a scenario")];
    let program = Program::this().expect("this program");
    let sweep = Sweep { scenarios, first_seed: 1, amount: Amount::AsWritten, workers: 2, program };
    let mut told = 0;
    let summary = sweep.run(&mut |p| told = p.done);
    let verdict = &summary.verdicts[0];
    assert_eq!((told, verdict.runs, verdict.failed), (3, 3, 0), "{verdict:?}");
    assert_eq!(verdict.never, ["fault.crash"]);
    assert!(verdict.claims[0].met && !summary.passed());
}

/// A worker that dies is a failure with a name, and the sweep goes on.
fn a_worker_that_dies_is_reported() {
    let scenarios = vec![Scenario::parse("test/tiny", TINY).expect("a scenario")];
    let mut program = Program::this().expect("this program");
    program.args = vec!["die".to_owned()];
    let sweep = Sweep { scenarios, first_seed: 1, amount: Amount::Seeds(2), workers: 1, program };
    let summary = sweep.run(&mut |_| {});
    assert_eq!(summary.verdicts[0].failed, 2);
    assert_eq!(summary.verdicts[0].failures[0].violation.name, "worker");
}

/// Some seeds of a page, run again by other processes, give what stands on it.
fn claims_are_checked_on_the_page_s_own_seeds() {
    let scenarios = vec![Scenario::parse("test/tiny", TINY).expect("a scenario")];
    let program = Program::this().expect("this program");
    let measure = |amount| {
        let program = program.clone();
        let sweep = Sweep { scenarios: scenarios.clone(), first_seed: 1, amount, workers: 2, program };
        Table::of(&scenarios, &sweep.run(&mut |_| {}), "test".to_owned())
    };
    let whole = measure(Amount::Seeds(5));
    let recorded = page::parse(&page::markdown(&whole)).expect("it reads what it writes");
    let seeds = compare::seeds(&recorded, &scenarios, 2);
    assert_eq!(seeds[0][0], whole.rows[0].found.worst_seed, "the worst comes first");
    let some = measure(Amount::These(seeds));
    let c = compare::compare(&recorded, &scenarios, &some);
    assert!(c.passed() && c.kept == 1 && some.runs == 2, "{c:?}");
    assert_eq!(some.rows[0].found.worst, whole.rows[0].found.worst, "the same seed is the same run");
    // A build in which writes take longer than was claimed.
    let mut slow = scenarios.clone();
    slow[0].world.disk.sync = Span { low: Duration::secs(4), high: Duration::secs(4) };
    let program = program.clone();
    let sweep = Sweep { scenarios: slow, first_seed: 1, amount: Amount::Seeds(1), workers: 1, program };
    let found = Table::of(&scenarios, &sweep.run(&mut |_| {}), "test".to_owned());
    let c = compare::compare(&recorded, &scenarios, &found);
    assert!(!c.passed() && c.lost.len() == 1, "{c:?}");
}

/// What a search does follows from its first seed and its length, not from who runs it.
fn a_search_is_the_same_with_any_number_of_workers() {
    let run = |workers| {
        // Crashes as often as the seed draws them: some runs have far more than others.
        let swarm =
            "[swarm]\nfamilies = [\"crashes\"]\nevery = \"1s\"\nlongest = \"300ms\"\nfrom = \"1s\"\n[heal]";
        let text = TINY.replace("[heal]", swarm);
        let scenario = Scenario::parse("test/tiny", &text).expect("a scenario");
        let program = Program::this().expect("this program");
        let search = Search { scenario, first_seed: 1, runs: 40, guided: true, bug: None, workers, program };
        let mut found = search.run(&mut |_| {});
        (found.wall_ms, found.by_minute) = (0, Vec::new());
        found
    };
    let one = run(1);
    assert_eq!((one.runs, one.failed), (40, 0), "{one:?}");
    assert!(one.branches > 0 && !one.states.is_empty(), "{one:?}");
    assert_eq!(one, run(3));
}

/// A failure that no draw can avert is explained as one: the chance is whole from the start.
fn a_failure_is_explained() {
    let scenario = Scenario::parse("test/tiny", TINY).expect("a scenario");
    let mut plan = expand(&scenario, Seed(1));
    // No write can have succeeded after the heal when the time for it is over at the heal.
    plan.converge_within = Duration::ZERO;
    let program = Program::this().expect("this program");
    let wall = std::time::Duration::from_secs(120);
    let effort = Effort { each: 3, steps: 5, wall, workers: 2 };
    let mut told = 0;
    let why = explain::explain(&plan, &program, effort, &mut |done, _| told = done).expect("it fails");
    assert_eq!((why.violation.name.as_str(), told), ("convergence", 15));
    assert!(why.chance.steps.iter().all(|s| s.failed == s.branches) && why.chance.jump.is_none());
    let text = explain::page::text(&why);
    assert!(text.contains("the faults alone bring it about, 100 % of the time"), "{text}");
    assert!(text.contains("n1 in here") && text.contains("convergence is broken"), "{text}");
    plan.converge_within = scenario.heal.converge_within;
    let sound = explain::explain(&plan, &program, effort, &mut |_, _| {});
    assert!(sound.unwrap_err().contains("does not fail"));
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| {
        let at = args.iter().position(|a| a == name)?;
        args.get(at + 1)?.parse().ok()
    };
    match args.first().map(String::as_str) {
        Some("sim") => {
            let perturbed = Perturbed {
                threads: after("--threads").unwrap_or(0),
                warm_up: after("--warm-up").unwrap_or(0),
            };
            serve(perturbed, std::io::stdin().lock(), std::io::stdout().lock()).expect("the parent listens");
        }
        Some("die") => std::process::exit(3),
        // Whoever lists tests before running them sees none and runs all.
        Some("--list") => {}
        _ => {
            sound_seeds_pass();
            each_leak_is_caught();
            a_sweep_says_what_is_wrong();
            a_worker_that_dies_is_reported();
            claims_are_checked_on_the_page_s_own_seeds();
            a_search_is_the_same_with_any_number_of_workers();
            a_failure_is_explained();
            println!("the gate holds");
        }
    }
}
