//! Sweeps over seeds: how many held, what happened how often, how fast.

use crate::{Args, Format};
use dwcp_consensus::rehearsal::{Failure, Plan, Report, Scenario, Subject, Tally, World};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lines of a story shown.
const STORY: usize = 100;

/// What a scenario's seeds came to.
#[derive(Default)]
struct Sum {
    held: u64,
    events: u64,
    simulated: Duration,
    cpu: Duration,
    worst_heal: (u64, u64),
    digest: u64,
    tally: Tally,
    failure: Option<Failure>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: &Report) {
        self.held += 1;
        self.events += report.events;
        self.simulated += report.lasted.to_std();
        self.worst_heal = self.worst_heal.max((report.healed.as_millis(), seed));
        self.digest = self.digest.wrapping_add((report.trace ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.tally.merge(&report.tally);
    }
    fn merge(&mut self, other: Self) {
        self.held += other.held;
        self.events += other.events;
        self.simulated += other.simulated;
        self.cpu += other.cpu;
        self.worst_heal = self.worst_heal.max(other.worst_heal);
        self.digest = self.digest.wrapping_add(other.digest);
        self.tally.merge(&other.tally);
        let first = |f: &Option<Failure>| f.as_ref().map_or(u64::MAX, |f| f.seed);
        if first(&other.failure) < first(&self.failure) {
            self.failure = other.failure;
        }
    }
    fn per_second(&self) -> f64 {
        self.held as f64 / self.cpu.as_secs_f64().max(1e-9)
    }
}

/// CPU time of this thread: other load on the machine does not count.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Runs one seed, with the invariants that are to judge.
fn run<S: Subject>(subject: &S, scenario: Scenario, seed: u64, args: &Args) -> Result<Report, Failure> {
    World::new(subject, Plan::expand(subject, scenario, seed)).blind_to(args.blind).run()
}

/// Runs the seeds of one scenario until one fails.
fn seeds<S: Subject + Sync>(subject: &S, scenario: Scenario, args: &Args, bar: &ProgressBar) -> Sum {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                let (begin, mut sum) = (cpu(), Sum::default());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= args.seeds {
                        break;
                    }
                    let seed = args.from + at;
                    match run(subject, scenario, seed, args) {
                        Ok(report) => sum.add(seed, &report),
                        Err(failure) => {
                            sum.failure = Some(failure);
                            next.store(args.seeds, Ordering::Relaxed);
                        }
                    }
                    bar.inc(1);
                }
                sum.cpu = cpu() - begin;
                total.lock().expect("no thread panicked with it").merge(sum);
            });
        }
    });
    total.into_inner().expect("no thread panicked with it")
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>14} {wide_bar} {pos}/{len} {per_sec} {eta}");
    ProgressBar::new(length).with_style(style.expect("a sound template"))
}

/// Demands that every seed of every scenario holds.
pub(crate) fn held<S: Subject + Sync>(subject: &S, args: &Args, scenarios: &[Scenario]) -> ExitCode {
    let bar = bar(args.seeds * scenarios.len() as u64);
    let (mut all, mut rows) = (Sum::default(), Vec::new());
    for scenario in scenarios {
        bar.set_message(scenario.name());
        let sum = seeds(subject, *scenario, args, &bar);
        let line = format!(
            "{:<14} {:>7} held  {:>7.0} seeds a core-second  {:>5.1} M events/s  healed within {} ms (seed {})",
            scenario.name(),
            sum.held,
            sum.per_second(),
            sum.events as f64 / sum.cpu.as_secs_f64().max(1e-9) / 1e6,
            sum.worst_heal.0,
            sum.worst_heal.1,
        );
        if args.output == Format::Text {
            bar.suspend(|| say!("{line}"));
        }
        rows.push(serde_json::json!({
            "scenario": scenario.name(), "held": sum.held, "events": sum.events,
            "seeds_per_core_second": sum.per_second(), "healed_ms": sum.worst_heal.0,
            "healed_seed": sum.worst_heal.1, "digest": format!("{:016x}", sum.digest),
        }));
        let failed = sum.failure.is_some();
        all.merge(sum);
        if failed {
            break;
        }
    }
    bar.finish_and_clear();
    let story = all.failure.as_ref().filter(|_| args.story).map(|f| story(subject, f, args));
    if args.output == Format::Json {
        let tally: serde_json::Map<_, _> = all.tally.each().map(|(n, c)| (n.into(), c.into())).collect();
        let failure = all.failure.as_ref().map(|f| {
            serde_json::json!({
                "scenario": f.scenario.name(), "seed": f.seed, "at_ns": f.at.as_nanos(),
                "invariant": f.broken.invariant, "what": f.broken.what, "story": story,
            })
        });
        let digest = format!("{:016x}", all.digest);
        say!(
            "{}",
            serde_json::json!({ "protocol": subject.name(), "held": all.held, "digest": digest,
                "scenarios": rows, "tally": tally, "failure": failure })
        );
    } else {
        for (name, count) in all.tally.each() {
            say!("{count:>14} {name}");
        }
        for (name, ns) in &all.tally.longest {
            say!("{:>11} ms longest: {name}", ns / 1_000_000);
        }
        say!(
            "{:016x} digest of {} runs, {:.0} simulated seconds",
            all.digest,
            all.held,
            all.simulated.as_secs_f64()
        );
        for line in story.iter().flatten() {
            say!("{line}");
        }
        if let Some(failure) = &all.failure {
            say!("BROKEN {failure}");
            say!(
                "again: --protocol {} --scenario {} --seeds 1 --from {} --story",
                subject.name(),
                failure.scenario.name(),
                failure.seed
            );
        }
    }
    if all.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What led to a failure: the run again, remembered.
fn story<S: Subject>(subject: &S, failure: &Failure, args: &Args) -> Vec<String> {
    let plan = Plan::expand(subject, failure.scenario, failure.seed);
    let again = World::new(subject, plan).blind_to(args.blind).with_story().run();
    let story = again.err().map(|f| f.story).unwrap_or_default();
    story[story.len().saturating_sub(STORY)..].to_vec()
}

/// Demands that a planted bug is found within the seeds of each scenario.
pub(crate) fn found<S: Subject + Sync>(subject: &S, name: &str, args: &Args, scenarios: &[Scenario]) -> bool {
    let bar = bar(args.seeds * scenarios.len() as u64);
    bar.set_message(name.to_string());
    // Seed by seed through all scenarios: most bugs fall in the first few.
    let first = (args.from..args.from + args.seeds).find_map(|seed| {
        bar.inc(scenarios.len() as u64);
        scenarios.iter().find_map(|scenario| run(subject, *scenario, seed, args).err())
    });
    bar.finish_and_clear();
    let found = first.is_some();
    if args.output == Format::Json {
        let failure = first.as_ref().map(|f| {
            serde_json::json!({ "scenario": f.scenario.name(), "seed": f.seed, "invariant": f.broken.invariant })
        });
        say!("{}", serde_json::json!({ "mutant": name, "found": found, "failure": failure }));
    } else {
        match first {
            Some(failure) => say!("{name:<22} found: {failure}"),
            None => say!("{name:<22} NOT FOUND in {} seeds of each scenario", args.seeds),
        }
    }
    found
}
