//! How often the hard paths were taken. No part of the state: two states that differ only here are equal.

use core::hash::{Hash, Hasher};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often the hard paths were taken, in this lifetime.
        #[derive(Clone, Copy, Default, Debug)]
        pub struct Counts {$($(#[$doc])* pub $name: u64,)*}

        impl Counts {
            /// All, by name.
            #[must_use]
            pub fn all(&self) -> [(&'static str, u64); [$(stringify!($name)),*].len()] {
                [$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts! {
    /// Leaderships begun.
    takeovers,
    /// Slots found accepted and not decided by a takeover.
    recovered,
    /// Slots in which a takeover found nothing and put a blank.
    blanks,
    /// Promises that took more than one piece.
    pieces,
    /// Decided slots learned inside a promise.
    promised_decided,
    /// Takeovers given up because others had promised more, or too few answered.
    lost,
    /// Leaders that ended because they heard no quorum.
    unconnected,
    /// Leaders that ended because another came.
    deposed,
    /// Leaders whose process seemed to be gone.
    hinted,
    /// Canvasses ended by somebody who hears a leader.
    vetoed,
    /// Canvasses to which too few answered.
    unheard,
    /// Gaps found and asked for.
    needs,
    /// Decided slots learned from a peer.
    learned,
    /// Peers told that they need a checkpoint.
    behind,
    /// Messages sent again because no answer came.
    resent,
    /// Accepts that were known already.
    repeated,
    /// Accepts refused below a promise.
    rejected,
    /// Accepts dropped because they were too far ahead or the log is full.
    dropped,
    /// Proposals that waited for the window.
    waited,
    /// Leaderships handed over.
    yielded,
    /// Leaderships not handed over, as the successor was not heard.
    stayed,
    /// Checkpoints of peers installed.
    installed,
    /// Reads served.
    reads,
}

impl Hash for Counts {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
