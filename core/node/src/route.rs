//! Where a question goes: to this node's engine, to the leader, or back.

use crate::api::{Ask, AskError, Response};
use crate::hybrid::Way;
use crate::node::{Node, Out};
use crate::peer::{About, Call, PeerMessage, peer_body};
use crate::question::{Origin, Question, Waits};
use dwcp_consensus::{EngineError, Token};
use dwcp_env::bound::FRAME_BODY_MAX;
use dwcp_env::wire;
use dwcp_env::{Duration, Event, GroupId, Instant, Lane, NodeId, Now, Reply, RequestId, Send};
use dwcp_store::api::{Command, Op};

impl Node {
    /// A client's question, at this node's door.
    pub(crate) fn on_request(
        &mut self,
        now: Now,
        id: RequestId,
        deadline: Instant,
        group: GroupId,
        ask: Ask,
        out: &mut Out,
    ) {
        if self.stopping.is_some() {
            return reply(out, id, Err(AskError::Stopping), true);
        }
        if self.eventual.contains_key(&group) {
            return self.ask_eventual(now, id, deadline, group, ask, out);
        }
        if self.is_outside(group) {
            return self.ask_outside(now, (id, deadline), group, ask, out);
        }
        if !self.groups.contains_key(&group) {
            return reply(out, id, Err(AskError::NoGroup(group)), true);
        }
        match ask {
            Ask::Hybrid(ask) => self.ask_hybrid(now, (id, deadline), group, ask, out),
            Ask::Eventual(_) => {
                let why = "this keyspace is strong: it takes no commands of eventual ones".to_string();
                reply(out, id, Err(AskError::Refused(why)), true);
            }
            Ask::Watch(watch) => self.begin_watch(id, group, watch, out),
            Ask::Status
            | Ask::Members
            | Ask::Consensus
            | Ask::HashKv(_)
            | Ask::Range { serializable: true, .. } => {
                let response = self.answer_locally(group, &ask);
                reply(out, id, response, true);
            }
            ask => match self.open_counted(group, ask, id, deadline) {
                Ok(token) => self.route(now, token, None, out),
                Err(refused) => {
                    self.probe.event(&Event::Overloaded { in_flight: self.questions.len() as u64 });
                    reply(out, id, Err(refused), true);
                }
            },
        }
    }

    /// Opens a client's question; a write counts for the selection.
    fn open_counted(
        &mut self,
        group: GroupId,
        ask: Ask,
        id: RequestId,
        deadline: Instant,
    ) -> Result<Token, AskError> {
        if matches!(ask, Ask::Write { .. }) {
            self.host.note_write(group);
        }
        self.questions.open(group, ask, Origin::Client(id), deadline)
    }

    /// A peer's question, in its client's place.
    pub(crate) fn on_asked(
        &mut self,
        now: Now,
        about: About,
        call: Call,
        time_left: Duration,
        ask: Ask,
        out: &mut Out,
    ) {
        let About { from, group } = about;
        let refuse = |node: &Self, error, out: &mut Out| {
            let leader = node.leader(group);
            send_answer(out, from, group, call, Err(error), leader);
        };
        if !ask.forwards() || self.stopping.is_some() {
            return refuse(self, AskError::NoLeader, out);
        }
        let deadline = now.mono + time_left;
        match self.questions.open(group, ask, Origin::Peer(from, call), deadline) {
            Ok(token) => self.route(now, token, None, out),
            Err(error) => refuse(self, error, out),
        }
    }

    /// Sends a question where it can be answered now, or lets it wait. `hint` names a likelier leader than the
    /// one this node knows.
    pub(crate) fn route(&mut self, now: Now, token: Token, hint: Option<NodeId>, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let (group, origin, repairing) = (q.group, q.origin, self.repairing(q.group));
        if matches!(q.ask, Ask::Snapshot) {
            return self.begin_snapshot(now, token, out);
        }
        #[cfg(feature = "planted-bugs")]
        if self.config.bugs.read_without_barrier && matches!(q.ask, Ask::Range { .. }) {
            return self.answer_behind_barrier(now, token, out);
        }
        #[cfg(feature = "planted-bugs")]
        if matches!(q.ask, Ask::LeaseKeepAlive(_))
            && (self.config.bugs.keepalive_anywhere
                || (self.config.bugs.keepalive_without_barrier
                    && self.leader(group) == Some(self.config.node)))
        {
            return self.answer_behind_barrier(now, token, out);
        }
        if self.hybrid.contains_key(&group) {
            return self.route_home(now, token, hint, out);
        }
        let me = self.config.node;
        let keeper = q.ask.needs_keeper();
        let leader = match self.host.brief(group) {
            _ if repairing => None,
            _ if self.is_outside(group) => self.leader_outside(now, group, keeper),
            brief if keeper => brief.keeper,
            brief => brief.leader,
        };
        match (hint.filter(|h| *h != me).or(leader), origin) {
            (Some(l), _) if l == me => self.give_to_engine(now, token),
            (_, Origin::Peer(..)) => self.answer(token, Err(AskError::NoLeader), out),
            (Some(l), _) => self.give_to_peer(now, token, l, out),
            (None, _) => self.questions.wait(token, Waits::Leader, now.mono + self.patience.look_again),
        }
    }

