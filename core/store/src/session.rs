//! Sessions: the memory that makes a retry safe.
//!
//! **Promise.** A stamped command is applied at most once, and its retry gets the answer of the
//! first time — on any replica, after any crash, change of leader or change of engine, because
//! the memory is part of the replicated state (Ongaro's dissertation, §6.3).
//!
//! **Model.** A session remembers the answers from `ack_below` on; the client raises it as answers
//! arrive. Numbers may arrive in any order (a client has many requests in flight).
//!
//! | number | answered with |
//! |---|---|
//! | below `ack_below` | `AlreadyAcknowledged` |
//! | remembered | the remembered answer; nothing is applied |
//! | `ack_below + SESSION_WINDOW` or above | `WindowFull`; nothing is applied |
//! | else | applied, and remembered |
//!
//! **Invariants.**
//! 1. A command of a session that is not known is never applied: an expired session means
//!    "unknown", never "again".
//! 2. Expiry depends on log time alone (the highest `time` of all commands so far), so all replicas
//!    expire the same sessions at the same position.
//! 3. At most `SESSIONS_MAX` sessions, each with at most `SESSION_WINDOW` answers. The idlest
//!    goes when one more is opened; of equally idle ones, the oldest.

use crate::api::{Applied, OpError, SessionId, Stamp};
use dwcp_env::bound::{SESSION_WINDOW, SESSIONS_MAX};
use dwcp_env::{Duration, WallTime};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One client's memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    ttl: Duration,
    last_used: WallTime,
    ack_below: u64,
    answers: BTreeMap<u64, Applied>,
}

impl Session {
    /// The first log time at which it is gone, in nanoseconds.
    const fn expires(&self) -> u64 {
        self.last_used.as_nanos().saturating_add(self.ttl.as_nanos())
    }
}

/// What is to be done with a stamped command.
pub(crate) enum Admission {
    /// Apply it, then [`Sessions::remember`].
    Apply,
    /// It was applied before.
    Answered(Applied),
    /// It may not be applied.
    Refused(OpError),
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    by_use: BTreeSet<(WallTime, SessionId)>,
    by_expiry: BTreeSet<(u64, SessionId)>,
    /// Changed since the last checkpoint began.
    dirty: BTreeSet<SessionId>,
}

