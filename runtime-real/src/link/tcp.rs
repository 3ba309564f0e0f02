//! Links over TCP with TLS 1.3: one connection a lane.

use super::accept::Door;
use super::dial::{LinkEnd, attempt, drive, resolve};
use super::fault::LinkError;
use super::{Listener, Remote, Shared, tls};
use crate::node::StartError;
use dwcp_env::Lane;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What to do about a port that can't be had.
pub(crate) fn listen_error(address: SocketAddr, e: &std::io::Error) -> StartError {
    let advice = match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process has that port: stop it, or give this node another one"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address: correct `listen`"
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: take a higher one",
        _ => "correct `listen` in the configuration",
    };
    StartError::Listen { address, why: e.to_string(), advice }
}

pub(crate) fn bind(address: SocketAddr) -> Result<Listener, StartError> {
    let bind = || {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    bind().map(Listener::Tcp).map_err(|e| listen_error(address, &e))
}

/// One lane to one peer, from the first packet to the end.
pub(crate) async fn link(shared: &Shared, remote: &Remote, lane: Lane) -> LinkEnd {
    #[cfg(feature = "simulated-sockets")]
    if let Some(sockets) = &shared.sockets {
        return over(shared, remote, lane, super::sockets::connect(&**sockets, &remote.peer.address)).await;
    }
    let connect = async {
        let address = resolve(&remote.peer.address).await?;
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        Ok(tcp)
    };
    over(shared, remote, lane, connect).await
}

/// One lane over the stream that `connect` makes.
async fn over<S>(
    shared: &Shared,
    remote: &Remote,
    lane: Lane,
    connect: impl Future<Output = Result<S, LinkError>>,
) -> LinkEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connect = async {
        let tcp = connect.await?;
        let dial = tls::client(&shared.settings.identity, remote.peer.node)?;
        let connector = TlsConnector::from(Arc::new(dial.config));
        connector
            .connect(tls::placeholder(), tcp)
            .await
            .map_err(|e| dial.found.get().cloned().unwrap_or_else(|| LinkError::from(e)))
    };
    match attempt(connect).await {
        Ok(stream) => {
            let (r, w) = tokio::io::split(stream);
            drive(shared, remote, lane, r, w).await
        }
        Err(e) => e.into(),
    }
}

/// What one accepted socket is, once its certificate has been judged.
pub(crate) async fn admit<S>(
    door: &Door,
    acceptor: TlsAcceptor,
    tcp: S,
    prepare: fn(&S) -> io::Result<()>,
) -> Result<(), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    prepare(&tcp)?;
    let stream = attempt(async { Ok(acceptor.accept(tcp).await?) }).await?;
    let from = tls::dialler(door.us(), stream.get_ref().1.peer_certificates());
    let (r, w) = tokio::io::split(stream);
    door.serve(from, r, w, || {}).await
}
