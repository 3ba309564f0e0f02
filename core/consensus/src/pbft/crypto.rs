//! Digests, codes and signatures: who said what, and who can be convinced of it.
//!
//! A **code** (a MAC: BLAKE3 keyed with what two members share) convinces its receiver alone, for a
//! tenth of a microsecond. A **signature** (Ed25519) convinces everybody, for twenty to sign and forty
//! to verify. Everything is bound to the realm (group and epoch), to its kind, and codes to both ends, so
//! that nothing said in one place can be replayed in another.
//!
//! Codes are compared in constant time (a fold over all bytes). Signatures are verified strictly
//! (RFC 8032 without small-order keys): all correct members accept the same ones.

use super::config::Inner;
use core::fmt;
use ed25519_dalek::Signer;
use serde::{Deserialize, Serialize};

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2])
    }
}

impl Digest {
    pub(super) fn of(kind: Kind, realm: &[u8; 32], parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]).update(realm);
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

/// A code between two members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Tag(pub [u8; 16]);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tag")
    }
}

/// An Ed25519 signature, in two halves (serde derives arrays up to 32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Signature(pub [[u8; 32]; 2]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sig")
    }
}

/// What is hashed, coded or signed: the first byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Bundle = 1,
    Batch,
    Order,
    Mark,
    PrePrepare,
    Prepare,
    Commit,
    Decision,
    Fetch,
    Status,
    Checkpoint,
    ViewChange,
    NewView,
    Seal,
}

/// What a code covers beside its kind and its ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Covered {
    pub(super) numbers: [u64; 4],
    pub(super) digest: Digest,
}

impl Inner {
    fn code(&self, kind: Kind, from: usize, to: usize, what: &Covered) -> blake3::Hash {
        let other = if from == self.place { to } else { from };
        let mut bytes = [0_u8; 1 + 2 + 32 + 32 + 32];
        bytes[0] = kind as u8;
        bytes[1] = from as u8; // places are below GROUP_MAX
        bytes[2] = to as u8;
        bytes[3..35].copy_from_slice(&self.realm);
        for (i, number) in what.numbers.iter().enumerate() {
            bytes[35 + 8 * i..43 + 8 * i].copy_from_slice(&number.to_le_bytes());
        }
        bytes[67..].copy_from_slice(&what.digest.0);
        blake3::keyed_hash(&self.shared[other], &bytes)
    }

    /// The code of what this member says to `to`.
    pub(super) fn tag(&self, kind: Kind, to: usize, what: &Covered) -> Tag {
        let mut half = [0; 16];
        half.copy_from_slice(&self.code(kind, self.place, to, what).as_bytes()[..16]);
        Tag(half)
    }

    /// Whether `from` said this to this member.
    pub(super) fn tag_holds(&self, kind: Kind, from: usize, what: &Covered, tag: &Tag) -> bool {
        let code = self.code(kind, from, self.place, what);
        let differ = code.as_bytes()[..16].iter().zip(tag.0).fold(0, |d, (a, b)| d | (a ^ b));
        differ == 0
    }

    fn signed(&self, kind: Kind, digest: &Digest) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes[0] = kind as u8;
        bytes[1..33].copy_from_slice(&self.realm);
        bytes[33..].copy_from_slice(&digest.0);
        bytes
    }

    /// This member's signature.
    pub(super) fn sign(&self, kind: Kind, digest: &Digest) -> Signature {
        let bytes = self.signed(kind, digest);
        #[cfg(feature = "rehearsal")]
        if self.ideal {
            let half =
                |n: u8| blake3::keyed_hash(&self.public[self.place], &[&bytes[..], &[n]].concat()).into();
            return Signature([half(0), half(1)]);
        }
        let whole = self.secret.sign(&bytes).to_bytes();
        let mut halves = [[0; 32]; 2];
        halves[0].copy_from_slice(&whole[..32]);
        halves[1].copy_from_slice(&whole[32..]);
        Signature(halves)
    }

    /// Whether the member at `place` signed this.
    pub(super) fn signed_by(&self, place: usize, kind: Kind, digest: &Digest, signature: &Signature) -> bool {
        let bytes = self.signed(kind, digest);
        #[cfg(feature = "rehearsal")]
        if self.ideal {
            let half = |n: u8| blake3::keyed_hash(&self.public[place], &[&bytes[..], &[n]].concat()).into();
            return *signature == Signature([half(0), half(1)]);
        }
        let whole = ed25519_dalek::Signature::from_components(signature.0[0], signature.0[1]);
        self.verifying.get(place).is_some_and(|key| key.verify_strict(&bytes, &whole).is_ok())
    }
}
