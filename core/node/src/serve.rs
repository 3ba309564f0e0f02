//! Answers from state: behind a barrier, from this node's own state, watches, leases, snapshots.

use crate::api::{Answer, Ask, AskError, ConsensusStatus, GroupStatus, LeaseStatus, Response, WatchRequest};
use crate::node::{Node, Out};
use crate::question::{Origin, Waits};
use crate::repair::Serving;
use crate::route::reply;
use bytes::Bytes;
use dwcp_chain::Spec;
use dwcp_consensus::{Checkpointed, Piece, StateMachine as _, Token, Work};
use dwcp_env::{ByteCount, Duration, Event, GroupId, Instant, Job, JobId, JobResult, NodeId, Now, RequestId};
use dwcp_store::api::{Applied, Op, OpError};
use dwcp_store::{WatchId, WatchUpdate};

/// Leases revoked in one turn.
const LEASES_AT_ONCE: usize = 256;
/// A revocation is asked for again after this long.
const REVOKE_WITHIN: Duration = Duration::secs(5);
/// Watch events told in one turn.
const EVENTS_A_TURN: usize = 4_096;

/// What a job of the node's own was for.
#[derive(Debug)]
pub(crate) enum NodeJob {
    /// A piece of a snapshot for a client.
    ClientPiece { token: Token, checkpoint: Checkpointed },
    /// A piece of a checkpoint for a peer that repairs itself.
    PeerPiece { to: NodeId, group: GroupId, serving: Serving },
    /// A received piece is being written.
    InstallPiece { group: GroupId },
    /// A received checkpoint is being swapped in.
    Install { group: GroupId },
    /// An eventual keyspace's state is being written.
    Eventual { group: GroupId },
    /// An empty state is being made for a hybrid keyspace's copy.
    HybridReset { group: GroupId },
    /// A copy's state is being written.
    HybridCheckpoint { group: GroupId },
    /// What a deposed home had decided alone is being written.
    HybridAside { group: GroupId },
}

impl Node {
    /// Names a job of the node's own and hands it to the world.
    pub(crate) fn start_job(&mut self, what: NodeJob, work: Work, out: &mut Out) {
        self.next_job += 1;
        let id = JobId(self.next_job);
        self.jobs.insert(id, what);
        out.jobs.push(Job { id, name: work.name, cost: work.cost, run: work.run });
    }

    /// A question nobody outside waits for.
    pub(crate) fn own_question(&mut self, group: GroupId, ask: Ask, deadline: Instant) -> Option<Token> {
        let token = self.questions.open(group, ask, Origin::Node, deadline).ok()?;
        self.questions.wait(token, Waits::Engine, Instant::FAR);
        Some(token)
    }

    pub(crate) fn on_own_job(&mut self, now: Now, job: NodeJob, result: JobResult, out: &mut Out) {
        match job {
            NodeJob::ClientPiece { token, checkpoint } => {
                self.on_client_piece(token, &checkpoint, result, out)
            }
            NodeJob::PeerPiece { to, group, serving } => self.on_peer_piece(to, group, serving, result, out),
            NodeJob::InstallPiece { group } => self.on_piece_installed(now, group, result, out),
            NodeJob::Install { group } => self.on_installed(now, group, result, out),
            NodeJob::HybridReset { group } => self.on_hybrid_reset(now, group, result, out),
            NodeJob::HybridCheckpoint { group } => self.on_copy_checkpoint(group, result, out),
            NodeJob::HybridAside { group } => self.on_aside(now, group, result, out),
            NodeJob::Eventual { group } => {
                if let Some(e) = self.eventual.get_mut(&group) {
                    e.replica.on_job(now, result);
                }
            }
        }
    }

    /// A write has been applied.
    pub(crate) fn answer_applied(
        &mut self,
        now: Now,
        group: GroupId,
        token: Token,
        applied: Applied,
        out: &mut Out,
    ) {
        let response = applied.map(Answer::Written).map_err(AskError::Op);
        if self.hybrid.contains_key(&group) {
            return self.answer_from_home(now, group, token, response, out);
        }
        self.answer(token, response, out);
    }

    /// The barrier has passed: this node's state is as new as the question.
    pub(crate) fn answer_behind_barrier(&mut self, now: Now, token: Token, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let (group, ask) = (q.group, q.ask.clone());
        if matches!(ask, Ask::LeaseKeepAlive(_) | Ask::LeaseTimeToLive { .. }) {
            // The barrier may have passed in the turn that applied the grant, or made this node the leader.
            self.wind_lease_clock(now, group);
        }
        let response = match ask {
            Ask::LeaseKeepAlive(id) => self.keep_alive(now, group, id),
            Ask::LeaseTimeToLive { id, keys } => self.time_to_live(now, group, id, keys),
            ask => self.answer_locally(group, &ask),
        };
        if self.hybrid.contains_key(&group) {
            return self.answer_from_home(now, group, token, response, out);
        }
        self.answer(token, response, out);
    }

