//! Who a node is: certificates, and the development authority that issues them.
//!
//! **Promise.** A node's certificate says which node of which cluster it is, and nothing else is
//! believed about a peer. The authority here is for development (`dwcp dev`): its key lies in a
//! directory, readable by its user alone. In production the operator's own authority issues
//! certificates of the same shape (docs/protocols/peer-link.md).
//!
//! **Shape.** ECDSA P-256; subject alternative name `URI:dwcp://<cluster, 32 hex digits>/node/<id>`;
//! extended key usage server and client authentication.

use dwcp_env::{ClusterId, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a certificate can't be made, read or believed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum IdentityError {
    /// A file can't be read or written.
    #[error("{}: {why}", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        why: String,
    },
    /// Not a certificate or key.
    #[error("{what} is not usable: {why}; it must be PEM, with an ECDSA P-256, P-384 or Ed25519 key")]
    Pem {
        /// Which of them.
        what: String,
        /// Why.
        why: String,
    },
    /// A certificate without a node's name in it.
    #[error(
        "the certificate names no node: it needs the subject alternative name \
         URI:dwcp://<cluster>/node/<id>, and has {found:?}"
    )]
    NoName {
        /// The names it has.
        found: Vec<String>,
    },
    /// The certificate of another node than the one meant.
    #[error(
        "the certificate is {found}'s, and {expected} was meant; check which address belongs to which node"
    )]
    Other {
        /// Whom we meant.
        expected: Name,
        /// Whose it is.
        found: Name,
    },
}

/// Which node of which cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dwcp://{}/node/{}", self.cluster, self.node.0)
    }
}

impl Name {
    /// Reads `dwcp://<cluster>/node/<id>`, in exactly the form it is printed in.
    #[must_use]
    pub fn parse(uri: &str) -> Option<Self> {
        let (cluster, node) = uri.strip_prefix("dwcp://")?.split_once("/node/")?;
        let name = Self {
            cluster: ClusterId(u128::from_str_radix(cluster, 16).ok()?),
            node: NodeId(node.parse().ok()?),
        };
        (name.to_string() == uri).then_some(name)
    }

    /// The name in a certificate that has been verified. Exactly one must be there.
    ///
    /// # Errors
    /// `Pem` if it does not parse, `NoName`.
    pub fn of(cert: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
        let bad = |why: String| IdentityError::Pem { what: "the peer's certificate".into(), why };
        let (_, cert) = X509Certificate::from_der(cert).map_err(|e| bad(e.to_string()))?;
        let san = cert.subject_alternative_name().map_err(|e| bad(e.to_string()))?;
        let names = san.map(|s| s.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> =
            names.iter().filter_map(|n| if let GeneralName::URI(u) = n { Some(*u) } else { None }).collect();
        match uris.as_slice() {
            [one] => Self::parse(one),
            _ => None,
        }
        .ok_or_else(|| IdentityError::NoName { found: names.iter().map(ToString::to_string).collect() })
    }
}

/// A node's certificate, its key, and the authority its peers' certificates are checked against.
pub struct Identity {
    pub(crate) authority: Vec<CertificateDer<'static>>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) name: Name,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            authority: self.authority.clone(),
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            name: self.name,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.name)
    }
}

impl Identity {
    /// From PEM texts.
    ///
    /// # Errors
    /// `Pem`, `NoName`.
    pub fn from_pem(authority: &str, chain: &str, key: &str) -> Result<Self, IdentityError> {
        let bad = |what: &str, why: String| IdentityError::Pem { what: what.into(), why };
        let certs = |what: &str, text: &str| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            match all {
                Ok(v) if !v.is_empty() => Ok(v),
                Ok(_) => Err(bad(what, "no certificate in it".into())),
                Err(e) => Err(bad(what, e.to_string())),
            }
        };
        let authority = certs("the authority's certificate", authority)?;
        let chain = certs("the node's certificate", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|e| bad("the node's key", e.to_string()))?;
        let name = Name::of(&chain[0])?;
        Ok(Self { authority, chain, key, name })
    }

    /// From PEM files.
    ///
    /// # Errors
    /// `File`, `Pem`, `NoName`.
    pub fn load(authority: &Path, chain: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&read(authority)?, &read(chain)?, &read(key)?)
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> Name {
        self.name
    }
}

/// PEM texts of a new certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The authority's certificate.
    pub authority: String,
    /// The node's certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Issued {
    /// Writes `ca.pem`, `node.pem` and `node.key` into a directory.
    ///
    /// # Errors
    /// `File`.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        std::fs::create_dir_all(dir).map_err(|e| file_error(dir, &e))?;
        write_private(&dir.join("ca.pem"), &self.authority)?;
        write_private(&dir.join("node.pem"), &self.chain)?;
        write_private(&dir.join("node.key"), &self.key)
    }
    /// Ready for use.
    ///
    /// # Errors
    /// Never for what this module made.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        Identity::from_pem(&self.authority, &self.chain, &self.key)
    }
}

