//! Leaks of the outside into a simulation, planted on purpose: the gate must catch each.
//!
//! A simulation is only as good as its isolation. Each leak here adds to a client's first
//! think time a few nanoseconds that depend on something a run must not see. They are
//! compiled only with the feature `planted-leaks`; without it asking for one does nothing.

use dwcp_env::Duration;
use serde::{Deserialize, Serialize};

/// Where a value leaks in from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leak {
    /// The order of a hash map with random keys.
    HashOrder,
    /// The clock of the machine.
    Clock,
    /// An address in memory.
    Address,
    /// An environment variable.
    Environment,
}

impl Leak {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::HashOrder, Self::Clock, Self::Address, Self::Environment];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashOrder => "hash-order",
            Self::Clock => "clock",
            Self::Address => "address",
            Self::Environment => "environment",
        }
    }
    /// What leaks, as a span short enough to harm nothing but the trace.
    #[cfg(feature = "planted-leaks")]
    #[must_use]
    pub fn span(self) -> Duration {
        let value = match self {
            Self::HashOrder => {
                let set: std::collections::HashSet<u64> = (0..64).collect();
                set.into_iter().take(8).fold(0, |a, b| a << 6 | b)
            }
            Self::Clock => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |d| u64::from(d.subsec_nanos())),
            Self::Address => {
                let here = Box::new(0_u64);
                (&raw const *here).addr() as u64
            }
            Self::Environment => std::env::vars().map(|(k, v)| (k.len() + v.len()) as u64).sum(),
        };
        Duration::nanos(value % 1_000_003)
    }
    /// Nothing leaks in this build.
    #[cfg(not(feature = "planted-leaks"))]
    #[must_use]
    pub const fn span(self) -> Duration {
        Duration::ZERO
    }
}
