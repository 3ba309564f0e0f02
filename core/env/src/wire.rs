//! Frames between nodes, and how bodies are written.
//!
//! ```text
//!  0      2   3    4        8        12       16
//!  +------+---+----+--------+--------+--------+----------------
//!  | magic| v |kind| length | check  | body   …  length bytes
//!  +------+---+----+--------+--------+--------+----------------
//!   magic   2 bytes  0xD7 0xC9
//!   v       1 byte   version of this layout, now 1
//!   kind    1 byte   what the body is; the lane for messages between nodes
//!   length  4 bytes  of the body, little endian, at most FRAME_BODY_MAX
//!   check   4 bytes  CRC-32 (IEEE 802.3) over v, kind, length and body
//! ```
//!
//! The header is 12 bytes. TLS already refuses altered bytes; the checksum is for what TLS
//! can't see (memory, our own buffers, simulated links) and makes every frame self-standing.
//!
//! Bodies are serde types in bincode's standard encoding. This module is the only one that
//! names bincode, so that it can be replaced (docs/decisions/0001-bincode.md).

use crate::bound::FRAME_BODY_MAX;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = [0xD7, 0xC9];
/// The version of the layout.
pub const VERSION: u8 = 1;
/// Bytes before the body.
pub const HEADER: usize = 12;

/// Why bytes are not a frame or a body.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum WireError {
    /// Does not begin with the magic: whoever speaks here speaks something else.
    #[error(
        "begins with {0:02x?}, not with a frame's magic d7 c9: is this port spoken to by another program?"
    )]
    Magic([u8; 2]),
    /// A layout this build does not know.
    #[error("frame version {0}, this build speaks version 1: upgrade the older side first")]
    Version(u8),
    /// A length over the bound.
    #[error("a body of {length} bytes, at most {max} are allowed")]
    Length {
        /// The length claimed.
        length: u64,
        /// The bound.
        max: u64,
    },
    /// The checksum does not match.
    #[error("checksum {found:08x} does not match the {stated:08x} stated")]
    Checksum {
        /// In the header.
        stated: u32,
        /// Of the bytes.
        found: u32,
    },
    /// A body that is not what its kind says.
    #[error("body does not decode: {0}")]
    Body(&'static str),
}

/// A frame's header, checked as far as it can be without the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the body is.
    pub kind: u8,
    /// Its length in bytes.
    pub length: usize,
    check: u32,
}

fn checksum(kind: u8, length: u32, body: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new();
    h.update(&[VERSION, kind]);
    h.update(&length.to_le_bytes());
    h.update(body);
    h.finalize()
}

/// The header for a body.
///
/// # Errors
/// `Length` if the body is over the bound.
pub fn header(kind: u8, body: &[u8]) -> Result<[u8; HEADER], WireError> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|n| u64::from(*n) <= FRAME_BODY_MAX.0)
        .ok_or(WireError::Length { length: body.len() as u64, max: FRAME_BODY_MAX.0 })?;
    let mut out = [0; HEADER];
    out[..2].copy_from_slice(&MAGIC);
    out[2] = VERSION;
    out[3] = kind;
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..].copy_from_slice(&checksum(kind, length, body).to_le_bytes());
    Ok(out)
}

/// A whole frame as one piece.
///
/// # Errors
/// As [`header`].
pub fn frame(kind: u8, body: &[u8]) -> Result<Bytes, WireError> {
    let head = header(kind, body)?;
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    Ok(out.into())
}

/// Reads a header; tells how many bytes of body follow.
///
/// # Errors
/// `Magic`, `Version`, `Length`.
pub fn parse_header(head: &[u8; HEADER]) -> Result<Header, WireError> {
    if head[..2] != MAGIC {
        return Err(WireError::Magic([head[0], head[1]]));
    }
    if head[2] != VERSION {
        return Err(WireError::Version(head[2]));
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if u64::from(length) > FRAME_BODY_MAX.0 {
        return Err(WireError::Length { length: u64::from(length), max: FRAME_BODY_MAX.0 });
    }
    let check = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    Ok(Header { kind: head[3], length: length as usize, check })
}

impl Header {
    /// Checks the body that followed.
    ///
    /// # Errors
    /// `Length` if it is not as long as stated, `Checksum`.
    pub fn check(&self, body: &[u8]) -> Result<(), WireError> {
        if body.len() != self.length {
            return Err(WireError::Length { length: body.len() as u64, max: self.length as u64 });
        }
        let found = checksum(self.kind, self.length as u32, body);
        if found == self.check { Ok(()) } else { Err(WireError::Checksum { stated: self.check, found }) }
    }
}

/// Splits one whole frame into kind and body, all checks made.
///
/// # Errors
/// Any [`WireError`] of the header or the body.
pub fn parse(frame: &Bytes) -> Result<(u8, Bytes), WireError> {
    let head: &[u8; HEADER] =
        frame.first_chunk().ok_or(WireError::Length { length: frame.len() as u64, max: HEADER as u64 })?;
    let head = parse_header(head)?;
    let body = frame.slice(HEADER..);
    head.check(&body)?;
    Ok((head.kind, body))
}

/// Writes a body.
///
/// # Panics
/// If the type's own `Serialize` fails, which for derived types it can't.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("derived types encode")
}

