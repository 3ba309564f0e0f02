//! One file: what reads see, what a crash would leave, and what lies between.
//!
//! ```text
//!   write ──▶ live ──(unsynced: blocks whose fate a crash draws)──▶ sync ──▶ durable
//! ```
//!
//! **Invariants.**
//! 1. A block that is not listed in `unsynced`, and of which no deferred write waits, is the
//!    same in `live` and `durable` — unless a phantom write or a failed sync made them differ.
//! 2. Deferred changes are in order of their time, and a file with deferred changes defers
//!    every later one behind them, save that a sync outside a job carries all of them out.
//!
//! **Deferred.** A job runs at one instant but takes time: its writes are seen at once (the
//! memory of the node has moved on as well), but a crash before a change's own time must find
//! it not made. So a job's changes wait here with their times, as images of whole blocks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes of a block: what is copied on write.
pub(crate) const BLOCK: usize = 4_096;
/// Bytes of a sector: what a crash tears, and what goes bad.
pub(crate) const SECTOR: usize = 512;
/// Sectors of a block.
pub(crate) const SECTORS: u64 = (BLOCK / SECTOR) as u64;

type Bytes4K = [u8; BLOCK];
/// A block's content; none is zeros.
pub(crate) type Image = Option<Arc<Bytes4K>>;

static ZEROS: Bytes4K = [0; BLOCK];

/// What a block is, as bytes.
pub(crate) fn bytes(image: &Image) -> &Bytes4K {
    image.as_deref().unwrap_or(&ZEROS)
}

/// The content of an unsynced block.
#[derive(Clone, Debug)]
enum Unsynced {
    /// What `live` holds.
    Live,
    /// This; `live` is ahead of it.
    Was(Image),
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A block, and the file's length with it.
    Write(u32, Image, u64),
    Sync,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    live: Vec<Image>,
    live_len: u64,
    durable: Vec<Image>,
    durable_len: u64,
    /// By block.
    unsynced: Vec<(u32, Unsynced)>,
    unsynced_len: u64,
    deferred: VecDeque<(u64, Change)>,
    /// Unreadable sectors, by number.
    pub(crate) bad: BTreeSet<u64>,
    /// Blocks that the last sync wrote: the tail that survivable decay spares.
    pub(crate) last_synced: Vec<u32>,
    /// A failed sync left the cache ahead of the disk.
    tainted: bool,
    /// Handles that are open.
    pub(crate) opens: u32,
}

/// What a sync leaves out, by design of a fault.
pub(crate) trait Phantom {
    /// Whether this block is left out.
    fn leaves_out(&mut self, block: u32) -> bool;
}

/// Nothing is left out.
pub(crate) struct Honest;
impl Phantom for Honest {
    fn leaves_out(&mut self, _: u32) -> bool {
        false
    }
}

/// How a crash decides; `keep` gets (block, sector or none for the block as a whole).
pub(crate) struct Fate<'a> {
    /// Whether this piece of an unsynced block reached the disk.
    pub(crate) keep: &'a mut dyn FnMut(u32, Option<u64>) -> bool,
    /// Whether blocks tear at sectors.
    pub(crate) torn: bool,
    /// A number in `0..n`, for the length.
    pub(crate) below: &'a mut dyn FnMut(u64) -> u64,
}

/// What a crash did to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Damage {
    /// Blocks of which nothing unsynced survived.
    pub(crate) lost: u64,
    /// Blocks of which some sectors survived and some did not.
    pub(crate) torn: u64,
}

fn slot(blocks: &mut Vec<Image>, b: u32) -> &mut Image {
    let b = b as usize;
    if blocks.len() <= b {
        blocks.resize(b + 1, None);
    }
    &mut blocks[b]
}

fn get(blocks: &[Image], b: u32) -> &Image {
    blocks.get(b as usize).unwrap_or(&None)
}

impl Inode {
    pub(crate) const fn len(&self) -> u64 {
        self.live_len
    }
    pub(crate) fn is_deferring(&self) -> bool {
        !self.deferred.is_empty()
    }
    /// Memory held, in bytes, counting a block shared by both views once.
    pub(crate) fn memory(&self) -> u64 {
        let held = |v: &[Image]| v.iter().flatten().count() as u64;
        let shared = self.live.iter().zip(&self.durable).filter(|(a, b)| same(a, b) && a.is_some()).count();
        (held(&self.live) + held(&self.durable) - shared as u64) * BLOCK as u64
    }

