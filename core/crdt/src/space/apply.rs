//! What an operation does to the live index. One way for all operations: our own and others', live and replayed.
//!
//! **Model.** An entry is live if its operation was received and no received operation supersedes it. So applying is:
//! remove what is superseded and here, remember what is superseded and not yet here (`pending`), then add
//! the entry unless it is already superseded. The order in which operations of *different* replicas come makes no
//! difference to the outcome.
//!
//! Counters live by instance: an increment counts as long as nothing removed the operation that created its
//! counter. "Created, received, and no entry left" means removed, because a counter that lives has at
//! least its creator's entry (invariant 3 of the space).
//!
//! Applying is idempotent even against an index that already shows some of what comes later: that is
//! what a snapshot read while operations went on looks like (see `snapshot`).

use super::Space;
use super::leaf::{ELEMENT, Name, New, RETIRED};
use super::pending::{Cleared, Upto};
use super::table::Pos;
use super::tree::{ROOT, path_names, stamp};
use crate::address::Kind;
use crate::code::{Reader, Writer};
use crate::dot::Dot;
use crate::op::{Action, Op, read_transfers, write_transfers};
use crate::planted::{self, Bug};
use crate::version::VersionVector;
use alloc::vec::Vec;

/// The container that operations went to last: the next goes there most likely.
#[derive(Clone, Debug, Default)]
pub(super) struct Hot {
    path: Vec<u8>,
    id: Option<u32>,
}

impl Hot {
    pub(super) fn forget(&mut self) {
        self.id = None;
    }
}

