//! Cycles in words.

use super::cycles::Cycle;
use super::graph::edge;
use super::orders::{NOBODY, Orders};
use super::{Anomaly, Kind, Step, Through, Transaction};
use crate::history::Value;

/// Lists longer than this are shown by their end.
const SHOWN: usize = 6;

pub(crate) struct Words<'a> {
    pub(crate) transactions: &'a [Transaction],
    pub(crate) orders: &'a Orders<'a>,
}

impl Words<'_> {
    /// Names a cycle by the edges it has, and tells it.
    pub(crate) fn cycle(&self, cycle: &Cycle) -> Anomaly {
        let has = |kind: u8| cycle.iter().filter(|(_, k)| *k == kind).count();
        let kind = match (has(edge::RW), has(edge::WR)) {
            (0, 0) => Kind::G0,
            (0, _) => Kind::G1c,
            (1, _) if self.both_read_and_append(cycle) => Kind::LostUpdate,
            (1, _) => Kind::GSingle,
            _ if rw_in_a_row(cycle) => Kind::G2Item,
            _ => Kind::GNonadjacent,
        };
        let through = if has(edge::REALTIME) > 0 {
            Through::Realtime
        } else if has(edge::PROCESS) > 0 {
            Through::Process
        } else {
            Through::Data
        };
        let names: Vec<String> = cycle.iter().map(|(at, _)| format!("T{at}")).collect();
        let mut text =
            format!("{} would each come before the next, and the last before the first", names.join(", "));
        for (at, _) in cycle {
            text.push_str(&format!("\n  T{at} = {}", transaction(&self.transactions[*at as usize])));
        }
        let mut edges = Vec::new();
        for (n, (from, kind)) in cycle.iter().enumerate() {
            let next = (n + 1) % cycle.len();
            let to = cycle[next].0;
            let why = self.edge(*from, to, *kind);
            text.push_str(&format!("\n  T{from} before T{to}: {why}"));
            edges.push((n, next, label(*kind).to_owned()));
        }
        let transactions = cycle.iter().map(|(at, _)| *at as usize).collect();
        Anomaly { kind, through, transactions, edges, text }
    }

    /// A cycle of two that both read a list and appended to it.
    fn both_read_and_append(&self, cycle: &Cycle) -> bool {
        let [(a, x), (b, y)] = cycle[..] else { return false };
        let data = |kind| matches!(kind, edge::WW | edge::RW);
        let read = |at: u32, name: Value| {
            let is = |step: &Step| matches!(step, Step::Read { key, .. } if *key == name);
            self.transactions[at as usize].steps.iter().any(is)
        };
        let both = |(id, _, _): (usize, Value, u32)| {
            let name = self.orders.keys[id].name;
            read(a, name) && read(b, name) && self.appends(b).any(|(other, ..)| other == id)
        };
        data(x) && data(y) && self.appends(a).any(both)
    }

    fn edge(&self, from: u32, to: u32, kind: u8) -> String {
        let found = match kind {
            edge::WW => self.ww(from, to),
            edge::WR => self.wr(from, to),
            edge::RW => self.rw(from, to),
            edge::PROCESS => Some("the same client ran it first (process)".to_owned()),
            _ => Some("it had returned when the other was called (realtime)".to_owned()),
        };
        found.expect("an edge has its reason in the orders")
    }

    /// Appends of a transaction: key number, element, place.
    fn appends(&self, at: u32) -> impl Iterator<Item = (usize, Value, u32)> {
        self.orders.keys.iter().enumerate().flat_map(move |(id, key)| {
            let steps = self.transactions[at as usize].steps.iter();
            steps.filter_map(move |step| match step {
                Step::Append { key: name, element } if *name == key.name => {
                    let writer = self.orders.writers.get(&(id as u32, *element))?;
                    Some((id, *element, writer.place))
                }
                Step::Append { .. } | Step::Read { .. } => None,
            })
        })
    }

    /// The next element after `place` that somebody known appended, and who.
    fn next(&self, id: usize, place: u32) -> Option<(Value, u32)> {
        let key = &self.orders.keys[id];
        let at = (place as usize..key.writers.len()).find(|at| key.writers[*at] != NOBODY)?;
        Some((key.order[at], key.writers[at]))
    }

    fn ww(&self, from: u32, to: u32) -> Option<String> {
        let mut appends = self.appends(from).filter(|(_, _, place)| *place != NOBODY);
        appends.find_map(|(id, element, place)| {
            let name = self.orders.keys[id].name;
            if let Some((next, _)) = self.next(id, place + 1).filter(|(_, by)| *by == to) {
                return Some(format!("it appended {element} to {name}, then came {next} (ww)"));
            }
            let unseen = self.unseen(id, to)?;
            Some(format!(
                "it appended {element} to {name}, which lists show, and {unseen}, which none shows, came later (ww)"
            ))
        })
    }

    fn wr(&self, from: u32, to: u32) -> Option<String> {
        self.orders.keys.iter().find_map(|key| {
            let reads = |read: &&(u32, u32)| read.0 == to && read.1 > 0;
            let last = key.reads.iter().find(reads)?.1 as usize - 1;
            let element = key.order[last];
            (key.writers[last] == from)
                .then(|| format!("it appended {element} to {}, which the other read (wr)", key.name))
        })
    }

    fn rw(&self, from: u32, to: u32) -> Option<String> {
        self.orders.keys.iter().enumerate().find_map(|(id, key)| {
            let (_, count) = *key.reads.iter().find(|(reader, _)| *reader == from)?;
            let name = key.name;
            if let Some((next, _)) = self.next(id, count).filter(|(_, by)| *by == to) {
                return Some(format!("it read {name} without {next} (rw)"));
            }
            let unseen = self.unseen(id, to)?;
            Some(format!("it read all that was ever seen of {name}, without {unseen} (rw)"))
        })
    }

    /// An element that `by` appended to a key and no list shows.
    fn unseen(&self, id: usize, by: u32) -> Option<Value> {
        let unseen = |append: &(usize, Value, u32)| append.0 == id && append.2 == NOBODY;
        self.appends(by).find(unseen).map(|(_, element, _)| element)
    }
}

/// A transaction in one line.
pub(crate) fn transaction(transaction: &Transaction) -> String {
    let step = |step: &Step| match step {
        Step::Append { key, element } => format!("append {element} to {key}"),
        Step::Read { key, list: None } => format!("read {key}"),
        Step::Read { key, list: Some(list) } => format!("read {key} -> {}", shown(list)),
    };
    let steps: Vec<String> = transaction.steps.iter().map(step).collect();
    format!("client {}: {}", transaction.process, steps.join(", "))
}

fn rw_in_a_row(cycle: &Cycle) -> bool {
    (0..cycle.len()).any(|n| cycle[n].1 == edge::RW && cycle[(n + 1) % cycle.len()].1 == edge::RW)
}

fn label(kind: u8) -> &'static str {
    match kind {
        edge::WW => "ww",
        edge::WR => "wr",
        edge::RW => "rw",
        edge::PROCESS => "process",
        _ => "realtime",
    }
}

fn shown(list: &[Value]) -> String {
    let tail: Vec<String> = list.iter().rev().take(SHOWN).rev().map(Value::to_string).collect();
    let dots = if list.len() > SHOWN { ".. " } else { "" };
    format!("[{dots}{}]", tail.join(" "))
}
