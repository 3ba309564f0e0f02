//! What is asked of the store, what it answers, and what can be wrong: etcd v3's data model as
//! plain types.
//!
//! A [`Command`] goes through the log and is applied once on every replica; a [`RangeRequest`] is
//! answered from local state (whether that is fresh enough is decided above: the door asks the
//! engine for a barrier unless the client said `serializable`). Every type here is a wire and disk
//! format: fields are only ever added behind a new format version.
//!
//! Numbers are signed because etcd's are; the store itself never makes a negative one.

use bytes::Bytes;
use dwcp_env::{Duration, WallTime};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A point in the store's history: one more with every command that changes a key. A new store
/// is at 1. Zero in a request means "now".
pub type Revision = i64;
/// A lease. Zero means none.
pub type LeaseId = i64;

/// Operations of one transaction, nested ones included, as etcd's `--max-txn-ops`.
pub const TXN_OPS_MAX: usize = 128;
/// The shortest lease, in seconds: below it a lease could run out during one election.
pub const LEASE_TTL_MIN_S: i64 = 2;
/// The longest lease, in seconds (etcd's bound).
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// A client's session: the memory that makes retries safe. It is the log index of the
/// command that opened it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// Names one request of a session, so that its retry is answered and not applied again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Whose request.
    pub session: SessionId,
    /// Which one; a new request takes a number never used before in this session.
    pub seq: u64,
    /// All answers below this number have reached the client and may be forgotten.
    pub ack_below: u64,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Without one, a retry is a new request.
    pub session: Option<Stamp>,
    /// The proposer's calendar. Log time is the highest seen so far.
    pub time: WallTime,
    /// What is to be done.
    pub op: Op,
}

/// The first byte of every command in the log.
pub const COMMAND_VERSION: u8 = 1;

impl Command {
    /// The bytes that go into the log: the version, then the body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let room = match &self.op {
            Op::Put(put) => put.key.len() + put.value.len(),
            _ => 0,
        };
        let mut out = Vec::with_capacity(room + HEAD_ROOM);
        out.push(COMMAND_VERSION);
        dwcp_env::wire::encode_into(self, &mut out);
        out.into()
    }
}

/// What a put takes besides its key and its value, mostly.
const HEAD_ROOM: usize = 40;

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Writes a key.
    Put(PutRequest),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest),
    /// Compares, and does one of two lists.
    Txn(TxnRequest),
    /// Forgets history before a revision; what is live at it stays.
    Compact {
        /// The oldest revision that can still be read.
        revision: Revision,
    },
    /// Makes a lease.
    LeaseGrant {
        /// The client's choice, or 0: the store chooses.
        id: LeaseId,
        /// Its life without a keep-alive, in seconds.
        ttl_s: i64,
    },
    /// Ends a lease and deletes its keys, in one revision.
    LeaseRevoke {
        /// Which.
        id: LeaseId,
        /// Whether its time ran out (the leader says so), or a client asked.
        expired: bool,
    },
    /// Opens a session. Answered by [`Body::SessionOpened`].
    OpenSession {
        /// It is forgotten after this long without a command, in log time.
        ttl: Duration,
    },
    /// Ends a session.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// Moves log time on, nothing else.
    Noop,
}

/// Writes a key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PutRequest {
    /// Not empty.
    pub key: Bytes,
    /// Any bytes.
    pub value: Bytes,
    /// The lease it lives under, or 0.
    pub lease: LeaseId,
    /// Answer with what was there before.
    pub prev_kv: bool,
    /// Keep the value that is there (there must be one).
    pub ignore_value: bool,
    /// Keep the lease that is there (there must be a key).
    pub ignore_lease: bool,
}

/// Deletes keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeleteRangeRequest {
    /// First key. Not empty.
    pub key: Bytes,
    /// See [`KeyRange::new`].
    pub range_end: Bytes,
    /// Answer with what was there before.
    pub prev_kv: bool,
}

/// How results are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SortOrder {
    /// By key, ascending, unless the target is not the key: then ascending by it.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// What results are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// How many times it was written since its creation.
    Version,
    /// The revision that created it.
    Create,
    /// The revision that wrote it last.
    Mod,
    /// The value.
    Value,
}

