//! Links between real sockets of this machine, and the frames of one lane in memory.

mod datagrams;
mod frames;
mod identity;
mod lanes;

use super::*;
use crate::authority::Authority;
use dwcp_env::ClusterId;
use std::collections::VecDeque;
use std::time::Instant;

pub(super) const CLUSTER: ClusterId = ClusterId(0xc1);

/// What a node hears; lanes can be held back as a node without room would.
#[derive(Default)]
pub(super) struct Ear {
    heard: Mutex<VecDeque<(NodeId, Lane, Bytes)>>,
    news: Notify,
    no_room_for_bulk: bool,
}

impl Ear {
    pub(super) fn deaf_to_bulk() -> Self {
        Self { no_room_for_bulk: true, ..Self::default() }
    }
    pub(super) fn try_next(&self) -> Option<(NodeId, Lane, Bytes)> {
        self.heard.lock().unwrap().pop_front()
    }
    pub(super) async fn next(&self) -> (NodeId, Lane, Bytes) {
        let wait = async {
            loop {
                let news = self.news.notified();
                if let Some(m) = self.try_next() {
                    return m;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("something is heard")
    }
}

impl Deliver for Ear {
    fn try_deliver(&self, from: NodeId, lane: Lane, body: Bytes) -> Result<(), Option<Bytes>> {
        if self.no_room_for_bulk && lane == Lane::Bulk {
            return Err(Some(body));
        }
        self.heard.lock().unwrap().push_back((from, lane, body));
        self.news.notify_one();
        Ok(())
    }
    fn deliver<'a>(
        &'a self,
        _: NodeId,
        _: Lane,
        _: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>> {
        Box::pin(std::future::pending())
    }
}

/// Nodes that may be linked, under one authority.
pub(super) struct Hood {
    pub(super) authority: Authority,
    pub(super) transport: Transport,
}

pub(super) struct Party {
    pub(super) links: Links,
    pub(super) ear: Arc<Ear>,
    pub(super) registry: Arc<Registry>,
}

impl Hood {
    pub(super) fn new(transport: Transport) -> Self {
        Self { authority: Authority::create().unwrap(), transport }
    }
    pub(super) fn identity(&self, cluster: ClusterId, node: u64) -> Identity {
        self.authority.issue(Name { cluster, node: NodeId(node) }).unwrap().identity().unwrap()
    }
    pub(super) fn node(&self, node: u64) -> Party {
        self.party(self.identity(CLUSTER, node), 0, Ear::default())
    }
    pub(super) fn party(&self, identity: Identity, port: u16, ear: Ear) -> Party {
        let settings = LinkSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            peers: Vec::new(),
            transport: self.transport,
            identity,
            seed: Seed(1),
            inject: true,
        };
        let registry = Arc::new(Registry::new());
        let (links, listener) = Links::bind(settings, &registry).unwrap();
        let ear = Arc::new(ear);
        links.open(listener, ear.clone(), Probe::silent());
        Party { links, ear, registry }
    }
    /// `from` knows where `to` is.
    pub(super) fn introduce(&self, from: &Party, to: &Party) {
        let peer = Peer { node: to.links.0.us.node, address: to.links.local_address().to_string() };
        from.links.set_peers(vec![peer]);
    }
    pub(super) fn pair(&self) -> (Party, Party) {
        let (a, b) = (self.node(1), self.node(2));
        self.introduce(&a, &b);
        self.introduce(&b, &a);
        (a, b)
    }
}

impl Party {
    pub(super) fn send(&self, to: u64, lane: Lane, body: impl Into<Bytes>) {
        self.links.carry(ToPeer { to: NodeId(to), lane, body: body.into(), after: None });
        self.links.flush();
    }
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&PeerStatus) -> bool) {
        let start = Instant::now();
        while !self.links.status().iter().any(&holds) {
            assert!(start.elapsed() < Duration::from_secs(15), "not {what}: {:?}", self.links.status());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    pub(super) async fn until_up(&self) {
        self.until("up", |s| s.connected.len() == 3).await;
    }
    pub(super) fn refused(&self, cause: &str) -> u64 {
        let line = format!("dwcp_link_refused_total{{cause=\"{cause}\"}} ");
        let text = self.registry.render();
        text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
    }
}
