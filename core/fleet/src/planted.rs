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
}
