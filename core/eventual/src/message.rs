//! What replicas say to each other, and what of it is believed.
//!
//! | message | says | answered by |
//! |---|---|---|
//! | `Gossip` | passed on to `dwcp-gossip`: who is there, and pushed batches | – |
//! | `Site` | passed on to `dwcp-gossip`: a letter of a site stream (`streams`) | – |
//! | `Digest` | 32 bytes of all I hold, on my disk | nothing if equal, else `Version` |
//! | `Version` | what I hold on my disk; send me what I lack | `Operations` or `Below`, and `Version` if I hold more than you |
//! | `Operations` | what you lack, in order; `more`: ask again | – |
//! | `Below` | what you lack is no longer in my log | `RangesWanted`, or `SnapshotWanted` |
//! | `RangesWanted` | sums of ranges of what I have: where do we differ? | `Ranges`, or `RangesRefused` |
//! | `Ranges` | finer sums, or what there is; with the first, who I am | `RangesWanted`, `EntriesWanted`, `TailWanted` |
//! | `RangesRefused` | too much of it differs | `SnapshotWanted` |
//! | `EntriesWanted` | these of your entries | `Entries` |
//! | `Entries` | them, and the names of those without room | `EntriesWanted`, or `TailWanted` after the last |
//! | `SnapshotWanted` | the next part of your state, from here on | `Snapshot` |
//! | `Snapshot` | a part of my state | `SnapshotWanted`, or `TailWanted` after the last |
//! | `TailWanted` | what happened at yours since this version | `Tail`, or `Below`: begin anew |
//! | `Floors` | what others and I have on our disks (`floors`) | `Floors`, once |
//! | `Tail` | it; with the last, my digest after it | – |
//!
//! A message is checked whole before any of it is believed. Versions and digests are sent only once all they speak of
//! is durable at the sender, so receiving one is an acknowledgement.

use crate::look::Rung;
use bytes::Bytes;
use dwcp_crdt::code::{Malformed, Reader, Writer};
use dwcp_crdt::space::Floor;
use dwcp_crdt::{Batch, Dot, VersionVector};
use dwcp_env::{NodeId, PeerFault, wire};
use serde::{Deserialize, Serialize};

/// Bytes of operations in one message.
pub(crate) const OPERATIONS_BYTES: usize = 1024 * 1024;
/// Bytes of one part of a state.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
/// The largest batch that is taken from a peer: one record of the log holds it.
pub(crate) const BATCH_BYTES: usize = 1920 * 1024;
/// Bytes of ranges in one message; where more is needed to tell the difference, the state is as cheap.
pub(crate) const RANGES_BYTES: usize = 1024 * 1024;
/// Statements in one message about what members have.
const FLOORS_MAX: usize = 8;
/// Batches in one message.
const BATCHES_MAX: usize = 4_096;

const _: () = {
    assert!(BATCH_BYTES < dwcp_wal::PAYLOAD_MAX, "a batch must fit a record of the log");
    assert!(OPERATIONS_BYTES + BATCH_BYTES < dwcp_env::bound::FRAME_BODY_MAX.0 as usize, "and a frame");
    assert!(crate::api::WRITE_MAX + OPERATIONS_BYTES / 4 < BATCH_BYTES, "as must what is written here");
};

