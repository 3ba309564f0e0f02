//! Partitions that hold both ways, in the four shapes that quorums meet.
//!
//! | shape | who reaches whom |
//! |---|---|
//! | minority | the leader and fewer than half are alone |
//! | majority | a random half and the rest; the leader where the draw puts it |
//! | bridge | two halves that meet in one node |
//! | ring | everybody reaches only the two neighbours |

use super::{Card, Draw};
use crate::{Act, Need, Seen};
use dwcp_env::NodeId;

pub(super) const CARD: Card = Card {
    name: "partition",
    scenario: "partition",
    what: "minority with the leader, majority and rest, bridge, ring in turn; all both ways",
    needs: &[Need::Namespaces],
    proof: "packets that nftables dropped",
};

pub(super) fn act(draw: Draw, seen: &Seen) -> Act {
    let mut nodes = draw.shuffled(seen);
    let n = nodes.len();
    // Three nodes have no ring without two neighbours each, and a bridge is a chain.
    let apart: Box<dyn Fn(usize, usize) -> bool> = match draw.nth % 4 {
        0 => {
            if let Some(at) = nodes.iter().position(|x| Some(*x) == seen.leader) {
                nodes.swap(0, at);
            }
            let side = (n.saturating_sub(1) / 2).max(1);
            Box::new(move |a, b| (a < side) != (b < side))
        }
        1 => {
            let side = n / 2 + 1;
            Box::new(move |a, b| (a < side) != (b < side))
        }
        2 => {
            let bridge = n / 2;
            Box::new(move |a, b| a != bridge && b != bridge && (a < bridge) != (b < bridge))
        }
        _ => Box::new(move |a, b| {
            let apart = a.abs_diff(b);
            n > 3 && apart > 1 && apart < n - 1
        }),
    };
    let mut pairs = all_pairs(&nodes, &*apart);
    if pairs.is_empty() {
        // A ring of three cuts nothing: the first is alone instead.
        pairs = all_pairs(&nodes, &|a, b| (a == 0) != (b == 0));
    }
    Act::Cut { pairs }
}

fn all_pairs(nodes: &[NodeId], apart: &dyn Fn(usize, usize) -> bool) -> Vec<(NodeId, NodeId)> {
    let places = || 0..nodes.len();
    let pairs = places().flat_map(|a| places().map(move |b| (a, b)));
    pairs.filter(|(a, b)| a != b && apart(*a, *b)).map(|(a, b)| (nodes[a], nodes[b])).collect()
}
