//! What a quorum system is worth: for the selection to rank those that are admitted.

use super::minimal::{minimal, subsets};
use super::system::{RegionRule, System, regions};
use super::{EXHAUSTIVE_MAX, NodeSet, Phase, Quorums};
use alloc::vec::Vec;

/// The fewest members whose failure leaves no quorum; one less is what the phase bears for certain.
#[must_use]
pub fn blocking(system: &System, phase: Phase) -> usize {
    let n = system.members();
    if let Some(size) = system.size(phase) {
        return n - size.min(n) + 1;
    }
    match system {
        System::Weighted { weights, .. } => {
            let Some((_, needed)) = system.votes(phase) else { return 0 };
            let mut left: u32 = weights.iter().map(|w| u32::from(*w)).sum();
            let mut heaviest = weights.clone();
            heaviest.sort_unstable_by(|a, b| b.cmp(a));
            let mut failed = 0;
            for weight in heaviest.iter().take_while(|w| **w > 0) {
                if left < needed {
                    break;
                }
                left -= u32::from(*weight);
                failed += 1;
            }
            failed
        }
        System::Grid { rows, columns } => usize::from(match phase {
            Phase::Prepare => *rows,
            Phase::Accept => *columns,
            Phase::Fast => 1,
        }),
        System::Regional { regions: of, rule } => {
            // So many of a region, and its majority is gone.
            let mut cost: Vec<usize> = regions(of).map(|r| r.len() - (r.len() / 2 + 1) + 1).collect();
            cost.sort_unstable();
            let lost = match (rule, phase) {
                (RegionRule::MajorityOfMajorities, _) => cost.len() - (cost.len() / 2 + 1) + 1,
                (RegionRule::InRegion, Phase::Accept) => cost.len(),
                (RegionRule::InRegion, _) => 1,
            };
            cost.iter().take(lost).sum()
        }
        System::Witness { .. } if phase == Phase::Fast => 1,
        System::Witness { witnesses, .. } => {
            let data = n - witnesses.len();
            data.min(n - (n / 2 + 1) + 1)
        }
        System::Majority { .. } | System::Threshold { .. } | System::Byzantine { .. } => 0,
    }
}

/// Of the ways in which `failed` members can fail: how many leave a quorum, and how many there are. For at
/// most [`EXHAUSTIVE_MAX`] members.
#[must_use]
pub fn survives(system: &System, phase: Phase, failed: usize) -> (u64, u64) {
    let n = system.members().min(EXHAUSTIVE_MAX);
    let (mut alive, mut of) = (0, 0);
    let all = NodeSet::first(n);
    let _: Option<()> = subsets(all, failed, &mut |set| {
        of += 1;
        alive += u64::from(system.is_quorum(phase, all.without(set)));
        None
    });
    (alive, of)
}

/// How a phase's work spreads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Members of the smallest quorum.
    pub smallest: usize,
    /// Of a thousand operations, how many the busiest member takes part in, if every smallest quorum is
    /// used as often (Naor, Wool, *The load, capacity, and availability of quorum systems*, 1998, §3: an upper bound of the load).
    pub busiest_of_1000: u32,
}

/// The load of a phase; for at most [`EXHAUSTIVE_MAX`] members, and none if it has no quorum.
#[must_use]
pub fn load(system: &System, phase: Phase) -> Option<Load> {
    let quorums = minimal(system, phase);
    let smallest = quorums.iter().map(|q| q.len()).min()?;
    let used: Vec<NodeSet> = quorums.into_iter().filter(|q| q.len() == smallest).collect();
    let busiest = (0..system.members()).map(|p| used.iter().filter(|q| q.has(p)).count()).max()?;
    Some(Load { smallest, busiest_of_1000: (busiest * 1_000 / used.len()) as u32 })
}

/// How long until a quorum has answered, if member `place` answers after `after[place]`; none if even all of
/// them are not enough.
#[must_use]
pub fn nearest(system: &dyn Quorums, phase: Phase, after: &[u64]) -> Option<u64> {
    let mut order: Vec<(u64, usize)> = after.iter().copied().enumerate().map(|(p, t)| (t, p)).collect();
    order.sort_unstable();
    let mut set = NodeSet::EMPTY;
    order.into_iter().find_map(|(time, place)| {
        set.insert(place);
        system.is_quorum(phase, set).then_some(time)
    })
}
