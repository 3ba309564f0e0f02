//! A checkpoint that outlives the process: what was there, in pieces small enough to be written, and one note about them.
//!
//! **Promise.** Whoever has the note and all its pieces has the objects as they were when it was taken, or is told that something is missing or altered:
//! the note names each piece by its hash.
//!
//! **Model.** Objects ascend by kind and key; a row of them is a piece. The note says of each piece which object is its last, so that who goes through a
//! checkpoint part by part reads the pieces that it needs.
//!
//! A whole copy, not a version vector and what changed since: the log that would lead back to a version is trimmed as soon as everyone has it. Not shared
//! with other checkpoints either: whoever deletes one would have to know on both sides of a cut who else needs its pieces.
//!
//! **Limits.** [`PIECE_MAX`] bytes a piece (a new one is begun behind [`PIECE`]), [`BYTES_MAX`] bytes and [`KINDS_MAX`] kinds a checkpoint.

use crate::conflict::Writer as Person;
use crate::reference::Name;
use crate::value::{Value, text};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::code::{Malformed, Reader, Writer};
use dwcp_crdt::{Dot, Hlc};

/// Bytes of a piece that is as large as it should be.
pub const PIECE: usize = 128 * 1024;
/// Bytes of the largest, which has one large object in it.
pub const PIECE_MAX: usize = 768 * 1024;
/// Bytes of all pieces.
pub const BYTES_MAX: usize = 8 << 20;
/// Kinds of objects.
pub const KINDS_MAX: usize = 1_024;
const VERSION: u8 = 1;

/// A kind of objects in a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its name.
    pub kind: Arc<str>,
    /// The version of its schema at that time.
    pub schema: u32,
    /// How many there were.
    pub objects: u64,
}

/// What is known of a piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its last object.
    pub last: Name,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// How many they are.
    pub bytes: u64,
}

/// The note of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What people call it.
    pub name: Arc<str>,
    /// What it is called beside another of that name: the first write that could have been its own.
    pub id: Dot,
    /// When it was taken.
    pub at: Hlc,
    /// Until when it is kept, in milliseconds since 1970.
    pub until: u64,
    /// By whom.
    pub by: Person,
    /// The version of the policy in force, if one was.
    pub policy: Option<u32>,
    /// At how many places writes stood beside each other: what was shown there counts.
    pub open: u64,
    /// The kinds that it is about, ascending; also those of which there was nothing.
    pub kinds: Vec<Held>,
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

/// Why something can't be kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooLarge {
    /// One object.
    #[error("{kind} {key} has {bytes} bytes, and a checkpoint keeps documents of {PIECE_MAX} at most: leave its kind out", kind = .0.0, key = .0.1, bytes = .1)]
    Object(Name, usize),
    /// All together.
    #[error(
        "a checkpoint keeps {BYTES_MAX} bytes at most, and there is more: take one of each kind, or of fewer"
    )]
    All,
}

/// What is not as the note says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("piece {0} of the checkpoint is not what was taken: it is damaged, or somebody wrote there")]
pub struct Altered(pub usize);

/// Objects that are put into pieces, in order.
#[derive(Debug, Default)]
pub struct Pack {
    open: Writer,
    last: Option<Name>,
    all: usize,
    out: Vec<(Piece, Vec<u8>)>,
}

