//! The bytes of the log: segment headers, batches, records and the index of what came before.
//!
//! Drawn byte by byte in `docs/formats/wal.md`. Everything here is pure: bytes in, values out.
//! Numbers are little endian. A reader of these bytes believes nothing before its checksum.

use alloc::vec::Vec;
use dwcp_env::{ClusterId, GroupId};

/// What a disk writes whole or not at all. A batch begins on a sector of its own, so that no
/// write ever touches a sector that holds something durable.
pub(crate) const SECTOR: usize = 512;
/// What a failing medium is taken to lose at once.
pub(crate) const PAGE: usize = 4096;
/// Where a segment's batches begin: behind the two copies of its header, a page each.
pub(crate) const DATA: usize = 2 * PAGE;
/// What a record's beginning is aligned to.
pub(crate) const ALIGN: usize = 16;
/// The format this build writes.
pub(crate) const FORMAT: u32 = 1;
/// Bytes of a segment header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Bytes of a batch header.
pub(crate) const BATCH_HEADER: usize = 64;
/// Bytes of a record header.
pub(crate) const RECORD_HEADER: usize = 48;
/// Bytes of a run in an index, before its items.
const RUN: usize = 32;
/// The longest payload the format can say.
const PAYLOAD_LIMIT: usize = 1 << 24;

const MAGIC: [u8; 8] = *b"dwcp-wal";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"BTCH");
const COPY: u8 = 0x80;
const UNKNOWN_LOST: u32 = 1;

pub(crate) const fn align_up(n: usize, to: usize) -> usize {
    n.div_ceil(to) * to
}

/// Four bytes at `at`; the caller has checked the length.
pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}
/// Eight bytes at `at`; the caller has checked the length.
pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

/// What every checksum of one segment begins with: a record is valid only in the directory, the
/// segment and at the offset it was written to. So neither stale nor misdirected bytes pass,
/// nor bytes that a client sends, who does not know the salt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u32);

impl Key {
    pub(crate) fn new(salt: u64, seq: u64) -> Self {
        let mut h = crc32fast::Hasher::new();
        h.update(&salt.to_le_bytes());
        h.update(&seq.to_le_bytes());
        Self(h.finalize())
    }
    fn check(self, offset: u64, head: &[u8], tail: &[u8]) -> u32 {
        let mut h = crc32fast::Hasher::new_with_initial(self.0);
        h.update(&offset.to_le_bytes());
        h.update(head);
        h.update(tail);
        h.finalize()
    }
}

/// The head of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) cluster: ClusterId,
    /// The segment's place in the order of segments; also in its name.
    pub(crate) seq: u64,
    /// Drawn once for the directory.
    pub(crate) salt: u64,
    /// The serial of the segment's first record.
    pub(crate) first: u64,
    /// Serials up to this one were durable when the segment got its name.
    pub(crate) proven: u64,
}

/// What stands where a segment header should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderRead {
    Valid(SegmentHeader),
    /// A later format, whose header checks (the first 64 bytes keep their meaning for ever).
    Newer(u32),
    Bad,
}

fn segment_check(b: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new();
    h.update(&b[..12]);
    h.update(&b[16..SEGMENT_HEADER]);
    h.finalize()
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut b = [0; SEGMENT_HEADER];
        b[..8].copy_from_slice(&MAGIC);
        b[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        b[16..32].copy_from_slice(&self.cluster.0.to_le_bytes());
        b[32..40].copy_from_slice(&self.seq.to_le_bytes());
        b[40..48].copy_from_slice(&self.salt.to_le_bytes());
        b[48..56].copy_from_slice(&self.first.to_le_bytes());
        b[56..64].copy_from_slice(&self.proven.to_le_bytes());
        let check = segment_check(&b);
        b[12..16].copy_from_slice(&check.to_le_bytes());
        b
    }
    fn decode(b: &[u8], seq: u64) -> HeaderRead {
        if b.len() < SEGMENT_HEADER || b[..8] != MAGIC || u32_at(b, 12) != segment_check(b) {
            return HeaderRead::Bad;
        }
        let version = u32_at(b, 8);
        if version > FORMAT {
            return HeaderRead::Newer(version);
        }
        if version != FORMAT || u64_at(b, 32) != seq {
            return HeaderRead::Bad;
        }
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&b[16..32]);
        HeaderRead::Valid(Self {
            cluster: ClusterId(u128::from_le_bytes(cluster)),
            seq,
            salt: u64_at(b, 40),
            first: u64_at(b, 48),
            proven: u64_at(b, 56),
        })
    }
    /// The header of a segment from whichever copy checks; and whether one does not.
    pub(crate) fn read(data: &[u8], seq: u64) -> (HeaderRead, bool) {
        let copy = |at: usize| data.get(at..).map_or(HeaderRead::Bad, |b| Self::decode(b, seq));
        match (copy(0), copy(PAGE)) {
            (HeaderRead::Bad, HeaderRead::Bad) => (HeaderRead::Bad, true),
            (HeaderRead::Bad, found) | (found, HeaderRead::Bad) => (found, true),
            (found, _) => (found, false),
        }
    }
    /// The space before the batches, with both copies.
    pub(crate) fn place(&self, buf: &mut Vec<u8>) {
        let head = self.encode();
        for at in [0, PAGE] {
            buf.resize(at, 0);
            buf.extend_from_slice(&head);
        }
        buf.resize(DATA, 0);
    }
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Entry = 1,
    Truncate = 2,
    Purge = 3,
    Vote = 4,
    Note = 5,
    /// All that is known of a group but its entries: at the head of each segment, and where a group is told suspect.
    State = 6,
    /// What the group lost before this is restored or superseded.
    Healed = 7,
    /// The group's log has ended for good: all of it is void.
    Ended = 8,
}

