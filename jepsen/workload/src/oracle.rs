//! A test oracle for the whole store: every answer against the log that was decided.
//!
//! **Promise.** While a run goes on, the oracle is shown what replicas apply, entry by entry, and what clients hear,
//! and says at once what can't be. It believes nothing that the store says of itself: revisions, versions, past reads,
//! conditions, leases, watches and retries are all predicted by the reference [`Model`] from the commands alone.
//!
//! | seen | must be |
//! |---|---|
//! | an entry applied | the one that every other replica applied at that index |
//! | a replica's revision after an index | the model's |
//! | a command without a session | decided once: who sent it never sends it again unless it was certainly not done |
//! | the answer to a command | the model's answer when it was first applied |
//! | the answer to a read | the model's at the revision it states, and that is not older than any answer heard before it was asked |
//! | a watch's events | all changes of its range since the last told, in order, whole revisions, with what was before |
//! | a lease ended by time | not sooner than its life after the last renewal that was asked for and granted |
//! | a lease kept alive | not after its end was decided |
//! | a lease nobody renews | ended, once one leader has had its life to notice |
//!
//! **Margins.** Leases are timed by the leader's clock, which may run wrong by [`DRIFT`]; nothing else here depends on time.

use crate::ask::{Answer, Ask, Refusal};
use crate::model::Model;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, Ratio};
use dwcp_store::api::{
    Applied, Body, Command, KeyRange, KeyValue, LeaseId, Op, OpError, Response, Revision, Stamp, WatchEvent,
};
use std::collections::BTreeMap;

/// How wrong a leader's clock may run: twice what any scenario makes it.
const DRIFT: Ratio = Ratio { num: 1, den: 25 };
/// After a lease is due it takes an answer of a quorum, and one repetition, to end it.
const ENDING: Duration = Duration::secs(7);

/// What is known of a lease besides its life.
#[derive(Clone, Copy, Debug)]
struct LeaseTimes {
    ttl: Duration,
    /// It must not end by time before this.
    not_before: Instant,
    /// When it was last asked to live on, granted or not.
    asked: Instant,
    ended: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Watching {
    attempt: u64,
    range: KeyRange,
    prev_kv: bool,
    next: Revision,
}

/// Knows what every answer must be.
#[derive(Debug, Default)]
pub struct Oracle {
    model: Model,
    /// Term and hash of each entry decided, from index 1 on.
    entries: Vec<(u64, u64)>,
    /// The revision after each.
    revisions: Vec<Revision>,
    /// Commands without a session, by hash: what they were answered with.
    plain: BTreeMap<u64, Applied>,
    leases: BTreeMap<LeaseId, LeaseTimes>,
    watching: BTreeMap<u32, Watching>,
    /// The highest revision heard by then.
    heard: Vec<(Instant, Revision)>,
    /// Entries were applied that nobody showed: nothing can be said any more.
    blind: bool,
}

/// What a client heard.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// When.
    pub at: Instant,
    /// Who.
    pub client: u32,
    /// Which attempt was answered.
    pub attempt: u64,
    /// When that was sent.
    pub sent: Instant,
    /// The question.
    pub ask: &'a Ask,
    /// The answer.
    pub answer: &'a Result<Answer, Refusal>,
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// Only what carries a value of its own can be told from another of the same kind.
fn is_unique(op: &Op) -> bool {
    match op {
        Op::Put(put) => put.value.len() >= 8,
        _ => false,
    }
}

fn op_hash(op: &Op) -> u64 {
    let mut bytes = Vec::new();
    dwcp_env::wire::encode_into(op, &mut bytes);
    hash(&bytes)
}

impl Oracle {
    /// The next index nobody has applied yet.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.entries.len() as u64 + 1
    }
    /// Entries were applied that can't be seen any more.
    pub const fn missed(&mut self) {
        self.blind = true;
    }

