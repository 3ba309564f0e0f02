//! Hosts.

use super::done::Done;
use crate::name::Region;
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What a host may be used for; the table of steps is in [`crate::life`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Machines are placed on it.
    #[default]
    Ready,
    /// No further machine is placed on it.
    Cordoned,
    /// Its machines move to other hosts, too.
    Drained,
    /// It is held for dead: its machines are placed elsewhere as their leases end.
    Lost,
}

/// A host as its region knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// What it has.
    pub capacity: Resources,
    /// What is booked of it; never more.
    pub booked: Resources,
    /// What it may be used for.
    pub state: HostState,
    /// Anything people want to find it by.
    pub labels: BTreeMap<String, String>,
    /// The latest requests about it.
    pub done: Done,
}

/// A host's entry in the fleet's roster: it makes names of hosts unique.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RosterEntry {
    /// Where it stands.
    pub region: Region,
}

/// An image that a region has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Where hosts find it, in their own terms.
    pub source: String,
}
