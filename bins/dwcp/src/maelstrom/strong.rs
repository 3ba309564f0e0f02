//! The node's strong store as a workload sees it: writes that are done once, reads that are fresh, and errors
//! that do not lie.
//!
//! **Invariants.**
//! 1. Every write goes under a session: however often the node asks its leaders, it is applied once.
//! 2. A write is answered with a definite code only if it was not applied and never will be. The number of a
//!    write given up is acknowledged with the next one, so that a late copy of it is refused.
//! 3. Every question ends within [`WITHIN`], a second before Maelstrom's clients give up.

use super::protocol::{Code, Fault};
use bytes::Bytes;
use dwcp_env::{Duration, GroupId};
use dwcp_node::{Answer, Ask, AskError, GroupStatus, Request, Response};
use dwcp_runtime_real::{DoorError, NodeHandle};
use dwcp_store::api::{
    Body as Told, Op, OpError, PutRequest, RangeRequest, RangeResponse, Response as Done, Revision,
    SessionId, SortOrder, SortTarget, Stamp, TxnOp, TxnRequest,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The one group.
pub(super) const GROUP: GroupId = GroupId(0);
/// How long a question may take.
pub(super) const WITHIN: std::time::Duration = std::time::Duration::from_secs(4);
/// How long a read tries to be fresh where an old answer will do.
const FRESH_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
/// A session of a process that is gone is forgotten after this.
const SESSION_TTL: Duration = Duration::secs(3_600);

type Handle = NodeHandle<Request, Response>;

/// Numbers of the session's writes.
#[derive(Debug, Default)]
struct Numbers {
    session: Option<SessionId>,
    next: u64,
    /// Asked and not answered.
    open: BTreeSet<u64>,
}

/// A view of the store.
#[derive(Debug)]
pub(super) struct Strong {
    handle: Handle,
    numbers: Mutex<Numbers>,
    opening: tokio::sync::Mutex<()>,
    /// Differs from that of every other process.
    tag: String,
    made: AtomicU64,
}

impl Strong {
    pub(super) fn new(handle: Handle, tag: String) -> Self {
        let (numbers, opening) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { handle, numbers, opening, tag, made: AtomicU64::new(0) }
    }

    /// A name never given before, by any node.
    pub(super) fn fresh_name(&self) -> String {
        format!("{}-{:016x}", self.tag, self.made.fetch_add(1, Ordering::Relaxed))
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // Nothing panics while it is held.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ask: Ask, until: Instant) -> Result<Response, DoorError> {
        let left = until.saturating_duration_since(Instant::now());
        self.handle.request(Request { group: GROUP, ask }, Duration::from_std(left)).await
    }

    /// How this node sees its group.
    pub(super) async fn status(&self) -> Option<GroupStatus> {
        match self.ask(Ask::Status, Instant::now() + FRESH_WITHIN).await {
            Ok(Ok(Answer::Status(status))) => Some(*status),
            _ => None,
        }
    }
    /// A question whose failure does no harm.
    pub(super) async fn try_ask(&self, ask: Ask) -> Option<Answer> {
        self.ask(ask, Instant::now() + WITHIN).await.ok()?.ok()
    }

    /// A read that sees everything acknowledged before it began.
    pub(super) async fn read(&self, range: RangeRequest) -> Result<RangeResponse, Fault> {
        self.read_until(range, false, Instant::now() + WITHIN).await
    }

    /// A fresh read, or if that can't be had soon what this node knows.
    pub(super) async fn read_or_recall(&self, range: RangeRequest) -> Result<RangeResponse, Fault> {
        let fresh = self.read_until(range.clone(), false, Instant::now() + FRESH_WITHIN).await;
        match fresh {
            Ok(found) => Ok(found),
            Err(_) => self.read_until(range, true, Instant::now() + WITHIN).await,
        }
    }

    async fn read_until(
        &self,
        range: RangeRequest,
        serializable: bool,
        until: Instant,
    ) -> Result<RangeResponse, Fault> {
        match self.ask(Ask::Range { range, serializable }, until).await {
            Ok(Ok(Answer::Range { range, .. })) => Ok(range),
            Ok(Ok(other)) => {
                Err(Fault::new(Code::Crash, format!("an answer to another question: {other:?}")))
            }
            // A read changes nothing: that it did not happen is always true.
            Ok(Err(e)) => Err(Fault::new(Code::Unavailable, e.to_string())),
            Err(e) => Err(Fault::new(Code::Unavailable, e.to_string())),
        }
    }

    /// Writes a key; the revision it got.
    pub(super) async fn put(&self, key: Bytes, value: Bytes) -> Result<Revision, Fault> {
        Ok(self.write(Op::Put(PutRequest { key, value, ..PutRequest::default() })).await?.header.revision)
    }

    /// A transaction: whether its conditions held, and its answers.
    pub(super) async fn txn(&self, txn: TxnRequest) -> Result<(bool, Vec<Done>), Fault> {
        match self.write(Op::Txn(txn)).await?.body {
            Told::Txn { succeeded, responses } => Ok((succeeded, responses)),
            other => Err(Fault::new(Code::Crash, format!("a transaction was answered with {other:?}"))),
        }
    }

    async fn write(&self, op: Op) -> Result<Done, Fault> {
        let until = Instant::now() + WITHIN;
        let session = self.session(until).await?;
        let stamp = self.begin(session);
        let ask = Ask::Write { session: Some(stamp), op };
        let response = self.ask(ask, until).await;
        self.end(stamp);
        match response {
            Ok(Ok(Answer::Written(done))) => Ok(done),
            Ok(Ok(other)) => Err(Fault::new(Code::Crash, format!("a write was answered with {other:?}"))),
            Ok(Err(error)) => Err(self.refusal(&error)),
            Err(error @ DoorError::Overloaded) => Err(Fault::new(Code::Unavailable, error.to_string())),
            Err(error) => Err(Fault::new(Code::Timeout, error.to_string())),
        }
    }

    fn begin(&self, session: SessionId) -> Stamp {
        let mut n = self.numbers();
        let seq = n.next;
        n.next += 1;
        n.open.insert(seq);
        let ack_below = n.open.first().copied().unwrap_or(seq);
        Stamp { session, seq, ack_below }
    }

    fn end(&self, stamp: Stamp) {
        let mut n = self.numbers();
        // After a change of session the numbers are others'.
        if n.session == Some(stamp.session) {
            n.open.remove(&stamp.seq);
        }
    }

    async fn session(&self, until: Instant) -> Result<SessionId, Fault> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(session) = self.numbers().session {
            return Ok(session);
        }
        // Without a session nothing has been asked yet: whatever goes wrong here is definite.
        loop {
            let ask = Ask::Write { session: None, op: Op::OpenSession { ttl: SESSION_TTL } };
            let why = match self.ask(ask, until).await {
                Ok(Ok(Answer::Written(Done { body: Told::SessionOpened { session }, .. }))) => {
                    *self.numbers() = Numbers { session: Some(session), ..Numbers::default() };
                    return Ok(session);
                }
                Ok(Ok(other)) => format!("{other:?}"),
                // A session that was opened and of which nobody knows harms nobody.
                Ok(Err(AskError::Unknown)) if Instant::now() < until => continue,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            return Err(Fault::new(Code::Unavailable, format!("no session could be opened: {why}")));
        }
    }

    /// What an error says of a write under a session.
    fn refusal(&self, error: &AskError) -> Fault {
        if matches!(error, AskError::Op(OpError::SessionExpired)) {
            self.numbers().session = None;
        }
        Fault::new(code_of(error), error.to_string())
    }
}

/// The code for a write that came to this: definite only where the node is certain.
fn code_of(error: &AskError) -> Code {
    match error {
        AskError::NoLeader
        | AskError::Deadline
        | AskError::Overloaded
        | AskError::Stopping
        | AskError::NoGroup(_)
        | AskError::Op(OpError::NoSpace | OpError::WindowFull { .. }) => Code::Unavailable,
        // A stopped engine says "refused" even of what an earlier leader may have done.
        AskError::Unknown | AskError::Refused(_) => Code::Timeout,
        AskError::Op(
            OpError::SessionExpired | OpError::AlreadyAcknowledged { .. } | OpError::Stopped { .. },
        ) => Code::Crash,
        AskError::Eventual(_) => Code::NotSupported,
        AskError::Op(OpError::TooManyOps | OpError::RequestTooLarge) => Code::NotSupported,
        AskError::Op(_) => Code::Malformed,
    }
}

/// A key: a prefix that names the workload's table, then JSON. No JSON text followed by a slash begins another.
pub(super) fn key(table: &str, name: &Value) -> Bytes {
    format!("{table}/{name}").into()
}

/// Everything below a key: `key/…`.
pub(super) fn below(key: &[u8]) -> RangeRequest {
    let with = |last: u8| Bytes::from([key, &[last]].concat());
    RangeRequest { key: with(b'/'), range_end: with(b'/' + 1), ..RangeRequest::default() }
}

/// The same, in the order in which the keys came to be.
pub(super) fn in_order(range: RangeRequest) -> RangeRequest {
    RangeRequest { sort_order: SortOrder::Ascend, sort_target: SortTarget::Create, ..range }
}

/// One key.
pub(super) fn one(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// A write inside a transaction.
pub(super) fn put_op(key: Bytes, value: Bytes) -> TxnOp {
    TxnOp::Put(PutRequest { key, value, ..PutRequest::default() })
}

/// JSON as it lies in the store.
pub(super) fn stored(value: &Value) -> Bytes {
    value.to_string().into()
}

/// JSON out of the store.
pub(super) fn recalled(bytes: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|e| Fault::new(Code::Crash, format!("the store holds what is not JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_have_happened_is_never_told_as_definite() {
        for error in [
            AskError::Unknown,
            AskError::Refused("the engine has stopped".into()),
            AskError::Op(OpError::SessionExpired),
            AskError::Op(OpError::AlreadyAcknowledged { seq: 1 }),
            AskError::Op(OpError::Stopped { why: String::new() }),
        ] {
            assert!(!code_of(&error).is_definite(), "{error:?}");
        }
        for error in [AskError::NoLeader, AskError::Deadline, AskError::Overloaded] {
            assert!(code_of(&error).is_definite(), "{error:?}");
        }
    }

    #[test]
    fn no_key_lies_below_another() {
        let names = [json!(1), json!(12), json!("1"), json!("a"), json!("a/b"), json!("a\"/"), json!([1, 2])];
        for a in &names {
            for b in &names {
                let range = below(&key("l", a));
                let inner = [&key("l", b)[..], b"/x"].concat();
                let within = range.key[..] <= inner[..] && inner[..] < range.range_end[..];
                assert_eq!(within, a == b, "{a} {b}");
            }
        }
    }
}