/// Writes a body behind what `out` already holds.
///
/// # Panics
/// As [`encode`].
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    struct Tail<'a>(&'a mut Vec<u8>);
    impl bincode::enc::write::Writer for Tail<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::serde::encode_into_writer(value, Tail(out), bincode::config::standard())
        .expect("derived types encode");
}

/// Reads a body: all of it, no more than the frame bound in memory.
///
/// # Errors
/// `Body` with the reason.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    decode_lent(body)
}

/// As [`decode`], into a value that borrows from the body.
///
/// # Errors
/// `Body` with the reason.
pub fn decode_lent<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, WireError> {
    let limits = bincode::config::standard().with_limit::<{ 64 * 1024 * 1024 }>();
    match bincode::serde::borrow_decode_from_slice(body, limits) {
        Ok((value, used)) if used == body.len() => Ok(value),
        Ok(_) => Err(WireError::Body("bytes left over behind the value")),
        Err(e) => Err(WireError::Body(reason(&e))),
    }
}

fn reason(e: &bincode::error::DecodeError) -> &'static str {
    use bincode::error::DecodeError as E;
    match e {
        E::UnexpectedEnd { .. } => "ends too early",
        E::LimitExceeded => "asks for more memory than a frame may",
        E::UnexpectedVariant { .. } => "an unknown variant",
        E::InvalidBooleanValue(_) => "a boolean that is neither 0 nor 1",
        E::Utf8 { .. } => "text that is not UTF-8",
        _ => "a value out of range",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_twelve_bytes_and_its_body() {
        let f = frame(1, b"hi").unwrap();
        assert_eq!(f.len(), HEADER + 2);
        assert_eq!(&f[..4], &[0xD7, 0xC9, 1, 1]);
        assert_eq!(parse(&f).unwrap(), (1, Bytes::from_static(b"hi")));
    }

    #[test]
    fn each_check_names_its_fault() {
        let good = frame(1, b"hello").unwrap();
        let with = |i: usize, b: u8| {
            let mut v = good.to_vec();
            v[i] = b;
            parse(&v.into()).unwrap_err()
        };
        assert!(matches!(with(0, b'G'), WireError::Magic(_)));
        assert!(matches!(with(2, 9), WireError::Version(9)));
        assert!(matches!(with(7, 0xff), WireError::Length { .. }));
        assert!(matches!(with(3, 2), WireError::Checksum { .. }));
        assert!(matches!(with(HEADER, b'H'), WireError::Checksum { .. }));
        assert!(matches!(parse(&good.slice(..5)), Err(WireError::Length { .. })));
        assert!(matches!(parse(&good.slice(..HEADER + 2)), Err(WireError::Length { .. })));
    }

    #[test]
    fn a_body_with_a_tail_is_refused() {
        let mut b = encode(&7_u32);
        b.push(0);
        assert_eq!(decode::<u32>(&b), Err(WireError::Body("bytes left over behind the value")));
    }

    #[test]
    fn a_huge_length_inside_a_body_does_not_take_memory() {
        // A string that claims to be 2^62 bytes long.
        let mut b = alloc::vec![253];
        b.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(decode::<String>(&b).is_err());
    }

    proptest! {
        #[test]
        fn one_altered_byte_is_always_noticed(body in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut v = frame(2, &body).unwrap().to_vec();
            let i = at.index(v.len());
            v[i] ^= flip;
            prop_assert!(parse(&v.into()).is_err());
        }

        #[test]
        fn garbage_never_panics(junk in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ignored = parse(&junk.clone().into());
            let _ignored = decode::<(u64, String, Vec<Option<u32>>)>(&junk);
        }
    }
}
