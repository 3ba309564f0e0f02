//! Session guarantees: what one client may expect of a store that is only eventually
//! consistent.
//!
//! Source: Terry et al. (PDIS 1994), in the axioms of Viotti and Vukolić (CSUR 2016). An
//! *order* is total over all writes; a read returns the newest, in that order, of the writes
//! that it *sees*.
//!
//! | guarantee | in words | demands of the order |
//! |---|---|---|
//! | read your writes | a client sees its own earlier writes | own earlier write of the key, before what is read now |
//! | monotonic reads | a client never sees less than before | what it read of the key earlier, before what it reads now |
//! | monotonic writes | writes of one client keep their order | a client's write before its next write |
//! | writes follow reads | a write comes after what its client had read | what was read before the next write |
//!
//! A set of guarantees can be kept if and only if the union of their demands has no cycle.
//! So every set that is broken has a smallest broken subset, and that is reported: one
//! guarantee alone, or several that contradict each other.
//!
//! Values are unique a key. Cost: linear for each of the sixteen sets. That all four hold
//! does not make a history causal: see [`crate::rw`] at [`crate::level::Level::Causal`].

use crate::append::Status;
use crate::digraph::Edges;
use crate::history::Value;
use crate::mistake::{Mistake, planted};
use crate::rw::{Step, Transaction};
use std::collections::BTreeMap;
use std::fmt;

/// One of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// RYW.
    ReadYourWrites,
    /// MR.
    MonotonicReads,
    /// MW.
    MonotonicWrites,
    /// WFR.
    WritesFollowReads,
}

impl Guarantee {
    /// All four.
    pub const ALL: [Self; 4] =
        [Self::ReadYourWrites, Self::MonotonicReads, Self::MonotonicWrites, Self::WritesFollowReads];

    /// The usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadYourWrites => "read-your-writes",
            Self::MonotonicReads => "monotonic-reads",
            Self::MonotonicWrites => "monotonic-writes",
            Self::WritesFollowReads => "writes-follow-reads",
        }
    }

    fn is_planted_away(self) -> bool {
        planted(match self {
            Self::ReadYourWrites => Mistake::NoReadYourWrites,
            Self::MonotonicReads => Mistake::NoMonotonicReads,
            Self::MonotonicWrites => Mistake::NoMonotonicWrites,
            Self::WritesFollowReads => Mistake::NoWritesFollowReads,
        })
    }
}

/// Guarantees that cannot be kept together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which; one, or the fewest that contradict each other.
    pub guarantees: Vec<Guarantee>,
    /// The transactions concerned, by index.
    pub transactions: Vec<usize>,
    /// Edges between them, by place in `transactions`.
    pub edges: Vec<(usize, usize, String)>,
    /// What happened, in words.
    pub text: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.guarantees.iter().map(|g| g.name()).collect();
        write!(f, "{}: {}", names.join(" and "), self.text)
    }
}

/// A write, by number; number 0 is the beginning of all keys.
type Id = u32;

struct Demand {
    guarantee: Guarantee,
    from: Id,
    to: Id,
    /// The transaction that demands it.
    by: usize,
}

struct Writes {
    ids: BTreeMap<(Value, Value), Id>,
    /// Per write: transaction, key, value.
    list: Vec<(usize, Value, Value)>,
}

/// All smallest sets of guarantees that `transactions` break; none if all four hold.
#[must_use]
pub fn check(transactions: &[Transaction]) -> Vec<Broken> {
    let writes = writes(transactions);
    let demands = demands(transactions, &writes);
    let mut broken: Vec<(u32, Broken)> = Vec::new();
    let mut sets: Vec<u32> = (1..16).collect();
    sets.sort_by_key(|set: &u32| set.count_ones());
    for set in sets {
        if broken.iter().any(|(smaller, _)| set & smaller == *smaller) {
            continue;
        }
        let chosen: Vec<Guarantee> = Guarantee::ALL
            .into_iter()
            .enumerate()
            .filter(|(at, g)| set >> at & 1 == 1 && !g.is_planted_away())
            .map(|(_, g)| g)
            .collect();
        if let Some(found) = cycle(transactions, &writes, &demands, &chosen) {
            broken.push((set, found));
        }
    }
    broken.into_iter().map(|(_, found)| found).collect()
}

