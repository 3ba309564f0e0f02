//! The log while the node runs: appends, group commit, rotation, trimming.
//!
//! **One request in flight.** What is appended while a request is with the disk goes with the
//! next one, all of it: the slower the disk, the larger the batches. It is also what recovery
//! rests on: a batch is written only when all before it is durable, so that whatever
//! of it can be read proves what came before.
//!
//! **A request** is, in order: if the segment is full, `Create` of the next and `SyncDir`
//! (mostly done long before, see below); `Write` of the batch; `Sync`; then house-keeping that
//! the records did not need: `Create` of the segment after this one once half of this one is
//! used, `Remove` of dead segments, one `SyncDir` for both. A segment is removed only behind the
//! sync of the batch that says it is no longer part of the log.

use crate::batch::{Batch, BatchWriter, LogMarks, Recent};
use crate::config::WalConfig;
use crate::error::WalError;
use crate::format::{ALIGN, DATA, Key, Kind, PAGE, RecordHeader, SegmentHeader};
use crate::item::Item;
use crate::live::Live;
use crate::record::{Lsn, PAYLOAD_MAX, Record};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use dwcp_env::disk::FileName;
use dwcp_env::{ByteCount, DiskError, DiskOp, DiskRequest, Event, GroupId, Probe, Ticket};

/// Told once a record is durable, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) seq: u64,
    pub(crate) key: Key,
    /// Where the next batch goes.
    pub(crate) pos: u64,
}

/// Where in the log we are.
#[derive(Debug)]
pub(crate) struct Position {
    pub(crate) era_first: u64,
    pub(crate) era_prior: u64,
    /// The next record's serial. Serials number the records on the disk, those that head a
    /// segment included; [`Lsn`]s number what was appended.
    pub(crate) serial: u64,
    /// The check of the last record.
    pub(crate) link: u32,
    /// The indexes of the last batches.
    pub(crate) recent: Recent,
}

/// The write-ahead log of one node.
pub struct Wal {
    config: WalConfig,
    probe: Probe,
    salt: u64,
    unknown_lost: bool,
    current: Current,
    position: Position,
    live: Live,
    /// The next segment exists and has its name, as of the request in flight.
    ahead: bool,
    /// Records not yet handed to the disk; the last has the lsn `last`.
    pending: VecDeque<(GroupId, Item)>,
    backlog: u64,
    last: Lsn,
    durable: Lsn,
    in_flight: Option<(Ticket, Lsn)>,
    /// The last batch with records has no batch behind it.
    unsealed: bool,
    mark: bool,
    waiting: VecDeque<(Lsn, Done)>,
    closed: bool,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal")
            .field("current", &self.current)
            .field("last", &self.last)
            .field("durable", &self.durable)
            .field("in_flight", &self.in_flight)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

pub(crate) fn segment_name(seq: u64) -> FileName {
    FileName::new(&alloc::format!("wal-{seq:012}.log")).expect("a segment's name is one")
}

impl Wal {
    /// A log that goes on behind what recovery found.
    pub(crate) fn new(
        config: WalConfig,
        probe: Probe,
        salt: u64,
        unknown_lost: bool,
        current: Current,
        position: Position,
        live: Live,
    ) -> Self {
        Self {
            config,
            probe,
            salt,
            unknown_lost,
            current,
            position,
            live,
            ahead: false,
            pending: VecDeque::new(),
            backlog: 0,
            last: Lsn(0),
            durable: Lsn(0),
            in_flight: None,
            unsealed: false,
            mark: false,
            waiting: VecDeque::new(),
            closed: false,
        }
    }

    /// Takes a record; it is written by the next [`Wal::flush`].
    ///
    /// # Panics
    /// On a payload over [`PAYLOAD_MAX`].
    pub fn append(&mut self, group: GroupId, record: Record) -> Lsn {
        let len = record.payload().len();
        assert!(len <= PAYLOAD_MAX, "a payload of {len} bytes, at most {PAYLOAD_MAX} fit a record");
        self.push(group, Item::Record(record))
    }

