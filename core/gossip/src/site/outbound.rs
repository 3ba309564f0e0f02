//! The sending end of a stream.

use super::letter::write_items;
use super::shards::{DATA_MAX, PARITY_MAX, cut, protect};
use super::{Coalesce, Item, Letter, Shard, SiteSettings, Vector, covers, sooner};
use crate::message::RumourId;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, Instant};

/// Bytes of an item's envelope, for the bounds.
const ENVELOPE: usize = 16;
/// Parity while nothing is known of the link's loss: a tenth, and three.
const UNKNOWN: (usize, usize) = (10, 3);
/// And at most so many times without any answer; then the link is taken for broken.
const AGAIN_MAX: u32 = 16;

/// What the sender wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Send this; it may be lost.
    Letter(Letter),
    /// An item became durable there; how far behind it was.
    Durable {
        /// Which.
        id: RumourId,
        /// The lag.
        lag: Lag,
    },
    /// The other side stands before what is left here: serve it from `from` by log or snapshot. The stream goes on
    /// with what it has.
    Behind {
        /// What is durable there.
        from: Vector,
    },
    /// The queue was full and has been given up: the other side is repaired by digest, and the stream goes on
    /// with what is offered next.
    Overflowed {
        /// How many items.
        items: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Nothing has been answered for long: the connection is of no use. Queueing goes on.
    Silent,
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
    key: u64,
    durable_at: Instant,
}

#[derive(Clone, Debug)]
struct Flight {
    number: u64,
    items: Vec<Waiting>,
    bytes: usize,
    sent_at: Instant,
    again_at: Instant,
    tries: u32,
    held: bool,
}

/// The sender. [`Outbound::offer`] what is durable here, hand in letters, wake at [`Outbound::wake_at`].
#[derive(Clone, Debug)]
pub struct Outbound {
    settings: SiteSettings,
    session: u64,
    connected: bool,
    queue: VecDeque<Waiting>,
    queued: usize,
    /// Where in the queue the last item of a key stands, counted from the first ever queued.
    last: BTreeMap<u64, u64>,
    popped: u64,
    flights: VecDeque<Flight>,
    flying: usize,
    next_number: u64,
    /// The last of each replica given away by the bound or never offered here.
    lost: Vector,
    round_trip: Option<Duration>,
    /// When the latest batch that is known to have come was sent.
    came: Instant,
    /// The most pieces one of the last blocks lost.
    worst: Option<u8>,
    shrunk: u64,
    again: u64,
}

impl Outbound {
    /// A stream that waits for the receiver's `Hello`. `session` must be above those of earlier streams to the same
    /// receiver; the time of the start in nanoseconds will do.
    #[must_use]
    pub const fn new(settings: SiteSettings, session: u64) -> Self {
        Self {
            settings,
            session,
            connected: false,
            queue: VecDeque::new(),
            queued: 0,
            last: BTreeMap::new(),
            popped: 0,
            flights: VecDeque::new(),
            flying: 0,
            next_number: 0,
            lost: Vector::new(),
            round_trip: None,
            came: Instant::ZERO,
            worst: None,
            shrunk: 0,
            again: 0,
        }
    }

    /// Takes an item that is durable here since `durable_at`, the next of its replica. `key` says whose value it
    /// is, for coalescing.
    pub fn offer<C: Coalesce>(
        &mut self,
        now: Instant,
        item: Item,
        key: u64,
        durable_at: Instant,
        coalesce: &C,
        out: &mut Vec<Sent>,
    ) {
        let bytes = item.bytes.len() + ENVELOPE;
        if self.queued + bytes > self.settings.queue_bytes {
            self.overflow(out);
        }
        if let Some(place) = self.last.get(&key).and_then(|p| p.checked_sub(self.popped)) {
            let earlier = &mut self.queue[place as usize];
            if let Some(less) = coalesce.shrink(&earlier.item, &item)
                && less.len() < earlier.item.bytes.len()
            {
                self.queued -= earlier.item.bytes.len() - less.len();
                earlier.item.bytes = less;
                self.shrunk += 1;
            }
        }
        self.last.insert(key, self.popped + self.queue.len() as u64);
        self.queue.push_back(Waiting { item, key, durable_at });
        self.queued += bytes;
        self.send_full(now, out);
    }

    /// Gives up what waits; the vector of what was lost is kept, so that a `Hello` before it is seen as behind.
    fn overflow(&mut self, out: &mut Vec<Sent>) {
        let (items, bytes) = (self.queue.len() as u64, self.queued as u64);
        for w in self.queue.drain(..) {
            self.lost.insert(w.item.id.origin, w.item.id.sequence);
        }
        self.popped += items;
        self.queued = 0;
        self.last.clear();
        out.push(Sent::Overflowed { items, bytes });
    }

