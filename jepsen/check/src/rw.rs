//! Transactions of reads and writes of registers with unique values: which level of
//! isolation explains them?
//!
//! Sources: Adya's thesis (1999) and *Elle* (VLDB 2020) for the anomalies; Biswas and Enea,
//! *On the Complexity of Checking Transactional Consistency* (OOPSLA 2019), and Møldrup and
//! Pavlogiannis, *AWDIT* (PLDI 2025), for the weak levels; Cobra (OSDI 2020), PolySI (VLDB
//! 2023) and Viper (EuroSys 2023) for the strong ones.
//!
//! A value is written once a key, so a read tells *whose* write it saw. Unlike a list it does
//! not tell what came before: the order of the versions of a key must be found. That is what
//! the two halves of this checker differ in.
//!
//! | level | how it is decided | cost |
//! |---|---|---|
//! | read-committed, read-atomic, causal | saturation: the axiom demands an order of two writers, those demands have a cycle or not ([`weak`](self)) | near linear; causal n times sessions |
//! | snapshot isolation, serializability and their stronger forms | a graph of begins and commits ([`order`](self)): known edges; then every pair of writers of a key whose order only one way leaves possible, until nothing changes; then a search with learning from conflicts ([`search`](self)) over what is left | NP-complete; bounded, then *unknown* |
//!
//! # Edges
//! Each transaction has a begin and a commit; under serializability they are one point.
//!
//! | edge | from | to | because |
//! |---|---|---|---|
//! | wr | commit of the writer | begin of the reader | the snapshot holds what was read |
//! | ww | commit of the writer | begin of the next writer | of two concurrent writers one aborts |
//! | rw | begin of the reader | commit of the next writer | the snapshot lacks what was not read |
//! | process, realtime | commit | begin of the later | as the level asks |
//!
//! A history satisfies snapshot isolation if and only if some order of the versions makes
//! this graph acyclic, and serializability likewise with both points one.
//!
//! # Invariants
//! 1. A refusal is certain: a cycle of edges each of which holds in every explanation, or an
//!    exhausted search.
//! 2. A read of a value that nobody wrote is thin air where the history is complete
//!    ([`Unwritten::Refuse`]), and tells nothing where writers may be missing
//!    ([`Unwritten::Ignore`], Elle's view).
//! 3. A transaction of unknown outcome counts only if somebody read one of its writes.
//! 4. A value that is written belongs to its writer, even if it equals the initial one.
//!
//! # Limits
//! 2^28 transactions. The reachability table takes 4 bytes a point and chain (chains are
//! about as many as sessions); beyond [`Budget::table`] entries the answer is *unknown*.
//!
//! Order of reading: `index` (who wrote what), `weak`, `order`, `search`, `decide`, `words`,
//! `minimise`, `read`.

mod decide;
mod index;
mod minimise;
mod order;
mod read;
mod search;
mod weak;
mod words;

pub(crate) use read::micro_operations;
pub use read::transactions;

use crate::anomaly::{Anomaly, Kind};
use crate::append::Status;
use crate::history::Value;
use crate::level::Level;

/// One step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A write; the value is unique for the key.
    Write {
        /// Which register.
        key: Value,
        /// What it leaves.
        value: Value,
    },
    /// A read.
    Read {
        /// Which register.
        key: Value,
        /// What it showed; `None` is the register's beginning.
        value: Option<Value>,
    },
}

/// A transaction with its results. Reads whose answer was never seen are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The session.
    pub process: u64,
    /// When it was called; the order within a session.
    pub call: u64,
    /// When it returned; counts only for committed ones.
    pub ret: u64,
    /// How it ended.
    pub status: Status,
    /// What it did, in order.
    pub steps: Vec<Step>,
}

/// What a read of a value that nobody wrote means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritten {
    /// Its writer is not part of the history: the read tells nothing.
    Ignore,
    /// It came out of thin air: no level allows it.
    Refuse,
}

/// What a check may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Entries of the reachability table, 4 bytes each.
    pub table: usize,
    /// Pairs of writers looked at, and edges walked by the search.
    pub steps: u64,
}

impl Default for Budget {
    /// Half a GiB and some ten seconds at the very worst.
    fn default() -> Self {
        Self { table: 1 << 27, steps: 2_000_000_000 }
    }
}

/// The answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some order of the versions explains everything.
    Valid,
    /// None does; what shows it, most severe first.
    Invalid(Vec<Anomaly>),
    /// The budget ran out, in words.
    Unknown(String),
}

impl Verdict {
    /// True for [`Verdict::Valid`].
    #[must_use]
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }

    /// The contradictions of a refusal.
    #[must_use]
    pub fn anomalies(&self) -> &[Anomaly] {
        match self {
            Self::Invalid(anomalies) => anomalies,
            Self::Valid | Self::Unknown(_) => &[],
        }
    }
}

/// How a history is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What it is held to.
    pub level: Level,
    /// Reads of values that nobody wrote.
    pub unwritten: Unwritten,
    /// Whether the order within a session counts at every level, as in the definitions of
    /// Biswas and Enea, Cerone, PolySI and Cobra. Adya and Elle keep it apart.
    pub sessions: bool,
    /// What may be spent.
    pub budget: Budget,
}

/// Judges `transactions`. A refusal is cut down to the transactions that show it.
#[must_use]
pub fn check(transactions: &[Transaction], options: &Options) -> Verdict {
    assert!(transactions.len() < 1 << 28, "too many transactions");
    minimise::check(transactions, options)
}

/// Judges without cutting a refusal down: for callers who only want the verdict.
#[must_use]
pub fn verdict(transactions: &[Transaction], options: &Options) -> Verdict {
    assert!(transactions.len() < 1 << 28, "too many transactions");
    decide::check(transactions, options)
}

/// Judges a weak level where the order of versions is known from elsewhere: `versions` adds
/// it, given the names of the keys by number.
pub(crate) fn with_versions(
    transactions: &[Transaction],
    options: &Options,
    versions: impl FnOnce(&[Value], &mut weak::Demands),
) -> Option<Anomaly> {
    let index = index::Index::of(transactions, options);
    let names: Vec<Value> = index.keys.iter().map(|key| key.name).collect();
    let mut demands = weak::demands(&index, options).ok()?;
    versions(&names, &mut demands);
    demands.cycle().map(|cycle| weak::anomaly(&index, options.level, &cycle))
}

/// A transaction in one line.
#[must_use]
pub fn in_words(transaction: &Transaction) -> String {
    words::transaction(transaction)
}
