//! Writing a batch: the header, the index of what came before, records, second copies.
//!
//! The payload is copied once, from where the caller has it into the buffer that is written.
//! A batch is the only thing ever written behind a segment's header, and it is one write.

use crate::format::{
    ALIGN, BATCH_HEADER, BatchHeader, Ident, IndexBuilder, Key, Kind, PAGE, RECORD_HEADER, RecordHeader,
    SECTOR, align_up,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;
use dwcp_env::GroupId;

/// The indexes of the last batches: enough that what a failing page takes is named by a batch
/// outside it.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The index of a batch and the batch's size, oldest first.
    batches: VecDeque<(Vec<u8>, usize)>,
}

impl Recent {
    /// Adds the newest batch's. Forgets a batch's once one that began a page or more behind it
    /// has carried it: no page holds anything of both.
    pub(crate) fn push(&mut self, index: Vec<u8>, size: usize) {
        self.batches.push_back((index, size));
        while let [_, between @ .., _] = &*self.batches.make_contiguous()
            && between.iter().map(|b| b.1).sum::<usize>() >= PAGE
        {
            self.batches.pop_front();
        }
    }
    /// Bytes the index takes in a batch.
    pub(crate) fn size(&self) -> usize {
        align_up(self.batches.iter().map(|b| b.0.len()).sum(), ALIGN)
    }
}

/// What a batch says of the log besides its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogMarks {
    pub(crate) era_first: u64,
    pub(crate) era_prior: u64,
    pub(crate) oldest: u64,
    pub(crate) unknown_lost: bool,
}

/// A batch being written.
#[derive(Debug)]
pub(crate) struct BatchWriter {
    buf: Vec<u8>,
    /// Where in the file `buf` begins.
    origin: u64,
    /// Where in `buf` the batch begins.
    start: usize,
    index_len: usize,
    key: Key,
    first: u64,
    count: u32,
    link: u32,
    index: IndexBuilder,
    /// Records to be written twice, where they are in `buf`.
    doubled: Vec<Range<usize>>,
    doubled_len: usize,
}

/// A batch ready to be written.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) data: Vec<u8>,
    /// Where in the file `data` goes.
    pub(crate) origin: u64,
    /// Bytes of the batch alone.
    pub(crate) size: usize,
    /// The serial after its last.
    pub(crate) next: u64,
    /// The check of its last record.
    pub(crate) link: u32,
    pub(crate) index: Vec<u8>,
}

impl BatchWriter {
    /// A batch behind what `buf` holds; `buf` begins at `origin` in the file.
    pub(crate) fn new(
        mut buf: Vec<u8>,
        origin: u64,
        key: Key,
        first: u64,
        link: u32,
        recent: &Recent,
    ) -> Self {
        let start = buf.len();
        buf.resize(start + BATCH_HEADER, 0);
        for (index, _) in &recent.batches {
            buf.extend_from_slice(index);
        }
        let index_len = recent.size();
        buf.resize(start + BATCH_HEADER + index_len, 0);
        Self {
            buf,
            origin,
            start,
            index_len,
            key,
            first,
            count: 0,
            link,
            index: IndexBuilder::default(),
            doubled: Vec::new(),
            doubled_len: 0,
        }
    }
    /// Bytes of the batch if this record joined it.
    pub(crate) fn size_with(&self, kind: Kind, len: usize) -> usize {
        let body_end = self.buf.len() - self.start + RecordHeader::size(len);
        let copies_end = match (kind.doubled(), self.doubled.last()) {
            (true, _) => align_up(body_end + PAGE, SECTOR) + self.doubled_len + RecordHeader::size(len),
            (false, Some(last)) => {
                align_up(body_end.max(last.end - self.start + PAGE), SECTOR) + self.doubled_len
            }
            (false, None) => 0,
        };
        align_up(body_end.max(copies_end), SECTOR)
    }
    fn write(&mut self, header: &RecordHeader) -> u32 {
        let (bytes, check) = header.encode(self.key, self.origin + self.buf.len() as u64);
        self.buf.extend_from_slice(&bytes);
        check
    }
    /// Adds a record.
    pub(crate) fn push(&mut self, group: GroupId, kind: Kind, term: u64, index: u64, payload: &[u8]) {
        let header = RecordHeader {
            kind,
            copy: false,
            len: payload.len(),
            sum: crc32fast::hash(payload),
            group,
            serial: self.first + u64::from(self.count),
            term,
            index,
            base: self.count,
            link: self.link,
        };
        let at = self.buf.len();
        self.link = self.write(&header);
        self.buf.extend_from_slice(payload);
        self.buf.resize(align_up(self.buf.len() - self.start, ALIGN) + self.start, 0);
        self.index.push(Ident::of(&header));
        self.count += 1;
        if kind.doubled() {
            self.doubled.push(at..self.buf.len());
            self.doubled_len += self.buf.len() - at;
        }
    }
    /// Writes the second copies, at least a page behind the first; tells where they begin.
    fn copies(&mut self) -> usize {
        let Some(last) = self.doubled.last() else { return 0 };
        let at = align_up((self.buf.len() - self.start).max(last.end - self.start + PAGE), SECTOR);
        self.buf.resize(self.start + at, 0);
        for range in core::mem::take(&mut self.doubled) {
            let from = self.origin + range.start as u64;
            let read = RecordHeader::decode(&self.buf[range.clone()], self.key, from);
            let (header, _) = read.expect("a record this batch has just written checks");
            self.write(&RecordHeader { copy: true, ..header });
            self.buf.extend_from_within(range.start + RECORD_HEADER..range.end);
        }
        at
    }
    /// Ends the batch.
    pub(crate) fn finish(mut self, marks: LogMarks) -> Batch {
        let body_len = self.buf.len() - self.start - BATCH_HEADER - self.index_len;
        let copies_at = self.copies();
        let copies_len = if copies_at == 0 { 0 } else { self.buf.len() - self.start - copies_at };
        let header = BatchHeader {
            first: self.first,
            era_first: marks.era_first,
            era_prior: marks.era_prior,
            oldest: marks.oldest,
            count: self.count,
            index_len: self.index_len as u32,
            body_len: body_len as u32,
            copies_at: copies_at as u32,
            copies_len: copies_len as u32,
            unknown_lost: marks.unknown_lost,
        };
        let size = header.size();
        self.buf.resize(self.start + size, 0);
        header.place(&mut self.buf[self.start..], self.key, self.origin + self.start as u64);
        Batch {
            data: self.buf,
            origin: self.origin,
            size,
            next: self.first + u64::from(self.count),
            link: self.link,
            index: self.index.finish(),
        }
    }
}
