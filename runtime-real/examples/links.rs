//! What a link costs by itself: messages of 200 bytes between two nodes of this process, there and
//! back, with a window in flight.
//!
//! ```sh
//! cargo run --release -p dwcp-runtime-real --example links
//! ```
//!
//! Prints for each transport and window: round trips a second, the mean time of one, and the CPU time
//! of one (both nodes, TLS included).

use bytes::Bytes;
use dwcp_env::{ClusterId, Duration, Input, Lane, Machine, NodeId, Now, Outputs, Reply, RequestId, Seed};
use dwcp_runtime_real::metrics::cpu_seconds;
use dwcp_runtime_real::{Authority, Name, Node, OnBroken, Peer, Registry, Settings, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Answers a request when its message has come back from the other node.
struct Mirror {
    me: NodeId,
    waiting: BTreeMap<u64, RequestId>,
}

impl Machine for Mirror {
    type Request = ();
    type Response = ();
    fn step(&mut self, _: Now, input: Input<()>, out: &mut Outputs<()>) {
        let send = |body| dwcp_env::Send { to: NodeId(3 - self.me.0), lane: Lane::Data, body, after: None };
        match input {
            Input::Request { id, .. } => {
                let mut body = vec![0; 200];
                body[..8].copy_from_slice(&id.0.to_le_bytes());
                self.waiting.insert(id.0, id);
                out.sends.push(send(Bytes::from(body)));
            }
            Input::Message { body, .. } if self.me == NodeId(1) => {
                let key = body.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
                let answer =
                    self.waiting.remove(&key).map(|id| Reply { id, response: (), end: true, after: None });
                out.replies.extend(answer);
            }
            Input::Message { body, .. } => out.sends.push(send(body)),
            _ => {}
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("link  in flight  round trips/s   mean µs   CPU µs each");
    for transport in [Transport::Tcp, Transport::Quic] {
        let authority = Authority::create()?;
        let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
        let mut nodes = Vec::new();
        for (n, dir) in (1..).zip(&dirs) {
            let name = Name { cluster: ClusterId(1), node: NodeId(n) };
            let settings = Settings {
                cluster: name.cluster,
                node: name.node,
                data_dir: dir.path().into(),
                listen: "127.0.0.1:0".parse()?,
                peers: Vec::new(),
                transport,
                identity: authority.issue(name)?.identity()?,
                clock_uncertainty: Duration::millis(10),
                seed: Some(Seed(1)),
                inject: false,
                on_broken: OnBroken::Abort,
            };
            let boot = move |_| Ok::<_, String>(Mirror { me: NodeId(n), waiting: BTreeMap::new() });
            nodes.push(Node::start(settings, Arc::new(Registry::new()), boot).await?);
        }
        let address = |n: usize| nodes[n].links().local_address().to_string();
        nodes[0].links().set_peers(vec![Peer { node: NodeId(2), address: address(1) }]);
        nodes[1].links().set_peers(vec![Peer { node: NodeId(1), address: address(0) }]);
        while nodes.iter().flat_map(|n| n.links().status()).any(|s| s.connected.len() < 3) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for window in [1_u64, 64, 1_024] {
            let each = 60_000 / window.max(8);
            let (cpu, start) = (cpu_seconds(), Instant::now());
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..window {
                let handle = nodes[0].handle();
                tasks.spawn(async move {
                    for _ in 0..each {
                        handle.request((), Duration::secs(10)).await?;
                    }
                    Ok::<_, dwcp_runtime_real::DoorError>(())
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            let count = (each * window) as f64;
            let (rate, mean) = (count / wall, wall / each as f64 * 1e6);
            println!("{transport:?}  {window:>9} {rate:>14.0} {mean:>9.1} {:>13.2}", cpu / count * 1e6);
        }
    }
    Ok(())
}
