//! The search for an order of the versions, where neither order of two writers follows.
//!
//! Each open pair of writers is a variable with two values; each value brings edges. Sought
//! is a choice without a cycle. This is satisfiability modulo acyclicity, as in Cobra and
//! PolySI, here without a solver by others: decisions, an order of the nodes kept up to date
//! edge by edge (Pearce and Kelly, JEA 2006), and from each cycle a clause: not all of the
//! choices on it (Marques-Silva and Sakallah; first unique implication point, jump back).
//!
//! # Invariants
//! 1. `place` is an order of the nodes in which every edge present leads forward.
//! 2. Edges are taken out in the reverse order of putting in; taking out keeps 1.
//! 3. A learned clause follows from the problem alone, so *none* at level 0 is a proof.

use crate::digraph::Edge;
use crate::mistake::{Mistake, planted};
use std::collections::BinaryHeap;

/// The label of an edge that is no choice.
const KNOWN: u32 = u32::MAX;

/// A choice: a variable, doubled, odd for its second value.
type Choice = u32;

/// The edges of both values of one variable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variable {
    pub(crate) values: [Vec<(u32, u32)>; 2],
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Order,
    None,
    Spent,
}

struct Search<'p> {
    variables: &'p [Variable],
    out: Vec<Vec<(u32, u32)>>,
    into: Vec<Vec<(u32, u32)>>,
    place: Vec<u32>,
    /// Which walk last met a node, and from where.
    mark: Vec<u32>,
    by: Vec<(u32, u32)>,
    wave: u32,
    /// Edges present through choices, with how many before each level of the trail.
    edges: Vec<(u32, u32)>,
    value: Vec<Option<bool>>,
    level: Vec<u32>,
    reason: Vec<Option<u32>>,
    trail: Vec<Choice>,
    /// Per level: lengths of the trail and of the edges when it began.
    levels: Vec<(usize, usize)>,
    next: usize,
    clauses: Vec<Vec<Choice>>,
    watches: Vec<Vec<u32>>,
    recent: Vec<u64>,
    phase: Vec<bool>,
    heap: BinaryHeap<(u64, u32)>,
    seen: Vec<bool>,
    steps: u64,
}

/// Looks for an acyclic choice. `order` is an order of the nodes that `known` respects.
pub(crate) fn solve(order: &[u32], known: &[Edge], variables: &[Variable], steps: &mut u64) -> Found {
    if planted(Mistake::SearchStopsEarly) {
        return Found::Order;
    }
    let mut search = Search::new(order, known, variables, *steps);
    let found = search.run();
    *steps = search.steps;
    found
}

impl<'p> Search<'p> {
    fn new(order: &[u32], known: &[Edge], variables: &'p [Variable], steps: u64) -> Self {
        let nodes = order.len();
        let mut place = vec![0; nodes];
        for (at, node) in order.iter().enumerate() {
            place[*node as usize] = at as u32;
        }
        let mut search = Self {
            variables,
            out: vec![Vec::new(); nodes],
            into: vec![Vec::new(); nodes],
            place,
            mark: vec![0; nodes],
            by: vec![(0, 0); nodes],
            wave: 0,
            edges: Vec::new(),
            value: vec![None; variables.len()],
            level: vec![0; variables.len()],
            reason: vec![None; variables.len()],
            trail: Vec::new(),
            levels: Vec::new(),
            next: 0,
            clauses: Vec::new(),
            watches: vec![Vec::new(); variables.len() * 2],
            recent: vec![0; variables.len()],
            phase: Vec::new(),
            heap: (0..variables.len() as u32).map(|at| (0, u32::MAX - at)).collect(),
            seen: vec![false; variables.len()],
            steps,
        };
        for &(from, to, _) in known {
            search.out[from as usize].push((to, KNOWN));
            search.into[to as usize].push((from, KNOWN));
        }
        // First try what the present order suggests.
        let backward = |edges: &[(u32, u32)]| {
            edges.iter().filter(|(a, b)| search.place[*a as usize] > search.place[*b as usize]).count()
        };
        search.phase = variables.iter().map(|v| backward(&v.values[1]) < backward(&v.values[0])).collect();
        search
    }

    fn run(&mut self) -> Found {
        loop {
            if let Some(conflict) = self.propagate() {
                if self.levels.is_empty() {
                    return Found::None;
                }
                self.learn(conflict);
                continue;
            }
            if self.steps == 0 {
                return Found::Spent;
            }
            let Some(variable) = self.undecided() else { return Found::Order };
            self.levels.push((self.trail.len(), self.edges.len()));
            let second = self.phase[variable as usize];
            self.assign(variable << 1 | u32::from(second), None);
        }
    }

