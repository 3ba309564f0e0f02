//! Mistakes planted in the checkers, to see whether their tests catch them.
//!
//! Each is a rule left out or bent, behind `cargo test -p dwcp-check --features
//! planted-mistakes --test mistakes`. Without the feature every question here is answered
//! *no* at compile time, and nothing of it is left in the program.

macro_rules! mistakes {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A rule that a checker could have got wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mistake { $($(#[$doc])+ $name,)+ }

        impl Mistake {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

mistakes! {
    /// A transaction or write of unknown outcome is taken as refused.
    InfoIsFail,
    /// An operation of unknown outcome is taken to end where its client was told so.
    InfoReturns,
    /// What failed is taken to have happened.
    FailHappened,
    /// A value from a transaction that aborted may be read.
    NoG1a,
    /// A value that its own transaction overwrote may be read.
    NoG1b,
    /// A value that nobody wrote may be read where the history is complete.
    ThinAirIsAllowed,
    /// A transaction need not see its own writes.
    InternalReadsAreNotChecked,
    /// Elements of a list that nobody appended pass.
    UnwrittenElementsPass,
    /// Lists that disagree pass.
    IncompatibleOrdersPass,
    /// A list may show an element twice.
    DuplicateElementsPass,
    /// Appends that no list shows come anywhere.
    UnseenAppendsAreForgotten,
    /// No edges from the writer of a version to the writer of the next.
    NoWw,
    /// No edges from a writer to its readers.
    NoWr,
    /// No edges from a reader to the writer of the next version.
    NoRw,
    /// No edges of real time.
    NoRealtime,
    /// No edges of sessions.
    NoProcess,
    /// Snapshot isolation is taken for serializability.
    SnapshotIsSerial,
    /// Concurrent writers of a key need no order under snapshot isolation.
    NoFirstCommitter,
    /// The search takes the first order that it tries.
    SearchStopsEarly,
    /// Read committed makes no demands on the order of writers.
    NoReadCommittedDemands,
    /// Read atomic looks at reads but not at sessions.
    ReadAtomicWithoutSessions,
    /// Causal order is what is seen directly.
    CausalWithoutClosure,
    /// A read of a register's beginning demands nothing.
    BeginningIsAnytime,
    /// An operation may be ordered before its call.
    CallsAreIgnored,
    /// An operation may be ordered after its return.
    ReturnsAreIgnored,
    /// A refused compare-and-set observes nothing.
    RefusalsObserveNothing,
    /// Registers begin as zero.
    RegistersBeginAsZero,
    /// A key's operations are judged with those of others.
    KeysAreOne,
    /// Only the first key is judged.
    FirstKeyOnly,
    /// An acquired mutex may be acquired.
    MutexIsShared,
    /// A queue may give any of its elements.
    QueueIsABag,
    /// A lost element of a set is taken as never read.
    LostIsNeverRead,
    /// A stale element counts as stable.
    StaleIsStable,
    /// Elements shown twice pass.
    DoubledElementsPass,
    /// Elements that nobody added pass.
    UnexpectedElementsPass,
    /// The lower bound of a counter is not looked at.
    NoLowerBound,
    /// The upper bound of a counter is not looked at.
    NoUpperBound,
    /// The sum of a bank is not looked at.
    TotalIsNotChecked,
    /// Overdrawn accounts pass.
    OverdraftPasses,
    /// Missing accounts count as empty.
    MissingAccountsPass,
    /// Snapshots that disagree pass if one of them is a little older.
    ForksPass,
    /// A client need not read its own writes.
    NoReadYourWrites,
    /// A client may read backwards.
    NoMonotonicReads,
    /// A client's writes may be reordered.
    NoMonotonicWrites,
    /// A write may come before what its client had read.
    NoWritesFollowReads,
    /// Replicas that received the same may differ.
    EqualSetsMayDiffer,
    /// A replica's state need not be what its operations mean.
    IntentIsNotChecked,
    /// The later of two timestamps loses.
    OlderTimestampWins,
    /// A removal also takes additions that it did not observe.
    RemovesWin,
    /// The order of a sequence may differ between reads.
    SequencesMayDiffer,
    /// What a key survived with is not compared.
    LossPasses,
    /// A delete that came back passes.
    ResurrectionPasses,
    /// Events out of order pass.
    EventOrderIsNotChecked,
    /// Events told twice pass.
    RepeatedEventsPass,
    /// Events left out pass.
    GapsPass,
    /// Events that nobody caused pass.
    InventedEventsPass,
    /// A watcher that resumes may skip.
    ResumeMaySkip,
    /// A token may be given twice.
    TokensRepeat,
    /// A later holder may get a smaller token.
    TokensFall,
    /// A use under an old token passes.
    OldTokensPass,
    /// A term may have two leaders.
    TwoLeadersPass,
}

#[cfg(feature = "planted-mistakes")]
mod switch {
    use super::Mistake;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Plants one mistake in the checkers that this thread runs; `None` takes it out.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }

    pub(crate) fn planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }
}

#[cfg(feature = "planted-mistakes")]
pub use switch::plant;
#[cfg(feature = "planted-mistakes")]
pub(crate) use switch::planted;

/// Whether a mistake is planted; without the feature none is.
#[cfg(not(feature = "planted-mistakes"))]
#[inline(always)]
pub(crate) const fn planted(_mistake: Mistake) -> bool {
    false
}
