//! Work carried to the keyspaces: reads behind a barrier, transactions through the log.

use super::backstop::Backstop;
use crate::etcd::Backend;
use bytes::Bytes;
use dwcp_consensus::Role;
use dwcp_env::{GroupId, Now};
use dwcp_fleet::command::{Answer, Request};
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::name::Region;
use dwcp_fleet::refusal::{Code, Refusal};
use dwcp_fleet::transaction::{Check, Transaction, Write};
use dwcp_fleet::view::Fetch;
use dwcp_fleet::work::{Next, Work};
use dwcp_node::{Answer as Told, Ask, AskError, WatchRequest};
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, Op, PutRequest, RangeRequest, TxnOp,
    TxnRequest,
};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A request has this long.
pub(super) const REQUEST_WITHIN: Duration = Duration::from_secs(15);
/// One question to a group has this long.
const STEP_WITHIN: Duration = Duration::from_secs(5);
/// What a node says of itself has this long.
const ROLE_WITHIN: Duration = Duration::from_secs(1);
/// Between a question without an answer and the next, unless something changes before: an election takes about so long.
const REST: Duration = Duration::from_millis(200);

/// Which keyspaces hold what.
#[derive(Clone, Debug, Default)]
pub struct Keyspaces {
    /// The fleet's, and the regions' that are not named.
    pub default: String,
    /// Regions with a keyspace of their own.
    pub regions: BTreeMap<String, String>,
}

impl Keyspaces {
    /// The keyspace of a scope.
    #[must_use]
    pub fn of(&self, scope: &Scope) -> &str {
        match scope {
            Scope::Global => &self.default,
            Scope::Region(region) => self.regions.get(region.as_str()).unwrap_or(&self.default),
        }
    }
}

/// The fleet's records, behind a node.
#[derive(Clone, Debug)]
pub struct Fleet<B> {
    pub(super) node: B,
    keyspaces: Arc<Keyspaces>,
    clock: dwcp_runtime_real::clock::Clock,
    known: Arc<Mutex<Vec<Region>>>,
    pub(super) backstop: Option<Backstop>,
}

/// What was found: a store's revision, and keys with their revisions and values.
pub(super) type Found = (i64, Vec<(Key, i64, Bytes)>);

/// Why there is no answer from the stores.
fn unavailable(scope: &Scope, why: &AskError) -> Refusal {
    let remedy = "ask again in a moment, or at another node";
    Refusal::new(Code::Contention, scope, why.to_string(), remedy)
}