/// Reads keys.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RangeRequest {
    /// First key. Not empty.
    pub key: Bytes,
    /// See [`KeyRange::new`].
    pub range_end: Bytes,
    /// The most results, or 0: all.
    pub limit: i64,
    /// The point in history to read at; 0 or less: now.
    pub revision: Revision,
    /// The order of results.
    pub sort_order: SortOrder,
    /// What they are ordered by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Lower bound of `mod_revision`, or 0.
    pub min_mod_revision: Revision,
    /// Upper bound of `mod_revision`, or 0.
    pub max_mod_revision: Revision,
    /// Lower bound of `create_revision`, or 0.
    pub min_create_revision: Revision,
    /// Upper bound of `create_revision`, or 0.
    pub max_create_revision: Revision,
}

/// How a compare relates what is there (left) to what is given (right).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CompareOp {
    /// `==`
    Equal,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `!=`
    NotEqual,
}

/// What a compare looks at, with the value given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CompareTarget {
    /// Writes since creation; 0 if there is no such key.
    Version(i64),
    /// Revision of creation; 0 if there is no such key.
    Create(Revision),
    /// Revision of the last write; 0 if there is no such key.
    Mod(Revision),
    /// The value; false if there is no such key, whatever the operator.
    Value(Bytes),
    /// The lease; 0 if there is none, or no such key.
    Lease(LeaseId),
}

/// A condition on all keys of a range.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compare {
    /// First key. Not empty.
    pub key: Bytes,
    /// See [`KeyRange::new`].
    pub range_end: Bytes,
    /// The operator.
    pub op: CompareOp,
    /// Both sides.
    pub target: CompareTarget,
}

/// One operation inside a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TxnOp {
    /// Reads; sees the writes before it in the same transaction.
    Range(RangeRequest),
    /// Writes.
    Put(PutRequest),
    /// Deletes.
    DeleteRange(DeleteRangeRequest),
    /// A transaction inside: its conditions are judged before anything is written.
    Txn(#[serde(deserialize_with = "nested")] TxnRequest),
}

/// Transactions inside transactions that are read at all. [`crate::check`] allows no more operations than this on any way down,
/// and whoever sends more is to meet an error and not the end of the stack.
const NESTED_MAX: u32 = 128;

std::thread_local! {
    /// How deep the transaction that is being read lies.
    static DEPTH: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn nested<'de, D: serde::Deserializer<'de>>(from: D) -> Result<TxnRequest, D::Error> {
    /// Comes up again, whatever happens below.
    struct Deeper(u32);
    impl Drop for Deeper {
        fn drop(&mut self) {
            DEPTH.set(self.0);
        }
    }
    let here = Deeper(DEPTH.get());
    if here.0 >= NESTED_MAX {
        return Err(serde::de::Error::custom("transactions are nested too deep"));
    }
    DEPTH.set(here.0 + 1);
    TxnRequest::deserialize(from)
}

/// `if all of compare then success else failure`, in one revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TxnRequest {
    /// All must hold; none is true.
    pub compare: Vec<Compare>,
    /// Done if they hold.
    pub success: Vec<TxnOp>,
    /// Done otherwise.
    pub failure: Vec<TxnOp>,
}

/// A key as it is at some revision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The revision that created it.
    pub create_revision: Revision,
    /// The revision that wrote it last.
    pub mod_revision: Revision,
    /// Writes since creation, itself included; starts at 1, and again after a delete.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease it lives under, or 0.
    pub lease: LeaseId,
}

/// What every answer carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Header {
    /// The store's revision when the answer was made.
    pub revision: Revision,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The revision it belongs to.
    pub header: Header,
    /// The answer itself.
    pub body: Body,
}

/// What a command is answered after it was applied: a response, or why nothing was changed.
/// This is the state machine's `Response`.
pub type Applied = Result<Response, OpError>;

/// The part of an answer that depends on the question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// To a range inside a transaction.
    Range(RangeResponse),
    /// To a put.
    Put {
        /// What was there, if asked for and any.
        prev_kv: Option<KeyValue>,
    },
    /// To a delete.
    DeleteRange {
        /// How many keys went.
        deleted: i64,
        /// What was there, if asked for.
        prev_kvs: Vec<KeyValue>,
    },
    /// To a transaction.
    Txn {
        /// Which list was done.
        succeeded: bool,
        /// Its answers, one for each operation.
        responses: Vec<Response>,
    },
    /// To a compaction.
    Compact,
    /// To a grant.
    LeaseGrant {
        /// The lease.
        id: LeaseId,
        /// Its life as granted, in seconds.
        ttl_s: i64,
    },
    /// To a revocation.
    LeaseRevoke {
        /// How many keys went with it.
        deleted: i64,
    },
    /// To the opening of a session.
    SessionOpened {
        /// Its name.
        session: SessionId,
    },
    /// To the end of a session.
    SessionClosed,
    /// To a no-op, and to entries of the log that carry no command.
    Noop,
}

