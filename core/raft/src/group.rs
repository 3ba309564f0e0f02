//! One group on this node: what is asked of it and what comes from its peers.

use crate::config::{GroupConfig, bug};
use crate::gone::{self, Gone};
use crate::inbound;
use crate::log::Log;
use crate::machine::Machine;
use crate::runtime::{Moment, Runtime, WatchReceiver};
use crate::shared::Shared;
use crate::suspect::Suspect;
use crate::transfer::Receiving;
use crate::types::{self, Answer, Ballot, Command, Reply, Types, kind, position};
use bytes::Bytes;
use dwcp_consensus::{EngineError, EngineOutput, MemberChange, Position, Role, StateMachine, Status, Token};
use dwcp_env::bound::VOTERS_MAX;
use dwcp_env::{Lane, NodeId};
use dwcp_wal::PAYLOAD_MAX;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{
    ClientWriteError, Fatal, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::raft::ClientWriteResult;
use openraft::{AsyncRuntime, ChangeMembers, Instant as _, Raft, RaftMetrics, ReadPolicy, ServerState};
use spin::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub(crate) type C<SM> = Types<<SM as StateMachine>::Response>;
pub(crate) type RaftOf<SM> = Raft<C<SM>, Machine<SM>>;

/// Rounds of read barriers under way at once; what is asked meanwhile shares the next.
const ROUNDS: usize = 4;
/// Barriers that wait; more are refused.
const BARRIERS_MAX: usize = 65_536;

/// The vote this node holds.
pub(crate) fn ballot<SM: StateMachine>(raft: &RaftOf<SM>) -> Ballot {
    Ballot::from(&raft.metrics().borrow_watched().vote)
}

/// How a group is doing, without its members: cheap enough for every turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Brief {
    /// This node's role.
    pub role: Role,
    /// The current term.
    pub term: u64,
    /// The leader it knows, itself included.
    pub leader: Option<NodeId>,
    /// The last entry in its log.
    pub last_index: u64,
    /// The last entry known to be decided.
    pub committed_index: u64,
    /// The last entry applied here.
    pub applied_index: u64,
    /// The last entry inside the newest snapshot.
    pub snapshot_index: u64,
}

#[derive(Default)]
struct Barriers {
    waiting: Vec<Token>,
    rounds: usize,
    /// A round has been started that will take those waiting.
    starting: bool,
}

/// What tasks of the group need.
pub(crate) struct Core<SM: StateMachine> {
    pub(crate) shared: Arc<Shared<SM>>,
    pub(crate) raft: RaftOf<SM>,
    pub(crate) metrics: WatchReceiver<RaftMetrics<C<SM>>>,
    pub(crate) receiving: Arc<Receiving>,
    pub(crate) log: Log<SM::Response>,
    /// Requests of peers being answered.
    pub(crate) inbound: Mutex<usize>,
    /// The disk lost part of the log.
    pub(crate) suspect: Mutex<Option<Suspect>>,
    /// Whether the leader lives.
    pub(crate) gone: Mutex<Gone>,
    barriers: Mutex<Barriers>,
}

/// One group on this node.
pub struct RaftGroup<SM: StateMachine>(pub(crate) Arc<Core<SM>>);

impl<SM: StateMachine> std::fmt::Debug for RaftGroup<SM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftGroup({})", self.0.shared.group)
    }
}

/// Polls a future that needs no waiting; `None` if it would wait.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub(crate) fn stopped<R: Send + Sync + 'static>(fatal: &Fatal<Types<R>>) -> EngineError {
    EngineError::Stopped(fatal.to_string())
}

fn not_leader<R: Send + Sync + 'static>(forward: &ForwardToLeader<Types<R>>) -> EngineError {
    EngineError::NotLeader { leader: forward.leader_id.map(NodeId) }
}

