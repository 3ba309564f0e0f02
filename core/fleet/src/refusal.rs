//! Why nothing was done: what, where, and what to do about it.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What kind of refusal; doors choose their status by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request can never be right as it is.
    Invalid,
    /// What it names is not there.
    NotFound,
    /// What it would make is there already, and differs.
    Exists,
    /// The name is another machine's.
    NameTaken,
    /// No prefix of the region fits the name.
    NoPrefix,
    /// The image is not in the region.
    NoImage,
    /// The group's rights in the region do not suffice.
    QuotaExceeded,
    /// No host has room.
    NoCapacity,
    /// No block of the region has a free address.
    NoAddress,
    /// Not in the state it is in.
    BadState,
    /// Not after what was reported last.
    InvalidTransition,
    /// Somebody else holds it.
    LeaseLost,
    /// A later life of the host's agent has begun, or the region does not know of this one.
    Superseded,
    /// The region's store was restored, and not opened since.
    Closed,
    /// A lease may not have ended yet, by the clock at hand.
    NotYet,
    /// Something of it is in use.
    InUse,
    /// What is stored can't be read.
    Damaged,
    /// Others changed the same things again and again.
    Contention,
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind.
    pub code: Code,
    /// Where: a field of the request, or the thing that stands in the way.
    pub at: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(
        code: Code,
        at: impl fmt::Display,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { code, at: alloc::format!("{at}"), what: what.into(), remedy: remedy.into() }
    }
    /// Whether the same request may do better in a moment, with nobody doing anything.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(self.code, Code::NotYet | Code::Contention)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.at, self.what, self.remedy)
    }
}
impl core::error::Error for Refusal {}
