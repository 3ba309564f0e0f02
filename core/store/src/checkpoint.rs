//! Checkpoints: memory written to the file, off the loop.
//!
//! **Promise.** A checkpoint is one transaction: after a crash the file holds the whole
//! of it or nothing of it, and its meta row says exactly which log position that is.
//!
//! **Model.** Writes live in memory, in `fresh`, until a checkpoint begins. Then `fresh` becomes
//! part of a [`Frozen`] that nobody changes any more; the job writes it while new writes go to a
//! new `fresh`; reads look at `fresh`, then at the frozen, then at the file as it was before. When
//! the job has ended, a view of the file's new state takes the place of both.
//!
//! **Invariants.**
//! 1. At most one checkpoint is in flight.
//! 2. `fresh` is above the frozen, the frozen above the file, in the order of history.
//! 3. The meta row names the position of the last command whose effects are in the rows.
//!
//! What compaction swept away is removed by the next checkpoint; what it swept before it was ever
//! written is not written.

use crate::api::{LeaseId, Revision, SessionId};
use crate::error::StoreError;
use crate::record::{Record, Rev, seal};
use crate::table::{Rows, TableFile, View};
use bytes::Bytes;
use dwcp_consensus::Position;
use dwcp_env::{ClusterId, Duration, GroupId, WallTime};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The format of the file and of checkpoints in flight.
pub(crate) const FORMAT: u32 = 1;
/// What simulation believes a checkpoint costs for each row, and at all.
pub(crate) const COST_PER_ROW: Duration = Duration::micros(3);
const COST_BASE: Duration = Duration::micros(200);

/// The one row that says what the others mean.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Whose data it is.
    pub(crate) cluster: ClusterId,
    /// Which group's.
    pub(crate) group: GroupId,
    /// The last position applied.
    pub(crate) at: Option<Position>,
    /// The engine's record of the members then.
    pub(crate) engine_record: Bytes,
    /// The store's revision.
    pub(crate) revision: Revision,
    /// The oldest revision that can be read.
    pub(crate) compact_revision: Revision,
    /// Log time.
    pub(crate) log_time: WallTime,
    /// How many leases there are.
    pub(crate) leases: u64,
    /// How many sessions there are.
    pub(crate) sessions: u64,
    /// Of the row itself; not in its body.
    #[serde(skip)]
    pub(crate) format: u32,
}

impl Meta {
    /// The body of the row: the format, then the rest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = FORMAT.to_le_bytes().to_vec();
        dwcp_env::wire::encode_into(self, &mut body);
        body
    }
    /// From the row's body. Of a newer format only the format is read.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, String> {
        let (format, rest) = body.split_at_checked(4).ok_or("a meta row without a format")?;
        let format = u32::from_le_bytes(format.try_into().expect("four bytes"));
        if format > FORMAT {
            return Ok(Self { format, ..Self::default() });
        }
        let meta: Self = dwcp_env::wire::decode(rest).map_err(|e| format!("the meta row: {e}"))?;
        Ok(Self { format, ..meta })
    }
}

/// Records of a full piece of a [`Segment`].
const PIECE: usize = 1_024;

/// Records in the order of history, in memory.
///
/// In pieces: one list would be copied as a whole each time it outgrows its room, which for a loaded store means
/// megabytes moved, and their pages touched for the first time, on the path of a write.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// None is empty, all but the last are full.
    pieces: Vec<Vec<(Rev, Record)>>,
}

impl Segment {
    /// Adds the newest.
    pub(crate) fn push(&mut self, rev: Rev, record: Record) {
        debug_assert!(self.last().is_none_or(|last| last < rev), "history only grows");
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push((rev, record)),
            // The first one grows: most stores of a simulation never fill it.
            None => self.pieces.push(vec![(rev, record)]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push((rev, record));
                self.pieces.push(piece);
            }
        }
    }
    fn last(&self) -> Option<Rev> {
        self.pieces.last().and_then(|piece| piece.last()).map(|(rev, _)| *rev)
    }
    /// The place of the first record from `rev` on: its piece, and where in it. Behind the last: the end of a piece.
    fn place(&self, rev: Rev) -> (usize, usize) {
        let behind = self.pieces.partition_point(|piece| piece[0].0 <= rev);
        let Some(piece) = behind.checked_sub(1) else { return (0, 0) };
        (piece, self.pieces[piece].partition_point(|(r, _)| *r < rev))
    }
    /// The record at `rev`, if it is here.
    pub(crate) fn get(&self, rev: Rev) -> Option<&Record> {
        let (piece, at) = self.place(rev);
        self.pieces.get(piece)?.get(at).filter(|(r, _)| *r == rev).map(|(_, record)| record)
    }
    /// The records from `rev` on.
    pub(crate) fn from(&self, rev: Rev) -> impl Iterator<Item = &(Rev, Record)> {
        let (piece, at) = self.place(rev);
        self.pieces.get(piece..).unwrap_or_default().iter().flatten().skip(at)
    }
    /// Takes the newest away.
    pub(crate) fn pop(&mut self) -> Option<(Rev, Record)> {
        let piece = self.pieces.last_mut()?;
        let newest = piece.pop();
        if piece.is_empty() {
            self.pieces.pop();
        }
        newest
    }
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let full = self.pieces.len().saturating_sub(1);
        full * PIECE + self.pieces.last().map_or(0, Vec::len)
    }
}