impl<SM: StateMachine> RaftGroup<SM> {
    pub(crate) fn new(
        shared: Arc<Shared<SM>>,
        raft: RaftOf<SM>,
        log: Log<SM::Response>,
        suspect: Option<Suspect>,
    ) -> Self {
        let metrics = raft.metrics();
        Self(Arc::new(Core {
            shared,
            raft,
            metrics,
            receiving: Arc::default(),
            log,
            inbound: Mutex::new(0),
            suspect: Mutex::new(suspect),
            gone: Mutex::default(),
            barriers: Mutex::default(),
        }))
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &GroupConfig {
        &self.0.shared.config
    }

    /// How it is doing, in brief.
    #[must_use]
    pub fn brief(&self) -> Brief {
        let m = self.0.metrics.borrow_watched();
        Brief {
            role: role(m.state),
            term: m.current_term,
            leader: m.current_leader.map(NodeId),
            // Of the log itself: the engine says nothing of it before its first turn.
            last_index: self.0.log.last().index,
            committed_index: position(m.local_committed.as_ref()).index,
            applied_index: position(m.last_applied.as_ref()).index,
            snapshot_index: position(m.snapshot.as_ref()).index,
        }
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0.metrics.borrow_watched().state == ServerState::Leader
    }

    /// How it sees its group.
    #[must_use]
    pub fn status(&self) -> Status {
        let m = self.0.metrics.borrow_watched();
        let me = self.0.shared.config.node;
        let matched = m.replication.iter().flatten().map(|(n, at)| (NodeId(*n), position(at.as_ref()).index));
        Status {
            role: role(m.state),
            term: m.current_term,
            leader: m.current_leader.map(NodeId),
            last_index: m.last_log_index.map_or(0, |i| i + 1),
            committed_index: position(m.local_committed.as_ref()).index,
            applied: m.last_applied.as_ref().map(|at| position(Some(at))),
            snapshot_index: position(m.snapshot.as_ref()).index,
            members: types::members(m.membership_config.membership()),
            matched: matched.filter(|(n, _)| *n != me).collect(),
            fatal: m.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// Whether the disk lost part of this group's log and it does not vote until it has caught up.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.0.suspect.lock().is_some()
    }

    pub(crate) fn propose(&self, token: Token, command: &Bytes) {
        self.submit(token, kind::COMMAND, command);
    }

    pub(crate) fn seal(&self, token: Token, next: &Bytes) {
        self.submit(token, kind::SEAL, next);
    }

    fn submit(&self, token: Token, kind: u8, body: &Bytes) {
        if body.len() >= PAYLOAD_MAX {
            let why = format!("a command of {} bytes, at most {} are allowed", body.len(), PAYLOAD_MAX - 1);
            return self.0.proposed(token, kind, Err(EngineError::Refused(why)));
        }
        let core = &self.0;
        core.write(Proposal {
            token,
            command: Command::new(kind, body),
            until: core.patience(),
            core: core.clone(),
        });
    }

    pub(crate) fn barrier(&self, token: Token) {
        let core = &self.0;
        if bug!(core.shared.config, stale_read) && self.is_leader() {
            return core.shared.put(EngineOutput::Barrier { token, result: Ok(()) });
        }
        let mut barriers = core.barriers.lock();
        if barriers.waiting.len() >= BARRIERS_MAX {
            drop(barriers);
            let result = Err(EngineError::Refused(String::from("too many barriers wait")));
            return core.shared.put(EngineOutput::Barrier { token, result });
        }
        barriers.waiting.push(token);
        if !barriers.starting && barriers.rounds < ROUNDS {
            barriers.starting = true;
            barriers.rounds += 1;
            drop(barriers);
            drop(Runtime::spawn(core.clone().rounds()));
        }
    }

    pub(crate) fn change_members(&self, token: Token, change: MemberChange) {
        let core = self.0.clone();
        drop(Runtime::spawn(async move {
            let result = core.change(change).await;
            core.shared.done(token, result);
        }));
    }

    pub(crate) fn transfer_leader(&self, token: Token, to: NodeId) {
        let core = &self.0;
        let refused = {
            let m = core.metrics.borrow_watched();
            if m.state != ServerState::Leader {
                Some(EngineError::NotLeader { leader: m.current_leader.map(NodeId) })
            } else if !m.membership_config.voter_ids().any(|v| v == to.0) {
                Some(EngineError::Refused(format!("{to} is no voter of {}", core.shared.group)))
            } else {
                None
            }
        };
        if let Some(error) = refused {
            return core.shared.done(token, Err(error));
        }
        if to == core.shared.config.node {
            return core.shared.done(token, Ok(()));
        }
        let core = core.clone();
        drop(Runtime::spawn(async move {
            core.shared.probe.reachable("raft.leader_transfer");
            let sent = core.raft.trigger().transfer_leader(to.0).await;
            core.shared.done(token, sent.map_err(|fatal| stopped(&fatal)));
        }));
    }

    pub(crate) fn snapshot(&self, token: Token) {
        let core = self.0.clone();
        core.shared.snapshot_asked.lock().push(token);
        drop(Runtime::spawn(async move {
            if let Err(fatal) = core.raft.trigger().snapshot().await {
                core.forget_asker(token, stopped(&fatal));
                return;
            }
            Runtime::sleep(SNAPSHOT_WAIT).await;
            core.forget_asker(token, EngineError::Refused(String::from("no snapshot within a minute")));
        }));
    }

    /// Takes a message of a peer; wrong ones are counted against it.
    pub(crate) fn message(&self, from: NodeId, lane: Lane, body: &Bytes) {
        inbound::message(&self.0, from, lane, body);
    }

    /// A hint that a peer's process is gone.
    pub(crate) fn unreachable(&self, peer: NodeId) {
        gone::unreachable(&self.0, peer);
    }

    /// A hint that who was to lead first is gone.
    pub(crate) fn unled(&self, first: NodeId) {
        gone::unled(&self.0, first);
    }

    /// Asks for a snapshot because the log in memory has grown too long.
    pub(crate) fn shorten_log(&self) {
        self.0.shared.probe.reachable("raft.snapshot_by_bytes");
        // A full queue means that the core has enough to do; the next growth asks again.
        let _later = at_once(self.0.raft.trigger().snapshot());
    }
}

/// A leader without a lease is asked again no more often than so many times a heartbeat.
const BEAT_PARTS: u64 = 64;
const SNAPSHOT_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    }
}