    fn undecided(&mut self) -> Option<u32> {
        loop {
            let (recent, at) = self.heap.pop()?;
            let variable = u32::MAX - at;
            let fresh = self.recent[variable as usize] == recent;
            if fresh && self.value[variable as usize].is_none() {
                return Some(variable);
            }
        }
    }

    fn holds(&self, choice: Choice) -> Option<bool> {
        self.value[choice as usize / 2].map(|second| second == (choice & 1 == 1))
    }

    fn assign(&mut self, choice: Choice, reason: Option<u32>) {
        let variable = choice as usize / 2;
        self.value[variable] = Some(choice & 1 == 1);
        self.level[variable] = self.levels.len() as u32;
        self.reason[variable] = reason;
        self.trail.push(choice);
    }

    /// Follows all choices made; answers a clause whose choices are all refused.
    fn propagate(&mut self) -> Option<Vec<Choice>> {
        while self.next < self.trail.len() {
            let choice = self.trail[self.next];
            self.next += 1;
            if let Some(clause) = self.follow(choice ^ 1) {
                return Some(self.clauses[clause as usize].clone());
            }
            let variables = self.variables;
            for &(from, to) in &variables[choice as usize / 2].values[choice as usize & 1] {
                if let Some(cycle) = self.insert(from, to, choice) {
                    return Some(cycle);
                }
            }
        }
        None
    }

    /// Clauses that watch `refused`: find another to watch, conclude, or conflict.
    fn follow(&mut self, refused: Choice) -> Option<u32> {
        let mut watching = std::mem::take(&mut self.watches[refused as usize]);
        let mut at = 0;
        let mut conflict = None;
        while at < watching.len() {
            let clause = watching[at];
            self.steps = self.steps.saturating_sub(1);
            let choices = &mut self.clauses[clause as usize];
            if choices[0] == refused {
                choices.swap(0, 1);
            }
            let value = |choice: Choice| self.value[choice as usize / 2].map(|v| v == (choice & 1 == 1));
            let first = choices[0];
            if value(first) == Some(true) {
                at += 1;
                continue;
            }
            if let Some(other) = (2..choices.len()).find(|n| value(choices[*n]) != Some(false)) {
                choices.swap(1, other);
                let watched = choices[1];
                self.watches[watched as usize].push(clause);
                watching.swap_remove(at);
                continue;
            }
            if self.holds(first) == Some(false) {
                conflict = Some(clause);
                break;
            }
            self.assign(first, Some(clause));
            at += 1;
        }
        self.watches[refused as usize] = watching;
        conflict
    }

    /// Puts an edge in; answers the refused choices of a cycle that it would close.
    fn insert(&mut self, from: u32, to: u32, choice: Choice) -> Option<Vec<Choice>> {
        if from == to {
            return Some(vec![choice ^ 1]);
        }
        let (low, high) = (self.place[to as usize], self.place[from as usize]);
        if low < high {
            let Ok(ahead) = self.walk(to, from, high, true) else {
                return Some(self.cycle(to, from, choice));
            };
            let behind = self.walk(from, to, low, false).expect("no way leads back both ways");
            self.reorder(behind, ahead);
        }
        self.out[from as usize].push((to, choice));
        self.into[to as usize].push((from, choice));
        self.edges.push((from, to));
        None
    }

    /// All nodes from `start` within the bounds; `Err` if `goal` is among them.
    fn walk(&mut self, start: u32, goal: u32, bound: u32, forward: bool) -> Result<Vec<u32>, ()> {
        self.wave += 1;
        self.mark[start as usize] = self.wave;
        let mut found = vec![start];
        let mut at = 0;
        while at < found.len() {
            let node = found[at];
            at += 1;
            let list = if forward { &self.out[node as usize] } else { &self.into[node as usize] };
            for &(to, label) in list {
                self.steps = self.steps.saturating_sub(1);
                let inside =
                    if forward { self.place[to as usize] <= bound } else { self.place[to as usize] >= bound };
                if !inside || self.mark[to as usize] == self.wave {
                    continue;
                }
                self.mark[to as usize] = self.wave;
                self.by[to as usize] = (node, label);
                if forward && to == goal {
                    return Err(());
                }
                found.push(to);
            }
        }
        Ok(found)
    }

    fn cycle(&self, start: u32, goal: u32, choice: Choice) -> Vec<Choice> {
        let mut refused = vec![choice ^ 1];
        let mut node = goal;
        while node != start {
            let (from, label) = self.by[node as usize];
            if label != KNOWN && !refused.contains(&(label ^ 1)) {
                refused.push(label ^ 1);
            }
            node = from;
        }
        refused
    }

    fn reorder(&mut self, mut behind: Vec<u32>, mut ahead: Vec<u32>) {
        behind.sort_by_key(|node| self.place[*node as usize]);
        ahead.sort_by_key(|node| self.place[*node as usize]);
        let nodes: Vec<u32> = behind.into_iter().chain(ahead).collect();
        let mut places: Vec<u32> = nodes.iter().map(|node| self.place[*node as usize]).collect();
        places.sort_unstable();
        for (node, place) in nodes.into_iter().zip(places) {
            self.place[node as usize] = place;
        }
    }

