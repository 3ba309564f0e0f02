//! `dwcp crdt`: what lies under a key of an eventual keyspace, who wrote it, why a value won; and how replicas fare.
//!
//! All is asked at the Redis door, with `DWCP.EXPLAIN` and `DWCP.STATUS`: what this shows any Redis client can ask for.

use crate::config::duration;
use crate::dev::layout::Layout;
use crate::redis::client::{Client, Value};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at whether a node is evicted.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Eventual keyspaces from inside: a key's concurrent values, who wrote them, why one won, who lags.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  dwcp crdt get cart --siblings\n  dwcp crdt why visits\n  dwcp crdt status\n  dwcp crdt evict 3\n  dwcp --output json crdt history cart"
)]
pub struct Crdt {
    /// Redis doors of the nodes; without them, those of the development cluster in `--dir`.
    #[arg(long, global = true, value_delimiter = ',')]
    pub redis: Vec<SocketAddr>,
    /// Where the development cluster lies.
    #[arg(long, global = true, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
    /// Which eventual keyspace, by name or number; left out: the first one.
    #[arg(long, global = true)]
    pub keyspace: Option<String>,
    /// A file whose first line is the password.
    #[arg(long, global = true)]
    pub password_file: Option<PathBuf>,
    /// What to show.
    #[command(subcommand)]
    pub command: CrdtCommand,
}

/// What to show.
#[derive(Subcommand, Debug)]
pub enum CrdtCommand {
    /// Prints a key's value: a string, or a line for each element.
    Get {
        /// The key.
        key: String,
        /// All values that no other has superseded, the shown one first.
        #[arg(long)]
        siblings: bool,
    },
    /// Lists the operations that are alive under a key, in the order of their times. What they superseded is gone
    /// as soon as all replicas have it.
    History {
        /// The key.
        key: String,
    },
    /// Tells what is shown of a key, and for each value why it is or is not.
    Why {
        /// The key.
        key: String,
    },
    /// Tells of each node how its replica fares: who lags, what is not yet everywhere, the state's fingerprint.
    Status,
    /// Closes the place of a node that will not come back soon, now instead of after a day of silence: logs are no longer kept for it,
    /// tombstones wait for it no longer. What the others have of it counts. Should it come back after all, it loses nothing: what
    /// it had that nobody received is made anew under its next place.
    Evict {
        /// The node's number, as `status` shows it.
        node: u64,
        /// How long to wait for the others to agree.
        #[arg(long, default_value = "30s", value_parser = duration)]
        within: dwcp_env::Duration,
    },
}

impl Crdt {
    fn doors(&self) -> Result<Vec<SocketAddr>, String> {
        if !self.redis.is_empty() {
            return Ok(self.redis.clone());
        }
        Ok(Layout::existing(&self.dir)?.places().into_iter().map(|p| p.redis).collect())
    }

    async fn open(&self, door: SocketAddr) -> Result<Client, String> {
        let password = match &self.password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("can't read {}: {e}", path.display()))?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        let mut client = Client::connect(door, password.as_deref()).await.map_err(|e| e.to_string())?;
        if let Some(name) = &self.keyspace {
            client.ask(&[b"SELECT", name.as_bytes()]).await.map_err(|e| e.to_string())?;
        }
        Ok(client)
    }

    /// A connection to the first node that answers.
    async fn connect(&self) -> Result<Client, String> {
        let mut silent = Vec::new();
        for door in self.doors()? {
            match self.open(door).await {
                Ok(client) => return Ok(client),
                Err(why) => silent.push(why),
            }
        }
        Err(format!("no node answers: {}", silent.join("; ")))
    }
}

/// Does it.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: Crdt, json: bool) -> Result<(), String> {
    match &args.command {
        CrdtCommand::Status => status(&args, json).await,
        CrdtCommand::Evict { node, within } => evict(&args, *node, *within, json).await,
        CrdtCommand::Get { key, siblings } => get(&mut args.connect().await?, key, *siblings, json).await,
        CrdtCommand::History { key } => {
            let explained = explain(&mut args.connect().await?, key).await?;
            history(&explained, json);
            Ok(())
        }
        CrdtCommand::Why { key } => {
            let explained = explain(&mut args.connect().await?, key).await?;
            why(key, &explained, json)
        }
    }
}

async fn ask(client: &mut Client, words: &[&[u8]]) -> Result<Value, String> {
    client.ask(words).await.map_err(|e| e.to_string())
}

