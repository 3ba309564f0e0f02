//! What the fleet lends to regions, so that they can give of it without asking: address blocks and name prefixes.
//!
//! Two records each: [`Lent`] in the fleet's store says who has it and counts epochs, [`Held`] in the region's store says
//! under which epoch it has it. A region takes only a higher epoch than it ever had, the fleet takes back
//! only what the region has marked as returned: so a message of long ago can't give one block to two.

use super::done::Done;
use crate::cidr::Cidr;
use crate::name::{Prefix, Region, VmId};
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// Something that can be lent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// Addresses.
    Block(Cidr),
    /// Names that begin so.
    Prefix(Prefix),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(block) => write!(f, "block {block}"),
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}
impl FromStr for Thing {
    type Err = String;
    /// A block has a slash, a prefix can't.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') { text.parse().map(Self::Block) } else { text.parse().map(Self::Prefix) }
    }
}

/// What the fleet knows of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lent {
    /// How often it was lent.
    pub epoch: u64,
    /// Who has it.
    pub to: Option<Region>,
    /// The latest requests to lend it and to take it back.
    pub done: Done,
}

/// Whether a region may give of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldState {
    /// Yes.
    #[default]
    Active,
    /// No more: it goes back as soon as nothing of it is in use.
    Returning,
    /// It is the fleet's again, or about to be.
    Returned,
}

/// What a region knows of it. Never removed: it remembers the epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Under which epoch.
    pub epoch: u64,
    /// Whether it may give of it.
    pub state: HeldState,
    /// How many addresses of it are in use, so that a creation looks only where one is free. Prefixes count nothing.
    pub used: u64,
}

/// An address in use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressUse {
    /// Whose.
    pub vm: VmId,
}

/// A name in use. It stays where it was given while its machine is at home elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameUse {
    /// Whose.
    pub vm: VmId,
}
