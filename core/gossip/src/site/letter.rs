//! The bytes between two sites, and what of them is believed.

use super::{AHEAD_MAX, ITEM_MAX, ITEMS_MAX, Item, REPLICAS_MAX, Vector};
use crate::message::named;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{NodeId, PeerFault, wire};
use serde::{Deserialize, Serialize};

/// A message of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Letter {
    /// The receiver says where it stands: at the start, after a reconnect, and when it does not know a session.
    Hello {
        /// What is durable there.
        durable: Vector,
    },
    /// The sender has heard that, and begins.
    Begin {
        /// Its numbering from here on.
        session: u64,
    },
    /// Items, in order.
    Batch {
        /// The sender's numbering since its last `Hello`; a greater one begins anew.
        session: u64,
        /// Its place in the session, from 0.
        number: u64,
        /// The items.
        items: Vec<Item>,
    },
    /// What has come and what is durable.
    Ack {
        /// Of which session.
        session: u64,
        /// All batches before this one are held.
        next: u64,
        /// Bit i: the batch `next + 1 + i` is held too.
        beyond: u64,
        /// What is durable of the replicas of the batches.
        durable: Vector,
        /// How long the newest batch counted as durable lay at the receiver, in microseconds: taken off the round
        /// trip, half of the rest is the way.
        held_us: u64,
    },
}

impl Letter {
    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Bytes {
        wire::encode(self).into()
    }

    /// Reads it and checks all of it.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it is to be believed then.
    pub fn read(from: NodeId, body: &[u8]) -> Result<Self, PeerFault> {
        let fault = |why: String| Err(PeerFault::Body { from, what: "site stream", why });
        let letter: Self = match wire::decode(body) {
            Ok(l) => l,
            Err(e) => return fault(e.to_string()),
        };
        match &letter {
            Self::Hello { durable } | Self::Ack { durable, .. } if durable.len() > REPLICAS_MAX => {
                fault(alloc::format!("a vector of {} replicas, at most {REPLICAS_MAX}", durable.len()))
            }
            Self::Batch { items, .. } if items.len() > ITEMS_MAX || items.is_empty() => {
                fault(alloc::format!("a batch of {} items, 1 to {ITEMS_MAX} may be", items.len()))
            }
            Self::Batch { items, .. } if items.iter().any(|i| i.bytes.len() > ITEM_MAX || !named(i.id)) => {
                fault("an item over 1.5 MiB, or with a sequence of 0 or over 48 bits".into())
            }
            Self::Batch { number, .. } if *number > u64::MAX - AHEAD_MAX - 1 => {
                fault("a batch number without successor".into())
            }
            _ => Ok(letter),
        }
    }
}
