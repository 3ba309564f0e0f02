//! The replication stream between two sites: what one region made durable reaches the other in order,
//! batched, coalesced and acknowledged by what is durable there.
//!
//! **Promise.** An item offered is applied at the other site once, in the order of its replica, as long as the
//! link works now and then; the lag (RPO) is measured, not assumed. What can't be kept here (the queue is full, the
//! other side is behind what is left) is said, and is the digest's work; nothing waits without bound.
//!
//! ```text
//!  local durable ─▶ offer ─▶ queue ──50 ms or 128 KiB─▶ batch n ─▶ shards + parity ─▶ in order ─▶ apply ─▶ durable
//!                     ▲ coalesce by key                    ▲ again when a later one came, or after a timeout  │
//!                     └──────────── lag measured ◀─────────┴──── Ack { batches held, durable vector, loss } ◀─┘
//! ```
//!
//! **Loss** is met ahead of time: a batch travels as datagrams, with half as much parity again as the worst of the last 512
//! needed (`shards`). A carrier that is an ordered stream (TCP, QUIC) can't do that: it stops at a
//! lost segment until that has been noticed and sent again, which at 160 ms one way is 320 ms for it and all behind it. Over such a carrier
//! ([`SiteSettings::datagram`] = 0) batches go whole, and the lag under loss is the carrier's. When more is lost than the parity
//! covers, the batch is sent again: 480 ms is then the least possible, whatever the protocol.
//!
//! **Order and back-pressure.** Oldest first, always: the vector of a replica advances only in its order, so that a newer item
//! that overtakes an older one would lie there and count for nothing. What is bounded is the queue.
//!
//! | file | holds |
//! |---|---|
//! | [`outbound`](Outbound) | the sending end |
//! | [`inbound`](Inbound) | the receiving end |
//! | `shards`, `pieces` | redundancy ahead of loss; what has come of a batch, and what was lost |
//! | `letter` | the bytes between them |
//!
//! **Items** are named by dots, (replica, sequence), consecutive per replica. Coalescing never drops one: a
//! callback may shrink the bytes of an item that a later one of the same key supersedes, so that the vector stays
//! without gaps and only the last value of a chain travels.
//!
//! **Acknowledgements are durable version vectors.** They are all that survives a reconnect: the sender forgets
//! what they cover, numbers the rest anew under a new session, and goes on. If the receiver stands before what the
//! sender still has, [`Sent::Behind`] says from where, and the caller serves that from its log or a snapshot.
//!
//! **Invariants.** (1) Items leave in the order they were offered. (2) Bytes in flight never exceed the window, bytes
//! queued never the bound. (3) The receiver applies a replica's items in sequence, each once. (4) An item is
//! forgotten by the sender only when a durable vector covers it, or by [`Sent::Overflowed`], which says so.

mod inbound;
mod letter;
mod outbound;
mod pieces;
mod shards;

pub use inbound::{Inbound, Received};
pub use letter::{Letter, Shard};
pub use outbound::{Lag, Outbound, Sent};

use crate::message::RumourId;
use alloc::collections::BTreeMap;
use bytes::Bytes;
use dwcp_env::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// What is durable, per replica: everything up to that sequence.
pub type Vector = BTreeMap<u16, u64>;

/// The largest item, in bytes.
pub const ITEM_MAX: usize = 1_536 * 1_024;
/// Replicas in one vector.
pub const REPLICAS_MAX: usize = 4_096;
/// Items in one batch.
pub const ITEMS_MAX: usize = 16_384;
/// Batches kept by a receiver before their turn.
pub const AHEAD_MAX: u64 = 64;
/// Blocks of one batch.
pub const BLOCKS_MAX: usize = 32;
/// Bytes of batches of which a receiver has some pieces.
pub const PIECES_BYTES: usize = 32 * 1_024 * 1_024;

/// One item of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Its dot.
    pub id: RumourId,
    /// Its operation; empty when a later item of the batch carries all there is to say.
    pub bytes: Bytes,
}

/// How a stream is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SiteSettings {
    /// Items wait this long for company.
    pub window: Duration,
    /// Or until they are so many bytes.
    pub batch_bytes: usize,
    /// Bytes that may be on their way, unacknowledged.
    pub in_flight: usize,
    /// Bytes that may wait; beyond, the stream gives up what it has and says so.
    pub queue_bytes: usize,
    /// The least time before a batch is sent again.
    pub again_after: Duration,
    /// A batch that was sent so long before another one that has come is taken for lost.
    pub overtaken: Duration,
    /// Bytes of a batch in one datagram; 0: batches go whole, over a carrier that loses nothing.
    pub datagram: usize,
    /// Pieces of parity a block may have, at most 64; 0: none.
    pub parity_max: usize,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            window: Duration::millis(50),
            batch_bytes: 128 * 1_024,
            in_flight: 8 * 1_024 * 1_024,
            queue_bytes: 64 * 1_024 * 1_024,
            again_after: Duration::millis(100),
            overtaken: Duration::millis(20),
            datagram: 1_100,
            parity_max: 64,
        }
    }
}

/// What a superseded item has to say beside the later one of its key; called with (earlier, later).
/// `None` keeps the earlier as it is.
pub trait Coalesce {
    /// The earlier item's bytes, shrunk.
    fn shrink(&self, earlier: &Item, later: &Item) -> Option<Bytes>;
}

/// Keeps every item whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl Coalesce for KeepAll {
    fn shrink(&self, _: &Item, _: &Item) -> Option<Bytes> {
        None
    }
}

/// Whether a vector covers a dot.
fn covers(v: &Vector, id: RumourId) -> bool {
    v.get(&id.origin).is_some_and(|s| *s >= id.sequence)
}

/// When something has to happen at the latest: the earlier of two.
fn sooner(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
