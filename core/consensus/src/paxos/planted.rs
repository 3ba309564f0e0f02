//! Known bugs of Multi-Paxos, planted on purpose: the rehearsal must find each (feature `planted-bugs`,
//! never in a production build).

dwcp_env::planted_bugs! {
    /// The leader counts its own acceptance before it is on disk.
    OwnVoteBeforeSync,
    /// `AcceptOk` does not wait for the disk.
    AcceptOkBeforeSync,
    /// A promise is not on disk: after a crash anything is accepted again.
    PromiseNotPersisted,
    /// A promise says nothing of what was accepted.
    PromiseWithoutValues,
    /// A takeover takes what it accepted itself before what others accepted in higher ballots.
    TakeoverOwnWins,
    /// A takeover begins to lead on its own promise and one answer.
    TakeoverUnderQuorum,
    /// One acceptance decides.
    MinorityDecides,
    /// An acceptor accepts below its promise.
    AcceptBelowPromise,
    /// A checkpoint lets accepted slots behind it go that are not decided.
    CompactForgetsUndecided,
    /// A read is served without asking anybody whether this node still leads.
    ReadWithoutRound,
    /// A read is served before this leadership has decided anything.
    ReadBeforeOwnEntry,
    /// What a peer tells is given out as decided though it was already.
    LearnTwice,
    /// A follower takes any accepted value for the decided one.
    DecidedAnyBallot,
    /// After a crash the ballot of before is used again.
    BallotReused,
    /// Of a promise in pieces, what a piece tells as decided is taken as such only, though it may not follow on what is
    /// decided here.
    PieceForgotten,
    /// After a peer's checkpoint was installed, a log with a hole below it can't be read.
    HoleIsCorrupt,
    /// What was accepted in another ballot counts as accepted in the one that is followed.
    TipKept,
    /// The mark of a checkpoint does not say that the epoch is sealed.
    SealForgotten,
    /// A promise does not wait for the disk.
    PromiseBeforeSync,
    /// A read joins the round of heartbeats that is under way.
    LateReader,
    /// A leader takes itself for connected, whoever answers it.
    NeverUnconnected,
    /// An `Accept` that was lost is never sent again.
    AcceptOnce,
    /// A `Prepare` that was lost is never sent again, and its takeover never given up.
    PrepareOnce,
    /// Nobody asks for slots it misses.
    NeverAsks,
    /// Who is told of a leader stands nevertheless.
    VetoIgnored,
    /// What waits for the window waits for ever.
    NeverPumps,
    /// What was accepted in an earlier ballot is acknowledged in a later one without a record of that.
    VoteNotRenewed,
    /// Hearing of a leader raises nothing: its predecessor's late values are blamed.
    HearsayIgnored,
}
