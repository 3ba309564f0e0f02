//! The quorum systems there are.

use super::{MEMBERS_MAX, NodeSet, Phase, Quorums};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The quorum systems there are, as data that travels with an epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum System {
    /// More than half, in both classic phases; a fast path needs all but a minority of a majority:
    /// `F + ⌊(F + 1) / 2⌋` with `F = ⌊n / 2⌋`, the proposer included (EPaxos, SOSP 2013, §4.3).
    Majority {
        /// How many members.
        members: u8,
    },
    /// So many, by phase: flexible quorums (prepare + accept > n), and super-majorities
    /// ([`System::super_majority`]).
    Threshold {
        /// How many members.
        members: u8,
        /// Enough to learn what was decided.
        prepare: u8,
        /// Enough to decide.
        accept: u8,
        /// Enough to decide in one round trip.
        fast: u8,
    },
    /// Members in rows, place by place: a whole row prepares, a whole column accepts; fast: everybody.
    Grid {
        /// How many rows.
        rows: u8,
        /// How many columns.
        columns: u8,
    },
    /// Members have votes.
    Weighted {
        /// By place; a member of weight 0 receives and does not count.
        weights: Vec<u16>,
        /// Votes enough to prepare.
        prepare: u32,
        /// Votes enough to accept.
        accept: u32,
        /// Votes enough for a fast path.
        fast: u32,
    },
    /// Members live in regions.
    Regional {
        /// By place: the region's number within this epoch.
        regions: Vec<u8>,
        /// How regions decide.
        rule: RegionRule,
    },
    /// A majority with somebody who keeps data. A witness votes and keeps index, ballot and hash; the payload too,
    /// until every data member has it: with one data member gone, a quorum of another and the witness must know
    /// more of a decision than its hash.
    Witness {
        /// How many members, witnesses included.
        members: u8,
        /// Who keeps no data.
        witnesses: NodeSet,
    },
    /// So many that any two quorums share a correct member, with `f = ⌊(n - 1) / 3⌋` liars: `2f + 1` of
    /// `3f + 1`, in all phases.
    Byzantine {
        /// How many members.
        members: u8,
    },
}

/// How regions decide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum RegionRule {
    /// A majority in a majority of the regions, in all phases.
    MajorityOfMajorities,
    /// Accept with a majority of one region; prepare, and the fast path, with a majority of every region: commits
    /// at the speed of a region, and no new leader while a region has lost its majority.
    InRegion,
}

/// Data that is no quorum system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// None, or more than there may be.
    #[error("{0} members: from 1 to {MEMBERS_MAX}")]
    Members(usize),
    /// A threshold that is met by nobody or can't be met.
    #[error("{phase:?} needs {needed} of {all}: from 1 to {all}")]
    Threshold {
        /// Of which phase.
        phase: Phase,
        /// What it says.
        needed: u32,
        /// Members or votes there are.
        all: u32,
    },
    /// Witnesses that are no members, or leave nobody with data.
    #[error("witnesses must be members, and somebody must keep data")]
    Witnesses,
}

impl System {
    /// Majorities in the classic phases, `⌈3n / 4⌉` for a fast one: what Fast Paxos needs.
    #[must_use]
    pub const fn super_majority(members: u8) -> Self {
        let n = members as u16;
        let classic = members / 2 + 1;
        Self::Threshold { members, prepare: classic, accept: classic, fast: (n * 3).div_ceil(4) as u8 }
    }

    /// `prepare` and `accept` of so many members; fast: everybody.
    #[must_use]
    pub const fn flexible(members: u8, prepare: u8, accept: u8) -> Self {
        Self::Threshold { members, prepare, accept, fast: members }
    }

    /// What Atlas needs, of which `bears` members may be gone at once: majorities decide, fast ones are `⌊n / 2⌋ + bears`, and
    /// `n - bears` recover (Enes et al., EuroSys 2020, §3).
    #[must_use]
    pub const fn atlas(members: u8, bears: u8) -> Self {
        Self::Threshold {
            members,
            prepare: members.saturating_sub(bears),
            accept: members / 2 + 1,
            fast: (members / 2).saturating_add(bears),
        }
    }

