//! Puts and gets through the etcd door: dwcp under its engines beside Debian's etcd, in the same run, by the same client.
//!
//! Three servers each on loopback with real disks and syncs on; the clusters take turns at each number of
//! clients, so that all meet the machine in the same mood. For each: puts a second, the latency's median and
//! 99th percentile, and the servers' processor time per put (all three processes, from `/proc`).
//!
//! `cargo run --release -p dwcp-benches -- --help`

#[allow(dead_code, reason = "what only switches need")]
mod cluster;
mod load;
mod program;

use clap::Parser;
use cluster::Cluster;
use dwcp_node::EngineKind;
use load::Kind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Puts and gets through the etcd door: dwcp beside Debian's etcd, same run, same client, fsync on.
#[derive(Parser, Debug)]
struct Args {
    /// Numbers of clients, each with one put in flight.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    clients: Vec<usize>,
    /// How long each is measured, after one second of warming up.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 64)]
    value: usize,
    /// The dwcp binary; left out: the one beside this program.
    #[arg(long)]
    dwcp: Option<PathBuf>,
    /// Where both put their data: a real disk.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// The engines of dwcp.
    #[arg(long, value_delimiter = ',', default_value = "raft,paxos")]
    engines: Vec<EngineKind>,
    /// Measure linearizable gets, too.
    #[arg(long)]
    gets: bool,
    /// Leave etcd out.
    #[arg(long)]
    only_dwcp: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run("dwcp-benches", run(&args))
}

async fn run(args: &Args) -> Result<(), String> {
    let dwcp = program::ready(args.dwcp.as_ref(), &args.data)?;
    let mut clusters = Vec::new();
    for (engine, nth) in args.engines.iter().zip(0..) {
        clusters.push(Cluster::dwcp(&dwcp, &args.data, *engine, nth).await?);
    }
    if !args.only_dwcp {
        clusters.push(Cluster::etcd(&args.data).await?);
    }
    if !args.json {
        println!(
            "{:<8} {:>5} {:>8} {:>10} {:>10} {:>10} {:>14} {:>8}",
            "server", "what", "clients", "a second", "p50 ms", "p99 ms", "CPU us each", "errors"
        );
    }
    let kinds = [Some(Kind::Put), args.gets.then_some(Kind::Get)];
    for kind in kinds.into_iter().flatten() {
        for clients in &args.clients {
            for cluster in &clusters {
                let leader = cluster.leader().await?;
                let warm = load::run(leader, kind, *clients, args.value, Duration::from_secs(1)).await?;
                let before = cluster.cpu_us()?;
                let time = Duration::from_secs(args.seconds);
                let measured = load::run(leader, kind, *clients, args.value, time).await?;
                let cpu = (cluster.cpu_us()? - before) as f64 / measured.done.max(1) as f64;
                report(args, cluster.name, kind, *clients, &measured, cpu);
                drop(warm);
            }
        }
    }
    Ok(())
}

fn report(args: &Args, server: &str, kind: Kind, clients: usize, m: &load::Measured, cpu: f64) {
    let what = match kind {
        Kind::Put => "put",
        Kind::Get => "get",
    };
    let rate = m.done as f64 / m.took.as_secs_f64();
    let ms = |q: f64| m.latency_us.value_at_quantile(q) as f64 / 1_000.0;
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "server": server, "what": what, "clients": clients, "per_s": rate.round(), "p50_ms": ms(0.5),
                "p99_ms": ms(0.99), "cpu_us_each": cpu, "errors": m.errors })
        );
    } else {
        println!(
            "{server:<8} {what:>5} {clients:>8} {rate:>10.0} {:>10.2} {:>10.2} {cpu:>14.1} {:>8}",
            ms(0.5),
            ms(0.99),
            m.errors
        );
    }
}
