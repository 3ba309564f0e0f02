//! What a client sees, and why it sees it.
//!
//! Every read is a function of the live entries alone: two replicas of one version answer alike.

use super::Space;
use super::apply::{handed, totals};
use super::leaf::{CHILD, Entry, Name, RETIRED};
use super::table::Table;
use crate::address::{Address, Kind};
use crate::dot::{Dot, ReplicaIndex};
use crate::edit::{Change, Edit};
use crate::hlc::Hlc;
use crate::planted::{self, Bug};
use crate::rga::List;
use crate::roster::{Member, Standing};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// One of the values of a register that no write has superseded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sibling {
    /// The write's name.
    pub dot: Dot,
    /// When it was made, by its maker's clock.
    pub hlc: Hlc,
    /// What was written.
    pub value: Vec<u8>,
}

/// A set's element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The additions that keep it there.
    pub dots: Vec<Dot>,
}

/// An element of a sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Its name: the dot that it took of the operation that put it there.
    pub dot: Dot,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// What one replica contributes to a counter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CounterShare {
    /// Who.
    pub replica: ReplicaIndex,
    /// In which instance of the counter.
    pub instance: Dot,
    /// All it added.
    pub plus: u64,
    /// All it took.
    pub minus: u64,
    /// Its last operation there.
    pub dot: Dot,
    /// When that was made.
    pub hlc: Hlc,
}

/// A field of a map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Field {
    /// Its name.
    pub name: Vec<u8>,
    /// What lies there.
    pub kind: Kind,
}

/// What lies at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A register's values, the one that is shown first.
    Register(Vec<Sibling>),
    /// A counter's total.
    Counter(i128),
    /// A set's elements.
    Set(Vec<Vec<u8>>),
    /// A map's fields.
    Map(Vec<(Field, Self)>),
    /// A sequence's elements, in order.
    Sequence(Vec<Vec<u8>>),
}

