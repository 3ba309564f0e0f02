//! A group's log and vote on the node's shared write-ahead log.
//!
//! **Promise.** openraft is told that an entry or a vote is safe once the record is durable, and
//! not before; entries not yet purged are in memory, sharing their bytes with the disk's queue
//! and the peers' messages.
//!
//! **Invariants.**
//! 1. Records are appended in the order openraft asks for them; the write-ahead log makes them
//!    durable in that order. So a note of the committed index is never durable before what it
//!    speaks of.
//! 2. Memory holds exactly (purged, last], without a hole.
//!
//! The committed index is not worth a sync: its note rides on the next append. After a crash the
//! state then begins a little earlier, and no reader behind a barrier can tell.

use crate::config::{GroupConfig, bug};
use crate::types::{Ballot, Entry, LogId, Types, Vote, log_id, payload, payload_bytes, position};
use bytes::Bytes;
use dwcp_consensus::Position;
use dwcp_env::bound::REPLICATION_BATCH_MAX;
use dwcp_env::{GroupId, Probe, wire};
use dwcp_wal::{GroupLog, Record, Wal, WalError};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use spin::Mutex;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The node's write-ahead log as its groups share it. Callbacks run while it is locked.
pub type SharedWal = Arc<Mutex<Wal>>;

/// Half of the batch's bound: what goes into one append besides its last entry.
const READ_BYTES: u64 = REPLICATION_BATCH_MAX.0 / 2;

/// Why a group's log can't be used as it is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogError {
    /// All copies of the latest vote are lost.
    #[error(
        "the vote of {0} is lost to the disk: remove this node from the group and let it join under a new id"
    )]
    VoteLost(GroupId),
    /// A record that passed its checksum makes no sense: written by another version, or a bug.
    #[error("the log of {group} holds {what} at index {index}: start the version that wrote it")]
    Foreign {
        /// Whose log.
        group: GroupId,
        /// What is wrong.
        what: &'static str,
        /// Where; 0 for the vote and the note.
        index: u64,
    },
}

#[derive(Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The committed index of the last note.
    noted: Option<LogId>,
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
    /// Payload bytes in `entries`.
    bytes: u64,
    /// More bytes than this ask for a snapshot.
    ask_at: u64,
}

impl State {
    fn first(&self) -> u64 {
        self.entries.front().map_or_else(|| self.purged.map_or(0, |p| p.index + 1), |e| e.log_id.index)
    }
    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|e| e.log_id).or(self.purged)
    }
    fn push(&mut self, entry: Entry, size: usize) {
        let next = self.last().map(|l| l.index + 1);
        assert!(next.is_none_or(|n| n == entry.log_id.index), "a hole in the log before {:?}", entry.log_id);
        self.bytes += size as u64;
        self.entries.push_back(entry);
    }
    fn forget(&mut self, entry: Option<Entry>) {
        if let Some(e) = entry {
            self.bytes -= size_of_payload(&e);
        }
    }
}

fn size_of_payload(entry: &Entry) -> u64 {
    payload_bytes(&entry.payload).len() as u64
}

/// A group's log, and a reader of it.
pub(crate) struct Log<R> {
    group: GroupId,
    wal: SharedWal,
    state: Arc<Mutex<State>>,
    config: Arc<GroupConfig>,
    probe: Probe,
    /// Where groups say that their logs have grown too long.
    grown: Grown,
    response: PhantomData<fn() -> R>,
}

/// Groups whose logs have grown too long since they last said so.
pub(crate) type Grown = Arc<Mutex<Vec<GroupId>>>;

impl<R> Clone for Log<R> {
    fn clone(&self) -> Self {
        Self {
            group: self.group,
            wal: self.wal.clone(),
            state: self.state.clone(),
            config: self.config.clone(),
            probe: self.probe.clone(),
            grown: self.grown.clone(),
            response: PhantomData,
        }
    }
}

