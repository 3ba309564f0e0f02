//! A node's records in a row, each bound to all before it.
//!
//! ```text
//! check(0) = BLAKE3("dwcp audit 1\0" ‖ replica, 2 bytes)
//! check(n) = BLAKE3("dwcp audit 1\0" ‖ check(n-1) ‖ n, 8 bytes ‖ class, 1 byte ‖ time, 8 bytes ‖ BLAKE3(record n))
//! ```
//!
//! A record's own hash goes in, not its bytes: so the bytes may go when their time is over, and what comes after still verifies. Its
//! class and its time go in beside: they stay, so that a reader who knows the time sees whether it went too early
//! ([`Chain::verify_kept`]). Times never fall along a chain: a record that was made under a clock set back has the time of the one before.
//! Of those that are gone altogether the last leaves what its check is made of, and all are gone for as long as the longest is kept.
//!
//! Numbers little end first. Whoever has the last check holds a promise about every record there ever was. A promise older than what is left
//! proves nothing and is refused as such: promise again, more often than records expire.

use super::Retention;
use super::record::{RECORD_MAX, Record};
use crate::conflict::Class;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use dwcp_crdt::code::{Malformed, Reader, Writer};
use dwcp_crdt::{Hlc, ReplicaIndex};

const DOMAIN: &[u8] = b"dwcp audit 1\0";
const MAGIC: &[u8] = b"DWCA\x01";

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

/// What stays of a record whose bytes are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Note {
    class: Class,
    at: Hlc,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    body: Body,
    check: [u8; 32],
    note: Note,
}

/// The last record that is gone altogether: what its check is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gone {
    before: [u8; 32],
    note: Note,
    body: [u8; 32],
}

/// A chain of records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    owner: ReplicaIndex,
    /// What came before the first entry.
    before: Head,
    gone: Option<Gone>,
    entries: VecDeque<Entry>,
}

/// The end of a chain as it will be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    pub(super) head: Head,
    at: Hlc,
}

impl Tip {
    /// Goes on by a record; tells what [`Chain::entry_bytes`] will give of it.
    pub(super) fn next(&mut self, class: Class, at: Hlc, bytes: &[u8]) -> Vec<u8> {
        let note = Note { class, at: at.max(self.at) };
        let body = Body::Whole(bytes.into());
        let sequence = self.head.sequence + 1;
        let check = link(&self.head.check, sequence, note, &body.hash());
        *self = Self { head: Head { sequence, check }, at: note.at };
        let mut out = Writer::new();
        Entry { body, check, note }.encode(&mut out);
        out.into_bytes()
    }
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
    /// The promise is about a record that is gone.
    #[error(
        "the promise is about record {promised}, and nothing up to record {before} is left to compare: give a newer promise, or restore the chain from a replica that has more"
    )]
    Older {
        /// The last record that is gone.
        before: u64,
        /// What was promised.
        promised: u64,
    },
    /// A record's bytes are gone before its time is over.
    #[error(
        "record {0} is gone before its time is over: restore the chain from another replica, and look at who can write there"
    )]
    Early(u64),
    /// It does not follow what is known of the chain.
    #[error(
        "record {found} does not follow: the next is {next}; take them in order, or another replica's whole chain"
    )]
    Order {
        /// Its number.
        found: u64,
        /// The number that is due.
        next: u64,
    },
    /// It belongs to another replica.
    #[error("it is the chain of {found}, not of {wanted}: look at who sent it")]
    Owner {
        /// Whose it is.
        found: ReplicaIndex,
        /// Whose it was to be.
        wanted: ReplicaIndex,
    },
    /// The bytes are no chain.
    #[error("no chain: {0}")]
    Malformed(#[from] Malformed),
}

