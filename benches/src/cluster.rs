//! Three real servers on loopback, of either kind; ended when dropped.

use dwcp::client::Client;
use dwcp_node::EngineKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusAnswer {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// A server serves within this.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A cluster under test.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: &'static str,
    doors: Vec<SocketAddr>,
    /// Process ids of the servers.
    pids: Vec<u32>,
    _processes: Vec<Child>,
}

impl Cluster {
    /// Three dwcp nodes by `dwcp dev` (four under PBFT), under an engine; `nth` of several clusters side by side.
    pub(crate) async fn dwcp(
        binary: &Path,
        data: &Path,
        engine: EngineKind,
        nth: u16,
    ) -> Result<Self, String> {
        Self::far(binary, data, engine, nth, None).await
    }

    /// The same with the delays of a measured matrix between them.
    pub(crate) async fn far(
        binary: &Path,
        data: &Path,
        engine: EngineKind,
        nth: u16,
        latency: Option<&str>,
    ) -> Result<Self, String> {
        // One that may lie takes three others.
        let nodes: u16 = if engine == EngineKind::Pbft { 4 } else { 3 };
        let dir = data.join(format!("dwcp-{engine}"));
        let port = 12_379 + nth * 100;
        let mut child = Command::new(binary)
            .args([
                "--output",
                "json",
                "dev",
                "--nodes",
                &nodes.to_string(),
                "--fresh",
                "--engine",
                engine.name(),
            ])
            .args(latency.into_iter().flat_map(|name| ["--latency", name]))
            .args(["--port", &port.to_string(), "--dir"])
            .arg(&dir)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        tokio::time::timeout(READY_WITHIN, BufReader::new(out).read_line(&mut line))
            .await
            .map_err(|_| "dwcp dev does not get ready")?
            .map_err(|e| e.to_string())?;
        if line.is_empty() {
            return Err("dwcp dev ended; see its message above".into());
        }
        let doors = (0..nodes).map(|i| SocketAddr::from(([127, 0, 0, 1], port + i))).collect();
        let pids = children_of(child.id().unwrap_or(0));
        if pids.len() != usize::from(nodes) {
            return Err(format!("dwcp dev has {} processes, not {nodes}", pids.len()));
        }
        Ok(Self { name: engine.name(), doors, pids, _processes: vec![child] })
    }

    /// Three etcd members.
    pub(crate) async fn etcd(data: &Path) -> Result<Self, String> {
        let peers: Vec<String> = (0..3).map(|i| format!("m{i}=http://127.0.0.1:{}", 15480 + i)).collect();
        let mut processes = Vec::new();
        for i in 0..3 {
            let dir = data.join(format!("etcd-{i}"));
            let _none = std::fs::remove_dir_all(&dir);
            let client = format!("http://127.0.0.1:{}", 15379 + i);
            let peer = format!("http://127.0.0.1:{}", 15480 + i);
            let child = Command::new("etcd")
                .args(["--name", &format!("m{i}"), "--data-dir"])
                .arg(&dir)
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .map_err(|e| format!("etcd: {e}; install it: apt-get install etcd-server"))?;
            processes.push(child);
        }
        let doors: Vec<SocketAddr> = (0..3).map(|i| SocketAddr::from(([127, 0, 0, 1], 15379 + i))).collect();
        let pids = processes.iter().filter_map(Child::id).collect();
        let cluster = Self { name: "etcd", doors, pids, _processes: processes };
        let begun = Instant::now();
        while cluster.leader().await.is_err() {
            if begun.elapsed() > READY_WITHIN {
                return Err("etcd does not get ready".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(cluster)
    }

    /// The door of the member that leads.
    pub(crate) async fn leader(&self) -> Result<SocketAddr, String> {
        for door in &self.doors {
            let client = Client::connect(*door, None).await.map_err(|e| e.to_string())?;
            let status: StatusAnswer = client
                .call("/etcdserverpb.Maintenance/Status", &Nothing {})
                .await
                .map_err(|e| e.to_string())?;
            if status.leader != 0 && status.header.is_some_and(|h| h.member_id == status.leader) {
                return Ok(*door);
            }
        }
        Err(format!("{} has no leader", self.name))
    }

    /// A door that is not this one.
    pub(crate) fn another(&self, than: SocketAddr) -> Result<SocketAddr, String> {
        self.doors.iter().copied().find(|d| *d != than).ok_or_else(|| "no other server".into())
    }

    /// Kills the server behind a door (SIGKILL).
    pub(crate) fn kill(&self, door: SocketAddr) -> Result<(), String> {
        let nth = self.doors.iter().position(|d| *d == door);
        let pid = nth.and_then(|n| self.pids.get(n)).ok_or("no server at this door")?;
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        killed
            .map_err(|e| e.to_string())?
            .success()
            .then_some(())
            .ok_or_else(|| format!("process {pid} is gone"))
    }

    /// Processor time of all servers so far, microseconds.
    pub(crate) fn cpu_us(&self) -> Result<u64, String> {
        self.pids.iter().map(|pid| cpu_us(*pid)).sum()
    }
}

/// User and system time of a process, from `/proc/PID/stat` (clock ticks of 10 ms).
fn cpu_us(pid: u32) -> Result<u64, String> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| format!("process {pid}: {e}"))?;
    let after_name = text.rsplit(") ").next().unwrap_or("");
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(ticks * 10_000)
}

fn children_of(parent: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}
