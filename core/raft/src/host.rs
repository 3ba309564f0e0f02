//! All groups of one node on one executor.
//!
//! **Promise.** [`RaftHost::run`] does all that is ready, in every group, and says when it wants
//! to run again; nothing happens outside of its calls.
//!
//! **How a node uses it.** Open the write-ahead log; [`RaftHost::add_group`] for each group with
//! what the log gave back; then in each turn: hand in messages, jobs and requests, hand disk
//! completions to the log, `run`, carry out the outputs, and flush the log. The state machine of
//! a group is locked while `run` applies to it; a node that locks it lets go before it calls.
//!
//! | output | the node does |
//! |---|---|
//! | `Send` | sends it, at once: openraft has waited for what must be durable |
//! | `Job` | runs it off the loop; ids are of this host alone, and lie below [`JOBS_END`] |
//! | `Proposed`, `Barrier`, `Done` | answers |

use crate::config::GroupConfig;
use crate::group::{RaftGroup, at_once, stopped};
use crate::log::{Grown, Log, LogError, SharedWal};
use crate::machine::Machine;
use crate::network::Network;
use crate::runtime::{Context, Runtime};
use crate::shared::{Jobs, Outbox, Shared};
use crate::suspect::{self, Suspect};
use crate::watch;
use bytes::Bytes;
use dwcp_consensus::{Engine, EngineOutput, Member, MemberChange, StateMachine, Status, Token};
use dwcp_env::exec::{Executor, Pick};
use dwcp_env::{GroupId, Instant, JobId, JobResult, Lane, NodeId, Now, Probe, Seed};
use dwcp_wal::GroupLog;
use openraft::{AsyncRuntime, Raft};
use spin::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Job ids of a host are below this: a node's own may begin here.
pub const JOBS_END: u64 = 1 << 62;

/// Why a group can't be hosted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddError {
    /// It is there already.
    #[error("{0} is hosted already")]
    Hosted(GroupId),
    /// More than [`dwcp_env::bound::GROUPS_PER_NODE`].
    #[error("a node hosts at most {0} groups")]
    Many(usize),
    /// Settings that contradict each other.
    #[error("settings of the group: {0}")]
    Config(String),
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Log and state do not fit each other.
    #[error("log and state of {group} do not fit: {why}")]
    State {
        /// Which group.
        group: GroupId,
        /// What openraft found.
        why: String,
    },
}

/// The groups of one node incarnation.
pub struct RaftHost<SM: StateMachine> {
    /// Always there, until the drop.
    executor: Option<Executor>,
    context: Arc<Context>,
    groups: BTreeMap<GroupId, RaftGroup<SM>>,
    outbox: Outbox<SM::Response>,
    jobs: Arc<Mutex<Jobs>>,
    wal: SharedWal,
    grown: Grown,
    probe: Probe,
}

impl<SM: StateMachine> std::fmt::Debug for RaftHost<SM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftHost({} groups)", self.groups.len())
    }
}

impl<SM: StateMachine> RaftHost<SM> {
    /// A host without groups. `seed` differs between incarnations of a node.
    #[must_use]
    pub fn new(pick: Pick, seed: Seed, wal: SharedWal, probe: Probe) -> Self {
        let executor = Executor::new(pick);
        let context = Context::new(executor.spawner(), seed);
        Self {
            executor: Some(executor),
            context,
            groups: BTreeMap::new(),
            outbox: Arc::default(),
            jobs: Arc::default(),
            wal,
            grown: Arc::default(),
            probe,
        }
    }

    /// Takes up a group with what the log gave back of it (empty for a new one).
    ///
    /// A log that lost part of what was in it is caught up from the leader; meanwhile the node
    /// does not vote ([`RaftGroup::is_suspect`]).
    ///
    /// # Errors
    /// See [`AddError`].
    pub fn add_group(
        &mut self,
        now: Now,
        group: GroupId,
        config: GroupConfig,
        machine: Arc<Mutex<SM>>,
        found: GroupLog,
    ) -> Result<(), AddError> {
        if self.groups.contains_key(&group) {
            return Err(AddError::Hosted(group));
        }
        if self.groups.len() >= dwcp_env::bound::GROUPS_PER_NODE {
            return Err(AddError::Many(dwcp_env::bound::GROUPS_PER_NODE));
        }
        let settings = config.openraft().map_err(|e| AddError::Config(e.to_string()))?;
        let config = Arc::new(config);
        let context = self.context.clone();
        // The clock is the executor's: it has not run yet when a node boots.
        self.run_only(now);
        let made = context.enter(|| self.open(group, &config, settings, machine, found))?;
        self.groups.insert(group, made);
        Ok(())
    }