/// What replicas say to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Gossip(Bytes),
    Digest {
        digest: [u8; 32],
        wall_ms: u64,
        /// The epoch of the sender's roster: that of what is acknowledged if the digest is the receiver's own.
        epoch: u64,
    },
    Version {
        /// Canonical bytes of the version vector.
        version: Bytes,
        /// Whether all of it is on the sender's disk: then it is an acknowledgement.
        durable: bool,
        /// Whether the sender's state is whole, or still being filled.
        whole: bool,
        /// Sent in answer to another one, so that nobody answers for ever.
        answer: bool,
        wall_ms: u64,
        /// The epoch of the sender's roster.
        epoch: u64,
    },
    Operations {
        batches: Vec<Bytes>,
        more: bool,
    },
    Below {
        /// Of a tail that was asked for, not of a version that was sent: the two may cross.
        tail: bool,
    },
    SnapshotWanted {
        from: Option<Bytes>,
    },
    Snapshot {
        /// With the first part: the header, and the roster it is read by.
        head: Option<(Bytes, Bytes)>,
        /// Where it was asked for.
        from: Option<Bytes>,
        chunk: Bytes,
        next: Option<Bytes>,
    },
    TailWanted {
        version: Bytes,
    },
    Tail {
        batches: Vec<Bytes>,
        /// With the last: what I am, all of these included.
        digest: Option<[u8; 32]>,
    },
    /// The roster as I know it, for one who seems not to.
    Roster(Bytes),
    RangesWanted {
        /// Tells the answers to this pull from those to an earlier one.
        pull: u64,
        round: u32,
        question: Bytes,
    },
    Ranges {
        pull: u64,
        round: u32,
        /// In the first round: the header, and the roster it is read by.
        head: Option<(Bytes, Bytes)>,
        /// Entries the sender has.
        entries: u64,
        answer: Bytes,
    },
    RangesRefused {
        pull: u64,
    },
    EntriesWanted {
        pull: u64,
        round: u32,
        dots: Bytes,
        /// Counters that changed since then go along.
        since: Bytes,
    },
    Entries {
        pull: u64,
        round: u32,
        entries: Bytes,
        left: Bytes,
        /// The sender's version when it looked.
        version: Bytes,
    },
    /// What members have on their disks, the sender among them.
    Floors {
        floors: Vec<Bytes>,
        /// The epoch of the sender's roster, under which it says so.
        epoch: u64,
        /// Sent in answer to another one.
        answer: bool,
    },
    /// A letter of a site stream.
    Site(Bytes),
    /// What the receiver said, at this place, that it had on its disk.
    Reminder {
        place: u16,
        version: Bytes,
    },
}

impl Message {
    /// The message behind what each begins with, in memory that was taken once.
    pub(crate) fn encode(&self, envelope: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(envelope.len() + self.room());
        out.extend_from_slice(envelope);
        wire::encode_into(self, &mut out);
        out.into()
    }
    /// No fewer bytes than it takes, save for heads and versions of very many places.
    fn room(&self) -> usize {
        const REST: usize = 64;
        // A length takes nine bytes at most.
        let all = |parts: &[Bytes]| parts.iter().map(|b| b.len() + 9).sum::<usize>();
        let head = |head: &Option<(Bytes, Bytes)>| head.as_ref().map_or(0, |(a, b)| a.len() + b.len());
        REST + match self {
            Self::Gossip(b) | Self::Site(b) | Self::Roster(b) => b.len(),
            Self::Version { version, .. } | Self::TailWanted { version } | Self::Reminder { version, .. } => {
                version.len()
            }
            Self::Operations { batches, .. } | Self::Tail { batches, .. } => all(batches),
            Self::Snapshot { head: h, chunk, .. } => head(h) + chunk.len() + 1_024,
            Self::RangesWanted { question, .. } => question.len(),
            Self::Ranges { head: h, answer, .. } => head(h) + answer.len(),
            Self::EntriesWanted { .. } | Self::Entries { .. } => 4_096,
            _ => 0,
        }
    }
    /// Reads a message.
    ///
    /// # Errors
    /// The sender's fault.
    pub(crate) fn decode(from: NodeId, body: &[u8]) -> Result<Self, PeerFault> {
        let message: Self = wire::decode(body).map_err(|e| fault(from, &e.to_string()))?;
        match &message {
            Self::Operations { batches, .. } | Self::Tail { batches, .. } if batches.len() > BATCHES_MAX => {
                Err(fault(from, &format!("{} batches, at most {BATCHES_MAX} are allowed", batches.len())))
            }
            Self::RangesWanted { question: ranges, .. } | Self::Ranges { answer: ranges, .. }
                if ranges.len() > RANGES_BYTES =>
            {
                Err(fault(from, &format!("{} bytes of ranges, at most {RANGES_BYTES} may be", ranges.len())))
            }
            Self::Floors { floors, .. } if floors.len() > FLOORS_MAX => {
                Err(fault(from, &format!("{} floors, at most {FLOORS_MAX} are allowed", floors.len())))
            }
            _ => Ok(message),
        }
    }
    /// Which rung it belongs to.
    pub(crate) const fn rung(&self) -> Rung {
        match self {
            Self::Gossip(_) => Rung::Push,
            Self::Digest { .. } => Rung::Digest,
            Self::Version { .. }
            | Self::Roster(_)
            | Self::Below { .. }
            | Self::Floors { .. }
            | Self::Reminder { .. } => Rung::Version,
            Self::Operations { .. } => Rung::Operations,
            Self::RangesWanted { .. }
            | Self::Ranges { .. }
            | Self::RangesRefused { .. }
            | Self::EntriesWanted { .. }
            | Self::Entries { .. } => Rung::Ranges,
            Self::SnapshotWanted { .. } | Self::Snapshot { .. } => Rung::State,
            Self::TailWanted { .. } | Self::Tail { .. } => Rung::Tail,
            Self::Site(_) => Rung::Stream,
        }
    }
}

