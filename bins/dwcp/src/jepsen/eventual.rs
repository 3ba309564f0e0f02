//! A client's questions to an eventual keyspace, in Redis' words; and what every node holds at the end.
//!
//! What an answer says about the fate of a write:
//!
//! | answer | the client is told |
//! |---|---|
//! | a reply | it was done, with this result |
//! | no connection; `BUSY`; `CLOCK`; `EXECABORT`; `LOADING`, unless the node is stopping | it was not done |
//! | anything else: an outcome unknown, a connection lost, a node that stops | nobody knows |
//!
//! **The end.** Healed and left alone, all nodes are to show one version and one fingerprint within [`CONVERGE_WITHIN`]. Then
//! each is asked for all that clients may have written, and what they say is compared: a fingerprint is a node's
//! own word, what clients are shown is not.

use crate::redis::client::{Client, ClientError, Value, encoded};
use bytes::Bytes;
use dwcp_env::NodeId;
use dwcp_eventual::{Command, Expiry, Reply};
use dwcp_workload::converged::Holds;
use dwcp_workload::script::{counter_key, list_key, map_key, register_key, set_key};
use dwcp_workload::{Answer, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// All nodes hold the same within this time after the last write.
const CONVERGE_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Asks one command.
///
/// # Errors
/// What is known of its fate.
pub(super) async fn ask(client: &mut Client, command: &Command) -> Result<Answer, Refusal> {
    // Nothing else is asked by the workload; not sent, so not done.
    let Some(words) = words(command) else { return Err(Refusal::NotDone { hint: None }) };
    let words: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
    let value = client.ask(&words).await.map_err(|e| refusal(&e))?;
    reply(value).map(Answer::Replied).ok_or(Refusal::Unknown)
}

/// Asks several commands as one.
///
/// # Errors
/// What is known of their fate.
pub(super) async fn ask_together(client: &mut Client, commands: &[Command]) -> Result<Answer, Refusal> {
    let all: Option<Vec<Vec<Bytes>>> = commands.iter().map(words).collect();
    let Some(all) = all else { return Err(Refusal::NotDone { hint: None }) };
    // Only once it has said that it queues: else each would be done by itself.
    client.ask(&[b"MULTI"]).await.map_err(|e| refusal(&e))?;
    let mut bytes = Vec::new();
    for words in &all {
        let words: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
        bytes.extend(encoded(&words));
    }
    bytes.extend(encoded(&[b"EXEC"]));
    client.send(&bytes).await.map_err(|e| refusal(&e))?;
    for _ in &all {
        // A command that can't be queued spoils the transaction, and `EXEC` says so.
        client.next().await.map_err(|e| refusal(&e))?;
    }
    match client.next().await.map_err(|e| refusal(&e))? {
        Value::Array(replies) if replies.len() == all.len() => {
            Ok(Answer::Replies(replies.into_iter().map(reply).collect()))
        }
        Value::Error(why) => Err(refusal(&ClientError::Refused(why))),
        _ => Err(Refusal::Unknown),
    }
}

fn words(command: &Command) -> Option<Vec<Bytes>> {
    let with = |name: &'static str, rest: Vec<Bytes>| {
        let mut words = vec![Bytes::from_static(name.as_bytes())];
        words.extend(rest);
        Some(words)
    };
    let key_and = |key: &Bytes, rest: &[Bytes]| [std::slice::from_ref(key), rest].concat();
    match command {
        Command::SAdd { key, members } => with("SADD", key_and(key, members)),
        Command::SRem { key, members } => with("SREM", key_and(key, members)),
        Command::IncrBy { key, by } => with("INCRBY", vec![key.clone(), by.to_string().into()]),
        Command::Set { key, value, expiry: Expiry::Never } => with("SET", vec![key.clone(), value.clone()]),
        Command::HSet { key, pairs } => {
            let pairs: Vec<Bytes> = pairs.iter().flat_map(|(f, v)| [f.clone(), v.clone()]).collect();
            with("HSET", key_and(key, &pairs))
        }
        Command::HDel { key, fields } => with("HDEL", key_and(key, fields)),
        Command::HKeys { key } => with("HKEYS", vec![key.clone()]),
        Command::SMembers { key } => with("SMEMBERS", vec![key.clone()]),
        Command::RPush { key, values } => with("RPUSH", key_and(key, values)),
        Command::LPush { key, values } => with("LPUSH", key_and(key, values)),
        Command::LRem { key, count, value } => {
            with("LREM", vec![key.clone(), count.to_string().into(), value.clone()])
        }
        Command::LRange { key, start, stop } => {
            with("LRANGE", vec![key.clone(), start.to_string().into(), stop.to_string().into()])
        }
        Command::Del { keys } => with("DEL", keys.clone()),
        Command::Get { key } => with("GET", vec![key.clone()]),
        _ => None,
    }
}

