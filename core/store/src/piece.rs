//! A checkpoint on its way to a peer: the rows of one view as a stream, cut into pieces.
//!
//! ```text
//! stream  row*      state rows first, then records, each in the order of keys
//! row     kind 1 (0 state, 1 record) | key length 4 | value length 4 | key | sealed value
//! piece   magic 8 "dwcpckp1" | number 4 | flags 1 (1: the last) | length 4 | chain 32 | zstd
//! ```
//!
//! Numbers are little endian; `length` is that of the part of the stream inside, before
//! compression. A row may be cut anywhere. `chain` is BLAKE3 over the chain of the piece before,
//! then number, flags, length and the compressed bytes of this one; the chain before the first is
//! BLAKE3 over the announcement of the checkpoint. So a piece that is altered, cut, repeated,
//! left out, out of order, or of another checkpoint, is refused where it stands; and what comes
//! after the last one too.
//!
//! A piece is made from a cursor alone, so that the sender keeps nothing between two of them.

use crate::bugs::StoreBugs;
use crate::error::StoreError;
use crate::table::{RawRow, View};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece};
use dwcp_env::bound::SNAPSHOT_CHUNK;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"dwcpckp1";
const HEADER: usize = 8 + 4 + 1 + 4 + 32;
const LAST: u8 = 1;
/// Bytes of the stream in one piece: what zstd can't compress grows by less than a 256th.
const STREAM_MAX: usize = SNAPSHOT_CHUNK.as_usize() - 4_096;
const ROW_HEAD: usize = 1 + 4 + 4;
/// Fast, and half the size on typical values.
const ZSTD_LEVEL: i32 = 1;

/// A BLAKE3 hash.
type Chain = [u8; 32];

fn first_chain(of: &Checkpointed) -> Chain {
    blake3::hash(&dwcp_env::wire::encode(of)).into()
}

fn next_chain(before: &Chain, number: u32, flags: u8, length: u32, compressed: &[u8]) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&number.to_le_bytes());
    hasher.update(&[flags]);
    hasher.update(&length.to_le_bytes());
    hasher.update(compressed);
    hasher.finalize().into()
}

/// Where the next piece begins.
#[derive(Serialize, Deserialize)]
struct Cursor {
    number: u32,
    chain: Chain,
    /// The row that the piece begins in…
    in_records: bool,
    key: Bytes,
    /// …and how much of it was sent.
    sent: u64,
}

/// Makes the piece behind `cursor` (empty: the first) of the checkpoint that `view` sees.
///
/// # Errors
/// The cursor is none; the file can't be read.
pub(crate) fn read(view: &View, of: &Checkpointed, cursor: &[u8], bugs: StoreBugs) -> Result<Piece, String> {
    let mut at = Cursor { number: 0, chain: first_chain(of), in_records: false, key: Bytes::new(), sent: 0 };
    if !cursor.is_empty() {
        at = dwcp_env::wire::decode(cursor).map_err(|e| format!("not a cursor of this build: {e}"))?;
    }
    let (stream, next) = cut(view, &at, bugs).map_err(|e| e.to_string())?;
    let compressed = zstd::bulk::compress(&stream, ZSTD_LEVEL).map_err(|e| format!("zstd: {e}"))?;
    let flags = if next.is_none() { LAST } else { 0 };
    let length = stream.len() as u32;
    let chain = next_chain(&at.chain, at.number, flags, length, &compressed);
    let mut data = Vec::with_capacity(HEADER + compressed.len());
    data.extend_from_slice(MAGIC);
    data.extend_from_slice(&at.number.to_le_bytes());
    data.push(flags);
    data.extend_from_slice(&length.to_le_bytes());
    data.extend_from_slice(&chain);
    data.extend_from_slice(&compressed);
    assert!(data.len() as u64 <= SNAPSHOT_CHUNK.0, "a piece fits its bound");
    let next = next.map(|(in_records, key, sent)| {
        let cursor = Cursor { number: at.number + 1, chain, in_records, key, sent };
        dwcp_env::wire::encode(&cursor).into()
    });
    Ok(Piece { data: data.into(), next })
}

/// Where the part of the stream after this one begins: row, and bytes of it sent.
type Next = (bool, Bytes, u64);

