//! Documents on a cluster of real processes: both sides of a cut write, and come to one value that can be explained and undone.
#![allow(clippy::disallowed_macros, reason = "a test tells what it saw")]

#[allow(dead_code, reason = "other files of tests use the rest")]
#[path = "../dev/mod.rs"]
mod dev;
mod returns;

use dev::{Cluster, DWCP};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long anything that is due may take.
const SOON: Duration = Duration::from_secs(60);

const SCHEMA: &str = r#"{"schema":"vm","version":1,"fields":{
    "cpu":{"kind":"atomic","type":"int","owner":"operator"},"power":"atomic","notes":"text",
    "restarts":"counter","labels":{"kind":"map","of":"atomic"}}}"#;
const POLICY: &str = r#"
policy = "fleet"
version = 1

[[rule]]
name = "owners first"
class = "intent"
use = { strategy = "priority", by = "role", order = ["operator"] }

[[rule]]
name = "power"
path = "/power"
use = { strategy = "manual", deadline = "1h", default = "rollback" }

[[rule]]
name = "the rest"
use = { strategy = "semantic", otherwise = "last-writer" }
"#;

/// With a field that says whether there is a document.
const WITH_LIFE: &str = r#"{"schema":"host","version":4,"lifecycle":"/life","fields":{
    "cpu":"atomic","note":"text","life":{"kind":"atomic","type":"text"}}}"#;

struct Documents {
    cluster: Cluster,
}

