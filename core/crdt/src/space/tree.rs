//! The live index: containers, each with a table of its members, and the fingerprint of it all.
//!
//! A container is there as long as something live lies in it or below it; its entry in the map above
//! carries no dot. Every change of an entry passes through [`Tree::put`], [`Tree::put_over`] and
//! [`Tree::take`], which keep the fingerprint: it is the sum over all live entries of
//! hash(address, name, tag, dot, time, body).

use super::leaf::{CHILD, ELEMENT, Entry, Name, New, RETIRED, STAMP_MAX};
use super::spots::Spots;
use super::table::{Pos, Table};
use crate::address::Kind;
use crate::code::{Reader, Writer};
use crate::dot::Dot;
use crate::fingerprint::Secret;
use crate::hlc::Hlc;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The map that holds everything.
pub(super) const ROOT: u32 = 0;
/// Members among which a search is as quick as a guess.
const FEW: usize = 8;
/// No sequence.
pub(super) const NO_SEQUENCE: u32 = u32::MAX;

/// Stamps count units of 4.096 s from 2025 on; 27 bits last until 2042, then all later ones are equal.
const STAMP_EPOCH_MILLIS: u64 = 1_735_689_600_000;

/// Time of a set's element, coarsely: it only orders reconciliation.
pub(super) fn stamp(hlc: Hlc) -> u32 {
    let units = hlc.millis().saturating_sub(STAMP_EPOCH_MILLIS) >> 12;
    units.min(u64::from(STAMP_MAX)) as u32
}

/// A map, a set or a sequence.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) kind: Kind,
    pub(super) parent: u32,
    pub(super) name: Box<[u8]>,
    pub(super) table: Table,
    /// Of a sequence, which one ([`super::sequence`]); its table is empty.
    pub(super) sequence: u32,
    seed: u64,
}

/// All containers of a space.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    containers: Vec<Container>,
    free: Vec<u32>,
    secret: Secret,
    total: u128,
    entries: usize,
    spots: Spots,
}

