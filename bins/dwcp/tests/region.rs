//! Real processes through kill -9: a leader, then a whole region, under load. Nothing acknowledged is lost, writes
//! flow again soon, and what an operator does wrong is answered with what would be right.
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

#[path = "dev/ports.rs"]
mod ports;

use dwcp::client::Client;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One cluster at a time: on two cores three of them starve each other, and what is measured is the queue.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    range_end: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Kv {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "5")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeAnswer {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<Kv>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");
/// Where the first port of a cluster may lie.
const PORTS: std::ops::Range<u16> = 18_000..22_000;

/// A development cluster of real processes; ended when dropped.
struct Cluster {
    dir: PathBuf,
    child: Child,
    nodes: Vec<(String, SocketAddr, SocketAddr)>,
    first_port: u16,
}

impl Cluster {
    fn start(dir: &Path, nodes: u16) -> Self {
        // A node that is added later has the ports after those of the first three.
        let first_port = ports::free(PORTS, nodes.max(4));
        let mut child = Command::new(DWCP)
            .args([
                "--output",
                "json",
                "dev",
                "--nodes",
                &nodes.to_string(),
                "--port",
                &first_port.to_string(),
                "--dir",
            ])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("dwcp starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("dwcp dev says that it is ready");
        let nodes = ready["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| {
                let text = |key: &str| n[key].as_str().unwrap().to_string();
                (text("name"), text("client").parse().unwrap(), text("admin").parse().unwrap())
            })
            .collect();
        Self { dir: dir.into(), child, nodes, first_port }
    }

    fn dev(&self, words: &[&str]) -> Output {
        let out = Command::new(DWCP).arg("dev").arg("--dir").arg(&self.dir).args(words).output().unwrap();
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }

    fn leader(&self) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            let out = Command::new(DWCP)
                .args(["--output", "json", "status", "--dir"])
                .arg(&self.dir)
                .output()
                .unwrap();
            for line in String::from_utf8_lossy(&out.stdout).lines() {
                let node: serde_json::Value = serde_json::from_str(line).unwrap();
                if node["status"]["groups"][0]["role"] == "Leader" {
                    return node["node"].as_str().unwrap().to_string();
                }
            }
        }
        panic!("no leader within 20 s");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _status = self.child.wait();
    }
}

/// What was acknowledged last for each key, and when acknowledgements came.
type Acked = (BTreeMap<String, u64>, Vec<Instant>);

/// Writers, each with keys of its own, that note what was acknowledged and when.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<Acked>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(tag: &'static str, doors: Vec<SocketAddr>, writers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(Mutex::new(Acked::default()));
        let threads = (0..writers)
            .map(|w| {
                let (stop, acked, doors) = (stop.clone(), acked.clone(), doors.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(write(&format!("{tag}{w}"), w, &doors, &stop, &acked));
                })
            })
            .collect();
        Self { stop, acked, threads }
    }

    /// Ends the writers; the longest gap between acknowledgements after `since`, and all that was acknowledged.
    fn end(self, since: Instant) -> (Duration, BTreeMap<String, u64>) {
        self.stop.store(true, Ordering::Relaxed);
        for t in self.threads {
            t.join().unwrap();
        }
        let (acked, mut times) = std::mem::take(&mut *self.acked.lock().unwrap());
        times.sort();
        times.retain(|t| *t >= since);
        let gap = std::iter::once(&since).chain(&times).zip(&times).map(|(a, b)| *b - *a).max();
        (gap.expect("writes were acknowledged after the fault"), acked)
    }

    fn wait_for(&self, writes: usize) {
        let until = Instant::now() + Duration::from_secs(30);
        let target = self.acked.lock().unwrap().1.len() + writes;
        while self.acked.lock().unwrap().1.len() < target {
            assert!(Instant::now() < until, "fewer than {writes} writes in 30 s");
            // Each look would take a core from the cluster.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn write(name: &str, w: usize, doors: &[SocketAddr], stop: &AtomicBool, acked: &Mutex<Acked>) {
    let mut door = w;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Ok(client) = Client::connect(doors[door % doors.len()], None).await else {
            door += 1;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let key = format!("w{name}/{}", n % 50);
            let put = Put { key: key.clone(), value: n.to_string() };
            let call = client.call::<_, Nothing>("/etcdserverpb.KV/Put", &put);
            match tokio::time::timeout(Duration::from_secs(1), call).await {
                Ok(Ok(_)) => {
                    let mut acked = acked.lock().unwrap();
                    acked.0.insert(key, n);
                    acked.1.push(Instant::now());
                }
                _ => break,
            }
        }
        door += 1;
    }
}

/// Every key holds what was acknowledged last, or a later write whose answer was lost.
fn nothing_lost(door: SocketAddr, acked: &BTreeMap<String, u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found: BTreeMap<String, u64> = runtime.block_on(async {
        let client = Client::connect(door, None).await.unwrap();
        let range = Range { key: "w".into(), range_end: "x".into() };
        let answer: RangeAnswer = client.call("/etcdserverpb.KV/Range", &range).await.unwrap();
        answer.kvs.into_iter().map(|kv| (kv.key, kv.value.parse().unwrap())).collect()
    });
    for (key, n) in acked {
        let held = found.get(key).copied().unwrap_or(0);
        assert!(held >= *n, "{key}: {n} was acknowledged, {held} is there");
    }
}