    fn push(&mut self, group: GroupId, item: Item) -> Lsn {
        self.backlog += item.parts().3.len() as u64;
        self.pending.push_back((group, item));
        self.last.0 += 1;
        self.last
    }

    /// Appends anew an entry that was lost, as a peer gave it back.
    pub fn repair(&mut self, group: GroupId, index: u64, term: u64, payload: Bytes) -> Lsn {
        self.append(group, Record::Entry { index, term, payload })
    }

    /// States that all the group may have lost before is restored or superseded: it is no
    /// longer suspect. Also for a new group on a log that has
    /// [`Recovered::unknown_lost`](crate::Recovered::unknown_lost).
    pub fn healed(&mut self, group: GroupId) -> Lsn {
        self.push(group, Item::Healed)
    }

    /// States that the group's log lacks something that was acknowledged, where what is left no longer shows it: who cuts a log off
    /// behind a hole says so first. It is suspect, in this life and the next, until [`Wal::healed`].
    pub fn suspect(&mut self, group: GroupId) -> Lsn {
        self.push(group, Item::Suspect)
    }

    /// Ends a group's log for good: all that is in it is void, and nothing of it is kept, its state neither. The
    /// number may be used again.
    pub fn end(&mut self, group: GroupId) -> Lsn {
        self.push(group, Item::Ended)
    }

    /// Calls `done` once `lsn` is durable: from [`Wal::completed`], in the order of the lsns; at
    /// once if it already is, or if the log is closed.
    pub fn on_durable(&mut self, lsn: Lsn, done: Done) {
        if lsn <= self.durable {
            return done(Ok(()));
        }
        if self.closed {
            return done(Err(WalError::Closed));
        }
        let at = self.waiting.partition_point(|(l, _)| *l <= lsn);
        self.waiting.insert(at, (lsn, done));
    }

    /// Asks for what has been appended to be made durable, unless a request of ours is still in
    /// flight: then it all goes with the next. Takes tickets from `next_ticket`.
    pub fn flush(&mut self, next_ticket: &mut u64, out: &mut Vec<DiskRequest>) {
        if self.closed || self.in_flight.is_some() || (self.pending.is_empty() && !self.mark) {
            return;
        }
        let mut ops = Vec::with_capacity(4);
        let rotated = self.segment_is_full();
        if rotated {
            self.rotate(&mut ops);
        }
        let (batch, dead) = self.take_batch(rotated);
        let file = segment_name(self.current.seq);
        self.current.pos = batch.origin + batch.data.len() as u64;
        self.position.serial = batch.next;
        self.position.link = batch.link;
        self.position.recent.push(batch.index, batch.size);
        ops.push(DiskOp::Write { file: file.clone(), offset: batch.origin, data: batch.data.into() });
        if self.syncs() {
            ops.push(DiskOp::Sync { file: self.synced(rotated, file) });
        }
        self.keep_house(dead, &mut ops);
        let ticket = Ticket(*next_ticket);
        *next_ticket += 1;
        let handed = Lsn(self.last.0 - self.pending.len() as u64);
        self.in_flight = Some((ticket, handed));
        out.push(DiskRequest { ticket, ops });
    }

    /// Whether the segment has no room for the next record, or for a mark.
    fn segment_is_full(&self) -> bool {
        let (kind, len) = match self.pending.front() {
            Some((group, item)) => {
                let (kind, _, _, payload) = self.live.written(*group, item);
                (kind, payload.len())
            }
            None => (Kind::Healed, 0),
        };
        let empty = BatchWriter::new(Vec::new(), 0, self.current.key, 0, 0, &self.position.recent);
        let end = self.origin() + empty.size_with(kind, len) as u64;
        end > self.config.segment.0 || self.probe.buggify("wal: segment given up early")
    }

