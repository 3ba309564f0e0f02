//! The engines' common workload on turmoil: see `cargo run --release -p dwcp-benches --bin engines`.
//!
//! Each of N nodes pings a peer drawn at random every 10 ms ±5 %, the peer answers; one way takes 1 to
//! 10 ms; 64 bytes; turmoil's own tick of 1 ms. Prints one line: what was simulated, the answers heard,
//! the processor time.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use turmoil::net::UdpSocket;

const PORT: u16 = 7_001;

/// A number from a seed: SplitMix64, so that the workload needs no crate of its own.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn live(me: u64, nodes: u64, heard: Arc<AtomicU64>) -> turmoil::Result {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?);
    let ear = socket.clone();
    let answers = async move {
        let mut body = [0; 64];
        loop {
            let (_, from) = ear.recv_from(&mut body).await?;
            if body[0] == 1 {
                body[0] = 2;
                ear.send_to(&body, from).await?;
            } else {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let asks = async move {
        let mut state = me;
        let mut body = [0; 64];
        body[0] = 1;
        loop {
            let other = (me - 1 + 1 + draw(&mut state) % (nodes - 1)) % nodes + 1;
            socket.send_to(&body, (format!("n{other}"), PORT)).await?;
            tokio::time::sleep(Duration::from_nanos(9_500_000 + draw(&mut state) % 1_000_001)).await;
        }
    };
    tokio::select! {
        end = answers => end,
        end = asks => end,
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let tick = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (tick(11) + tick(12)) / 100.0
}

fn main() -> turmoil::Result {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().expect("a number"));
    let (nodes, seconds) = (args.next().unwrap_or(9), args.next().unwrap_or(60));
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .simulation_duration(Duration::from_secs(seconds + 1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .build();
    let heard = Arc::new(AtomicU64::new(0));
    for me in 1..=nodes {
        let heard = heard.clone();
        sim.host(format!("n{me}"), move || live(me, nodes, heard.clone()));
    }
    let began = cpu_seconds();
    while sim.elapsed() < Duration::from_secs(seconds) {
        sim.step()?;
    }
    let cpu = (cpu_seconds() - began).max(0.01);
    println!(
        "engine=turmoil nodes={nodes} simulated_s={seconds} answers={} cpu_s={cpu:.2}",
        heard.load(Ordering::Relaxed)
    );
    Ok(())
}
