//! The replication stream between two sites: what one region made durable reaches the other in order,
//! batched and acknowledged by what is durable there.
//!
//! **Promise.** What the caller's log holds of its region's replicas is applied at the other side, in the order of each
//! replica, as long as the link works now and then; the lag (RPO) is measured, not assumed. What can't be had from the
//! log any more is passed over, and is the digest's work; nothing waits here without bound.
//!
//! ```text
//!  log ─▶ offer ─▶ queue ──20 ms or 128 KiB─▶ batch n ─▶ pieces + parity ─▶ in order ─▶ apply ─▶ durable
//!   ▲                │ full: Later               ▲ again when a later one came, or after a timeout    │
//!   └── made after ──┘                           └──────────── Ack { come, durable, loss } ◀──────────┘
//! ```
//!
//! **The log is the queue.** The sender keeps what flies (8 MiB at most) and a quarter of a MiB that is about to. When it has
//! no more room, or something came to the log by another way than the caller's offers, it says `Later`, and the caller reads
//! on from its log at [`Outbound::offered`] when there is room. So a slow peer, a cut of an hour and a peer that began anew
//! cost no memory and are one case.
//!
//! **A session** is begun by the sender and answered with what the receiver holds:
//!
//! | letter | by | says | if it is lost |
//! |---|---|---|---|
//! | `Begin` | sender | a numbering begins; where do you stand? | said again each second |
//! | `Hello` | receiver | there, per replica | asked again |
//! | `Shard` | sender | a piece of batch n | parity, then the whole batch again |
//! | `Ack` | receiver | come to here, durable to here, so many pieces lost | the next one says it too |
//! | `Unknown` | receiver | I do not know that session | said at the next piece |
//! | `Shard` of a batch that has come | sender | what is on disk? are you still there? | asked again |
//!
//! Whoever restarts, loses its memory or becomes a relay begins so: a receiver that crashed answers `Unknown`, a sender that
//! crashed has another session, and after six tries without an answer the sender asks again each second. What flew is
//! forgotten then, for the log still has it. Letters of another session change nothing.
//!
//! **Loss** is met ahead of time: a batch travels as datagrams, with half as much parity again as the worst of the last 512
//! needed (`shards`). A carrier that is an ordered stream (TCP, QUIC) can't do that: it stops at a lost segment until that has
//! been noticed and sent again, which at 160 ms one way is 320 ms for it and all behind it. Over such a carrier
//! ([`SiteSettings::datagram`] = 0) batches go whole, and the lag under loss is the carrier's. When more is lost than the
//! parity covers, the batch is sent again: 480 ms is then the least possible, whatever the protocol.
//!
//! **Asking.** A batch that has come is never sent again: while it is not on disk there, and when nothing has been said for
//! 20 s, the sender asks with one small piece. So a slow disk there costs nothing here, no receiver forgets a quiet sender
//! (the first write after a pause takes one way, not five), and a receiver that restarted is found before there is something to send.
//!
//! **Timeouts** follow the round trip of batches sent once (Karn's rule; RFC 6298, section 2). When the way becomes longer than the
//! timeout, all are sent twice: then first sends wait as long as those seemed to take, until one is sent once again.
//!
//! **Back-pressure.** Per peer: bytes in flight, halved when a batch has to be sent again and growing with what lands; what the
//! receiver keeps before its turn, [`AHEAD_MAX`] batches; and a rate, for nobody paces datagrams: what is sent again stands under it,
//! too. Oldest first, always: a replica's version advances only in its order, so that newer
//! operations that overtake older ones would lie there and count for nothing.
//!
//! **Coalescing.** What gathered while there was no room leaves as few large batches, cut from the log. No operation is left
//! out for a later one of its key: a dot names one operation in every log, and a counter's first increment can't be missed.
//!
//! | file | holds |
//! |---|---|
//! | [`outbound`](Outbound) | the sending end |
//! | [`inbound`](Inbound) | the receiving end |
//! | `shards`, `pieces` | redundancy ahead of loss; what has come of a batch, and what was lost |
//! | `letter` | the bytes between them |
//!
//! **Invariants.** (1) A replica's items leave in order, without gaps but for what was passed over. (2) Bytes in flight never
//! exceed the window, but for one batch, nor a batch what the receiver keeps; bytes queued never the bound, but for one item. (3) Batches are applied in order, each
//! once a session. (4) A batch is forgotten when it is durable there, or with its session.
//!
//! **Rejected.** Acknowledgements by version vectors: at a thousand replicas one outgrows a datagram, and one that is sent in
//! order waits for what was lost before it. A queue of its own for what does not fit: it has to overflow some day, which is
//! one way more to be behind.

mod inbound;
mod letter;
mod outbound;
mod pieces;
mod shards;

pub use inbound::{Inbound, Received};
pub use letter::{Letter, Shard};
pub use outbound::{Lag, Offer, Outbound, Sent};

use crate::message::RumourId;
use alloc::collections::BTreeMap;
use bytes::Bytes;
use dwcp_env::Duration;
use serde::{Deserialize, Serialize};

/// What there is, per replica: everything up to that sequence. One of all 65,536 places that a roster can give takes 800 KB.
pub type Vector = BTreeMap<u16, u64>;

/// The largest item, in bytes: one that can be spread as a rumour at the other side.
pub const ITEM_MAX: usize = crate::settings::RUMOUR_MAX;
/// Items in one batch.
pub const ITEMS_MAX: usize = 16_384;
/// Batches kept by a receiver before their turn.
pub const AHEAD_MAX: u64 = 64;
/// Blocks of one batch.
pub const BLOCKS_MAX: usize = 32;
/// Bytes of a batch in one datagram: with what is around it, it fits the smallest datagram that a world carries.
pub const DATAGRAM_PIECE: usize = 1_080;
/// Bytes around that: the piece's place, and the envelopes of the keyspace and the node.
const AROUND: usize = 64;
/// Bytes of batches of which a receiver has some pieces.
pub const PIECES_BYTES: usize = 16 * 1_024 * 1_024;

/// Blocks of a batch of one item of the largest.
const RUMOUR_BLOCKS: usize = (ITEM_MAX + 64).div_ceil(DATAGRAM_PIECE * shards::DATA_MAX) + 1;

const _: () = {
    assert!(RUMOUR_BLOCKS <= BLOCKS_MAX, "the largest item fits the blocks of a batch");
    assert!(DATAGRAM_PIECE + AROUND <= dwcp_env::bound::DATAGRAM_MAX.0 as usize, "a piece fits a datagram");
};

/// One item of the stream: consecutive operations of one replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Its name: the dot of its last operation.
    pub id: RumourId,
    /// Its operations.
    pub bytes: Bytes,
}

/// How a stream is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SiteSettings {
    /// Between two batches, unless one is full.
    pub window: Duration,
    /// A batch is full with so many bytes.
    pub batch_bytes: usize,
    /// Bytes that may be on their way, not known to be durable.
    pub in_flight: usize,
    /// Bytes that may wait here; the rest waits in the caller's log.
    pub queue_bytes: usize,
    /// Bytes a second that may leave; an eighth of it at once.
    pub rate: u64,
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
            window: Duration::millis(20),
            batch_bytes: 128 * 1_024,
            in_flight: 8 * 1_024 * 1_024,
            queue_bytes: 256 * 1_024,
            rate: 16 * 1_024 * 1_024,
            again_after: Duration::millis(100),
            overtaken: Duration::millis(20),
            datagram: DATAGRAM_PIECE,
            parity_max: 64,
        }
    }
}