    /// An answer from this node's own state.
    pub(crate) fn answer_locally(&self, group: GroupId, ask: &Ask) -> Response {
        let Some(g) = self.groups.get(&group) else { return Err(AskError::NoGroup(group)) };
        if let Some(repair) = &g.repair
            && !matches!(ask, Ask::Status | Ask::Members | Ask::Consensus)
        {
            return Err(AskError::Refused(repair.to_string()));
        }
        match ask {
            Ask::Range { range, .. } => {
                let store = g.store();
                let (header, range) = store.range(range).map_err(AskError::Op)?;
                Ok(Answer::Range { revision: header.revision, range })
            }
            Ask::Leases => {
                let store = g.store();
                Ok(Answer::Leases { revision: store.revision(), ids: store.leases().map(|l| l.id).collect() })
            }
            Ask::HashKv(revision) => {
                let found = g.store().hash_kv(*revision).map_err(AskError::Op)?;
                let hash = found.hash.first_chunk().map_or(0, |h| u64::from_le_bytes(*h));
                Ok(Answer::Hash { hash, revision: found.revision, compact_revision: found.compact_revision })
            }
            Ask::Members => Ok(Answer::Members(self.engine_status(group).members)),
            Ask::Consensus => {
                let copy = || AskError::Refused(self.why_not_home(group));
                let gone =
                    || if self.hybrid.contains_key(&group) { copy() } else { AskError::NoGroup(group) };
                let status = self.consensus(group).ok_or_else(gone)?;
                Ok(Answer::Consensus(Box::new(status)))
            }
            _ => {
                let status = self.status(group).ok_or(AskError::NoGroup(group))?;
                Ok(Answer::Status(Box::new(status)))
            }
        }
    }

    /// Which engine orders a group's commands, as this node sees it, if its engine runs.
    #[must_use]
    pub fn consensus(&self, group: GroupId) -> Option<ConsensusStatus> {
        let g = self.host.group(group)?;
        let brief = self.host.brief(group);
        let (base, past) = g.history();
        Some(ConsensusStatus {
            node: self.config.node,
            group,
            spec: Spec { members: self.host.members(group), ..g.spec() },
            base,
            past,
            role: brief.role,
            term: brief.term,
            leader: brief.leader,
            applied: brief.applied_index,
            silent: self.host.is_suspect(group),
            origin: self.groups.get(&group).map(|g| g.origins.get()).unwrap_or_default(),
            policy: self.config.policy.clone(),
            configured: self.other_engine(group),
            advice: self.host.advice(group),
            peers: self.host.whereabouts(group),
        })
    }

    /// How this node sees a group, if it hosts it.
    #[must_use]
    pub fn status(&self, group: GroupId) -> Option<GroupStatus> {
        let g = self.groups.get(&group)?;
        let engine = self.engine_status(group);
        // It looks into the store, too, whose lock nobody takes twice.
        let configured = self.other_engine(group);
        let store = g.store();
        let spec = self.host.group(group).map(|c| c.spec()).unwrap_or_default();
        Some(GroupStatus {
            node: self.config.node,
            group,
            keyspace: g.keyspace.clone(),
            role: engine.role,
            term: engine.term,
            leader: engine.leader.or_else(|| self.hybrid.get(&group)?.leader_heard()),
            last_index: engine.last_index,
            committed_index: engine.committed_index,
            applied_index: engine.applied.or(store.position()).map_or(0, |p| p.index),
            checkpoint_index: engine.snapshot_index,
            revision: store.revision(),
            keys: store.key_count() as u64,
            state_bytes: store.file_size().0,
            matched: engine.matched,
            repairing: g.repair.as_ref().map(ToString::to_string),
            configured,
            epoch: spec.epoch,
            engine: spec.engine,
            silent: self.host.is_suspect(group),
            taken: self.host.tally(group).into_iter().map(|(name, n)| (name.to_owned(), n)).collect(),
        })
    }

    // --- watches ---------------------------------------------------------------------

    pub(crate) fn begin_watch(&mut self, id: RequestId, group: GroupId, watch: WatchRequest, out: &mut Out) {
        self.next_watch += 1;
        let number = WatchId(self.next_watch);
        let Some(g) = self.groups.get_mut(&group) else { return };
        let store = g.store.lock();
        g.watchers.add(number, watch.spec(), &store);
        g.watches.insert(number, id);
        // The first answer says from where it is watching.
        let revision = store.revision();
        g.more_to_watch = true;
        reply(out, id, Ok(Answer::Watched { revision, events: Vec::new() }), false);
    }

