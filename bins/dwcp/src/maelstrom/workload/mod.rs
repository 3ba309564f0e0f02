//! The workloads: each file turns one workload's words into the store's, and back.
//!
//! | workload | lies in the store as | a write is | a read is |
//! |---|---|---|---|
//! | echo, unique-ids | nothing | | |
//! | broadcast | nothing: gossip between nodes, see [`broadcast`] | | this node's |
//! | g-set | one key an element | a put | fresh, else this node's |
//! | g-counter, pn-counter | one key an add, its delta the value | a put | their sum, fresh, else this node's |
//! | lin-kv | one key a key | a put, or a conditional transaction | fresh |
//! | txn-list-append | one key an element, ordered by creation | one transaction | inside it |
//! | txn-rw-register | one key a register | one transaction | inside it |
//! | kafka | one key a message, its creation revision the offset | a put | fresh |
//!
//! So no write ever has to read first and try again: appends, sends and adds make keys of their own, and the
//! store's revision orders them. *Fresh* means behind a read barrier; it needs a quorum.

pub(super) mod broadcast;
mod counter;
mod gossip;
mod kafka;
mod lin_kv;
mod list_append;
mod rw_register;
mod set;

use super::protocol::{Answer, Body, Code, Fault, field, with};
use super::strong::Strong;
use broadcast::Broadcast;
use clap::ValueEnum;
use serde_json::Value;
use std::sync::Arc;

/// What a node is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Workload {
    /// Answers with what it was sent.
    Echo,
    /// Gives numbers that nobody was ever given.
    UniqueIds,
    /// Spreads messages to all nodes, by gossip, in memory.
    Broadcast,
    /// A set that grows.
    GSet,
    /// A counter that grows.
    GCounter,
    /// A counter that grows and shrinks.
    PnCounter,
    /// Registers: read, write, compare and set. Linearizable.
    LinKv,
    /// Transactions that read lists and append to them. Strictly serializable.
    TxnListAppend,
    /// Transactions that read and write registers. Strictly serializable.
    TxnRwRegister,
    /// Logs with offsets, polls and commits.
    Kafka,
}

impl Workload {
    /// Whether it needs the store, and with it a group of nodes that agree.
    pub(super) const fn needs_store(self) -> bool {
        !matches!(self, Self::Echo | Self::UniqueIds | Self::Broadcast)
    }
}

/// What answers questions, once the node knows who it is.
#[derive(Clone, Debug)]
pub(super) enum Server {
    /// Needs nothing.
    Echo,
    /// Needs a name of its own.
    UniqueIds(Arc<Names>),
    /// Needs the other nodes.
    Broadcast(Arc<Broadcast>),
    /// Needs the store.
    Store(Workload, Arc<Strong>),
}

/// Names nobody else gives: the process's own, and a number.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) tag: String,
    pub(super) given: std::sync::atomic::AtomicU64,
}

impl Server {
    /// Answers one question.
    pub(super) async fn answer(&self, kind: &str, body: &Body) -> Answer {
        match (self, kind) {
            (Self::Echo, "echo") => with("echo", field(body, "echo")?.clone()),
            (Self::UniqueIds(names), "generate") => {
                let n = names.given.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                with("id", format!("{}-{n}", names.tag).into())
            }
            (Self::Broadcast(broadcast), _) => broadcast.answer(kind, body),
            (Self::Store(workload, store), _) => match workload {
                Workload::GSet => set::answer(store, kind, body).await,
                Workload::GCounter => counter::answer(store, counter::Sign::Positive, kind, body).await,
                Workload::PnCounter => counter::answer(store, counter::Sign::Any, kind, body).await,
                Workload::LinKv => lin_kv::answer(store, kind, body).await,
                Workload::TxnListAppend => list_append::answer(store, kind, body).await,
                Workload::TxnRwRegister => rw_register::answer(store, kind, body).await,
                Workload::Kafka => kafka::answer(store, kind, body).await,
                Workload::Echo | Workload::UniqueIds | Workload::Broadcast => Err(not_mine(kind)),
            },
            _ => Err(not_mine(kind)),
        }
    }
}

/// A question of another workload.
fn not_mine(kind: &str) -> Fault {
    Fault::new(
        Code::NotSupported,
        format!("{kind:?} is not of this workload; start `dwcp maelstrom` with the one it is of"),
    )
}

/// The operations of a transaction: `[["r", 1, null], ["append", 1, 2]]`.
fn operations(body: &Body) -> Result<Vec<(&str, &Value, &Value)>, Fault> {
    let bad = || Fault::malformed("txn is no list of [function, key, value]");
    let each = |op: &'_ Value| match op.as_array().map(Vec::as_slice) {
        Some([f, _, _]) => f.as_str().map(|_| ()).ok_or_else(bad),
        _ => Err(bad()),
    };
    let list = field(body, "txn")?.as_array().ok_or_else(bad)?;
    list.iter().try_for_each(each)?;
    Ok(list.iter().map(|op| (op[0].as_str().unwrap_or_default(), &op[1], &op[2])).collect())
}
