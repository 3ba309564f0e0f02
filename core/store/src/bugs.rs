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
    /// A checkpoint is reported before it is durable; the log is trimmed behind it.
    checkpoint_not_synced,
    /// A key that is made again goes on with the version it had when it was deleted.
    version_not_reset,
    /// A key that is made again keeps the revision of its first creation.
    create_kept,
    /// A delete of a range takes the range's end, too.
    range_end_deleted,
    /// Each put of a transaction has a revision of its own.
    txn_not_atomic,
    /// A delete that finds nothing uses a revision up.
    empty_delete_counts,
    /// A read of the past answers with what is there now.
    past_read_sees_present,
    /// A condition on a range holds if it holds for one key of it.
    compare_any,
    /// Compaction removes the mark of a deletion at the compacted revision itself (etcd 3.4).
    tombstone_compacted,
    /// At boot keys are not put back under their leases.
    lease_keys_not_loaded,
    /// A key put under another lease ends with the old one, too.
    lease_keeps_key,
    /// A checkpoint sent to a peer leaves the leases out.
    snapshot_without_leases,
    /// An answer is remembered under the session's next number.
    answer_of_another,
    /// At boot sessions come back without their answers.
    answers_not_loaded,
    /// A session's life in seconds is taken for nanoseconds.
    session_life_in_nanos,
    /// A checkpoint from a peer is installed over newer state.
    install_goes_back,
    /// A watch from a revision on begins behind it.
    watch_skips_first,
    /// A watch from a revision on begins before it.
    watch_repeats_last,
    /// A watch that begins in the past is told only what is new.
    watch_past_ignored,
    /// What was before an event is what is there after it.
    watch_prev_is_now,
    /// A watch whose revision was compacted goes on from what is left.
    watch_jumps_compaction,
    /// A watch that is behind is told what is new at once, and the rest later.
    watch_out_of_order,
}
