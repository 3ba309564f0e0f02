//! Slow links: every packet between nodes takes longer, and packets overtake nobody.

use super::{Card, Draw};
use crate::{Act, Need, Seen};
use dwcp_env::Purpose;

const HOW_LONG: Purpose = Purpose::named("nemesis.delay");

pub(super) const CARD: Card = Card {
    name: "delay",
    scenario: "slow",
    what: "every packet between nodes takes 20 to 120 ms longer one way, with up to as much jitter",
    needs: &[Need::Tun],
    proof: "packets that waited in the link, and its own lateness: p99 under 5 ms, or the run is no evidence",
};

pub(super) fn act(draw: Draw, _seen: &Seen) -> Act {
    let millis = 20 + draw.below(101, HOW_LONG, 0);
    Act::Delay { millis, jitter_millis: draw.below(millis, HOW_LONG, 1) }
}
