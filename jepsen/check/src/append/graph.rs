//! The dependency graph, in compressed rows.
//!
//! Nodes are the transactions, numbered as given, and helpers that stand for "everything
//! from here on", so that the number of edges stays linear:
//!
//! * *clocks*: one for each return, in the order of time, each leading to the next. A
//!   transaction leads to the clock of its return; the last clock before a call leads to
//!   the transaction called. A path over clocks is one realtime edge.
//! * *tails*: for a key with elements that no list shows, the transactions that appended
//!   them (in no known order) hang on two chains, one up and one down. Who read the whole
//!   list leads to all of them *but itself*: to the chain up after its own place, and to
//!   the chain down before it.
//!
//! Entering a helper costs one edge of its kind; moving on and leaving cost nothing.

use super::orders::{Key, NOBODY, Orders};
use super::{Level, Through, Transaction};
use crate::mistake::{Mistake, planted};

/// Kinds of edges, as bits of a mask.
pub(crate) mod edge {
    pub(crate) const WW: u8 = 1;
    pub(crate) const WR: u8 = 2;
    pub(crate) const RW: u8 = 4;
    pub(crate) const PROCESS: u8 = 8;
    pub(crate) const REALTIME: u8 = 16;
    /// Between helpers and out of them.
    pub(crate) const ON: u8 = 32;
}

/// A directed graph whose edges have kinds.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Nodes below this are transactions.
    pub(crate) transactions: u32,
    /// Row `n` is `rows[n]..rows[n + 1]`.
    rows: Vec<u32>,
    to: Vec<u32>,
    kinds: Vec<u8>,
}

#[derive(Default)]
struct Edges {
    list: Vec<(u32, u32, u8)>,
    nodes: u32,
}

impl Edges {
    fn add(&mut self, from: u32, to: u32, kind: u8) {
        let left_out = kind == edge::WW && planted(Mistake::NoWw)
            || kind == edge::WR && planted(Mistake::NoWr)
            || kind == edge::RW && planted(Mistake::NoRw);
        if from != to && !left_out {
            self.list.push((from, to, kind));
        }
    }

    fn node(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }
}

impl Graph {
    /// All edges that `level` respects.
    pub(crate) fn of(transactions: &[Transaction], orders: &Orders<'_>, level: Level) -> Self {
        let count = transactions.len() as u32;
        let mut edges = Edges { list: Vec::with_capacity(transactions.len() * 4), nodes: count };
        for key in &orders.keys {
            versions(key, &mut edges);
            tail(key, &mut edges);
        }
        let happened = |at: &u32| orders.happened[*at as usize];
        if level.through() == Through::Process && !planted(Mistake::NoProcess) {
            sessions(transactions, happened, &mut edges);
        }
        if level.through() == Through::Realtime && !planted(Mistake::NoRealtime) {
            clocks(transactions, happened, &mut edges);
        }
        Self::packed(count, &edges)
    }

    fn packed(transactions: u32, edges: &Edges) -> Self {
        let mut rows = vec![0_u32; edges.nodes as usize + 1];
        for (from, _, _) in &edges.list {
            rows[*from as usize + 1] += 1;
        }
        for at in 1..rows.len() {
            rows[at] += rows[at - 1];
        }
        let mut next = rows.clone();
        let mut to = vec![0; edges.list.len()];
        let mut kinds = vec![0; edges.list.len()];
        for &(from, target, kind) in &edges.list {
            let at = &mut next[from as usize];
            to[*at as usize] = target;
            kinds[*at as usize] = kind;
            *at += 1;
        }
        Self { transactions, rows, to, kinds }
    }

    pub(crate) fn nodes(&self) -> u32 {
        self.rows.len() as u32 - 1
    }

    /// The numbers of the edges of a node.
    #[inline]
    pub(crate) fn row(&self, node: u32) -> std::ops::Range<u32> {
        self.rows[node as usize]..self.rows[node as usize + 1]
    }

