//! A state machine that remembers every command: what replicas must agree on, in the open.

use super::disk::{MemDisk, read};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece, Position, StateMachine, Work};
use dwcp_env::disk::{FileName, replace};
use dwcp_env::{DiskError, Duration, GroupId, JobResult, wire};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Checkpoints held: as many as a store holds.
const HELD_MAX: usize = 6;
/// One that is being read is let go when so many were taken since it was read last.
const IDLE_MAX: u8 = 2;
/// Bytes of a piece: small, so that a checkpoint has many.
const PIECE: usize = 64;

#[derive(Clone, Default, Serialize, Deserialize, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) at: Position,
    record: Bytes,
    pub(crate) commands: Vec<Bytes>,
}

/// Checkpoints are the whole state in one file.
pub(crate) struct Ledger {
    disk: MemDisk,
    file: FileName,
    pub(crate) state: State,
    durable: Option<Checkpointed>,
    incoming: Option<(Checkpointed, Arc<Mutex<Vec<u8>>>)>,
    /// The last two checkpoints, and those that are held.
    kept: VecDeque<(Position, Bytes)>,
    held: VecDeque<(Position, Bytes)>,
    /// One that was held and is being read outlives its successors; for how many nobody has read it.
    serving: Mutex<Option<(Position, Bytes, u8)>>,
    /// Checkpoints begun, and the one under way: there is one at most, as in a store.
    begun: u64,
    writing: Option<u64>,
    /// States of peers swapped in: what was to be written before one must not be written over it.
    swaps: Arc<Mutex<u64>>,
    digest: Option<[u8; 32]>,
    expected: Option<[u8; 32]>,
}

/// What came of a checkpoint; `None`: a peer's state has come in its place.
struct Written {
    number: u64,
    result: Result<Option<(Checkpointed, Bytes)>, DiskError>,
}

fn work<T: Send + 'static>(name: &'static str, run: impl FnOnce() -> T + Send + 'static) -> Work {
    Work { name, cost: Duration::millis(2), run: Box::new(move || Box::new(run())) }
}

