//! Batches of which some pieces have come, and how many pieces the link loses.

use super::letter::read_items;
use super::shards::recover;
use super::{Item, PIECES_BYTES, Shard};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Blocks whose losses are remembered.
const REMEMBERED: usize = 512;
/// With so many the worst of them means something.
const ENOUGH: usize = 16;

/// A block of a batch.
#[derive(Clone, Debug, Default)]
struct Block {
    length: u32,
    data: u8,
    shards: BTreeMap<u8, Bytes>,
    whole: Option<Vec<u8>>,
}

/// A batch in the coming.
#[derive(Clone, Debug)]
struct Coming {
    attempt: u8,
    blocks: Vec<Block>,
    bytes: usize,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    coming: BTreeMap<u64, Coming>,
    bytes: usize,
    /// Of each block sent for the first time: pieces that came, of how many.
    tally: BTreeMap<(u64, u8), (u8, u8)>,
    /// Batches before this one are counted.
    counted: u64,
    /// What the last blocks lost.
    lost: VecDeque<u8>,
}

impl Pieces {
    /// Takes a piece; gives the batch if it is whole now. A piece that is not `wanted` is only counted.
    ///
    /// # Errors
    /// If the batch is none.
    pub(super) fn take(&mut self, shard: Shard, wanted: bool) -> Result<Option<Vec<Item>>, String> {
        self.note(&shard);
        if !wanted || self.bytes + shard.bytes.len() > PIECES_BYTES {
            return Ok(None);
        }
        let (number, at) = (shard.number, usize::from(shard.block));
        let new = || Coming {
            attempt: shard.attempt,
            blocks: alloc::vec![Block::default(); usize::from(shard.blocks)],
            bytes: 0,
        };
        let coming = self.coming.entry(number).or_insert_with(new);
        if !coming.fits(&shard) {
            // Sent again with less in it, for some has become durable here since. An older one is of no use.
            if shard.attempt <= coming.attempt {
                return Ok(None);
            }
            self.bytes -= coming.bytes;
            *coming = new();
        }
        coming.attempt = coming.attempt.max(shard.attempt);
        let block = &mut coming.blocks[at];
        if block.whole.is_some() {
            return Ok(None);
        }
        (block.length, block.data) = (shard.length, shard.data);
        let size = shard.bytes.len();
        if block.shards.insert(shard.index, shard.bytes).is_none() {
            self.bytes += size;
            coming.bytes += size;
        }
        block.whole = recover(block.length as usize, usize::from(block.data), &block.shards);
        if coming.blocks.iter().any(|b| b.whole.is_none()) {
            return Ok(None);
        }
        self.count_before(number);
        let Some(coming) = self.coming.remove(&number) else { return Ok(None) };
        self.bytes -= coming.bytes;
        let whole: Vec<u8> = coming.blocks.into_iter().filter_map(|b| b.whole).flatten().collect();
        read_items(&whole).map(Some)
    }

    /// Counts a piece that was sent the first time.
    fn note(&mut self, shard: &Shard) {
        if shard.attempt > 0 || shard.number < self.counted {
            return;
        }
        let total = shard.data.saturating_add(shard.parity);
        let tally = self.tally.entry((shard.number, shard.block)).or_insert((0, total));
        tally.0 = tally.0.saturating_add(1);
        // Nobody counts for ever on a batch that never becomes whole.
        if self.tally.len() > REMEMBERED {
            self.count_before(shard.number);
        }
    }

    /// A batch is there: what has not come of those before it is lost.
    fn count_before(&mut self, number: u64) {
        let later = self.tally.split_off(&(number, 0));
        for (came, total) in core::mem::replace(&mut self.tally, later).into_values() {
            self.lost.push_back(total.saturating_sub(came));
        }
        while self.lost.len() > REMEMBERED {
            self.lost.pop_front();
        }
        self.counted = self.counted.max(number);
    }

    /// The most that one of the last blocks lost.
    pub(super) fn worst(&self) -> Option<u8> {
        if self.lost.len() < ENOUGH { None } else { self.lost.iter().copied().max() }
    }
}

impl Coming {
    fn fits(&self, shard: &Shard) -> bool {
        let Some(block) = self.blocks.get(usize::from(shard.block)) else { return false };
        let size = block.shards.values().next().map_or(shard.bytes.len(), Bytes::len);
        let new = block.shards.is_empty() && block.whole.is_none();
        self.blocks.len() == usize::from(shard.blocks)
            && (new || (block.length, block.data, size) == (shard.length, shard.data, shard.bytes.len()))
    }
}
