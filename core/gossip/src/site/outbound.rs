//! The sending end of a stream.

use super::letter::write_items;
use super::shards::{DATA_MAX, PARITY_MAX, cut, protect};
use super::{AHEAD_MAX, Item, Letter, Shard, SiteSettings, Vector};
use crate::budget::Budget;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Instant};

/// Bytes of an item's envelope, for the bounds.
const ENVELOPE: usize = 16;
/// Parity while nothing is known of the link's loss: a tenth, and three.
const UNKNOWN: (usize, usize) = (10, 3);
/// Between two questions where the receiver stands.
const BEGIN_EVERY: Duration = Duration::secs(1);
/// A batch is sent again, and the receiver is asked what it has, at most so many times without any answer; then the sender
/// begins anew.
const AGAIN_MAX: u32 = 6;
/// A receiver that said nothing for so long is asked whether it is there: it forgets who is silent, and one that restarted
/// meanwhile is found before there is something to send.
const QUIET: Duration = Duration::secs(20);
/// Of what may leave in a second so large a part may leave at once.
const BURST: u64 = 8;
/// The round trip before one has been measured.
const FIRST_TRIP: Duration = Duration::millis(400);
/// The most that a round trip seems to take.
const SEEMED_MAX: Duration = Duration::secs(4);

/// What the sender wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Send this; it may be lost.
    Letter(Letter),
    /// The receiver has said where it stands: what it lacks is to be offered, from there on.
    Stands,
    /// A batch became durable there; how far behind the oldest of it was.
    Durable {
        /// The lag.
        lag: Lag,
        /// Items of the batch.
        items: usize,
    },
}

/// What became of an item that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It will be there, or is already.
    Taken,
    /// Not now: the receiver has not said where it stands, something before the item was not offered, or there is no room. It is to be
    /// offered again, with what is before it, while [`Outbound::has_room`].
    Later,
}

/// The time from durable here to durable there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Lag {
    /// Until the acknowledgement came: never less than the truth.
    pub at_most: Duration,
    /// Less the way back, taken as half of what the receiver did not hold it for.
    pub estimate: Duration,
}

#[derive(Clone, Debug)]
struct Waiting {
    item: Item,
    durable_at: Instant,
}

#[derive(Clone, Debug)]
struct Flight {
    number: u64,
    items: Vec<Item>,
    bytes: usize,
    /// Since when the oldest of it is durable here.
    durable_at: Instant,
    sent_at: Instant,
    again_at: Instant,
    tries: u32,
    held: bool,
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    next: u64,
    beyond: u64,
    durable: u64,
}

impl Acknowledged {
    /// Whether a batch has come.
    const fn has(self, n: u64) -> bool {
        let Self { next, beyond, .. } = self;
        n < next || (n > next && n - next <= 64 && beyond & (1 << (n - next - 1)) != 0)
    }
}

/// The sender. [`Outbound::offer`] what is durable, hand in letters, wake at [`Outbound::wake_at`].
#[derive(Clone, Debug)]
pub struct Outbound {
    settings: SiteSettings,
    session: u64,
    connected: bool,
    begin_at: Instant,
    /// What the receiver held at its `Hello`, and what has been taken since.
    offered: Vector,
    queue: VecDeque<Waiting>,
    queued: usize,
    flights: VecDeque<Flight>,
    flying: usize,
    /// Bytes that may fly: grows with what lands, halves with what has to be sent again.
    window: usize,
    /// When it halved last in this session.
    slowed_at: Option<Instant>,
    budget: Budget,
    /// When the last batch left.
    sent_at: Option<Instant>,
    next_number: u64,
    /// Of batches sent once (Karn's rule).
    round_trip: Option<Duration>,
    /// How much it varies.
    variance: Duration,
    /// What batches took that were sent again, since one was sent once.
    seemed: Duration,
    /// When the receiver was heard or asked last, and how often it has been asked since it was heard.
    asked_at: Instant,
    asked: u32,
    /// When the latest batch that is known to have come was sent.
    came: Instant,
    /// The most pieces one of the last blocks lost.
    worst: Option<u8>,
    again: u64,
}

