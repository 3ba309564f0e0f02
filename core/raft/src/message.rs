//! What engines of one group say to each other.
//!
//! ```text
//!  0        4                  4 + head
//!  +--------+------------------+----------------
//!  | head   | head, bincode    | tail
//!  +--------+------------------+----------------
//!   head   4 bytes, little endian: length of the head
//!   tail   Append: the entries' payloads, one behind the other, as the head lists them;
//!          Piece: a piece of a checkpoint; otherwise empty
//! ```
//!
//! The tail is not decoded but sliced: an entry's bytes are the ones that came off the wire, all
//! the way to the log and to the state machine.
//!
//! | request | lane | must be durable before the answer |
//! |---|---|---|
//! | Vote | control | the vote granted |
//! | PreVote | control | nothing |
//! | Append, empty, as heartbeat | control | the vote, once a term |
//! | Append | data | the entries |
//! | Transfer | control | nothing |
//! | Piece | bulk | nothing; the last one: the checkpoint installed |
//!
//! A request carries an id that the answer repeats. Ids begin at a draw of the incarnation's
//! seed, so that an answer to one from before a restart matches nothing.

use crate::types::Ballot;
use bytes::{BufMut, Bytes, BytesMut};
use dwcp_consensus::{Checkpointed, Position};
use dwcp_env::wire::{self, WireError};
use dwcp_env::{Lane, NodeId};
use serde::{Deserialize, Serialize};

/// The most entries in one append.
pub(crate) const APPEND_ENTRIES_MAX: u64 = 4_096;
/// No cluster gets this far; beyond it, openraft's additions could overflow.
const FAR: u64 = 1 << 62;

/// An entry of an append, without its bytes: its index follows from its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryHead {
    pub(crate) term: u64,
    /// Bytes of the tail that are its payload.
    pub(crate) length: u32,
}

/// A request for a vote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteHead {
    pub(crate) ballot: Ballot,
    pub(crate) last: Position,
    /// The leader itself asked for this election.
    pub(crate) transfer: bool,
}

/// The head of an append.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AppendHead {
    pub(crate) ballot: Ballot,
    pub(crate) previous: Position,
    pub(crate) committed: Position,
    pub(crate) entries: Vec<EntryHead>,
}

/// The head of a piece of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PieceHead {
    pub(crate) ballot: Ballot,
    /// Names the transfer; a new attempt is a new one.
    pub(crate) transfer: u64,
    /// From 0.
    pub(crate) number: u64,
    /// Whether it is the last.
    pub(crate) last: bool,
    /// With the first: what is being sent.
    pub(crate) checkpoint: Option<Checkpointed>,
}

/// How a piece was received.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum PieceAnswer {
    /// Taken.
    Taken,
    /// The last one: installed, or superseded by what was there; the receiver's vote.
    Installed(Ballot),
    /// Not the transfer or the piece expected: begin anew.
    Restart,
}

/// How an append was received.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum AppendAnswer {
    /// All of it is durable.
    Durable,
    /// Durable up to here.
    DurableTo(Position),
    /// `previous` is not in the log.
    Conflict,
    /// A higher vote is known.
    Higher(Ballot),
}

/// Everything that can be said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    Vote(u64, VoteHead),
    PreVote(u64, VoteHead),
    Append(u64, AppendHead),
    Transfer(u64, TransferHead),
    Piece(u64, PieceHead),
    Answer(u64, Answer),
}

/// "Stand for election now."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TransferHead {
    pub(crate) ballot: Ballot,
    pub(crate) to: NodeId,
    pub(crate) last: Position,
}

/// Everything that can be answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Vote {
        ballot: Ballot,
        granted: bool,
        last: Position,
    },
    Append(AppendAnswer),
    /// Whether the request was accepted.
    Transfer(bool),
    Piece(PieceAnswer),
}

