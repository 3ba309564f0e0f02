//! The gate with real processes: this program is its own worker (`gate sim worker …`), which is
//! why it has no test harness.

use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::gate::Gate;
use dwcp_scenarios::leak::Leak;
use dwcp_scenarios::pool::Program;
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
            println!("the gate holds");
        }
    }
}
