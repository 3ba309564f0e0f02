//! The scenarios without the rest of the program: for whoever works on the harness.
//!
//! `sim run NAME SEED [COUNT]`, `sim sweep NAME SEEDS`, `sim worker`.

use dwcp_env::Seed;
use dwcp_scenarios::expand::expand;
use dwcp_scenarios::worker::{Job, Perturbed, Want, execute};
use dwcp_scenarios::catalogue;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "sim").collect();
    let word = |at: usize| args.get(at).map_or("", String::as_str);
    let number = |at: usize, default: u64| word(at).parse().unwrap_or(default);
    match word(0) {
        "worker" => {
            let after = |name: &str| args.iter().position(|a| a == name).map_or(0, |at| number(at + 1, 0) as u32);
            let perturbed = Perturbed { threads: after("--threads"), warm_up: after("--warm-up") };
            let ended = dwcp_scenarios::worker::serve(perturbed, std::io::stdin().lock(), std::io::stdout().lock());
            ended.expect("the parent listens");
        }
        "run" => {
            let scenario = catalogue::find(word(1)).unwrap_or_else(|e| panic!("{e}"));
            let first = number(2, 1);
            for seed in first..first + number(3, 1) {
                let plan = expand(&scenario, Seed(seed));
                let report = execute(&Job { id: 0, plan, want: Want::Verdict, leak: None }).expect("a plan that makes sense");
                println!(
                    "seed {seed} {} {:.1}s simulated in {:.2}s {:?} figures {:?}",
                    report.trail.id(),
                    report.stats.simulated_ns as f64 / 1e9,
                    report.took_us as f64 / 1e6,
                    report.stats,
                    report.figures,
                );
                if let Some(v) = report.violation {
                    println!("  BROKEN {v}");
                }
                if word(4) == "-v" {
                    println!("  {:?}", report.sometimes);
                }
            }
        }
        other => panic!("no such word: {other}"),
    }
}
