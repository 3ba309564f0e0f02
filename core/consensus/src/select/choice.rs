//! What a choice is made of: engines, placements, forecasts, the rule that matched, why each other candidate is not it.

use super::measure::NEVER;
use super::quantity::Share;
use crate::quorum::System;
use alloc::vec::Vec;
use dwcp_env::{Duration, NodeId, RegionId};
use serde::{Deserialize, Serialize};

/// The engines there are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// openraft.
    Raft,
    /// One leader, any quorum system.
    MultiPaxos,
    /// No leader.
    #[serde(rename = "epaxos")]
    EPaxos,
    /// Members may lie.
    Pbft,
    /// The tier of convergent types: written locally, merged later.
    Eventual,
    /// A chain for each keyspace, under a leader in the region that owns it; the mergeable ones eventual.
    Hybrid,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Raft, Self::MultiPaxos, Self::EPaxos, Self::Pbft, Self::Eventual, Self::Hybrid];

    /// Its name in a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "Raft",
            Self::MultiPaxos => "Multi-Paxos",
            Self::EPaxos => "EPaxos",
            Self::Pbft => "PBFT",
            Self::Eventual => "eventual",
            Self::Hybrid => "hybrid",
        }
    }
    /// Whether one member orders everything.
    #[must_use]
    pub const fn is_led(self) -> bool {
        matches!(self, Self::Raft | Self::MultiPaxos | Self::Pbft)
    }
}

/// An engine, under quorums, under a leader: what an epoch is made of.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Placement {
    /// Which engine.
    pub engine: EngineKind,
    /// By place in the sorted list of members; none where nothing is agreed on.
    pub quorums: Option<System>,
    /// Who leads, or is the first primary; none where nobody does or it is not known.
    pub leader: Option<NodeId>,
    /// Of a hybrid: how each keyspace is kept, by its number.
    pub parts: Vec<Part>,
}

/// How a keyspace of a hybrid is kept.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The keyspace.
    pub keyspace: u32,
    /// How.
    pub engine: EngineKind,
    /// Its quorums, if it is agreed on.
    pub quorums: Option<System>,
    /// Its leader, in the region that owns it.
    pub leader: Option<NodeId>,
}

impl Placement {
    /// The same engine under the same quorums, whoever leads: what one epoch can go over to without a seal.
    #[must_use]
    pub fn is_epoch_of(&self, other: &Self) -> bool {
        self.engine == other.engine && self.quorums == other.quorums && self.engine != EngineKind::Hybrid
    }
}

/// How long a client's write takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// On average.
    #[serde(rename = "mean_ns")]
    pub mean: Duration,
    /// For half of the writes.
    #[serde(rename = "p50_ns")]
    pub p50: Duration,
    /// For 99 of 100: an upper bound.
    #[serde(rename = "p99_ns")]
    pub p99: Duration,
}

impl Latency {
    /// None if it never ends.
    pub(super) fn of(mean: u64, p50: u64, p99: u64) -> Option<Self> {
        let ends = mean != NEVER && p50 != NEVER && p99 != NEVER;
        let [mean, p50, p99] = [mean, p50, p99.max(mean)].map(Duration::nanos);
        ends.then_some(Self { mean, p50, p99 })
    }
}

/// What is predicted of a candidate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    /// By the places of [`Choice::regions`]; `None`: clients there reach no quorum.
    pub by_region: Vec<Option<Latency>>,
    /// Of all writes that are served.
    #[serde(rename = "mean_ns")]
    pub mean: Duration,
    /// Mean of the slowest 2 % of them.
    #[serde(rename = "p99_ns")]
    pub p99: Duration,
    /// What is minimised: mean and p99, weighted by the policy.
    #[serde(rename = "cost_ns")]
    pub cost: Duration,
    /// Writes that reach no quorum.
    pub unserved: Share,
}

impl Forecast {
    /// Whether anybody is served.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.cost.as_nanos() != NEVER
    }
}

/// A placement that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Which.
    pub placement: Placement,
    /// Where its leader is.
    pub region: Option<RegionId>,
    /// What it would do.
    pub forecast: Forecast,
    /// Why it is not the pick; `None` for the pick.
    pub refused: Option<Refused>,
}

