//! What can be wrong with a history of transactions: the kinds of anomaly, their usual names, and
//! which level of isolation forbids which.
//!
//! Sources: Adya's thesis (1999) for G0 to G2, *Elle* (VLDB 2020) for what a workload shows besides,
//! Biswas and Enea (OOPSLA 2019) for the demands of the weak levels.
//!
//! One table for lists ([`crate::append`]) and registers ([`crate::rw`]): an anomaly has one name,
//! and one place in the order of severity, whatever showed it.

use crate::level::{Level, Through};
use std::fmt;

/// What is wrong, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The workload appended an element twice: nothing else can be told.
    RepeatedAppend,
    /// The workload wrote a value twice: no verdict is possible.
    RepeatedWrite,
    /// A list shows an element twice.
    DuplicateElement,
    /// Two lists of one key of which neither begins the other.
    IncompatibleOrder,
    /// A list shows what nobody appended.
    UnwrittenElement,
    /// A register shows what nobody wrote.
    ThinAir,
    /// A transaction read its own later write.
    Future,
    /// A cycle of ww.
    G0,
    /// A read of an aborted write.
    G1a,
    /// A read of what its own transaction covered with a later write.
    G1b,
    /// A cycle of ww and wr.
    G1c,
    /// A transaction that does not see its own past.
    Internal,
    /// Two reads of one register in one transaction differ.
    NonRepeatable,
    /// Two transactions read one version and both wrote the next.
    LostUpdate,
    /// The demands of read committed contradict each other.
    ReadCommitted,
    /// A transaction is seen in part.
    Fractured,
    /// Who sees a transaction misses what it depends on.
    Causality,
    /// A cycle with exactly one rw.
    GSingle,
    /// A cycle with several rw, no two of them next to each other.
    GNonadjacent,
    /// A cycle with several rw.
    G2Item,
    /// No order of the versions works, though no single cycle shows it.
    NoOrder,
}

impl Kind {
    /// The usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RepeatedAppend => "repeated-append",
            Self::RepeatedWrite => "repeated-write",
            Self::DuplicateElement => "duplicate-element",
            Self::IncompatibleOrder => "incompatible-order",
            Self::UnwrittenElement => "unwritten-element",
            Self::ThinAir => "thin-air-read",
            Self::Future => "future-read",
            Self::G0 => "G0",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::G1c => "G1c",
            Self::Internal => "internal",
            Self::NonRepeatable => "non-repeatable-read",
            Self::LostUpdate => "lost-update",
            Self::ReadCommitted => "read-committed-cycle",
            Self::Fractured => "fractured-read",
            Self::Causality => "causality-violation",
            Self::GSingle => "G-single",
            Self::GNonadjacent => "G-nonadjacent",
            Self::G2Item => "G2-item",
            Self::NoOrder => "no-version-order",
        }
    }

    /// Whether `level` forbids it, the orders that an anomaly needs apart.
    #[must_use]
    pub fn is_forbidden_by(self, level: Level) -> bool {
        match self {
            Self::RepeatedAppend
            | Self::RepeatedWrite
            | Self::DuplicateElement
            | Self::IncompatibleOrder
            | Self::UnwrittenElement
            | Self::G0 => true,
            Self::ThinAir | Self::Future | Self::G1a | Self::G1b | Self::G1c | Self::ReadCommitted => {
                level >= Level::ReadCommitted
            }
            Self::Internal | Self::NonRepeatable | Self::Fractured => level >= Level::ReadAtomic,
            Self::Causality => level >= Level::Causal,
            Self::GSingle | Self::GNonadjacent | Self::LostUpdate => level.is_snapshot() || level.is_serial(),
            Self::G2Item | Self::NoOrder => level.is_serial(),
        }
    }
}

/// A contradiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Its kind.
    pub kind: Kind,
    /// For cycles: which order it needs.
    pub through: Through,
    /// The transactions concerned, by index; for cycles in the order of the cycle.
    pub transactions: Vec<usize>,
    /// Of a cycle: each edge by positions in `transactions`, with what it is.
    pub edges: Vec<(usize, usize, String)>,
    /// What happened, in words.
    pub text: String,
}

impl Anomaly {
    /// The usual name.
    #[must_use]
    pub fn name(&self) -> String {
        let through = match self.through {
            Through::Data => "",
            Through::Process => "-process",
            Through::Realtime => "-realtime",
        };
        format!("{}{through}", self.kind.name())
    }

    /// Whether `level` forbids it.
    #[must_use]
    pub fn is_forbidden_by(&self, level: Level) -> bool {
        level.through() >= self.through && self.kind.is_forbidden_by(level)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.text)
    }
}
