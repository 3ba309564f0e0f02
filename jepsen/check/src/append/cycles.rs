//! Strongly connected components (Tarjan, without recursion), and in each the shortest
//! cycle of the most severe kind.

use super::graph::{Graph, edge};
use super::{Level, Through};
use crate::digraph::Edges;
use std::collections::VecDeque;

/// A cycle over transactions: each with the kind of the edge to the next.
pub(crate) type Cycle = Vec<(u32, u8)>;

/// Components that are told; a broken history can have thousands.
const TELL: usize = 16;

/// Edges that the search for one shortest cycle may look at.
const LOOKS: usize = 2_000_000;

/// One cycle of each component, at most [`TELL`].
pub(crate) fn find(graph: &Graph, level: Level) -> Vec<Cycle> {
    let every = edge::WW | edge::WR | edge::RW | edge::PROCESS | edge::REALTIME | edge::ON;
    let allowed = match level {
        Level::ReadUncommitted => edge::WW | edge::ON,
        Level::ReadCommitted => edge::WW | edge::WR | edge::ON,
        _ => every,
    };
    let mut walk = Walk::new(graph);
    let mut members: Vec<Vec<u32>> = Vec::new();
    let all: Vec<u32> = (0..graph.nodes()).collect();
    walk.components(&all, allowed, &mut members);
    members.sort_by_key(|component| component.iter().min().copied());
    members.truncate(TELL);
    let told = members.iter().map(|nodes| worst(&mut walk, nodes, level));
    told.collect()
}

/// Kinds from the most to the least severe, first by data alone. Where the bound cuts the
/// search for a cycle with exactly one rw, one with several is reported instead.
fn worst(walk: &mut Walk<'_>, nodes: &[u32], level: Level) -> Cycle {
    let orders: &[u8] = match level.through() {
        Through::Process => &[0, edge::PROCESS],
        Through::Realtime => &[0, edge::REALTIME],
        Through::Data => &[0],
    };
    for order in orders.iter().map(|order| order | edge::ON) {
        let (ww, wr, rw) = (edge::WW | order, edge::WR, edge::RW);
        let all = ww | wr | rw;
        for (mask, single) in [(ww, false), (ww | wr, false), (ww | wr, true), (all, false)] {
            if let Some(cycle) = walk.shortest(nodes, mask, single) {
                return cycle;
            }
        }
    }
    unreachable!("a component without a cycle")
}

/// A cycle in which no rw follows another: what snapshot isolation forbids. Each
/// transaction has a begin and a commit, doubled and doubled plus one; helpers are doubled
/// too, by the point that they lead to. A rw leads from a begin to a commit, everything else
/// from a commit to a begin, so that two rw in a row do not meet.
pub(crate) fn snapshot(graph: &Graph) -> Option<Cycle> {
    let mut edges = Edges::new();
    for node in 0..graph.nodes() {
        let helper = node >= graph.transactions;
        if !helper {
            edges.add(node * 2, node * 2 + 1, u32::from(edge::ON));
        }
        for at in graph.row(node) {
            let (to, kind) = graph.edge(at);
            let label = u32::from(kind);
            match (helper, kind == edge::RW) {
                (true, _) => {
                    edges.add(node * 2, to * 2, label);
                    edges.add(node * 2 + 1, to * 2 + 1, label);
                }
                (false, true) => edges.add(node * 2, to * 2 + 1, label),
                (false, false) => edges.add(node * 2 + 1, to * 2, label),
            }
        }
    }
    let cycle = edges.packed(graph.nodes() * 2).cycle()?;
    let counts = |(node, label): &(u32, u32)| {
        let node = node / 2;
        (node < graph.transactions && *label != u32::from(edge::ON)).then_some((node, *label as u8))
    };
    Some(cycle.iter().filter_map(counts).collect())
}

struct Walk<'g> {
    graph: &'g Graph,
    /// Tarjan: number of discovery from 1, 0 for unseen; per node.
    number: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    /// Which nodes the present search may enter.
    inside: Vec<u32>,
    stamp: u32,
    /// Breadth first: the edge and node by which a node was reached.
    reached: Vec<(u32, u32, u32)>,
    reached_stamp: Vec<u32>,
    wave: u32,
}

impl<'g> Walk<'g> {
    fn new(graph: &'g Graph) -> Self {
        let nodes = graph.nodes() as usize;
        Self {
            graph,
            number: vec![0; nodes],
            low: vec![0; nodes],
            on_stack: vec![false; nodes],
            inside: vec![0; nodes],
            stamp: 0,
            reached: vec![(0, 0, 0); nodes],
            reached_stamp: vec![0; nodes],
            wave: 0,
        }
    }

    fn enter(&mut self, nodes: &[u32]) {
        self.stamp += 1;
        for node in nodes {
            self.inside[*node as usize] = self.stamp;
        }
    }

