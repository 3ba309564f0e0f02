//! What an eventual keyspace is asked and what it answers: typed commands with Redis' meaning, where that can be
//! kept under concurrency.
//!
//! A door (RESP, the command line, a simulated client) turns its own words into a [`Query`] and back. All is
//! answered by the node that is asked, from its own state; a write is answered once it is durable there.
//!
//! **A key holds parts.** Its string, its counter, its hash, its set and its list are parts of one name. A client that
//! sees one type can't write another (`WRONGTYPE`, as in Redis); but two clients that can't see each other may. Then
//! both parts are there, neither is lost, commands of each type work on their part, and [`Command::Type`] names the
//! first of string, hash, list, set. `SET` and `DEL` replace or remove all parts that are seen.
//!
//! **Meaning under concurrency.** "Seen" is what the answering node had at that moment; "concurrent" is what it had
//! not seen and whose author had not seen this.
//!
//! | commands | kept by | two of them at the same time |
//! |---|---|---|
//! | `SET` `MSET` `GETDEL` | LWW-register | the later by (hybrid time, dot) is shown; the other is a sibling until the next write ([`Query::Explain`]) |
//! | [`Command::SetMulti`] | MV-register | both stay: [`Command::Siblings`] |
//! | `INCR` `DECR` `INCRBY` `DECRBY` `HINCRBY` | PN-counter beside the register | all count, exactly; with a concurrent `SET` or `DEL` see below |
//! | [`Command::BGrant`] [`Command::BSpend`] [`Command::BMove`] | bounded counter (escrow) | the total is never overspent: a node spends what it holds |
//! | `SADD` `SREM` | OR-set | an addition survives a removal that had not seen it |
//! | `HSET` `HDEL` | OR-map of registers | field by field as `SET`; a field written survives a removal that had not seen it |
//! | `RPUSH` `LPUSH` `LINSERT` `LREM` `LSET` `LTRIM` | sequence (Fugue's order) | all insertions stay, runs unbroken; `LSET` of one element twice leaves both values |
//! | `DEL` `UNLINK` | removal of what is seen | what was written concurrently stays, except in counters, which go as a whole |
//! | `EXPIRE` `PERSIST` … | LWW-register of the deadline | the later by (hybrid time, dot) |
//! | a [`Query::Transaction`] | consecutive dots | applied whole everywhere; not isolated from concurrent ones |
//!
//! **A number in a string.** `SET n 10` then `INCR n` is 11, as in Redis: the register holds the base, the counter beside
//! it what was added since; `GET` shows the sum. `SET` removes the counter it sees. Concurrent increments of one base all
//! count. If the register is no number at all, the counter is not shown.
//!
//! **Time to live.** A key past its deadline is shown by nobody and is removed by the replica that set the deadline;
//! who writes to such a key removes it first, in the same transaction. A clock decides when a key is hidden, never
//! what is kept: removal is an operation like any other.
//!
//! **What can't be kept** (`SETNX`, `SET NX`, `GETSET`, `LPOP`, `WATCH` …) has no variant here: [`crate::not_kept`] has
//! the refusal, with the strong keyspace to use.

use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_env::NodeId;
use serde::{Deserialize, Serialize};

/// Commands of one transaction.
pub const TRANSACTION_MAX: usize = 4_096;
/// Bytes of one key.
pub const KEY_MAX: usize = 32 * 1024;
/// Bytes of one field or set element.
pub const ELEMENT_MAX: usize = 32 * 1024;
/// Bytes of one value. One write is one record of the log, so what a transaction writes must fit together, too.
pub const VALUE_MAX: usize = 1024 * 1024;
/// Bytes that one command, or one transaction, may write.
pub const WRITE_MAX: usize = 1536 * 1024;
/// Elements that one answer may carry.
pub const ANSWER_MAX: usize = 1 << 20;
/// Bytes of values that one answer may carry; commands sent together that are answered with more than that are refused from there on.
pub const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Elements that commands sent together may look at: about a second's work, in which nobody else is answered.
pub const LOOK_MAX: usize = 1 << 22;
/// Elements a scan looks at in one step, whatever it was asked.
pub const SCAN_MAX: u64 = 16_384;
/// Keys that one `FLUSHDB` removes, if what it says of them fits [`WRITE_MAX`]; a larger keyspace is emptied by scanning.
pub const FLUSH_MAX: usize = 16_384;
/// Channels and patterns of one subscription.
pub const CHANNELS_MAX: usize = 1_024;

