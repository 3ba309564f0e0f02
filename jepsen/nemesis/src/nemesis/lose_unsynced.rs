//! Power loss: SIGKILL, and of what was not synced any part may be gone, names included. A majority, or
//! everybody, every time: what a single node lost its peers would hide.

use super::{Card, Draw};
use crate::{Act, Need, Seen};

pub(super) const CARD: Card = Card {
    name: "lose-unsynced",
    scenario: "crash",
    what: "SIGKILL to all nodes, or to a majority, and what their disks had not synced is gone",
    needs: &[Need::Fuse],
    proof: "disks that lost power; the pages and names that they forgot",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    let mut nodes = draw.shuffled(seen);
    if !draw.nth.is_multiple_of(2) {
        nodes.truncate(nodes.len() / 2 + 1);
    }
    Act::Kill { nodes, lose_unsynced: true }
}
