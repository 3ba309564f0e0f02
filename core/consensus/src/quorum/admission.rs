//! Admission: whether a quorum system keeps the intersections a protocol lives by.
//!
//! **Promise.** [`admit`] says yes only to what is proved: up to [`EXHAUSTIVE_MAX`] members by looking at every
//! minimal quorum, beyond by the arithmetic of the system. A no names the offending sets by node.
//!
//! **How it is looked at.** Whatever covers a quorum is a quorum, so "every quorum R of phase b shares at
//! least k with Q" is: no k - 1 members of Q together with everybody outside Q hold a quorum of b. One
//! pass over the minimal quorums of one phase decides a pair; pairs of fast quorums decide a triple.

use super::minimal::{minimal, minimise, subsets};
use super::system::{Malformed, RegionRule, System};
use super::{NodeSet, Phase, Quorums};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use dwcp_env::NodeId;
use thiserror::Error;

/// Members up to which every minimal quorum is looked at (2^13 sets a phase).
pub const EXHAUSTIVE_MAX: usize = 13;

/// Votes there may be beyond [`EXHAUSTIVE_MAX`] members: sums up to this are looked at, for each member.
pub(super) const VOTES_MAX: u32 = 65_536;

/// What a protocol needs of its quorums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Prepare and accept share a member (Flexible Paxos, §3).
    Paxos,
    /// Also any prepare and two fast quorums share one (Fast Paxos, §2.2).
    FastPaxos,
    /// Any two of accept and fast share a member, for one of two commands that conflict must see the
    /// other; prepare and accept do; where a prepare quorum misses `F` and a fast one `e <= F`, prepare and
    /// fast share `⌊(F + 1) / 2⌋` (EPaxos, §4.3 and §4.7, for n = 2F + 1) and `e - 1` (for every n: no
    /// protocol has fast decisions with n < 2e + F - 1; EPaxos\*, 2025), at least one.
    EPaxos,
    /// Accept shares a member with itself, with prepare and with fast; a fast quorum, its proposer and as many others as a
    /// prepare quorum misses less one left out, still shares so many with a prepare quorum that they and the
    /// proposer are a majority: any two of these share one who knew both of two commands that conflict (Atlas, §3.2 and §4).
    Atlas,
    /// Any two quorums share `f + 1`, so one correct member; the correct ones alone hold a quorum;
    /// `f = ⌊(n - 1) / 3⌋` is at least 1 (PBFT, §2).
    Byzantine,
}

/// A quorum by its members' names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// What for.
    pub phase: Phase,
    /// Who.
    pub members: Vec<NodeId>,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Prepare => "prepare",
            Phase::Accept => "accept",
            Phase::Fast => "fast",
        };
        write!(f, "{phase} {}", Names(&self.members))
    }
}

struct Names<'a>(&'a [NodeId]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (i, node) in self.0.iter().enumerate() {
            write!(f, "{}{node}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "}}")
    }
}

struct All<'a>(&'a [Named]);

impl fmt::Display for All<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, named) in self.0.iter().enumerate() {
            write!(f, "{}{named}", if i > 0 { " and " } else { "" })?;
        }
        Ok(())
    }
}