impl Message {
    /// Whether its terms and indexes leave room to count on.
    fn is_near(&self) -> bool {
        let near = |ballot: &Ballot, at: &[Position]| {
            ballot.term < FAR && at.iter().all(|p| p.term < FAR && p.index < FAR)
        };
        match self {
            Self::Vote(_, head) | Self::PreVote(_, head) => near(&head.ballot, &[head.last]),
            Self::Append(_, head) => near(&head.ballot, &[head.previous, head.committed]),
            Self::Transfer(_, head) => near(&head.ballot, &[head.last]),
            Self::Piece(_, head) => {
                head.number < FAR
                    && near(&head.ballot, &head.checkpoint.iter().map(|c| c.at).collect::<Vec<_>>())
            }
            Self::Answer(_, Answer::Vote { ballot, last, .. }) => near(ballot, &[*last]),
            Self::Answer(_, Answer::Append(AppendAnswer::Higher(ballot)))
            | Self::Answer(_, Answer::Piece(PieceAnswer::Installed(ballot))) => near(ballot, &[]),
            Self::Answer(_, Answer::Append(AppendAnswer::DurableTo(at))) => at.term < FAR && at.index < FAR,
            Self::Answer(..) => true,
        }
    }

    /// The lane it belongs on. Appends with entries and pieces are told apart by their sender.
    pub(crate) const fn lane(&self) -> Lane {
        match self {
            Self::Append(_, head) if !head.entries.is_empty() => Lane::Data,
            Self::Piece(..) => Lane::Bulk,
            _ => Lane::Control,
        }
    }
}

/// Writes a message; `tail` goes behind its head, piece by piece.
pub(crate) fn encode<'a>(message: &Message, tail: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let head = wire::encode(message);
    let length: usize = tail.clone().map(Bytes::len).sum();
    let mut out = BytesMut::with_capacity(4 + head.len() + length);
    out.put_u32_le(u32::try_from(head.len()).expect("a head is far below the frame bound"));
    out.put_slice(&head);
    for part in tail {
        out.put_slice(part);
    }
    out.freeze()
}

/// Reads a message and its tail.
///
/// # Errors
/// What a peer did wrong.
pub(crate) fn decode(body: &Bytes) -> Result<(Message, Bytes), WireError> {
    let length: [u8; 4] = *body.first_chunk().ok_or(WireError::Body("shorter than its length field"))?;
    let end = 4 + u32::from_le_bytes(length) as usize;
    if end > body.len() {
        return Err(WireError::Body("a head longer than the body"));
    }
    let message: Message = wire::decode(&body[4..end])?;
    if !message.is_near() {
        return Err(WireError::Body("a term or an index that no cluster reaches"));
    }
    let tail = body.slice(end..);
    let wanted = match &message {
        Message::Append(_, head) => {
            if head.entries.len() as u64 > APPEND_ENTRIES_MAX {
                return Err(WireError::Body("more entries than an append may hold"));
            }
            head.entries.iter().map(|e| u64::from(e.length)).sum()
        }
        Message::Piece(..) => tail.len() as u64,
        _ => 0,
    };
    if wanted != tail.len() as u64 {
        return Err(WireError::Body("a tail of another length than the head says"));
    }
    Ok((message, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALLOT: Ballot = Ballot { term: 3, node: NodeId(1), committed: true };

    fn append(lengths: &[u32]) -> Message {
        let entries = lengths.iter().map(|length| EntryHead { term: 3, length: *length }).collect();
        let (previous, committed) = (Position { term: 2, index: 9 }, Position::default());
        Message::Append(7, AppendHead { ballot: BALLOT, previous, committed, entries })
    }

    #[test]
    fn an_append_comes_back_with_its_tail_unread() {
        let tail = [Bytes::from_static(b"abc"), Bytes::from_static(b"de")];
        let body = encode(&append(&[3, 2]), tail.iter());
        assert_eq!(decode(&body).unwrap(), (append(&[3, 2]), Bytes::from_static(b"abcde")));
    }

    #[test]
    fn lies_about_lengths_are_noticed() {
        let tail = [Bytes::from_static(b"abc")];
        let far = Ballot { term: u64::MAX, ..BALLOT };
        for bad in [
            encode(&append(&[4]), tail.iter()),
            encode(&append(&[]), tail.iter()),
            encode(&Message::Answer(1, Answer::Transfer(true)), tail.iter()),
            Bytes::from_static(b"\x01"),
            Bytes::from_static(b"\xff\xff\xff\xff"),
            Bytes::from_static(b"\x02\0\0\0\xff\xff"),
            encode(&Message::Answer(1, Answer::Append(AppendAnswer::Higher(far))), [].iter()),
        ] {
            assert!(decode(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_message_has_its_lane() {
        assert_eq!(append(&[]).lane(), Lane::Control);
        assert_eq!(append(&[1]).lane(), Lane::Data);
    }
}
