//! What chains tell each other, and the head that every message of a group's engines carries.
//!
//! ```text
//!   0     1       5        13
//!   +-----+-------+--------+--------------
//!   | tag | epoch | id     | the rest
//!   +-----+-------+--------+--------------
//!   tag 0: a message of that epoch's engine;  tag 1: a [`ChainMessage`]; the sender's epoch
//!   id: names the epoch's content (Spec::id): epochs that lost to another are never spoken to
//! ```

use crate::adapt::Pulse;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece, Position};
use dwcp_env::{NodeId, wire};
use serde::{Deserialize, Serialize};

const ENGINE: u8 = 0;
const CHAIN: u8 = 1;
pub(crate) const HEAD: usize = 13;

/// What chains tell each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum ChainMessage {
    /// Where I am. Sent again and again to all members.
    Here {
        /// Applied up to here.
        applied: u64,
        /// I take no part in this epoch: my disk lost what I promised in it.
        silent: bool,
        /// Where commands go, as I see it; what I take no part in I say nothing of, nor where nobody is believed alone.
        leader: Option<NodeId>,
        /// What I see of the network, where somebody wants to know.
        pulse: Option<Pulse>,
    },
    /// You need what I no longer have otherwise: ask me for my checkpoint.
    Offer {
        /// Where it is.
        at: Position,
    },
    /// Send me a checkpoint behind this index, from its beginning; or the next piece of the one begun.
    Want {
        /// It must reach further than this.
        beyond: u64,
        /// The one begun.
        begun: Option<Position>,
        /// Where the piece begins.
        cursor: Bytes,
    },
    /// The piece asked for.
    Part {
        /// The checkpoint it is of.
        checkpoint: Checkpointed,
        /// The cursor it was asked by.
        cursor: Bytes,
        /// The piece.
        piece: Piece,
        /// What proves the checkpoint, where members may lie; else empty.
        proof: Bytes,
    },
    /// Not now: ask again, or somebody else.
    Later,
    /// Tell me your public key: the next epoch is to be one in which members may lie.
    KeyWanted,
    /// The public half of my key.
    Key {
        /// It.
        public: [u8; 32],
    },
}

/// A body taken apart.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) epoch: u32,
    pub(crate) id: u64,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Engine(Bytes),
    Chain(ChainMessage),
}

fn head(tag: u8, epoch: u32, id: u64, room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + room);
    out.push(tag);
    out.extend_from_slice(&epoch.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out
}

/// A body that carries a message already in bytes.
pub(crate) fn engine(epoch: u32, id: u64, message: &[u8]) -> Bytes {
    let mut out = head(ENGINE, epoch, id, message.len());
    out.extend_from_slice(message);
    out.into()
}

/// A body that carries a protocol's message: encoded in place.
pub(crate) fn protocol<M: Serialize>(epoch: u32, id: u64, message: &M) -> Bytes {
    let mut out = head(ENGINE, epoch, id, 64);
    wire::encode_into(message, &mut out);
    out.into()
}

/// A body that carries a chain's message.
pub(crate) fn chain(epoch: u32, id: u64, message: &ChainMessage) -> Bytes {
    let mut out = head(CHAIN, epoch, id, 64);
    wire::encode_into(message, &mut out);
    out.into()
}

/// Takes a body apart.
pub(crate) fn parse(body: &Bytes) -> Result<Envelope, &'static str> {
    let head = body.first_chunk::<HEAD>().ok_or("shorter than its head")?;
    let [tag, e0, e1, e2, e3, id @ ..] = *head;
    let (epoch, id) = (u32::from_le_bytes([e0, e1, e2, e3]), u64::from_le_bytes(id));
    let rest = body.slice(HEAD..);
    let body = match tag {
        ENGINE => Body::Engine(rest),
        CHAIN => Body::Chain(wire::decode(&rest).map_err(|_| "a chain message that does not decode")?),
        _ => return Err("an unknown tag"),
    };
    Ok(Envelope { epoch, id, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_and_junk_is_refused() {
        let here = ChainMessage::Here { applied: 7, silent: true, leader: Some(NodeId(3)), pulse: None };
        let Envelope { epoch, id, body } = parse(&chain(3, 77, &here)).unwrap();
        assert_eq!((epoch, id), (3, 77));
        assert!(matches!(body, Body::Chain(m) if m == here));
        assert!(matches!(parse(&engine(1, 2, b"x")).unwrap().body, Body::Engine(b) if &b[..] == b"x"));
        assert!(matches!(parse(&protocol(1, 2, &5_u8)).unwrap().body, Body::Engine(b) if b[..] == [5]));
        for bad in [&b""[..], &[0; 12], &[2; 13], &[1; 14], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]] {
            assert!(parse(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }
}