    /// Takes a letter of the receiver.
    pub fn receive(&mut self, now: Instant, letter: &Letter, out: &mut Vec<Sent>) {
        match letter {
            Letter::Hello { durable } => self.hello(now, durable, out),
            Letter::Ack { session, next, beyond, durable, held_us, lost } if *session == self.session => {
                self.worst = lost.or(self.worst);
                self.acknowledged(now, durable, Duration::micros(*held_us), out);
                self.held(now, *next, *beyond, out);
                self.send_full(now, out);
                self.send_due(now, out);
            }
            _ => {}
        }
    }

    /// The connection broke: what flies is queued again when the receiver says where it stands.
    pub const fn disconnected(&mut self) {
        self.connected = false;
    }

    fn hello(&mut self, now: Instant, durable: &Vector, out: &mut Vec<Sent>) {
        let mut back: VecDeque<Waiting> = VecDeque::new();
        for f in self.flights.drain(..) {
            back.extend(f.items);
        }
        self.popped = 0;
        self.flying = 0;
        back.append(&mut self.queue);
        back.retain(|w| !covers(durable, w.item.id));
        self.queued = back.iter().map(|w| w.item.bytes.len() + ENVELOPE).sum();
        self.last = back.iter().enumerate().map(|(i, w)| (w.key, i as u64)).collect();
        // The first left of each replica must be the next the receiver needs, and nothing lost may lie between.
        let mut first = Vector::new();
        for w in &back {
            first.entry(w.item.id.origin).or_insert(w.item.id.sequence);
        }
        let at = |r: &u16| durable.get(r).copied().unwrap_or(0);
        let behind = first.iter().any(|(r, s)| *s > at(r) + 1) || self.lost.iter().any(|(r, s)| *s > at(r));
        self.lost.retain(|r, s| *s > at(r));
        self.queue = back;
        self.session += 1;
        self.next_number = 0;
        self.came = Instant::ZERO;
        self.connected = true;
        out.push(Sent::Letter(Letter::Begin { session: self.session }));
        if behind {
            out.push(Sent::Behind { from: durable.clone() });
        }
        self.send_full(now, out);
        self.send_due(now, out);
    }

