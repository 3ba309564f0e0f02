//! Wrong calendars: a minority, or everybody, jumps by up to a minute, far beyond the uncertainty that the nodes
//! are configured with. Only the calendar jumps: no process can move its monotonic clock.

use super::{Card, Draw};
use crate::{Act, Seen};
use dwcp_env::Purpose;

const BY: Purpose = Purpose::named("nemesis.clock");
/// The farthest a calendar is put off.
const MOST_MS: u64 = 60_000;

pub(super) const CARD: Card = Card {
    name: "clock",
    scenario: "clock.jump",
    what: "calendars of some nodes, or all, are off by up to a minute either way; right again at the end",
    needs: &[],
    proof: "the offset read back from each node",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    let whose = if draw.nth.is_multiple_of(2) { draw.some(seen) } else { seen.nodes() };
    let offset = |i: usize| {
        let far = draw.below(MOST_MS, BY, 2 * i as u64) as i64 + 1;
        if draw.below(2, BY, 2 * i as u64 + 1) == 0 { far } else { -far }
    };
    Act::Clock { offsets: whose.into_iter().enumerate().map(|(i, n)| (n, offset(i))).collect() }
}