    /// A replica has applied an entry. `command` is its command, if it carries one.
    ///
    /// # Errors
    /// Another entry was applied there before; a command was decided that can't have been.
    pub fn applied(
        &mut self,
        now: Instant,
        index: u64,
        term: u64,
        payload: &[u8],
        command: Option<&Bytes>,
    ) -> Result<(), String> {
        let known = (term, hash(payload));
        match index.checked_sub(1).and_then(|i| self.entries.get(i as usize)) {
            Some(first) if *first == known => return Ok(()),
            Some(first) => {
                return Err(format!(
                    "at index {index} an entry of term {term} was applied, elsewhere another, of term {}",
                    first.0
                ));
            }
            None if index > self.next() => {
                self.blind = true;
                return Ok(());
            }
            None => {}
        }
        self.entries.push(known);
        let judged = match command.map(Command::decode) {
            Some(Ok(command)) => self.decide(now, index, &command),
            _ => Ok(()),
        };
        self.revisions.push(self.model.revision());
        judged
    }
    fn decide(&mut self, now: Instant, index: u64, command: &Command) -> Result<(), String> {
        let before = self.model.leases().len();
        let answer = self.model.apply(index, command);
        match (&command.op, &answer) {
            (Op::LeaseGrant { .. }, Ok(Response { body: Body::LeaseGrant { id, ttl_s }, .. }))
                if self.model.leases().len() > before =>
            {
                let ttl = Duration::secs(ttl_s.unsigned_abs());
                let not_before = now + short(ttl);
                self.leases.insert(*id, LeaseTimes { ttl, not_before, asked: now, ended: None });
            }
            (Op::LeaseRevoke { id, expired }, Ok(_)) => {
                if let Some(lease) = self.leases.get_mut(id) {
                    lease.ended = Some(now);
                    if *expired && now < lease.not_before {
                        return Err(format!(
                            "lease {id} of {} was ended by time {} too soon after its last renewal",
                            lease.ttl,
                            lease.not_before.since(now)
                        ));
                    }
                }
            }
            _ => {}
        }
        if command.session.is_none() && is_unique(&command.op) {
            let twice = self.plain.insert(op_hash(&command.op), answer).is_some();
            if twice {
                return Err(format!("a command asked for once is decided again at index {index}"));
            }
        }
        Ok(())
    }

    /// A replica shows a revision after an index.
    ///
    /// # Errors
    /// It is not the one that the log gives.
    pub fn shows(&self, index: u64, revision: Revision) -> Result<(), String> {
        let known = index.checked_sub(1).and_then(|i| self.revisions.get(i as usize));
        match known {
            Some(expected) if *expected != revision && !self.blind => Err(format!(
                "a replica is at revision {revision} after index {index}; the commands up to there make {expected}"
            )),
            _ => Ok(()),
        }
    }
    /// All that a replica holds at a revision, and its leases if it is at that revision now.
    ///
    /// # Errors
    /// What differs.
    pub fn holds(&self, revision: Revision, kvs: &[KeyValue]) -> Result<(), String> {
        if self.blind || revision > self.model.revision() {
            return Ok(());
        }
        let expected = self.model.live(revision);
        let differs = expected.iter().zip(kvs).find(|(e, kv)| **e != *kv);
        match differs {
            Some((e, kv)) => {
                Err(format!("at revision {revision} a replica holds {}, not {}", show(kv), show(e)))
            }
            None if expected.len() != kvs.len() => Err(format!(
                "at revision {revision} a replica holds {} keys, not {}",
                kvs.len(),
                expected.len()
            )),
            None => Ok(()),
        }
    }
    /// The leases that a replica holds after an index, with the number of keys of each.
    ///
    /// # Errors
    /// What differs.
    pub fn leases_are(&self, index: u64, leases: &[(LeaseId, i64, usize)]) -> Result<(), String> {
        if self.blind || index + 1 != self.next() {
            return Ok(());
        }
        let live = self.model.live(self.model.revision());
        let keys = |id: LeaseId| live.iter().filter(|kv| kv.lease == id).count();
        let expected: Vec<_> = self.model.leases().iter().map(|(id, ttl)| (*id, *ttl, keys(*id))).collect();
        if expected == leases {
            Ok(())
        } else {
            Err(format!(
                "after index {index} a replica's leases (id, life, keys) are {leases:?}, not {expected:?}"
            ))
        }
    }
    /// No lease lives that nobody renewed, though one leader has had the time to end it.
    ///
    /// # Errors
    /// One that does.
    pub fn none_outlived(&self, now: Instant, leader_since: Instant) -> Result<(), String> {
        let outlived = self.leases.iter().find(|(id, lease)| {
            let due = lease.asked.max(leader_since) + long(lease.ttl) + ENDING;
            lease.ended.is_none() && self.model.lease(**id).is_some() && due < now
        });
        match outlived {
            Some((id, lease)) if !self.blind => Err(format!(
                "lease {id} of {} lives, though nobody has renewed it for {}",
                lease.ttl,
                now.since(lease.asked)
            )),
            _ => Ok(()),
        }
    }

