//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Bug { $($(#[doc = $doc])* $name = $number),* }
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// What is wrong, in a line.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*)),* }
            }
            /// By the name it has in the code.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                [$((stringify!($name), Self::$name)),*].into_iter().find(|(n, _)| *n == name).map(|(_, b)| b)
            }
        }
    };
}

bugs! {
    /// A new placement keeps the epoch of the last one.
    LeaseWithoutEpoch = 1;
    /// Storage admits and serves any epoch.
    StorageUnfenced = 2;
    /// Clocks are believed to the nanosecond: their uncertainty counts as zero.
    ClockTrusted = 3;
    /// A renewal counts as done when it is sent.
    RenewedUnanswered = 4;
    /// The fleet counts rights as given back when it asks for them.
    EscrowSpentTwice = 5;
    /// A migration is handed over before the machine has stopped.
    YieldWhileRunning = 6;
    /// Addresses are given of blocks whatever their state.
    AllocatorOutsideBlock = 7;
    /// A delete frees addresses at once, before the machine has stopped.
    DeleteFreesFirst = 8;
    /// A machine leaves its region without looking whether it runs.
    LeaveWhileRunning = 9;
    /// A region takes a block under any epoch.
    AdoptAnyEpoch = 10;
    /// A lost host's leases are taken without waiting for their end.
    TakenEarly = 11;
    /// A transaction forgets to check what its plan has read.
    ReadsUnchecked = 12;
    /// A request that is asked again is done again.
    DoneTwice = 13;
    /// A machine is started while its storage is still to be asked.
    StartUnadmitted = 14;
    /// The watchdog is not armed: a dead agent's machines run on.
    WatchdogUnarmed = 15;
    /// A machine's record goes while it may still run.
    PurgedWhilePlaced = 16;
    /// A region that took a machine over keeps it though the handover was called back.
    CallBackIgnored = 17;
    /// A machine is started under a lease that this life of the agent has not renewed: what its last life asked may still come.
    StartUnrenewed = 18;
    /// An agent that has asked to give a place up keeps the machine after all when it is wanted again.
    LeavingTakenBack = 19;
    /// A machine's number is forgotten with the machine: a late retry of its creation creates it again.
    CreatedAgain = 20;
    /// The hypervisor takes orders in any order.
    OrdersOvertake = 21;
    /// What a transaction rests on in another store may have been read before what it checks.
    OthersReadFirst = 22;
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