impl Pack {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// One more; each is behind the one before.
    ///
    /// # Errors
    /// If it is too large, or all are together.
    pub fn push(&mut self, name: &Name, value: &Value) -> Result<(), TooLarge> {
        debug_assert!(self.last.as_ref().is_none_or(|last| last < name), "objects ascend");
        let mut bytes = Writer::new();
        bytes.bytes(name.0.as_bytes());
        bytes.bytes(name.1.as_bytes());
        value.encode(&mut bytes);
        if bytes.len() > PIECE_MAX {
            return Err(TooLarge::Object(name.clone(), bytes.len()));
        }
        self.all += bytes.len();
        if self.all > BYTES_MAX {
            return Err(TooLarge::All);
        }
        if !self.open.is_empty() && self.open.len() + bytes.len() > PIECE {
            self.close();
        }
        self.open.raw(bytes.as_slice());
        self.last = Some(name.clone());
        Ok(())
    }
    fn close(&mut self) {
        let Some(last) = self.last.clone() else { return };
        let bytes = core::mem::take(&mut self.open).into_bytes();
        let (hash, size) = (*blake3::hash(&bytes).as_bytes(), bytes.len() as u64);
        self.out.push((Piece { last, hash, bytes: size }, bytes));
    }
    /// The pieces.
    #[must_use]
    pub fn finish(mut self) -> (Vec<Piece>, Vec<Vec<u8>>) {
        if !self.open.is_empty() {
            self.close();
        }
        self.out.into_iter().unzip()
    }
}

impl Taken {
    /// How many objects there were.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.kinds.iter().map(|k| k.objects).sum()
    }
    /// Bytes of its pieces.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.bytes).sum()
    }
    /// Whether it is about a kind.
    #[must_use]
    pub fn is_about(&self, kind: &str) -> bool {
        self.kinds.iter().any(|k| *k.kind == *kind)
    }
    /// The first piece that has anything behind an object in it.
    #[must_use]
    pub fn piece_after(&self, after: Option<&Name>) -> usize {
        after.map_or(0, |after| self.pieces.partition_point(|p| p.last <= *after))
    }
    /// The objects of a piece.
    ///
    /// # Errors
    /// If the bytes are not its own.
    pub fn open(&self, nth: usize, bytes: &[u8]) -> Result<Vec<(Name, Value)>, Altered> {
        let altered = Altered(nth + 1);
        match self.pieces.get(nth) {
            Some(piece) if *blake3::hash(bytes).as_bytes() == piece.hash => {}
            _ => return Err(altered),
        }
        let mut from = Reader::new(bytes);
        let mut out = Vec::new();
        while !from.is_empty() {
            let mut object = || -> Result<_, Malformed> {
                Ok(((text(&mut from)?, text(&mut from)?), Value::decode(&mut from)?))
            };
            out.push(object().map_err(|_| altered.clone())?);
        }
        Ok(out)
    }
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(VERSION);
        out.bytes(self.name.as_bytes());
        out.dot(self.id);
        out.fixed(self.at.0);
        out.varint(self.until);
        for text in [&self.by.name, &self.by.role, &self.by.region] {
            out.bytes(text.as_bytes());
        }
        // No version is 0.
        out.varint(u64::from(self.policy.unwrap_or(0)));
        out.varint(self.open);
        out.varint(self.kinds.len() as u64);
        for k in &self.kinds {
            out.bytes(k.kind.as_bytes());
            out.varint(u64::from(k.schema));
            out.varint(k.objects);
        }
        out.varint(self.pieces.len() as u64);
        for p in &self.pieces {
            out.bytes(p.last.0.as_bytes());
            out.bytes(p.last.1.as_bytes());
            out.raw(&p.hash);
            out.varint(p.bytes);
        }
        out.into_bytes()
    }
    /// Reads what [`Taken::to_bytes`] wrote, all of it.
    ///
    /// # Errors
    /// If the bytes are no note of a checkpoint.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(from.malformed("a checkpoint of an unknown version"));
        }
        let (name, id, at, until) = (text(&mut from)?, from.dot()?, Hlc(from.fixed()?), from.varint()?);
        let by = Person { name: text(&mut from)?, role: text(&mut from)?, region: text(&mut from)? };
        let policy = Some(version(&mut from)?).filter(|v| *v > 0);
        let open = from.varint()?;
        let mut kinds = Vec::new();
        for _ in 0..from.count(KINDS_MAX)? {
            let (kind, schema) = (text(&mut from)?, version(&mut from)?);
            kinds.push(Held { kind, schema, objects: from.varint()? });
        }
        let mut pieces = Vec::new();
        for _ in 0..from.count(2 * BYTES_MAX / PIECE + 2)? {
            let last = (text(&mut from)?, text(&mut from)?);
            let mut hash = [0; 32];
            hash.copy_from_slice(from.raw(32)?);
            pieces.push(Piece { last, hash, bytes: from.varint()? });
        }
        if !from.is_empty() {
            return Err(from.malformed("bytes behind a checkpoint"));
        }
        Ok(Self { name, id, at, until, by, policy, open, kinds, pieces })
    }
}

