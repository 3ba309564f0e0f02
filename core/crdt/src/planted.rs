//! Known bugs, planted on purpose: the histories must find each (feature `planted-bugs`, never in a production build).

dwcp_env::planted_bugs! {
    /// Removals that come before what they remove are forgotten.
    DropPending,
    /// Of concurrent writes at one moment the first that came is shown.
    DropTieBreak,
    /// The log is trimmed one operation beyond what all have.
    TrimEarly,
    /// A replica that lost its disk goes on under its old place in the roster.
    ReuseDot,
    /// The last of the dots an operation supersedes is passed over.
    SkipSuperseded,
    /// Dead elements of sequences are purged as soon as they are dead here.
    PurgeEarly,
    /// What was cut off by an eviction goes by its old name for ever.
    OldNames,
    /// An increment that is made anew brings the whole totals of the place that ended.
    WholeTotals,
    /// One that lags is active again although it does not know who was evicted meanwhile.
    PromoteUnaware,
    /// Those who have no state decide what of a closing member's counts.
    EndUnserved,
    /// Nobody takes a state that has more of a closing member than active ones reported, although there is no other.
    RefuseTheLast,
}
