//! A link of our own between namespaces: delay, jitter and loss for packets between nodes, in user space.
//!
//! For kernels without netem. Each end is a TUN device; one thread an end reads packets, one thread holds
//! them until they are due and writes them to the end that their destination address names. Packets of one
//! pair of ends never overtake each other. What goes to or comes from the clients passes at once.
//!
//! **It certifies itself.** How late each delayed packet left, against when it was due, is kept as a
//! histogram of powers of two ([`Counts::late_p99`]). A run whose link was late is no evidence about
//! time: the caller compares it with [`LATE`].
//!
//! **Limits.** [`QUEUE`] packets wait at most; one more is dropped and counted, as a full buffer of a router
//! does. Some tens of thousands of packets a second on one core.

use dwcp_env::{Instant as At, Purpose, Seed};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// A link later than this at its 99th percentile proves nothing about time.
pub const LATE: Duration = Duration::from_millis(5);
/// The most packets that wait.
const QUEUE: usize = 65_536;
/// The longest packet.
const PACKET: usize = 65_536;
/// A reader looks whether it is to end at least this often (the devices do not block).
const IDLE: Duration = Duration::from_micros(200);

const LOST: Purpose = Purpose::named("nemesis.link.lost");
const JITTER: Purpose = Purpose::named("nemesis.link.jitter");

/// How packets between nodes fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// One way.
    pub delay: Duration,
    /// Up to so much more.
    pub jitter: Duration,
    /// Of a thousand.
    pub loss_per_mille: u32,
}

/// What became of packets between nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Held back.
    pub delayed: u64,
    /// Dropped on purpose.
    pub lost: u64,
    /// Dropped because too many waited.
    pub overflowed: u64,
    /// By powers of two microseconds: how late delayed packets left.
    late: [u64; 32],
}

impl Counts {
    /// The lateness that 99 of 100 delayed packets did not exceed, rounded up to a power of two.
    #[must_use]
    pub fn late_p99(&self) -> Duration {
        let all: u64 = self.late.iter().sum();
        // So many may be later.
        let mut left = all / 100;
        for (power, n) in self.late.iter().enumerate().rev() {
            if *n > left {
                return Duration::from_micros(1 << power);
            }
            left -= n;
        }
        Duration::ZERO
    }
}

/// A packet that waits: due, its number, the end it leaves by.
type Waiting = Reverse<(Instant, u64, usize, Vec<u8>)>;

#[derive(Default)]
struct State {
    shape: Shape,
    waiting: BinaryHeap<Waiting>,
    /// When the last packet of a pair of ends is due.
    last: BTreeMap<(usize, usize), Instant>,
    made: u64,
    counts: Counts,
}

struct Shared {
    ends: Vec<(Ipv4Addr, SyncDevice)>,
    clients: Ipv4Addr,
    seed: Seed,
    state: Mutex<State>,
    due: Condvar,
    stop: AtomicBool,
}

/// The link. Its devices go when the namespaces do, and its threads with them.
pub struct Link(Arc<Shared>);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({} ends)", self.0.ends.len())
    }
}