    /// Reads; the caller has checked the range.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (b, within) = ((at / BLOCK as u64) as u32, (at % BLOCK as u64) as usize);
            let n = (BLOCK - within).min(out.len() - done);
            out[done..done + n].copy_from_slice(&bytes(get(&self.live, b))[within..within + n]);
            done += n;
        }
    }

    /// Writes, growing the file; effective at `at` if deferred.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8], now: u64, at: Option<u64>) {
        self.live_len = self.live_len.max(offset + data.len() as u64);
        let mut done = 0;
        while done < data.len() {
            let pos = offset + done as u64;
            let (b, within) = ((pos / BLOCK as u64) as u32, (pos % BLOCK as u64) as usize);
            let n = (BLOCK - within).min(data.len() - done);
            let piece = &data[done..done + n];
            self.change_block(b, now, at, |block| block[within..within + n].copy_from_slice(piece));
            done += n;
        }
        if data.is_empty() {
            self.note_len(now, at);
        }
        if !self.bad.is_empty() {
            // A sector that is written whole is remapped by the device.
            let first = offset.div_ceil(SECTOR as u64);
            let end = (offset + data.len() as u64) / SECTOR as u64;
            self.bad.retain(|s| !(first..end).contains(s));
        }
    }

    /// Cuts or grows with zeros.
    pub(crate) fn set_len(&mut self, len: u64, now: u64, at: Option<u64>) {
        let old = self.live_len;
        self.live_len = len;
        if len < old {
            let keep = (len % BLOCK as u64) as usize;
            let first = (len / BLOCK as u64) as u32;
            if keep > 0 && get(&self.live, first).is_some() {
                self.change_block(first, now, at, |block| block[keep..].fill(0));
            }
            let gone = first + u32::from(keep > 0);
            for b in gone..self.live.len() as u32 {
                if self.live[b as usize].is_some() {
                    self.replace_block(b, None, now, at);
                }
            }
        }
        self.note_len(now, at);
    }

    fn change_block(&mut self, b: u32, now: u64, at: Option<u64>, change: impl FnOnce(&mut Bytes4K)) {
        if self.defers(at) {
            let mut image = get(&self.live, b).clone();
            change(Arc::make_mut(image.get_or_insert_with(|| Arc::new(ZEROS))));
            self.replace_block(b, image, now, at);
            return;
        }
        self.mark_live(b);
        let image = slot(&mut self.live, b);
        change(Arc::make_mut(image.get_or_insert_with(|| Arc::new(ZEROS))));
        self.unsynced_len = self.live_len;
    }

    fn replace_block(&mut self, b: u32, image: Image, now: u64, at: Option<u64>) {
        if self.defers(at) {
            if let Ok(i) = self.unsynced.binary_search_by_key(&b, |u| u.0)
                && matches!(self.unsynced[i].1, Unsynced::Live)
            {
                self.unsynced[i].1 = Unsynced::Was(get(&self.live, b).clone());
            }
            let at = self.when(now, at);
            self.deferred.push_back((at, Change::Write(b, image.clone(), self.live_len)));
        } else {
            self.mark_live(b);
            self.unsynced_len = self.live_len;
        }
        *slot(&mut self.live, b) = image;
    }

    fn note_len(&mut self, now: u64, at: Option<u64>) {
        if self.defers(at) {
            // The length travels with a block; the first one stands for it.
            let image = get(&self.live, 0).clone();
            self.replace_block(0, image, now, at);
        } else {
            self.unsynced_len = self.live_len;
        }
    }

    fn defers(&self, at: Option<u64>) -> bool {
        at.is_some() || !self.deferred.is_empty()
    }

    fn when(&self, now: u64, at: Option<u64>) -> u64 {
        let last = self.deferred.back().map_or(0, |d| d.0);
        at.unwrap_or(now).max(last)
    }

    fn mark_live(&mut self, b: u32) {
        match self.unsynced.binary_search_by_key(&b, |u| u.0) {
            Ok(i) => self.unsynced[i].1 = Unsynced::Live,
            Err(i) => self.unsynced.insert(i, (b, Unsynced::Live)),
        }
    }

    /// Whether a sync would have anything to do.
    pub(crate) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty() || self.durable_len != self.live_len || !self.deferred.is_empty()
    }

    /// Makes what was written durable: at `at` if a job does it, else now and all of it.
    pub(crate) fn sync(&mut self, at: Option<u64>, now: u64, phantom: &mut dyn Phantom) {
        if at.is_some() {
            let at = self.when(now, at);
            self.deferred.push_back((at, Change::Sync));
            return;
        }
        self.settle(u64::MAX, phantom);
        self.commit(phantom);
    }

    /// A sync that failed: the device keeps the old bytes, the cache forgets that it has new ones.
    pub(crate) fn fail_sync(&mut self) {
        self.settle(u64::MAX, &mut Honest);
        self.unsynced.clear();
        self.unsynced_len = self.durable_len;
        self.tainted = true;
    }

    /// Carries out deferred changes up to and including `now`.
    pub(crate) fn settle(&mut self, now: u64, phantom: &mut dyn Phantom) {
        while let Some((at, _)) = self.deferred.front()
            && *at <= now
        {
            match self.deferred.pop_front() {
                Some((_, Change::Write(b, image, len))) => {
                    match self.unsynced.binary_search_by_key(&b, |u| u.0) {
                        Ok(i) => self.unsynced[i].1 = Unsynced::Was(image),
                        Err(i) => self.unsynced.insert(i, (b, Unsynced::Was(image))),
                    }
                    self.unsynced_len = len;
                }
                Some((_, Change::Sync)) => self.commit(phantom),
                None => break,
            }
        }
    }

    fn commit(&mut self, phantom: &mut dyn Phantom) {
        self.last_synced.clear();
        for (b, state) in self.unsynced.drain(..) {
            let image = match state {
                Unsynced::Live => get(&self.live, b).clone(),
                Unsynced::Was(image) => image,
            };
            if !same(&image, get(&self.durable, b)) && !phantom.leaves_out(b) {
                *slot(&mut self.durable, b) = image;
            }
            self.last_synced.push(b);
        }
        self.durable_len = self.unsynced_len;
    }

    /// Power is lost: what was not synced meets its fate, and the cache is gone.
    pub(crate) fn crash(&mut self, now: u64, fate: &mut Fate<'_>) -> Damage {
        self.settle(now, &mut Honest);
        self.deferred.clear();
        let mut damage = Damage::default();
        for (b, state) in std::mem::take(&mut self.unsynced) {
            let new = match state {
                Unsynced::Live => get(&self.live, b).clone(),
                Unsynced::Was(image) => image,
            };
            let old = get(&self.durable, b).clone();
            if bytes(&new) == bytes(&old) {
                continue;
            }
            let left = if fate.torn {
                tear(b, &old, &new, fate, &mut damage)
            } else if (fate.keep)(b, None) {
                new
            } else {
                damage.lost += 1;
                old
            };
            *slot(&mut self.durable, b) = left;
        }
        self.draw_length(fate);
        self.forget_cache();
        damage
    }

    fn draw_length(&mut self, fate: &mut Fate<'_>) {
        let (low, high) = (self.durable_len.min(self.unsynced_len), self.durable_len.max(self.unsynced_len));
        if low < high {
            self.durable_len = match (fate.below)(3) {
                0 => self.durable_len,
                1 => self.unsynced_len,
                _ => low + (fate.below)(high - low + 1),
            };
        }
        let (end, keep) =
            ((self.durable_len / BLOCK as u64) as usize, (self.durable_len % BLOCK as u64) as usize);
        self.durable.truncate(end + usize::from(keep > 0));
        if keep > 0
            && let Some(Some(last)) = self.durable.get_mut(end)
            && last[keep..].iter().any(|b| *b != 0)
        {
            Arc::make_mut(last)[keep..].fill(0);
        }
    }

    /// The process ended, the power did not: what was written stays, what a job had yet to
    /// write does not come.
    pub(crate) fn kill(&mut self, now: u64) {
        self.settle(now, &mut Honest);
        if self.deferred.is_empty() && !self.tainted {
            return;
        }
        self.deferred.clear();
        let mut live = self.durable.clone();
        if self.tainted {
            // The pages a failed sync left behind are evicted: the disk's bytes show.
            self.unsynced.clear();
            self.unsynced_len = self.durable_len;
            self.tainted = false;
        }
        for (b, state) in &mut self.unsynced {
            let image = match state {
                Unsynced::Live => get(&self.live, *b).clone(),
                Unsynced::Was(image) => image.clone(),
            };
            *slot(&mut live, *b) = image;
            *state = Unsynced::Live;
        }
        self.live = live;
        self.live_len = self.unsynced_len;
    }

    fn forget_cache(&mut self) {
        self.live.clone_from(&self.durable);
        self.live_len = self.durable_len;
        self.unsynced.clear();
        self.unsynced_len = self.durable_len;
        self.tainted = false;
    }

    /// Blocks that hold something durable, outside of the last sync's if it is spared.
    pub(crate) fn allocated(&self, spare_tail: bool) -> Vec<u32> {
        let used =
            |b: &u32| self.durable[*b as usize].is_some() && !(spare_tail && self.last_synced.contains(b));
        (0..self.durable.len() as u32).filter(used).collect()
    }

    /// Flips a bit on the disk; the cache shows it unless it holds newer bytes.
    pub(crate) fn rot(&mut self, b: u32, bit: u32) {
        let clean = same(get(&self.live, b), get(&self.durable, b));
        let image = slot(&mut self.durable, b);
        let block = Arc::make_mut(image.get_or_insert_with(|| Arc::new(ZEROS)));
        block[(bit / 8) as usize % BLOCK] ^= 1 << (bit % 8);
        if clean {
            let image = image.clone();
            *slot(&mut self.live, b) = image;
        }
    }
}

fn same(a: &Image, b: &Image) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Each sector of the block reached the disk, or not.
fn tear(b: u32, old: &Image, new: &Image, fate: &mut Fate<'_>, damage: &mut Damage) -> Image {
    let mut mixed = *bytes(old);
    let (mut kept, mut lost) = (false, false);
    for s in 0..SECTORS {
        let range = s as usize * SECTOR..(s as usize + 1) * SECTOR;
        if bytes(old)[range.clone()] == bytes(new)[range.clone()] {
            continue;
        }
        if (fate.keep)(b, Some(s)) {
            mixed[range.clone()].copy_from_slice(&bytes(new)[range]);
            kept = true;
        } else {
            lost = true;
        }
    }
    damage.torn += u64::from(kept && lost);
    damage.lost += u64::from(lost && !kept);
    if kept { Some(Arc::new(mixed)) } else { old.clone() }
}
