//! The chain's state machine as the Raft engine of one epoch sees it.
//!
//! **Promise.** The engine counts from 1 in an epoch of its own; the state counts through all epochs. What the engine
//! applies behind the seal of its epoch changes nothing: by then the state may be in the next one's hands.
//!
//! **Checkpoints that come in.** The state has one place for them. The chain, whose checkpoints are of later epochs, takes it
//! from a Raft that has not begun to swap; that one's sender begins anew. Where the state is of a later epoch already, what
//! this epoch's Raft is sent is in it: it is taken without being looked at.

use crate::record::{ChainRecord, Tail};
use crate::spec::Spec;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Position, Stage, StateMachine, Work};
use dwcp_env::{Duration, JobResult};
use spin::Mutex;
use std::sync::Arc;

/// The state through one epoch.
pub(crate) struct Lens<SM: StateMachine> {
    inner: Arc<Mutex<SM>>,
    tail: Tail,
    /// Epoch, base and past of this lens; its `inner` is not used.
    here: Arc<ChainRecord>,
    /// The record this epoch's engine saw last: it must find what it wrote.
    record: Bytes,
    /// What the checkpoint under way holds.
    taken: Option<Checkpointed>,
    /// The last durable checkpoint of this epoch.
    last: Mutex<Option<Checkpointed>>,
    /// What Raft is being sent.
    incoming: Option<Checkpointed>,
    /// Where Raft was told that it is, though the state is of a later epoch.
    claimed: Option<Position>,
    /// The swap under way changes nothing: the state is of a later epoch.
    idle_swap: bool,
}

impl<SM: StateMachine> Lens<SM> {
    pub(crate) fn new(inner: Arc<Mutex<SM>>, tail: Tail) -> Self {
        let here = tail.get();
        let record = here.inner.clone();
        let (last, incoming, claimed) = (Mutex::new(None), None, None);
        let lens = Self { inner, tail, here, record, taken: None, last, incoming, claimed, idle_swap: false };
        let _seen = lens.current_checkpoint();
        lens
    }
    fn epoch(&self) -> u32 {
        self.here.spec.epoch
    }
    fn is_current(&self) -> bool {
        self.tail.is_in(self.epoch())
    }
    fn wrap(&self, inner: Bytes) -> ChainRecord {
        ChainRecord { inner, ..ChainRecord::clone(&self.here) }
    }
    /// A checkpoint as the engine knows it; `None` if it is of another epoch.
    fn unwrap(&self, c: Checkpointed) -> Option<Checkpointed> {
        let record = ChainRecord::decode(&c.engine_record).ok()??;
        if record.spec.epoch != self.here.spec.epoch {
            return None;
        }
        Some(Checkpointed { at: self.here.inner(c.at)?, engine_record: record.inner })
    }
    fn outer(&self, c: Checkpointed) -> Checkpointed {
        Checkpointed { at: self.here.outer(c.at), engine_record: self.wrap(c.engine_record).encode() }
    }
}

impl<SM: StateMachine> StateMachine for Lens<SM> {
    type Response = SM::Response;

    fn applied(&self) -> (Option<Position>, Bytes) {
        if !self.is_current() {
            return (self.claimed, self.record.clone());
        }
        let (at, _) = self.inner.lock().applied();
        (at.and_then(|at| self.here.inner(at)), self.record.clone())
    }
    fn apply(&mut self, at: Position, command: &Bytes) -> SM::Response {
        if self.is_current() {
            return self.inner.lock().apply(self.here.outer(at), command);
        }
        // No seal of its own has Raft met, or it would not have come here: the state is a peer's, and may hold this one.
        self.tail.overtake(self.epoch(), at.index);
        self.inner.lock().blank_response()
    }
    fn note(&mut self, at: Position, engine_record: Option<Bytes>) {
        if !self.is_current() {
            return;
        }
        let at = self.here.outer(at);
        let Some(record) = engine_record else { return self.inner.lock().note(at, None) };
        let wrapped = match dwcp_raft::seal_of(&record) {
            None => self.wrap(record.clone()),
            Some(seal) => match Spec::decode(&seal).filter(|next| next.follows(self.epoch()).is_ok()) {
                Some(next) => self.wrap(Bytes::new()).next(next, at.index),
                // Who proposed it had checked it: it is of a newer version, or its author is broken.
                None => return self.tail.lose(unreadable(self.epoch(), &seal)),
            },
        };
        self.record = record;
        self.inner.lock().note(at, Some(wrapped.encode()));
        self.tail.set(wrapped);
    }
    fn record(&mut self, engine_record: Bytes) {
        if self.is_current() {
            self.record = engine_record.clone();
            let wrapped = self.wrap(engine_record);
            self.inner.lock().record(wrapped.encode());
            self.tail.set(wrapped);
        }
    }
    fn blank_response(&self) -> SM::Response {
        self.inner.lock().blank_response()
    }

