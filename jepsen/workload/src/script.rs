//! What one client of each workload does next: questions in the order in which answers call
//! for them. No time and no network here; [`crate::client`] has both.

mod bank;
mod collections;
mod documents;
mod eventual;
mod lists;
mod lock;
mod register;
mod store;
mod watch;

pub use bank::OPENING;
pub(crate) use eventual::written;
pub use eventual::{counter_key, list_key, map_key, register_key, set_key};
pub(crate) use lists::elements;
pub(crate) use lock::WORK;
pub(crate) use register::WATCHED;

use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::{Log, Outcome, What};
use bytes::Bytes;
use dwcp_env::{Instant, Purpose, Seed};
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, KeyValue, OpError, PutRequest, RangeRequest, Response, Revision,
    TxnOp,
};
use serde::{Deserialize, Serialize};

/// A new operation.
#[derive(Debug)]
pub struct Begun {
    /// What to put on record; nothing for what only prepares.
    pub what: Option<What>,
    /// The first question.
    pub ask: Ask,
}

/// How large what a write carries is: drawn so that each doubling is as likely as the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// Bytes at least.
    pub low: u32,
    /// Bytes at most.
    pub high: u32,
}

/// What an answer leads to.
#[derive(Debug)]
pub enum Then {
    /// The next question of the same operation.
    Ask(Ask),
    /// The operation has ended.
    Done {
        /// How.
        outcome: Outcome,
        /// The revision of the answer.
        revision: Revision,
    },
}

impl Then {
    const fn ok(revision: Revision) -> Self {
        Self::Done { outcome: Outcome::Ok, revision }
    }
    const fn fail() -> Self {
        Self::Done { outcome: Outcome::Fail, revision: 0 }
    }
}

/// One client's part in a workload.
#[derive(Debug)]
pub enum Script {
    /// Single keys.
    Register(register::Register),
    /// Transactions over lists.
    Lists(lists::Lists),
    /// Transfers.
    Bank(bank::Bank),
    /// Locks.
    Lock(lock::Lock),
    /// Writes that watchers see.
    Write(register::Register),
    /// A watcher.
    Watch(watch::Watch),
    /// Everything.
    Store(store::Store),
    /// A watcher that goes from node to node.
    StoreWatch(store::StoreWatch),
    /// Convergent types.
    Eventual(eventual::Eventual),
    /// Convergent types with all that empties them.
    Collections(collections::Collections),
    /// Documents.
    Documents(documents::Documents),
}

