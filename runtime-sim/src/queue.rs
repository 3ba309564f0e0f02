//! The event queue: a heap of keys over a slab of events.
//!
//! **Promise.** Events come out in order of time, and of being put in for the same time.
//!
//! **Model.** A four-ary heap of 16-byte keys (time; place and slot packed), so that a
//! node's children share a cache line and moving a key never moves an event. Limits:
//! 2^40 events a run, 2^24 waiting at once.

const SLOT_BITS: u32 = 24;
const ARITY: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: u64,
    /// Place in the order of insertion, then the slot.
    order: u64,
}

/// Events by time.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: Vec<Key>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    pushed: u64,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.at, self.order >> SLOT_BITS)
    }
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: Vec::new(), pushed: 0 }
    }
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
    /// When the next event comes.
    #[inline]
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.first().map(|k| k.at)
    }
    /// Puts an event in.
    #[inline]
    pub(crate) fn push(&mut self, at: u64, event: E) {
        let slot = match self.free.pop() {
            Some(s) => {
                self.slots[s as usize] = Some(event);
                s
            }
            None => {
                let s = self.slots.len() as u32;
                assert!(s < 1 << SLOT_BITS, "over 16 million events wait: something sends without end");
                self.slots.push(Some(event));
                s
            }
        };
        assert!(self.pushed < 1 << (64 - SLOT_BITS), "over 10^12 events in one run");
        let key = Key { at, order: self.pushed << SLOT_BITS | u64::from(slot) };
        self.pushed += 1;
        self.heap.push(key);
        self.rise(self.heap.len() - 1, key);
    }
    /// Takes the next event out.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let top = *self.heap.first()?;
        let last = self.heap.pop()?;
        if !self.heap.is_empty() {
            self.sink(last);
        }
        let slot = (top.order & ((1 << SLOT_BITS) - 1)) as u32;
        let event = self.slots[slot as usize].take();
        self.free.push(slot);
        Some((top.at, event.expect("a key's slot is filled until it is popped")))
    }

    fn rise(&mut self, mut i: usize, key: Key) {
        while i > 0 {
            let parent = (i - 1) / ARITY;
            if self.heap[parent] <= key {
                break;
            }
            self.heap[i] = self.heap[parent];
            i = parent;
        }
        self.heap[i] = key;
    }

    fn sink(&mut self, key: Key) {
        let n = self.heap.len();
        let mut i = 0;
        loop {
            let first = i * ARITY + 1;
            if first >= n {
                break;
            }
            let mut least = first;
            for c in first + 1..(first + ARITY).min(n) {
                if self.heap[c] < self.heap[least] {
                    least = c;
                }
            }
            if key <= self.heap[least] {
                break;
            }
            self.heap[i] = self.heap[least];
            i = least;
        }
        self.heap[i] = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn comes_out_by_time_then_by_insertion(times in prop::collection::vec(0_u64..20, 0..300), pops in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut q = Queue::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut pops = pops.into_iter();
            for (i, t) in times.iter().enumerate() {
                q.push(*t, i);
                model.push((*t, i));
                if pops.next().unwrap_or(false) {
                    let want = *model.iter().min().unwrap();
                    model.retain(|m| *m != want);
                    prop_assert_eq!(q.pop(), Some(want));
                }
            }
            model.sort_unstable();
            prop_assert_eq!(q.len(), model.len());
            for want in model {
                prop_assert_eq!(q.next_at(), Some(want.0));
                prop_assert_eq!(q.pop(), Some(want));
            }
            prop_assert_eq!(q.pop(), None);
        }
    }
}
