//! A checkpoint on its way from a peer, piece by piece, when the log no longer leads to where the group is.
//!
//! **Promise.** What is swapped in is newer than what is here and came whole, each piece checked by the state machine. A
//! transfer that breaks leaves nothing behind but a half that the next one forgets.
//!
//! **Model.** The receiver asks for each piece; who answers keeps nothing but which checkpoint was begun. A silent peer is
//! asked [`TRIES`] times, then the transfer is given up, and the next beacon or offer begins another.

use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece};
use dwcp_env::{Duration, Instant, NodeId};

/// Questions to a silent peer.
const TRIES: u8 = 4;

/// One transfer.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) from: NodeId,
    /// What was begun, and where the next piece lies (`None`: all are here).
    pub(crate) begun: Option<(Checkpointed, Option<Bytes>)>,
    /// Tells its jobs from those of transfers before.
    pub(crate) number: u64,
    /// A job holds a piece.
    pub(crate) busy: bool,
    /// The job that swaps it in is under way.
    pub(crate) swapping: bool,
    tries: u8,
    pub(crate) again_at: Instant,
}

/// What a piece is good for.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// The first of a checkpoint.
    First,
    /// The next.
    Next,
    /// Not asked for.
    Odd,
}

impl Fetch {
    pub(crate) const fn new(number: u64, from: NodeId, now: Instant) -> Self {
        Self { from, number, begun: None, busy: false, swapping: false, tries: 0, again_at: now }
    }
    /// Whether to ask (again) now; `None` if it is given up.
    pub(crate) fn due(&mut self, now: Instant, patience: Duration) -> Option<bool> {
        if self.busy || now < self.again_at {
            return Some(false);
        }
        self.tries += 1;
        self.again_at = now + patience;
        (self.tries <= TRIES).then_some(true)
    }
    /// Takes note of a piece.
    pub(crate) fn take(
        &mut self,
        from: NodeId,
        checkpoint: &Checkpointed,
        cursor: &Bytes,
        piece: &Piece,
    ) -> Taken {
        if from != self.from || self.busy {
            return Taken::Odd;
        }
        let taken = match &self.begun {
            None if cursor.is_empty() => Taken::First,
            Some((begun, Some(next))) if begun == checkpoint && next == cursor => Taken::Next,
            _ => return Taken::Odd,
        };
        self.begun = Some((checkpoint.clone(), piece.next.clone()));
        (self.busy, self.tries) = (true, 0);
        taken
    }
    /// The piece was taken in: ask for the next at once. Tells whether there is one.
    pub(crate) fn taken(&mut self, now: Instant) -> bool {
        self.busy = false;
        self.again_at = now;
        matches!(self.begun, Some((_, Some(_))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_order_from_who_was_asked() {
        let now = Instant::ZERO;
        let (a, b) = (NodeId(1), NodeId(2));
        let checkpoint = |index| Checkpointed {
            at: dwcp_consensus::Position { term: 1, index },
            engine_record: Bytes::new(),
        };
        let piece =
            |next: Option<&'static [u8]>| Piece { data: Bytes::new(), next: next.map(Bytes::from_static) };
        let (start, x) = (Bytes::new(), Bytes::from_static(b"x"));
        let mut f = Fetch::new(1, a, now);
        assert_eq!(f.take(b, &checkpoint(5), &start, &piece(None)), Taken::Odd);
        assert_eq!(f.take(a, &checkpoint(5), &x, &piece(None)), Taken::Odd);
        assert_eq!(f.take(a, &checkpoint(5), &start, &piece(Some(b"x"))), Taken::First);
        assert_eq!(f.take(a, &checkpoint(5), &x, &piece(None)), Taken::Odd, "the job still holds the first");
        assert!(f.taken(now));
        assert_eq!(f.take(a, &checkpoint(6), &x, &piece(None)), Taken::Odd, "of another checkpoint");
        assert_eq!(f.take(a, &checkpoint(5), &x, &piece(None)), Taken::Next);
        assert!(!f.taken(now), "that was the last");
    }

    #[test]
    fn a_silent_peer_is_given_up() {
        let (mut f, patience) = (Fetch::new(1, NodeId(1), Instant::ZERO), Duration::secs(1));
        let mut now = Instant::ZERO;
        for _ in 0..TRIES {
            assert_eq!(f.due(now, patience), Some(true));
            assert_eq!(f.due(now, patience), Some(false));
            now += patience;
        }
        assert_eq!(f.due(now, patience), None);
    }
}
