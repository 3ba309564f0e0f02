//! Regions, and where machines are at home that have ever moved.

use super::done::Done;
use crate::name::Region;
use serde::{Deserialize, Serialize};

/// What a region may be given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionState {
    /// Blocks, prefixes, rights, machines.
    #[default]
    Active,
    /// Nothing more.
    Draining,
}

/// A region.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionRecord {
    /// What it may be given.
    pub state: RegionState,
    /// How often its store was opened ([`super::Charter`]).
    pub opening: u64,
    /// Whether the latest opening is done; until then anybody goes on with it.
    pub open: bool,
    /// The latest requests about it.
    pub done: Done,
}

/// Where a machine is at home. A machine that never moved has none: it belongs to where it was created under epoch 1,
/// so that a region that is cut off creates machines without asking.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Where.
    pub region: Region,
    /// Grows with every change of hands and every handover called back.
    pub epoch: u64,
    /// Where it is being handed over to.
    pub to: Option<Region>,
    /// The latest requests that began a handover or called one back: none is begun again under its number.
    pub done: Done,
    /// Whether it was deleted. Never removed: it keeps late steps of a handover from bringing the machine back.
    pub gone: bool,
}
