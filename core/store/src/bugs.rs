//! Known bugs behind switches, so that the harness can be proven to find them.
//!
//! Without the feature `planted-bugs` the struct is empty and every question below is a constant
//! `false`: a release contains none of this.

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which known bugs are switched on. None by default.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct StoreBugs {
            $($(#[$doc])* #[cfg(feature = "planted-bugs")] pub $name: bool,)*
        }

        impl StoreBugs {
            /// The names of all bugs that can be planted.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// The one bug of this name.
            #[cfg(feature = "planted-bugs")]
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                let mut bugs = Self::default();
                match name {
                    $(stringify!($name) => bugs.$name = true,)*
                    _ => return None,
                }
                Some(bugs)
            }
            $(
                #[cfg(feature = "planted-bugs")]
                pub(crate) const fn $name(self) -> bool { self.$name }
                #[cfg(not(feature = "planted-bugs"))]
                pub(crate) const fn $name(self) -> bool { false }
            )*
        }
    };
}

bugs! {
    /// A retried command is applied again instead of being answered from its session.
    double_apply_after_retry,
    /// A checkpoint says it holds all that was applied when its job *ends*; entries applied
    /// while it ran are lost at the next boot.
    checkpoint_claims_too_much,
    /// A checkpoint sent to a peer leaves the sessions out: retries there are applied again.
    snapshot_without_sessions,
    /// Compaction removes the newest revision of a key, live at the compacted revision.
    compaction_eats_live,
    /// Revoking a lease forgets the lease and leaves its keys.
    lease_keys_leak,
    /// A transaction's reads and compares look one revision into the past.
    stale_compare,
}
