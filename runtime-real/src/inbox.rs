//! The one queue that feeds a node's loop.
//!
//! **Promise.** What is urgent never waits behind what is not, no level holds more than its
//! bound, and a producer that meets a full level is held back or told so; nothing is lost
//! silently.
//!
//! **Model.** Four levels behind one lock. The loop takes a whole level at a time by swapping
//! it with an empty one, so that the lock is held for nanoseconds however long the queue is;
//! what it took it serves most urgent first, looking for newer urgent items before every
//! one.
//!
//! | level | holds | when full |
//! |---|---|---|
//! | [`Level::Completion`] | disk and job completions, cancels, stop | never: each answers something that was bounded where it was asked |
//! | [`Level::Control`] | messages of the control lane | the connection is not read |
//! | [`Level::Work`] | requests, messages of the data lane | requests are refused, the connection is not read |
//! | [`Level::Bulk`] | messages of the bulk lane | the connection is not read |
//!
//! **Invariants.**
//! 1. Items of one level keep their order.
//! 2. The consumer sleeps only if every level it accepts was empty under the lock, and
//!    whoever fills one of them afterwards wakes it.
//! 3. A level holds at most [`INPUT_QUEUE`] items that the loop has not yet taken, and the loop
//!    holds at most that many which it has.
//!
//! **Rejected.** A channel per level and a select over them: no way to look at the urgent one
//! between two items without an operation on each; a wake-up per item.

use dwcp_env::bound::INPUT_QUEUE;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use tokio::sync::Notify;

/// How urgent an item is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// Answers to what the node itself asked, and orders to end something.
    Completion = 0,
    /// Heartbeats, votes, barriers.
    Control = 1,
    /// Requests and replication.
    Work = 2,
    /// Snapshots and repair.
    Bulk = 3,
}

const LEVELS: usize = 4;
/// After this many items of [`Level::Work`] one of [`Level::Bulk`] has its turn: a node under
/// full load must still be able to take a snapshot in.
const WORK_PER_BULK: u32 = 64;

struct Shared<T> {
    levels: [VecDeque<T>; LEVELS],
    /// Producers that wait for room, by level.
    held_back: [usize; LEVELS],
    /// Wakes the consumer, which sleeps or is about to.
    sleeping: Option<Waker>,
    closed: bool,
}

/// The producers' end; shared by reference.
pub(crate) struct Inbox<T> {
    shared: Mutex<Shared<T>>,
    /// Items per level that the consumer has not taken yet, readable without the lock.
    fresh: [AtomicUsize; LEVELS],
    room: [Notify; LEVELS],
    closed: AtomicBool,
}

