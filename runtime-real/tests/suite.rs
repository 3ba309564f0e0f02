//! The contract examined from inside (`dwcp_env::suite`), the same machine as in `runtime-sim`: three of
//! them on real disks, over both transports, one of which ends and comes back.

use crate::fixture::Site;
use dwcp_env::suite::{Examinee, Report};
use dwcp_env::{Duration, NodeId};
use dwcp_runtime_real::{Node, Peer, Registry, Transport};
use std::sync::Arc;

type Examined = Node<(), Report>;

const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
/// How long one may take to do all that is asked of it; a busy machine included.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

async fn start(site: &Site, id: NodeId, transport: Transport) -> Examined {
    let settings = dwcp_runtime_real::Settings { transport, ..site.settings(id.0) };
    let boot = move |world: dwcp_env::World| Examinee::boot(id, &IDS, &world).map_err(|e| e.to_string());
    Node::start(settings, Arc::new(Registry::new()), boot).await.unwrap()
}

fn introduce(nodes: &[Examined]) {
    let address = |n: &Examined| n.links().local_address().to_string();
    let peers: Vec<Peer> =
        nodes.iter().zip(IDS).map(|(n, node)| Peer { node, address: address(n) }).collect();
    nodes.iter().for_each(|n| n.links().set_peers(peers.clone()));
}

async fn report(node: &Examined) -> Report {
    // An invariant that breaks ends the loop: the answer is then an error, and the test red.
    node.handle().request((), Duration::secs(10)).await.unwrap()
}

async fn until(node: &Examined, what: &str, enough: impl Fn(&Report) -> bool) -> Report {
    let start = std::time::Instant::now();
    loop {
        let seen = report(node).await;
        if enough(&seen) {
            return seen;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {seen:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn examine(transport: Transport) {
    let site = Site::new();
    let mut nodes = Vec::new();
    for id in IDS {
        nodes.push(start(&site, id, transport).await);
    }
    introduce(&nodes);
    let all = |r: &Report| {
        r.wakes > 50 && r.written > 50 && r.refused > 5 && r.jobs > 2 && r.letters > 100 && r.vouched > 30
    };
    for node in &nodes {
        until(node, "everything is exercised", all).await;
    }
    let last = nodes.pop().unwrap();
    let vouched = report(&last).await.vouched;
    last.stop(Duration::secs(10)).await;
    nodes.push(start(&site, IDS[2], transport).await);
    introduce(&nodes);
    let again = until(&nodes[2], "everything is exercised again", all).await;
    assert_eq!(again.incarnation, 2);
    assert!(again.recovered >= vouched, "{vouched} numbers were durable, {} came back", again.recovered);
    for node in nodes {
        until(&node, "it still answers", all).await;
        node.stop(Duration::secs(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_tcp() {
    examine(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_quic() {
    examine(Transport::Quic).await;
}