    /// Where in the segment the next batch goes. A mark goes to a page of its own, lest one
    /// failing page takes what it seals with it.
    fn origin(&self) -> u64 {
        let pos = self.current.pos;
        if self.pending.is_empty() { pos.next_multiple_of(PAGE as u64) } else { pos }
    }

    /// Goes on to the next segment, which is made now if it was not made ahead.
    fn rotate(&mut self, ops: &mut Vec<DiskOp>) {
        let seq = self.current.seq + 1;
        if !self.ahead {
            self.create(seq, ops);
            if self.syncs_directory() {
                ops.push(DiskOp::SyncDir);
            }
        }
        self.ahead = false;
        self.current = Current { seq, key: Key::new(self.salt, seq), pos: 0 };
        self.live.add_segment(seq);
    }

    fn create(&self, seq: u64, ops: &mut Vec<DiskOp>) {
        ops.push(DiskOp::Create { file: segment_name(seq), len: self.config.segment.0 });
    }

    /// Moves pending records into a batch, as many as go into the segment and the bound of a
    /// batch, but at least one; tells which segments are dead once it is durable.
    fn take_batch(&mut self, rotated: bool) -> (Batch, Vec<u64>) {
        let Position { era_first, era_prior, serial, link, ref recent } = self.position;
        let origin = self.origin();
        let head = if rotated { DATA as u64 } else { 0 };
        let room = self.config.segment.0.saturating_sub(origin + head).min(self.config.batch.0) as usize;
        let wanted = self.backlog as usize + self.pending.len() * RecordHeader::size(ALIGN);
        let mut buf = Vec::with_capacity(wanted.min(room) + recent.size() + DATA + 2 * PAGE);
        if rotated {
            let (cluster, seq, salt) = (self.config.cluster, self.current.seq, self.salt);
            SegmentHeader { cluster, seq, salt, first: serial, proven: serial - 1 }.place(&mut buf);
        }
        let mut batch = BatchWriter::new(buf, origin, self.current.key, serial, link, recent);
        if rotated {
            for (group, state) in self.live.states().filter(|_| self.heads_segments()) {
                batch.push(group, Kind::State, 0, 0, &state.encode());
            }
        }
        let mut taken = 0;
        while let Some((group, item)) = self.pending.front() {
            let (kind, term, index, payload) = self.live.written(*group, item);
            if taken > 0 && batch.size_with(kind, payload.len()) > room {
                break;
            }
            self.backlog -= item.parts().3.len() as u64;
            if !self.forgets(kind) {
                batch.push(*group, kind, term, index, &payload);
                self.live.apply(*group, item, self.current.seq);
            }
            taken += 1;
            self.pending.pop_front();
            if self.probe.buggify("wal: batch cut short") {
                break;
            }
        }
        self.unsealed = taken > 0;
        self.mark = false;
        let dead = self.live.trim(self.current.seq, self.trims_too_far());
        let (oldest, unknown_lost) = (self.live.oldest(), self.unknown_lost);
        (batch.finish(LogMarks { era_first, era_prior, oldest, unknown_lost }), dead)
    }

    /// What need not be done before the records are durable.
    fn keep_house(&mut self, dead: Vec<u64>, ops: &mut Vec<DiskOp>) {
        let ahead = !self.ahead && self.current.pos > self.config.segment.0 / 2;
        if ahead {
            self.create(self.current.seq + 1, ops);
            self.ahead = true;
        }
        ops.extend(dead.iter().map(|seq| DiskOp::Remove { file: segment_name(*seq) }));
        if !dead.is_empty() || (ahead && self.syncs_directory()) {
            ops.push(DiskOp::SyncDir);
        }
    }