async fn asked_json(client: &mut Client, words: &[&[u8]]) -> Result<Json, String> {
    let answer = ask(client, words).await?;
    let bytes = answer.bytes().ok_or("the answer is no text: is this the Redis door of a dwcp node?")?;
    serde_json::from_slice(bytes).map_err(|e| format!("the answer makes no sense: {e}"))
}

async fn explain(client: &mut Client, key: &str) -> Result<Json, String> {
    asked_json(client, &[b"DWCP.EXPLAIN", key.as_bytes()]).await
}

/// The elements of an answer as text.
fn lines(value: &Value) -> Vec<String> {
    let text = |v: &Value| v.bytes().map_or_else(String::new, |b| String::from_utf8_lossy(b).into_owned());
    match value {
        Value::Null => Vec::new(),
        Value::Number(n) => vec![n.to_string()],
        Value::Array(all) | Value::Push(all) => all.iter().map(text).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [text(k), text(v)]).collect(),
        one => vec![text(one)],
    }
}

async fn get(client: &mut Client, key: &str, siblings: bool, json: bool) -> Result<(), String> {
    let name = key.as_bytes();
    let kind = ask(client, &[b"TYPE", name]).await?;
    let kind = lines(&kind).concat();
    let words: &[&[u8]] = match kind.as_str() {
        "none" => return Err(format!("there is no key {key:?}")),
        "string" if siblings => &[b"DWCP.SIBLINGS", name],
        "string" => &[b"GET", name],
        "set" => &[b"SMEMBERS", name],
        "hash" => &[b"HGETALL", name],
        "list" => &[b"LRANGE", name, b"0", b"-1"],
        other => return Err(format!("{key:?} is a {other}, which this command can't show")),
    };
    let all = lines(&ask(client, words).await?);
    if json {
        println!("{}", json!({ "key": key, "type": kind, "values": all }));
    } else if kind == "hash" {
        all.chunks_exact(2).for_each(|pair| println!("{}\t{}", pair[0], pair[1]));
    } else {
        all.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Text, or what stands for bytes that are none.
fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn entries(explained: &Json) -> Vec<Json> {
    let mut all = explained["entries"].as_array().cloned().unwrap_or_default();
    let time = |e: &Json| {
        (
            e["time"]["ms"].as_u64(),
            e["time"]["counter"].as_u64(),
            e["dot"]["replica"].as_u64(),
            e["dot"]["sequence"].as_u64(),
        )
    };
    all.sort_by_key(time);
    all
}

/// `[replica:sequence] node 3, 12:00:01.250, field a (or-set)`.
fn line(entry: &Json) -> String {
    let dot = format!("{}:{}", entry["dot"]["replica"], entry["dot"]["sequence"]);
    let node = entry["writer"]["node"].as_u64().map_or("?".to_owned(), |n| n.to_string());
    let when = entry["time"]["ms"].as_u64().map_or("-".to_owned(), |ms| {
        // The day is seldom in doubt, the order within it often is.
        let day = ms % 86_400_000;
        let (h, m, s) = (day / 3_600_000, day / 60_000 % 60, day / 1_000 % 60);
        format!("{h:02}:{m:02}:{s:02}.{:03}+{}", day % 1_000, entry["time"]["counter"])
    });
    let path: Vec<String> =
        entry["path"].as_array().map(|p| p.iter().map(shown).collect()).unwrap_or_default();
    format!(
        "{dot:<14} node {node:<4} {when:<17} {:<14} {:<16} {}",
        shown(&entry["kind"]),
        path.join("/"),
        shown(&entry["value"])
    )
}

fn history(explained: &Json, json: bool) {
    if json {
        println!("{}", json!({ "key": explained["key"], "operations": entries(explained) }));
        return;
    }
    println!("{:<14} {:<9} {:<17} {:<14} {:<16} VALUE", "DOT", "WRITER", "TIME (UTC)", "KIND", "UNDER");
    entries(explained).iter().for_each(|e| println!("{}", line(e)));
    if explained["cut"] == true {
        println!("… and more than fits an answer");
    }
}

fn why(key: &str, explained: &Json, json: bool) -> Result<(), String> {
    if json {
        println!("{explained}");
        return Ok(());
    }
    let all = entries(explained);
    if all.is_empty() {
        return Err(format!("nothing lies under {key:?} on this node"));
    }
    match &explained["shown"] {
        Json::Null => println!("{key}: no single value is shown; its parts are"),
        value => println!("{key} = {}", shown(value)),
    }
    for entry in all.iter().rev() {
        println!("  {}", line(entry));
        if let Some(why) = entry["shown"].as_str() {
            println!("  {:14} {why}", "");
        }
    }
    if let Some(ms) = explained["deadline_ms"].as_u64() {
        println!("  goes at {ms} ms since 1970");
    }
    Ok(())
}

async fn status(args: &Crdt, json: bool) -> Result<(), String> {
    let doors = args.doors()?;
    let mut silent = 0;
    if !json {
        println!(
            "{:<22} {:<12} {:<8} {:>8} {:>10} {:>8} {:<32}  lag by node",
            "DOOR", "KEYSPACE", "REPLICA", "KEYS", "UNSTABLE", "PENDING", "FINGERPRINT"
        );
    }
    for door in &doors {
        let one = async {
            let mut client = args.open(*door).await?;
            asked_json(&mut client, &[b"DWCP.STATUS"]).await
        };
        match one.await {
            Ok(status) if json => println!("{}", json!({ "door": door, "status": status })),
            Ok(status) => print(door, &status),
            Err(why) => {
                silent += 1;
                match json {
                    true => println!("{}", json!({ "door": door, "error": why })),
                    false => println!("{:<22} silent: {why}", door.to_string()),
                }
            }
        }
    }
    if silent == doors.len() {
        return Err("no node answers; is the cluster running? (`dwcp dev`)".into());
    }
    Ok(())
}

/// Asks each node in turn to see to it, and waits until one says that the place is gone.
async fn evict(args: &Crdt, node: u64, within: dwcp_env::Duration, json: bool) -> Result<(), String> {
    let until = Instant::now() + within.to_std();
    let mut refused = Vec::new();
    for door in args.doors()? {
        let mut client = match args.open(door).await {
            Ok(client) => client,
            Err(why) => {
                refused.push(why);
                continue;
            }
        };
        if let Err(why) = ask(&mut client, &[b"DWCP.EVICT", node.to_string().as_bytes()]).await {
            refused.push(format!("{door}: {why}"));
            continue;
        }
        while Instant::now() < until {
            let status = asked_json(&mut client, &[b"DWCP.STATUS"]).await?;
            let peers = status["peers"].as_array().map_or(&[][..], |p| p);
            if !peers.iter().any(|p| p["node"] == node) {
                match json {
                    true => println!("{}", json!({ "evicted": node, "roster_epoch": status["epoch"] })),
                    false => println!("node {node} is evicted; if it comes back it takes another place"),
                }
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        return Err(format!(
            "node {node} was not evicted within {within}: every active node has to say what it has of it, and the strong keyspace that \
             holds the roster needs a quorum. The request stands for a minute: look with `dwcp crdt status`"
        ));
    }
    Err(format!("no node sees to it: {}", refused.join("; ")))
}

fn print(door: &SocketAddr, s: &Json) {
    let replica = match &s["replica"] {
        Json::Null => "none".to_owned(),
        r => format!("{}@{}", r["replica"], r["incarnation"]),
    };
    let peer = |p: &Json| {
        let standing = shown(&p["standing"]);
        let note = if standing == "active" { String::new() } else { format!(" ({standing})") };
        format!("{}:{}{note}", p["node"], p["behind"])
    };
    let lag: Vec<String> =
        s["peers"].as_array().map(|all| all.iter().map(peer).collect()).unwrap_or_default();
    println!(
        "{:<22} {:<12} {replica:<8} {:>8} {:>10} {:>8} {:<32}  {}",
        door.to_string(),
        shown(&s["keyspace"]),
        s["keys"].to_string(),
        s["unstable_operations"].to_string(),
        s["pending"].to_string(),
        shown(&s["fingerprint"]),
        lag.join(" ")
    );
    if let Some(why) = s["waiting_for"].as_str() {
        println!("    {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_in_the_order_of_their_times() {
        let entry = |ms: u64, sequence: u64| {
            json!({ "dot": { "replica": 1, "sequence": sequence }, "time": { "ms": ms, "counter": 0 }, "kind": "or-set",
                "path": ["f"], "writer": { "node": 3 }, "value": { "base64": "/w==" } })
        };
        let explained = json!({ "entries": [entry(86_400_000 + 3_723_004, 2), entry(5, 1)] });
        let all = entries(&explained);
        assert_eq!(all[0]["dot"]["sequence"], 1);
        let text = line(&all[1]);
        for part in ["1:2", "node 3", "01:02:03.004+0", "or-set", "f", "/w=="] {
            assert!(text.contains(part), "{text}");
        }
    }
}
