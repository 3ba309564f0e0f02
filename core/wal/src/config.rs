//! What may be set, per process.

use dwcp_env::bound::WAL_SEGMENT;
use dwcp_env::{ByteCount, ClusterId};

/// The log's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalConfig {
    /// The size of a segment. May differ from boot to boot. At least [`WalConfig::SEGMENT_MIN`];
    /// a smaller wish is raised to it.
    pub segment: ByteCount,
    /// The most bytes of one write, and so of what a crash can tear.
    pub batch: ByteCount,
    /// The cluster this node belongs to; a log of another one is refused.
    pub cluster: ClusterId,
    /// Known bugs, for the simulator's own test.
    #[cfg(feature = "planted-bugs")]
    pub bugs: WalBugs,
}

impl WalConfig {
    /// The smallest segment.
    pub const SEGMENT_MIN: ByteCount = ByteCount::kib(32);
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            segment: WAL_SEGMENT,
            batch: ByteCount::mib(4),
            cluster: ClusterId::default(),
            #[cfg(feature = "planted-bugs")]
            bugs: WalBugs::default(),
        }
    }
}

/// Known bugs that a test of the tests puts back in.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalBugs {
    /// Writes are acknowledged without a sync.
    pub ack_before_sync: bool,
    /// Recovery believes payloads without checking them.
    pub checksum_unchecked: bool,
    /// A new segment's name is not made durable before it is written to.
    pub directory_not_synced: bool,
    /// Votes are acknowledged and not written.
    pub vote_forgotten: bool,
    /// Recovery passes truncations over, and of two entries of one index takes the first it finds.
    pub truncate_wrongly: bool,
    /// A sync that ends acknowledges what was appended while it ran, too.
    pub group_commit_early: bool,
    /// Recovery takes the newest segment for one that was made and never used.
    pub recovery_skips_last: bool,
    /// Segments are removed by their number, whatever lives in them.
    pub trim_too_far: bool,
    /// A new segment does not begin with the state of every group.
    pub rotation_drops_state: bool,
    /// After a change of segments the old one is synced once more, and not the new one.
    pub syncs_wrong_segment: bool,
    /// A write or sync that failed counts as done.
    pub error_ignored: bool,
    /// The log is cut off at the first damage, and nobody is told.
    pub damage_ignored: bool,
    /// What a dead process left unsynced is believed at boot and not written again.
    pub boot_tail_not_rewritten: bool,
}
