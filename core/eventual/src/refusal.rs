//! What is not done, why, and what to use instead.
//!
//! A command has no variant in [`crate::api`] if its whole point is that it happens once, or only if nobody else was
//! faster: two regions that can't see each other would both be told "yes". [`not_kept`] names for each what the strong
//! keyspace has in its place, so that a client learns it from the error and not from a lost update.

use crate::api::Type;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a command was not done. It has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The key holds something else.
    #[error("Operation against a key holding the wrong kind of value: it holds a {}", .holds.name())]
    WrongType {
        /// What it holds.
        holds: Type,
    },
    /// Not a number.
    #[error("value is not an integer or out of range")]
    NotInteger,
    /// A hash's field is not a number.
    #[error("hash value is not an integer")]
    FieldNotInteger,
    /// A total beyond 64 bits.
    #[error("increment or decrement would overflow")]
    Overflow,
    /// A bounded counter's rights lie elsewhere, or are spent.
    #[error("{wanted} wanted, this node may spend {held}{}", at_best(.elsewhere))]
    NoRights {
        /// What was asked.
        wanted: u64,
        /// What this node may spend.
        held: u64,
        /// Which other node may spend most, as far as is known here, and how much.
        elsewhere: Option<(u64, u64)>,
    },
    /// The key is not there, and has to be.
    #[error("no such key")]
    NoSuchKey,
    /// The index is not there, and has to be.
    #[error("index out of range")]
    IndexOutOfRange,
    /// An argument that can't be.
    #[error("{0}")]
    Argument(String),
    /// Something is too large.
    #[error("{what} of {size} is over the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// How large it is.
        size: u64,
        /// How large it may be.
        limit: u64,
    },
    /// It can't be kept under concurrency.
    #[error(
        "{command} can't be kept in an eventual keyspace: {why}. Use the strong keyspace '{keyspace}': {instead}"
    )]
    NotKept {
        /// The command.
        command: String,
        /// Why not.
        why: String,
        /// What to use there.
        instead: String,
        /// The strong keyspace.
        keyspace: String,
    },
    /// Too much waits for peers that do not come: the bound on memory has been reached.
    #[error(
        "{bytes} bytes of changes wait for replicas that have not acknowledged them, the bound is {limit}: reads go on; bring \
         back or evict the silent ones (`dwcp crdt status` names them)"
    )]
    Backlog {
        /// How much waits.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The clock strays too far from those of the peers.
    #[error("{0}")]
    Clock(String),
    /// The replica can't serve yet, and why.
    #[error("this replica can't serve yet: {0}")]
    NotReady(String),
    /// The deadline passed while the disk was being waited for.
    #[error(
        "the outcome is unknown: the deadline passed before the write was durable; read before trying again"
    )]
    Unknown,
    /// Too much to do already.
    #[error("the replica has too many requests in flight; try again in a moment")]
    Overloaded,
    /// The subscriber has fallen too far behind.
    #[error("the subscription fell behind and was ended: subscribe again and read the keys anew")]
    Lagged,
}

fn at_best(elsewhere: &Option<(u64, u64)>) -> String {
    match elsewhere {
        Some((node, rights)) => {
            format!("; node {node} may spend {rights}: ask it, or have it hand over (DWCP.BMOVE)")
        }
        None => ", and nobody else is known who may spend any".to_owned(),
    }
}

impl Refusal {
    /// The word a RESP error begins with.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WrongType { .. } => "WRONGTYPE",
            Self::NotKept { .. } => "NOTKEPT",
            Self::NoRights { .. } => "NORIGHTS",
            Self::Backlog { .. } | Self::Overloaded => "BUSY",
            Self::Clock(_) => "CLOCK",
            Self::NotReady(_) => "LOADING",
            Self::NotInteger
            | Self::FieldNotInteger
            | Self::Overflow
            | Self::NoSuchKey
            | Self::IndexOutOfRange
            | Self::Argument(_)
            | Self::TooLarge { .. }
            | Self::Unknown
            | Self::Lagged => "ERR",
        }
    }
}

/// A command that an eventual keyspace can't keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unkept {
    /// The command, in capitals, with the option that makes it so.
    pub command: &'static str,
    /// What would go wrong.
    pub why: &'static str,
    /// What does it in a strong keyspace.
    pub instead: &'static str,
}

impl Unkept {
    /// As a refusal that names `keyspace`.
    #[must_use]
    pub fn refusal(&self, keyspace: &str) -> Refusal {
        Refusal::NotKept {
            command: self.command.into(),
            why: self.why.into(),
            instead: self.instead.into(),
            keyspace: keyspace.into(),
        }
    }
}

