//! Links over QUIC: one connection a peer, one stream an ordered lane, the more urgent lane first, and datagrams.
//!
//! Streams share congestion control but neither order nor flow control: a bulk stream that its
//! reader holds back fills its own window of [`STREAM_WINDOW`], and the connection's windows are
//! larger than all three together, so it can't take a heartbeat's room. Datagrams stand in no window but that of congestion
//! control. They are heard once a lane's hello has been believed.
//!
//! QUIC puts datagrams into a packet first, so streams would starve as long as one waits. So only [`HANDED_OVER`] are
//! given to it, the others wait in our outbox, and when congestion control makes them wait they leave the connection to
//! the streams every now and then ([`Turns`]). What the streams do not need then is not lost: the window keeps it.

use super::accept::{Door, full};
use super::dial::{LinkEnd, attempt, drive, resolve};
use super::fault::LinkError;
use super::tcp::listen_error;
use super::{Listener, Remote, Shared, congestion, tls};
use crate::authority::{Identity, IdentityError};
use crate::node::StartError;
use dwcp_env::{Lane, NodeId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes in flight that one lane's reader has not yet taken: 100 ms at 40 MiB/s.
pub const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// More than three lanes' windows.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
const LANES: u32 = 3;
/// Bytes of datagrams that wait to be heard: half a second at what a stream may send.
const DATAGRAMS: usize = 8 * 1024 * 1024;
/// Bytes of datagrams that QUIC has and has not sent: three of the largest.
const HANDED_OVER: usize = 4 * 1024;
/// Bytes of datagrams taken out of the outbox at once; the others may still find it full.
const TAKEN: usize = 64 * 1024;
/// After so many datagrams, if they waited so long, it is the streams' turn for a third of that time: those handed over leave in half
/// of it, and in the other half a sixth of what the path carries is the streams'.
const TURN: (u32, Duration) = (24, Duration::from_millis(6));
/// All that one connection carries.
pub(crate) const CARRIED: [Lane; 4] = [Lane::Control, Lane::Data, Lane::Bulk, Lane::Datagram];

fn transport() -> Arc<TransportConfig> {
    let mut t = TransportConfig::default();
    let silence = u32::try_from(super::session::SILENCE.as_millis()).unwrap_or(u32::MAX);
    t.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(silence))))
        .max_concurrent_bidi_streams(VarInt::from_u32(LANES))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(HANDED_OVER)
        .congestion_controller_factory(Arc::new(congestion::Tolerant))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW));
    Arc::new(t)
}

pub(crate) fn bind(address: SocketAddr, identity: &Identity) -> Result<Listener, StartError> {
    let unusable = |e: &dyn std::fmt::Display| IdentityError::Pem {
        what: "this node's certificate".into(),
        why: e.to_string(),
    };
    let crypto = QuicServerConfig::try_from(tls::server(identity)?).map_err(|e| unusable(&e))?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport()).migration(false);
    Endpoint::server(config, address).map(Listener::Quic).map_err(|e| listen_error(address, &e))
}

fn connection_error(e: ConnectionError) -> LinkError {
    match e {
        ConnectionError::TimedOut => {
            LinkError::Deadline { what: "packet", seconds: super::session::SILENCE.as_secs() }
        }
        ConnectionError::LocallyClosed => LinkError::Ending,
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => LinkError::Closed,
        // 0x100 to 0x1ff are TLS alerts: RFC 9001, section 4.8.
        ConnectionError::ConnectionClosed(c) => {
            let code = u64::from(c.error_code);
            match u8::try_from(code.wrapping_sub(0x100)) {
                Ok(alert) => LinkError::from(&rustls::Error::AlertReceived(alert.into())),
                Err(_) if code == 0 => LinkError::Closed,
                Err(_) => LinkError::Network(c.to_string()),
            }
        }
        other => LinkError::Network(other.to_string()),
    }
}

/// All lanes to one peer, from the first packet to the end of the first of them.
pub(crate) async fn link(shared: &Shared, remote: &Remote, endpoint: &Endpoint) -> LinkEnd {
    let connect = async {
        let address = resolve(&remote.peer.address).await?;
        let dial = tls::client(&shared.settings.identity, remote.peer.node)?;
        let crypto =
            QuicClientConfig::try_from(dial.config).map_err(|e| LinkError::Tls(format!("QUIC: {e}")))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport());
        let connecting = endpoint
            .connect_with(config, address, tls::PLACEHOLDER)
            .map_err(|e| LinkError::Network(e.to_string()))?;
        connecting.await.map_err(|e| dial.found.get().cloned().unwrap_or_else(|| connection_error(e)))
    };
    let connection = match attempt(connect).await {
        Ok(connection) => connection,
        Err(e) => return e.into(),
    };
    // Which lane fails first ends all; at the end of the node each may finish.
    let lane = async |lane: Lane| {
        let (w, r) = connection.open_bi().await.map_err(|e| LinkEnd::from(connection_error(e)))?;
        // Higher is more urgent; a stream's priority can only be refused once it is closed.
        let _open = w.set_priority(-(lane as i32));
        let end = drive(shared, remote, lane, r, w).await;
        if end.why == LinkError::Ending { Ok(()) } else { Err(end) }
    };
    let lanes = async { tokio::try_join!(lane(Lane::Control), lane(Lane::Data), lane(Lane::Bulk)) };
    let ended = tokio::select! {
        ended = lanes => ended.err(),
        never = datagrams(remote, &connection) => match never {},
    };
    let mut end = ended.unwrap_or(LinkEnd { stood: true, why: LinkError::Ending });
    end.why = precise(&connection, end.why);
    connection.close(0_u32.into(), b"");
    end
}