/// What is asked of an eventual keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// One command.
    Command(Command),
    /// These commands, in order, as one: each sees those before it, nobody sees half of them. A command that
    /// fails does nothing and stops no other, as after `EXEC` in Redis. At most [`TRANSACTION_MAX`].
    Transaction(Vec<Command>),
    /// What a client has sent in one go: one after the other, each for itself, answered together once all of it is
    /// durable. One request for the node, one group commit. Each step sees those before it; a refused one stops
    /// no other. At most [`TRANSACTION_MAX`] commands in all.
    Pipeline(Vec<Step>),
    /// A stream of changes, until it is cancelled.
    Subscribe(Subscription),
    /// A key's parts, siblings, dots, and why a value won.
    Explain {
        /// The key.
        key: Bytes,
    },
    /// How the replica fares.
    Status,
    /// Of a keyspace that holds documents; nothing else but [`Query::Status`] and [`Query::Evict`] fits one.
    Documents(Box<crate::documents::ask::Question>),
    /// An operator knows that a node will not come back soon: its place is closed now, instead of after a day of silence. What
    /// the others have of it counts; should it come back after all, it makes anew what nobody had, at its next place.
    Evict {
        /// The node.
        node: NodeId,
    },
}

/// A step of a pipeline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// One command; its answer is an [`Answer::Reply`].
    Command(Command),
    /// As [`Query::Transaction`]; its answer is an [`Answer::Replies`].
    Transaction(Vec<Command>),
}

/// What comes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To a command.
    Reply(Reply),
    /// To a transaction, one for each of its commands.
    Replies(Vec<Result<Reply, Refusal>>),
    /// To a pipeline, one for each of its steps.
    Steps(Vec<Result<Self, Refusal>>),
    /// Changes, in order; one of several answers to a subscription. The first is empty: from here on.
    Notices(Vec<Notice>),
    /// A key explained.
    Explained(Box<Explanation>),
    /// How the replica fares.
    Status(Box<Status>),
    /// Of a keyspace that holds documents.
    Documents(Box<crate::documents::ask::Answer>),
}

/// A reply to a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// A number: how many, how long, how much.
    Number(i64),
    /// A value, or none.
    Value(Option<Bytes>),
    /// Values, each there or not, in the order they were asked for.
    Values(Vec<Option<Bytes>>),
    /// Elements, members, keys; sets and hashes in the order of their names.
    Elements(Vec<Bytes>),
    /// Fields with values, in the order of their names.
    Pairs(Vec<(Bytes, Bytes)>),
    /// Yes or no, in the order they were asked.
    Flags(Vec<bool>),
    /// Numbers: places in a list, in the order in which they were found.
    Numbers(Vec<i64>),
    /// A key's type.
    Type(Type),
    /// A step of a scan.
    Scan {
        /// Where to go on; none: all was seen.
        next: Option<Bytes>,
        /// Keys or elements; of a hash field, value, field, value.
        found: Vec<Bytes>,
    },
}

/// When a key is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Expiry {
    /// As it was: `KEEPTTL`.
    Keep,
    /// Never.
    Never,
    /// After this many milliseconds. Zero or less removes the key now.
    In(i64),
    /// At this moment, milliseconds since 1970. A past one removes the key now.
    At(i64),
}

/// A step of a scan. What is there from the first step to the last is found exactly once, whatever else
/// changes meanwhile: a cursor is the name last seen, and the order is that of names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    /// Where the last step ended; none to begin.
    pub after: Option<Bytes>,
    /// How many to look at, about; 0 is ten. At most [`SCAN_MAX`].
    pub count: u64,
    /// Only names that match this pattern (Redis' `*`, `?`, `[a-z]`, `\`).
    pub pattern: Option<Bytes>,
}

