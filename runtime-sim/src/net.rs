//! Links: when, whether and how often a message arrives.
//!
//! **Promise.** Per (link, lane) messages arrive in the order they were sent, as on a TCP
//! connection, unless a reorder or duplicate fault says otherwise; they may be lost. A lane
//! never waits behind a less urgent one. Bodies are never altered: a corrupted frame does
//! not check and is dropped, as in production. Datagrams keep no order: each arrives when its own way is over.
//!
//! **Model.** Each directed link has a time on the way, drawn for each message, a rate with a
//! queue, and what faults add. For measured matrices the time is
//! `mean - deviation + deviation * Exp(1)`, between the shortest and the longest seen: `Exp(1)`
//! by a table of quantiles in integers. Between nodes of one region it is 0.3 to 0.7 ms.
//!
//! **Keyed.** Draws are keyed by (purpose, link, time of sending, number within that
//! instant); each fault has purposes of its own, so that none shifts another.

mod faults;
mod matrix;

pub use matrix::{Matrix, Path};

use crate::fault::{FaultKind, Fired};
use crate::plan::{Latency, Plan};
use crate::trace::Lost;
use bytes::Bytes;
use dwcp_env::{Instant, Lane, Purpose, Rate, Ratio, Seed, wire};
pub(crate) use faults::{Burden, LinkFault};

const WAY: Purpose = Purpose::named("net.way");
const LOSS: Purpose = Purpose::named("net.loss");

/// Within a region, at least.
const LOCAL_MIN: u64 = 300_000;
/// Within a region, at most.
const LOCAL_MAX: u64 = 700_000;
/// From a node to itself.
const LOOPBACK: u64 = 10_000;
/// Bytes on the wire besides the frame: IP, TCP and TLS record headers.
const OVERHEAD: u64 = 62;

/// Quantiles of the exponential distribution at (i + 1/2) / 64, in 1/256: `-ln(1 - q) * 256`.
const EXPONENTIAL: [u16; 64] = [
    2, 6, 10, 14, 19, 23, 27, 32, 36, 41, 46, 51, 56, 61, 66, 71, 76, 82, 87, 93, 99, 105, 111, 117, 124,
    130, 137, 144, 151, 158, 166, 173, 181, 190, 198, 207, 216, 226, 236, 246, 256, 268, 279, 291, 304, 318,
    332, 347, 363, 380, 398, 418, 439, 463, 488, 517, 549, 585, 628, 680, 744, 830, 961, 1242,
];

/// The time on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Evenly between two bounds.
    Even { min: u64, span: u64 },
    /// From a measured path.
    Measured { base: u64, deviation: u64, min: u64, max: u64 },
}

impl Way {
    #[inline]
    fn time(self, draw: u64) -> u64 {
        match self {
            Self::Even { min, span } => min + ((u128::from(draw) * u128::from(span + 1)) >> 64) as u64,
            Self::Measured { base, deviation, min, max } => {
                let tail = u64::from(EXPONENTIAL[(draw >> 58) as usize]) * deviation / 256;
                (base + tail).clamp(min, max)
            }
        }
    }
}

/// Where a lane stands in line for a link: datagrams with the data.
const fn place(lane: Lane) -> usize {
    match lane {
        Lane::Datagram => Lane::Data as usize,
        ordered => ordered as usize,
    }
}

/// One direction between two nodes: what every message touches, in one cache line.
#[derive(Debug)]
struct Link {
    /// The last arrival promised, by lane.
    last: [u64; 3],
    sent_at: u64,
    ordinal: u32,
    /// Its place among the ways.
    way: u32,
    narrows: Option<Box<Narrows>>,
}

/// What a link has besides, once it has a rate or a fault.
#[derive(Debug, Default)]
struct Narrows {
    /// The last arrival of a message that others may overtake, by lane.
    overtakable: [u64; 3],
    /// When the link is free again, by lane: a lane waits for itself and the more urgent.
    free: [u64; 3],
    burden: Option<Burden>,
}

const _: () = assert!(size_of::<Link>() <= 64, "a link fits a cache line");

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It arrives then.
    Arrives(u64),
    /// It does not.
    Lost(Lost),
}

/// What became of a message, and of its copy if there is one.
#[derive(Debug)]
pub(crate) struct Passage {
    pub(crate) fate: Fate,
    /// When a second copy arrives, if one does.
    pub(crate) copy: Option<u64>,
    /// The body as it arrives, if a corrupted frame checked after all.
    pub(crate) altered: Option<Bytes>,
}

/// All links of a run.
#[derive(Debug)]
pub(crate) struct Net {
    seed: Seed,
    nodes: usize,
    links: Vec<Link>,
    /// The different times on the way; many links share one.
    ways: Vec<Way>,
    loss: Ratio,
    rate: Rate,
    queue: u64,
}

