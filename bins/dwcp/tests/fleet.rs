//! The fleet on a cluster of real processes: the commands, the HTTP door, a host's agent.
#![allow(clippy::disallowed_macros, reason = "a test tells what it saw")]

#[allow(dead_code, reason = "other files of tests use the rest")]
mod dev;

use dev::{Cluster, DWCP};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long anything that is due may take.
const SOON: Duration = Duration::from_secs(60);

/// Where the fleet's doors listen, counted from the first port.
const FLEET: u16 = 5_000;

struct Fleet {
    cluster: Cluster,
    /// Regions whose changes are heard, and the node that tells of each.
    heard: [(&'static str, u16); 2],
    /// The nodes that are asked; all, where none is named.
    asked: Vec<u16>,
}

impl Fleet {
    fn new(cluster: Cluster) -> Self {
        Self { cluster, heard: [("eu", 0), ("us", 0)], asked: Vec::new() }
    }
    /// From now on these nodes are asked alone.
    fn ask(&mut self, nodes: impl IntoIterator<Item = u16>) {
        self.asked = nodes.into_iter().collect();
    }
    fn door(&self, node: u16) -> u16 {
        self.cluster.first_port + FLEET + node
    }
    fn run(&self, words: &str) -> Output {
        let mut command = Command::new(DWCP);
        command
            .args(["--output", "json"])
            .args(words.split_whitespace())
            .arg("--dir")
            .arg(self.cluster.dir.path());
        if !self.asked.is_empty() && !words.starts_with("dev ") {
            let doors: Vec<String> =
                self.asked.iter().map(|n| format!("127.0.0.1:{}", self.door(*n))).collect();
            command.args(["--fleet", &doors.join(",")]);
        }
        command.output().expect("dwcp starts")
    }
    fn ok(&self, words: &str) -> Value {
        let output = self.run(words);
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "dwcp {words}: {wrong}");
        serde_json::from_str(said.trim()).unwrap_or_else(|e| panic!("dwcp {words}: {e}: {said}"))
    }
    fn refused(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "dwcp {words} was done");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
    fn dev(&self, words: &[&str]) {
        let output =
            Command::new(DWCP).arg("dev").args(words).arg("--dir").arg(self.cluster.dir.path()).output();
        assert!(output.expect("dwcp starts").status.success(), "dwcp dev {words:?}");
    }
    /// All nodes end and begin again: with a region's keyspace, and keyspaces that were not there.
    fn configure(&self, region: &str, keyspaces: &str) {
        let all: Vec<String> = (1..=dev::NODES).map(|node| node.to_string()).collect();
        let words =
            |what: &'static str| [what].into_iter().chain(all.iter().map(String::as_str)).collect::<Vec<_>>();
        self.dev(&words("stop"));
        let folders = std::fs::read_dir(self.cluster.dir.path()).expect("a folder").flatten();
        for path in folders.map(|folder| folder.path().join("node.toml")).filter(|path| path.exists()) {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let head = "[fleet.regions]\n";
            let empty = if text.contains(head) { text } else { text + head };
            let text = empty.replace(head, &format!("{head}{region}\n\n")) + "\n" + keyspaces;
            std::fs::write(&path, text).expect("it can be written");
        }
        self.dev(&words("start"));
    }
    /// Asks a node what it hears and finds, until it is so.
    fn hears(&self, node: u16, so: impl Fn(&Value) -> bool) -> Value {
        let door = format!("vm findings --fleet 127.0.0.1:{}", self.cluster.first_port + 5_000 + node);
        let begin = Instant::now();
        loop {
            let told = self.ok(&door);
            if so(&told) {
                return told;
            }
            assert!(begin.elapsed() < SOON, "node {node} tells {told}");
        }
    }
    /// Looks at a machine until it is so, whenever something has changed.
    fn until(&self, vm: &str, so: impl Fn(&Value) -> bool) -> Value {
        let what = format!("vm show {vm}");
        self.look(|| {
            let item = self.ok(&what);
            if so(&item) { Ok(item) } else { Err(format!("{vm} is still {item}")) }
        })
    }
    /// Looks until there is what is looked for: at once, and whenever a region says that something has changed.
    fn look<T>(&self, mut found: impl FnMut() -> Result<T, String>) -> T {
        let (begin, changes) = (Instant::now(), Changes::of(self));
        loop {
            let why = match found() {
                Ok(found) => return found,
                Err(why) => why,
            };
            let left = SOON.checked_sub(begin.elapsed()).unwrap_or_else(|| panic!("{why}"));
            changes.heard.recv_timeout(left).unwrap_or_else(|e| panic!("{why}: {e}"));
        }
    }
    fn host(&self, name: &str, region: &str, storage: &Path) -> Agent {
        let mut child = Command::new(DWCP)
            .args(["--output", "json", "host", "run", name, "--region", region, "--storage"])
            .arg(storage)
            .arg("--dir")
            .arg(self.cluster.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("dwcp starts");
        let mut ready = String::new();
        let said = child.stdout.as_mut().expect("it is piped");
        BufReader::new(said).read_line(&mut ready).expect("it speaks");
        assert!(ready.contains("ready"), "{ready}");
        Agent(child)
    }
    /// All that changes in a region from now on.
    fn watch(&self, (region, node): (&str, u16)) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.door(node))).expect("the door listens");
        write!(stream, "GET /v1/fleet/regions/{region}/watch HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("it is sent");
        stream
    }
    /// One request, as any program would send it.
    fn http(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.door(0))).expect("the door listens");
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let code = answer.get(9..12).and_then(|c| c.parse().ok()).expect("a status");
        (code, answer.split_once("\r\n\r\n").expect("a body").1.to_string())
    }
}