    pub(crate) fn on_cancel(&mut self, id: RequestId) {
        if self.questions.cancel(id).is_some() {
            return;
        }
        self.eventual.values_mut().for_each(|e| e.replica.on_cancel(id));
        for g in self.groups.values_mut() {
            let gone: Vec<WatchId> = g.watches.iter().filter(|(_, r)| **r == id).map(|(n, _)| *n).collect();
            for number in gone {
                g.watches.remove(&number);
                g.watchers.remove(number);
            }
        }
    }

    /// Tells watches what has happened; more than a turn's worth is told in the next ones.
    pub(crate) fn tell_watchers(&mut self, now: Now, out: &mut Out) {
        for g in self.groups.values_mut().filter(|g| !g.watches.is_empty()) {
            let store = g.store.lock();
            let watches = &mut g.watches;
            g.more_to_watch = g.watchers.drain(&store, EVENTS_A_TURN, &mut |number, update| {
                let Some(id) = watches.get(&number).copied() else { return };
                match update {
                    WatchUpdate::Events { revision, events } => {
                        reply(out, id, Ok(Answer::Watched { revision, events }), false);
                    }
                    WatchUpdate::Compacted { compact_revision } => {
                        watches.remove(&number);
                        reply(out, id, Err(AskError::Op(OpError::Compacted { compact_revision })), true);
                    }
                }
            });
            if g.more_to_watch {
                out.wake_by(now.mono);
            }
        }
    }

    // --- leases ----------------------------------------------------------------------

