//! A node's records in a row, each bound to all before it.
//!
//! ```text
//! check(0) = BLAKE3("dwcp audit 1\0" ‖ replica, 2 bytes)
//! check(n) = BLAKE3("dwcp audit 1\0" ‖ check(n-1) ‖ n, 8 bytes ‖ BLAKE3(record n))
//! ```
//!
//! A record's own hash goes in, not its bytes: so the bytes may go when their time is over, and what comes after still verifies.
//!
//! Numbers little end first. Whoever has the last check holds a promise about every record there ever was.

use super::record::Record;
use crate::conflict::Class;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use dwcp_crdt::code::{Malformed, Reader, Writer};
use dwcp_crdt::{Hlc, ReplicaIndex};

const DOMAIN: &[u8] = b"dwcp audit 1\0";
const MAGIC: &[u8] = b"DWCA\x01";
/// Bytes of one record.
const RECORD_MAX: usize = 1 << 20;

/// How far a chain has come, and the hash that says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record; 0 for none.
    pub sequence: u64,
    /// Its check.
    pub check: [u8; 32],
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:02x?}", self.sequence, &self.check[..4])
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Body {
    Whole(Box<[u8]>),
    /// Its time was over: what is left is its hash.
    Expired([u8; 32]),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    body: Body,
    check: [u8; 32],
    class: Class,
    at: Hlc,
}

/// Of an expired record nothing is known but its hash.
const NO_NOTES: (Class, Hlc) = (Class::Value, Hlc(0));

/// A chain of records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    owner: ReplicaIndex,
    /// What came before the first entry.
    before: Head,
    entries: VecDeque<Entry>,
}

/// A chain that is not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Tampered {
    /// A record, its place or its check was altered.
    #[error(
        "record {0} is not what was written, or not where: restore the chain from another replica, and look at who can write there"
    )]
    Record(u64),
    /// Its end, or all of it, is not what was promised.
    #[error(
        "the chain has {found} records and should have {promised}, or others than promised: something was cut off or replaced; restore it from another replica"
    )]
    Head {
        /// How many it has.
        found: u64,
        /// How many were promised.
        promised: u64,
    },
    /// The bytes are no chain.
    #[error("no chain: {0}")]
    Malformed(#[from] Malformed),
}

fn link(before: &[u8; 32], sequence: u64, body: &[u8; 32]) -> [u8; 32] {
    let mut bytes = [0; DOMAIN.len() + 72];
    bytes[..DOMAIN.len()].copy_from_slice(DOMAIN);
    bytes[DOMAIN.len()..][..32].copy_from_slice(before);
    bytes[DOMAIN.len() + 32..][..8].copy_from_slice(&sequence.to_le_bytes());
    bytes[DOMAIN.len() + 40..].copy_from_slice(body);
    *blake3::hash(&bytes).as_bytes()
}

impl Body {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Whole(bytes) => *blake3::hash(bytes).as_bytes(),
            Self::Expired(hash) => *hash,
        }
    }
}

