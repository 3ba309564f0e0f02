//! `dwcp kv`: keys and values through the etcd door, from any node.

use crate::agree::{Agreed, Doors};
use crate::client::{ClientError, Endpoints};
use crate::etcd::message as pb;
use bytes::Bytes;
use clap::{Args, Subcommand};
use std::time::Duration;

/// A write that is to be confirmed is answered within this, or may or may not have been done.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Keys and values of a keyspace, through the etcd door of any node.
#[derive(Args, Debug)]
#[command(
    after_help = "One node is asked, and believed. Where members may lie (an epoch under pbft) ask all of them:\n  dwcp kv get key --agree                    believes what f + 1 doors say alike, of 3f + 1 that are named (`--endpoints`; those of\n                                             the development cluster are known)\n  dwcp kv put key value --agree              written through one door, believed once f + 1 read it back at the revision it told\n  dwcp kv get key --agree=3                  three must say the same\nWithout so many equal answers within 10 s the command fails, and says who said what."
)]
pub struct Kv {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// Believes an answer once so many of the named doors say the same; without a number: one more than may lie among them, f + 1 of 3f + 1.
    #[arg(long, global = true, value_name = "N", num_args = 0..=1, require_equals = true)]
    pub agree: Option<Option<u16>>,
    /// What to do.
    #[command(subcommand)]
    pub command: KvCommand,
}

/// What to do with keys.
#[derive(Subcommand, Debug)]
pub enum KvCommand {
    /// Prints a key's value.
    Get {
        /// The key.
        key: String,
        /// Every key that begins so.
        #[arg(long)]
        prefix: bool,
        /// As it was at this revision.
        #[arg(long, default_value_t = 0)]
        revision: i64,
        /// From the asked node's own state, possibly stale; works without a quorum.
        #[arg(long)]
        serializable: bool,
    },
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Deletes a key.
    Del {
        /// The key.
        key: String,
        /// Every key that begins so.
        #[arg(long)]
        prefix: bool,
    },
}

/// Does it, with the first node that answers, or with as many as must say the same.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: Kv, json: bool) -> Result<(), String> {
    if let Some(wanted) = args.agree {
        let doors = Doors::of(&args.endpoints, wanted)?;
        return match &args.command {
            KvCommand::Get { serializable: true, .. } => {
                Err("possibly stale answers are not compared: leave --serializable or --agree out".into())
            }
            KvCommand::Get { key, prefix, revision, .. } => {
                let agreed = read_agreed(&doors, &range(key, *prefix, *revision)).await?;
                print_read(key, *prefix, agreed.answer, Some(agreed.by), json)
            }
            KvCommand::Put { key, value } => put_agreed(&doors, key, value, json).await,
            KvCommand::Del { key, prefix } => delete_agreed(&doors, key, *prefix, json).await,
        };
    }
    let client = args.endpoints.connect().await?;
    match &args.command {
        KvCommand::Get { key, prefix, revision, serializable } => {
            let question = pb::RangeRequest { serializable: *serializable, ..range(key, *prefix, *revision) };
            let answer = client.call(RANGE, &question).await.map_err(said)?;
            print_read(key, *prefix, answer, None, json)
        }
        KvCommand::Put { key, value } => {
            let answer: pb::PutResponse = client.call(PUT, &put(key, value)).await.map_err(said)?;
            print_written(revision(&answer.header), None, json);
            Ok(())
        }
        KvCommand::Del { key, prefix } => {
            let answer: pb::DeleteRangeResponse =
                client.call(DELETE, &deletion(key, *prefix)).await.map_err(said)?;
            print_deleted(revision(&answer.header), answer.deleted, None, json);
            Ok(())
        }
    }
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";

/// The first key that no longer begins with the prefix.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(b"\0")
}

fn said(e: ClientError) -> String {
    e.to_string()
}

fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().map_or(0, |h| h.revision)
}

fn range(key: &str, prefix: bool, at: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: if prefix { prefix_end(key.as_bytes()) } else { Bytes::new() },
        revision: at,
        ..Default::default()
    }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    }
}

fn deletion(key: &str, prefix: bool) -> pb::DeleteRangeRequest {
    let pb::RangeRequest { key, range_end, .. } = range(key, prefix, 0);
    pb::DeleteRangeRequest { key, range_end, prev_kv: false }
}

/// What enough doors read alike.
async fn read_agreed(
    doors: &Doors,
    question: &pb::RangeRequest,
) -> Result<Agreed<pb::RangeResponse>, String> {
    // The header tells how far all keys have come: correct members differ in it, and nobody vouches for it.
    doors.ask(RANGE, question, |answer: &mut pb::RangeResponse| answer.header = None, told).await
}

/// An answer in a line.
fn told(answer: &pb::RangeResponse) -> String {
    let shown = answer.kvs.iter().take(3).map(|kv| {
        let (key, value) = (String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value));
        let value: String = value.chars().take(60).collect();
        format!("{key} is {value:?} since revision {}", kv.mod_revision)
    });
    let mut lines: Vec<String> = shown.collect();
    if answer.kvs.len() > lines.len() {
        lines.push(format!("{} keys in all", answer.kvs.len()));
    }
    if lines.is_empty() { "nothing is there".into() } else { lines.join(", ") }
}