impl Link {
    /// Makes a device for each end (address and name). Packets from and to `clients` pass at once.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn new(ends: &[(Ipv4Addr, String)], clients: Ipv4Addr, seed: Seed) -> Result<Self, String> {
        let device = |(address, name): &(Ipv4Addr, String)| {
            let built = DeviceBuilder::new().name(name).layer(Layer::L3).build_sync();
            built.map(|d| (*address, d)).map_err(|e| format!("can't make the device {name}: {e}"))
        };
        let ends = ends.iter().map(device).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            ends,
            clients,
            seed,
            state: Mutex::default(),
            due: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let thread = |name: String, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name)
                .spawn(work)
                .map(drop)
                .map_err(|e| format!("no thread: {e}"))
        };
        for end in 0..shared.ends.len() {
            let mine = shared.clone();
            thread(format!("link-{end}"), Box::new(move || mine.read(end)))?;
        }
        let mine = shared.clone();
        thread("link-due".into(), Box::new(move || mine.release()))?;
        Ok(Self(shared))
    }
    /// How packets between nodes fare from now on; what waits keeps its time.
    pub fn reshape(&self, change: impl Fn(Shape) -> Shape) {
        let mut state = self.0.state();
        state.shape = change(state.shape);
    }
    /// What became of packets so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.state().counts
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.due.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes in what one end sends, until its device is gone.
    fn read(&self, from: usize) {
        let mut buffer = vec![0; PACKET];
        while !self.stop.load(Ordering::Relaxed) {
            match self.ends[from].1.recv(&mut buffer) {
                Ok(n) => self.take(from, &buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                // A device without an address yet, or one that is gone.
                Err(_) => std::thread::sleep(IDLE),
            }
        }
    }
    fn take(&self, from: usize, packet: &[u8]) {
        let Some((source, destination)) = addresses(packet) else { return };
        let Some(to) = self.ends.iter().position(|e| e.0 == destination) else { return };
        let now = Instant::now();
        if source != self.clients && destination != self.clients {
            let mut state = self.state();
            let shape = state.shape;
            let nth = state.made;
            state.made += 1;
            let draw = |n, what| self.seed.below(n, what, from as u64, At::ZERO, nth);
            if draw(1_000, LOST) < u64::from(shape.loss_per_mille) {
                state.counts.lost += 1;
                return;
            }
            let jitter = Duration::from_nanos(draw(shape.jitter.as_nanos() as u64, JITTER));
            let last = state.last.get(&(from, to)).copied().filter(|l| *l > now);
            if !shape.delay.is_zero() || last.is_some() {
                if state.waiting.len() >= QUEUE {
                    state.counts.overflowed += 1;
                    return;
                }
                let due = (now + shape.delay + jitter).max(last.unwrap_or(now));
                state.last.insert((from, to), due);
                state.counts.delayed += 1;
                state.waiting.push(Reverse((due, nth, to, packet.to_vec())));
                drop(state);
                self.due.notify_one();
                return;
            }
        }
        self.write(to, packet);
    }
    /// Lets packets go when they are due.
    fn release(&self) {
        let mut state = self.state();
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let next = state.waiting.peek().map(|w| w.0.0);
            match next {
                Some(due) if due <= now => {
                    if let Some(Reverse((due, _, to, packet))) = state.waiting.pop() {
                        let late = now.duration_since(due).as_micros().max(1) as u64;
                        state.counts.late[(late.ilog2() + 1).min(31) as usize] += 1;
                        drop(state);
                        self.write(to, &packet);
                        state = self.state();
                    }
                }
                next => {
                    let wait = next.map_or(Duration::from_millis(100), |due| due - now);
                    let waited = self.due.wait_timeout(state, wait);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
    fn write(&self, to: usize, packet: &[u8]) {
        // A full queue of the device drops, as a network does.
        let _dropped = self.ends[to].1.send(packet);
    }
}

/// Source and destination of an IPv4 packet; nothing else is carried.
fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let four =
        |at: usize| packet.get(at..at + 4).and_then(|b| b.first_chunk::<4>()).map(|b| Ipv4Addr::from(*b));
    if packet.first()? >> 4 != 4 {
        return None;
    }
    Some((four(12)?, four(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_by_its_99th_percentile() {
        let mut counts = Counts::default();
        assert_eq!(counts.late_p99(), Duration::ZERO);
        counts.late[3] = 990;
        counts.late[12] = 10;
        assert_eq!(counts.late_p99(), Duration::from_micros(8));
        counts.late[12] = 30;
        assert_eq!(counts.late_p99(), Duration::from_micros(4096));
    }

    #[test]
    fn only_ipv4_is_carried() {
        let mut packet = vec![0x45; 20];
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(addresses(&packet), Some((Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2))));
        packet[0] = 0x60;
        assert_eq!(addresses(&packet), None);
        assert_eq!(addresses(&[0x45; 8]), None);
        assert_eq!(addresses(&[]), None);
    }
}
