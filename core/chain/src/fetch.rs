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
/// What a first transfer may bring where members may lie, and for how long it may go on.
const FIRST_BYTES: u64 = 256 << 20;
const FIRST_TIME: Duration = Duration::secs(60);
/// As often it doubles at most: to 256 TiB, and two years.
const DOUBLINGS_MAX: u32 = 20;
/// What a piece weighs beside its bytes.
const PIECE_WEIGHT: u64 = 1 << 10;

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
    /// The epoch this node was in then: whom it believes is that one's.
    pub(crate) begun_in: u32,
    /// What proves the state, where members may lie.
    pub(crate) proof: Bytes,
    allowed: Allowance,
}

/// How much a transfer may bring, and for how long it may go on. Where members may lie a sender has no end of pieces; so a
/// transfer that passes its allowance is given up, and the next one is allowed twice as much: one that is honest ends in time,
/// and what liars cost is a few times of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    bytes: u64,
    until: Instant,
}

impl Allowance {
    /// Of a peer that is believed.
    pub(crate) const ANY: Self = Self { bytes: u64::MAX, until: Instant::FAR };
    /// Of one that may lie, after so many that did not end in time.
    pub(crate) fn after(now: Instant, passed: u32) -> Self {
        let times = 1_u64 << passed.min(DOUBLINGS_MAX);
        Self { bytes: FIRST_BYTES * times, until: now + FIRST_TIME * times }
    }
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
    pub(crate) const fn new(number: u64, from: NodeId, now: Instant, allowed: Allowance) -> Self {
        Self {
            from,
            number,
            begun: None,
            busy: false,
            swapping: false,
            tries: 0,
            again_at: now,
            begun_in: 0,
            proof: Bytes::new(),
            allowed,
        }
    }
    /// Counts a piece; whether the transfer may go on.
    pub(crate) fn allows(&mut self, now: Instant, piece: &Piece) -> bool {
        let weight = piece.data.len() as u64 + PIECE_WEIGHT;
        self.allowed.bytes = self.allowed.bytes.saturating_sub(weight);
        self.allowed.bytes > 0 && now < self.allowed.until
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
        let mut f = Fetch::new(1, a, now, Allowance::ANY);
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
        let (mut f, patience) = (Fetch::new(1, NodeId(1), Instant::ZERO, Allowance::ANY), Duration::secs(1));
        let mut now = Instant::ZERO;
        for _ in 0..TRIES {
            assert_eq!(f.due(now, patience), Some(true));
            assert_eq!(f.due(now, patience), Some(false));
            now += patience;
        }
        assert_eq!(f.due(now, patience), None);
    }

    #[test]
    fn a_transfer_without_end_passes_its_allowance_and_an_honest_one_does_in_time() {
        let piece = Piece { data: Bytes::from(vec![0; 1 << 20]), next: None };
        let taken = |passed: u32, every: Duration| {
            let mut now = Instant::ZERO;
            let mut f = Fetch::new(1, NodeId(1), now, Allowance::after(now, passed));
            (0_u64..1 << 14)
                .find(|_| {
                    now += every;
                    !f.allows(now, &piece)
                })
                .unwrap_or(1 << 14)
        };
        assert_eq!(taken(0, Duration::ZERO), 255, "bytes");
        assert_eq!(taken(1, Duration::ZERO), 511);
        assert_eq!(taken(0, Duration::secs(1)), 59, "a drip");
        assert_eq!(taken(2, Duration::secs(1)), 239);
        let mut believed = Fetch::new(1, NodeId(1), Instant::ZERO, Allowance::ANY);
        assert!((0..1 << 14).all(|_| believed.allows(Instant::FAR - Duration::secs(1), &piece)));
    }
}
