//! What a new view must carry on: a pure function of a quorum's leaves of the views before.
//!
//! Castro & Liskov, TOCS 2002, §4.5 (the thesis' figure 3-4), with two changes: the leaves are signed, so
//! no acknowledgements are needed to convince third parties of *who said what*; and each carries proof of its
//! checkpoint (OSDI 1999, §4.4), so the newest is taken without counting.
//!
//! Claims of having prepared are **not** certificates: the normal case has codes only, which convince
//! nobody else. What makes them safe to act on is counting. For a place above the newest checkpoint, a
//! digest d that somebody claims to have prepared in view v is chosen if
//!
//! - **A1** a quorum of leaves does not contradict: each has prepared nothing there, or something in an
//!   earlier view than v, or d in v;
//! - **A2** f + 1 leaves took note of d in v or later: so one correct member did, from a primary that was
//!   entitled to propose it.
//!
//! Nothing is chosen for it (the empty batch) if a quorum has prepared nothing there. If neither holds, more
//! leaves are needed; all correct members' leaves together always suffice.
//!
//! *Why a decided batch is never lost.* Let d be decided at n in view v: 2f + 1 committed, f + 1 of them
//! correct, and these have prepared d at n in v, on disk before their commit. Any quorum has one of them,
//! and until n is in a checkpoint its leave says: d in v or later (later ones are d too, by induction over
//! views). So "nothing" cannot gather a quorum; and d' can only with a claim of a view v' > v (A1), and
//! then (A2) a correct member took note of d' at n in a view later than v: by induction d' = d.

use super::config::Inner;
use super::crypto::Digest;
use super::message::{Certificate, Claim, ViewChange};
use crate::quorum::NodeSet;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// The content of a new view.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Selected {
    /// The newest checkpoint proved.
    pub(super) base: Certificate,
    /// What the places behind it carry, up to the last one that somebody may have decided.
    pub(super) chosen: Vec<Digest>,
}

/// The content of a new view that begins from these leaves, each of which holds and is for this view;
/// `None` if they do not determine it yet.
pub(super) fn select(config: &Inner, changes: &[ViewChange], nothing: Digest) -> Option<Selected> {
    let base = changes.iter().map(|c| &c.stable).max_by_key(|c| c.seq)?.clone();
    let mut prepared: BTreeMap<u64, Vec<(u8, Claim)>> = BTreeMap::new();
    let mut noted: BTreeMap<(u64, Digest), Vec<(u8, u64)>> = BTreeMap::new();
    for change in changes {
        for claim in change.prepared.iter().filter(|c| c.seq > base.seq) {
            prepared.entry(claim.seq).or_default().push((change.place, *claim));
        }
        for claim in change.noted.iter().filter(|c| c.seq > base.seq) {
            noted.entry((claim.seq, claim.digest)).or_default().push((change.place, claim.view));
        }
    }
    let everybody: NodeSet =
        changes.iter().fold(NodeSet::EMPTY, |s, c| s.or(NodeSet::one(usize::from(c.place))));
    if !config.is_quorum(everybody) {
        return None;
    }
    let top = prepared.keys().next_back().copied().unwrap_or(base.seq);
    let mut chosen = Vec::new();
    for seq in base.seq + 1..=top {
        let here = prepared.get(&seq).map_or(&[][..], Vec::as_slice);
        chosen.push(choose(config, seq, here, &noted, everybody)?);
    }
    // Gaps at the end are free to carry what comes next. An empty batch that was *claimed* is none: it may be
    // decided like any other.
    while chosen.last() == Some(&None) {
        chosen.pop();
    }
    let chosen = chosen.into_iter().map(|digest| digest.unwrap_or(nothing)).collect();
    Some(Selected { base, chosen })
}

/// What a place carries: a digest that was claimed, or nothing; `None` if that is not determined yet.
fn choose(
    config: &Inner,
    seq: u64,
    here: &[(u8, Claim)],
    noted: &BTreeMap<(u64, Digest), Vec<(u8, u64)>>,
    everybody: NodeSet,
) -> Option<Option<Digest>> {
    let candidates: BTreeSet<(u64, Digest)> = here.iter().map(|(_, c)| (c.view, c.digest)).collect();
    for (view, digest) in candidates.into_iter().rev() {
        let against = places(
            here.iter()
                .filter(|(_, c)| c.view > view || (c.view == view && c.digest != digest))
                .map(|(p, _)| *p),
        );
        let agreed = config.is_quorum(everybody.without(against));
        let entitled = noted.get(&(seq, digest)).is_some_and(|who| {
            config.has_correct(places(who.iter().filter(|(_, v)| *v >= view).map(|(p, _)| *p)))
        });
        if agreed && (entitled || super::planted::is(super::Bug::ClaimBelieved)) {
            return Some(Some(digest));
        }
    }
    let somebody = places(here.iter().map(|(p, _)| *p));
    config.is_quorum(everybody.without(somebody)).then_some(None)
}

/// The members at these places.
pub(super) fn places(of: impl Iterator<Item = u8>) -> NodeSet {
    of.fold(NodeSet::EMPTY, |s, p| s.or(NodeSet::one(usize::from(p))))
}