#[test]
fn a_leader_and_then_a_region_are_killed_under_load_and_nothing_acknowledged_is_lost() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 9);
    let doors = |without: &str| -> Vec<SocketAddr> {
        cluster.nodes.iter().filter(|n| !n.0.starts_with(without)).map(|n| n.1).collect()
    };

    let leader = cluster.leader();
    let load = Load::start("a", doors(&leader), 8);
    load.wait_for(200);
    cluster.dev(&["kill", &leader]);
    let killed = Instant::now();
    load.wait_for(200);
    let (gap, acked) = load.end(killed);
    // Under a second on a machine of its own; here other tests share two cores.
    println!("leader killed: writes stood still for {gap:?}");
    assert!(gap < Duration::from_secs(3), "writes stood still for {gap:?}");
    cluster.dev(&["start", &leader]);

    let region = cluster.leader().rsplit_once('-').unwrap().0.to_string();
    let survivors = doors(&region);
    let load = Load::start("b", survivors.clone(), 8);
    load.wait_for(200);
    cluster.dev(&["kill", &region]);
    let killed = Instant::now();
    load.wait_for(200);
    let (gap, more) = load.end(killed);
    println!("region lost: writes stood still for {gap:?}");
    assert!(gap < Duration::from_secs(10), "writes stood still for {gap:?}");
    nothing_lost(survivors[0], &more);

    cluster.dev(&["start", &region]);
    let returned = cluster.nodes.iter().find(|n| n.0.starts_with(&region)).unwrap().1;
    let mut all = acked;
    all.extend(more);
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(returned).is_err() {
        assert!(Instant::now() < until, "the region does not come back");
    }
    nothing_lost(returned, &all);
}

#[test]
fn all_nodes_killed_at_once_come_back_with_everything() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3);
    let load = Load::start("a", cluster.nodes.iter().map(|n| n.1).collect(), 4);
    load.wait_for(300);
    let names: Vec<&str> = cluster.nodes.iter().map(|n| n.0.as_str()).collect();
    cluster.dev(&[&["kill"], &names[..]].concat());
    cluster.dev(&[&["start"], &names[..]].concat());
    let restarted = Instant::now();
    load.wait_for(50);
    let (_, acked) = load.end(restarted);
    cluster.leader();
    nothing_lost(cluster.nodes[0].1, &acked);
}

/// Runs `dwcp` and returns what it prints.
fn dwcp(words: &[&str], dir: &Path) -> String {
    let out = Command::new(DWCP).args(words).arg("--dir").arg(dir).output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Writes the folder of a fourth node that joins: the third's file with its own number, places and certificate.
fn fourth_node(dir: &Path, third: &str, ports: [&str; 4]) -> PathBuf {
    use dwcp_env::{ClusterId, NodeId};
    use dwcp_runtime_real::authority::{Authority, Name};
    let folder = dir.join("fourth");
    std::fs::create_dir_all(&folder).unwrap();
    let text = std::fs::read_to_string(dir.join(third).join("node.toml")).unwrap();
    let mut file: dwcp::config::File = toml::from_str(&text).unwrap();
    let cluster = ClusterId(u128::from_str_radix(&file.cluster, 16).unwrap());
    let authority = Authority::load_or_create(&dir.join("authority")).unwrap();
    authority.issue(Name { cluster, node: NodeId(4) }).unwrap().save(&folder).unwrap();
    [file.client, file.peer, file.admin, _] = ports.map(|p| p.parse().unwrap());
    // It names itself: which region's keyspaces it hosts is known from there.
    let mut itself = file.member.iter().find(|m| m.id == file.node).expect("the third names itself").clone();
    (itself.id, itself.name) = (4, "fourth".into());
    (itself.peer, itself.client) = (ports[1].parse().unwrap(), ports[0].parse().unwrap());
    file.member.push(itself);
    (file.node, file.join) = (4, true);
    // The third's Redis door is its own, and so is its fleet door.
    file.redis = None;
    if let Some(fleet) = &mut file.fleet {
        fleet.address = ports[3].parse().unwrap();
    }
    let path = folder.join("node.toml");
    std::fs::write(&path, toml::to_string(&file).unwrap()).unwrap();
    path
}

#[test]
fn a_fourth_node_joins_votes_and_takes_the_place_of_a_lost_one() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3);
    let load = Load::start("a", vec![cluster.nodes[0].1], 2);
    load.wait_for(100);
    let ports = [3, 1_003, 2_003, 5_003].map(|after| format!("127.0.0.1:{}", cluster.first_port + after));
    let [client, peer, admin, fleet] = ports.each_ref().map(String::as_str);
    dwcp(&["member", "add", "4", "--peer", peer, "--client", client, "--name", "fourth"], dir.path());
    let other = format!("127.0.0.1:{}", cluster.first_port + 1_004);
    let again =
        fails(Command::new(DWCP).args(["member", "add", "4", "--peer", &other, "--dir"]).arg(dir.path()));
    assert!(again.contains("already exist"), "a number is given once: {again}");
    let config = fourth_node(dir.path(), &cluster.nodes[2].0, [client, peer, admin, fleet]);
    let mut fourth = Command::new(DWCP).args(["node", "--config"]).arg(&config).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    // It is ready when it has caught up with a leader.
    while !Command::new(DWCP)
        .args(["--output", "json", "status", "--admin", admin])
        .output()
        .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains("\"role\":\"Learner\""))
    {
        assert!(Instant::now() < until, "the fourth node does not join");
    }
    dwcp(&["member", "promote", "4"], dir.path());
    dwcp(&["dev", "kill", &cluster.nodes[2].0], dir.path());
    let listed = dwcp(&["member", "remove", "3"], dir.path());
    assert!(listed.contains("fourth") && !listed.contains(&cluster.nodes[2].0), "{listed}");
    // Of nodes 1, 2 and 4 any two are a quorum: 4 must have everything, and counts.
    dwcp(&["dev", "kill", &cluster.nodes[1].0], dir.path());
    let alone_with_it = Instant::now();
    load.wait_for(50);
    let (_, acked) = load.end(alone_with_it);
    nothing_lost(client.parse().unwrap(), &acked);
    let _gone = fourth.kill();
    let _status = fourth.wait();
}

