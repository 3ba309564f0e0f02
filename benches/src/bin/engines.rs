//! Our simulator's engine beside madsim's and turmoil's, on the same workload in the same run.
//!
//! N nodes; each pings a peer drawn at random every 10 ms ±5 %, the peer answers; one way takes 1 to 10 ms;
//! 64 bytes. Three programs, each an example in the workspace that has its engine (their flags rebuild
//! everything else, so they can't be one program); run in turn, the best of `--rounds` is shown.
//!
//! An *event* is what a node sees: a timer, or a message; three for each answer. What the engine does
//! besides (sends, drops, its own timers) costs it and counts for nothing. Ours runs with its fault models
//! in the path and its rolling fingerprint on, as in every real run.
//!
//! *Stretch* is how long a loop of 10 ms really took: whoever says something about recovery times needs 1.00.
//!
//! `cargo run --release -p dwcp-benches --bin engines`

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The simulator's engine beside madsim's and turmoil's.
#[derive(Parser, Debug)]
struct Args {
    /// Numbers of nodes.
    #[arg(long, value_delimiter = ',', default_value = "9,100")]
    nodes: Vec<u64>,
    /// How often each is run; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// An engine and its example.
struct Engine {
    name: &'static str,
    /// The workspace below the root.
    workspace: &'static str,
    package: &'static str,
    /// Simulated seconds for nine nodes and for more: so that each takes seconds of processor time.
    seconds: [u64; 2],
}

const ENGINES: [Engine; 3] = [
    Engine { name: "dwcp", workspace: ".", package: "dwcp-runtime-sim", seconds: [6_000, 400] },
    Engine { name: "madsim", workspace: "ci/madsim", package: "dwcp-madsim", seconds: [600, 40] },
    Engine { name: "turmoil", workspace: "ci/turmoil", package: "dwcp-turmoil", seconds: [120, 3] },
];

/// What one run printed.
#[derive(Clone, Copy)]
struct Seen {
    simulated: f64,
    answers: f64,
    cpu: f64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match compare(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("engines: {why}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn cargo(engine: &Engine, words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).args([
        "--release",
        "--quiet",
        "--locked",
        "-p",
        engine.package,
        "--example",
        "pingpong",
    ]);
    command.current_dir(root().join(engine.workspace));
    // Each workspace has flags of its own, and a folder of its own for what they build.
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    command
}

fn compare(args: &Args) -> Result<(), String> {
    for engine in &ENGINES {
        let built = cargo(engine, &["build"]).status().map_err(|e| format!("cargo can't be started: {e}"))?;
        if !built.success() {
            return Err(format!("the example of {} can't be built in {}", engine.name, engine.workspace));
        }
    }
    if !args.json {
        println!(
            "{:<9}{:>6}{:>16}{:>20}{:>10}",
            "engine", "nodes", "events/CPU-s", "simulated s/CPU-s", "stretch"
        );
    }
    for nodes in &args.nodes {
        for engine in &ENGINES {
            let seen = best(engine, *nodes, args.rounds)?;
            show(engine, *nodes, seen, args.json);
        }
    }
    Ok(())
}

fn best(engine: &Engine, nodes: u64, rounds: u32) -> Result<Seen, String> {
    let mut best: Option<Seen> = None;
    for _ in 0..rounds.max(1) {
        let seen = once(engine, nodes)?;
        if best.is_none_or(|b| seen.cpu < b.cpu) {
            best = Some(seen);
        }
    }
    best.ok_or_else(|| "no round was run".to_owned())
}

fn once(engine: &Engine, nodes: u64) -> Result<Seen, String> {
    let seconds = engine.seconds[usize::from(nodes > 9)];
    let mut command = cargo(engine, &["run"]);
    command.args(["--", &nodes.to_string(), &seconds.to_string()]);
    if engine.name == "dwcp" {
        command.arg("--line");
    }
    let output = command.output().map_err(|e| format!("{} can't be run: {e}", engine.name))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let words = text.split_whitespace();
        words.filter_map(|w| w.split_once('=')).find(|(n, _)| *n == name).and_then(|(_, v)| v.parse().ok())
    };
    match (field("simulated_s"), field("answers"), field("cpu_s")) {
        (Some(simulated), Some(answers), Some(cpu)) => Ok(Seen { simulated, answers, cpu }),
        _ => Err(format!("{} printed no figures: {}", engine.name, String::from_utf8_lossy(&output.stderr))),
    }
}

fn show(engine: &Engine, nodes: u64, seen: Seen, json: bool) {
    let events = 3.0 * seen.answers / seen.cpu;
    let speed = seen.simulated / seen.cpu;
    let stretch = seen.simulated * nodes as f64 * 100.0 / seen.answers;
    if json {
        let line = serde_json::json!({
            "engine": engine.name, "nodes": nodes, "events_per_cpu_s": events,
            "simulated_s_per_cpu_s": speed, "stretch": stretch,
        });
        println!("{line}");
    } else {
        println!("{:<9}{nodes:>6}{events:>16.0}{speed:>20.1}{stretch:>10.2}", engine.name);
    }
}
