//! A value that can be watched: only the newest counts.

use openraft::async_runtime::watch as traits;
use spin::Mutex;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Poll, Waker};

struct Shared<T> {
    /// A lock of the standard library: one thread may hold several borrows at once.
    value: RwLock<T>,
    state: Mutex<State>,
}

struct State {
    /// Rises with every change.
    version: u64,
    senders: usize,
    receivers: usize,
    named: u64,
    /// By receiver, in the order of waiting; one each.
    waiting: Vec<(u64, Waker)>,
}

/// Changes the value.
pub struct WatchSender<T>(Arc<Shared<T>>);

/// Sees the value and waits for changes.
pub struct WatchReceiver<T> {
    shared: Arc<Shared<T>>,
    name: u64,
    seen: u64,
}

/// The value, borrowed. Keep it short: a change waits for it.
pub struct Value<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Value<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// openraft's name for the pair.
#[derive(Debug)]
pub struct Watch;

impl traits::Watch for Watch {
    type Sender<T: Send + Sync> = WatchSender<T>;
    type Receiver<T: Send + Sync> = WatchReceiver<T>;
    type Ref<'a, T: Send + 'a> = Value<'a, T>;
    fn channel<T: Send + Sync>(init: T) -> (WatchSender<T>, WatchReceiver<T>) {
        let state = State { version: 0, senders: 1, receivers: 1, named: 1, waiting: Vec::new() };
        let shared = Arc::new(Shared { value: RwLock::new(init), state: Mutex::new(state) });
        (WatchSender(shared.clone()), WatchReceiver { shared, name: 0, seen: 0 })
    }
}

impl<T> Shared<T> {
    fn borrow(&self) -> Value<'_, T> {
        Value(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
    fn announce(&self) {
        let woken = {
            let mut state = self.state.lock();
            state.version += 1;
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

impl<T: Send + Sync> traits::WatchSender<Watch, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), traits::SendError<T>> {
        if self.0.state.lock().receivers == 0 {
            return Err(traits::SendError(value));
        }
        let old = {
            let mut held = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *held, value)
        };
        self.0.announce();
        drop(old);
        Ok(())
    }
    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        let modified = modify(&mut self.0.value.write().unwrap_or_else(PoisonError::into_inner));
        if modified {
            self.0.announce();
        }
        modified
    }
    fn borrow_watched(&self) -> Value<'_, T> {
        self.0.borrow()
    }
    fn subscribe(&self) -> WatchReceiver<T> {
        let mut state = self.0.state.lock();
        state.receivers += 1;
        state.named += 1;
        WatchReceiver { name: state.named, seen: state.version, shared: self.0.clone() }
    }
}

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.0.state.lock();
            state.senders -= 1;
            if state.senders > 0 {
                return;
            }
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

impl<T: Send + Sync> traits::WatchReceiver<Watch, T> for WatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), traits::RecvError> {
        poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.version != self.seen {
                self.seen = state.version;
                return Poll::Ready(Ok(()));
            }
            if state.senders == 0 {
                return Poll::Ready(Err(traits::RecvError(())));
            }
            match state.waiting.iter_mut().find(|(name, _)| *name == self.name) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => state.waiting.push((self.name, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await
    }
    fn borrow_watched(&self) -> Value<'_, T> {
        self.shared.borrow()
    }
    fn borrow_and_update(&mut self) -> Value<'_, T> {
        self.seen = self.shared.state.lock().version;
        self.shared.borrow()
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        let mut state = self.shared.state.lock();
        state.receivers += 1;
        state.named += 1;
        Self { name: state.named, seen: self.seen, shared: self.shared.clone() }
    }
}

impl<T> Drop for WatchReceiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.shared.state.lock();
            state.receivers -= 1;
            let at = state.waiting.iter().position(|(name, _)| *name == self.name);
            at.map(|i| state.waiting.remove(i))
        };
        drop(left);
    }
}

impl<T> std::fmt::Debug for WatchSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchSender")
    }
}
impl<T> std::fmt::Debug for WatchReceiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WatchReceiver")
    }
}
impl<T> std::fmt::Debug for Value<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value")
    }
}
