//! A directed graph in compressed rows, its order if it has one, a short cycle if not, and
//! who reaches whom by chains.

use std::collections::VecDeque;

/// Edges with labels; the label is the caller's.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    list: Vec<(u32, u32, u32)>,
}

/// One edge: from, to, label.
pub(crate) type Edge = (u32, u32, u32);

impl Edges {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, from: u32, to: u32, label: u32) {
        self.list.push((from, to, label));
    }

    pub(crate) fn packed(&self, nodes: u32) -> Digraph {
        self.packed_of(nodes, |_| true)
    }

    /// Only the edges whose label is to be kept.
    pub(crate) fn packed_of(&self, nodes: u32, keep: impl Fn(u32) -> bool) -> Digraph {
        let kept = || self.list.iter().filter(|(.., label)| keep(*label));
        let mut rows = vec![0_u32; nodes as usize + 1];
        for (from, ..) in kept() {
            rows[*from as usize + 1] += 1;
        }
        for at in 1..rows.len() {
            rows[at] += rows[at - 1];
        }
        let mut next = rows.clone();
        let mut to = vec![(0, 0); kept().count()];
        for &(from, target, label) in kept() {
            let at = &mut next[from as usize];
            to[*at as usize] = (target, label);
            *at += 1;
        }
        Digraph { rows, to }
    }
}

/// A packed graph.
#[derive(Debug)]
pub(crate) struct Digraph {
    rows: Vec<u32>,
    to: Vec<(u32, u32)>,
}

/// Edges that the search for a shortest cycle may look at.
const LOOKS: usize = 4_000_000;

impl Digraph {
    pub(crate) fn nodes(&self) -> u32 {
        self.rows.len() as u32 - 1
    }

    #[inline]
    pub(crate) fn out(&self, node: u32) -> &[(u32, u32)] {
        &self.to[self.rows[node as usize] as usize..self.rows[node as usize + 1] as usize]
    }

    /// An order in which every edge leads forward; the nodes on or behind a cycle if there
    /// is none.
    pub(crate) fn order(&self) -> Result<Vec<u32>, Vec<u32>> {
        let mut incoming = vec![0_u32; self.nodes() as usize];
        for (to, _) in &self.to {
            incoming[*to as usize] += 1;
        }
        let mut order: Vec<u32> = (0..self.nodes()).filter(|node| incoming[*node as usize] == 0).collect();
        let mut at = 0;
        while at < order.len() {
            for &(to, _) in self.out(order[at]) {
                incoming[to as usize] -= 1;
                if incoming[to as usize] == 0 {
                    order.push(to);
                }
            }
            at += 1;
        }
        if order.len() == self.nodes() as usize {
            return Ok(order);
        }
        Err((0..self.nodes()).filter(|node| incoming[*node as usize] > 0).collect())
    }

    /// A cycle, the shortest that the bound allows to see; none if there is none. Each node
    /// with the label of the edge that leaves it.
    pub(crate) fn cycle(&self) -> Option<Vec<(u32, u32)>> {
        let mut inside = vec![false; self.nodes() as usize];
        let left = self.order().err()?;
        for node in &left {
            inside[*node as usize] = true;
        }
        let mut reached: Vec<u32> = vec![0; self.nodes() as usize];
        let mut by: Vec<(u32, u32)> = vec![(0, 0); self.nodes() as usize];
        let mut best: Option<Vec<(u32, u32)>> = None;
        let mut looks = LOOKS;
        for (wave, start) in left.iter().enumerate() {
            let most = best.as_ref().map_or(usize::MAX, Vec::len);
            if looks == 0 && best.is_some() || most <= 2 {
                break;
            }
            let wave = wave as u32 + 1;
            if self.back(*start, wave, &inside, &mut reached, &mut by, &mut looks) {
                let mut cycle = Vec::new();
                let mut node = *start;
                loop {
                    let (from, label) = by[node as usize];
                    cycle.push((from, label));
                    node = from;
                    if node == *start {
                        break;
                    }
                }
                cycle.reverse();
                if cycle.len() < most {
                    best = Some(cycle);
                }
            }
        }
        best
    }

    /// Whether a walk from `start` comes back; how is in `by`.
    fn back(
        &self,
        start: u32,
        wave: u32,
        inside: &[bool],
        reached: &mut [u32],
        by: &mut [(u32, u32)],
        looks: &mut usize,
    ) -> bool {
        let mut todo = VecDeque::from([start]);
        while let Some(node) = todo.pop_front() {
            for &(to, label) in self.out(node) {
                *looks = looks.saturating_sub(1);
                if !inside[to as usize] || reached[to as usize] == wave {
                    continue;
                }
                reached[to as usize] = wave;
                by[to as usize] = (node, label);
                if to == start {
                    return true;
                }
                todo.push_back(to);
            }
        }
        false
    }
}