fn link(before: &[u8; 32], sequence: u64, note: Note, body: &[u8; 32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(before).update(&sequence.to_le_bytes());
    hasher.update(&[note.class as u8]).update(&note.at.0.to_le_bytes()).update(body);
    *hasher.finalize().as_bytes()
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
        Self { owner, before, gone: None, entries: VecDeque::new() }
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
    fn last_at(&self) -> Hlc {
        let gone = self.gone.map_or(Hlc(0), |g| g.note.at);
        self.entries.back().map_or(gone, |e| e.note.at)
    }
    /// Adds a record in its bytes.
    pub(super) fn append(&mut self, class: Class, at: Hlc, bytes: Vec<u8>) -> Head {
        let note = Note { class, at: at.max(self.last_at()) };
        let body = Body::Whole(bytes.into());
        let before = self.head();
        let sequence = before.sequence + 1;
        let check = link(&before.check, sequence, note, &body.hash());
        self.entries.push_back(Entry { body, check, note });
        Head { sequence, check }
    }
    /// Its end, to plan from.
    pub(super) fn tip(&self) -> Tip {
        Tip { head: self.head(), at: self.last_at() }
    }
    /// One record as it lies in the chain's bytes: to be kept, or given to other replicas, one by one.
    #[must_use]
    pub fn entry_bytes(&self, sequence: u64) -> Option<Vec<u8>> {
        let mut out = Writer::new();
        self.entry(sequence)?.encode(&mut out);
        Some(out.into_bytes())
    }
    /// Takes the next record in from what [`Chain::entry_bytes`] gave; tells it if it is whole.
    ///
    /// # Errors
    /// If it is not the next, or not what was written. Nothing changed.
    pub fn take(&mut self, sequence: u64, bytes: &[u8]) -> Result<Option<Record>, Tampered> {
        let next = self.head().sequence + 1;
        if sequence != next {
            return Err(Tampered::Order { found: sequence, next });
        }
        let mut from = Reader::new(bytes);
        let (entry, record) = Entry::decode(&mut from, sequence, self.last_at())?;
        if !from.is_empty() {
            return Err(from.malformed("bytes behind a record of a chain").into());
        }
        if entry.check != link(&self.head().check, sequence, entry.note, &entry.body.hash()) {
            return Err(Tampered::Record(sequence));
        }
        self.entries.push_back(entry);
        Ok(record)
    }
    fn entry(&self, sequence: u64) -> Option<&Entry> {
        let at = sequence.checked_sub(self.before.sequence + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
    /// The check of a record, if anything is left of it.
    #[must_use]
    pub fn check_at(&self, sequence: u64) -> Option<[u8; 32]> {
        if sequence == self.before.sequence {
            return Some(self.before.check);
        }
        Some(self.entry(sequence)?.check)
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
            Body::Expired(_) => 73,
        };
        (self.entries.iter().map(bytes).sum(), self.entries.len())
    }
    /// Whether every record is what was written, where it was written; and, against a head that was promised before, whether
    /// nothing was cut off or replaced.
    ///
    /// # Errors
    /// The first record that is not; or that the promise is about what is gone.
    pub fn verify(&self, promised: Option<&Head>) -> Result<(), Tampered> {
        if let Some(gone) = &self.gone
            && link(&gone.before, self.before.sequence, gone.note, &gone.body) != self.before.check
        {
            return Err(Tampered::Record(self.before.sequence));
        }
        let mut before = self.before;
        let mut at = self.gone.map_or(Hlc(0), |g| g.note.at);
        let mut met = promised.is_none_or(|p| *p == before);
        for e in &self.entries {
            let sequence = before.sequence + 1;
            let check = link(&before.check, sequence, e.note, &e.body.hash());
            let told = match &e.body {
                Body::Whole(bytes) => {
                    Record::decode(bytes).is_ok_and(|r| r.class == e.note.class && r.at.max(at) == e.note.at)
                }
                Body::Expired(_) => e.note.at >= at,
            };
            if check != e.check || !told {
                return Err(Tampered::Record(sequence));
            }
            at = e.note.at;
            before = Head { sequence, check };
            met |= promised == Some(&before);
        }
        match promised {
            Some(p) if !met && p.sequence < self.before.sequence => {
                Err(Tampered::Older { before: self.before.sequence, promised: p.sequence })
            }
            Some(p) if !met => Err(Tampered::Head { found: before.sequence, promised: p.sequence }),
            _ => Ok(()),
        }
    }
    /// Whether all whose time is not over are whole.
    ///
    /// # Errors
    /// The first record that went too early.
    pub fn verify_kept(&self, now_millis: u64, retention: &Retention) -> Result<(), Tampered> {
        if self.gone.is_some_and(|g| !retention.is_forgotten(g.note.at, now_millis)) {
            return Err(Tampered::Early(self.before.sequence));
        }
        let early = |e: &Entry| {
            matches!(e.body, Body::Expired(_)) && !retention.is_over(e.note.class, e.note.at, now_millis)
        };
        match self.entries.iter().position(early) {
            Some(at) => Err(Tampered::Early(self.before.sequence + 1 + at as u64)),
            None => Ok(()),
        }
    }
    /// The records that are whole and whose losers' time is over, with their numbers, and, of those whose own is over too, what stands
    /// for them once their bytes are gone. Times never fall along a chain: what is younger is not gone through.
    pub(super) fn over<'a>(
        &'a self,
        now_millis: u64,
        retention: &'a Retention,
    ) -> impl Iterator<Item = (u64, Record, Option<Vec<u8>>)> + 'a {
        let first = self.before.sequence + 1;
        let old = move |e: &Entry| e.note.at.millis().saturating_add(retention.losers) <= now_millis;
        let aged = self.entries.iter().zip(first..).take_while(move |(e, _)| old(e));
        aged.filter_map(move |(e, n)| {
            let Body::Whole(bytes) = &e.body else { return None };
            let stub = retention.is_over(e.note.class, e.note.at, now_millis).then(|| {
                let mut out = Writer::new();
                Entry { body: Body::Expired(e.body.hash()), ..e.clone() }.encode(&mut out);
                out.into_bytes()
            });
            Some((n, Record::decode(bytes).ok()?, stub))
        })
    }
    /// Lets go of one record's bytes.
    pub(super) fn let_go(&mut self, sequence: u64) {
        let Some(at) = sequence.checked_sub(self.before.sequence + 1) else { return };
        if let Some(e) = usize::try_from(at).ok().and_then(|at| self.entries.get_mut(at)) {
            e.body = Body::Expired(e.body.hash());
        }
    }
    /// How many records have let go of their bytes or are gone altogether, and when the last of them was made.
    pub(super) fn gone(&self) -> (u64, Option<Hlc>) {
        let stubs = || self.entries.iter().filter(|e| matches!(e.body, Body::Expired(_)));
        let last = stubs().next_back().map(|e| e.note.at).or(self.gone.map(|g| g.note.at));
        (self.before.sequence + stubs().count() as u64, last)
    }
    /// Lets go of the bytes of records whose time is over, and of what is left of them when the longest time is.
    pub(super) fn expire(&mut self, now_millis: u64, retention: &Retention) {
        for e in &mut self.entries {
            if matches!(e.body, Body::Whole(_)) && retention.is_over(e.note.class, e.note.at, now_millis) {
                e.body = Body::Expired(e.body.hash());
            }
        }
        while let Some(Entry { body: Body::Expired(body), check, note }) = self.entries.front()
            && retention.is_forgotten(note.at, now_millis)
        {
            self.gone = Some(Gone { before: self.before.check, note: *note, body: *body });
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
        if let Some(gone) = &self.gone {
            out.raw(&gone.before);
            gone.note.encode(&mut out);
            out.raw(&gone.body);
        }
        out.varint(self.entries.len() as u64);
        self.entries.iter().for_each(|e| e.encode(&mut out));
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
        let mut chain = Self::new(ReplicaIndex(owner));
        let sequence = from.varint()?;
        if sequence > 0 {
            let gone =
                Gone { before: hash(&mut from)?, note: Note::decode(&mut from)?, body: hash(&mut from)? };
            chain.before = Head { sequence, check: link(&gone.before, sequence, gone.note, &gone.body) };
            chain.gone = Some(gone);
        }
        let n = from.count(usize::MAX)?;
        if sequence.checked_add(n as u64).is_none() {
            return Err(from.malformed("more records than numbers").into());
        }
        for at in sequence + 1..=sequence + n as u64 {
            let (entry, _) = Entry::decode(&mut from, at, chain.last_at())?;
            chain.entries.push_back(entry);
        }
        if !from.is_empty() {
            return Err(from.malformed("bytes behind a chain").into());
        }
        chain.verify(promised)?;
        Ok(chain)
    }
}

impl Note {
    fn encode(self, out: &mut Writer) {
        out.byte(self.class as u8);
        out.fixed(self.at.0);
    }
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let class = Class::from_number(from.byte()?).ok_or(from.malformed("an unknown class"))?;
        Ok(Self { class, at: Hlc(from.fixed()?) })
    }
}

impl Entry {
    fn encode(&self, out: &mut Writer) {
        match &self.body {
            Body::Whole(bytes) => out.bytes(bytes),
            Body::Expired(hash) => {
                out.varint(0);
                self.note.encode(out);
                out.raw(hash);
            }
        }
        out.raw(&self.check);
    }
    /// An entry, and its record if it is whole. Its check is not looked at.
    fn decode(
        from: &mut Reader<'_>,
        sequence: u64,
        last_at: Hlc,
    ) -> Result<(Self, Option<Record>), Tampered> {
        let bytes = from.bytes(RECORD_MAX)?;
        let (body, note, record) = if bytes.is_empty() {
            let note = Note::decode(from)?;
            (Body::Expired(hash(from)?), note, None)
        } else {
            let record = Record::decode(bytes).map_err(|_| Tampered::Record(sequence))?;
            let note = Note { class: record.class, at: record.at.max(last_at) };
            (Body::Whole(bytes.into()), note, Some(record))
        };
        Ok((Self { body, check: hash(from)?, note }, record))
    }
}

fn hash(from: &mut Reader<'_>) -> Result<[u8; 32], Malformed> {
    let mut out = [0; 32];
    out.copy_from_slice(from.raw(32)?);
    Ok(out)
}
