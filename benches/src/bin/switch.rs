//! How long clients wait when the engine changes: three real nodes, closed loops of puts, a switch now and then.
//!
//! A *gap* is the longest time between two acknowledgements, of all clients together, from the request for a switch
//! until three seconds later; a *steady* gap is the longest in as long a time without one, measured before each switch: what of a gap
//! is checkpoints and a busy machine shows there, too.
//!
//! `cargo run --release -p dwcp-benches --bin switch -- --help`

#[path = "../cluster.rs"]
#[allow(dead_code, reason = "the half that etcd needs")]
mod cluster;
#[path = "../load.rs"]
#[allow(dead_code, reason = "gets")]
mod load;
#[path = "../program.rs"]
mod program;

use clap::Parser;
use cluster::Cluster;
use dwcp_node::EngineKind;
use load::Kind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::Notify;

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
    /// Kill the leader (SIGKILL) while each switch is under way, at 0, 5, ... 35 milliseconds from its request on; clients are at
    /// another node's door.
    #[arg(long)]
    kill: bool,
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
    program::run("switch", run(&args))
}

async fn run(args: &Args) -> Result<(), String> {
    let dwcp = program::ready(args.dwcp.as_ref(), &args.data)?;
    let mut cluster = Cluster::far(&dwcp, &args.data, EngineKind::Raft, 0, args.latency.as_deref()).await?;
    println!("{:<18} {:>10} {:>10} {:>12} {:>8}", "switch", "steady ms", "gap ms", "decided ms", "errors");
    let (mut gaps, mut steady) = (Vec::new(), Vec::new());
    let mut from = EngineKind::Raft;
    for (to, nth) in args.engines.iter().cycle().take(args.switches).zip(1..) {
        if *to == from {
            continue;
        }
        if args.kill {
            // What was killed stays away: each switch has a cluster of its own.
            drop(cluster);
            let latency = args.latency.as_deref();
            cluster = Cluster::far(&dwcp, &args.data, from, nth % 2 * 4, latency).await?;
        }
        let before = load::run(cluster.leader().await?, Kind::Put, args.clients, 64, WINDOW).await?;
        steady.push(before.gap);
        print!("{:<18} {:>10.1} ", format!("{from} to {to}"), ms(before.gap));
        gaps.push(one(args, &dwcp, &cluster, *to, nth).await?);
        from = *to;
    }
    if gaps.is_empty() {
        return Err("no switch was made".into());
    }
    for (what, all) in [("steady", &mut steady), ("gaps", &mut gaps)] {
        all.sort_unstable();
        let at = |q: usize| ms(all[(all.len() * q / 100).min(all.len() - 1)]);
        println!("{what:<6} of {}: p50 {:.1} ms, p90 {:.1}, p99 {:.1}", all.len(), at(50), at(90), at(99));
    }
    Ok(())
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// One switch under load, and the longest wait around it.
async fn one(
    args: &Args,
    dwcp: &Path,
    cluster: &Cluster,
    to: EngineKind,
    nth: u16,
) -> Result<Duration, String> {
    let leader = cluster.leader().await?;
    let later = Duration::from_millis(u64::from(nth - 1) % 8 * 5);
    // Who is to be killed is not asked.
    let door = if args.kill { cluster.another(leader)? } else { leader };
    let warm = Rc::new(Notify::new());
    let told = (args.clients as u64 * 20, warm.clone());
    let (measured, took, killed) = tokio::join!(
        load::run_telling(door, Kind::Put, args.clients, 64, WINDOW, told),
        switch(dwcp, door, to, &warm),
        async {
            warm.notified().await;
            if args.kill {
                tokio::time::sleep(later).await;
                cluster.kill(leader)?;
            }
            Ok::<(), String>(())
        },
    );
    let (measured, took, ()) = (measured?, took?, killed?);
    println!("{:>10.1} {:>12.1} {:>8}", ms(measured.gap), ms(took), measured.errors);
    Ok(measured.gap)
}

/// Asks for a switch once clients are at work; how long it took to be decided.
async fn switch(dwcp: &Path, door: SocketAddr, to: EngineKind, at_work: &Notify) -> Result<Duration, String> {
    at_work.notified().await;
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