/// All that a checkpoint writes. Nobody changes it.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// Records not in the file yet.
    pub(crate) records: Segment,
    /// Records to be removed, in order; some may be in `records`.
    pub(crate) dead: Vec<Rev>,
    /// Leases made or ended.
    pub(crate) leases: Vec<(LeaseId, Option<i64>)>,
    /// Sessions used or gone.
    pub(crate) sessions: Vec<(SessionId, Option<Vec<u8>>)>,
    /// The meta row.
    pub(crate) meta: Meta,
}

/// The key of a row of the state table.
pub(crate) fn state_key(kind: u8, id: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

/// The number in a key of the state table.
///
/// # Errors
/// It is no such key.
pub(crate) fn state_id(key: &[u8]) -> Result<u64, String> {
    let id = key.get(1..).and_then(|id| id.try_into().ok()).ok_or("a state row with a wrong key")?;
    Ok(u64::from_be_bytes(id))
}

impl Frozen {
    /// What simulation believes writing it costs.
    pub(crate) fn cost(&self) -> Duration {
        let rows = self.records.len() + self.dead.len() + self.leases.len() + self.sessions.len();
        COST_BASE + COST_PER_ROW * rows as u64
    }
    /// Writes it, durably (unless a planted bug says otherwise); answers with a view of the result.
    ///
    /// # Errors
    /// The disk's; `Corrupt`. Nothing was written.
    pub(crate) fn write_to(&self, file: &Arc<TableFile>, durable: bool) -> Result<View, StoreError> {
        file.write(durable, |rows| self.fill(rows))?;
        file.view()
    }
    fn fill(&self, rows: &mut Rows<'_>) -> Result<(), redb::Error> {
        let mut sealed = Vec::new();
        let mut dead = self.dead.iter().peekable();
        for (rev, record) in self.records.from(Rev::first(0)) {
            // Both lists are in order. What is dead and not passed here is in the file.
            while let Some(d) = dead.next_if(|d| *d < rev) {
                rows.records.remove(&d.to_bytes())?;
            }
            if dead.next_if_eq(&rev).is_none() {
                let key = rev.to_bytes();
                record.seal_into(&key, &mut sealed);
                rows.records.insert(&key, &sealed[..])?;
            }
        }
        for d in dead {
            rows.records.remove(&d.to_bytes())?;
        }
        for (id, ttl_s) in &self.leases {
            let key = state_key(b'l', *id as u64);
            match ttl_s {
                Some(ttl_s) => rows.state.insert(&key[..], &seal(&key, &ttl_s.to_le_bytes())[..])?,
                None => rows.state.remove(&key[..])?,
            };
        }
        for (id, session) in &self.sessions {
            let key = state_key(b's', id.0);
            match session {
                Some(session) => rows.state.insert(&key[..], &seal(&key, session)[..])?,
                None => rows.state.remove(&key[..])?,
            };
        }
        seal_meta(rows, &self.meta)
    }
}

/// Writes the meta row.
pub(crate) fn seal_meta(rows: &mut Rows<'_>, meta: &Meta) -> Result<(), redb::Error> {
    rows.state.insert(&b"m"[..], &seal(b"m", &meta.encode())[..])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain list, at and around the seams of pieces.
    #[test]
    fn a_segment_is_a_list() {
        let record = |n: i64| Record { version: n, ..Record::tombstone(Bytes::from_static(b"k")) };
        let mut segment = Segment::default();
        let mut list: Vec<(Rev, Record)> = Vec::new();
        let agree = |segment: &Segment, list: &[(Rev, Record)]| {
            assert_eq!(segment.len(), list.len());
            let size = list.len() as i64;
            for n in [-1, 0, 1, 2, 1_022, 1_023, 1_024, 1_025, 2_046, 2_048, 2_050, size - 2, size - 1, size]
            {
                for main in [n * 2 - 1, n * 2] {
                    let rev = Rev { main, sub: 1 };
                    let want = list.iter().find(|(r, _)| *r == rev).map(|(_, record)| record);
                    assert_eq!(segment.get(rev), want, "{rev:?} of {size}");
                    let at = list.partition_point(|(r, _)| *r < rev);
                    assert!(segment.from(rev).eq(&list[at..]), "from {rev:?} of {size}");
                }
            }
        };
        for n in 0..2_500 {
            if [0, 1, 1_023, 1_024, 1_025, 2_048].contains(&n) {
                agree(&segment, &list);
            }
            let rev = Rev { main: n * 2, sub: 1 };
            segment.push(rev, record(n));
            list.push((rev, record(n)));
        }
        agree(&segment, &list);
        while !list.is_empty() {
            assert_eq!(segment.pop(), list.pop());
            if [0, 1, 1_023, 1_024, 1_025, 2_047, 2_048].contains(&list.len()) {
                agree(&segment, &list);
            }
        }
        assert_eq!(segment.pop(), None);
    }
}