impl Space {
    fn table(&self, at: &Address) -> Option<&Table> {
        let id = self.tree.find_names(at.kind, at.names.iter().map(Vec::as_slice))?;
        Some(&self.tree.container(id).table)
    }
    fn parent(&self, names: &[Vec<u8>]) -> Option<(&Table, usize)> {
        let depth = names.len().checked_sub(1)?;
        let id = self.tree.find_names(Kind::Map, names[..depth].iter().map(Vec::as_slice))?;
        Some((&self.tree.container(id).table, depth))
    }
    /// The values of a register that no write has superseded. The first is the one a last-writer-wins register shows: the
    /// latest by (time, dot). The others were written at the same time elsewhere, and go with the next write that sees them.
    #[must_use]
    pub fn siblings(&self, at: &Address) -> Vec<Sibling> {
        let Some((table, depth)) = self.parent(&at.names) else { return Vec::new() };
        let entries = table.named(Name::new(&at.names[depth])).filter(|e| e.tag == at.kind as u8);
        self.by_what_wins(entries)
    }
    fn by_what_wins<'e>(&self, entries: impl Iterator<Item = Entry<'e>>) -> Vec<Sibling> {
        let mut out: Vec<Sibling> = entries
            .map(|e| Sibling { dot: Dot::from_bits(e.dot), hlc: Hlc(e.hlc), value: e.body.to_vec() })
            .collect();
        if planted::is(Bug::DropTieBreak) {
            // A stand-in for "whichever came first": a rule that depends on who looks.
            out.sort_by_key(|s| (core::cmp::Reverse(s.hlc), s.dot.replica() != self.me));
        } else {
            out.sort_by_key(|s| core::cmp::Reverse((s.hlc, s.dot)));
        }
        out
    }
    /// The value that a register shows.
    #[must_use]
    pub fn value(&self, at: &Address) -> Option<Vec<u8>> {
        self.siblings(at).into_iter().next().map(|s| s.value)
    }
    /// A counter's total. Of a bounded counter it may be below zero for as long as an increase that was already spent
    /// elsewhere is still on its way here; never once both have arrived.
    #[must_use]
    pub fn counter(&self, at: &Address) -> Option<i128> {
        let shares = self.shares(at);
        let sum = |t: i128, s: &CounterShare| t + i128::from(s.plus) - i128::from(s.minus);
        (!shares.is_empty()).then(|| shares.iter().fold(0, sum))
    }
    /// What each replica contributes to a counter.
    #[must_use]
    pub fn shares(&self, at: &Address) -> Vec<CounterShare> {
        let Some((table, depth)) = self.parent(&at.names) else { return Vec::new() };
        let entries = table.named(Name::new(&at.names[depth])).filter(|e| e.tag == at.kind as u8);
        let share = |e: Entry<'_>| {
            let (plus, minus) = totals(e.body);
            let dot = Dot::from_bits(e.dot);
            let instance = self.instance(e.body).unwrap_or(dot);
            CounterShare { replica: dot.replica(), instance, plus, minus, dot, hlc: Hlc(e.hlc) }
        };
        if at.kind.is_counter() { entries.map(share).collect() } else { Vec::new() }
    }
    /// How much of a bounded counter a replica may spend now, in one piece.
    #[must_use]
    pub fn rights(&self, at: &Address, replica: ReplicaIndex) -> u64 {
        let most = self.rights_by_instance(at, replica).into_values().max().unwrap_or(0);
        u64::try_from(most.max(0)).unwrap_or(u64::MAX)
    }
    /// A replica's rights in each instance: what it added and was handed, less what it spent and handed over. It inherits from
    /// evicted members whose heir it is; everyone computes that alike, because their operations have an end.
    pub(super) fn rights_by_instance(&self, at: &Address, replica: ReplicaIndex) -> BTreeMap<Dot, i128> {
        let mut out: BTreeMap<Dot, i128> = BTreeMap::new();
        let own = |r: ReplicaIndex| self.heir(r) == replica;
        for (dot, body) in self.counter_entries(at) {
            let rights = out.entry(self.instance(&body).unwrap_or(dot)).or_default();
            if own(dot.replica()) {
                let (granted, spent) = totals(&body);
                *rights += i128::from(granted) - i128::from(spent);
            }
            for (to, amount) in handed(&body) {
                *rights += i128::from(u8::from(own(to))) * i128::from(amount);
                *rights -= i128::from(u8::from(own(dot.replica()))) * i128::from(amount);
            }
        }
        out
    }
    /// Who holds a replica's rights: itself, or the heir if it was evicted and all it did was received.
    fn heir(&self, replica: ReplicaIndex) -> ReplicaIndex {
        let mut r = replica;
        for _ in 0..self.roster.len() {
            match self.roster.get(r).map(|m| m.standing) {
                Some(Standing::Evicted { last, heir: Some(heir) }) if self.vv.get(r) >= last => r = heir,
                _ => break,
            }
        }
        r
    }
    /// Whether a set has an element.
    #[must_use]
    pub fn contains(&self, at: &Address, element: &[u8]) -> bool {
        self.table(at).is_some_and(|table| has_element(table.named(Name::new(element))))
    }
    /// A set's elements after one (or from the first), `limit` at most, in order of their bytes.
    #[must_use]
    pub fn elements(&self, at: &Address, after: Option<&[u8]>, limit: usize) -> Vec<Element> {
        let Some(table) = self.table(at).filter(|_| at.kind.is_set()) else { return Vec::new() };
        elements_after(table, after, limit)
    }
    /// How many names a map shows: fields, or at the root keys. At once.
    #[must_use]
    pub fn names_in(&self, names: &[Vec<u8>]) -> usize {
        self.table(&Address { names: names.to_vec(), kind: Kind::Map }).map_or(0, Table::names)
    }
    /// How many entries a map or a set has: several of a name that was written at the same time in several places. At once.
    #[must_use]
    pub fn entries_in(&self, at: &Address) -> usize {
        self.table(at).map_or(0, Table::len)
    }
    /// The name of the entry at this position, in order of names: a field, or an element, which may have been taken out of a 2P-Set
    /// for good. For choosing by chance; it costs a hundredth of going through all before it.
    #[must_use]
    pub fn name_at(&self, at: &Address, nth: usize) -> Option<Vec<u8>> {
        Some(self.table(at)?.nth(nth)?.name())
    }
    /// How many elements a set has. At once, but of a 2P-Set, whose elements are counted.
    #[must_use]
    pub fn cardinality(&self, at: &Address) -> usize {
        let Some(table) = self.table(at).filter(|_| at.kind.is_set()) else { return 0 };
        if at.kind != Kind::TwoPhaseSet {
            return table.names();
        }
        let (mut n, mut alive) = (0, false);
        let mut last = (0, usize::MAX, &[][..]);
        for e in table.iter() {
            let this = (e.head, e.len, e.rest);
            if this != last {
                n += usize::from(alive);
                (last, alive) = (this, true);
            }
            alive &= e.tag != RETIRED;
        }
        n + usize::from(alive)
    }
    pub(super) fn list(&self, at: &Address) -> Option<&List> {
        let id = self.tree.find_names(Kind::Sequence, at.names.iter().map(Vec::as_slice))?;
        self.sequences
            .get(self.tree.container(id).sequence)
            .map(|s| &s.list)
            .filter(|_| at.kind == Kind::Sequence)
    }
    /// How many elements a sequence has.
    #[must_use]
    pub fn length(&self, at: &Address) -> usize {
        self.list(at).map_or(0, List::len)
    }
    /// Elements of a sequence from a position on, `count` at most.
    #[must_use]
    pub fn range(&self, at: &Address, from: usize, count: usize) -> Vec<Vec<u8>> {
        let found = self.list(at).map(|l| l.slice(from..from.saturating_add(count)));
        found.unwrap_or_default().into_iter().map(Vec::from).collect()
    }
    /// The same, with their names.
    #[must_use]
    pub fn placed(&self, at: &Address, from: usize, count: usize) -> Vec<Placed> {
        let Some(list) = self.list(at) else { return Vec::new() };
        let values = list.slice(from..from.saturating_add(count));
        let names = list.names(from, values.len());
        let placed = |(name, value)| Placed { dot: Dot::from_bits(name), value: Vec::from(value) };
        names.into_iter().zip(values).map(placed).collect()
    }
    /// The fields of a map after one (or from the first), `limit` at most, in order of name and kind. Deadlines are not shown.
    #[must_use]
    pub fn fields(&self, names: &[Vec<u8>], after: Option<&Field>, limit: usize) -> Vec<Field> {
        let Some(table) = self.table(&Address { names: names.to_vec(), kind: Kind::Map }) else {
            return Vec::new();
        };
        let mut out: Vec<Field> = Vec::new();
        let start = after.map_or(Table::start(), |a| table.locate(&Name::new(&a.name)));
        for e in table.from(start) {
            let Some(kind) = Kind::from_number(e.tag & !CHILD).filter(|k| *k != Kind::Deadline) else {
                continue;
            };
            let field = Field { name: e.name(), kind };
            // One name's leaves come before its containers, so kinds within a name may come out of order.
            if after.is_some_and(|a| a.name == field.name && rank(a.kind) >= rank(kind))
                || out.last() == Some(&field)
            {
                continue;
            }
            if out.len() == limit {
                break;
            }
            out.push(field);
        }
        out
    }
    /// The kinds of what lies under these names.
    #[must_use]
    pub fn kinds(&self, names: &[Vec<u8>]) -> Vec<Kind> {
        let Some((table, depth)) = self.parent(names) else { return Vec::new() };
        let entries = table.named(Name::new(&names[depth]));
        let mut out: Vec<Kind> = entries.filter_map(|e| Kind::from_number(e.tag & !CHILD)).collect();
        out.sort_unstable();
        out.dedup();
        out
    }
    /// The edits that delete all that lies under these names, its deadline included.
    #[must_use]
    pub fn delete_all(&self, names: &[Vec<u8>]) -> Vec<Edit> {
        let at = |kind| Address { names: names.to_vec(), kind };
        self.kinds(names).into_iter().map(|kind| Edit::new(at(kind), Change::Delete)).collect()
    }
    /// What lies at an address, with everything below. For tools and tests: its size has no bound.
    #[must_use]
    pub fn get(&self, at: &Address) -> Option<Value> {
        if at.kind.is_container() {
            let id = self.tree.find_names(at.kind, at.names.iter().map(Vec::as_slice))?;
            return self.get_container(id);
        }
        let (table, depth) = self.parent(&at.names)?;
        let entries = table.named(Name::new(&at.names[depth])).filter(|e| e.tag == at.kind as u8);
        self.get_leaf(at.kind, entries)
    }
    fn get_leaf<'e>(&self, kind: Kind, entries: impl Iterator<Item = Entry<'e>>) -> Option<Value> {
        if kind.is_register() {
            let siblings = self.by_what_wins(entries);
            return (!siblings.is_empty()).then_some(Value::Register(siblings));
        }
        let totals =
            entries.map(|e| totals(e.body)).map(|(plus, minus)| i128::from(plus) - i128::from(minus));
        totals.reduce(|a, b| a + b).map(Value::Counter)
    }
    fn get_container(&self, id: u32) -> Option<Value> {
        let container = self.tree.container(id);
        if container.kind.is_set() {
            let all = elements_after(&container.table, None, usize::MAX).into_iter().map(|e| e.bytes);
            return Some(Value::Set(all.collect()));
        }
        if container.kind == Kind::Sequence {
            let list = self.sequences.get(container.sequence).map(|s| s.list.slice(0..usize::MAX));
            return Some(Value::Sequence(list.unwrap_or_default().into_iter().map(Vec::from).collect()));
        }
        let (mut fields, mut at) = (Vec::new(), Table::start());
        while let Some(e) = container.table.entry(at) {
            let here = (e.head, e.len, e.rest, e.tag);
            let alike = |e: &Entry<'_>| (e.head, e.len, e.rest, e.tag) == here;
            let value = match (e.child(), Kind::from_number(e.tag)) {
                (Some(child), _) => self.get_container(child),
                (None, Some(kind)) => self.get_leaf(kind, container.table.from(at).take_while(alike)),
                (None, None) => None,
            };
            let kind = Kind::from_number(e.tag & !CHILD);
            fields.extend(kind.zip(value).map(|(kind, v)| (Field { name: e.name(), kind }, v)));
            while container.table.entry(at).as_ref().is_some_and(alike) {
                at = container.table.next(at);
            }
        }
        fields.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Some(Value::Map(fields))
    }
    /// When the values of these names are to go, and by whose operation.
    #[must_use]
    pub fn deadline_of(&self, names: &[Vec<u8>]) -> Option<(u64, ReplicaIndex)> {
        let at = Address { names: names.to_vec(), kind: Kind::Deadline };
        let first = self.siblings(&at).into_iter().next()?;
        Some((u64::from_le_bytes(first.value.try_into().ok()?), first.dot.replica()))
    }
    /// Names whose deadline has passed and that it is on this replica to remove: it set the deadline, or inherits from
    /// who did. The removal is an operation like any other ([`Space::delete_all`]): what was written elsewhere
    /// at the same time stays.
    #[must_use]
    pub fn due(&self, millis: u64, limit: usize) -> Vec<Vec<Vec<u8>>> {
        let ours = self.deadlines.of(|by| self.minds(by));
        let passed = ours.flat_map(|all| all.iter().take_while(|(at, _, _)| *at <= millis));
        let in_force = passed.filter(|(at, by, names)| self.deadline_of(names) == Some((*at, by.replica())));
        in_force.map(|(_, _, names)| names.clone()).take(limit).collect()
    }
    /// When the next deadline passes of those that it is on this replica to mind.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let ours = self.deadlines.of(|by| self.minds(by));
        ours.filter_map(|all| all.first()).map(|(at, _, _)| *at).min()
    }
    /// Whether what a replica would do, were it here, is on this one. Asked in each turn: those that take part mind their own.
    fn minds(&self, replica: ReplicaIndex) -> bool {
        let takes_part = || self.roster.get(replica).is_some_and(Member::takes_part);
        replica == self.me || (!takes_part() && self.owner(replica) == self.me)
    }
    /// Who acts for a replica: itself, its heir, or the first member that is active.
    fn owner(&self, replica: ReplicaIndex) -> ReplicaIndex {
        let evicted = |r| !self.roster.get(r).is_some_and(Member::takes_part);
        let heir = self.heir(replica);
        if evicted(heir) { self.roster.kept_for().next().unwrap_or(self.me) } else { heir }
    }
}

