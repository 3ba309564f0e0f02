//! Nodes made of closures, on directories that go away.

use dwcp_env::disk::FileName;
use dwcp_env::{ClusterId, Duration, Input, Machine, NodeId, Now, Outputs, Seed, World};
use dwcp_runtime_real::{Authority, Name, Node, OnBroken, Peer, Registry, Settings, StartError, Transport};
use std::path::Path;
use std::sync::Arc;

pub(crate) const CLUSTER: ClusterId = ClusterId(0x00c1_0000);

/// A machine that is a closure.
pub(crate) struct Told<F>(pub(crate) F);

impl<F: FnMut(Now, Input<u64>, &mut Outputs<u64>)> Machine for Told<F> {
    type Request = u64;
    type Response = u64;
    fn step(&mut self, now: Now, input: Input<u64>, out: &mut Outputs<u64>) {
        (self.0)(now, input, out);
    }
}

pub(crate) struct Site {
    pub(crate) authority: Authority,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { authority: Authority::create().unwrap(), dir: tempfile::tempdir().unwrap() }
    }
    pub(crate) fn settings(&self, node: u64) -> Settings {
        self.settings_in(&self.dir.path().join(format!("n{node}")), node)
    }
    pub(crate) fn settings_in(&self, dir: &Path, node: u64) -> Settings {
        let name = Name { cluster: CLUSTER, node: NodeId(node) };
        Settings {
            cluster: CLUSTER,
            node: NodeId(node),
            data_dir: dir.into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            peers: Vec::new(),
            transport: Transport::Tcp,
            identity: self.authority.issue(name).unwrap().identity().unwrap(),
            clock_uncertainty: Duration::millis(10),
            seed: Some(Seed(node)),
            inject: false,
            on_broken: OnBroken::End,
        }
    }
    pub(crate) async fn start<F>(&self, node: u64, step: F) -> Node<u64, u64>
    where
        F: FnMut(Now, Input<u64>, &mut Outputs<u64>) + Send + 'static,
    {
        start(self.settings(node), move |_| Ok(Told(step))).await.unwrap()
    }
}

pub(crate) async fn start<M>(
    settings: Settings,
    boot: impl FnOnce(World) -> Result<M, String> + Send + 'static,
) -> Result<Node<u64, u64>, StartError>
where
    M: Machine<Request = u64, Response = u64> + Send + 'static,
{
    Node::start(settings, Arc::new(Registry::new()), boot).await
}

pub(crate) fn introduce(nodes: &[&Node<u64, u64>]) {
    let peers: Vec<Peer> = nodes
        .iter()
        .zip(1..)
        .map(|(n, id)| Peer { node: NodeId(id), address: n.links().local_address().to_string() })
        .collect();
    nodes.iter().for_each(|n| n.links().set_peers(peers.clone()));
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed().as_secs() < 15, "not {what} in time");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

pub(crate) fn file(name: &str) -> FileName {
    FileName::new(name).unwrap()
}
