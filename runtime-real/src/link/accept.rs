//! Who comes to our port, and what is believed of it.
//!
//! **Promise.** Whoever speaks garbage, shows no certificate of our authority, or is slow, is
//! closed with a reason in the log and in a counter (`dwcp_link_refused_total`), at no cost to
//! the links that stand. At most [`CONNECTIONS`] sockets are open at once; before a stranger has
//! shown a certificate it costs one of them for at most [`ATTEMPT`](super::dial::ATTEMPT).
//! Lines about one class of cause are limited to
//! [`LINES_PER_SECOND`](crate::watch::LINES_PER_SECOND), the rest are only counted.

use super::fault::LinkError;
use super::session::{self, FrameReader};
use super::{Deliver, Listener, Shared, quic, tcp, tls};
use crate::authority::Name;
use crate::metrics::LINK_REFUSED;
use crate::watch::Throttle;
use dwcp_env::{Event, Lane, NodeId, Probe};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

/// Connections accepted at once: fifteen voters on three lanes, their successors while they
/// reconnect, and room for strangers to be turned away.
pub const CONNECTIONS: usize = 512;

/// What an accepted connection is judged and served by.
pub(crate) struct Door {
    shared: Arc<Shared>,
    deliver: Arc<dyn Deliver>,
    probe: Probe,
    places: Arc<Semaphore>,
    /// The connection that serves each peer's lane; telling it ends it.
    serving: Mutex<BTreeMap<(NodeId, Lane), Serving>>,
    next_connection: AtomicU64,
    throttle: Throttle,
}

/// The number of a connection, and what ends it.
type Serving = (u64, oneshot::Sender<()>);

pub(crate) fn spawn(shared: Arc<Shared>, listener: Listener, deliver: Arc<dyn Deliver>, probe: Probe) {
    let door = Arc::new(Door {
        shared,
        deliver,
        probe,
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        serving: Mutex::default(),
        next_connection: AtomicU64::new(0),
        throttle: Throttle::default(),
    });
    match listener {
        Listener::Tcp(l) => {
            let accept = async move || l.accept().await;
            tokio::spawn(accept_tcp(door, accept, |socket| socket.set_nodelay(true)));
        }
        #[cfg(feature = "simulated-sockets")]
        Listener::Simulated(sockets) => {
            let accept = async move || sockets.accept().await;
            tokio::spawn(accept_tcp(door, accept, |_| Ok(())));
        }
        Listener::Quic(endpoint) => {
            tokio::spawn(quic::accept(door, endpoint));
        }
    }
}

async fn accept_tcp<S>(
    door: Arc<Door>,
    accept: impl AsyncFn() -> io::Result<(S, SocketAddr)>,
    prepare: fn(&S) -> io::Result<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = match tls::server(&door.shared.settings.identity) {
        Ok(config) => Arc::new(config),
        Err(e) => return tracing::error!("no peer can reach this node: {e}"),
    };
    let mut ending = door.shared.ending.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = ending.wait_for(|e| *e) => return,
        };
        let (socket, address) = match accepted {
            Ok(pair) => pair,
            Err(e) => {
                // Out of descriptors, most likely: those that are open must be able to close.
                door.turned_away(None, &LinkError::Network(format!("accept: {e}")));
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = door.places.clone().try_acquire_owned() else {
            door.turned_away(Some(address), &full());
            continue;
        };
        let (door, acceptor) = (door.clone(), TlsAcceptor::from(config.clone()));
        tokio::spawn(async move {
            let _place = place;
            let mut ending = door.shared.ending.subscribe();
            let result = tokio::select! {
                result = tcp::admit(&door, acceptor, socket, prepare) => result,
                _ = ending.wait_for(|e| *e) => Err(LinkError::Ending),
            };
            if let Err(e) = result {
                door.turned_away(Some(address), &e);
            }
        });
    }
}

pub(crate) fn full() -> LinkError {
    LinkError::Network(format!("{CONNECTIONS} connections are open already"))
}

impl Door {
    pub(crate) fn us(&self) -> Name {
        self.shared.us
    }
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
    pub(crate) fn deliver(&self) -> &dyn Deliver {
        &*self.deliver
    }
    pub(crate) fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// Serves one lane of one peer until it ends; the error says why it did. `welcomed` is called once its hello is believed.
    pub(crate) async fn serve<R, W>(
        &self,
        from: Result<NodeId, LinkError>,
        r: R,
        mut w: W,
        welcomed: impl FnOnce(),
    ) -> Result<(), LinkError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let from = match from {
            Ok(from) => from,
            Err(e) => {
                session::refuse(&mut w, &e).await;
                return Err(e);
            }
        };
        let mut reader = FrameReader::new(from, r);
        let lane = session::welcome(self.us(), from, &mut reader, &mut w).await?;
        if let Some(remote) = self.shared.remotes.read().unwrap_or_else(PoisonError::into_inner).get(&from) {
            remote.poke.notify_waiters();
        }
        welcomed();
        let (id, mut replaced) = self.take_over(from, lane);
        let why = tokio::select! {
            why = session::receive(from, lane, reader, &mut w, &*self.deliver) => why,
            _ = &mut replaced => LinkError::Replaced,
        };
        self.leave(from, lane, id);
        if let LinkError::Fault(_) = &why {
            session::refuse(&mut w, &why).await;
        }
        if why.is_quiet() { Ok(()) } else { Err(why) }
    }

    fn take_over(&self, from: NodeId, lane: Lane) -> (u64, oneshot::Receiver<()>) {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let (replace, replaced) = oneshot::channel();
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, older)) = serving.insert((from, lane), (id, replace)) {
            let _gone = older.send(());
        }
        (id, replaced)
    }

    fn leave(&self, from: NodeId, lane: Lane, id: u64) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if serving.get(&(from, lane)).is_some_and(|(current, _)| *current == id) {
            serving.remove(&(from, lane));
        }
    }

    /// Counts and tells why a connection was closed.
    pub(crate) fn turned_away(&self, address: Option<SocketAddr>, why: &LinkError) {
        if why.is_quiet() {
            return;
        }
        self.shared.registry.counter(LINK_REFUSED.name, LINK_REFUSED.help, &[("cause", why.class())]).count();
        if let LinkError::Fault(fault) = why {
            use dwcp_env::PeerFault as F;
            let (F::Frame { from, .. } | F::Body { from, .. } | F::Cluster { from, .. }) = fault;
            self.probe.event(&Event::PeerFaulted { from: *from, why: fault.to_string() });
        }
        if self.throttle.lets(why.class()) {
            match address {
                Some(a) => tracing::warn!(from = %a, "connection closed: {why}"),
                None => tracing::warn!("no connection: {why}"),
            }
        }
    }
}
