//! openraft's state machine: commands and checkpoints passed on to ours.
//!
//! **Invariants.**
//! 1. Entries are applied in order, once, and nothing behind a seal takes effect.
//! 2. The engine's record (members, seal) changes together with the state, by `note`.
//! 3. A checkpoint or an installed one is reported to openraft only after its job has ended
//!    and the state machine said that it is durable; then the log before it may go.

use crate::config::bug;
use crate::shared::Shared;
use crate::types::{
    Answer, EngineRecord, LogId, Snapshot, SnapshotMeta, StoredMembership, Types, kind, log_id, position,
};
use dwcp_consensus::{Checkpointed, Position, StateMachine, Work};
use dwcp_env::Event;
use futures_core::Stream;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use spin::Mutex;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

/// What openraft holds of a snapshot: where it is, not what is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Carried {
    /// A durable checkpoint here.
    Stored(Checkpointed),
    /// Received from a peer, all pieces taken, not yet swapped in.
    Received,
}

/// The state machine as openraft sees it.
pub(crate) struct Machine<SM: StateMachine> {
    shared: Arc<Shared<SM>>,
    record: EngineRecord,
}

impl<SM: StateMachine> Machine<SM> {
    pub(crate) fn new(shared: Arc<Shared<SM>>) -> Result<Self, &'static str> {
        let (_, record) = shared.machine.lock().applied();
        Ok(Self { record: EngineRecord::decode(&record)?, shared })
    }

    fn note(&self, at: Position, changed: bool) {
        let record = changed.then(|| self.record.encode());
        self.shared.machine.lock().note(at, record);
    }

    fn apply_one(
        &mut self,
        at: Position,
        payload: EntryPayload<crate::types::Command, u64, dwcp_consensus::Member>,
    ) -> Answer<SM::Response> {
        match payload {
            EntryPayload::Normal(command)
                if self.record.sealed.is_none() || bug!(self.shared.config, seal_ignored) =>
            {
                if command.kind() == kind::SEAL {
                    self.record.sealed = Some(command.body());
                    self.note(at, true);
                    return Answer::Blank;
                }
                Answer::Applied(self.shared.machine.lock().apply(at, &command.body()))
            }
            EntryPayload::Normal(_) => {
                self.shared.probe.reachable("raft.void_entry");
                self.note(at, false);
                Answer::Void
            }
            EntryPayload::Blank => {
                self.note(at, false);
                Answer::Blank
            }
            EntryPayload::Membership(_) if bug!(self.shared.config, members_forgotten) && at.index > 1 => {
                self.note(at, false);
                Answer::Blank
            }
            // Those of the next epoch came with its seal.
            EntryPayload::Membership(_) if self.record.sealed.is_some() => {
                self.note(at, false);
                Answer::Void
            }
            EntryPayload::Membership(m) => {
                self.record.set_members(at, &m);
                self.note(at, true);
                Answer::Blank
            }
        }
    }

    /// Swaps in what was received.
    pub(crate) async fn install(shared: &Shared<SM>) -> io::Result<EngineRecord> {
        let work = shared.machine.lock().finish_install();
        let result = shared.job(work).await;
        let mut machine = shared.machine.lock();
        machine.install_done(result).map_err(io::Error::other)?;
        let (at, record) = machine.applied();
        drop(machine);
        let index = at.map_or(0, |at| at.index);
        shared.probe.reachable("raft.snapshot_installed");
        shared.probe.event(&Event::SnapshotInstalled { group: shared.group, index });
        EngineRecord::decode(&record).map_err(io::Error::other)
    }
}

/// A checkpoint as openraft's snapshot.
pub(crate) fn snapshot(
    checkpoint: &Checkpointed,
    carried: Carried,
) -> Result<Snapshot<Carried>, &'static str> {
    let record = EngineRecord::decode(&checkpoint.engine_record)?;
    let meta = SnapshotMeta { last_log_id: log_id(checkpoint.at), last_membership: record.stored() };
    Ok(Snapshot { meta, snapshot: carried })
}

fn stored(checkpoint: Checkpointed) -> io::Result<Snapshot<Carried>> {
    snapshot(&checkpoint, Carried::Stored(checkpoint.clone())).map_err(io::Error::other)
}

impl<SM: StateMachine> RaftStateMachine<Types<SM::Response>> for Machine<SM> {
    type SnapshotData = Carried;
    type SnapshotBuilder = Builder<SM>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let (at, record) = self.shared.machine.lock().applied();
        let record = EngineRecord::decode(&record).map_err(io::Error::other)?;
        Ok((at.and_then(log_id), record.stored()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<SM::Response>>>> + Unpin + OptionalSend,
    {
        while let Some(next) = poll_fn(|cx| Pin::new(&mut entries).poll_next(cx)).await {
            let (entry, responder) = next?;
            let answer = self.apply_one(position(Some(&entry.log_id)), entry.payload);
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder<SM>> {
        // Taken between two entries: the checkpoint holds what is applied now, and no more.
        let mut machine = self.shared.machine.lock();
        let work = machine.checkpoint();
        if work.is_none() && (!force || machine.current_checkpoint().is_none()) {
            drop(machine);
            answer_askers(&self.shared);
            return None;
        }
        drop(machine);
        Some(Builder { shared: self.shared.clone(), work: Mutex::new(work) })
    }

    async fn get_snapshot_builder(&mut self) -> Builder<SM> {
        let work = self.shared.machine.lock().checkpoint();
        Builder { shared: self.shared.clone(), work: Mutex::new(work) }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, data: Carried) -> io::Result<()> {
        match data {
            Carried::Received => {
                self.record = Self::install(&self.shared).await?;
                Ok(())
            }
            // At boot openraft offers our own checkpoint if it is ahead of the state: it never is.
            Carried::Stored(at) => {
                Err(io::Error::other(format!("the state is behind its checkpoint {at:?}")))
            }
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Carried>>> {
        let checkpoint = self.shared.machine.lock().current_checkpoint();
        checkpoint.map(stored).transpose()
    }
}

/// Answers those who asked for a snapshot.
pub(crate) fn answer_askers<SM: StateMachine>(shared: &Shared<SM>) {
    let asked = std::mem::take(&mut *shared.snapshot_asked.lock());
    for token in asked {
        shared.done(token, Ok(()));
    }
}

/// Waits for a checkpoint to be written.
pub(crate) struct Builder<SM: StateMachine> {
    shared: Arc<Shared<SM>>,
    /// In a lock because openraft wants a builder to be `Sync`.
    work: Mutex<Option<Work>>,
}

impl<SM: StateMachine> RaftSnapshotBuilder<Types<SM::Response>> for Builder<SM> {
    type SnapshotData = Carried;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot<Carried>> {
        let work = self.work.lock().take();
        let checkpoint = match work {
            Some(work) => {
                let result = self.shared.job(work).await;
                self.shared.machine.lock().checkpoint_done(result).map_err(io::Error::other)?
            }
            None => {
                let current = self.shared.machine.lock().current_checkpoint();
                current.ok_or_else(|| io::Error::other("nothing is applied yet"))?
            }
        };
        let (group, index) = (self.shared.group, checkpoint.at.index);
        self.shared.probe.event(&Event::SnapshotTaken { group, index });
        answer_askers(&self.shared);
        stored(checkpoint)
    }
}