impl Tree {
    pub(super) fn new(secret: Secret) -> Self {
        let seed = secret.hasher().pair(Kind::Map as u64, 0).short();
        let root = Container {
            kind: Kind::Map,
            parent: ROOT,
            name: Box::default(),
            table: Table::default(),
            sequence: NO_SEQUENCE,
            seed,
        };
        Self {
            containers: [root].into(),
            free: Vec::new(),
            secret,
            total: 0,
            entries: 0,
            spots: Spots::default(),
        }
    }
    #[inline]
    pub(super) fn container(&self, id: u32) -> &Container {
        &self.containers[id as usize]
    }
    /// The first entry of a container whose name is not before this one.
    #[inline]
    pub(super) fn locate(&self, id: u32, name: &Name<'_>) -> Pos {
        let Container { table, seed, .. } = self.container(id);
        if table.len() <= FEW {
            return table.locate(name);
        }
        if let Some(at) = self.spots.guess(id, *seed, name).filter(|at| table.is_place(*at, name)) {
            return at;
        }
        let at = table.locate(name);
        self.spots.note(id, *seed, name, at);
        at
    }
    /// All entries of a name in a container.
    pub(super) fn named<'t>(&'t self, id: u32, name: Name<'t>) -> impl Iterator<Item = Entry<'t>> {
        self.container(id).table.named_from(self.locate(id, &name), name)
    }
    /// Looks for several names at once.
    pub(super) fn probe(&self, id: u32, names: &[Name<'_>]) {
        let Container { table, seed, .. } = self.container(id);
        table.probe(names, |name, at| self.spots.note(id, *seed, name, at));
    }
    /// Live entries, containers not counted.
    pub(super) const fn len(&self) -> usize {
        self.entries
    }
    /// The sum over all.
    pub(super) const fn total(&self) -> u128 {
        self.total
    }
    /// The entry's hash.
    #[inline]
    pub(super) fn hash(&self, id: u32, e: &Entry<'_>) -> u128 {
        let c = self.container(id);
        let time = if e.tag == ELEMENT || e.tag == RETIRED { u64::from(e.stamp) } else { e.hlc };
        let mut h = self
            .secret
            .hasher()
            .pair(c.seed ^ u64::from(e.tag), e.head)
            .pair(e.dot, time ^ (e.len as u64) << 48);
        if e.len > 8 {
            h = h.bytes(e.rest);
        }
        if !e.body.is_empty() {
            h = h.bytes(e.body);
        }
        h.sum()
    }
    const fn count(&mut self, plus: u128, minus: u128) {
        self.total = self.total.wrapping_add(plus).wrapping_sub(minus);
    }
    /// The seed of the hashes of what lies in a container of this kind and path, whether it is there or not.
    pub(super) fn seed_of(&self, kind: Kind, names: &[Vec<u8>]) -> u64 {
        let mut seed = self.container(ROOT).seed;
        for (i, name) in names.iter().enumerate() {
            let kind = if i + 1 == names.len() { kind } else { Kind::Map };
            seed = self.secret.hasher().pair(seed, kind as u64).bytes(name).short();
        }
        seed
    }
    /// The hash of a sequence's element, in a container of that seed.
    pub(super) fn element_hash(&self, seed: u64, name: u64, value: Option<&[u8]>) -> u128 {
        let h = self.secret.hasher().pair(seed ^ Kind::Sequence as u64, name);
        h.pair(u64::from(value.is_none()), 0).bytes(value.unwrap_or(&[])).sum()
    }
    /// Counts elements of a sequence that came and went.
    pub(super) const fn count_elements(&mut self, plus: (u128, usize), minus: (u128, usize)) {
        self.count(plus.0, minus.0);
        self.entries = self.entries + plus.1 - minus.1;
    }
    /// Says which sequence a container stands for.
    pub(super) fn set_sequence(&mut self, id: u32, sequence: u32) {
        self.containers[id as usize].sequence = sequence;
    }
    /// Adds an entry unless it is there already. Whether it was added.
    pub(super) fn put(&mut self, id: u32, new: &New<'_>) -> bool {
        if !self.containers[id as usize].table.insert(new) {
            return false;
        }
        let hash = self.hash(id, &as_entry(new));
        self.entries += 1;
        self.count(hash, 0);
        true
    }
    /// Adds an entry at its place, which the caller knows.
    pub(super) fn put_at(&mut self, id: u32, at: Pos, new: &New<'_>) {
        self.containers[id as usize].table.insert_at(at, new);
        let hash = self.hash(id, &as_entry(new));
        self.entries += 1;
        self.count(hash, 0);
    }
    /// Puts an entry in place of one of the same name and tag, whose hash the caller has.
    pub(super) fn put_over(&mut self, id: u32, at: Pos, old: u128, new: &New<'_>) {
        let plus = self.hash(id, &as_entry(new));
        self.containers[id as usize].table.replace(at, new);
        self.count(plus, old);
    }
    /// Takes an entry away. The container may be left empty: see [`Tree::release`].
    pub(super) fn take(&mut self, id: u32, at: Pos) {
        let Some(old) = self.container(id).table.entry(at) else { return };
        let minus = self.hash(id, &old);
        self.containers[id as usize].table.remove(at);
        self.entries -= 1;
        self.count(0, minus);
    }
    /// The container of this kind and name in a map.
    pub(super) fn child(&self, parent: u32, kind: Kind, name: &[u8]) -> Option<u32> {
        let name = Name::new(name);
        self.named(parent, name).find(|e| e.tag == kind as u8 | CHILD).and_then(|e| e.child())
    }
    /// The same, made if it is missing.
    fn child_or_new(&mut self, parent: u32, kind: Kind, bytes: &[u8]) -> u32 {
        if let Some(id) = self.child(parent, kind, bytes) {
            return id;
        }
        let name = Name::new(bytes);
        let seed = self.secret.hasher().pair(self.container(parent).seed, kind as u64).bytes(bytes).short();
        let (name_of, table) = (bytes.into(), Table::default());
        let new = Container { kind, parent, name: name_of, table, sequence: NO_SEQUENCE, seed };
        let id = if let Some(id) = self.free.pop() {
            self.containers[id as usize] = new;
            id
        } else {
            self.containers.push(new);
            (self.containers.len() - 1) as u32
        };
        let tag = kind as u8 | CHILD;
        let entry = New { name, tag, dot: 0, hlc: 0, stamp: 0, body: &id.to_le_bytes() };
        self.containers[parent as usize].table.insert(&entry);
        id
    }
    /// The container at a path in canonical bytes.
    pub(super) fn find(&self, path: &[u8]) -> Option<u32> {
        let (kind, names) = path_names(path);
        self.find_names(kind, names)
    }
    /// The container at a path.
    pub(super) fn find_names<'n>(&self, kind: Kind, names: impl Iterator<Item = &'n [u8]>) -> Option<u32> {
        let mut names = names.peekable();
        let mut id = ROOT;
        while let Some(name) = names.next() {
            let kind = if names.peek().is_some() { Kind::Map } else { kind };
            id = self.child(id, kind, name)?;
        }
        Some(id)
    }
    /// The container at a path in canonical bytes, made if it is missing.
    pub(super) fn find_or_new(&mut self, path: &[u8]) -> u32 {
        let (kind, names) = path_names(path);
        let mut names = names.peekable();
        let mut id = ROOT;
        while let Some(name) = names.next() {
            let kind = if names.peek().is_some() { Kind::Map } else { kind };
            id = self.child_or_new(id, kind, name);
        }
        id
    }
    /// Removes a container that is empty, and those above that become so. Whether any went.
    pub(super) fn release(&mut self, mut id: u32) -> bool {
        let mut any = false;
        while let Some(parent) = self.release_one(id) {
            (id, any) = (parent, true);
        }
        any
    }
    /// Removes a container that is empty; the one above is returned.
    pub(super) fn release_one(&mut self, id: u32) -> Option<u32> {
        if id == ROOT || !self.container(id).table.is_empty() {
            return None;
        }
        let c = &mut self.containers[id as usize];
        let (parent, kind) = (c.parent, c.kind);
        let bytes = core::mem::take(&mut c.name);
        let name = Name::new(&bytes);
        let tag = kind as u8 | CHILD;
        let table = &mut self.containers[parent as usize].table;
        let mut at = table.locate(&name);
        while table.entry(at).is_some_and(|e| e.tag != tag) {
            at = table.next(at);
        }
        table.remove(at);
        self.free.push(id);
        Some(parent)
    }
    /// Whether a container was not let go.
    pub(super) fn is_there(&self, id: u32) -> bool {
        !self.free.contains(&id)
    }
    /// Names from the root to a container.
    pub(super) fn names(&self, mut id: u32) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while id != ROOT {
            let c = self.container(id);
            out.push(c.name.to_vec());
            id = c.parent;
        }
        out.reverse();
        out
    }
    /// The canonical bytes of a container's address.
    pub(super) fn path(&self, id: u32) -> Vec<u8> {
        let names = self.names(id);
        let mut out = Writer::new();
        crate::address::encode_path(self.container(id).kind, names.iter().map(Vec::as_slice), &mut out);
        out.into_bytes()
    }
    /// Gives back all room that is not used.
    pub(super) fn shrink(&mut self) {
        self.containers.iter_mut().for_each(|c| c.table.shrink());
        self.containers.shrink_to_fit();
        self.free.shrink_to_fit();
    }
}

/// An entry as it will be read.
pub(super) fn as_entry<'a>(new: &New<'a>) -> Entry<'a> {
    let rest = new.name.bytes.get(8..).unwrap_or(&[]);
    let (tag, dot, hlc, stamp, body) = (new.tag, new.dot, new.hlc, new.stamp, new.body);
    Entry { head: new.name.head, len: new.name.bytes.len(), rest, tag, dot, hlc, stamp, body }
}

/// The kind and names of a path whose form was checked.
pub(super) fn path_names(path: &[u8]) -> (Kind, impl Iterator<Item = &[u8]>) {
    let mut r = Reader::new(path);
    let kind = r.byte().ok().and_then(Kind::from_number).unwrap_or(Kind::Map);
    let n = r.varint().unwrap_or(0);
    (kind, (0..n).map_while(move |_| r.bytes(usize::MAX).ok()))
}

/// A counter's entry: which instance, and the totals.
pub(super) fn instance(body: &[u8]) -> Option<Dot> {
    let raw: [u8; 8] = body.get(..8)?.try_into().ok()?;
    Some(Dot::from_bits(u64::from_le_bytes(raw)))
}
