//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

dwcp_env::planted_bugs! {
    /// Quorums of 2f.
    QuorumOfTwoF,
    /// What was prepared is not claimed in a view change.
    PreparedForgotten,
    /// Commit is sent without having prepared.
    CommitUnprepared,
    /// One signature makes a checkpoint stable.
    CheckpointOfOne,
    /// Codes between members are not checked.
    CodeUnchecked,
    /// A new view's content is believed without doing the sum again.
    NewViewUnverified,
    /// Places below and above the watermarks are accepted.
    WatermarkUnchecked,
    /// Votes are counted without comparing what they are for.
    DigestUncompared,
    /// Votes leave before they are on disk.
    VoteBeforeSync,
    /// Bundles are accepted whoever signed them.
    BundleUnsigned,
    /// A bundle takes effect each time it is ordered.
    EffectTwice,
    /// One member's word for a decision is believed.
    DecisionOfOne,
    /// A second pre-prepare for a place of a view replaces the first.
    SecondPrePrepare,
    /// A claim of having prepared is believed though no f + 1 took note of it.
    ClaimBelieved,
    /// A peer's checkpoint is installed whatever its digest.
    AdmitsAnything,
    /// A batch that was fetched is taken for the one asked for.
    FetchedUncompared,
    /// Any member may end the epoch.
    SealUnsigned,
}