impl<R> Log<R> {
    /// The log as the disk gave it back. What follows a hole is cut off, here and on the disk: it
    /// comes again from the leader. Tells whether there was one; a lost end is one, too. What is left looks whole, so the disk is
    /// told before the cut that it is not: a crash before the leader has taught it again must not give back a vote.
    pub(crate) fn open(
        group: GroupId,
        config: Arc<GroupConfig>,
        wal: SharedWal,
        probe: Probe,
        grown: Grown,
        found: GroupLog,
    ) -> Result<(Self, bool), LogError> {
        if found.vote_lost {
            return Err(LogError::VoteLost(group));
        }
        let foreign = |what, index| LogError::Foreign { group, what, index };
        let bound = config.snapshot_bytes.0;
        let mut state = State { ask_at: if bound == 0 { u64::MAX } else { bound }, ..State::default() };
        if let Some(bytes) = found.vote.as_ref().filter(|_| !bug!(config, vote_not_read)) {
            let ballot: Ballot =
                wire::decode(bytes).map_err(|_| foreign("a vote that does not decode", 0))?;
            state.vote = Some(ballot.into());
        }
        state.purged = found.purged.and_then(|(term, index)| log_id(Position { term, index }));
        let ended = found.last.unwrap_or(0);
        let mut holed = false;
        for e in found.entries {
            let id = log_id(Position { term: e.term, index: e.index }).ok_or(foreign("an entry", 0))?;
            if id.index != state.last().map_or(0, |l| l.index + 1) {
                holed = true;
                break;
            }
            let size = e.payload.len();
            let payload = payload(e.payload).map_err(|what| foreign(what, e.index))?;
            state.push(Entry { log_id: id, payload }, size);
        }
        let after = position(state.last().as_ref()).index;
        holed |= after < ended;
        if holed {
            let mut wal = wal.lock();
            if !found.suspect && !bug!(config, hole_untold) {
                wal.suspect(group);
            }
            wal.append(group, Record::Truncate { after: (after > 0).then_some(after) });
            probe.reachable("raft.log_cut_at_a_hole");
        }
        if let Some(bytes) = &found.note {
            let noted: Position =
                wire::decode(bytes).map_err(|_| foreign("a note that does not decode", 0))?;
            // Behind a cut the note may speak of entries that are gone; they come again.
            state.noted = log_id(noted).filter(|n| Some(*n) <= state.last());
            state.committed = state.noted;
        }
        let state = Arc::new(Mutex::new(state));
        Ok((Self { group, wal, state, config, probe, grown, response: PhantomData }, holed))
    }

    /// The entry at an index counted from 1, if it is still here.
    pub(crate) fn entry(&self, index: u64) -> Option<Entry> {
        let state = self.state.lock();
        let skip = index.checked_sub(1)?.checked_sub(state.first())?;
        state.entries.get(usize::try_from(skip).ok()?).cloned()
    }

    /// Its last entry, those purged included; zero if there never was one.
    pub(crate) fn last(&self) -> Position {
        position(self.state.lock().last().as_ref())
    }

    /// The term of its vote; zero if it has none.
    pub(crate) fn term(&self) -> u64 {
        self.state.lock().vote.map_or(0, |vote| Ballot::from(&vote).term)
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.last().is_none()
    }

    /// Whether a leader's entries contradict what is decided here, which no leader's can.
    pub(crate) fn contradicts(
        &self,
        previous: Position,
        entries: &[Entry],
        committed: Option<LogId>,
    ) -> bool {
        let Some(committed) = committed else { return false };
        if previous.index > committed.index + 1 {
            return false;
        }
        let state = self.state.lock();
        let first = state.first();
        let ids = log_id(previous).into_iter().chain(entries.iter().map(|e| e.log_id));
        ids.take_while(|id| id.index <= committed.index).filter(|id| id.index >= first).any(|id| {
            let ours = usize::try_from(id.index - first).ok().and_then(|i| state.entries.get(i));
            ours.is_some_and(|e| e.log_id != id)
        })
    }

    /// States that what the disk lost is restored.
    pub(crate) fn healed(&self) {
        self.wal.lock().healed(self.group);
    }

    fn note_committed(&self, state: &mut State, wal: &mut Wal) {
        if state.committed > state.noted {
            state.noted = state.committed;
            let mut at = position(state.committed.as_ref());
            at.index += u64::from(bug!(self.config, note_claims_next));
            let note = wire::encode(&at);
            wal.append(self.group, Record::Note(note.into()));
        }
    }
}

fn failed(error: WalError) -> io::Error {
    io::Error::other(error)
}

