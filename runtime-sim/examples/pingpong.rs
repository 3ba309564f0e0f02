//! How fast the engine is: nodes that ping each other.
//!
//! 100 nodes; each pings a peer drawn at random every 10 ms ±5 %, and the peer answers; one
//! way takes 1 to 10 ms; 64 bytes. The workload of shared/research/simulation.md §2.1.
//! Prints events per CPU-second, with fault models and the fingerprint on.
//!
//! ```text
//! cargo run --release -p dwcp-runtime-sim --example pingpong [nodes] [simulated seconds] [--line]
//! ```

use bytes::Bytes;
use dwcp_env::{Duration, Input, Instant, Lane, Machine, NodeId, Now, Outputs, Purpose, Seed, Send, World};
use dwcp_runtime_sim::{Effect, Fault, Latency, NodePlan, Plan, SimWorld};

const PEER: Purpose = Purpose::named("ping.peer");
const PAUSE: Purpose = Purpose::named("ping.pause");

struct Pinger {
    id: NodeId,
    nodes: u64,
    seed: Seed,
    next: Instant,
    ping: Bytes,
    pong: Bytes,
    heard: u64,
}

impl Machine for Pinger {
    type Request = ();
    type Response = ();

    fn step(&mut self, now: Now, input: Input<()>, out: &mut Outputs<()>) {
        match input {
            Input::Wake => {
                let other = self.seed.below(self.nodes - 1, PEER, self.id.0, now.mono, 0);
                let to = NodeId(1 + (self.id.0 + other) % self.nodes);
                out.sends.push(Send { to, lane: Lane::Control, body: self.ping.clone(), after: None });
                let pause = self.seed.below(1_000_001, PAUSE, self.id.0, now.mono, 0);
                self.next = now.mono + Duration::nanos(9_500_000 + pause);
            }
            Input::Message { from, body, .. } if body[0] == 1 => {
                out.sends.push(Send { to: from, lane: Lane::Control, body: self.pong.clone(), after: None });
            }
            Input::Message { .. } => self.heard += 1,
            _ => {}
        }
        out.wake_by(self.next);
    }
}

fn cpu_seconds() -> f64 {
    // Of this process, user and system, in ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let tick = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (tick(11) + tick(12)) / 100.0
}

/// The world of `nodes` pingers, until `end`.
fn pingers(nodes: u64, end: Instant, faults: bool) -> SimWorld<Pinger> {
    let latency = Latency::Uniform { min: Duration::millis(1), max: Duration::millis(10) };
    let places = (1..=nodes).map(|i| NodePlan::new(i, "here")).collect();
    let mut plan = Plan::calm(Seed(1), places, latency, end);
    if faults {
        let at = Instant::ZERO + Duration::secs(1);
        let some: Vec<NodeId> = (1..=nodes / 4).map(NodeId).collect();
        let delay = Effect::Delay { extra: Duration::millis(5), jitter: Duration::millis(5) };
        plan.faults.push(Fault::links(&some, &[], at, end, delay));
        let drop = Effect::Drop { rate: dwcp_env::Ratio::ppm(10_000), burst: 3 };
        plan.faults.push(Fault::links(&[], &some, at, end, drop));
    }
    let boot = move |id, world: World, _| {
        let (mut ping, mut pong) = ([0; 64], [0; 64]);
        (ping[0], pong[0]) = (1, 2);
        let (ping, pong) = (Bytes::copy_from_slice(&ping), Bytes::copy_from_slice(&pong));
        Ok(Pinger { id, nodes, seed: world.seed, next: world.now.mono, ping, pong, heard: 0 })
    };
    SimWorld::new(plan, boot).expect("the plan is sound")
}

fn run(nodes: u64, seconds: u64, faults: bool) {
    let end = Instant::ZERO + Duration::secs(seconds);
    let began = cpu_seconds();
    let mut world = pingers(nodes, end, faults);
    world.run_until(end).expect("nothing is violated");
    let cpu = (cpu_seconds() - began).max(0.01);
    let stats = world.stats();
    let heard: u64 = world.view().machines().map(|(_, m)| m.heard).sum();
    println!(
        "{nodes:>4} nodes{}: {} events, {} messages in {cpu:.2} CPU-s: {:.2} M events/CPU-s, {:.0} simulated s/CPU-s; {heard} answers; run {}",
        if faults { ", links under faults" } else { "" },
        stats.events,
        stats.messages,
        stats.events as f64 / cpu / 1e6,
        seconds as f64 / cpu,
        world.trail().id(),
    );
}

/// The line that `dwcp-benches --bin engines` reads, as its peers' examples print it.
fn line(nodes: u64, seconds: u64) {
    let end = Instant::ZERO + Duration::secs(seconds);
    let began = cpu_seconds();
    let mut world = pingers(nodes, end, false);
    world.run_until(end).expect("nothing is violated");
    let cpu = (cpu_seconds() - began).max(0.01);
    let heard: u64 = world.view().machines().map(|(_, m)| m.heard).sum();
    println!("engine=dwcp nodes={nodes} simulated_s={seconds} answers={heard} cpu_s={cpu:.2}");
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn main() {
    let one_line = std::env::args().any(|a| a == "--line");
    let numbers = std::env::args().skip(1).filter(|a| a != "--line");
    let mut args = numbers.map(|a| a.parse::<u64>().expect("a number"));
    let (nodes, seconds) = (args.next().unwrap_or(100), args.next().unwrap_or(200));
    if one_line {
        line(nodes, seconds);
        return;
    }
    run(9, seconds * 10, false);
    run(nodes, seconds, false);
    run(nodes, seconds, true);
    println!("peak memory {} KiB", memory_kib());
}
