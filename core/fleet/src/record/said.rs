//! What is announced in the eventual keyspace: [`crate::announce`] says by whom and when.

use super::{Assigned, Phase};
use crate::name::VmName;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::WallTime;
use serde::{Deserialize, Serialize};

/// One thing that an announcer believes. Who it is, and of which machine or host it speaks, the key and the field say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A region: the machine is at home here.
    Has {
        /// Its name.
        name: VmName,
        /// Under which epoch of ownership.
        epoch: u64,
        /// Its addresses, each under the epoch of its block.
        addresses: Vec<Assigned>,
    },
    /// A region: more is booked on the host than it has.
    Over {
        /// Of what.
        part: String,
        /// How much is booked.
        claimed: u64,
        /// How much there is.
        there: u64,
    },
    /// A host: the machine may be running here.
    Runs {
        /// Under which fencing epoch.
        epoch: u64,
        /// What it was seen doing lately, by the number of the report.
        seen: Vec<(u64, Phase)>,
    },
}

impl What {
    /// Whether it claims what another did; what a machine was seen doing is no claim.
    #[must_use]
    pub fn claims_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Runs { epoch, .. }, Self::Runs { epoch: others, .. }) => epoch == others,
            _ => self == other,
        }
    }
}

/// A thing that is believed, as it stands in its field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// What.
    pub what: What,
    /// It was so at this time, and perhaps before: no clock is earlier.
    pub since: WallTime,
}

/// That all of an announcer's fields are believed still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beat {
    /// It was so at this time, and perhaps after: no clock is later.
    pub said: WallTime,
    /// Until when it stands unless it is said again.
    pub until: WallTime,
    /// How many fields there are besides this one.
    pub count: u32,
    /// The sum of their digests: who has other fields than these has not received all, or too much.
    pub digest: u128,
}