impl Sessions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
    /// Opens a session; answers with the one that had to go for it.
    pub(crate) fn open(&mut self, id: SessionId, ttl: Duration, now: WallTime) -> Option<SessionId> {
        let idlest = self.by_use.first().map(|(_, id)| *id).filter(|_| self.len() >= SESSIONS_MAX);
        if let Some(idlest) = idlest {
            self.close(idlest);
        }
        self.insert(id, Session { ttl, last_used: now, ack_below: 0, answers: BTreeMap::new() });
        self.dirty.insert(id);
        idlest
    }
    fn insert(&mut self, id: SessionId, session: Session) {
        self.by_use.insert((session.last_used, id));
        self.by_expiry.insert((session.expires(), id));
        let before = self.sessions.insert(id, session);
        assert!(before.is_none(), "a session is named by the log index that opened it");
    }
    /// Forgets a session; false if there is none.
    pub(crate) fn close(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        self.by_use.remove(&(session.last_used, id));
        self.by_expiry.remove(&(session.expires(), id));
        self.dirty.insert(id);
        true
    }
    /// Forgets one session whose time is over at `now`. Call until `None`.
    pub(crate) fn expire_one(&mut self, now: WallTime) -> Option<SessionId> {
        let (expires, id) = *self.by_expiry.first()?;
        if expires >= now.as_nanos() {
            return None;
        }
        self.close(id);
        Some(id)
    }
    /// Whether a stamped command is to be applied. Notes the acknowledgement and the use.
    pub(crate) fn admit(&mut self, stamp: Stamp, now: WallTime) -> Admission {
        let Some(session) = self.sessions.get_mut(&stamp.session) else {
            return Admission::Refused(OpError::SessionExpired);
        };
        self.dirty.insert(stamp.session);
        if session.last_used < now {
            self.by_use.remove(&(session.last_used, stamp.session));
            self.by_expiry.remove(&(session.expires(), stamp.session));
            session.last_used = now;
            self.by_use.insert((session.last_used, stamp.session));
            self.by_expiry.insert((session.expires(), stamp.session));
        }
        // A request can't acknowledge its own answer.
        let acknowledged = stamp.ack_below.min(stamp.seq);
        if acknowledged > session.ack_below {
            session.ack_below = acknowledged;
            while session.answers.first_key_value().is_some_and(|(seq, _)| *seq < acknowledged) {
                session.answers.pop_first();
            }
        }
        let (seq, ack_below) = (stamp.seq, session.ack_below);
        if seq < ack_below {
            return Admission::Refused(OpError::AlreadyAcknowledged { seq });
        }
        if let Some(answer) = session.answers.get(&seq) {
            return Admission::Answered(answer.clone());
        }
        if seq - ack_below >= SESSION_WINDOW as u64 {
            return Admission::Refused(OpError::WindowFull { seq, ack_below });
        }
        Admission::Apply
    }
    /// Keeps the answer to an admitted command. The session may be gone: closed by it.
    pub(crate) fn remember(&mut self, stamp: Stamp, answer: &Applied) {
        if let Some(session) = self.sessions.get_mut(&stamp.session) {
            session.answers.insert(stamp.seq, answer.clone());
        }
    }
    /// What changed since the last call, as rows: a session, or that it is gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(SessionId, Option<Vec<u8>>)> {
        let row = |id: SessionId| (id, self.sessions.get(&id).map(dwcp_env::wire::encode));
        std::mem::take(&mut self.dirty).into_iter().map(row).collect()
    }
    /// A planted bug: nothing is remembered of what was answered.
    pub(crate) fn forget_answers(&mut self) {
        self.sessions.values_mut().for_each(|s| s.answers.clear());
    }
    /// A row read back at boot.
    ///
    /// # Errors
    /// It is not a session, or there twice.
    pub(crate) fn load(&mut self, id: SessionId, row: &[u8]) -> Result<(), String> {
        let session: Session = dwcp_env::wire::decode(row).map_err(|e| format!("session {}: {e}", id.0))?;
        if self.sessions.contains_key(&id) {
            return Err(format!("session {} is there twice", id.0));
        }
        self.insert(id, session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Body, Header, Response};

    const ID: SessionId = SessionId(7);

    fn answer(revision: i64) -> Applied {
        Ok(Response { header: Header { revision }, body: Body::Noop })
    }
    fn at(s: u64) -> WallTime {
        WallTime::from_nanos(s * 1_000_000_000)
    }
    fn stamp(seq: u64, ack_below: u64) -> Stamp {
        Stamp { session: ID, seq, ack_below }
    }
    /// What `admit` says, in a word.
    fn said(sessions: &mut Sessions, stamp: Stamp) -> &'static str {
        match sessions.admit(stamp, at(1)) {
            Admission::Apply => "apply",
            Admission::Answered(_) => "answered",
            Admission::Refused(OpError::SessionExpired) => "expired",
            Admission::Refused(OpError::AlreadyAcknowledged { .. }) => "acknowledged",
            Admission::Refused(OpError::WindowFull { .. }) => "full",
            Admission::Refused(e) => panic!("{e}"),
        }
    }

    #[test]
    fn each_number_has_one_fate() {
        let mut sessions = Sessions::default();
        assert_eq!(said(&mut sessions, stamp(0, 0)), "expired");
        sessions.open(ID, Duration::secs(10), at(0));
        let window = SESSION_WINDOW as u64;
        for (seq, ack_below, want) in [
            (5, 0, "apply"),
            (4, 0, "apply"), // out of order is no retry
            (5, 0, "answered"),
            (window - 1, 0, "apply"),
            (window, 0, "full"),
            (window, 5, "apply"), // room was made
            (4, 0, "acknowledged"),
            (5, 0, "answered"),
            (6, 99, "apply"), // a request can't acknowledge itself: ack_below is 6 now
            (5, 0, "acknowledged"),
            (6, 99, "answered"),
        ] {
            assert_eq!(said(&mut sessions, stamp(seq, ack_below)), want, "seq {seq} ack {ack_below}");
            if want == "apply" {
                sessions.remember(stamp(seq, 0), &answer(1));
            }
        }
    }

    #[test]
    fn a_session_lives_for_its_ttl_after_its_last_use() {
        let mut sessions = Sessions::default();
        sessions.open(ID, Duration::secs(10), at(0));
        sessions.open(SessionId(8), Duration::secs(3), at(0));
        assert_eq!(sessions.expire_one(at(3)), None);
        assert_eq!(sessions.expire_one(at(4)), Some(SessionId(8)));
        let _used = sessions.admit(stamp(0, 0), at(9));
        assert_eq!(sessions.expire_one(at(19)), None);
        assert_eq!(sessions.expire_one(at(20)), Some(ID));
        assert_eq!(said(&mut sessions, stamp(0, 0)), "expired");
    }

    #[test]
    fn the_idlest_makes_room() {
        let mut sessions = Sessions::default();
        for i in 0..SESSIONS_MAX as u64 {
            assert_eq!(sessions.open(SessionId(i), Duration::secs(10), at(0)), None);
        }
        let _used = sessions.admit(Stamp { session: SessionId(0), seq: 0, ack_below: 0 }, at(1));
        assert_eq!(sessions.open(SessionId(u64::MAX), Duration::secs(10), at(2)), Some(SessionId(1)));
        assert_eq!(sessions.len(), SESSIONS_MAX);
    }

    #[test]
    fn rows_bring_a_session_back() {
        let mut sessions = Sessions::default();
        sessions.open(ID, Duration::secs(10), at(0));
        let _admitted = sessions.admit(stamp(3, 1), at(1));
        sessions.remember(stamp(3, 1), &Err(OpError::LeaseNotFound));
        let rows = sessions.take_dirty();
        assert!(sessions.dirty.is_empty());
        let mut back = Sessions::default();
        back.load(rows[0].0, rows[0].1.as_ref().unwrap()).unwrap();
        assert_eq!(back.sessions, sessions.sessions);
        assert_eq!((back.by_use, back.by_expiry), (sessions.by_use, sessions.by_expiry));
    }
}
