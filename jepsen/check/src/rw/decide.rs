//! The verdict: what needs no search, then what follows, then the search.

use super::index::Index;
use super::order::Order;
use super::search::{self, Found, Variable};
use super::{Anomaly, Kind, Options, Transaction, Verdict, weak};
use crate::digraph::Reach;
use crate::level::{Level, Through};
use crate::mistake::{Mistake, planted};

/// Two writers of a key whose order is open.
#[derive(Debug, Clone, Copy)]
struct Pair {
    key: u32,
    /// By place in the key's writers.
    a: u32,
    b: u32,
}

/// Judges without cutting down.
pub(crate) fn check(transactions: &[Transaction], options: &Options) -> Verdict {
    let mut index = Index::of(transactions, options);
    if index.repeated {
        return Verdict::Unknown(index.anomalies[0].text.clone());
    }
    if options.level > Level::ReadUncommitted && !index.anomalies.is_empty() {
        let mut anomalies = std::mem::take(&mut index.anomalies);
        anomalies.sort_by_key(|anomaly| anomaly.kind);
        return Verdict::Invalid(anomalies);
    }
    match options.level {
        Level::ReadUncommitted => Verdict::Valid,
        Level::ReadCommitted | Level::ReadAtomic | Level::Causal => saturated(&index, options),
        _ => ordered(&index, options),
    }
}

fn saturated(index: &Index<'_>, options: &Options) -> Verdict {
    match weak::demands(index, options) {
        Err(why) => Verdict::Unknown(why),
        Ok(demands) => demands.cycle().map_or(Verdict::Valid, |cycle| {
            Verdict::Invalid(vec![weak::anomaly(index, options.level, &cycle)])
        }),
    }
}

fn ordered(index: &Index<'_>, options: &Options) -> Verdict {
    let mut order = Order::of(index, options);
    if let Some(anomaly) = order.cycle(index) {
        return Verdict::Invalid(vec![anomaly]);
    }
    let mut conclusions = Conclusions {
        index,
        readers: index.readers(),
        open: Vec::new(),
        steps: options.budget.steps,
        table: options.budget.table,
    };
    if let Err(why) = conclusions.collect() {
        return Verdict::Unknown(why);
    }
    match conclusions.conclude(&mut order) {
        Err(verdict) => verdict,
        Ok(nodes) => conclusions.search(&order, &nodes),
    }
}

struct Conclusions<'i, 't> {
    index: &'i Index<'t>,
    readers: Vec<Vec<Vec<u32>>>,
    open: Vec<Pair>,
    steps: u64,
    table: usize,
}

impl Conclusions<'_, '_> {
    /// All pairs of writers of each key.
    fn collect(&mut self) -> Result<(), String> {
        let count = |key: &super::index::Key| key.writers.len() * key.writers.len().saturating_sub(1) / 2;
        let pairs: usize = self.index.keys.iter().map(count).sum();
        if pairs > self.table / 2 {
            return Err(format!("{pairs} pairs of writers of one key are too many; use more keys"));
        }
        for (key, writers) in self.index.keys.iter().enumerate() {
            let count = writers.writers.len() as u32;
            for a in 0..count {
                self.open.extend((a + 1..count).map(|b| Pair { key: key as u32, a, b }));
            }
        }
        Ok(())
    }

    fn writer(&self, key: u32, place: u32) -> u32 {
        self.index.keys[key as usize].writers[place as usize]
    }

    /// Whether `a` before `b` would close a cycle.
    fn impossible(&mut self, order: &Order, reach: &Reach, key: u32, a: u32, b: u32) -> bool {
        self.edges(order, key, a, b).iter().any(|(from, to)| reach.leads(*to, *from))
    }

    /// The edges that `a` before `b` brings.
    fn edges(&mut self, order: &Order, key: u32, a: u32, b: u32) -> Vec<(u32, u32)> {
        let (first, second) = (self.writer(key, a), self.writer(key, b));
        let readers = &self.readers[key as usize][a as usize];
        self.steps = self.steps.saturating_sub(1 + readers.len() as u64);
        let mut edges = Vec::with_capacity(1 + readers.len());
        if !planted(Mistake::NoWw) {
            edges.push(order.ww_edge(first, second));
        }
        if !planted(Mistake::NoRw) {
            edges.extend(readers.iter().filter(|r| **r != second).map(|r| order.rw_edge(*r, second)));
        }
        edges
    }