struct Proposal<SM: StateMachine> {
    token: Token,
    command: Command,
    /// How long a leader without a lease is asked again.
    until: Moment,
    core: Arc<Core<SM>>,
}

impl<SM: StateMachine> Core<SM> {
    /// Two elections from now.
    fn patience(&self) -> Moment {
        Moment::now() + (self.shared.config.election_max * 2).to_std()
    }

    /// Waits, half a heartbeat at most, until a leader's lease may hold: the answers of a quorum that renew it move what is decided, the
    /// first entry of a leader that was just elected above all. (A fixed pause was most of the time of a switch to Raft.)
    async fn lease_may_be_back(&self) {
        let beat = self.shared.config.heartbeat;
        let mut data = self.raft.data_metrics();
        data.borrow_and_update();
        Runtime::sleep((beat / BEAT_PARTS).to_std()).await;
        let _moved = Runtime::timeout((beat / 2).to_std(), data.changed()).await;
    }

    fn proposed(&self, token: Token, kind: u8, result: Result<(Position, SM::Response), EngineError>) {
        match kind {
            kind::SEAL => self.shared.done(token, result.map(|_| ())),
            _ => self.shared.put(EngineOutput::Proposed { token, result }),
        }
    }

    fn write(self: &Arc<Self>, proposal: Proposal<SM>) {
        let command = proposal.command.clone();
        let reply = Reply::new(move |result| proposal.answered(result));
        match at_once(self.raft.client_write_ff(command, Some(reply))) {
            Some(Ok(())) => {}
            // The reply was dropped, and has answered.
            Some(Err(_)) | None => self.shared.probe.reachable("raft.proposal_refused"),
        }
    }

    /// Takes what waits, asks a quorum once for all of it, and goes on while more has come.
    async fn rounds(self: Arc<Self>) {
        loop {
            let early = bug!(self.shared.config, barrier_joins_round);
            let first = if early { Some(self.read_index().await) } else { None };
            let tokens = {
                let mut barriers = self.barriers.lock();
                barriers.starting = false;
                if barriers.waiting.is_empty() {
                    barriers.rounds -= 1;
                    return;
                }
                std::mem::take(&mut barriers.waiting)
            };
            self.shared.probe.sometimes("raft.barrier_shared", tokens.len() > 1);
            let result = match first {
                Some(result) => result,
                None => self.read_index().await,
            };
            for token in tokens {
                self.shared.put(EngineOutput::Barrier { token, result: result.clone() });
            }
        }
    }

