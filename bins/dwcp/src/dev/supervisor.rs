//! Starts a process per node, waits until they serve, keeps them company, and ends them.

use super::control::{Answered, Order};
use super::layout::{Layout, Place};
use crate::http;
use dwcp_node::EngineKind;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStdin, Command};

/// The cluster serves within this, or the start has failed.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Nodes asked to stop have this long before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How often a starting node is asked whether it serves.
const ASK_EVERY: Duration = Duration::from_millis(25);

struct Running {
    place: Place,
    child: Child,
    /// Held open: a node ends when its standard input does.
    _stdin: Option<ChildStdin>,
    paused: bool,
    /// It was told to end: its end is no surprise.
    told: bool,
}

struct Supervisor {
    layout: Layout,
    nodes: BTreeMap<u64, Running>,
}

/// Runs the cluster until Ctrl-C, SIGTERM, or for so many seconds.
///
/// # Errors
/// What is wrong and what to do; everything started has been ended then.
pub async fn run(layout: Layout, for_seconds: Option<u64>, json: bool) -> Result<(), String> {
    let listener = listen(&layout).await?;
    let taken = layout.taken_ports();
    if let Some(first) = taken.first() {
        let _removed = std::fs::remove_file(layout.socket());
        return Err(format!(
            "port {} is taken by another program ({} of {} are); stop it (an etcd, perhaps?) or choose others with `--port`",
            first.port(),
            taken.len(),
            layout.places().len() * 5,
        ));
    }
    let mut supervisor = Supervisor { layout, nodes: BTreeMap::new() };
    let begun = Instant::now();
    let outcome = async {
        for place in supervisor.layout.places() {
            supervisor.start(&place)?;
        }
        supervisor.wait_ready(begun).await?;
        supervisor.greet(begun.elapsed(), json);
        supervisor.attend(&listener, for_seconds).await
    }
    .await;
    supervisor.end().await;
    let _removed = std::fs::remove_file(supervisor.layout.socket());
    outcome
}

async fn listen(layout: &Layout) -> Result<UnixListener, String> {
    let socket = layout.socket();
    if UnixStream::connect(&socket).await.is_ok() {
        return Err(format!(
            "a `dwcp dev` already runs in {}; stop it, or choose another `--dir`",
            layout.dir.display()
        ));
    }
    // A socket nobody listens on is left over from a supervisor that was killed.
    let _stale = std::fs::remove_file(&socket);
    UnixListener::bind(&socket).map_err(|e| format!("can't listen on {}: {e}", socket.display()))
}

impl Supervisor {
    fn start(&mut self, place: &Place) -> Result<(), String> {
        let folder = self.layout.folder(place);
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
        let log = log.map_err(|e| format!("can't write {}: {e}", folder.join("log").display()))?;
        let copy = log.try_clone().map_err(|e| e.to_string())?;
        let me = std::env::current_exe().map_err(|e| format!("can't find this program's own file: {e}"))?;
        let mut child = Command::new(me)
            .arg("node")
            .arg("--config")
            .arg(folder.join("node.toml"))
            .arg("--end-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(copy))
            .process_group(0) // Ctrl-C reaches the supervisor alone; it ends the nodes in order.
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("can't start {}: {e}", place.name))?;
        let stdin = child.stdin.take();
        self.nodes.insert(
            place.id,
            Running { place: place.clone(), child, _stdin: stdin, paused: false, told: false },
        );
        Ok(())
    }