impl Chain {
    /// The empty chain of a replica.
    #[must_use]
    pub fn new(owner: ReplicaIndex) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN).update(&owner.0.to_le_bytes());
        let before = Head { sequence: 0, check: *hasher.finalize().as_bytes() };
        Self { owner, before, entries: VecDeque::new() }
    }
    /// Whose it is.
    #[must_use]
    pub const fn owner(&self) -> ReplicaIndex {
        self.owner
    }
    /// How far it has come: to be put where it can't be altered.
    #[must_use]
    pub fn head(&self) -> Head {
        let sequence = self.before.sequence + self.entries.len() as u64;
        Head { sequence, check: self.entries.back().map_or(self.before.check, |e| e.check) }
    }
    /// Adds a record.
    pub fn append(&mut self, record: &Record) -> Head {
        let mut bytes = Writer::new();
        bytes.reserve(256);
        record.encode(&mut bytes);
        let body = Body::Whole(bytes.into_bytes().into());
        let before = self.head();
        let sequence = before.sequence + 1;
        let check = link(&before.check, sequence, &body.hash());
        self.entries.push_back(Entry { body, check, class: record.class, at: record.at });
        Head { sequence, check }
    }
    fn entry(&self, sequence: u64) -> Option<&Entry> {
        let at = sequence.checked_sub(self.before.sequence + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
    /// A record, if it is still whole.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<Record> {
        match &self.entry(sequence)?.body {
            Body::Whole(bytes) => Record::decode(bytes).ok(),
            Body::Expired(_) => None,
        }
    }
    /// Whether a record is still whole.
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        self.entry(sequence).is_some_and(|e| matches!(e.body, Body::Whole(_)))
    }
    /// All that are still whole, with their numbers.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record)> + '_ {
        let first = self.before.sequence + 1;
        let all = self.entries.iter().zip(first..);
        all.filter_map(|(e, n)| match &e.body {
            Body::Whole(bytes) => Some((n, Record::decode(bytes).ok()?)),
            Body::Expired(_) => None,
        })
    }
    /// Bytes of all records, and how many there are.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let bytes = |e: &Entry| match &e.body {
            Body::Whole(b) => b.len() + 32,
            Body::Expired(_) => 64,
        };
        (self.entries.iter().map(bytes).sum(), self.entries.len())
    }
    /// Whether every record is what was written, where it was written; and, against a head that was promised before, whether
    /// nothing was cut off or replaced.
    ///
    /// # Errors
    /// The first record that is not.
    pub fn verify(&self, promised: Option<&Head>) -> Result<(), Tampered> {
        let mut before = self.before;
        let mut met = promised.is_none_or(|p| *p == before);
        for e in &self.entries {
            let sequence = before.sequence + 1;
            let check = link(&before.check, sequence, &e.body.hash());
            let told = match &e.body {
                Body::Whole(bytes) => Record::decode(bytes).is_ok_and(|r| r.class == e.class && r.at == e.at),
                Body::Expired(_) => true,
            };
            if check != e.check || !told {
                return Err(Tampered::Record(sequence));
            }
            before = Head { sequence, check };
            met |= promised == Some(&before);
        }
        // A promise about what expired long ago can't be looked at any more.
        match promised {
            Some(p) if !met && p.sequence >= self.before.sequence => {
                Err(Tampered::Head { found: before.sequence, promised: p.sequence })
            }
            _ => Ok(()),
        }
    }
    /// Lets go of the bytes of records whose time is over; their hashes stay until all before them are gone too.
    pub(super) fn expire(&mut self, over: impl Fn(Class, Hlc) -> bool) {
        for e in &mut self.entries {
            if matches!(e.body, Body::Whole(_)) && over(e.class, e.at) {
                e.body = Body::Expired(e.body.hash());
                (e.class, e.at) = NO_NOTES;
            }
        }
        while let Some(Entry { body: Body::Expired(_), check, .. }) = self.entries.front() {
            self.before = Head { sequence: self.before.sequence + 1, check: *check };
            self.entries.pop_front();
        }
    }
    /// The bytes of a chain, for other replicas and for files.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(MAGIC);
        out.varint(u64::from(self.owner.0));
        out.varint(self.before.sequence);
        out.raw(&self.before.check);
        out.varint(self.entries.len() as u64);
        for e in &self.entries {
            match &e.body {
                Body::Whole(bytes) => out.bytes(bytes),
                Body::Expired(hash) => {
                    out.varint(0);
                    out.raw(hash);
                }
            }
            out.raw(&e.check);
        }
        out.into_bytes()
    }
    /// Reads what [`Chain::to_bytes`] wrote, and verifies it.
    ///
    /// # Errors
    /// If the bytes are no chain, or it is not what was written.
    pub fn from_bytes(bytes: &[u8], promised: Option<&Head>) -> Result<Self, Tampered> {
        let mut from = Reader::new(bytes);
        if from.raw(MAGIC.len())? != MAGIC {
            return Err(from.malformed("not the magic of an audit chain, version 1").into());
        }
        let owner = u16::try_from(from.varint()?).map_err(|_| from.malformed("a replica beyond 16 bits"))?;
        let sequence = from.varint()?;
        let before = Head { sequence, check: hash(&mut from)? };
        let mut chain = Self { owner: ReplicaIndex(owner), before, entries: VecDeque::new() };
        if sequence == 0 && chain.before != Self::new(chain.owner).before {
            return Err(Tampered::Record(0));
        }
        let n = from.count(usize::MAX)?;
        if sequence.checked_add(n as u64).is_none() {
            return Err(from.malformed("more records than numbers").into());
        }
        for at in sequence + 1..=sequence + n as u64 {
            let bytes = from.bytes(RECORD_MAX)?;
            let (body, class, time) = if bytes.is_empty() {
                let body = Body::Expired(hash(&mut from)?);
                (body, NO_NOTES.0, NO_NOTES.1)
            } else {
                let record = Record::decode(bytes).map_err(|_| Tampered::Record(at))?;
                (Body::Whole(bytes.into()), record.class, record.at)
            };
            chain.entries.push_back(Entry { body, check: hash(&mut from)?, class, at: time });
        }
        if !from.is_empty() {
            return Err(from.malformed("bytes behind a chain").into());
        }
        chain.verify(promised)?;
        Ok(chain)
    }
}

fn hash(from: &mut Reader<'_>) -> Result<[u8; 32], Malformed> {
    let mut out = [0; 32];
    out.copy_from_slice(from.raw(32)?);
    Ok(out)
}
