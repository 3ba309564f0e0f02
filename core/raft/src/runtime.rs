//! openraft's runtime on the node's own executor.
//!
//! **Promise.** Same seed, same inputs: the same polls in the same order. No thread, no clock and
//! no randomness but what the host enters.
//!
//! **Model.** openraft asks its runtime through static functions, so the world of the node that
//! runs is kept in a thread-local slot: [`Context::enter`] fills it for the length of a call, and
//! a call outside of it is a bug of ours and panics. Many nodes share a thread in simulation;
//! each enters its own context.
//!
//! **Invariants.**
//! 1. Channels wake in the order of waiting; nothing is drawn (tokio's `watch` wakes through
//!    shards drawn by the operating system: four runs, four traces).
//! 2. No lock is held while foreign code runs: values and wakers are dropped and woken outside.
//! 3. Everything is `Send`, and never contended on one thread.
//!
//! **Rejected.** openraft's feature `single-threaded`: Cargo would unify it over the workspace.

mod mpsc;
mod mutex;
mod oneshot;
mod watch;

pub use mpsc::{Channel, Receiver, Sender, WeakSender};
pub use mutex::{Guard, Lock};
pub use oneshot::{Dropped, OneReceiver, OneSender, Oneshot};
pub use watch::{Value, Watch, WatchReceiver, WatchSender};

pub(crate) use oneshot::channel as one;

use dwcp_env::exec::{Executor, Pick, Sleep, Spawner};
use dwcp_env::{Duration, Instant, Purpose, Seed};
use openraft::AsyncRuntime;
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as Poller, Poll, Wake, Waker};

const DRAWS: Purpose = Purpose::named("raft.draws");

thread_local! {
    static CURRENT: RefCell<Option<Arc<Context>>> = const { RefCell::new(None) };
}

/// The world of one node incarnation, as openraft's static functions find it.
#[derive(Debug)]
pub struct Context {
    spawner: Spawner,
    seed: Seed,
    drawn: AtomicU64,
}

impl Context {
    /// A world on `spawner`'s executor, with randomness from `seed`.
    #[must_use]
    pub fn new(spawner: Spawner, seed: Seed) -> Arc<Self> {
        Arc::new(Self { spawner, seed, drawn: AtomicU64::new(0) })
    }

    /// Runs `f` inside this world. Nests; the outer world is back afterwards, also after a panic.
    pub fn enter<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        struct Back(Option<Arc<Context>>);
        impl Drop for Back {
            fn drop(&mut self) {
                let outer = self.0.take();
                // At the end of a thread the slot may be gone; then nobody asks any more.
                let _gone = CURRENT.try_with(|c| *c.borrow_mut() = outer);
            }
        }
        let _back = Back(CURRENT.with(|c| c.borrow_mut().replace(self.clone())));
        f()
    }

    /// The next number that differs between incarnations and places of use.
    pub(crate) fn draw(&self) -> u64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        self.seed.draw(DRAWS, n, Instant::ZERO, 0)
    }
}

fn current<T>(f: impl FnOnce(&Context) -> T) -> T {
    CURRENT.with(|c| f(c.borrow().as_ref().expect("openraft was called outside of its host")))
}

/// A point on the node's monotonic clock, as openraft wants it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(pub Instant);

type StdDuration = std::time::Duration;

impl openraft::Instant for Moment {
    fn now() -> Self {
        Self(current(|c| c.spawner.now()))
    }
}
impl Add<StdDuration> for Moment {
    type Output = Self;
    fn add(self, d: StdDuration) -> Self {
        Self(self.0 + Duration::from_std(d))
    }
}
impl AddAssign<StdDuration> for Moment {
    fn add_assign(&mut self, d: StdDuration) {
        *self = *self + d;
    }
}
impl Sub<StdDuration> for Moment {
    type Output = Self;
    fn sub(self, d: StdDuration) -> Self {
        Self(self.0 - Duration::from_std(d))
    }
}
impl SubAssign<StdDuration> for Moment {
    fn sub_assign(&mut self, d: StdDuration) {
        *self = *self - d;
    }
}
impl Sub for Moment {
    type Output = StdDuration;
    fn sub(self, earlier: Self) -> StdDuration {
        self.0.since(earlier.0).to_std()
    }
}