impl Kind {
    const fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Entry,
            2 => Self::Truncate,
            3 => Self::Purge,
            4 => Self::Vote,
            5 => Self::Note,
            6 => Self::State,
            7 => Self::Healed,
            8 => Self::Ended,
            _ => return None,
        })
    }
    /// Whether it is written twice, a page apart.
    pub(crate) const fn doubled(self) -> bool {
        matches!(self, Self::Vote | Self::State)
    }
}

/// The head of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    /// Whether it is the second copy.
    pub(crate) copy: bool,
    pub(crate) len: usize,
    /// CRC-32 of the payload alone: names the payload wherever it lies.
    pub(crate) sum: u32,
    pub(crate) group: GroupId,
    pub(crate) serial: u64,
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// Distance from the first serial of its batch: all before that one was durable.
    pub(crate) base: u32,
    /// The check of the record before.
    pub(crate) link: u32,
}

impl RecordHeader {
    /// The bytes, and their check.
    pub(crate) fn encode(&self, key: Key, offset: u64) -> ([u8; RECORD_HEADER], u32) {
        debug_assert!(self.len < PAYLOAD_LIMIT);
        let mut b = [0; RECORD_HEADER];
        let len = (self.len as u32).to_le_bytes();
        b[4] = self.kind as u8 | if self.copy { COPY } else { 0 };
        b[5..8].copy_from_slice(&len[..3]);
        b[8..12].copy_from_slice(&self.sum.to_le_bytes());
        b[12..16].copy_from_slice(&self.group.0.to_le_bytes());
        b[16..24].copy_from_slice(&self.serial.to_le_bytes());
        b[24..32].copy_from_slice(&self.term.to_le_bytes());
        b[32..40].copy_from_slice(&self.index.to_le_bytes());
        b[40..44].copy_from_slice(&self.base.to_le_bytes());
        b[44..48].copy_from_slice(&self.link.to_le_bytes());
        let check = key.check(offset, &b[4..], &[]);
        b[..4].copy_from_slice(&check.to_le_bytes());
        (b, check)
    }
    /// The header at the beginning of `b`, if it checks, and its check.
    pub(crate) fn decode(b: &[u8], key: Key, offset: u64) -> Option<(Self, u32)> {
        let b = b.get(..RECORD_HEADER)?;
        let kind = Kind::from_u8(b[4] & !COPY)?;
        let check = u32_at(b, 0);
        if key.check(offset, &b[4..], &[]) != check {
            return None;
        }
        let header = Self {
            kind,
            copy: b[4] & COPY != 0,
            len: usize::from(b[5]) | usize::from(b[6]) << 8 | usize::from(b[7]) << 16,
            sum: u32_at(b, 8),
            group: GroupId(u32_at(b, 12)),
            serial: u64_at(b, 16),
            term: u64_at(b, 24),
            index: u64_at(b, 32),
            base: u32_at(b, 40),
            link: u32_at(b, 44),
        };
        Some((header, check))
    }
    /// Bytes of the record with its padding.
    pub(crate) const fn size(len: usize) -> usize {
        RECORD_HEADER + align_up(len, ALIGN)
    }
}