    /// A client asks.
    pub fn asked(&mut self, now: Instant, ask: &Ask) {
        if let Ask::KeepAlive(id) = ask
            && let Some(lease) = self.leases.get_mut(id)
        {
            lease.asked = lease.asked.max(now);
        }
    }
    /// A client is answered.
    ///
    /// # Errors
    /// The answer can't be.
    pub fn heard(&mut self, heard: Heard<'_>) -> Result<(), String> {
        if self.blind {
            return Ok(());
        }
        let judged = match (heard.ask, heard.answer) {
            (_, Err(Refusal::NotDone { .. } | Refusal::Unknown | Refusal::Op(OpError::Stopped { .. }))) => {
                Ok(())
            }
            (Ask::Range(q), Ok(Answer::Said(response))) => {
                let at = response.header.revision;
                self.fresh(heard.sent, at)?;
                let expected = Body::Range(self.model.range(q, at));
                same(&expected, &response.body, at)
            }
            (Ask::Range(q), Err(Refusal::Op(e))) => self.refused_read(heard.sent, q.revision, e),
            (Ask::Do { stamp, op }, answer) => self.command(*stamp, op, answer),
            (Ask::KeepAlive(id), Ok(Answer::Alive(left))) => {
                self.kept_alive(heard.at, heard.sent, *id, *left)
            }
            (Ask::Watch { key, range_end, from, prev_kv }, answer) => {
                let range = KeyRange::new(key, range_end);
                let fresh = Watching { attempt: heard.attempt, range, prev_kv: *prev_kv, next: *from };
                let known = self.watching.entry(heard.client).or_insert_with(|| fresh.clone());
                if known.attempt != heard.attempt {
                    *known = fresh;
                }
                self.told(heard.client, answer)
            }
            _ => Ok(()),
        };
        judged.map_err(|why| format!("client {}: {why}", heard.client))?;
        if let Ok(Answer::Said(response)) = heard.answer {
            let last = self.heard.last().map_or(0, |h| h.1);
            if response.header.revision > last {
                self.heard.push((heard.at, response.header.revision));
            }
        }
        Ok(())
    }

