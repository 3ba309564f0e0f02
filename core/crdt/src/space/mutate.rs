//! From a client's edits to operations.
//!
//! A transaction is checked as a whole before its first operation is made; after that nothing can fail. Each edit
//! is made against the state the edits before it left, and names as superseded exactly what is
//! seen here then. An edit that would change nothing (removing what isn't there, adding to a
//! G-Set what is) makes no operation.
//!
//! Deleting a subtree names its dots one by one if they are few; else it carries the own version vector: "all
//! below here that I know", which costs the same for a set of ten elements and one of ten million. A sequence that holds elements it
//! can't show yet ([`super::sequence`]) is emptied by name, of what it shows: who reads a list and deletes it in one transaction has
//! read all that goes. Sequences within a map that is deleted go as a whole.

use super::apply::{handed, totals};
use super::leaf::{Name, RETIRED};
use super::table::Pos;
use super::tree::ROOT;
use super::{Rejected, Space};
use crate::address::{Address, DEPTH_MAX, Kind, NAME_MAX, VALUE_MAX, encode_path};
use crate::batch::{Batch, OPS_MAX, Run};
use crate::code::Writer;
use crate::dot::{Dot, ReplicaIndex};
use crate::edit::{Change, Edit, EditFault};
use crate::hlc::Hlc;
use crate::op::{Action, Dots, Op};
use crate::roster::{Member, Standing};
use crate::version::VersionVector;
use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Dots that a deletion names one by one.
pub(super) const NAMED_MAX: usize = 8;

/// A transaction in the making ([`Space::begin`]). It has to be ended ([`Space::commit`]): the end of the log is with it.
#[derive(Debug)]
pub struct Transaction {
    pub(super) hlc: Hlc,
    pub(super) out: Run,
    /// What was in the run before: operations, and their bytes.
    before: u64,
    before_bytes: usize,
}

impl Transaction {
    /// Bytes of its operations so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.out.size() - self.before_bytes
    }
    /// Operations so far.
    const fn count(&self) -> u64 {
        self.out.count() - self.before
    }
}

/// The root map's address, in canonical bytes.
const ROOT_PATH: &[u8] = &[Kind::Map as u8, 0];

/// A place, as operations spell it.
pub(super) struct Place<'a> {
    container: Cow<'a, [u8]>,
    container_kind: Kind,
    name: &'a [u8],
    kind: Kind,
}

/// What is seen at a place.
#[derive(Debug)]
pub(super) struct Here {
    /// Of counters the instances.
    pub(super) dots: Dots,
    /// One of them retires a 2P-Set's element.
    retired: bool,
    /// The container, and where in it the place is.
    pub(super) at: Option<(u32, Pos)>,
}

/// What is seen of a counter.
#[derive(Debug, Default)]
pub(super) struct Counter {
    /// This replica's own totals, all instances together.
    pub(super) all: (u64, u64),
    /// Its first share.
    mine: Option<Share>,
    /// The oldest instance.
    oldest: Option<Dot>,
}

/// What this replica counted in one instance of a counter.
#[derive(Clone, Copy, Debug)]
struct Share {
    of: Option<Dot>,
    totals: (u64, u64),
    at: (u32, Pos),
}

impl<'a> Place<'a> {
    /// The member of a map.
    pub(super) fn member(at: &'a Address, kind: Kind) -> Self {
        let (parent, name) = at.split().unwrap_or((&[], &[]));
        if parent.is_empty() {
            return Self::key(name, kind);
        }
        let mut container = Writer::new();
        encode_path(Kind::Map, parent.iter().map(Vec::as_slice), &mut container);
        Self { container: Cow::Owned(container.into_bytes()), container_kind: Kind::Map, name, kind }
    }
    /// What lies right under the root.
    pub(super) const fn key(name: &'a [u8], kind: Kind) -> Self {
        Self { container: Cow::Borrowed(ROOT_PATH), container_kind: Kind::Map, name, kind }
    }
    /// The element of a set at this path.
    pub(super) const fn within(path: &'a [u8], kind: Kind, name: &'a [u8]) -> Self {
        Self { container: Cow::Borrowed(path), container_kind: kind, name, kind }
    }
    /// The element of a set; without one, a sequence.
    pub(super) fn element(at: &'a Address, element: &'a [u8]) -> Self {
        let mut container = Writer::new();
        at.encode(&mut container);
        let container = Cow::Owned(container.into_bytes());
        Self { container, container_kind: at.kind, name: element, kind: at.kind }
    }
    pub(super) fn op<'o>(
        &'o self,
        dot: Dot,
        hlc: Hlc,
        supersedes: impl Into<Dots>,
        action: Action<'o>,
    ) -> Op<'o> {
        Op {
            dot,
            hlc,
            ends: false,
            container: &self.container,
            container_kind: self.container_kind,
            name: self.name,
            kind: self.kind,
            supersedes: supersedes.into(),
            action,
        }
    }
}