impl Script {
    /// The part of client `nth` of a workload over `keys` keys.
    #[must_use]
    pub fn new(kind: Use, nth: u32, keys: u32) -> Self {
        let keys = u64::from(keys.max(1));
        match kind {
            Use::Register => Self::Register(register::Register::new(kind, nth, keys)),
            Use::ListAppend => Self::Lists(lists::Lists::new(keys)),
            Use::Bank => Self::Bank(bank::Bank::new(keys)),
            Use::Lock => Self::Lock(lock::Lock::new(keys)),
            Use::Watch if nth.is_multiple_of(2) => Self::Write(register::Register::new(kind, nth, keys)),
            Use::Watch => Self::Watch(watch::Watch::default()),
            Use::Store if store::Store::watches(nth) => Self::StoreWatch(store::StoreWatch::new(nth, keys)),
            Use::Store => Self::Store(store::Store::new(nth, keys)),
            Use::Eventual => Self::Eventual(eventual::Eventual::new(keys)),
            Use::Collections => Self::Collections(collections::Collections::new(keys)),
            Use::Documents => Self::Documents(documents::Documents::new(nth, keys, false)),
            Use::Checkpoints => Self::Documents(documents::Documents::new(nth, keys, true)),
        }
    }
    /// The same, whose writes carry so much. Only eventual keyspaces' registers do.
    #[must_use]
    pub const fn sized(mut self, sizes: Option<Sizes>) -> Self {
        if let Self::Eventual(s) = &mut self {
            s.sized(sizes);
        }
        self
    }
    /// Begins operation `nth` of `client`.
    pub fn begin(&mut self, client: u32, seed: Seed, nth: u64) -> Begun {
        let draw = Draw { seed, client, nth };
        match self {
            Self::Register(s) => s.begin(draw),
            Self::Write(s) => s.begin_put(draw),
            Self::Lists(s) => s.begin(draw),
            Self::Bank(s) => s.begin(draw),
            Self::Lock(s) => s.begin(draw),
            Self::Watch(s) => Begun { what: None, ask: s.open() },
            Self::Store(s) => s.begin(draw),
            Self::Eventual(s) => s.begin(draw),
            Self::Collections(s) => s.begin(draw),
            Self::Documents(s) => s.begin(draw),
            Self::StoreWatch(s) => Begun { what: None, ask: s.open() },
        }
    }
    /// Takes the answer to the last question and fills in the record.
    pub fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        match self {
            Self::Register(s) | Self::Write(s) => s.answered(what, answer),
            Self::Lists(s) => s.answered(what, answer),
            Self::Bank(s) => s.answered(what, answer),
            Self::Lock(s) => s.answered(what, answer),
            Self::Watch(s) => s.refused(answer),
            Self::Store(s) => s.answered(&answer),
            Self::Eventual(s) => s.answered(what, answer),
            Self::Collections(s) => s.answered(what, answer),
            Self::Documents(s) => s.answered(&answer),
            Self::StoreWatch(s) => s.refused(&answer),
        }
    }
    /// Takes one of many answers; whether the client breaks the stream off, to go on elsewhere.
    pub fn streamed(&mut self, client: u32, at: Instant, answer: Answer, log: &mut Log) -> bool {
        match (self, answer) {
            (Self::Watch(s), Answer::Changes { events, .. }) => {
                s.saw(client, at, &events, log);
                false
            }
            (Self::StoreWatch(s), Answer::Changes { events, revision }) => s.saw(&events, revision),
            _ => false,
        }
    }
    /// Whether the client has no session: what may have been done is then never asked again.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        match self {
            Self::Store(s) => s.is_plain(),
            Self::Eventual(_) | Self::Collections(_) | Self::Documents(_) => true,
            _ => false,
        }
    }
    /// The question that goes on with a broken stream.
    ///
    /// # Panics
    /// Only watchers have streams.
    #[must_use]
    pub fn reopen(&self) -> Ask {
        match self {
            Self::Watch(s) => s.open(),
            Self::StoreWatch(s) => s.open(),
            other => panic!("only watchers have streams, this is {other:?}"),
        }
    }
    /// The operation has ended, perhaps without an answer.
    pub fn ended(&mut self, outcome: Outcome) {
        if let Self::Lock(s) = self {
            s.ended(outcome);
        }
    }
}

/// The draws of one operation.
#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: Seed,
    client: u32,
    nth: u64,
}

impl Draw {
    fn below(self, n: u64, what: Purpose, ordinal: u64) -> u64 {
        self.seed.below(n, what, u64::from(self.client), Instant::from_nanos(self.nth), ordinal)
    }
    /// A number no other operation of the run has.
    fn unique(self, part: u64) -> u64 {
        (u64::from(self.client) + 1) << 40 | self.nth << 4 | part
    }
}

fn number_of(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*value.first_chunk::<8>()?))
}

fn put(key: Bytes, value: &[u8]) -> TxnOp {
    TxnOp::Put(PutRequest { key, value: Bytes::copy_from_slice(value), ..PutRequest::default() })
}

fn range(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

fn everything(of: Use) -> RangeRequest {
    RangeRequest {
        key: Bytes::from_static(of.prefix().as_bytes()),
        range_end: of.range_end(),
        ..RangeRequest::default()
    }
}

/// That a key was last written at this revision; 0: that it is absent.
fn unchanged(key: Bytes, mod_revision: Revision) -> Compare {
    Compare { key, range_end: Bytes::new(), op: CompareOp::Equal, target: CompareTarget::Mod(mod_revision) }
}

/// The keys in an answer to a range.
fn found(response: &Response) -> &[KeyValue] {
    match &response.body {
        Body::Range(r) => &r.kvs,
        _ => &[],
    }
}

/// Whether a transaction's condition held, and its answers.
const fn txn(response: &Response) -> Option<(bool, &Vec<Response>)> {
    match &response.body {
        Body::Txn { succeeded, responses } => Some((*succeeded, responses)),
        _ => None,
    }
}
