//! The write-ahead log every engine of a node shares, and its recovery.
//!
//! **Promise.** What was reported durable is, after any crash, read back in order, or reported
//! as damage; nothing is read back that was not appended. Damage is never taken for the end
//! of the log, and the torn end of the log is never taken for damage.
//!
//! **Source.** Group commit as every database has it. Telling a torn tail from rot, and naming what
//! was lost so that it can be fetched from a peer: Alagappan et al., *Protocol-Aware Recovery*
//! (FAST 2018), whose persisted identifiers are our indexes. A failed sync is final: Rebello et
//! al., *Can Applications Recover from fsync Failures?* (ATC 2020).
//!
//! **Model.** One log for all groups of a node, so that one sync serves them all. It is a row of
//! segments `wal-<sequence>.log`, made one ahead. A segment is a row of *batches*; a batch is one
//! write and one sync, and the next is written only when it is durable. So a batch that
//! can be read, or any record of it, proves everything before it to have been durable: that is the
//! line between rot (below it) and a torn tail (above it). A batch carries an *index* of the
//! batches before it that a page of 4 KiB could take with it: group, index, term and
//! checksum of each record. The bytes are drawn in `docs/formats/wal.md`.
//!
//! | lost to the disk | what happens |
//! |---|---|
//! | part of the last batch, not yet sealed | cut off; the event `wal.tail_cut` |
//! | a durable entry | [`Lost::Entry`] with term and checksum; fetch it, [`Wal::repair`] |
//! | a vote | the second copy, a page behind the first; both lost: [`Lost::Vote`], refuse to vote |
//! | a note | the one before it counts |
//! | a truncation, a purge | done from the index |
//! | more than a page | [`Lost::Unknown`]; groups are suspect until [`Wal::healed`] |
//! | what a user cut off, with a hole in it | nothing shows it any more: the user says [`Wal::suspect`] first |
//! | a copy of a segment's header | the other copy, a page behind it |
//!
//! **Invariants.**
//!
//! 1. At most one disk request is in flight, and it writes one batch.
//! 2. No write touches a sector that holds anything durable: a batch begins on a sector of
//!    its own, and a new incarnation on a segment of its own.
//! 3. Every segment begins with the state of every group: vote, note, what is purged, the last
//!    index. Segments leave from the old end, when no entry in them is live, behind the sync of the
//!    batch that says so.
//! 4. What an incarnation found unproven at the end of the log it writes anew before it says it
//!    has it: it may be only in the page cache.
//! 5. A record is valid only with its directory's salt, in its segment, at its offset.
//!
//! **What can't be seen.** The loss of the last batch with everything behind it looks as if it had
//! never been written. [`Wal::idle_mark`] narrows that to batches younger than the node's quiet
//! time; nothing but a peer's log can close it.
//!
//! **Cost.** A payload is copied once, into the buffer that is written (and once more at boot).
//! 48 bytes a record, 8 to 40 more in the next batch's index, padding to 16; 64 bytes and padding
//! to 512 a batch. Measured (`--example rate`, one core, 64-byte payloads, batches of 1024): 2.9
//! million records a second, 128 bytes written for each.
//!
//! **Limits.** A payload of 2 MiB ([`PAYLOAD_MAX`]); a segment of 16 MiB unless a record
//! needs more; a batch of 4 MiB. The backlog is bounded by who appends ([`Wal::backlog`]). Recovery
//! holds the log in memory once.
//!
//! **Rejected.** A log per group (a sync each). Records without batches (nothing would say
//! how far a sync had come). An index in each batch of its own records (it goes with them).
//! Reusing segments (stale bytes; preallocation saves what reuse would).
//!
//! **Left to others.** When to purge ([`Wal::held_by`] tells whom), fetching repairs, refusing
//! votes.
//!
//! **Read** `record`, `recovered`, `format`, `batch`, `log`; then `scan`, `merge`, `replay`, `boot`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
mod boot;
mod config;
mod error;
mod format;
mod item;
mod live;
mod log;
mod merge;
mod record;
mod recovered;
mod replay;
mod scan;

#[cfg(feature = "planted-bugs")]
pub use config::WalBugs;
pub use config::WalConfig;
pub use error::WalError;
pub use log::{Done, Wal};
pub use record::{LogEntry, Lsn, PAYLOAD_MAX, Record};
pub use recovered::{Damage, GroupLog, Lost, Recovered, TailCut};