/// Asks doors in turn for a write until one has taken it; whose word is still to be confirmed.
async fn through_one<Q: prost::Message, A: prost::Message + Default>(
    doors: &Doors,
    path: &str,
    question: &Q,
) -> Result<(String, A), String> {
    let mut silent = Vec::new();
    for (name, address) in doors.each() {
        match doors.connect(*address).await {
            Ok(client) => {
                let answer = tokio::time::timeout(WRITE_WITHIN, client.call(path, question)).await;
                let late = || format!("{name} did not answer in time; it may or may not have been done");
                let answer = answer.map_err(|_| late())?.map_err(|e| format!("{name}: {e}"))?;
                return Ok((name.clone(), answer));
            }
            // Nothing was sent: another may be asked.
            Err(e) => silent.push(e.to_string()),
        }
    }
    Err(format!("no node answers: {}", silent.join("; ")))
}

/// Nobody confirms what a door says it has done.
fn unconfirmed(name: &str, what: &str, why: &str) -> String {
    format!(
        "{name} says {what}, and that is not believed: {why}\nIt may or may not have been done; another door may be named first (`--endpoints`)"
    )
}

async fn put_agreed(doors: &Doors, key: &str, value: &str, json: bool) -> Result<(), String> {
    let (name, answer): (_, pb::PutResponse) = through_one(doors, PUT, &put(key, value)).await?;
    let at = revision(&answer.header);
    let not = |why: &str| unconfirmed(&name, &format!("that it wrote at revision {at}"), why);
    // No revision is below 1: 0 would ask for the newest.
    if at < 1 {
        return Err(not("there is no such revision"));
    }
    let read = read_agreed(doors, &range(key, false, at)).await.map_err(|why| not(&why))?;
    let wrote = |kv: &pb::KeyValue| kv.mod_revision == at && kv.value == value.as_bytes();
    if !read.answer.kvs.iter().any(wrote) {
        return Err(not(&format!("{} say {}", read.by.join(", "), told(&read.answer))));
    }
    print_written(at, Some(read.by), json);
    Ok(())
}

async fn delete_agreed(doors: &Doors, key: &str, prefix: bool, json: bool) -> Result<(), String> {
    let (name, answer): (_, pb::DeleteRangeResponse) =
        through_one(doors, DELETE, &deletion(key, prefix)).await?;
    let (at, deleted) = (revision(&answer.header), answer.deleted);
    let not = |why: &str| unconfirmed(&name, &format!("that it deleted {deleted} at revision {at}"), why);
    if at < 1 || deleted < 0 {
        return Err(not("there is no such revision, or number"));
    }
    let after = read_agreed(doors, &range(key, prefix, at)).await.map_err(|why| not(&why))?;
    if !after.answer.kvs.is_empty() {
        return Err(not(&format!("{} say {}", after.by.join(", "), told(&after.answer))));
    }
    if deleted > 0 {
        let question = pb::RangeRequest { count_only: true, ..range(key, prefix, (at - 1).max(1)) };
        let before = read_agreed(doors, &question).await.map_err(|why| not(&why))?;
        if before.answer.count != deleted {
            let count = before.answer.count;
            return Err(not(&format!("{} say that there were {count} before", before.by.join(", "))));
        }
    }
    print_deleted(at, deleted, Some(after.by), json);
    Ok(())
}

fn print_read(
    key: &str,
    prefix: bool,
    answer: pb::RangeResponse,
    agreed_by: Option<Vec<String>>,
    json: bool,
) -> Result<(), String> {
    if json {
        let kvs: Vec<_> = answer
            .kvs
            .iter()
            .map(|kv| {
                serde_json::json!({
                    "key": String::from_utf8_lossy(&kv.key), "value": String::from_utf8_lossy(&kv.value),
                    "mod_revision": kv.mod_revision, "create_revision": kv.create_revision, "version": kv.version, "lease": kv.lease,
                })
            })
            .collect();
        let mut document = serde_json::json!({ "count": answer.count, "kvs": kvs });
        match agreed_by {
            Some(by) => document["agreed_by"] = by.into(),
            None => document["revision"] = revision(&answer.header).into(),
        }
        println!("{document}");
        return Ok(());
    }
    for kv in &answer.kvs {
        if prefix {
            println!("{}\t{}", String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value));
        } else {
            println!("{}", String::from_utf8_lossy(&kv.value));
        }
    }
    if answer.kvs.is_empty() && !prefix {
        return Err(match agreed_by {
            Some(by) => format!("there is no key {key:?} (so say {})", by.join(", ")),
            None => format!("there is no key {key:?} at revision {}", revision(&answer.header)),
        });
    }
    Ok(())
}

fn print_written(revision: i64, agreed_by: Option<Vec<String>>, json: bool) {
    match (json, agreed_by) {
        (true, Some(by)) => println!("{}", serde_json::json!({ "revision": revision, "agreed_by": by })),
        (true, None) => println!("{}", serde_json::json!({ "revision": revision })),
        (false, Some(by)) => println!("written at revision {revision}, so say {}", by.join(", ")),
        (false, None) => println!("written at revision {revision}"),
    }
}

fn print_deleted(revision: i64, deleted: i64, agreed_by: Option<Vec<String>>, json: bool) {
    let mut document = serde_json::json!({ "revision": revision, "deleted": deleted });
    match (json, agreed_by) {
        (true, by) => {
            if let Some(by) = by {
                document["agreed_by"] = by.into();
            }
            println!("{document}");
        }
        (false, Some(by)) => println!("{deleted} deleted, so say {}", by.join(", ")),
        (false, None) => println!("{deleted} deleted"),
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn a_prefix_ends_behind_its_last_key() {
        assert_eq!(&prefix_end(b"ab")[..], b"ac");
        assert_eq!(&prefix_end(b"a\xff")[..], b"b");
        assert_eq!(&prefix_end(b"\xff")[..], b"\0");
    }
}
