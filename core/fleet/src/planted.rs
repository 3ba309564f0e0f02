//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

dwcp_env::planted_bugs! {
    /// A new placement keeps the epoch of the last one.
    LeaseWithoutEpoch,
    /// Storage admits and serves any epoch.
    StorageUnfenced,
    /// Clocks are believed to the nanosecond: their uncertainty counts as zero.
    ClockTrusted,
    /// A renewal counts as done when it is sent.
    RenewedUnanswered,
    /// The fleet counts rights as given back when it asks for them.
    EscrowSpentTwice,
    /// A migration is handed over before the machine has stopped.
    YieldWhileRunning,
    /// Addresses are given of blocks whatever their state.
    AllocatorOutsideBlock,
    /// A delete frees addresses at once, before the machine has stopped.
    DeleteFreesFirst,
    /// A machine leaves its region without looking whether it runs.
    LeaveWhileRunning,
    /// A region takes a block under any epoch.
    AdoptAnyEpoch,
    /// A lost host's leases are taken without waiting for their end.
    TakenEarly,
    /// A transaction forgets to check what its plan has read.
    ReadsUnchecked,
    /// A request that is asked again is done again.
    DoneTwice,
    /// A machine is started while its storage is still to be asked.
    StartUnadmitted,
    /// The watchdog is not armed: a dead agent's machines run on.
    WatchdogUnarmed,
    /// A machine's record goes while it may still run.
    PurgedWhilePlaced,
    /// A region that took a machine over keeps it though the handover was called back.
    CallBackIgnored,
    /// A machine is started under a lease that this life of the agent has not renewed: what its last life asked may still come.
    StartUnrenewed,
    /// An agent that has asked to give a place up keeps the machine after all when it is wanted again.
    LeavingTakenBack,
    /// A machine's number is forgotten with the machine: a late retry of its creation creates it again.
    CreatedAgain,
    /// The hypervisor takes orders in any order.
    OrdersOvertake,
    /// What a transaction rests on in another store may have been read before what it checks.
    OthersReadFirst,
    /// What an earlier life of an agent has asked is done all the same.
    LivesUncounted,
    /// A new life takes places over without having found the machines on its own hypervisor.
    FoundUnseen,
    /// A machine's number is the request's, in whatever region it is asked.
    NumberUnbound,
    /// A restored store gives epochs and lives where its backup left off.
    RestoredAsOne,
    /// A restored store gives at once, without waiting for the leases that it has forgotten.
    OpenedAtOnce,
    /// A restored region keeps machines that had left it when the store was lost.
    OwnersUnasked,
    /// Whatever end a lease has is believed, be it a year ahead.
    AnyEndBelieved,
    /// A renewal that leaves the end where it is gives no time.
    RenewedInVain,
    /// Announcements contradict each other whenever they were true.
    OldNewsBelieved,
}

impl Bug {
    /// The invariants that this bug breaks ([`crate::rehearsal`]): a sweep has found it if one of them is broken, and not
    /// if something else is.
    #[must_use]
    pub const fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::LeaseWithoutEpoch => &["epochs_grow", "one_writer"],
            Self::StorageUnfenced => &["one_writer"],
            Self::ClockTrusted | Self::RenewedUnanswered | Self::TakenEarly => &["runs_once", "one_writer"],
            Self::YieldWhileRunning | Self::WatchdogUnarmed | Self::OrdersOvertake => {
                &["runs_once", "one_writer"]
            }
            Self::StartUnrenewed => &["runs_once", "one_writer"],
            Self::LeavingTakenBack => &["runs_once", "one_writer", "capacity"],
            Self::LivesUncounted | Self::FoundUnseen => &["runs_once", "one_writer"],
            Self::EscrowSpentTwice => &["quota"],
            Self::AllocatorOutsideBlock => &["address_in_block", "address_once"],
            Self::DeleteFreesFirst => &["address_once"],
            Self::LeaveWhileRunning => &["capacity", "runs_once", "epochs_grow", "address_once"],
            Self::PurgedWhilePlaced => &["capacity", "runs_once", "address_once"],
            Self::AdoptAnyEpoch => &["lent_once"],
            Self::ReadsUnchecked => {
                &["address_in_block", "address_once", "capacity", "quota", "names", "one_home", "epochs_grow"]
            }
            Self::DoneTwice => &["done_once"],
            Self::StartUnadmitted => &["shown_first"],
            // What is kept is an older copy, too.
            Self::CallBackIgnored => &["one_home", "acknowledged"],
            Self::CreatedAgain => &["epochs_grow", "acknowledged"],
            Self::OthersReadFirst => &["acknowledged", "one_home"],
            Self::NumberUnbound => &["one_home"],
            Self::RestoredAsOne => &["epochs_grow", "one_writer"],
            Self::OpenedAtOnce => &["runs_once"],
            Self::OwnersUnasked => &["one_home", "runs_once"],
            Self::AnyEndBelieved | Self::RenewedInVain => &["at_rest"],
            Self::OldNewsBelieved => &["unfounded"],
        }
    }
}
