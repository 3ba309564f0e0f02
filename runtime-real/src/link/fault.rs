//! Why a link could not be made or ended: text for the log, and whose fault.

use crate::authority::{IdentityError, Name};
use dwcp_env::wire::WireError;
use dwcp_env::{NodeId, PeerFault};
use thiserror::Error;

/// Why a connection failed or was closed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LinkError {
    /// The network: refused, reset, unreachable.
    #[error("{0}")]
    Network(String),
    /// The peer's machine is there, and nothing listens where the peer should.
    #[error("{0}")]
    NoListener(String),
    /// Nothing came in time.
    #[error("no {what} within {seconds} s")]
    Deadline {
        /// What was awaited.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// The TLS handshake.
    #[error("{0}")]
    Tls(String),
    /// The certificate shown is not the one meant.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A node broke the protocol.
    #[error(transparent)]
    Fault(#[from] PeerFault),
    /// The peer said why it does not want us.
    #[error("{by} refuses the link: {why}")]
    Refused {
        /// Who.
        by: NodeId,
        /// Its reason.
        why: String,
    },
    /// A newer connection of the same peer and lane has taken this one's place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// This node is ending.
    #[error("this node is ending")]
    Ending,
}

impl LinkError {
    pub(crate) fn frame(from: NodeId, why: WireError) -> Self {
        Self::Fault(PeerFault::Frame { from, why })
    }
    pub(crate) fn body(from: NodeId, what: &'static str, why: impl Into<String>) -> Self {
        Self::Fault(PeerFault::Body { from, what, why: why.into() })
    }
    /// Which class it is counted under.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Network(_) | Self::NoListener(_) => "network",
            Self::Deadline { .. } => "deadline",
            Self::Tls(_) => "tls",
            Self::Identity(_) => "identity",
            Self::Fault(PeerFault::Frame { .. }) => "frame",
            Self::Fault(PeerFault::Body { .. }) => "body",
            Self::Fault(PeerFault::Cluster { .. }) => "cluster",
            Self::Refused { .. } => "refused",
            Self::Replaced => "replaced",
            Self::Closed => "closed",
            Self::Ending => "ending",
        }
    }
    /// Whether this is how links end when nothing is wrong.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        matches!(self, Self::Closed | Self::Replaced | Self::Ending)
    }
}

impl From<std::io::Error> for LinkError {
    fn from(e: std::io::Error) -> Self {
        if let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::from(tls);
        }
        match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::Closed,
            std::io::ErrorKind::ConnectionRefused => Self::NoListener(e.to_string()),
            _ => Self::Network(e.to_string()),
        }
    }
}

impl From<&rustls::Error> for LinkError {
    fn from(e: &rustls::Error) -> Self {
        use rustls::{AlertDescription as A, CertificateError as C, Error as E};
        let advice = match e {
            E::InvalidCertificate(C::UnknownIssuer | C::BadSignature)
            | E::AlertReceived(A::UnknownCA | A::DecryptError) => {
                "the two nodes do not share an authority; give all nodes of a cluster certificates of one \
                 authority, and each cluster an authority of its own"
            }
            E::InvalidCertificate(C::Expired | C::ExpiredContext { .. })
            | E::AlertReceived(A::CertificateExpired) => "a certificate has expired; issue a new one",
            E::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
                "a certificate is not valid yet; check the clocks of both machines"
            }
            E::NoCertificatesPresented | E::AlertReceived(A::CertificateRequired) => {
                "peers must show a certificate; is another program speaking here?"
            }
            E::InvalidMessage(_) | E::InappropriateMessage { .. } => {
                "what speaks here does not speak TLS; is this port reached by another program?"
            }
            E::PeerIncompatible(_) | E::AlertReceived(A::ProtocolVersion | A::HandshakeFailure) => {
                "the other side does not speak TLS 1.3 as dwcp does; is it another program?"
            }
            E::NoApplicationProtocol | E::AlertReceived(A::NoApplicationProtocol) => {
                "the other side speaks TLS but not dwcp's link protocol; is it another program?"
            }
            _ => "",
        };
        if advice.is_empty() {
            Self::Tls(format!("TLS: {e}"))
        } else {
            Self::Tls(format!("TLS: {e}: {advice}"))
        }
    }
}

/// Judges whose certificate a peer has shown; it has been verified against the authority.
pub(crate) fn judge(ours: Name, found: Name, meant: Option<NodeId>) -> Result<NodeId, LinkError> {
    if found.cluster != ours.cluster {
        let (theirs, ours) = (found.cluster, ours.cluster);
        return Err(PeerFault::Cluster { from: found.node, theirs, ours }.into());
    }
    match meant {
        Some(node) if node != found.node => {
            Err(IdentityError::Other { expected: Name { cluster: ours.cluster, node }, found }.into())
        }
        _ if found.node == ours.node => {
            Err(LinkError::body(found.node, "certificate", "it is our own: two nodes share one identity"))
        }
        _ => Ok(found.node),
    }
}