fn writes(transactions: &[Transaction]) -> Writes {
    let mut writes = Writes { ids: BTreeMap::new(), list: vec![(usize::MAX, 0, 0)] };
    for (at, transaction) in transactions.iter().enumerate() {
        if transaction.status == Status::Aborted {
            continue;
        }
        for step in &transaction.steps {
            if let Step::Write { key, value } = *step {
                writes.ids.insert((key, value), writes.list.len() as Id);
                writes.list.push((at, key, value));
            }
        }
    }
    writes
}

#[derive(Default)]
struct Session {
    /// Per key: the last own write, and the last write read.
    own: BTreeMap<Value, Id>,
    read: BTreeMap<Value, Id>,
    last_write: Option<Id>,
    /// Reads since the last write.
    since: Vec<Id>,
}

fn demands(transactions: &[Transaction], writes: &Writes) -> Vec<Demand> {
    let mut order: Vec<usize> = (0..transactions.len()).collect();
    order.sort_by_key(|at| (transactions[*at].process, transactions[*at].call));
    let mut demands = Vec::new();
    let mut session = Session::default();
    let mut of = None;
    for by in order {
        let transaction = &transactions[by];
        if of != Some(transaction.process) {
            of = Some(transaction.process);
            session = Session::default();
        }
        if transaction.status != Status::Aborted {
            for step in &transaction.steps {
                session.step(*step, by, transaction.status, writes, &mut demands);
            }
        }
    }
    demands
}

impl Session {
    fn step(&mut self, step: Step, by: usize, status: Status, writes: &Writes, out: &mut Vec<Demand>) {
        let mut demand = |guarantee, from: Id, to: Id| {
            if from != to {
                out.push(Demand { guarantee, from, to, by });
            }
        };
        match step {
            Step::Write { key, value } => {
                let id = writes.ids[&(key, value)];
                if let Some(last) = self.last_write {
                    demand(Guarantee::MonotonicWrites, last, id);
                }
                for read in self.since.drain(..) {
                    demand(Guarantee::WritesFollowReads, read, id);
                }
                self.last_write = Some(id);
                // Whether a write of unknown outcome happened nobody knows.
                if status == Status::Committed {
                    self.own.insert(key, id);
                }
            }
            Step::Read { key, value } => {
                let id = match value {
                    None => 0,
                    Some(value) => match writes.ids.get(&(key, value)) {
                        Some(id) => *id,
                        None => return,
                    },
                };
                if let Some(own) = self.own.get(&key) {
                    demand(Guarantee::ReadYourWrites, *own, id);
                }
                if let Some(before) = self.read.insert(key, id) {
                    demand(Guarantee::MonotonicReads, before, id);
                }
                if id != 0 {
                    self.since.push(id);
                }
            }
        }
    }
}

