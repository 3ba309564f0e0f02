//! The bytes between two sites, and what of them is believed.

use super::shards::{DATA_MAX, PARITY_MAX};
use super::{AHEAD_MAX, BLOCKS_MAX, ITEM_MAX, ITEMS_MAX, Item, Vector};
use crate::message::named;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{NodeId, PeerFault, wire};
use serde::{Deserialize, Serialize};

/// A message of the stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Letter {
    /// The sender begins, and asks where the receiver stands. Repeated until that is answered.
    Begin {
        /// Its numbering from here on; another one than before.
        session: u64,
    },
    /// The receiver has made room for this session, and says where it stands.
    Hello {
        /// Which session.
        session: u64,
        /// What it holds of the replicas that the sender speaks for.
        held: Vector,
    },
    /// The receiver knows nothing of this session: it has begun anew itself, or never heard of it.
    Unknown {
        /// Which session.
        session: u64,
    },
    /// Items, in order, over a carrier that brings letters of any size.
    Batch {
        /// Which session.
        session: u64,
        /// Its place in the session, from 0.
        number: u64,
        /// The items.
        items: Vec<Item>,
    },
    /// A piece of a batch, in a datagram.
    Shard(Shard),
    /// What has come and what is durable.
    Ack {
        /// Of which session.
        session: u64,
        /// All batches before this one are held.
        next: u64,
        /// Bit i: the batch `next + 1 + i` is held too.
        beyond: u64,
        /// All batches before this one are durable there.
        durable: u64,
        /// How long the last durable batch has been there, in microseconds: taken off the round trip, half of the rest is
        /// the way.
        held_us: u64,
        /// The most shards that one of the last blocks lost; nothing while there is too little to tell.
        lost: Option<u8>,
    },
}

/// A piece of a batch: any `data` of the `data + parity` pieces of a block are enough.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// As in a batch.
    pub session: u64,
    /// As in a batch.
    pub number: u64,
    /// How often the batch was sent before.
    pub attempt: u8,
    /// Which block of the batch,
    pub block: u8,
    /// and how many there are.
    pub blocks: u8,
    /// Pieces that hold the block,
    pub data: u8,
    /// and pieces that stand in for lost ones.
    pub parity: u8,
    /// Which piece.
    pub index: u8,
    /// Bytes of the block.
    pub length: u32,
    /// The piece.
    pub bytes: Bytes,
}

impl Shard {
    fn is_right(&self) -> bool {
        let (data, parity) = (usize::from(self.data), usize::from(self.parity));
        (1..=DATA_MAX).contains(&data)
            && parity <= PARITY_MAX
            && usize::from(self.index) < data + parity
            && self.block < self.blocks
            && usize::from(self.blocks) <= BLOCKS_MAX
            && !self.bytes.is_empty()
            && self.length as usize <= data * self.bytes.len()
            && self.number < u64::MAX - AHEAD_MAX
    }
}

/// Writes the items of a batch.
pub(crate) fn write_items(items: &[Item]) -> Bytes {
    wire::encode(&items).into()
}

/// Reads the items of a batch that came in pieces.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn read_items(bytes: &[u8]) -> Result<Vec<Item>, String> {
    let items: Vec<Item> = wire::decode(bytes).map_err(|e| e.to_string())?;
    check(&items).map(|()| items)
}

fn check(items: &[Item]) -> Result<(), String> {
    if items.len() > ITEMS_MAX || items.is_empty() {
        return Err(alloc::format!("a batch of {} items, 1 to {ITEMS_MAX} may be", items.len()));
    }
    if items.iter().any(|i| i.bytes.len() > ITEM_MAX || !named(i.id)) {
        return Err("an item over 256 KiB, or with a sequence of 0 or over 48 bits".into());
    }
    Ok(())
}

impl Letter {
    /// Whether it travels as a datagram; the others go in order, on the lane of data.
    #[must_use]
    pub const fn is_datagram(&self) -> bool {
        matches!(self, Self::Shard(_) | Self::Ack { .. })
    }

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
            Self::Batch { number, .. } if *number > u64::MAX - AHEAD_MAX - 1 => {
                fault("a batch number without successor".into())
            }
            Self::Ack { next, durable, .. } if durable > next => {
                fault("a batch that is durable and has not come".into())
            }
            Self::Batch { items, .. } => match check(items) {
                Err(why) => fault(why),
                Ok(()) => Ok(letter),
            },
            Self::Shard(shard) if !shard.is_right() => {
                fault("a piece of a batch whose place or length can't be".into())
            }
            _ => Ok(letter),
        }
    }
}
