//! Real processes: a keyspace's home region is killed with SIGKILL under writes, another one is promoted, the old one comes
//! back. What was acknowledged and shipped is there, what was not is told, and a planned move back loses nothing.
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

#[path = "dev/ports.rs"]
mod ports;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DWCP: &str = env!("CARGO_BIN_EXE_dwcp");
const PORTS: std::ops::Range<u16> = 22_100..23_900;
const HOME: &str = "eu-west-1";
const NEXT: &str = "us-east-1";
/// Nodes are on a machine that does other work too.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    dir: PathBuf,
    child: Child,
    first_port: u16,
}

impl Cluster {
    fn start(dir: &std::path::Path) -> Self {
        let first_port = ports::free(PORTS, 3);
        let mut child = Command::new(DWCP)
            .args(["--output", "json", "dev", "--nodes", "3", "--engine", "paxos", "--hybrid", HOME])
            .args(["--port", &first_port.to_string(), "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("dwcp starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("ready_ms"), "the cluster did not get ready: {line}");
        Self { dir: dir.into(), child, first_port }
    }
    /// Runs a command of ours against the cluster; what it said if it succeeded, else why not.
    fn dwcp(&self, words: &[&str]) -> Result<String, String> {
        let out = Command::new(DWCP).args(words).arg("--dir").arg(&self.dir).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }
    /// At the door of the nth node, by number of the region.
    fn at(&self, nth: u16, words: &[&str]) -> Result<String, String> {
        let door = format!("127.0.0.1:{}", self.first_port + nth);
        let words: Vec<&str> =
            words.iter().copied().chain(["--keyspace", "hybrid", "--endpoints", &door]).collect();
        self.dwcp(&words)
    }
    fn put(&self, nth: u16, key: &str, value: &str) -> Result<String, String> {
        self.at(nth, &["kv", "put", key, value])
    }
    /// Asks until it is so.
    fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> Result<(), String>) -> Duration {
        let began = Instant::now();
        loop {
            match is_so(self) {
                Ok(()) => return began.elapsed(),
                Err(why) => assert!(began.elapsed() < PATIENCE, "{what}: {why}"),
            }
        }
    }
    /// What all nodes say of the hybrid keyspace.
    fn seen(&self) -> serde_json::Value {
        let said = self.dwcp(&["--output", "json", "consensus", "hybrid", "--keyspace", "hybrid"]);
        serde_json::from_str(&said.unwrap_or_else(|why| why)).unwrap_or_default()
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

fn holds(answer: &Result<String, String>, value: &str) -> Result<(), String> {
    match answer {
        Ok(said) if said.contains(value) => Ok(()),
        Ok(said) => Err(format!("{value} is not there, but {said:?}")),
        Err(why) => Err(why.clone()),
    }
}

#[test]
fn a_home_is_killed_and_another_region_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path());
    cluster.until("the home answers", |c| c.put(0, "first", "one").map(drop));
    cluster.until("a far region writes through the home", |c| c.put(1, "second", "two").map(drop));
    cluster.until("copies have it", |c| {
        (1..3).try_for_each(|n| holds(&c.at(n, &["kv", "get", "second", "--serializable"]), "two"))
    });
    assert!(cluster.at(1, &["consensus", "promote", "hybrid", "--to", NEXT]).is_err(), "the home is heard");

    for n in 0..20 {
        cluster.put(0, &format!("k{n}"), &format!("v{n}")).unwrap();
    }
    cluster.dwcp(&["dev", "kill", HOME]).unwrap();
    let stale = cluster.at(2, &["kv", "get", "first", "--serializable"]);
    holds(&stale, "one").unwrap();
    let killed = Instant::now();
    cluster.until("the promotion is taken", |c| {
        c.at(1, &["consensus", "promote", "hybrid", "--to", NEXT]).map(|said| println!("{said}"))
    });
    cluster.until("the new home answers", |c| c.put(2, "third", "three").map(drop));
    println!("killed to written again: {:.1} s", killed.elapsed().as_secs_f64());
    for (key, value) in [("first", "one"), ("second", "two"), ("third", "three")] {
        holds(&cluster.at(2, &["kv", "get", key]), value).unwrap();
    }
    let shipped =
        (0..20).filter(|n| holds(&cluster.at(1, &["kv", "get", &format!("k{n}")]), &format!("v{n}")).is_ok());
    let shipped = shipped.count();

    cluster.dwcp(&["dev", "start", HOME]).unwrap();
    cluster.until("the old home is a copy", |c| {
        let seen = c.seen();
        let old = seen["nodes"].as_array().into_iter().flatten().find(|n| n["status"]["region"] == HOME);
        let old = old.ok_or_else(|| format!("{HOME} does not answer: {seen}"))?;
        let is = (old["status"]["part"].clone(), old["status"]["behind"].clone());
        if is == ("Copy".into(), 0.into()) { Ok(()) } else { Err(format!("{is:?}")) }
    });
    cluster.until("it holds what was written meanwhile", |c| {
        holds(&c.at(0, &["kv", "get", "third", "--serializable"]), "three")
    });
    // What the old home alone had: told, and no more than was not shipped.
    let told = cluster.at(0, &["--output", "json", "consensus", "aside", "0"]);
    let changes = told.ok().and_then(|t| serde_json::from_str::<serde_json::Value>(&t).ok());
    let changes = changes.and_then(|t| t["events"].as_array().map(Vec::len)).unwrap_or(0);
    println!("{shipped} of 20 had been shipped, {changes} are kept aside");
    assert_eq!(shipped + changes, 20, "each is there or told");

    let moved = cluster.at(0, &["consensus", "promote", "hybrid", "--to", HOME, "--graceful"]);
    println!("{}", moved.unwrap());
    cluster.until("the first home answers again", |c| c.put(0, "fourth", "four").map(drop));
    for (key, value) in [("first", "one"), ("third", "three"), ("fourth", "four")] {
        holds(&cluster.at(1, &["kv", "get", key]), value).unwrap();
    }
}
