//! What lists tell: the order of each key's elements, who appended each, who saw how much;
//! and every anomaly that shows without a cycle.

use super::{Anomaly, Kind, Status, Step, Through, Transaction};
use crate::history::Value;
use crate::linearizable::machine::{Dense, Spread};
use crate::mistake::{Mistake, planted};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Nobody: an element of an aborted transaction, or of none.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Of each kind so many are told.
const TELL: usize = 8;

/// Who appended an element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) transaction: u32,
    /// Whether it is the last that the transaction appended to the key.
    last: bool,
    /// Its place in the key's order; [`NOBODY`] if no list shows it.
    pub(crate) place: u32,
}

/// One key.
#[derive(Debug, Default)]
pub(crate) struct Key<'t> {
    pub(crate) name: Value,
    /// The longest list read.
    pub(crate) order: &'t [Value],
    /// Who appended each element of it.
    pub(crate) writers: Vec<u32>,
    /// Transactions and how many elements of others they found.
    pub(crate) reads: Vec<(u32, u32)>,
    /// Transactions that took effect, with an element that no list shows; ascending, once each.
    pub(crate) unseen: Vec<u32>,
    /// Who read `order`.
    reader: u32,
}

type Writers = HashMap<(u32, Value), Writer, BuildHasherDefault<Spread>>;

/// All keys.
#[derive(Debug)]
pub(crate) struct Orders<'t> {
    pub(crate) keys: Vec<Key<'t>>,
    pub(crate) writers: Writers,
    /// Per transaction: whether it took effect, as far as anybody knows.
    pub(crate) happened: Vec<bool>,
    ids: Dense,
}

/// Collects anomalies, a bounded number of each kind.
struct Told<'a> {
    anomalies: &'a mut Vec<Anomaly>,
}

impl Told<'_> {
    fn tell(&mut self, kind: Kind, transactions: &[u32], text: impl FnOnce() -> String) {
        let passes = match kind {
            Kind::G1a => planted(Mistake::NoG1a),
            Kind::G1b => planted(Mistake::NoG1b),
            Kind::Internal => planted(Mistake::InternalReadsAreNotChecked),
            Kind::UnwrittenElement => planted(Mistake::UnwrittenElementsPass),
            Kind::IncompatibleOrder => planted(Mistake::IncompatibleOrdersPass),
            Kind::DuplicateElement => planted(Mistake::DuplicateElementsPass),
            _ => false,
        };
        if passes {
            return;
        }
        let same = |anomaly: &&Anomaly| anomaly.kind == kind;
        if self.anomalies.iter().filter(same).count() < TELL {
            self.anomalies.push(Anomaly {
                kind,
                through: Through::Data,
                transactions: transactions.iter().map(|at| *at as usize).collect(),
                edges: Vec::new(),
                text: text(),
            });
        }
    }
}

impl<'t> Orders<'t> {
    /// `None` if the workload itself repeats elements.
    pub(crate) fn of(transactions: &'t [Transaction], anomalies: &mut Vec<Anomaly>) -> Option<Self> {
        let mut told = Told { anomalies };
        let mut orders = Self {
            keys: Vec::new(),
            writers: Writers::default(),
            happened: Vec::new(),
            ids: Dense::default(),
        };
        orders.index_appends(transactions, &mut told);
        if !told.anomalies.is_empty() {
            return None;
        }
        let reads = orders.collect_reads(transactions, &mut told);
        let mut usable = vec![true; orders.keys.len()];
        orders.compare(&reads, &mut usable, &mut told);
        orders.place(transactions, &mut usable, &mut told);
        let committed = |t: &Transaction| t.status == Status::Committed;
        orders.happened = transactions.iter().map(committed).collect();
        for (at, key) in orders.keys.iter_mut().enumerate() {
            if usable[at] {
                for writer in key.writers.iter().filter(|w| **w != NOBODY && !planted(Mistake::InfoIsFail)) {
                    orders.happened[*writer as usize] = true;
                }
            } else {
                *key = Key { name: key.name, ..Key::default() };
            }
        }
        orders.intermediate(&mut told);
        orders.foreseen(transactions, &mut told);
        orders.unseen(transactions, &usable, &mut told);
        Some(orders)
    }

    /// The dense number of a key.
    pub(crate) fn key(&mut self, name: Value) -> u32 {
        let id = self.ids.id(name) - 1;
        if id as usize == self.keys.len() {
            self.keys.push(Key { name, ..Key::default() });
        }
        id
    }