    /// Forgets what is durable there.
    fn acknowledged(&mut self, now: Instant, durable: &Vector, held: Duration, out: &mut Vec<Sent>) {
        let mut newest = None;
        for f in &mut self.flights {
            if f.items.iter().all(|w| covers(durable, w.item.id)) && !f.items.is_empty() {
                newest = (f.tries == 0).then_some(f.sent_at).or(newest);
                self.came = self.came.max(f.sent_at);
            }
        }
        // Karn's rule: only batches sent once measure the round trip.
        if let Some(sent) = newest {
            let trip = now.since(sent).saturating_sub(held);
            self.round_trip = Some(self.round_trip.map_or(trip, |old| (old * 7 + trip) / 8));
        }
        let way = self.round_trip.unwrap_or(Duration::ZERO) / 2;
        for f in &mut self.flights {
            let mut kept = Vec::new();
            for w in f.items.drain(..) {
                if covers(durable, w.item.id) {
                    let at_most = now.since(w.durable_at);
                    let lag = Lag { at_most, estimate: at_most.saturating_sub(way) };
                    out.push(Sent::Durable { id: w.item.id, lag });
                } else {
                    kept.push(w);
                }
            }
            f.items = kept;
        }
        self.lost.retain(|r, s| durable.get(r).is_none_or(|d| d < s));
        self.land();
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

    fn land(&mut self) {
        let flying = &mut self.flying;
        self.flights.retain(|f| {
            let done = f.items.is_empty();
            if done {
                *flying -= f.bytes;
            }
            !done
        });
    }

    fn timeout(&self) -> Duration {
        let trip = self.round_trip.unwrap_or(Duration::millis(400));
        self.settings.again_after + trip + trip / 4
    }

    fn send_again(&mut self, now: Instant, number: u64, out: &mut Vec<Sent>) {
        let wait = self.timeout();
        let Some(f) = self.flights.iter_mut().find(|f| f.number == number) else { return };
        f.tries += 1;
        // Doubling, so that a link that carries nothing is not fed at full rate.
        f.again_at = now + wait * (1 << f.tries.min(4));
        if f.tries > AGAIN_MAX {
            self.connected = false;
            out.push(Sent::Silent);
            return;
        }
        self.again += 1;
        let items = f.items.iter().map(|w| w.item.clone()).collect();
        let attempt = u8::try_from(f.tries).unwrap_or(u8::MAX);
        self.post(number, attempt, items, out);
    }

    /// A batch as the carrier wants it: whole, or in pieces with parity.
    fn post(&self, number: u64, attempt: u8, items: Vec<Item>, out: &mut Vec<Sent>) {
        let session = self.session;
        let settled = self.flights.front().map_or(number, |f| f.number).min(number);
        if self.settings.datagram == 0 {
            out.push(Sent::Letter(Letter::Batch { session, number, settled, items }));
            return;
        }
        let bytes = write_items(&items);
        let blocks = bytes.len().div_ceil(self.settings.datagram * DATA_MAX).max(1);
        let each = bytes.len().div_ceil(blocks);
        for block in 0..blocks {
            let of = bytes.slice(block * each..((block + 1) * each).min(bytes.len()));
            let data = cut(of.len(), self.settings.datagram).0;
            let parity = self.parity(data);
            let pieces = protect(&of, self.settings.datagram, parity);
            out.extend(pieces.into_iter().enumerate().map(|(index, bytes)| {
                Sent::Letter(Letter::Shard(Shard {
                    session,
                    number,
                    settled,
                    attempt,
                    block: block as u8,
                    blocks: blocks as u8,
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

    /// Sends whole batches while the window has room.
    fn send_full(&mut self, now: Instant, out: &mut Vec<Sent>) {
        while self.connected && self.queued >= self.settings.batch_bytes && self.fits() {
            self.send_one(now, out);
        }
    }

    /// Sends what waited long enough, in whole.
    fn send_due(&mut self, now: Instant, out: &mut Vec<Sent>) {
        while self.connected && self.fits() && self.due_at().is_some_and(|at| at <= now) {
            self.send_one(now, out);
        }
    }

    fn fits(&self) -> bool {
        let next = self.queued.min(self.settings.batch_bytes);
        self.flying == 0 || self.flying + next <= self.settings.in_flight
    }

    fn due_at(&self) -> Option<Instant> {
        self.queue.front().map(|w| w.durable_at + self.settings.window)
    }

    fn send_one(&mut self, now: Instant, out: &mut Vec<Sent>) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(w) = self.queue.front() {
            let more = w.item.bytes.len() + ENVELOPE;
            if !items.is_empty()
                && (bytes + more > self.settings.batch_bytes || items.len() == super::ITEMS_MAX)
            {
                break;
            }
            bytes += more;
            if self.last.get(&w.key) == Some(&self.popped) {
                self.last.remove(&w.key);
            }
            self.popped += 1;
            items.extend(self.queue.pop_front());
        }
        self.queued -= bytes;
        self.flying += bytes;
        let number = self.next_number;
        self.next_number += 1;
        let copies = items.iter().map(|w| w.item.clone()).collect();
        let again_at = now + self.timeout();
        self.flights.push_back(Flight {
            number,
            items,
            bytes,
            sent_at: now,
            again_at,
            tries: 0,
            held: false,
        });
        self.post(number, 0, copies, out);
    }

    /// Does what is due: batches whose time is up, and those not answered.
    pub fn wake(&mut self, now: Instant, out: &mut Vec<Sent>) {
        self.send_due(now, out);
        if !self.connected {
            return;
        }
        let late: Vec<u64> = self.flights.iter().filter(|f| f.again_at <= now).map(|f| f.number).collect();
        for number in late {
            if self.connected {
                self.send_again(now, number, out);
            }
        }
    }

    /// When to wake.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        let again = self.flights.iter().map(|f| f.again_at).min();
        sooner(again, self.due_at().filter(|_| self.fits()))
    }

    /// Bytes that wait and bytes on their way. A caller that fills the queue faster than it empties should slow its
    /// clients when the first nears [`SiteSettings::queue_bytes`].
    #[must_use]
    pub const fn bytes(&self) -> (usize, usize) {
        (self.queued, self.flying)
    }
    /// How long the oldest item that is not known durable there has been durable here: the RPO if this site were
    /// lost now.
    #[must_use]
    pub fn exposure(&self, now: Instant) -> Duration {
        let oldest =
            self.flights.iter().flat_map(|f| &f.items).chain(&self.queue).map(|w| w.durable_at).min();
        oldest.map_or(Duration::ZERO, |at| now.since(at))
    }
    /// Items shrunk by coalescing, and batches sent again.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.shrunk, self.again)
    }
    /// Whether the receiver has said where it stands.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }
}

/// A shrunk item's bytes: nothing.
impl Item {
    /// An item whose value a later one carries.
    #[must_use]
    pub const fn empty(id: RumourId) -> Self {
        Self { id, bytes: Bytes::new() }
    }
}
