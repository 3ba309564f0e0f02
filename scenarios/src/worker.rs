//! A process that runs plans: one line of JSON in, one out.
//!
//! Runs are spread over processes and not threads for three reasons: what one run leaves
//! behind in a process (statics, thread-locals, hash seeds) can't hide or make a failure of
//! another; a run that aborts takes only its own process along; and the gate needs two
//! processes that differ on purpose.
//!
//! ```text
//! parent ── {"id":7,"plan":{…}} ──► worker        dwcp sim worker [--threads N] [--warm-up N]
//! parent ◄── {"id":7,"report":{…}} ── worker
//! ```

use crate::expand::RunPlan;
use crate::file::Figure;
use crate::leak::Leak;
use crate::run::moment::{self, Moment, NodeState};
use crate::run::picture::{self, Picture};
use crate::run::{Options, Outcome, Stats, run};
use dwcp_env::{Duration, Instant, Seed};
use dwcp_runtime_sim::fingerprint::Trail;
use dwcp_runtime_sim::trace::{Event, Keep, Violation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a worker is to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Names the report.
    pub id: u64,
    /// The run.
    pub plan: RunPlan,
    /// What to send back besides the verdict.
    #[serde(default)]
    pub want: Want,
    /// A leak to plant.
    #[serde(default)]
    pub leak: Option<Leak>,
}

/// What is wanted besides the verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Nothing.
    #[default]
    Verdict,
    /// The events of a range of places, as text.
    Events {
        /// First.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// A space-time picture.
    Picture,
    /// When probes were passed for the first, second, fourth… time.
    Coverage,
    /// The nodes at a moment, and the events around it in words.
    Moment(Moment),
}

/// What a worker says of a run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The run's identity.
    pub trail: Trail,
    /// What broke.
    pub violation: Option<Violation>,
    /// Hard paths and faults, with their counts.
    pub sometimes: BTreeMap<String, u64>,
    /// Figures.
    pub figures: BTreeMap<Figure, u64>,
    /// Numbers.
    pub stats: Stats,
    /// Processor time it took, in microseconds. No verdict depends on it.
    pub took_us: u64,
    /// The events wanted: place, time and text of each.
    #[serde(default)]
    pub events: Vec<(u64, String)>,
    /// The picture wanted.
    #[serde(default)]
    pub picture: Option<Picture>,
    /// When probes were passed for the first, second, fourth… time.
    #[serde(default)]
    pub reached: BTreeMap<String, Vec<Instant>>,
    /// The nodes at the moment wanted.
    #[serde(default)]
    pub states: Vec<NodeState>,
}

/// A line of a worker's output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Which job.
    pub id: u64,
    /// How it went.
    #[serde(default)]
    pub report: Option<Report>,
    /// Why it could not be run.
    #[serde(default)]
    pub refused: Option<String>,
}

/// Runs a job in this process.
///
/// # Errors
/// The plan makes no sense.
pub fn execute(job: &Job) -> Result<Report, String> {
    let keep = match job.want {
        Want::Verdict | Want::Coverage => Keep::Nothing,
        Want::Events { from, to } => Keep::Range { from, to },
        Want::Picture => Keep::Everything,
        Want::Moment(m) => Keep::Between { from: m.from(), to: m.to() },
    };
    let moment = if let Want::Moment(m) = job.want { Some(m) } else { None };
    let began = processor_time_us();
    let outcome = run(&job.plan, &Options { keep, leak: job.leak, moment }).map_err(|e| e.to_string())?;
    let took_us = processor_time_us().saturating_sub(began);
    Ok(report(job, outcome, took_us))
}

/// Processor time of this thread in microseconds; 0 where the system does not tell.
fn processor_time_us() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).map_or(0, |ns| ns / 1_000)
}