impl Outbound {
    /// A stream that asks the receiver where it stands. `session` must differ from those of earlier streams to the same
    /// receiver; a draw will do.
    #[must_use]
    pub const fn new(settings: SiteSettings, session: u64, now: Instant) -> Self {
        Self {
            settings,
            session,
            connected: false,
            begin_at: now,
            offered: Vector::new(),
            queue: VecDeque::new(),
            queued: 0,
            flights: VecDeque::new(),
            flying: 0,
            window: settings.in_flight / 8,
            slowed_at: None,
            budget: Budget::new(now, settings.rate, settings.rate / BURST),
            sent_at: None,
            next_number: 0,
            round_trip: None,
            variance: Duration::ZERO,
            seemed: Duration::ZERO,
            asked_at: now,
            asked: 0,
            came: Instant::ZERO,
            worst: None,
            again: 0,
        }
    }

    /// Takes an item that is durable since `durable_at`, if it is the next of its replica: it holds the operations from
    /// `first` to its name.
    pub fn offer(
        &mut self,
        now: Instant,
        first: u64,
        item: Item,
        durable_at: Instant,
        out: &mut Vec<Sent>,
    ) -> Offer {
        let at = self.offered(item.id.origin);
        if self.connected && item.id.sequence <= at {
            return Offer::Taken;
        }
        if first > at + 1 || !self.has_room() {
            return Offer::Later;
        }
        self.offered.insert(item.id.origin, item.id.sequence);
        self.queued += item.bytes.len() + ENVELOPE;
        self.queue.push_back(Waiting { item, durable_at });
        self.send_due(now, out);
        Offer::Taken
    }

    /// Passes over what a replica made up to here: it can't be had any more, and comes by repair.
    pub fn pass_over(&mut self, origin: u16, sequence: u64) {
        let at = self.offered.entry(origin).or_insert(0);
        *at = sequence.max(*at);
    }

    /// Up to where a replica's operations have been taken, or were there.
    #[must_use]
    pub fn offered(&self, origin: u16) -> u64 {
        self.offered.get(&origin).copied().unwrap_or(0)
    }