    /// Components of more than one node among `nodes`, over edges of `mask`.
    fn components(&mut self, nodes: &[u32], mask: u8, out: &mut Vec<Vec<u32>>) {
        self.enter(nodes);
        for node in nodes {
            self.number[*node as usize] = 0;
        }
        let mut count = 0;
        let mut stack: Vec<u32> = Vec::new();
        let mut calls: Vec<(u32, u32)> = Vec::new();
        for &root in nodes {
            if self.number[root as usize] != 0 {
                continue;
            }
            calls.push((root, self.graph.row(root).start));
            self.discover(root, &mut count, &mut stack);
            while let Some((node, at)) = calls.last_mut() {
                let node = *node;
                if *at == self.graph.row(node).end {
                    calls.pop();
                    if let Some((parent, _)) = calls.last() {
                        let low = self.low[node as usize];
                        let parent = &mut self.low[*parent as usize];
                        *parent = low.min(*parent);
                    }
                    self.close(node, &mut stack, out);
                    continue;
                }
                let (to, kind) = self.graph.edge(*at);
                *at += 1;
                if kind & mask == 0 || self.inside[to as usize] != self.stamp {
                    continue;
                }
                if self.number[to as usize] == 0 {
                    calls.push((to, self.graph.row(to).start));
                    self.discover(to, &mut count, &mut stack);
                } else if self.on_stack[to as usize] {
                    let number = self.number[to as usize];
                    let low = &mut self.low[node as usize];
                    *low = number.min(*low);
                }
            }
        }
    }

    fn discover(&mut self, node: u32, count: &mut u32, stack: &mut Vec<u32>) {
        *count += 1;
        self.number[node as usize] = *count;
        self.low[node as usize] = *count;
        self.on_stack[node as usize] = true;
        stack.push(node);
    }

    fn close(&mut self, node: u32, stack: &mut Vec<u32>, out: &mut Vec<Vec<u32>>) {
        if self.low[node as usize] != self.number[node as usize] {
            return;
        }
        let at = stack.iter().rposition(|other| *other == node);
        let component = stack.split_off(at.expect("a root lies on the stack"));
        for member in &component {
            self.on_stack[*member as usize] = false;
        }
        if component.len() > 1 {
            out.push(component);
        }
    }

    /// The shortest cycle among `nodes` over edges of `mask`; with `single`, over exactly
    /// one rw edge besides. Shortest among those that the bound allows to see.
    fn shortest(&mut self, nodes: &[u32], mask: u8, single: bool) -> Option<Cycle> {
        let with = if single { mask | edge::RW } else { mask };
        let mut components = Vec::new();
        self.components(nodes, with, &mut components);
        let mut best: Option<Cycle> = None;
        let mut looks = LOOKS;
        for component in components {
            self.enter(&component);
            for &start in &component {
                if start >= self.graph.transactions {
                    continue;
                }
                for first in self.graph.row(start) {
                    let (to, kind) = self.graph.edge(first);
                    let fits = if single { edge::RW } else { mask };
                    if kind & fits == 0 || self.inside[to as usize] != self.stamp {
                        continue;
                    }
                    let most = best.as_ref().map_or(u32::MAX, |b| b.len() as u32 - 1);
                    if looks == 0 && (single || best.is_some()) {
                        return best;
                    }
                    if let Some(cycle) = self.back((start, first), mask, most, &mut looks) {
                        best = Some(cycle);
                    }
                }
            }
        }
        best
    }

    /// The shortest way from the end of edge `first` back to `start`, of at most `most`
    /// edges in all.
    fn back(&mut self, (start, first): (u32, u32), mask: u8, most: u32, looks: &mut usize) -> Option<Cycle> {
        self.wave += 1;
        let (to, _) = self.graph.edge(first);
        let mut todo = VecDeque::from([(to, 1_u32)]);
        self.reach(to, (start, first, 1));
        while let Some((node, length)) = todo.pop_front() {
            if length > self.reached[node as usize].2 {
                continue;
            }
            if node == start {
                return Some(self.trace(start));
            }
            for at in self.graph.row(node) {
                *looks = looks.saturating_sub(1);
                let (to, kind) = self.graph.edge(at);
                if kind & mask == 0 || self.inside[to as usize] != self.stamp {
                    continue;
                }
                let cost = u32::from(kind != edge::ON);
                let longer = length + cost;
                let known =
                    self.reached_stamp[to as usize] == self.wave && self.reached[to as usize].2 <= longer;
                if longer > most || known {
                    continue;
                }
                self.reach(to, (node, at, longer));
                if cost == 0 {
                    todo.push_front((to, longer));
                } else {
                    todo.push_back((to, longer));
                }
            }
        }
        None
    }

    fn reach(&mut self, node: u32, by: (u32, u32, u32)) {
        self.reached_stamp[node as usize] = self.wave;
        self.reached[node as usize] = by;
    }

    /// The cycle found, without helpers: an edge into a helper stands for the whole way.
    fn trace(&self, start: u32) -> Cycle {
        let mut cycle = Vec::new();
        let mut node = start;
        loop {
            let (from, at, _) = self.reached[node as usize];
            let (_, kind) = self.graph.edge(at);
            if from < self.graph.transactions {
                cycle.push((from, kind));
            }
            node = from;
            if node == start {
                break;
            }
        }
        cycle.reverse();
        cycle
    }
}