/// The part of the stream from `at` on.
fn cut(view: &View, at: &Cursor, bugs: StoreBugs) -> Result<(Vec<u8>, Option<Next>), StoreError> {
    let mut stream = Vec::with_capacity(STREAM_MAX);
    let mut next = None;
    let mut sent = at.sent;
    view.raw_rows((at.in_records, &at.key), |row| {
        let without = match row.key[0] {
            _ if row.is_record => false,
            b's' => bugs.snapshot_without_sessions(),
            b'l' => bugs.snapshot_without_leases(),
            _ => false,
        };
        if without {
            return true;
        }
        let room = STREAM_MAX - stream.len();
        let row_len = (ROW_HEAD + row.key.len() + row.value.len()) as u64;
        let left = row_len - sent;
        if room == 0 {
            next = Some((row.is_record, row.key.into(), 0));
            return false;
        }
        let take = left.min(room as u64);
        push_part(&mut stream, &row, sent, take);
        if take < left {
            next = Some((row.is_record, row.key.into(), sent + take));
            return false;
        }
        sent = 0;
        true
    })?;
    Ok((stream, next))
}

/// Adds `take` bytes of the row, `skip` bytes into it.
fn push_part(stream: &mut Vec<u8>, row: &RawRow, skip: u64, take: u64) {
    let mut head = [0; ROW_HEAD];
    head[0] = u8::from(row.is_record);
    head[1..5].copy_from_slice(&(row.key.len() as u32).to_le_bytes());
    head[5..].copy_from_slice(&(row.value.len() as u32).to_le_bytes());
    let (mut skip, mut take) = (skip as usize, take as usize);
    for part in [&head[..], &row.key, &row.value] {
        let from = skip.min(part.len());
        let some = &part[from..part.len().min(from + take)];
        stream.extend_from_slice(some);
        skip -= from;
        take -= some.len();
    }
}

/// Puts pieces together again.
#[derive(Debug)]
pub(crate) struct Assembler {
    number: u32,
    chain: Chain,
    ended: bool,
    /// A row that is not whole yet.
    partial: Vec<u8>,
}

/// The largest row believed: a request and some.
const ROW_MAX: usize = 16 << 20;

impl Assembler {
    /// For the checkpoint announced.
    pub(crate) fn new(of: &Checkpointed) -> Self {
        Self { number: 0, chain: first_chain(of), ended: false, partial: Vec::new() }
    }
    /// Whether the last piece has come.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }
    /// Checks the next piece and answers with the rows that are whole now.
    ///
    /// # Errors
    /// Which check it fails. The transfer is over.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<Vec<RawRow>, String> {
        let head = piece.get(..HEADER).ok_or("a piece shorter than its header")?;
        let word = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().expect("four bytes"));
        let (number, flags, length) = (word(8), head[12], word(13));
        if &head[..8] != MAGIC {
            return Err("a piece without its magic".into());
        }
        if self.ended {
            return Err(format!("piece {number} behind the last one"));
        }
        if number != self.number {
            return Err(format!("piece {number} where {} was next", self.number));
        }
        if length as usize > STREAM_MAX || piece.len() as u64 > SNAPSHOT_CHUNK.0 {
            return Err(format!("piece {number} is too long"));
        }
        let compressed = &piece[HEADER..];
        let chain = next_chain(&self.chain, number, flags, length, compressed);
        if chain != head[17..HEADER] {
            return Err(format!("piece {number} does not follow the ones before: its hash differs"));
        }
        let stream = zstd::bulk::decompress(compressed, length as usize).map_err(|e| format!("zstd: {e}"))?;
        if stream.len() != length as usize {
            return Err(format!("piece {number} is {} bytes, not {length}", stream.len()));
        }
        (self.number, self.chain, self.ended) = (number + 1, chain, flags == LAST);
        self.partial.extend_from_slice(&stream);
        self.whole_rows()
    }
    fn whole_rows(&mut self) -> Result<Vec<RawRow>, String> {
        let mut rows = Vec::new();
        let mut at = 0;
        while let Some(head) = self.partial.get(at..at + ROW_HEAD) {
            let word = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().expect("four bytes")) as usize;
            let (is_record, key_len, value_len) = (head[0] == 1, word(1), word(5));
            if head[0] > 1 || key_len > ROW_MAX || value_len > ROW_MAX {
                return Err("a row of impossible size".into());
            }
            let body = at + ROW_HEAD;
            let Some(bytes) = self.partial.get(body..body + key_len + value_len) else { break };
            let (key, value) = bytes.split_at(key_len);
            rows.push(RawRow { is_record, key: key.to_vec(), value: value.to_vec() });
            at = body + key_len + value_len;
        }
        self.partial.drain(..at);
        if self.ended && !self.partial.is_empty() {
            return Err("the last piece ends in the middle of a row".into());
        }
        Ok(rows)
    }
}
