//! Known bugs of sequences, planted on purpose: the histories must find each (feature `planted-bugs`, never in a
//! production build).

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Slip {
    /// Siblings stand in the order in which they came, not of their names.
    TieBreak = 1,
    /// What is inserted always hangs right of what is before it, as in RGA.
    RightOrigin = 2,
    /// What kills an element that has not come is forgotten.
    Doomed = 3,
    /// What is retired is named all the same.
    NameRetired = 4,
    /// Dead elements are purged though others hang on them.
    PurgeParents = 5,
    /// What two deletions killed is retired by the one that came first, and by it alone.
    DieOnce = 6,
    /// What hangs below the dead moves up to their parents while somebody may still name them.
    ContractEarly = 7,
}

impl Slip {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TieBreak,
        Self::RightOrigin,
        Self::Doomed,
        Self::NameRetired,
        Self::PurgeParents,
        Self::DieOnce,
        Self::ContractEarly,
    ];
}

#[cfg(feature = "planted-bugs")]
mod armed {
    use core::sync::atomic::{AtomicU8, Ordering};
    static SLIP: AtomicU8 = AtomicU8::new(0);

    /// Plants a bug in this process, or digs it up.
    pub fn plant(slip: Option<super::Slip>) {
        SLIP.store(slip.map_or(0, |s| s as u8), Ordering::SeqCst);
    }
    pub(in crate::rga) fn is(slip: super::Slip) -> bool {
        SLIP.load(Ordering::Relaxed) == slip as u8
    }
}
#[cfg(feature = "planted-bugs")]
pub(super) use armed::is;
#[cfg(feature = "planted-bugs")]
pub use armed::plant;

/// Whether this bug is planted: not in this build.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub(super) const fn is(_: Slip) -> bool {
    false
}