    async fn read_index(&self) -> Result<(), EngineError> {
        let lost = || EngineError::NotLeader { leader: None };
        let linearizer = match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => linearizer,
            Err(RaftError::Fatal(fatal)) => return Err(stopped(&fatal)),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => {
                return Err(not_leader(&f));
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                self.shared.probe.reachable("raft.barrier_without_quorum");
                return Err(lost());
            }
        };
        if bug!(self.shared.config, barrier_not_awaited) {
            return Ok(());
        }
        let patience = (self.shared.config.election_max * 2).to_std();
        match linearizer.try_await_ready(&self.raft, Some(patience)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(lost()),
            Err(fatal) => Err(stopped(&fatal)),
        }
    }

    async fn change(&self, change: MemberChange) -> Result<(), EngineError> {
        let until = self.patience();
        loop {
            let result = self.change_once(change.clone()).await?;
            match result {
                // Behind the seal: to be asked of the next epoch's engine.
                Ok(done) if matches!(done.data, Answer::Void) => {
                    return Err(EngineError::NotLeader { leader: None });
                }
                Ok(_) => return Ok(()),
                Err(ClientWriteError::ForwardToLeader(f)) if f.reason == ForwardReason::LeaseExpired => {
                    if Moment::now() >= until {
                        return Err(EngineError::NotLeader { leader: None });
                    }
                    self.shared.probe.reachable("raft.retry_after_lease_expired");
                    self.lease_may_be_back().await;
                }
                Err(ClientWriteError::ForwardToLeader(f)) => return Err(not_leader(&f)),
                Err(ClientWriteError::LogEntryDiscarded(_)) => return Err(EngineError::Unknown),
                Err(refused) => return Err(EngineError::Refused(refused.to_string())),
            }
        }
    }

    async fn change_once(&self, change: MemberChange) -> Result<ClientWriteResult<C<SM>>, EngineError> {
        let ids = |set: &BTreeSet<NodeId>| set.iter().map(|n| n.0).collect::<BTreeSet<u64>>();
        let voters: BTreeSet<u64> = self.metrics.borrow_watched().membership_config.voter_ids().collect();
        let (changes, retain) = match change {
            MemberChange::AddLearner(id, member) => {
                (ChangeMembers::AddNodes(BTreeMap::from([(id.0, member)])), true)
            }
            MemberChange::Update(id, member) => {
                (ChangeMembers::SetNodes(BTreeMap::from([(id.0, member)])), true)
            }
            MemberChange::Promote(set) => {
                let after = voters.union(&ids(&set)).count();
                if after > VOTERS_MAX {
                    let why = format!("{after} voters, at most {VOTERS_MAX} are allowed");
                    return Err(EngineError::Refused(why));
                }
                (ChangeMembers::AddVoterIds(ids(&set)), true)
            }
            MemberChange::Remove(set) => {
                let gone = ids(&set);
                let (leaving, learning): (BTreeSet<u64>, BTreeSet<u64>) =
                    gone.into_iter().partition(|n| voters.contains(n));
                let mut changes = Vec::new();
                if !leaving.is_empty() {
                    changes.push(ChangeMembers::RemoveVoters(leaving));
                }
                if !learning.is_empty() {
                    changes.push(ChangeMembers::RemoveNodes(learning));
                }
                (ChangeMembers::Batch(changes), false)
            }
        };
        match self.raft.change_membership(changes, retain).await {
            Ok(response) => Ok(Ok(response)),
            Err(RaftError::APIError(error)) => Ok(Err(error)),
            Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
        }
    }

    fn forget_asker(&self, token: Token, error: EngineError) {
        let mut asked = self.shared.snapshot_asked.lock();
        let before = asked.len();
        asked.retain(|t| *t != token);
        let waited = asked.len() < before;
        drop(asked);
        if waited {
            self.shared.done(token, Err(error));
        }
    }
}

impl<SM: StateMachine> Proposal<SM> {
    fn answered(self, result: Option<ClientWriteResult<C<SM>>>) {
        let kind = self.command.kind();
        let result = match result {
            Some(Ok(response)) => {
                let at = position(Some(&response.log_id));
                match response.data {
                    Answer::Applied(response) => Ok((at, response)),
                    Answer::Blank => return self.core.shared.done(self.token, Ok(())),
                    // Certainly not done: to be asked of the next epoch's engine.
                    Answer::Void => Err(EngineError::NotLeader { leader: None }),
                }
            }
            Some(Err(ClientWriteError::ForwardToLeader(f))) if f.reason == ForwardReason::LeaseExpired => {
                return self.again();
            }
            Some(Err(ClientWriteError::ForwardToLeader(f))) => Err(not_leader(&f)),
            Some(Err(ClientWriteError::LogEntryDiscarded(_)))
                if bug!(self.core.shared.config, retry_unknown) =>
            {
                return self.again();
            }
            Some(Err(ClientWriteError::LogEntryDiscarded(_))) | None => Err(EngineError::Unknown),
            Some(Err(refused)) => Err(EngineError::Refused(refused.to_string())),
        };
        self.core.proposed(self.token, kind, result);
    }

    /// A leader whose lease has run out, or that was just elected: nothing was done, ask again.
    fn again(self) {
        self.core.shared.probe.reachable("raft.retry_after_lease_expired");
        drop(Runtime::spawn(async move {
            if Moment::now() >= self.until {
                let error = EngineError::NotLeader { leader: None };
                return self.core.proposed(self.token, self.command.kind(), Err(error));
            }
            self.core.lease_may_be_back().await;
            let core = self.core.clone();
            core.write(self);
        }));
    }
}
