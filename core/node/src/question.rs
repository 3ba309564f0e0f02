//! Questions in progress: where each came from, what it waits for, when it gives up.
//!
//! **Model.** A question has one [`Token`] for life; the engine's answers and the answers of peers
//! carry it back. It is in exactly one [`Waits`] state and has exactly one alarm: the earlier of its
//! deadline and the time to try again.
//!
//! **Invariants.**
//! 1. A question gets one last answer, and is then gone.
//! 2. What is not repeatable is sent to a leader at most once, unless the answer says for certain that it
//!    was not done.
//! 3. There are at most [`REQUESTS_IN_FLIGHT`] questions; one more is refused, never queued.

use crate::api::{Ask, AskError};
use crate::peer::Call;
use dwcp_consensus::Token;
use dwcp_env::bound::REQUESTS_IN_FLIGHT;
use dwcp_env::{GroupId, Instant, NodeId, RequestId};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// A client at this node's door.
    Client(RequestId),
    /// A peer, in its client's place.
    Peer(NodeId, Call),
    /// The node itself: nobody is told.
    Node,
}

/// What a question waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// A leader to be known.
    Leader,
    /// The home of a hybrid keyspace: to be known, to be sure of itself, or to have shipped enough.
    Home,
    /// This node's engine.
    Engine,
    /// That peer's answer.
    Peer(NodeId),
    /// A job (pieces of a snapshot).
    Job,
}

/// A question in progress.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) group: GroupId,
    pub(crate) ask: Ask,
    pub(crate) origin: Origin,
    pub(crate) deadline: Instant,
    pub(crate) waits: Waits,
    /// The epoch in which this node's engine was given it last.
    pub(crate) epoch: u32,
    /// How often an engine or a peer was given it and has not said for certain that it was not done. A later "not
    /// by me" speaks for one of them only: the first leader asked may have it done all the same.
    doubts: u32,
    alarm: Instant,
}

impl Question {
    /// Whether somebody may have done it or may still do it.
    pub(crate) const fn in_doubt(&self) -> bool {
        self.doubts > 0
    }
}

/// All questions of a node.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: BTreeMap<Token, Question>,
    alarms: BTreeSet<(Instant, Token)>,
    by_request: BTreeMap<RequestId, Token>,
    made: u64,
}