/// Who reaches whom in an acyclic graph, by chains: paths that cover all nodes. Per node
/// and chain the last of the chain that leads to the node.
#[derive(Debug)]
pub(crate) struct Reach {
    chains: usize,
    /// Chain and place from 1, per node.
    place: Vec<(u32, u32)>,
    table: Vec<u32>,
}

impl Reach {
    /// Nobody follows.
    pub(crate) const NEXT: u32 = u32::MAX;

    /// `next` are paths known beforehand: per node the one that follows it on its chain, or
    /// [`Reach::NEXT`]; where none does, the first free successor takes the chain over.
    /// `None` if the table would have more than `most` entries.
    pub(crate) fn of(graph: &Digraph, order: &[u32], next: &[u32], most: usize) -> Option<Self> {
        let nodes = graph.nodes() as usize;
        let mut promised = vec![false; nodes];
        for to in next.iter().filter(|to| **to != Self::NEXT) {
            promised[*to as usize] = true;
        }
        let mut place = vec![(0_u32, 0_u32); nodes];
        let mut chains = 0_u32;
        // A node hands its chain on to the first successor that has none.
        for &node in order {
            if place[node as usize].1 == 0 {
                place[node as usize] = (chains, 1);
                chains += 1;
                if nodes.saturating_mul(chains as usize) > most {
                    return None;
                }
            }
            let (chain, at) = place[node as usize];
            let follows = next.get(node as usize).copied().filter(|to| *to != Self::NEXT);
            let free = |(to, _): &&(u32, u32)| place[*to as usize].1 == 0 && !promised[*to as usize];
            let follows = follows.or_else(|| graph.out(node).iter().find(free).map(|(to, _)| *to));
            if let Some(to) = follows {
                place[to as usize] = (chain, at + 1);
            }
        }
        let mut reach = Self { chains: chains as usize, place, table: vec![0; nodes * chains as usize] };
        for &node in order {
            let (chain, at) = reach.place[node as usize];
            let row = node as usize * reach.chains;
            reach.table[row + chain as usize] = at;
            for &(to, _) in graph.out(node) {
                reach.merge(row, to as usize * reach.chains);
            }
        }
        Some(reach)
    }

    fn merge(&mut self, from: usize, into: usize) {
        let chains = self.chains;
        let (low, high) = self.table.split_at_mut(from.max(into));
        let (from, into) = if from < into {
            (&low[from..from + chains], &mut high[..chains])
        } else {
            (&high[..chains], &mut low[into..into + chains])
        };
        for (to, from) in into.iter_mut().zip(from) {
            *to = (*to).max(*from);
        }
    }

    /// Whether a path of at least one edge leads from `a` to `b`.
    #[inline]
    pub(crate) fn leads(&self, a: u32, b: u32) -> bool {
        let (chain, at) = self.place[a as usize];
        a != b && self.table[b as usize * self.chains + chain as usize] >= at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: u32, list: &[(u32, u32)]) -> Digraph {
        let mut edges = Edges::new();
        for (at, (from, to)) in list.iter().enumerate() {
            edges.add(*from, *to, at as u32);
        }
        edges.packed(nodes)
    }

    #[test]
    fn the_shortest_cycle_is_found() {
        let two_cycles = graph(6, &[(0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (4, 5), (5, 3)]);
        let cycle = two_cycles.cycle().expect("there are two");
        assert_eq!(cycle.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(graph(3, &[(0, 1), (1, 2), (0, 2)]).cycle().is_none());
        assert_eq!(graph(2, &[(1, 1)]).cycle(), Some(vec![(1, 0)]));
    }

    #[test]
    fn reach_is_the_closure() {
        let mut seed = 7_u64;
        for _ in 0..200 {
            let mut list = Vec::new();
            for _ in 0..14 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (a, b) = ((seed >> 33) as u32 % 9, (seed >> 43) as u32 % 9);
                if a < b {
                    list.push((a, b));
                }
            }
            let graph = graph(9, &list);
            let order = graph.order().expect("edges lead upwards");
            let reach = Reach::of(&graph, &order, &[], usize::MAX).expect("it is small");
            let mut closure = [[false; 9]; 9];
            for &(a, b) in &list {
                closure[a as usize][b as usize] = true;
            }
            for k in 0..9 {
                for a in 0..9 {
                    for b in 0..9 {
                        closure[a][b] |= closure[a][k] && closure[k][b];
                    }
                }
            }
            for a in 0..9 {
                for b in 0..9 {
                    assert_eq!(reach.leads(a, b), closure[a as usize][b as usize], "{a} {b} {list:?}");
                }
            }
        }
    }
}