/// The rules, in their order; the first that matches decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// PBFT is left by an operator only.
    StaysByzantine,
    /// Members may lie: PBFT.
    Untrusted,
    /// All is mergeable, and its writers can't or need not wait for a quorum: eventual.
    Mergeable,
    /// Keyspaces of several classes, or owned by several regions: hybrid.
    Locality,
    /// Few regions near each other: a leader, as a round trip saved is little there.
    Near,
    /// Several regions, few conflicts, cheaper than any leader: EPaxos.
    Leaderless,
    /// All the rest, many conflicts above all: Multi-Paxos under the best leader.
    Leader,
    /// Nothing that is allowed serves anybody.
    Nothing,
}

/// Why a candidate is not the pick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// An earlier rule matched.
    EarlierRule,
    /// The policy does not name it.
    NotAllowed,
    /// Its members must be trusted.
    Untrusted,
    /// Nobody is served: too few members are up or reach each other.
    NoQuorum,
    /// Too few members for it.
    FewMembers {
        /// There are.
        have: u16,
        /// It needs.
        needs: u16,
    },
    /// Nobody is distrusted: it would cost and bring nothing.
    Trusted,
    /// A keyspace is declared strong.
    StrongClass,
    /// A quorum is within the writers' budget, and everybody reaches one.
    WithinBudget,
    /// One keyspace, or all of one class and owned alike.
    NotMixed,
    /// Members' regions are so near each other that a leader does.
    Near {
        /// The longest round trip.
        #[serde(rename = "rtt_ns")]
        rtt: Duration,
        /// From which it is used.
        #[serde(rename = "least_ns")]
        least: Duration,
    },
    /// Too few regions.
    FewRegions {
        /// There are.
        have: u16,
        /// From which it is used.
        needs: u16,
    },
    /// Raft: as fast as the pick by these numbers, and slower by what they don't hold.
    Alike,
    /// Too many writes conflict.
    Conflicts {
        /// They are.
        share: Share,
        /// Up to which it is used.
        max: Share,
    },
    /// Writers are too much in one place.
    Concentrated {
        /// Where.
        region: RegionId,
        /// Its part of the writes.
        share: Share,
        /// Up to which it is used.
        max: Share,
    },
    /// The loss of this much of the group would stop it, and the policy is to bear a region's loss.
    RegionLoss,
    /// It leaves more writes without a quorum.
    ServesFewer,
    /// It costs more.
    Slower {
        /// Its cost.
        #[serde(rename = "cost_ns")]
        cost: Duration,
        /// The pick's.
        #[serde(rename = "best_ns")]
        best: Duration,
    },
}

/// The numbers the rules looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Regions with members.
    pub homes: u16,
    /// Members, and those that are up.
    pub members: u16,
    /// Of them.
    pub up: u16,
    /// The longest round trip between members' regions; `None`: some don't reach each other.
    #[serde(rename = "rtt_max_ns")]
    pub rtt_max: Option<Duration>,
    /// Writes that conflict.
    pub conflict: Share,
    /// Up to which EPaxos may run now.
    pub conflict_max: Share,
    /// Who writes most, and how much of all.
    pub writer: Option<(RegionId, Share)>,
    /// Up to which EPaxos may run now.
    pub writer_max: Share,
    /// Writes that reach no quorum under what agrees best.
    pub cut_off: Share,
    /// Keyspaces that are strong, and mergeable.
    pub strong: u32,
    /// Of them.
    pub mergeable: u32,
}

/// What was chosen, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// Regions, sorted.
    pub regions: Vec<RegionId>,
    /// Members, sorted: the places of quorum systems.
    pub members: Vec<NodeId>,
    /// All that was looked at, by engine and leader.
    pub candidates: Vec<Candidate>,
    /// Which of them, if any serves.
    pub pick: Option<usize>,
    /// By which rule.
    pub rule: Rule,
    /// From which numbers.
    pub facts: Facts,
}

impl Choice {
    /// The pick.
    #[must_use]
    pub fn picked(&self) -> Option<&Candidate> {
        self.candidates.get(self.pick?)
    }
    /// The forecast of a placement, if it was looked at.
    #[must_use]
    pub fn of(&self, placement: &Placement) -> Option<&Candidate> {
        self.candidates.iter().find(|c| c.placement == *placement)
    }
    /// The cheapest placement of the epoch that `placement` is of.
    #[must_use]
    pub fn best_of_epoch(&self, placement: &Placement) -> Option<&Candidate> {
        let same = self.candidates.iter().filter(|c| c.placement.is_epoch_of(placement));
        same.filter(|c| c.forecast.serves()).min_by_key(|c| (c.forecast.unserved, c.forecast.cost))
    }
}
