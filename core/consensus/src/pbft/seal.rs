//! Leaving PBFT: an epoch ends by a seal that an operator signed, and by no other.
//!
//! A seal carries the successor's record: which engine goes on, with which members. Any one member may propose one,
//! and one of f may lie: so what counts is not who proposed it but that the operator of the group wants it. The
//! operator's key is part of the epoch's configuration; the signature covers the realm, which names group and
//! epoch, so that no seal ends another epoch than the one it was made for. A seal that does not hold is refused
//! where it is proposed and blamed on who passes it on; f + 1 correct members never take note of one.
//!
//! ```text
//! payload of a seal: 64 bytes Ed25519 signature | the successor's record
//! ```

use super::config::Inner;
use super::crypto::{Digest, Kind};
use bytes::{Bytes, BytesMut};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

const SIGNATURE: usize = 64;

fn signed(realm: &[u8; 32], record: &[u8]) -> [u8; 32] {
    Digest::of(Kind::Seal, realm, &[record]).0
}

/// The seal of this record for the epoch that the realm names, under the operator's Ed25519 key.
#[must_use]
pub fn seal(operator: &[u8; 32], realm: &[u8; 32], record: &[u8]) -> Bytes {
    let signature = SigningKey::from_bytes(operator).sign(&signed(realm, record));
    let mut bytes = BytesMut::with_capacity(SIGNATURE + record.len());
    bytes.extend_from_slice(&signature.to_bytes());
    bytes.extend_from_slice(record);
    bytes.freeze()
}

/// The successor's record in a seal; whether it is signed is another question.
#[must_use]
pub fn record(seal: &Bytes) -> Option<Bytes> {
    (seal.len() > SIGNATURE).then(|| seal.slice(SIGNATURE..))
}

/// Whether the operator of this public key signed this seal for the epoch that the realm names.
#[must_use]
pub fn holds(operator: &[u8; 32], realm: &[u8; 32], seal: &[u8]) -> bool {
    let Ok(operator) = VerifyingKey::from_bytes(operator) else { return false };
    let Some((signature, record)) = seal.split_first_chunk::<SIGNATURE>() else { return false };
    let signature = Signature::from_bytes(signature);
    !record.is_empty() && operator.verify_strict(&signed(realm, record), &signature).is_ok()
}

impl Inner {
    /// Whether the operator signed this seal for this epoch.
    pub(super) fn seal_holds(&self, seal: &[u8]) -> bool {
        if super::planted::is(super::Bug::SealUnsigned) {
            return true;
        }
        let Some((signature, record)) = seal.split_first_chunk::<SIGNATURE>() else { return false };
        let signature = Signature::from_bytes(signature);
        !record.is_empty() && self.operator.verify_strict(&signed(&self.realm, record), &signature).is_ok()
    }
}
