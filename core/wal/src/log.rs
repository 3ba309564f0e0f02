//! The log while the node runs: appends, group commit, rotation, trimming.

use crate::config::WalConfig;
use crate::error::WalError;
use crate::record::{Lsn, Record};
use crate::recovered::Recovered;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{ByteCount, DiskError, DiskRequest, GroupId, Ticket, World};

/// Told once a record is durable, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// The write-ahead log of one node.
pub struct Wal {
    durable: Lsn,
    last: Lsn,
}

impl Wal {
    /// Reads back what is in the directory and opens a fresh segment behind it.
    ///
    /// # Errors
    /// See [`WalError`]; damage is not one, it is in [`Recovered::damage`].
    pub fn open(world: &World, config: WalConfig) -> Result<(Self, Recovered), WalError> {
        let _ = (world, config);
        Ok((Self { durable: Lsn(0), last: Lsn(0) }, Recovered::default()))
    }
    /// Takes a record; it is written by the next [`Wal::flush`].
    ///
    /// # Panics
    /// On a payload over [`PAYLOAD_MAX`](crate::PAYLOAD_MAX).
    pub fn append(&mut self, group: GroupId, record: Record) -> Lsn {
        let _ = (group, record);
        self.last.0 += 1;
        self.last
    }
    /// Appends anew an entry that was lost, as a peer gave it back.
    pub fn repair(&mut self, group: GroupId, index: u64, term: u64, payload: Bytes) -> Lsn {
        self.append(group, Record::Entry { index, term, payload })
    }
    /// States that all the group may have lost before is restored or superseded: it is no
    /// longer suspect. Also for a new group on a log that has [`Recovered::unknown_lost`].
    pub fn healed(&mut self, group: GroupId) -> Lsn {
        let _ = group;
        self.last.0 += 1;
        self.last
    }
    /// Calls `done` once `lsn` is durable: from [`Wal::completed`], in the order of the lsns; at
    /// once if it already is, or if the log is closed.
    pub fn on_durable(&mut self, lsn: Lsn, done: Done) {
        let _ = (lsn, done);
    }
    /// Asks for what has been appended to be made durable, unless a request of ours is still in
    /// flight: then it all goes with the next. Takes tickets from `next_ticket`.
    pub fn flush(&mut self, next_ticket: &mut u64, out: &mut Vec<DiskRequest>) {
        let _ = (next_ticket, out);
    }
    /// Takes a completion; tells whether it was ours.
    ///
    /// # Errors
    /// The request failed: final, the node must stop.
    pub fn completed(&mut self, ticket: Ticket, result: Result<(), DiskError>) -> Result<bool, WalError> {
        let _ = (ticket, result);
        Ok(false)
    }
    /// Lets the next [`Wal::flush`] seal the last batch, if it is not sealed: from then on its
    /// loss would be noticed. For a quiet node (some hundred milliseconds without appends) and one
    /// that ends. Tells whether there is something to seal.
    pub fn idle_mark(&mut self) -> bool {
        false
    }
    /// Everything up to here is durable.
    #[must_use]
    pub const fn durable(&self) -> Lsn {
        self.durable
    }
    /// The last record appended.
    #[must_use]
    pub const fn last(&self) -> Lsn {
        self.last
    }
    /// Whether a request of ours is in flight.
    #[must_use]
    pub const fn in_flight(&self) -> Option<Ticket> {
        None
    }
    /// Payload bytes appended and not yet handed to the disk. Who appends keeps it bounded.
    #[must_use]
    pub const fn backlog(&self) -> ByteCount {
        ByteCount(0)
    }
    /// Segments that exist: the log's size on the disk.
    #[must_use]
    pub fn segments(&self) -> u64 {
        0
    }
    /// The groups whose live entries keep the oldest segment from being removed: they are the
    /// ones to checkpoint and purge when the log has grown too long.
    #[must_use]
    pub fn held_by(&self) -> Vec<GroupId> {
        Vec::new()
    }
}