    fn open(
        &self,
        group: GroupId,
        config: &Arc<GroupConfig>,
        settings: openraft::Config,
        machine: Arc<Mutex<SM>>,
        found: GroupLog,
    ) -> Result<RaftGroup<SM>, AddError> {
        let was_suspect = found.suspect;
        let (log, holed) = Log::open(
            group,
            config.clone(),
            self.wal.clone(),
            self.probe.clone(),
            self.grown.clone(),
            found,
        )?;
        let suspect = (was_suspect || holed).then(Suspect::default);
        let fresh = log.is_empty() && suspect.is_none();
        let shared = Shared::new(
            group,
            config.clone(),
            self.probe.clone(),
            machine,
            self.jobs.clone(),
            self.outbox.clone(),
            self.context.draw(),
        );
        let unfit = |why: String| AddError::State { group, why };
        let state = Machine::new(shared.clone()).map_err(|why| unfit(why.into()))?;
        let network = Network(shared.clone());
        let raft = at_once(Raft::new(config.node.0, Arc::new(settings), network, log.clone(), state))
            .ok_or_else(|| {
                unfit(String::from("the log was trimmed and there is no checkpoint to begin from"))
            })?
            .map_err(|fatal| unfit(stopped(&fatal).to_string()))?;
        raft.runtime_config().elect(suspect.is_none());
        let made = RaftGroup::new(shared, raft, log, suspect);
        watch::spawn(&made.0);
        if suspect.is_some() {
            suspect::spawn(&made.0);
        }
        if let (true, Some(members)) = (fresh, &config.initial) {
            Self::form_with(&made, members);
        }
        Ok(made)
    }

    fn form_with(group: &RaftGroup<SM>, members: &BTreeMap<NodeId, Member>) {
        let core = group.0.clone();
        let members: BTreeMap<u64, _> = members.iter().map(|(id, m)| (id.0, m.clone())).collect();
        drop(Runtime::spawn(async move {
            // Refused only if a leader has already spoken to us: then there is a group.
            let _formed = core.raft.initialize(members).await;
        }));
    }

    /// Lets go of a group: its tasks end, its log and state stay as they are.
    pub fn remove_group(&mut self, group: GroupId) {
        if let Some(gone) = self.groups.remove(&group) {
            let raft = gone.0.raft.clone();
            self.context.enter(|| {
                drop(Runtime::spawn(async move {
                    let _ended = raft.shutdown().await;
                }));
            });
        }
    }