/// What a transaction's earlier edits mean for the checks of its later ones.
#[derive(Default)]
pub(super) struct Foreseen<'e> {
    /// There is one edit only.
    alone: bool,
    /// What this replica adds to and takes from a counter.
    sums: BTreeMap<&'e Address, (u128, u128)>,
    /// This replica's rights in each instance of a bounded counter.
    rights: BTreeMap<&'e Address, BTreeMap<Dot, i128>>,
    retired: BTreeSet<(&'e Address, &'e [u8])>,
    lengths: BTreeMap<&'e Address, usize>,
    deleted: Vec<&'e Address>,
}

impl<'e> Foreseen<'e> {
    fn is_deleted(&self, at: &Address) -> bool {
        self.deleted.iter().any(|gone| covers(gone, at))
    }
    /// A sequence's length, which is `now` if no edit before changes it.
    pub(super) fn length(&self, at: &Address, now: usize) -> usize {
        self.lengths.get(at).copied().unwrap_or(if self.is_deleted(at) { 0 } else { now })
    }
    pub(super) fn set_length(&mut self, at: &'e Address, length: usize) {
        self.lengths.insert(at, length);
    }
    fn delete(&mut self, gone: &'e Address) {
        self.rights.retain(|at, _| !covers(gone, at));
        self.retired.retain(|(at, _)| !covers(gone, at));
        self.lengths.retain(|at, _| !covers(gone, at));
        self.deleted.push(gone);
    }
}

/// Whether deleting one place deletes the other.
fn covers(gone: &Address, at: &Address) -> bool {
    at.names.starts_with(&gone.names)
        && if at.names.len() == gone.names.len() { at.kind == gone.kind } else { gone.kind == Kind::Map }
}

impl Space {
    /// Makes a transaction of the edits. `millis` is what the wall clock reads. Nothing is returned if
    /// nothing changes.
    ///
    /// The batch must be durable before it is sent or the client is answered.
    ///
    /// # Errors
    /// Says which edit can't be done; then nothing changed.
    pub fn transact(&mut self, millis: u64, edits: &[Edit]) -> Result<Option<Batch>, Rejected> {
        let before = self.vv.get(self.me);
        let made = self.make(millis, edits)?;
        Ok(if made { self.log(self.me).after(before, u64::MAX, usize::MAX).pop() } else { None })
    }
    /// As [`Space::transact`], for those who read what was made out of the log, with what came before and after it
    /// ([`Space::missing`]). Whether anything changed.
    ///
    /// # Errors
    /// Says which edit can't be done; then nothing changed.
    pub fn make(&mut self, millis: u64, edits: &[Edit]) -> Result<bool, Rejected> {
        self.may_write()?;
        self.check_edits(edits)?;
        let mut transaction = self.begin_allowed(millis)?;
        self.perform_all(&mut transaction, edits);
        Ok(self.commit(transaction))
    }
    /// Begins a transaction whose edits come one after the other, each made after the caller has read what those before
    /// it did. Nobody else may be shown the state before [`Space::commit`].
    ///
    /// # Errors
    /// This replica may not write now.
    pub fn begin(&mut self, millis: u64) -> Result<Transaction, Rejected> {
        self.may_write()?;
        self.begin_allowed(millis)
    }
    /// The same, where it was seen that this replica may write.
    pub(super) fn begin_allowed(&mut self, millis: u64) -> Result<Transaction, Rejected> {
        let hlc = self.clock.tick(millis)?;
        self.open();
        let first = self.next_dot();
        let out = self.log(self.me).lend(first, hlc);
        Ok(Transaction { hlc, before: out.count(), before_bytes: out.size(), out })
    }
    /// Makes some edits of a transaction: all of them, or none.
    ///
    /// # Errors
    /// Says which edit can't be done; the transaction goes on without these.
    pub fn edit(&mut self, transaction: &mut Transaction, edits: &[Edit]) -> Result<(), Rejected> {
        if transaction.count() as usize + edits.len() > OPS_MAX {
            return Err(Rejected::Large(OPS_MAX));
        }
        self.check_edits(edits)?;
        self.perform_all(transaction, edits);
        Ok(())
    }
    /// Ends a transaction. Whether anything changed.
    ///
    /// What was made must be durable before it is sent or the client is answered.
    pub fn commit(&mut self, mut transaction: Transaction) -> bool {
        let any = transaction.count() > 0;
        if any {
            transaction.out.end();
        }
        self.log(self.me).take_back(transaction.out);
        any
    }
    pub(super) fn may_write(&self) -> Result<(), Rejected> {
        match self.roster.get(self.me).map(|m| m.standing) {
            Some(Standing::Active | Standing::Lagging) if self.roster.admits(self.next_dot()) => Ok(()),
            _ => Err(Rejected::Standing(self.me, self.roster.epoch)),
        }
    }
    fn check_edits(&self, edits: &[Edit]) -> Result<(), Rejected> {
        if edits.len() > OPS_MAX {
            return Err(Rejected::Large(OPS_MAX));
        }
        let mut foreseen = Foreseen { alone: edits.len() == 1, ..Foreseen::default() };
        for (i, edit) in edits.iter().enumerate() {
            self.check_edit(edit, &mut foreseen).map_err(|fault| Rejected::Edit(i, fault))?;
        }
        Ok(())
    }
    fn perform_all(&mut self, transaction: &mut Transaction, edits: &[Edit]) {
        for edit in edits {
            self.perform(edit, transaction.hlc, &mut transaction.out);
        }
    }