    fn checkpoint(&mut self) -> Option<Work> {
        // What belongs with a state of a later epoch only that one's driver knows.
        if !self.is_current() {
            return None;
        }
        // Before the epoch's first entry there is nothing that its log could be shortened by.
        let (at, engine_record) = self.applied();
        self.taken = Some(Checkpointed { at: at?, engine_record });
        self.inner.lock().checkpoint()
    }
    fn checkpoint_done(&mut self, result: JobResult) -> Result<Checkpointed, String> {
        let done = self.inner.lock().checkpoint_done(result)?;
        // The state may be a peer's by now, in a later epoch: what was taken is in it all the same.
        let taken = self.taken.take();
        let done =
            self.unwrap(done).or(taken).ok_or_else(|| "a checkpoint that was not begun".to_string())?;
        *self.last.lock() = Some(done.clone());
        Ok(done)
    }
    fn current_checkpoint(&self) -> Option<Checkpointed> {
        let current = self.inner.lock().current_checkpoint().and_then(|c| self.unwrap(c));
        // Who has shortened its log must have what it was shortened by. Its pieces may be gone with the epoch: then the
        // transfer breaks, and the chain brings the late one a later checkpoint.
        let mut last = self.last.lock();
        if current.is_some() {
            last.clone_from(&current);
        }
        last.clone()
    }
    fn read_piece(&self, at: Position, cursor: Bytes) -> Option<Work> {
        self.inner.lock().read_piece(self.here.outer(at), cursor)
    }

    fn may_install(&mut self, stage: Stage) -> bool {
        self.tail.raft_takes_in(self.epoch(), stage)
    }
    fn install_over(&mut self) {
        self.tail.raft_took_in(self.epoch());
    }
    fn begin_install(&mut self, incoming: Checkpointed) {
        self.incoming = Some(incoming.clone());
        if self.is_current() {
            let outer = self.outer(incoming);
            self.inner.lock().begin_install(outer);
        }
    }
    fn install_piece(&mut self, piece: Bytes) -> Work {
        if self.is_current() { self.inner.lock().install_piece(piece) } else { nothing_to_do() }
    }
    fn finish_install(&mut self) -> Work {
        self.idle_swap = !self.is_current();
        if self.idle_swap { nothing_to_do() } else { self.inner.lock().finish_install() }
    }
    fn install_done(&mut self, result: JobResult) -> Result<(), String> {
        let incoming = self.incoming.take();
        if self.idle_swap {
            let incoming = incoming.ok_or("a swap of what was not begun")?;
            (self.claimed, self.record) = (Some(incoming.at), incoming.engine_record.clone());
            *self.last.lock() = Some(incoming);
            return Ok(());
        }
        let mut machine = self.inner.lock();
        machine.install_done(result)?;
        let (_, record) = machine.applied();
        drop(machine);
        let record = ChainRecord::decode(&record)?.ok_or("a checkpoint that knows no chain")?;
        self.record = record.inner.clone();
        self.tail.set(record);
        let _seen = self.current_checkpoint();
        Ok(())
    }
}

/// A piece that is not needed.
fn nothing_to_do() -> Work {
    let run = Box::new(|| Box::new(Ok::<(), String>(())) as Box<dyn std::any::Any + Send>);
    Work { name: "install_nothing", cost: Duration::ZERO, run }
}

pub(crate) fn unreadable(epoch: u32, seal: &Bytes) -> String {
    format!(
        "epoch {epoch} was ended by a seal of {} bytes that names no epoch which this version can follow: start this node with the \
         version of those that decided it",
        seal.len()
    )
}
