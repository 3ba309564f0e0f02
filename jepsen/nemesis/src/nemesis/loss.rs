//! Lossy links: each packet between nodes is lost by chance.

use super::{Card, Draw};
use crate::{Act, Need};
use dwcp_env::Purpose;

const HOW_MANY: Purpose = Purpose::named("nemesis.loss");

pub(super) const CARD: Card = Card {
    name: "loss",
    scenario: "[world] loss",
    what: "1 to 10 % of the packets between nodes are lost",
    needs: &[Need::Tun],
    proof: "packets that the link dropped",
};

pub(super) fn act(draw: Draw) -> Act {
    Act::Loss { per_mille: 10 + draw.below(91, HOW_MANY, 0) as u32 }
}
