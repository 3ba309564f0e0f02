//! Cuts that hold one way only: the leader is heard and does not hear, or hears and is not heard. TCP's own
//! acknowledgements are lost with it: what is open stalls, and new connections do not come about.

use super::{Card, Draw};
use crate::{Act, Need, Seen};

pub(super) const CARD: Card = Card {
    name: "one-way",
    scenario: "cut",
    what: "what the leader (or a node) sends to the others is lost, or what they send to it, in turn",
    needs: &[Need::Namespaces],
    proof: "packets that nftables dropped",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    let shuffled = draw.shuffled(seen);
    let one = if draw.nth % 4 < 2 { seen.leader.unwrap_or(shuffled[0]) } else { shuffled[0] };
    let others = shuffled.iter().copied().filter(|n| *n != one);
    let pairs = if draw.nth.is_multiple_of(2) {
        others.map(|n| (one, n)).collect()
    } else {
        others.map(|n| (n, one)).collect()
    };
    Act::Cut { pairs }
}