/// The answer to a range.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RangeResponse {
    /// The keys found, in order; empty if only counted.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the list.
    pub more: bool,
    /// How many keys are in the range, whatever limit and filters left of them.
    pub count: i64,
}

/// What a watch tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EventKind {
    /// A key was written.
    Put,
    /// A key was deleted.
    Delete,
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WatchEvent {
    /// Written or deleted.
    pub kind: EventKind,
    /// After it; for a delete only `key` and `mod_revision` are set.
    pub kv: KeyValue,
    /// Before it, if asked for, known and not compacted.
    pub prev_kv: Option<KeyValue>,
}

/// The gRPC status that belongs to an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Code {
    /// The request can never succeed as it is.
    InvalidArgument = 3,
    /// What it names is not there.
    NotFound = 5,
    /// A bound is reached.
    ResourceExhausted = 8,
    /// The state does not allow it.
    FailedPrecondition = 9,
    /// A revision outside of what is kept.
    OutOfRange = 11,
    /// The node can't go on; another may.
    Unavailable = 14,
}

/// Why a request changed nothing. The texts are etcd's own where etcd has the error, because
/// its clients compare them.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum OpError {
    /// A key must have at least one byte.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` without a key to take it from.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` and a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` and a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// More than [`TXN_OPS_MAX`] operations or compares in a transaction.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// One transaction would write one key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// The revision has been compacted.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// The oldest revision that can still be read.
        compact_revision: Revision,
    },
    /// The revision has not been reached yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRev,
    /// The store's file may not grow any more.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// No such lease.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease of that number exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// Longer than [`LEASE_TTL_MAX_S`].
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// Larger than `bound::REQUEST_MAX`.
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// The session is not known (any more): it was closed, or expired by log time or by the bound
    /// on sessions. This request was not applied now; whether an earlier sending of it was is not
    /// known any more.
    #[error(
        "dwcp: session expired; open a new one, and check whether the request was done before repeating it"
    )]
    SessionExpired,
    /// A number below `ack_below`: the client said it has this answer.
    #[error("dwcp: request {seq} was acknowledged by its session; use a new number for a new request")]
    AlreadyAcknowledged {
        /// The number.
        seq: u64,
    },
    /// More than `bound::SESSION_WINDOW` numbers ahead of what the client acknowledged.
    #[error("dwcp: request {seq} is too far ahead; acknowledge answers (ack_below is {ack_below})")]
    WindowFull {
        /// The number.
        seq: u64,
        /// What is acknowledged.
        ack_below: u64,
    },
    /// The log entry is not a command this build knows. Nothing was changed.
    #[error("dwcp: a log entry is not a command of this version: {why}")]
    Malformed {
        /// What was wrong with it.
        why: String,
    },
    /// This replica's state can't be read or written any more; it stops. The outcome is not known.
    #[error("dwcp: this replica has stopped: {why}")]
    Stopped {
        /// What happened and what to do.
        why: String,
    },
}

impl OpError {
    /// The gRPC status etcd answers with.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOps
            | Self::DuplicateKey
            | Self::RequestTooLarge
            | Self::Malformed { .. } => Code::InvalidArgument,
            Self::Compacted { .. } | Self::FutureRev | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace | Self::WindowFull { .. } => Code::ResourceExhausted,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists | Self::SessionExpired | Self::AlreadyAcknowledged { .. } => {
                Code::FailedPrecondition
            }
            Self::Stopped { .. } => Code::Unavailable,
        }
    }
}

/// A set of neighbouring keys.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum KeyRange {
    /// This key.
    One(Bytes),
    /// From the first, before the second.
    Between(Bytes, Bytes),
    /// This key and all above.
    From(Bytes),
}

impl KeyRange {
    /// As etcd reads `key` and `range_end`: an empty end means the one key, `"\0"` means all from
    /// `key` on, anything else is the first key not in the range. (A prefix `p` is `[p, p+1)`, all
    /// keys are `["\0", "\0")`.)
    #[must_use]
    pub fn new(key: &Bytes, range_end: &Bytes) -> Self {
        match &range_end[..] {
            [] => Self::One(key.clone()),
            [0] => Self::From(key.clone()),
            _ => Self::Between(key.clone(), range_end.clone()),
        }
    }
    /// Whether `key` is in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(k) => k == key,
            Self::Between(a, b) => &a[..] <= key && key < &b[..],
            Self::From(a) => &a[..] <= key,
        }
    }
}