impl Documents {
    fn run(&self, node: Option<u16>, words: &[&str]) -> Output {
        let mut command = Command::new(DWCP);
        command.args(["--output", "json"]).args(words).arg("--dir").arg(self.cluster.dir.path());
        if let Some(node) = node {
            command.args(["--fleet", &format!("127.0.0.1:{}", self.cluster.first_port + 5_000 + node)]);
        }
        command.output().expect("dwcp starts")
    }
    fn on(&self, node: Option<u16>, words: &[&str]) -> Value {
        let output = self.run(node, words);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dwcp {words:?}: {wrong}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("dwcp {words:?}: {e}"))
    }
    /// What each node tells of the machine, once all tell the same: a value shows everywhere before its record has come.
    fn story(&self) -> String {
        let end = Instant::now() + SOON;
        loop {
            let explain = |n| self.on(Some(n), &["conflict", "explain", "vm", "web-1"]);
            let stories: Vec<Value> = (0..3).map(explain).collect();
            if stories.iter().all(|s| s["text"] == stories[0]["text"]) && stories[0]["records"] != json!([]) {
                return stories[0]["text"].as_str().expect("a story").to_string();
            }
            assert!(Instant::now() < end, "nodes tell different stories: {stories:?}");
        }
    }
    fn refused(&self, node: u16, words: &[&str]) -> String {
        let output = self.run(Some(node), words);
        assert_eq!(output.status.code(), Some(1), "dwcp {words:?} was done");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
    fn dev(&self, words: &[&str]) {
        let output =
            Command::new(DWCP).arg("dev").args(words).arg("--dir").arg(self.cluster.dir.path()).output();
        assert!(output.expect("dwcp starts").status.success(), "dwcp dev {words:?}");
    }
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.cluster.dir.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.display().to_string()
    }
    fn set(&self, node: u16, role: &str, fields: &[&str]) {
        let mut words = vec!["document", "set", "vm", "web-1", "--role", role, "--by", role];
        words.extend(fields);
        let begun = Instant::now();
        // A replica that has just been let in may not have read the schema.
        while !self.run(Some(node), &words).status.success() {
            assert!(
                begun.elapsed() < SOON,
                "{}",
                String::from_utf8_lossy(&self.run(Some(node), &words).stderr)
            );
        }
    }
    fn get(&self, node: u16) -> Value {
        let output = self.run(Some(node), &["document", "get", "vm", "web-1"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
    /// Looks at all nodes until they show this, with nothing open.
    fn until(&self, want: &Value) {
        let begun = Instant::now();
        loop {
            let all: Vec<Value> = (0..3).map(|n| self.get(n)).collect();
            let settled = |v: &Value| v["document"] == *want && v["conflicts"] == json!([]);
            if all.iter().all(settled) {
                return;
            }
            assert!(begun.elapsed() < SOON, "they show {all:?}, and not {want}");
        }
    }
}

#[test]
fn both_sides_of_a_cut_come_to_one_value_that_can_be_explained_and_undone() {
    let d = Documents { cluster: Cluster::start(26_000..26_700) };
    let (schema, policy) = (d.file("vm.json", SCHEMA), d.file("fleet.toml", POLICY));
    // A replica that has just begun may fetch a state first.
    let begun = Instant::now();
    loop {
        let missing = d.refused(0, &["document", "set", "vm", "web-1", "/cpu=1"]);
        if missing.contains("dwcp schema apply") {
            break;
        }
        assert!(missing.contains("can't serve yet") && begun.elapsed() < SOON, "{missing}");
    }
    assert_eq!(d.on(None, &["schema", "apply", &schema])["fields"], 6);
    assert_eq!(d.on(None, &["policy", "check", &policy])["version"], 1);
    d.on(None, &["policy", "apply", &policy]);
    let another = d.file("another.toml", &POLICY.replace("owners first", "owners second"));
    let again = d.refused(0, &["policy", "apply", &another]);
    assert!(again.contains("give it a higher one"), "{again}");

    d.set(0, "operator", &["/cpu=2", "/restarts=1", "/notes=runs the shop", "/labels/a=1"]);
    d.until(&json!({ "cpu": 2, "restarts": 1, "notes": "runs the shop", "labels": { "a": 1 } }));
    d.dev(&["cut", "3"]);
    d.set(0, "operator", &["/cpu=4", "/restarts=2", "/notes=runs the web shop", "/labels/b=2"]);
    d.set(2, "autoscaler", &["/cpu=8", "/restarts=3", "/notes=runs the shop; ask Ana", "/labels/c=3"]);
    assert_eq!(d.get(2)["document"]["cpu"], 8, "each side goes on with what it has");
    d.dev(&["heal"]);
    let want = json!({ "cpu": 4, "restarts": 4, "notes": "runs the web shop; ask Ana", "labels": { "a": 1, "b": 2, "c": 3 } });
    d.until(&want);

    let text = d.story();
    assert!(text.contains("4 stands, because its writer ranks number 1"), "{text}");
    println!("{text}");
    let of_cpu = d.on(Some(2), &["conflict", "explain", "vm", "web-1", "/cpu"]);
    let name = of_cpu["records"][0]["conflict"].as_str().expect("a name")[..10].to_string();
    assert_eq!(d.on(Some(1), &["conflict", "show", &name])["records"][0]["stands"], 4);
    d.on(Some(1), &["conflict", "undo", &name]);
    let mut undone = want;
    undone["cpu"] = json!(8);
    d.until(&undone);

    // Another policy is tried on what is recorded before it counts.
    let other = POLICY
        .replace("order = [\"operator\"]", "order = [\"autoscaler\"]")
        .replace("version = 1", "version = 2");
    let trial = d.on(None, &["policy", "dry-run", &d.file("other.toml", &other)]);
    assert_eq!(trial["otherwise"][0]["would"]["value"], 8, "{trial}");

    a_question_is_answered(&d);
    what_could_never_be_followed_is_refused(&d);
    of_policies_that_are_applied_at_once_none_is_lost(&d);
    a_deletion_beside_an_edit_leaves_a_whole_document(&d);
    an_edited_copy_is_merged_with_what_is_there(&d);
}

/// After a deletion beside an edit: the host has eight and a note.
fn an_edited_copy_is_merged_with_what_is_there(d: &Documents) {
    let file = |name: &str, document: Value| d.file(name, &document.to_string());
    let base = file("base.json", json!({ "cpu": 8, "note": "runs the shop" }));
    let mine = file("mine.json", json!({ "cpu": 8, "note": "runs the web shop" }));
    let theirs = file("theirs.json", json!({ "cpu": 16, "note": "runs the shop" }));
    let clash = file("clash.json", json!({ "cpu": 32, "note": "runs the shop" }));
    let merged = d.on(Some(1), &["document", "merge", "host", &base, &mine, &theirs]);
    assert_eq!(
        (&merged["document"], &merged["clashing"]),
        (&json!({ "cpu": 16, "note": "runs the web shop" }), &json!(0))
    );
    let told = d.refused(1, &["document", "merge", "host", &base, &theirs, &clash]);
    assert!(
        told.contains("/cpu was changed differently: 16 in version 1, 32 in version 2; 8 stands"),
        "{told}"
    );
    d.on(Some(1), &["document", "set", "host", "h", "/cpu=16"]);
    d.on(Some(1), &["document", "put", "host", "h", &mine, "--base", &base]);
    let shown = d.on(Some(1), &["document", "get", "host", "h"]);
    assert_eq!(shown["document"], json!({ "cpu": 16, "life": "present", "note": "runs the web shop" }));
    let told = d.refused(1, &["document", "put", "host", "h", &clash, "--base", &base]);
    assert!(told.contains("/cpu was changed differently: it was 8, is 16 now and 32 in yours"), "{told}");
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a calendar").as_secs()
}

fn policy(version: u32, activates: u64) -> String {
    POLICY.replace("version = 1", &format!("version = {version}\nactivates = {activates}"))
}

fn what_could_never_be_followed_is_refused(d: &Documents) {
    let apply = |text: &str| d.refused(0, &["policy", "apply", &d.file("bad.toml", text)]);
    let millis = apply(&policy(2, (now_s() + 5) * 1_000));
    assert!(millis.contains("these look like milliseconds"), "{millis}");
    let skips = apply(&policy(u32::MAX, now_s() + 5));
    assert!(skips.contains("is more than 1000 above 1, the latest"), "{skips}");
    let schema = |version: &str| SCHEMA.replace("\"version\":1", &format!("\"version\":{version}"));
    d.on(None, &["schema", "apply", &d.file("two.json", &schema("2"))]);
    let older = d.refused(0, &["schema", "apply", &d.file("one.json", &schema("1"))]);
    assert!(older.contains("version 1 is older than version 2, which counts"), "{older}");
    let skips = d.refused(0, &["schema", "apply", &d.file("far.json", &schema("4000000000"))]);
    assert!(skips.contains("is more than 1000 above 2"), "{skips}");
}

/// Each is judged against those there are: one that was decided meanwhile is not passed over.
fn of_policies_that_are_applied_at_once_none_is_lost(d: &Documents) {
    let mut refused = 0;
    for round in 0..4_u32 {
        let (first, second) = (10 + 2 * round, 11 + 2 * round);
        // The one with the higher version would count first.
        let epoch = now_s() + u64::from(round + 1) * 1_000;
        let files = [(first, epoch + 500), (second, epoch)]
            .map(|(v, at)| d.file(&format!("p{v}.toml"), &policy(v, at)));
        std::thread::scope(|scope| {
            let apply = |(n, file): (u16, &String)| {
                let file = file.clone();
                scope.spawn(move || d.run(Some(n), &["policy", "apply", &file]).status.success())
            };
            let both: Vec<_> = (0_u16..).zip(&files).map(apply).collect();
            let done = both.into_iter().map(|t| t.join().expect("it ends")).filter(|done| *done).count();
            assert!(done > 0, "round {round}: one of two can be decided");
            refused += 2 - done;
        });
    }
    let known = d.on(Some(1), &["policy", "show"]);
    assert_eq!(known["faults"], json!([]), "what was let in counts");
    assert_eq!(refused, 4, "the later of two contradicts the earlier");
}

fn a_deletion_beside_an_edit_leaves_a_whole_document(d: &Documents) {
    d.on(None, &["schema", "apply", &d.file("host.json", WITH_LIFE)]);
    let whole = d.file("h.json", r#"{"cpu":2,"note":"runs the shop"}"#);
    let begun = Instant::now();
    while !d.run(Some(0), &["document", "put", "host", "h", &whole]).status.success() {
        assert!(begun.elapsed() < SOON);
    }
    let shows = |n: u16| {
        let output = d.run(Some(n), &["document", "get", "host", "h"]);
        serde_json::from_slice::<Value>(&output.stdout).map_or(Value::Null, |v| v["document"].clone())
    };
    let until = |nodes: &[u16], want: &Value| {
        let begun = Instant::now();
        while nodes.iter().any(|n| shows(*n) != *want) {
            assert!(begun.elapsed() < SOON, "{:?}", nodes.iter().map(|n| shows(*n)).collect::<Vec<_>>());
        }
    };
    until(&[0, 1, 2], &json!({ "cpu": 2, "life": "present", "note": "runs the shop" }));
    d.dev(&["cut", "3"]);
    d.on(Some(0), &["document", "delete", "host", "h"]);
    until(&[0, 1], &Value::Null);
    assert_eq!(d.on(Some(1), &["document", "list", "host"])["keys"], json!([]));
    assert_eq!(d.on(Some(2), &["document", "list", "host"])["keys"], json!(["h"]));
    d.on(Some(2), &["document", "set", "host", "h", "/cpu=8"]);
    d.dev(&["heal"]);
    until(&[0, 1, 2], &json!({ "cpu": 8, "life": "present", "note": "runs the shop" }));
}

fn a_question_is_answered(d: &Documents) {
    d.set(1, "operator", &["/power=on"]);
    let begun = Instant::now();
    while d.get(2)["document"]["power"] != "on" || d.get(0)["document"]["power"] != "on" {
        assert!(begun.elapsed() < SOON);
    }
    d.dev(&["cut", "3"]);
    d.set(0, "operator", &["/power=off"]);
    d.set(2, "operator", &["/power=paused"]);
    d.dev(&["heal"]);
    let begun = Instant::now();
    let open = loop {
        let all = d.on(Some(1), &["conflict", "list"]);
        if all["items"][0]["asked"]["until_ms"].is_u64() {
            break all["items"][0].clone();
        }
        assert!(begun.elapsed() < SOON, "nobody is asked: {all}");
    };
    assert_eq!((&open["shown"], &open["base"]["value"]), (&json!("on"), &json!("on")), "{open}");
    let text = Command::new(DWCP).args(["conflict", "list", "--dir"]).arg(d.cluster.dir.path()).output();
    let text = String::from_utf8(text.expect("dwcp starts").stdout).expect("text");
    for said in [
        "rule: power (manual)",
        "asked until 20",
        "; then \"on\" stands for good",
        "operator (operator) wrote \"off\", 20",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    let name = open["conflict"].as_str().expect("a name")[..8].to_string();
    let answer = |choice: &[&str]| {
        let mut words = vec!["conflict", "answer", &name, "vm", "web-1", "/power"];
        words.extend(choice);
        d.run(Some(1), &words)
    };
    let wrong = answer(&["--side", "r9:9"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("none of the sides"));
    let chosen = open["sides"][1]["write"].as_str().expect("a side");
    assert!(answer(&["--side", chosen]).status.success());
    let begun = Instant::now();
    while (0..3).any(|n| d.get(n)["document"]["power"] != open["sides"][1]["value"]) {
        assert!(begun.elapsed() < SOON);
    }
    assert_eq!(d.on(Some(0), &["conflict", "list"])["items"], json!([]));
}
