//! The policy: data, with every threshold named and with a unit.
//!
//! What is not written is as in [`Policy::default`], what is not known is refused, so a file holds only what it
//! changes. The defaults are the rules of `docs/protocols/consensus.md`, "Which engine, and why".

use super::quantity::{Share, span};
use super::{EngineKind, measure};
use alloc::vec::Vec;
use dwcp_env::Duration;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How the selection decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// Engines it may choose. To force one, name it alone.
    pub engines: Vec<EngineKind>,
    /// The weight of the slowest writes beside the mean: what is minimised is `mean + tail-weight · (p99 - mean)`.
    pub tail_weight: Share,
    /// Members that may fail without a pause of writes; `None`: as many as a majority leaves. Fewer members to bear
    /// make quorums smaller and writes faster.
    pub bear_members: Option<u8>,
    /// Whether the loss of a whole region must leave quorums of both phases.
    pub bear_region: bool,
    /// Near, where a leader is taken whatever EPaxos would save: a round trip between members' regions below this …
    #[serde(with = "span", alias = "raft-rtt-max")]
    pub near_rtt_max: Duration,
    /// … in at most so many regions with members.
    #[serde(alias = "raft-regions-max")]
    pub near_regions_max: u8,
    /// EPaxos: the fewest regions with members.
    pub epaxos_regions_min: u8,
    /// EPaxos of three members: it is entered up to this share of writes that conflict …
    pub epaxos_conflict_enter_of_3: Share,
    /// … and left above this one.
    pub epaxos_conflict_leave_of_3: Share,
    /// EPaxos of more members: it is entered up to this share of writes that conflict …
    pub epaxos_conflict_enter: Share,
    /// … and left above this one.
    pub epaxos_conflict_leave: Share,
    /// EPaxos: it is entered while no region has more of the writes than this; at 100% the cost alone decides (measured:
    /// with 80% of the writers in one region, 60% here would double the cost) …
    pub epaxos_writers_enter: Share,
    /// … and left above this one.
    pub epaxos_writers_leave: Share,
    /// Hybrid: keyspaces have an owner if a region has this share of their writes …
    pub hybrid_owner_enter: Share,
    /// … and lose it below this one.
    pub hybrid_owner_leave: Share,
    /// A seal must save at least this share of the predicted cost.
    pub gain_min: Share,
    /// A transfer of leadership must: it costs a round trip, so less is enough, and what runs is then within a tenth
    /// of the best place.
    pub transfer_gain_min: Share,
    /// Nothing is changed for this long after a change …
    #[serde(with = "span")]
    pub dwell: Duration,
    /// … twice as long for each return to what was left within `flap-window`, up to this.
    #[serde(with = "span")]
    pub dwell_max: Duration,
    /// How long a change is remembered as one that a return would undo.
    #[serde(with = "span")]
    pub flap_window: Duration,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// They are.
    #[default]
    Act,
    /// They are told, and nothing is done.
    DryRun,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Act,
            engines: EngineKind::ALL.to_vec(),
            tail_weight: Share::percent(50),
            bear_members: None,
            bear_region: true,
            near_rtt_max: Duration::millis(50),
            near_regions_max: 3,
            epaxos_regions_min: 3,
            epaxos_conflict_enter_of_3: Share::percent(5),
            epaxos_conflict_leave_of_3: Share::percent(10),
            epaxos_conflict_enter: Share::percent(2),
            epaxos_conflict_leave: Share::percent(5),
            epaxos_writers_enter: Share::WHOLE,
            epaxos_writers_leave: Share::WHOLE,
            hybrid_owner_enter: Share::percent(70),
            hybrid_owner_leave: Share::percent(60),
            gain_min: Share::percent(20),
            transfer_gain_min: Share::percent(9),
            dwell: Duration::secs(10),
            dwell_max: Duration::secs(600),
            flap_window: Duration::secs(3_600),
        }
    }
}

/// Why a policy is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PolicyError {
    /// No engine is allowed.
    #[error("`engines` is empty: name at least one, or leave the key out for all")]
    NoEngine,
    /// A band that is upside down.
    #[error("`{enter}` and `{leave}` leave no band between them: what is entered would be left at once")]
    Band {
        /// One end.
        enter: &'static str,
        /// The other.
        leave: &'static str,
    },
    /// A threshold without effect or with a harmful one.
    #[error("`{key}` is out of range: {range}")]
    Range {
        /// Which.
        key: &'static str,
        /// What it may be.
        range: &'static str,
    },
}

impl Policy {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.engines.is_empty() {
            return Err(PolicyError::NoEngine);
        }
        let bands = [
            (
                self.epaxos_conflict_enter_of_3,
                "epaxos-conflict-enter-of-3",
                self.epaxos_conflict_leave_of_3,
                "epaxos-conflict-leave-of-3",
            ),
            (
                self.epaxos_conflict_enter,
                "epaxos-conflict-enter",
                self.epaxos_conflict_leave,
                "epaxos-conflict-leave",
            ),
            (
                self.epaxos_writers_enter,
                "epaxos-writers-enter",
                self.epaxos_writers_leave,
                "epaxos-writers-leave",
            ),
            (self.hybrid_owner_leave, "hybrid-owner-leave", self.hybrid_owner_enter, "hybrid-owner-enter"),
        ];
        for (low, enter, high, leave) in bands {
            // Both ends at the whole or at nothing switch a rule off, or on for good.
            if low > high || low == high && low != Share::WHOLE && low != Share::NONE {
                return Err(PolicyError::Band { enter, leave });
            }
        }
        let range = |bad: bool, key, range| if bad { Err(PolicyError::Range { key, range }) } else { Ok(()) };
        range(self.gain_min == Share::NONE, "gain-min", "above 0%, or every breath of wind is a change")?;
        range(self.gain_min >= Share::WHOLE, "gain-min", "below 100%")?;
        range(self.transfer_gain_min == Share::NONE, "transfer-gain-min", "above 0%, as gain-min")?;
        range(self.dwell < Duration::secs(1), "dwell", "at least 1s: a change costs a round of elections")?;
        range(self.dwell_max < self.dwell, "dwell-max", "at least `dwell`")?;
        range(self.flap_window < self.dwell * 2, "flap-window", "at least twice `dwell`")?;
        range(self.bear_members == Some(0), "bear-members", "at least 1: one lost member would stop writes")
    }

    pub(super) fn allows(&self, engine: EngineKind) -> bool {
        self.engines.contains(&engine)
    }
    /// The share of conflicts up to which EPaxos may run.
    pub(super) fn conflict_max(&self, members: usize, running: bool) -> Share {
        match (members <= 3, running) {
            (true, false) => self.epaxos_conflict_enter_of_3,
            (true, true) => self.epaxos_conflict_leave_of_3,
            (false, false) => self.epaxos_conflict_enter,
            (false, true) => self.epaxos_conflict_leave,
        }
    }
    /// What a mean and a tail cost together; endless if either is.
    pub(super) fn cost(&self, mean: u64, tail: u64) -> u64 {
        if mean == measure::NEVER || tail == measure::NEVER {
            return measure::NEVER;
        }
        let (mean, tail) = (mean, tail.max(mean));
        mean.saturating_add(self.tail_weight.part(tail - mean))
    }
}