    /// Concludes what follows until nothing more does. Answers an order of the nodes.
    fn conclude(&mut self, order: &mut Order) -> Result<Vec<u32>, Verdict> {
        loop {
            let graph = order.packed();
            let Ok(nodes) = graph.order() else {
                let anomaly = order.cycle(self.index);
                return Err(Verdict::Invalid(anomaly.into_iter().collect()));
            };
            let Some(reach) = Reach::of(&graph, &nodes, &order.next, self.table) else {
                let count = graph.nodes();
                return Err(Verdict::Unknown(format!(
                    "the reachability table of {count} points needs more than {} entries",
                    self.table
                )));
            };
            let mut concluded = 0;
            let open = std::mem::take(&mut self.open);
            for pair in open {
                let Pair { key, a, b } = pair;
                let forward = !self.impossible(order, &reach, key, a, b);
                let backward = !self.impossible(order, &reach, key, b, a);
                match (forward, backward) {
                    (true, true) => self.open.push(pair),
                    (false, false) => return Err(Verdict::Invalid(vec![self.neither(key, a, b)])),
                    (true, false) => concluded += self.take(order, &reach, key, a, b),
                    (false, true) => concluded += self.take(order, &reach, key, b, a),
                }
                if self.steps == 0 {
                    return Err(spent(self.open.len()));
                }
            }
            if concluded == 0 {
                return Ok(nodes);
            }
        }
    }

    /// Puts in the edges of `a` before `b` that are not implied yet.
    fn take(&mut self, order: &mut Order, reach: &Reach, key: u32, a: u32, b: u32) -> usize {
        let before = order.edges.len();
        let (first, second) = (self.writer(key, a), self.writer(key, b));
        let (from, to) = order.ww_edge(first, second);
        if !reach.leads(from, to) {
            order.ww(first, second, key);
        }
        for reader in self.readers[key as usize][a as usize].iter().filter(|r| **r != second) {
            let (from, to) = order.rw_edge(*reader, second);
            if !reach.leads(from, to) {
                order.rw(*reader, second, key);
            }
        }
        order.edges.len() - before
    }

    /// Neither of two writers of a key can be first.
    fn neither(&self, key: u32, a: u32, b: u32) -> Anomaly {
        let (a, b) = (self.writer(key, a), self.writer(key, b));
        let name = self.index.keys[key as usize].name;
        let lost = |at: u32| self.index.reads[at as usize].iter().find(|read| read.key == key);
        let same = lost(a).zip(lost(b)).is_some_and(|(x, y)| x.from == y.from);
        let kind = if same { Kind::LostUpdate } else { Kind::NoOrder };
        let mut text = if same {
            format!("T{a} and T{b} read the same version of key {name} and both wrote the next")
        } else {
            format!("neither T{a} nor T{b} can have written key {name} first: each order closes a cycle")
        };
        for at in [a, b] {
            let shown = super::words::transaction(&self.index.transactions[at as usize]);
            text.push_str(&format!("\n  T{at} = {shown}"));
        }
        let transactions = vec![a as usize, b as usize];
        let edges = vec![(0, 1, "ww".to_owned()), (1, 0, "ww".to_owned())];
        Anomaly { kind, through: Through::Data, transactions, edges, text }
    }

    fn search(&mut self, order: &Order, nodes: &[u32]) -> Verdict {
        if self.open.is_empty() {
            return Verdict::Valid;
        }
        let open = std::mem::take(&mut self.open);
        let variables: Vec<Variable> = open
            .iter()
            .map(|&Pair { key, a, b }| Variable {
                values: [self.edges(order, key, a, b), self.edges(order, key, b, a)],
            })
            .collect();
        match search::solve(nodes, &order.edges, &variables, &mut self.steps) {
            Found::Order => Verdict::Valid,
            Found::Spent => spent(open.len()),
            Found::None => Verdict::Invalid(vec![self.nothing(&open)]),
        }
    }

    fn nothing(&self, open: &[Pair]) -> Anomaly {
        let mut transactions: Vec<usize> = Vec::new();
        for pair in open {
            for place in [pair.a, pair.b] {
                let at = self.writer(pair.key, place) as usize;
                if !transactions.contains(&at) {
                    transactions.push(at);
                }
            }
        }
        let mut text = format!(
            "every order of the versions closes a cycle: {} pairs of writers were open and all their orders were refuted",
            open.len()
        );
        for at in transactions.iter().take(16) {
            let shown = super::words::transaction(&self.index.transactions[*at]);
            text.push_str(&format!("\n  T{at} = {shown}"));
        }
        Anomaly { kind: Kind::NoOrder, through: Through::Data, transactions, edges: Vec::new(), text }
    }
}

fn spent(open: usize) -> Verdict {
    Verdict::Unknown(format!("the step budget ran out with {open} pairs of writers still in either order"))
}
