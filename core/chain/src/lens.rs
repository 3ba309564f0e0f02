//! The chain's state machine as the Raft engine of one epoch sees it.
//!
//! **Promise.** The engine counts from 1 in an epoch of its own; the state counts through all epochs. What the engine
//! applies behind the seal of its epoch changes nothing: by then the state may be in the next one's hands.

use crate::record::{ChainRecord, Tail};
use crate::spec::Spec;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Position, StateMachine, Work};
use dwcp_env::JobResult;
use spin::Mutex;
use std::sync::Arc;

/// The state through one epoch.
pub(crate) struct Lens<SM: StateMachine> {
    inner: Arc<Mutex<SM>>,
    tail: Tail,
    /// Epoch, base and past of this lens; its `inner` is not used.
    here: ChainRecord,
    /// The record this epoch's engine saw last: it must find what it wrote.
    record: Bytes,
    /// What the checkpoint under way holds.
    taken: Option<Checkpointed>,
}

impl<SM: StateMachine> Lens<SM> {
    pub(crate) fn new(inner: Arc<Mutex<SM>>, tail: Tail) -> Self {
        let here = tail.get();
        let record = here.inner.clone();
        Self { inner, tail, here, record, taken: None }
    }
    fn is_current(&self) -> bool {
        self.tail.epoch() == self.here.spec.epoch
    }
    fn wrap(&self, inner: Bytes) -> ChainRecord {
        ChainRecord { inner, ..self.here.clone() }
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
            return (None, self.record.clone());
        }
        let (at, _) = self.inner.lock().applied();
        (at.and_then(|at| self.here.inner(at)), self.record.clone())
    }
    fn apply(&mut self, at: Position, command: &Bytes) -> SM::Response {
        let mut machine = self.inner.lock();
        if self.is_current() { machine.apply(self.here.outer(at), command) } else { machine.blank_response() }
    }
    fn note(&mut self, at: Position, engine_record: Option<Bytes>) {
        if !self.is_current() {
            return;
        }
        let at = self.here.outer(at);
        let Some(record) = engine_record else { return self.inner.lock().note(at, None) };
        let next = dwcp_raft::seal_of(&record).map(|seal| Spec::decode(&seal));
        let wrapped = match next {
            // Who proposes a seal has checked it, and no member of a Raft epoch lies.
            Some(next) => {
                let next = next.expect("a decided seal names an epoch that can be");
                self.wrap(Bytes::new()).next(next, at.index)
            }
            None => self.wrap(record.clone()),
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
        // Before the epoch's first entry there is nothing that its log could be shortened by.
        let (at, engine_record) = self.applied();
        self.taken = Some(Checkpointed { at: at?, engine_record });
        self.inner.lock().checkpoint()
    }
    fn checkpoint_done(&mut self, result: JobResult) -> Result<Checkpointed, String> {
        let done = self.inner.lock().checkpoint_done(result)?;
        // The state may be a peer's by now, in a later epoch: what was taken is in it all the same.
        let taken = self.taken.take();
        self.unwrap(done).or(taken).ok_or_else(|| "a checkpoint that was not begun".to_string())
    }
    fn current_checkpoint(&self) -> Option<Checkpointed> {
        let current = self.inner.lock().current_checkpoint()?;
        self.unwrap(current)
    }
    fn read_piece(&self, at: Position, cursor: Bytes) -> Option<Work> {
        self.inner.lock().read_piece(self.here.outer(at), cursor)
    }

    fn begin_install(&mut self, incoming: Checkpointed) {
        let outer = self.outer(incoming);
        self.inner.lock().begin_install(outer);
    }
    fn install_piece(&mut self, piece: Bytes) -> Work {
        self.inner.lock().install_piece(piece)
    }
    fn finish_install(&mut self) -> Work {
        self.inner.lock().finish_install()
    }
    fn install_done(&mut self, result: JobResult) -> Result<(), String> {
        let mut machine = self.inner.lock();
        machine.install_done(result)?;
        let (_, record) = machine.applied();
        drop(machine);
        let record = ChainRecord::decode(&record)?.ok_or("a checkpoint that knows no chain")?;
        self.record = record.inner.clone();
        self.tail.set(record);
        Ok(())
    }
}
