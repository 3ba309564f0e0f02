//! Checkpoints and the way back, through the commands, on processes that are killed.

use crate::dev::Cluster;
use crate::{Documents, POLICY, SCHEMA, SOON};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Documents enough for a rollback in several parts.
const MANY: usize = 600;

impl Documents {
    /// A request at a node's door, as a program makes it.
    fn at_door(&self, node: u16, method: &str, path: &str, body: &Value) -> Value {
        let door = ("127.0.0.1", self.cluster.first_port + 5_000 + node);
        let mut stream = TcpStream::connect(door).expect("the door is open");
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("it is asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{method} {path}: {e}: {answer}"))
    }
    /// Waits until every node says this of what it is asked.
    fn all_say(&self, words: &[&str], want: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            let all: Vec<Value> = (0..3)
                .map(|n| serde_json::from_slice(&self.run(Some(n), words).stdout).unwrap_or(Value::Null))
                .collect();
            if all.iter().all(&want) {
                return;
            }
            assert!(begun.elapsed() < SOON, "dwcp {words:?}: {all:?}");
        }
    }
    fn text(&self, words: &[&str]) -> String {
        let output = std::process::Command::new(crate::DWCP)
            .args(words)
            .arg("--dir")
            .arg(self.cluster.dir.path())
            .output()
            .expect("dwcp starts");
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "dwcp {words:?}: {wrong}");
        String::from_utf8(output.stdout).expect("text")
    }
    fn put(&self, node: u16, key: &str, document: &Value) {
        let file = self.file("put.json", &document.to_string());
        let begun = Instant::now();
        while !self.run(Some(node), &["document", "put", "vm", key, &file]).status.success() {
            assert!(begun.elapsed() < SOON, "{key} can't be written");
        }
    }
}

#[test]
fn what_was_there_comes_back_also_when_a_node_is_killed_on_the_way() {
    let d = Documents { cluster: Cluster::start(26_700..27_500) };
    let (schema, policy) = (d.file("vm.json", SCHEMA), d.file("fleet.toml", POLICY));
    let begun = Instant::now();
    while !d.run(Some(0), &["schema", "apply", &schema]).status.success() {
        assert!(begun.elapsed() < SOON, "no schema can be applied");
    }
    d.on(None, &["policy", "apply", &policy]);
    // It counts in three seconds.
    d.all_say(&["policy", "show"], |v| v["policies"][0]["active"] == true);
    let red = json!({ "cpu": 2, "labels": { "team": "red" }, "notes": "runs the shop" });
    d.put(0, "web-1", &red);
    d.put(0, "web-2", &json!({ "cpu": 4 }));
    d.all_say(&["document", "get", "vm", "web-2"], |v| v["document"]["cpu"] == 4);

    // The node that takes it is killed at once: what was answered is there when it comes back, and at the others.
    let taken = d.on(Some(2), &["document", "checkpoint", "before-upgrade", "--by", "ana"]);
    d.dev(&["kill", "3"]);
    assert_eq!((&taken["documents"], &taken["kinds"][0]["schema"]), (&json!(2), &json!(1)), "{taken}");
    d.dev(&["start", "3"]);
    let there = |v: &Value| {
        v["checkpoints"][0]["name"] == "before-upgrade" && v["checkpoints"][0]["by"]["name"] == "ana"
    };
    d.all_say(&["document", "checkpoints"], there);
    let again = d.refused(0, &["document", "checkpoint", "before-upgrade"]);
    assert!(again.contains("there is a checkpoint before-upgrade already"), "{again}");

    d.set(1, "operator", &["/cpu=16", "/labels/x=1", "/labels/team=blue"]);
    d.on(Some(1), &["document", "delete", "vm", "web-2"]);
    d.put(1, "web-3", &json!({ "cpu": 1 }));
    d.all_say(&["document", "list", "vm"], |v| v["keys"] == json!(["web-1", "web-3"]));
    let plan = d.text(&["document", "rollback", "before-upgrade", "--dry-run"]);
    for line in [
        "vm web-1 /cpu: 16 -> 2",
        "vm web-1 /labels/x: 1 -> nothing",
        "vm web-2 /cpu: nothing -> 4",
        "vm web-3 was made since and stays",
        "nothing was written",
    ] {
        assert!(plan.contains(line), "{line} is not in\n{plan}");
    }
    let shown = d.text(&["document", "rollback", "before-upgrade", "--key", "web-1", "--by", "ben"]);
    assert!(shown.contains("/cpu: 16 -> 2") && shown.contains("1 documents, 3 fields written"), "{shown}");
    d.all_say(&["document", "get", "vm", "web-1"], |v| v["document"] == red);
    let begun = Instant::now();
    loop {
        let told = d.text(&["conflict", "explain", "vm", "web-1"]);
        if told.contains("ben (operator) rolled back to the checkpoint before-upgrade") {
            break;
        }
        assert!(begun.elapsed() < SOON, "{told}");
    }
    d.on(None, &["document", "rollback", "before-upgrade", "--delete-created"]);
    d.all_say(&["document", "list", "vm"], |v| v["keys"] == json!(["web-1", "web-2"]));
    let known = d.on(Some(0), &["document", "checkpoints"]);
    assert!(known["rollbacks"].as_array().expect("a list").iter().all(|r| r["done"] == true), "{known}");
    d.on(Some(1), &["document", "forget", "before-upgrade"]);
    d.all_say(&["document", "checkpoints"], |v| v["checkpoints"] == json!([]));
    killed_between_its_parts(&d);
}

/// A rollback in three parts, of which the first was made when the node is killed: it is told, true, and gone on with.
fn killed_between_its_parts(d: &Documents) {
    let write = |cpu: u64| {
        for n in 0..MANY {
            d.at_door(
                0,
                "PUT",
                &format!("/v1/documents/vm/k{n:03}"),
                &json!({
                "by": { "name": "ana", "role": "operator" }, "document": { "cpu": cpu } }),
            );
        }
    };
    write(2);
    d.on(Some(0), &["document", "checkpoint", "many"]);
    write(4);
    let body = json!({ "by": { "name": "ana", "role": "operator" } });
    let part = d.at_door(0, "POST", "/v1/checkpoints/many/rollback", &body);
    assert_eq!((&part["documents"], &part["next"]["key"]), (&json!(256), &json!("k255")), "{part}");
    d.dev(&["kill", "1"]);
    d.dev(&["start", "1"]);
    let broken_off = |v: &Value| {
        let r = &v["rollbacks"][0];
        r["checkpoint"] == "many" && r["documents"] == 256 && r["done"] == false
    };
    d.all_say(&["document", "checkpoints"], broken_off);
    assert!(d.text(&["document", "checkpoints"]).contains("NOT FINISHED"));
    let left = d.on(Some(1), &["document", "rollback", "many", "--dry-run"]);
    assert_eq!(left["fields"], MANY - 256, "what the note says is what was written");
    let begun = Instant::now();
    while !d.run(Some(1), &["document", "rollback", "many"]).status.success() {
        assert!(begun.elapsed() < SOON);
    }
    d.all_say(&["document", "checkpoints"], |v| v["rollbacks"][0]["done"] == true);
    assert_eq!(d.on(Some(2), &["document", "rollback", "many", "--dry-run"])["fields"], 0);
}