    /// Takes back all levels above `level`.
    fn back_to(&mut self, level: usize) {
        let (choices, edges) = self.levels[level];
        self.levels.truncate(level);
        while self.edges.len() > edges {
            let (from, to) = self.edges.pop().expect("longer than before");
            self.out[from as usize].pop();
            self.into[to as usize].pop();
        }
        for choice in self.trail.drain(choices..) {
            let variable = choice / 2;
            self.value[variable as usize] = None;
            self.phase[variable as usize] = choice & 1 == 1;
            self.heap.push((self.recent[variable as usize], u32::MAX - variable));
        }
        self.next = self.trail.len();
    }

    /// From a refused clause to one that concludes something at an earlier level.
    fn learn(&mut self, conflict: Vec<Choice>) {
        let now = self.levels.len() as u32;
        let mut learned: Vec<Choice> = vec![0];
        let mut open = 0;
        let mut at = self.trail.len();
        let mut clause = conflict;
        let mut met: Vec<u32> = Vec::new();
        let uip = loop {
            for &choice in &clause {
                let variable = choice as usize / 2;
                if self.seen[variable] || self.level[variable] == 0 {
                    continue;
                }
                self.seen[variable] = true;
                met.push(variable as u32);
                if self.level[variable] == now {
                    open += 1;
                } else {
                    learned.push(choice);
                }
            }
            let choice = loop {
                at -= 1;
                if self.seen[self.trail[at] as usize / 2] {
                    break self.trail[at];
                }
            };
            open -= 1;
            if open == 0 {
                break choice;
            }
            let reason = self.reason[choice as usize / 2].expect("only the decision has none");
            clause = self.clauses[reason as usize].iter().copied().filter(|other| *other != choice).collect();
        };
        learned[0] = uip ^ 1;
        self.bump(&met);
        let level_of = |choice: &Choice| self.level[*choice as usize / 2];
        let place = (1..learned.len()).max_by_key(|at| level_of(&learned[*at]));
        let back = place.map_or(0, |at| level_of(&learned[at]));
        if let Some(place) = place {
            learned.swap(1, place);
        }
        self.back_to(back as usize);
        let first = learned[0];
        let reason = (learned.len() > 1).then(|| {
            let clause = self.clauses.len() as u32;
            self.watches[learned[0] as usize].push(clause);
            self.watches[learned[1] as usize].push(clause);
            self.clauses.push(learned);
            clause
        });
        self.assign(first, reason);
    }

    fn bump(&mut self, met: &[u32]) {
        let now = self.clauses.len() as u64 + 1;
        for variable in met {
            self.seen[*variable as usize] = false;
            self.recent[*variable as usize] = now;
            self.heap.push((now, u32::MAX - variable));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries every choice.
    fn every_choice(nodes: usize, variables: &[Variable]) -> bool {
        (0..1_u32 << variables.len()).any(|bits| {
            let mut edges = crate::digraph::Edges::new();
            for (at, variable) in variables.iter().enumerate() {
                for &(a, b) in &variable.values[(bits >> at & 1) as usize] {
                    edges.add(a, b, 0);
                }
            }
            edges.packed(nodes as u32).order().is_ok()
        })
    }

    #[test]
    fn agrees_with_every_choice() {
        let mut seed = 1_u64;
        let mut draw = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut answers = [0, 0];
        for _ in 0..4_000 {
            let nodes = 3 + draw(5) as usize;
            let count = 1 + draw(9) as usize;
            let mut variables = Vec::new();
            for _ in 0..count {
                let mut variable = Variable::default();
                for value in 0..2 {
                    for _ in 0..=draw(3) {
                        let edge = (draw(nodes as u64) as u32, draw(nodes as u64) as u32);
                        variable.values[value].push(edge);
                    }
                }
                variables.push(variable);
            }
            let order: Vec<u32> = (0..nodes as u32).collect();
            let mut steps = 1_000_000;
            let found = solve(&order, &[], &variables, &mut steps);
            let truth = every_choice(nodes, &variables);
            assert_eq!(found == Found::Order, truth, "{variables:?}");
            assert_ne!(found, Found::Spent);
            answers[usize::from(truth)] += 1;
        }
        assert!(answers.iter().all(|count| *count > 300), "{answers:?}");
    }

    #[test]
    fn a_spent_budget_is_said() {
        let pigeon = Variable { values: [vec![(0, 1), (1, 2)], vec![(2, 1), (1, 0)]] };
        let mut steps = 0;
        assert_eq!(solve(&[0, 1, 2], &[], &vec![pigeon; 3], &mut steps), Found::Spent);
    }
}
