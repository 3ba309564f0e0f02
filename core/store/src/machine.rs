//! The store as a state machine: the log goes in, answers come out.
//!
//! For every entry, in this order: log time moves on; sessions whose time is over go; a stamped
//! command is answered from its session if it was applied before; else it is checked and applied,
//! and its answer remembered; then a bounded part of the compaction's sweep is done.

use crate::api::{Applied, Body, COMMAND_VERSION, Command, Header, Op, OpError, Response, SessionId, Stamp};
use crate::checkpoint::{COST_PER_ROW, Frozen, Segment};
use crate::digest::{Digest, digest};
use crate::error::StoreError;
use crate::install::{Installed, Installer};
use crate::piece;
use crate::session::Admission;
use crate::store::{Serving, Store};
use crate::table::View;
use crate::tape::Taped;
use crate::txn::Change;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Position, StateMachine, Work};
use dwcp_env::disk::FileName;
use dwcp_env::wire::WireError;
use dwcp_env::{Duration, Event, JobResult, Storage};
use std::sync::{Arc, Mutex};

/// Sessions expired in one apply: after a long silence all may be over at once.
const EXPIRE_PER_APPLY: usize = 16;
/// What simulation believes of the work around one piece.
const COST_PER_PIECE: Duration = Duration::micros(500);
/// Checkpoints held for peers: the newest that is proved (or the state an epoch began with), those behind it that are not proved
/// yet, and one more whose proof is on its way to the disk.
const HELD_MAX: usize = dwcp_consensus::pbft::config::INTERVALS_MAX as usize + 2;
/// What simulation believes of reading a received checkpoint back.
const COST_OF_SWAP: Duration = Duration::millis(5);

/// What a checkpoint's job gives back.
struct Flushed {
    /// The file it wrote to.
    file: FileName,
    /// A view of what was written, with its digest if it was asked for.
    result: Result<(Arc<View>, Option<Digest>), StoreError>,
}