fn report(job: &Job, outcome: Outcome, took_us: u64) -> Report {
    let mut events = Vec::new();
    let mut drawn = None;
    match job.want {
        Want::Verdict | Want::Coverage => {}
        Want::Events { .. } => {
            events = outcome.events.iter().map(|e| (e.seq, format!("{} {:?}", e.at, e.what))).collect();
        }
        Want::Moment(_) => {
            let line = |e: &Event| (e.seq, format!("{} {}", e.at, moment::says(e)));
            events = outcome.events.iter().map(line).collect();
        }
        Want::Picture => drawn = Some(picture::draw(&job.plan, &outcome)),
    }
    Report {
        seed: job.plan.world.seed.0,
        trail: outcome.trail,
        violation: outcome.violation,
        sometimes: outcome.sometimes,
        figures: outcome.figures,
        stats: outcome.stats,
        took_us,
        events,
        picture: drawn,
        reached: if job.want == Want::Coverage {
            outcome.reached.into_iter().map(|(name, r)| (name, r.at)).collect()
        } else {
            BTreeMap::new()
        },
        states: if matches!(job.want, Want::Moment(_)) { outcome.states } else { Vec::new() },
    }
}

/// How a worker is made to differ from others on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Perturbed {
    /// Threads started first, so that thread ids and stacks differ.
    pub threads: u32,
    /// Short runs of other seeds before the first job.
    pub warm_up: u32,
}

/// A run that takes longer than this on the clock of the machine ends its worker.
pub const LONGEST: std::time::Duration = std::time::Duration::from_secs(240);
/// How a worker ends then.
pub const TOO_LONG: i32 = 124;

/// Ends the process when a job takes too long: a node that never gives control back would
/// otherwise hold the sweep for ever.
fn watch_over(jobs: &Arc<AtomicU64>) {
    let jobs = jobs.clone();
    std::thread::spawn(move || {
        let mut seen = (0, std::time::Instant::now());
        loop {
            std::thread::park_timeout(std::time::Duration::from_secs(1));
            let now = jobs.load(Ordering::Relaxed);
            // Odd while a job runs.
            if now != seen.0 || now.is_multiple_of(2) {
                seen = (now, std::time::Instant::now());
            } else if seen.1.elapsed() > LONGEST {
                std::process::exit(TOO_LONG);
            }
        }
    });
}

/// The loop of a worker: until its input ends.
///
/// # Errors
/// That its parent can't be heard or told any more.
pub fn serve(perturbed: Perturbed, input: impl BufRead, mut output: impl Write) -> std::io::Result<()> {
    let parked: Vec<_> = (0..perturbed.threads).map(|_| std::thread::spawn(std::thread::park)).collect();
    let mut warm = perturbed.warm_up == 0;
    let jobs = Arc::new(AtomicU64::new(0));
    watch_over(&jobs);
    for line in input.lines() {
        let line = line?;
        jobs.fetch_add(1, Ordering::Relaxed);
        let answer = match serde_json::from_str::<Job>(&line) {
            Ok(job) => {
                if !std::mem::replace(&mut warm, true) {
                    warm_up(&job.plan, perturbed.warm_up);
                }
                match execute(&job) {
                    Ok(report) => Line { id: job.id, report: Some(report), refused: None },
                    Err(why) => Line { id: job.id, report: None, refused: Some(why) },
                }
            }
            Err(e) => Line { id: 0, report: None, refused: Some(format!("not a job: {e}")) },
        };
        jobs.fetch_add(1, Ordering::Relaxed);
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    parked.iter().for_each(|t| t.thread().unpark());
    Ok(())
}

/// Runs other seeds of the same world for a moment each: whatever they leave behind in the
/// process, the job's run must not notice.
fn warm_up(plan: &RunPlan, seeds: u32) {
    let short = Instant::ZERO + Duration::millis(400);
    for nth in 0..u64::from(seeds) {
        let mut other = plan.clone();
        other.world.seed = Seed(plan.world.seed.0.wrapping_add(1 + nth).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        other.world.faults.clear();
        other.acts.clear();
        other.always.clear();
        other.serve_for = Duration::ZERO;
        other.world.heal_at = short;
        other.world.horizon = short;
        drop(run(&other, &Options::default()));
    }
}
