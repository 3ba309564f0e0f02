//! Known bugs of Multi-Paxos, planted on purpose: the rehearsal must find each (feature `planted-bugs`,
//! never in a production build).

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// The leader counts its own acceptance before it is on disk.
    OwnVoteBeforeSync = 1,
    /// `AcceptOk` does not wait for the disk.
    AcceptOkBeforeSync = 2,
    /// A promise is not on disk: after a crash anything is accepted again.
    PromiseNotPersisted = 3,
    /// A promise says nothing of what was accepted.
    PromiseWithoutValues = 4,
    /// A takeover takes what it accepted itself before what others accepted in higher ballots.
    TakeoverOwnWins = 5,
    /// A takeover begins to lead on its own promise and one answer.
    TakeoverUnderQuorum = 6,
    /// One acceptance decides.
    MinorityDecides = 7,
    /// An acceptor accepts below its promise.
    AcceptBelowPromise = 8,
    /// A checkpoint lets accepted slots behind it go that are not decided.
    CompactForgetsUndecided = 9,
    /// A read is served without asking anybody whether this node still leads.
    ReadWithoutRound = 10,
    /// A read is served before this leadership has decided anything.
    ReadBeforeOwnEntry = 11,
    /// What a peer tells is given out as decided though it was already.
    LearnTwice = 12,
    /// A follower takes any accepted value for the decided one.
    DecidedAnyBallot = 13,
    /// After a crash the ballot of before is used again.
    BallotReused = 14,
    /// Of a promise in pieces, what a piece tells as decided is taken as such only, though it may not follow on what is
    /// decided here.
    PieceForgotten = 15,
    /// After a peer's checkpoint was installed, a log with a hole below it can't be read.
    HoleIsCorrupt = 16,
    /// What was accepted in another ballot counts as accepted in the one that is followed.
    TipKept = 17,
    /// The mark of a checkpoint does not say that the epoch is sealed.
    SealForgotten = 18,
    /// A promise does not wait for the disk.
    PromiseBeforeSync = 19,
    /// A read joins the round of heartbeats that is under way.
    LateReader = 20,
    /// A leader without a quorum counts as heard.
    UnconnectedIsHeard = 21,
    /// An `Accept` that was lost is never sent again.
    AcceptOnce = 22,
    /// A `Prepare` that was lost is never sent again.
    PrepareOnce = 23,
    /// Nobody asks for slots it misses.
    NeverAsks = 24,
    /// Who is told of a leader stands nevertheless.
    VetoIgnored = 25,
    /// What waits for the window waits for ever.
    NeverPumps = 26,
    /// Hearing of a leader raises nothing: its predecessor's late values are blamed.
    HearsayIgnored = 27,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::OwnVoteBeforeSync,
        Self::AcceptOkBeforeSync,
        Self::PromiseNotPersisted,
        Self::PromiseWithoutValues,
        Self::TakeoverOwnWins,
        Self::TakeoverUnderQuorum,
        Self::MinorityDecides,
        Self::AcceptBelowPromise,
        Self::CompactForgetsUndecided,
        Self::ReadWithoutRound,
        Self::ReadBeforeOwnEntry,
        Self::LearnTwice,
        Self::DecidedAnyBallot,
        Self::BallotReused,
        Self::PieceForgotten,
        Self::HoleIsCorrupt,
        Self::TipKept,
        Self::SealForgotten,
        Self::PromiseBeforeSync,
        Self::LateReader,
        Self::UnconnectedIsHeard,
        Self::AcceptOnce,
        Self::PrepareOnce,
        Self::NeverAsks,
        Self::VetoIgnored,
        Self::NeverPumps,
        Self::HearsayIgnored,
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
