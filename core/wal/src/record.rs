//! What is kept in the log, and by which name it is asked for.

use bytes::Bytes;
use core::fmt;
use dwcp_env::bound::WAL_RECORD_MAX;

/// The order of the records appended in one incarnation: rises by one with each
/// [`append`](crate::Wal::append). Zero is before the first: what recovery found is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {}", self.0)
    }
}
impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The longest payload of a record. Who takes payloads from outside checks them against it
/// first: [`append`](crate::Wal::append) takes a longer one for a bug of ours and panics.
pub const PAYLOAD_MAX: usize = WAL_RECORD_MAX.as_usize();

/// One record of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// An entry of the group's log. It takes the place of an older one of the same index and
    /// leaves those behind it alone; who replaces a conflicting suffix truncates first.
    Entry {
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// Its bytes.
        payload: Bytes,
    },
    /// Entries above `after` are gone; `None`: all are.
    Truncate {
        /// The last index kept.
        after: Option<u64>,
    },
    /// Entries up to `index` are gone: a snapshot or checkpoint holds what they did.
    Purge {
        /// The term of the last entry purged.
        term: u64,
        /// Its index.
        index: u64,
    },
    /// The group's vote; the latest counts. Kept twice, a page apart.
    Vote(Bytes),
    /// A small record whose latest version counts, and that may fall back to an older one: the
    /// committed index. Never anything a promise rests on.
    Note(Bytes),
}

impl Record {
    /// The bytes it carries.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Entry { payload, .. } | Self::Vote(payload) | Self::Note(payload) => payload,
            Self::Truncate { .. } | Self::Purge { .. } => &[],
        }
    }
}

/// An entry read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its bytes.
    pub payload: Bytes,
}