    /// The same for a hybrid keyspace: to its home, which answers while it is sure to be.
    fn route_home(&mut self, now: Now, token: Token, hint: Option<NodeId>, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let (group, origin) = (q.group, q.origin);
        let again = now.mono + self.patience.look_again;
        match (self.way_home(now, group, &q.ask, hint), origin) {
            (_, _) if self.repairing(group) && hint.is_none() && self.host.group(group).is_some() => {
                self.questions.wait(token, Waits::Leader, again);
            }
            (Way::Engine, _) => self.give_to_engine(now, token),
            (Way::Peer(_), Origin::Peer(..)) => self.answer(token, Err(AskError::NoLeader), out),
            (Way::Peer(to), _) => self.give_to_peer(now, token, to, out),
            (Way::Wait, _) => self.questions.wait(token, Waits::Home, again),
        }
    }

    pub(crate) fn give_to_engine(&mut self, now: Now, token: Token) {
        let Some(q) = self.questions.get(token) else { return };
        let (group, far) = (q.group, Instant::FAR);
        let epoch = self.host.brief(group).epoch;
        match &q.ask {
            Ask::Write { session, op } => {
                let command = Command { session: *session, time: now.wall, op: op.clone() }.encode();
                if matches!(op, Op::LeaseRevoke { expired: true, .. }) {
                    self.host.propose_as_keeper(group, token, &command);
                } else {
                    self.host.propose(group, token, &command);
                }
            }
            Ask::ChangeMembers(change) => {
                self.host.change_members(group, token, change.clone());
            }
            Ask::Switch { after, to } => {
                let (after, to) = (*after, to.clone());
                self.note_wish(group, &to);
                self.host.switch(group, token, after, to);
            }
            Ask::MoveLeader(to) => {
                self.host.transfer_leader(now, group, token, *to);
            }
            _ => {
                self.host.barrier(group, token);
            }
        }
        self.questions.given(token, epoch);
        self.questions.wait(token, Waits::Engine, far);
    }

    fn give_to_peer(&mut self, now: Now, token: Token, leader: NodeId, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        let message = PeerMessage::Ask {
            call: Call(token.0),
            time_left: q.deadline.since(now.mono),
            ask: q.ask.clone(),
        };
        let body = peer_body(q.group, &message);
        #[cfg(feature = "planted-bugs")]
        let repeatable = q.ask.repeatable() || self.config.bugs.asked_again;
        #[cfg(not(feature = "planted-bugs"))]
        let repeatable = q.ask.repeatable();
        let again = if repeatable { now.mono + self.patience.ask_again } else { Instant::FAR };
        out.sends.push(Send { to: leader, lane: Lane::Data, body, after: None });
        self.questions.wait(token, Waits::Peer(leader), again);
    }

    /// A peer's answer to a question of ours.
    pub(crate) fn on_answer(
        &mut self,
        now: Now,
        from: NodeId,
        call: Call,
        response: Response,
        leader: Option<NodeId>,
        out: &mut Out,
    ) {
        let token = Token(call.0);
        let Some(q) = self.questions.get(token) else { return };
        if q.waits != Waits::Peer(from) {
            // Late: the question has gone elsewhere meanwhile. If it can't be repeated it has not.
            return;
        }
        let repeatable = q.ask.repeatable();
        match response {
            Err(AskError::NoLeader) => {
                self.probe.reachable("node.asked_a_follower");
                self.questions.not_done(token);
                match leader.filter(|l| *l != from) {
                    Some(hint) => self.route(now, token, Some(hint), out),
                    None => self.questions.wait(token, Waits::Leader, now.mono + self.patience.look_again),
                }
            }
            Err(AskError::Unknown | AskError::Overloaded | AskError::Stopping) if repeatable => {
                self.questions.wait(token, Waits::Leader, now.mono + self.patience.look_again);
            }
            response => self.answer(token, response, out),
        }
    }

