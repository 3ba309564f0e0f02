//! Known bugs that a test of the tests puts back in.

/// Known bugs. All off in a shipped binary: there they are not even compiled.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChainBugs {
    /// What an epoch decides behind its seal takes effect.
    pub void_applied: bool,
    /// Messages leave before what they promise is on disk.
    pub sent_before_durable: bool,
    /// Records count as durable once they are appended.
    pub durable_at_once: bool,
    /// A journal that has lost records is replayed without them. (Under Multi-Paxos it shows only in what was accepted last: a slot
    /// that a later record tells as decided, and that holds no value, is refused by the protocol itself.)
    pub damage_ignored: bool,
    /// A barrier that an ended epoch has checked lets a read pass.
    pub old_barrier_passes: bool,
    /// The protocol's mark is kept with the first checkpoint only.
    pub mark_not_renewed: bool,
    /// The manifest is not written: after a restart an epoch's log is not found.
    pub slot_forgotten: bool,
    /// An ended epoch's log goes before a checkpoint behind it is durable.
    pub log_ended_early: bool,
    /// Where peers may lie, a checkpoint is taken when there is time: its digest is of another place than what it is vouched for.
    pub named_checkpoint_late: bool,
    /// Where peers may lie, nobody looks at the state that is vouched for.
    pub digest_unseen: bool,
    /// Where peers may lie, a peer's state is taken without a proof.
    pub state_unproved: bool,
}

/// Whether a bug is planted; `false` at compile time in a shipped binary.
macro_rules! bug {
    ($bugs:expr, $name:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let planted = $bugs.$name;
        #[cfg(not(feature = "planted-bugs"))]
        let planted = false;
        planted
    }};
}
pub(crate) use bug;
