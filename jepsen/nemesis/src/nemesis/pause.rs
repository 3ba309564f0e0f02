//! SIGSTOP: a process that stands still while the world goes on, and wakes believing the past. A leader
//! paused longer than its lease must not serve what it believes.

use super::{Card, Draw};
use crate::{Act, Seen};

pub(super) const CARD: Card = Card {
    name: "pause",
    scenario: "pause",
    what: "SIGSTOP to the leader, a follower, a minority, a majority in turn; SIGCONT at the end",
    needs: &[],
    proof: "the kernel says `T` (stopped) of each process",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    Act::Pause { nodes: draw.some(seen) }
}
