//! A deterministic executor: async workflows and libraries inside a step.
//!
//! **Promise.** The tasks that are ready, and only they, run until none is ready; in order of
//! waking, or (in simulation) in an order drawn from the seed. No thread, no clock: time is what
//! [`Executor::run`] is told, and the earliest timer is what it tells back.
//!
//! **Model.** An [`Executor`] belongs to one node incarnation; dropping it drops its tasks,
//! as a crash does. A [`Spawner`] is a cloneable handle for tasks and futures. Both ends
//! use locks only because wakers must be `Send`; on one thread they are never contended.
//!
//! **Invariants.**
//! 1. A task is in the ready queue at most once.
//! 2. A task is never polled from two places, nor after it has finished.
//! 3. Timers fire in order of (deadline, the order they were made in).
//!
//! **Rejected.** `tokio` on a paused clock (wakes through shards drawn at random, and steps
//! time in milliseconds), `futures::LocalPool` (no timers, order not ours to choose).

use crate::draw::{Purpose, Seed};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::marker::Send;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use spin::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The order in which ready tasks are polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pick {
    /// In order of waking.
    Fifo,
    /// By a draw from this seed: explores orders that a queue never shows.
    Drawn(Seed),
}

const PICK: Purpose = Purpose::named("exec.pick");

struct Slot {
    waker: Arc<TaskWaker>,
    /// Absent while it is being polled, and once finished.
    task: Option<Task>,
}

struct TaskWaker {
    id: usize,
    queued: AtomicBool,
    shared: Weak<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.ready.lock().push_back(self.id);
        }
    }
}

#[derive(Default)]
struct Shared {
    ready: Mutex<VecDeque<usize>>,
    spawned: Mutex<Vec<Task>>,
    timers: Mutex<Timers>,
    now_nanos: AtomicU64,
}

#[derive(Default)]
struct Timers {
    by_deadline: BTreeMap<(Instant, u64), Waker>,
    made: u64,
}

/// Runs the tasks of one node incarnation.
pub struct Executor {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    pick: Pick,
    polls: u64,
}

impl core::fmt::Debug for Executor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Executor({} polls)", self.polls)
    }
}

/// A handle to spawn tasks and to wait for time.
#[derive(Clone)]
pub struct Spawner(Arc<Shared>);

impl core::fmt::Debug for Spawner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Spawner")
    }
}

impl Executor {
    /// An executor with nothing to do.
    #[must_use]
    pub fn new(pick: Pick) -> Self {
        Self { shared: Arc::default(), slots: Vec::new(), free: Vec::new(), pick, polls: 0 }
    }
    /// A handle for tasks.
    #[must_use]
    pub fn spawner(&self) -> Spawner {
        Spawner(self.shared.clone())
    }
    /// How many polls there have been: the measure of work in traces and benchmarks.
    #[must_use]
    pub const fn polls(&self) -> u64 {
        self.polls
    }
    /// Moves the clock to `now`, fires due timers, and polls until nothing is ready.
    /// Returns the earliest timer that remains.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run(&mut self, now: Instant) -> Option<Instant> {
        self.shared.now_nanos.store(now.as_nanos(), Ordering::Relaxed);
        self.fire_due(now);
        loop {
            self.admit_spawned();
            let Some(id) = self.next_ready(now) else { break };
            self.poll(id);
        }
        let timers = self.shared.timers.lock();
        timers.by_deadline.first_key_value().map(|((at, _), _)| *at)
    }

    fn fire_due(&self, now: Instant) {
        loop {
            // The lock is not held while waking: a waker may make a timer.
            let due = {
                let mut timers = self.shared.timers.lock();
                match timers.by_deadline.first_entry() {
                    Some(e) if e.key().0 <= now => e.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }

    fn admit_spawned(&mut self) {
        loop {
            let batch = core::mem::take(&mut *self.shared.spawned.lock());
            if batch.is_empty() {
                return;
            }
            for task in batch {
                let id = self.free.pop().unwrap_or(self.slots.len());
                let waker = Arc::new(TaskWaker {
                    id,
                    queued: AtomicBool::new(true),
                    shared: Arc::downgrade(&self.shared),
                });
                let slot = Slot { waker, task: Some(task) };
                if id == self.slots.len() {
                    self.slots.push(slot);
                } else {
                    self.slots[id] = slot;
                }
                self.shared.ready.lock().push_back(id);
            }
        }
    }

    fn next_ready(&self, now: Instant) -> Option<usize> {
        let mut ready = self.shared.ready.lock();
        match self.pick {
            Pick::Drawn(seed) if ready.len() > 1 => {
                let i = seed.below(ready.len() as u64, PICK, 0, now, self.polls);
                ready.swap_remove_front(usize::try_from(i).unwrap_or(0))
            }
            _ => ready.pop_front(),
        }
    }

    fn poll(&mut self, id: usize) {
        let slot = &mut self.slots[id];
        slot.waker.queued.store(false, Ordering::Release);
        // A stale wake of a finished task, or of the slot's last tenant.
        let Some(mut task) = slot.task.take() else { return };
        let waker = Waker::from(slot.waker.clone());
        self.polls += 1;
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.slots[id].task = Some(task),
            Poll::Ready(()) => self.free.push(id),
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks may hold spawners, and a drop may spawn: end them while the queue is open,
        // then forget what they left.
        self.slots.clear();
        let left = core::mem::take(&mut *self.shared.spawned.lock());
        drop(left);
        self.shared.timers.lock().by_deadline.clear();
    }
}

impl Spawner {
    /// Starts a task; it is first polled by the running or the next [`Executor::run`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawned.lock().push(Box::pin(task));
    }
    /// The time the executor was last told.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now_nanos.load(Ordering::Relaxed))
    }
    /// Completes when the clock reaches `at`.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { spawner: self.clone(), at, key: None }
    }
}