impl<B: Backend> Fleet<B> {
    /// The fleet behind a node, by its clock.
    pub fn new(node: B, keyspaces: Keyspaces, clock: dwcp_runtime_real::clock::Clock) -> Self {
        Self { node, keyspaces: Arc::new(keyspaces), clock, known: Arc::default(), backstop: None }
    }
    /// With announcements, which its door takes and tells of.
    #[must_use]
    pub fn announcing(mut self, backstop: Option<Backstop>) -> Self {
        self.backstop = backstop;
        self
    }
    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }
    pub(super) fn group(&self, scope: &Scope) -> Result<GroupId, Refusal> {
        let name = self.keyspaces.of(scope);
        self.node.group(name).ok_or_else(|| {
            let what = format!("this node does not host the keyspace {name:?}");
            Refusal::new(
                Code::NotFound,
                scope,
                what,
                "ask a node that does, or correct [fleet] in its configuration",
            )
        })
    }

    /// What this node is to the keyspace of a scope.
    pub(super) async fn role(&self, scope: &Scope) -> Result<Role, Refusal> {
        let request = dwcp_node::Request { group: self.group(scope)?, ask: Ask::Status };
        match self.node.begin(request, Instant::now() + ROLE_WITHIN).await {
            Ok(Told::Status(status)) => Ok(status.role),
            Ok(_) => Err(unavailable(scope, &AskError::Unknown)),
            Err(why) => Err(unavailable(scope, &why)),
        }
    }

    /// Reads what is there, behind a barrier.
    pub(super) async fn read(&self, fetch: &Fetch) -> Result<Found, Refusal> {
        let scope = fetch.scope().unwrap_or(Scope::Global);
        let group = self.group(&scope)?;
        let (key, range_end) = match fetch {
            Fetch::One(key) => (bytes_of(key), Bytes::new()),
            Fetch::Range(first, end) => (bytes_of(first), bytes_of(end)),
        };
        let range = RangeRequest { key, range_end, ..RangeRequest::default() };
        let request = dwcp_node::Request { group, ask: Ask::Range { range, serializable: false } };
        match self.node.begin(request, Instant::now() + STEP_WITHIN).await {
            Ok(Told::Range { revision, range }) => {
                let known = range
                    .kvs
                    .into_iter()
                    .filter_map(|kv| Some((Key::stored(&kv.key)?, kv.mod_revision, kv.value)));
                Ok((revision, known.collect()))
            }
            Ok(_) => Err(unavailable(&scope, &AskError::Unknown)),
            Err(why) => Err(unavailable(&scope, &why)),
        }
    }

    /// Commits; `None`: nobody knows.
    async fn commit(&self, transaction: &Transaction) -> Result<Option<bool>, Refusal> {
        let group = self.group(&transaction.scope)?;
        let ask = Ask::Write { session: None, op: Op::Txn(txn(transaction)) };
        match self.node.begin(dwcp_node::Request { group, ask }, Instant::now() + STEP_WITHIN).await {
            Ok(Told::Written(response)) => match response.body {
                Body::Txn { succeeded, .. } => Ok(Some(succeeded)),
                _ => Ok(None),
            },
            Err(AskError::Op(error)) => {
                let remedy = "see `dwcp status`; the store refused the transaction as a whole";
                Err(Refusal::new(Code::Damaged, &transaction.scope, error.to_string(), remedy))
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Brings a request to its end.
    pub(super) async fn carry_out(&self, request: Request) -> Result<Answer, Refusal> {
        let until = Instant::now() + REQUEST_WITHIN;
        let mut work = Work::new(request);
        loop {
            match work.next(self.now()) {
                Next::Done(done) => return done,
                _ if Instant::now() >= until => {
                    let what = "the stores did not answer in 15 s; it may have been done, or be done half";
                    return Err(Refusal::new(
                        Code::Contention,
                        "the stores",
                        what,
                        "ask again under the same number",
                    ));
                }
                Next::Read(scope, fetches) => {
                    let reads = fetches.iter().map(|fetch| self.read(fetch));
                    match futures_util::future::try_join_all(reads).await {
                        Ok(found) => {
                            for (fetch, (revision, found)) in fetches.iter().zip(found) {
                                work.read(fetch, revision, found);
                            }
                        }
                        Err(refusal) if refusal.code == Code::Contention => {
                            work.lost();
                            self.led_again(&scope).await;
                        }
                        Err(refusal) => return Err(refusal),
                    }
                }
                Next::Commit(transaction) => match self.commit(&transaction).await? {
                    Some(held) => work.committed(held),
                    None => {
                        work.lost();
                        self.led_again(&transaction.scope).await;
                    }
                },
            }
        }
    }

    /// All changes of a scope's records, from now on.
    pub(super) fn changes(&self, scope: &Scope) -> Result<B::Replies, Refusal> {
        let first = Key::all(scope, "");
        let root = first.as_str().trim_end_matches('/').to_string() + "/";
        let end = root[..root.len() - 1].to_string() + "0";
        let watched = WatchRequest { key: root.into(), range_end: end.into(), ..WatchRequest::default() };
        Ok(self.node.open(dwcp_node::Request { group: self.group(scope)?, ask: Ask::Watch(watched) }))
    }

    /// Waits until something changes in a scope, which shows that it has a leader again, or for a while.
    async fn led_again(&self, scope: &Scope) {
        let heard = async {
            if let Ok(mut changes) = self.changes(scope) {
                while let Some(Ok(Told::Watched { events, .. })) = changes.next().await {
                    if !events.is_empty() {
                        return;
                    }
                }
            }
            std::future::pending().await
        };
        let _either = tokio::time::timeout(REST, heard).await;
    }

    /// The regions to look after: those that this node hosts the keyspace of.
    pub(super) fn hosted_regions(&self) -> Vec<Region> {
        let all = self.known_regions().into_iter();
        all.filter(|region| self.group(&Scope::Region(region.clone())).is_ok()).collect()
    }

    /// Reads which regions there are. What was known last stands in for a store of the fleet that can't be reached.
    pub(super) async fn learn_regions(&self) -> Result<(), Refusal> {
        let regions = self.regions().await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = regions;
        Ok(())
    }

    /// The regions known by what was read last, and those with a keyspace of their own by the configuration.
    pub(super) fn known_regions(&self) -> BTreeSet<Region> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let named = self.keyspaces.regions.keys().filter_map(|name| name.parse().ok());
        known.iter().cloned().chain(named).collect()
    }

    /// The regions there are.
    pub(super) async fn regions(&self) -> Result<Vec<Region>, Refusal> {
        let (_, found) = self.read(&Fetch::beginning(&Key::all(&Scope::Global, "region"))).await?;
        Ok(found.iter().filter_map(|(key, _, _)| key.last().parse().ok()).collect())
    }
}

fn bytes_of(key: &Key) -> Bytes {
    Bytes::copy_from_slice(key.as_str().as_bytes())
}

fn txn(transaction: &Transaction) -> TxnRequest {
    let compare = |check: &Check| {
        let (first, end, op, revision) = match check {
            Check::At(key, revision) => (key, None, CompareOp::Equal, *revision),
            Check::Empty(first, end) => (first, Some(end), CompareOp::Equal, 0),
            Check::NoneSince(first, end, revision) => (first, Some(end), CompareOp::Less, revision + 1),
        };
        let range_end = end.map(bytes_of).unwrap_or_default();
        Compare { key: bytes_of(first), range_end, op, target: CompareTarget::Mod(revision) }
    };
    let write = |write: &Write| match write {
        Write::Put(key, value) => {
            TxnOp::Put(PutRequest { key: bytes_of(key), value: value.clone(), ..PutRequest::default() })
        }
        Write::Delete(key) => {
            TxnOp::DeleteRange(DeleteRangeRequest { key: bytes_of(key), ..DeleteRangeRequest::default() })
        }
    };
    TxnRequest {
        compare: transaction.checks.iter().map(compare).collect(),
        success: transaction.writes.iter().map(write).collect(),
        failure: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_become_compares_on_revisions() {
        let eu: Region = "eu".parse().unwrap();
        let key = Key::region(&eu);
        let checks = vec![
            Check::At(key.clone(), 7),
            Check::Empty(key.clone(), key.end()),
            Check::NoneSince(key.clone(), key.end(), 9),
        ];
        let writes = vec![Write::Put(key.clone(), Bytes::from_static(b"x")), Write::Delete(key)];
        let txn = txn(&Transaction { scope: Scope::Global, checks, writes, rests_on: Vec::new() });
        let targets: Vec<_> =
            txn.compare.iter().map(|c| (c.op, c.target.clone(), c.range_end.is_empty())).collect();
        let expected = [
            (CompareOp::Equal, CompareTarget::Mod(7), true),
            (CompareOp::Equal, CompareTarget::Mod(0), false),
            (CompareOp::Less, CompareTarget::Mod(10), false),
        ];
        assert_eq!(targets, expected);
        assert!(matches!(&txn.success[..], [TxnOp::Put(_), TxnOp::DeleteRange(_)]));
    }
}