/// The head of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchHeader {
    /// The serial of its first record, or of the next one to come. Everything before it was
    /// durable when the batch was written.
    pub(crate) first: u64,
    /// The incarnation that wrote it began with this serial …
    pub(crate) era_first: u64,
    /// … and took over serials up to this one; those between the two are void.
    pub(crate) era_prior: u64,
    /// The oldest segment that is still part of the log.
    pub(crate) oldest: u64,
    pub(crate) count: u32,
    pub(crate) index_len: u32,
    pub(crate) body_len: u32,
    /// Where the second copies are, from the batch's beginning; zero: none.
    pub(crate) copies_at: u32,
    pub(crate) copies_len: u32,
    /// Records were lost once that nothing identifies.
    pub(crate) unknown_lost: bool,
}

impl BatchHeader {
    /// Writes the header in front of the index, which `batch` already holds.
    pub(crate) fn place(&self, batch: &mut [u8], key: Key, offset: u64) {
        batch[4..8].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        for (i, n) in [self.first, self.era_first, self.era_prior, self.oldest].into_iter().enumerate() {
            batch[8 + 8 * i..16 + 8 * i].copy_from_slice(&n.to_le_bytes());
        }
        let flags = if self.unknown_lost { UNKNOWN_LOST } else { 0 };
        let words = [self.count, self.index_len, self.body_len, self.copies_at, self.copies_len, flags];
        for (i, n) in words.into_iter().enumerate() {
            batch[40 + 4 * i..44 + 4 * i].copy_from_slice(&n.to_le_bytes());
        }
        let index_end = BATCH_HEADER + self.index_len as usize;
        let check = key.check(offset, &batch[4..BATCH_HEADER], &batch[BATCH_HEADER..index_end]);
        batch[..4].copy_from_slice(&check.to_le_bytes());
    }
    /// The batch header at the beginning of `b`, if it and its index check.
    pub(crate) fn decode(b: &[u8], key: Key, offset: u64) -> Option<Self> {
        if b.len() < BATCH_HEADER || u32_at(b, 4) != BATCH_MAGIC {
            return None;
        }
        let index_len = u32_at(b, 44);
        let index = b.get(BATCH_HEADER..BATCH_HEADER.checked_add(index_len as usize)?)?;
        if key.check(offset, &b[4..BATCH_HEADER], index) != u32_at(b, 0) {
            return None;
        }
        Some(Self {
            first: u64_at(b, 8),
            era_first: u64_at(b, 16),
            era_prior: u64_at(b, 24),
            oldest: u64_at(b, 32),
            count: u32_at(b, 40),
            index_len,
            body_len: u32_at(b, 48),
            copies_at: u32_at(b, 52),
            copies_len: u32_at(b, 56),
            unknown_lost: u32_at(b, 60) & UNKNOWN_LOST != 0,
        })
    }
    pub(crate) const fn body_at(&self) -> usize {
        BATCH_HEADER + self.index_len as usize
    }
    /// Bytes of the batch with its padding.
    pub(crate) const fn size(&self) -> usize {
        let body_end = self.body_at() + self.body_len as usize;
        let copies_end = self.copies_at as usize + self.copies_len as usize;
        align_up(if copies_end > body_end { copies_end } else { body_end }, SECTOR)
    }
}

/// What a record was, without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ident {
    pub(crate) serial: u64,
    pub(crate) kind: Kind,
    pub(crate) group: GroupId,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) sum: u32,
}

impl Ident {
    pub(crate) const fn of(h: &RecordHeader) -> Self {
        Self { serial: h.serial, kind: h.kind, group: h.group, term: h.term, index: h.index, sum: h.sum }
    }
}

/// One batch's index while it is made: records of a group with rising indexes share a run.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    runs: Vec<(Ident, Vec<(u32, u32)>)>,
}

impl IndexBuilder {
    /// How many runs back a record looks for its own.
    const NEAR: usize = 8;
    /// The most items in a run.
    const ITEMS: usize = (1 << 24) - 1;