const BOTH: &str = "two regions that can't see each other would both be told that they were first";
const TWICE: &str = "two regions that can't see each other would both take the same element";
const LOST: &str = "of two concurrent ones the result of one would be lost";
const SAW: &str = "the condition holds here and may not hold elsewhere at the same time";
const CREATE: &str = "a transaction that compares the key's create revision with 0 (`etcdctl txn`)";
const LOCK: &str = "a lock with a lease and a fencing token (`etcdctl lock`)";
const TXN: &str = "a transaction that compares the value read with the one there (`etcdctl txn`)";
const TAKE: &str = "a transaction that deletes the key if its revision is still the one read (`etcdctl txn`)";

const UNKEPT: &[Unkept] = &[
    Unkept { command: "SETNX", why: BOTH, instead: LOCK },
    Unkept { command: "MSETNX", why: BOTH, instead: CREATE },
    Unkept { command: "HSETNX", why: BOTH, instead: CREATE },
    Unkept { command: "SET NX", why: BOTH, instead: LOCK },
    Unkept { command: "SET XX", why: SAW, instead: TXN },
    Unkept { command: "SET GET", why: LOST, instead: TXN },
    Unkept { command: "GETSET", why: LOST, instead: TXN },
    Unkept { command: "EXPIRE NX", why: SAW, instead: TXN },
    Unkept { command: "EXPIRE XX", why: SAW, instead: TXN },
    Unkept { command: "EXPIRE GT", why: SAW, instead: TXN },
    Unkept { command: "EXPIRE LT", why: SAW, instead: TXN },
    Unkept { command: "RENAME", why: LOST, instead: TXN },
    Unkept { command: "RENAMENX", why: BOTH, instead: TXN },
    Unkept { command: "COPY", why: SAW, instead: TXN },
    Unkept { command: "WATCH", why: SAW, instead: TXN },
    Unkept {
        command: "APPEND",
        why: LOST,
        instead: "a transaction; or keep the parts in a list here (RPUSH)",
    },
    Unkept { command: "SETRANGE", why: LOST, instead: TXN },
    Unkept {
        command: "SETBIT",
        why: LOST,
        instead: "a transaction; or keep the bits as members of a set here (SADD)",
    },
    Unkept { command: "BITFIELD", why: LOST, instead: TXN },
    Unkept {
        command: "INCRBYFLOAT",
        why: "sums of floating point numbers depend on their order",
        instead: "a transaction; or count in a smaller unit here (INCRBY)",
    },
    Unkept {
        command: "HINCRBYFLOAT",
        why: "sums of floating point numbers depend on their order",
        instead: "a transaction; or count in a smaller unit here (HINCRBY)",
    },
    Unkept { command: "SPOP", why: TWICE, instead: TAKE },
    Unkept { command: "LPOP", why: TWICE, instead: TAKE },
    Unkept { command: "RPOP", why: TWICE, instead: TAKE },
    Unkept { command: "LMPOP", why: TWICE, instead: TAKE },
    Unkept { command: "BLPOP", why: TWICE, instead: TAKE },
    Unkept { command: "BRPOP", why: TWICE, instead: TAKE },
    Unkept { command: "BLMPOP", why: TWICE, instead: TAKE },
    Unkept { command: "LMOVE", why: TWICE, instead: TXN },
    Unkept { command: "BLMOVE", why: TWICE, instead: TXN },
    Unkept { command: "RPOPLPUSH", why: TWICE, instead: TXN },
    Unkept { command: "BRPOPLPUSH", why: TWICE, instead: TXN },
    Unkept {
        command: "SMOVE",
        why: "two concurrent ones would leave the element in both sets",
        instead: TXN,
    },
    Unkept { command: "LPUSHX", why: SAW, instead: TXN },
    Unkept { command: "RPUSHX", why: SAW, instead: TXN },
    Unkept { command: "EVAL", why: SAW, instead: TXN },
    Unkept { command: "EVALSHA", why: SAW, instead: TXN },
    Unkept { command: "FCALL", why: SAW, instead: TXN },
    Unkept {
        command: "WAIT",
        why: "a write is acknowledged by this region alone, by design",
        instead: "any write: it is on a quorum of disks when it is answered",
    },
];

/// Why an eventual keyspace can't keep a command, and what to use; none if it can, or if nobody knows it.
/// Options follow the name: `SET NX`.
#[must_use]
pub fn not_kept(command: &str) -> Option<&'static Unkept> {
    UNKEPT.iter().find(|u| u.command.eq_ignore_ascii_case(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command_the_reason_and_the_way_out() {
        let r = not_kept("setnx").unwrap().refusal("default");
        let said = r.to_string();
        for part in ["SETNX", "both be told", "'default'", "etcdctl lock"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(r.code(), "NOTKEPT");
        assert_eq!(not_kept("GET"), None);
        let names: Vec<&str> = UNKEPT.iter().map(|u| u.command).collect();
        assert!(names.iter().all(|n| names.iter().filter(|m| m == &n).count() == 1));
    }
}
