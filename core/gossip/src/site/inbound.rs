//! The receiving end of a stream.

use super::pieces::Pieces;
use super::{AHEAD_MAX, Item, Letter, Vector, covers};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant};

/// Between two `Hello`s that nobody answered.
const HELLO_EVERY: Duration = Duration::secs(1);
/// After so long without a letter the sender may have given up: it is told again where we stand.
const QUIET: Duration = Duration::secs(30);

/// What the receiver wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// Apply these, in order, and say [`Inbound::durable`] when they are on disk.
    Apply {
        /// Items whose turn it is.
        items: Vec<Item>,
    },
    /// Send this; it may be lost.
    Letter(Letter),
    /// An item does not follow what came before of its replica: the sender has lost some. They come by repair;
    /// until then the stream's items of that replica wait in the store. Told once a gap.
    Gap {
        /// The replica.
        origin: u16,
        /// The last held here.
        held: u64,
        /// What came.
        came: u64,
    },
    /// A batch that came in pieces is none: the sender's fault. It was dropped.
    Malformed {
        /// What is wrong with it.
        why: String,
    },
}

/// The receiver. Hand in letters, say what became durable.
#[derive(Clone, Debug)]
pub struct Inbound {
    durable: Vector,
    applied: Vector,
    session: u64,
    next: u64,
    ahead: BTreeMap<u64, Vec<Item>>,
    pieces: Pieces,
    /// When the batches not yet durable came, with the vector that covers them.
    arrived: Vec<(Instant, Vector)>,
    hello_at: Instant,
    /// Gaps told, by replica: what was held then.
    gaps: Vector,
}

impl Inbound {
    /// A receiver that holds `durable`; its first [`Inbound::wake`] says so to the sender.
    #[must_use]
    pub fn new(now: Instant, durable: Vector) -> Self {
        Self {
            applied: durable.clone(),
            durable,
            session: 0,
            next: 0,
            ahead: BTreeMap::new(),
            pieces: Pieces::default(),
            arrived: Vec::new(),
            hello_at: now,
            gaps: Vector::new(),
        }
    }

    /// The connection stands anew: the sender is told where we stand.
    pub const fn reconnected(&mut self, now: Instant) {
        self.hello_at = now;
    }

    /// Does what is due: says where it stands, until the sender answers.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<Received>) {
        if now >= self.hello_at {
            self.hello_at = now + HELLO_EVERY;
            // What was applied and is not durable yet may be lost with a crash, not with a connection: it comes
            // again and is ignored.
            out.push(Received::Letter(Letter::Hello { durable: self.durable.clone() }));
        }
    }

    /// When to wake.
    #[must_use]
    pub const fn wake_at(&self) -> Instant {
        self.hello_at
    }

    /// Takes a letter of the sender.
    pub fn receive(&mut self, now: Instant, letter: Letter, out: &mut Vec<Received>) {
        let (session, settled) = match &letter {
            Letter::Begin { session } => (*session, 0),
            Letter::Batch { session, settled, .. } => (*session, *settled),
            Letter::Shard(shard) => (shard.session, shard.settled),
            Letter::Hello { .. } | Letter::Ack { .. } => return,
        };
        if session < self.session {
            return;
        }
        if session > self.session {
            (self.session, self.next) = (session, 0);
            self.ahead.clear();
            self.arrived.clear();
            self.pieces = Pieces::default();
        }
        self.hello_at = now + QUIET;
        self.settle(settled);
        let batch = match letter {
            Letter::Batch { number, items, .. } => Some((number, items)),
            Letter::Shard(shard) => {
                let wanted = self.is_wanted(shard.number);
                match self.pieces.take(shard, wanted) {
                    Ok(batch) => batch,
                    Err(why) => return out.push(Received::Malformed { why }),
                }
            }
            _ => None,
        };
        match batch {
            Some((number, items)) if self.is_wanted(number) => {
                self.ahead.insert(number, items);
            }
            Some(_) => {}
            None if self.ahead.contains_key(&self.next) => {}
            None => return,
        }
        while let Some(items) = self.ahead.remove(&self.next) {
            self.next += 1;
            self.apply(now, items, out);
        }
        out.push(Received::Letter(self.ack(now)));
    }

    fn is_wanted(&self, number: u64) -> bool {
        number >= self.next && number - self.next <= AHEAD_MAX && !self.ahead.contains_key(&number)
    }

    /// Batches that will not come, for all that was in them is durable here by other ways.
    fn settle(&mut self, settled: u64) {
        if settled > self.next {
            self.next = settled;
            self.ahead = self.ahead.split_off(&settled);
            self.pieces.forget_before(settled);
        }
    }

    fn apply(&mut self, now: Instant, items: Vec<Item>, out: &mut Vec<Received>) {
        let mut fresh = Vec::with_capacity(items.len());
        let mut last = Vector::new();
        for item in items {
            let held = self.applied.get(&item.id.origin).copied().unwrap_or(0);
            if item.id.sequence <= held {
                continue;
            }
            if item.id.sequence > held + 1 {
                if self.gaps.insert(item.id.origin, held) != Some(held) {
                    out.push(Received::Gap { origin: item.id.origin, held, came: item.id.sequence });
                }
            } else {
                self.applied.insert(item.id.origin, item.id.sequence);
            }
            last.insert(item.id.origin, item.id.sequence);
            fresh.push(item);
        }
        if !fresh.is_empty() {
            self.arrived.push((now, last));
            out.push(Received::Apply { items: fresh });
        }
    }

    /// The store says what is durable now, by this stream or by repair.
    pub fn durable(&mut self, now: Instant, durable: &Vector, out: &mut Vec<Received>) {
        for (r, s) in durable {
            let d = self.durable.entry(*r).or_insert(0);
            *d = (*d).max(*s);
            let a = self.applied.entry(*r).or_insert(0);
            *a = (*a).max(*s);
        }
        if self.session > 0 {
            out.push(Received::Letter(self.ack(now)));
        }
    }

    fn ack(&mut self, now: Instant) -> Letter {
        let durable = &self.durable;
        let done =
            |v: &Vector| v.iter().all(|(r, s)| covers(durable, crate::RumourId { origin: *r, sequence: *s }));
        let newest = self.arrived.iter().filter(|a| done(&a.1)).map(|a| a.0).max();
        self.arrived.retain(|a| !done(&a.1));
        let beyond = self
            .ahead
            .keys()
            .filter(|n| **n > self.next && **n - self.next <= 64)
            .fold(0, |bits, n| bits | (1_u64 << (n - self.next - 1)));
        Letter::Ack {
            session: self.session,
            next: self.next,
            beyond,
            durable: self.durable.clone(),
            held_us: newest.map_or(0, |at| now.since(at).as_micros()),
            lost: self.pieces.worst(),
        }
    }

    /// What is durable here.
    #[must_use]
    pub const fn vector(&self) -> &Vector {
        &self.durable
    }
}
