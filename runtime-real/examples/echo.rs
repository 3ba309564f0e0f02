//! What the loop costs by itself: requests through a handle to a machine that answers at once.
//!
//! ```sh
//! cargo run --release -p dwcp-runtime-real --example echo
//! ```
//!
//! Prints, for some numbers of clients (each waits for its answer before it asks again), requests a
//! second, the quantiles of their latency and the CPU time of one.

use dwcp_env::{ClusterId, Duration, Input, Machine, NodeId, Now, Outputs, Reply, Seed};
use dwcp_runtime_real::metrics::cpu_seconds;
use dwcp_runtime_real::{Authority, Name, Node, OnBroken, Registry, Settings, Transport};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::time::Instant;

struct Echo;

impl Machine for Echo {
    type Request = u64;
    type Response = u64;
    fn step(&mut self, _: Now, input: Input<u64>, out: &mut Outputs<u64>) {
        if let Input::Request { id, request, .. } = input {
            out.replies.push(Reply { id, response: request, end: true, after: None });
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let name = Name { cluster: ClusterId(1), node: NodeId(1) };
    let settings = Settings {
        cluster: name.cluster,
        node: name.node,
        data_dir: dir.path().into(),
        listen: "127.0.0.1:0".parse()?,
        peers: Vec::new(),
        transport: Transport::Tcp,
        identity: Authority::create()?.issue(name)?.identity()?,
        clock_uncertainty: Duration::millis(10),
        seed: Some(Seed(1)),
        inject: false,
        on_broken: OnBroken::Abort,
    };
    let node = Node::start(settings, Arc::new(Registry::new()), |_| Ok::<_, String>(Echo)).await?;
    println!("clients  requests/s    p50 µs    p99 µs   CPU µs each");
    for clients in [1_u64, 16, 64, 256, 1_024] {
        let each = 400_000 / clients.max(8);
        let (cpu, start) = (cpu_seconds(), Instant::now());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let handle = node.handle();
            tasks.spawn(async move {
                let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).ok()?;
                for n in 0..each {
                    let asked = Instant::now();
                    handle.request(n, Duration::secs(10)).await.ok()?;
                    times.record(asked.elapsed().as_nanos() as u64).ok()?;
                }
                Some(times)
            });
        }
        let mut all = Histogram::<u64>::new(3)?;
        while let Some(times) = tasks.join_next().await {
            all.add(times?.ok_or("a request failed")?)?;
        }
        let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let count = (each * clients) as f64;
        let [p50, p99] = [0.5, 0.99].map(|q| all.value_at_quantile(q) as f64 / 1e3);
        println!("{clients:>7} {:>11.0} {p50:>9.1} {p99:>9.1} {:>13.2}", count / wall, cpu / count * 1e6);
    }
    Ok(())
}
