//! Known bugs of sequences, planted on purpose: the histories must find each (feature `planted-bugs`, never in a
//! production build).

dwcp_env::planted_bugs! {
    /// Siblings stand in the order in which they came, not of their names.
    TieBreak,
    /// What is inserted always hangs right of what is before it, as in RGA.
    RightOrigin,
    /// What kills an element that has not come is forgotten.
    Doomed,
    /// What is retired is named all the same.
    NameRetired,
    /// Dead elements are purged though others hang on them.
    PurgeParents,
    /// What two deletions killed is retired by the one that came first, and by it alone.
    DieOnce,
    /// What hangs below the dead moves up to their parents while somebody may still name them.
    ContractEarly,
}