/// What the regions' watches tell, until it is dropped.
struct Changes {
    streams: Vec<TcpStream>,
    heard: mpsc::Receiver<()>,
}

impl Changes {
    fn of(fleet: &Fleet) -> Self {
        let (told, heard) = mpsc::sync_channel(1);
        let streams = fleet.heard.map(|place| {
            let stream = fleet.watch(place);
            let lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let told = told.clone();
            std::thread::spawn(move || {
                for _line in lines.map_while(Result::ok).filter(|line| line.starts_with('{')) {
                    let _full = told.try_send(());
                }
            });
            stream
        });
        Self { streams: streams.into(), heard }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for stream in &self.streams {
            let _gone = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// A host's agent; killed when dropped, as a host that loses its power.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn small() -> Fleet {
    let fleet = Fleet::new(Cluster::start(24_000..26_000));
    formed(&fleet, [("eu", "eu"), ("us", "us")]);
    fleet
}

/// Two regions, each with a prefix of names, an image, a block and a share.
fn formed(fleet: &Fleet, regions: [(&str, &str); 2]) {
    fleet.ok("address add 10.0.0.0/16");
    fleet.ok("address split 10.0.0.0/16 --length 20");
    fleet.ok("quota set red --vms 10 --vcpus 20 --memory 20000 --disk 100 --addresses 10");
    for ((region, prefix), block) in regions.into_iter().zip(["10.0.0.0/20", "10.0.16.0/20"]) {
        fleet.ok(&format!("region add {region} --prefix {prefix}-"));
        fleet.ok(&format!("region image {region} base --source /images/base"));
        fleet.ok(&format!("address lend {block} --to {region}"));
        fleet.ok(&format!(
            "quota share red --region {region} --vms 5 --vcpus 10 --memory 10000 --disk 50 --addresses 5"
        ));
    }
}

#[test]
fn a_machine_is_created_runs_moves_and_goes() {
    let fleet = small();
    let storage = tempfile::tempdir().expect("a folder");
    let _eu = fleet.host("eu-h1", "eu", storage.path());
    let _us = fleet.host("us-h1", "us", storage.path());
    fleet.ok("vm create eu-web --region eu --image base --group red --vcpus 2 --disks 10 --nics 1 --start");
    let runs = |item: &Value| item["status"]["phase"] == "running";
    let item = fleet.until("eu-web", runs);
    assert_eq!(
        (&item["place"]["hold"]["held"]["host"], &item["place"]["epoch"]),
        (&"eu-h1".into(), &1.into())
    );
    let ip = item["vm"]["addresses"][0]["ip"].as_str().expect("an address");
    assert!(ip.starts_with("10.0."), "{ip}");

    for (words, says) in [
        ("vm resize eu-web --vcpus 4 --memory 2048", "stop it first"),
        ("vm move eu-web --to us", "stop it first"),
        ("vm create eu-web --region eu --image base --group red", "is the name of machine"),
        ("vm create web --region eu --image base --group red", "holds no prefix"),
        ("vm create eu-db --region eu --image none --group red", "no image none"),
        ("vm create eu-db --region eu --image base --group red --vcpus 90", "the group's share there is 10"),
        ("address lend 10.0.0.0/20 --to us", "eu has it"),
        ("vm show nobody", "there is no machine"),
    ] {
        let said = fleet.refused(words);
        assert!(said.contains(says), "dwcp {words}: {said}");
    }

    fleet.ok("vm stop eu-web");
    fleet.until("eu-web", |item| item["place"]["hold"] == "vacant");
    fleet.ok("vm resize eu-web --vcpus 4 --memory 2048");
    fleet.ok("vm label eu-web --set tier=gold");
    fleet.ok("vm move eu-web --to us");
    fleet.ok("vm start eu-web");
    let item = fleet.until("eu-web", runs);
    assert_eq!(
        (&item["region"], &item["vm"]["epoch"], &item["place"]["epoch"]),
        (&"us".into(), &2.into(), &2.into())
    );
    fleet.ok("vm delete eu-web");
    fleet.look(|| {
        let list = fleet.ok("vm list");
        if list["items"].as_array().expect("a list").is_empty() { Ok(()) } else { Err(list.to_string()) }
    });
    // Its name is free again where it was born.
    fleet.look(|| {
        let again = fleet.run("vm create eu-web --region eu --image base --group red");
        if again.status.success() { Ok(()) } else { Err("the name is not freed".into()) }
    });
}

/// What the README shows of the fleet, line by line.
#[test]
fn what_the_readme_shows_works() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"))
        .expect("it is there");
    let section = readme.split("## Run machines").nth(1).expect("it tells of machines");
    let shown = section.split("```").nth(1).expect("a block").trim_start_matches("sh");
    let fleet =
        Fleet { heard: [("eu-west-1", 0), ("eu-west-1", 0)], ..Fleet::new(Cluster::start(24_000..26_000)) };
    let storage = tempfile::tempdir().expect("a folder");
    let mut agents = Vec::new();
    for line in shown.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        for words in
            line.trim_end_matches('&').split("&&").filter_map(|words| words.trim().strip_prefix("dwcp "))
        {
            match words.strip_prefix("host run ") {
                Some(rest) => {
                    let name = rest.split(' ').next().expect("a name");
                    agents.push(fleet.host(name, "eu-west-1", storage.path()));
                }
                None => drop(fleet.ok(words)),
            }
        }
        if line.contains("vm create") {
            fleet.until("eu-web", |item| item["status"]["phase"] == "running");
        }
    }
    assert_eq!(agents.len(), 2);
    fleet.until("eu-web", |item| item["place"]["hold"] == "vacant");
}