/// Why an item was not taken; gives it back.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    /// The level is full.
    Full(T),
    /// The loop has ended.
    Closed,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            shared: Mutex::new(Shared {
                levels: std::array::from_fn(|_| VecDeque::new()),
                held_back: [0; LEVELS],
                sleeping: None,
                closed: false,
            }),
            fresh: std::array::from_fn(|_| AtomicUsize::new(0)),
            room: std::array::from_fn(|_| Notify::new()),
            closed: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        // Nothing panics while the lock is held; should it ever, the queue is still whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut s: MutexGuard<'_, Shared<T>>, level: Level, item: T) {
        s.levels[level as usize].push_back(item);
        self.fresh[level as usize].fetch_add(1, Ordering::Release);
        let sleeper = s.sleeping.take();
        drop(s);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Adds an item if its level has room.
    pub(crate) fn push(&self, level: Level, item: T) -> Result<(), Refused<T>> {
        let s = self.lock();
        if s.closed {
            return Err(Refused::Closed);
        }
        if s.levels[level as usize].len() >= INPUT_QUEUE {
            return Err(Refused::Full(item));
        }
        self.put(s, level, item);
        Ok(())
    }

    /// Adds an item that is bounded by what it answers. Lost only if the loop has ended.
    pub(crate) fn complete(&self, item: T) {
        let s = self.lock();
        if !s.closed {
            self.put(s, Level::Completion, item);
        }
    }

    /// Adds an item behind everything of its level, whatever its length: for the cancel of a
    /// request, of which there is at most one for each request let in.
    pub(crate) fn follow(&self, level: Level, item: T) {
        let s = self.lock();
        if !s.closed {
            self.put(s, level, item);
        }
    }

    /// Adds an item, waiting for room. An error means that the loop has ended.
    pub(crate) async fn push_wait(&self, level: Level, mut item: T) -> Result<(), ()> {
        let n = level as usize;
        loop {
            match self.push(level, item) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed) => return Err(()),
                Err(Refused::Full(back)) => item = back,
            }
            let mut room = std::pin::pin!(self.room[n].notified());
            // Registered under the lock: room made from here on is noticed.
            let waiting = {
                let mut s = self.lock();
                let full = !s.closed && s.levels[n].len() >= INPUT_QUEUE;
                if full {
                    room.as_mut().enable();
                    s.held_back[n] += 1;
                }
                full
            };
            if waiting {
                room.await;
            }
        }
    }

    /// Ends it: what waits is given back to be dropped, producers are told.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut s = self.lock();
        s.closed = true;
        self.closed.store(true, Ordering::Release);
        let left = s.levels.iter_mut().flat_map(std::mem::take).collect();
        drop(s);
        for room in &self.room {
            room.notify_waiters();
        }
        left
    }

    /// Items not yet taken, over all levels.
    pub(crate) fn waiting(&self) -> usize {
        self.fresh.iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }

    /// Whether the loop has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// The consumer's end: what it has taken, by level.
pub(crate) struct Taken<T> {
    levels: [VecDeque<T>; LEVELS],
    work_in_a_row: u32,
}

impl<T> Taken<T> {
    pub(crate) fn new() -> Self {
        Self { levels: std::array::from_fn(|_| VecDeque::new()), work_in_a_row: 0 }
    }

    /// The next item not less urgent than `least`.
    pub(crate) fn next(&mut self, inbox: &Inbox<T>, least: Level) -> Option<T> {
        for level in [Level::Completion, Level::Control] {
            if level <= least {
                self.refill(inbox, level);
                if let Some(item) = self.levels[level as usize].pop_front() {
                    return Some(item);
                }
            }
        }
        if least < Level::Work {
            return None;
        }
        self.refill(inbox, Level::Work);
        let bulk_turn = least == Level::Bulk
            && (self.work_in_a_row >= WORK_PER_BULK || self.levels[Level::Work as usize].is_empty());
        if bulk_turn {
            self.work_in_a_row = 0;
            self.refill(inbox, Level::Bulk);
            if let Some(item) = self.levels[Level::Bulk as usize].pop_front() {
                return Some(item);
            }
        }
        self.work_in_a_row += 1;
        self.levels[Level::Work as usize].pop_front()
    }

    fn refill(&mut self, inbox: &Inbox<T>, level: Level) {
        let n = level as usize;
        if !self.levels[n].is_empty() || inbox.fresh[n].load(Ordering::Acquire) == 0 {
            return;
        }
        let mut s = inbox.lock();
        std::mem::swap(&mut self.levels[n], &mut s.levels[n]);
        inbox.fresh[n].fetch_sub(self.levels[n].len(), Ordering::Relaxed);
        let waited = std::mem::take(&mut s.held_back[n]) > 0;
        drop(s);
        if waited {
            inbox.room[n].notify_waiters();
        }
    }

