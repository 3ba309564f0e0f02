//! Puts through the etcd door: dwcp beside Debian's etcd, in the same run, by the same client.
//!
//! Three servers each on loopback with real disks and syncs on; the two clusters take turns at each number of
//! clients, so that both meet the machine in the same mood. For each: puts a second, the latency's median and
//! 99th percentile, and the servers' processor time per put (all three processes, from `/proc`).
//!
//! `cargo run --release -p dwcp-benches -- --help`

mod cluster;
mod load;

use clap::Parser;
use cluster::Cluster;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Puts through the etcd door: dwcp beside Debian's etcd, same run, same client, fsync on.
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
    /// Leave etcd out.
    #[arg(long)]
    only_dwcp: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

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
            eprintln!("dwcp-benches: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), String> {
    let beside = || std::env::current_exe().ok().and_then(|p| p.parent().map(|d| d.join("dwcp")));
    let dwcp = args.dwcp.clone().or_else(beside).filter(|p| p.exists());
    let dwcp = dwcp.ok_or("no dwcp binary; build it first: cargo build --release -p dwcp")?;
    std::fs::create_dir_all(&args.data).map_err(|e| format!("{}: {e}", args.data.display()))?;
    let mut clusters = vec![Cluster::dwcp(&dwcp, &args.data).await?];
    if !args.only_dwcp {
        clusters.push(Cluster::etcd(&args.data).await?);
    }
    if !args.json {
        println!(
            "{:<8} {:>8} {:>10} {:>10} {:>10} {:>14} {:>8}",
            "server", "clients", "puts/s", "p50 ms", "p99 ms", "CPU us/put", "errors"
        );
    }
    for clients in &args.clients {
        for cluster in &clusters {
            let leader = cluster.leader().await?;
            let warm = load::run(leader, *clients, args.value, Duration::from_secs(1)).await?;
            let before = cluster.cpu_us()?;
            let measured = load::run(leader, *clients, args.value, Duration::from_secs(args.seconds)).await?;
            let cpu = (cluster.cpu_us()? - before) as f64 / measured.puts.max(1) as f64;
            report(args, cluster.name, *clients, &measured, cpu);
            drop(warm);
        }
    }
    Ok(())
}

fn report(args: &Args, server: &str, clients: usize, m: &load::Measured, cpu: f64) {
    let rate = m.puts as f64 / m.took.as_secs_f64();
    let ms = |q: f64| m.latency_us.value_at_quantile(q) as f64 / 1_000.0;
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "server": server, "clients": clients, "puts_per_s": rate.round(), "p50_ms": ms(0.5),
                "p99_ms": ms(0.99), "cpu_us_per_put": cpu, "errors": m.errors })
        );
    } else {
        println!(
            "{server:<8} {clients:>8} {rate:>10.0} {:>10.2} {:>10.2} {cpu:>14.1} {:>8}",
            ms(0.5),
            ms(0.99),
            m.errors
        );
    }
}
