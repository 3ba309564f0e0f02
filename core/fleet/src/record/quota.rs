//! Rights in escrow (O'Neil 1986): a region spends what was granted to it without asking.
//!
//! Both sides of the account only grow: what was ever granted (the fleet writes), what was ever given back (the region
//! writes). Each side copies the other's by taking the larger, so that a copy made twice or late changes nothing. What a
//! region may use is the difference, and the fleet's view of it is never smaller than the region's.

use super::done::Done;
use crate::name::Region;
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// One region's account, as the fleet sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// All that was ever granted.
    pub granted: Resources,
    /// All that is known to have been given back.
    pub returned: Resources,
}

impl Share {
    /// What the region may have in use.
    #[must_use]
    pub fn outstanding(&self) -> Resources {
        self.granted.beyond(&self.returned)
    }
}

/// A group's quota: the whole, and who holds which part.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The whole.
    pub total: Resources,
    /// The parts; their sum is at most the whole.
    pub shares: BTreeMap<Region, Share>,
    /// The latest requests about it.
    pub done: Done,
}

impl Ledger {
    /// What all regions together may have in use; `None` if the sum overflows.
    #[must_use]
    pub fn outstanding(&self) -> Option<Resources> {
        self.shares.values().try_fold(Resources::NONE, |sum, share| sum.plus(&share.outstanding()))
    }
}

/// A group's rights in one region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// All that is known to have been granted.
    pub granted: Resources,
    /// All that was ever given back.
    pub returned: Resources,
    /// What machines here are charged; never more than granted less returned.
    pub used: Resources,
}

impl Rights {
    /// What may be used.
    #[must_use]
    pub fn limit(&self) -> Resources {
        self.granted.beyond(&self.returned)
    }
}
