//! No room: writes and reservations end in ENOSPC. A node may stop or refuse; it may not acknowledge.

use super::{Card, Draw};
use crate::{Act, Need, Seen};

pub(super) const CARD: Card = Card {
    name: "disk-full",
    scenario: "disk.full",
    what: "the disks of fewer than half have no room; there is room again at the end",
    needs: &[Need::Fuse],
    proof: "writes that ended in ENOSPC",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    Act::DiskFull { nodes: draw.minority(seen) }
}
