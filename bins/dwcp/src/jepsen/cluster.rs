//! The cluster under test: real node processes in a folder of their own, on addresses of their own.
//!
//! Nodes are started from this very binary with configurations as `dwcp dev` writes them. Each node has an
//! address: in 127.0.0.0/8 if no nemesis touches the network, else in a network namespace of its own.
//! A node ends when its standard input does, so none outlives this process, however it ends; what else a
//! run makes (namespaces, mounts) is removed by guards, and what a killed run left by the next.
//!
//! **Invariant.** Every end of a process is either asked for here or a *surprise*: a run with a surprise
//! is not passed.

use crate::config::{Timing, Transport};
use crate::dev::layout::{Addresses, Place, Ways, spread, write_nodes};
use crate::http;
use dwcp_env::{ClusterId, NodeId, Seed};
use dwcp_eventual::SyncPolicy;
use dwcp_nemesis as nemesis;
use dwcp_nemesis::disk::Counts;
use dwcp_nemesis::fuse::{self, Mount};
use dwcp_nemesis::netns::{Namespaces, Wire};
use futures_util::future::join_all;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, ChildStdin, Command};

/// All nodes serve within this after a start, or the run has failed.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(40);
/// A node asked to stop has this long before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How often a starting node is asked whether it serves.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// A node answers its status in this time, or it is passed over.
const STATUS_WITHIN: Duration = Duration::from_millis(700);
/// The signal of SIGKILL, as the kernel reports an end.
const KILLED: i32 = 9;

/// What the cluster is to be.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) dir: PathBuf,
    pub(super) nodes: usize,
    pub(super) timing: Timing,
    /// The engine that the strong keyspace begins with.
    pub(super) engine: dwcp_node::EngineKind,
    /// What joins the nodes, if each is to be in a network namespace of its own.
    pub(super) wire: Option<Wire>,
    pub(super) seed: Seed,
    /// Whether data lies on disks that can be broken.
    pub(super) disks: bool,
    /// Arguments besides the configuration: a planted bug.
    pub(super) extra: Vec<String>,
}

struct Running {
    child: Child,
    /// Held open: a node ends when its standard input does.
    _stdin: Option<ChildStdin>,
}

/// The processes of a run.
pub(super) struct Cluster {
    spec: Spec,
    pub(super) places: Vec<Place>,
    running: BTreeMap<u64, Running>,
    /// After the processes: a disk goes when nobody stands in it any more.
    disks: BTreeMap<u64, Mount>,
    pub(super) network: Option<Arc<Namespaces>>,
    /// Who may end by itself now: its disk fails.
    pub(super) may_end: BTreeSet<u64>,
    /// Ends that nobody asked for.
    pub(super) surprises: Vec<String>,
}

