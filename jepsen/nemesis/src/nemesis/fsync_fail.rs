//! fsync fails with EIO, and what was to be synced is lost, as Linux does it: a second fsync would
//! succeed and mean nothing. A node must end and come back from what is on the disk.

use super::{Card, Draw};
use crate::{Act, Need, Seen};

pub(super) const CARD: Card = Card {
    name: "fsync-fail",
    scenario: "disk.fail",
    what: "fsync answers EIO on the disks of fewer than half and drops what it was to sync; sound again at the end",
    needs: &[Need::Fuse],
    proof: "syncs that ended in EIO",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    Act::FsyncFail { nodes: draw.minority(seen) }
}
