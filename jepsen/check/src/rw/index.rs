//! Who wrote what, who read it, and every anomaly that shows without a cycle.

use super::{Anomaly, Kind, Options, Step, Transaction, Unwritten};
use crate::append::Status;
use crate::history::Value;
use crate::level::{Level, Through};
use crate::linearizable::machine::{Dense, Spread};
use crate::mistake::{Mistake, planted};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Of each kind so many are told.
const TELL: usize = 8;

/// The writer of a register's beginning.
pub(crate) const BEGINNING: u32 = u32::MAX;

/// A read of another transaction's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) key: u32,
    /// Who wrote it; [`BEGINNING`] if nobody had.
    pub(crate) from: u32,
}

/// One register.
#[derive(Debug, Default)]
pub(crate) struct Key {
    pub(crate) name: Value,
    /// Transactions that took effect and wrote it, ascending, once each.
    pub(crate) writers: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Writer {
    transaction: u32,
    /// Whether it is what the transaction left.
    last: bool,
}

type Writers = HashMap<(u32, Value), Writer, BuildHasherDefault<Spread>>;

/// The history, by numbers.
#[derive(Debug)]
pub(crate) struct Index<'t> {
    pub(crate) transactions: &'t [Transaction],
    pub(crate) keys: Vec<Key>,
    /// Per transaction: reads of what others wrote, in order.
    pub(crate) reads: Vec<Vec<Read>>,
    /// Per transaction: registers written, ascending.
    pub(crate) writes: Vec<Vec<u32>>,
    /// Whether it took effect, as far as anybody knows.
    pub(crate) happened: Vec<bool>,
    /// Transactions that took effect, by session, in the session's order.
    pub(crate) sessions: Vec<Vec<u32>>,
    pub(crate) anomalies: Vec<Anomaly>,
    /// The workload wrote a value twice.
    pub(crate) repeated: bool,
    writers: Writers,
    ids: Dense,
}

impl<'t> Index<'t> {
    pub(crate) fn of(transactions: &'t [Transaction], options: &Options) -> Self {
        let mut index = Self {
            transactions,
            keys: Vec::new(),
            reads: vec![Vec::new(); transactions.len()],
            writes: vec![Vec::new(); transactions.len()],
            happened: transactions.iter().map(|t| t.status == Status::Committed).collect(),
            sessions: Vec::new(),
            anomalies: Vec::new(),
            repeated: false,
            writers: Writers::default(),
            ids: Dense::default(),
        };
        index.index_writes();
        if !index.repeated {
            for at in 0..transactions.len() {
                index.index_reads(at as u32, options);
            }
            index.collect();
        }
        index
    }

    fn key(&mut self, name: Value) -> u32 {
        let id = self.ids.id(name) - 1;
        if id as usize == self.keys.len() {
            self.keys.push(Key { name, ..Key::default() });
        }
        id
    }

    fn tell(&mut self, kind: Kind, through: Through, transactions: &[u32], text: impl FnOnce() -> String) {
        if self.anomalies.iter().filter(|anomaly| anomaly.kind == kind).count() < TELL {
            self.anomalies.push(Anomaly {
                kind,
                through,
                transactions: transactions.iter().map(|at| *at as usize).collect(),
                edges: Vec::new(),
                text: text(),
            });
        }
    }

    fn index_writes(&mut self) {
        for (at, transaction) in self.transactions.iter().enumerate() {
            let at = at as u32;
            for step in transaction.steps.iter().rev() {
                let Step::Write { key, value } = *step else { continue };
                let id = self.key(key);
                let writes = &mut self.writes[at as usize];
                let last = !writes.contains(&id);
                if last {
                    writes.push(id);
                }
                let writer = Writer { transaction: at, last };
                if let Some(first) = self.writers.insert((id, value), writer) {
                    self.repeated = true;
                    let first = first.transaction;
                    let who = if first == at { vec![at] } else { vec![first, at] };
                    self.tell(Kind::RepeatedWrite, Through::Data, &who, || {
                        format!(
                            "T{first} and T{at} both write {value} to key {key}; values must be unique a key"
                        )
                    });
                }
            }
            self.writes[at as usize].sort_unstable();
        }
    }