impl<R: Send + Sync + 'static> RaftLogReader<Types<R>> for Log<R> {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let state = self.state.lock();
        let first = state.first();
        let from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => first,
        };
        let to = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let take = usize::try_from(to.saturating_sub(from.max(first))).unwrap_or(usize::MAX);
        Ok(state.entries.iter().skip(skip).take(take).cloned().collect())
    }

    /// What openraft sends to a peer. A stream to one that takes nothing may ask for what was purged since: then there is nothing, never
    /// what comes later, for openraft in release builds, and who receives it, count from what was asked for.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let state = self.state.lock();
        let Some(skip) = start.checked_sub(state.first()) else { return Ok(Vec::new()) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let take = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let within = |e: &&Entry| {
            let before = bytes;
            bytes += size_of_payload(e);
            before < READ_BYTES
        };
        Ok(state.entries.iter().skip(skip).take(take).take_while(within).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state.lock().vote)
    }
}

impl<R: Send + Sync + 'static> RaftLogStorage<Types<R>> for Log<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<R>>, io::Error> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.state.lock().vote = Some(*vote);
        if bug!(self.config, vote_not_saved) {
            return Ok(());
        }
        let (done, durable) = crate::runtime::one();
        {
            let mut wal = self.wal.lock();
            let ballot = Bytes::from(wire::encode(&Ballot::from(vote)));
            let lsn = wal.append(self.group, Record::Vote(ballot));
            wal.on_durable(lsn, Box::new(move |result| drop(done.give(result))));
        }
        durable.await.unwrap_or(Err(WalError::Closed)).map_err(failed)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        state.committed = state.committed.max(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types<R>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let mut state = self.state.lock();
        let mut wal = self.wal.lock();
        self.note_committed(&mut state, &mut wal);
        let mut lsn = wal.last();
        while let Some(entry) = entries.next() {
            let at = position(Some(&entry.log_id));
            let bytes = payload_bytes(&entry.payload);
            let size = bytes.len();
            if !(bug!(self.config, entry_not_logged) && entries.peek().is_none()) {
                lsn =
                    wal.append(self.group, Record::Entry { index: at.index, term: at.term, payload: bytes });
            }
            state.push(entry, size);
        }
        if state.bytes >= state.ask_at {
            state.ask_at = state.bytes + self.config.snapshot_bytes.0;
            self.grown.lock().push(self.group);
        }
        drop(state);
        if bug!(self.config, ack_append_before_durable) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        wal.on_durable(lsn, Box::new(move |result| callback.io_completed(result.map_err(failed))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        let keep = last.map_or(0, |l| l.index + 1);
        let mut cut = false;
        while state.entries.back().is_some_and(|e| e.log_id.index >= keep) {
            let gone = state.entries.pop_back();
            state.forget(gone);
            cut = true;
        }
        self.probe.sometimes("raft.conflicting_suffix_truncated", cut);
        if cut {
            let after = (keep > 0).then_some(keep);
            self.wal.lock().append(self.group, Record::Truncate { after });
        }
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        if state.purged >= Some(upto) {
            return Ok(());
        }
        while state.entries.front().is_some_and(|e| e.log_id.index <= upto.index) {
            let gone = state.entries.pop_front();
            state.forget(gone);
        }
        state.purged = Some(upto);
        if self.config.snapshot_bytes.0 > 0 {
            state.ask_at = state.ask_at.min(state.bytes + self.config.snapshot_bytes.0);
        }
        let at = position(Some(&upto));
        self.wal.lock().append(self.group, Record::Purge { term: at.term, index: at.index });
        Ok(())
    }
}

#[cfg(test)]
#[path = "../tests/raft/harness/disk.rs"]
#[allow(dead_code)]
mod disk;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Runtime, one};
    use crate::types::{Snapshot, SnapshotMeta, StoredMembership};
    use dwcp_env::{DiskRequest, NodeId, Now, Seed, World};
    use dwcp_wal::WalConfig;
    use futures_core::Stream;
    use openraft::entry::RaftEntry;
    use openraft::storage::{EntryResponder, RaftLogStorageExt, RaftStateMachine};
    use openraft::testing::log::{StoreBuilder, Suite};
    use openraft::{AsyncRuntime, RaftSnapshotBuilder, StorageError};
    use std::future::poll_fn;
    use std::pin::Pin;

    type T = Types<u64>;

    /// The least state machine: the suite's subject is the log.
    #[derive(Default)]
    struct Memory {
        applied: Option<LogId>,
        members: StoredMembership,
        snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
    }
    impl RaftSnapshotBuilder<T> for Memory {
        type SnapshotData = ();
        async fn build_snapshot(&mut self) -> io::Result<Snapshot<()>> {
            let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.members.clone() };
            *self.snapshot.lock() = Some(meta.clone());
            Ok(Snapshot { meta, snapshot: () })
        }
    }
    impl RaftStateMachine<T> for Memory {
        type SnapshotData = ();
        type SnapshotBuilder = Self;
        async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
            Ok((self.applied, self.members.clone()))
        }
        async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
        where
            S: Stream<Item = io::Result<EntryResponder<T>>> + Unpin + OptionalSend,
        {
            while let Some(next) = poll_fn(|cx| Pin::new(&mut entries).poll_next(cx)).await {
                let (entry, responder) = next?;
                self.applied = Some(entry.log_id);
                if let openraft::EntryPayload::Membership(m) = entry.payload {
                    self.members = StoredMembership::new(self.applied, m);
                }
                if let Some(r) = responder {
                    r.send(crate::types::Answer::Blank);
                }
            }
            Ok(())
        }
        async fn get_snapshot_builder(&mut self) -> Self {
            Self { applied: self.applied, members: self.members.clone(), snapshot: self.snapshot.clone() }
        }
        async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
            (self.applied, self.members) = (meta.last_log_id, meta.last_membership.clone());
            *self.snapshot.lock() = Some(meta.clone());
            Ok(())
        }
        async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<()>>> {
            Ok(self.snapshot.lock().clone().map(|meta| Snapshot { meta, snapshot: () }))
        }
    }

    struct Builder;
    /// Ends the task that plays the disk.
    struct Ends(Option<crate::runtime::OneSender<()>>);
    impl Drop for Ends {
        fn drop(&mut self) {
            if let Some(end) = self.0.take() {
                let _heard = end.give(());
            }
        }
    }

    impl StoreBuilder<T, Log<u64>, Memory, Ends> for Builder {
        async fn build(&self) -> Result<(Ends, Log<u64>, Memory), StorageError<T>> {
            let world = World {
                now: Now::default(),
                storage: Arc::new(disk::MemDisk::default()),
                probe: Probe::silent(),
                seed: Seed(1),
            };
            let (wal, _) = Wal::open(&world, WalConfig::default()).expect("an empty directory");
            let wal: SharedWal = Arc::new(Mutex::new(wal));
            let (end, mut ended) = one::<()>();
            let disk = wal.clone();
            drop(Runtime::spawn(async move {
                let mut ticket = 1;
                loop {
                    let mut out: Vec<DiskRequest> = Vec::new();
                    disk.lock().flush(&mut ticket, &mut out);
                    for request in out {
                        disk.lock().completed(request.ticket, Ok(())).expect("nothing fails");
                    }
                    let tick = std::time::Duration::from_micros(50);
                    if Runtime::timeout(tick, &mut ended).await.is_ok() {
                        return;
                    }
                }
            }));
            let config = Arc::new(GroupConfig::lan(NodeId(0)));
            let opened =
                Log::open(GroupId(0), config, wal, Probe::silent(), Arc::default(), GroupLog::default());
            let (log, _) = opened.expect("an empty log opens");
            Ok((Ends(Some(end)), log, Memory::default()))
        }
    }

    #[test]
    fn openraft_accepts_the_log() {
        Runtime::new(1).block_on(Suite::<T, Log<u64>, Memory, Builder, Ends>::test_all(Builder)).unwrap();
    }

    #[test]
    fn nothing_is_read_for_sending_from_before_the_beginning() {
        Runtime::new(1).block_on(async {
            let (_disk, mut log, _) = Builder.build().await.unwrap();
            let id = |index| crate::types::log_id(Position { term: 1, index: index + 1_u64 }).unwrap();
            let entries = (0..10_u64).map(|n| Entry::new(id(n), openraft::EntryPayload::Blank));
            log.blocking_append(entries).await.unwrap();
            log.purge(id(4)).await.unwrap();
            for (start, end, first) in [
                (0, 10, None),
                (4, 10, None),
                (4, 5, None),
                (5, 10, Some(5)),
                (9, 10, Some(9)),
                (10, 12, None),
            ] {
                let read = log.limited_get_log_entries(start, end).await.unwrap();
                assert_eq!(read.first().map(|e| e.log_id.index), first, "{start} to {end}");
            }
        });
    }
}