impl Cluster {
    /// Writes the folder and starts all nodes; all serve when this returns.
    pub(super) async fn start(spec: Spec) -> Result<Self, String> {
        let numbers: Vec<NodeId> = (1..=spec.nodes as u64).map(NodeId).collect();
        let (wire, seed) = (spec.wire, spec.seed);
        let network = wire.map(|w| Namespaces::new(&numbers, w, seed)).transpose()?.map(Arc::new);
        let places = places(spec.nodes, network.as_deref());
        let cluster = crate::identity::draw_cluster().map_err(|e| format!("no randomness: {e}"))?;
        let cluster = u128::from_str_radix(&cluster, 16).map(ClusterId).map_err(|e| e.to_string())?;
        let ways = Ways {
            transport: Transport::Tcp,
            timing: spec.timing,
            sync: SyncPolicy::Always,
            engine: spec.engine,
            adapt: false,
            hybrid: None,
            regional: false,
        };
        write_nodes(&spec.dir, cluster, &places, ways, &|_| BTreeMap::new())
            .map_err(|e| format!("can't write {}: {e}", spec.dir.display()))?;
        let mut made = Self {
            spec,
            places,
            running: BTreeMap::new(),
            disks: BTreeMap::new(),
            network,
            may_end: BTreeSet::new(),
            surprises: Vec::new(),
        };
        if made.spec.disks {
            fuse::clear(&std::env::temp_dir());
            for place in &made.places {
                let mount = Mount::new(&made.spec.dir.join(&place.name).join("data"))?;
                made.disks.insert(place.id, mount);
            }
        }
        let all = made.nodes();
        made.ensure(&all)?;
        made.wait_ready(&all, READY_WITHIN).await?;
        Ok(made)
    }
    /// All numbers.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.places.iter().map(|p| NodeId(p.id)).collect()
    }
    /// The Redis doors.
    pub(super) fn redis_doors(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.places.iter().map(|p| (NodeId(p.id), p.redis)).collect()
    }
    /// The etcd doors.
    pub(super) fn doors(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.places.iter().map(|p| (NodeId(p.id), p.client)).collect()
    }
    /// The disks of these nodes.
    pub(super) fn disks(&self, nodes: &[NodeId]) -> impl Iterator<Item = &Mount> {
        nodes.iter().filter_map(|n| self.disks.get(&n.0))
    }
    /// What happened to all disks so far.
    pub(super) fn disk_counts(&self) -> Counts {
        self.disks.values().map(Mount::counts).fold(Counts::default(), |a, b| Counts {
            syncs: a.syncs + b.syncs,
            failed_syncs: a.failed_syncs + b.failed_syncs,
            no_space: a.no_space + b.no_space,
            lost_pages: a.lost_pages + b.lost_pages,
            lost_names: a.lost_names + b.lost_names,
        })
    }
    /// A node's admin address.
    pub(super) fn admin(&self, node: NodeId) -> Option<SocketAddr> {
        self.place(node).map(|p| p.admin)
    }
    /// The cluster as nemeses see it.
    pub(super) async fn seen(&self) -> nemesis::Seen {
        let place = |p: &Place| nemesis::Place { node: NodeId(p.id), region: p.region.into() };
        nemesis::Seen { places: self.places.iter().map(place).collect(), leader: self.leader().await }
    }

    /// Starts those of these that do not run.
    pub(super) fn ensure(&mut self, nodes: &[NodeId]) -> Result<(), String> {
        self.notice_ends();
        for node in nodes {
            if !self.running.contains_key(&node.0) {
                self.spawn(*node)?;
            }
        }
        Ok(())
    }
    /// SIGKILL to all of these at one moment; how many ended by it.
    pub(super) async fn kill(&mut self, nodes: &[NodeId]) -> Result<u64, String> {
        let mut ended: Vec<Running> = nodes.iter().filter_map(|n| self.running.remove(&n.0)).collect();
        for running in &mut ended {
            running.child.start_kill().map_err(|e| format!("can't kill: {e}"))?;
        }
        let mut killed = 0;
        for running in &mut ended {
            let wait = tokio::time::timeout(STOP_WITHIN, running.child.wait()).await;
            let status = wait.map_err(|_| "a killed process does not end".to_string())?;
            killed += u64::from(status.is_ok_and(|s| s.signal() == Some(KILLED)));
        }
        Ok(killed)
    }
    /// SIGTERM, and a wait for the end; whether it ended well.
    pub(super) async fn stop(&mut self, node: NodeId) -> Result<bool, String> {
        let Some(mut running) = self.running.remove(&node.0) else { return Ok(false) };
        signal(&running.child, Signal::TERM);
        // One that stands still would hear of it only when it goes on.
        signal(&running.child, Signal::CONT);
        match tokio::time::timeout(STOP_WITHIN, running.child.wait()).await {
            Ok(Ok(status)) => Ok(status.success()),
            Ok(Err(e)) => Err(format!("can't wait for n{}: {e}", node.0)),
            Err(_) => {
                let said = format!("n{} does not stop within {} s of SIGTERM", node.0, STOP_WITHIN.as_secs());
                self.surprises.push(said);
                running.child.kill().await.map_err(|e| e.to_string())?;
                Ok(false)
            }
        }
    }
    /// SIGSTOP; how many the kernel says stand still.
    pub(super) async fn pause(&mut self, nodes: &[NodeId]) -> u64 {
        self.signal(nodes, Signal::STOP);
        let mut stopped = 0;
        for node in nodes {
            for _ in 0..20 {
                if self.state(*node) == Some('T') {
                    stopped += 1;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        stopped
    }
    /// SIGCONT.
    pub(super) fn resume(&mut self, nodes: &[NodeId]) {
        self.signal(nodes, Signal::CONT);
    }
    /// Waits until these serve.
    pub(super) async fn wait_ready(&mut self, nodes: &[NodeId], within: Duration) -> Result<(), String> {
        let until = Instant::now() + within;
        for node in nodes {
            let Some(admin) = self.admin(*node) else { continue };
            loop {
                let ready = tokio::time::timeout(STATUS_WITHIN, http::get(admin, "/readyz")).await;
                let why = match ready {
                    Ok(Ok((200, _))) => break,
                    Ok(Ok((_, why)) | Err(why)) => why,
                    Err(_) => "no answer".into(),
                };
                self.notice_ends();
                if !self.running.contains_key(&node.0) {
                    return Err(format!("n{} ended: {}", node.0, self.last_words(*node)));
                }
                if Instant::now() > until {
                    return Err(format!(
                        "n{} does not serve after {} s: {}",
                        node.0,
                        within.as_secs(),
                        why.trim()
                    ));
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }
    /// Looks for ends that nobody asked for.
    pub(super) fn notice_ends(&mut self) {
        let mut ended = Vec::new();
        for (id, running) in &mut self.running {
            if let Ok(Some(status)) = running.child.try_wait() {
                ended.push((*id, status));
            }
        }
        for (id, status) in ended {
            self.running.remove(&id);
            if !self.may_end.contains(&id) {
                self.surprises.push(self.end_of(id, status));
            }
        }
    }
    /// Ends all nodes, well if they can.
    pub(super) async fn end(&mut self) {
        self.resume(&self.nodes());
        for running in self.running.values() {
            signal(&running.child, Signal::TERM);
        }
        let until = tokio::time::Instant::now() + STOP_WITHIN;
        for (_, mut running) in std::mem::take(&mut self.running) {
            if tokio::time::timeout_at(until, running.child.wait()).await.is_err() {
                let _gone = running.child.kill().await;
            }
        }
    }

    fn place(&self, node: NodeId) -> Option<&Place> {
        self.places.iter().find(|p| p.id == node.0)
    }
    fn spawn(&mut self, node: NodeId) -> Result<(), String> {
        let place = self.place(node).ok_or("no such node")?.clone();
        let folder = self.spec.dir.join(&place.name);
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
        let log = log.map_err(|e| format!("can't write {}: {e}", folder.join("log").display()))?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let me = std::env::current_exe().map_err(|e| format!("can't find this program's own file: {e}"))?;
        let enter = self.network.as_ref().map(|n| n.enter(node)).unwrap_or_default();
        // `ip netns exec` becomes the program it starts: the process stays the same.
        let mut command = match enter.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(me);
                command
            }
            None => Command::new(me),
        };
        let mut child = command
            .arg("node")
            .arg("--config")
            .arg(folder.join("node.toml"))
            .arg("--end-with-stdin")
            .args(&self.spec.extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(copy))
            .process_group(0) // Ctrl-C reaches us alone; we end the nodes when we have judged.
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("can't start {}: {e}", place.name))?;
        let stdin = child.stdin.take();
        self.running.insert(node.0, Running { child, _stdin: stdin });
        Ok(())
    }
    fn signal(&self, nodes: &[NodeId], what: Signal) {
        for running in nodes.iter().filter_map(|n| self.running.get(&n.0)) {
            signal(&running.child, what);
        }
    }
    /// The kernel's letter for what the process does.
    fn state(&self, node: NodeId) -> Option<char> {
        let pid = self.running.get(&node.0)?.child.id()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }
    fn end_of(&self, id: u64, status: ExitStatus) -> String {
        format!("n{id} ended by itself with {status}: {}", self.last_words(NodeId(id)))
    }
    /// The end of a node's log.
    fn last_words(&self, node: NodeId) -> String {
        let Some(place) = self.place(node) else { return String::new() };
        let log = self.spec.dir.join(&place.name).join("log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        let said: Vec<&str> = lines.into_iter().rev().collect();
        format!("{} (all of it: {})", said.join(" / "), log.display())
    }
    /// Who leads the default keyspace: of those who believe so, the one with the highest term.
    async fn leader(&self) -> Option<NodeId> {
        let asks = self.places.iter().map(|p| async move {
            let asked = tokio::time::timeout(STATUS_WITHIN, http::get(p.admin, "/status")).await;
            let (_, body) = asked.ok()?.ok()?;
            let status: serde_json::Value = serde_json::from_str(&body).ok()?;
            let group = status.get("groups")?.get(0)?;
            (group.get("role")? == "Leader").then_some((group.get("term")?.as_u64()?, NodeId(p.id)))
        });
        join_all(asks).await.into_iter().flatten().max().map(|l| l.1)
    }
}

fn signal(child: &Child, what: Signal) {
    let pid = child.id().and_then(|p| i32::try_from(p).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended this instant: then there is nobody to tell.
        let _gone = rustix::process::kill_process(pid, what);
    }
}

/// Nodes on addresses that no other run of this machine has: their namespaces', or part of the loopback network by
/// our process number.
fn places(nodes: usize, network: Option<&Namespaces>) -> Vec<Place> {
    let pid = std::process::id();
    let (high, low) = (64 + (pid >> 8) % 64, pid % 256);
    spread(nodes, |i| {
        let loopback = Ipv4Addr::new(127, high as u8, low as u8, i as u8 + 1);
        let ip = network.map_or(loopback, |n| n.address(NodeId(i as u64 + 1)));
        let on = |port: u16| SocketAddr::from((ip, port));
        Addresses { client: on(2379), peer: on(2380), admin: on(9090), redis: on(6379), fleet: on(8090) }
    })
}
