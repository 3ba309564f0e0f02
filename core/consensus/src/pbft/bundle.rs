//! What is proposed: bundles of one member's commands, and batches of bundles.
//!
//! A **bundle** is what one member was asked to have agreed on in a moment, signed by it as a whole. It is
//! named by (member, lifetime, number); numbers count up by one within a lifetime of the member's process,
//! and lifetimes are counted on its disk, so that no name is used twice. Whatever a primary does with it,
//! a bundle takes effect at most once: [`Seen`] is a function of the order alone and part of each
//! checkpoint. A bundle without commands is a read's place in the order; one with a
//! seal has one, signed by the operator ([`super::seal`]).
//!
//! *Why signed, where the paper has a vector of codes:* a member that lies can make a vector that holds for
//! the primary and for nobody else; the backups then refuse what a correct primary sends, and one
//! liar ends every view (Clement et al., Aardvark, NSDI 2009, §3.1). One signature over a bundle of
//! hundreds is a fraction of a microsecond each.
//!
//! A **batch** is what one place of the order carries. Its digest covers its bundles' digests and
//! signatures; the three phases speak of the digest only.

use super::crypto::{Digest, Kind, Signature};
use crate::step::{Fault, Payload};
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};
use dwcp_env::bound::{FRAME_BODY_MAX, REQUEST_MAX, WAL_RECORD_MAX};
use serde::{Deserialize, Serialize};

/// Bytes of a bundle's body: with all that stands around it, it fits a record of the log and a frame.
pub const BODY_BYTES_MAX: usize = WAL_RECORD_MAX.0 as usize - 64 * 1024;
/// Payloads in one bundle.
pub const PAYLOADS_MAX: usize = 4_096;
/// Bundles in one batch.
pub const BUNDLES_MAX: usize = 64;
/// A primary adds bundles to a batch up to this size; a first one that is larger goes alone.
pub const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of a batch's bodies.
pub(super) const BATCH_BYTES_MAX: usize = BODY_BYTES_MAX;
/// What a bundle is longer than its body, in a batch; and a batch than its bundles, in a record or message. The
/// encoding has integers of at most ten bytes.
const BUNDLE_FRAMING: usize = 1 + 2 * 10 + 5 + 64;
const BATCH_FRAMING: usize = 1 + 2 * 10 + 32 + 1 + 5;
/// What a driver may add.
pub(super) const DRIVER_FRAMING: usize = 64;
const _: () = {
    let most = BATCH_BYTES_MAX + BUNDLES_MAX * BUNDLE_FRAMING + BATCH_FRAMING + DRIVER_FRAMING;
    assert!(most <= WAL_RECORD_MAX.0 as usize, "a batch fits a record");
    assert!(most <= FRAME_BODY_MAX.0 as usize, "a batch fits a frame");
    assert!(BATCH_BYTES <= BATCH_BYTES_MAX, "what a primary fills up is accepted");
    assert!(REQUEST_MAX.0 as usize + 5 <= BODY_BYTES_MAX, "a client's request fits a bundle");
};
/// The kind of a payload that ends the epoch.
const SEAL: u8 = 2;
const WIDTH: u64 = super::config::OUTSTANDING_MAX;

/// Names a bundle for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Name {
    /// The place of the member it comes from.
    pub origin: u8,
    /// Which lifetime of that member's process, from 1.
    pub lifetime: u64,
    /// Which bundle of that lifetime, from 1.
    pub number: u64,
}

/// Commands of one member, signed by it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Bundle {
    /// Its name.
    pub name: Name,
    /// Its commands: of each a byte for its kind, four for its length, and its bytes.
    pub body: Bytes,
    /// The member's signature.
    pub signature: Signature,
}

impl Bundle {
    pub(super) fn digest(&self, realm: &[u8; 32]) -> Digest {
        let name = self.name;
        let parts: [&[u8]; 4] =
            [&[name.origin], &name.lifetime.to_le_bytes(), &name.number.to_le_bytes(), &self.body];
        Digest::of(Kind::Bundle, realm, &parts)
    }

