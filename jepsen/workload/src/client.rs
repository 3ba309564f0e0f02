//! A client: one question at a time, retried until its outcome is known or nobody would wait
//! any longer.
//!
//! ```text
//!            begin                 ask                answered
//!   Resting ───────► (script) ───────────► Asking ───────────────► (script) ─► Resting
//!                                            │  ▲                     │ next question
//!                       no answer, refused   ▼  │ after a pause       └──► Asking
//!                                          Pausing
//! ```
//!
//! The driver's duties: hand over [`Do::Send`]s, call [`Client::wake`] at
//! [`Client::wake_at`], bring answers and refusals with the number of the attempt they
//! belong to. Answers to abandoned attempts are ignored here.
//!
//! A door without sessions (etcd's) has no stamps: there ([`Client::without_sessions`]) a write that may have
//! been done is never sent again, and its outcome is not known.

use crate::ask::{Answer, Ask, Refusal};
use crate::record::{Log, Outcome};
use crate::script::{Script, Then};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use dwcp_store::api::{Body, Op, OpError, SessionId, Stamp};

/// Without an answer for so long, the next node is asked.
pub const ATTEMPT: Duration = Duration::millis(1_500);
/// Without a known outcome for so long, the client stops asking and says so.
pub const GIVE_UP: Duration = Duration::secs(12);
/// Between a refusal and the next attempt.
pub const PAUSE: Duration = Duration::millis(60);
/// A watch that heard nothing for so long is opened elsewhere.
pub const STREAM_IDLE: Duration = Duration::secs(4);
/// A session's life without a command, in log time: longer than any run.
const SESSION_TTL: Duration = Duration::secs(3_600 * 24 * 30);
/// Process numbers: a client's first is its own number, each later one is this much higher.
const PROCESS_STEP: u64 = 1_000_000;

const THINK: Purpose = Purpose::named("workload.think");

/// What the driver is to do.
#[derive(Debug)]
pub enum Do {
    /// Send this.
    Send {
        /// To this node.
        node: NodeId,
        /// Names the attempt in answers.
        attempt: u64,
        /// After this nobody waits.
        deadline: Instant,
        /// The question.
        ask: Ask,
    },
    /// Nobody waits for this attempt any more.
    Cancel {
        /// Which.
        attempt: u64,
    },
}

#[derive(Debug)]
struct Question {
    ask: Ask,
    /// Sent or waiting to be sent again.
    state: Sent,
    tries: u32,
    /// When to stop asking.
    give_up: Instant,
    /// Whether an attempt may have been carried out without our hearing of it.
    doubtful: bool,
    /// Whether this opens a session for the question kept aside.
    opens: bool,
}

#[derive(Clone, Copy, Debug)]
enum Sent {
    Waiting { attempt: u64, sent: Instant, until: Instant },
    Pausing { until: Instant },
}

/// A client of the store.
pub struct Client {
    /// Its number.
    pub id: u32,
    process: u64,
    seed: Seed,
    nodes: Vec<NodeId>,
    at: usize,
    hint: Option<NodeId>,
    interval: Duration,
    next_op: Instant,
    ops: u64,
    stop_at: Instant,
    attempts: u64,
    /// Whether the door knows sessions.
    sessions: bool,
    session: Option<SessionId>,
    seq: u64,
    /// The open operation's record, and what is being asked for it.
    record: Option<usize>,
    question: Option<Question>,
    aside: Option<(Ask, Instant)>,
    script: Script,
}

