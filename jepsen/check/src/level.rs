//! The levels of isolation, and which of them forbids what.
//!
//! | level | promise, in short | source |
//! |---|---|---|
//! | read-uncommitted | writes of a key are ordered alike for all transactions | Adya 1999, PL-1 |
//! | read-committed | nobody reads what was aborted, intermediate, or still to come | Adya PL-2; Biswas and Enea 2019 |
//! | read-atomic | a transaction is seen whole or not at all | Bailis 2014; Biswas and Enea |
//! | causal | who sees a transaction sees all that it depends on | Biswas and Enea, *CC* |
//! | snapshot-isolation | reads from one snapshot; of two concurrent writers of a key one aborts | Cerone 2015 |
//! | serializable | one serial order explains everything | Adya PL-3 |
//! | strong-session-... | and it respects the order of each client's transactions | Daudjee and Salem |
//! | strong-snapshot-isolation, strict-serializable | and real time | Herlihy and Wing; Adya PL-SS |
//!
//! Read atomic and causal contain the order of each session by definition. The plain forms
//! of snapshot isolation and serializability do not.

use std::fmt;

/// What a history is held to. The order of the list is not a chain: see [`Level::implies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Writes are ordered.
    ReadUncommitted,
    /// And nobody reads what was aborted, intermediate or mutual.
    ReadCommitted,
    /// And a transaction is seen whole or not at all.
    ReadAtomic,
    /// And with everything that it depends on.
    Causal,
    /// Every transaction reads one snapshot, and of two concurrent writers one aborts.
    SnapshotIsolation,
    /// And a client's later snapshots hold its earlier transactions.
    StrongSessionSnapshotIsolation,
    /// And a snapshot holds all that was acknowledged before it was taken.
    StrongSnapshotIsolation,
    /// There is one serial order.
    Serializable,
    /// And it respects the order within each client.
    StrongSession,
    /// And it respects real time.
    StrictSerializable,
}

/// Which order besides that of the data a level respects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Through {
    /// None.
    Data,
    /// That of a client's transactions.
    Process,
    /// Real time.
    Realtime,
}

impl Level {
    /// All levels, strongest first; of two that no order connects the one asked for more often.
    pub const ALL: [Self; 10] = [
        Self::StrictSerializable,
        Self::StrongSession,
        Self::Serializable,
        Self::StrongSnapshotIsolation,
        Self::StrongSessionSnapshotIsolation,
        Self::SnapshotIsolation,
        Self::Causal,
        Self::ReadAtomic,
        Self::ReadCommitted,
        Self::ReadUncommitted,
    ];

    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read-uncommitted",
            Self::ReadCommitted => "read-committed",
            Self::ReadAtomic => "read-atomic",
            Self::Causal => "causal",
            Self::SnapshotIsolation => "snapshot-isolation",
            Self::StrongSessionSnapshotIsolation => "strong-session-snapshot-isolation",
            Self::StrongSnapshotIsolation => "strong-snapshot-isolation",
            Self::Serializable => "serializable",
            Self::StrongSession => "strong-session-serializable",
            Self::StrictSerializable => "strict-serializable",
        }
    }

    /// The level of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Which order it respects. Read atomic and causal have sessions built in.
    #[must_use]
    pub fn through(self) -> Through {
        match self {
            Self::StrongSnapshotIsolation | Self::StrictSerializable => Through::Realtime,
            Self::StrongSessionSnapshotIsolation | Self::StrongSession | Self::ReadAtomic | Self::Causal => {
                Through::Process
            }
            Self::ReadUncommitted | Self::ReadCommitted | Self::SnapshotIsolation | Self::Serializable => {
                Through::Data
            }
        }
    }

    /// Whether it allows write skew and no more.
    #[must_use]
    pub fn is_snapshot(self) -> bool {
        matches!(
            self,
            Self::SnapshotIsolation | Self::StrongSessionSnapshotIsolation | Self::StrongSnapshotIsolation
        )
    }

    /// Whether it asks for a serial order.
    #[must_use]
    pub fn is_serial(self) -> bool {
        matches!(self, Self::Serializable | Self::StrongSession | Self::StrictSerializable)
    }

    /// Whether every history at this level is also at `weaker`.
    #[must_use]
    pub fn implies(self, weaker: Self) -> bool {
        if self == weaker {
            return true;
        }
        match weaker {
            Self::ReadUncommitted => true,
            Self::ReadCommitted => self != Self::ReadUncommitted,
            // These contain the order of sessions.
            Self::ReadAtomic | Self::Causal => {
                self == Self::Causal
                    || (self.is_serial() || self.is_snapshot()) && self.through() >= Through::Process
            }
            _ if weaker.is_snapshot() => {
                (self.is_serial() || self.is_snapshot()) && self.through() >= weaker.through()
            }
            _ => self.is_serial() && self.through() >= weaker.through(),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Level::{self, *};

    #[test]
    fn names_are_told_apart_and_found_again() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Some(level));
        }
        assert_eq!(Level::named("none"), None);
    }

    #[test]
    fn implication_is_an_order() {
        for a in Level::ALL {
            assert!(a.implies(a) && a.implies(ReadUncommitted) && StrictSerializable.implies(a), "{a}");
            for b in Level::ALL {
                assert!(a == b || !(a.implies(b) && b.implies(a)), "{a} {b}");
                for c in Level::ALL {
                    assert!(!(a.implies(b) && b.implies(c)) || a.implies(c), "{a} {b} {c}");
                }
            }
        }
        assert!(!Serializable.implies(Causal), "a serial order may run a client backwards");
        assert!(!StrongSnapshotIsolation.implies(Serializable), "write skew");
        assert!(StrongSession.implies(StrongSessionSnapshotIsolation));
    }
}