    /// Keeps the clocks of leases: winds them up on coming to lead, takes over what was granted and ended, and
    /// revokes through the log what has run out. The leader decides, by its monotonic clock.
    pub(crate) fn keep_leases(&mut self, now: Now) {
        let mut due = Vec::new();
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            self.wind_lease_clock(now, id);
            // A home that may not answer ends nobody's lease either.
            if self.hybrid.contains_key(&id) && !self.may_answer(now, id) {
                continue;
            }
            let Some(group) = self.groups.get_mut(&id).filter(|g| g.leases.is_leading()) else { continue };
            due.extend(
                group.leases.due(now.mono, LEASES_AT_ONCE, REVOKE_WITHIN).into_iter().map(|l| (id, l)),
            );
        }
        for (group, lease) in due {
            self.probe.event(&Event::LeaseExpired { group, lease });
            let ask = Ask::Write { session: None, op: Op::LeaseRevoke { id: lease, expired: true } };
            // With no room for one more question the lease is due again a little later.
            if let Ok(token) = self.questions.open(group, ask, Origin::Node, now.mono + REVOKE_WITHIN) {
                self.give_to_engine(now, token);
            }
        }
    }

    /// Brings a group's clock up to what is applied and to who leads.
    pub(crate) fn wind_lease_clock(&mut self, now: Now, id: GroupId) {
        let brief = self.host.brief(id);
        let Some(group) = self.groups.get_mut(&id) else { return };
        if brief.keeper != Some(self.config.node) {
            #[cfg(feature = "planted-bugs")]
            if self.config.bugs.lease_clock_kept {
                return group.leases.rest();
            }
            if group.leases.is_leading() {
                group.leases.follow();
            }
            return;
        }
        let mut store = group.store.lock();
        #[cfg(feature = "planted-bugs")]
        if group.leases_term != brief.term {
            let bugs = &self.config.bugs;
            if group.leases.resumes(bugs.lease_clock_kept, bugs.lease_never_due, &mut store) {
                group.leases_term = brief.term;
            }
        }
        if group.leases.is_leading() && group.leases_term == brief.term {
            group.leases.observe(now.mono, &mut store);
        } else {
            group.leases.lead(now.mono, &mut store);
            group.leases_term = brief.term;
        }
    }

    pub(crate) fn next_lease(&self) -> Option<Instant> {
        self.groups.values().filter_map(|g| g.leases.next()).min()
    }

    fn keep_alive(&mut self, now: Now, group: GroupId, id: i64) -> Response {
        let Some(g) = self.groups.get_mut(&group) else { return Err(AskError::NoGroup(group)) };
        let revision = g.store().revision();
        #[cfg(feature = "planted-bugs")]
        if self.config.bugs.keepalive_anywhere {
            let renewed = g.leases.renew(now.mono, id);
            let ttl_s = renewed.or_else(|| g.store().lease(id).map(|l| l.ttl_s)).unwrap_or(0);
            return Ok(Answer::KeptAlive { revision, ttl_s });
        }
        if !g.leases.is_leading() {
            // The keeper has changed since the barrier: who keeps no clock does not know that a lease is over.
            return Err(AskError::NoLeader);
        }
        Ok(Answer::KeptAlive { revision, ttl_s: g.leases.renew(now.mono, id).unwrap_or(0) })
    }

    fn time_to_live(&self, now: Now, group: GroupId, id: i64, keys: bool) -> Response {
        let Some(g) = self.groups.get(&group) else { return Err(AskError::NoGroup(group)) };
        let store = g.store();
        let lease = store.lease(id).map(|lease| LeaseStatus {
            granted_ttl_s: lease.ttl_s,
            ttl_s: g.leases.remaining(now.mono, id).map_or(lease.ttl_s, |left| left.as_secs().cast_signed()),
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        });
        Ok(Answer::Lease { revision: store.revision(), lease })
    }

    // --- snapshots -------------------------------------------------------------------

    pub(crate) fn begin_snapshot(&mut self, now: Now, token: Token, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let group = q.group;
        if self.repairing(group) {
            let again = now.mono + self.patience.look_again;
            return self.questions.wait(token, Waits::Leader, again);
        }
        if self.host.group(group).is_none() {
            let why = "this node holds a copy of the keyspace: ask a node of its home for a snapshot";
            return self.answer(token, Err(AskError::Refused(why.into())), out);
        }
        let fresh = {
            let Some(g) = self.groups.get(&group) else { return };
            let store = g.store();
            let applied = self.engine_status(group).applied;
            store.current_checkpoint().is_some_and(|c| Some(c.at) == applied)
        };
        self.questions.wait(token, Waits::Engine, Instant::FAR);
        if fresh {
            self.on_done(now, token, out);
        } else {
            self.host.snapshot(group, token);
        }
    }

    /// An engine has done what it was asked: answer, or for a snapshot begin to read it.
    pub(crate) fn on_done(&mut self, _now: Now, token: Token, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        if matches!(q.ask, Ask::ChangeMembers(_)) {
            // As of here, where the change was made: who asked may hear of the epoch it began later than of the answer.
            let members = self.engine_status(q.group).members;
            return self.answer(token, Ok(Answer::Members(members)), out);
        }
        if !matches!(q.ask, Ask::Snapshot) || q.origin == Origin::Node {
            return self.answer(token, Ok(Answer::Done), out);
        }
        let group = q.group;
        let checkpoint = self.groups.get(&group).and_then(|g| g.store().current_checkpoint());
        match checkpoint {
            Some(checkpoint) => self.read_client_piece(token, group, checkpoint, Bytes::new(), out),
            None => self.answer(token, Err(AskError::Refused("nothing has been written yet".into())), out),
        }
    }

    fn read_client_piece(
        &mut self,
        token: Token,
        group: GroupId,
        checkpoint: Checkpointed,
        cursor: Bytes,
        out: &mut Out,
    ) {
        let work = self.groups.get(&group).and_then(|g| g.store().read_piece(checkpoint.at, cursor));
        match work {
            Some(work) => {
                self.questions.wait(token, Waits::Job, Instant::FAR);
                self.start_job(NodeJob::ClientPiece { token, checkpoint }, work, out);
            }
            None => {
                let why = "a newer checkpoint has replaced the one that was being read; ask again";
                self.answer(token, Err(AskError::Refused(why.into())), out);
            }
        }
    }

    fn on_client_piece(&mut self, token: Token, checkpoint: &Checkpointed, result: JobResult, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let (group, origin) = (q.group, q.origin);
        let piece = match piece_of(result) {
            Ok(piece) => piece,
            Err(why) => return self.answer(token, Err(AskError::Refused(why)), out),
        };
        let Origin::Client(id) = origin else { return };
        let last = piece.next.is_none();
        let remaining = ByteCount(u64::from(!last));
        let answer = Answer::Piece { at: checkpoint.at, data: piece.data, remaining };
        match piece.next {
            None => self.answer(token, Ok(answer), out),
            Some(next) => {
                reply(out, id, Ok(answer), false);
                self.read_client_piece(token, group, checkpoint.clone(), next, out);
            }
        }
    }
}

/// What a job that read a piece gave.
pub(crate) fn piece_of(result: JobResult) -> Result<Piece, String> {
    match result.and_then(|r| r.downcast::<Result<Piece, String>>().ok()) {
        Some(piece) => *piece,
        None => Err("the job that read the piece was lost".into()),
    }
}