    /// Takes a completion; tells whether it was ours.
    ///
    /// # Errors
    /// The request failed: final, the node must stop.
    pub fn completed(&mut self, ticket: Ticket, result: Result<(), DiskError>) -> Result<bool, WalError> {
        let Some((_, handed)) = self.in_flight.take_if(|(t, _)| *t == ticket) else {
            return Ok(false);
        };
        if let Err(error) = result.or_else(|e| self.forgives(e)) {
            self.closed = true;
            let error = WalError::disk("appending", self.config.segment.0, error);
            self.probe.event(&Event::DiskFailed { why: alloc::format!("{error}") });
            for (_, done) in core::mem::take(&mut self.waiting) {
                done(Err(error.clone()));
            }
            return Err(error);
        }
        self.durable = self.acknowledged(handed);
        while let Some((lsn, _)) = self.waiting.front()
            && *lsn <= self.durable
        {
            let (_, done) = self.waiting.pop_front().expect("it has a front");
            done(Ok(()));
        }
        Ok(true)
    }

    /// Lets the next [`Wal::flush`] seal the last batch, if it is not sealed: from then on its
    /// loss would be noticed. For a quiet node (some hundred milliseconds without appends) and one
    /// that ends. Tells whether there is something to seal.
    pub fn idle_mark(&mut self) -> bool {
        self.mark = self.unsealed && self.pending.is_empty() && !self.closed;
        self.mark
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
    /// The request of ours that is in flight.
    #[must_use]
    pub fn in_flight(&self) -> Option<Ticket> {
        self.in_flight.map(|(ticket, _)| ticket)
    }
    /// Payload bytes appended and not yet handed to the disk. Who appends keeps it bounded.
    #[must_use]
    pub const fn backlog(&self) -> ByteCount {
        ByteCount(self.backlog)
    }
    /// Segments of the log on the disk.
    #[must_use]
    pub fn segments(&self) -> u64 {
        self.live.segments()
    }
    /// The groups whose live entries keep the oldest segment from being removed: they are the
    /// ones to checkpoint and purge when the log has grown too long.
    #[must_use]
    pub fn held_by(&self) -> Vec<GroupId> {
        self.live.held_by()
    }
}

/// The known bugs that can be planted here.
#[cfg(feature = "planted-bugs")]
impl Wal {
    const fn syncs(&self) -> bool {
        !self.config.bugs.ack_before_sync
    }
    const fn syncs_directory(&self) -> bool {
        !self.config.bugs.directory_not_synced
    }
    fn forgets(&self, kind: Kind) -> bool {
        self.config.bugs.vote_forgotten && kind == Kind::Vote
    }
    fn synced(&self, rotated: bool, file: FileName) -> FileName {
        let wrong = self.config.bugs.syncs_wrong_segment && rotated;
        if wrong { segment_name(self.current.seq - 1) } else { file }
    }
    const fn heads_segments(&self) -> bool {
        !self.config.bugs.rotation_drops_state
    }
    const fn trims_too_far(&self) -> bool {
        self.config.bugs.trim_too_far
    }
    fn forgives(&self, error: DiskError) -> Result<(), DiskError> {
        if self.config.bugs.error_ignored { Ok(()) } else { Err(error) }
    }
    fn acknowledged(&self, handed: Lsn) -> Lsn {
        if self.config.bugs.group_commit_early { self.last } else { handed }
    }
}

#[cfg(not(feature = "planted-bugs"))]
#[allow(clippy::unused_self, reason = "with planted bugs it is used")]
impl Wal {
    const fn syncs(&self) -> bool {
        true
    }
    const fn syncs_directory(&self) -> bool {
        true
    }
    const fn forgets(&self, _: Kind) -> bool {
        false
    }
    fn synced(&self, _: bool, file: FileName) -> FileName {
        file
    }
    const fn heads_segments(&self) -> bool {
        true
    }
    const fn trims_too_far(&self) -> bool {
        false
    }
    const fn forgives(&self, error: DiskError) -> Result<(), DiskError> {
        Err(error)
    }
    const fn acknowledged(&self, handed: Lsn) -> Lsn {
        handed
    }
}
