//! Links over somebody else's sockets.
//!
//! What stands between two nodes — TLS, hello, lanes, pings, dialling again — is the same code as
//! in production; only the byte streams come from a [`Sockets`]. Exists for ci/turmoil alone, behind
//! the feature `simulated-sockets`.

use super::fault::LinkError;
use super::{Deliver, LinkSettings, Links, Listener};
use crate::metrics::Registry;
use crate::node::StartError;
use dwcp_env::Probe;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, whoever carries its bytes.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What will be, once the world has done it.
pub type Promise<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// One host's way to the others: in TCP's place, and no less reliable.
pub trait Sockets: Send + Sync + 'static {
    /// Connects to a peer's address as configured.
    fn connect<'a>(&'a self, address: &'a str) -> Promise<'a, Box<dyn Stream>>;
    /// The next connection made to us, and whose it is.
    fn accept(&self) -> Promise<'_, (Box<dyn Stream>, SocketAddr)>;
}

impl Links {
    /// Answers on these sockets and dials the peers over them. The transport of the settings is
    /// not looked at.
    ///
    /// # Errors
    /// As [`Node::start`](crate::Node::start)'s: a certificate that can't be used.
    pub fn simulated(
        settings: LinkSettings,
        registry: &Arc<Registry>,
        sockets: Arc<dyn Sockets>,
        deliver: Arc<dyn Deliver>,
        probe: Probe,
    ) -> Result<Self, StartError> {
        let (links, listener) = Self::bound(settings, registry, Listener::Simulated(sockets))?;
        links.open(listener, deliver, probe);
        Ok(links)
    }
}

/// Connects for one lane.
pub(super) async fn connect(sockets: &dyn Sockets, address: &str) -> Result<Box<dyn Stream>, LinkError> {
    Ok(sockets.connect(address).await?)
}
