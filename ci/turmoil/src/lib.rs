//! The real links on turmoil's simulated sockets.
//!
//! A [`Town`] is some hosts under one certificate authority. Each host runs runtime-real's links
//! — TLS 1.3 both ways, hello, lanes, pings, dialling again with pauses — on turmoil's TCP and
//! turmoil's clock, and keeps what it hears in an [`Ear`] that outlives its crashes.
//!
//! Turmoil's TCP does not send again: a segment lost to a partition leaves the stream mute for
//! ever. That is the hardest case for a link: nothing is refused, nothing is reset, only silence.

use bytes::Bytes;
use dwcp_env::{ClusterId, Lane, NodeId, Probe, Seed, Send as ToPeer};
use dwcp_runtime_real::link::sockets::{Promise, Sockets, Stream};
use dwcp_runtime_real::link::{Deliver, LinkSettings, PeerStatus};
use dwcp_runtime_real::shard::Carrier;
use dwcp_runtime_real::{Authority, Links, Name, Peer, Registry, Transport};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use turmoil::net::{TcpListener, TcpStream};

/// The port every host listens on.
const PORT: u16 = 7_001;
/// How often a host says something to each peer on each lane.
pub const SAYS_EVERY: Duration = Duration::from_millis(50);
/// Bytes of a bulk message: several TLS records, and more than is copied into a batch.
pub const BULK: usize = 60_000;

/// Turmoil in TCP's place.
struct Turmoil(TcpListener);

impl Sockets for Turmoil {
    fn connect<'a>(&'a self, address: &'a str) -> Promise<'a, Box<dyn Stream>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Stream>) })
    }
    fn accept(&self) -> Promise<'_, (Box<dyn Stream>, SocketAddr)> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        })
    }
}

/// One message as it was heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When, since the simulation began.
    pub at: Duration,
    /// Which start of the sender said it.
    pub life: u32,
    /// The sender's count on this lane.
    pub number: u64,
}

/// What a host has heard, by sender and lane. Every body is checked as it comes.
#[derive(Default)]
pub struct Ear(Mutex<All>);

#[derive(Default)]
struct All {
    heard: BTreeMap<(u64, u8), Vec<Heard>>,
    /// Frames that are not what anybody said. Kept, because a panic here would end a task, not
    /// the test.
    altered: Vec<String>,
}

impl Ear {
    /// What came from this node on this lane, in order of arrival.
    ///
    /// # Panics
    /// If any frame heard so far was altered.
    #[must_use]
    pub fn from(&self, node: u64, lane: Lane) -> Vec<Heard> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(all.altered.is_empty(), "{:?}", all.altered);
        all.heard.get(&(node, lane as u8)).cloned().unwrap_or_default()
    }
}

impl Deliver for Ear {
    fn try_deliver(&self, from: NodeId, lane: Lane, body: Bytes) -> Result<(), Option<Bytes>> {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read(from.0, lane, &body) {
            Some((life, number)) => {
                all.heard.entry((from.0, lane as u8)).or_default().push(Heard { at, life, number });
            }
            None => all.altered.push(format!("{} bytes from {from} on {lane:?} at {at:?}", body.len())),
        }
        Ok(())
    }
    fn deliver<'a>(
        &'a self,
        _: NodeId,
        _: Lane,
        _: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>> {
        unreachable!("an ear always has room")
    }
}

/// A body from which everything about it can be told: sender, lane, life, number, and a filling
/// that depends on all of them.
fn body(from: u64, lane: Lane, life: u32, number: u64) -> Bytes {
    let mut body = Vec::with_capacity(BULK);
    body.extend_from_slice(&from.to_be_bytes());
    body.extend_from_slice(&life.to_be_bytes());
    body.extend_from_slice(&number.to_be_bytes());
    let length = match lane {
        Lane::Control => 40,
        Lane::Data | Lane::Datagram => 1_500,
        Lane::Bulk => BULK,
    };
    let tint = (from + number + u64::from(life) + lane as u64) as u8;
    body.extend((body.len()..length).map(|i| (i as u8).wrapping_mul(31) ^ tint));
    body.into()
}

