//! Links between nodes.
//!
//! **Promise.** A message either arrives as it was sent, from the node whose certificate says so, or
//! it does not arrive. What is sent on one lane never waits for another lane's bytes. A peer that
//! is down, slow or lying costs a bounded queue and a log line, never the node. The bytes are
//! drawn in docs/protocols/peer-link.md.
//!
//! **Model.** A node dials each of its peers and sends on what it dialled; it receives on what it
//! accepted. So nobody has to agree on who calls whom, and a one-way cut is one way. Over TCP each
//! lane is a connection, over QUIC a stream of one connection, with priorities; datagrams travel over QUIC only.
//!
//! **Reading order.** [`session`] (one lane, once TLS stands), [`outbox`] (what waits), [`dial`] and
//! [`accept`] (making links and judging who comes), `tls` (who a peer is), `tcp`, `quic`, `congestion` (what QUIC may have in flight).
//!
//! **Invariants.**
//! 1. Each peer and lane has at most one connection we send on, and at most one we receive on: a
//!    newer one replaces the older.
//! 2. Nothing is delivered before the certificate and the hello have been judged.
//! 3. [`Links::carry`](Carrier::carry) never waits.
//!
//! **Rejected.** One connection for both directions: it halves the handshakes, and costs an
//! election of who dials; deciding by DNS names who a peer is: addresses move.

pub mod accept;
mod congestion;
pub mod dial;
mod fault;
pub mod outbox;
pub mod quic;
pub mod session;
#[cfg(feature = "simulated-sockets")]
pub mod sockets;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

pub use fault::LinkError;
pub(crate) use tcp::listen_error;

use crate::authority::{Identity, Name};
use crate::inject::{Fate, Inject};
use crate::metrics::{Counter, LINK_DROPPED, LINK_LANES, Registry};
use crate::node::StartError;
use crate::shard::Carrier;
use bytes::Bytes;
use dwcp_env::bound::{DATAGRAM_MAX, FRAME_BODY_MAX};
use dwcp_env::{Lane, NodeId, Probe, Seed, Send as ToPeer};
use outbox::Outbox;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long frames that wait may take to leave when the node ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Another node, and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Which node.
    pub node: NodeId,
    /// `host:port`; resolved at every attempt to connect.
    pub address: String,
}

/// What peers speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// TLS 1.3 over TCP, one connection a lane.
    #[default]
    Tcp,
    /// QUIC, one connection with a stream a lane.
    Quic,
}

/// What the links of one node are configured with.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Where peers reach it; port zero takes a free one.
    pub listen: SocketAddr,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// What they speak.
    pub transport: Transport,
    /// Who we are.
    pub identity: Identity,
    /// For the jitter of reconnecting.
    pub seed: Seed,
    /// Whether delays and cuts may be injected.
    pub inject: bool,
}

/// Where messages from peers go.
pub trait Deliver: Send + Sync + 'static {
    /// Takes a message if there is room.
    ///
    /// # Errors
    /// Gives the body back if there is no room; `None` if the node has ended.
    fn try_deliver(&self, from: NodeId, lane: Lane, body: Bytes) -> Result<(), Option<Bytes>>;
    /// Takes a message, waiting for room. An error means that the node has ended.
    fn deliver<'a>(
        &'a self,
        from: NodeId,
        lane: Lane,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>>;
    /// Nothing listens any more where a peer should: a hint, told at every attempt.
    fn unreachable(&self, _peer: NodeId) {}
}

/// How the links to one peer are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Which peer.
    pub peer: Peer,
    /// The lanes on which we can send to it.
    pub connected: Vec<Lane>,
    /// Frames that wait to be sent.
    pub waiting: usize,
    /// Frames dropped since the start: no room, no connection, or cut.
    pub dropped: u64,
    /// Why the last attempt to connect failed; empty if it did not.
    pub last_error: String,
}

/// A peer we send to.
pub(crate) struct Remote {
    peer: Peer,
    lanes: [Outbox; 4],
    /// A bit for each lane we can send on.
    connected: AtomicU8,
    dropped: Counter,
    last_error: Mutex<String>,
    /// It has just dialled us: whoever waits to dial it need wait no longer.
    poke: Notify,
    /// Ends its dialers, without a word (`true`: it is no peer any more).
    removed: watch::Sender<bool>,
}

