//! The contract examined from inside where a host carries the messages: the same machine, no sockets.

use crate::fixture::Site;
use dwcp_env::suite::{Examinee, Report};
use dwcp_env::{Duration, NodeId, Send as ToPeer};
use dwcp_runtime_real::shard::Carrier;
use dwcp_runtime_real::{Arrivals, Ended, HostSettings, Hosted, Registry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

type Boxes = Arc<Mutex<BTreeMap<NodeId, Arrivals<(), Report>>>>;

/// Carries by hand, from one node's outputs to another's inbox.
struct Postman {
    me: NodeId,
    boxes: Boxes,
}

impl Carrier for Postman {
    fn carry(&self, send: ToPeer) {
        if let Some(to) = self.boxes.lock().unwrap().get(&send.to) {
            // A full or a dead node's message is lost, as messages may be.
            let _taken = to.deliver(self.me, send.lane, send.body);
        }
    }
    fn flush(&self) {}
    fn peers(&self, _: Vec<(NodeId, String)>) {}
}

async fn start(site: &Site, id: NodeId, boxes: &Boxes) -> Hosted<(), Report> {
    let like = site.settings(id.0);
    let settings = HostSettings {
        cluster: like.cluster,
        node: id,
        data_dir: like.data_dir,
        clock_uncertainty: like.clock_uncertainty,
        seed: like.seed,
        on_broken: like.on_broken,
    };
    let postman = Arc::new(Postman { me: id, boxes: boxes.clone() });
    let boot = move |world: dwcp_env::World| Examinee::boot(id, &IDS, &world).map_err(|e| e.to_string());
    let node = Hosted::start(settings, Arc::new(Registry::new()), postman, boot).await.unwrap();
    boxes.lock().unwrap().insert(id, node.arrivals());
    node
}

async fn exercised(node: &Hosted<(), Report>) -> Report {
    let start = std::time::Instant::now();
    loop {
        let r = node.handle().request((), Duration::secs(10)).await.unwrap();
        if r.wakes > 50 && r.written > 50 && r.refused > 5 && r.jobs > 2 && r.letters > 100 && r.vouched > 30
        {
            return r;
        }
        assert!(start.elapsed() < PATIENCE, "{r:?}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_contract_holds_where_the_host_carries() {
    let (site, boxes) = (Site::new(), Boxes::default());
    let mut nodes = Vec::new();
    for id in IDS {
        nodes.push(start(&site, id, &boxes).await);
    }
    let mut vouched = 0;
    for node in &nodes {
        vouched = exercised(node).await.vouched;
    }
    let last = nodes.pop().unwrap();
    assert_eq!(last.stop(Duration::secs(10)).await, Ended::Well);
    nodes.push(start(&site, IDS[2], &boxes).await);
    let again = exercised(&nodes[2]).await;
    assert_eq!(again.incarnation, 2);
    assert!(again.recovered >= vouched, "{vouched} numbers were durable, {} came back", again.recovered);
    for node in nodes {
        assert_eq!(node.stop(Duration::secs(10)).await, Ended::Well);
    }
}
