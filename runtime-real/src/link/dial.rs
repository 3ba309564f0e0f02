//! Making links, and making them again.
//!
//! **Promise.** As long as a node is our peer, each lane to it is up or being tried: at once when
//! it dials us, else after a pause that doubles from [`FIRST_PAUSE`] to [`LAST_PAUSE`], drawn
//! between half and whole so that nodes do not dial in step. A failure is logged when it differs
//! from the last one, with what to do; the same failure again is not. That nothing listens where a peer
//! should is told to the node as a hint that the peer's process is gone.

use super::fault::LinkError;
use super::session::{self, FrameReader};
use super::{Deliver, Remote, Shared, Transport, quic, tcp};
use dwcp_env::{Event, Instant, Lane, Probe, Purpose};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// The pause after the first failure.
pub const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
pub const LAST_PAUSE: Duration = Duration::from_secs(1);
/// How long one attempt may take: name, connection, TLS.
pub const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Purpose = Purpose::named("link.pause");

/// What dialling needs.
pub(crate) struct Dialer {
    pub(crate) endpoint: Option<quinn::Endpoint>,
    pub(crate) probe: Probe,
    pub(crate) deliver: Arc<dyn Deliver>,
}

impl Dialer {
    /// Keeps the links to a peer up, until it is removed.
    pub(crate) fn spawn(&self, shared: &Arc<Shared>, remote: &Arc<Remote>) {
        match (shared.settings.transport, &self.endpoint) {
            (Transport::Quic, Some(endpoint)) => {
                let (s, r, told) = (shared.clone(), remote.clone(), self.told());
                let endpoint = endpoint.clone();
                tokio::spawn(async move {
                    let (s, r, endpoint) = (&s, &r, &endpoint);
                    keep_up(s, r, &told, &quic::CARRIED, || quic::link(s, r, endpoint)).await;
                });
            }
            _ => {
                for lane in Lane::ALL {
                    let (s, r, told) = (shared.clone(), remote.clone(), self.told());
                    tokio::spawn(async move {
                        let (s, r) = (&s, &r);
                        keep_up(s, r, &told, &[lane], || tcp::link(s, r, lane)).await;
                    });
                }
            }
        }
    }

    fn told(&self) -> Told {
        Told { probe: self.probe.clone(), deliver: self.deliver.clone() }
    }
}

/// Who hears how links end.
struct Told {
    probe: Probe,
    deliver: Arc<dyn Deliver>,
}

/// How a link ended, and whether it had stood.
pub(crate) struct LinkEnd {
    pub(crate) stood: bool,
    pub(crate) why: LinkError,
}

impl From<LinkError> for LinkEnd {
    fn from(why: LinkError) -> Self {
        Self { stood: false, why }
    }
}

async fn keep_up<F>(shared: &Shared, remote: &Remote, told: &Told, lanes: &[Lane], link: impl Fn() -> F)
where
    F: Future<Output = LinkEnd>,
{
    let mut removed = remote.removed.subscribe();
    let mut ending = shared.ending.subscribe();
    let mut failures = 0_u32;
    let mut attempts = 0_u64;
    loop {
        let end = tokio::select! {
            end = link() => end,
            _ = removed.wait_for(|r| *r) => LinkError::Ending.into(),
        };
        lanes.iter().for_each(|l| remote.set_connected(*l, false));
        if remote.is_removed() || *ending.borrow() {
            return;
        }
        attempts += 1;
        failures = if end.stood { 1 } else { failures.saturating_add(1) };
        tell(remote, &told.probe, lanes, &end.why);
        if matches!(end.why, LinkError::NoListener(_)) && lanes.contains(&Lane::Control) {
            told.deliver.unreachable(remote.peer.node);
        }
        let pause = pause(shared, remote, lanes[0], attempts, failures);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = remote.poke.notified() => {}
            _ = ending.wait_for(|e| *e) => return,
            _ = removed.wait_for(|r| *r) => return,
        }
        for lane in lanes {
            remote.dropped.add(remote.outbox(*lane).clear());
        }
    }
}

fn pause(shared: &Shared, remote: &Remote, lane: Lane, attempt: u64, failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LAST_PAUSE);
    let half = whole / 2;
    let entity = remote.peer.node.0 << 2 | lane as u64;
    let jitter =
        shared.settings.seed.below(half.as_nanos() as u64 + 1, PAUSE, entity, Instant::ZERO, attempt);
    half + Duration::from_nanos(jitter)
}

fn tell(remote: &Remote, probe: &Probe, lanes: &[Lane], why: &LinkError) {
    let peer = &remote.peer;
    if let LinkError::Fault(fault) = why {
        probe.event(&Event::PeerFaulted { from: peer.node, why: fault.to_string() });
    }
    let text = why.to_string();
    let mut last = remote.last_error.lock().unwrap_or_else(PoisonError::into_inner);
    if *last == text {
        tracing::debug!(peer = %peer.node, address = peer.address, ?lanes, "link down: {text}");
        return;
    }
    if why.is_quiet() {
        tracing::info!(peer = %peer.node, address = peer.address, ?lanes, "link down: {text}");
    } else {
        tracing::warn!(peer = %peer.node, address = peer.address, ?lanes, "link down: {text}");
    }
    *last = text;
}

/// Resolves a peer's address; the first one wins.
pub(crate) async fn resolve(address: &str) -> Result<SocketAddr, LinkError> {
    let no = |why: String| LinkError::Network(format!("{address:?} can't be resolved: {why}"));
    let mut all = tokio::net::lookup_host(address).await.map_err(|e| no(e.to_string()))?;
    all.next().ok_or_else(|| no("it has no address".into()))
}

/// Runs the steps up to TLS within [`ATTEMPT`].
pub(crate) async fn attempt<T>(steps: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    timeout(ATTEMPT, steps)
        .await
        .unwrap_or(Err(LinkError::Deadline { what: "connection", seconds: ATTEMPT.as_secs() }))
}

/// Greets, then sends until the end.
pub(crate) async fn drive<R, W>(shared: &Shared, remote: &Remote, lane: Lane, r: R, mut w: W) -> LinkEnd
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let peer = remote.peer.node;
    let mut reader = FrameReader::new(peer, r);
    if let Err(e) = session::greet(shared.us, peer, lane, &mut reader, &mut w).await {
        return e.into();
    }
    remote.set_connected(lane, true);
    remote.last_error.lock().unwrap_or_else(PoisonError::into_inner).clear();
    tracing::debug!(%peer, ?lane, "link up");
    let why = session::send(peer, lane, remote.outbox(lane), reader, w, shared.ending.subscribe()).await;
    remote.set_connected(lane, false);
    LinkEnd { stood: true, why }
}