/// Which changes to hear of. As Redis' keyspace notifications, always on: each change of a key is told on
/// `__keyspace@0__:<key>` with the event's name (`set`, `incrby`, `sadd`, `srem`, `hset`, `hdel`, `list`, `del`, `expire`, …)
/// and on `__keyevent@0__:<event>` with the key, wherever it was made, when it arrives here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Subscription {
    /// Channels by name.
    pub channels: Vec<Bytes>,
    /// Channels by pattern.
    pub patterns: Vec<Bytes>,
}

/// A change, told to a subscriber.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The pattern by which it was found; none: the channel's name.
    pub pattern: Option<Bytes>,
    /// The channel.
    pub channel: Bytes,
    /// What is told on it.
    pub message: Bytes,
}

/// A command. Names, arguments and replies as in Redis, unless its line says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are Redis' arguments by their names")]
pub enum Command {
    // --- strings and counters -------------------------------------------------------------------
    /// `GET` → [`Reply::Value`].
    Get { key: Bytes },
    /// `SET` with `EX` `PX` `EXAT` `PXAT` `KEEPTTL` → [`Reply::Done`].
    Set { key: Bytes, value: Bytes, expiry: Expiry },
    /// `MGET` → [`Reply::Values`].
    MGet { keys: Vec<Bytes> },
    /// `MSET` → [`Reply::Done`]; all or nothing.
    MSet { pairs: Vec<(Bytes, Bytes)> },
    /// `GETDEL` → [`Reply::Value`]. Two clients that can't see each other may both get it.
    GetDel { key: Bytes },
    /// `GETEX` → [`Reply::Value`].
    GetEx { key: Bytes, expiry: Expiry },
    /// `STRLEN` → [`Reply::Number`].
    StrLen { key: Bytes },
    /// `GETRANGE` → [`Reply::Value`].
    GetRange { key: Bytes, start: i64, end: i64 },
    /// `INCR` `DECR` `INCRBY` `DECRBY` → [`Reply::Number`], the total as seen here.
    IncrBy { key: Bytes, by: i64 },
    /// `DWCP.MVSET`: a value in place of all that are seen here → [`Reply::Done`].
    SetMulti { key: Bytes, value: Bytes },
    /// `DWCP.SIBLINGS`: all concurrent values of a key, the shown one first → [`Reply::Elements`].
    Siblings { key: Bytes },

    // --- bounded counters ------------------------------------------------------------------------
    /// `DWCP.BGRANT` → [`Reply::Number`], the total as seen here. This node may spend what it grants.
    BGrant { key: Bytes, by: i64 },
    /// `DWCP.BSPEND` → [`Reply::Number`], the total as seen here. Refused if this node may not spend so much.
    BSpend { key: Bytes, by: i64 },
    /// `DWCP.BMOVE`: another node may spend it instead of this one → [`Reply::Number`] that this one may still spend.
    BMove { key: Bytes, node: u64, by: i64 },
    /// `DWCP.BGET` → [`Reply::Pairs`]: `total`, `here`, and `node:N` for others that may spend, as known here.
    BGet { key: Bytes },

    // --- sets ------------------------------------------------------------------------------------
    /// `SADD` → [`Reply::Number`] of those not seen here before.
    SAdd { key: Bytes, members: Vec<Bytes> },
    /// `SREM` → [`Reply::Number`] of those seen here.
    SRem { key: Bytes, members: Vec<Bytes> },
    /// `SMEMBERS` → [`Reply::Elements`].
    SMembers { key: Bytes },
    /// `SISMEMBER` → [`Reply::Number`] 0 or 1.
    SIsMember { key: Bytes, member: Bytes },
    /// `SMISMEMBER` → [`Reply::Flags`].
    SMIsMember { key: Bytes, members: Vec<Bytes> },
    /// `SCARD` → [`Reply::Number`].
    SCard { key: Bytes },
    /// `SRANDMEMBER` without a count → [`Reply::Value`].
    SRandMember { key: Bytes },
    /// `SUNION` → [`Reply::Elements`].
    SUnion { keys: Vec<Bytes> },
    /// `SINTER` → [`Reply::Elements`].
    SInter { keys: Vec<Bytes> },
    /// `SDIFF` → [`Reply::Elements`].
    SDiff { keys: Vec<Bytes> },
    /// `SSCAN` → [`Reply::Scan`].
    SScan { key: Bytes, span: Span },