/// openraft's randomness: SplitMix64 from a draw of the node's seed. Not for secrets.
#[derive(Debug)]
pub struct Draws(u64);

impl rand::TryRng for Draws {
    type Error = std::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|n| (n >> 32) as u32)
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(z ^ (z >> 31))
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in out.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}

/// The end of a task, to be waited for.
#[derive(Debug)]
pub struct Join<T>(OneReceiver<T>);

impl<T> Future for Join<T> {
    type Output = Result<T, Dropped>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Too late.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

/// A future with a deadline. The future is asked first: one that is ready in time is never late.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timeout")
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(value) = this.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(&mut this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// The node's executor as openraft's runtime. A value of it exists only in tests
/// ([`AsyncRuntime::new`]); a node enters its [`Context`] instead.
#[derive(Debug)]
pub struct Runtime {
    executor: Executor,
    context: Arc<Context>,
}

impl AsyncRuntime for Runtime {
    type JoinError = Dropped;
    type JoinHandle<T: Send + 'static> = Join<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = Timeout<T>;
    type ThreadLocalRng = Draws;
    type Mpsc = Channel;
    type Watch = Watch;
    type Oneshot = Oneshot;
    type Mutex<T: Send + 'static> = Lock<T>;

    fn spawn<T>(future: T) -> Join<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let (done, end) = oneshot::channel();
        current(|c| {
            c.spawner.spawn(async move {
                // Nobody need wait for it.
                let _unheard = done.give(future.await);
            });
        });
        Join(end)
    }
    fn sleep(duration: StdDuration) -> Sleep {
        current(|c| c.spawner.sleep_until(c.spawner.now() + Duration::from_std(duration)))
    }
    fn sleep_until(deadline: Moment) -> Sleep {
        current(|c| c.spawner.sleep_until(deadline.0))
    }
    fn timeout<R, F: Future<Output = R> + Send>(duration: StdDuration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }
    fn timeout_at<R, F: Future<Output = R> + Send>(deadline: Moment, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
    }
    /// A task that panics takes the node with it, so no join ever sees one.
    fn is_panic(_: &Dropped) -> bool {
        false
    }
    fn thread_rng() -> Draws {
        Draws(current(Context::draw))
    }
    fn new(_threads: usize) -> Self {
        let executor = Executor::new(Pick::Fifo);
        let context = Context::new(executor.spawner(), Seed::default());
        Self { executor, context }
    }
    /// Runs on a virtual clock that jumps to the next timer whenever nothing is ready.
    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut future = Box::pin(future);
        let (context, executor) = (self.context.clone(), &mut self.executor);
        context.enter(|| {
            let mut now = context.spawner.now();
            loop {
                if flag.0.swap(false, Ordering::Relaxed)
                    && let Poll::Ready(value) = future.as_mut().poll(&mut Poller::from_waker(&waker))
                {
                    return value;
                }
                let next = executor.run(now);
                if !flag.0.load(Ordering::Relaxed) {
                    now = next.expect("the future waits for what no task and no timer will bring");
                }
            }
        })
    }
    /// At once and here: a node has no threads, and what would block is a job.
    async fn spawn_blocking<F, T>(f: F) -> Result<T, std::io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(f())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_accepts_the_runtime() {
        openraft::testing::runtime::Suite::<Runtime>::test_all();
    }

    #[test]
    fn contexts_nest() {
        let make = |seed| Context::new(Executor::new(Pick::Fifo).spawner(), Seed(seed));
        let (a, b) = (make(1), make(2));
        let seen = a.enter(|| {
            b.enter(|| current(|c| assert_eq!(c.seed, Seed(2))));
            current(|c| c.seed)
        });
        assert_eq!(seen, Seed(1));
    }
}
