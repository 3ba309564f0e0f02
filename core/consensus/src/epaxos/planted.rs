//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// A promise counts as a vote: one ballot an instance (Sutra, arXiv 1906.10917).
    OneBallot = 1,
    /// A recovery believes what enough have pre-accepted without validating it.
    NoValidation = 2,
    /// A recovery that found no vote proposes what any one pre-accepted, however few.
    AnyPreAccept = 3,
    /// The fast path is taken one answer short.
    SmallFastQuorum = 4,
    /// A fast decision is told and executed before it is on disk.
    UnsyncedDecision = 5,
    /// A replica counts its own vote before it is on disk.
    UnsyncedVote = 6,
    /// A slow path takes its own replica's dependencies and forgets those of the answers.
    ForgottenAnswers = 7,
    /// A command is executed although one of its dependencies is not decided.
    EagerExecution = 8,
    /// Commands of one cycle are executed in the order in which they were met.
    UnsortedCycle = 9,
    /// What was executed is no longer a dependency of what comes.
    ForgottenExecuted = 10,
    /// A read is answered from what this replica has heard of alone.
    LocalRead = 11,
    /// A restarted replica counts its instances from where its executed ones end.
    ReusedNumber = 12,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::OneBallot,
        Self::NoValidation,
        Self::AnyPreAccept,
        Self::SmallFastQuorum,
        Self::UnsyncedDecision,
        Self::UnsyncedVote,
        Self::ForgottenAnswers,
        Self::EagerExecution,
        Self::UnsortedCycle,
        Self::ForgottenExecuted,
        Self::LocalRead,
        Self::ReusedNumber,
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