fn cycle(
    transactions: &[Transaction],
    writes: &Writes,
    demands: &[Demand],
    chosen: &[Guarantee],
) -> Option<Broken> {
    let mut edges = Edges::new();
    // The beginning is before every write.
    for id in 1..writes.list.len() as u32 {
        edges.add(0, id, u32::MAX);
    }
    for (at, demand) in demands.iter().enumerate().filter(|(_, d)| chosen.contains(&d.guarantee)) {
        edges.add(demand.from, demand.to, at as u32);
    }
    let cycle = edges.packed(writes.list.len() as u32).cycle()?;
    let name = |id: u32| match writes.list[id as usize] {
        (usize::MAX, ..) => "the beginning".to_owned(),
        (at, key, value) => format!("T{at}'s write {key} {value}"),
    };
    let mut found =
        Broken { guarantees: Vec::new(), transactions: Vec::new(), edges: Vec::new(), text: String::new() };
    let mut place = |at: usize| {
        found.transactions.iter().position(|known| *known == at).unwrap_or_else(|| {
            found.transactions.push(at);
            found.transactions.len() - 1
        })
    };
    let mut lines = Vec::new();
    for (n, (from, label)) in cycle.iter().enumerate() {
        let to = cycle[(n + 1) % cycle.len()].0;
        let Some(demand) = demands.get(*label as usize) else { continue };
        let guarantee = demand.guarantee;
        if !found.guarantees.contains(&guarantee) {
            found.guarantees.push(guarantee);
        }
        for at in [*from, to].map(|id| writes.list[id as usize].0).into_iter().chain([demand.by]) {
            if at != usize::MAX {
                place(at);
            }
        }
        lines.push(format!(
            "{} before {}: T{} demands it ({})",
            name(*from),
            name(to),
            demand.by,
            guarantee.name()
        ));
    }
    found.guarantees.sort_unstable();
    found.transactions.sort_by_key(|at| transactions[*at].call);
    let text: Vec<String> = found
        .transactions
        .iter()
        .map(|at| format!("T{at} = {}", crate::rw::in_words(&transactions[*at])))
        .chain(lines)
        .collect();
    found.text = format!("the writes have no order\n  {}", text.join("\n  "));
    for (n, (from, label)) in cycle.iter().enumerate() {
        let to = cycle[(n + 1) % cycle.len()].0;
        let Some(demand) = demands.get(*label as usize) else { continue };
        let at = |id: u32| found.transactions.iter().position(|t| *t == writes.list[id as usize].0);
        if let (Some(a), Some(b)) = (at(*from), at(to))
            && a != b
        {
            found.edges.push((a, b, demand.guarantee.name().to_owned()));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"0: w x 1, r y 2"`: session and steps; value 0 is the beginning.
    fn script(lines: &[&str]) -> Vec<Transaction> {
        let parse = |(at, line): (usize, &&str)| {
            let (session, steps) = line.split_once(": ").expect("a session and steps");
            let step = |step: &str| {
                let words: Vec<&str> = step.split(' ').collect();
                let key = u64::from(words[1].as_bytes()[0]);
                let value: u64 = words[2].parse().expect("a number");
                match words[0] {
                    "w" => Step::Write { key, value },
                    _ => Step::Read { key, value: (value > 0).then_some(value) },
                }
            };
            Transaction {
                process: session.parse().expect("a number"),
                call: at as u64,
                ret: at as u64,
                status: Status::Committed,
                steps: steps.split(", ").map(step).collect(),
            }
        };
        lines.iter().enumerate().map(parse).collect()
    }

    fn broken(lines: &[&str]) -> Vec<Vec<&'static str>> {
        let found = check(&script(lines));
        found.iter().map(|b| b.guarantees.iter().map(|g| g.name()).collect()).collect()
    }

    #[test]
    fn each_guarantee_is_broken_by_its_own_history() {
        let ryw = ["0: w x 1", "0: r x 0"];
        assert_eq!(broken(&ryw), [["read-your-writes"]]);
        let mr = ["0: w x 1", "1: r x 1", "1: r x 0"];
        assert_eq!(broken(&mr), [["monotonic-reads"]]);
        let backwards = ["0: w x 1", "0: w x 2", "1: r x 2", "1: r x 1"];
        assert_eq!(broken(&backwards), [["monotonic-reads", "monotonic-writes"]]);
        let reply = ["0: w x 1", "1: r x 1", "1: w x 2", "2: r x 2", "2: r x 1"];
        assert_eq!(broken(&reply), [["monotonic-reads", "writes-follow-reads"]]);
        let own = ["0: w x 1", "1: w x 2", "1: r x 1", "0: r x 2"];
        assert_eq!(broken(&own), [["read-your-writes"]]);
    }

    #[test]
    fn eventual_consistency_may_lag() {
        assert_eq!(broken(&["0: w x 1", "1: r x 0", "1: r x 1", "0: r x 1"]), [[""; 0]; 0]);
        assert_eq!(broken(&["0: w x 1", "1: w x 2", "2: r x 1", "3: r x 2"]), [[""; 0]; 0]);
    }
}