    /// Whether an item not less urgent than `least` is there; if none is, `sleeper` is woken by the
    /// next item of any level.
    pub(crate) fn ready(&mut self, inbox: &Inbox<T>, least: Level, sleeper: &Waker) -> bool {
        let mut s = inbox.lock();
        let ready = s.levels[..=least as usize].iter().any(|q| !q.is_empty())
            || self.levels[..=least as usize].iter().any(|q| !q.is_empty());
        if !ready && !s.sleeping.as_ref().is_some_and(|w| w.will_wake(sleeper)) {
            s.sleeping = Some(sleeper.clone());
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    fn drain(taken: &mut Taken<u32>, inbox: &Inbox<u32>, least: Level) -> Vec<u32> {
        std::iter::from_fn(|| taken.next(inbox, least)).collect()
    }

    #[test]
    fn urgent_items_overtake_what_was_already_taken() {
        let inbox = Inbox::new();
        let mut taken = Taken::new();
        inbox.push(Level::Bulk, 30).unwrap();
        inbox.push(Level::Work, 20).unwrap();
        inbox.push(Level::Work, 21).unwrap();
        assert_eq!(taken.next(&inbox, Level::Bulk), Some(20));
        inbox.push(Level::Control, 10).unwrap();
        inbox.complete(0);
        assert_eq!(drain(&mut taken, &inbox, Level::Bulk), [0, 10, 21, 30]);
    }

    #[test]
    fn a_loop_that_holds_back_takes_only_what_it_accepts() {
        let inbox = Inbox::new();
        let mut taken = Taken::new();
        inbox.push(Level::Work, 20).unwrap();
        inbox.push(Level::Control, 10).unwrap();
        inbox.complete(1);
        assert_eq!(drain(&mut taken, &inbox, Level::Completion), [1]);
        assert_eq!(drain(&mut taken, &inbox, Level::Control), [10]);
        assert_eq!(drain(&mut taken, &inbox, Level::Bulk), [20]);
    }

    #[test]
    fn bulk_has_its_turn_under_full_load() {
        let inbox = Inbox::new();
        let mut taken = Taken::new();
        (0..200).for_each(|n| inbox.push(Level::Work, n).unwrap());
        inbox.push(Level::Bulk, 999).unwrap();
        let order = drain(&mut taken, &inbox, Level::Bulk);
        assert_eq!(order.iter().position(|n| *n == 999), Some(WORK_PER_BULK as usize));
    }

    #[tokio::test]
    async fn a_full_level_holds_its_producer_back_and_no_other() {
        let inbox = Arc::new(Inbox::new());
        for n in 0..INPUT_QUEUE {
            inbox.push(Level::Work, n).unwrap();
        }
        assert!(matches!(inbox.push(Level::Work, 7), Err(Refused::Full(7))));
        inbox.push(Level::Control, 1).unwrap();
        let held = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.push_wait(Level::Work, 8).await }
        });
        tokio::task::yield_now().await;
        assert!(!held.is_finished());
        let mut taken = Taken::new();
        assert_eq!(taken.next(&inbox, Level::Bulk), Some(1));
        assert_eq!(taken.next(&inbox, Level::Bulk), Some(0));
        assert_eq!(held.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn closing_frees_whoever_waits() {
        let inbox = Arc::new(Inbox::new());
        for n in 0..INPUT_QUEUE {
            inbox.push(Level::Bulk, n).unwrap();
        }
        let held = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.push_wait(Level::Bulk, 8).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(inbox.close().len(), INPUT_QUEUE);
        assert_eq!(held.await.unwrap(), Err(()));
        assert!(inbox.is_closed());
    }

    #[tokio::test]
    async fn a_sleeper_is_woken_by_the_first_item() {
        let inbox = Arc::new(Inbox::new());
        let producer = std::thread::spawn({
            let inbox = inbox.clone();
            move || (0..1_000).for_each(|n| inbox.push(Level::Work, n).unwrap())
        });
        let mut taken = Taken::new();
        let mut got = Vec::new();
        while got.len() < 1_000 {
            match taken.next(&inbox, Level::Bulk) {
                Some(n) => got.push(n),
                None => {
                    let mut ready = |cx: &mut Context<'_>| taken.ready(&inbox, Level::Bulk, cx.waker());
                    poll_fn(|cx| if ready(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
                }
            }
        }
        producer.join().unwrap();
        assert_eq!(got, (0..1_000).collect::<Vec<u32>>());
    }
}