    /// Where an edge leads, and its kind.
    #[inline]
    pub(crate) fn edge(&self, at: u32) -> (u32, u8) {
        (self.to[at as usize], self.kinds[at as usize])
    }
}

fn versions(key: &Key<'_>, edges: &mut Edges) {
    let mut last = NOBODY;
    for &writer in key.writers.iter().filter(|writer| **writer != NOBODY) {
        if last != NOBODY {
            edges.add(last, writer, edge::WW);
        }
        last = writer;
    }
    for &(reader, count) in &key.reads {
        let (before, after) = key.writers.split_at(count as usize);
        if let Some(&writer) = before.last().filter(|writer| **writer != NOBODY) {
            edges.add(writer, reader, edge::WR);
        }
        // The reader's own elements may come next; what follows them is after it anyway.
        if let Some(&writer) = after.iter().find(|writer| **writer != NOBODY) {
            edges.add(reader, writer, edge::RW);
        }
    }
}

fn tail(key: &Key<'_>, edges: &mut Edges) {
    let [.., _] = key.unseen[..] else {
        return;
    };
    let up: Vec<u32> = key.unseen.iter().map(|_| edges.node()).collect();
    let down: Vec<u32> = key.unseen.iter().map(|_| edges.node()).collect();
    for (at, writer) in key.unseen.iter().enumerate() {
        edges.add(up[at], *writer, edge::ON);
        edges.add(down[at], *writer, edge::ON);
        if at > 0 {
            edges.add(up[at - 1], up[at], edge::ON);
            edges.add(down[at], down[at - 1], edge::ON);
        }
    }
    let mut hang = |node: u32, kind: u8| match key.unseen.binary_search(&node) {
        Err(_) => edges.add(node, up[0], kind),
        Ok(own) => {
            if let Some(next) = up.get(own + 1) {
                edges.add(node, *next, kind);
            }
            if own > 0 {
                edges.add(node, down[own - 1], kind);
            }
        }
    };
    if let Some(&writer) = key.writers.iter().rfind(|writer| **writer != NOBODY) {
        hang(writer, edge::WW);
    }
    for &(reader, count) in &key.reads {
        let rest = &key.writers[count as usize..];
        if rest.iter().all(|writer| *writer == NOBODY || *writer == reader) {
            hang(reader, edge::RW);
        }
    }
}

fn sessions(transactions: &[Transaction], happened: impl Fn(&u32) -> bool, edges: &mut Edges) {
    let mut order: Vec<u32> = (0..transactions.len() as u32).filter(happened).collect();
    let process = |at: u32| transactions[at as usize].process;
    order.sort_by_key(|at| (process(*at), transactions[*at as usize].call));
    for pair in order.windows(2).filter(|p| process(p[0]) == process(p[1])) {
        edges.add(pair[0], pair[1], edge::PROCESS);
    }
}

fn clocks(transactions: &[Transaction], happened: impl Fn(&u32) -> bool, edges: &mut Edges) {
    let mut calls: Vec<u32> = (0..transactions.len() as u32).filter(happened).collect();
    calls.sort_by_key(|at| transactions[*at as usize].call);
    let committed = |at: &u32| transactions[*at as usize].status == super::Status::Committed;
    let mut returns: Vec<u32> = calls.iter().copied().filter(committed).collect();
    returns.sort_by_key(|at| transactions[*at as usize].ret);
    let mut returns = returns.into_iter().peekable();
    let mut clock = None;
    for at in calls {
        let call = transactions[at as usize].call;
        while let Some(done) = returns.next_if(|r| transactions[*r as usize].ret < call) {
            let next = edges.node();
            edges.add(done, next, edge::REALTIME);
            if let Some(clock) = clock {
                edges.add(clock, next, edge::ON);
            }
            clock = Some(next);
        }
        if let Some(clock) = clock {
            edges.add(clock, at, edge::ON);
        }
    }
}