/// A development authority.
pub struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn create() -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(|e| made(&e))?;
        let mut params = CertificateParams::new(Vec::new()).map_err(|e| made(&e))?;
        // Named after its key: two authorities of one name are hard to tell apart in an error.
        let raw = key.public_key_raw();
        let id: String = raw[raw.len() - 4..].iter().map(|b| format!("{b:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, format!("dwcp development authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let cert = params.self_signed(&key).map_err(|e| made(&e))?.pem();
        Ok(Self { cert, issuer: Issuer::new(params, key) })
    }

    /// The one in `dir` (`ca.pem`, `ca.key`), or a new one put there.
    ///
    /// # Errors
    /// `File`, `Pem`.
    pub fn load_or_create(dir: &Path) -> Result<Self, IdentityError> {
        let (cert_file, key_file) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !key_file.exists() && !cert_file.exists() {
            let new = Self::create()?;
            std::fs::create_dir_all(dir).map_err(|e| file_error(dir, &e))?;
            write_private(&key_file, &new.issuer.key().serialize_pem())?;
            write_private(&cert_file, &new.cert)?;
            return Ok(new);
        }
        let (cert, key) = (read(&cert_file)?, read(&key_file)?);
        let bad = |f: &Path, e: &rcgen::Error| IdentityError::Pem {
            what: f.display().to_string(),
            why: e.to_string(),
        };
        let key = KeyPair::from_pem(&key).map_err(|e| bad(&key_file, &e))?;
        let issuer = Issuer::from_ca_cert_pem(&cert, key).map_err(|e| bad(&cert_file, &e))?;
        Ok(Self { cert, issuer })
    }

    /// The authority's certificate as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.cert
    }

    /// A certificate and key for a node.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn issue(&self, name: Name) -> Result<Issued, IdentityError> {
        let key = KeyPair::generate().map_err(|e| made(&e))?;
        let mut params = CertificateParams::new(Vec::new()).map_err(|e| made(&e))?;
        params.distinguished_name.push(DnType::CommonName, format!("dwcp node {}", name.node.0));
        let uri = name.to_string().try_into().map_err(|e: rcgen::Error| made(&e))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(|e| made(&e))?;
        Ok(Issued { authority: self.cert.clone(), chain: cert.pem(), key: key.serialize_pem() })
    }
}

fn made(e: &rcgen::Error) -> IdentityError {
    IdentityError::Pem { what: "a new certificate".into(), why: e.to_string() }
}

fn file_error(file: &Path, e: &std::io::Error) -> IdentityError {
    IdentityError::File { file: file.into(), why: e.to_string() }
}

fn read(file: &Path) -> Result<String, IdentityError> {
    std::fs::read_to_string(file).map_err(|e| file_error(file, &e))
}

fn write_private(file: &Path, text: &str) -> Result<(), IdentityError> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| file_error(file, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(cluster: u128, node: u64) -> Name {
        Name { cluster: ClusterId(cluster), node: NodeId(node) }
    }

    #[test]
    fn a_name_reads_back_only_as_it_was_written() {
        let n = name(0xab, 7);
        assert_eq!(Name::parse(&n.to_string()), Some(n));
        for bad in [
            "",
            "dwcp://ab/node/7",
            "dwcp://000000000000000000000000000000AB/node/7",
            "dwcp://000000000000000000000000000000ab/node/+7",
            "dwcp://000000000000000000000000000000ab/node/7/",
            "https://000000000000000000000000000000ab/node/7",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn an_issued_certificate_names_its_node() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path()).unwrap();
        let again = Authority::load_or_create(dir.path()).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        let issued = again.issue(name(5, 3)).unwrap();
        assert_eq!(issued.identity().unwrap().name(), name(5, 3));
        issued.save(&dir.path().join("n3")).unwrap();
        let d = dir.path().join("n3");
        let loaded = Identity::load(&d.join("ca.pem"), &d.join("node.pem"), &d.join("node.key")).unwrap();
        assert_eq!(loaded.name(), name(5, 3));
    }

    #[test]
    fn what_is_no_certificate_says_so() {
        let a = Authority::create().unwrap();
        let good = a.issue(name(1, 1)).unwrap();
        let e = Identity::from_pem(&good.authority, "junk", &good.key).unwrap_err();
        assert!(e.to_string().contains("the node's certificate is not usable"), "{e}");
        let e = Identity::from_pem(&good.authority, &good.authority, &good.key).unwrap_err();
        assert!(matches!(e, IdentityError::NoName { .. }), "{e}");
        let missing = Path::new("/nonexistent/ca.pem");
        assert!(matches!(Identity::load(missing, missing, missing), Err(IdentityError::File { .. })));
    }
}
