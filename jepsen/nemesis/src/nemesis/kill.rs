//! SIGKILL: no goodbye, no flush. What the kernel had taken it keeps: only the process is gone.

use super::{Card, Draw};
use crate::{Act, Seen};

pub(super) const CARD: Card = Card {
    name: "kill",
    scenario: "crash",
    what: "SIGKILL to the leader, a follower, a minority, a majority in turn; started again at the end",
    needs: &[],
    proof: "processes that ended by signal 9",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    Act::Kill { nodes: draw.some(seen), lose_unsynced: false }
}
