//! Who this replica is: the one record that a crash must not lose, and what the log holds besides.
//!
//! ```text
//! vote of the log   version 1 (1 byte), flags (1: the state is whole, 2: the place is given up, 4: and what was made there is not all known),
//!                   replica (2), incarnation (8)
//! entry             0, a batch in its canonical bytes  |  1, a roster in its canonical bytes
//! ```
//!
//! The log keeps a vote twice, a page apart, and says so if both are lost: a replica that can't be sure of who it
//! was takes a new place in the roster, because a dot that was used must never be used again. The same is done
//! when a durable entry of ours was lost to the disk, and when the state's file is gone.

use bytes::Bytes;
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::{Batch, ReplicaIndex, Roster};

const VERSION: u8 = 1;
const WHOLE: u8 = 1;
const LOST: u8 = 2;
const UNSURE: u8 = 4;
const BATCH: u8 = 0;
const ROSTER: u8 = 1;

/// A place in the roster that this node holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) replica: ReplicaIndex,
    pub(crate) incarnation: u64,
    /// The state has once been as whole as that of a peer, or was the first.
    pub(crate) whole: bool,
    /// The place is given up: nothing is made there any more, whatever a later start finds on the disk.
    pub(crate) lost: bool,
    /// Not all that was made there is known.
    pub(crate) unsure: bool,
}

impl Identity {
    pub(crate) fn encode(self) -> Bytes {
        let flag = |is: bool, bit| if is { bit } else { 0 };
        let flags = flag(self.whole, WHOLE) | flag(self.lost, LOST) | flag(self.unsure, UNSURE);
        let mut out = vec![VERSION, flags];
        out.extend_from_slice(&self.replica.0.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.into()
    }
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, incarnation) = bytes.split_at_checked(4)?;
        let incarnation = u64::from_le_bytes(incarnation.try_into().ok()?);
        let is = |bit| head[1] & bit != 0;
        let known = head[0] == VERSION && head[1] & !(WHOLE | LOST | UNSURE) == 0;
        let replica = ReplicaIndex(u16::from_le_bytes([head[2], head[3]]));
        known.then_some(Self { replica, incarnation, whole: is(WHOLE), lost: is(LOST), unsure: is(UNSURE) })
    }
}

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Logged {
    Batch(Batch),
    Roster(Roster),
}

/// An entry that holds a batch.
pub(crate) fn batch_entry(batch: &Batch) -> Bytes {
    let mut out = Writer::after(Vec::with_capacity(batch.size() + 8));
    out.byte(BATCH);
    batch.encode(&mut out);
    out.into_bytes().into()
}

/// The batch's bytes of an entry that holds one; they are shared, not copied.
pub(crate) fn batch_of(entry: &Bytes) -> Bytes {
    entry.slice(1..)
}

/// An entry that holds a roster.
pub(crate) fn roster_entry(roster: &Roster) -> Bytes {
    let mut out = Writer::new();
    out.byte(ROSTER);
    roster.encode(&mut out);
    out.into_bytes().into()
}

/// Reads an entry back; what can't be read was written by a newer build, or is a bug.
pub(crate) fn read_entry(payload: &[u8]) -> Option<Logged> {
    let (tag, rest) = payload.split_first()?;
    match *tag {
        BATCH => Batch::from_bytes(rest).ok().map(Logged::Batch),
        ROSTER => read_roster(rest).map(Logged::Roster),
        _ => None,
    }
}

/// A roster's canonical bytes.
pub(crate) fn roster_bytes(roster: &Roster) -> Bytes {
    let mut out = Writer::new();
    roster.encode(&mut out);
    out.into_bytes().into()
}

/// Reads a roster.
pub(crate) fn read_roster(bytes: &[u8]) -> Option<Roster> {
    let mut reader = Reader::new(bytes);
    let roster = Roster::decode(&mut reader).ok()?;
    reader.is_empty().then_some(roster)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_or_not_at_all() {
        let me =
            Identity { replica: ReplicaIndex(7), incarnation: 3, whole: true, lost: false, unsure: true };
        let bytes = me.encode();
        assert_eq!(Identity::decode(&bytes), Some(me));
        assert_eq!(Identity::decode(&bytes[..5]), None);
        assert_eq!(Identity::decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
