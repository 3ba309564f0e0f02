//! Two ends of a site stream in one event loop: updates at a rate, a link that delays and loses, a disk at each
//! end that syncs in groups. The lag is measured by the virtual clock, from durable here to durable there.

use dwcp_env::{Duration, Instant, Purpose, Ratio, Seed};
use dwcp_gossip::RumourId;
use dwcp_gossip::site::{Coalesce, Inbound, Item, Letter, Outbound, Received, Sent, SiteSettings, Vector};
use std::collections::{BTreeMap, BTreeSet};

const LOSS: Purpose = Purpose::named("link.loss");
const KEY: Purpose = Purpose::named("link.key");

/// Bytes of one packet.
const PACKET: usize = 1_200;

/// What brings letters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Each packet for itself; a letter of several is lost with any of them.
    Datagrams,
    /// In order and without loss, as TCP or one stream of QUIC: a lost packet is sent again when those behind it
    /// have told, a round trip later, and all behind it wait. No window and no timeouts: better than any real one.
    Stream,
}

/// The link and the load.
#[derive(Clone, Copy)]
pub struct Link {
    pub one_way: Duration,
    pub jitter: Duration,
    pub sync: Duration,
    pub loss: Ratio,
    /// Packets lost in a row, on average.
    pub burst: u64,
    pub carrier: Carrier,
    pub per_second: u64,
    pub bytes: usize,
    pub keys: u64,
    pub seconds: u64,
    /// The link is cut from here to here, in seconds.
    pub cut: Option<(u64, u64)>,
    pub settings: SiteSettings,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            one_way: Duration::millis(160),
            jitter: Duration::millis(2),
            sync: Duration::millis(10),
            loss: Ratio::NEVER,
            burst: 1,
            carrier: Carrier::Datagrams,
            per_second: 10_000,
            bytes: 150,
            keys: 100_000,
            seconds: 10,
            cut: None,
            settings: SiteSettings::default(),
        }
    }
}

/// What came of it; times in microseconds.
#[derive(Default)]
pub struct Came {
    /// The lag of each update, by the clock of the world.
    pub lag: Vec<u64>,
    /// The sender's own estimate beside it: the largest difference.
    pub estimate_off: u64,
    pub letters: u64,
    pub bytes: u64,
    pub again: u64,
    pub shrunk: u64,
    pub behind: u64,
    pub overflowed: u64,
    /// Sequences in the order they were applied, each once.
    pub applied: Vec<u64>,
    pub queued_most: usize,
}

enum What {
    Update,
    ToReceiver(Letter),
    ToSender(Letter),
    Synced(u64),
    WakeSender,
    WakeReceiver,
    Reconnect,
}

/// Keeps only the last value of a key.
pub struct LastOnly;
impl Coalesce for LastOnly {
    fn shrink(&self, _: &Item, _: &Item) -> Option<bytes::Bytes> {
        Some(bytes::Bytes::new())
    }
}

struct Run {
    link: Link,
    seed: Seed,
    events: BTreeMap<(u64, u64), What>,
    seq: u64,
    now: u64,
    came: Came,
    estimates: BTreeMap<u64, u64>,
    packets: u64,
    /// A burst of losses is under way, there and back.
    losing: [bool; 2],
    /// When the last letter of the stream arrives, there and back.
    stream_at: [u64; 2],
}

impl Run {
    fn at(&mut self, at: u64, what: What) {
        self.seq += 1;
        self.events.insert((at, self.seq), what);
    }
    /// Whether the next packet is lost: one in a hundred begins a burst, say, and a burst goes on or ends with each.
    fn is_lost(&mut self, way: usize) -> bool {
        self.packets += 1;
        let now = Instant::from_nanos(self.now);
        let draw = |n: u64| self.seed.below(n, LOSS, 3 + way as u64, now, self.packets);
        let Ratio { num, den } = self.link.loss;
        self.losing[way] = if self.losing[way] && self.link.burst > 1 {
            draw(self.link.burst) > 0
        } else {
            // Bursts begin as much less often as they are longer.
            draw(u64::from(den) * self.link.burst) < u64::from(num)
        };
        self.losing[way]
    }
    fn post(&mut self, letter: Letter, to_receiver: bool) {
        self.came.letters += 1;
        let bytes = letter.write();
        self.came.bytes += bytes.len() as u64;
        let (way, second) = (usize::from(!to_receiver), self.now / 1_000_000_000);
        let cut = self.link.cut.is_some_and(|(from, to)| (from..to).contains(&second));
        if cut {
            return;
        }
        let now = Instant::from_nanos(self.now);
        let jitter = self.seed.below(self.link.jitter.as_nanos().max(1), LOSS, 9, now, self.seq);
        let mut at = self.now + self.link.one_way.as_nanos() + jitter;
        let packets = bytes.len().div_ceil(PACKET).max(1);
        let mut worst = 0;
        for _ in 0..packets {
            let mut tries = 0;
            while self.is_lost(way) {
                if self.link.carrier == Carrier::Datagrams {
                    return;
                }
                tries += 1;
            }
            worst = worst.max(tries);
        }
        if self.link.carrier == Carrier::Stream {
            at += worst * 2 * self.link.one_way.as_nanos();
            at = at.max(self.stream_at[way]);
            self.stream_at[way] = at;
        }
        let letter = Letter::read(dwcp_env::NodeId(1), &bytes).expect("right letters");
        self.at(at, if to_receiver { What::ToReceiver(letter) } else { What::ToSender(letter) });
    }
    fn sent(&mut self, sent: Vec<Sent>) {
        for s in sent {
            match s {
                Sent::Letter(l) => self.post(l, true),
                Sent::Durable { id, lag } => {
                    self.estimates.insert(id.sequence, lag.estimate.as_micros());
                }
                Sent::Behind { .. } => self.came.behind += 1,
                Sent::Overflowed { items, .. } => self.came.overflowed += items,
                Sent::Silent => {}
            }
        }
    }
}

