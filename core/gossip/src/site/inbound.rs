//! The receiving end of a stream.

use super::pieces::Pieces;
use super::{AHEAD_MAX, Item, Letter, Vector};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant};

/// Between two answers to letters of a session that is not ours.
const UNKNOWN_EVERY: Duration = Duration::millis(100);

/// What the receiver wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// Take these in, in order, and say [`Inbound::durable`] when all of them are on disk that could be taken in.
    Apply {
        /// The batch.
        number: u64,
        /// Its items.
        items: Vec<Item>,
    },
    /// Send this; it may be lost.
    Letter(Letter),
    /// A batch that came in pieces is none: the sender's fault. It was dropped.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
}

/// The receiver. Hand in letters, say what became durable.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The sender's numbering; none before its first `Begin`.
    session: Option<u64>,
    next: u64,
    /// Batches before this one are durable,
    durable: u64,
    /// the last of which came then.
    durable_came: Option<Instant>,
    ahead: BTreeMap<u64, Vec<Item>>,
    pieces: Pieces,
    /// When the batches came that are not durable yet, by number.
    arrived: BTreeMap<u64, Instant>,
    heard_at: Instant,
    unknown_at: Instant,
}

impl Inbound {
    /// A receiver that knows of no session.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            session: None,
            next: 0,
            durable: 0,
            durable_came: None,
            ahead: BTreeMap::new(),
            pieces: Pieces::default(),
            arrived: BTreeMap::new(),
            heard_at: now,
            unknown_at: now,
        }
    }

    /// Takes a letter of the sender. `held` is what there is here of the replicas that it speaks for.
    pub fn receive(
        &mut self,
        now: Instant,
        letter: Letter,
        held: impl FnOnce() -> Vector,
        out: &mut Vec<Received>,
    ) {
        self.heard_at = now;
        let (session, number) = match &letter {
            Letter::Begin { session } => {
                self.begin(now, *session);
                let hello = Letter::Hello { session: *session, held: held() };
                return out.push(Received::Letter(hello));
            }
            Letter::Batch { session, number, .. } => (*session, *number),
            Letter::Shard(shard) => (shard.session, shard.number),
            Letter::Hello { .. } | Letter::Ack { .. } | Letter::Unknown { .. } => return,
        };
        if self.session != Some(session) {
            if now >= self.unknown_at {
                self.unknown_at = now + UNKNOWN_EVERY;
                out.push(Received::Letter(Letter::Unknown { session }));
            }
            return;
        }
        let wanted = self.is_wanted(number);
        // Of one that is sent again, once whole, the sender has missed the acknowledgement.
        let missed = match &letter {
            Letter::Shard(shard) => shard.attempt > 0 && shard.index == 0,
            _ => true,
        };
        let batch = match letter {
            Letter::Batch { items, .. } => Some(items).filter(|_| wanted),
            Letter::Shard(shard) => match self.pieces.take(shard, wanted) {
                Ok(batch) => batch,
                Err(why) => return out.push(Received::Malformed { why }),
            },
            _ => None,
        };
        match batch {
            Some(items) => {
                self.ahead.insert(number, items);
            }
            None if wanted || !missed => return,
            None => {}
        }
        while let Some(items) = self.ahead.remove(&self.next) {
            self.arrived.insert(self.next, now);
            out.push(Received::Apply { number: self.next, items });
            self.next += 1;
        }
        out.push(Received::Letter(self.ack(now)));
    }

    /// The sender begins: whatever was before is over. Said again, it changes nothing.
    fn begin(&mut self, now: Instant, session: u64) {
        if self.session != Some(session) {
            *self = Self { session: Some(session), ..Self::new(now) };
        }
    }

    fn is_wanted(&self, number: u64) -> bool {
        number >= self.next && number - self.next <= AHEAD_MAX && !self.ahead.contains_key(&number)
    }

    /// A batch and all before it are on disk.
    pub fn durable(&mut self, now: Instant, session: u64, number: u64, out: &mut Vec<Received>) {
        if self.session != Some(session) || number < self.durable || number >= self.next {
            return;
        }
        let later = self.arrived.split_off(&(number + 1));
        self.durable_came = core::mem::replace(&mut self.arrived, later).pop_last().map(|(_, at)| at);
        self.durable = number + 1;
        out.push(Received::Letter(self.ack(now)));
    }

    fn ack(&self, now: Instant) -> Letter {
        let bit = |n: &u64| 1_u64 << (n - self.next - 1);
        let near = self.ahead.keys().filter(|n| **n > self.next && **n - self.next <= 64);
        Letter::Ack {
            session: self.session.unwrap_or(0),
            next: self.next,
            beyond: near.fold(0, |bits, n| bits | bit(n)),
            durable: self.durable,
            held_us: self.durable_came.map_or(0, |at| now.since(at).as_micros()),
            lost: self.pieces.worst(),
        }
    }

    /// The session it receives; none before the first.
    #[must_use]
    pub const fn session(&self) -> Option<u64> {
        self.session
    }
    /// When the sender was heard last.
    #[must_use]
    pub const fn heard_at(&self) -> Instant {
        self.heard_at
    }
}
