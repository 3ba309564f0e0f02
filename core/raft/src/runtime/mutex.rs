//! A lock that is waited for without blocking.

use openraft::async_runtime::mutex as traits;
use spin::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::task::{Poll, Waker};

/// The lock.
pub struct Lock<T> {
    value: Mutex<T>,
    waiting: Mutex<VecDeque<Waker>>,
}

/// Holds the lock; whoever waits is woken when it goes.
pub struct Guard<'a, T> {
    /// Always there, until the drop.
    held: Option<MutexGuard<'a, T>>,
    waiting: &'a Mutex<VecDeque<Waker>>,
}

impl<T: Send + 'static> traits::Mutex<T> for Lock<T> {
    type Guard<'a> = Guard<'a, T>;
    fn new(value: T) -> Self {
        Self { value: Mutex::new(value), waiting: Mutex::default() }
    }
    fn lock(&self) -> impl Future<Output = Guard<'_, T>> + Send {
        poll_fn(|cx| {
            if let Some(held) = self.value.try_lock() {
                return Poll::Ready(Guard { held: Some(held), waiting: &self.waiting });
            }
            self.waiting.lock().push_back(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("a live guard holds its lock")
    }
}
impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("a live guard holds its lock")
    }
}
impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.held = None;
        // All of them: one that was cancelled must not eat another's turn.
        let woken = std::mem::take(&mut *self.waiting.lock());
        woken.into_iter().for_each(Waker::wake);
    }
}
impl<T> std::fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}
impl<T> std::fmt::Debug for Guard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}