/// The life and number that a body tells, if it is what its sender said.
fn read(from: u64, lane: Lane, found: &Bytes) -> Option<(u32, u64)> {
    let life = u32::from_be_bytes(found.get(8..12)?.try_into().ok()?);
    let number = u64::from_be_bytes(found.get(12..20)?.try_into().ok()?);
    (*found == body(from, lane, life, number)).then_some((life, number))
}

/// What each host last said of its links. Not the links themselves: they hold its port, and a
/// host that crashes must lose it.
type Seen = Rc<RefCell<BTreeMap<u64, Vec<PeerStatus>>>>;

/// Hosts `n1`, `n2`, … that may be linked.
pub struct Town {
    authority: Authority,
    size: u64,
    ears: Vec<Arc<Ear>>,
    seen: Seen,
}

/// A host's name in turmoil's DNS.
#[must_use]
pub fn name(node: u64) -> String {
    format!("n{node}")
}

impl Town {
    /// So many hosts.
    ///
    /// # Panics
    /// If no key can be made.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let authority = Authority::create().expect("an authority");
        let ears = (0..size).map(|_| Arc::default()).collect();
        Self { authority, size, ears, seen: Rc::default() }
    }
    /// What this host has heard, in all its lives.
    #[must_use]
    pub fn ear(&self, node: u64) -> &Ear {
        &self.ears[node as usize - 1]
    }
    /// How this host saw its links at most [`SAYS_EVERY`] ago.
    #[must_use]
    pub fn status(&self, node: u64) -> Vec<PeerStatus> {
        self.seen.borrow().get(&node).cloned().unwrap_or_default()
    }
    /// Whether every host can send to every other on every lane.
    #[must_use]
    pub fn all_up(&self) -> bool {
        (1..=self.size).all(|n| {
            let status = self.status(n);
            status.len() as u64 == self.size - 1 && status.iter().all(|p| p.connected.len() == 3)
        })
    }

    /// Adds a host whose certificate is of this town; with `stranger`, of another town's authority.
    ///
    /// # Panics
    /// If a certificate can't be issued.
    pub fn settle(&self, sim: &mut turmoil::Sim<'_>, node: u64, stranger: bool) {
        let other = stranger.then(|| Authority::create().expect("an authority"));
        let authority = other.as_ref().unwrap_or(&self.authority);
        let identity = authority
            .issue(Name { cluster: ClusterId(0xd3c9), node: NodeId(node) })
            .and_then(|issued| issued.identity())
            .expect("a certificate");
        let peers: Vec<Peer> = (1..=self.size)
            .filter(|n| *n != node)
            .map(|n| Peer { node: NodeId(n), address: format!("{}:{PORT}", name(n)) })
            .collect();
        let settings = LinkSettings {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            peers,
            transport: Transport::Tcp,
            identity,
            seed: Seed(node),
            inject: false,
        };
        let (ear, seen) = (self.ears[node as usize - 1].clone(), self.seen.clone());
        let lives = Rc::new(RefCell::new(0));
        sim.host(name(node), move || {
            *lives.borrow_mut() += 1;
            live(settings.clone(), *lives.borrow(), ear.clone(), seen.clone())
        });
    }
}

/// One life of a host: links up, then a word to every peer on every lane, again and again.
async fn live(settings: LinkSettings, life: u32, ear: Arc<Ear>, seen: Seen) -> turmoil::Result {
    let me = settings.identity.name().node.0;
    let peers: Vec<NodeId> = settings.peers.iter().map(|p| p.node).collect();
    let sockets = Arc::new(Turmoil(TcpListener::bind(settings.listen).await?));
    let registry = Arc::new(Registry::new());
    let links = Links::simulated(settings, &registry, sockets, ear, Probe::silent())?;
    let mut number = 0;
    loop {
        seen.borrow_mut().insert(me, links.status());
        for (to, lane) in peers.iter().flat_map(|p| Lane::ALL.map(|l| (*p, l))) {
            // Bulk is large: a tenth as often.
            if lane != Lane::Bulk || number % 10 == 0 {
                links.carry(ToPeer { to, lane, body: body(me, lane, life, number), after: None });
            }
        }
        links.flush();
        number += 1;
        tokio::time::sleep(SAYS_EVERY).await;
    }
}
