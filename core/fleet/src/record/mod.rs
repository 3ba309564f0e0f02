//! What is stored: one value, one key, one writer wherever that can be had.
//!
//! **Encoding.** `version, kind, body`: a byte each, then the record in bincode ([`dwcp_env::wire`]). It is canonical: equal
//! records are equal bytes, since every field has one way to be written and maps are ordered. As JSON (at the doors)
//! unknown keys are refused, so that a misspelt field is an error and not a default.
//!
//! **Who writes what.** A machine is three records: [`Vm`] (managers), [`Status`] (the host that runs it),
//! [`Placement`] (both, through transactions): a host reporting never stands in the way of an operator changing.
//!
//! | file | holds |
//! |---|---|
//! | `vm` | machines: specification, placement, status |
//! | `host` | hosts as their region knows them, the fleet's roster, images |
//! | `lend` | what the fleet lends to regions: address blocks and name prefixes; addresses and names in use |
//! | `quota` | rights of a region, held in escrow |
//! | `region` | regions, and which one a machine that moved belongs to |
//! | `charter` | what ends with a life: a region's store's and an agent's; no backup holds them |
//! | `done` | requests that were done |
//! | `said` | announcements, in an eventual keyspace |

mod charter;
mod done;
mod host;
mod lend;
mod quota;
mod region;
mod said;
mod vm;

pub use charter::{Charter, Tenure};
pub use done::{DONE_MAX, Done};
pub use host::{Host, HostState, ImageRecord, RosterEntry};
pub use lend::{AddressUse, Held, HeldState, Lent, NameUse, Thing};
pub use quota::{Ledger, Rights, Share};
pub use region::{Owner, RegionRecord, RegionState};
pub use said::{Beat, Said, What};
pub use vm::{Assigned, Disk, Hold, Life, Nic, PAST_KEPT, Past, Phase, Placement, Power, Spec, Status, Vm};

use alloc::vec;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of every record's encoding.
pub const RECORD_VERSION: u8 = 2;
/// The largest record believed, in bytes.
pub const RECORD_MAX: usize = 64 * 1024;

/// Something that is stored under a key of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// The second byte of its encoding.
    const KIND: u8;
    /// What it is called in errors.
    const NAME: &'static str;

    /// The bytes stored.
    fn encode(&self) -> Bytes {
        let mut out = vec![RECORD_VERSION, Self::KIND];
        dwcp_env::wire::encode_into(self, &mut out);
        out.into()
    }

    /// From stored bytes, which anybody with the store's door may have written.
    ///
    /// # Errors
    /// What is wrong with them.
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        match bytes {
            _ if bytes.len() > RECORD_MAX => Err("is larger than 64 KiB"),
            [RECORD_VERSION, kind, body @ ..] if *kind == Self::KIND => {
                dwcp_env::wire::decode(body).map_err(|_| "does not decode")
            }
            [RECORD_VERSION, ..] => Err("is a record of another kind"),
            [version, ..] if *version > RECORD_VERSION => Err("was written by a newer version of dwcp"),
            [version, ..] if *version > 0 => Err("was written by an older version of dwcp"),
            _ => Err("is no record of the fleet"),
        }
    }
}

macro_rules! kinds {
    ($($kind:literal $name:ident $text:literal;)*) => {$(
        impl Record for $name {
            const KIND: u8 = $kind;
            const NAME: &'static str = $text;
        }
    )*};
}

kinds! {
    1 Vm "a machine";
    2 Placement "a placement";
    3 Status "a status";
    4 Host "a host";
    5 RosterEntry "a host's entry in the roster";
    6 Lent "a block or prefix";
    7 Held "a block or prefix held";
    8 AddressUse "an address in use";
    9 NameUse "a name in use";
    10 Ledger "a quota's ledger";
    11 Rights "a region's rights";
    12 RegionRecord "a region";
    13 Owner "a machine's owner";
    14 ImageRecord "an image";
    15 Past "a machine's number that was used";
    16 Charter "a store's charter";
    17 Tenure "the life of an agent";
    18 Said "an announcement";
    19 Beat "an announcer's beat";
}
