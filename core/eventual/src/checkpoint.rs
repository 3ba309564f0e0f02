//! The state on the disk: a file written beside the old one, part by part by jobs, and swapped in by its name.
//!
//! ```text
//! g1-eventual.ckpt   8 bytes "DWCPEVT1", then parts:
//! part               tag (1), length (4), CRC-32 of tag, length and bytes (4), bytes
//! tag 1  head        cluster (16), group (4), first entry of the log not inside (8), roster, header of the snapshot,
//!                    each with its length (4) before it
//! tag 2  chunk       a part of the state
//! tag 3  batch       operations that the state shows and somebody may still ask for
//! tag 4  end         number of parts before it (8)
//! ```
//!
//! The header is taken first and the parts while operations go on, so what lies here becomes whole by the log's entries
//! from the one that the head names (`dwcp_crdt::space`, "a snapshot of a moving state"). Renaming is the one instant at which
//! the state on the disk changes; only then may the log before it go.
//!
//! **Invariants.** (1) One checkpoint at a time. (2) The file gets its name only when all operations that its parts show are
//! durable in the log: an effect without its operation would stay when the operation's dot is used again. (3) A file that does not end with its end, or fails one checksum, is no
//! state: nothing of it is believed.

use crate::identity::{read_roster, roster_bytes};
use bytes::Bytes;
use dwcp_crdt::batch::BATCH_MAX;
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::space::{Cursor, Restore, SnapshotHeader};
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, Space, VersionVector};
use dwcp_env::disk::{FileName, read_all};
use dwcp_env::{ClusterId, DiskError, Duration, GroupId, Storage};
use dwcp_wal::Lsn;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"DWCPEVT1";
const HEAD: u8 = 1;
const CHUNK: u8 = 2;
const BATCH: u8 = 3;
const END: u8 = 4;
/// Bytes of the state that one turn hands to the writing job.
const TURN_BYTES: usize = 1024 * 1024;
const COST: Duration = Duration::micros(200);

/// The state's file.
pub(crate) fn name(group: GroupId) -> FileName {
    FileName::new(&format!("{group}-eventual.ckpt")).expect("letters, digits, a dash and a dot")
}

fn temporary(group: GroupId) -> FileName {
    FileName::new(&format!("{group}-eventual.tmp")).expect("letters, digits, a dash and a dot")
}

fn part(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("a part is far below 4 GiB").to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[tag]);
    crc.update(&length);
    crc.update(bytes);
    out.push(tag);
    out.extend_from_slice(&length);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What one job does.
pub(crate) struct Step {
    pub(crate) cost: Duration,
    pub(crate) run: Box<dyn FnOnce() -> Result<(), DiskError> + Send>,
}

/// What is still to be handed to jobs.
#[derive(Debug)]
enum Rest {
    /// The state, from here on, and what follows.
    State(Option<Cursor>),
    /// The log after this operation.
    Log(Option<Dot>),
    /// The end, and the name.
    Nothing,
}

/// A checkpoint being written.
#[derive(Debug)]
pub(crate) struct Writing {
    group: GroupId,
    /// The first entry of the log that is not inside.
    pub(crate) from_entry: u64,
    /// What the header says, of which the log's operations are kept, too.
    version: VersionVector,
    rest: Rest,
    begun: bool,
    parts: u64,
    offset: u64,
    /// What its parts show is durable when the log is, up to here.
    pub(crate) shows: Lsn,
    ended: bool,
}

impl Writing {
    pub(crate) const fn new(group: GroupId, from_entry: u64) -> Self {
        Self {
            group,
            from_entry,
            version: VersionVector::new(),
            rest: Rest::State(None),
            begun: false,
            parts: 0,
            offset: 0,
            shows: Lsn(0),
            ended: false,
        }
    }
    /// Whether its next part shows the state as it is now.
    pub(crate) const fn shows_more(&self) -> bool {
        matches!(self.rest, Rest::State(_))
    }
    /// Whether all of the state has been handed to jobs: what is missing is the end and the name.
    pub(crate) const fn is_taken(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }
    /// Whether the last step has been handed out.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }
    /// What the next job writes.
    pub(crate) fn next(
        &mut self,
        cluster: ClusterId,
        space: &Space,
        storage: &Arc<dyn Storage>,
        shows: Lsn,
    ) -> Step {
        let mut data = Vec::new();
        if !self.begun {
            data.extend_from_slice(MAGIC);
            part(HEAD, &self.head(cluster, space), &mut data);
            self.parts += 1;
            self.version = space.version().clone();
        }
        match &self.rest {
            Rest::State(from) => {
                let chunk = space.chunk(from.as_ref(), TURN_BYTES);
                part(CHUNK, &chunk.bytes, &mut data);
                self.parts += 1;
                self.rest = chunk.next.map_or(Rest::Log(None), |next| Rest::State(Some(next)));
                self.shows = shows;
            }
            Rest::Log(from) => {
                let (batches, next) = space.unstable_part(*from, &self.version, TURN_BYTES);
                for batch in batches {
                    let bytes = batch.to_bytes();
                    assert!(bytes.len() <= BATCH_MAX, "a batch of {} bytes can't be read back", bytes.len());
                    part(BATCH, &bytes, &mut data);
                    self.parts += 1;
                }
                self.rest = next.map_or(Rest::Nothing, |next| Rest::Log(Some(next)));
            }
            Rest::Nothing => {}
        }
        self.step(data, storage)
    }
    /// The end, and the name.
    pub(crate) fn finish(&mut self, storage: &Arc<dyn Storage>) -> Step {
        let mut data = Vec::new();
        part(END, &self.parts.to_le_bytes(), &mut data);
        self.ended = true;
        self.step(data, storage)
    }
    fn step(&mut self, data: Vec<u8>, storage: &Arc<dyn Storage>) -> Step {
        let (first, offset, last) = (!self.begun, self.offset, self.ended);
        (self.begun, self.offset) = (true, offset + data.len() as u64);
        let (group, storage) = (self.group, storage.clone());
        let cost = COST + Duration::nanos(data.len() as u64 / 2);
        let run = Box::new(move || write(&*storage, group, offset, &data, first, last));
        Step { cost, run }
    }
    fn head(&self, cluster: ClusterId, space: &Space) -> Vec<u8> {
        let mut header = Writer::new();
        space.snapshot().encode(&mut header);
        let mut out = cluster.0.to_le_bytes().to_vec();
        out.extend_from_slice(&self.group.0.to_le_bytes());
        out.extend_from_slice(&self.from_entry.to_le_bytes());
        for piece in [&roster_bytes(space.roster())[..], header.as_slice()] {
            out.extend_from_slice(&u32::try_from(piece.len()).expect("below 4 GiB").to_le_bytes());
            out.extend_from_slice(piece);
        }
        out
    }
}

