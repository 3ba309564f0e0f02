//! Known bugs, planted on purpose: the rehearsal must find each (feature `planted-bugs`, never in a production build).

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Bug {
    /// Quorums of 2f.
    QuorumOfTwoF = 1,
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

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::QuorumOfTwoF,
        Self::PreparedForgotten,
        Self::CommitUnprepared,
        Self::CheckpointOfOne,
        Self::CodeUnchecked,
        Self::NewViewUnverified,
        Self::WatermarkUnchecked,
        Self::DigestUncompared,
        Self::VoteBeforeSync,
        Self::BundleUnsigned,
        Self::EffectTwice,
        Self::DecisionOfOne,
        Self::SecondPrePrepare,
        Self::ClaimBelieved,
        Self::AdmitsAnything,
        Self::FetchedUncompared,
        Self::SealUnsigned,
    ];
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
    pub(in super::super) fn is(bug: super::Bug) -> bool {
        BUG.load(Ordering::Relaxed) == bug as u8
    }
}
#[cfg(feature = "planted-bugs")]
pub(super) use armed::is;
#[cfg(feature = "planted-bugs")]
pub use armed::plant;

/// Whether this bug is planted: not in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
#[must_use]
pub(super) const fn is(_: Bug) -> bool {
    false
}
