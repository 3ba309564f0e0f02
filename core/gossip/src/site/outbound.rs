//! The sending end of a stream.

use super::letter::write_items;
use super::shards::{DATA_MAX, PARITY_MAX, cut, protect};
use super::{Item, Letter, Shard, SiteSettings, Vector};
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
/// A batch is sent again at most so many times without any answer; then the receiver is asked where it stands.
const AGAIN_MAX: u32 = 6;

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
    round_trip: Option<Duration>,
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
            budget: Budget::new(now, settings.rate, settings.rate / 8),
            sent_at: None,
            next_number: 0,
            round_trip: None,
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
                self.landed(now, *durable, Duration::micros(*held_us), out);
                self.held(now, *next, *beyond, out);
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
        self.came = Instant::ZERO;
    }

    /// Forgets what is durable there.
    fn landed(&mut self, now: Instant, durable: u64, held: Duration, out: &mut Vec<Sent>) {
        let landed = self.flights.partition_point(|f| f.number < durable);
        let Some(newest) = landed.checked_sub(1).map(|i| &self.flights[i]) else { return };
        // Karn's rule: only batches sent once measure the round trip.
        if newest.tries == 0 {
            let trip = now.since(newest.sent_at).saturating_sub(held);
            self.round_trip = Some(self.round_trip.map_or(trip, |old| (old * 7 + trip) / 8));
            self.came = self.came.max(newest.sent_at);
        }
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

    /// Notes which batches have come; sends again what later ones overtook.
    fn held(&mut self, now: Instant, next: u64, beyond: u64, out: &mut Vec<Sent>) {
        let came = |n: u64| n < next || (n > next && n - next <= 64 && beyond & (1 << (n - next - 1)) != 0);
        for f in &mut self.flights {
            f.held |= came(f.number);
            // One that was sent again tells nothing about those sent before that.
            if f.held && f.tries == 0 {
                self.came = self.came.max(f.sent_at);
            }
        }
        // Once for each later batch that comes is once too often: the timeout has to pass between two.
        let overtaken =
            |f: &&Flight| !f.held && f.tries == 0 && self.came.since(f.sent_at) >= self.settings.overtaken;
        let again: Vec<u64> = self.flights.iter().filter(overtaken).map(|f| f.number).collect();
        for number in again {
            self.send_again(now, number, out);
        }
    }

    fn timeout(&self) -> Duration {
        let trip = self.round_trip.unwrap_or(Duration::millis(400));
        self.settings.again_after + trip + trip / 4
    }

    fn send_again(&mut self, now: Instant, number: u64, out: &mut Vec<Sent>) {
        let wait = self.timeout();
        let Some(f) = self.flights.iter_mut().find(|f| f.number == number) else { return };
        if f.tries >= AGAIN_MAX {
            return self.begin_anew(now);
        }
        f.tries += 1;
        f.again_at = now + wait * u64::from(f.tries + 1);
        let (tries, items) = (f.tries, f.items.clone());
        self.again += 1;
        // What is lost beyond its parity may be lost to a queue that is full: at most once in a round trip it counts.
        if self.slowed_at.is_none_or(|at| now.since(at) >= self.round_trip.unwrap_or(wait)) {
            self.slowed_at = Some(now);
            self.window = (self.window / 2).max(2 * self.settings.batch_bytes);
        }
        self.post(number, tries, items, out);
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
        self.connected && (self.flying == 0 || self.flying + next <= self.window)
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
            again_at: now + self.timeout(),
            tries: 0,
            held: false,
        });
        self.post(number, 0, items, out);
    }

    /// Does what is due: asks where the receiver stands, sends batches whose time is up, and those not answered.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<Sent>) {
        let late: Vec<u64> = self.flights.iter().filter(|f| f.again_at <= now).map(|f| f.number).collect();
        for number in late {
            self.send_again(now, number, out);
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
        let again = self.flights.iter().map(|f| f.again_at).min();
        let due = self.due_at().filter(|_| self.fits()).map(|at| at.max(self.paid_at()));
        [again, due].into_iter().flatten().min().unwrap_or(Instant::FAR)
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
