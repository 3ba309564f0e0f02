//! Two ends of a site stream in one event loop: updates at a rate, a link that delays and loses, a disk at each
//! end that syncs in groups. The lag is measured by the virtual clock, from durable here to durable there.

use dwcp_env::{Duration, Instant, Purpose, Ratio, Seed};
use dwcp_gossip::RumourId;
use dwcp_gossip::site::{Inbound, Item, Letter, Offer, Outbound, Received, Sent, SiteSettings, Vector};
use std::collections::BTreeMap;

const LOSS: Purpose = Purpose::named("link.loss");

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
    pub seconds: u64,
    /// When the receiver's process dies and is back at once, in seconds.
    pub crash: Option<u64>,
    /// The link is cut from here to here, in seconds.
    pub cut: Option<(u64, u64)>,
    /// From this second on the way takes so long.
    pub longer: Option<(u64, Duration)>,
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
            seconds: 10,
            crash: None,
            cut: None,
            longer: None,
            settings: SiteSettings::default(),
        }
    }
}

/// What came of it; times in microseconds.
#[derive(Default)]
pub struct Came {
    /// The lag of each update, by the clock of the world.
    pub lag: Vec<u64>,
    /// The sender's own estimates, of the oldest of each batch.
    pub estimates: Vec<u64>,
    pub letters: u64,
    pub bytes: u64,
    pub again: u64,
    /// When the last of them was, in seconds.
    pub again_at: u64,
    /// Times that the receiver said where it stands.
    pub begun: u64,
    /// Sequences in the order they were applied, each once in a life of the receiver.
    pub applied: Vec<u64>,
    pub queued_most: usize,
}

enum What {
    Update,
    ToReceiver(Letter),
    ToSender(Letter),
    Synced { life: u64, upto: u64, batch: (u64, u64) },
    WakeSender,
    Crash,
}

struct Run {
    link: Link,
    seed: Seed,
    events: BTreeMap<(u64, u64), What>,
    seq: u64,
    now: u64,
    came: Came,
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
        let longer = self.link.longer.filter(|(from, _)| second >= *from).map(|(_, way)| way);
        let mut at = self.now + longer.unwrap_or(self.link.one_way).as_nanos() + jitter;
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
                Sent::Durable { lag, .. } => self.came.estimates.push(lag.estimate.as_micros()),
                Sent::Stands => self.came.begun += 1,
            }
        }
    }
}

/// Offers what is durable here and was not taken yet, as a caller reads it from its log.
fn offer(sender: &mut Outbound, now: Instant, durable_here: &[u64], bytes: usize, sent: &mut Vec<Sent>) {
    while sender.offered(1) + 1 < durable_here.len() as u64 {
        let n = sender.offered(1) + 1;
        let item = Item { id: RumourId { origin: 1, sequence: n }, bytes: vec![n as u8; bytes].into() };
        let at = Instant::from_nanos(durable_here[n as usize]);
        if sender.offer(now, n, item, at, sent) == Offer::Later {
            return;
        }
    }
}

/// Runs it to the end: until everything is durable there, or a minute after the last update.
pub fn run(link: Link, seed: Seed) -> Came {
    let mut sender = Outbound::new(link.settings, 0, Instant::ZERO);
    let mut receiver = Inbound::new(Instant::ZERO);
    let mut r = Run {
        link,
        seed,
        events: BTreeMap::new(),
        seq: 0,
        now: 0,
        came: Came::default(),
        packets: 0,
        losing: [false; 2],
        stream_at: [0; 2],
    };
    let step = 1_000_000_000 / link.per_second;
    let total = link.per_second * link.seconds;
    let mut durable_here: Vec<u64> = vec![0];
    let mut durable_there: BTreeMap<u64, u64> = BTreeMap::new();
    // Of the receiver: its life, the last it holds, batches that wait for the disk.
    let (mut life, mut held, mut syncing) = (0, 0_u64, false);
    let mut dirty: Vec<(u64, u64, u64)> = Vec::new();
    // The stream is open before the first update.
    r.at(1_000_000_000, What::Update);
    if let Some(at) = link.crash {
        r.at(at * 1_000_000_000, What::Crash);
    }
    let mut wake_sender = 0;
    loop {
        let next = r.events.first_key_value().map_or(u64::MAX, |(k, _)| k.0);
        let (at, what) = if next <= wake_sender {
            let Some(((at, _), what)) = r.events.pop_first() else { break };
            (at, what)
        } else {
            (wake_sender, What::WakeSender)
        };
        if at > (link.seconds + 61) * 1_000_000_000 || durable_there.len() as u64 == total {
            break;
        }
        r.now = at;
        let now = Instant::from_nanos(at);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        match what {
            What::Update => {
                durable_here.push(at);
                if (durable_here.len() as u64) <= total {
                    r.at(at + step, What::Update);
                }
            }
            What::ToSender(l) => sender.receive(now, &l, &mut sent),
            What::ToReceiver(l) => {
                receiver.receive(now, l, || Vector::from([(1, held)]), &mut received);
            }
            What::WakeSender => sender.wake(now, &mut sent),
            What::Crash => {
                (life, held, syncing) = (life + 1, durable_there.len() as u64, false);
                receiver = Inbound::new(now);
                dirty.clear();
                r.came.applied.truncate(held as usize);
            }
            What::Synced { life: of, upto, batch } if of == life => {
                syncing = false;
                for s in durable_there.len() as u64 + 1..=upto {
                    durable_there.insert(s, at);
                }
                receiver.durable(now, batch.0, batch.1, &mut received);
            }
            What::Synced { .. } => {}
        }
        offer(&mut sender, now, &durable_here, link.bytes, &mut sent);
        if sender.again() > r.came.again {
            (r.came.again, r.came.again_at) = (sender.again(), at / 1_000_000_000);
        }
        r.came.queued_most = r.came.queued_most.max(sender.bytes().0);
        r.sent(sent);
        for x in received {
            match x {
                Received::Letter(l) => r.post(l, false),
                Received::Apply { number, items } => {
                    for i in items {
                        assert_eq!(i.id.sequence, held + 1, "in order, each once");
                        held += 1;
                        r.came.applied.push(held);
                    }
                    dirty.push((receiver.session().expect("it has one"), number, held));
                }
                Received::Malformed { why } => panic!("{why}"),
            }
        }
        if let Some((session, number, upto)) = dirty.last().copied().filter(|_| !syncing) {
            syncing = true;
            dirty.clear();
            r.at(at + link.sync.as_nanos(), What::Synced { life, upto, batch: (session, number) });
        }
        wake_sender = sender.wake_at().as_nanos().max(at + 1);
    }
    let mut came = r.came;
    for (s, t) in &durable_there {
        came.lag.push((t - durable_here[*s as usize]) / 1_000);
    }
    came.lag.sort_unstable();
    came
}
