//! `redis-benchmark` against Debian's redis-server and against a dwcp node that replicates to two more regions, in the
//! same run.
//!
//! What is compared is the same promise: Redis with its append-only file synced each second, dwcp with `sync = "everysec"`; and
//! beside it dwcp with `sync = "always"`, which has each write on its disk before it answers.
//! All are asked SET, GET, INCR and SADD by the same program with the same words, pipelining 1 and 16, in turn; the
//! best of `--rounds` is shown, and the ratio of the equal promises. All nodes, redis-server and the benchmark share this machine's
//! cores: the load of replication is in the figures. So is whatever else runs: the processor time that each server spent
//! on a request is told as well, which other load disturbs less.
//!
//! `cargo build --release -p dwcp && cargo run --release -p dwcp-benches --bin redis`

use clap::Parser;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// redis-benchmark against redis-server and against dwcp.
#[derive(Parser, Debug)]
struct Args {
    /// The program; built before with `cargo build --release -p dwcp`.
    #[arg(long)]
    dwcp: Option<PathBuf>,
    /// Requests of each measurement.
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    clients: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 64)]
    size: u64,
    /// Keys that are drawn from.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// How often each is measured; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Pipelining.
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pipeline: Vec<u64>,
    /// Where data lies while it runs; a disk like the one in question.
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

const TESTS: [&str; 4] = ["set", "get", "incr", "sadd"];
const REDIS_PORT: u16 = 16_379;
/// First client ports of the two clusters; Redis' clients come 4,000 higher.
const CLUSTERS: [(&str, u16); 2] = [("everysec", 13_379), ("always", 13_479)];
const READY_WITHIN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("redis: {why}");
            ExitCode::FAILURE
        }
    }
}

/// A process that ends with us.
struct Server(Child);

/// Somebody who is measured.
struct Peer {
    port: u16,
    /// The process that serves.
    pid: u32,
    best: f64,
    /// Processor time of a request, the least.
    micros: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn compare(args: &Args) -> Result<(), String> {
    let data = std::path::absolute(&args.data).map_err(|e| e.to_string())?;
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}", data.display()))?;
    let dwcp = args.dwcp.clone().unwrap_or_else(|| beside_us("dwcp"));
    let redis = redis_server(&data.join("redis"))?;
    let mut clusters = Vec::new();
    let mut pids = vec![(REDIS_PORT, redis.0.id())];
    for (sync, port) in CLUSTERS {
        let dir = data.join(format!("dwcp-redis-{sync}"));
        clusters.push(dwcp_nodes(&dwcp, &dir, sync, port)?);
        pids.push((port + 4_000, serving(port + 4_000)?));
    }
    if !args.json {
        println!(
            "| command | pipeline | redis-server everysec | dwcp everysec, three regions | ratio | dwcp always | CPU a request: redis, dwcp everysec, always |"
        );
        println!("|---|---|---|---|---|---|---|");
    }
    let mut worst = f64::MAX;
    for pipeline in &args.pipeline {
        for test in TESTS {
            let peer = |&(port, pid): &(u16, u32)| Peer { port, pid, best: 0.0, micros: f64::MAX };
            let mut peers: Vec<Peer> = pids.iter().map(peer).collect();
            for _ in 0..args.rounds {
                for peer in &mut peers {
                    let before = cpu_micros(peer.pid);
                    peer.best = peer.best.max(measure(args, peer.port, test, *pipeline)?);
                    let spent = (cpu_micros(peer.pid) - before) / args.requests as f64;
                    peer.micros = peer.micros.min(spent);
                }
            }
            let [redis, ours, always] = &peers[..] else { return Err("three are measured".into()) };
            let ratio = ours.best / redis.best.max(1.0);
            worst = worst.min(ratio);
            if args.json {
                println!(
                    "{}",
                    serde_json::json!({ "command": test, "pipeline": pipeline, "redis_per_s": redis.best, "dwcp_per_s": ours.best,
                        "ratio": ratio, "dwcp_always_per_s": always.best, "redis_cpu_us": redis.micros,
                        "dwcp_cpu_us": ours.micros, "dwcp_always_cpu_us": always.micros })
                );
            } else {
                println!(
                    "| {} | {pipeline} | {:.0}/s | {:.0}/s | {ratio:.2} | {:.0}/s | {:.1} µs, {:.1} µs, {:.1} µs |",
                    test.to_uppercase(),
                    redis.best,
                    ours.best,
                    always.best,
                    redis.micros,
                    ours.micros,
                    always.micros
                );
            }
        }
    }
    if !args.json {
        println!("\nworst ratio {worst:.2}");
    }
    Ok(())
}

/// The process behind a Redis door, by its own word.
fn serving(port: u16) -> Result<u32, String> {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "info", "server"])
        .output()
        .map_err(|e| format!("redis-cli: {e}; install it: apt-get install redis-tools"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pid = text.lines().find_map(|l| l.strip_prefix("process_id:")?.trim().parse().ok());
    pid.ok_or_else(|| format!("the server on port {port} does not tell its process: {text}"))
}

/// Processor time that a process has used, in microseconds; zero if it is gone.
fn cpu_micros(pid: u32) -> f64 {
    /// Ticks of the kernel's accounting, a second.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: state, then 11th and 12th from there.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS * 1e6
}

/// A program built into the same folder as this one.
fn beside_us(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    me.parent().unwrap_or(Path::new(".")).join(name)
}

fn redis_server(dir: &Path) -> Result<Server, String> {
    let _none = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let child = Command::new("redis-server")
        .args(["--port", &REDIS_PORT.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("redis-server: {e}; install it: apt-get install redis-server"))?;
    let server = Server(child);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", REDIS_PORT)).is_err() {
        if begun.elapsed() > READY_WITHIN {
            return Err("redis-server does not get ready".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

fn dwcp_nodes(dwcp: &Path, dir: &Path, sync: &str, port: u16) -> Result<Server, String> {
    let mut child = Command::new(dwcp)
        .args([
            "--output",
            "json",
            "dev",
            "--nodes",
            "3",
            "--fresh",
            "--sync",
            sync,
            "--port",
            &port.to_string(),
            "--dir",
        ])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}; build it: cargo build --release -p dwcp", dwcp.display()))?;
    let mut line = String::new();
    let out = child.stdout.take().ok_or("no output")?;
    let server = Server(child);
    BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.is_empty() {
        return Err("dwcp dev ended; see its message above".into());
    }
    Ok(server)
}

/// Requests a second.
fn measure(args: &Args, port: u16, test: &str, pipeline: u64) -> Result<f64, String> {
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", test, "--csv"])
        .args([
            "-P",
            &pipeline.to_string(),
            "-c",
            &args.clients.to_string(),
            "-n",
            &args.requests.to_string(),
        ])
        .args(["-d", &args.size.to_string(), "-r", &args.keys.to_string()])
        .output()
        .map_err(|e| format!("redis-benchmark: {e}; install it: apt-get install redis-tools"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "test","rps",… then "SET","123.45",…
    let line = text.lines().rfind(|l| l.to_lowercase().starts_with(&format!("\"{test}")));
    let rate = line.and_then(|l| l.split(',').nth(1)).and_then(|r| r.trim_matches('"').parse().ok());
    rate.ok_or_else(|| {
        format!("redis-benchmark on port {port} said: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}
