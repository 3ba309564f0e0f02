//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

dwcp_env::planted_bugs! {
    /// A promise counts as a vote: one ballot an instance (Sutra, arXiv 1906.10917).
    OneBallot,
    /// A recovery believes what enough have pre-accepted without validating it.
    NoValidation,
    /// A recovery that found no vote proposes what any one pre-accepted, however few.
    AnyPreAccept,
    /// The fast path is taken one answer short.
    SmallFastQuorum,
    /// A fast decision is told and executed before it is on disk.
    UnsyncedDecision,
    /// What is sent does not wait for the records it shows.
    UnsyncedAnswer,
    /// A slow path takes its own replica's dependencies and forgets those of the answers.
    ForgottenAnswers,
    /// A command is executed although one of its dependencies is not decided.
    EagerExecution,
    /// Commands of one cycle are executed in the order in which they were met.
    UnsortedCycle,
    /// What was executed is no longer a dependency of what comes.
    ForgottenExecuted,
    /// A marker depends on all commands, and no command on it.
    LooseMarker,
    /// A read is answered from what this replica has heard of alone.
    LocalRead,
    /// Atlas' rule: one report fewer is enough.
    OneReportLess,
    /// Atlas' rule: a recovery takes what most of those left of the fast quorum know, not what any does.
    MostForUnion,
    /// Atlas' rule: a recovery does not wait for those of the fast quorum who may have reported.
    ShortOfReports,
    /// Atlas' rule: answers count whoever gives them, named or not.
    UnnamedQuorum,
    /// What is heard of in others' dependencies alone is waited for, and looked after by nobody.
    MissedUnheard,
    /// A restarted replica counts its instances from where its executed ones end.
    ReusedNumber,
}

impl Bug {
    /// Whether it harms groups under Atlas' rule only; `None`: under either rule.
    #[must_use]
    pub const fn of_atlas(self) -> Option<bool> {
        match self {
            Self::NoValidation | Self::AnyPreAccept | Self::SmallFastQuorum | Self::ForgottenAnswers => {
                Some(false)
            }
            Self::OneReportLess | Self::MostForUnion | Self::ShortOfReports | Self::UnnamedQuorum => {
                Some(true)
            }
            _ => None,
        }
    }
}