/// Two processes go by one host's name: the older ends, and what it ran starts anew when its lease has ended.
#[test]
fn one_process_of_a_name_runs() {
    let fleet = small();
    let storage = tempfile::tempdir().expect("a folder");
    let mut first = fleet.host("eu-h1", "eu", storage.path());
    fleet.ok("vm create eu-web --region eu --image base --group red --start");
    let runs = |item: &Value| item["status"]["phase"] == "running";
    let item = fleet.until("eu-web", runs);
    assert_eq!((&item["place"]["epoch"], &item["place"]["hold"]["held"]["life"]), (&1.into(), &1.into()));
    let _second = fleet.host("eu-h1", "eu", storage.path());
    let ended = first.0.wait().expect("it ends");
    assert_eq!(ended.code(), Some(1), "the older process ends by itself");
    let item = fleet.until("eu-web", |item| runs(item) && item["status"]["epoch"] == 2);
    assert_eq!(item["place"]["hold"]["held"]["life"], 2);
}

/// What regions and hosts announce is heard by every node. A move finds nothing; a host that claims another's machine is found on
/// both sides of a cut once it is healed, and forgotten when it claims it no more.
#[test]
fn what_is_announced_is_heard_and_judged_on_every_node() {
    let fleet = small();
    let storage = tempfile::tempdir().expect("a folder");
    let _eu = fleet.host("eu-h1", "eu", storage.path());
    let _us = fleet.host("us-h1", "us", storage.path());
    fleet.ok("vm create eu-web --region eu --image base --group red --nics 1 --start");
    let runs = |item: &Value| item["status"]["phase"] == "running";
    let web = fleet.until("eu-web", runs);
    for node in 0..dev::NODES {
        // Two hosts, their regions, and those three that the configuration gives keyspaces.
        fleet.hears(node, |told| told["announcers"] == 7 && told["announced"].as_u64() >= Some(2));
    }
    fleet.ok("vm stop eu-web");
    fleet.until("eu-web", |item| item["place"]["hold"] == "vacant");
    fleet.ok("vm move eu-web --to us");
    fleet.ok("vm start eu-web");
    let web = fleet.until("eu-web", |item| runs(item) && item["place"]["epoch"] != web["place"]["epoch"]);
    // It says something new, and so what it has said before is true for longer.
    fleet.ok("vm create us-db --region us --image base --group red --start");
    fleet.until("us-db", runs);
    for node in 0..dev::NODES {
        let told = fleet.hears(node, |told| told["announced"].as_u64() >= Some(4));
        assert_eq!((&told["items"], &told["unreadable"]), (&serde_json::json!([]), &0.into()), "{told}");
    }

    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let (vm, epoch) =
        (web["vm"]["id"].as_str().expect("a number"), web["place"]["epoch"].as_u64().expect("one"));
    let claim = |at: u64, runs: &str| {
        let body =
            format!(r#"{{"region":"us","host":"us-h9","at":{at},"uncertainty":1000000,"runs":[{runs}]}}"#);
        fleet.http("POST /v1/fleet/announcements", &body)
    };
    let runs_it = format!(r#"{{"vm":"{vm}","epoch":{}}}"#, epoch + 7);
    fleet.dev(&["cut", "3"]);
    assert_eq!(claim(since_1970() - 120_000_000_000, &runs_it).0, 200);
    assert_eq!(claim(since_1970(), &runs_it), (200, "{\"said\":true}\n".into()));
    let twice = |told: &Value| {
        let found = &told["items"][0]["finding"]["runs_twice"];
        found["vm"] == *vm && found["keeps"][0] == "us-h9" && found["fence"][0][0] == "us-h1"
    };
    fleet.hears(0, twice);
    let apart = fleet.hears(2, |_| true);
    assert_eq!(apart["items"], serde_json::json!([]), "it is cut off");
    fleet.dev(&["heal"]);
    for node in 0..dev::NODES {
        fleet.hears(node, twice);
    }
    let said = fleet.ok("vm findings");
    assert!(
        said["items"][0]["told"].as_str().is_some_and(|told| told.contains("us-h9 under epoch")),
        "{said}"
    );
    assert_eq!(claim(since_1970(), "").0, 200);
    for node in 0..dev::NODES {
        fleet.hears(node, |told| told["items"] == serde_json::json!([]));
    }
    for (at, runs, says) in
        [(7, "", "five minutes"), (since_1970(), "{}", "missing field"), (0, "[[[[", "expected")]
    {
        let (code, said) = claim(at, runs);
        assert!(code == 400 && said.contains(says), "{said}");
    }
}

/// A region's keyspace is lost and an empty one taken in its place. There a machine is created by an old request which has moved
/// away since: two regions own it. Every node finds it; the region of the lower epoch switches its own off; opened anew, it lets go.
#[test]
fn a_machine_that_two_regions_own_is_found_and_the_lower_epoch_yields() {
    let fleet = small();
    let create =
        "vm create eu-web --region eu --image base --group red --key 0123456789abcdef0123456789abcdef";
    fleet.ok(create);
    fleet.ok("vm move eu-web --to us");
    let web = fleet.until("eu-web", |item| item["region"] == "us" && item["vm"]["life"] == "active");
    let number = web["vm"]["id"].as_str().expect("a number").to_string();
    fleet.configure("eu = \"second\"", "[[keyspace]]\nname = \"second\"\ngroup = 5\nkind = \"strong\"\n");
    fleet.ok("region reopen eu");
    fleet.ok("region image eu base --source /images/base");
    // It gives nothing for a minute, in which leases end that it may have forgotten.
    let begin = Instant::now();
    while !fleet.run(&format!("{create} --start")).status.success() {
        assert!(begin.elapsed() < 3 * SOON, "{}", fleet.refused(&format!("{create} --start")));
    }
    fleet.hears(0, |told| told["announced"] == 2);
    for region in ["eu", "us"] {
        // What is said anew shows that the rest is believed still.
        fleet.ok(&format!("vm create {region}-next --region {region} --image base --group red"));
    }
    let twice = |told: &Value| {
        let found = &told["items"][0]["finding"]["owned_twice"];
        found["vm"] == *number && found["keeps"] == serde_json::json!(["us", 2])
    };
    for node in 0..dev::NODES {
        fleet.hears(node, twice);
    }
    let show = |region: &str| fleet.ok(&format!("vm show {number} --region {region}"));
    fleet.look(|| match show("eu") {
        item if item["vm"]["spec"]["power"] == "off" => Ok(()),
        item => Err(format!("it does not yield: {item}")),
    });
    assert_eq!((&show("us")["vm"]["life"], &show("us")["vm"]["epoch"]), (&"active".into(), &2.into()));
    fleet.ok("region reopen eu");
    for node in 0..dev::NODES {
        fleet.hears(node, |told| told["items"] == serde_json::json!([]));
    }
    assert_eq!(show("us")["vm"]["life"], "active");
}

/// The regions that a list says did not answer.
fn silent(list: &Value) -> BTreeSet<&str> {
    let unanswered = list["unanswered"].as_array().expect("a list");
    unanswered.iter().filter_map(|item| item["region"].as_str()).collect()
}

/// A region's machines are its own nodes' affair: it is cut off from all others and goes on, and so do they; healed, all is there
/// once. One of its nodes may die.
#[test]
fn a_region_that_is_cut_off_goes_on() {
    // Nodes are dealt out in turn: eu-west-1 has the first, the fourth and the seventh.
    let (eu, us) = ("eu-west-1", "us-east-1");
    let (inside, outside) = ([0, 3, 6], [1, 2, 4, 5, 7, 8]);
    let mut fleet = Fleet { heard: [(eu, 3), (us, 1)], ..Fleet::new(Cluster::of(9, 24_000..26_000)) };
    formed(&fleet, [(eu, "eu"), (us, "us")]);
    let storage = tempfile::tempdir().expect("a folder");
    let _hosts =
        [("eu-h1", eu), ("us-h1", us)].map(|(host, region)| fleet.host(host, region, storage.path()));
    let create = |name: &str, region: &str| {
        format!("vm create {name} --region {region} --image base --group red --nics 1 --start")
    };
    let runs = |item: &Value| item["status"]["phase"] == "running";
    let vacant = |item: &Value| item["place"]["hold"] == "vacant";
    let until = |item: &Value| item["place"]["hold"]["held"]["until"].as_u64().expect("it is held");
    for (name, region) in [("eu-keep", eu), ("eu-web", eu), ("us-keep", us)] {
        fleet.ok(&create(name, region));
        fleet.until(name, runs);
    }
    let places = [("eu-keep", inside.to_vec()), ("us-keep", outside.to_vec())]
        .map(|(name, nodes)| (name, nodes, until(&fleet.until(name, runs))));

    fleet.ok("dev cut eu-west-1");
    fleet.ask(inside);
    fleet.ok(&create("eu-db", eu));
    fleet.until("eu-db", runs);
    fleet.ok("vm stop eu-web");
    fleet.until("eu-web", vacant);
    fleet.ok("vm start eu-web");
    fleet.until("eu-web", |item| runs(item) && item["status"]["epoch"] == 2);
    fleet.ok("vm stop eu-db");
    fleet.until("eu-db", vacant);
    fleet.ok("vm delete eu-db");
    fleet.look(|| {
        let list = fleet.ok("vm list");
        let names: Vec<&Value> = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| &item["vm"]["spec"]["name"])
            .collect();
        assert_eq!(silent(&list), ["ap-southeast-1", us].into(), "{list}");
        if names.contains(&&Value::from("eu-db")) { Err(format!("{names:?}")) } else { Ok(()) }
    });
    fleet.ask(outside);
    fleet.ok(&create("us-db", us));
    fleet.until("us-db", runs);
    let said = fleet.refused("vm show eu-web");
    assert!(said.contains("eu-west-1 could not be asked"), "{said}");
    let list = fleet.ok("vm list");
    assert_eq!((silent(&list), list["items"].as_array().map(Vec::len)), ([eu].into(), Some(2)), "{list}");
    // Leases are renewed on both sides, by more than any could have run for.
    for (name, nodes, before) in places {
        fleet.ask(nodes);
        let item = fleet.until(name, |item| until(item) > before + Duration::from_secs(30).as_nanos() as u64);
        assert!(runs(&item) && item["place"]["epoch"] == 1, "{item}");
    }

    fleet.ok("dev heal");
    fleet.ask([]);
    let list = fleet.look(|| {
        let list = fleet.ok("vm list");
        if list["unanswered"] == serde_json::json!([]) { Ok(list) } else { Err(list.to_string()) }
    });
    let items = list["items"].as_array().expect("a list");
    let names: BTreeSet<&str> = items.iter().filter_map(|item| item["vm"]["spec"]["name"].as_str()).collect();
    assert_eq!(names, ["eu-keep", "eu-web", "us-db", "us-keep"].into());
    let addresses: BTreeSet<&str> =
        items.iter().filter_map(|item| item["vm"]["addresses"][0]["ip"].as_str()).collect();
    assert_eq!(addresses.len(), items.len(), "{list}");

    fleet.ok("dev kill 1");
    fleet.ok(&create("eu-late", eu));
    fleet.until("eu-late", runs);
    let item = fleet.until("eu-keep", runs);
    assert_eq!(item["place"]["epoch"], 1, "{item}");

    // A file that gives the keyspace to another region would bring it up empty there.
    let said = started_under_another_region(&fleet, "eu-west-1-a");
    assert!(said.contains("was formed by eu-west-1's nodes"), "{said}");
    assert!(said.contains("`region = \"eu-west-1\"` again"), "{said}");
}

/// What a node says when its file gives its region's keyspace to another region.
fn started_under_another_region(fleet: &Fleet, node: &str) -> String {
    let file = fleet.cluster.dir.path().join(node).join("node.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let (before, keyspace) =
        text.split_once("name = \"fleet-eu-west-1\"").expect("the region has a keyspace");
    let moved = keyspace.replacen("region = \"eu-west-1\"", "region = \"us-east-1\"", 1);
    std::fs::write(&file, format!("{before}name = \"fleet-eu-west-1\"{moved}")).expect("it is written");
    let output = Command::new(DWCP).args(["node", "--config"]).arg(&file).output().expect("dwcp starts");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_door_answers_programs() {
    let fleet = small();
    let (code, document) = fleet.http("GET /v1/fleet/openapi.json", "");
    assert_eq!(code, 200);
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");

    let create = |key: &str, name: &str| {
        format!(
            r#"{{"key":"{key}","command":{{"create":{{"region":"eu","spec":{{"name":"{name}","image":"base","vcpus":1,"memory_mib":512,"group":"red"}}}}}}}}"#
        )
    };
    let key = "0123456789abcdef0123456789abcdef";
    let watching = fleet.watch(("eu", 0));
    watching.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut lines = BufReader::new(watching).lines().map(|line| line.expect("it goes on"));
    assert!(lines.any(|line| line.starts_with(r#"{"revision""#)), "the watch stands");

    let (first, _) = fleet.http("POST /v1/fleet/requests", &create(key, "eu-a"));
    let (again, said) = fleet.http("POST /v1/fleet/requests", &create(key, "eu-a"));
    assert_eq!((first, again), (200, 200), "{said}");
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    let number = answer["answer"]["vm"]["at"]["vm"].as_str().expect("a number");
    assert_ne!(number, key, "it is bound to the region, too");
    assert!(lines.any(|line| line.contains(&format!("/vm/{number}"))), "the watch tells of it");
    // There is nothing to call back; and what was opened anew gives nothing for a while.
    fleet.ok("vm move eu-a --call-back");
    fleet.ok("region reopen us");
    let said = fleet.refused("vm create us-b --region us --image base --group red");
    assert!(said.contains("may not have ended"), "{said}");
    let (_, list) = fleet.http("GET /v1/fleet/regions/eu/vms", "");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "asked twice, done once");

    let nonsense = [
        ("POST /v1/fleet/requests", "{", 400, "the body"),
        ("POST /v1/fleet/requests", r#"{"command":{"create":{}}}"#, 400, "missing field"),
        (
            "POST /v1/fleet/requests",
            r#"{"command":{"delete":{"at":{"region":"EU","vm":"0"}}}}"#,
            400,
            "names are of a-z",
        ),
        ("POST /v1/fleet/requests", r#"{"command":{"explode":{}}}"#, 400, "unknown variant"),
        ("GET /v1/fleet/regions/eu/vms/nobody", "", 404, "has no machine nobody"),
        ("GET /v1/fleet/nothing", "", 404, "no such path"),
        ("GET /elsewhere", "", 404, "no such path"),
        ("DELETE /v1/fleet/regions", "", 404, "no such path"),
    ];
    for (head, body, code, says) in nonsense {
        let (found, said) = fleet.http(head, body);
        assert_eq!(found, code, "{head}: {said}");
        let error: Value = serde_json::from_str(&said).expect("JSON");
        assert!(error["error"].to_string().contains(says), "{head}: {said}");
        assert!(!error["error"]["remedy"].as_str().unwrap_or_default().is_empty(), "{said}");
    }
    let (code, _) = fleet.http("POST /v1/fleet/requests", &"x".repeat(70_000));
    assert_eq!(code, 413);
}
