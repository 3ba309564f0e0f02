//! The engines' common workload on madsim: see `cargo run --release -p dwcp-benches --bin engines`.
//!
//! Each of N nodes pings a peer drawn at random every 10 ms ±5 %, the peer answers; one way takes 1 to
//! 10 ms; 64 bytes. Prints one line: what was simulated, the answers heard, the processor time.

use madsim::net::UdpSocket;
use madsim::rand::{Rng, thread_rng};
use madsim::runtime::{Handle, Runtime};
use madsim::time::sleep;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn address(node: u32) -> SocketAddr {
    let [_, _, high, low] = node.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 0, high, low).into(), 7_001)
}

async fn live(me: u32, nodes: u32, heard: Arc<AtomicU64>) {
    let socket = Arc::new(UdpSocket::bind(address(me)).await.expect("the port is free"));
    let ear = socket.clone();
    madsim::task::spawn(async move {
        let mut body = [0; 64];
        while let Ok((_, from)) = ear.recv_from(&mut body).await {
            if body[0] == 1 {
                body[0] = 2;
                drop(ear.send_to(from, &body).await);
            } else {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut body = [0; 64];
    body[0] = 1;
    loop {
        let other = (me - 1 + thread_rng().gen_range(1..nodes)) % nodes + 1;
        drop(socket.send_to(address(other), &body).await);
        sleep(Duration::from_nanos(thread_rng().gen_range(9_500_000..=10_500_000))).await;
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let tick = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (tick(11) + tick(12)) / 100.0
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u32>().expect("a number"));
    let (nodes, seconds) = (args.next().unwrap_or(9), args.next().unwrap_or(60));
    let mut config = madsim::Config::default();
    config.net.send_latency = Duration::from_millis(1)..Duration::from_millis(10);
    let heard = Arc::new(AtomicU64::new(0));
    let began = cpu_seconds();
    let all = heard.clone();
    Runtime::with_seed_and_config(1, config).block_on(async move {
        for me in 1..=nodes {
            let node = Handle::current().create_node().ip(address(me).ip()).build();
            drop(node.spawn(live(me, nodes, all.clone())));
        }
        sleep(Duration::from_secs(u64::from(seconds))).await;
    });
    let cpu = (cpu_seconds() - began).max(0.01);
    println!(
        "engine=madsim nodes={nodes} simulated_s={seconds} answers={} cpu_s={cpu:.2}",
        heard.load(Ordering::Relaxed)
    );
}