/// Nobody forges it in a test.
fn digest_of(bytes: &[u8]) -> [u8; 32] {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut digest = [0; 32];
    for (nth, eight) in digest.chunks_exact_mut(8).enumerate() {
        let mut hasher = DefaultHasher::new();
        (nth, bytes).hash(&mut hasher);
        eight.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    digest
}

impl Ledger {
    /// The state as its last durable checkpoint holds it.
    pub(crate) fn open(disk: MemDisk, group: GroupId) -> Self {
        let file = FileName::new(&format!("ledger-{}", group.0)).unwrap();
        let state: Option<State> = read(&disk, &file).map(|b| wire::decode(&b).unwrap());
        let durable = state.as_ref().map(|s| Checkpointed { at: s.at, engine_record: s.record.clone() });
        let kept = state.as_ref().map(|s| (s.at, wire::encode(s).into())).into_iter().collect();
        Self {
            disk,
            file,
            state: state.unwrap_or_default(),
            durable,
            incoming: None,
            kept,
            held: VecDeque::new(),
            serving: Mutex::new(None),
            begun: 0,
            writing: None,
            swaps: Arc::default(),
            digest: None,
            expected: None,
        }
    }
    fn write(&mut self) -> Option<Work> {
        if self.writing.is_some() {
            return None;
        }
        self.begun += 1;
        self.writing = Some(self.begun);
        let (disk, file, bytes) = (self.disk.clone(), self.file.clone(), wire::encode(&self.state));
        let (number, taken, swaps) = (self.begun, self.checkpointed(), self.swaps.clone());
        let before = *swaps.lock().unwrap();
        Some(work("checkpoint", move || {
            let overtaken = *swaps.lock().unwrap() != before;
            let written = if overtaken { Ok(()) } else { replace(&disk, &file, &bytes) };
            let taken = (!overtaken).then(|| (taken, Bytes::from(bytes)));
            Written { number, result: written.map(|()| taken) }
        }))
    }
    fn keep(&mut self, bytes: Bytes) {
        self.kept.extend(self.durable.as_ref().map(|d| (d.at, bytes)));
        self.kept.drain(..self.kept.len().saturating_sub(2));
    }
    fn checkpointed(&self) -> Checkpointed {
        Checkpointed { at: self.state.at, engine_record: self.state.record.clone() }
    }
}

impl StateMachine for Ledger {
    type Response = u64;

    fn applied(&self) -> (Option<Position>, Bytes) {
        ((self.state.at.index > 0).then_some(self.state.at), self.state.record.clone())
    }
    fn apply(&mut self, at: Position, command: &Bytes) -> u64 {
        assert!(at > self.state.at, "{at:?} is applied behind {:?}", self.state.at);
        self.state.at = at;
        self.state.commands.push(command.clone());
        self.state.commands.len() as u64
    }
    fn note(&mut self, at: Position, engine_record: Option<Bytes>) {
        assert!(at > self.state.at, "{at:?} is noted behind {:?}", self.state.at);
        self.state.at = at;
        if let Some(record) = engine_record {
            self.state.record = record;
        }
    }
    fn record(&mut self, engine_record: Bytes) {
        self.state.record = engine_record;
    }
    fn blank_response(&self) -> u64 {
        0
    }
    fn checkpoint_with_digest(&mut self) -> Option<Work> {
        let digest = digest_of(&wire::encode(&self.state));
        let work = self.write()?;
        self.digest = Some(digest);
        Some(work)
    }
    fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }
    fn expect_digest(&mut self, digest: [u8; 32]) {
        self.expected = Some(digest);
    }
    fn checkpoint(&mut self) -> Option<Work> {
        // A record that was replaced is news as well.
        let new = self.durable.as_ref().is_none_or(|d| *d != self.checkpointed());
        if new { self.write() } else { None }
    }
    fn checkpoint_done(&mut self, result: JobResult) -> Result<Checkpointed, String> {
        let result = result.ok_or("lost")?;
        let written = result.downcast::<Written>().map_err(|_| "type")?;
        if self.writing == Some(written.number) {
            self.writing = None;
        }
        let nothing = "nothing was applied before the checkpoint";
        let Some((done, bytes)) = written.result.map_err(|e| e.to_string())? else {
            return self.durable.clone().ok_or_else(|| nothing.into());
        };
        if done.at.index == 0 {
            return Err(nothing.into());
        }
        self.durable = Some(done.clone());
        self.keep(bytes);
        let mut serving = self.serving.lock().unwrap();
        *serving = serving.take().map(|(p, b, idle)| (p, b, idle + 1)).filter(|(.., idle)| *idle <= IDLE_MAX);
        Ok(done)
    }
    fn hold(&mut self) {
        self.held.extend(self.kept.back().cloned());
        self.held.drain(..self.held.len().saturating_sub(HELD_MAX));
    }
    fn release_before(&mut self, at: Position) {
        self.held.retain(|(p, _)| *p >= at);
    }
    fn current_checkpoint(&self) -> Option<Checkpointed> {
        self.durable.clone()
    }
    fn read_piece(&self, at: Position, cursor: Bytes) -> Option<Work> {
        let mut serving = self.serving.lock().unwrap();
        let read = serving.take().filter(|(p, ..)| *p == at).map(|(_, bytes, _)| bytes);
        let find =
            |of: &VecDeque<(Position, Bytes)>| of.iter().rfind(|(p, _)| *p == at).map(|(_, b)| b.clone());
        let held = read.or_else(|| find(&self.held));
        *serving = held.clone().map(|bytes| (at, bytes, 0));
        drop(serving);
        let whole = held.or_else(|| find(&self.kept))?;
        Some(work("read_piece", move || {
            let decoded = if cursor.is_empty() { Ok(0) } else { wire::decode::<usize>(&cursor) };
            let start = decoded.map_err(|e| e.to_string())?;
            // Of another checkpoint at the same position: their records differ.
            if start > whole.len() {
                return Err(String::from("a cursor behind the end"));
            }
            let end = (start + PIECE).min(whole.len());
            let next = (end < whole.len()).then(|| Bytes::from(wire::encode(&end)));
            Ok::<_, String>(Piece { data: whole.slice(start..end), next })
        }))
    }
    fn begin_install(&mut self, incoming: Checkpointed) {
        (self.incoming, self.expected) = (Some((incoming, Arc::default())), None);
    }
    fn install_piece(&mut self, piece: Bytes) -> Work {
        let into = self.incoming.as_ref().map(|(_, bytes)| bytes.clone());
        work("install_piece", move || {
            into.ok_or("no transfer")?.lock().unwrap().extend_from_slice(&piece);
            Ok::<(), String>(())
        })
    }
    fn finish_install(&mut self) -> Work {
        let incoming = self.incoming.as_ref().map(|(c, bytes)| (c.clone(), bytes.clone()));
        let (disk, file, expected) = (self.disk.clone(), self.file.clone(), self.expected);
        let swaps = self.swaps.clone();
        work("finish_install", move || {
            let (checkpoint, bytes) = incoming.ok_or("no transfer")?;
            let bytes = bytes.lock().unwrap().clone();
            let state: State = wire::decode(&bytes).map_err(|e| e.to_string())?;
            if state.at != checkpoint.at {
                return Err(String::from("another checkpoint than was announced"));
            }
            if expected.is_some_and(|e| e != digest_of(&bytes)) {
                return Err(String::from("another digest than is vouched for"));
            }
            replace(&disk, &file, &bytes).map_err(|e| e.to_string())?;
            *swaps.lock().unwrap() += 1;
            Ok(state)
        })
    }
    fn install_done(&mut self, result: JobResult) -> Result<(), String> {
        let state = *result.ok_or("lost")?.downcast::<Result<State, String>>().map_err(|_| "type")?;
        self.state = state?;
        self.durable = Some(self.checkpointed());
        (self.incoming, self.digest, self.writing) = (None, self.expected, None);
        self.keep(wire::encode(&self.state).into());
        Ok(())
    }
}