    // --- hashes ----------------------------------------------------------------------------------
    /// `HSET` `HMSET` → [`Reply::Number`] of fields not seen here before.
    HSet { key: Bytes, pairs: Vec<(Bytes, Bytes)> },
    /// `HGET` → [`Reply::Value`].
    HGet { key: Bytes, field: Bytes },
    /// `HMGET` → [`Reply::Values`].
    HMGet { key: Bytes, fields: Vec<Bytes> },
    /// `HGETALL` → [`Reply::Pairs`].
    HGetAll { key: Bytes },
    /// `HDEL` → [`Reply::Number`] of those seen here.
    HDel { key: Bytes, fields: Vec<Bytes> },
    /// `HEXISTS` → [`Reply::Number`] 0 or 1.
    HExists { key: Bytes, field: Bytes },
    /// `HLEN` → [`Reply::Number`].
    HLen { key: Bytes },
    /// `HSTRLEN` → [`Reply::Number`].
    HStrLen { key: Bytes, field: Bytes },
    /// `HKEYS` → [`Reply::Elements`].
    HKeys { key: Bytes },
    /// `HVALS` → [`Reply::Elements`].
    HVals { key: Bytes },
    /// `HINCRBY` → [`Reply::Number`], the total as seen here.
    HIncrBy { key: Bytes, field: Bytes, by: i64 },
    /// `HSCAN` → [`Reply::Scan`].
    HScan { key: Bytes, span: Span },

    // --- lists -----------------------------------------------------------------------------------
    /// `RPUSH` → [`Reply::Number`], the length as seen here.
    RPush { key: Bytes, values: Vec<Bytes> },
    /// `LPUSH` → [`Reply::Number`], the length as seen here.
    LPush { key: Bytes, values: Vec<Bytes> },
    /// `LRANGE` → [`Reply::Elements`].
    LRange { key: Bytes, start: i64, stop: i64 },
    /// `LLEN` → [`Reply::Number`].
    LLen { key: Bytes },
    /// `LINDEX` → [`Reply::Value`].
    LIndex { key: Bytes, index: i64 },
    /// `LINSERT` → [`Reply::Number`]: the length, 0 without the key, -1 without the pivot.
    LInsert { key: Bytes, before: bool, pivot: Bytes, value: Bytes },
    /// `LREM` → [`Reply::Number`] of elements removed; they are named, not counted, so nothing else goes elsewhere.
    LRem { key: Bytes, count: i64, value: Bytes },
    /// `LSET` → [`Reply::Done`]. The seen element goes, the new one comes in its place.
    LSet { key: Bytes, index: i64, value: Bytes },
    /// `LTRIM` → [`Reply::Done`]. What is seen outside the range goes.
    LTrim { key: Bytes, start: i64, stop: i64 },
    /// `LPOS` → [`Reply::Number`] or no [`Reply::Value`]; with a count [`Reply::Numbers`]. No rank is 1, no limit 0.
    LPos { key: Bytes, value: Bytes, rank: i64, count: Option<u64>, maxlen: u64 },

