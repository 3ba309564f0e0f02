//! Reading a segment: all that can be made out, and where something can't.
//!
//! A reader goes from batch to batch. At a place where none checks, it tries every sixteenth
//! byte for a record and every sector for a batch, to the end of the file: what lies behind
//! a bad place is as good as what lies before it. A sector the device can't read is a bad
//! place like any other.

use crate::format::{
    ALIGN, BatchHeader, DATA, HeaderRead, Ident, Key, PAGE, RECORD_HEADER, RecordHeader, SECTOR,
    SegmentHeader, read_index,
};
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{DiskError, File};

/// A record whose header checks.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: Ident,
    /// Whether it is the second copy.
    pub(crate) copy: bool,
    pub(crate) base: u32,
    pub(crate) link: u32,
    pub(crate) check: u32,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// `None`: it does not match its sum.
    pub(crate) payload: Option<Bytes>,
}

impl Found {
    /// Where it ends in its segment.
    pub(crate) fn end(&self) -> u64 {
        self.offset + RecordHeader::size(self.payload.as_ref().map_or(0, Bytes::len)) as u64
    }
}

/// A batch whose header checks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundBatch {
    pub(crate) header: BatchHeader,
    pub(crate) offset: u64,
}

/// A segment's bytes.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) seq: u64,
    pub(crate) data: Bytes,
    /// Whether some of it could not be read; zeros stand there.
    pub(crate) unreadable: bool,
}

impl Contents {
    /// Reads a whole file; what can't be read is passed over.
    pub(crate) fn read(seq: u64, file: &dyn File) -> Result<Self, DiskError> {
        const PIECE: usize = 64 * 1024;
        let len = file.len()? as usize;
        let mut data = vec![0; len];
        let mut unreadable = false;
        for piece in (0..len).step_by(PIECE) {
            let end = (piece + PIECE).min(len);
            match file.read_at(piece as u64, &mut data[piece..end]) {
                Ok(()) => {}
                Err(DiskError::Io { .. }) => {
                    unreadable = true;
                    read_sectors(file, piece, &mut data[piece..end])?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { seq, data: data.into(), unreadable })
    }
    /// The header, and whether a copy of it is bad.
    pub(crate) fn header(&self) -> (HeaderRead, bool) {
        SegmentHeader::read(&self.data, self.seq)
    }
    /// Whether it was made and never written to.
    pub(crate) fn is_blank(&self) -> bool {
        !self.unreadable && used(&self.data) == 0
    }
}

/// How many bytes there are before the zeros at the end.
fn used(data: &[u8]) -> usize {
    const ZEROS: [u8; PAGE] = [0; PAGE];
    let pages = data.len().div_ceil(PAGE);
    let page = |i: usize| &data[i * PAGE..data.len().min((i + 1) * PAGE)];
    let last = (0..pages).rev().find(|i| page(*i) != &ZEROS[..page(*i).len()]);
    last.map_or(0, |i| i * PAGE + page(i).iter().rposition(|b| *b != 0).map_or(0, |last| last + 1))
}

fn read_sectors(file: &dyn File, at: usize, out: &mut [u8]) -> Result<(), DiskError> {
    for (i, sector) in out.chunks_mut(SECTOR).enumerate() {
        match file.read_at((at + i * SECTOR) as u64, sector) {
            Ok(()) => {}
            Err(DiskError::Io { .. }) => sector.fill(0),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What was made out in one segment.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) batches: Vec<FoundBatch>,
    pub(crate) records: Vec<Found>,
    /// From the indexes, and from records whose payload is bad.
    pub(crate) idents: Vec<Ident>,
    /// Bytes that are neither zero nor anything, as ranges.
    pub(crate) bad: Vec<(u64, u64)>,
}

/// How what is read is judged; each is a planted bug, off in every normal build.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// Payloads are believed unchecked.
    pub(crate) unchecked: bool,
    /// The first entry of an index is believed, truncations are passed over.
    pub(crate) oldest_first: bool,
}

struct Scanner<'a> {
    data: &'a Bytes,
    /// Behind it there are only zeros.
    end: usize,
    seq: u64,
    key: Key,
    trust: Trust,
    out: Scan,
}

/// Makes out what there is in a segment.
pub(crate) fn scan(contents: &Contents, key: Key, trust: Trust) -> Scan {
    let data = &contents.data;
    let mut s = Scanner { data, end: used(data), seq: contents.seq, key, trust, out: Scan::default() };
    let mut pos = DATA;
    while pos < s.end {
        pos = s.batch(pos).unwrap_or_else(|| s.piece(pos, data.len()));
    }
    s.out
}

impl Scanner<'_> {
    /// Takes the batch at `pos`, if there is one; tells where it ends.
    fn batch(&mut self, pos: usize) -> Option<usize> {
        if !pos.is_multiple_of(SECTOR) {
            return None;
        }
        let header = BatchHeader::decode(&self.data[pos..], self.key, pos as u64)?;
        self.out.batches.push(FoundBatch { header, offset: pos as u64 });
        let body = pos + header.body_at();
        read_index(&self.data[pos + crate::format::BATCH_HEADER..body], &mut self.out.idents);
        self.stretch(body, body + header.body_len as usize);
        if header.copies_at != 0 {
            let copies = pos + header.copies_at as usize;
            self.stretch(copies, copies + header.copies_len as usize);
        }
        Some(pos + header.size())
    }
    /// Takes the records between `pos` and `end`.
    fn stretch(&mut self, mut pos: usize, end: usize) {
        let end = end.min(self.data.len());
        while pos < end {
            pos = self.piece(pos, end);
        }
    }
    /// Takes the record at `pos`, or notes that there is none; tells where to go on.
    fn piece(&mut self, pos: usize, end: usize) -> usize {
        if let Some((header, check)) = RecordHeader::decode(&self.data[pos..], self.key, pos as u64) {
            self.record(pos, &header, check);
            return pos + RecordHeader::size(header.len);
        }
        let next = (pos + ALIGN).min(end);
        if self.data[pos..next] != [0; ALIGN][..next - pos] {
            match self.out.bad.last_mut() {
                Some((_, to)) if *to == pos as u64 => *to = next as u64,
                _ => self.out.bad.push((pos as u64, next as u64)),
            }
        }
        next
    }
    fn record(&mut self, pos: usize, header: &RecordHeader, check: u32) {
        let from = pos + RECORD_HEADER;
        let whole = self.data.len() >= from + header.len;
        let payload = whole.then(|| self.data.slice(from..from + header.len));
        let payload = payload.filter(|p| self.trust.unchecked || crc32fast::hash(p) == header.sum);
        let id = Ident::of(header);
        if payload.is_none() {
            self.out.idents.push(id);
            self.out.bad.push((pos as u64, (from + header.len) as u64));
        }
        let (base, link, segment, offset) = (header.base, header.link, self.seq, pos as u64);
        self.out.records.push(Found { id, copy: header.copy, base, link, check, segment, offset, payload });
    }
}
