//! A channel for one value.

use openraft::async_runtime::oneshot as traits;
use spin::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The other side is gone without a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the sender was dropped without a value")]
pub struct Dropped;

struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// Gives the value.
pub struct OneSender<T>(Arc<Mutex<State<T>>>);

/// Waits for the value.
pub struct OneReceiver<T>(Arc<Mutex<State<T>>>);

impl<T> std::fmt::Debug for OneReceiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneReceiver")
    }
}
impl<T> std::fmt::Debug for OneSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OneSender")
    }
}

pub(crate) fn channel<T>() -> (OneSender<T>, OneReceiver<T>) {
    let state =
        Arc::new(Mutex::new(State { value: None, waker: None, sender_gone: false, receiver_gone: false }));
    (OneSender(state.clone()), OneReceiver(state))
}

impl<T> OneSender<T> {
    /// Gives the value; it comes back if nobody waits any more.
    pub(crate) fn give(self, value: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.receiver_gone {
            return Err(value);
        }
        state.value = Some(value);
        // The waker is woken when the sender is dropped, right after this.
        Ok(())
    }
}

impl<T> Drop for OneSender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.sender_gone = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for OneReceiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.receiver_gone = true;
            (state.value.take(), state.waker.take())
        };
        drop(left);
    }
}

impl<T> Future for OneReceiver<T> {
    type Output = Result<T, Dropped>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.lock();
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if state.sender_gone {
            return Poll::Ready(Err(Dropped));
        }
        match &mut state.waker {
            Some(w) => w.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// openraft's name for the pair.
#[derive(Debug)]
pub struct Oneshot;

impl traits::Oneshot for Oneshot {
    type Sender<T: Send> = OneSender<T>;
    type Receiver<T: Send> = OneReceiver<T>;
    type ReceiverError = Dropped;
    fn channel<T: Send>() -> (OneSender<T>, OneReceiver<T>) {
        channel()
    }
}

impl<T: Send> traits::OneshotSender<T> for OneSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.give(value)
    }
}