/// Whether a set of these members has an element.
pub(super) fn has_element<'e>(named: impl Iterator<Item = Entry<'e>>) -> bool {
    let mut any = false;
    for e in named {
        if e.tag == RETIRED {
            return false;
        }
        any = true;
    }
    any
}

/// A set's elements after one, `limit` at most.
fn elements_after(table: &Table, after: Option<&[u8]>, limit: usize) -> Vec<Element> {
    let mut out: Vec<Element> = Vec::new();
    let mut dead: Option<Vec<u8>> = None;
    let start = after.map_or(Table::start(), |a| table.locate(&Name::new(a)));
    for e in table.from(start) {
        let bytes = e.name();
        if after == Some(bytes.as_slice()) || dead.as_ref() == Some(&bytes) {
            continue;
        }
        if e.tag == RETIRED {
            if out.last().is_some_and(|l| l.bytes == bytes) {
                out.pop();
            }
            dead = Some(bytes);
            continue;
        }
        let dot = Dot::from_bits(e.dot);
        let full = out.len() == limit;
        match out.last_mut().filter(|l| l.bytes == bytes) {
            Some(last) => last.dots.push(dot),
            None if full => break,
            None => out.push(Element { bytes, dots: [dot].into() }),
        }
    }
    out
}

/// The order in which kinds of one name lie in a table.
const fn rank(kind: Kind) -> u8 {
    if kind.is_container() { kind as u8 | CHILD } else { kind as u8 }
}