fn fails(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(!out.status.success());
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_node_of_its_own_whose_state_has_rotted_refuses_and_leaves_it_as_it_is() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 1);
    let name = cluster.nodes[0].0.clone();
    let load = Load::start("a", vec![cluster.nodes[0].1], 1);
    load.wait_for(20);
    load.end(Instant::now() - Duration::from_secs(60));
    cluster.dev(&["stop", &name]);
    let data = dir.path().join(&name).join("data");
    let is_state = |p: &PathBuf| p.extension().is_some_and(|e| e == "redb");
    let state = std::fs::read_dir(&data).unwrap().map(|e| e.unwrap().path()).find(is_state).unwrap();
    let mut bytes = std::fs::read(&state).unwrap();
    bytes.iter_mut().skip(4096).step_by(64).for_each(|b| *b ^= 0x55);
    std::fs::write(&state, &bytes).unwrap();
    let config = dir.path().join(&name).join("node.toml");
    let says = fails(Command::new(DWCP).args(["node", "--config"]).arg(config));
    assert!(says.contains("is corrupt") && says.contains("backup"), "{says}");
    assert_eq!(std::fs::read(&state).unwrap(), bytes, "what was left is left");
}

#[test]
fn what_an_operator_does_wrong_is_answered_with_what_would_be_right() {
    let _one = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path(), 3);
    let node = |name: &str| dir.path().join(name).join("node.toml");
    let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);

    let occupied = cluster.first_port.to_string();
    let says = fails(Command::new(DWCP).arg("dev").arg("--dir").arg(dir.path()));
    assert!(says.contains("shape") || says.contains("already runs"), "{says}");
    let says = fails(Command::new(DWCP).args(["node", "--config"]).arg(node(&first.0)));
    assert!(says.contains(&occupied) && says.contains("change `client`"), "an occupied port: {says}");
    let says = fails(
        Command::new(DWCP)
            .args(["dev", "--port", &occupied, "--nodes", "3", "--dir"])
            .arg(dir.path().join("other")),
    );
    assert!(says.contains("--port"), "occupied ports: {says}");
    let says = fails(Command::new(DWCP).args(["dev", "kill", "mars", "--dir"]).arg(dir.path()));
    assert!(says.contains(&second.0), "an unknown node: {says}");

    cluster.dev(&["stop", &second.0]);
    // Its configuration with another node's data directory, and with an unknown key.
    let mut text = std::fs::read_to_string(node(&second.0)).unwrap();
    let theirs = dir.path().join(&cluster.nodes[2].0).join("data");
    let stolen = dir.path().join(&second.0).join("stolen.toml");
    std::fs::write(&stolen, text.replace("data = \"data\"", &format!("data = {theirs:?}"))).unwrap();
    cluster.dev(&["stop", &cluster.nodes[2].0]);
    let says = fails(Command::new(DWCP).args(["node", "--config"]).arg(&stolen));
    assert!(says.contains("belongs to"), "another node's data: {says}");
    text.insert_str(0, "electoin = 5\n");
    std::fs::write(&stolen, text).unwrap();
    let says = fails(Command::new(DWCP).args(["node", "--config"]).arg(&stolen));
    assert!(says.contains("electoin"), "an unknown key: {says}");
    // Nothing of this has harmed anything: both come back and serve.
    cluster.dev(&["start", &second.0, &cluster.nodes[2].0]);
    let load = Load::start("a", vec![second.1], 1);
    load.wait_for(5);
    let (_, acked) = load.end(Instant::now() - Duration::from_secs(60));
    nothing_lost(first.1, &acked);
}
