//! `dwcp kv`: keys and values through the etcd door, from any node.

use crate::client::{Client, ClientError, Endpoints};
use crate::etcd::message as pb;
use bytes::Bytes;
use clap::{Args, Subcommand};

/// Keys and values of a keyspace, through the etcd door of any node.
#[derive(Args, Debug)]
pub struct Kv {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
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

/// Does it, with the first node that answers.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: Kv, json: bool) -> Result<(), String> {
    let client = args.endpoints.connect().await?;
    match &args.command {
        KvCommand::Get { key, prefix, revision, serializable } => {
            get(&client, key, *prefix, *revision, *serializable, json).await
        }
        KvCommand::Put { key, value } => put(&client, key, value, json).await,
        KvCommand::Del { key, prefix } => del(&client, key, *prefix, json).await,
    }
}

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

async fn get(
    client: &Client,
    key: &str,
    prefix: bool,
    at: i64,
    serializable: bool,
    json: bool,
) -> Result<(), String> {
    let question = pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: if prefix { prefix_end(key.as_bytes()) } else { Bytes::new() },
        revision: at,
        serializable,
        ..Default::default()
    };
    let answer: pb::RangeResponse = client.call("/etcdserverpb.KV/Range", &question).await.map_err(said)?;
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
        println!(
            "{}",
            serde_json::json!({ "revision": revision(&answer.header), "count": answer.count, "kvs": kvs })
        );
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
        return Err(format!("there is no key {key:?} at revision {}", revision(&answer.header)));
    }
    Ok(())
}

async fn put(client: &Client, key: &str, value: &str, json: bool) -> Result<(), String> {
    let question = pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    };
    let answer: pb::PutResponse = client.call("/etcdserverpb.KV/Put", &question).await.map_err(said)?;
    let revision = revision(&answer.header);
    if json {
        println!("{}", serde_json::json!({ "revision": revision }));
    } else {
        println!("written at revision {revision}");
    }
    Ok(())
}

async fn del(client: &Client, key: &str, prefix: bool, json: bool) -> Result<(), String> {
    let question = pb::DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: if prefix { prefix_end(key.as_bytes()) } else { Bytes::new() },
        prev_kv: false,
    };
    let answer: pb::DeleteRangeResponse =
        client.call("/etcdserverpb.KV/DeleteRange", &question).await.map_err(said)?;
    if json {
        println!(
            "{}",
            serde_json::json!({ "revision": revision(&answer.header), "deleted": answer.deleted })
        );
    } else {
        println!("{} deleted", answer.deleted);
    }
    Ok(())
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
