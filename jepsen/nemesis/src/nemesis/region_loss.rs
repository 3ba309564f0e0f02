//! A region is lost: all its nodes at one moment, the leader's region every other time.

use super::{Card, Draw, WHOM};
use crate::{Act, Seen};

pub(super) const CARD: Card = Card {
    name: "region-loss",
    scenario: "region.lose",
    what: "SIGKILL to every node of a region, the leader's every other time; started again at the end",
    needs: &[],
    proof: "processes that ended by signal 9",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    let regions = seen.regions();
    let leaders = seen.places.iter().find(|p| Some(p.node) == seen.leader).map(|p| p.region.as_str());
    let drawn = regions[draw.below(regions.len() as u64, WHOM, 0) as usize];
    let region = leaders.filter(|_| draw.nth.is_multiple_of(2)).unwrap_or(drawn);
    Act::Kill { nodes: seen.of(region), lose_unsynced: false }
}