/// Writes dots, in order.
pub(crate) fn dots_bytes(dots: &[Dot]) -> Bytes {
    let mut out = Writer::new();
    out.varint(dots.len() as u64);
    dots.iter().for_each(|d| out.dot(*d));
    out.into_bytes().into()
}

/// Dots that a peer sent, at most so many.
///
/// # Errors
/// The sender's fault.
pub(crate) fn dots(from: NodeId, bytes: &[u8], most: usize) -> Result<Vec<Dot>, PeerFault> {
    let mut reader = Reader::new(bytes);
    let mut read = || {
        let n = reader.count(most)?;
        let dots: Result<Vec<Dot>, Malformed> = (0..n).map(|_| reader.dot()).collect();
        if reader.is_empty() { dots } else { Err(reader.malformed("bytes after the last dot")) }
    };
    read().map_err(|e| fault(from, &e.to_string()))
}

/// What is wrong with what a peer sent.
pub(crate) fn fault(from: NodeId, why: &str) -> PeerFault {
    PeerFault::Body { from, what: "eventual message", why: why.to_string() }
}

/// A batch that a peer sent, checked for form and size.
///
/// # Errors
/// The sender's fault.
pub(crate) fn batch(from: NodeId, bytes: &[u8]) -> Result<Batch, PeerFault> {
    if bytes.len() > BATCH_BYTES {
        return Err(fault(
            from,
            &format!("a batch of {} bytes, at most {BATCH_BYTES} are allowed", bytes.len()),
        ));
    }
    Batch::from_bytes(bytes).map_err(|e| fault(from, &e.to_string()))
}

/// A version vector's canonical bytes.
pub(crate) fn version_bytes(version: &VersionVector) -> Bytes {
    let mut out = Writer::new();
    version.encode(&mut out);
    out.into_bytes().into()
}

/// Says what members have.
pub(crate) fn floor_bytes(floor: &Floor) -> Bytes {
    let mut out = Writer::new();
    floor.encode(&mut out);
    out.into_bytes().into()
}

/// What a peer says that members have.
///
/// # Errors
/// The sender's fault.
pub(crate) fn floor(from: NodeId, bytes: &[u8]) -> Result<Floor, PeerFault> {
    let mut reader = Reader::new(bytes);
    let floor = Floor::decode(&mut reader).map_err(|e| fault(from, &e.to_string()))?;
    if reader.is_empty() { Ok(floor) } else { Err(fault(from, "bytes after a floor")) }
}

/// A version vector that a peer sent.
///
/// # Errors
/// The sender's fault.
pub(crate) fn version(from: NodeId, bytes: &[u8]) -> Result<VersionVector, PeerFault> {
    let mut reader = Reader::new(bytes);
    let version = VersionVector::decode(&mut reader).map_err(|e| fault(from, &e.to_string()))?;
    if reader.is_empty() { Ok(version) } else { Err(fault(from, "bytes after a version vector")) }
}
