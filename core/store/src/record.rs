//! Rows as they lie in the file: revisions as keys, records and sealed values.
//!
//! Every value in every table begins with the CRC-32 of its key and its body, so that no
//! altered row is ever believed, whatever the B-tree above it says (docs/formats/store.md).

use crate::api::{KeyValue, LeaseId, Revision};
use bytes::Bytes;

/// A record's place: the revision, and its number among the changes of that revision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rev {
    /// The revision.
    pub(crate) main: Revision,
    /// Which change of it, from 0.
    pub(crate) sub: u32,
}

/// The length of a record's key in the file.
pub(crate) const REV_BYTES: usize = 12;

impl Rev {
    /// The first place of a revision.
    pub(crate) const fn first(main: Revision) -> Self {
        Self { main, sub: 0 }
    }
    /// As a key: big endian, so that the order of bytes is the order of history.
    pub(crate) fn to_bytes(self) -> [u8; REV_BYTES] {
        let mut out = [0; REV_BYTES];
        out[..8].copy_from_slice(&self.main.to_be_bytes());
        out[8..].copy_from_slice(&self.sub.to_be_bytes());
        out
    }
    /// From a key.
    pub(crate) fn from_bytes(bytes: &[u8; REV_BYTES]) -> Self {
        let (main, sub) = bytes.split_at(8);
        Self {
            main: Revision::from_be_bytes(main.try_into().expect("eight bytes")),
            sub: u32::from_be_bytes(sub.try_into().expect("four bytes")),
        }
    }
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// Which key.
    pub(crate) key: Bytes,
    /// The revision that created it; 0 for a tombstone.
    pub(crate) create_revision: Revision,
    /// Writes since then; 0 for a tombstone.
    pub(crate) version: i64,
    /// The value.
    pub(crate) value: Bytes,
    /// The lease, or 0.
    pub(crate) lease: LeaseId,
}

const HEAD: usize = 8 + 8 + 8 + 4;

impl Record {
    /// The mark of a deletion.
    pub(crate) const fn tombstone(key: Bytes) -> Self {
        Self { key, create_revision: 0, version: 0, value: Bytes::new(), lease: 0 }
    }
    /// Whether it marks a deletion.
    pub(crate) const fn is_tombstone(&self) -> bool {
        self.version == 0
    }
    /// As a client sees it.
    pub(crate) fn at(self, rev: Rev) -> KeyValue {
        KeyValue {
            key: self.key,
            create_revision: self.create_revision,
            mod_revision: rev.main,
            version: self.version,
            value: self.value,
            lease: self.lease,
        }
    }
    /// The sealed row of this record at `rev`; `out` is overwritten.
    pub(crate) fn seal_into(&self, rev: &[u8; REV_BYTES], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.create_revision.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.lease.to_le_bytes());
        // A key is at most a request long, far below 4 GiB.
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&self.value);
        let crc = checksum(rev, &out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
    }
    /// From a sealed row.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn unseal(rev: &[u8; REV_BYTES], row: &[u8]) -> Result<Self, &'static str> {
        let body = unseal(rev, row)?;
        let head = body.get(..HEAD).ok_or("a record shorter than its head")?;
        let number = |i: usize| i64::from_le_bytes(head[i..i + 8].try_into().expect("eight bytes"));
        let key_len = u32::from_le_bytes(head[24..28].try_into().expect("four bytes")) as usize;
        let rest = &body[HEAD..];
        if key_len == 0 || key_len > rest.len() {
            return Err("a record whose key has no or too many bytes");
        }
        let record = Self {
            create_revision: number(0),
            version: number(8),
            lease: number(16),
            key: Bytes::copy_from_slice(&rest[..key_len]),
            value: Bytes::copy_from_slice(&rest[key_len..]),
        };
        let main = Rev::from_bytes(rev).main;
        let sound = if record.is_tombstone() {
            record.create_revision == 0 && record.lease == 0 && record.value.is_empty()
        } else {
            record.version > 0 && (1..=main).contains(&record.create_revision)
        };
        if sound { Ok(record) } else { Err("a record with impossible numbers") }
    }
}

/// The checksum of a row.
fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    hasher.finalize()
}

/// A body with its checksum before it.
pub(crate) fn seal(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(4 + body.len());
    row.extend_from_slice(&checksum(key, body).to_le_bytes());
    row.extend_from_slice(body);
    row
}

/// The body of a row whose checksum matches.
///
/// # Errors
/// It does not.
pub(crate) fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (crc, body) = row.split_at_checked(4).ok_or("a row shorter than its checksum")?;
    if crc == checksum(key, body).to_le_bytes() { Ok(body) } else { Err("a row that fails its checksum") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_drawn_byte_by_byte() {
        let rev = Rev { main: 0x0102, sub: 3 }.to_bytes();
        assert_eq!(rev, [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]);
        let record = Record {
            key: Bytes::from_static(b"k"),
            create_revision: 2,
            version: 5,
            value: Bytes::from_static(b"vw"),
            lease: -1,
        };
        let mut row = Vec::new();
        record.seal_into(&rev, &mut row);
        let mut want = Vec::new();
        want.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        want.extend_from_slice(&[0xff; 8]);
        want.extend_from_slice(&[1, 0, 0, 0, b'k', b'v', b'w']);
        assert_eq!(row[4..], want[..]);
        assert_eq!(Record::unseal(&rev, &row), Ok(record));
    }

    #[test]
    fn a_row_under_another_key_or_altered_is_refused() {
        let rev = Rev { main: 7, sub: 0 }.to_bytes();
        let mut row = Vec::new();
        Record::tombstone(Bytes::from_static(b"gone")).seal_into(&rev, &mut row);
        assert!(Record::unseal(&rev, &row).is_ok_and(|r| r.is_tombstone()));
        assert!(Record::unseal(&Rev { main: 8, sub: 0 }.to_bytes(), &row).is_err());
        for i in 0..row.len() {
            let mut bad = row.clone();
            bad[i] ^= 0x10;
            assert!(Record::unseal(&rev, &bad).is_err(), "byte {i}");
            assert!(Record::unseal(&rev, &row[..i]).is_err(), "cut at {i}");
        }
    }
}