impl Net {
    /// The links of a plan that has been checked.
    pub(crate) fn new(plan: &Plan) -> Self {
        let n = plan.nodes.len();
        let matrix = match &plan.latency {
            Latency::Measured(name) => Matrix::named(name),
            Latency::Uniform { .. } => None,
        };
        let region = |i: usize| matrix.as_ref().and_then(|m| m.region(&plan.nodes[i].region));
        let regions: Vec<Option<usize>> = (0..n).map(region).collect();
        let mut links = Vec::with_capacity(n * n);
        let mut ways: Vec<Way> = Vec::new();
        for from in 0..n {
            for to in 0..n {
                let way = match (&plan.latency, &matrix, regions[from], regions[to]) {
                    _ if from == to => Way::Even { min: LOOPBACK, span: 0 },
                    (Latency::Uniform { min, max }, ..) => {
                        Way::Even { min: min.as_nanos(), span: (*max - *min).as_nanos() }
                    }
                    (_, Some(m), Some(a), Some(b)) if a != b => measured(m.path(a, b)),
                    _ => Way::Even { min: LOCAL_MIN, span: LOCAL_MAX - LOCAL_MIN },
                };
                let way = ways.iter().position(|w| *w == way).unwrap_or_else(|| {
                    ways.push(way);
                    ways.len() - 1
                }) as u32;
                links.push(Link { last: [0; 3], sent_at: 0, ordinal: 0, way, narrows: None });
            }
        }
        let (loss, rate, queue) = (plan.net.loss, plan.net.bandwidth, plan.net.queue.0);
        Self { seed: plan.seed, nodes: n, links, ways, loss, rate, queue }
    }

    /// Keys what is drawn from now on anew.
    pub(crate) const fn rekey(&mut self, seed: Seed) {
        self.seed = seed;
    }

    /// Sets what faults add to a link.
    pub(crate) fn burden(&mut self, from: usize, to: usize, burden: Option<Burden>) {
        let link = &mut self.links[from * self.nodes + to];
        if burden.is_none() && link.narrows.is_none() {
            return;
        }
        let narrows = link.narrows.get_or_insert_default();
        // A burst of losses under way goes on under the new burden.
        let burst = narrows.burden.as_ref().map_or(0, |b| b.burst_left);
        narrows.burden = burden;
        if let Some(b) = &mut narrows.burden {
            b.burst_left = burst;
        }
    }

    /// Sends a message.
    #[inline]
    pub(crate) fn pass(
        &mut self,
        now: u64,
        from: usize,
        to: usize,
        lane: Lane,
        body: &Bytes,
        fired: &mut Fired,
    ) -> Passage {
        let index = from * self.nodes + to;
        let link = &mut self.links[index];
        if link.sent_at == now {
            link.ordinal += 1;
        } else {
            link.sent_at = now;
            link.ordinal = 0;
        }
        let ordinal = u64::from(link.ordinal);
        let key = Key { seed: self.seed, link: index as u64, at: Instant::from_nanos(now), ordinal };
        if self.loss.num > 0 && self.loss.hit(key.draw(LOSS)) {
            return Passage::lost(Lost::Loss);
        }
        let way = self.ways[link.way as usize].time(key.draw(WAY));
        if self.rate.bytes_per_s == 0 && link.narrows.is_none() {
            let at = link.in_order(lane, now + way);
            return Passage { fate: Fate::Arrives(at), copy: None, altered: None };
        }
        let mut narrows = link.narrows.take().unwrap_or_default();
        let message = Message { now, way, lane, body, key, own: (self.rate, self.queue) };
        let passage = link.pass_narrow(&mut narrows, &message, fired);
        link.narrows = Some(narrows);
        passage
    }
}

/// A message about to leave.
struct Message<'a> {
    now: u64,
    /// Its time on the way.
    way: u64,
    lane: Lane,
    body: &'a Bytes,
    key: Key,
    /// The link's own rate and room.
    own: (Rate, u64),
}

fn measured(p: Path) -> Way {
    let (min, mean, max, deviation) =
        (p.min.as_nanos(), p.mean.as_nanos(), p.max.as_nanos(), p.deviation.as_nanos());
    Way::Measured { base: mean.saturating_sub(deviation).max(min), deviation, min, max }
}

/// The key of one message's draws.
struct Key {
    seed: Seed,
    link: u64,
    at: Instant,
    ordinal: u64,
}

impl Key {
    #[inline]
    fn draw(&self, purpose: Purpose) -> u64 {
        self.seed.draw(purpose, self.link, self.at, self.ordinal)
    }
    fn below(&self, n: u64, purpose: Purpose) -> u64 {
        self.seed.below(n, purpose, self.link, self.at, self.ordinal)
    }
    /// Another draw for the same message and purpose.
    fn nth(&self, purpose: Purpose, k: u64) -> u64 {
        self.seed.draw(purpose, self.link, self.at, self.ordinal | (k + 1) << 32)
    }
}

impl Passage {
    const fn lost(why: Lost) -> Self {
        Self { fate: Fate::Lost(why), copy: None, altered: None }
    }
}

impl Narrows {
    /// When the last byte leaves; none if there is no room to wait in.
    fn queue(&mut self, message: &Message<'_>, rate: Rate, room: u64) -> Option<u64> {
        let now = message.now;
        if rate.bytes_per_s == 0 {
            return Some(now);
        }
        let size = message.body.len() as u64 + wire::HEADER as u64 + OVERHEAD;
        let l = place(message.lane);
        let begins = self.free[l].max(now);
        let waiting = u128::from(begins - now) * u128::from(rate.bytes_per_s) / 1_000_000_000;
        if waiting + u128::from(size) > u128::from(room.max(size)) {
            return None;
        }
        let takes = rate.time_for(dwcp_env::ByteCount(size)).as_nanos();
        // What is less urgent waits this much longer.
        for slower in &mut self.free[l..] {
            *slower = (*slower).max(now) + takes;
        }
        Some(begins + takes)
    }
}

impl Link {
    /// Not before what was sent before on this lane, if it keeps an order.
    #[inline]
    fn in_order(&mut self, lane: Lane, at: u64) -> u64 {
        if lane == Lane::Datagram {
            return at;
        }
        let last = &mut self.last[lane as usize];
        *last = at.max(*last);
        *last
    }
}