    /// The highest revision that anybody had heard of before a moment.
    fn floor(&self, at: Instant) -> Revision {
        let after = self.heard.partition_point(|h| h.0 < at);
        after.checked_sub(1).map_or(1, |i| self.heard[i].1)
    }
    fn fresh(&self, sent: Instant, at: Revision) -> Result<(), String> {
        let floor = self.floor(sent);
        if at < floor {
            return Err(format!("a read answers as of revision {at}; {floor} was shown before it was asked"));
        }
        if at > self.model.revision() {
            return Err(format!("an answer as of revision {at}, which no replica has reached"));
        }
        Ok(())
    }
    fn refused_read(&self, sent: Instant, revision: Revision, e: &OpError) -> Result<(), String> {
        let sound = match e {
            OpError::FutureRev => revision > self.floor(sent),
            OpError::Compacted { compact_revision } => {
                revision < *compact_revision && *compact_revision <= self.model.compacted()
            }
            _ => true,
        };
        if sound { Ok(()) } else { Err(format!("a read at revision {revision} is refused: {e}")) }
    }
    fn command(&self, stamp: Option<Stamp>, op: &Op, answer: &Result<Answer, Refusal>) -> Result<(), String> {
        let given: Applied = match answer {
            Ok(Answer::Said(response)) => Ok(response.clone()),
            Err(Refusal::Op(e)) => Err(e.clone()),
            _ => return Ok(()),
        };
        let expected = match stamp {
            Some(stamp) => self.model.answer(stamp).cloned(),
            None if is_unique(op) => self.plain.get(&op_hash(op)).cloned(),
            None => {
                let unknown = matches!(&given, Ok(Response { body: Body::SessionOpened { session }, .. })
                    if !self.model.knows(*session) && session.0 >= self.next());
                return if unknown {
                    Err("a session was opened that is not in the log".into())
                } else {
                    Ok(())
                };
            }
        };
        let unremembered = stamp.is_some_and(|s| match &given {
            Err(OpError::SessionExpired) => !self.model.knows(s.session),
            Err(OpError::AlreadyAcknowledged { .. }) => s.seq < self.model.acknowledged(s.session),
            _ => false,
        });
        match expected {
            _ if unremembered => Ok(()),
            Some(expected) if expected == given => Ok(()),
            Some(expected) => Err(format!("{} is answered {given:?}, not {expected:?}", name(op))),
            // A request that can never succeed is refused without a place in the log.
            None if given.is_err() && op.check().is_err() => Ok(()),
            None => Err(format!(
                "{} is answered {given:?}, and no such command was decided ({stamp:?}; {} indices were seen)",
                name(op),
                self.next() - 1
            )),
        }
    }
    fn kept_alive(&mut self, now: Instant, sent: Instant, id: LeaseId, left: i64) -> Result<(), String> {
        let Some(lease) = self.leases.get_mut(&id) else { return Ok(()) };
        if left > 0 {
            if lease.ended.is_some_and(|ended| ended < sent) {
                return Err(format!("lease {id} is kept alive after its end was decided"));
            }
            lease.not_before = lease.not_before.max(sent + short(lease.ttl));
        } else if lease.ended.is_none() && now < lease.not_before {
            return Err(format!("lease {id} is said to be over {} too soon", lease.not_before.since(now)));
        }
        Ok(())
    }
    fn told(&mut self, client: u32, answer: &Result<Answer, Refusal>) -> Result<(), String> {
        let (model, Some(watch)) = (&self.model, self.watching.get_mut(&client)) else { return Ok(()) };
        match answer {
            Ok(Answer::Changes { events, revision }) if !events.is_empty() => {
                if *revision > model.revision() {
                    return Err(format!(
                        "a watch is told of revision {revision}, which no replica has reached"
                    ));
                }
                let mut expected = model.changes(&watch.range, watch.next, *revision);
                for event in events {
                    let next = expected.next();
                    if !next.is_some_and(|e| tells(event, e, watch.prev_kv, model.compacted())) {
                        let wanted = next.map_or_else(|| "nothing".to_owned(), show_event);
                        return Err(format!("a watch is told of {}; {wanted} was next", show_event(event)));
                    }
                }
                if let Some(left) = expected.next() {
                    return Err(format!(
                        "a watch is told all up to {revision}, but not {}",
                        show_event(left)
                    ));
                }
                watch.next = revision + 1;
                Ok(())
            }
            Err(Refusal::Op(OpError::Compacted { compact_revision })) => {
                let sound = watch.next < *compact_revision && *compact_revision <= model.compacted();
                let next = watch.next;
                if sound {
                    Ok(())
                } else {
                    Err(format!("a watch from {next} on ends: compacted to {compact_revision}"))
                }
            }
            _ => Ok(()),
        }
    }
}

/// Whether an event says what happened. What was before may be left out only if it was compacted.
fn tells(event: &WatchEvent, happened: &WatchEvent, prev_kv: bool, compacted: Revision) -> bool {
    let prev = match (&event.prev_kv, &happened.prev_kv) {
        _ if !prev_kv => event.prev_kv.is_none(),
        (None, Some(_)) => happened.kv.mod_revision - 1 < compacted,
        (told, was) => told == was,
    };
    prev && event.kind == happened.kind && event.kv == happened.kv
}

fn short(ttl: Duration) -> Duration {
    ttl - Duration::nanos(ttl.as_nanos() / u64::from(DRIFT.den) * u64::from(DRIFT.num))
}
fn long(ttl: Duration) -> Duration {
    ttl + Duration::nanos(ttl.as_nanos() / u64::from(DRIFT.den) * u64::from(DRIFT.num))
}

fn same(expected: &Body, given: &Body, at: Revision) -> Result<(), String> {
    if expected == given {
        Ok(())
    } else {
        Err(format!("a read as of revision {at} answers {given:?}, not {expected:?}"))
    }
}

const fn name(op: &Op) -> &'static str {
    match op {
        Op::Put(_) => "a put",
        Op::DeleteRange(_) => "a delete",
        Op::Txn(_) => "a transaction",
        Op::Compact { .. } => "a compaction",
        Op::LeaseGrant { .. } => "the grant of a lease",
        Op::LeaseRevoke { .. } => "the end of a lease",
        Op::OpenSession { .. } | Op::CloseSession { .. } => "a session",
        Op::Noop => "a no-op",
    }
}
fn show(kv: &KeyValue) -> String {
    let KeyValue { key, create_revision, mod_revision, version, lease, .. } = kv;
    format!(
        "{} (created {create_revision}, written {mod_revision}, version {version}, lease {lease})",
        key.escape_ascii()
    )
}
fn show_event(e: &WatchEvent) -> String {
    format!("{:?} of {}", e.kind, show(&e.kv))
}