    fn index_reads(&mut self, at: u32, options: &Options) {
        let transactions = self.transactions;
        let transaction = &transactions[at as usize];
        if transaction.status != Status::Committed {
            return;
        }
        // What the transaction itself knows of each register: its own write, or what it read.
        let mut own: Vec<(u32, Option<Value>, bool)> = Vec::new();
        for step in &transaction.steps {
            let (name, value, write) = match *step {
                Step::Write { key, value } => (key, Some(value), true),
                Step::Read { key, value } => (key, value, false),
            };
            let id = self.key(name);
            let place = own.iter().position(|(key, ..)| *key == id);
            if write {
                match place {
                    Some(place) => own[place] = (id, value, true),
                    None => own.push((id, value, true)),
                }
                continue;
            }
            match place.map(|place| own[place]) {
                Some((_, known, true)) if known != value && !planted(Mistake::InternalReadsAreNotChecked) => {
                    self.tell(Kind::Internal, Through::Data, &[at], || {
                        format!("T{at} wrote {} to key {name} and then read {}", shown(known), shown(value))
                    });
                    continue;
                }
                Some((_, _, true)) => continue,
                Some((_, known, false)) if known == value => continue,
                Some((_, known, false)) if options.level >= Level::ReadAtomic => {
                    self.tell(Kind::NonRepeatable, Through::Data, &[at], || {
                        format!("T{at} read key {name} as {} and then as {}", shown(known), shown(value))
                    });
                }
                Some((_, _, false)) => {}
                None => own.push((id, value, false)),
            }
            if let Some(from) = self.source(at, id, name, value, options) {
                self.reads[at as usize].push(Read { key: id, from });
            }
        }
    }

    /// Whose write a read saw.
    fn source(
        &mut self,
        at: u32,
        id: u32,
        name: Value,
        value: Option<Value>,
        options: &Options,
    ) -> Option<u32> {
        let Some(value) = value else { return Some(BEGINNING) };
        let Some(&Writer { transaction: from, last }) = self.writers.get(&(id, value)) else {
            if options.unwritten == Unwritten::Refuse && !planted(Mistake::ThinAirIsAllowed) {
                self.tell(Kind::ThinAir, Through::Data, &[at], || {
                    format!("T{at} read {value} from key {name}, which nobody wrote")
                });
            }
            return None;
        };
        if from == at {
            self.tell(Kind::Future, Through::Data, &[at], || {
                format!("T{at} read {value} from key {name} before it wrote it")
            });
            return None;
        }
        if self.transactions[from as usize].status == Status::Aborted {
            if !planted(Mistake::NoG1a) {
                self.tell(Kind::G1a, Through::Data, &[at, from], || {
                    format!("T{at} read {value} from key {name}, which the aborted T{from} wrote")
                });
            }
            return None;
        }
        if !last && !planted(Mistake::NoG1b) {
            self.tell(Kind::G1b, Through::Data, &[at, from], || {
                format!("T{at} read {value} from key {name}, which T{from} overwrote itself")
            });
        }
        if !planted(Mistake::InfoIsFail) {
            self.happened[from as usize] = true;
        }
        Some(from)
    }

    fn collect(&mut self) {
        let mut sessions: HashMap<u64, usize, BuildHasherDefault<Spread>> = HashMap::default();
        for (at, transaction) in self.transactions.iter().enumerate() {
            if !self.happened[at] {
                continue;
            }
            for key in &self.writes[at] {
                self.keys[*key as usize].writers.push(at as u32);
            }
            let next = self.sessions.len();
            let session = *sessions.entry(transaction.process).or_insert(next);
            if session == next {
                self.sessions.push(Vec::new());
            }
            self.sessions[session].push(at as u32);
        }
        for session in &mut self.sessions {
            session.sort_by_key(|at| self.transactions[*at as usize].call);
        }
    }

    /// Whether a transaction writes a register.
    pub(crate) fn writes(&self, at: u32, key: u32) -> bool {
        self.writes[at as usize].binary_search(&key).is_ok()
    }

    /// Per key and writer (in the order of [`Key::writers`]): who read its write.
    pub(crate) fn readers(&self) -> Vec<Vec<Vec<u32>>> {
        let empty = |key: &Key| vec![Vec::new(); key.writers.len()];
        let mut readers: Vec<Vec<Vec<u32>>> = self.keys.iter().map(empty).collect();
        for (at, reads) in self.reads.iter().enumerate() {
            for read in reads.iter().filter(|read| read.from != BEGINNING) {
                let place = self.keys[read.key as usize].writers.binary_search(&read.from);
                if let Ok(place) = place {
                    let list = &mut readers[read.key as usize][place];
                    if list.last() != Some(&(at as u32)) {
                        list.push(at as u32);
                    }
                }
            }
        }
        readers
    }
}

/// A value, or the beginning.
pub(crate) fn shown(value: Option<Value>) -> String {
    value.map_or("unset".to_owned(), |value| value.to_string())
}
