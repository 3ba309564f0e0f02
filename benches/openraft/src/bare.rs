//! Three members of openraft as it comes: its own runtime, a log in memory, peers that are called.

use crate::{Load, Measured, Watch};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, LogState, RaftLogStorage, RaftStateMachine};
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::{
    BasicNode, Config, EntryPayload, OptionalSend, Raft, RaftLogReader, RaftSnapshotBuilder, SnapshotPolicy,
};
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A command.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(Bytes);

impl Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}
impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    /// openraft's defaults, but for the command and its answer.
    pub(crate) C:
        D = Command,
        R = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

type Peers = Arc<Mutex<BTreeMap<u64, Raft<C, Machine>>>>;

#[derive(Default)]
struct Kept {
    vote: Option<VoteOf<C>>,
    entries: BTreeMap<u64, EntryOf<C>>,
    purged: Option<LogIdOf<C>>,
    file: Option<File>,
}

/// A log in memory, whose entries' bytes go to a file where there is one.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Kept>>);

impl Log {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl RaftLogReader<C> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<C>>, io::Error> {
        Ok(self.kept().entries.range(range).map(|(_, e)| e.clone()).collect())
    }
    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.kept().vote)
    }
}

impl RaftLogStorage<C> for Log {
    type LogReader = Self;
    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let kept = self.kept();
        let last = kept.entries.values().next_back().map(|e| e.log_id);
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: last.or(kept.purged) })
    }
    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }
    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        self.kept().vote = Some(*vote);
        Ok(())
    }
    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<C>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut kept = self.kept();
        let mut bytes = Vec::new();
        let synced = kept.file.is_some();
        for entry in entries {
            if synced {
                bytes.extend_from_slice(&entry.log_id.index.to_le_bytes());
                bytes.extend_from_slice(&entry.log_id.leader_id.term.to_le_bytes());
                if let EntryPayload::Normal(command) = &entry.payload {
                    bytes.extend_from_slice(&(command.0.len() as u64).to_le_bytes());
                    bytes.extend_from_slice(&command.0);
                }
            }
            kept.entries.insert(entry.log_id.index, entry);
        }
        if let Some(file) = &mut kept.file {
            file.write_all(&bytes)?;
            file.sync_data()?;
        }
        drop(kept);
        callback.io_completed(Ok(()));
        Ok(())
    }
    async fn truncate_after(&mut self, last: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let from = last.map_or(0, |id| id.index + 1);
        drop(self.kept().entries.split_off(&from));
        Ok(())
    }
    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        let mut kept = self.kept();
        kept.entries = kept.entries.split_off(&(log_id.index + 1));
        kept.purged = Some(log_id);
        Ok(())
    }
}

/// A state that counts.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    applied: Option<LogIdOf<C>>,
    members: StoredMembershipOf<C>,
    commands: u64,
}

impl RaftSnapshotBuilder<C> for Machine {
    type SnapshotData = ();
    async fn build_snapshot(&mut self) -> Result<SnapshotOf<C, ()>, io::Error> {
        Err(io::Error::other("none is asked for"))
    }
}

impl RaftStateMachine<C> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;
    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>), io::Error> {
        Ok((self.applied, self.members.clone()))
    }
    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(_) => self.commands += 1,
                EntryPayload::Membership(m) => self.members = StoredMembershipOf::<C>::new(self.applied, m),
                EntryPayload::Blank => {}
            }
            if let Some(responder) = responder {
                responder.send(self.commands);
            }
        }
        Ok(())
    }
    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }
    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<C>, (): ()) -> Result<(), io::Error> {
        Err(io::Error::other("nobody sends one"))
    }
    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<C, ()>>, io::Error> {
        Ok(None)
    }
}

#[derive(Clone)]
struct Network(Peers);

struct Peer {
    peers: Peers,
    target: u64,
}

impl RaftNetworkFactory<C> for Network {
    type Network = Peer;
    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Peer {
        Peer { peers: self.0.clone(), target }
    }
}

fn nobody<E: Display>(e: E) -> Unreachable<C> {
    Unreachable::from_string(e.to_string())
}

impl Peer {
    fn raft(&self) -> Result<Raft<C, Machine>, Unreachable<C>> {
        let peers = self.peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        peers.get(&self.target).cloned().ok_or_else(|| nobody("not begun"))
    }
}

impl RaftNetworkV2<C> for Peer {
    type SnapshotData = ();
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<C>, RPCError<C>> {
        self.raft()?.append_entries(rpc).await.map_err(|e| nobody(e).into())
    }
    async fn vote(&mut self, rpc: VoteRequest<C>, _: RPCOption) -> Result<VoteResponse<C>, RPCError<C>> {
        self.raft()?.vote(rpc).await.map_err(|e| nobody(e).into())
    }
    async fn full_snapshot(
        &mut self,
        _: VoteOf<C>,
        _: SnapshotOf<C, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<C>, StreamingError<C>> {
        Err(nobody("none is sent").into())
    }
}

async fn run(load: Load) -> Result<Measured, String> {
    // The timings of `GroupConfig::lan`.
    let config = Config {
        heartbeat_interval: 100,
        election_timeout_min: 400,
        election_timeout_max: 800,
        max_payload_entries: 4_096,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    };
    let config = Arc::new(config.validate().map_err(|e| e.to_string())?);
    let peers = Peers::default();
    let mut files: Vec<Option<File>> =
        load.files.map_or_else(|| vec![None, None, None], |f| f.into_iter().map(Some).collect());
    for id in 1..=3_u64 {
        let log = Log::default();
        log.kept().file = files.pop().flatten();
        let raft = Raft::new(id, config.clone(), Network(peers.clone()), log, Machine::default());
        let raft = raft.await.map_err(|e| e.to_string())?;
        peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, raft);
    }
    let first = peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[&1].clone();
    let members: BTreeMap<u64, BasicNode> = (1..=3).map(|id| (id, BasicNode::default())).collect();
    first.initialize(members).await.map_err(|e| e.to_string())?;
    let wait = first.wait(Some(Duration::from_secs(30)));
    let led = wait.metrics(|m| m.current_leader.is_some(), "a leader").await;
    let leader = led.map_err(|e| e.to_string())?.current_leader.unwrap_or(1);
    let leader = peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[&leader].clone();

    let command = Bytes::from(vec![7; load.bytes]);
    let write = || {
        let (raft, command) = (leader.clone(), Command(command.clone()));
        async move { raft.client_write(command).await.map(drop).map_err(|e| e.to_string()) }
    };
    let mut open: FuturesUnordered<_> = (0..load.outstanding).map(|_| write()).collect();
    let (mut done, mut watch) = (0, Watch::new(load.time));
    while let Some(result) = open.next().await {
        result?;
        done += 1;
        if let Some(measured) = watch.look(done) {
            drop(open);
            let all: Vec<_> =
                peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).values().cloned().collect();
            for raft in all {
                raft.shutdown().await.map_err(|e| e.to_string())?;
            }
            return Ok(measured);
        }
        open.push(write());
    }
    Err("no write came back".into())
}

/// Writes a second with so many in flight.
pub(crate) fn measure(load: Load) -> Result<Measured, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(|e| e.to_string())?.block_on(run(load))
}
