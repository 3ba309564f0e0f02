//! Real processes: the engine and the quorums of a keyspace are changed by command while clients write. What was acknowledged is there, each
//! node says what is in force, and what could lose something is refused.
#![allow(clippy::disallowed_macros, reason = "a test tells what it measured")]

#[allow(dead_code, reason = "other files of tests use the rest")]
mod dev;

use dev::{Cluster, DWCP};
use serde_json::Value;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PORTS: std::ops::Range<u16> = 24_000..25_800;
/// Nodes are on a machine that does other work too.
const PATIENCE: Duration = Duration::from_secs(60);
/// The next epochs, and how each is told.
const EPOCHS: &[(&str, &str)] = &[
    ("raft", "under raft: majorities"),
    ("paxos --quorums 3/1", "under paxos: 3 elect and 1 decide"),
    ("epaxos", "under epaxos: majorities"),
    ("paxos --quorums weights:2,1,1:3/2", "3 votes elect and 2 decide (n1 has 2, n2 has 1, n3 has 1)"),
    ("paxos --quorums regions", "majorities in a majority of the regions"),
    ("paxos --quorums witness:3", "majorities with one who is no witness (n3)"),
    ("paxos", "under paxos: majorities"),
];

struct Dwcp(Cluster);

impl Dwcp {
    /// Runs a command of ours against the cluster; what it said if it succeeded, else why not.
    fn run(&self, words: &str) -> Result<String, String> {
        let words = words.split_whitespace();
        let out = Command::new(DWCP).args(words).arg("--dir").arg(self.0.dir.path()).output();
        let out = out.expect("dwcp starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }
    fn ok(&self, words: &str) -> String {
        self.run(words).unwrap_or_else(|why| panic!("dwcp {words}: {why}"))
    }
    fn status(&self) -> Value {
        serde_json::from_str(&self.ok("--output json consensus status")).expect("a document")
    }
    /// Something of how the epoch in force was begun.
    fn in_force(&self, what: &str) -> String {
        self.status()["in_force"]["begun"][what].as_str().unwrap_or_default().to_owned()
    }
    /// Epochs as all nodes that answer see them.
    fn epochs(&self) -> Vec<u64> {
        let status = self.status();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().filter_map(|n| n["status"]["spec"]["epoch"].as_u64()).collect()
    }
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> Result<(), String>) {
        let began = Instant::now();
        while let Err(why) = is_so(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: {why}");
        }
    }
    fn all_are_in(&self, epoch: u64) {
        self.until("all nodes are in the epoch", |d| {
            let seen = d.epochs();
            if seen == [epoch; 3] { Ok(()) } else { Err(format!("{seen:?}, and {epoch} is the last")) }
        });
    }
    /// Writes until told to end; how many were acknowledged.
    fn write(&self, stop: &AtomicBool) -> usize {
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            self.until("a write is acknowledged", |d| d.run(&format!("kv put k{next} v{next}")).map(drop));
            next += 1;
        }
        next
    }
}

#[test]
fn engines_and_quorums_change_under_writes_and_nothing_is_lost() {
    let dwcp = Dwcp(Cluster::start(PORTS));
    dwcp.ok("kv put first one");
    for (words, why) in [
        ("paxos --quorums 1/1", "share"),
        ("raft --quorums 2/2", "paxos"),
        ("paxos --quorums grid:2x2", "3 voters"),
        ("pbft", "4 members"),
    ] {
        let refused = dwcp.run(&format!("consensus switch {words}")).expect_err("it is refused");
        assert!(refused.contains(why), "{words}: {refused}");
    }
    assert_eq!(dwcp.epochs(), [0; 3], "what was refused changed nothing");
    assert_eq!(dwcp.in_force("cause"), "configured");

    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|s| {
        let writer = s.spawn(|| dwcp.write(&stop));
        for (nth, (words, told)) in EPOCHS.iter().enumerate() {
            println!("{words}: {}", dwcp.ok(&format!("consensus switch {words}")));
            let status = dwcp.ok("consensus status");
            assert!(status.contains(told), "{told} is not in {status}");
            dwcp.all_are_in(nth as u64 + 1);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("it writes")
    });
    println!("{acknowledged} writes");
    assert!(acknowledged > 0);
    for n in 0..acknowledged {
        assert!(dwcp.ok(&format!("kv get k{n}")).contains(&format!("v{n}")), "k{n}");
    }
    whoever_looks_is_told_what_is_in_force(&dwcp);
}