impl Space {
    /// Does what the operation says, and counts it as received.
    pub(super) fn apply(&mut self, op: &Op<'_>) {
        self.apply_at(op, None);
    }
    /// The same, where the caller has just looked up the container and the place of the name in it.
    pub(super) fn apply_at(&mut self, op: &Op<'_>, at: Option<(u32, Pos)>) {
        let raw = op;
        let op = &*self.in_names_of_now(op);
        match &op.action {
            Action::Write(value) => self.put(op, op.kind as u8, value, at),
            Action::Add => self.put(op, ELEMENT, &[], at),
            Action::Retire => self.put(op, RETIRED, &[], at),
            Action::Remove => {
                if let Some(id) = self.container(op, false) {
                    self.supersede(op, id);
                    self.release(id);
                } else {
                    self.await_missing(op);
                }
            }
            Action::Clear(upto) => self.clear(op, upto.as_ref()),
            Action::Count { instance, .. } | Action::Escrow { instance, .. } => {
                // What is kept is what came: it must not depend on when the roster did.
                let mut room = [0; COUNT_MAX];
                match &raw.action {
                    Action::Count { instance: of, plus, minus } => {
                        let n = write_count(*of, *plus, *minus, &mut room);
                        self.count(op, *instance, &room[..n], at);
                    }
                    other => self.count(op, *instance, &share(other), at),
                }
            }
            Action::Splice { width, bytes } => self.splice(op, *width, bytes),
        }
        self.vv.raise(op.dot.replica(), op.last().sequence());
        self.pending.settle(op.dot, op.last(), &self.vv);
    }
    /// The container at a path.
    pub(super) fn container_at(&self, path: &[u8]) -> Option<u32> {
        self.hot.id.filter(|_| self.hot.path == path).or_else(|| self.tree.find(path))
    }
    /// The container the operation goes to.
    fn container(&mut self, op: &Op<'_>, make: bool) -> Option<u32> {
        if let Some(id) = self.hot.id.filter(|_| self.hot.path == op.container) {
            return Some(id);
        }
        let id = if make { Some(self.tree.find_or_new(op.container)) } else { self.tree.find(op.container) };
        if id.is_some() {
            self.hot.path.clear();
            self.hot.path.extend_from_slice(op.container);
            self.hot.id = id;
        }
        id
    }
    /// Looks up together where operations on one container go, and throws the answers away: the memory that applying them will read is
    /// then near. Alone each search waits for memory five times over; side by side they wait together.
    pub(super) fn warm(&self, ops: &[Op<'_>]) {
        let [first, .., last] = ops else { return };
        if first.container != last.container {
            return;
        }
        let Some(id) = self.container_at(first.container) else { return };
        self.warm_names(id, ops.iter().map(|op| op.name));
    }
    /// The same for keys that are about to be read or written.
    pub fn warm_keys(&self, keys: &[&[u8]]) {
        for some in keys.chunks(super::AT_ONCE) {
            self.warm_names(ROOT, some.iter().copied());
        }
    }
    /// The same for members of what lies under a key.
    pub fn warm_members(&self, key: &[u8], members: &[&[u8]]) {
        for e in self.tree.named(ROOT, Name::new(key)) {
            for some in members.chunks(super::AT_ONCE) {
                e.child().into_iter().for_each(|id| self.warm_names(id, some.iter().copied()));
            }
        }
    }
    fn warm_names<'n>(&self, id: u32, names: impl Iterator<Item = &'n [u8]>) {
        let (mut some, mut n) = ([Name::new(&[]); super::AT_ONCE], 0);
        for (place, name) in some.iter_mut().zip(names) {
            *place = Name::new(name);
            n += 1;
        }
        self.tree.probe(id, &some[..n]);
    }
    pub(super) fn release(&mut self, id: u32) {
        if id != ROOT && self.tree.container(id).table.is_empty() && self.tree.release(id) {
            self.hot.forget();
        }
    }
    /// A register's value or a set's element.
    fn put(&mut self, op: &Op<'_>, tag: u8, body: &[u8], at: Option<(u32, Pos)>) {
        let dead = self.is_removed(op, op.dot);
        let known = at.map(|(id, _)| id).filter(|id| self.hot.id == Some(*id));
        let Some(id) = known.or_else(|| self.container(op, !dead)) else { return self.await_missing(op) };
        let name = Name::new(op.name);
        let set = tag == ELEMENT || tag == RETIRED;
        let (hlc, stamp) = if set { (0, stamp(op.hlc)) } else { (op.hlc.0, 0) };
        let new = New { name, tag, dot: op.dot.bits(), hlc, stamp, body };
        let at = at.filter(|(there, _)| *there == id).map(|(_, at)| at);
        if !dead && self.put_simply(op, id, &new, at) {
            return;
        }
        self.supersede(op, id);
        if dead {
            self.release(id);
        } else if self.tree.put(id, &new) && tag == Kind::Deadline as u8 {
            self.deadline(op.dot, id, op.name, body, true);
        }
    }
    /// The two common cases with one search: nothing of this name is here and nothing is superseded, or one entry is
    /// and is superseded.
    #[inline]
    fn put_simply(&mut self, op: &Op<'_>, id: u32, new: &New<'_>, at: Option<Pos>) -> bool {
        if new.tag == Kind::Deadline as u8 || planted::is(Bug::SkipSuperseded) {
            return false;
        }
        let table = &self.tree.container(id).table;
        let at = at.unwrap_or_else(|| self.tree.locate(id, &new.name));
        let here = table.entry_of(at, &new.name);
        match (op.supersedes.as_slice(), here) {
            ([], None) => self.tree.put_at(id, at, new),
            // A state that was read while it moved may show what is not received yet, and comes again: that is to be remembered.
            ([old], Some(e)) if e.dot == old.bits() && e.tag == new.tag && self.vv.contains(*old) => {
                if table.entry_of(table.next(at), &new.name).is_some() {
                    return false;
                }
                let old = self.tree.hash(id, &e);
                self.tree.put_over(id, at, old, new);
            }
            _ => return false,
        }
        true
    }
    /// Removes what the operation supersedes at its own name, remembers what of it has not come.
    fn supersede(&mut self, op: &Op<'_>, id: u32) {
        if op.supersedes.as_slice().is_empty() {
            return;
        }
        let name = Name::new(op.name);
        let tag = op.kind as u8;
        let dots = superseded(op);
        let mut at = self.tree.locate(id, &name);
        // The common case: one entry is named, and it alone is here.
        let table = &self.tree.container(id).table;
        if let ([one], Some(e)) = (dots, table.entry_of(at, &name))
            && e.dot == one.bits()
            && self.vv.contains(*one)
            && (e.tag == ELEMENT || e.tag == tag && !op.kind.is_counter() && op.kind != Kind::Deadline)
            && table.entry_of(table.next(at), &name).is_none()
        {
            return self.tree.take(id, at);
        }
        while let Some(e) = self.tree.container(id).table.entry_of(at, &name) {
            let same_kind = op.container_kind != Kind::Map || e.tag == tag;
            let named = if op.kind.is_counter() {
                self.instance(e.body).unwrap_or(Dot::from_bits(0))
            } else {
                Dot::from_bits(e.dot)
            };
            if same_kind && dots.binary_search(&named).is_ok() {
                if e.tag == Kind::Deadline as u8 {
                    let (dot, body) = (Dot::from_bits(e.dot), e.body.to_vec());
                    self.deadline(dot, id, op.name, &body, false);
                }
                self.tree.take(id, at);
                at = self.tree.container(id).table.locate(&name);
                // Other kinds of the same name come again; they were passed over and will be.
                continue;
            }
            at = self.tree.container(id).table.next(at);
        }
        self.await_missing(op);
    }
    /// Whether what `dot` names, at the place of `op`, was removed before it came.
    pub(super) fn is_removed(&self, op: &Op<'_>, dot: Dot) -> bool {
        !self.pending.is_empty() && self.pending.holds(op, dot, !self.roster.admits(dot))
    }
    /// Remembers what the operation supersedes and has not come.
    fn await_missing(&mut self, op: &Op<'_>) {
        for d in superseded(op) {
            if !self.vv.contains(*d) {
                self.pending.add(*d, &self.roster);
            }
        }
    }
    /// A replica's totals in one instance of a counter.
    fn count(&mut self, op: &Op<'_>, of: Dot, body: &[u8], at: Option<(u32, Pos)>) {
        let dead = self.is_removed(op, of);
        let id = if dead { None } else { at.map(|(id, _)| id).or_else(|| self.container_at(op.container)) };
        let name = Name::new(op.name);
        let new = New { name, tag: op.kind as u8, dot: op.dot.bits(), hlc: op.hlc.0, stamp: 0, body };
        if id.is_some_and(|id| self.count_on(op, of, id, at.map(|(_, at)| at), &new)) {
            return;
        }
        let mut place = None;
        let mut last = None;
        let mut known = false;
        if let Some(id) = id {
            let table = &self.tree.container(id).table;
            let mut at = self.tree.locate(id, &name);
            while let Some(e) = table.entry_of(at, &name) {
                if e.tag == op.kind as u8 {
                    last = Some(at);
                }
                if e.tag == op.kind as u8 && self.instance(e.body) == Some(of) {
                    known = true;
                    if Dot::from_bits(e.dot).replica() == op.dot.replica() {
                        place = Some((at, e.dot, self.tree.hash(id, &e)));
                    }
                }
                at = table.next(at);
            }
        }
        // Created by this operation, or known here, or not yet come: else it was removed.
        let lives = !dead && (of == op.dot || known || !self.vv.contains(of));
        if !lives {
            return;
        }
        match (id, place) {
            (Some(_), Some((_, before, _))) if before >= new.dot => {}
            // The entries of a name and kind are in the order of their dots: the last one stays the last.
            (Some(id), Some((at, _, old))) if last == Some(at) => self.tree.put_over(id, at, old, &new),
            (Some(id), Some((at, ..))) => {
                // The new dot may sort elsewhere among instances of one name: take and put.
                self.tree.take(id, at);
                self.tree.put(id, &new);
            }
            _ => {
                let id = self.container(op, true).unwrap_or(ROOT);
                self.tree.put(id, &new);
            }
        }
    }
    /// The common case of it: the replica's share in this instance is what is found first, or lies at the place that is known, and it is the
    /// last of the name and kind.
    #[inline]
    fn count_on(&mut self, op: &Op<'_>, of: Dot, id: u32, at: Option<Pos>, new: &New<'_>) -> bool {
        let table = &self.tree.container(id).table;
        let at = at.unwrap_or_else(|| self.tree.locate(id, &new.name));
        let Some(e) = table.entry_of(at, &new.name).filter(|e| e.tag == new.tag && e.dot < new.dot) else {
            return false;
        };
        let own = Dot::from_bits(e.dot).replica() == op.dot.replica() && self.instance(e.body) == Some(of);
        let after = table.entry_of(table.next(at), &new.name);
        if !own || after.is_some_and(|after| after.tag == new.tag) {
            return false;
        }
        let old = self.tree.hash(id, &e);
        self.tree.put_over(id, at, old, new);
        true
    }
    /// Everything at and below a place that a version knows, and what is named beside it.
    fn clear(&mut self, op: &Op<'_>, upto: Option<&VersionVector>) {
        self.await_missing(op);
        if let Some(upto) = upto {
            let mut after = self.vv.clone();
            after.raise(op.dot.replica(), op.dot.sequence());
            if !after.covers(upto) {
                let (_, names) = path_names(op.container);
                let mut names: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).collect();
                names.push(op.name.to_vec());
                let clear = Cleared { names, kind: op.kind, by: op.dot, upto: Upto(upto.clone()) };
                self.pending.add_clear(clear, &after, &self.roster);
            }
        }
        let empty = VersionVector::new();
        let upto = upto.unwrap_or(&empty);
        self.clear_sequences(op, upto);
        if op.kind == Kind::Sequence {
            return;
        }
        let Some(parent) = self.tree.find(op.container) else { return };
        let Some(top) = self.tree.child(parent, op.kind, op.name) else { return };
        self.hot.forget();
        self.clear_below(top, op.supersedes.as_slice(), upto);
        self.tree.release(top);
    }
    fn clear_below(&mut self, id: u32, dots: &[Dot], upto: &VersionVector) {
        let mut children = Vec::new();
        let mut gone: Vec<(Vec<u8>, u8, u64)> = Vec::new();
        for e in self.tree.container(id).table.iter() {
            if let Some(child) = e.child() {
                // Sequences were cleared before.
                children.extend((self.tree.container(child).kind != Kind::Sequence).then_some(child));
                continue;
            }
            let counter = Kind::from_number(e.tag).is_some_and(Kind::is_counter);
            let named = if counter {
                self.instance(e.body).unwrap_or(Dot::from_bits(0))
            } else {
                Dot::from_bits(e.dot)
            };
            if upto.contains(named) || dots.binary_search(&named).is_ok() {
                gone.push((e.name(), e.tag, e.dot));
            }
        }
        for (bytes, tag, dot) in gone {
            let name = Name::new(&bytes);
            let table = &self.tree.container(id).table;
            let mut at = table.locate(&name);
            while table.entry(at).is_some_and(|e| e.is(&name) && (e.tag, e.dot) != (tag, dot)) {
                at = table.next(at);
            }
            if tag == Kind::Deadline as u8 {
                let body = table.entry(at).map(|e| e.body.to_vec()).unwrap_or_default();
                self.deadline(Dot::from_bits(dot), id, &bytes, &body, false);
            }
            self.tree.take(id, at);
        }
        for child in children {
            self.clear_below(child, dots, upto);
            self.tree.release_one(child);
        }
    }
    /// Keeps the order in which deadlines fall due.
    pub(super) fn deadline(&mut self, by: Dot, id: u32, name: &[u8], body: &[u8], add: bool) {
        let Ok(raw) = <[u8; 8]>::try_from(body) else { return };
        let mut names = self.tree.names(id);
        names.push(name.to_vec());
        let key = (u64::from_le_bytes(raw), by, names);
        if add {
            self.deadlines.insert(key);
        } else {
            self.deadlines.remove(&key);
        }
    }
}