    fn check_edit<'e>(&self, edit: &'e Edit, foreseen: &mut Foreseen<'e>) -> Result<(), EditFault> {
        let (at, kind) = (&edit.at, edit.at.kind);
        let size = |what, size: usize, limit: usize| {
            if size > limit { Err(EditFault::Size { what, size, limit }) } else { Ok(()) }
        };
        size("a path", at.names.len(), if kind == Kind::Map { DEPTH_MAX - 1 } else { DEPTH_MAX })?;
        for name in &at.names {
            size("a name", name.len(), NAME_MAX)?;
        }
        let misfit = |change| Err(EditFault::Kind { change, kind: kind.name() });
        if at.names.is_empty() {
            return misfit("a change of the root");
        }
        match &edit.change {
            Change::Write(value) if matches!(kind, Kind::Lww | Kind::Mv) => {
                size("a value", value.len(), VALUE_MAX)
            }
            Change::Write(_) => misfit("a write"),
            Change::Increase(n) if kind.is_counter() => {
                self.check_sums(at, foreseen, *n, 0)?;
                self.check_rights(at, foreseen, i128::from(*n))
            }
            Change::Decrease(n) if matches!(kind, Kind::PnCounter | Kind::Bounded) => {
                self.check_sums(at, foreseen, 0, *n)?;
                self.check_rights(at, foreseen, -i128::from(*n))
            }
            Change::Increase(_) | Change::Decrease(_) => misfit("a count"),
            Change::Transfer { to, amount } if kind == Kind::Bounded => {
                let known = self.roster.get(*to).is_some_and(Member::takes_part);
                if !known || *to == self.me {
                    return Err(EditFault::Receiver);
                }
                self.check_rights(at, foreseen, -i128::from(*amount))
            }
            Change::Transfer { .. } => misfit("a transfer"),
            Change::Add(e) if kind.is_set() => {
                size("an element", e.len(), NAME_MAX)?;
                let gone = || {
                    foreseen.retired.contains(&(at, e.as_slice()))
                        || (self.is_retired(at, e) && !foreseen.is_deleted(at))
                };
                if kind == Kind::TwoPhaseSet && gone() { Err(EditFault::Retired) } else { Ok(()) }
            }
            Change::Add(_) => misfit("an addition"),
            Change::Remove(e) if matches!(kind, Kind::OrSet | Kind::TwoPhaseSet) => {
                size("an element", e.len(), NAME_MAX)?;
                if kind == Kind::TwoPhaseSet {
                    foreseen.retired.insert((at, e));
                }
                Ok(())
            }
            Change::Remove(_) => misfit("a removal of an element"),
            change @ (Change::Insert { .. }
            | Change::Erase { .. }
            | Change::EraseNamed(_)
            | Change::Replace { .. }) => {
                if kind == Kind::Sequence {
                    self.check_sequence(at, change, foreseen)
                } else {
                    misfit("a change of a sequence")
                }
            }
            Change::Expire(_) => Ok(()),
            Change::Delete => {
                foreseen.delete(at);
                Ok(())
            }
        }
    }
    fn check_sums<'e>(
        &self,
        at: &'e Address,
        foreseen: &mut Foreseen<'e>,
        plus: u64,
        minus: u64,
    ) -> Result<(), EditFault> {
        let mut sums = (u128::from(plus), u128::from(minus));
        if !foreseen.alone {
            let before = foreseen.sums.entry(at).or_default();
            *before = (before.0 + sums.0, before.1 + sums.1);
            sums = *before;
        }
        let (have_plus, have_minus) = self.counter_at(&Place::member(at, at.kind)).all;
        let most = u128::from(u64::MAX);
        let fits = u128::from(have_plus) + sums.0 <= most && u128::from(have_minus) + sums.1 <= most;
        if fits { Ok(()) } else { Err(EditFault::Overflow) }
    }
    fn check_rights<'e>(
        &self,
        at: &'e Address,
        foreseen: &mut Foreseen<'e>,
        change: i128,
    ) -> Result<(), EditFault> {
        if at.kind != Kind::Bounded {
            return Ok(());
        }
        if !foreseen.rights.contains_key(at) {
            let now =
                if foreseen.is_deleted(at) { BTreeMap::new() } else { self.rights_by_instance(at, self.me) };
            foreseen.rights.insert(at, now);
        }
        let Some(rights) = foreseen.rights.get_mut(at) else { return Ok(()) };
        let held = rights.values().copied().max().unwrap_or(0);
        match choose(rights, change) {
            Some(of) => *rights.entry(of).or_default() += change,
            // The first increase creates an instance; its dot is not known yet and sorts last.
            None if change >= 0 => {
                rights.insert(Dot::from_bits(u64::MAX), change);
            }
            None => {
                let clamp = |n: i128| u64::try_from(n.max(0)).unwrap_or(u64::MAX);
                return Err(EditFault::Rights { wanted: clamp(-change), held: clamp(held) });
            }
        }
        Ok(())
    }
    fn is_retired(&self, at: &Address, element: &[u8]) -> bool {
        let id = self.tree.find_names(at.kind, at.names.iter().map(Vec::as_slice));
        id.is_some_and(|id| self.tree.container(id).table.named(Name::new(element)).any(|e| e.tag == RETIRED))
    }
    /// A counter's entries: dot and body.
    pub(super) fn counter_entries(&self, at: &Address) -> Vec<(Dot, Vec<u8>)> {
        self.counted(at).map(|(dot, body)| (dot, body.to_vec())).collect()
    }
    fn counted<'s>(&'s self, at: &'s Address) -> impl Iterator<Item = (Dot, &'s [u8])> {
        let found = at.split().and_then(|(parent, name)| {
            let id = self.tree.find_names(Kind::Map, parent.iter().map(Vec::as_slice))?;
            Some(self.tree.named(id, Name::new(name)))
        });
        let of_kind = found.into_iter().flatten().filter(|e| e.tag == at.kind as u8);
        of_kind.map(|e| (Dot::from_bits(e.dot), e.body))
    }

    pub(super) fn next_dot(&self) -> Dot {
        Dot::new(self.me, self.vv.get(self.me) + 1)
    }
    pub(super) fn emit(&mut self, op: &Op<'_>, out: &mut Run) {
        out.push(op);
        self.apply(op);
    }
    /// The same, at a place that was looked up.
    pub(super) fn emit_at(&mut self, op: &Op<'_>, at: Option<(u32, Pos)>, out: &mut Run) {
        out.push(op);
        self.apply_at(op, at);
    }
    /// Makes the operations of one edit that was checked.
    fn perform(&mut self, edit: &Edit, hlc: Hlc, out: &mut Run) {
        let at = &edit.at;
        match &edit.change {
            Change::Write(value) => self.write(at, at.kind, value, hlc, out),
            Change::Expire(due) => self.write(at, Kind::Deadline, &due.to_le_bytes(), hlc, out),
            Change::Increase(n) if at.kind == Kind::Bounded => self.escrow(at, *n, 0, None, hlc, out),
            Change::Decrease(n) if at.kind == Kind::Bounded => self.escrow(at, 0, *n, None, hlc, out),
            Change::Transfer { to, amount } => self.escrow(at, 0, 0, Some((*to, *amount)), hlc, out),
            Change::Increase(n) => self.add_up(at, *n, 0, hlc, out),
            Change::Decrease(n) => self.add_up(at, 0, *n, hlc, out),
            Change::Add(e) => {
                let place = Place::element(at, e);
                let here = self.seen(&place);
                if at.kind == Kind::OrSet || here.dots == Dots::None {
                    let op = place.op(self.next_dot(), hlc, here.dots, Action::Add);
                    self.emit_at(&op, here.at, out);
                }
            }
            Change::Remove(e) => {
                let place = Place::element(at, e);
                let here = self.seen(&place);
                let two_phase = at.kind == Kind::TwoPhaseSet;
                if here.dots != Dots::None && !here.retired {
                    let action = if two_phase { Action::Retire } else { Action::Remove };
                    let op = place.op(self.next_dot(), hlc, here.dots, action);
                    self.emit(&op, out);
                }
            }
            Change::Insert { .. } | Change::Erase { .. } | Change::EraseNamed(_) | Change::Replace { .. } => {
                self.perform_sequence(edit, hlc, out)
            }
            Change::Delete => self.delete(at, hlc, out),
        }
    }
    pub(super) fn seen(&self, place: &Place<'_>) -> Here {
        let Some(id) = self.container_at(&place.container) else {
            return Here { dots: Dots::None, retired: false, at: None };
        };
        let in_map = place.container_kind == Kind::Map;
        let table = &self.tree.container(id).table;
        let (name, mut retired) = (Name::new(place.name), false);
        let at = self.tree.locate(id, &name);
        let entries = table.named_from(at, name);
        let ours = entries.filter(|e| !in_map || e.tag == place.kind as u8);
        let dots = ours.map(|e| {
            retired |= !in_map && e.tag == RETIRED;
            let dot = Dot::from_bits(e.dot);
            if place.kind.is_counter() { self.instance(e.body).unwrap_or(dot) } else { dot }
        });
        Here { dots: dots.collect(), retired, at: Some((id, at)) }
    }
    fn write(&mut self, at: &Address, kind: Kind, value: &[u8], hlc: Hlc, out: &mut Run) {
        self.write_at(&Place::member(at, kind), value, hlc, out);
    }
    pub(super) fn write_at(&mut self, place: &Place<'_>, value: &[u8], hlc: Hlc, out: &mut Run) {
        let here = self.seen(place);
        let op = place.op(self.next_dot(), hlc, here.dots, Action::Write(value));
        self.emit_at(&op, here.at, out);
    }
    /// What is seen of a counter.
    pub(super) fn counter_at(&self, place: &Place<'_>) -> Counter {
        let mut seen = Counter::default();
        let Some(id) = self.container_at(&place.container) else { return seen };
        let table = &self.tree.container(id).table;
        let name = Name::new(place.name);
        let mut at = self.tree.locate(id, &name);
        while let Some(e) = table.entry_of(at, &name) {
            if e.tag == place.kind as u8 {
                let (dot, of) = (Dot::from_bits(e.dot), self.instance(e.body));
                if dot.replica() == self.me {
                    let (plus, minus) = totals(e.body);
                    seen.all = (seen.all.0.saturating_add(plus), seen.all.1.saturating_add(minus));
                    seen.mine.get_or_insert(Share { of, totals: (plus, minus), at: (id, at) });
                }
                seen.oldest = [seen.oldest, of].into_iter().flatten().min();
            }
            at = table.next(at);
        }
        seen
    }
    fn add_up(&mut self, at: &Address, plus: u64, minus: u64, hlc: Hlc, out: &mut Run) {
        let place = Place::member(at, at.kind);
        let seen = self.counter_at(&place);
        self.count_at(&place, &seen, (plus, minus), hlc, out);
    }
    /// Adds to a counter of which this is seen.
    pub(super) fn count_at(
        &mut self,
        place: &Place<'_>,
        seen: &Counter,
        (plus, minus): (u64, u64),
        hlc: Hlc,
        out: &mut Run,
    ) {
        let dot = self.next_dot();
        // Where this replica counted before, else in the oldest.
        let (of, (p, m), at) = match seen.mine {
            Some(Share { of, totals, at }) => (of, totals, Some(at)),
            None => (seen.oldest, (0, 0), None),
        };
        let (plus, minus) = (p.saturating_add(plus), m.saturating_add(minus));
        let action = Action::Count { instance: of.unwrap_or(dot), plus, minus };
        let op = place.op(dot, hlc, Dots::None, action);
        self.emit_at(&op, at, out);
    }
    fn escrow(
        &mut self,
        at: &Address,
        grant: u64,
        spend: u64,
        hand: Option<(ReplicaIndex, u64)>,
        hlc: Hlc,
        out: &mut Run,
    ) {
        let dot = self.next_dot();
        let given = hand.map_or(0, |(_, amount)| amount);
        let change = i128::from(grant) - i128::from(spend) - i128::from(given);
        let of = choose(&self.rights_by_instance(at, self.me), change);
        let mine = self
            .counter_entries(at)
            .into_iter()
            .find(|(d, body)| d.replica() == self.me && self.instance(body) == of);
        let (granted, spent) = mine.as_ref().map_or((0, 0), |(_, body)| totals(body));
        let mut transfers: BTreeMap<ReplicaIndex, u64> =
            mine.map(|(_, body)| handed(&body)).unwrap_or_default().into_iter().collect();
        if let Some((to, amount)) = hand.filter(|(_, amount)| *amount > 0) {
            let total = transfers.entry(to).or_default();
            *total = total.saturating_add(amount);
        }
        let place = Place::member(at, Kind::Bounded);
        let action = Action::Escrow {
            instance: of.unwrap_or(dot),
            granted: granted.saturating_add(grant),
            spent: spent.saturating_add(spend),
            transfers: transfers.into_iter().collect(),
        };
        let op = place.op(dot, hlc, Dots::None, action);
        self.emit(&op, out);
    }
    fn delete(&mut self, at: &Address, hlc: Hlc, out: &mut Run) {
        let place = Place::member(at, at.kind);
        if !at.kind.is_container() {
            let seen = self.seen(&place).dots;
            if seen != Dots::None {
                let op = place.op(self.next_dot(), hlc, seen, Action::Remove);
                self.emit(&op, out);
            }
            return;
        }
        if let Some(shown) = self.shown_beside_others(at) {
            return self.take_out(at, shown, hlc, out);
        }
        let Some(top) = self.tree.find_names(at.kind, at.names.iter().map(Vec::as_slice)) else { return };
        debug_assert_ne!(top, ROOT, "the root is not deleted");
        let (named, upto) = self.cleared(top);
        let op = place.op(self.next_dot(), hlc, named, Action::Clear(upto.cloned()));
        self.emit(&op, out);
    }
    /// What a deletion of a container names: dots, and unless they are few the version that has the others.
    pub(super) fn cleared(&self, top: u32) -> (Vec<Dot>, Option<&VersionVector>) {
        let mut seen = Vec::new();
        self.dots_below(top, &mut seen);
        if seen.len() <= NAMED_MAX {
            return (seen, None);
        }
        seen.retain(|d| !self.vv.contains(*d));
        (seen, Some(&self.vv))
    }
    /// The dots (of counters: the instances) that live in a container and below.
    fn dots_below(&self, id: u32, out: &mut Vec<Dot>) {
        if let Some(s) = self.sequences.get(self.tree.container(id).sequence) {
            // All of them were received, so beyond a few they need no names.
            out.extend(s.list.names(0, NAMED_MAX + 1).into_iter().map(Dot::from_bits));
        }
        for e in self.tree.container(id).table.iter() {
            if let Some(child) = e.child() {
                self.dots_below(child, out);
            } else if Kind::from_number(e.tag).is_some_and(Kind::is_counter) {
                out.extend(self.instance(e.body));
            } else {
                out.push(Dot::from_bits(e.dot));
            }
        }
    }
}

/// The instance of a bounded counter in which a change is made: the oldest in which it is covered. Rights are
/// spent where they lie, so that no instance falls below zero when another is removed.
fn choose(rights: &BTreeMap<Dot, i128>, change: i128) -> Option<Dot> {
    rights.iter().find(|(_, held)| change >= 0 || **held + change >= 0).map(|(of, _)| *of)
}
