//! The keys of a member: one secret of 32 bytes, from which all that it needs follows.
//!
//! The secret is an Ed25519 seed (RFC 8032); its public half is what others know of the member. What two members
//! share for their codes is made from the secret of one and the public half of the other: X25519 (RFC 7748) on the same
//! curve, hashed with the realm and both public halves, so that each epoch has codes of its own and no party can steer
//! what comes out. One key for both uses is sound here (Degabriele et al., *On the Joint Security of Encryption
//! and Signature in EMV*, CT-RSA 2012; Thormarker, *On using the same key pair for Ed25519 and an X25519 based KEM*, 2021):
//! signatures cover what begins with their kind and realm, and what is shared leaves through a hash only.
//!
//! Where secrets come from is the world's business: nothing here draws a number.

use ed25519_dalek::{SigningKey, VerifyingKey};

/// What the codes of two members in one epoch are made with.
const PAIR: &str = "dwcp 2026-11 pbft pair of members";

/// The public half of a secret.
#[must_use]
pub fn public(secret: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(secret).verifying_key().to_bytes()
}

/// Whether these bytes are a public half that may be used: a point of the curve in its one canonical form (RFC 8032, 5.1.3),
/// and none of the few of small order, for which anybody could sign.
#[must_use]
pub fn is_public(key: &[u8; 32]) -> bool {
    parsed(key).is_some()
}

fn parsed(key: &[u8; 32]) -> Option<VerifyingKey> {
    // 2^255 - 19, from its highest byte on: a larger coordinate is another name of a smaller one.
    let mut field = [0xff; 32];
    (field[0], field[31]) = (0x7f, 0xed);
    let coordinate =
        key.iter().rev().enumerate().map(|(nth, byte)| if nth == 0 { byte & 0x7f } else { *byte });
    let canonical = coordinate.lt(field);
    VerifyingKey::from_bytes(key).ok().filter(|key| canonical && !key.is_weak())
}

/// What the owner of this secret shares with the owner of that public half in one realm; `None` if that is no key.
#[must_use]
pub fn shared(secret: &[u8; 32], peer: &[u8; 32], realm: &[u8; 32]) -> Option<[u8; 32]> {
    let theirs = parsed(peer)?;
    let mine = SigningKey::from_bytes(secret);
    let point = theirs.to_montgomery().mul_clamped(mine.to_scalar_bytes()).to_bytes();
    let own = mine.verifying_key().to_bytes();
    let (low, high) = if own <= *peer { (&own, peer) } else { (peer, &own) };
    let mut hasher = blake3::Hasher::new_derive_key(PAIR);
    for part in [&point, realm, low, high] {
        hasher.update(part);
    }
    Some(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_share_one_key_in_each_realm_and_no_other_pair_shares_it() {
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        let of = |x: &[u8; 32], y: &[u8; 32], realm| shared(x, &public(y), &[realm; 32]).unwrap();
        assert_eq!(of(&a, &b, 7), of(&b, &a, 7));
        assert_ne!(of(&a, &b, 7), of(&a, &b, 8), "another epoch");
        assert_ne!(of(&a, &b, 7), of(&a, &c, 7));
        assert_ne!(of(&a, &b, 7), of(&b, &c, 7));
    }

    #[test]
    fn points_of_small_order_and_no_points_are_no_keys() {
        let mut one = [0; 32];
        one[0] = 1;
        for bad in [[0; 32], one, [0xff; 32]] {
            assert!(!is_public(&bad), "{bad:?}");
            assert_eq!(shared(&[1; 32], &bad, &[0; 32]), None);
        }
        assert!(is_public(&public(&[9; 32])));
    }
}