    /// The groups hosted.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &RaftGroup<SM>)> {
        self.groups.iter().map(|(id, group)| (*id, group))
    }

    /// A group, to look at.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<&RaftGroup<SM>> {
        self.groups.get(&group)
    }

    /// A group as an [`Engine`], to ask something of.
    #[must_use]
    pub fn engine(&mut self, group: GroupId) -> Option<GroupEngine<'_, SM>> {
        self.groups.contains_key(&group).then_some(GroupEngine { host: self, group })
    }

    /// Asks for a command to be decided. See [`Engine::propose`]; like every method that names a
    /// group, it does nothing and says so if the group is not hosted.
    pub fn propose(&mut self, group: GroupId, token: Token, command: &Bytes) -> bool {
        self.with(group, |g| g.propose(token, command))
    }
    /// See [`Engine::barrier`].
    pub fn barrier(&mut self, group: GroupId, token: Token) -> bool {
        self.with(group, |g| g.barrier(token))
    }
    /// See [`Engine::change_members`].
    pub fn change_members(&mut self, group: GroupId, token: Token, change: MemberChange) -> bool {
        self.with(group, |g| g.change_members(token, change))
    }
    /// See [`Engine::transfer_leader`].
    pub fn transfer_leader(&mut self, group: GroupId, token: Token, to: NodeId) -> bool {
        self.with(group, |g| g.transfer_leader(token, to))
    }
    /// See [`Engine::seal`].
    pub fn seal(&mut self, group: GroupId, token: Token, next: &Bytes) -> bool {
        self.with(group, |g| g.seal(token, next))
    }
    /// See [`Engine::snapshot`].
    pub fn snapshot(&mut self, group: GroupId, token: Token) -> bool {
        self.with(group, |g| g.snapshot(token))
    }
    /// See [`Engine::message`].
    pub fn message(&mut self, group: GroupId, from: NodeId, lane: Lane, body: &Bytes) -> bool {
        self.with(group, |g| g.message(from, lane, body))
    }
    /// A hint that a peer's process is gone: groups that it leads look for another leader soon.
    pub fn unreachable(&mut self, peer: NodeId) {
        self.context.enter(|| self.groups.values().for_each(|g| g.unreachable(peer)));
    }
    /// A hint that the process of who was to form a group first is gone: another does so soon.
    pub fn unled(&mut self, group: GroupId, first: NodeId) -> bool {
        self.with(group, |g| g.unled(first))
    }
    /// A job has ended. Tells whether it was one of this host's.
    pub fn job_done(&mut self, job: JobId, result: JobResult) -> bool {
        self.jobs.lock().done(job, result)
    }

    /// How often a task has been polled: the measure of work.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.executor.as_ref().map_or(0, Executor::polls)
    }

    /// Runs until nothing is ready; adds to `out`; says when it wants to run again.
    pub fn run(&mut self, now: Now, out: &mut Vec<(GroupId, EngineOutput<SM::Response>)>) -> Option<Instant> {
        let mut wake = self.run_only(now);
        let grown = std::mem::take(&mut *self.grown.lock());
        if !grown.is_empty() {
            self.context
                .enter(|| grown.iter().filter_map(|g| self.groups.get(g)).for_each(RaftGroup::shorten_log));
            wake = self.run_only(now);
        }
        out.append(&mut self.outbox.lock());
        wake
    }

    fn run_only(&mut self, now: Now) -> Option<Instant> {
        let context = self.context.clone();
        context.enter(|| self.executor().run(now.mono))
    }

    fn executor(&mut self) -> &mut Executor {
        self.executor.as_mut().expect("the executor is there until the drop")
    }

    fn with(&self, group: GroupId, ask: impl FnOnce(&RaftGroup<SM>)) -> bool {
        match self.groups.get(&group) {
            Some(g) => {
                self.context.enter(|| ask(g));
                true
            }
            None => false,
        }
    }
}

impl<SM: StateMachine> Drop for RaftHost<SM> {
    fn drop(&mut self) {
        // What openraft drops asks for its runtime.
        let context = self.context.clone();
        context.enter(|| {
            self.groups.clear();
            self.executor = None;
        });
    }
}

/// One group of a host as an [`Engine`].
#[derive(Debug)]
pub struct GroupEngine<'a, SM: StateMachine> {
    host: &'a mut RaftHost<SM>,
    group: GroupId,
}

impl<SM: StateMachine> Engine for GroupEngine<'_, SM> {
    type Response = SM::Response;

    fn propose(&mut self, token: Token, command: Bytes) {
        self.host.propose(self.group, token, &command);
    }
    fn barrier(&mut self, token: Token) {
        self.host.barrier(self.group, token);
    }
    fn change_members(&mut self, token: Token, change: MemberChange) {
        self.host.change_members(self.group, token, change);
    }
    fn transfer_leader(&mut self, token: Token, to: NodeId) {
        self.host.transfer_leader(self.group, token, to);
    }
    fn seal(&mut self, token: Token, next: Bytes) {
        self.host.seal(self.group, token, &next);
    }
    fn snapshot(&mut self, token: Token) {
        self.host.snapshot(self.group, token);
    }
    fn message(&mut self, _now: Now, from: NodeId, lane: Lane, body: Bytes) {
        self.host.message(self.group, from, lane, &body);
    }
    fn job_done(&mut self, job: JobId, result: JobResult) {
        self.host.job_done(job, result);
    }
    fn status(&self) -> Status {
        self.host.group(self.group).map(RaftGroup::status).unwrap_or_default()
    }
    /// Runs all groups of the host; the outputs of the others stay for [`RaftHost::run`].
    fn run(&mut self, now: Now, out: &mut Vec<EngineOutput<SM::Response>>) -> Option<Instant> {
        let wake = self.host.run_only(now);
        let mut outbox = self.host.outbox.lock();
        let (ours, others) = std::mem::take(&mut *outbox).into_iter().partition(|(g, _)| *g == self.group);
        *outbox = others;
        drop(outbox);
        let ours: Vec<_> = ours;
        out.extend(ours.into_iter().map(|(_, output)| output));
        wake
    }
}