    /// Whether the data makes sense; says nothing of intersections ([`super::admit`]).
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), Malformed> {
        let n = self.members();
        if n == 0 || n > MEMBERS_MAX {
            return Err(Malformed::Members(n));
        }
        match self {
            Self::Threshold { members, prepare, accept, fast } => {
                let by = [(Phase::Prepare, *prepare), (Phase::Accept, *accept), (Phase::Fast, *fast)];
                for (phase, needed) in by {
                    within(phase, u32::from(needed), u32::from(*members))?;
                }
                Ok(())
            }
            Self::Weighted { weights, prepare, accept, fast } => {
                let all = weights.iter().map(|w| u32::from(*w)).sum();
                for (phase, needed) in
                    [(Phase::Prepare, *prepare), (Phase::Accept, *accept), (Phase::Fast, *fast)]
                {
                    within(phase, needed, all)?;
                }
                Ok(())
            }
            Self::Witness { witnesses, .. } => {
                let all = NodeSet::first(n);
                let sound = all.covers(*witnesses) && *witnesses != all;
                if sound { Ok(()) } else { Err(Malformed::Witnesses) }
            }
            _ => Ok(()),
        }
    }

    /// If a phase needs so many of all, whoever they are: how many.
    #[must_use]
    pub fn size(&self, phase: Phase) -> Option<usize> {
        match self {
            Self::Majority { members } => {
                let f = usize::from(*members) / 2;
                Some(if phase == Phase::Fast { (f + f.div_ceil(2)).max(f + 1) } else { f + 1 })
            }
            Self::Threshold { prepare, accept, fast, .. } => Some(usize::from(match phase {
                Phase::Prepare => *prepare,
                Phase::Accept => *accept,
                Phase::Fast => *fast,
            })),
            Self::Byzantine { members } => {
                let n = usize::from(*members);
                Some((n + n.saturating_sub(1) / 3) / 2 + 1)
            }
            Self::Grid { .. } | Self::Weighted { .. } | Self::Regional { .. } | Self::Witness { .. } => None,
        }
    }

    /// Votes of a member, and votes that are enough, if votes are what is counted.
    pub(super) fn votes(&self, phase: Phase) -> Option<(&[u16], u32)> {
        match self {
            Self::Weighted { weights, prepare, accept, fast } => Some((
                weights,
                match phase {
                    Phase::Prepare => *prepare,
                    Phase::Accept => *accept,
                    Phase::Fast => *fast,
                },
            )),
            _ => None,
        }
    }
}

const fn within(phase: Phase, needed: u32, all: u32) -> Result<(), Malformed> {
    if needed >= 1 && needed <= all { Ok(()) } else { Err(Malformed::Threshold { phase, needed, all }) }
}

/// The regions there are, each with its members.
pub(super) fn regions(of: &[u8]) -> impl Iterator<Item = NodeSet> {
    let mut known = [0_u64; 4]; // region numbers are bytes: 256 bits
    of.iter().filter_map(move |region| {
        let (word, bit) = (usize::from(region / 64) % 4, region % 64);
        let new = known[word] >> bit & 1 == 0;
        known[word] |= 1 << bit;
        new.then(|| {
            let mut set = NodeSet::EMPTY;
            for (place, _) in of.iter().enumerate().take(MEMBERS_MAX).filter(|(_, r)| *r == region) {
                set.insert(place);
            }
            set
        })
    })
}

const fn majority(of: NodeSet, set: NodeSet) -> bool {
    of.and(set).len() * 2 > of.len()
}

impl Quorums for System {
    fn members(&self) -> usize {
        match self {
            Self::Majority { members }
            | Self::Threshold { members, .. }
            | Self::Witness { members, .. }
            | Self::Byzantine { members } => usize::from(*members),
            Self::Grid { rows, columns } => usize::from(*rows) * usize::from(*columns),
            Self::Weighted { weights, .. } => weights.len(),
            Self::Regional { regions, .. } => regions.len(),
        }
    }

    fn is_quorum(&self, phase: Phase, set: NodeSet) -> bool {
        let all = NodeSet::first(self.members());
        let set = set.and(all);
        if let Some(size) = self.size(phase) {
            return set.len() >= size;
        }
        match self {
            Self::Grid { .. } if phase == Phase::Fast => set == all,
            Self::Grid { rows, columns } => {
                let (rows, columns) = (usize::from(*rows), usize::from(*columns));
                if phase == Phase::Prepare {
                    (0..rows).any(|row| (0..columns).all(|column| set.has(row * columns + column)))
                } else {
                    (0..columns).any(|column| (0..rows).all(|row| set.has(row * columns + column)))
                }
            }
            Self::Weighted { .. } => self.votes(phase).is_some_and(|(weights, needed)| {
                set.places().map(|p| u32::from(weights[p])).sum::<u32>() >= needed
            }),
            Self::Regional { regions: of, rule: RegionRule::MajorityOfMajorities } => {
                let (won, all) = regions(of)
                    .fold((0, 0), |(won, all), region| (won + usize::from(majority(region, set)), all + 1));
                won * 2 > all
            }
            Self::Regional { regions: of, rule: RegionRule::InRegion } => {
                if phase == Phase::Accept {
                    regions(of).any(|region| majority(region, set))
                } else {
                    regions(of).all(|region| majority(region, set))
                }
            }
            Self::Witness { .. } if phase == Phase::Fast => set == all,
            Self::Witness { witnesses, .. } => majority(all, set) && !set.without(*witnesses).is_empty(),
            Self::Majority { .. } | Self::Threshold { .. } | Self::Byzantine { .. } => false,
        }
    }
}