    // --- keys ------------------------------------------------------------------------------------
    /// `DEL` `UNLINK` → [`Reply::Number`] of those seen here.
    Del { keys: Vec<Bytes> },
    /// `EXISTS` `TOUCH` → [`Reply::Number`]; a key named twice counts twice.
    Exists { keys: Vec<Bytes> },
    /// `TYPE` → [`Reply::Type`].
    Type { key: Bytes },
    /// `EXPIRE` `PEXPIRE` `EXPIREAT` `PEXPIREAT` ([`Expiry::In`], [`Expiry::At`]) and `PERSIST` ([`Expiry::Never`]) →
    /// [`Reply::Number`] 0 or 1.
    Expire { key: Bytes, expiry: Expiry },
    /// `PTTL` → [`Reply::Number`] of milliseconds; -1 without a deadline, -2 without a key. `TTL` is that in seconds, to the nearest.
    Pttl { key: Bytes },
    /// `PEXPIRETIME` → [`Reply::Number`], milliseconds since 1970; -1 and -2 as above.
    ExpireTime { key: Bytes },
    /// `SCAN` → [`Reply::Scan`].
    Scan { span: Span, kind: Option<Type> },
    /// `KEYS` → [`Reply::Elements`].
    Keys { pattern: Bytes },
    /// `DBSIZE` → [`Reply::Number`].
    DbSize,
    /// `RANDOMKEY` → [`Reply::Value`].
    RandomKey,
    /// `FLUSHDB` → [`Reply::Done`]: all that is seen here goes.
    FlushDb,
}

/// A key's type, as Redis names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Type {
    /// There is no such key.
    None,
    /// A string or a counter.
    String,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A set.
    Set,
}

impl Type {
    /// Redis' name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::String => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
        }
    }
    /// From Redis' name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Self::String, Self::Hash, Self::List, Self::Set];
        all.into_iter().find(|t| name.eq_ignore_ascii_case(t.name().as_bytes()))
    }
}

/// A key with all that is known about it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// The key.
    pub key: Bytes,
    /// What is shown of it.
    pub shown: Option<Bytes>,
    /// Everything alive under it, in order.
    pub entries: Vec<Entry>,
    /// When it is to go, milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// More lies under it than fits an answer.
    pub cut: bool,
}

/// One thing that lies under a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The names below the key: nothing, a field, a member, a place in a list.
    pub path: Vec<Bytes>,
    /// Its kind (`lww-register`, `or-set`, …).
    pub kind: String,
    /// The operation that put it there: replica and sequence.
    pub dot: (u16, u64),
    /// The node and incarnation behind the replica.
    pub writer: Option<(u64, u64)>,
    /// When, milliseconds since 1970, and the moment's number within that.
    pub time: Option<(u64, u16)>,
    /// Its value, if it has one.
    pub value: Option<Bytes>,
    /// Whether it is what a reader is shown, and why or why not.
    pub shown: Option<String>,
}

/// How a replica fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The keyspace's name.
    pub keyspace: String,
    /// This node's replica: its place in the roster and its incarnation; none while it waits for one.
    pub replica: Option<(u16, u64)>,
    /// The roster's epoch.
    pub epoch: u64,
    /// Live keys.
    pub keys: u64,
    /// Operations known, by replica.
    pub version: Vec<(u16, u64)>,
    /// The state's fingerprint: equal on all that have an equal version.
    pub fingerprint: [u64; 2],
    /// Operations that somebody is not yet known to have.
    pub unstable_operations: u64,
    /// Bytes of their log.
    pub unstable_bytes: u64,
    /// Batches that wait for others before them.
    pub pending: u64,
    /// Bytes sent to repair peers, and received.
    pub repair_bytes: (u64, u64),
    /// Peers' digests that were equal to ours, and that were not.
    pub digests: (u64, u64),
    /// What each rung of the ladder cost and did: bytes sent, bytes received, repairs.
    pub rungs: Vec<(String, u64, u64, u64)>,
    /// How far each peer is known to be behind: node, operations, milliseconds since it was heard.
    pub peers: Vec<PeerStatus>,
    /// What keeps it from serving, if anything does.
    pub waiting_for: Option<String>,
    /// How its documents fare, if it holds any.
    pub documents: Option<DocumentFigures>,
}

/// Documents as a replica sees them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DocumentFigures {
    /// Places where writes stand beside each other.
    pub open: u64,
    /// Those of them about which people are asked.
    pub asked: u64,
    /// Those that this node would settle and could not.
    pub unsettled: u64,
    /// Records in all chains of the audit.
    pub records: u64,
    /// Chains that do not go on as they should, or are not what consensus was promised.
    pub broken_chains: u64,
}

