//! The turn: what arrived is taken, engines run until nothing is ready, wishes are gathered.

use crate::api::{Ask, Request, Response};
use crate::config::{NodeConfig, Patience};
use crate::eventual::EventualGroup;
use crate::group::Group;
use crate::hybrid::HybridGroup;
use crate::outside::Outside;
use crate::peer::{About, Body, PeerMessage, engine_body, parse};
use crate::question::Questions;
use crate::serve::NodeJob;
use bytes::Bytes;
use dwcp_chain::ChainHost;
use dwcp_consensus::{EngineError, EngineOutput, Token};
use dwcp_env::contract::Stopped;
use dwcp_env::{
    DiskError, Event, GroupId, Input, Instant, JobId, JobResult, Lane, Machine, NodeId, Now, Outputs,
    PeerFault, Probe, Send, Ticket,
};
use dwcp_raft::SharedWal;
use dwcp_store::Store;
use dwcp_store::api::Applied;
use std::collections::BTreeMap;

/// What a node fills in a turn.
pub(crate) type Out = Outputs<Response>;

/// The node's own jobs begin here; its engines' lie below.
pub(crate) const OWN_JOBS: u64 = dwcp_raft::JOBS_END;

/// A node. Made by [`Node::boot`].
pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) patience: Patience,
    pub(crate) probe: Probe,
    pub(crate) wal: SharedWal,
    pub(crate) host: ChainHost<Store>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) eventual: BTreeMap<GroupId, EventualGroup>,
    pub(crate) hybrid: BTreeMap<GroupId, HybridGroup>,
    pub(crate) outside: BTreeMap<GroupId, Outside>,
    pub(crate) questions: Questions,
    pub(crate) jobs: BTreeMap<JobId, NodeJob>,
    pub(crate) next_job: u64,
    pub(crate) next_watch: u64,
    next_ticket: u64,
    engine_out: Vec<(GroupId, EngineOutput<Applied>)>,
    due: Vec<Token>,
    /// Present once asked to stop: when to give up handing over.
    pub(crate) stopping: Option<Instant>,
    pub(crate) ended: bool,
    /// When to seal the log's last batch, so that a later tear can be told from rot.
    idle_mark_at: Option<Instant>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Node({}, {} groups, {} questions)",
            self.config.node,
            self.groups.len(),
            self.questions.len()
        )
    }
}

impl Machine for Node {
    type Request = Request;
    type Response = Response;

    fn step(&mut self, now: Now, input: Input<Request>, out: &mut Out) {
        if !self.ended {
            self.take(now, input, out);
            self.settle(now, out);
        }
    }

    fn turn(&mut self, now: Now, inputs: &mut Vec<Input<Request>>, out: &mut Out) {
        for input in inputs.drain(..) {
            if !self.ended {
                self.take(now, input, out);
            }
        }
        if !self.ended {
            self.settle(now, out);
        }
    }
}

impl Node {
    pub(crate) fn new(
        config: NodeConfig,
        probe: Probe,
        wal: SharedWal,
        host: ChainHost<Store>,
        first_token: u64,
    ) -> Self {
        Self {
            patience: config.patience(),
            config,
            probe,
            wal,
            host,
            groups: BTreeMap::new(),
            eventual: BTreeMap::new(),
            hybrid: BTreeMap::new(),
            outside: BTreeMap::new(),
            questions: Questions::starting_at(first_token),
            jobs: BTreeMap::new(),
            next_job: OWN_JOBS,
            next_watch: 0,
            next_ticket: 0,
            engine_out: Vec::new(),
            due: Vec::new(),
            stopping: None,
            ended: false,
            idle_mark_at: None,
        }
    }

