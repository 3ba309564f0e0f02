//! Every limit of the system, named in one place and proved against the others at compile time.
//!
//! A bound that is hit is an answer, not a surprise: [`Bounded::push`] gives the item back, and
//! the caller says what happens then (refuse the client, drop the oldest, close the link).

use crate::unit::ByteCount;
use alloc::collections::VecDeque;

/// The largest client request or value accepted at a door (etcd's default is 1.5 MiB).
pub const REQUEST_MAX: ByteCount = ByteCount::kib(1536);
/// The largest body of a frame between nodes: a request in a batch with its envelope.
pub const FRAME_BODY_MAX: ByteCount = ByteCount::mib(4);
/// The largest body on [`Lane::Datagram`](crate::Lane::Datagram): what a QUIC packet of 1,200 bytes has room for, the least that any
/// path carries.
pub const DATAGRAM_MAX: ByteCount = ByteCount(1_150);
/// The largest batch of log entries in one replication message.
pub const REPLICATION_BATCH_MAX: ByteCount = ByteCount::mib(2);
/// The size of one piece of a snapshot on the bulk lane.
pub const SNAPSHOT_CHUNK: ByteCount = ByteCount::kib(256);
/// The size of one write-ahead log segment; preallocated.
pub const WAL_SEGMENT: ByteCount = ByteCount::mib(16);
/// The largest single record in the write-ahead log.
pub const WAL_RECORD_MAX: ByteCount = ByteCount::mib(2);
/// Requests a node works on at once; more are refused with "overloaded".
pub const REQUESTS_IN_FLIGHT: usize = 16_384;
/// Inputs that wait for the node's loop before producers are held back.
pub const INPUT_QUEUE: usize = 8_192;
/// Frames that wait for one peer on one lane before the newest are dropped.
pub const SEND_QUEUE: usize = 4_096;
/// Groups one node may host.
pub const GROUPS_PER_NODE: usize = 1_024;
/// Voters of one group.
pub const VOTERS_MAX: usize = 15;
/// Events a slow watcher may lag before it is told to resume from a revision.
pub const WATCH_BACKLOG: usize = 4_096;
/// Remembered answers per client session, for exactly-once retries.
pub const SESSION_WINDOW: usize = 1_024;
/// Client sessions per keyspace; the idlest is expired, by log time, when one more comes.
pub const SESSIONS_MAX: usize = 65_536;

const _: () = {
    assert!(REQUEST_MAX.0 < WAL_RECORD_MAX.0, "a request must fit a log record");
    assert!(WAL_RECORD_MAX.0 <= REPLICATION_BATCH_MAX.0, "a record must fit a replication batch");
    assert!(REPLICATION_BATCH_MAX.0 < FRAME_BODY_MAX.0, "a batch must fit a frame");
    assert!(SNAPSHOT_CHUNK.0 < FRAME_BODY_MAX.0, "a chunk must fit a frame");
    assert!(WAL_SEGMENT.0 >= 4 * WAL_RECORD_MAX.0, "a segment must hold several records");
};

/// A first-in, first-out queue that never holds more than its capacity.
#[derive(Debug)]
pub struct Bounded<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Bounded<T> {
    /// An empty queue of at most `capacity` items.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity }
    }
    /// Adds at the back.
    ///
    /// # Errors
    /// Gives the item back when the queue is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.capacity {
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }
    /// Takes from the front.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }
    /// The item at the front.
    #[must_use]
    pub fn peek(&self) -> Option<&T> {
        self.items.front()
    }
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The most it holds.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_gives_the_item_back() {
        let mut q = Bounded::new(2);
        assert_eq!(q.push(1), Ok(()));
        assert_eq!(q.push(2), Ok(()));
        assert_eq!(q.push(3), Err(3));
        assert_eq!((q.pop(), q.pop(), q.pop()), (Some(1), Some(2), None));
    }
}