    /// Its commands; `None` if the body is malformed.
    #[must_use]
    pub fn payloads(&self) -> Option<Vec<Payload>> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.body.len() {
            let kind = self.body[at];
            let length = self.body.get(at + 1..at + 5)?.try_into().map(u32::from_le_bytes).ok()? as usize;
            at += 5;
            if length > self.body.len() - at || out.len() == PAYLOADS_MAX {
                return None;
            }
            let bytes = self.body.slice(at..at + length);
            at += length;
            out.push(match kind {
                0 if length == 0 => Payload::Blank,
                1 => Payload::Command(bytes),
                SEAL => Payload::Seal(bytes),
                _ => return None,
            });
        }
        Some(out)
    }

    /// Whether its size and body are such as a correct member makes: at most one seal, which holds.
    pub(super) fn check(&self, seal_holds: impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
        if !self.well_formed() {
            return Err(Fault::Bound);
        }
        match self.first_seal() {
            Some(seal) if !seal_holds(seal) => Err(Fault::Forged),
            _ => Ok(()),
        }
    }

    /// The first seal of a well-formed body.
    fn first_seal(&self) -> Option<&[u8]> {
        let mut rest = &self.body[..];
        while let Some((head, tail)) = rest.split_first_chunk::<5>() {
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let (bytes, next) = tail.split_at_checked(length)?;
            if head[0] == SEAL {
                return Some(bytes);
            }
            rest = next;
        }
        None
    }

    fn well_formed(&self) -> bool {
        let mut seals = 0;
        let mut at = 0;
        let mut count = 0;
        if self.body.len() > BODY_BYTES_MAX || self.name.number == 0 || self.name.lifetime == 0 {
            return false;
        }
        while at < self.body.len() {
            let Some(Ok(length)) = self.body.get(at + 1..at + 5).map(<[u8; 4]>::try_from) else {
                return false;
            };
            let length = u32::from_le_bytes(length) as usize;
            let fits = length <= self.body.len() - at - 5;
            count += 1;
            seals += usize::from(self.body[at] == SEAL);
            if seals > 1
                || !fits
                || count > PAYLOADS_MAX
                || self.body[at] > SEAL
                || (self.body[at] == 0 && length > 0)
            {
                return false;
            }
            at += 5 + length;
        }
        true
    }
}

/// A body out of commands.
pub(super) fn pack<'a>(payloads: impl Iterator<Item = &'a Payload>) -> Bytes {
    let mut body = BytesMut::new();
    for payload in payloads {
        let (kind, bytes): (u8, &[u8]) = match payload {
            Payload::Blank => (0, &[]),
            Payload::Command(b) => (1, b),
            Payload::Seal(b) => (SEAL, b),
        };
        body.extend_from_slice(&[kind]);
        body.extend_from_slice(&u32::try_from(bytes.len()).expect("bounded by the driver").to_le_bytes());
        body.extend_from_slice(bytes);
    }
    body.freeze()
}

/// What one place of the order carries; nothing, where a new view fills a gap.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Its bundles, in order.
    pub bundles: Vec<Bundle>,
}

impl Batch {
    pub(super) fn digest(&self, realm: &[u8; 32]) -> Digest {
        let mut bytes = Vec::with_capacity(96 * self.bundles.len());
        for bundle in &self.bundles {
            bytes.extend_from_slice(&bundle.digest(realm).0);
            bytes.extend_from_slice(&bundle.signature.0[0]);
            bytes.extend_from_slice(&bundle.signature.0[1]);
        }
        Digest::of(Kind::Batch, realm, &[&bytes])
    }

    pub(super) fn size(&self) -> usize {
        self.bundles.iter().map(|b| b.body.len()).sum()
    }

    /// Whether its size is within bounds.
    pub(super) fn bounded(&self) -> bool {
        self.bundles.len() <= BUNDLES_MAX && self.size() <= BATCH_BYTES_MAX
    }
}

/// Which bundles of one member have taken effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    lifetime: u64,
    /// All up to this number have.
    floor: u64,
    /// Bit i: `floor + 1 + i` has.
    mask: u64,
}

impl Seen {
    /// The latest lifetime of which something took effect; 0: none.
    pub(super) const fn lifetime(&self) -> u64 {
        self.lifetime
    }

    /// Whether a bundle may still take effect.
    #[must_use]
    pub fn fresh(&self, lifetime: u64, number: u64) -> bool {
        if lifetime != self.lifetime {
            return lifetime > self.lifetime && (1..=WIDTH).contains(&number);
        }
        number > self.floor && number - self.floor <= WIDTH && self.mask >> (number - self.floor - 1) & 1 == 0
    }

    /// Whether it has taken effect, or never will.
    #[must_use]
    pub fn past(&self, lifetime: u64, number: u64) -> bool {
        lifetime < self.lifetime
            || (lifetime == self.lifetime
                && number <= self.floor.saturating_add(WIDTH)
                && !self.fresh(lifetime, number))
    }

    /// Takes note of a fresh bundle's effect; says whether it is the first of its lifetime, which ends the earlier ones.
    pub fn note(&mut self, lifetime: u64, number: u64) -> bool {
        debug_assert!(self.fresh(lifetime, number));
        let first = lifetime != self.lifetime;
        if first {
            *self = Self { lifetime, floor: 0, mask: 0 };
        }
        self.mask |= 1 << (number - self.floor - 1);
        let done = self.mask.trailing_ones();
        self.floor += u64::from(done);
        self.mask = self.mask.checked_shr(done).unwrap_or(0);
        first
    }
}