    /// The node's name.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.config.node
    }

    fn take(&mut self, now: Now, input: Input<Request>, out: &mut Out) {
        match input {
            Input::Message { from, lane, body } => self.on_message(now, from, lane, &body, out),
            Input::Disk { ticket, result } => self.on_disk(now, ticket, result, out),
            Input::Job { job, result } => self.on_job(now, job, result, out),
            Input::Wake => {}
            Input::Request { id, deadline, request } => {
                self.on_request(now, id, deadline, request.group, request.ask, out);
            }
            Input::Unreachable { peer } => {
                self.host.unreachable(now, peer);
                self.eventual.values_mut().for_each(|e| e.replica.unreachable(now, peer));
            }
            Input::Cancel { id } => self.on_cancel(id),
            Input::Stop { deadline } => self.begin_stop(now, deadline),
        }
    }

    /// Engines of ended epochs that were let go answer no more: what they were asked may have been done.
    fn give_up_on_ended(&mut self, now: Now, out: &mut Out) {
        for (group, epoch) in self.host.take_ended() {
            for token in self.questions.given_in(group, epoch) {
                self.probe.reachable("node.asked_an_ended_epoch");
                self.on_engine_error(now, token, EngineError::Unknown, out);
            }
        }
    }

    /// Runs everything until nothing is ready, and gathers what the world has to do.
    fn settle(&mut self, now: Now, out: &mut Out) {
        self.ring_alarms(now, out);
        self.keep_hybrid(now, out);
        self.keep_leases(now);
        let mut next_run;
        loop {
            next_run = self.host.run(now, &mut self.engine_out);
            if self.engine_out.is_empty() {
                break;
            }
            let mut outputs = std::mem::take(&mut self.engine_out);
            for (group, output) in outputs.drain(..) {
                self.on_engine(now, group, output, out);
            }
            self.engine_out = outputs;
            self.give_up_on_ended(now, out);
            self.notice_leaders(now, out);
            self.keep_leases(now);
        }
        self.notice_epochs(now);
        self.tell_peers(out);
        if let Some(why) = self.failure() {
            return self.fail(why, out);
        }
        self.run_repairs(now, out);
        self.seek_leaders(now, out);
        self.settle_hybrid(now, out);
        self.settle_eventual(now, out);
        if let Some(why) = self.eventual.values().find_map(|e| e.replica.failure().map(str::to_string)) {
            return self.fail(why, out);
        }
        // A watch hears of a revision before any answer of this turn shows it.
        let answers = out.replies.len();
        self.tell_watchers(now, out);
        out.replies.rotate_left(answers);
        self.continue_stop(now, out);
        self.wal.lock().flush(&mut self.next_ticket, &mut out.disk);
        self.mark_idle(now, out);
        let wakes = [next_run, self.questions.next_alarm(), self.next_lease(), self.idle_mark_at];
        for at in wakes.into_iter().flatten() {
            out.wake_by(at);
        }
    }

    fn on_message(&mut self, now: Now, from: NodeId, lane: Lane, body: &Bytes, out: &mut Out) {
        match parse(from, body) {
            Ok(Body::Engine(group, message)) => {
                let heard = self.hybrid.get(&group).is_none_or(|h| h.hears(from));
                if heard && self.groups.contains_key(&group) && !self.repairing(group) {
                    self.host.message(now, group, from, lane, &message);
                }
            }
            Ok(Body::Eventual(group, message)) => self.on_eventual(now, from, group, &message),
            Ok(Body::Hybrid(group, message)) => self.on_hybrid(now, from, group, *message, out),
            Ok(Body::Peer(group, message)) => self.on_peer(now, from, group, *message, out),
            Err(fault) => self.on_fault(from, &fault),
        }
    }

    pub(crate) fn on_fault(&self, from: NodeId, fault: &PeerFault) {
        self.probe.event(&Event::PeerFaulted { from, why: fault.to_string() });
    }

    fn on_peer(&mut self, now: Now, from: NodeId, group: GroupId, message: PeerMessage, out: &mut Out) {
        if self.is_outside(group) {
            return match message {
                PeerMessage::Answer { call, response, leader } => {
                    self.on_answer(now, from, call, response, leader, out)
                }
                PeerMessage::LeaderIs(lead) => self.on_leader_is(now, from, group, lead, out),
                _ => {}
            };
        }
        if !self.groups.contains_key(&group) {
            return;
        }
        match message {
            PeerMessage::LeaderWanted => self.on_leader_wanted(from, group, out),
            PeerMessage::Ask { call, time_left, ask } => {
                self.on_asked(now, About { from, group }, call, time_left, ask, out)
            }
            PeerMessage::Answer { call, response, leader } => {
                self.on_answer(now, from, call, response, leader, out)
            }
            PeerMessage::EntryWanted { at } => self.on_entry_wanted(from, group, at, out),
            PeerMessage::CheckpointWanted { at, at_least, cursor } => {
                self.on_checkpoint_wanted(now, About { from, group }, at, at_least, cursor, out);
            }
            repair_answer => self.on_repair_answer(now, from, group, repair_answer, out),
        }
    }

    fn on_disk(&mut self, now: Now, ticket: Ticket, result: Result<(), DiskError>, out: &mut Out) {
        let completed = self.wal.lock().completed(ticket, result);
        if let Err(error) = completed {
            return self.fail(error.to_string(), out);
        }
        self.idle_mark_at = Some(now.mono + self.config.engine.heartbeat);
    }

    /// When nothing has been written for a heartbeat, the last batch is sealed.
    fn mark_idle(&mut self, now: Now, out: &mut Out) {
        if self.idle_mark_at.is_some_and(|at| at <= now.mono) {
            self.idle_mark_at = None;
            let mut wal = self.wal.lock();
            if wal.idle_mark() {
                wal.flush(&mut self.next_ticket, &mut out.disk);
            }
        }
    }

    fn on_job(&mut self, now: Now, job: JobId, result: JobResult, out: &mut Out) {
        if job.0 < OWN_JOBS {
            self.host.job_done(now, job, result);
        } else if let Some(mine) = self.jobs.remove(&job) {
            self.on_own_job(now, mine, result, out);
        }
    }

    fn on_engine(&mut self, now: Now, group: GroupId, output: EngineOutput<Applied>, out: &mut Out) {
        match output {
            EngineOutput::Send { to, lane, body } => {
                out.sends.push(Send { to, lane, body: engine_body(group, &body), after: None });
            }
            EngineOutput::Proposed { token, result } => match result {
                Ok((_, applied)) => self.answer_applied(now, group, token, applied, out),
                Err(error) => self.on_engine_error(now, token, error, out),
            },
            EngineOutput::Barrier { token, result } => match result {
                Ok(()) => self.answer_behind_barrier(now, token, out),
                Err(error) => self.on_engine_error(now, token, error, out),
            },
            EngineOutput::Done { token, result } => match result {
                Ok(()) => self.on_done(now, token, out),
                Err(error) => self.on_engine_error(now, token, error, out),
            },
            EngineOutput::Job(job) => out.jobs.push(job),
        }
    }

    fn ring_alarms(&mut self, now: Now, out: &mut Out) {
        let mut due = std::mem::take(&mut self.due);
        self.questions.due(now.mono, &mut due);
        for token in due.drain(..) {
            self.on_alarm(now, token, out);
        }
        self.due = due;
    }

    fn notice_leaders(&mut self, now: Now, out: &mut Out) {
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            let seen = self.engine_leader(id);
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if group.seen_leader != seen {
                group.seen_leader = seen;
                if let Some(leader) = seen.1 {
                    self.on_leader(now, id, leader, out);
                }
            }
        }
    }

    /// Why the node can't go on, if so: a store that can't be believed, an engine that has stopped.
    fn failure(&self) -> Option<String> {
        self.groups.values().find_map(|g| {
            let store = g.store().failure().map(ToString::to_string);
            store.or_else(|| self.host.fatal(g.id))
        })
    }

    /// The leader of a group, as this node sees it.
    pub(crate) fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.engine_leader(group).1
    }

    /// Term and leader of a group, as its engine sees them.
    pub(crate) fn engine_leader(&self, group: GroupId) -> (u64, Option<NodeId>) {
        let brief = self.host.brief(group);
        (brief.term, brief.leader)
    }

    pub(crate) fn engine_status(&self, group: GroupId) -> dwcp_consensus::Status {
        self.host.status(group)
    }

    pub(crate) fn repairing(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(|g| g.repair.is_some())
    }

    /// The environment has failed the node: it ends, and says what to do.
    pub(crate) fn fail(&mut self, why: String, out: &mut Out) {
        self.probe.event(&Event::DiskFailed { why: why.clone() });
        self.probe.event(&Event::NodeStopped { why: why.clone() });
        self.ended = true;
        // Nothing half-done leaves a node that has failed.
        out.clear();
        out.stopped = Some(Stopped::Failed(why));
    }

    fn begin_stop(&mut self, now: Now, deadline: Instant) {
        if self.stopping.is_some() {
            return;
        }
        // Half of the time for handing over, half for the log's last write.
        self.stopping = Some(now.mono + deadline.since(now.mono) / 2);
        self.eventual.values_mut().for_each(|e| e.replica.end());
        for (id, to) in self.led_groups() {
            let token = self.own_question(id, Ask::MoveLeader(to), deadline);
            if let Some(token) = token {
                self.host.transfer_leader(now, id, token, to);
            }
        }
    }

    /// Ends when what this node led is led by another, or the time for that is over.
    fn continue_stop(&mut self, now: Now, out: &mut Out) {
        let Some(give_up) = self.stopping else { return };
        out.wake_by(give_up);
        if !self.led_groups().is_empty() && now.mono < give_up {
            return;
        }
        for token in self.questions.all() {
            self.answer(token, Err(crate::AskError::Unknown), out);
        }
        let flushed = {
            let wal = self.wal.lock();
            wal.durable() == wal.last()
        };
        if flushed || now.mono >= give_up {
            self.ended = true;
            out.stopped = Some(Stopped::Asked);
        }
    }

    /// Groups this node leads with others who could, and the best of these: the one whose log reaches furthest.
    fn led_groups(&self) -> Vec<(GroupId, NodeId)> {
        let me = self.config.node;
        let leads = |id: GroupId| {
            let brief = self.host.brief(id);
            // Where every member serves there is nothing to hand over.
            brief.leader == Some(me) && !brief.engine.serves_everywhere()
        };
        let led = self.groups.keys().filter(|id| leads(**id));
        led.filter_map(|id| {
            let status = self.engine_status(*id);
            let voters = status.members.voters.iter().filter(|v| **v != me);
            voters.max_by_key(|v| status.matched.get(*v)).map(|v| (*id, *v))
        })
        .collect()
    }
}