    /// The engine could not do it.
    pub(crate) fn on_engine_error(&mut self, now: Now, token: Token, error: EngineError, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        if q.origin == Origin::Node {
            // A deposed leader's own wishes (a lease's end, a handover) are not its successor's.
            self.questions.close(token);
            return;
        }
        let (group, repeatable, from_peer) =
            (q.group, q.ask.repeatable(), matches!(q.origin, Origin::Peer(..)));
        let given = q.epoch;
        let retry = now.mono + self.patience.look_again;
        match error {
            EngineError::NotLeader { leader } => {
                self.questions.not_done(token);
                let elsewhere = leader.filter(|l| *l != self.config.node);
                match elsewhere {
                    _ if from_peer => {
                        let call = self.questions.close(token).map(|q| q.origin);
                        if let Some(Origin::Peer(to, call)) = call {
                            send_answer(out, to, group, call, Err(AskError::NoLeader), elsewhere);
                        }
                    }
                    Some(_) => self.route(now, token, elsewhere, out),
                    // It fell behind a seal: the next epoch's engine may take it at once.
                    None if self.host.brief(group).epoch != given => self.route(now, token, None, out),
                    None => self.questions.wait(token, Waits::Leader, retry),
                }
            }
            EngineError::Unknown if repeatable && !from_peer => {
                self.probe.reachable("node.retried_unknown");
                self.questions.wait(token, Waits::Leader, retry);
            }
            #[cfg(feature = "planted-bugs")]
            EngineError::Unknown if self.config.bugs.blind_retry && !from_peer => {
                self.questions.wait(token, Waits::Leader, retry);
            }
            EngineError::Unknown => self.answer(token, Err(self.unknown()), out),
            EngineError::Refused(why) => self.answer(token, Err(AskError::Refused(why)), out),
            EngineError::Stopped(why) => {
                // It may have reached the log before, here or under an earlier leader.
                let doubtful = matches!(q.ask, Ask::Write { .. }) && q.in_doubt();
                let error = if doubtful { self.unknown() } else { AskError::Refused(why) };
                self.answer(token, Err(error), out);
            }
        }
    }

    /// The alarm of a question has rung: its deadline, or the time to try again.
    pub(crate) fn on_alarm(&mut self, now: Now, token: Token, out: &mut Out) {
        let Some(q) = self.questions.get(token) else { return };
        if q.origin == Origin::Node {
            if now.mono >= q.deadline {
                self.questions.close(token);
            }
            return;
        }
        if now.mono >= q.deadline {
            let error = match q.waits {
                _ if q.in_doubt() && !q.ask.reads() => self.unknown(),
                Waits::Leader => AskError::NoLeader,
                Waits::Home => AskError::Refused(self.why_not_home(q.group)),
                _ => AskError::Deadline,
            };
            return self.answer(token, Err(error), out);
        }
        match q.waits {
            Waits::Leader | Waits::Home => self.route(now, token, None, out),
            #[cfg(feature = "planted-bugs")]
            Waits::Peer(_) if self.config.bugs.asked_again => self.route(now, token, None, out),
            Waits::Peer(_) if q.ask.repeatable() => {
                self.probe.reachable("node.asked_again");
                self.route(now, token, None, out);
            }
            Waits::Peer(_) | Waits::Engine | Waits::Job => {}
        }
    }

    /// A group's leader has changed: whoever waits for one, or for the old one, is looked at again.
    pub(crate) fn on_leader(&mut self, now: Now, group: GroupId, leader: NodeId, out: &mut Out) {
        for token in self.questions.waiting(group, |w| match w {
            Waits::Leader | Waits::Home => true,
            Waits::Peer(asked) => asked != leader,
            Waits::Engine | Waits::Job => false,
        }) {
            let Some(q) = self.questions.get(token) else { continue };
            #[cfg(feature = "planted-bugs")]
            let blind = self.config.bugs.blind_retry;
            #[cfg(not(feature = "planted-bugs"))]
            let blind = false;
            if matches!(q.waits, Waits::Leader | Waits::Home) || q.ask.repeatable() || blind {
                self.route(now, token, None, out);
            } else {
                // The old leader may have it decided or not: say so at once instead of at the deadline.
                self.answer(token, Err(self.unknown()), out);
            }
        }
    }

    /// What is said when nobody here knows whether it was done.
    #[cfg_attr(not(feature = "planted-bugs"), allow(clippy::unused_self))]
    const fn unknown(&self) -> AskError {
        #[cfg(feature = "planted-bugs")]
        if self.config.bugs.unknown_as_not_done {
            return AskError::Deadline;
        }
        AskError::Unknown
    }

    /// Gives a question its last answer.
    pub(crate) fn answer(&mut self, token: Token, response: Response, out: &mut Out) {
        let Some(q) = self.questions.close(token) else { return };
        let Question { group, origin, .. } = q;
        match origin {
            Origin::Client(id) => reply(out, id, response, true),
            Origin::Peer(to, call) => send_answer(out, to, group, call, response, self.leader(group)),
            Origin::Node => self.on_own_answer(group, token, &response),
        }
    }
}

/// An answer to a client at this node's door.
pub(crate) fn reply(out: &mut Out, id: RequestId, response: Response, end: bool) {
    out.replies.push(Reply { id, response, end, after: None });
}

fn send_answer(
    out: &mut Out,
    to: NodeId,
    group: GroupId,
    call: Call,
    response: Response,
    leader: Option<NodeId>,
) {
    let mut body = peer_body(group, &PeerMessage::Answer { call, response, leader });
    if body.len() as u64 > FRAME_BODY_MAX.0 - wire::HEADER as u64 {
        let why = "the answer is larger than a message between nodes may be; use a limit, or ask the leader's own door";
        let response = Err(AskError::Refused(why.to_string()));
        body = peer_body(group, &PeerMessage::Answer { call, response, leader });
    }
    out.sends.push(Send { to, lane: Lane::Data, body, after: None });
}
