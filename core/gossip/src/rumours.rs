//! Which rumours this node has seen, and the bytes of the latest: both bounded, the oldest go first.
//!
//! Behind the bound stands the store: what it holds is no news, however long ago it came. So the set of the
//! seen only has to bridge the time until the store has taken a rumour in, and may be small.

use crate::message::RumourId;
use crate::settings::{CACHE_BYTES, SEEN_MAX};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use bytes::Bytes;
use dwcp_env::RegionId;

/// What the layer asks of the store beneath it. Both are asked in the middle of a step and must be cheap.
pub trait Store {
    /// Whether this rumour has been taken in: applied, or waiting for those before it.
    fn holds(&self, id: RumourId) -> bool;
    /// The bytes of a rumour it holds, if they can still be had; without, the asker is repaired by a digest.
    fn fetch(&self, id: RumourId) -> Option<Bytes>;
}

/// The seen and the recent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rumours {
    seen: BTreeSet<RumourId>,
    order: VecDeque<RumourId>,
    cache: BTreeMap<RumourId, (RegionId, Bytes)>,
    cached: VecDeque<RumourId>,
    bytes: usize,
}

impl Rumours {
    /// Whether it is no news to us or to the store.
    pub(crate) fn knows<S: Store + ?Sized>(&self, id: RumourId, store: &S) -> bool {
        self.seen.contains(&id) || store.holds(id)
    }

    /// Marks as seen; tells whether it was new.
    pub(crate) fn see(&mut self, id: RumourId) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Keeps the bytes for those who will ask.
    pub(crate) fn keep(&mut self, id: RumourId, home: RegionId, bytes: Bytes) {
        self.bytes += bytes.len();
        if let Some((_, old)) = self.cache.insert(id, (home, bytes)) {
            self.bytes -= old.len();
        } else {
            self.cached.push_back(id);
        }
        while self.bytes > CACHE_BYTES || self.cached.len() > SEEN_MAX {
            let Some(oldest) = self.cached.pop_front() else { break };
            if let Some((_, gone)) = self.cache.remove(&oldest) {
                self.bytes -= gone.len();
            }
        }
    }

    /// The bytes of a rumour and its home, from here or from the store.
    pub(crate) fn find<S: Store + ?Sized>(
        &self,
        id: RumourId,
        here: RegionId,
        store: &S,
    ) -> Option<(RegionId, Bytes)> {
        // What comes out of the store was repaired here: for others it starts from this region.
        self.cache.get(&id).cloned().or_else(|| store.fetch(id).map(|b| (here, b)))
    }

    /// Rumours remembered and bytes kept.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.seen.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut r = Rumours::default();
        let id = |sequence| RumourId { origin: 1, sequence };
        for s in 1..=3 * SEEN_MAX as u64 {
            assert!(r.see(id(s)));
            r.keep(id(s), RegionId(0), alloc::vec![0; 1_024].into());
        }
        let (seen, bytes) = r.sizes();
        assert_eq!(seen, SEEN_MAX);
        assert!(bytes <= CACHE_BYTES && bytes > CACHE_BYTES - 2_048);
        assert!(!r.see(id(3 * SEEN_MAX as u64)));
        assert!(r.see(id(1)));
    }
}
