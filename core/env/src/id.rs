//! Names of things. Each is its own type, so that one can't stand where another is meant.
//! Identifiers are counters or configuration, never addresses or thread ids.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

ids! {
    /// A node of a cluster. Given once, never reused: a wiped disk comes back under a new one.
    NodeId(u64) "n";
    /// A region: nodes that are lost together.
    RegionId(u16) "r";
    /// A replicated group (one shard's log) among the many a node hosts.
    GroupId(u32) "g";
    /// A disk request of one node incarnation; "after ticket 7 is durable" names one.
    Ticket(u64) "t";
    /// A client's request at the door of one node incarnation.
    RequestId(u64) "q";
    /// A background job of one node incarnation.
    JobId(u64) "j";
}

/// A cluster's identity: drawn once when it is formed, written to every data directory and
/// shown at every handshake, so that two clusters can't be mixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