    pub(crate) fn push(&mut self, id: Ident) {
        for (head, items) in self.runs.iter_mut().rev().take(Self::NEAR) {
            if head.group == id.group
                && head.kind == id.kind
                && head.term == id.term
                && id.kind == Kind::Entry
                && head.index.checked_add(items.len() as u64) == Some(id.index)
                && items.len() < Self::ITEMS
            {
                items.push(((id.serial - head.serial) as u32, id.sum));
                return;
            }
        }
        self.runs.push((id, Vec::from([(0, id.sum)])));
    }
    pub(crate) fn finish(self) -> Vec<u8> {
        let size = self.runs.iter().map(|(_, items)| RUN + 8 * items.len()).sum();
        let mut out = Vec::with_capacity(size);
        for (head, items) in self.runs {
            let count = (items.len() as u32).to_le_bytes();
            out.push(head.kind as u8);
            out.extend_from_slice(&count[..3]);
            out.extend_from_slice(&head.group.0.to_le_bytes());
            for n in [head.serial, head.term, head.index] {
                out.extend_from_slice(&n.to_le_bytes());
            }
            for (distance, sum) in items {
                out.extend_from_slice(&distance.to_le_bytes());
                out.extend_from_slice(&sum.to_le_bytes());
            }
        }
        out
    }
}

/// Reads the indexes a batch carries; stops at the padding.
pub(crate) fn read_index(mut b: &[u8], out: &mut Vec<Ident>) {
    while b.len() >= RUN {
        let Some(kind) = Kind::from_u8(b[0]) else { return };
        let count = usize::from(b[1]) | usize::from(b[2]) << 8 | usize::from(b[3]) << 16;
        let (group, serial, term, index) =
            (GroupId(u32_at(b, 4)), u64_at(b, 8), u64_at(b, 16), u64_at(b, 24));
        let Some(items) = b.get(RUN..RUN + 8 * count) else { return };
        for (i, item) in items.chunks_exact(8).enumerate() {
            out.push(Ident {
                serial: serial.saturating_add(u64::from(u32_at(item, 0))),
                kind,
                group,
                term,
                index: index.saturating_add(i as u64),
                sum: u32_at(item, 4),
            });
        }
        b = &b[RUN + 8 * count..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RecordHeader {
        RecordHeader {
            kind: Kind::Entry,
            copy: false,
            len: 70_000,
            sum: 7,
            group: GroupId(3),
            serial: 1 << 40,
            term: 5,
            index: 9,
            base: 2,
            link: 11,
        }
    }

    #[test]
    fn a_record_checks_only_where_it_was_written() {
        let (bytes, check) = record().encode(Key::new(1, 2), 512);
        assert_eq!(RecordHeader::decode(&bytes, Key::new(1, 2), 512), Some((record(), check)));
        for (key, offset) in [(Key::new(1, 2), 1024), (Key::new(1, 3), 512), (Key::new(9, 2), 512)] {
            assert_eq!(RecordHeader::decode(&bytes, key, offset), None);
        }
        for bit in 0..8 * RECORD_HEADER {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::decode(&bytes, Key::new(1, 2), 512), None, "bit {bit}");
        }
        assert_eq!(RecordHeader::decode(&[0; RECORD_HEADER], Key::new(1, 2), 512), None);
    }

    #[test]
    fn an_index_gives_back_what_it_was_told() {
        let id = |serial, group, term, index| {
            let kind = if index == 0 { Kind::Vote } else { Kind::Entry };
            Ident { serial, kind, group: GroupId(group), term, index, sum: serial as u32 }
        };
        let mut all = Vec::new();
        for i in 1..40 {
            all.push(id(3 * i, 1, 1, i));
            all.push(id(3 * i + 1, (i % 12) as u32 + 2, 1, i));
            all.push(id(3 * i + 2, 1, 0, 0));
        }
        let mut builder = IndexBuilder::default();
        all.iter().for_each(|id| builder.push(*id));
        let mut bytes = builder.finish();
        bytes.resize(align_up(bytes.len() + 1, ALIGN), 0);
        let mut read = Vec::new();
        read_index(&bytes, &mut read);
        read.sort_by_key(|id| id.serial);
        assert_eq!(read, all);
    }

    #[test]
    fn a_header_is_read_from_either_copy() {
        let header = SegmentHeader { cluster: ClusterId(1), seq: 2, salt: 3, first: 4, proven: 3 };
        let mut whole = Vec::new();
        header.place(&mut whole);
        assert_eq!(SegmentHeader::read(&whole, 2), (HeaderRead::Valid(header), false));
        for at in [0, PAGE] {
            let mut bytes = whole.clone();
            bytes[at + 40] ^= 1;
            assert_eq!(SegmentHeader::read(&bytes, 2), (HeaderRead::Valid(header), true));
        }
        assert_eq!(SegmentHeader::read(&whole, 3), (HeaderRead::Bad, true), "not in its own file");
        assert_eq!(SegmentHeader::read(&[], 2), (HeaderRead::Bad, true));
    }
}