    /// Whether something may be offered.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.connected && self.queued < self.settings.queue_bytes
    }

    /// Takes a letter of the receiver.
    pub fn receive(&mut self, now: Instant, letter: &Letter, out: &mut Vec<Sent>) {
        if let Letter::Hello { session, .. } | Letter::Ack { session, .. } = letter
            && *session == self.session
        {
            (self.asked_at, self.asked) = (now, 0);
        }
        match letter {
            Letter::Hello { session, held } if *session == self.session && !self.connected => {
                self.connected = true;
                self.offered.clone_from(held);
                out.push(Sent::Stands);
            }
            Letter::Unknown { session } if *session == self.session && self.connected => {
                self.begin_anew(now);
                self.wake(now, out);
            }
            Letter::Ack { session, next, beyond, durable, held_us, lost } if *session == self.session => {
                self.worst = lost.or(self.worst);
                let came = Acknowledged { next: *next, beyond: *beyond, durable: *durable };
                self.came(now, came, Duration::micros(*held_us));
                self.landed(now, *durable, out);
                self.send_overtaken(now, out);
                self.send_due(now, out);
            }
            _ => {}
        }
    }

    /// What waits and what flies is offered again once the receiver has said where it stands.
    fn begin_anew(&mut self, now: Instant) {
        self.session += 1;
        self.connected = false;
        self.begin_at = now;
        self.offered.clear();
        self.queue.clear();
        self.flights.clear();
        (self.queued, self.flying, self.next_number) = (0, 0, 0);
        (self.window, self.slowed_at) = (self.settings.in_flight / 8, None);
        (self.round_trip, self.seemed) = (None, Duration::ZERO);
        (self.came, self.asked) = (Instant::ZERO, 0);
    }

    /// Notes which batches have come. The newest of them measures the round trip.
    fn came(&mut self, now: Instant, said: Acknowledged, held: Duration) {
        let mut newest = None;
        for f in self.flights.iter_mut().filter(|f| !f.held && said.has(f.number)) {
            f.held = true;
            // One that was sent again tells nothing about those sent before that.
            if f.tries == 0 {
                self.came = self.came.max(f.sent_at);
            }
            newest = Some((f.number, f.sent_at, f.tries));
        }
        if let Some((number, sent_at, tries)) = newest {
            // One that is durable already was told of when it had been there for a while.
            let held = if number + 1 == said.durable { held } else { Duration::ZERO };
            self.measure(now.since(sent_at).saturating_sub(held), tries);
        }
    }

    /// RFC 6298, section 2, with Karn's rule: what was sent twice tells nothing of the round trip. But once the way is longer than the
    /// timeout all is sent twice, and nothing would measure it any more. So until a batch comes that was sent once, the
    /// timeout is as long as the others took (in place of 5.5 to 5.7).
    fn measure(&mut self, trip: Duration, tries: u32) {
        if tries > 0 {
            self.seemed = self.seemed.max(trip.min(SEEMED_MAX));
            return;
        }
        self.seemed = Duration::ZERO;
        let Some(old) = self.round_trip else {
            self.round_trip = Some(trip);
            return;
        };
        let off = trip.saturating_sub(old).max(old.saturating_sub(trip));
        self.variance = (self.variance * 3 + off) / 4;
        self.round_trip = Some((old * 7 + trip) / 8);
    }

    /// How long an acknowledgement is waited for.
    fn timeout(&self) -> Duration {
        let trip = self.round_trip.unwrap_or(FIRST_TRIP);
        self.settings.again_after + trip + (trip / 4).max(self.variance * 4)
    }

    /// Forgets what is durable there.
    fn landed(&mut self, now: Instant, durable: u64, out: &mut Vec<Sent>) {
        let landed = self.flights.partition_point(|f| f.number < durable);
        let way = self.round_trip.unwrap_or(Duration::ZERO) / 2;
        for f in self.flights.drain(..landed) {
            let at_most = now.since(f.durable_at);
            let lag = Lag { at_most, estimate: at_most.saturating_sub(way) };
            out.push(Sent::Durable { lag, items: f.items.len() });
            self.flying -= f.bytes;
            let more = if self.slowed_at.is_some() { f.bytes / 4 } else { f.bytes };
            self.window = (self.window + more).min(self.settings.in_flight);
        }
    }

    /// Sends again what later ones overtook.
    fn send_overtaken(&mut self, now: Instant, out: &mut Vec<Sent>) {
        // Once for each later batch that comes is once too often: the timeout has to pass between two.
        let overtaken =
            |f: &&Flight| !f.held && f.tries == 0 && self.came.since(f.sent_at) >= self.settings.overtaken;
        let again: Vec<u64> = self.flights.iter().filter(overtaken).map(|f| f.number).collect();
        self.send_again(now, &again, out);
    }

    /// Sends these again, the oldest first, as far as the rate allows; the others when it does. What a cut left unanswered may be
    /// all that may fly: at once it would be dropped before it has left, and counted as lost on the way.
    fn send_again(&mut self, now: Instant, numbers: &[u64], out: &mut Vec<Sent>) {
        for number in numbers {
            let Some(at) = self.flights.iter().position(|f| f.number == *number) else { return };
            if self.flights[at].tries >= AGAIN_MAX {
                return self.begin_anew(now);
            }
            let cost = (self.flights[at].bytes as u64).min(self.settings.rate / BURST);
            if self.budget.take(now, cost) {
                self.send_one_again(now, at, out);
            } else {
                self.flights[at].again_at = self.budget.room_at(cost);
            }
        }
    }

    fn send_one_again(&mut self, now: Instant, at: usize, out: &mut Vec<Sent>) {
        let wait = self.timeout();
        let f = &mut self.flights[at];
        f.tries += 1;
        f.again_at = now + wait * u64::from(f.tries + 1);
        let (number, tries, items) = (f.number, f.tries, f.items.clone());
        self.again += 1;
        // What is lost beyond its parity may be lost to a queue that is full: at most once in a round trip it counts.
        if self.slowed_at.is_none_or(|at| now.since(at) >= self.round_trip.unwrap_or(wait)) {
            self.slowed_at = Some(now);
            self.window = (self.window / 2).max(2 * self.settings.batch_bytes);
        }
        self.post(number, tries, items, out);
    }

    /// Asks the receiver what it has. It answers to a piece of a batch that has come; what this one holds is nothing.
    fn ask(&mut self, now: Instant, out: &mut Vec<Sent>) {
        if self.asked >= AGAIN_MAX {
            return self.begin_anew(now);
        }
        (self.asked_at, self.asked) = (now, self.asked + 1);
        let session = self.session;
        let held = self.flights.iter().find(|f| f.held).map(|f| f.number);
        out.push(Sent::Letter(match held.or_else(|| self.next_number.checked_sub(1)) {
            None => Letter::Begin { session },
            Some(number) => Letter::Shard(Shard {
                session,
                number,
                attempt: 1,
                block: 0,
                blocks: 1,
                data: 2,
                parity: 0,
                index: 0,
                length: 1,
                bytes: Bytes::from_static(&[0]),
            }),
        }));
    }

    /// When to ask: soon if what has come there is not known to be durable, now and then if there is nothing to wait for. What
    /// is not known to have come is asked after by sending it again.
    fn ask_at(&self) -> Instant {
        let held = self.flights.iter().any(|f| f.held);
        if !held && !self.flights.is_empty() {
            return Instant::FAR;
        }
        let soon = held || self.asked > 0;
        self.asked_at + if soon { self.timeout() * u64::from(self.asked + 1) } else { QUIET }
    }

    /// Sends a batch, whole or in pieces.
    fn post(&mut self, number: u64, tries: u32, items: Vec<Item>, out: &mut Vec<Sent>) {
        let session = self.session;
        if self.settings.datagram == 0 {
            return out.push(Sent::Letter(Letter::Batch { session, number, items }));
        }
        let bytes = write_items(&items);
        let blocks: Vec<Bytes> = {
            let most = self.settings.datagram * DATA_MAX;
            (0..bytes.len().div_ceil(most))
                .map(|b| bytes.slice(b * most..((b + 1) * most).min(bytes.len())))
                .collect()
        };
        let attempt = u8::try_from(tries).unwrap_or(u8::MAX);
        for (block, of) in blocks.iter().enumerate() {
            let data = cut(of.len(), self.settings.datagram).0;
            let parity = self.parity(data);
            let shards = protect(of, self.settings.datagram, parity);
            out.extend(shards.into_iter().enumerate().map(|(index, bytes)| {
                Sent::Letter(Letter::Shard(Shard {
                    session,
                    number,
                    attempt,
                    block: block as u8,
                    blocks: blocks.len() as u8,
                    data: data as u8,
                    parity: parity as u8,
                    index: index as u8,
                    length: of.len() as u32,
                    bytes,
                }))
            }));
        }
    }

    /// Half as many more pieces of parity as the worst of the last blocks needed, and one; never more than a second copy.
    /// One batch in a thousand that fails is too many: it holds up the seven behind it.
    fn parity(&self, data: usize) -> usize {
        let wanted = match self.worst {
            None => data / UNKNOWN.0 + UNKNOWN.1,
            Some(worst) => usize::from(worst) * 3 / 2 + 1,
        };
        wanted.min(data.max(2)).min(self.settings.parity_max).min(PARITY_MAX)
    }

    /// Sends what is a whole batch or has waited long enough, as far as window and rate allow.
    fn send_due(&mut self, now: Instant, out: &mut Vec<Sent>) {
        while self.fits() && self.due_at().is_some_and(|at| at <= now) {
            let next = self.queued.min(self.settings.batch_bytes) as u64;
            if self.budget.room(now) < next {
                return;
            }
            self.send_one(now, out);
        }
    }

    fn fits(&self) -> bool {
        let next = self.queued.min(self.settings.batch_bytes);
        // Beyond that the receiver keeps none before its turn: it would be sent in vain.
        let kept =
            self.flights.iter().find(|f| !f.held).is_none_or(|f| self.next_number - f.number <= AHEAD_MAX);
        self.connected && kept && (self.flying == 0 || self.flying + next <= self.window)
    }

    /// The first after a pause leaves at once; those behind it gather.
    fn due_at(&self) -> Option<Instant> {
        let first = self.queue.front()?;
        let gathers = self.sent_at.filter(|_| self.queued < self.settings.batch_bytes);
        Some(gathers.map_or(first.durable_at, |at| first.durable_at.max(at + self.settings.window)))
    }

    fn send_one(&mut self, now: Instant, out: &mut Vec<Sent>) {
        let (mut items, mut bytes, mut durable_at) = (Vec::new(), 0, now);
        while let Some(w) = self.queue.front() {
            let more = w.item.bytes.len() + ENVELOPE;
            if !items.is_empty()
                && (bytes + more > self.settings.batch_bytes || items.len() == super::ITEMS_MAX)
            {
                break;
            }
            bytes += more;
            durable_at = durable_at.min(w.durable_at);
            items.extend(self.queue.pop_front().map(|w| w.item));
        }
        self.queued -= bytes;
        self.flying += bytes;
        self.sent_at = Some(now);
        let room = self.budget.room(now);
        self.budget.take(now, (bytes as u64).min(room));
        let number = self.next_number;
        self.next_number += 1;
        self.flights.push_back(Flight {
            number,
            items: items.clone(),
            bytes,
            durable_at,
            sent_at: now,
            again_at: now + self.timeout().max(self.settings.again_after + self.seemed),
            tries: 0,
            held: false,
        });
        self.post(number, 0, items, out);
    }

    /// Does what is due: asks where the receiver stands, sends batches whose time is up, and those not answered.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<Sent>) {
        let late = |f: &&Flight| !f.held && f.again_at <= now;
        let late: Vec<u64> = self.flights.iter().filter(late).map(|f| f.number).collect();
        self.send_again(now, &late, out);
        if self.connected && self.ask_at() <= now {
            self.ask(now, out);
        }
        if !self.connected && now >= self.begin_at {
            self.begin_at = now + BEGIN_EVERY;
            out.push(Sent::Letter(Letter::Begin { session: self.session }));
        }
        self.send_due(now, out);
    }

    /// When to wake.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        if !self.connected {
            return self.begin_at;
        }
        let again = self.flights.iter().filter(|f| !f.held).map(|f| f.again_at).min();
        let due = self.due_at().filter(|_| self.fits()).map(|at| at.max(self.paid_at()));
        [again, due].into_iter().flatten().fold(self.ask_at(), Instant::min)
    }

    /// When the budget will have room for the next batch.
    fn paid_at(&self) -> Instant {
        let next = self.queued.min(self.settings.batch_bytes) as u64;
        self.budget.room_at(next)
    }

    /// Bytes that wait and bytes on their way.
    #[must_use]
    pub const fn bytes(&self) -> (usize, usize) {
        (self.queued, self.flying)
    }
    /// How long the oldest item that was taken and is not known durable there has been durable here.
    #[must_use]
    pub fn exposure(&self, now: Instant) -> Duration {
        let flying = self.flights.front().map(|f| f.durable_at);
        let waiting = self.queue.front().map(|w| w.durable_at);
        let oldest = [flying, waiting].into_iter().flatten().min();
        oldest.map_or(Duration::ZERO, |at| now.since(at))
    }
    /// Batches sent again.
    #[must_use]
    pub const fn again(&self) -> u64 {
        self.again
    }
    /// Whether the receiver has said where it stands.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }
}