/// A peer as a replica sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The node.
    pub node: u64,
    /// Operations of ours and others' that it is not known to have.
    pub behind: u64,
    /// Milliseconds since it was heard.
    pub silent_ms: u64,
    /// Its standing in the roster.
    pub standing: String,
    /// What this node ships to it, if it does.
    pub stream: Option<StreamStatus>,
}

/// A site stream, as its sending end sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Whether the receiver has said where it stands.
    pub connected: bool,
    /// Microseconds since the oldest was durable that was shipped and is not known to be durable there: what is lost with this
    /// site, if it were lost now.
    pub exposure_us: u64,
    /// Microseconds from durable here to durable there, of the oldest of the latest batch;
    pub lag_us: u64,
    /// and the most since the stream began.
    pub worst_lag_us: u64,
    /// Batches durable there.
    pub batches: u64,
    /// Batches sent again.
    pub again: u64,
    /// Bytes that are on their way.
    pub flying: u64,
}

impl Step {
    /// Its commands.
    #[must_use]
    pub fn commands(&self) -> &[Command] {
        match self {
            Self::Command(command) => core::slice::from_ref(command),
            Self::Transaction(commands) => commands,
        }
    }
}

impl Command {
    /// Its name, as Redis spells it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Set { .. } => "set",
            Self::MGet { .. } => "mget",
            Self::MSet { .. } => "mset",
            Self::GetDel { .. } => "getdel",
            Self::GetEx { .. } => "getex",
            Self::StrLen { .. } => "strlen",
            Self::GetRange { .. } => "getrange",
            Self::IncrBy { .. } => "incrby",
            Self::SetMulti { .. } => "dwcp.mvset",
            Self::Siblings { .. } => "dwcp.siblings",
            Self::BGrant { .. } => "dwcp.bgrant",
            Self::BSpend { .. } => "dwcp.bspend",
            Self::BMove { .. } => "dwcp.bmove",
            Self::BGet { .. } => "dwcp.bget",
            Self::SAdd { .. } => "sadd",
            Self::SRem { .. } => "srem",
            Self::SMembers { .. } => "smembers",
            Self::SIsMember { .. } => "sismember",
            Self::SMIsMember { .. } => "smismember",
            Self::SCard { .. } => "scard",
            Self::SRandMember { .. } => "srandmember",
            Self::SUnion { .. } => "sunion",
            Self::SInter { .. } => "sinter",
            Self::SDiff { .. } => "sdiff",
            Self::SScan { .. } => "sscan",
            Self::HSet { .. } => "hset",
            Self::HGet { .. } => "hget",
            Self::HMGet { .. } => "hmget",
            Self::HGetAll { .. } => "hgetall",
            Self::HDel { .. } => "hdel",
            Self::HExists { .. } => "hexists",
            Self::HLen { .. } => "hlen",
            Self::HStrLen { .. } => "hstrlen",
            Self::HKeys { .. } => "hkeys",
            Self::HVals { .. } => "hvals",
            Self::HIncrBy { .. } => "hincrby",
            Self::HScan { .. } => "hscan",
            Self::RPush { .. } => "rpush",
            Self::LPush { .. } => "lpush",
            Self::LRange { .. } => "lrange",
            Self::LLen { .. } => "llen",
            Self::LIndex { .. } => "lindex",
            Self::LInsert { .. } => "linsert",
            Self::LRem { .. } => "lrem",
            Self::LSet { .. } => "lset",
            Self::LTrim { .. } => "ltrim",
            Self::LPos { .. } => "lpos",
            Self::Del { .. } => "del",
            Self::Exists { .. } => "exists",
            Self::Type { .. } => "type",
            Self::Expire { .. } => "expire",
            Self::Pttl { .. } => "pttl",
            Self::ExpireTime { .. } => "pexpiretime",
            Self::Scan { .. } => "scan",
            Self::Keys { .. } => "keys",
            Self::DbSize => "dbsize",
            Self::RandomKey => "randomkey",
            Self::FlushDb => "flushdb",
        }
    }
    /// Whether it speaks of keys that it does not name.
    #[must_use]
    pub const fn is_keyless(&self) -> bool {
        matches!(self, Self::Scan { .. } | Self::Keys { .. } | Self::DbSize | Self::RandomKey | Self::FlushDb)
    }
    /// Whether it may change something.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(
            self,
            Self::Set { .. }
                | Self::MSet { .. }
                | Self::GetDel { .. }
                | Self::GetEx { .. }
                | Self::IncrBy { .. }
                | Self::SetMulti { .. }
                | Self::BGrant { .. }
                | Self::BSpend { .. }
                | Self::BMove { .. }
                | Self::SAdd { .. }
                | Self::SRem { .. }
                | Self::HSet { .. }
                | Self::HDel { .. }
                | Self::HIncrBy { .. }
                | Self::RPush { .. }
                | Self::LPush { .. }
                | Self::LInsert { .. }
                | Self::LRem { .. }
                | Self::LSet { .. }
                | Self::LTrim { .. }
                | Self::Del { .. }
                | Self::Expire { .. }
                | Self::FlushDb
        )
    }
    /// Whether chance has a part in its answer.
    #[must_use]
    pub const fn draws(&self) -> bool {
        matches!(self, Self::SRandMember { .. } | Self::RandomKey)
    }
    /// Whether somebody acts on its answer as on a right that only he has: it is durable before it is answered, always.
    #[must_use]
    pub const fn spends(&self) -> bool {
        matches!(self, Self::BSpend { .. } | Self::BMove { .. })
    }
    /// The keys it names. `SCAN`, `KEYS` and the like name none.
    #[must_use]
    pub fn keys(&self) -> Vec<&Bytes> {
        let mut keys = Vec::new();
        self.each_key(|key| keys.push(key));
        keys
    }
    /// Goes through the keys it names.
    pub fn each_key<'c>(&'c self, mut each: impl FnMut(&'c Bytes)) {
        match self {
            Self::MGet { keys }
            | Self::SUnion { keys }
            | Self::SInter { keys }
            | Self::SDiff { keys }
            | Self::Del { keys }
            | Self::Exists { keys } => keys.iter().for_each(each),
            Self::MSet { pairs } => pairs.iter().for_each(|(k, _)| each(k)),
            Self::Get { key }
            | Self::Set { key, .. }
            | Self::GetDel { key }
            | Self::GetEx { key, .. }
            | Self::StrLen { key }
            | Self::GetRange { key, .. }
            | Self::IncrBy { key, .. }
            | Self::SetMulti { key, .. }
            | Self::Siblings { key }
            | Self::BGrant { key, .. }
            | Self::BSpend { key, .. }
            | Self::BMove { key, .. }
            | Self::BGet { key }
            | Self::SAdd { key, .. }
            | Self::SRem { key, .. }
            | Self::SMembers { key }
            | Self::SIsMember { key, .. }
            | Self::SMIsMember { key, .. }
            | Self::SCard { key }
            | Self::SRandMember { key }
            | Self::SScan { key, .. }
            | Self::HSet { key, .. }
            | Self::HGet { key, .. }
            | Self::HMGet { key, .. }
            | Self::HGetAll { key }
            | Self::HDel { key, .. }
            | Self::HExists { key, .. }
            | Self::HLen { key }
            | Self::HStrLen { key, .. }
            | Self::HKeys { key }
            | Self::HVals { key }
            | Self::HIncrBy { key, .. }
            | Self::HScan { key, .. }
            | Self::RPush { key, .. }
            | Self::LPush { key, .. }
            | Self::LRange { key, .. }
            | Self::LLen { key }
            | Self::LIndex { key, .. }
            | Self::LInsert { key, .. }
            | Self::LRem { key, .. }
            | Self::LSet { key, .. }
            | Self::LTrim { key, .. }
            | Self::LPos { key, .. }
            | Self::Type { key }
            | Self::Expire { key, .. }
            | Self::Pttl { key }
            | Self::ExpireTime { key } => each(key),
            Self::Scan { .. } | Self::Keys { .. } | Self::DbSize | Self::RandomKey | Self::FlushDb => {}
        }
    }
}