fn write(
    storage: &dyn Storage,
    group: GroupId,
    offset: u64,
    data: &[u8],
    first: bool,
    last: bool,
) -> Result<(), DiskError> {
    let temp = temporary(group);
    let file = if first { storage.create(&temp)? } else { storage.open(&temp)? };
    file.write_at(offset, data)?;
    if last {
        file.sync()?;
        storage.rename(&temp, &name(group))?;
        storage.sync_dir()?;
    }
    Ok(())
}

/// A state read back.
pub(crate) struct Read {
    pub(crate) from_entry: u64,
    pub(crate) roster: Roster,
    header: SnapshotHeader,
    chunks: Vec<Bytes>,
    batches: Vec<Batch>,
}

/// Why there is no state to be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// There never was one.
    Absent,
    /// It fails a checksum, or is cut off, at this byte.
    Corrupt(u64),
    /// The disk's.
    Disk(DiskError),
}

/// Reads the state's file.
pub(crate) fn read(storage: &dyn Storage, cluster: ClusterId, group: GroupId) -> Result<Read, Unread> {
    let bytes: Bytes = match read_all(storage, &name(group)) {
        Ok(bytes) => bytes.into(),
        Err(DiskError::NotFound(_)) => return Err(Unread::Absent),
        Err(e) => return Err(Unread::Disk(e)),
    };
    parse(&bytes, cluster, group)
}

fn parse(bytes: &Bytes, cluster: ClusterId, group: GroupId) -> Result<Read, Unread> {
    if bytes.get(..8) != Some(MAGIC) {
        return Err(Unread::Corrupt(0));
    }
    let mut at = 8;
    let (mut parts, mut found): (u64, Option<Read>) = (0, None);
    loop {
        let corrupt = || Unread::Corrupt(at as u64);
        let (tag, body, next) = part_at(bytes, at).ok_or_else(corrupt)?;
        match (tag, &mut found) {
            (HEAD, None) => found = Some(head(&body, cluster, group).ok_or_else(corrupt)?),
            (CHUNK, Some(read)) => read.chunks.push(body),
            (BATCH, Some(read)) => read.batches.push(Batch::from_bytes(&body).map_err(|_| corrupt())?),
            (END, Some(_)) if body[..] == parts.to_le_bytes() && next == bytes.len() => break,
            _ => return Err(corrupt()),
        }
        (at, parts) = (next, parts + 1);
    }
    found.ok_or(Unread::Corrupt(8))
}

fn part_at(bytes: &Bytes, at: usize) -> Option<(u8, Bytes, usize)> {
    let head = bytes.get(at..at + 9)?;
    let length = u32::from_le_bytes(head[1..5].try_into().ok()?) as usize;
    let end = (at + 9).checked_add(length).filter(|e| *e <= bytes.len())?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..5]);
    crc.update(&bytes[at + 9..end]);
    (crc.finalize().to_le_bytes() == head[5..9]).then(|| (head[0], bytes.slice(at + 9..end), end))
}

fn head(body: &[u8], cluster: ClusterId, group: GroupId) -> Option<Read> {
    let whose = body.get(..16)? == cluster.0.to_le_bytes() && body.get(16..20)? == group.0.to_le_bytes();
    let from_entry = u64::from_le_bytes(body.get(20..28)?.try_into().ok()?);
    let mut rest = body.get(28..)?;
    let mut piece = || {
        let (length, after) = rest.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (piece, after) = after.split_at_checked(length)?;
        rest = after;
        Some(piece)
    };
    let (roster, header) = (read_roster(piece()?)?, piece()?);
    let mut reader = Reader::new(header);
    let header = SnapshotHeader::decode(&mut reader).ok()?;
    let read = Read { from_entry, roster, header, chunks: Vec::new(), batches: Vec::new() };
    (whose && reader.is_empty()).then_some(read)
}

impl Read {
    /// The space that it and the log's entries make.
    ///
    /// # Errors
    /// Its contents contradict each other: as bad as a failed checksum.
    pub(crate) fn restore(
        self,
        config: dwcp_crdt::space::Config,
        roster: Roster,
        me: ReplicaIndex,
        tail: &[Batch],
        millis: u64,
    ) -> Result<Space, String> {
        let mut restore = Restore::new(config, roster, me, self.header);
        for chunk in &self.chunks {
            restore.absorb(chunk).map_err(|e| e.to_string())?;
        }
        for batch in self.batches {
            restore.log(batch);
        }
        restore.finish(tail, millis).map_err(|e| e.to_string())
    }
}