    fn index_appends(&mut self, transactions: &[Transaction], told: &mut Told<'_>) {
        for (at, transaction) in transactions.iter().enumerate() {
            let at = at as u32;
            for (n, step) in transaction.steps.iter().enumerate() {
                let Step::Append { key, element } = *step else {
                    continue;
                };
                let later = |later: &Step| matches!(later, Step::Append { key: k, .. } if *k == key);
                let writer = Writer {
                    transaction: at,
                    last: !transaction.steps[n + 1..].iter().any(later),
                    place: NOBODY,
                };
                let id = self.key(key);
                if let Some(first) = self.writers.insert((id, element), writer) {
                    told.tell(Kind::RepeatedAppend, &[first.transaction, at], || {
                        format!(
                            "T{} and T{at} both append {element} to key {key}; elements must be unique a key",
                            first.transaction
                        )
                    });
                }
            }
        }
    }

    /// Per key: the transaction and what it found before its own appends. Finds the
    /// longest list, and transactions that do not see their own past.
    fn collect_reads(
        &mut self,
        transactions: &'t [Transaction],
        told: &mut Told<'_>,
    ) -> Vec<Vec<(u32, &'t [Value])>> {
        let mut reads: Vec<Vec<(u32, &'t [Value])>> = vec![Vec::new(); self.keys.len()];
        let mut past: Vec<Past<'t>> = Vec::new();
        for (at, transaction) in transactions.iter().enumerate() {
            if transaction.status != Status::Committed {
                continue;
            }
            let at = at as u32;
            past.clear();
            for step in &transaction.steps {
                let name = match step {
                    Step::Append { key, .. } | Step::Read { key, .. } => *key,
                };
                let id = self.key(name);
                reads.resize(self.keys.len(), Vec::new());
                let known = past.iter().position(|p| p.key == id).unwrap_or(past.len());
                if known == past.len() {
                    past.push(Past::new(id));
                }
                let past = &mut past[known];
                match step {
                    Step::Append { element, .. } => past.own.push(*element),
                    Step::Read { list: None, .. } => {}
                    Step::Read { list: Some(list), .. } => match past.read(list) {
                        Seen::First(found) => reads[id as usize].push((at, found)),
                        Seen::Again => {}
                        Seen::Wrong => {
                            told.tell(Kind::Internal, &[at], || past.complain(at, name, list));
                            continue;
                        }
                    },
                }
                if let Step::Read { list: Some(list), .. } = step {
                    let key = &mut self.keys[id as usize];
                    if list.len() > key.order.len() {
                        key.order = list;
                        key.reader = at;
                    }
                }
            }
        }
        reads
    }

    /// Every list must begin the longest.
    fn compare(&mut self, reads: &[Vec<(u32, &'t [Value])>], usable: &mut [bool], told: &mut Told<'_>) {
        for (id, reads) in reads.iter().enumerate() {
            let key = &mut self.keys[id];
            for (at, found) in reads {
                if key.order.starts_with(found) {
                    key.reads.push((*at, found.len() as u32));
                    continue;
                }
                if usable[id] {
                    let place = found.iter().zip(key.order).position(|(a, b)| a != b);
                    let place = place.expect("of two lists one begins the other");
                    told.tell(Kind::IncompatibleOrder, &[*at, key.reader], || {
                        format!(
                            "key {}: T{at} read element {} at place {place}, where T{} read {}",
                            key.name, found[place], key.reader, key.order[place]
                        )
                    });
                }
                usable[id] = false;
            }
        }
    }

    /// Gives each element of each order its place and its writer.
    fn place(&mut self, transactions: &[Transaction], usable: &mut [bool], told: &mut Told<'_>) {
        for (id, key) in self.keys.iter_mut().enumerate() {
            key.writers = Vec::with_capacity(key.order.len());
            for (place, element) in key.order.iter().enumerate() {
                let place = place as u32;
                let reader = key.reader;
                let Some(writer) = self.writers.get_mut(&(id as u32, *element)) else {
                    told.tell(Kind::UnwrittenElement, &[reader], || {
                        format!("T{reader} read element {element} of key {}, which nobody appended", key.name)
                    });
                    key.writers.push(NOBODY);
                    continue;
                };
                if writer.place != NOBODY {
                    usable[id] = false;
                    told.tell(Kind::DuplicateElement, &[reader], || {
                        format!(
                            "T{reader} read element {element} of key {} twice, at places {} and {place}",
                            key.name, writer.place
                        )
                    });
                    continue;
                }
                writer.place = place;
                let by = writer.transaction;
                if transactions[by as usize].status != Status::Aborted {
                    key.writers.push(by);
                    continue;
                }
                key.writers.push(NOBODY);
                told.tell(Kind::G1a, &[reader, by], || {
                    format!(
                        "T{reader} read element {element} of key {}, which the aborted T{by} appended",
                        key.name
                    )
                });
            }
        }
    }

    fn intermediate(&self, told: &mut Told<'_>) {
        for (id, key) in self.keys.iter().enumerate() {
            for &(reader, count) in key.reads.iter().filter(|(_, count)| *count > 0) {
                let element = key.order[count as usize - 1];
                let writer = self.writers.get(&(id as u32, element));
                let Some(writer) = writer.filter(|w| !w.last && w.transaction != reader) else {
                    continue;
                };
                let by = writer.transaction;
                told.tell(Kind::G1b, &[reader, by], || {
                    format!(
                        "T{reader} read key {} up to element {element}, which T{by} covered with another of its own",
                        key.name
                    )
                });
            }
        }
    }

    /// Reads that show an element which the reader itself appends only later.
    fn foreseen(&self, transactions: &[Transaction], told: &mut Told<'_>) {
        for (id, key) in self.keys.iter().enumerate() {
            for &(reader, count) in &key.reads {
                for step in &transactions[reader as usize].steps {
                    let Step::Append { key: name, element } = *step else {
                        continue;
                    };
                    let writer = self.writers.get(&(id as u32, element));
                    if name == key.name && writer.is_some_and(|w| w.place < count) {
                        told.tell(Kind::Internal, &[reader], || {
                            format!("T{reader} read element {element} of key {name} before it appended it")
                        });
                    }
                }
            }
        }
    }

    /// Collects appends that took effect and that no list shows, and tells those that lists
    /// show in another order than their own transaction made them.
    fn unseen(&mut self, transactions: &[Transaction], usable: &[bool], told: &mut Told<'_>) {
        let mut places: Vec<(u32, u32, Value)> = Vec::new();
        for (at, transaction) in transactions.iter().enumerate() {
            if !self.happened[at] {
                continue;
            }
            let at = at as u32;
            places.clear();
            for step in &transaction.steps {
                let Step::Append { key, element } = *step else {
                    continue;
                };
                let id = self.key(key);
                if !usable[id as usize] {
                    continue;
                }
                let place = self.writers[&(id, element)].place;
                let unseen = &mut self.keys[id as usize].unseen;
                if place == NOBODY
                    && unseen.last() != Some(&at)
                    && !planted(Mistake::UnseenAppendsAreForgotten)
                {
                    unseen.push(at);
                }
                let before = places.iter().rfind(|(other, ..)| *other == id);
                if let Some((_, _, first)) = before.filter(|(_, before, _)| place < *before) {
                    told.tell(Kind::Internal, &[at], || {
                        format!("T{at} appended {first} and then {element} to key {key}, but lists show {element} without {first} before it")
                    });
                }
                places.push((id, place, element));
            }
        }
    }
}

/// What one transaction knows of one key.
struct Past<'t> {
    key: u32,
    /// What it found before its own appends.
    found: Option<&'t [Value]>,
    /// What it appended.
    own: Vec<Value>,
}

enum Seen<'t> {
    /// The first read: what others had appended.
    First(&'t [Value]),
    /// A later read that agrees.
    Again,
    /// A read that does not agree with the transaction's own past.
    Wrong,
}

impl<'t> Past<'t> {
    fn new(key: u32) -> Self {
        Self { key, found: None, own: Vec::new() }
    }

    fn read(&mut self, list: &'t [Value]) -> Seen<'t> {
        let Some(found) = list.strip_suffix(&self.own[..]) else {
            return Seen::Wrong;
        };
        match self.found {
            None => {
                self.found = Some(found);
                Seen::First(found)
            }
            Some(before) if before == found => Seen::Again,
            Some(_) => Seen::Wrong,
        }
    }

    fn complain(&self, at: u32, key: Value, list: &[Value]) -> String {
        let found = self.found.map_or("anything".to_owned(), |f| format!("{f:?}"));
        format!("T{at} read key {key} as {list:?}, after it had found {found} and appended {:?}", self.own)
    }
}
