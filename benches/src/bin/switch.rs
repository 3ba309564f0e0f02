//! How long clients wait when the engine changes: three real nodes, closed loops of puts, a switch now and then.
//!
//! A *gap* is the longest time between two acknowledgements, of all clients together, from the request for a switch
//! until three seconds later; the *steady* gap is the longest in as long a time without one.
//!
//! `cargo run --release -p dwcp-benches --bin switch -- --help`

#[path = "../cluster.rs"]
#[allow(dead_code, reason = "the half that etcd needs")]
mod cluster;
#[path = "../load.rs"]
#[allow(dead_code, reason = "gets")]
mod load;

use clap::Parser;
use cluster::Cluster;
use dwcp_node::EngineKind;
use load::Kind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::process::Command;

/// How long clients wait when the engine changes.
#[derive(Parser, Debug)]
struct Args {
    /// The engines, in turn.
    #[arg(long, value_delimiter = ',', default_value = "paxos,raft,paxos,epaxos,raft,epaxos")]
    engines: Vec<EngineKind>,
    /// How many switches.
    #[arg(long, default_value_t = 12)]
    switches: usize,
    /// Clients, each with one put in flight.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Delay messages between regions as measured: aws-2020 or gcp-2020.
    #[arg(long)]
    latency: Option<String>,
    /// The dwcp binary; left out: the one beside this program.
    #[arg(long)]
    dwcp: Option<PathBuf>,
    /// Where data lies: a real disk.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

/// How long is looked at a switch.
const WINDOW: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(&args)),
        Err(e) => Err(e.to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("switch: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), String> {
    let beside = || std::env::current_exe().ok().and_then(|p| p.parent().map(|d| d.join("dwcp")));
    let dwcp = args.dwcp.clone().or_else(beside).filter(|p| p.exists());
    let dwcp = dwcp.ok_or("no dwcp binary; build it first: cargo build --release -p dwcp")?;
    std::fs::create_dir_all(&args.data).map_err(|e| format!("{}: {e}", args.data.display()))?;
    let cluster = Cluster::far(&dwcp, &args.data, EngineKind::Raft, 0, args.latency.as_deref()).await?;
    let leader = cluster.leader().await?;
    let warm = load::run(leader, Kind::Put, args.clients, 64, WINDOW).await?;
    println!("{:<18} {:>10} {:>12} {:>8}", "switch", "gap ms", "decided ms", "errors");
    println!("{:<18} {:>10.1} {:>12} {:>8}", "(none)", ms(warm.gap), "", warm.errors);
    let mut gaps = Vec::new();
    let mut from = EngineKind::Raft;
    for to in args.engines.iter().cycle().take(args.switches) {
        if *to == from {
            continue;
        }
        let door = cluster.leader().await?;
        let (measured, took) =
            tokio::join!(load::run(door, Kind::Put, args.clients, 64, WINDOW), switch(&dwcp, door, *to));
        let (measured, took) = (measured?, took?);
        let name = format!("{from} to {to}");
        println!("{name:<18} {:>10.1} {:>12.1} {:>8}", ms(measured.gap), ms(took), measured.errors);
        gaps.push(measured.gap);
        from = *to;
    }
    gaps.sort_unstable();
    let at = |q: usize| gaps.get((gaps.len() * q / 100).min(gaps.len().saturating_sub(1))).copied();
    let (Some(p50), Some(p99)) = (at(50), at(99)) else { return Err("no switch was made".into()) };
    println!(
        "gaps of {}: p50 {:.1} ms, p99 {:.1} ms; steady {:.1} ms",
        gaps.len(),
        ms(p50),
        ms(p99),
        ms(warm.gap)
    );
    Ok(())
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// Asks for a switch a second from now; how long it took to be decided.
async fn switch(dwcp: &Path, door: std::net::SocketAddr, to: EngineKind) -> Result<Duration, String> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let output = Command::new(dwcp)
        .args(["--output", "json", "consensus", "switch", to.name(), "--endpoints", &door.to_string()])
        .output()
        .await
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    Ok(Duration::from_secs_f64(answer["took_ms"].as_f64().unwrap_or_default() / 1e3))
}
