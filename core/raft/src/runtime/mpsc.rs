//! A bounded channel with many senders and one receiver.

use openraft::async_runtime::mpsc as traits;
use spin::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
    /// Senders that wait for room, in order.
    blocked: VecDeque<Waker>,
}

type Shared<T> = Arc<Mutex<State<T>>>;

/// Sends; the channel stays open as long as one lives.
pub struct Sender<T>(Shared<T>);
/// Receives.
pub struct Receiver<T>(Shared<T>);
/// A sender that does not keep the channel open.
pub struct WeakSender<T>(Shared<T>);

/// openraft's name for the three.
#[derive(Debug)]
pub struct Channel;

impl traits::Mpsc for Channel {
    type Sender<T: Send> = Sender<T>;
    type Receiver<T: Send> = Receiver<T>;
    type WeakSender<T: Send> = WeakSender<T>;
    fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Mutex::new(State {
            queue: VecDeque::new(),
            capacity: capacity.max(1),
            senders: 1,
            receiver_gone: false,
            receiver: None,
            blocked: VecDeque::new(),
        }));
        (Sender(shared.clone()), Receiver(shared))
    }
}

impl<T: Send> traits::MpscSender<Channel, T> for Sender<T> {
    fn send(&self, item: T) -> impl Future<Output = Result<(), traits::SendError<T>>> + Send {
        let mut item = Some(item);
        let shared = self.0.clone();
        poll_fn(move |cx| {
            let mut state = shared.lock();
            let Some(value) = item.take() else { return Poll::Ready(Ok(())) };
            if state.receiver_gone {
                return Poll::Ready(Err(traits::SendError(value)));
            }
            if state.queue.len() >= state.capacity {
                item = Some(value);
                state.blocked.push_back(cx.waker().clone());
                return Poll::Pending;
            }
            state.queue.push_back(value);
            let waker = state.receiver.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            Poll::Ready(Ok(()))
        })
    }
    fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.clone())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.senders -= 1;
            if state.senders > 0 {
                return;
            }
            state.receiver.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T: Send> traits::MpscWeakSender<Channel, T> for WeakSender<T> {
    fn upgrade(&self) -> Option<Sender<T>> {
        let mut state = self.0.lock();
        if state.senders == 0 {
            return None;
        }
        state.senders += 1;
        drop(state);
        Some(Sender(self.0.clone()))
    }
}

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Receiver<T> {
    fn take(&self) -> Result<T, traits::TryRecvError> {
        let (item, blocked) = {
            let mut state = self.0.lock();
            match state.queue.pop_front() {
                Some(item) if state.blocked.is_empty() => return Ok(item),
                // All of them: one that was cancelled must not eat another's turn.
                Some(item) => (item, std::mem::take(&mut state.blocked)),
                None if state.senders == 0 => return Err(traits::TryRecvError::Disconnected),
                None => return Err(traits::TryRecvError::Empty),
            }
        };
        blocked.into_iter().for_each(Waker::wake);
        Ok(item)
    }
}

impl<T: Send> traits::MpscReceiver<T> for Receiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + Send {
        poll_fn(|cx| match self.take() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(traits::TryRecvError::Disconnected) => Poll::Ready(None),
            Err(traits::TryRecvError::Empty) => {
                let mut state = self.0.lock();
                match &mut state.receiver {
                    Some(w) => w.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        })
    }
    fn try_recv(&mut self) -> Result<T, traits::TryRecvError> {
        self.take()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let (items, blocked) = {
            let mut state = self.0.lock();
            state.receiver_gone = true;
            state.receiver = None;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.blocked))
        };
        drop(items);
        blocked.into_iter().for_each(Waker::wake);
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}
impl<T> std::fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}
impl<T> std::fmt::Debug for WeakSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WeakSender")
    }
}
