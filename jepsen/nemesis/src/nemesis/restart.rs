//! A rolling restart, as an upgrade does it: SIGTERM, wait, start, wait until it serves, the next.

use super::{Card, Draw};
use crate::{Act, Seen};

pub(super) const CARD: Card = Card {
    name: "restart",
    scenario: "restart",
    what: "every node in turn is stopped well and started again, the next when it serves",
    needs: &[],
    proof: "processes that ended with code 0 after SIGTERM",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    Act::Restart { nodes: draw.shuffled(seen) }
}