/// Runs it to the end: until everything is durable there, or a minute after the last update.
pub fn run(link: Link, seed: Seed, coalesce: &impl Coalesce) -> Came {
    let start = Instant::ZERO;
    let mut sender = Outbound::new(link.settings, 0);
    let mut receiver = Inbound::new(start, Vector::new());
    let came = Came::default();
    let mut r = Run {
        link,
        seed,
        events: BTreeMap::new(),
        seq: 0,
        now: 0,
        came,
        estimates: BTreeMap::new(),
        packets: 0,
        losing: [false; 2],
        stream_at: [0; 2],
    };
    let step = 1_000_000_000 / link.per_second;
    let total = link.per_second * link.seconds;
    let mut durable_here: Vec<u64> = vec![0];
    let mut durable_there: BTreeMap<u64, u64> = BTreeMap::new();
    let (mut syncing, mut dirty, mut applied) = (false, 0_u64, BTreeSet::new());
    // The stream is open before the first update.
    r.at(1_000_000_000, What::Update);
    if let Some((_, to)) = link.cut {
        r.at(to * 1_000_000_000, What::Reconnect);
    }
    let (mut wake_sender, mut wake_receiver) = (u64::MAX, 0);
    loop {
        let next = r.events.first_key_value().map_or(u64::MAX, |(k, _)| k.0);
        let (at, what) = if next <= wake_sender.min(wake_receiver) {
            let Some(((at, _), what)) = r.events.pop_first() else { break };
            (at, what)
        } else if wake_sender <= wake_receiver {
            (wake_sender, What::WakeSender)
        } else {
            (wake_receiver, What::WakeReceiver)
        };
        if at > (link.seconds + 61) * 1_000_000_000 || durable_there.len() as u64 == total {
            break;
        }
        r.now = at;
        let now = Instant::from_nanos(at);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        match what {
            What::Update => {
                let n = durable_here.len() as u64;
                durable_here.push(at);
                let id = RumourId { origin: 1, sequence: n };
                let item = Item { id, bytes: vec![n as u8; link.bytes].into() };
                let key = seed.below(link.keys, KEY, n, Instant::ZERO, 0);
                sender.offer(now, item, key, now, coalesce, &mut sent);
                if n < total {
                    r.at(at + step, What::Update);
                }
            }
            What::ToSender(l) => sender.receive(now, &l, &mut sent),
            What::ToReceiver(l) => receiver.receive(now, l, &mut received),
            What::WakeSender => sender.wake(now, &mut sent),
            What::WakeReceiver => receiver.wake(now, &mut received),
            What::Reconnect => {
                receiver.reconnected(now);
                receiver.wake(now, &mut received);
            }
            What::Synced(upto) => {
                syncing = false;
                for s in durable_there.len() as u64 + 1..=upto {
                    durable_there.insert(s, at);
                }
                receiver.durable(now, &Vector::from([(1, upto)]), &mut received);
            }
        }
        r.came.queued_most = r.came.queued_most.max(sender.bytes().0);
        r.sent(sent);
        for x in received {
            match x {
                Received::Letter(l) => r.post(l, false),
                Received::Apply { items } => {
                    for i in items {
                        assert!(applied.insert(i.id.sequence), "applied twice");
                        r.came.applied.push(i.id.sequence);
                        dirty = i.id.sequence;
                    }
                }
                Received::Gap { .. } => {}
                Received::Malformed { why } => panic!("{why}"),
            }
        }
        if dirty > durable_there.len() as u64 && !syncing {
            syncing = true;
            r.at(at + link.sync.as_nanos(), What::Synced(dirty));
        }
        wake_sender = sender.wake_at().map_or(u64::MAX, |w| w.as_nanos().max(at + 1));
        wake_receiver = receiver.wake_at().as_nanos().max(at + 1);
    }
    let mut came = r.came;
    for (s, t) in &durable_there {
        let lag = (t - durable_here[*s as usize]) / 1_000;
        came.lag.push(lag);
        if let Some(e) = r.estimates.get(s) {
            came.estimate_off = came.estimate_off.max(lag.abs_diff(*e));
        }
    }
    (came.shrunk, came.again) = sender.counts();
    came.lag.sort_unstable();
    came
}