impl Questions {
    /// Questions whose tokens begin at `first`: an incarnation's tokens must differ from those of the last,
    /// whose answers may still be on their way.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { made: first, ..Self::default() }
    }

    /// Takes a question in.
    pub(crate) fn open(
        &mut self,
        group: GroupId,
        ask: Ask,
        origin: Origin,
        deadline: Instant,
    ) -> Result<Token, AskError> {
        if self.open.len() >= REQUESTS_IN_FLIGHT {
            return Err(AskError::Overloaded);
        }
        self.made += 1;
        let token = Token(self.made);
        if let Origin::Client(id) = origin {
            self.by_request.insert(id, token);
        }
        self.alarms.insert((deadline, token));
        self.open.insert(
            token,
            Question {
                group,
                ask,
                origin,
                deadline,
                waits: Waits::Leader,
                epoch: 0,
                doubts: 0,
                alarm: deadline,
            },
        );
        Ok(token)
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn get(&self, token: Token) -> Option<&Question> {
        self.open.get(&token)
    }

    /// Ends a question; its answer is the caller's business.
    pub(crate) fn close(&mut self, token: Token) -> Option<Question> {
        let q = self.open.remove(&token)?;
        self.alarms.remove(&(q.alarm, token));
        if let Origin::Client(id) = q.origin {
            self.by_request.remove(&id);
        }
        Some(q)
    }

    /// Ends a client's question because nobody waits for it any more.
    pub(crate) fn cancel(&mut self, id: RequestId) -> Option<Question> {
        self.by_request.get(&id).copied().and_then(|token| self.close(token))
    }

    /// Sets what a question waits for, and when to look at it again (its deadline if that is earlier).
    pub(crate) fn wait(&mut self, token: Token, waits: Waits, again: Instant) {
        if let Some(q) = self.open.get_mut(&token) {
            q.waits = waits;
            q.doubts += u32::from(matches!(waits, Waits::Engine | Waits::Peer(_)));
            let alarm = again.min(q.deadline);
            if alarm != q.alarm {
                self.alarms.remove(&(q.alarm, token));
                q.alarm = alarm;
                self.alarms.insert((alarm, token));
            }
        }
    }

    /// Notes in which epoch the engine is given a question.
    pub(crate) fn given(&mut self, token: Token, epoch: u32) {
        if let Some(q) = self.open.get_mut(&token) {
            q.epoch = epoch;
        }
    }

    /// Notes that the question was certainly not done where it was sent last.
    pub(crate) fn not_done(&mut self, token: Token) {
        if let Some(q) = self.open.get_mut(&token) {
            q.doubts = q.doubts.saturating_sub(1);
        }
    }

    /// Takes the questions whose alarm has rung; each is set to ring again at its deadline.
    pub(crate) fn due(&mut self, now: Instant, into: &mut Vec<Token>) {
        while let Some(&(at, token)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.remove(&(at, token));
            if let Some(q) = self.open.get_mut(&token) {
                q.alarm = q.deadline.max(now + dwcp_env::Duration::nanos(1));
                self.alarms.insert((q.alarm, token));
            }
            into.push(token);
        }
    }

    /// When the next alarm rings.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The questions of a group in a state.
    pub(crate) fn waiting(&self, group: GroupId, waits: impl Fn(Waits) -> bool) -> Vec<Token> {
        self.open.iter().filter(|(_, q)| q.group == group && waits(q.waits)).map(|(t, _)| *t).collect()
    }

    /// Whether any is about this group.
    pub(crate) fn concern(&self, group: GroupId) -> bool {
        self.open.values().any(|q| q.group == group)
    }

    /// The questions that wait for the engine of an epoch.
    pub(crate) fn given_in(&self, group: GroupId, epoch: u32) -> Vec<Token> {
        let waits = |q: &Question| q.group == group && q.epoch == epoch && q.waits == Waits::Engine;
        self.open.iter().filter(|(_, q)| waits(q)).map(|(t, _)| *t).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Token> {
        self.open.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::Duration;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    #[test]
    fn those_that_wait_for_an_epochs_engine_are_found() {
        let mut qs = Questions::default();
        let mut asked = |group, epoch, waits| {
            let t = qs.open(GroupId(group), Ask::Leases, Origin::Node, at(50)).unwrap();
            qs.wait(t, waits, at(20));
            qs.given(t, epoch);
            t
        };
        let first = asked(0, 1, Waits::Engine);
        asked(1, 1, Waits::Engine);
        asked(0, 2, Waits::Engine);
        asked(0, 1, Waits::Leader);
        assert_eq!(qs.given_in(GroupId(0), 1), [first]);
    }

    #[test]
    fn an_alarm_rings_at_the_earlier_of_retry_and_deadline() {
        let mut qs = Questions::default();
        let t = qs.open(GroupId(0), Ask::Leases, Origin::Client(RequestId(7)), at(50)).unwrap();
        qs.wait(t, Waits::Leader, at(20));
        assert_eq!(qs.next_alarm(), Some(at(20)));
        let mut due = Vec::new();
        qs.due(at(20), &mut due);
        assert_eq!(due, [t]);
        assert_eq!(qs.next_alarm(), Some(at(50)));
        qs.wait(t, Waits::Engine, at(90));
        assert_eq!(qs.next_alarm(), Some(at(50)));
        assert!(qs.cancel(RequestId(7)).is_some());
        assert_eq!((qs.len(), qs.next_alarm()), (0, None));
        assert!(qs.close(t).is_none());
    }

    /// A first leader fell silent, a second says "not by me": the first may still have it done.
    #[test]
    fn one_refusal_does_not_speak_for_another_leader() {
        let mut qs = Questions::default();
        let t = qs.open(GroupId(0), Ask::Leases, Origin::Node, at(50)).unwrap();
        qs.wait(t, Waits::Peer(NodeId(1)), at(20));
        qs.wait(t, Waits::Peer(NodeId(2)), at(30));
        qs.not_done(t);
        assert!(qs.get(t).unwrap().in_doubt());
        let t = qs.open(GroupId(0), Ask::Leases, Origin::Node, at(50)).unwrap();
        qs.wait(t, Waits::Peer(NodeId(1)), at(20));
        assert!(qs.get(t).unwrap().in_doubt());
        qs.not_done(t);
        qs.wait(t, Waits::Leader, at(30));
        assert!(!qs.get(t).unwrap().in_doubt());
    }

    #[test]
    fn one_over_the_bound_is_refused() {
        let mut qs = Questions::default();
        for _ in 0..REQUESTS_IN_FLIGHT {
            qs.open(GroupId(0), Ask::Leases, Origin::Node, at(1)).unwrap();
        }
        assert_eq!(qs.open(GroupId(0), Ask::Leases, Origin::Node, at(1)), Err(AskError::Overloaded));
    }
}
