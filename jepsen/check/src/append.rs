//! Transactions of appends and reads of lists: is there a serial order that explains them?
//!
//! Source: Kingsbury and Alvaro, *Elle* (VLDB 2020); Adya's thesis (1999) for the names.
//! A list that is only appended to tells its whole past to whoever reads it. So the order
//! of the writes of a key need not be guessed: the longest list read *is* that order, and
//! dependencies between transactions follow without search.
//!
//! | edge | from | to |
//! |---|---|---|
//! | ww | who appended an element | who appended the next one of that key |
//! | wr | who appended the last element of a list read | who read it |
//! | rw | who read a list | who appended the element after its last |
//! | process | a client's transaction | its next one |
//! | realtime | a transaction that returned | any that was called later |
//!
//! A cycle is a contradiction; its edges say what kind:
//!
//! | anomaly | what it is | forbidden from |
//! |---|---|---|
//! | duplicate, incompatible, unwritten | a list shows an element twice; two lists disagree; an element nobody appended | every level |
//! | G0 | a cycle of ww | read uncommitted |
//! | G1a, G1b | an element of an aborted transaction; an element that its own transaction covered | read committed |
//! | G1c | a cycle of ww and wr | read committed |
//! | internal | a transaction does not see its own past | read atomic |
//! | fractured read, causality violation | see [`crate::rw`], with the order of versions known | read atomic, causal |
//! | G-single, lost-update | a cycle with exactly one rw; of two that read one list and append | snapshot isolation |
//! | G-nonadjacent | a cycle with several rw, no two in a row | snapshot isolation |
//! | G2-item | a cycle with two rw in a row (write skew) | serializable |
//! | -process, -realtime | a cycle that needs such edges | strong session..., strong snapshot isolation, strict serializable |
//!
//! Where we go beyond Elle: an acknowledged append that no list shows was appended after
//! the longest list read, hence rw from each reader of that list. So a *lost append* is
//! found as a G-single-realtime cycle, as soon as somebody reads later.
//!
//! # Invariants
//! 1. Every edge is certain: it holds in every serial order that explains the history. So
//!    a cycle is a proof, whatever else was not seen.
//! 2. Of one strongly connected component one cycle is reported, of the most severe kind
//!    found, the shortest of its kind within [`cycles`](self#limits)' bounds.
//! 3. A transaction of unknown outcome counts only if one of its elements was read.
//!
//! # Limits
//! Elements are unique a key; a workload that appends one twice is reported as such and
//! nothing else is looked at. A verdict is linear in the history; the search for the
//! *shortest* cycle looks at a bounded number of edges (2 million a kind) and may then
//! report a longer one. At most 2^29 transactions. Of each kind of non-cyclic anomaly the
//! first 8 are told.
//!
//! Order of reading: `orders` (what lists tell), `graph` (edges), `cycles`, `visible` (read
//! atomic and causal), `words`.

mod cycles;
mod graph;
mod orders;
mod read;
mod visible;
mod words;

pub use read::transactions;

use crate::anomaly::{Anomaly, Kind};
use crate::history::Value;
pub use crate::level::{Level, Through};
use crate::mistake::{Mistake, planted};

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Adds an element to the end of a list.
    Append {
        /// Which list.
        key: Value,
        /// The element, unique for the key.
        element: Value,
    },
    /// Reads a whole list.
    Read {
        /// Which list.
        key: Value,
        /// What it showed; `None` if the answer was never seen.
        list: Option<Box<[Value]>>,
    },
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Acknowledged.
    Committed,
    /// Refused: it has no effect.
    Aborted,
    /// Nobody knows.
    Unknown,
}

/// A transaction with its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The client.
    pub process: u64,
    /// When it was called.
    pub call: u64,
    /// When it returned; counts only for committed ones.
    pub ret: u64,
    /// How it ended.
    pub status: Status,
    /// What it did, in order.
    pub steps: Vec<Step>,
}

/// All contradictions to `level` that were found, most severe first; none if the history
/// satisfies it.
#[must_use]
pub fn check(transactions: &[Transaction], level: Level) -> Vec<Anomaly> {
    assert!(transactions.len() < 1 << 29, "too many transactions");
    let mut anomalies = Vec::new();
    if let Some(orders) = orders::Orders::of(transactions, &mut anomalies) {
        let words = words::Words { transactions, orders: &orders };
        let serial = planted(Mistake::SnapshotIsSerial);
        match level {
            Level::ReadAtomic | Level::Causal => {
                anomalies.extend(visible::check(transactions, &orders, level));
            }
            _ if level.is_snapshot() && !serial => {
                let graph = graph::Graph::of(transactions, &orders, level);
                anomalies.extend(cycles::snapshot(&graph).map(|cycle| words.cycle(&cycle)));
            }
            _ => {
                let graph = graph::Graph::of(transactions, &orders, level);
                for cycle in cycles::find(&graph, level) {
                    anomalies.push(words.cycle(&cycle));
                }
            }
        }
    }
    anomalies.retain(|anomaly| anomaly.is_forbidden_by(level) || planted(Mistake::SnapshotIsSerial));
    anomalies.sort_by_key(|anomaly| (anomaly.through, anomaly.kind));
    anomalies
}

/// A transaction in one line.
#[must_use]
pub fn in_words(transaction: &Transaction) -> String {
    words::transaction(transaction)
}
