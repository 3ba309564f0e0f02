//! `dwcp sim gate`: each seed in two processes that differ on purpose.

use super::bar::Bar;
use super::program;
use clap::ValueEnum;
use dwcp_scenarios::catalogue;
use dwcp_scenarios::gate::Gate;
use dwcp_scenarios::leak::Leak;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum LeakArg {
    HashOrder,
    Clock,
    Address,
    Environment,
}

pub(super) fn gate(
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
    let bar = Bar::new();
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
