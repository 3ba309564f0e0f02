//! Known bugs, planted on purpose: the histories must find each (feature `planted-bugs`, never in a production build).

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// Removals that come before what they remove are forgotten.
    DropPending = 1,
    /// Of concurrent writes at one moment the first that came is shown.
    DropTieBreak = 2,
    /// The log is trimmed one operation beyond what all have.
    TrimEarly = 3,
    /// A replica that lost its disk goes on under its old place in the roster.
    ReuseDot = 4,
    /// The last of the dots an operation supersedes is passed over.
    SkipSuperseded = 5,
    /// Dead elements of sequences are purged as soon as they are dead here.
    PurgeEarly = 6,
    /// What was cut off by an eviction goes by its old name for ever.
    OldNames = 7,
    /// An increment that is made anew brings the whole totals of the place that ended.
    WholeTotals = 8,
    /// One that lags is active again although it does not know who was evicted meanwhile.
    PromoteUnaware = 9,
    /// Those who have no state decide what of a closing member's counts.
    EndUnserved = 10,
    /// Nobody takes a state that has more of a closing member than active ones reported, although there is no other.
    RefuseTheLast = 11,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DropPending,
        Self::DropTieBreak,
        Self::TrimEarly,
        Self::ReuseDot,
        Self::SkipSuperseded,
        Self::PurgeEarly,
        Self::OldNames,
        Self::WholeTotals,
        Self::PromoteUnaware,
        Self::EndUnserved,
        Self::RefuseTheLast,
    ];
}

#[cfg(feature = "planted-bugs")]
mod armed {
    use core::sync::atomic::{AtomicU8, Ordering};
    static BUG: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in this process, or digs it up.
    pub fn plant(bug: Option<super::Bug>) {
        BUG.store(bug.map_or(0, |b| b as u8), Ordering::SeqCst);
    }
    /// Whether this bug is planted.
    #[must_use]
    pub fn is(bug: super::Bug) -> bool {
        BUG.load(Ordering::Relaxed) == bug as u8
    }
}
#[cfg(feature = "planted-bugs")]
pub use armed::{is, plant};

/// Whether this bug is planted: not in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