fn version(from: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(from.varint()?).map_err(|_| from.malformed("a version beyond 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::ReplicaIndex;
    use std::format;
    use std::string::ToString;

    fn taken(objects: &[(Name, Value)]) -> (Taken, Vec<Vec<u8>>) {
        let mut pack = Pack::new();
        objects.iter().for_each(|(name, v)| pack.push(name, v).unwrap());
        let (pieces, bytes) = pack.finish();
        let kinds = Vec::from([Held { kind: "vm".into(), schema: 3, objects: objects.len() as u64 }]);
        let id = Dot::new(ReplicaIndex(2), 9);
        let by = Person::new("ana", "operator", "eu");
        let (name, at) = ("before".into(), Hlc::at(7));
        (Taken { name, id, at, until: 9, by, policy: Some(1), open: 2, kinds, pieces }, bytes)
    }

    fn objects(n: usize, size: usize) -> Vec<(Name, Value)> {
        let value = |i: usize| Value::from(&*"x".repeat(size + i % 7));
        (0..n).map(|i| (("vm".into(), format!("k{i:05}").into()), value(i))).collect()
    }

    #[test]
    fn what_was_taken_comes_back_from_any_object_on() {
        for (n, size) in [(0, 0), (1, 10), (3_000, 100), (5, 400_000)] {
            let all = objects(n, size);
            let (note, pieces) = taken(&all);
            assert_eq!(Taken::from_bytes(&note.to_bytes()).as_ref(), Ok(&note));
            assert_eq!((note.objects(), note.pieces.len()), (n as u64, pieces.len()));
            let open = |from: usize| -> Vec<(Name, Value)> {
                (from..pieces.len()).flat_map(|i| note.open(i, &pieces[i]).unwrap()).collect()
            };
            assert_eq!(open(0), all);
            for at in (0..n).step_by(97) {
                let from = note.piece_after(Some(&all[at].0));
                let rest: Vec<_> = open(from).into_iter().filter(|(name, _)| *name > all[at].0).collect();
                assert_eq!(rest, all[at + 1..]);
            }
        }
    }

    #[test]
    fn too_much_and_too_large_is_refused_by_name() {
        let mut pack = Pack::new();
        let large = ("vm".into(), "big".into());
        let why = pack.push(&large, &Value::from(&*"x".repeat(PIECE_MAX))).unwrap_err();
        assert!(why.to_string().starts_with("vm big has 786"), "{why}");
        let all = objects(12, 700_000);
        let mut pack = Pack::new();
        let refused = all.iter().map(|(n, v)| pack.push(n, v)).find_map(Result::err);
        assert_eq!(refused, Some(TooLarge::All));
    }

    #[test]
    fn every_altered_bit_of_a_piece_is_seen_and_every_cut_of_the_note() {
        let (note, pieces) = taken(&objects(3, 5));
        for at in 0..pieces[0].len() * 8 {
            let mut bad = pieces[0].clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(note.open(0, &bad), Err(Altered(1)));
        }
        assert_eq!(note.open(1, &pieces[0]), Err(Altered(2)));
        let bytes = note.to_bytes();
        (0..bytes.len()).for_each(|n| assert!(Taken::from_bytes(&bytes[..n]).is_err(), "{n}"));
    }
}
