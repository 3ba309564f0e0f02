//! Facts about members waiting to be passed on, each a bounded number of times (SWIM §4.1).
//!
//! Those sent least go first, the newest of them before older ones. A newer fact about a member replaces the
//! older: what travels is bounded by the members, not by what happens to them. At the bound the most often
//! sent goes; the comparison of whole views repairs what that costs.

use crate::member::Update;
use crate::message::size;
use crate::settings::UPDATES_MAX;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use dwcp_env::NodeId;

type Key = (u32, Reverse<u64>);

/// The queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    waiting: BTreeMap<Key, (Update, usize)>,
    about: BTreeMap<NodeId, Key>,
    order: u64,
    dropped: u64,
}

impl Queue {
    /// Adds a fact, in place of an older one about the same member.
    pub(crate) fn push(&mut self, update: Update) {
        self.push_after(update, 0);
    }

    /// The same for a fact that counts as sent so often already.
    pub(crate) fn push_after(&mut self, update: Update, sent: u32) {
        if let Some(key) = self.about.remove(&update.id) {
            self.waiting.remove(&key);
        }
        while self.waiting.len() >= UPDATES_MAX {
            if let Some((_, (gone, _))) = self.waiting.pop_last() {
                self.about.remove(&gone.id);
                self.dropped += 1;
            }
        }
        self.order += 1;
        let key = (sent, Reverse(self.order));
        self.about.insert(update.id, key);
        let bytes = size(&update);
        self.waiting.insert(key, (update, bytes));
    }

    /// Forgets what waits about a member.
    pub(crate) fn forget(&mut self, id: NodeId) {
        if let Some(key) = self.about.remove(&id) {
            self.waiting.remove(&key);
        }
    }

    /// Takes as many as fit into `room` bytes; each has then been sent once more, and is gone after `limit`.
    pub(crate) fn take(&mut self, room: usize, limit: u32) -> Vec<Update> {
        // Bincode writes up to 250 as one byte: more facts than that in one message are not worth the two bytes.
        const MOST: usize = 250;
        let mut left = room;
        let mut keys = Vec::new();
        for (key, (_, bytes)) in &self.waiting {
            if left < 3 || keys.len() == MOST {
                break;
            }
            if *bytes <= left {
                left -= bytes;
                keys.push(*key);
            }
        }
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            let Some((update, bytes)) = self.waiting.remove(&key) else { continue };
            let next = (key.0 + 1, key.1);
            if next.0 < limit {
                self.about.insert(update.id, next);
                self.waiting.insert(next, (update.clone(), bytes));
            } else {
                self.about.remove(&update.id);
            }
            out.push(update);
        }
        out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
    /// How many were dropped at the bound.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Claim, Incarnation};

    fn fact(id: u64, inc: u64) -> Update {
        Update { id: NodeId(id), incarnation: Incarnation(inc), claim: Claim::Left }
    }
    fn ids(v: &[Update]) -> Vec<u64> {
        v.iter().map(|u| u.id.0).collect()
    }

    #[test]
    fn the_least_sent_go_first_and_the_newest_of_them() {
        let mut q = Queue::default();
        q.push(fact(1, 0));
        q.push(fact(2, 0));
        let two = 2 * size(&fact(1, 0));
        assert_eq!(ids(&q.take(two, 3)), [2, 1]);
        q.push(fact(3, 0));
        assert_eq!(ids(&q.take(two, 3)), [3, 2]);
    }

    #[test]
    fn a_fact_is_passed_on_a_bounded_number_of_times() {
        let mut q = Queue::default();
        q.push(fact(1, 0));
        assert_eq!((0..9).filter(|_| !q.take(1_000, 3).is_empty()).count(), 3);
        assert!(q.is_empty());
    }

    #[test]
    fn a_newer_fact_takes_the_older_ones_place_and_starts_anew() {
        let mut q = Queue::default();
        q.push(fact(1, 0));
        q.take(1_000, 2);
        q.push(fact(1, 1));
        assert_eq!(q.len(), 1);
        assert_eq!(q.take(1_000, 2)[0].incarnation, Incarnation(1));
        assert_eq!(q.len(), 1);
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut q = Queue::default();
        for id in 0..2 * UPDATES_MAX as u64 {
            q.push(fact(id, 0));
        }
        assert_eq!((q.len(), q.dropped()), (UPDATES_MAX, UPDATES_MAX as u64));
    }
}