    async fn wait_ready(&mut self, begun: Instant) -> Result<(), String> {
        for place in self.layout.places() {
            loop {
                if http::get(place.admin, "/readyz").await.is_ok_and(|(code, _)| code == 200) {
                    break;
                }
                if let Some(running) = self.nodes.get_mut(&place.id)
                    && let Ok(Some(status)) = running.child.try_wait()
                {
                    let log = self.layout.folder(&place).join("log");
                    return Err(format!("{} ended with {status}: {}", place.name, last_lines(&log)));
                }
                if begun.elapsed() > READY_WITHIN {
                    let why = http::get(place.admin, "/readyz").await.map_or_else(|e| e, |(_, body)| body);
                    return Err(format!(
                        "{} does not serve after {} s: {why}",
                        place.name,
                        READY_WITHIN.as_secs()
                    ));
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    fn greet(&self, took: Duration, json: bool) {
        let places = self.layout.places();
        let endpoints: Vec<String> = places.iter().map(|p| p.client.to_string()).collect();
        if json {
            let nodes: Vec<_> = places
                .iter()
                .map(|p| serde_json::json!({ "id": p.id, "name": p.name, "region": p.region, "client": p.client, "admin": p.admin, "redis": p.redis, "fleet": p.fleet }))
                .collect();
            println!(
                "{}",
                serde_json::json!({ "ready_ms": took.as_millis(), "endpoints": endpoints, "nodes": nodes })
            );
            return;
        }
        let mut out = crate::say::coloured();
        let (bold, dim, off) = ("\x1b[1m", "\x1b[2m", "\x1b[0m");
        let dir = if self.layout.dir.as_os_str() == ".dwcp-dev" {
            String::new()
        } else {
            format!(" --dir {}", self.layout.dir.display())
        };
        let region = &places[0].region;
        let try_these = [
            (format!("etcdctl --endpoints {} put hello world", endpoints[0]), "any etcd client"),
            (format!("dwcp status{dir}"), "who leads, who lags"),
            (format!("dwcp kv get hello{dir}"), "from any node"),
            (
                format!("redis-cli -p {} incr visits", places[0].redis.port()),
                "in any region, even cut off: all count",
            ),
            (format!("dwcp crdt why visits{dir}"), "who counted what, and when"),
        ];
        let break_it = [
            (format!("dwcp dev{dir} kill {region}"), "kill -9 a whole region"),
            (format!("dwcp kv put still here{dir}"), "the other two decide on"),
            (format!("dwcp dev{dir} start {region}"), "it comes back and catches up"),
            (format!("dwcp dev{dir} cut {region}"), "partition it; then: heal"),
        ];
        let width = try_these.iter().chain(&break_it).map(|(words, _)| words.len()).max().unwrap_or(0);
        let row = |(words, why): &(String, &str)| format!("  {bold}{words:width$}{off}  {dim}{why}{off}");
        let regions = super::layout::REGIONS.len().min(places.len());
        let mut lines = vec![
            format!(
                "{bold}{} nodes in {regions} regions serve{off} after {:.1} s.",
                places.len(),
                took.as_secs_f64()
            ),
            String::new(),
        ];
        lines.extend(try_these.iter().map(row));
        lines.extend([String::new(), "Now break it, from another terminal:".into()]);
        lines.extend(break_it.iter().map(row));
        if !self.layout.shape.regional && self.layout.shape.engine != EngineKind::Pbft {
            lines.extend([
                String::new(),
                "This cluster is of a time when all regions' machines lay in the default keyspace: a region that is cut off can't".into(),
                "go on with its own. `--fresh` throws it away and makes one in which each has a keyspace for them.".into(),
            ]);
        }
        lines.extend([
            String::new(),
            format!(
                "{dim}Logs: {}/NODE/log. Metrics: http://{}/metrics. Ctrl-C ends it; the data stays.{off}",
                self.layout.dir.display(),
                places[0].admin
            ),
        ]);
        for line in lines {
            let _closed = writeln!(out, "{line}");
        }
    }

    async fn attend(&mut self, listener: &UnixListener, for_seconds: Option<u64>) -> Result<(), String> {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|e| e.to_string())?;
        let until = for_seconds.map(|s| tokio::time::Instant::now() + Duration::from_secs(s));
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                signal = tokio::signal::ctrl_c() => return signal.map_err(|e| e.to_string()),
                _ = term.recv() => return Ok(()),
                () = async { match until { Some(at) => tokio::time::sleep_until(at).await, None => std::future::pending().await } } => return Ok(()),
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        // One order at a time: they are short, and two at once would race for a node.
                        let _gone = self.serve(stream).await;
                    }
                }
                _ = look.tick() => self.notice_ends(),
            }
        }
    }

    fn notice_ends(&mut self) {
        let mut ended = Vec::new();
        for (id, running) in &mut self.nodes {
            if let Ok(Some(status)) = running.child.try_wait() {
                ended.push((*id, status, running.told));
            }
        }
        for (id, status, told) in ended {
            if let Some(running) = self.nodes.remove(&id)
                && !told
            {
                let log = self.layout.folder(&running.place).join("log");
                eprintln!("{} ended with {status}: {}", running.place.name, last_lines(&log));
            }
        }
    }

    async fn serve(&mut self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        let read_line = async { BufReader::new(read).read_line(&mut line).await };
        tokio::time::timeout(Duration::from_secs(2), read_line)
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)??;
        let answered = match serde_json::from_str::<Order>(&line) {
            Ok(order) => match self.carry_out(order).await {
                Ok(text) => Answered { ok: true, text },
                Err(text) => Answered { ok: false, text },
            },
            Err(e) => Answered { ok: false, text: format!("not an order: {e}") },
        };
        let mut text = serde_json::to_string(&answered)?;
        text.push('\n');
        write.write_all(text.as_bytes()).await
    }

    async fn carry_out(&mut self, order: Order) -> Result<String, String> {
        self.notice_ends();
        match order {
            Order::Kill { nodes } => self.kill(&nodes).await,
            Order::Stop { nodes } => {
                self.signal(&nodes, rustix::process::Signal::TERM);
                self.gone(&nodes).await;
                Ok(format!("{} stopped", self.names(&nodes)))
            }
            Order::Pause { nodes } => {
                self.signal(&nodes, rustix::process::Signal::STOP);
                Ok(format!("{} frozen; `start` thaws", self.names(&nodes)))
            }
            Order::Start { nodes } => self.start_or_thaw(&nodes).await,
            Order::Cut { from, to } => {
                let done = self.inject(&from, &to, "cut").await?;
                Ok(format!("{done} links cut"))
            }
            Order::Heal => {
                let all: Vec<u64> = self.nodes.keys().copied().collect();
                self.inject(&all, &[], "heal").await?;
                Ok("all links mended".into())
            }
            Order::List => Ok(self.list()),
        }
    }

    async fn kill(&mut self, nodes: &[u64]) -> Result<String, String> {
        for id in nodes {
            if let Some(running) = self.nodes.get_mut(id) {
                running.told = true;
                running.child.kill().await.map_err(|e| format!("can't kill {}: {e}", running.place.name))?;
            }
        }
        self.notice_ends();
        Ok(format!("{} killed", self.names(nodes)))
    }

    fn signal(&mut self, nodes: &[u64], signal: rustix::process::Signal) {
        for id in nodes {
            if let Some(running) = self.nodes.get_mut(id)
                && let Some(pid) = running
                    .child
                    .id()
                    .and_then(|p| i32::try_from(p).ok())
                    .and_then(rustix::process::Pid::from_raw)
            {
                running.told |= signal == rustix::process::Signal::TERM;
                running.paused = signal == rustix::process::Signal::STOP;
                // It may have ended this instant: then there is nobody to tell.
                let _gone = rustix::process::kill_process(pid, signal);
            }
        }
    }

    async fn start_or_thaw(&mut self, nodes: &[u64]) -> Result<String, String> {
        let frozen: Vec<u64> =
            nodes.iter().copied().filter(|id| self.nodes.get(id).is_some_and(|n| n.paused)).collect();
        self.signal(&frozen, rustix::process::Signal::CONT);
        for place in self.layout.places() {
            if nodes.contains(&place.id) && !self.nodes.contains_key(&place.id) {
                self.start(&place)?;
            }
        }
        Ok(format!("{} started", self.names(nodes)))
    }

    /// Waits until these have ended; kills what does not in time.
    async fn gone(&mut self, nodes: &[u64]) {
        let until = tokio::time::Instant::now() + STOP_WITHIN;
        for id in nodes {
            if let Some(mut running) = self.nodes.remove(id)
                && tokio::time::timeout_at(until, running.child.wait()).await.is_err()
            {
                let _ended: Option<ExitStatus> = match running.child.kill().await {
                    Ok(()) => None,
                    Err(e) => {
                        eprintln!("can't kill {}: {e}", running.place.name);
                        None
                    }
                };
            }
        }
    }

    async fn inject(&self, from: &[u64], to: &[u64], what: &str) -> Result<usize, String> {
        let mut done = 0;
        for id in from {
            let Some(running) = self.nodes.get(id).filter(|n| !n.paused) else { continue };
            let targets: Vec<u64> =
                if what == "heal" { vec![0] } else { to.iter().copied().filter(|t| t != id).collect() };
            for target in targets {
                let path = format!("/inject/{what}?to={target}");
                let (code, body) = http::post(running.place.admin, &path).await?;
                if code != 200 {
                    return Err(format!("{} answers {code}: {body}", running.place.name));
                }
                done += 1;
            }
        }
        Ok(done)
    }

    fn names(&self, nodes: &[u64]) -> String {
        let places = self.layout.places();
        let names: Vec<String> =
            places.into_iter().filter(|p| nodes.contains(&p.id)).map(|p| p.name).collect();
        names.join(", ")
    }

    fn list(&self) -> String {
        let line = |p: Place| {
            let state = match self.nodes.get(&p.id) {
                None => "down",
                Some(n) if n.paused => "frozen",
                Some(_) => "up",
            };
            format!("{:<20} {:<6} client {}  redis {}  admin {}", p.name, state, p.client, p.redis, p.admin)
        };
        self.layout.places().into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    async fn end(&mut self) {
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        let frozen: Vec<u64> =
            all.iter().copied().filter(|id| self.nodes.get(id).is_some_and(|n| n.paused)).collect();
        self.signal(&frozen, rustix::process::Signal::CONT);
        self.signal(&all, rustix::process::Signal::TERM);
        self.gone(&all).await;
    }
}

/// The end of a log: what a node said before it ended.
fn last_lines(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    let said: Vec<&str> = lines.into_iter().rev().collect();
    format!("{}\n  (all of it: {})", said.join("\n  "), log.display())
}
