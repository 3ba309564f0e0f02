//! TLS 1.3 with certificates on both sides, the same for TCP and QUIC.
//!
//! Who a peer is stands in its certificate's URI name ([`Name`]), not in a DNS name: addresses
//! move, identities do not. So the chain is checked by webpki against the cluster's authority as
//! always, and in the place of the host name the node's name is compared, on the dialling side
//! inside the handshake, before a byte of ours is sent, on the listening side right after it.

use super::fault::{LinkError, judge};
use crate::authority::{Identity, IdentityError, Name};
use dwcp_env::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::{Arc, OnceLock};

/// The protocol's name in the handshake; a change that is not compatible gets a new one.
const ALPN: &[u8] = b"dwcp-link/1";

fn unusable(e: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Pem { what: "this node's certificate".into(), why: e.to_string() }
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    for cert in &identity.authority {
        roots.add(cert.clone()).map_err(|e| unusable(&e))?;
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// How we listen.
pub(crate) fn server(identity: &Identity) -> Result<ServerConfig, IdentityError> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(identity)?, provider())
        .build()
        .map_err(|e| unusable(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| unusable(&e))?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|e| unusable(&e))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Links live long: a resumed session would only save what happens once.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// How we dial one node.
pub(crate) struct Dial {
    pub(crate) config: ClientConfig,
    /// What was wrong with the certificate shown, precisely.
    pub(crate) found: Arc<OnceLock<LinkError>>,
}

/// How we dial `meant`.
pub(crate) fn client(identity: &Identity, meant: NodeId) -> Result<Dial, IdentityError> {
    let found = Arc::new(OnceLock::new());
    let verifier = PeerVerifier {
        roots: roots(identity)?,
        algorithms: provider().signature_verification_algorithms,
        ours: identity.name,
        meant,
        found: found.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| unusable(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|e| unusable(&e))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Dial { config, found })
}

/// The name that stands where a host's would; never sent, never compared.
pub(crate) fn placeholder() -> ServerName<'static> {
    ServerName::try_from(PLACEHOLDER).expect("a constant that is a name")
}
pub(crate) const PLACEHOLDER: &str = "dwcp.invalid";

/// webpki's check of the chain, and ours of the name.
#[derive(Debug)]
struct PeerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    ours: Name,
    meant: NodeId,
    found: Arc<OnceLock<LinkError>>,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &cert,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )
        .inspect_err(|e| {
            let _first = self.found.set(LinkError::from(e));
        })?;
        let judged = Name::of(end_entity)
            .map_err(LinkError::from)
            .and_then(|found| judge(self.ours, found, Some(self.meant)));
        match judged {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(e) => {
                let _first = self.found.set(e.clone());
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(e)))))
            }
        }
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Who has dialled us; its chain has been verified in the handshake.
pub(crate) fn dialler(ours: Name, chain: Option<&[CertificateDer<'_>]>) -> Result<NodeId, LinkError> {
    let cert = chain
        .and_then(<[_]>::first)
        .ok_or_else(|| LinkError::Tls("the other side showed no certificate".into()))?;
    judge(ours, Name::of(cert)?, None)
}