impl Remote {
    fn new(peer: Peer, registry: &Registry) -> Arc<Self> {
        let id = peer.node.0.to_string();
        let dropped = registry.counter(LINK_DROPPED.name, LINK_DROPPED.help, &[("peer", &id)]);
        let remote = Arc::new(Self {
            peer,
            lanes: Default::default(),
            connected: AtomicU8::new(0),
            dropped,
            last_error: Mutex::default(),
            poke: Notify::new(),
            removed: watch::channel(false).0,
        });
        let r = Arc::downgrade(&remote);
        let up =
            move || r.upgrade().map_or(0.0, |r| f64::from(r.connected.load(Ordering::Relaxed).count_ones()));
        registry.gauge(LINK_LANES.name, LINK_LANES.help, &[("peer", &id)], up);
        remote
    }
    fn outbox(&self, lane: Lane) -> &Outbox {
        &self.lanes[lane as usize]
    }
    fn set_connected(&self, lane: Lane, up: bool) {
        let bit = 1 << lane as u8;
        if up {
            self.connected.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.connected.fetch_and(!bit, Ordering::Relaxed);
        }
    }
    fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }
    fn status(&self) -> PeerStatus {
        let bits = self.connected.load(Ordering::Relaxed);
        PeerStatus {
            peer: self.peer.clone(),
            connected: Lane::ALL.into_iter().filter(|l| bits & (1 << *l as u8) != 0).collect(),
            waiting: self.lanes.iter().map(Outbox::len).sum(),
            dropped: self.dropped.get(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What the tasks of one node's links share.
pub(crate) struct Shared {
    settings: LinkSettings,
    us: Name,
    local: SocketAddr,
    registry: Arc<Registry>,
    remotes: RwLock<BTreeMap<NodeId, Arc<Remote>>>,
    inject: Option<Inject>,
    /// What stands in the operating system's place.
    #[cfg(feature = "simulated-sockets")]
    sockets: Option<Arc<dyn sockets::Sockets>>,
    /// Set when the port is opened.
    dialer: OnceLock<dial::Dialer>,
    ending: watch::Sender<bool>,
    /// Where links dialled later run.
    runtime: tokio::runtime::Handle,
}

/// The links of one node; clone it freely.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Links({} on {})", self.0.us, self.0.local)
    }
}

/// A bound port on which nobody is answered yet.
pub(crate) enum Listener {
    Tcp(tokio::net::TcpListener),
    Quic(quinn::Endpoint),
    #[cfg(feature = "simulated-sockets")]
    Simulated(Arc<dyn sockets::Sockets>),
}

impl Links {
    /// Binds the port and checks the certificate.
    pub(crate) fn bind(
        settings: LinkSettings,
        registry: &Arc<Registry>,
    ) -> Result<(Self, Listener), StartError> {
        let listener = match settings.transport {
            Transport::Tcp => tcp::bind(settings.listen)?,
            Transport::Quic => quic::bind(settings.listen, &settings.identity)?,
        };
        Self::bound(settings, registry, listener)
    }

    fn bound(
        settings: LinkSettings,
        registry: &Arc<Registry>,
        listener: Listener,
    ) -> Result<(Self, Listener), StartError> {
        // A certificate that can't be used is to be found now, not at the first dial.
        tls::server(&settings.identity)?;
        tls::client(&settings.identity, settings.identity.name.node)?;
        let local = match &listener {
            Listener::Tcp(l) => l.local_addr(),
            Listener::Quic(e) => e.local_addr(),
            #[cfg(feature = "simulated-sockets")]
            Listener::Simulated(_) => Ok(settings.listen),
        };
        let local = local.map_err(|e| StartError::System { what: "a port's address", why: e.to_string() })?;
        let shared = Shared {
            us: settings.identity.name,
            local,
            registry: registry.clone(),
            remotes: RwLock::default(),
            inject: settings.inject.then(Inject::default),
            #[cfg(feature = "simulated-sockets")]
            sockets: if let Listener::Simulated(s) = &listener { Some(s.clone()) } else { None },
            dialer: OnceLock::new(),
            ending: watch::channel(false).0,
            runtime: tokio::runtime::Handle::current(),
            settings,
        };
        Ok((Self(Arc::new(shared)), listener))
    }

    /// Answers on the port and dials the peers.
    pub(crate) fn open(&self, listener: Listener, deliver: Arc<dyn Deliver>, probe: Probe) {
        let endpoint = if let Listener::Quic(e) = &listener { Some(e.clone()) } else { None };
        let dialer = dial::Dialer { endpoint, probe: probe.clone(), deliver: deliver.clone() };
        let first = self.0.dialer.set(dialer).is_ok();
        assert!(first, "links are opened once");
        self.set_peers(self.0.settings.peers.clone());
        accept::spawn(self.0.clone(), listener, deliver, probe);
    }

    /// Says who the peers are from now on; links to those that are gone are closed, and what
    /// waits for them is dropped. Ourselves among them is ignored.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let Some(dialer) = self.0.dialer.get() else { return };
        let wanted: BTreeMap<NodeId, Peer> =
            peers.into_iter().filter(|p| p.node != self.0.us.node).map(|p| (p.node, p)).collect();
        let mut remotes = self.0.remotes.write().unwrap_or_else(PoisonError::into_inner);
        remotes.retain(|node, r| {
            let stays = wanted.get(node) == Some(&r.peer);
            if !stays {
                r.removed.send_replace(true);
            }
            stays
        });
        for (node, peer) in wanted {
            remotes.entry(node).or_insert_with(|| {
                let remote = Remote::new(peer, &self.0.registry);
                dialer.spawn(&self.0, &remote);
                remote
            });
        }
    }

    /// Where we listen.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.0.local
    }
    /// How each peer's links are.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        let remotes = self.0.remotes.read().unwrap_or_else(PoisonError::into_inner);
        remotes.values().map(|r| r.status()).collect()
    }
    /// The faults that may be injected; `None` unless configured.
    #[must_use]
    pub fn inject(&self) -> Option<&Inject> {
        self.0.inject.as_ref()
    }

    /// Lets frames that wait leave for a moment, then closes everything.
    pub(crate) async fn close(&self) {
        self.0.ending.send_replace(true);
        let left = async {
            while self.status().iter().any(|s| !s.connected.is_empty()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _at_most = tokio::time::timeout(LAST_WORDS, left).await;
        let mut remotes = self.0.remotes.write().unwrap_or_else(PoisonError::into_inner);
        for r in std::mem::take(&mut *remotes).into_values() {
            r.removed.send_replace(true);
        }
        if let Some(endpoint) = self.0.dialer.get().and_then(|d| d.endpoint.as_ref()) {
            endpoint.close(0_u32.into(), b"this node is ending");
        }
    }
}

impl Carrier for Links {
    fn carry(&self, send: ToPeer) {
        let remotes = self.0.remotes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(remote) = remotes.get(&send.to) else {
            tracing::debug!(to = %send.to, "a message for a node that is no peer is dropped");
            return;
        };
        assert!(send.body.len() <= FRAME_BODY_MAX.as_usize(), "{} bytes for one frame", send.body.len());
        let carried = send.lane != Lane::Datagram
            || (self.0.settings.transport == Transport::Quic && send.body.len() <= DATAGRAM_MAX.as_usize());
        if !carried {
            return remote.dropped.count();
        }
        let due = match self.0.inject.as_ref().map(|i| i.fate(send.to)) {
            Some(Fate::Drop) => return remote.dropped.count(),
            Some(Fate::Send(due)) => due,
            None => None,
        };
        if !remote.outbox(send.lane).push(send.body, due) {
            remote.dropped.count();
        }
    }
    fn peers(&self, peers: Vec<(NodeId, String)>) {
        // The loop's thread is none of the runtime's.
        let _entered = self.0.runtime.enter();
        self.set_peers(peers.into_iter().map(|(node, address)| Peer { node, address }).collect());
    }
    fn flush(&self) {
        let remotes = self.0.remotes.read().unwrap_or_else(PoisonError::into_inner);
        remotes.values().flat_map(|r| &r.lanes).for_each(Outbox::flush);
    }
}