impl Client {
    /// A client that prefers the nodes in this order and begins an operation each `interval`.
    ///
    /// # Panics
    /// If there is no node to ask.
    #[must_use]
    pub fn new(
        id: u32,
        seed: Seed,
        script: Script,
        nodes: Vec<NodeId>,
        interval: Duration,
        from: Instant,
    ) -> Self {
        assert!(!nodes.is_empty(), "a client needs a node to ask");
        let first =
            Duration::nanos(seed.below(interval.as_nanos().max(1), THINK, u64::from(id), Instant::ZERO, 0));
        Self {
            id,
            process: u64::from(id),
            seed,
            nodes,
            at: 0,
            hint: None,
            interval,
            next_op: from + first,
            ops: 0,
            stop_at: Instant::FAR,
            attempts: 0,
            sessions: true,
            session: None,
            seq: 0,
            record: None,
            question: None,
            aside: None,
            script,
        }
    }
    /// Its door knows no sessions: a write that may have been done is not repeated.
    pub const fn without_sessions(&mut self) {
        self.sessions = false;
    }
    /// What it draws from now on comes from this seed; what it has begun stays as it is.
    pub const fn rekey(&mut self, seed: Seed) {
        self.seed = seed;
    }
    /// No operation begins at or after this.
    pub const fn stop_at(&mut self, at: Instant) {
        self.stop_at = at;
    }
    /// Whether it waits for nothing and will begin nothing.
    #[must_use]
    pub fn is_done(&self, now: Instant) -> bool {
        let idle = self.question.as_ref().is_none_or(|q| q.ask.is_stream());
        idle && (now >= self.stop_at || self.next_op >= self.stop_at)
    }
    /// Whether an operation with a known end is under way (a watch has none).
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.record.is_some()
    }
    /// When it wants to be woken.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        match &self.question {
            Some(Question { state: Sent::Waiting { until, .. } | Sent::Pausing { until }, .. }) => *until,
            None if self.next_op >= self.stop_at => Instant::FAR,
            None => self.next_op,
        }
    }
    /// The node it talks to at present.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.hint.unwrap_or(self.nodes[self.at % self.nodes.len()])
    }

    /// What an attempt asks and since when, if that is the one it waits for.
    #[must_use]
    pub fn asking(&self, attempt: u64) -> Option<(&Ask, Instant)> {
        let question = self.question.as_ref()?;
        match question.state {
            Sent::Waiting { attempt: current, sent, .. } if current == attempt => Some((&question.ask, sent)),
            _ => None,
        }
    }

    /// Its time has come.
    pub fn wake(&mut self, now: Instant, log: &mut Log, out: &mut Vec<Do>) {
        match self.question.as_ref().map(|q| q.state) {
            None if now >= self.next_op && self.next_op < self.stop_at => self.begin(now, log, out),
            Some(Sent::Waiting { attempt, until, .. }) if now >= until => {
                out.push(Do::Cancel { attempt });
                self.failed(now, true, None, log, out);
            }
            Some(Sent::Pausing { until }) if now >= until => self.send(now, log, out),
            _ => {}
        }
    }

    /// An attempt has been answered, well or badly.
    pub fn answered(
        &mut self,
        now: Instant,
        attempt: u64,
        answer: Result<Answer, Refusal>,
        log: &mut Log,
        out: &mut Vec<Do>,
    ) {
        let Some(question) = &mut self.question else { return };
        match &mut question.state {
            Sent::Waiting { attempt: current, until, .. } if *current == attempt => {
                if question.ask.is_stream() && answer.is_ok() {
                    *until = now + STREAM_IDLE;
                }
            }
            _ => return,
        }
        let stream = question.ask.is_stream();
        let is_write = question.ask.is_write();
        match answer {
            Ok(answer) if stream => {
                if self.script.streamed(self.id, now, answer, log) {
                    out.push(Do::Cancel { attempt });
                    self.failed(now, false, None, log, out);
                }
            }
            Ok(Answer::Said(response)) if question.opens => {
                if let Body::SessionOpened { session } = response.body {
                    self.session = Some(session);
                    self.seq = 0;
                }
                self.question = None;
                if let Some((ask, give_up)) = self.aside.take() {
                    self.ask(now, ask, give_up, log, out);
                }
            }
            Ok(answer) => {
                self.hint = self.hint.filter(|_| self.question.as_ref().is_some_and(|q| q.tries < 2));
                self.finish_question(now, Ok(answer), log, out);
            }
            Err(Refusal::NotDone { hint }) => self.failed(now, false, hint, log, out),
            Err(Refusal::Unknown) => self.failed(now, true, None, log, out),
            Err(Refusal::Op(OpError::Stopped { .. })) => self.failed(now, true, None, log, out),
            Err(Refusal::Op(OpError::SessionExpired)) => {
                let doubtful = question.doubtful;
                self.session = None;
                if doubtful {
                    self.close(now, Outcome::Info, log);
                } else {
                    // Certainly not done: the same operation under a new session.
                    self.failed(now, false, None, log, out);
                }
            }
            Err(Refusal::Op(OpError::AlreadyAcknowledged { .. })) if is_write => {
                self.close(now, Outcome::Info, log);
            }
            Err(Refusal::Op(e)) => self.finish_question(now, Err(e), log, out),
        }
    }

    /// The connection to a node broke: what was asked of it may have been done.
    pub fn disconnected(&mut self, now: Instant, node: NodeId, log: &mut Log, out: &mut Vec<Do>) {
        if self.node() == node
            && let Some(Question { state: Sent::Waiting { attempt, .. }, .. }) = self.question
        {
            self.answered(now, attempt, Err(Refusal::Unknown), log, out);
        }
    }

    fn begin(&mut self, now: Instant, log: &mut Log, out: &mut Vec<Do>) {
        let nth = self.ops;
        self.ops += 1;
        // Half to one and a half intervals, so that clients don't march in step.
        let width = self.interval.as_nanos().max(1);
        let think = width / 2 + self.seed.below(width, THINK, u64::from(self.id), Instant::ZERO, nth + 1);
        self.next_op = self.next_op.max(now) + Duration::nanos(think);
        let begun = self.script.begin(self.id, self.seed, nth);
        if let Some(what) = begun.what {
            self.record = Some(log.begin(self.id, self.process, now, what));
        }
        self.ask(now, begun.ask, now + GIVE_UP, log, out);
    }

    /// Whether it has no session: what may have been done is then never asked again.
    const fn is_plain(&self) -> bool {
        !self.sessions || self.script.is_plain()
    }
    fn ask(&mut self, now: Instant, ask: Ask, give_up: Instant, log: &mut Log, out: &mut Vec<Do>) {
        let (ask, opens) = match ask {
            Ask::Do { op, .. } if self.is_plain() => (Ask::Do { stamp: None, op }, false),
            Ask::Do { op, .. } if self.session.is_none() => {
                self.aside = Some((Ask::Do { stamp: None, op }, give_up));
                (Ask::Do { stamp: None, op: Op::OpenSession { ttl: SESSION_TTL } }, true)
            }
            Ask::Do { op, .. } => {
                let stamp = self.session.map(|session| {
                    self.seq += 1;
                    Stamp { session, seq: self.seq, ack_below: self.seq }
                });
                (Ask::Do { stamp, op }, false)
            }
            other => (other, false),
        };
        let state = Sent::Pausing { until: now };
        self.question = Some(Question { ask, state, tries: 0, give_up, doubtful: false, opens });
        self.send(now, log, out);
    }

    fn send(&mut self, now: Instant, log: &mut Log, out: &mut Vec<Do>) {
        let node = self.node();
        self.attempts += 1;
        let attempt = self.attempts;
        let Some(question) = &mut self.question else { return };
        question.tries += 1;
        if let Some(record) = self.record {
            log.records[record].tries += 1;
            log.records[record].node = Some(node);
        }
        let stream = question.ask.is_stream();
        let until = if stream { now + STREAM_IDLE } else { (now + ATTEMPT).min(question.give_up) };
        question.state = Sent::Waiting { attempt, sent: now, until };
        let deadline = if stream { Instant::FAR } else { until };
        out.push(Do::Send { node, attempt, deadline, ask: question.ask.clone() });
    }

    /// An attempt came to nothing.
    fn failed(
        &mut self,
        now: Instant,
        doubtful: bool,
        hint: Option<NodeId>,
        log: &mut Log,
        out: &mut Vec<Do>,
    ) {
        let known = hint.filter(|h| self.nodes.contains(h) && *h != self.node());
        if known.is_none() {
            self.at += 1;
        }
        self.hint = known;
        let Some(question) = &mut self.question else { return };
        question.doubtful |= doubtful && question.ask.is_write();
        if question.ask.is_stream() {
            // Opened again elsewhere, from the first revision not seen.
            let ask = self.script.reopen();
            let state = Sent::Pausing { until: now + PAUSE };
            let give_up = Instant::FAR;
            self.question = Some(Question { ask, state, tries: 0, give_up, doubtful: false, opens: false });
            return;
        }
        let once = question.doubtful && (!self.sessions || self.script.is_plain());
        let session_lost = self.session.is_none() && matches!(question.ask, Ask::Do { stamp: Some(_), .. });
        if once || now + PAUSE >= question.give_up {
            // An opened session nobody knows of harms nothing; what waited for it was never sent.
            let outcome = if question.doubtful && !question.opens { Outcome::Info } else { Outcome::Fail };
            self.close(now, outcome, log);
        } else if session_lost {
            let (ask, give_up) = (question.ask.clone(), question.give_up);
            self.ask(now, ask, give_up, log, out);
        } else {
            question.state = Sent::Pausing { until: now + PAUSE };
        }
    }

    fn finish_question(
        &mut self,
        now: Instant,
        answer: Result<Answer, OpError>,
        log: &mut Log,
        out: &mut Vec<Do>,
    ) {
        let give_up = self.question.take().map_or(now, |q| q.give_up);
        let what = self.record.map(|r| &mut log.records[r].what);
        match self.script.answered(what, answer) {
            Then::Ask(ask) => self.ask(now, ask, give_up, log, out),
            Then::Done { outcome, revision } => {
                if let Some(record) = self.record.take() {
                    log.end(record, now, outcome, revision);
                }
                self.script.ended(outcome);
            }
        }
    }

    /// Ends the operation without an answer.
    fn close(&mut self, now: Instant, outcome: Outcome, log: &mut Log) {
        self.question = None;
        self.aside = None;
        if let Some(record) = self.record.take() {
            log.end(record, now, outcome, 0);
        }
        if outcome == Outcome::Info {
            self.process += PROCESS_STEP;
            // What is still under way under the old session must not meet the new numbers.
            self.session = None;
        }
        self.script.ended(outcome);
    }
}