/// A wait for a point in time. Dropping it disarms its timer.
#[derive(Debug)]
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep {
    spawner: Spawner,
    at: Instant,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.spawner.now() >= this.at {
            this.disarm();
            return Poll::Ready(());
        }
        let mut timers = this.spawner.0.timers.lock();
        let key = *this.key.get_or_insert_with(|| {
            timers.made += 1;
            timers.made
        });
        timers
            .by_deadline
            .entry((this.at, key))
            .and_modify(|w| w.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Sleep {
    fn disarm(&mut self) {
        if let Some(key) = self.key.take() {
            // Dropping a waker may free a task, whose drop may come back here: not under the lock.
            let waker = self.spawner.0.timers.lock().by_deadline.remove(&(self.at, key));
            drop(waker);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.disarm();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use std::vec;

    fn log() -> (Arc<Mutex<Vec<u32>>>, impl Fn(u32) + Clone) {
        let log = Arc::new(Mutex::new(Vec::new()));
        let l = log.clone();
        (log, move |n| l.lock().push(n))
    }

    #[test]
    fn tasks_run_in_order_and_timers_by_deadline() {
        let (log, say) = log();
        let mut ex = Executor::new(Pick::Fifo);
        let sp = ex.spawner();
        for (n, ms) in [(1, 30), (2, 10), (3, 20)] {
            let (sp, say) = (sp.clone(), say.clone());
            ex.spawner().spawn(async move {
                say(n);
                sp.sleep_until(Instant::ZERO + Duration::millis(ms)).await;
                say(n * 10);
            });
        }
        assert_eq!(ex.run(Instant::ZERO), Some(Instant::ZERO + Duration::millis(10)));
        assert_eq!(*log.lock(), vec![1, 2, 3]);
        assert_eq!(ex.run(Instant::ZERO + Duration::millis(25)), Some(Instant::ZERO + Duration::millis(30)));
        assert_eq!(*log.lock(), vec![1, 2, 3, 20, 30]);
        assert_eq!(ex.run(Instant::ZERO + Duration::millis(30)), None);
    }

    #[test]
    fn a_dropped_sleep_disarms_its_timer() {
        let mut ex = Executor::new(Pick::Fifo);
        let sp = ex.spawner();
        ex.spawner().spawn(async move {
            let mut sleep = Box::pin(sp.sleep_until(Instant::FAR));
            core::future::poll_fn(|cx| {
                assert!(sleep.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        });
        assert_eq!(ex.run(Instant::ZERO), None);
    }

    #[test]
    fn a_drawn_order_is_the_same_for_a_seed_and_differs_between_seeds() {
        let order = |seed| {
            let (log, say) = log();
            let mut ex = Executor::new(Pick::Drawn(Seed(seed)));
            for n in 0..12 {
                let say = say.clone();
                ex.spawner().spawn(async move { say(n) });
            }
            ex.run(Instant::ZERO);
            std::mem::take(&mut *log.lock())
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }

    #[test]
    fn dropping_the_executor_drops_tasks_that_hold_it() {
        let alive = Arc::new(());
        let mut ex = Executor::new(Pick::Fifo);
        let (sp, held) = (ex.spawner(), alive.clone());
        ex.spawner().spawn(async move {
            sp.sleep_until(Instant::FAR).await;
            drop(held);
        });
        ex.run(Instant::ZERO);
        drop(ex);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
