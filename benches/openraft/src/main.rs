//! Our openraft adapter (`core/raft`) beside bare openraft, in the same run: what the adapter costs.
//!
//! Three members of one group in one process on one thread, the same openraft, commands of the same bytes, a state machine that
//! counts. The sides take turns, so that both meet the machine in the same mood; the best of the rounds counts, and all are
//! shown.
//!
//! | | ours | bare |
//! |---|---|---|
//! | runtime | the node's executor, clock handed in | tokio, one thread |
//! | log, memory | entries in memory, records of the write-ahead log made and thrown away | entries in memory |
//! | log, `fsync` | the write-ahead log's requests carried out on a file a member | entries' bytes appended to a file a member |
//! | a sync | one for all that a turn gathered; `fdatasync`, in line | one an append; `fdatasync`, in line |
//! | messages | encoded, checked, decoded, as between nodes | handed over as they are: bare has no wire |
//! | timings | those of one machine (`GroupConfig::lan`) | the same numbers |
//!
//! `cargo run --release --manifest-path benches/openraft/Cargo.toml -- --help`

mod bare;
#[allow(dead_code, reason = "the tests of the adapter need more of it")]
#[path = "../../../core/raft/tests/raft/harness/disk.rs"]
mod disk;
mod ours;

use clap::Parser;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Our openraft adapter beside bare openraft: writes a second of three members in one process, on one thread.
#[derive(Parser, Debug)]
struct Args {
    /// Writes in flight.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    outstanding: Vec<u64>,
    /// Bytes of a command.
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// How long each side is measured in each round, after a tenth of it to warm up.
    #[arg(long, default_value_t = 2_000)]
    milliseconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the logs of the measurement with syncs lie: a real disk.
    #[arg(long, default_value = "target/bench-openraft")]
    data: PathBuf,
}

/// One measurement.
pub(crate) struct Load {
    pub(crate) outstanding: u64,
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
    /// One file a member, if what is logged is synced.
    pub(crate) files: Option<Vec<File>>,
}

/// Writes decided in how long.
pub(crate) struct Measured {
    pub(crate) writes: u64,
    pub(crate) took: Duration,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.writes as f64 / self.took.as_secs_f64()
    }
}

/// Counts from when the load has warmed up until its time is over.
pub(crate) struct Watch {
    began: Instant,
    warm: Duration,
    end: Duration,
    from: Option<(Instant, u64)>,
}

impl Watch {
    pub(crate) fn new(time: Duration) -> Self {
        Self { began: Instant::now(), warm: time / 10, end: time + time / 10, from: None }
    }
    /// With so many writes done by now: the result, once the time is over.
    pub(crate) fn look(&mut self, done: u64) -> Option<Measured> {
        let passed = self.began.elapsed();
        if self.from.is_none() && passed >= self.warm {
            self.from = Some((Instant::now(), done));
        }
        let (since, before) = self.from.filter(|_| passed >= self.end)?;
        Some(Measured { writes: done - before, took: since.elapsed() })
    }
}

fn files(data: &Path, side: &str) -> Result<Vec<File>, String> {
    let one = |n: u32| {
        let path = data.join(format!("{side}-{n}.log"));
        File::create(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    (1..=3).map(one).collect()
}

fn run(args: &Args) -> Result<(), String> {
    std::fs::create_dir_all(&args.data).map_err(|e| format!("{}: {e}", args.data.display()))?;
    println!(
        "{:<7} {:>11} {:>26} {:>26} {:>7}",
        "log", "outstanding", "ours, writes/s", "bare, writes/s", "ratio"
    );
    for synced in [false, true] {
        for outstanding in &args.outstanding {
            let (mut ours, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..args.rounds.max(1) {
                let load = |side: &str| {
                    let files = if synced { Some(files(&args.data, side)?) } else { None };
                    let time = Duration::from_millis(args.milliseconds.max(100));
                    Ok::<_, String>(Load { outstanding: *outstanding, bytes: args.bytes, time, files })
                };
                ours.push(ours::measure(load("ours")?)?.rate());
                bare.push(bare::measure(load("bare")?)?.rate());
            }
            let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
            let all = |rates: &[f64]| rates.iter().map(|r| format!("{r:.0}")).collect::<Vec<_>>().join(" ");
            println!(
                "{:<7} {outstanding:>11} {:>26} {:>26} {:>6.2}x",
                if synced { "fsync" } else { "memory" },
                all(&ours),
                all(&bare),
                best(&ours) / best(&bare)
            );
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}