fn whoever_looks_is_told_what_is_in_force(dwcp: &Dwcp) {
    let last = EPOCHS.len();
    let now = &dwcp.status()["in_force"];
    assert_eq!((now["epoch"].as_u64(), now["engine"].as_str()), (Some(last as u64), Some("paxos")), "{now}");
    assert_eq!(dwcp.in_force("cause"), "asked", "{now}");
    assert!(now["since"].as_str().is_some_and(|at| at.ends_with("UTC")), "{now}");
    assert_eq!(now["policies"][0]["nodes"].as_array().map(Vec::len), Some(3), "{now}");
    for words in ["consensus status", "consensus explain --now"] {
        let told = dwcp.ok(words);
        assert!(told.contains(" ago): an operator asked for it"), "{words}: {told}");
    }
    assert!(dwcp.ok("consensus policy --in-force").contains("operators choose"));
    let why: Value =
        serde_json::from_str(&dwcp.ok("--output json consensus explain --now")).expect("a document");
    assert_eq!(why["begun"]["cause"], "asked", "{why}");
}

/// A node that lies to its clients: here another cluster's, which speaks the same protocol and holds other things.
#[test]
fn a_node_that_lies_fools_nobody_who_asks_enough_others() {
    let dwcp = Dwcp(Cluster::of(4, PORTS));
    let liar = Dwcp(Cluster::of(1, PORTS));
    dwcp.ok("consensus switch pbft");
    let honest: Vec<String> = (0..4).map(|n| format!("127.0.0.1:{}", dwcp.0.first_port + n)).collect();
    let lying = format!("127.0.0.1:{}", liar.0.first_port);
    // The liar's door stands where the first member's was.
    let doors = format!("{lying},{}", honest[1..].join(","));
    dwcp.ok("kv put secret true");
    for _ in 0..5 {
        liar.ok("kv put secret false");
    }
    assert_eq!(dwcp.ok(&format!("kv get secret --endpoints {doors}")), "false", "one node is believed");
    assert_eq!(dwcp.ok(&format!("kv get secret --agree --endpoints {doors}")), "true");
    let by: Value =
        serde_json::from_str(&dwcp.ok("--output json kv get secret --agree=3")).expect("a document");
    assert_eq!(by["agreed_by"].as_array().map(Vec::len), Some(3), "{by}");

    let differ = dwcp.run(&format!("kv get secret --agree=2 --endpoints {lying},{}", honest[1]));
    let differ = differ.expect_err("one against one");
    assert!(
        differ.contains("\"false\"") && differ.contains("\"true\"") && differ.contains(&lying),
        "{differ}"
    );

    let wrote = dwcp.run(&format!("kv put secret false --agree --endpoints {doors}"));
    let wrote = wrote.expect_err("the liar keeps it for itself");
    assert!(wrote.contains(&lying) && wrote.contains("may or may not"), "{wrote}");
    let gone =
        dwcp.run(&format!("kv del secret --agree --endpoints {doors}")).expect_err("so does it with this");
    assert!(gone.contains(&lying), "{gone}");
    assert_eq!(dwcp.ok("kv get secret --agree"), "true");

    let honest = honest.join(",");
    let wrote = dwcp.ok(&format!("kv put secret new --agree --endpoints {honest}"));
    assert!(wrote.contains("so say"), "{wrote}");
    assert_eq!(dwcp.ok("kv get secret --agree"), "new");
    assert!(dwcp.ok("kv del secret --agree").starts_with("1 deleted, so say"));
    assert!(dwcp.run("kv get secret --agree").expect_err("it is gone").contains("there is no key"));
    assert!(dwcp.ok("kv del secret --agree").starts_with("0 deleted"));
    dwcp.ok("dev kill us-east-1");
    dwcp.until("one member may be gone", |d| d.run("kv put secret after --agree").map(drop));
}

#[test]
fn a_region_is_killed_and_the_epoch_is_changed_without_it() {
    let dwcp = Dwcp(Cluster::start(PORTS));
    dwcp.ok("kv put first one");
    dwcp.ok("dev kill eu-west-1");
    dwcp.until("the rest change the engine", |d| d.run("consensus switch epaxos").map(drop));
    dwcp.until("the rest write", |d| d.run("kv put second two").map(drop));
    dwcp.ok("dev start eu-west-1");
    dwcp.all_are_in(1);
    dwcp.until("all is there", |d| {
        let (first, second) = (d.run("kv get first")?, d.run("kv get second")?);
        if first.contains("one") && second.contains("two") {
            Ok(())
        } else {
            Err(format!("{first} {second}"))
        }
    });
}
