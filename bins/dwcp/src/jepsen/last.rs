//! The last reads: everything every node holds, with its whole past, when the world is whole again.
//!
//! A watch from the first revision on tells every change of every key. Nodes whose tales differ do not
//! hold the same state; and the tale says what each key held at any revision, which is what
//! the judges of durability ask.

use super::door;
use crate::client::Client;
use bytes::Bytes;
use dwcp_store::api::{EventKind, RangeRequest, WatchEvent};
use dwcp_workload::judge::Held;
use dwcp_workload::{Answer, Ask};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// One node tells everything within this, or it counts as silent.
const WITHIN: Duration = Duration::from_secs(60);
/// Every key there can be.
const EVERYTHING: &[u8] = b"\0";

/// What a node holds: every version of every key.
#[derive(Debug, Default)]
pub(super) struct Past {
    keys: BTreeMap<Bytes, Vec<(i64, Option<Bytes>)>>,
    revision: i64,
}

impl Held for Past {
    fn at(&self, key: &[u8], revision: i64) -> Result<Option<(Vec<u8>, i64)>, String> {
        let Some(versions) = self.keys.get(key) else { return Ok(None) };
        let until = versions.partition_point(|(at, _)| *at <= revision);
        let last = until.checked_sub(1).map(|i| &versions[i]);
        Ok(last.and_then(|(at, value)| Some((value.as_ref()?.to_vec(), *at))))
    }
    fn revision(&self) -> i64 {
        self.revision
    }
}

/// What the nodes hold that agree, by the kind of keyspace that the run was about.
#[derive(Debug)]
pub(super) enum Kept {
    Strong(Past),
    Eventual(super::eventual::Contents),
}

/// Changes up to a revision, in order.
type Tale = Vec<(i64, Bytes, Option<Bytes>)>;

/// Reads all nodes: the past they agree on, and what they do not agree on.
///
/// # Errors
/// A node that does not answer.
pub(super) async fn read(
    doors: &BTreeMap<dwcp_env::NodeId, SocketAddr>,
) -> Result<(Past, Vec<String>), String> {
    let mut newest = 0;
    for address in doors.values() {
        newest = newest.max(within(revision(*address)).await?);
    }
    let mut first: Option<(dwcp_env::NodeId, Tale)> = None;
    let mut differ = Vec::new();
    for (node, address) in doors {
        let tale = within(tale(*address, newest)).await.map_err(|e| format!("n{}: {e}", node.0))?;
        match &first {
            None => first = Some((*node, tale)),
            Some((other, expected)) => differ.extend(difference(*other, expected, *node, &tale)),
        }
    }
    let mut past = Past { keys: BTreeMap::new(), revision: newest };
    for (at, key, value) in first.map_or_else(Vec::new, |f| f.1) {
        past.keys.entry(key).or_default().push((at, value));
    }
    Ok((past, differ))
}

fn difference(a: dwcp_env::NodeId, one: &Tale, b: dwcp_env::NodeId, other: &Tale) -> Option<String> {
    let at = one.iter().zip(other).position(|(x, y)| x != y);
    let at = at.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))?;
    let say = |change: Option<&(i64, Bytes, Option<Bytes>)>| match change {
        Some((revision, key, value)) => {
            let value = value.as_ref().map_or("nothing".into(), |v| format!("{v:?}"));
            format!("{key:?} = {value} at {revision}")
        }
        None => "no further change".to_owned(),
    };
    Some(format!("n{} holds {}, n{} {}", a.0, say(one.get(at)), b.0, say(other.get(at))))
}

async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let done = tokio::time::timeout(WITHIN, work).await;
    done.map_err(|_| format!("has not told what it holds within {} s", WITHIN.as_secs()))?
}

async fn revision(address: SocketAddr) -> Result<i64, String> {
    let range = RangeRequest { key: EVERYTHING.into(), count_only: true, ..RangeRequest::default() };
    // After a heal the first questions may still meet an election.
    loop {
        let client = Client::connect(address, None).await.map_err(|e| e.to_string())?;
        match door::ask(&client, &Ask::Range(range.clone())).await {
            Ok(Answer::Said(response)) => return Ok(response.header.revision),
            Ok(other) => return Err(format!("{address} answers a range with {other:?}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn tale(address: SocketAddr, until: i64) -> Result<Tale, String> {
    let client = Client::connect(address, None).await.map_err(|e| e.to_string())?;
    let refused = |r| format!("{address} refuses its past: {r:?}");
    let mut watching = door::watch(&client, EVERYTHING, EVERYTHING, 1).await.map_err(refused)?;
    let mut tale = Vec::new();
    let mut reached = 1;
    while reached < until {
        let Answer::Changes { events, .. } = watching.next().await.map_err(refused)? else { continue };
        for WatchEvent { kind, kv, .. } in events {
            reached = reached.max(kv.mod_revision);
            if kv.mod_revision <= until {
                tale.push((kv.mod_revision, kv.key, (kind == EventKind::Put).then_some(kv.value)));
            }
        }
    }
    Ok(tale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::NodeId;

    fn change(at: i64, value: Option<&'static str>) -> (i64, Bytes, Option<Bytes>) {
        (at, Bytes::from_static(b"k"), value.map(Bytes::from_static_str))
    }

    trait FromText {
        fn from_static_str(text: &'static str) -> Self;
    }
    impl FromText for Bytes {
        fn from_static_str(text: &'static str) -> Self {
            Self::from_static(text.as_bytes())
        }
    }

    #[test]
    fn a_past_knows_what_was_there_at_each_revision() {
        let mut past = Past { revision: 9, ..Past::default() };
        let versions = [change(2, Some("a")), change(5, None), change(7, Some("b"))];
        past.keys.insert("k".into(), versions.into_iter().map(|(at, _, v)| (at, v)).collect());
        let at = |r| past.at(b"k", r).unwrap();
        assert_eq!(at(1), None);
        assert_eq!(at(4), Some((b"a".to_vec(), 2)));
        assert_eq!(at(5), None);
        assert_eq!(at(9), Some((b"b".to_vec(), 7)));
        assert_eq!(past.at(b"other", 9), Ok(None));
    }

    #[test]
    fn tales_that_differ_are_told_apart_at_the_first_change() {
        let one = vec![change(2, Some("a")), change(3, Some("b"))];
        assert_eq!(difference(NodeId(1), &one, NodeId(2), &one.clone()), None);
        let other = vec![change(2, Some("a")), change(3, None)];
        let said = difference(NodeId(1), &one, NodeId(2), &other).unwrap();
        assert!(said.contains("n1 holds") && said.contains("nothing at 3"), "{said}");
        let said = difference(NodeId(1), &one, NodeId(2), &one[..1].to_vec()).unwrap();
        assert!(said.contains("no further change"), "{said}");
    }
}
