//! Frames that wait for one peer on one lane.
//!
//! Bounded by number ([`SEND_QUEUE`]) and by size ([`SEND_BYTES`]); when full the newest is
//! dropped and counted, because what the peer has not got yet it needs first. When a
//! connection could not be made, what waits is dropped instead: a peer that comes back is served
//! best by what is said to it then, not by thousands of stale messages.
//!
//! The loop pushes and the lane's writer takes all there is in one go; the writer is woken once
//! per turn of the loop (its `flush`), not once per frame.

use bytes::Bytes;
use dwcp_env::bound::SEND_QUEUE;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Bytes that may wait for one peer on one lane.
pub const SEND_BYTES: usize = 64 * 1024 * 1024;

pub(crate) struct Queued {
    pub(crate) body: Bytes,
    /// Not before this; only where a delay is injected.
    pub(crate) due: Option<Instant>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Queued>,
    bytes: usize,
}

#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Something was pushed since the last flush.
    dirty: AtomicBool,
    ready: Notify,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame; `false` if it was dropped because there is no room.
    pub(crate) fn push(&self, body: Bytes, due: Option<Instant>) -> bool {
        let mut w = self.lock();
        if w.frames.len() >= SEND_QUEUE || w.bytes + body.len() > SEND_BYTES {
            return false;
        }
        w.bytes += body.len();
        w.frames.push_back(Queued { body, due });
        drop(w);
        self.dirty.store(true, Ordering::Release);
        true
    }

    /// Wakes the writer if there is something new.
    pub(crate) fn flush(&self) {
        // Looking first keeps the line shared between cores in the common case.
        if self.dirty.load(Ordering::Acquire) && self.dirty.swap(false, Ordering::AcqRel) {
            self.ready.notify_one();
        }
    }

    /// Moves frames that are due into `into`, at most `max` bytes (but at least one frame).
    /// Tells when the first of those left is due, if it has to wait.
    pub(crate) fn take(&self, into: &mut Vec<Bytes>, max: usize) -> Option<Instant> {
        let mut w = self.lock();
        let mut taken = 0;
        while let Some(first) = w.frames.front() {
            if let Some(due) = first.due
                && due > Instant::now()
            {
                return Some(due);
            }
            if taken > 0 && taken + first.body.len() > max {
                return None;
            }
            if let Some(q) = w.frames.pop_front() {
                taken += q.body.len();
                w.bytes -= q.body.len();
                into.push(q.body);
            }
        }
        None
    }

    /// Waits until something may have been pushed and flushed.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Drops everything; tells how many frames that were.
    pub(crate) fn clear(&self) -> u64 {
        let mut w = self.lock();
        w.bytes = 0;
        let n = w.frames.len() as u64;
        w.frames.clear();
        n
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(n: usize) -> Bytes {
        Bytes::from(vec![0; n])
    }

    #[test]
    fn a_full_box_drops_the_newest() {
        let b = Outbox::default();
        for _ in 0..SEND_QUEUE {
            assert!(b.push(body(1), None));
        }
        assert!(!b.push(body(1), None));
        let mut all = Vec::new();
        assert_eq!(b.take(&mut all, usize::MAX), None);
        assert_eq!(all.len(), SEND_QUEUE);
        assert!(b.push(body(SEND_BYTES), None));
        assert!(!b.push(body(1), None), "full by bytes");
        assert_eq!(b.clear(), 1);
        assert!(b.push(body(1), None));
    }

    #[test]
    fn a_batch_is_bounded_but_never_empty() {
        let b = Outbox::default();
        for n in [10, 10, 10] {
            b.push(body(n), None);
        }
        let mut batch = Vec::new();
        b.take(&mut batch, 25);
        assert_eq!(batch.len(), 2);
        batch.clear();
        b.take(&mut batch, 5);
        assert_eq!((batch.len(), b.len()), (1, 0));
    }

    #[test]
    fn a_delayed_frame_holds_back_those_behind_it() {
        let b = Outbox::default();
        let due = Instant::now() + std::time::Duration::from_secs(100);
        b.push(body(1), None);
        b.push(body(2), Some(due));
        b.push(body(3), None);
        let mut batch = Vec::new();
        assert_eq!(b.take(&mut batch, usize::MAX), Some(due));
        assert_eq!(batch.len(), 1);
    }
}