impl Store {
    const fn response(&self, body: Body) -> Response {
        Response { header: Header { revision: self.revision() }, body }
    }
    /// Moves log time on, and ends the sessions whose time is over.
    fn pass_time(&mut self, command: &Command) {
        self.data.log_time = self.data.log_time.max(command.time);
        for _ in 0..EXPIRE_PER_APPLY {
            let Some(session) = self.data.sessions.expire_one(self.data.log_time) else { break };
            self.session_ended(session);
        }
    }
    fn session_ended(&self, session: SessionId) {
        self.probe.event(&Event::SessionExpired { group: self.options.group, session: session.0 });
    }
    fn run(&mut self, at: Position, command: &Command) -> Applied {
        self.pass_time(command);
        let Some(stamp) = command.session else { return self.perform(at, &command.op) };
        match self.data.sessions.admit(stamp, self.data.log_time) {
            Admission::Refused(error) => return Err(error),
            Admission::Answered(answer) if !self.options.bugs.double_apply_after_retry() => {
                return self.answered(stamp, answer);
            }
            Admission::Answered(_) | Admission::Apply => {}
        }
        let answer = self.perform(at, &command.op);
        // An outcome that is not known is not one to remember.
        if !matches!(answer, Err(OpError::Stopped { .. })) {
            let next = u64::from(self.options.bugs.answer_of_another());
            self.data.sessions.remember(Stamp { seq: stamp.seq + next, ..stamp }, &answer);
        }
        answer
    }
    fn answered(&self, stamp: Stamp, answer: Applied) -> Applied {
        let (group, session) = (self.options.group, stamp.session.0);
        self.probe.event(&Event::RetryAnswered { group, session });
        answer
    }
    fn perform(&mut self, at: Position, op: &Op) -> Applied {
        op.check()?;
        match op {
            Op::Put(put) => {
                self.check_lease(put)?;
                self.check_kept(put)?;
                self.change(|change| change.put(put))
            }
            Op::DeleteRange(delete) => self.change(|change| change.delete(delete)),
            Op::Txn(txn) => self.change(|change| change.txn(txn)),
            Op::Compact { revision } => self.compact(*revision),
            Op::LeaseGrant { id, ttl_s } => {
                let (id, ttl_s) = self.data.leases.grant(*id, *ttl_s, at.index)?;
                Ok(self.response(Body::LeaseGrant { id, ttl_s }))
            }
            Op::LeaseRevoke { id, expired } => {
                let answer = self.change(|change| change.revoke(*id))?;
                if *expired {
                    self.probe.event(&Event::LeaseExpired { group: self.options.group, lease: *id });
                }
                Ok(answer)
            }
            Op::OpenSession { ttl } => {
                let session = SessionId(at.index);
                let wrong = self.options.bugs.session_life_in_nanos();
                let ttl = if wrong { Duration::nanos(ttl.as_secs()) } else { *ttl };
                if let Some(idlest) = self.data.sessions.open(session, ttl, self.data.log_time) {
                    self.session_ended(idlest);
                }
                Ok(self.response(Body::SessionOpened { session }))
            }
            Op::CloseSession { session } => {
                if !self.data.sessions.close(*session) {
                    return Err(OpError::SessionExpired);
                }
                Ok(self.response(Body::SessionClosed))
            }
            Op::Noop => Ok(self.response(Body::Noop)),
        }
    }
    fn change(&mut self, run: impl FnOnce(&mut Change<'_>) -> Result<Response, OpError>) -> Applied {
        let mut change = Change::of(self);
        let answer = run(&mut change)?;
        change.commit();
        Ok(answer)
    }
    fn compact(&mut self, revision: i64) -> Applied {
        let compact_revision = self.compact_revision();
        if revision <= compact_revision {
            return Err(OpError::Compacted { compact_revision });
        }
        if revision > self.revision() {
            return Err(OpError::FutureRev);
        }
        self.data.compact_revision = revision;
        self.sweep_again();
        Ok(self.response(Body::Compact))
    }
    fn advance(&mut self, at: Position) {
        let before = self.data.applied;
        assert!(before.is_none_or(|b| b.index < at.index), "applied {at:?} after {before:?}");
        self.data.applied = Some(at);
        self.changed = true;
    }
    /// Writes what is new, if anything is.
    fn flush(&mut self, with_digest: bool) -> Option<Work> {
        if self.failure().is_some() || self.records.frozen.is_some() || self.hashing || !self.changed {
            return None;
        }
        let frozen = Arc::new(self.freeze());
        self.changed = false;
        self.records.frozen = Some(frozen.clone());
        let file = self.records.view.file().clone();
        let storage = self.storage.clone();
        let garbage = std::mem::take(&mut self.garbage);
        let durable = !self.options.bugs.checkpoint_not_synced();
        let cost = if with_digest { frozen.cost() + self.cost_of_digest() } else { frozen.cost() };
        Some(work("checkpoint", cost, move || {
            let removed = remove(&*storage, &garbage);
            let view = removed.and_then(|()| frozen.write_to(&file, durable));
            let told = |view: View| {
                let digest = with_digest.then(|| digest(&view)).transpose()?;
                Ok((Arc::new(view), digest))
            };
            Flushed { file: file.name().clone(), result: view.and_then(told) }
        }))
    }
    fn cost_of_digest(&self) -> Duration {
        COST_PER_ROW * self.data.index.len() as u64
    }
    /// Takes everything that is not in the file yet out of the way of new writes.
    fn freeze(&mut self) -> Frozen {
        let mut records = std::mem::take(&mut self.records.fresh);
        if self.options.bugs.checkpoint_claims_too_much() {
            let mut kept = Segment::default();
            if let Some((rev, record)) = records.pop() {
                kept.push(rev, record);
            }
            self.records.fresh = kept;
        }
        let mut dead = std::mem::take(&mut self.dead);
        dead.sort_unstable();
        let leases = self.data.leases.take_dirty();
        let sessions = self.data.sessions.take_dirty();
        Frozen { records, dead, leases, sessions, meta: self.data.meta(&self.options) }
    }
}

/// A job whose result is boxed.
fn work<T: std::any::Any + Send>(
    name: &'static str,
    cost: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Work {
    Work { name, cost, run: Box::new(move || Box::new(run())) }
}

impl StateMachine for Store {
    type Response = Applied;

    fn applied(&self) -> (Option<Position>, Bytes) {
        (self.data.applied, self.data.engine_record.clone())
    }
    fn applied_at(&self) -> Option<Position> {
        self.data.applied
    }
    fn apply(&mut self, at: Position, command: &Bytes) -> Applied {
        if let Some(failure) = self.failure() {
            return Err(OpError::Stopped { why: failure.to_string() });
        }
        let before = self.data.applied;
        self.advance(at);
        let answer = match Command::decode(command) {
            Ok(command) => self.run(at, &command),
            // Skipping what other replicas understand would part us from them for ever.
            Err(WireError::Version(found)) => {
                let (found, known) = (found.into(), COMMAND_VERSION.into());
                Err(self.fail(StoreError::NewerFormat { found, known }))
            }
            Err(why) => Err(OpError::Malformed { why: why.to_string() }),
        };
        if self.failure().is_some() {
            self.data.applied = before;
            return answer;
        }
        self.sweep_some();
        self.tape_entry(at, || Taped::Command(command.clone()));
        answer
    }
    fn note(&mut self, at: Position, engine_record: Option<Bytes>) {
        if self.failure().is_some() {
            return;
        }
        self.advance(at);
        self.tape_entry(at, || Taped::Note(engine_record.clone()));
        if let Some(record) = engine_record {
            self.data.engine_record = record;
        }
    }
    fn record(&mut self, engine_record: Bytes) {
        if self.failure().is_none() && self.data.engine_record != engine_record {
            self.data.engine_record = engine_record;
            self.changed = true;
        }
    }
    fn blank_response(&self) -> Applied {
        Ok(self.response(Body::Noop))
    }

    fn checkpoint(&mut self) -> Option<Work> {
        self.flush(false)
    }
    fn checkpoint_with_digest(&mut self) -> Option<Work> {
        if self.failure().is_some() || self.records.frozen.is_some() || self.hashing {
            return None;
        }
        if self.changed {
            return self.flush(true);
        }
        self.hashing = true;
        let view = self.records.view.clone();
        Some(work("digest", self.cost_of_digest(), move || {
            let file = view.file().name().clone();
            Flushed { file, result: digest(&view).map(|digest| (view, Some(digest))) }
        }))
    }
    fn digest(&self) -> Option<Digest> {
        self.records.digest
    }
    fn hold(&mut self) {
        let view = &self.records.view;
        if self.held.last().is_none_or(|held| held.meta.at != view.meta.at) {
            self.held.push(view.clone());
        }
        let extra = self.held.len().saturating_sub(HELD_MAX);
        self.held.drain(..extra);
    }
    fn release_before(&mut self, at: Position) {
        self.held.retain(|held| held.meta.at >= Some(at));
    }
    fn understands(&self, command: &Bytes) -> bool {
        !matches!(Command::decode(command), Err(WireError::Version(_)))
    }
    fn checkpoint_done(&mut self, result: JobResult) -> Result<Checkpointed, String> {
        let flushed = result.and_then(|r| r.downcast::<Flushed>().ok());
        let Some(flushed) = flushed else {
            let lost = "the checkpoint's job was lost; start the node again".to_string();
            let _answer = self.fail(StoreError::corrupt(self.records.view.file().name().as_str(), &*lost));
            return Err(lost);
        };
        self.hashing = false;
        // What was written to a file that has been replaced since does not matter any more.
        if flushed.file == *self.records.view.file().name() {
            match flushed.result {
                Ok((view, digest)) => (self.records.view, self.records.digest) = (view, digest),
                Err(e) => {
                    let why = e.to_string();
                    let _answer = self.fail(e);
                    return Err(why);
                }
            }
            self.records.frozen = None;
            self.age_serving();
            let (group, index) = (self.options.group, self.durable().map_or(0, |d| d.at.index));
            self.probe.event(&Event::CheckpointWritten { group, index });
        }
        self.durable().ok_or_else(|| "nothing was applied before the checkpoint".into())
    }
    fn current_checkpoint(&self) -> Option<Checkpointed> {
        self.durable()
    }
    fn read_piece(&self, at: Position, cursor: Bytes) -> Option<Work> {
        let mut serving = self.serving.lock().expect("no holder panics");
        if serving.as_ref().is_none_or(|s| s.view.meta.at != Some(at)) {
            // The one being read is kept for as long as it is asked for.
            let view = self.held.iter().chain([&self.records.view]).find(|v| v.meta.at == Some(at))?.clone();
            *serving = Some(Serving { view, idle_checkpoints: 0 });
        }
        let serving = serving.as_mut().expect("just put there");
        serving.idle_checkpoints = 0;
        let (view, bugs) = (serving.view.clone(), self.options.bugs);
        let of = Checkpointed { at, engine_record: view.meta.engine_record.clone() };
        Some(work("read_piece", COST_PER_PIECE, move || piece::read(&view, &of, &cursor, bugs)))
    }

    fn begin_install(&mut self, incoming: Checkpointed) {
        if let Some(installer) = self.installing.take() {
            // A job may still hold it: then its file is removed at the next boot.
            if let Ok(mut installer) = installer.try_lock() {
                installer.discard();
            }
        }
        let installer = Installer::new(self.options.clone(), self.storage.clone(), incoming);
        self.installing = Some(Arc::new(Mutex::new(installer)));
    }
    fn expect_digest(&mut self, digest: Digest) {
        if let Some(installer) = &self.installing
            && let Ok(mut installer) = installer.lock()
        {
            installer.expect(digest);
        }
    }
    fn install_piece(&mut self, piece: Bytes) -> Work {
        let installer = self.installing.clone();
        work("install_piece", COST_PER_PIECE, move || {
            with(installer, |i| i.take(&piece)).map_err(|e| e.to_string())
        })
    }
    fn finish_install(&mut self) -> Work {
        let installer = self.installing.clone();
        let floor = self.data.applied.filter(|_| !self.options.bugs.install_goes_back());
        work("finish_install", COST_OF_SWAP, move || with(installer, |i| i.finish(floor)))
    }
    fn install_done(&mut self, result: JobResult) -> Result<(), String> {
        self.installing = None;
        let result = result.and_then(|r| r.downcast::<Result<Installed, StoreError>>().ok());
        let installed = match result.map(|r| *r) {
            Some(Ok(installed)) => installed,
            Some(Err(e)) => return Err(e.to_string()),
            None => return Err("the job that installs the checkpoint was lost".into()),
        };
        let (ours, theirs) = (self.data.applied, installed.data.applied);
        if ours.map(|p| p.index) > theirs.map(|p| p.index) && !self.options.bugs.install_goes_back() {
            // The file is the checkpoint's already: only a new start can go on from it.
            let why = format!("applied up to {ours:?} while a checkpoint at {theirs:?} was swapped in");
            let answer = self.fail(StoreError::Refused(why));
            return Err(answer.to_string());
        }
        self.replace(installed.data, Arc::new(installed.view), installed.digest);
        Ok(())
    }
}

fn with<T>(
    installer: Option<Arc<Mutex<Installer>>>,
    run: impl FnOnce(&mut Installer) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let installer = installer.ok_or_else(|| StoreError::Refused("no transfer has begun".into()))?;
    let mut installer = installer.lock().map_err(|_| StoreError::Refused("the transfer broke off".into()))?;
    run(&mut installer)
}

fn remove(storage: &dyn Storage, garbage: &[FileName]) -> Result<(), StoreError> {
    garbage.iter().try_for_each(|name| Ok(storage.remove(name)?))
}
