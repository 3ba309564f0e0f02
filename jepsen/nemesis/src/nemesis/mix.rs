//! Two nemeses at once, of different kinds: recovery from one meets the other.

use super::{Card, Draw, Nemesis};
use dwcp_env::Purpose;

const WHICH: Purpose = Purpose::named("nemesis.mix");

pub(super) const CARD: Card = Card {
    name: "mix",
    scenario: "[swarm]",
    what: "two of the others at once, drawn from those this machine can do",
    needs: &[],
    proof: "those of its parts",
};

/// Two of `allowed`; fewer if there are no two.
pub(super) fn pair(draw: Draw, allowed: &[Nemesis]) -> Vec<Nemesis> {
    let mut rest: Vec<Nemesis> = allowed.iter().copied().filter(|n| *n != Nemesis::Mix).collect();
    let mut out = Vec::new();
    for ordinal in 0..2 {
        if !rest.is_empty() {
            out.push(rest.swap_remove(draw.below(rest.len() as u64, WHICH, ordinal) as usize));
        }
    }
    out
}