/// Why a quorum system is not admitted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// The data makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is for another number of members.
    #[error("a quorum system for {system} members, but the epoch has {given}")]
    Members {
        /// How many it is for.
        system: usize,
        /// How many there are.
        given: usize,
    },
    /// Quorums that share too few.
    #[error(
        "quorums {} share {}, {needs:?} needs them to share {wanted}: raise a threshold or choose another system",
        All(.sets), Names(.shared)
    )]
    Apart {
        /// Of which protocol.
        needs: Needs,
        /// Two or three quorums.
        sets: Vec<Named>,
        /// Who is in all of them.
        shared: Vec<NodeId>,
        /// How many should be.
        wanted: usize,
    },
    /// A few that fail leave no quorum, though the protocol is to bear them.
    #[error("without {} no {phase:?} quorum is left, {needs:?} is to bear that: lower a threshold", Names(.failed))]
    Starved {
        /// Of which protocol.
        needs: Needs,
        /// In which phase.
        phase: Phase,
        /// Who fails.
        failed: Vec<NodeId>,
    },
    /// Fast quorums are to be larger.
    #[error(
        "a fast quorum of {fast} and a prepare quorum of {prepare}: a fast decision must wait for as many, raise the fast threshold"
    )]
    Hasty {
        /// Members of the smallest fast quorum.
        fast: usize,
        /// Members of the smallest prepare quorum.
        prepare: usize,
    },
    /// Members that are not in order, or twice there: places would mean different nodes on different nodes.
    #[error("members must be in ascending order without repetition")]
    Order,
    /// More votes than are added up.
    #[error(
        "votes add up to {votes} when divided by what divides them all; at most {VOTES_MAX}: make them smaller"
    )]
    Votes {
        /// So many.
        votes: u32,
    },
    /// Too few members for any liar.
    #[error("{0} members bear no liar: at least 4")]
    TooFew(usize),
    /// Beyond what is looked at one by one, and not proved by arithmetic.
    #[error(
        "not proved for {members} members ({needs:?}): at most {EXHAUSTIVE_MAX} are looked at one by one; use thresholds or weights"
    )]
    Unproved {
        /// Of which protocol.
        needs: Needs,
        /// How many members.
        members: usize,
    },
}

/// Whether this system, over these members (sorted, by place), keeps what a protocol needs.
///
/// # Errors
/// What is wrong, with the offending sets.
pub fn admit(system: &System, members: &[NodeId], needs: Needs) -> Result<(), Refusal> {
    judge(system, members, needs, members.len() <= EXHAUSTIVE_MAX)
}

/// As [`admit`]; `exhaustive` looks at every minimal quorum, otherwise arithmetic decides.
pub(super) fn judge(
    system: &System,
    members: &[NodeId],
    needs: Needs,
    exhaustive: bool,
) -> Result<(), Refusal> {
    system.check()?;
    if members.len() != system.members() {
        return Err(Refusal::Members { system: system.members(), given: members.len() });
    }
    if members.windows(2).any(|w| w[0] >= w[1]) {
        return Err(Refusal::Order);
    }
    let admission = Admission { system, members, needs, exhaustive };
    let n = members.len();
    match needs {
        Needs::Paxos => admission.pair(Phase::Prepare, Phase::Accept, 1),
        Needs::FastPaxos => {
            admission.pair(Phase::Prepare, Phase::Accept, 1)?;
            admission.triple()
        }
        Needs::EPaxos => {
            admission.pair(Phase::Prepare, Phase::Accept, 1)?;
            admission.pair(Phase::Accept, Phase::Accept, 1)?;
            admission.pair(Phase::Accept, Phase::Fast, 1)?;
            admission.pair(Phase::Fast, Phase::Fast, 1)?;
            let failures = n - admission.smallest(Phase::Prepare)?;
            let fast_failures = n - admission.smallest(Phase::Fast)?;
            if fast_failures > failures {
                return Err(Refusal::Hasty { fast: n - fast_failures, prepare: n - failures });
            }
            let wanted = failures.div_ceil(2).max(fast_failures.saturating_sub(1)).max(1);
            admission.pair(Phase::Prepare, Phase::Fast, wanted)
        }
        Needs::Atlas => {
            admission.pair(Phase::Prepare, Phase::Accept, 1)?;
            admission.pair(Phase::Accept, Phase::Accept, 1)?;
            admission.pair(Phase::Accept, Phase::Fast, 1)?;
            admission.pair(Phase::Prepare, Phase::Fast, (n / 2).max(1))
        }
        Needs::Byzantine => {
            let liars = n.saturating_sub(1) / 3;
            if liars == 0 {
                return Err(Refusal::TooFew(n));
            }
            for (a, b) in [
                (Phase::Prepare, Phase::Prepare),
                (Phase::Prepare, Phase::Accept),
                (Phase::Accept, Phase::Accept),
            ] {
                admission.pair(a, b, liars + 1)?;
            }
            admission.bears(Phase::Prepare, liars)?;
            admission.bears(Phase::Accept, liars)
        }
    }
}