/// Whose turn it is, when congestion control holds datagrams back.
#[derive(Debug, Default)]
struct Turns {
    sent: u32,
    waited: Duration,
}

impl Turns {
    /// A datagram was handed over after so long; for how long no other may be.
    fn sent(&mut self, waited: Duration) -> Option<Duration> {
        self.sent += 1;
        self.waited += waited;
        if self.sent < TURN.0 || self.waited < TURN.1 {
            return None;
        }
        Some(std::mem::take(self).waited / 3)
    }
}

/// Sends datagrams as long as the connection's lanes last. One that the connection does not take is dropped.
async fn datagrams(remote: &Remote, connection: &Connection) -> Infallible {
    let outbox = remote.outbox(Lane::Datagram);
    let (mut batch, mut turns) = (Vec::new(), Turns::default());
    loop {
        let due = outbox.take(&mut batch, TAKEN);
        let idle = batch.is_empty();
        for body in batch.drain(..) {
            let begin = Instant::now();
            if connection.send_datagram_wait(body).await.is_err() {
                remote.dropped.count();
            }
            if let Some(pause) = turns.sent(begin.elapsed()) {
                tokio::time::sleep(pause).await;
            }
        }
        match due {
            None if !idle => {}
            Some(due) => tokio::select! {
                () = outbox.ready() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            },
            None => outbox.ready().await,
        }
    }
}

/// Hears a peer's datagrams, once it has been welcomed. One that finds no room is lost, as others are.
async fn hear(door: &Door, from: NodeId, connection: &Connection, mut welcomed: watch::Receiver<bool>) {
    if welcomed.wait_for(|w| *w).await.is_err() {
        return;
    }
    while let Ok(body) = connection.read_datagram().await {
        if let Err(None) = door.deliver().try_deliver(from, Lane::Datagram, body) {
            return;
        }
    }
}

/// Accepts connections until the endpoint is closed.
pub(crate) async fn accept(door: Arc<Door>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let address = incoming.remote_address();
        let Ok(place) = door.places().clone().try_acquire_owned() else {
            door.turned_away(Some(address), &full());
            incoming.refuse();
            continue;
        };
        let door = door.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(e) = admit(&door, incoming).await {
                door.turned_away(Some(address), &e);
            }
        });
    }
}

async fn admit(door: &Arc<Door>, incoming: quinn::Incoming) -> Result<(), LinkError> {
    let address = incoming.remote_address();
    let connection = attempt(async { incoming.await.map_err(connection_error) }).await?;
    let chain = connection.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
    let from = tls::dialler(door.us(), chain.as_deref().map(Vec::as_slice));
    let mut ending = door.shared().ending.subscribe();
    let mut lanes = JoinSet::new();
    let (welcome, welcomed) = watch::channel(false);
    for _ in 0..LANES {
        let (w, r) = tokio::select! {
            stream = attempt(async { connection.accept_bi().await.map_err(connection_error) }) => stream?,
            _ = ending.wait_for(|e| *e) => return Ok(()),
        };
        let (door, from, welcome) = (door.clone(), from.clone(), welcome.clone());
        let welcomed = move || {
            welcome.send_replace(true);
        };
        lanes.spawn(async move { door.serve(from, r, w, welcomed).await });
    }
    drop(welcome);
    let ears = async {
        if let Ok(from) = from {
            hear(door, from, &connection, welcomed).await;
        }
        std::future::pending::<Infallible>().await
    };
    let served = serve_lanes(&connection, address, lanes);
    tokio::select! {
        served = served => served,
        never = ears => match never {},
    }
}

/// Waits for the end of all lanes.
async fn serve_lanes(
    connection: &Connection,
    address: SocketAddr,
    mut lanes: JoinSet<Result<(), LinkError>>,
) -> Result<(), LinkError> {
    // A lane that ends well leaves the others time for their last frames; each has its deadlines.
    while let Some(result) = lanes.join_next().await {
        match result {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                let e = precise(connection, e);
                if e.is_quiet() {
                    return Ok(());
                }
                connection.close(1_u32.into(), b"a lane broke the protocol");
                return Err(e);
            }
            Err(e) => tracing::error!(from = %address, "serving a lane panicked: {e}"),
        }
    }
    connection.close(0_u32.into(), b"");
    Ok(())
}

/// What a stream saw is often only that the connection broke; the connection knows why.
fn precise(connection: &Connection, seen: LinkError) -> LinkError {
    match (&seen, connection.close_reason()) {
        (LinkError::Network(_) | LinkError::Closed, Some(why)) => connection_error(why),
        _ => seen,
    }
}