/// Bytes of a share of a counter, at most: its instance and two numbers.
const COUNT_MAX: usize = 8 + 2 * 10;

/// The body of a counter's share, into room that needs no heap. How long it is.
fn write_count(instance: Dot, plus: u64, minus: u64, out: &mut [u8; COUNT_MAX]) -> usize {
    out[..8].copy_from_slice(&instance.bits().to_le_bytes());
    let mut at = 8;
    for mut n in [plus, minus] {
        while n >= 0x80 {
            out[at] = n as u8 | 0x80;
            (n, at) = (n >> 7, at + 1);
        }
        out[at] = n as u8;
        at += 1;
    }
    at
}

/// The body of a bounded counter's share.
fn share(action: &Action<'_>) -> Vec<u8> {
    let mut body = Writer::new();
    if let Action::Escrow { instance, granted, spent, transfers } = action {
        body.fixed(instance.bits());
        body.varint(*granted);
        body.varint(*spent);
        write_transfers(transfers, &mut body);
    }
    body.into_bytes()
}

/// What an operation supersedes.
fn superseded<'o>(op: &'o Op<'_>) -> &'o [Dot] {
    let dots = op.supersedes.as_slice();
    if planted::is(Bug::SkipSuperseded) { &dots[..dots.len().saturating_sub(1)] } else { dots }
}

/// Totals of a counter's entry.
pub(super) fn totals(body: &[u8]) -> (u64, u64) {
    let mut r = Reader::new(body.get(8..).unwrap_or(&[]));
    (r.varint().unwrap_or(0), r.varint().unwrap_or(0))
}

/// What a replica handed over, of a bounded counter's entry.
pub(super) fn handed(body: &[u8]) -> Vec<(crate::dot::ReplicaIndex, u64)> {
    let mut r = Reader::new(body.get(8..).unwrap_or(&[]));
    let _ = (r.varint(), r.varint());
    read_transfers(&mut r).unwrap_or_default()
}