struct Admission<'a> {
    system: &'a System,
    members: &'a [NodeId],
    needs: Needs,
    exhaustive: bool,
}

impl Admission<'_> {
    fn all(&self) -> NodeSet {
        NodeSet::first(self.members.len())
    }
    fn names(&self, set: NodeSet) -> Vec<NodeId> {
        set.places().map(|place| self.members[place]).collect()
    }
    fn apart(&self, sets: &[(Phase, NodeSet)], wanted: usize) -> Refusal {
        let shared = sets.iter().fold(self.all(), |shared, (_, set)| shared.and(*set));
        let sets =
            sets.iter().map(|(phase, set)| Named { phase: *phase, members: self.names(*set) }).collect();
        Refusal::Apart { needs: self.needs, sets, shared: self.names(shared), wanted }
    }

    /// A quorum of `b` that shares fewer than `wanted` with `q`.
    fn beside(&self, q: NodeSet, b: Phase, wanted: usize) -> Option<NodeSet> {
        let outside = self.all().without(q);
        subsets(q, (wanted - 1).min(q.len()), &mut |shared| {
            let r = outside.or(shared);
            self.system.is_quorum(b, r).then(|| minimise(self.system, b, r))
        })
    }

    fn pair(&self, a: Phase, b: Phase, wanted: usize) -> Result<(), Refusal> {
        if self.exhaustive {
            for q in minimal(self.system, a) {
                if let Some(r) = self.beside(q, b, wanted) {
                    return Err(self.apart(&[(a, q), (b, r)], wanted));
                }
            }
            return Ok(());
        }
        // Of the sets looked at here, one is as bad as any can be.
        let worst = match self.system {
            System::Weighted { weights, .. } if wanted == 1 => vec![self.heaviest_gap(weights, a, b)?],
            System::Grid { rows, columns } if a != Phase::Fast && wanted == 1 => {
                let (rows, columns) = (usize::from(*rows), usize::from(*columns));
                let row = (0..columns).fold(NodeSet::EMPTY, |set, c| set.or(NodeSet::one(c)));
                let column = (0..rows).fold(NodeSet::EMPTY, |set, r| set.or(NodeSet::one(r * columns)));
                vec![Some(if a == Phase::Prepare { row } else { column })]
            }
            System::Regional { regions, rule } => match (rule, a, b) {
                // Each needs a majority of a majority of the regions, or of all: they meet in a region.
                (RegionRule::MajorityOfMajorities, ..) if wanted == 1 => return Ok(()),
                // One of the two has a majority of every region.
                (RegionRule::InRegion, Phase::Prepare | Phase::Fast, _)
                | (RegionRule::InRegion, _, Phase::Prepare | Phase::Fast)
                    if wanted == 1 =>
                {
                    return Ok(());
                }
                (RegionRule::InRegion, Phase::Accept, Phase::Accept) => {
                    vec![super::system::regions(regions).next().map(|r| minimise(self.system, a, r))]
                }
                _ => return Err(self.unproved()),
            },
            // Witnesses only make quorums larger than majorities.
            System::Witness { .. } if wanted == 1 => return Ok(()),
            system => match system.size(a) {
                Some(size) => vec![Some(NodeSet::first(size))],
                None => return Err(self.unproved()),
            },
        };
        for q in worst.into_iter().flatten() {
            // So many members are alike that only how many of `q` are shared counts, not which.
            let shared = q.places().take(wanted - 1).fold(NodeSet::EMPTY, |set, p| set.or(NodeSet::one(p)));
            let r = self.all().without(q).or(shared);
            if self.system.is_quorum(b, r) {
                return Err(self.apart(&[(a, q), (b, minimise(self.system, b, r))], wanted));
            }
        }
        Ok(())
    }

    /// A quorum of `a` whose outside is a quorum of `b`, if votes can be split so: subset sums.
    fn heaviest_gap(&self, weights: &[u16], a: Phase, b: Phase) -> Result<Option<NodeSet>, Refusal> {
        let (Some((_, needs_a)), Some((_, needs_b))) = (self.system.votes(a), self.system.votes(b)) else {
            return Err(self.unproved());
        };
        // Votes count in units of what divides them all; a threshold between two units is met by the upper.
        let unit = weights.iter().fold(0, |unit, weight| gcd(unit, *weight)).max(1);
        let weights: Vec<u16> = weights.iter().map(|w| w / unit).collect();
        let [needs_a, needs_b] = [needs_a, needs_b].map(|needed| needed.div_ceil(u32::from(unit)));
        let all: u32 = weights.iter().map(|w| u32::from(*w)).sum();
        if all > VOTES_MAX {
            return Err(Refusal::Votes { votes: all });
        }
        let Some(most) = all.checked_sub(needs_b) else { return Ok(None) };
        Ok(split(&weights, needs_a, most))
    }

    /// The fewest members of a quorum.
    fn smallest(&self, phase: Phase) -> Result<usize, Refusal> {
        if self.exhaustive {
            let sizes = minimal(self.system, phase).into_iter().map(NodeSet::len);
            return Ok(sizes.min().unwrap_or(self.members.len()));
        }
        self.system.size(phase).ok_or_else(|| self.unproved())
    }

    /// Any prepare and two fast quorums share a member.
    fn triple(&self) -> Result<(), Refusal> {
        let fast = if self.exhaustive {
            minimal(self.system, Phase::Fast)
        } else {
            let n = self.members.len();
            let Some(size) = self.system.size(Phase::Fast) else {
                // Fast means everybody there: then two fast quorums share a whole prepare quorum's worth.
                let everybody = minimise(self.system, Phase::Fast, self.all()) == self.all();
                return if everybody { Ok(()) } else { Err(self.unproved()) };
            };
            // The two fast quorums that share least: the first and the last so many.
            vec![NodeSet::first(size), self.all().without(NodeSet::first(n - size))]
        };
        for (i, r) in fast.iter().enumerate() {
            for s in &fast[i..] {
                let outside = self.all().without(r.and(*s));
                if self.system.is_quorum(Phase::Prepare, outside) {
                    let q = minimise(self.system, Phase::Prepare, outside);
                    return Err(self.apart(&[(Phase::Prepare, q), (Phase::Fast, *r), (Phase::Fast, *s)], 1));
                }
            }
        }
        Ok(())
    }

    /// Any `failed` members may fail and leave a quorum.
    fn bears(&self, phase: Phase, failed: usize) -> Result<(), Refusal> {
        let starved = |set: NodeSet| !self.system.is_quorum(phase, self.all().without(set));
        let worst = if self.exhaustive {
            subsets(self.all(), failed, &mut |set| starved(set).then_some(set))
        } else {
            match self.system.size(phase) {
                Some(_) => Some(NodeSet::first(failed)).filter(|set| starved(*set)),
                None => return Err(self.unproved()),
            }
        };
        match worst {
            None => Ok(()),
            Some(set) => Err(Refusal::Starved { needs: self.needs, phase, failed: self.names(set) }),
        }
    }

    const fn unproved(&self) -> Refusal {
        Refusal::Unproved { needs: self.needs, members: self.members.len() }
    }
}

/// Members whose votes add up to at least `least` and at most `most`, if there are such.
fn split(weights: &[u16], least: u32, most: u32) -> Option<NodeSet> {
    let all: u32 = weights.iter().map(|w| u32::from(*w)).sum();
    // By sum: the member that reached it first, over sums of the members before.
    let mut reached: Vec<Option<u8>> = vec![None; all as usize + 1];
    let mut sums = vec![0_u32];
    for (place, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
        for at in 0..sums.len() {
            let sum = sums[at] + u32::from(*weight);
            if reached[sum as usize].is_none() {
                reached[sum as usize] = Some(place as u8);
                sums.push(sum);
            }
        }
    }
    let mut sum = sums.into_iter().find(|s| (least..=most).contains(s))?;
    let mut set = NodeSet::EMPTY;
    while sum > 0 {
        let place = usize::from(reached[sum as usize]?);
        set.insert(place);
        sum -= u32::from(weights[place]);
    }
    Some(set)
}

const fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