fn reply(value: Value) -> Option<Reply> {
    Some(match value {
        Value::Simple(_) => Reply::Done,
        Value::Number(n) => Reply::Number(n),
        Value::Bulk(bytes) => Reply::Value(Some(bytes)),
        Value::Null => Reply::Value(None),
        Value::Array(all) => {
            Reply::Elements(all.iter().map(|v| v.bytes().map(Bytes::copy_from_slice)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// What an error says about the fate of what was asked.
pub(super) fn refusal(error: &ClientError) -> Refusal {
    let undone = match error {
        ClientError::Connect { .. } => true,
        ClientError::Refused(text) => {
            let stops = text.contains("stopping");
            ["BUSY ", "CLOCK ", "LOADING ", "EXECABORT "].iter().any(|code| text.starts_with(code)) && !stops
        }
        ClientError::Lost(_) | ClientError::Nonsense(_) => false,
    };
    if undone { Refusal::NotDone { hint: None } } else { Refusal::Unknown }
}

/// All that a node shows of what clients wrote.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Contents {
    sets: BTreeMap<u64, BTreeSet<Bytes>>,
    counters: BTreeMap<u64, i128>,
    registers: BTreeMap<u64, Bytes>,
    maps: BTreeMap<u64, BTreeSet<Bytes>>,
    lists: BTreeMap<u64, Vec<Bytes>>,
}

impl Holds for Contents {
    fn contains(&self, set: u64, element: u64) -> bool {
        self.sets.get(&set).is_some_and(|s| s.contains(&element.to_be_bytes()[..]))
    }
    fn total(&self, counter: u64) -> Option<i128> {
        self.counters.get(&counter).copied()
    }
    fn value(&self, register: u64) -> Option<Vec<u8>> {
        self.registers.get(&register).map(|v| v.to_vec())
    }
    fn field(&self, map: u64, field: u64) -> bool {
        self.maps.get(&map).is_some_and(|m| m.contains(&field.to_be_bytes()[..]))
    }
    fn list(&self, list: u64) -> Vec<Vec<u8>> {
        self.lists.get(&list).into_iter().flatten().map(|e| e.to_vec()).collect()
    }
}

/// Waits until all nodes have converged and reads them: what they agree on, and what they do not agree on.
///
/// # Errors
/// A node that does not answer.
pub(super) async fn read(
    doors: &BTreeMap<NodeId, SocketAddr>,
    keys: u64,
) -> Result<(Contents, Vec<String>), String> {
    let mut differ: Vec<String> = converge(doors).await.err().into_iter().collect();
    let mut first: Option<(NodeId, Contents)> = None;
    for (node, address) in doors {
        let held = contents(*address, keys).await.map_err(|e| format!("n{}: {e}", node.0))?;
        match &first {
            None => first = Some((*node, held)),
            Some((other, expected)) => differ.extend(difference((*other, expected), (*node, &held))),
        }
    }
    Ok((first.map(|f| f.1).unwrap_or_default(), differ))
}

/// Waits until all show one version and one fingerprint.
async fn converge(doors: &BTreeMap<NodeId, SocketAddr>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let mut seen: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for (node, address) in doors {
            let shown = match status(*address).await {
                Ok(status) => (status["version"].to_string(), status["fingerprint"].to_string()),
                Err(why) => (why, String::new()),
            };
            seen.entry(shown).or_default().push(format!("n{}", node.0));
        }
        if seen.len() == 1 && seen.keys().all(|(_, print)| !print.is_empty()) {
            return Ok(());
        }
        if begun.elapsed() > CONVERGE_WITHIN {
            let each: Vec<String> =
                seen.iter().map(|((v, f), who)| format!("{}: {v} {f}", who.join(" "))).collect();
            let within = CONVERGE_WITHIN.as_secs();
            return Err(format!("not converged {within} s after the last write: {}", each.join("; ")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn status(address: SocketAddr) -> Result<serde_json::Value, String> {
    let mut client = Client::connect(address, None).await.map_err(|e| e.to_string())?;
    let value = client.ask(&[b"DWCP.STATUS"]).await.map_err(|e| e.to_string())?;
    serde_json::from_slice(value.bytes().unwrap_or_default()).map_err(|e| e.to_string())
}

async fn contents(address: SocketAddr, keys: u64) -> Result<Contents, String> {
    let mut client = Client::connect(address, None).await.map_err(|e| e.to_string())?;
    let mut held = Contents::default();
    for n in 0..keys {
        let lists = client.ask(&[b"LRANGE", &list_key(n), b"0", b"-1"]).await.map_err(|e| e.to_string())?;
        held.lists.insert(n, names(lists));
        let mut asked =
            async |command: &[u8], key: Bytes| client.ask(&[command, &key]).await.map_err(|e| e.to_string());
        held.sets.insert(n, names(asked(b"SMEMBERS", set_key(n)).await?));
        held.maps.insert(n, names(asked(b"HKEYS", map_key(n)).await?));
        if let Some(total) = asked(b"GET", counter_key(n)).await?.bytes() {
            let number = std::str::from_utf8(total).ok().and_then(|t| t.parse().ok());
            held.counters.insert(n, number.ok_or_else(|| format!("counter {n} is {total:?}"))?);
        }
        if let Value::Bulk(value) = asked(b"GET", register_key(n)).await? {
            held.registers.insert(n, value);
        }
    }
    Ok(held)
}

fn names<All: Default + FromIterator<Bytes>>(value: Value) -> All {
    let Value::Array(all) = value else { return All::default() };
    all.into_iter()
        .filter_map(|v| match v {
            Value::Bulk(bytes) => Some(bytes),
            _ => None,
        })
        .collect()
}

fn difference((a, one): (NodeId, &Contents), (b, other): (NodeId, &Contents)) -> Option<String> {
    let (a, b) = (a.0, b.0);
    let sets = |what, one: &BTreeMap<u64, BTreeSet<Bytes>>, other: &BTreeMap<u64, BTreeSet<Bytes>>| {
        one.iter().find(|(n, set)| other.get(n) != Some(set)).map(|(n, set)| {
            let theirs = other.get(n).map_or(0, BTreeSet::len);
            format!("{what} {n} has {} elements on n{a}, {theirs} on n{b}, not the same", set.len())
        })
    };
    sets("set", &one.sets, &other.sets)
        .or_else(|| sets("map", &one.maps, &other.maps))
        .or_else(|| {
            let (n, total) = one.counters.iter().find(|(n, t)| other.counters.get(n) != Some(t))?;
            Some(format!("counter {n} is {total} on n{a}, {:?} on n{b}", other.counters.get(n)))
        })
        .or_else(|| {
            let (n, list) = one.lists.iter().find(|(n, l)| other.lists.get(n) != Some(l))?;
            let theirs = other.lists.get(n).map_or(0, Vec::len);
            Some(format!(
                "list {n} has {} elements on n{a}, {theirs} on n{b}, not the same in one order",
                list.len()
            ))
        })
        .or_else(|| (one != other).then(|| format!("n{a} and n{b} show different registers")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_what_is_known_of_a_write() {
        let refused = |text: &str| refusal(&ClientError::Refused(text.into()));
        for undone in ["BUSY too much", "CLOCK 5 s off", "LOADING this replica can't serve yet: it waits"] {
            assert!(matches!(refused(undone), Refusal::NotDone { .. }), "{undone}");
        }
        for unknown in ["ERR the outcome is unknown", "LOADING the node is stopping; ask another one"] {
            assert!(matches!(refused(unknown), Refusal::Unknown), "{unknown}");
        }
        assert!(matches!(refusal(&ClientError::Lost("closed".into())), Refusal::Unknown));
    }

    #[test]
    fn nodes_that_differ_are_told_apart() {
        let mut one = Contents::default();
        one.sets.insert(1, [Bytes::from_static(b"a")].into());
        one.counters.insert(2, 7);
        let mut other = one.clone();
        let difference = |one: &Contents, other: &Contents| difference((NodeId(1), one), (NodeId(2), other));
        assert_eq!(difference(&one, &other), None);
        other.counters.insert(2, 8);
        assert!(difference(&one, &other).unwrap().contains("counter 2 is 7 on n1"));
        other.sets.insert(1, BTreeSet::new());
        assert!(difference(&one, &other).unwrap().contains("set 1"));
        let mut other = one.clone();
        one.lists.insert(3, vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        other.lists.insert(3, vec![Bytes::from_static(b"b"), Bytes::from_static(b"a")]);
        assert!(difference(&one, &other).unwrap().contains("list 3 has 2 elements on n1, 2 on n2"));
    }
}
